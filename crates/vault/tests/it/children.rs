//! Parts of tests that run as processes of their own, so that they can be killed or be
//! another user.

use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use ringfence_vault::{
    ChangeSet, Guard, Labels, PruneRequest, RestoreRequest, Selection, SnapshotKind,
    SnapshotRequest, Vault, VaultKey, resume_restore,
};

/// Set for a child: which part of this file it is to play.
const PART: &str = "RINGFENCE_VAULT_TEST_PART";
/// A child says this when all is open and it is about to begin.
const READY: &str = "the part begins";

/// The other half of other tests, run as a process of its own.
#[test]
fn child() {
    let Ok(part) = std::env::var(PART) else { return };
    let words: Vec<&str> = part.split('\t').collect();
    let dir = Path::new(words[1]);
    let open = || {
        let key = VaultKey::load(&dir.join("id.key")).unwrap();
        let vault = Vault::open(&dir.join("vault"), &key).unwrap();
        ready();
        vault
    };
    let now = jiff::Timestamp::from_second(1_900_000_000).unwrap();
    let snapshot = |kind| SnapshotRequest::new(&dir.join("folder"), Labels::new(kind), now);
    match words[0] {
        "snapshot" => {
            let changes = words.get(2).map(|list| decoded(list));
            let request = SnapshotRequest { changes, ..snapshot(SnapshotKind::Periodic) };
            open().snapshot(&request).unwrap();
        }
        "restore" => {
            let vault = open();
            let guard = vault.snapshot(&snapshot(SnapshotKind::BeforeRestore)).unwrap();
            let plan = vault
                .plan_restore(&RestoreRequest {
                    snapshot: words[2].parse().unwrap(),
                    target: dir.join("folder"),
                    selection: Selection::All,
                    delete_extra: true,
                    guard: Guard::Snapshot(guard.snapshot.id),
                })
                .unwrap();
            let report =
                vault.apply(&plan, &dir.join("staging"), None, Default::default()).unwrap();
            assert_eq!(report.kept_conflicts, []);
        }
        "resume" => {
            ready();
            resume_restore(&dir.join("staging"), None).unwrap();
        }
        "prune" => {
            let forget = words[2].split(',').filter(|id| !id.is_empty());
            let request = PruneRequest {
                marked_for: Duration::ZERO,
                ..PruneRequest::new(forget.map(|id| id.parse().unwrap()).collect())
            };
            open().prune(&request).unwrap();
        }
        "unreadable" => crate::hostile::unreadable_entries_keep_their_stored_version(),
        "stale" => crate::whole::stale_content_is_marked_in_the_snapshot(),
        "swap" => {
            ready();
            crate::swap::swap_for_ever(&dir.join("folder"));
        }
        other => panic!("no part {other}"),
    }
}

fn ready() {
    println!("\n{READY}");
}

/// A change list as one word: names may hold any byte.
pub(crate) fn encoded(since: &str, entries: &[(Vec<u8>, bool)]) -> String {
    let hex = |path: &[u8]| path.iter().map(|b| format!("{b:02x}")).collect::<String>();
    let word = |(path, whole): &(Vec<u8>, bool)| {
        format!(",{}{}", if *whole { 'w' } else { 'e' }, hex(path))
    };
    entries.iter().fold(since.to_owned(), |list, entry| list + &word(entry))
}

fn decoded(list: &str) -> ChangeSet {
    let mut words = list.split(',');
    let mut changes = ChangeSet::new(words.next().unwrap().parse().unwrap());
    for word in words {
        let (extent, hex) = word.split_at(1);
        let byte = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
        let path: Vec<u8> = (0..hex.len()).step_by(2).map(byte).collect();
        if extent == "w" { changes.whole(path) } else { changes.entry(path) }
    }
    changes
}

/// A command that runs [`child`] in the given part.
pub(crate) fn play(part: &[&str]) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--exact", "children::child", "--nocapture"])
        .env(PART, part.join("\t"))
        .stdout(Stdio::null());
    command
}

/// Starts a part and waits until it begins.
pub(crate) fn begun(part: &[&str]) -> Child {
    let mut child = play(part).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut said = BufReader::new(child.stdout.take().unwrap());
    let begins = said.by_ref().lines().map_while(Result::ok).any(|line| line == READY);
    // What it says at its end must still find an ear.
    child.stdout = Some(said.into_inner());
    assert!(begins, "{part:?} did not begin: {}", complaint(&mut child));
    child
}

fn complaint(child: &mut Child) -> String {
    let mut text = String::new();
    let _ = child.stderr.take().unwrap().read_to_string(&mut text);
    text
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Killed,
    ByItself,
}

/// How long a part takes when it is let be, as it was last seen: the machine may be busy
/// at one time and idle at the next.
pub(crate) struct Pace(Duration);

impl Pace {
    pub(crate) fn new() -> Self {
        Self(Duration::from_millis(200))
    }

    /// Runs a part and kills it after `thousandth` thousandths of the time it takes. One
    /// that ends by itself must end well.
    pub(crate) fn killed(&mut self, part: &[&str], thousandth: u32) -> End {
        let mut child = begun(part);
        let start = Instant::now();
        let after = self.0 * thousandth / 1000;
        while start.elapsed() < after {
            if let Some(status) = child.try_wait().unwrap() {
                assert!(status.success(), "{part:?}: {}", complaint(&mut child));
                self.0 = start.elapsed();
                return End::ByItself;
            }
            std::thread::sleep(Duration::from_micros(200));
        }
        child.kill().unwrap();
        let status = child.wait().unwrap();
        if status.success() {
            self.0 = start.elapsed();
            return End::ByItself;
        }
        let killed = status.signal() == Some(rustix::process::Signal::KILL.as_raw());
        assert!(killed, "{part:?}: {status}: {}", complaint(&mut child));
        if thousandth >= 1000 {
            self.0 = self.0 * 5 / 4;
        }
        End::Killed
    }
}

/// Spreads kills over the time that a part takes, in thousandths of it.
pub(crate) fn moment(round: u32) -> u32 {
    round.wrapping_mul(7919) % 1101
}
