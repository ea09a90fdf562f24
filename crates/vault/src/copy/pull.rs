//! Makes a vault out of a copy. Owns what is fetched when: what is small at once, packs when
//! something asks for them, the rest in the end; and that nothing is believed whose hash is
//! not its name.

use std::collections::HashSet;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use rustic_core::{FileType, Id, ReadBackend};
use sha2::{Digest as _, Sha256};

use super::Target;
use super::push::{name_of, short, word};
use crate::error::{At, Result, VaultError};
use crate::storage::Storage;
use crate::watch::{Step, Watch};

/// Nothing of a repository is longer: its packs have at most 4 GiB.
const MAX_FILE: u64 = 4 << 30;

/// Where a vault that is being made out of a copy fetches the packs it lacks.
#[derive(Debug)]
pub(crate) struct Source {
    target: Target,
    /// One at a time: several readers may ask for one pack.
    turn: Mutex<()>,
}

impl Source {
    pub(crate) const fn new(target: Target) -> Self {
        Self { target, turn: Mutex::new(()) }
    }

    /// Fetches a file to `path` unless it is there by now.
    pub(crate) fn fetch(&self, kind: FileType, id: &Id, path: &Path) -> Result<()> {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        if path.exists() { Ok(()) } else { fetch(&self.target, kind, *id, path, &Watch::default()) }
    }

    pub(crate) const fn target(&self) -> &Target {
        &self.target
    }
}

/// Fetches everything of a copy but its packs into a directory that is empty, or in which this
/// was begun before.
pub(crate) fn small_files(storage: &Storage, target: &Target, watch: &Watch) -> Result<()> {
    let config = target.place().config().map_err(|e| target.fails("read", &e))?;
    let Some(config) = config else {
        return Err(VaultError::Copy {
            target: target.shown().to_owned(),
            doing: "open",
            what: "there is no repository".into(),
        });
    };
    let own = storage.dir().join("config");
    match fs::read(&own) {
        Ok(known) if known == config => {}
        Ok(_) => return Err(VaultError::Exists { path: storage.dir().into() }),
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            storage.prepare()?;
            for kind in [FileType::Key, FileType::Index, FileType::Snapshot] {
                fetch_all(storage, target, kind, watch)?;
            }
            // Last: with it the directory is a vault.
            put(&own, |file| {
                file.write_all(&config).map_err(|e| VaultError::io("write", &own, e))
            })?;
            return storage.sync().at("sync", storage.dir());
        }
        Err(e) => return Err(e).at("read", &own),
    }
    for kind in [FileType::Key, FileType::Index, FileType::Snapshot] {
        fetch_all(storage, target, kind, watch)?;
    }
    storage.sync().at("sync", storage.dir())
}

/// Fetches the packs that are still missing.
pub(crate) fn complete(storage: &Storage, target: &Target, watch: &Watch) -> Result<()> {
    fetch_all(storage, target, FileType::Pack, watch)?;
    storage.sync().at("sync", storage.dir())
}

fn fetch_all(storage: &Storage, target: &Target, kind: FileType, watch: &Watch) -> Result<()> {
    let there = target.place().list(kind).map_err(|e| target.fails("list", &e))?;
    let own: HashSet<Id> = storage
        .list(kind)
        .map_err(|e| VaultError::Damaged { path: storage.dir().into(), what: e.display_log() })?
        .into_iter()
        .collect();
    for (id, _) in there {
        watch.cancel.check()?;
        if !own.contains(&id) {
            fetch(target, kind, id, &storage.make_place(kind, &id)?, watch)?;
        }
    }
    Ok(())
}

/// Fetches one file; it appears whole, with the content that its name promises, or not at all.
fn fetch(target: &Target, kind: FileType, id: Id, path: &Path, watch: &Watch) -> Result<()> {
    put(path, |file| {
        let mut hasher = Sha256::new();
        let mut to = Hashed { to: file, hasher: &mut hasher, watch };
        target
            .place()
            .read((kind, id), MAX_FILE, &mut to)
            .map_err(|e| target.fails("read from", &e))?;
        watch.cancel.check()?;
        if name_of(hasher) == id {
            return Ok(());
        }
        Err(VaultError::Copy {
            target: target.shown().to_owned(),
            doing: "trust",
            what: format!("{} {} is not what its name says", word(kind), short(&id)),
        })
    })
}

/// Fills a file beside its place, and moves it there when it is complete and on disk.
fn put(path: &Path, fill: impl FnOnce(&mut fs::File) -> Result<()>) -> Result<()> {
    let mut temporary = path.as_os_str().to_owned();
    // No hash, so nobody takes it for a file of the repository.
    temporary.push(".part");
    let temporary = Path::new(&temporary);
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(temporary)
        .at("write", temporary)?;
    let filled = fill(&mut file).and_then(|()| file.sync_all().at("sync", temporary));
    if let Err(error) = filled {
        let _ = fs::remove_file(temporary);
        return Err(error);
    }
    fs::rename(temporary, path).at("give its name to", path)
}

/// Writes, hashes, counts and hears a request to stop.
struct Hashed<'a> {
    to: &'a mut fs::File,
    hasher: &'a mut Sha256,
    watch: &'a Watch,
}

impl Write for Hashed<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.watch.cancel.is_cancelled() {
            return Err(io::Error::other("stopped on request"));
        }
        self.to.write_all(bytes)?;
        self.hasher.update(bytes);
        self.watch.step(Step::Copied(bytes.len() as u64));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}
