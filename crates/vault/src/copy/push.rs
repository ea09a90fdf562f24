//! Makes a target hold what a vault holds. Owns the order in which files go up, and what is
//! checked before a copy is called complete.
//!
//! The vault is read without its lock, so that no snapshot waits for a slow line. That is
//! sound because files never change: the lists are taken in the order snapshots, index,
//! packs, the reverse of how they are written, so that everything that a listed file refers
//! to is in a list as well. A prune meanwhile takes files away; then it is begun anew.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};

use rustic_core::{FileType, Id, ReadBackend};
use sha2::{Digest as _, Sha256};

use super::pace::{Pace, Paced};
use super::place::MAX_CONFIG;
use super::{CopyOutcome, CopyRequest, Target};
use crate::error::{At, Result, VaultError};
use crate::storage::Storage;
use crate::watch::Watch;

/// A vault may be pruned so often while it is copied.
const ATTEMPTS: usize = 3;
/// Kinds in the order in which they go up: each refers only to those before it.
const ORDER: [FileType; 4] = [FileType::Key, FileType::Pack, FileType::Index, FileType::Snapshot];

/// Why an attempt ended.
enum Ended {
    /// A file of the vault went away while it was copied.
    Moved,
    Failed(VaultError),
}

impl From<VaultError> for Ended {
    fn from(error: VaultError) -> Self {
        Self::Failed(error)
    }
}

/// Brings the target up to date.
pub(crate) fn push(
    storage: &Storage,
    target: &Target,
    request: &CopyRequest,
) -> Result<CopyOutcome> {
    let mut copy = Copying {
        storage,
        target,
        watch: Watch { progress: request.progress.clone(), cancel: request.cancel.clone() },
        pace: Pace::new(request.bytes_per_second),
        outcome: CopyOutcome::default(),
    };
    copy.begin(request.expected)?;
    for _ in 0..ATTEMPTS {
        match copy.attempt() {
            Ok(()) => return Ok(copy.outcome),
            Err(Ended::Failed(error)) => return Err(error),
            Err(Ended::Moved) => copy.watch.cancel.check()?,
        }
    }
    Err(VaultError::Copy {
        target: target.shown().to_owned(),
        doing: "bring up to date",
        what: "the vault changed each time it was tried".into(),
    })
}

struct Copying<'a> {
    storage: &'a Storage,
    target: &'a Target,
    watch: Watch,
    pace: Pace,
    outcome: CopyOutcome,
}

impl Copying<'_> {
    /// The target is a copy of this vault, or is made one.
    fn begin(&self, expected: bool) -> Result<()> {
        let own = self.storage.dir().join("config");
        let own = std::fs::read(&own).at("read", &own)?;
        let place = self.target.place();
        let there = place.config().map_err(|e| self.target.fails("read", &e))?;
        match there {
            Some(config) if config == own => return Ok(()),
            Some(_) => {
                return Err(VaultError::ForeignCopy { target: self.target.shown().to_owned() });
            }
            None if expected => {
                return Err(VaultError::CopyGone { target: self.target.shown().to_owned() });
            }
            None => {}
        }
        let length = own.len() as u64;
        debug_assert!(length <= MAX_CONFIG);
        place
            .prepare()
            .and_then(|()| place.write((FileType::Config, Id::default()), length, &mut &own[..]))
            .map_err(|e| self.target.fails("begin", &e))
    }

    fn attempt(&mut self) -> Result<(), Ended> {
        let snapshots = self.own(FileType::Snapshot)?;
        let index = self.own(FileType::Index)?;
        let packs = self.own(FileType::Pack)?;
        let keys = self.own(FileType::Key)?;
        let held = snapshots.len();
        for (kind, own) in ORDER.into_iter().zip([keys, packs, index, snapshots]) {
            self.send(kind, &own)?;
        }
        self.outcome.snapshots = held;
        Ok(())
    }

    /// The vault's files of a kind.
    fn own(&self, kind: FileType) -> Result<Vec<(Id, u64)>> {
        let mut listed: Vec<_> = self
            .storage
            .list_with_size(kind)
            .map_err(|e| VaultError::Damaged {
                path: self.storage.dir().into(),
                what: e.display_log(),
            })?
            .into_iter()
            .map(|(id, length)| (id, u64::from(length)))
            .collect();
        listed.sort_unstable();
        Ok(listed)
    }

    /// What of `own` the target lacks, or has in another length.
    fn missing(&self, kind: FileType, own: &[(Id, u64)]) -> Result<Vec<(Id, u64)>> {
        let there = self.target.place().list(kind).map_err(|e| self.target.fails("list", &e))?;
        let there: HashMap<Id, u64> = there.into_iter().collect();
        Ok(own.iter().filter(|(id, length)| there.get(id) != Some(length)).copied().collect())
    }

    /// Sends what is missing, and looks that it arrived, before anything that refers to it
    /// is sent.
    fn send(&mut self, kind: FileType, own: &[(Id, u64)]) -> Result<(), Ended> {
        let missing = self.missing(kind, own)?;
        if missing.is_empty() {
            return Ok(());
        }
        for (id, length) in &missing {
            self.watch.cancel.check()?;
            self.send_one(kind, *id, *length)?;
        }
        self.target.place().settle().map_err(|e| self.target.fails("write", &e))?;
        if let Some((id, _)) = self.missing(kind, &missing)?.first() {
            let what = format!("{} {} was sent and is not there", word(kind), short(id));
            return Err(self.wrong(what).into());
        }
        // What decides whether everything else is found is read back as well; packs are many
        // and large, and their lengths must do.
        if kind != FileType::Pack {
            for (id, length) in &missing {
                self.watch.cancel.check()?;
                self.read_back(kind, *id, *length)?;
            }
        }
        Ok(())
    }

    fn send_one(&mut self, kind: FileType, id: Id, length: u64) -> Result<(), Ended> {
        let path = self.storage.path(kind, &id);
        let mut file = match File::open(&path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Err(Ended::Moved),
            other => other.at("open", &path)?,
        };
        // A damaged file must not spread: its name says what its content has to be.
        let mut hasher = Sha256::new();
        let read = io::copy(&mut file, &mut HashWriter(&mut hasher)).at("read", &path)?;
        if read != length || name_of(hasher) != id {
            return Err(VaultError::Damaged {
                path: self.storage.dir().into(),
                what: format!(
                    "{} {} is not what its name says; it was not copied",
                    word(kind),
                    short(&id)
                ),
            }
            .into());
        }
        file.seek(SeekFrom::Start(0)).at("read", &path)?;
        let mut from = Paced::new(file.take(length), &mut self.pace, &self.watch);
        let sent = self.target.place().write((kind, id), length, &mut from);
        self.watch.cancel.check()?;
        sent.map_err(|e| self.target.fails("write to", &e))?;
        self.outcome.files += 1;
        self.outcome.bytes += length;
        Ok(())
    }

    fn read_back(&self, kind: FileType, id: Id, length: u64) -> Result<()> {
        let mut hasher = Sha256::new();
        let place = self.target.place();
        place
            .read((kind, id), length, &mut HashWriter(&mut hasher))
            .map_err(|e| self.target.fails("read back from", &e))?;
        if name_of(hasher) == id {
            return Ok(());
        }
        Err(self.wrong(format!("{} {} reads back differently", word(kind), short(&id))))
    }

    fn wrong(&self, what: String) -> VaultError {
        VaultError::Copy { target: self.target.shown().to_owned(), doing: "trust", what }
    }
}

/// Feeds a hash.
pub(super) struct HashWriter<'a>(pub(super) &'a mut Sha256);

impl io::Write for HashWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The name of what was hashed.
pub(super) fn name_of(hasher: Sha256) -> Id {
    Id::new(hasher.finalize().into())
}

pub(super) fn short(id: &Id) -> String {
    id.to_hex()[..8].to_owned()
}

/// What a kind of file is called to people.
pub(super) const fn word(kind: FileType) -> &'static str {
    match kind {
        FileType::Config => "config",
        FileType::Index => "index",
        FileType::Key => "key",
        FileType::Snapshot => "snapshot",
        FileType::Pack => "pack",
    }
}
