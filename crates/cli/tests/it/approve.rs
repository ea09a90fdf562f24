//! `folder approve` and `folder set --exit-check`: shown, asked, done; never done without a yes.

use serde_json::{Value, json};

use crate::support::{Home, Reply};
use crate::tables;

pub(crate) fn held(path: &str) -> Value {
    json!({ "path": path, "kind": "git-hook", "why": "git runs it by itself; new", "session": "s-1",
        "before": "aa", "after": "bb", "since": "2026-11-23T13:00:00Z" })
}

pub(crate) fn approved() -> Value {
    json!({
        "held": [held(".git/hooks/evil\u{1b}[2J")], "snapshot": "0123456789abcdef", "target": "/x/shop",
        "create": [{ "path": ".git/hooks/evil\u{1b}[2J" }], "replace": [], "delete": [], "metadata": [],
        "conflicts": [{ "path": ".git/config" }], "bytes": 12, "applied": true, "before": "fedcba9876543210",
    })
}

pub(crate) fn hint() -> Value {
    json!({ "snapshot": "0123456789abcdef", "present": true, "says": ["deny: codex"], "before": ["access: ro"],
        "unknown": ["codex"], "applied": false })
}

/// A daemon whose folder is where the test stands.
fn daemon(home: &Home, held_count: u64) -> crate::support::Server {
    let root = home.path("work");
    let lookup =
        json!({ "registered": root, "canonical": root, "guest_path": root, "vaults": "/v" });
    let mut folder = tables::status()["folders"][0].clone();
    (folder["path"], folder["held_count"]) = (json!(root), json!(held_count));
    home.serve(&[
        ("GET /v1/folders/lookup", Reply::Json(200, lookup)),
        ("GET /v1/folders", Reply::Json(200, json!([folder.clone()]))),
        ("POST /v1/folders/set", Reply::Json(200, folder)),
        ("POST /v1/folders/hint", Reply::Stream(vec![json!({ "done": hint() })])),
        ("POST /v1/folders/approve", Reply::Stream(vec![json!({ "done": approved() })])),
    ])
}

#[test]
fn nothing_is_let_in_without_a_yes() {
    let home = Home::new();
    let server = daemon(&home, 1);
    let ran = home.run(&["folder", "approve", "."]).expect(4);
    assert!(ran.stderr.contains("evil\\u{1b}[2J (git hook:"), "{}", ran.stderr);
    assert!(ran.stderr.contains("next: ringfence folder approve --yes"), "{}", ran.stderr);
    let ran = home.run(&["folder", "approve", ".", "--dry-run"]).expect(0);
    assert!(ran.stdout.contains("leave alone"), "{}", ran.stdout);
    let bodies = server.bodies("POST /v1/folders/approve");
    assert!(bodies.iter().all(|body| body["dry_run"] == true), "{bodies:?}");
}

#[test]
fn a_yes_lets_in_what_was_shown() {
    let home = Home::new();
    let server = daemon(&home, 1);
    let ran = home.run(&["folder", "approve", ".", "--yes", "--all"]).expect(0);
    assert!(
        ran.stderr.contains("1 path let in. 1 path left alone and still held"),
        "{}",
        ran.stderr
    );
    let bodies = server.bodies("POST /v1/folders/approve");
    assert_eq!(bodies[1]["agreed"], json!([{ "path": ".git/hooks/evil\u{1b}[2J" }]));
    assert_eq!((&bodies[1]["dry_run"], &bodies[1]["all"]), (&json!(false), &json!(true)));
    home.run(&["folder", "approve", ".", "--yes", "--drop"]).expect(0);
    assert_eq!(server.bodies("POST /v1/folders/approve")[3]["drop"], true);
    home.run(&["folder", "approve", ".", "--drop", "--all"]).expect(2);
}

#[test]
fn nothing_held_is_no_failure_and_asks_nothing() {
    let home = Home::new();
    let server = daemon(&home, 0);
    let ran = home.run(&["folder", "approve", ".", "--yes"]).expect(0);
    assert!(ran.stderr.contains("is held back"), "{}", ran.stderr);
    assert!(server.bodies("POST /v1/folders/approve").is_empty());
    let ran = home.run(&["folder", "approve", ".", "--json"]).expect(0);
    let value: Value = serde_json::from_str(&ran.stdout).expect("JSON");
    assert_eq!(value["held"], json!([]));
}

#[test]
fn a_hint_is_shown_and_that_very_version_is_approved_after_a_yes() {
    let home = Home::new();
    let server = daemon(&home, 0);
    let ran = home.run(&["folder", "approve", ".", "--hint"]).expect(4);
    assert!(
        ran.stderr.contains("can only make rules stricter. It says:\n  deny: codex"),
        "{}",
        ran.stderr
    );
    assert!(ran.stderr.contains("next: ringfence folder approve --hint --yes"), "{}", ran.stderr);
    let ran = home.run(&["folder", "approve", ".", "--hint", "--dry-run", "--json"]).expect(0);
    let value: Value = serde_json::from_str(&ran.stdout).expect("JSON");
    assert_eq!((&value["says"], &value["applied"]), (&json!(["deny: codex"]), &json!(false)));
    let bodies = server.bodies("POST /v1/folders/hint");
    assert!(
        bodies.len() == 2 && bodies.iter().all(|body| body["snapshot"].is_null()),
        "{bodies:?}"
    );
    home.run(&["folder", "approve", ".", "--hint", "--yes"]).expect(0);
    let bodies = server.bodies("POST /v1/folders/hint");
    assert_eq!(bodies[3]["snapshot"], "0123456789abcdef");
    home.run(&["folder", "approve", ".", "--hint", "--contents"]).expect(2);
}

#[test]
fn the_rule_is_set_by_three_words() {
    let home = Home::new();
    let server = daemon(&home, 0);
    for word in ["hold", "warn", "off"] {
        home.run(&["folder", "set", ".", "--exit-check", word]).expect(0);
    }
    home.run(&["folder", "set", ".", "--exit-check", "on"]).expect(2);
    home.run(&["folder", "set", "."]).expect(2);
    let bodies = server.bodies("POST /v1/folders/set");
    let words: Vec<_> = bodies.iter().map(|body| body["exit_check"].clone()).collect();
    assert_eq!(words, ["hold", "warn", "off"]);
}
