//! Keeper processes as the daemon sees them: one beside each share that may write. It owns
//! what is kept of a folder; the daemon tells it when sessions begin and end, and releases
//! what is no longer needed.
//!
//! Must not: write into what a keeper keeps while it does; know about machines or QEMU.

mod moment;
mod touched;
mod versions;

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ringfence_model::folder::Folder;
use ringfence_model::name::SessionId;
use ringfence_share::journal::{self, Journal, Operation, Record};
use ringfence_share::keeper::{KeeperCommand, KeeperReady, KeeperSpec};
use serde::Deserialize;

use crate::host::child::{self, ChildError};
use crate::host::process::ProcessId;
use crate::host::{control, files};

pub use moment::{Before, Told, What, cut_at, deletions, path_at_begin, told};
pub use touched::{Touched, touched};
pub use versions::{Kept, versions};

/// How long a keeper may take to come up.
const START: Duration = Duration::from_secs(20);
/// How long it may take to write out what it holds.
const ANSWER: Duration = Duration::from_secs(30);

/// Bytes that may be kept of one folder.
const QUOTA: u64 = 10 << 30;
/// Above this a new session waits until what ended sessions left is in the vault.
pub const COMFORTABLE: u64 = QUOTA / 2;

/// End of the name of what is stored elsewhere and is being removed: no session's id has it.
const RELEASED: &str = ".released";

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

/// Tells a keeper that what a session left is about to be released.
///
/// # Errors
/// When it does not answer, or still writes that session's journal: then nothing of it may go.
pub async fn forget(control: &Path, session: &SessionId) -> io::Result<KeeperReport> {
    ask(control, &KeeperCommand::Forget(session.to_string())).await
}

/// Has a keeper count anew after something was released.
///
/// # Errors
/// When it does not answer.
pub async fn recount(control: &Path) -> io::Result<KeeperReport> {
    ask(control, &KeeperCommand::Recount(true)).await
}

/// The session whose journal has a session's changes: itself, or one that began before it
/// behind the same share.
#[must_use]
pub fn written_by(records: &[Record]) -> Option<SessionId> {
    let with = records.iter().find(|record| record.operation == Operation::With)?;
    std::str::from_utf8(&with.path).ok()?.parse().ok()
}

/// The journal in which a session's changes stand; `None` where there is none.
///
/// # Errors
/// When it cannot be read.
fn journal(store: &Path, session: &str) -> io::Result<Option<Journal>> {
    let read = |session: &str| match Journal::read(&store.join(session).join(journal::FILE)) {
        Ok(journal) => Ok(Some(journal)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    };
    let Some(own) = read(session)? else { return Ok(None) };
    match written_by(&own.records) {
        Some(first) => read(first.as_str()),
        None => Ok(Some(own)),
    }
}

/// As [`journal`]; `None` also where it is not known to have everything that was changed.
///
/// # Errors
/// When it cannot be read.
fn complete_journal(store: &Path, session: &str) -> io::Result<Option<Journal>> {
    Ok(journal(store, session)?.filter(Journal::is_complete))
}

/// Bytes on disk that are kept of a folder. Blocks.
///
/// # Errors
/// When something cannot be listed.
pub fn used(store: &Path) -> io::Result<u64> {
    let mut used = 0;
    for session in std::fs::read_dir(store)? {
        for kept in std::fs::read_dir(session?.path())? {
            used += kept?.metadata()?.blocks() * 512;
        }
    }
    Ok(used)
}

/// Releases what a session left: it is stored elsewhere. It is gone at once, under its name, so
/// that nobody takes what is left of it for all of it. Blocks.
///
/// # Errors
/// When something cannot be renamed or removed; [`sweep`] goes on from there.
pub fn release(store: &Path, session: &str) -> io::Result<()> {
    std::fs::rename(store.join(session), store.join(format!("{session}{RELEASED}")))?;
    std::fs::File::open(store)?.sync_all()?;
    sweep(store)
}

/// Removes what was released and is still there. Blocks.
///
/// # Errors
/// When something cannot be listed or removed.
pub fn sweep(store: &Path) -> io::Result<()> {
    for entry in std::fs::read_dir(store)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().ends_with(RELEASED) {
            std::fs::remove_dir_all(entry.path())?;
        }
    }
    Ok(())
}

/// Sessions of which something is kept here. Blocks.
///
/// # Errors
/// When it cannot be listed.
pub fn sessions(store: &Path) -> io::Result<Vec<SessionId>> {
    let mut found = Vec::new();
    let entries = match std::fs::read_dir(store) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(found),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        let id = entry.file_name().to_str().and_then(|name| name.parse().ok());
        found.extend(id.filter(|_| entry.path().join(journal::FILE).exists()));
    }
    found.sort();
    Ok(found)
}

/// A time in nanoseconds since 1970 as everybody else has it.
pub(crate) fn timestamp(nanoseconds: i64) -> jiff::Timestamp {
    jiff::Timestamp::from_nanosecond(i128::from(nanoseconds)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use ringfence_share::journal::Writer;

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
        let changed = |name| -> Option<BTreeMap<Vec<u8>, bool>> {
            let journal = complete_journal(temp.path(), name).unwrap()?;
            let paths = journal.changed_paths().into_iter();
            Some(paths.map(|(path, whole)| (path.to_vec(), whole)).collect())
        };
        assert_eq!(changed("b"), None, "the other one still writes");
        assert_eq!(changed("none"), None);
        std::fs::remove_dir_all(temp.path().join("a")).unwrap();
        all.push(record(5, Operation::End, "a"));
        session(temp.path(), "a", &all);
        assert_eq!(changed("a"), Some(BTreeMap::from([(b"new".to_vec(), false)])));
        assert_eq!(changed("b"), changed("a"));
    }

    #[test]
    fn what_is_released_is_gone_at_once_and_what_is_left_of_it_is_swept() {
        let temp = tempfile::tempdir().unwrap();
        let store = temp.path();
        for name in ["a", "b"] {
            session(store, name, &[record(1, Operation::Begin, name)]);
            std::fs::write(store.join(name).join("1"), vec![7; 100_000]).unwrap();
        }
        let here = || -> Vec<String> {
            sessions(store).unwrap().iter().map(ToString::to_string).collect()
        };
        assert_eq!(here(), ["a", "b"]);
        let before = used(store).unwrap();
        assert!(before >= 200_000);
        release(store, "a").unwrap();
        assert_eq!(here(), ["b"]);
        assert!(used(store).unwrap() <= before - 100_000);
        // Killed between the two steps.
        std::fs::rename(store.join("b"), store.join(format!("b{RELEASED}"))).unwrap();
        assert_eq!(here(), Vec::<String>::new());
        sweep(store).unwrap();
        assert_eq!(std::fs::read_dir(store).unwrap().count(), 0);
    }
}
