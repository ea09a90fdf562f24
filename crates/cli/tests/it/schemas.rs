//! What `--json` prints is as the schemas in `docs/reference/schema` say.

use std::path::Path;

use ringfence_model::bytes::BytePath;
use ringfence_model::health::{CheckProblem, CheckView, RepairView, TouchedSnapshot};
use ringfence_model::history::{
    Change, ChangeCounts, ChangeKind, DiffView, EntryKind, HistoryEntry, HistoryView, PathChange,
    PlanView, SnapshotKind, SnapshotView, TextDiff,
};
use ringfence_model::kept::{Act, KeptView, Loss, OperationView, SessionDiffView};
use ringfence_model::name::SessionId;
use ringfence_model::prune::{Judged, PruneView};
use ringfence_testkit::schema::violations;
use serde_json::{Value, json};

use crate::support::{Home, Reply};
use crate::{approve, tables};

fn schema(name: &str) -> Value {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference/schema");
    let text = std::fs::read_to_string(directory.join(format!("{name}.json"))).expect("a schema");
    serde_json::from_str(&text).expect("JSON")
}

fn snapshot() -> SnapshotView {
    let snapshot = tables::entry()["snapshot"].clone();
    let snapshot: SnapshotView = serde_json::from_value(snapshot).expect("a snapshot");
    SnapshotView { kind: Some(SnapshotKind::BeforeRestore), session: Some("s".into()), ..snapshot }
}

fn history() -> HistoryView {
    let path = PathChange { change: ChangeKind::TypeChanged, kind: EntryKind::Pipe, size: None };
    HistoryView {
        snapshots: vec![
            HistoryEntry { snapshot: snapshot(), changes: None, path: None },
            HistoryEntry {
                snapshot: snapshot(),
                changes: Some(ChangeCounts::default()),
                path: Some(path),
            },
        ],
        damaged: vec!["one".into()],
    }
}

fn diff() -> DiffView {
    let path = BytePath::from_bytes(b"\xff");
    let change = Change {
        path: path.clone(),
        change: ChangeKind::Modified,
        size_before: Some(1),
        size_after: None,
    };
    DiffView {
        from: "a".into(),
        to: "now".into(),
        changes: vec![change],
        texts: vec![TextDiff { path, unified: String::new(), note: Some("binary".into()) }],
        notes: vec!["n".into()],
    }
}

fn plan() -> PlanView {
    let paths = vec![BytePath::from_bytes(b"a"), BytePath::from_bytes(b"\xfe")];
    PlanView {
        snapshot: "0123".into(),
        snapshot_time: Some(snapshot().time),
        create: paths.clone(),
        delete: paths,
        notes: vec!["n".into()],
        ..PlanView::default()
    }
}

fn check() -> CheckView {
    let paths = vec![BytePath::from_bytes(b"\xff")];
    let snapshot =
        TouchedSnapshot { id: "0123".into(), time: None, whole: false, entries: 1, paths };
    let problem = CheckProblem {
        error: false,
        name: "pack-unused".into(),
        what: "a pack is not used".into(),
        file: Some("data/00/00".into()),
        touched: 1,
        snapshots: vec![snapshot],
    };
    CheckView { snapshots: 1, bytes_read: 2, problems: vec![problem] }
}

fn repair() -> RepairView {
    let words = || vec!["words".to_owned()];
    RepairView { applied: false, steps: words(), beyond: words(), healed: words(), check: check() }
}

fn prune() -> PruneView {
    let judged = || vec![Judged::new(&snapshot(), vec!["the newest".into()])];
    PruneView {
        folder: "/work".into(),
        rule: "monthly".into(),
        forget: judged(),
        keep: judged(),
        vault_bytes: 3,
        freed_now: 2,
        freed_later: 1,
        rewritten: 0,
        applied: false,
    }
}

fn versions() -> Vec<KeptView> {
    let path = BytePath::from_bytes(b"caf\xe9");
    let time = snapshot().time;
    vec![KeptView { number: 1, time, loss: Loss::Removed, path, bytes: 5, mode: 0o644 }]
}

fn session() -> Value {
    let hazard = json!({ "path": "a", "kind": "git-config", "danger": "runs-when-used", "why": "x",
        "entries": 1, "state": "told" });
    json!({ "id": "s1", "profile": "claude", "machine": "m", "folder": "f", "folder_path": "/work",
        "command": [], "state": "ended", "started": "2026-11-23T13:00:00Z", "ended": null,
        "exit": null, "guard": "freeze", "opening_snapshot": null, "closing_snapshot": null,
        "exit_check": { "hazards": [hazard], "more": 1, "notes": ["n"] } })
}

fn session_diff() -> SessionDiffView {
    let operation = OperationView {
        number: 2,
        time: snapshot().time,
        process: 812,
        user: 1000,
        act: Act::RemovedDirectory,
        path: BytePath::from_bytes(b"caf\xe9"),
        other: Some(BytePath::from_bytes(b"b")),
        size_before: Some(5),
        size_after: None,
    };
    let session = SessionId::new("s1").expect("an id");
    SessionDiffView { session, complete: true, operations: vec![operation], diff: diff() }
}

fn status() -> Value {
    let mut status = tables::status();
    // A field of a later version is in no schema of this one.
    status.as_object_mut().expect("an object").remove("a field of a later version");
    // The daemon always writes these; an older one did not.
    status["folders"][0]["copies"] = json!([]);
    status["folders"][0]["held"] = json!([approve::held("x")]);
    status["folders"][0]["held_count"] = json!(1);
    status["folders"][0]["health"] = json!(null);
    status
}

#[test]
fn json_is_as_its_schema_says() {
    let home = Home::new();
    let root = home.path("work");
    let lookup =
        json!({ "registered": root, "canonical": root, "guest_path": root, "vaults": "/v" });
    let mut folders = status()["folders"].clone();
    folders[0]["path"] = json!(root);
    let value = |value: Value| Reply::Json(200, value);
    let plan = || Reply::Stream(vec![json!({ "done": plan() })]);
    let _server = home.serve(&[
        ("GET /v1/folders/lookup", value(lookup)),
        ("GET /v1/history", value(json!(history()))),
        ("POST /v1/diff", value(json!(diff()))),
        ("GET /v1/entry", value(tables::entry())),
        ("POST /v1/restore", plan()),
        ("POST /v1/undo", plan()),
        ("POST /v1/undelete", plan()),
        ("GET /v1/status", value(status())),
        ("GET /v1/folders", value(folders)),
        ("POST /v1/backup/pin", value(json!(snapshot()))),
        ("POST /v1/backup/check", Reply::Stream(vec![json!({ "done": check() })])),
        ("POST /v1/backup/repair", Reply::Stream(vec![json!({ "done": repair() })])),
        ("POST /v1/backup/prune", Reply::Stream(vec![json!({ "done": prune() })])),
        ("GET /v1/sessions", value(json!([session()]))),
        ("POST /v1/sessions/s1/diff", value(json!(session_diff()))),
        ("GET /v1/sessions/s1/kept", value(json!(versions()))),
        ("GET /v1/sessions/s1", value(session())),
        ("POST /v1/folders/approve", Reply::Stream(vec![json!({ "done": approve::approved() })])),
    ]);
    let cases: [(&[&str], &str); 17] = [
        (&["history"], "history"),
        (&["diff"], "diff"),
        (&["diff", "--session", "s1"], "session-diff"),
        (&["show", "latest", "x"], "show"),
        (&["restore", "--dry-run"], "plan"),
        (&["undo", "--dry-run"], "plan"),
        (&["undelete", "gone", "--dry-run"], "plan"),
        (&["status"], "status"),
        (&["backup", "status"], "folders"),
        (&["folder", "list"], "folders"),
        (&["history", "--pin", "latest"], "snapshot"),
        (&["backup", "check"], "check"),
        (&["backup", "check", "--repair"], "repair"),
        (&["backup", "prune", "--dry-run"], "prune"),
        (&["session", "kept", "s1"], "versions"),
        (&["session", "show", "s1"], "session"),
        (&["folder", "approve", ".", "--dry-run"], "approve"),
    ];
    for (arguments, name) in cases {
        let ran = home.run(&[arguments, &["--json"]].concat()).expect(0);
        let document: Value = serde_json::from_str(&ran.stdout).expect("JSON");
        assert_eq!(document["schema"], 1, "{arguments:?}");
        let found = violations(&schema(name), &document);
        assert!(found.is_empty(), "{arguments:?}: {found:#?}");
    }
    // It can fail: another command's document is not what the schema says.
    let ran = home.run(&["diff", "--json"]).expect(0);
    let document: Value = serde_json::from_str(&ran.stdout).expect("JSON");
    assert!(!violations(&schema("plan"), &document).is_empty());
}
