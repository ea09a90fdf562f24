//! What may become a folder, and what its rules are.

use std::fs;
use std::os::unix::fs::symlink;

use ringfence_model::api::{
    BackupSetRequest, FolderSetRequest, HistoryQuery, PauseRequest, RestoreRequest, ShowQuery,
};
use ringfence_model::bytes::encode;
use ringfence_model::config::FolderChange;
use ringfence_model::error::ErrorKind;
use ringfence_model::exit_check::ExitAction;
use ringfence_model::folder::Access;
use ringfence_model::health::LeftOut;
use ringfence_model::profile::Network;
use ringfence_model::protection::Actor;
use ringfence_model::status::{FolderStatus, Protection};
use ringfenced::supervisor::report::{Report, Told};

use crate::Lab;

#[tokio::test]
async fn a_registered_folder_is_protected_at_once() {
    let lab = Lab::new();
    let status = lab.daemon.add_folder(&lab.project, &Report::nobody()).await.expect("added");
    assert_eq!(status.protection, Protection::Protected);
    assert!(status.vault.join("config").is_file());
    let again = lab.daemon.add_folder(&lab.project, &Report::nobody()).await.expect("again");
    assert_eq!(again.id, status.id);
}

#[tokio::test]
async fn what_cannot_be_a_folder_is_refused_with_a_way_out() {
    let lab = Lab::new();
    let base = lab.directory.path();
    symlink(&lab.project, base.join("link")).expect("link");
    fs::create_dir(base.join("line\nbreak")).expect("made");
    lab.daemon.add_folder(&lab.project, &Report::nobody()).await.expect("added");
    let cases = [
        (base.join("missing"), "cannot be a folder"),
        (lab.project.join(".env"), "is not a directory"),
        (base.join("link"), "is a link to"),
        (base.join("line\nbreak"), "control character"),
        (base.join("home/state"), "which no agent may see"),
        ("/".into(), "whole computer"),
        ("/etc".into(), "operating system"),
    ];
    for (path, expected) in cases {
        let error = lab.daemon.add_folder(&path, &Report::nobody()).await.expect_err("refused");
        assert!(error.message.contains(expected), "{path:?}: {error:?}");
        assert!(!error.message.contains('\n'), "{error:?}");
    }
}

#[tokio::test]
async fn a_directory_that_took_the_name_is_not_the_folder() {
    let lab = Lab::new();
    lab.daemon.add_folder(&lab.project, &Report::nobody()).await.expect("added");
    fs::rename(&lab.project, lab.directory.path().join("aside")).expect("moved");
    fs::create_dir(&lab.project).expect("another");
    let error = lab.daemon.backup_now(&lab.project, &Report::nobody()).await.expect_err("refused");
    assert_eq!(error.kind, ErrorKind::Refused);
    assert!(error.hints[0].contains("folder add"), "{error:?}");
    lab.daemon.add_folder(&lab.project, &Report::nobody()).await.expect("accepted by hand");
}

#[tokio::test]
async fn a_backup_is_turned_off_by_the_folders_name_only() {
    let lab = Lab::new();
    lab.daemon.add_folder(&lab.project, &Report::nobody()).await.expect("added");
    let mut request = BackupSetRequest {
        folder: lab.project.clone(),
        enabled: false,
        name: Some("shap".into()),
        terminal: None,
    };
    let error = lab.daemon.backup_set(&request, actor()).await.expect_err("a typo");
    assert_eq!(error.kind, ErrorKind::Refused);
    request.name = Some("shop".into());
    let status = lab.daemon.backup_set(&request, actor()).await.expect("off");
    assert_eq!(status.protection, Protection::Off);
    assert_eq!(status.opt_out.expect("recorded").by, actor());
    let said = problems(&lab).await;
    assert!(
        said.contains("is NOT backed up: turned off by ann (uid 1000) at /dev/pts/3 on "),
        "{said}"
    );
    // A daemon that starts later knows it still.
    let lab = lab.restarted();
    assert_eq!(status_of(&lab).await.protection, Protection::Off);
    request.enabled = true;
    let status = lab.daemon.backup_set(&request, actor()).await.expect("on");
    assert_eq!((status.protection, status.opt_out), (Protection::Protected, None));
}

#[tokio::test]
async fn an_edited_file_turns_no_backup_off() {
    let lab = Lab::new();
    lab.daemon.add_folder(&lab.project, &Report::nobody()).await.expect("added");
    let write = |enabled: bool| {
        let path = lab.project.display();
        let text = format!("[[folder]]\npath = \"{path}\"\n[folder.backup]\nenabled = {enabled}\n");
        fs::write(lab.daemon.config.path(), text).expect("written");
    };
    write(false);
    assert_eq!(status_of(&lab).await.protection, Protection::Protected);
    let said = problems(&lab).await;
    assert!(said.contains("nobody confirmed it") && said.contains("backup off"), "{said}");
    // With the act, it is off; when the file says `true` again the act is void for good.
    let off = BackupSetRequest {
        folder: lab.project.clone(),
        enabled: false,
        name: Some("shop".into()),
        terminal: None,
    };
    lab.daemon.backup_set(&off, actor()).await.expect("off");
    assert_eq!(status_of(&lab).await.protection, Protection::Off);
    write(true);
    assert_eq!(status_of(&lab).await.protection, Protection::Protected);
    write(false);
    assert_eq!(status_of(&lab).await.protection, Protection::Protected);
}

#[tokio::test]
async fn a_pause_survives_a_restart_and_ends_on_request() {
    let lab = Lab::new();
    lab.daemon.add_folder(&lab.project, &Report::nobody()).await.expect("added");
    let request = PauseRequest {
        folder: lab.project.clone(),
        seconds: "30min".parse().expect("a length"),
        terminal: None,
    };
    let status = lab.daemon.backup_pause(&request, actor()).expect("paused");
    assert_eq!(status.protection, Protection::Paused);
    let lab = lab.restarted();
    let status = status_of(&lab).await;
    assert_eq!(status.protection, Protection::Paused);
    assert!(status.paused_until.is_some());
    assert!(problems(&lab).await.contains("pause for 30 min more"));
    let status = lab.daemon.backup_resume(&lab.project).expect("resumed");
    assert_eq!((status.protection, status.paused_until), (Protection::Protected, None));
}

#[tokio::test]
async fn a_folder_that_comes_back_finds_its_snapshots_and_is_protected() {
    let lab = Lab::new();
    let first = lab.daemon.add_folder(&lab.project, &Report::nobody()).await.expect("added");
    let off = BackupSetRequest {
        folder: lab.project.clone(),
        enabled: false,
        name: Some("shop".into()),
        terminal: None,
    };
    lab.daemon.backup_set(&off, actor()).await.expect("off");
    lab.daemon.unregister(&lab.project).expect("removed");
    assert!(first.vault.join("config").is_file(), "the vault stays");
    let (report, mut told) = Report::channel();
    let again = lab.daemon.add_folder(&lab.project, &report).await.expect("again");
    assert_eq!((again.id, again.vault), (first.id, first.vault));
    assert_eq!(again.protection, Protection::Protected, "who removes it does not opt out for ever");
    let told = std::iter::from_fn(|| told.try_recv().ok());
    assert!(
        told.into_iter()
            .any(|told| matches!(told, Told::Note(note) if note.contains("there again")))
    );
    let query = HistoryQuery { folder: lab.project.clone(), path_b64: None, limit: None };
    assert!(!lab.daemon.history(query).await.expect("history").snapshots.is_empty());
}

fn actor() -> Actor {
    Actor { uid: Some(1000), user: Some("ann".into()), terminal: Some("/dev/pts/3".into()) }
}

async fn status_of(lab: &Lab) -> FolderStatus {
    lab.daemon.status().await.expect("status").folders.remove(0)
}

async fn problems(lab: &Lab) -> String {
    let problems = lab.daemon.status().await.expect("status").problems;
    let lines = problems
        .into_iter()
        .map(|problem| format!("{} · {}\n", problem.message, problem.command.unwrap_or_default()));
    lines.collect()
}

#[tokio::test]
async fn rules_are_written_into_the_configuration() {
    let lab = Lab::new();
    lab.daemon.add_folder(&lab.project, &Report::nobody()).await.expect("added");
    let request = FolderSetRequest {
        path: lab.project.join("src"),
        profiles: Some(vec!["label:self-hosted".to_owned().try_into().expect("selector")]),
        access: Some(Access::Ro),
        hide: Some(vec![".env".parse().expect("a pattern")]),
        protect: Some(Vec::new()),
        exit_check: Some(ExitAction::Hold),
        more: FolderChange {
            deny: Some(vec!["codex".to_owned().try_into().expect("selector")]),
            network: Some(Network::Offline),
            ..FolderChange::default()
        },
    };
    let status = lab.daemon.set_folder(&request).await.expect("set");
    assert_eq!(status.access, Access::Ro);
    assert_eq!(status.profiles, Some(vec!["label:self-hosted".to_owned()]));
    assert!(config_text(&lab).contains("self-hosted"));
    assert!(config_text(&lab).contains("exit_check = \"hold\""));
    assert!(config_text(&lab).contains("deny = [\"codex\"]"));
    assert!(config_text(&lab).contains("network = \"offline\""));
    assert_eq!(status.exit_check, Some(ExitAction::Hold));
    assert!(config_text(&lab).contains("hide = [\".env\"]"), "{}", config_text(&lab));
}

#[tokio::test]
async fn what_is_worth_leaving_out_is_large_and_made_again() {
    let lab = Lab::new();
    fs::create_dir_all(lab.project.join("node_modules")).expect("made");
    fs::create_dir_all(lab.project.join("more/target")).expect("made");
    fs::write(lab.project.join("package.json"), "{}").expect("written");
    fs::write(lab.project.join("more/Cargo.toml"), "").expect("written");
    fs::write(lab.project.join("more/target/small"), "1").expect("written");
    let object = fs::File::create(lab.project.join("node_modules/large")).expect("made");
    object.set_len(64 << 20).expect("long");
    lab.daemon.add_folder(&lab.project, &Report::nobody()).await.expect("added");
    let found = lab.daemon.worth_leaving_out(&lab.project).await.expect("looked");
    let expected = LeftOut { pattern: "node_modules/".into(), entries: 2, bytes: 64 << 20 };
    assert_eq!(found, [expected], "what is small is no trouble");
}

#[tokio::test]
async fn what_a_person_leaves_out_is_counted_and_left_alone_by_undo() {
    let lab = Lab::new();
    lab.configure(&format!(
        "[[folder]]\npath = {:?}\n[folder.backup]\nexclude = [\"cache/\", \"*.tmp\"]\n",
        lab.project
    ));
    fs::create_dir(lab.project.join("cache")).expect("made");
    fs::write(lab.project.join("cache/object"), "12345").expect("written");
    let nobody = Report::nobody();
    let added = lab.daemon.add_folder(&lab.project, &nobody).await.expect("added");
    let left_out = |status: &FolderStatus| {
        let excluded = status.health.as_ref().expect("known").not_covered.excluded.clone();
        excluded.into_iter().map(|it| (it.pattern, it.entries, it.bytes)).collect::<Vec<_>>()
    };
    let expected = [("cache/".to_owned(), 2, 5), ("*.tmp".to_owned(), 0, 0)];
    assert_eq!(left_out(&added), expected);

    let first = added.last_snapshot.expect("one").id;
    let query = ShowQuery {
        folder: lab.project.clone(),
        snapshot: first.clone(),
        path_b64: encode(b"cache"),
    };
    assert!(lab.daemon.entry(query).await.is_err(), "it is in the vault all the same");

    fs::write(lab.project.join("cache/object"), "6").expect("written");
    fs::write(lab.project.join("more"), "m").expect("written");
    let request = RestoreRequest {
        folder: lab.project.clone(),
        at: Some(first),
        to: None,
        paths: Vec::new(),
        dry_run: false,
    };
    let done = lab.daemon.restore(request, &nobody).await.expect("restored");
    assert!(done.conflicts.is_empty(), "{done:?}");
    assert!(!lab.project.join("more").exists());
    assert_eq!(fs::read(lab.project.join("cache/object")).expect("there"), b"6");
    assert_eq!(
        left_out(&status_of(&lab).await),
        [("cache/".to_owned(), 2, 1), expected[1].clone()]
    );
}

fn config_text(lab: &Lab) -> String {
    fs::read_to_string(lab.daemon.config.path()).expect("there")
}
