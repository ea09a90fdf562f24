//! State on disk: folders, machines, sessions. One JSON file each, with a schema number,
//! replaced atomically. What stands here survives a kill -9 at any point.
//!
//! Must not: hold state in memory that is not on disk; start or stop anything.

mod acts;
mod decisions;
mod held;
mod hints;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use ringfence_model::admit::{Carrier, Granted, ShownNames};
use ringfence_model::copy::CopyRecord;
use ringfence_model::folder::{Access, Folder};
use ringfence_model::health::NotCovered;
use ringfence_model::layout::Layout;
use ringfence_model::machine::Machine;
use ringfence_model::name::{FolderId, MachineName, SessionId};
use ringfence_model::profile::Network;
use ringfence_model::session::Session;
use ringfence_vault::Health;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::host::files;
use crate::host::process::ProcessId;

pub use acts::FolderActs;
pub use held::HeldFile;
pub use hints::ApprovedHint;

/// Version of the state files.
const SCHEMA: u32 = 1;

/// A state file could not be read or written.
#[derive(Debug, thiserror::Error)]
#[error("state file {}", path.display())]
pub struct StoreError {
    path: PathBuf,
    #[source]
    source: io::Error,
}

#[derive(Serialize, Deserialize)]
struct Record<T> {
    schema: u32,
    #[serde(flatten)]
    value: T,
}

/// What runs for a machine, as far as a new daemon must know to adopt it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct MachineRuntime {
    /// The machine's QEMU.
    pub qemu: Option<ProcessId>,
    /// Its gateway.
    pub gateway: Option<ProcessId>,
    /// Loopback port of its SSH; kept over gateway restarts.
    pub ssh_port: Option<u16>,
    /// The network that the gateway enforces.
    pub network: Option<Network>,
    /// Hosts and addresses for `allowlist`.
    #[serde(default)]
    pub allow: Vec<String>,
    /// Plugged shares by folder.
    #[serde(default)]
    pub shares: BTreeMap<FolderId, ShareRuntime>,
}

/// A share process and its place in the machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShareRuntime {
    /// The share's process.
    pub process: ProcessId,
    /// Name of the hot-plugged device and its chardev.
    pub device: String,
    /// The virtiofs tag.
    pub tag: String,
    /// Where it is mounted inside.
    pub guest_path: PathBuf,
    /// What the share allows at most.
    pub access: Access,
    /// What it hides and protects.
    #[serde(default)]
    pub names: ShownNames,
}

/// The registered folders, as stored.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct FolderFile {
    /// Every registered folder.
    pub folders: Vec<Folder>,
    /// Folders that were removed; their vaults wait for them to come back.
    #[serde(default)]
    pub removed: Vec<Folder>,
    /// What sessions may have left in folders. It stays when a folder is removed, and is
    /// found again by its place.
    #[serde(default)]
    pub carried: Vec<Carrier>,
}

/// What is known about a folder's newest snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ProtectionRecord {
    /// The newest good snapshot.
    pub snapshot: Option<String>,
    /// When the folder was last found to be in that state.
    pub until: Option<jiff::Timestamp>,
    /// Why the last attempt failed.
    pub error: Option<String>,
    /// What that snapshot does not hold as it is in the folder.
    #[serde(default)]
    pub not_covered: NotCovered,
    /// The fullest snapshot of late, with which the next ones are compared.
    #[serde(default)]
    pub fullest: Option<Fullest>,
    /// Most files are gone, and nobody said that this is right. Its snapshot is kept.
    #[serde(default)]
    pub shrunken: Option<Shrunken>,
}

/// How much a snapshot holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Held {
    /// Files.
    pub files: u64,
    /// Bytes in them.
    #[serde(default)]
    pub bytes: u64,
}

/// A snapshot that held much.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fullest {
    /// Its id.
    pub snapshot: String,
    /// How much.
    #[serde(flatten)]
    pub held: Held,
    /// When it was taken.
    pub at: jiff::Timestamp,
}

/// A folder that suddenly lost most of what it held.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shrunken {
    /// The last full snapshot.
    pub snapshot: String,
    /// What it holds.
    #[serde(flatten)]
    pub held: Held,
    /// When it was taken.
    pub at: jiff::Timestamp,
    /// Files that are left.
    pub left: u64,
    /// Bytes that are left.
    #[serde(default)]
    pub left_bytes: u64,
    /// When that was noticed.
    pub noticed: jiff::Timestamp,
}

/// Reads and writes the state files below a [`Layout`].
#[derive(Debug, Clone)]
pub struct Store {
    layout: Layout,
}

impl Store {
    /// A store for these directories.
    #[must_use]
    pub const fn new(layout: Layout) -> Self {
        Self { layout }
    }

    fn read<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, StoreError> {
        let error = |source| StoreError { path: path.to_owned(), source };
        let record: Option<Record<T>> = files::read_record(path).map_err(error)?;
        match record {
            Some(record) if record.schema != SCHEMA => Err(error(io::Error::other(format!(
                "has schema {}, this version reads {SCHEMA}; use the Ringfence that wrote it",
                record.schema
            )))),
            record => Ok(record.map(|record| record.value)),
        }
    }

    fn write<T: Serialize>(path: &Path, value: &T) -> Result<(), StoreError> {
        files::write_record(path, &Record { schema: SCHEMA, value })
            .map_err(|source| StoreError { path: path.to_owned(), source })
    }

    /// The registered folders.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn folders(&self) -> Result<FolderFile, StoreError> {
        Ok(Self::read(&self.layout.folders_file())?.unwrap_or_default())
    }

    /// Replaces the registered folders.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn set_folders(&self, folders: &FolderFile) -> Result<(), StoreError> {
        Self::write(&self.layout.folders_file(), folders)
    }

    fn protection_file(&self, folder: &FolderId) -> PathBuf {
        self.layout.state.join("protection").join(format!("{folder}.json"))
    }

    /// Until when a folder is known to be protected.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn protection(&self, folder: &FolderId) -> Result<ProtectionRecord, StoreError> {
        Ok(Self::read(&self.protection_file(folder))?.unwrap_or_default())
    }

    /// Writes until when a folder is known to be protected.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn set_protection(
        &self,
        folder: &FolderId,
        record: &ProtectionRecord,
    ) -> Result<(), StoreError> {
        Self::write(&self.protection_file(folder), record)
    }

    fn health_file(&self, folder: &FolderId) -> PathBuf {
        self.layout.state.join("health").join(format!("{folder}.json"))
    }

    /// What is known about the health of a folder's vault.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn health(&self, folder: &FolderId) -> Result<Health, StoreError> {
        Ok(Self::read(&self.health_file(folder))?.unwrap_or_default())
    }

    /// Writes what is known about the health of a folder's vault.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn set_health(&self, folder: &FolderId, health: &Health) -> Result<(), StoreError> {
        Self::write(&self.health_file(folder), health)
    }

    fn copy_file(&self, folder: &FolderId, target: &str) -> PathBuf {
        // A target is a URL or a path: its hash is a name.
        let hash = Sha256::digest(target.as_bytes());
        let name: String = hash.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        self.layout.copies(folder).join(format!("{name}.json"))
    }

    /// What is known about a folder's copy at a target.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn copy(&self, folder: &FolderId, target: &str) -> Result<CopyRecord, StoreError> {
        Ok(Self::read(&self.copy_file(folder, target))?.unwrap_or_default())
    }

    /// Writes what is known about a folder's copy at a target.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn set_copy(
        &self,
        folder: &FolderId,
        target: &str,
        record: &CopyRecord,
    ) -> Result<(), StoreError> {
        Self::write(&self.copy_file(folder, target), record)
    }

    fn machine_file(&self, name: &MachineName) -> PathBuf {
        self.layout.machine(name).join("machine.json")
    }

    /// Every machine, oldest first. A directory without a record is a half-made machine.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub fn machines(&self) -> Result<Vec<Machine>, StoreError> {
        let mut machines = Vec::new();
        for name in names(&self.layout.machines())? {
            if let Some(machine) = Self::read::<Machine>(&self.machine_file(&name))? {
                machines.push(machine);
            }
        }
        machines.sort_by_key(|machine: &Machine| machine.created);
        Ok(machines)
    }

    /// Writes a machine's record.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn set_machine(&self, machine: &Machine) -> Result<(), StoreError> {
        Self::write(&self.machine_file(&machine.name), machine)
    }

    /// What runs for a machine.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn runtime(&self, name: &MachineName) -> Result<MachineRuntime, StoreError> {
        Ok(Self::read(&self.layout.machine(name).join("runtime.json"))?.unwrap_or_default())
    }

    /// Writes what runs for a machine.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn set_runtime(
        &self,
        name: &MachineName,
        runtime: &MachineRuntime,
    ) -> Result<(), StoreError> {
        Self::write(&self.layout.machine(name).join("runtime.json"), runtime)
    }

    fn session_file(&self, id: &SessionId) -> PathBuf {
        self.layout.session(id).join("session.json")
    }

    /// Every session, oldest first.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub fn sessions(&self) -> Result<Vec<Session>, StoreError> {
        let mut sessions = Vec::new();
        for id in names::<SessionId>(&self.layout.sessions())? {
            if let Some(session) = Self::read::<Session>(&self.session_file(&id))? {
                sessions.push(session);
            }
        }
        sessions
            .sort_by(|a: &Session, b: &Session| a.started.cmp(&b.started).then(a.id.cmp(&b.id)));
        Ok(sessions)
    }

    /// One session.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn session(&self, id: &SessionId) -> Result<Option<Session>, StoreError> {
        Self::read(&self.session_file(id))
    }

    fn granted_file(&self, id: &SessionId) -> PathBuf {
        self.layout.session(id).join("granted.json")
    }

    /// What a session was given; `None` for one of an earlier version.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn granted(&self, id: &SessionId) -> Result<Option<Granted>, StoreError> {
        Self::read(&self.granted_file(id))
    }

    /// Writes what a session is given.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn set_granted(&self, id: &SessionId, granted: &Granted) -> Result<(), StoreError> {
        Self::write(&self.granted_file(id), granted)
    }

    /// Removes all that is kept of a session.
    ///
    /// # Errors
    /// When it cannot be removed.
    pub fn forget_session(&self, id: &SessionId) -> Result<(), StoreError> {
        let path = self.layout.session(id);
        match std::fs::remove_dir_all(&path) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                Err(StoreError { path, source })
            }
            _ => Ok(()),
        }
    }

    /// Writes a session's record.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn set_session(&self, session: &Session) -> Result<(), StoreError> {
        Self::write(&self.session_file(&session.id), session)
    }
}

/// The entries of a directory that are names; nothing where the directory is missing.
fn names<N: std::str::FromStr>(directory: &Path) -> Result<Vec<N>, StoreError> {
    let error = |source| StoreError { path: directory.to_owned(), source };
    let entries = match std::fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(missing) if missing.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(source) => return Err(error(source)),
    };
    let mut names = Vec::new();
    for entry in entries {
        let name = entry.map_err(error)?.file_name();
        names.extend(name.to_str().and_then(|name| name.parse().ok()));
    }
    Ok(names)
}
