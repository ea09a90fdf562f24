//! Restore and undo: shown, asked, done; never done without a yes.

use serde_json::{Value, json};

use crate::support::{Home, Reply};

fn plan(applied: bool) -> Value {
    json!({
        "snapshot": "0123456789abcdef", "target": "/x/shop",
        "create": [{ "path": "lost.txt" }, { "path": "evil\u{1b}[2J" }],
        "replace": [], "delete": [{ "path": "new.txt" }], "metadata": [], "conflicts": [],
        "bytes": 12, "applied": applied, "before": applied.then_some("fedcba9876543210"),
    })
}

/// The server answers every request with the same line; what it is asked is looked at.
fn answers(plan: Value) -> Reply {
    Reply::Stream(vec![json!({ "progress": { "what": "comparing" } }), json!({ "done": plan })])
}

#[test]
fn nothing_is_done_without_a_yes() {
    let home = Home::new();
    let server = home.serve(&[
        ("POST /v1/undo", answers(plan(false))),
        ("POST /v1/restore", answers(plan(false))),
    ]);
    for command in ["undo", "restore"] {
        let ran = home.run(&[command]).expect(4);
        assert!(ran.stderr.contains("create 2 paths"), "{}", ran.stderr);
        assert!(ran.stderr.contains("evil\\u{1b}[2J"), "{}", ran.stderr);
        assert!(ran.stderr.contains(&format!("next: ringfence {command} --yes")), "{}", ran.stderr);
        let bodies = server.bodies(&format!("POST /v1/{command}"));
        assert_eq!(bodies.len(), 1, "{bodies:?}");
        assert_eq!(bodies[0]["dry_run"], true);
    }
}

#[test]
fn a_yes_does_what_was_shown() {
    let home = Home::new();
    let server = home.serve(&[
        ("POST /v1/undo", answers(plan(true))),
        ("POST /v1/restore", answers(plan(true))),
    ]);
    let ran = home.run(&["undo", "--yes", "--all"]).expect(0);
    assert!(
        ran.stderr.contains("ringfence restore --folder /x/shop --at fedcba98"),
        "{}",
        ran.stderr
    );
    let bodies = server.bodies("POST /v1/undo");
    assert_eq!(bodies.iter().map(|b| b["dry_run"].clone()).collect::<Vec<_>>(), [true, false]);
    assert!(bodies.iter().all(|body| body["all"] == true));
    home.run(&["restore", "--at", "latest", "--yes"]).expect(0);
    let bodies = server.bodies("POST /v1/restore");
    assert_eq!(bodies[0]["at"], "latest");
    assert_eq!(bodies[1]["at"], "0123456789abcdef", "the snapshot that was shown");
}

#[test]
fn a_dry_run_and_json_print_the_plan() {
    let home = Home::new();
    let server = home.serve(&[("POST /v1/undo", answers(plan(false)))]);
    let ran = home.run(&["undo", "--dry-run"]).expect(0);
    assert!(ran.stdout.contains("delete 1 path"), "{}", ran.stdout);
    assert_eq!(ran.stderr, "");
    let ran = home.run(&["undo", "--dry-run", "--json"]).expect(0);
    let value: Value = serde_json::from_str(&ran.stdout).expect("JSON");
    assert_eq!((value["schema"].clone(), value["applied"].clone()), (json!(1), json!(false)));
    assert!(server.bodies("POST /v1/undo").iter().all(|body| body["dry_run"] == true));
}

fn session(id: &str) -> Value {
    json!({ "id": id, "profile": "claude", "machine": "m", "folder": null, "folder_path": null,
        "command": [], "state": "ended", "started": "2026-11-23T13:00:00Z", "ended": null,
        "exit": null, "opening_snapshot": "abcd1234", "closing_snapshot": null })
}

#[test]
fn an_undelete_is_planned_asked_and_done_from_the_snapshot_that_was_shown() {
    let home = Home::new();
    let root = home.path("work");
    let server = home.serve(&[
        ("POST /v1/undelete", answers(plan(true))),
        (
            "GET /v1/folders/lookup",
            Reply::Json(
                200,
                json!({ "registered": root, "canonical": root, "guest_path": root, "vaults": "/v" }),
            ),
        ),
    ]);
    let ran = home.run(&["undelete", "src/gone/deep"]).expect(4);
    assert!(ran.stderr.contains("next: ringfence undelete --yes"), "{}", ran.stderr);
    home.run(&["undelete", "src/gone/deep", "--yes"]).expect(0);
    let bodies = server.bodies("POST /v1/undelete");
    assert_eq!(bodies.len(), 3);
    assert!(bodies.iter().all(|body| body["path"] == json!({ "path": "src/gone/deep" })));
    assert_eq!((&bodies[1]["dry_run"], &bodies[1]["snapshot"]), (&json!(true), &Value::Null));
    assert_eq!(bodies[2]["dry_run"], false);
    assert_eq!(bodies[2]["snapshot"], "0123456789abcdef", "the snapshot that was shown");
}

#[test]
fn paths_and_states_are_sent_as_the_api_wants_them() {
    let home = Home::new();
    let root = home.path("work");
    let server = home.serve(&[
        ("POST /v1/restore", answers(plan(false))),
        (
            "GET /v1/folders/lookup",
            Reply::Json(
                200,
                json!({ "registered": root, "canonical": root, "guest_path": root, "vaults": "/v" }),
            ),
        ),
        (
            "GET /v1/sessions",
            Reply::Json(200, json!([session("s-1"), session("s-21"), session("t-21")])),
        ),
    ]);
    let at = "before session s-1";
    home.run(&["restore", "--dry-run", "--at", at, "src/gone.rs", "./README"]).expect(0);
    let body = server.bodies("POST /v1/restore").remove(0);
    assert_eq!(body["at"], "abcd1234");
    assert_eq!(body["paths"], json!([{ "path": "src/gone.rs" }, { "path": "README" }]));
    // The beginning or the end of a session's id is enough, as long as it means one.
    let ran = home.run(&["restore", "--dry-run", "--at", "before session 21"]).expect(2);
    assert!(ran.stderr.contains("session s-21 or session t-21"), "{}", ran.stderr);
    home.run(&["restore", "--dry-run", "--at", "before session t"]).expect(0);
    let ran = home.run(&["restore", "--dry-run", "--at", "after session t"]).expect(2);
    assert!(ran.stderr.contains("no closing snapshot yet"), "{}", ran.stderr);
    let ran = home.run(&["restore", "--dry-run", "--at", "before session x"]).expect(2);
    assert!(ran.stderr.contains("no session `x`"), "{}", ran.stderr);
    let ran = home.run(&["restore", "--dry-run", "../outside"]).expect(2);
    assert!(ran.stderr.contains("lies outside of"), "{}", ran.stderr);
}

#[test]
fn a_prune_lets_go_what_was_shown_and_only_after_a_yes() {
    let view = |applied: bool| {
        json!({
            "folder": "/x/shop", "rule": "everything for 2 days", "applied": applied,
            "forget": [{ "id": "0123456789abcdef", "time": "2026-11-20T09:00:00Z", "kind": "periodic",
                "session": null, "why": ["older than the rule reaches"] }],
            "keep": [], "vault_bytes": 10, "freed_now": 1, "freed_later": 2, "rewritten": 0,
        })
    };
    let home = Home::new();
    let server = home.serve(&[("POST /v1/backup/prune", answers(view(false)))]);
    let bodies = || server.bodies("POST /v1/backup/prune");
    let ran = home.run(&["backup", "prune", "/x/shop"]).expect(4);
    assert!(ran.stderr.contains("let go 1 snapshot"), "{}", ran.stderr);
    assert!(ran.stderr.contains("next: ringfence backup prune /x/shop --yes"), "{}", ran.stderr);
    let ran = home.run(&["backup", "prune", "/x/shop", "--dry-run", "--json"]).expect(0);
    let value: Value = serde_json::from_str(&ran.stdout).expect("JSON");
    assert_eq!((value["schema"].clone(), value["applied"].clone()), (json!(1), json!(false)));
    assert_eq!(bodies(), [json!({ "folder": "/x/shop" }), json!({ "folder": "/x/shop" })]);
    home.run(&["backup", "prune", "/x/shop", "--yes"]).expect(0);
    let agreed = json!({ "folder": "/x/shop", "agreed": ["0123456789abcdef"] });
    assert_eq!(bodies()[3], agreed);
}

#[test]
fn pins_are_set_and_taken_away() {
    let view = json!({ "id": "0123456789abcdef", "time": "2026-11-20T09:00:00Z", "kind": "periodic",
        "session": null, "profile": null, "files": 1, "bytes": 1, "pinned": "mine" });
    let home = Home::new();
    let server = home.serve(&[("POST /v1/backup/pin", Reply::Json(200, view))]);
    let ran = home.run(&["history", "/x/shop", "--pin", "01234567", "--reason", "mine"]).expect(0);
    assert!(ran.stderr.contains("ringfence history --unpin 01234567"), "{}", ran.stderr);
    home.run(&["history", "/x/shop", "--unpin", "01234567"]).expect(0);
    let bodies = server.bodies("POST /v1/backup/pin");
    assert_eq!(
        bodies,
        [
            json!({ "folder": "/x/shop", "snapshot": "01234567", "pinned": true, "reason": "mine" }),
            json!({ "folder": "/x/shop", "snapshot": "01234567", "pinned": false }),
        ]
    );
    home.run(&["history", "--reason", "mine"]).expect(2);
}
