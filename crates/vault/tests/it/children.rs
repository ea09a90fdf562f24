//! Parts of tests that run as processes of their own, so that they can be killed or be
//! another user.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use ringfence_vault::{
    ChangeSet, Guard, Labels, Progress, PruneRequest, RestoreRequest, Selection, SnapshotKind,
    SnapshotRequest, Step, Vault, VaultKey, resume_restore,
};

/// Set for a child: which part of this file it is to play.
const PART: &str = "RINGFENCE_VAULT_TEST_PART";
/// A child says this when all is open and it is about to begin.
const READY: &str = "the part begins";
/// And this when it went as far as it was told to.
const STANDS: &str = "the part stands still";

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
        // With a number it stands still when it has put so many entries in place.
        "restore" => {
            let vault = open();
            let last = words.get(3).map(|number| number.parse().unwrap());
            let progress =
                last.map(|last| Arc::new(Placing { last, placed: 0.into() }) as Arc<dyn Progress>);
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
                vault.apply(&plan, &dir.join("staging"), progress, Default::default()).unwrap();
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

/// Stands still, and says so, after the last step of its part.
struct Placing {
    last: u64,
    placed: AtomicU64,
}

impl Progress for Placing {
    fn step(&self, step: Step) {
        if let Step::Placed(more) = step
            && self.placed.fetch_add(more, Ordering::Relaxed) + more == self.last
        {
            println!("\n{STANDS}");
            loop {
                std::thread::park();
            }
        }
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
    until(part, READY)
}

/// Runs a part until it stands still, and kills it there.
pub(crate) fn killed_where_it_stands(part: &[&str]) {
    let mut child = until(part, STANDS);
    child.kill().unwrap();
    child.wait().unwrap();
}

fn until(part: &[&str], words: &str) -> Child {
    let mut child = play(part).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut said = BufReader::new(child.stdout.take().unwrap());
    let heard = said.by_ref().lines().map_while(Result::ok).any(|line| line == words);
    // What it says at its end must still find an ear.
    child.stdout = Some(said.into_inner());
    assert!(heard, "{part:?} never said {words:?}: {}", complaint(&mut child));
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

/// How long each part takes when it is let be, as it was last seen: the machine may be
/// busy at one time and idle at the next.
static PACES: Mutex<BTreeMap<String, Duration>> = Mutex::new(BTreeMap::new());

/// Runs a part and kills it after `thousandth` thousandths of the time it takes; the first
/// of its kind is let be. One that ends by itself must end well.
pub(crate) fn killed(part: &[&str], thousandth: u32) -> End {
    let pace = PACES.lock().unwrap().get(part[0]).copied();
    let now_known = |time| {
        PACES.lock().unwrap().insert(part[0].to_owned(), time);
    };
    let mut child = begun(part);
    let start = Instant::now();
    let after = pace.map(|pace| pace * thousandth / 1000);
    while after.is_none_or(|after| start.elapsed() < after) {
        if let Some(status) = child.try_wait().unwrap() {
            assert!(status.success(), "{part:?}: {}", complaint(&mut child));
            now_known(start.elapsed());
            return End::ByItself;
        }
        std::thread::sleep(Duration::from_micros(200));
    }
    child.kill().unwrap();
    let status = child.wait().unwrap();
    if status.success() {
        now_known(start.elapsed());
        return End::ByItself;
    }
    let killed = status.signal() == Some(rustix::process::Signal::KILL.as_raw());
    assert!(killed, "{part:?}: {status}: {}", complaint(&mut child));
    if thousandth >= 1000 {
        now_known(start.elapsed() * 5 / 4);
    }
    End::Killed
}

/// Spreads kills over the time that a part takes, in thousandths of it.
pub(crate) fn moment(round: u32) -> u32 {
    round.wrapping_mul(7919) % 1101
}
