//! Tests of the judge, as tables: what was, what is, what is found.

use super::*;
use Danger::{Obeyed, RunsByItself, RunsWhenUsed};
use HazardKind::{
    Agent, Build, Executable, GitConfig, GitHook, GitPlace, GitStep, LinkOutside, SetId,
};

const FOLDER: &[u8] = b"/home/ann/shop";

fn file(content: &str) -> Side<'_> {
    let content = Content::Bytes(content.as_bytes());
    Side { kind: EntryKind::File, mode: 0o644, target: None, content }
}

fn program(content: &str) -> Side<'_> {
    Side { mode: 0o755, ..file(content) }
}

fn link(target: &str) -> Side<'_> {
    let content = Content::Unknown;
    Side { kind: EntryKind::Link, mode: 0o777, target: Some(target), content }
}

fn hazard(path: &str, before: Option<Side<'_>>, after: Side<'_>) -> Option<Hazard> {
    let evidence = Evidence { folder: FOLDER, path: path.as_bytes(), before, after };
    judge(&evidence, &GitPlaces::default())
}

fn found(path: &str, before: Option<Side<'_>>, after: Side<'_>) -> Option<(HazardKind, Danger)> {
    hazard(path, before, after).map(|hazard| (hazard.kind, hazard.danger))
}

#[test]
fn each_kind_is_found_and_what_did_not_change_is_none() {
    let mine = "[core]\n\teditor = vim\n";
    let evil = "[core]\n\teditor = vim\n\tfsmonitor = ./evil\n";
    let scripts = r#"{"scripts":{"test":"x"}}"#;
    for (path, before, after, expected) in [
        (".git/hooks/post-commit", None, program("x"), Some((GitHook, RunsByItself))),
        (".git/hooks/post-commit", None, file("x"), Some((GitHook, RunsByItself))),
        (".git/hooks/pre-push", Some(file("x")), program("x"), Some((GitHook, RunsByItself))),
        (".git/hooks", None, link("../evil"), Some((GitHook, RunsByItself))),
        (".git/hooks/update.sample", None, file("x"), None),
        (".git/config", Some(file(mine)), file(evil), Some((GitConfig, RunsByItself))),
        (".git/config", Some(file(evil)), file(evil), None),
        (".git/config", Some(file(mine)), file("[user]\nname = B\n"), None),
        (".git/config", None, file("[core"), Some((GitConfig, RunsByItself))),
        (".git/config", None, link("../evil"), Some((GitConfig, RunsByItself))),
        ("a/.git/config", None, file("[http]\nproxy = x"), Some((GitConfig, RunsWhenUsed))),
        ("home/.gitconfig", None, file(evil), Some((GitConfig, RunsWhenUsed))),
        ("app/config", None, file("key: value"), None),
        ("app/config", None, file(evil), Some((GitConfig, RunsWhenUsed))),
        ("sub/.git", None, file("gitdir: ../.git/modules/sub\n"), None),
        ("sub/.git", None, file("gitdir: /home/ann/shop/.git/worktrees/w\n"), None),
        ("sub/.git", None, file("gitdir: ../evil\n"), Some((GitPlace, RunsByItself))),
        ("sub/.git", None, file("gitdir: /evil\n"), Some((GitPlace, RunsByItself))),
        ("sub/.git", None, link("../evil"), Some((GitPlace, RunsByItself))),
        (".git/worktrees/w/commondir", None, file("../..\n"), None),
        (".git/commondir", None, file("../evil\n"), Some((GitPlace, RunsByItself))),
        (".git/objects/info/alternates", None, file("/x"), Some((GitPlace, Obeyed))),
        (
            ".git/rebase-merge/git-rebase-todo",
            None,
            file("pick a\nexec rm\n"),
            Some((GitStep, RunsByItself)),
        ),
        (".git/rebase-merge/git-rebase-todo", None, file("pick a\n"), None),
        (".git/index", None, file("x"), None),
        ("package.json", Some(file("{}")), file(scripts), Some((Build, RunsWhenUsed))),
        ("package.json", Some(file(scripts)), file(r#"{"scripts":{"test":"x"},"v":1}"#), None),
        ("package.json", None, file("{"), Some((Build, RunsWhenUsed))),
        (".claude/settings.json", None, file("{}"), Some((Agent, RunsWhenUsed))),
        (".claude", None, link("../x"), Some((Agent, RunsWhenUsed))),
        ("CLAUDE.md", None, file("x"), Some((Agent, Obeyed))),
        ("run.sh", None, program("x"), Some((Executable, RunsWhenUsed))),
        ("run.sh", Some(file("x")), program("x"), Some((Executable, RunsWhenUsed))),
        ("run.sh", Some(program("x")), program("y"), None),
        ("x", None, Side { mode: 0o4755, ..file("x") }, Some((SetId, RunsWhenUsed))),
        ("x", Some(program("x")), Side { mode: 0o2755, ..file("x") }, Some((SetId, RunsWhenUsed))),
        ("x", Some(Side { mode: 0o4755, ..file("x") }), Side { mode: 0o4755, ..file("y") }, None),
        ("x", None, link("/etc/passwd"), Some((LinkOutside, Obeyed))),
        ("x", None, link("../other"), Some((LinkOutside, Obeyed))),
        ("x", None, link("a/../b"), None),
        ("x", Some(link("/etc/passwd")), link("/etc/passwd"), None),
        ("src/main.rs", None, file("x"), None),
    ] {
        assert_eq!(found(path, before, after), expected, "{path}: {before:?} → {after:?}");
    }
}

#[test]
fn what_cannot_be_judged_is_found() {
    let unknown = Side { content: Content::Unknown, ..file("") };
    for path in [".git/config", "sub/.git", ".git/rebase-merge/git-rebase-todo"] {
        let expected = Some(RunsByItself);
        assert_eq!(found(path, None, unknown).map(|found| found.1), expected, "{path}");
    }
    assert!(found("package.json", None, unknown).is_some());
    assert!(found("app/config", None, unknown).is_none(), "git does not look there by itself");
    // Nor is what could not be read before taken for the same.
    assert!(found(".git/config", Some(unknown), unknown).is_some());
}

#[test]
fn it_says_which_keys_and_parts() {
    let config = "[core]\nfsmonitor = x\n[alias]\nst = !y\n[remote \"o\"]\nurl = z\n";
    let why = hazard(".git/config", None, file(config)).expect("found").why;
    assert_eq!(why, "core.fsmonitor, alias.st");
    let package = r#"{"scripts":{"postinstall":"x"}}"#;
    let why = hazard("package.json", None, file(package)).expect("found").why;
    assert_eq!(why, "npm runs it: scripts.postinstall");
}

#[test]
fn only_what_decides_is_read() {
    let git = GitPlaces::default();
    for path in [".git/config", "sub/.git", "package.json", ".claude/settings.json", "app/config"] {
        assert!(wants_content(path.as_bytes(), &git), "{path}");
    }
    for path in [".git/hooks/pre-push", "Makefile", "src/main.rs", ".git/objects/pack/x.pack"] {
        assert!(!wants_content(path.as_bytes(), &git), "{path}");
    }
}
