//! Keeper processes as the daemon sees them: one beside each share that may write. It owns
//! what is kept of a folder; the daemon tells it when sessions begin and end, and releases
//! what is no longer needed.
//!
//! Must not: write into what a keeper keeps while it does; know about machines or QEMU.

mod touched;
mod versions;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ringfence_model::folder::Folder;
use ringfence_model::name::SessionId;
use ringfence_share::journal::{self, Journal, Operation};
use ringfence_share::keeper::{KeeperCommand, KeeperReady, KeeperSpec};
use serde::Deserialize;

use crate::host::child::{self, ChildError};
use crate::host::process::ProcessId;
use crate::host::{control, files};

pub use touched::{Touched, touched};
pub use versions::{Kept, versions};

/// How long a keeper may take to come up.
const START: Duration = Duration::from_secs(20);
/// How long it may take to write out what it holds.
const ANSWER: Duration = Duration::from_secs(30);

/// Bytes that may be kept of one folder.
const QUOTA: u64 = 10 << 30;
/// From here on the oldest ended sessions' versions make room for a new session's.
const COMFORTABLE: u64 = QUOTA / 2;

/// Where a keeper listens, below a machine's run directory.
#[derive(Debug, Clone)]
pub struct KeeperSockets {
    /// The share connects here.
    pub share: PathBuf,
    /// The daemon connects here.
    pub control: PathBuf,
}

impl KeeperSockets {
    /// The sockets of the keeper beside the share on one device of a machine.
    #[must_use]
    pub fn of(machine_run: &Path, device: &str) -> Self {
        Self {
            share: machine_run.join(format!("{device}.keep")),
            control: machine_run.join(format!("{device}.kctl")),
        }
    }
}

/// What a keeper says about itself.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct KeeperReport {
    /// Bytes that it keeps.
    pub used: u64,
    /// The last operation was refused because there was no room.
    pub exhausted: bool,
}

/// Starts the keeper of a folder. It ends with its share.
///
/// # Errors
/// When it does not come up.
pub async fn start(
    folder: &Folder,
    store: &Path,
    sockets: &KeeperSockets,
    log: &Path,
) -> Result<ProcessId, ChildError> {
    files::private_directory(store)
        .map_err(|source| ChildError::Spawn { role: "keeper", source })?;
    let spec = KeeperSpec {
        folder: folder.path.clone(),
        store: store.to_owned(),
        socket: sockets.share.clone(),
        control_socket: sockets.control.clone(),
        quota: QUOTA,
        without: Vec::new(),
    };
    let (process, _) = child::start::<_, KeeperReady>("keeper", &spec, log, START).await?;
    Ok(process)
}

async fn ask(control: &Path, command: &KeeperCommand) -> io::Result<KeeperReport> {
    control::ask(control, command, ANSWER).await
}

/// Has what a session changes written down from now on.
///
/// # Errors
/// When the keeper does not answer or cannot write: the session must not write then.
pub async fn begin(control: &Path, session: &SessionId) -> io::Result<KeeperReport> {
    ask(control, &KeeperCommand::Begin(session.to_string())).await
}

/// A session writes no more; its journal is on disk afterwards.
///
/// # Errors
/// When the keeper does not answer or cannot write: the journal stays incomplete.
pub async fn end(control: &Path, session: &SessionId) -> io::Result<KeeperReport> {
    ask(control, &KeeperCommand::End(session.to_string())).await
}

/// Asks a keeper how much it keeps.
///
/// # Errors
/// When it does not answer.
pub async fn get(control: &Path) -> io::Result<KeeperReport> {
    ask(control, &KeeperCommand::Get(true)).await
}

/// Has a keeper count anew after something was released.
///
/// # Errors
/// When it does not answer.
pub async fn recount(control: &Path) -> io::Result<KeeperReport> {
    ask(control, &KeeperCommand::Recount(true)).await
}

/// The journal in which a session's changes stand; `None` where there is none.
///
/// # Errors
/// When it cannot be read.
pub fn journal(store: &Path, session: &str) -> io::Result<Option<(PathBuf, Journal)>> {
    let read = |session: &str| {
        let directory = store.join(session);
        match Journal::read(&directory.join(journal::FILE)) {
            Ok(journal) => Ok(Some((directory, journal))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    };
    let Some((directory, own)) = read(session)? else { return Ok(None) };
    match own.records.iter().find(|record| record.operation == Operation::With) {
        Some(with) => match std::str::from_utf8(&with.path) {
            Ok(first) if first.parse::<SessionId>().is_ok() => read(first),
            _ => Err(io::Error::from(io::ErrorKind::InvalidData)),
        },
        None => Ok(Some((directory, own))),
    }
}

/// Every path that a session changed, and whether everything below it may have changed too;
/// `None` where the journal is not known to have them all, so that the folder must be walked.
///
/// # Errors
/// When the journal cannot be read.
pub fn changed_paths(store: &Path, session: &str) -> io::Result<Option<BTreeMap<Vec<u8>, bool>>> {
    Ok(journal(store, session)?.filter(|(_, journal)| journal.is_complete()).map(|(_, journal)| {
        let paths = journal.changed_paths().into_iter();
        paths.map(|(path, whole)| (path.to_vec(), whole)).collect()
    }))
}

/// Releases what the oldest ended sessions left, until there is comfortable room for a new
/// one. What `live` names stays. Blocks.
///
/// # Errors
/// When something cannot be listed or removed.
pub fn make_room(store: &Path, live: &BTreeSet<String>) -> io::Result<()> {
    make_room_for(store, live, COMFORTABLE)
}

fn make_room_for(store: &Path, live: &BTreeSet<String>, most: u64) -> io::Result<()> {
    let mut sessions = Vec::new();
    let mut used = 0;
    for entry in std::fs::read_dir(store)? {
        let entry = entry?;
        let mut bytes = 0;
        for kept in std::fs::read_dir(entry.path())? {
            bytes += kept?.metadata()?.blocks() * 512;
        }
        used += bytes;
        sessions.push((entry.file_name(), bytes));
    }
    // Their ids begin with the time at which they started.
    sessions.sort();
    for (name, bytes) in sessions {
        if used <= most {
            break;
        }
        if !live.contains(&*name.to_string_lossy()) {
            std::fs::remove_dir_all(store.join(&name))?;
            used = used.saturating_sub(bytes);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use ringfence_share::journal::{Record, Writer};

    use super::*;

    fn session(store: &Path, name: &str, records: &[Record]) {
        let directory = store.join(name);
        std::fs::create_dir(&directory).unwrap();
        let mut writer = Writer::open(&directory.join(journal::FILE)).unwrap();
        for record in records {
            writer.append(record).unwrap();
        }
    }

    fn record(sequence: u64, operation: Operation, path: &str) -> Record {
        Record { sequence, ..Record::new(operation, path.into()) }
    }

    #[test]
    fn a_session_that_shared_a_journal_finds_it() {
        let temp = tempfile::tempdir().unwrap();
        let mut all = vec![
            record(1, Operation::Begin, "a"),
            record(2, Operation::Create, "new"),
            record(3, Operation::Begin, "b"),
            record(4, Operation::End, "b"),
        ];
        session(temp.path(), "a", &all);
        session(temp.path(), "b", &[record(0, Operation::With, "a")]);
        let changed = |name| changed_paths(temp.path(), name).unwrap();
        assert_eq!(changed("b"), None, "the other one still writes");
        assert_eq!(changed("none"), None);
        std::fs::remove_dir_all(temp.path().join("a")).unwrap();
        all.push(record(5, Operation::End, "a"));
        session(temp.path(), "a", &all);
        assert_eq!(changed("a"), Some(BTreeMap::from([(b"new".to_vec(), false)])));
        assert_eq!(changed("b"), changed("a"));
    }

    #[test]
    fn room_is_made_from_the_oldest_and_never_from_the_living() {
        let temp = tempfile::tempdir().unwrap();
        for name in ["260101-a", "260102-b", "260103-c"] {
            session(temp.path(), name, &[record(1, Operation::Begin, name)]);
            std::fs::write(temp.path().join(name).join("1"), vec![7; 100_000]).unwrap();
        }
        let left = || -> Vec<String> {
            let mut names: Vec<String> = std::fs::read_dir(temp.path())
                .unwrap()
                .map(|entry| entry.unwrap().file_name().into_string().unwrap())
                .collect();
            names.sort();
            names
        };
        let live = BTreeSet::from(["260101-a".to_owned()]);
        make_room_for(temp.path(), &live, 1 << 20).unwrap();
        assert_eq!(left().len(), 3, "there is room");
        make_room_for(temp.path(), &live, 250_000).unwrap();
        assert_eq!(left(), ["260101-a", "260103-c"]);
        make_room_for(temp.path(), &live, 0).unwrap();
        assert_eq!(left(), ["260101-a"]);
    }
}
