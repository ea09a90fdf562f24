use super::*;
use ringfence_model::folder::Access;
use ringfence_model::growth::VaultSize;
use ringfence_model::health::{Finding, FolderHealth, NotCovered, VerifiedSnapshot};
use ringfence_model::machine::Limits;
use ringfence_model::mass_loss::GuardAction;
use ringfence_model::name::{FolderId, MachineName, ProfileName, SessionId};
use ringfence_model::protection::{Actor, OptOut};
use ringfence_model::size::Size;
use ringfence_model::status::{LastSnapshot, STATUS_SCHEMA, ShareStatus};

fn now() -> Timestamp {
    "2026-11-23T14:00:00Z".parse().expect("a time")
}

fn folder(name: &str, protection: Protection) -> FolderStatus {
    FolderStatus {
        id: FolderId::new(name).expect("id"),
        path: format!("/home/ann/{name}").into(),
        vault: format!("/state/vaults/{name}").into(),
        protection,
        last_snapshot: (protection == Protection::Protected).then(|| LastSnapshot {
            id: "0123456789abcdef".into(),
            time: "2026-11-23T13:48:00Z".parse().expect("time"),
            age_seconds: 720,
            verified: true,
        }),
        error: (protection == Protection::Failing).then(|| "no space left on device".into()),
        health: (protection != Protection::NotYet).then(|| health(protection)),
        profiles: (protection == Protection::Off).then(|| vec!["label:self-hosted".into()]),
        access: Access::Rw,
        opt_out: (protection == Protection::Off).then(|| OptOut {
            by: Actor { uid: Some(1000), user: Some("ann".into()), terminal: None },
            at: "2026-11-20T09:00:00Z".parse().expect("time"),
        }),
        size: (protection == Protection::Protected).then_some(VaultSize {
            bytes: 3 << 30,
            limit: 50 << 30,
            per_day: Some(100 << 20),
            days_left: Some(481),
        }),
        paused_until: (protection == Protection::Paused)
            .then(|| "2026-11-23T14:40:00Z".parse().expect("time")),
        copies: Vec::new(),
        exit_check: None,
        held: Vec::new(),
        held_count: 0,
        hint: None,
        watch: (protection == Protection::Protected).then(|| WatchStatus {
            mode: WatchMode::Watching,
            protected_until: Some("2026-11-23T13:59:00Z".parse().expect("time")),
            pending: Some(2),
            busy: false,
            next: None,
            walked: None,
            missed: 0,
            shrunken: None,
        }),
    }
}

fn health(protection: Protection) -> FolderHealth {
    let verified = "2026-11-23T13:50:00Z".parse().expect("time");
    FolderHealth {
        verified: (protection == Protection::Protected).then(|| VerifiedSnapshot {
            id: "0123456789abcdef".into(),
            time: "2026-11-23T13:48:00Z".parse().expect("time"),
            age_seconds: 720,
            verified,
        }),
        findings: (protection == Protection::Damaged)
            .then(|| Finding {
                name: "pack-missing".into(),
                what: "pack 12ab34cd: it is gone".into(),
                touched: 1,
                snapshots: vec!["0123456789abcdef".into()],
                since: verified,
            })
            .into_iter()
            .collect(),
        last_check: Some(verified),
        next_check: now(),
        read_back: 0.5,
        last_rehearsal: None,
        not_covered: NotCovered::default(),
    }
}

fn sample() -> Status {
    let shop = folder("shop", Protection::Protected);
    Status {
        schema: STATUS_SCHEMA,
        engine: EngineStatus {
            name: "qemu".into(),
            version: Some("10.0.2".into()),
            accelerator: Some("tcg".into()),
        },
        machines: vec![MachineStatus {
            name: MachineName::new("shop").expect("name"),
            state: MachineState::Running,
            waiting_for: None,
            limits: Limits { cpus: 2, memory: Size::gib(4), disk: Size::gib(40) },
            recipe: Some("claude-code".into()),
            cpu_seconds: Some(83.2),
            memory_bytes: Some(1_610_612_736),
            disk_bytes: Some(400 * 1024 * 1024),
            ssh_port: Some(40022),
            shares: vec![ShareStatus {
                folder: shop.id.clone(),
                path: shop.path.clone(),
                guest_path: shop.path.clone(),
                access: Access::Rw,
                mode: ShareMode::ReadWrite,
            }],
            has_seen: vec![shop.path.clone()],
            because: Some(
                "not in machine nda: it has seen /home/ann/nda, which profile claude may not see"
                    .into(),
            ),
        }],
        sessions: vec![Session {
            id: SessionId::new("20261123-1").expect("id"),
            profile: ProfileName::new("claude").expect("name"),
            machine: MachineName::new("shop").expect("name"),
            folder: Some(shop.id.clone()),
            folder_path: Some(shop.path.clone()),
            command: vec!["claude".into(), "evil\x1b[2J".into(), "word ".repeat(20)],
            state: SessionState::Running,
            started: "2026-11-23T13:50:00Z".parse().expect("time"),
            ended: None,
            exit: None,
            guard: GuardAction::Freeze,
            mass_loss: None,
            stricter: Vec::new(),
            opening_snapshot: None,
            closing_snapshot: None,
        }],
        folders: vec![
            shop,
            folder("nda", Protection::Off),
            folder("full", Protection::Failing),
            folder("bitten", Protection::Damaged),
            folder("new", Protection::NotYet),
            folder("build", Protection::Paused),
        ],
        forwards: vec![ForwardStatus {
            machine: MachineName::new("shop").expect("name"),
            purpose: "ssh".into(),
            host_port: 40022,
            guest_port: 22,
        }],
        problems: vec![
            Problem {
                severity: Severity::Warning,
                message: "machines run in software emulation".into(),
                command: Some("ringfence doctor".into()),
            },
            Problem {
                severity: Severity::Error,
                message: "~/nda is not protected".into(),
                command: Some("ringfence backup on ~/nda".into()),
            },
        ],
    }
}

#[test]
fn worst_first_then_everything() {
    let style = Style { home: Some("/home/ann".into()), ..Style::plain() };
    insta::assert_snapshot!("status", render(&sample(), now(), &style));
}

#[test]
fn unprotected_is_red_and_the_only_escapes_are_ours() {
    let style = Style { colour: true, ..Style::plain() };
    let text = render(&sample(), now(), &style);
    assert!(text.contains("\x1b[38;5;9m\x1b[1mOFF: not protected"), "{text:?}");
    assert!(!text.contains("\x1b[2J"));
}

#[test]
fn a_narrow_terminal_gets_narrow_tables() {
    let style = Style { columns: Some(60), ..Style::plain() };
    let text = render(&Status { problems: Vec::new(), ..sample() }, now(), &style);
    assert!(text.lines().all(|line| line.chars().count() <= 60), "{text}");
}

#[test]
fn an_empty_status_says_what_to_try() {
    let status = Status {
        machines: Vec::new(),
        folders: Vec::new(),
        sessions: Vec::new(),
        forwards: Vec::new(),
        problems: Vec::new(),
        engine: EngineStatus { name: "qemu".into(), version: None, accelerator: None },
        ..sample()
    };
    insta::assert_snapshot!("status_empty", render(&status, now(), &Style::plain()));
}

#[test]
fn how_well_a_folder_is_protected_is_said_in_words() {
    let style = Style::plain();
    let shop = folder("shop", Protection::Protected);
    let known = shop.watch.clone().expect("known");
    let why = || "the limit of watches is reached".to_owned();
    let left = vec!["node_modules".to_owned()];
    let cases = [
        (known.clone(), "protected until 13:59, 2 changes to store"),
        (WatchStatus { pending: Some(0), ..known.clone() }, "protected until 13:59"),
        (WatchStatus { busy: true, ..known.clone() }, "protected until 13:59, being stored"),
        (WatchStatus { pending: None, ..known.clone() }, "protected until 13:59, catching up"),
        (
            WatchStatus {
                mode: WatchMode::Partly { left, why: why() },
                pending: Some(0),
                ..known.clone()
            },
            "protected until 13:59, polled",
        ),
        (
            WatchStatus { mode: WatchMode::Polling { why: why() }, pending: None, ..known },
            "protected until 13:59, polled",
        ),
    ];
    for (watch, expected) in cases {
        let folder = FolderStatus { watch: Some(watch), ..shop.clone() };
        let table = folders(&[folder], now(), &style).expect("a table");
        let row = table.lines().nth(1).expect("a row");
        assert!(row.contains(&format!("  {expected}  ")), "{row}");
    }
}
