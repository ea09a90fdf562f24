//! What a real daemon answers, as the command line prints it, is as the schemas say.

use std::fs;
use std::path::Path;

use ringfence_model::api::{DiffRequest, HistoryQuery, RestoreRequest, ShowQuery};
use ringfence_model::bytes::encode;
use ringfence_model::document::{Document, Folders};
use ringfence_model::health::{CheckRequest, RepairRequest};
use ringfence_model::protection::Actor;
use ringfence_model::prune::{PinRequest, PruneRequest};
use ringfence_testkit::schema::violations;
use ringfenced::supervisor::report::Report;
use serde::Serialize;

use crate::Lab;

#[track_caller]
pub(crate) fn check(name: &str, document: &impl Serialize) {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference/schema");
    let text = fs::read_to_string(directory.join(format!("{name}.json"))).expect("a schema");
    let schema = serde_json::from_str(&text).expect("JSON");
    let document = serde_json::to_value(document).expect("JSON");
    let found = violations(&schema, &document);
    assert!(found.is_empty(), "{name}: {found:#?}\n{document:#}");
}

#[tokio::test]
async fn real_answers_are_as_their_schemas_say() {
    let lab = Lab::new();
    let nobody = Report::nobody();
    lab.daemon.add_folder(&lab.project, &nobody).await.expect("added");
    fs::write(lab.project.join("src/main.rs"), "changed").expect("written");
    fs::remove_file(lab.project.join("dangling")).expect("removed");
    lab.daemon.backup_now(&lab.project, &nobody).await.expect("snapshot");
    let folder = || lab.project.clone();
    for path in [None, Some(&b"src"[..]), Some(b"src/main.rs")] {
        let query = HistoryQuery { folder: folder(), path_b64: path.map(encode), limit: None };
        let history = lab.daemon.history(query).await.expect("history");
        assert!(history.snapshots.len() > 1);
        check("history", &Document::new(history));
    }
    let first = lab.daemon.history(HistoryQuery { folder: folder(), path_b64: None, limit: None });
    let first = first.await.expect("history").snapshots.pop().expect("one").snapshot.id;
    let request = DiffRequest {
        folder: folder(),
        from: Some(first.clone()),
        to: None,
        text: true,
        paths: Vec::new(),
    };
    check("diff", &Document::new(lab.daemon.diff(request).await.expect("diff")));
    for path in [&b""[..], b"link", b"caf\xe9"] {
        let query = ShowQuery { folder: folder(), snapshot: first.clone(), path_b64: encode(path) };
        check("show", &Document::new(lab.daemon.entry(query).await.expect("an entry")));
    }
    for dry_run in [true, false] {
        let request = RestoreRequest {
            folder: folder(),
            at: Some(first.clone()),
            to: None,
            paths: Vec::new(),
            dry_run,
        };
        check("plan", &Document::new(lab.daemon.restore(request, &nobody).await.expect("a plan")));
    }
    let request = PinRequest {
        folder: folder(),
        snapshot: first.clone(),
        pinned: true,
        reason: None,
        terminal: None,
    };
    let pinned = lab.daemon.set_pin(&request, Actor::default()).await.expect("pinned");
    check("snapshot", &Document::new(pinned));
    let request = PruneRequest { folder: folder(), agreed: None };
    check("prune", &Document::new(lab.daemon.prune(request, &nobody).await.expect("a plan")));
    let vault = lab.daemon.status().await.expect("status").folders.remove(0).vault;
    fs::remove_file(vault.join("snapshots").join(&first)).expect("damaged");
    fs::write(vault.join("snapshots").join("ab".repeat(32)), "no snapshot").expect("damaged");
    let request = CheckRequest { folder: folder(), read_data: true };
    let checked = lab.daemon.check(request, &nobody).await.expect("checked");
    assert!(!checked.is_good(), "{checked:#?}");
    check("check", &Document::new(checked));
    let request = RepairRequest { folder: folder(), read_data: false, apply: false };
    check("repair", &Document::new(lab.daemon.repair(request, &nobody).await.expect("a plan")));
    let status = lab.daemon.status().await.expect("status");
    check("folders", &Document::new(Folders { folders: status.folders.clone() }));
    check("status", &status);
}
