//! What a folder says about itself counts in the version that a person approved, whatever an
//! agent makes of the file.

use std::fs;
use std::os::unix::fs::symlink;

use ringfence_model::api::{HintRequest, RunRequest};
use ringfence_model::audit::DecisionsRequest;
use ringfence_model::config::{HintStanding, HintView};
use ringfence_model::error::{ApiError, ErrorKind};
use ringfence_model::name::ProfileName;
use ringfence_model::protection::Actor;
use ringfence_model::session::SessionState;
use ringfence_model::status::FolderStatus;
use ringfenced::supervisor::report::{Report, Told};
use serde_json::json;

use crate::Lab;
use crate::frozen::remember;
use crate::held::at_work;

impl Lab {
    fn say(&self, text: &str) {
        fs::write(self.project.join(".ringfence.toml"), text).expect("written");
    }

    async fn ask_hint(&self, snapshot: Option<String>) -> Result<HintView, ApiError> {
        let request = HintRequest { folder: self.project.clone(), snapshot, terminal: None };
        self.daemon.approve_hint(&request, Actor::default(), &Report::nobody()).await
    }

    async fn approve_hint(&self) -> HintView {
        let shown = self.ask_hint(None).await.expect("shown");
        assert!(!shown.applied);
        self.ask_hint(Some(shown.snapshot)).await.expect("approved")
    }

    async fn folder(&self) -> FolderStatus {
        self.daemon.status().await.expect("status").folders.remove(0)
    }

    async fn standing(&self) -> Option<HintStanding> {
        self.folder().await.hint.map(|hint| hint.standing)
    }

    /// Why a run is refused; one that is admitted fails later, for want of its secret.
    async fn refusal_told(&self, report: Report) -> Option<String> {
        let request = RunRequest {
            directory: Some(self.project.clone()),
            profile: Some(ProfileName::new("keyed").expect("name")),
            command: true,
            ..RunRequest::default()
        };
        let error = self.daemon.run(request, report).await.expect_err("no secret");
        (!error.message.contains("secret key cannot be had")).then_some(error.message)
    }

    async fn refusal(&self) -> Option<String> {
        self.refusal_told(Report::nobody()).await
    }

    /// A lab with a folder and a profile that is admitted and goes no further.
    async fn keyed() -> Self {
        let lab = Self::new();
        lab.configure(
            "[secret.key]\nfile = \"/no-such-file\"\n[profile.keyed]\nsecrets = [\"key\"]\n",
        );
        lab.protected().await;
        lab
    }
}

const DENIES: &str = "deny = [\"keyed\"]\n";

#[tokio::test(flavor = "multi_thread")]
async fn a_hint_counts_once_approved_and_whatever_happens_to_the_file() {
    let lab = Lab::keyed().await;
    assert_eq!(lab.standing().await, None);
    lab.say(DENIES);
    assert_eq!(lab.standing().await, Some(HintStanding::New));
    let status = lab.daemon.status().await.expect("status");
    let told = |status: &ringfence_model::status::Status| {
        let of_hint = |command: &String| command.ends_with(" --hint");
        status.problems.iter().filter(|p| p.command.as_ref().is_some_and(of_hint)).count()
    };
    assert_eq!(told(&status), 1, "{:?}", status.problems);
    assert_eq!(lab.refusal().await, None, "nobody approved it");

    let view = lab.approve_hint().await;
    assert_eq!((view.says, view.applied), (vec!["deny: keyed".to_owned()], true));
    assert_eq!(lab.standing().await, Some(HintStanding::InForce));
    assert_eq!(told(&lab.daemon.status().await.expect("status")), 0);
    let refused = lab.refusal().await.expect("denied");
    assert!(refused.contains("its .ringfence.toml says so"), "{refused}");

    // An agent empties it, removes it, puts a link or a directory there.
    let file = lab.project.join(".ringfence.toml");
    lab.say("");
    assert_eq!(lab.standing().await, Some(HintStanding::Changed));
    assert!(lab.refusal().await.is_some());
    fs::remove_file(&file).expect("removed");
    assert_eq!(lab.standing().await, Some(HintStanding::Gone));
    assert!(lab.refusal().await.is_some());
    symlink("/dev/zero", &file).expect("a link");
    assert_eq!(lab.standing().await, Some(HintStanding::Changed));
    let error = lab.ask_hint(None).await.expect_err("a link");
    assert!(error.message.contains("is not a regular file"), "{error}");
    assert!(lab.refusal().await.is_some());

    // Also for the next daemon; and only a person ends it.
    let lab = lab.restarted();
    assert!(lab.refusal().await.is_some());
    fs::remove_file(&file).expect("removed");
    let view = lab.approve_hint().await;
    assert!(!view.present && view.before.is_some(), "{view:?}");
    assert_eq!(lab.standing().await, None);
    assert_eq!(lab.refusal().await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_shown_is_what_is_approved() {
    let lab = Lab::keyed().await;
    lab.say(DENIES);
    let shown = lab.ask_hint(None).await.expect("shown");
    lab.say("# nothing any more\n");
    let approved = lab.ask_hint(Some(shown.snapshot)).await.expect("approved");
    assert_eq!(approved.says, ["deny: keyed"]);
    assert!(lab.refusal().await.is_some());
    assert_eq!(lab.standing().await, Some(HintStanding::Changed));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mistake_is_told_with_its_place_and_changes_nothing() {
    let lab = Lab::keyed().await;
    lab.say(DENIES);
    lab.approve_hint().await;
    lab.say("# mine\nshare_anyway = [\"home\"]\n");
    let error = lab.ask_hint(None).await.expect_err("a mistake");
    assert_eq!(error.kind, ErrorKind::Config);
    assert!(error.message.contains(".ringfence.toml:2:1: `share_anyway` cannot"), "{error}");
    let hint = lab.folder().await.hint.expect("a hint");
    assert!(hint.error.is_some_and(|error| error.starts_with("line 2: ")));
    assert_eq!(hint.says, ["deny: keyed"]);
    assert!(lab.refusal().await.is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_approved_hint_that_cannot_be_read_any_more_shows_the_folder_to_nobody() {
    let lab = Lab::keyed().await;
    let folder = lab.folder().await;
    lab.say("hide = [\"keys/\"]\n");
    lab.approve_hint().await;
    assert_eq!(lab.refusal().await, None);
    let record = lab.daemon.layout.state.join("hints").join(format!("{}.json", folder.id));
    let text = fs::read_to_string(&record).expect("read");
    fs::write(&record, text.replace("keys/", "[keys")).expect("written");
    assert!(lab.refusal().await.is_some_and(|why| why.contains("may not see")));
    assert!(lab.folder().await.hint.expect("a hint").says[0].starts_with("profiles: nobody"));
    fs::write(&record, "{").expect("written");
    assert!(
        lab.daemon
            .status()
            .await
            .expect("status")
            .problems
            .iter()
            .any(|problem| { problem.message.contains("cannot be read") })
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_says_what_waits_and_the_record_what_counted() {
    let lab = Lab::keyed().await;
    lab.say("network = \"offline\"\n");
    let (report, mut told) = Report::channel();
    assert_eq!(lab.refusal_told(report).await, None);
    let mut notes = Vec::new();
    while let Some(item) = told.recv().await {
        if let Told::Note(note) = item {
            notes.push(note);
        }
    }
    let of_hint = |note: &&String| note.contains("counts for nothing until you approve it");
    assert_eq!(notes.iter().filter(of_hint).count(), 1, "{notes:?}");
    lab.approve_hint().await;
    assert_eq!(lab.refusal().await, None);
    let decisions = lab.daemon.decisions(&DecisionsRequest::default()).expect("read").decisions;
    let last = decisions.last().expect("one");
    assert!(last.reasons.contains(&".ringfence.toml: network: offline".to_owned()), "{last:?}");
    assert_eq!(last.network.map(|network| network.as_str()), Some("offline"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_has_more_than_an_approved_hint_allows_is_frozen() {
    let lab = Lab::new();
    let (modes, session, _) = at_work(&lab, |_| json!({ "mode": "rw" })).await;
    remember(&lab, &session);
    lab.say("access = \"ro\"\n");
    lab.approve_hint().await;
    let view = lab.daemon.session_view(&session.id).expect("a session");
    assert_eq!(view.session.state, SessionState::Frozen, "{view:?}");
    assert!(view.session.stricter[0].contains("read-only now"), "{view:?}");
    assert!(modes.lock().expect("unpoisoned").contains(&"held".to_owned()));
}
