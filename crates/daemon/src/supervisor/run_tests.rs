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
