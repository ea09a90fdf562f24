use ringfence_model::audit::DecisionsRequest;
use ringfence_model::layout::{Environment, Layout};
use ringfence_model::name::ProfileName;

use super::*;
use crate::supervisor::report::Told;

fn request(unprotected: Option<&str>) -> RunRequest {
    RunRequest {
        command: true,
        register: true,
        unprotected: unprotected.map(str::to_owned),
        ..RunRequest::default()
    }
}

#[tokio::test]
async fn a_session_without_protection_takes_the_folders_name() {
    let directory = tempfile::tempdir().expect("directory");
    let home = directory.path().join("home");
    let environment = Environment { ringfence_home: Some(home), ..Environment::default() };
    let daemon = Daemon::new(Layout::resolve(&environment).expect("layout"));
    let project = directory.path().join("shop");
    std::fs::create_dir(&project).expect("made");
    let folder = daemon.register(&project).expect("registered");
    let ask = |name| daemon.protection_or_consent(&request(name), Some(&folder));
    assert!(ask(None).expect("protected"));
    assert!(!ask(Some("shop")).expect("agreed to"));
    for wrong in ["", "shopp", "Shop", "yes"] {
        let refused = ask(Some(wrong)).expect_err("not its name");
        assert_eq!(refused.kind, ErrorKind::Refused, "{wrong}");
        assert!(refused.message.contains("`shop`"), "{refused}");
    }
}

/// A daemon with a folder and this configuration; the directory, the daemon and the folder's path.
fn configured(text: &str) -> (tempfile::TempDir, Arc<Daemon>, PathBuf) {
    let directory = tempfile::tempdir().expect("directory");
    let home = directory.path().join("home");
    let environment = Environment { ringfence_home: Some(home), ..Environment::default() };
    let layout = Layout::resolve(&environment).expect("layout");
    std::fs::create_dir_all(&layout.config).expect("made");
    let project = directory.path().join("shop");
    std::fs::create_dir(&project).expect("made");
    let text = text.replace("PROJECT", &project.display().to_string());
    std::fs::write(layout.config_file(), text).expect("written");
    let daemon = Daemon::new(layout);
    daemon.register(&project).expect("registered");
    (directory, daemon, project)
}

#[tokio::test]
async fn a_run_whose_secret_cannot_be_had_shares_and_starts_nothing() {
    let text = "[secret.key]\nfile = \"PROJECT.no-key\"\n[profile.keyed]\nsecrets = [\"key\"]\n";
    let (_directory, daemon, project) = configured(text);
    let request = RunRequest {
        directory: Some(project),
        profile: Some(ProfileName::new("keyed").expect("name")),
        ..request(None)
    };
    let refused = daemon.run(request, Report::nobody()).await.expect_err("no secret");
    assert_eq!(refused.kind.exit_code_around_a_command(), 253, "{refused:?}");
    assert!(refused.message.contains("secret key cannot be had from the file"), "{refused}");
    assert!(refused.hints[0].contains("install -m 600"), "{refused:?}");
    let session = daemon.sessions().expect("sessions").remove(0);
    assert!(matches!(session.state, SessionState::Failed { .. }), "{:?}", session.state);
    assert_eq!(session.opening_snapshot, None);
    let runtime = daemon.store.runtime(&session.machine).expect("reads");
    assert_eq!(runtime, crate::store::MachineRuntime::default());
}

#[tokio::test]
async fn every_decision_is_recorded_with_who_asked_and_why() {
    let text = "[[folder]]\npath = \"PROJECT\"\nprofiles = [\"keyed\"]\n\
                [secret.key]\nfile = \"/no-such-file\"\n[profile.keyed]\nsecrets = [\"key\"]\n";
    let (directory, daemon, project) = configured(text);
    let by = Actor { uid: Some(1000), user: None, terminal: Some("/dev/pts/3".into()) };
    let ask = async |profile: &str, directory: &Path| {
        let request = RunRequest {
            directory: Some(directory.to_owned()),
            profile: Some(ProfileName::new(profile).expect("name")),
            register: false,
            ..request(None)
        };
        daemon.run_by(by.clone(), request, Report::nobody()).await.expect_err("does not run");
    };
    ask("shell", &project).await;
    // Admitted; that its secret is missing comes later.
    ask("keyed", &project).await;
    let unknown = directory.path().join("unknown");
    std::fs::create_dir(&unknown).expect("made");
    ask("keyed", &unknown).await;
    std::fs::write(daemon.layout.config_file(), "[defaults\n").expect("written");
    ask("keyed", &project).await;

    let found = daemon.decisions(&DecisionsRequest::default()).expect("reads").decisions;
    let shown: Vec<_> =
        found.iter().map(|one| (one.outcome, one.reasons.join(" "), &one.by)).collect();
    let is = |number: usize, outcome: Outcome, word: &str| {
        let (was, reasons, who) = &shown[number];
        assert!(*was == outcome && reasons.contains(word) && **who == by, "{shown:?}");
    };
    assert_eq!(shown.len(), 4, "{shown:?}");
    is(0, Outcome::Refused, "profile shell may not see");
    is(1, Outcome::Admitted, "profiles: keyed carries the secrets key");
    is(2, Outcome::Refused, "is not registered");
    is(3, Outcome::Refused, "config.toml");
    assert_eq!(found[1].folder.as_deref(), Some(&*project));
    assert_eq!(found[1].session, Some(daemon.sessions().expect("sessions").remove(0).id));
    assert!(found[1].machine.is_some() && found[1].network.is_some(), "{:?}", found[1]);
}

#[tokio::test]
async fn a_decision_that_cannot_be_recorded_is_said_aloud_and_stops_nobody() {
    let text = "[secret.key]\nfile = \"/no-such-file\"\n[profile.keyed]\nsecrets = [\"key\"]\n";
    let (_directory, daemon, project) = configured(text);
    std::fs::write(daemon.layout.state.join("decisions"), "in the way").expect("written");
    let request = RunRequest {
        directory: Some(project),
        profile: Some(ProfileName::new("keyed").expect("name")),
        ..request(None)
    };
    let (report, mut told) = Report::channel();
    let error = daemon.run(request, report).await.expect_err("no secret");
    // It went on, to what is missing.
    assert!(error.message.contains("secret key"), "{error}");
    let mut warnings = Vec::new();
    while let Ok(item) = told.try_recv() {
        warnings.extend(match item {
            Told::Warning(warning) => Some(warning),
            _ => None,
        });
    }
    let of_this = |warning: &String| warning.starts_with("that this was admitted could not be");
    assert_eq!(warnings.iter().filter(|warning| of_this(warning)).count(), 1, "{warnings:?}");
}
