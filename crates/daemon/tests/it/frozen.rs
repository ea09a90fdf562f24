//! A session whose share was stopped by the guard against mass loss: what the daemon makes of
//! it. The share's end is played; that it stops is tested where it is made.

use std::collections::BTreeSet;
use std::sync::Arc;

use ringfence_model::admit::{Granted, Reach, ShownNames, Traces};
use ringfence_model::api::RunRequest;
use ringfence_model::error::ErrorKind;
use ringfence_model::folder::Access;
use ringfence_model::machine::{Limits, Machine};
use ringfence_model::profile::Network;
use ringfence_model::session::{Session, SessionState};
use ringfence_model::size::Size;
use ringfence_model::status::Severity;
use ringfenced::store::Store;
use ringfenced::supervisor::report::Report;
use serde_json::{Value, json};

use crate::Lab;
use crate::held::at_work;

/// Halted until somebody agreed.
fn halted(heard: &[String]) -> Value {
    let agreed = heard.iter().any(|word| word == "resume");
    let alarm = (!agreed).then(|| json!({ "files": 500, "reaction": "freeze" }));
    json!({ "mode": "rw", "alarm": alarm })
}

fn request(lab: &Lab) -> RunRequest {
    RunRequest {
        directory: Some(lab.project.clone()),
        command: true,
        register: true,
        ..RunRequest::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_halted_share_freezes_its_session_until_somebody_decides() {
    let lab = Lab::new();
    let (heard, session, _) = at_work(&lab, halted).await;
    let id = session.id;
    let mind = tokio::spawn(Arc::clone(&lab.daemon).mind_losses());
    let frozen = |_: &_| lab.daemon.session(&id).is_ok_and(|now| now.state == SessionState::Frozen);
    lab.until(frozen).await;
    assert_eq!(lab.daemon.session(&id).expect("read").mass_loss.expect("noted").files, 500);

    let status = lab.daemon.status().await.expect("a status");
    let worst = status.problems.first().expect("a problem");
    assert_eq!(worst.severity, Severity::Error);
    assert_eq!(worst.command, Some(format!("ringfence session undo {id}")));
    let refused = Arc::clone(&lab.daemon).run(request(&lab), Report::nobody()).await;
    let refused = refused.expect_err("nothing else begins there");
    assert_eq!(refused.kind, ErrorKind::Frozen);
    assert!(refused.message.contains(id.as_str()), "{refused}");

    // The next daemon finds it as it was, and lets it go on when it is told to.
    mind.abort();
    let lab = lab.restarted();
    Arc::clone(&lab.daemon).recover().await;
    let mind = tokio::spawn(Arc::clone(&lab.daemon).mind_losses());
    assert_eq!(lab.daemon.session(&id).expect("read").state, SessionState::Frozen);
    assert!(heard.lock().expect("unpoisoned").is_empty(), "nobody has decided");
    let resumed = lab.daemon.resume_session(&id).await.expect("resumed");
    assert_eq!((resumed.state, resumed.mass_loss.is_some()), (SessionState::Running, true));
    assert_eq!(*heard.lock().expect("unpoisoned"), ["resume"]);
    let status = lab.daemon.status().await.expect("a status");
    let about = |text: &str| text.contains(id.as_str());
    assert!(!status.problems.iter().any(|problem| about(&problem.message)), "somebody agreed");
    assert!(lab.daemon.resume_session(&id).await.is_err(), "it is not frozen any more");
    mind.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_warning_is_written_down_and_the_session_goes_on() {
    let lab = Lab::new();
    let warned =
        |_: &[String]| json!({ "mode": "rw", "alarm": { "files": 7, "reaction": "warn" } });
    let (heard, session, _) = at_work(&lab, warned).await;
    let mind = tokio::spawn(Arc::clone(&lab.daemon).mind_losses());
    let noted = |_: &_| lab.daemon.session(&session.id).is_ok_and(|now| now.mass_loss.is_some());
    lab.until(noted).await;
    let now = lab.daemon.session(&session.id).expect("read");
    assert_eq!(now.state, SessionState::Running);
    assert!(heard.lock().expect("unpoisoned").is_empty(), "its share is left alone");
    mind.abort();
}

/// A session in a machine that remembers its folder, as an admission writes it down.
pub(crate) fn remember(lab: &Lab, session: &Session) {
    let store = Store::new(lab.daemon.layout.clone());
    let folder = session.folder.clone().expect("a folder");
    let machine = Machine {
        name: session.machine.clone(),
        limits: Limits { cpus: 1, memory: Size::gib(1), disk: Size::gib(4) },
        image: "x".into(),
        recipe: None,
        slot: 0,
        seen: Traces::of(&folder, &BTreeSet::new()),
        folder: Some(folder),
        because: None,
        created: session.started,
    };
    store.set_machine(&machine).expect("written");
    let granted = Granted {
        access: Access::Rw,
        names: ShownNames::default(),
        reach: Reach::new(Network::Internet, &[]),
        secrets: Vec::new(),
        agreed: BTreeSet::new(),
    };
    store.set_granted(&session.id, &granted).expect("written");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rule_that_becomes_stricter_freezes_the_session_until_somebody_decides() {
    let lab = Lab::new();
    let (heard, session, _) = at_work(&lab, |_| json!({ "mode": "rw" })).await;
    remember(&lab, &session);
    let id = session.id;
    let now = |lab: &Lab| lab.daemon.session(&id).expect("read");
    lab.daemon.freeze_what_has_more().await.expect("compared");
    assert_eq!(now(&lab).state, SessionState::Running, "nothing was changed");

    let mind = tokio::spawn(Arc::clone(&lab.daemon).mind_rules());
    let rule = |more: &str| format!("[[folder]]\npath = {:?}\n{more}\n", lab.project);
    lab.configure(&rule("profiles = [\"claude\"]"));
    lab.until(|_| now(&lab).state == SessionState::Frozen).await;
    assert_eq!(*heard.lock().expect("unpoisoned"), ["held"]);
    let reasons = now(&lab).stricter;
    assert!(reasons[0].contains("which profile shell may not see"), "{reasons:?}");
    let status = lab.daemon.status().await.expect("a status");
    let worst = status.problems.first().expect("a problem");
    assert_eq!(worst.severity, Severity::Error);
    assert!(worst.message.contains("the rules became stricter"), "{worst:?}");
    assert_eq!(worst.command, Some(format!("ringfence session undo {id}")));

    // Somebody agrees: it goes on, and is not asked about again. About more it is.
    lab.daemon.resume_session(&id).await.expect("resumed");
    assert_eq!(*heard.lock().expect("unpoisoned"), ["held", "rw"]);
    lab.daemon.freeze_what_has_more().await.expect("compared");
    assert_eq!(now(&lab).state, SessionState::Running);
    lab.configure(&rule("profiles = [\"claude\"]\naccess = \"ro\""));
    lab.until(|_| now(&lab).state == SessionState::Frozen).await;
    assert_eq!(now(&lab).stricter.len(), 1, "{:?}", now(&lab).stricter);
    assert!(now(&lab).stricter[0].contains("is read-only now"));
    mind.abort();

    // At its end it is not answered once more, not even to read.
    let exit =
        json!({ "schema": 1, "exit": { "code": 0 }, "reason": null, "ended": session.started });
    let record = lab.daemon.layout.session(&id).join("exit.json");
    std::fs::write(record, exit.to_string()).expect("written");
    lab.daemon.close(&id, &Report::nobody()).await.expect("closed");
    assert_eq!(*heard.lock().expect("unpoisoned"), ["held", "rw", "held", "closed"]);
}
