//! Wrong command lines, and the commands that need no daemon.

use crate::support::Home;

#[test]
fn wrong_usage_has_the_codes_of_the_contract() {
    let home = Home::new();
    let cases: &[(&[&str], i32)] = &[
        (&[], 2),
        (&["bogus"], 2),
        (&["status", "--bogus"], 2),
        (&["machine", "create", "Not A Name"], 2),
        (&["undo", "--dry-run", "--yes"], 2),
        (&["backup", "off", "x"], 2),
        (&["folder", "set", "x"], 2),
        (&["folder", "set", "x", "--access", "write"], 2),
        (&["diff", "the other day"], 2),
        (&["run"], 252),
        (&["run", "--bogus"], 252),
        (&["run", "claude", "--profile", "codex", "--", "x"], 252),
        (&["run", "claude", "--network", "lan"], 252),
        (&["-q", "exec", "m"], 252),
        (&["shell", "a", "b"], 252),
    ];
    for (arguments, code) in cases {
        let ran = home.run(arguments);
        assert_eq!(ran.code, *code, "{arguments:?}: {ran:#?}");
        assert_eq!(ran.stdout, "", "{arguments:?}");
        assert!(!ran.stderr.is_empty(), "{arguments:?}");
    }
    // None of them needed a daemon.
    assert!(!home.socket().exists());
}

#[test]
fn a_contradiction_names_both_ways_out() {
    let ran = Home::new().run(&["run", "claude", "--profile", "codex", "--", "x"]).expect(252);
    insta::assert_snapshot!(ran.stderr, @r"
    error: PROFILE and --profile cannot be used together
      next: ringfence run PROFILE -- ARGS        (arguments for the agent)
      next: ringfence run --profile P -- COMMAND (another command under its rules)
    ");
}

#[test]
fn help_version_completions_and_manual_need_no_daemon() {
    let home = Home::new();
    assert!(home.run(&["--help"]).expect(0).stdout.contains("ringfence run claude"));
    assert!(home.run(&["--version"]).expect(0).stdout.starts_with("ringfence "));
    for shell in ["bash", "zsh", "fish"] {
        let script = home.run(&["completions", shell]).expect(0).stdout;
        assert!(script.contains("restore"), "{shell}");
        assert!(!script.contains("__become-daemon"), "{shell}");
    }
    let pages = home.path("pages");
    std::fs::create_dir(&pages).expect("a directory");
    home.run(&["man", pages.to_str().expect("text")]).expect(0);
    assert!(pages.join("ringfence-backup-off.1").is_file());
    home.run(&["man", "/no/such/directory"]).expect(1);
}

#[test]
fn without_any_home_it_says_what_to_set() {
    let home = Home::new();
    let output =
        home.command(&["status"]).env_remove("RINGFENCE_HOME").output().expect("it starts");
    let ran = crate::support::Ran::from(output).expect(3);
    assert!(ran.stderr.contains("RINGFENCE_HOME nor HOME"), "{}", ran.stderr);
    assert!(ran.stderr.contains("next: export HOME="), "{}", ran.stderr);
}

#[test]
fn the_end_of_the_daemons_log_is_read_without_a_daemon() {
    let home = Home::new();
    let ran = home.run(&["daemon", "logs"]).expect(1);
    assert!(ran.stderr.contains("daemon.log cannot be read"), "{}", ran.stderr);
    std::fs::create_dir_all(home.path("home/state/logs")).expect("a directory");
    std::fs::write(home.path("home/state/logs/daemon.log"), "one\ntwo\x1b[2J\nthree\n")
        .expect("written");
    assert_eq!(home.run(&["daemon", "logs", "-n", "2"]).expect(0).stdout, "two\nthree\n");
    home.run(&["daemon", "status"]).expect(7);
    home.run(&["daemon", "stop"]).expect(0);
}
