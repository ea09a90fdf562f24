use ringfence_model::folder::FolderRules;
use ringfence_model::layout::{Environment, Layout};

use super::*;

fn request(unprotected: Option<&str>) -> RunRequest {
    RunRequest {
        directory: None,
        working: None,
        profile: None,
        machine: None,
        network: None,
        arguments: Vec::new(),
        command: true,
        terminal: None,
        environment: Vec::new(),
        register: true,
        unprotected: unprotected.map(str::to_owned),
        guard: None,
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
    let text = "[secret.key]\nfile = \"PROJECT/../no-key\"\n[profile.keyed]\nsecrets = [\"key\"]\n";
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

#[test]
fn a_folder_narrows_the_secrets_and_adds_none() {
    let name = |name: &str| SecretName::new(name).expect("name");
    let carried = |of_profile: &[&str], of_folder: Option<&[&str]>| {
        let mut rules = FolderRules::unspoken(Path::new("/shop"));
        rules.secrets = of_folder.map(|names| names.iter().map(|one| name(one)).collect());
        let names: Vec<SecretName> = of_profile.iter().map(|one| name(one)).collect();
        super::carried(&names, Some(&rules)).iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(carried(&["npm", "pypi"], None), ["npm", "pypi"]);
    assert_eq!(carried(&["npm", "pypi"], Some(&["pypi", "other"])), ["pypi"]);
    assert!(carried(&["npm"], Some(&[])).is_empty());
    assert_eq!(super::carried(&[name("npm")], None), [name("npm")]);
}
