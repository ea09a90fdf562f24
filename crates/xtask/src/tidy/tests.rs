//! The repository is tidy, and each check can fail.

use super::rules::{HARD_LINES, SOFT_LINES};
use super::{File, Report, check, check_files};

fn file(path: &str, text: impl Into<String>) -> File {
    File { path: path.to_owned(), text: text.into() }
}

fn manifest(name: &str, rest: &str) -> File {
    file(&format!("crates/{name}/Cargo.toml"), format!("[package]\nname = \"{name}\"\n{rest}"))
}

fn violations(files: &[File]) -> Vec<String> {
    check_files(files).violations
}

#[test]
fn this_repository_is_tidy() {
    let report = check(&crate::repository_root()).unwrap();
    assert!(report.files > 20, "the walk found only {} files", report.files);
    assert!(report.violations.is_empty(), "{}", report.violations.join("\n"));
}

#[test]
fn the_vocabulary_may_not_get_a_dependency_that_does_io() {
    let found =
        violations(&[manifest("ringfence-model", "[dependencies]\nserde = '1'\ntokio = '1'\n")]);
    assert_eq!(
        found,
        ["ringfence-model may not depend on tokio: its list of dependencies is closed"]
    );
}

#[test]
fn the_command_line_may_not_reach_the_daemon_or_the_vault() {
    for dependency in
        ["ringfenced", "ringfence-vault", "ringfence-share", "ringfence-gateway", "rustic_core"]
    {
        let found =
            violations(&[manifest("ringfence", &format!("[dependencies]\n{dependency} = '1'\n"))]);
        assert_eq!(found.len(), 1, "{dependency}: {found:?}");
    }
}

#[test]
fn a_renamed_dependency_of_one_target_is_still_seen() {
    let hidden =
        "[target.'cfg(unix)'.dependencies]\nfs = { package = 'virtiofsd', version = '1' }\n";
    assert_eq!(violations(&[manifest("ringfenced", hidden)]).len(), 1);
}

#[test]
fn what_tests_use_is_not_shipped() {
    let found = violations(&[manifest("ringfence-model", "[dev-dependencies]\nproptest = '1'\n")]);
    assert!(found.is_empty(), "{found:?}");
}

#[test]
fn a_process_is_started_only_by_its_owner() {
    let text = format!("//! Header.\nfn f() {{ {}\"ls\"); }}\n", super::source::STARTS_A_PROCESS);
    assert_eq!(violations(&[file("crates/daemon/src/image.rs", text.clone())]).len(), 1);
    assert!(violations(&[file("crates/daemon/src/host/command.rs", text.clone())]).is_empty());
    assert!(violations(&[file("crates/daemon/tests/it/main.rs", text)]).is_empty());
}

#[test]
fn long_files_are_reported_and_longer_ones_fail() {
    let lines = |count: usize| format!("//! Header.\n{}", "fn f() {}\n".repeat(count));
    let report = check_files(&[file("crates/a/src/long.rs", lines(SOFT_LINES))]);
    assert_eq!((report.notes.len(), report.violations.len()), (1, 0));
    assert_eq!(violations(&[file("crates/a/src/long.rs", lines(HARD_LINES))]).len(), 1);
    let mostly_tests =
        format!("//! Header.\n#[cfg(test)]\nmod tests {{\n{}}}\n", lines(HARD_LINES));
    assert!(violations(&[file("crates/a/src/tested.rs", mostly_tests)]).is_empty());
}

#[test]
fn headers_reasons_and_finished_work_are_required() {
    let unfinished = concat!("//! Header.\n// TO", "DO later\n");
    for (text, complaint) in [
        ("fn f() {}\n", "header"),
        ("//! Header.\n#[expect(dead_code)]\nfn f() {}\n", "without a reason"),
        ("//! Header.\n#[expect(\n    dead_code\n)]\nfn reason() {}\n", "without a reason"),
        ("//! Header.\n#[allow(dead_code, reason = \"x\")]\nfn f() {}\n", "expect"),
        (unfinished, "finish it"),
    ] {
        let found = violations(&[file("crates/a/src/lib.rs", text)]);
        assert!(found.len() == 1 && found[0].contains(complaint), "{text}: {found:?}");
    }
    let good = "//! Header.\n#[expect(\n    dead_code,\n    reason = \"shown\"\n)]\nfn f() {}\n";
    assert!(violations(&[file("crates/a/src/lib.rs", good)]).is_empty());
}

#[test]
fn scripts_are_read_too() {
    let text = concat!("#!/bin/sh\n# FIX", "ME\n");
    assert_eq!(violations(&[file("guest/start", text)]).len(), 1);
}

#[test]
fn a_file_missing_from_its_list_is_found() {
    let files = [
        file("docs/adr/README.md", "0001-a.md"),
        file("docs/adr/0001-a.md", ""),
        file("docs/adr/0002-b.md", ""),
    ];
    let Report { violations, .. } = check_files(&files);
    assert_eq!(violations, ["docs/adr/0002-b.md is not named in docs/adr/README.md"]);
}
