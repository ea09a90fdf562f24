//! A copy in a directory of this computer, best on another disk. Owns permissions and
//! durability there.

use std::collections::BTreeSet;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use rustic_core::{ALL_FILE_TYPES, FileType, Id};

use super::place::{MAX_CONFIG, Name, Place, copy_limited, id_of, path_of};
use crate::storage::room;

/// Files are complete here before they get their names.
const TEMPORARY: &str = "tmp";

/// See the module's header.
pub(crate) struct Disk {
    dir: PathBuf,
    /// Directories that got a new name since they were last synced.
    unsynced: Mutex<BTreeSet<PathBuf>>,
}

impl Disk {
    pub(crate) const fn new(dir: PathBuf) -> Self {
        Self { dir, unsynced: Mutex::new(BTreeSet::new()) }
    }

    fn named(&self, path: &Path) {
        if let Some(parent) = path.parent() {
            let mut unsynced = self.unsynced.lock().unwrap_or_else(PoisonError::into_inner);
            unsynced.insert(parent.to_owned());
        }
    }

    fn make(&self, path: &Path) -> io::Result<()> {
        match DirBuilder::new().mode(0o700).create(path) {
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
            other => other.map(|()| self.named(path)),
        }
    }
}

impl Place for Disk {
    fn config(&self) -> io::Result<Option<Vec<u8>>> {
        let mut content = Vec::new();
        match File::open(self.dir.join("config")) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(e),
            // A directory of that name is somebody's own.
            Ok(file) if !file.metadata()?.is_file() => Ok(None),
            Ok(mut file) => {
                copy_limited(&mut file, MAX_CONFIG, &mut content).map(|_| Some(content))
            }
        }
    }

    fn prepare(&self) -> io::Result<()> {
        let parent = self.dir.parent().unwrap_or(Path::new("/"));
        if !parent.is_dir() {
            let text = format!("{} does not exist: is the disk mounted?", parent.display());
            return Err(io::Error::new(io::ErrorKind::NotFound, text));
        }
        self.make(&self.dir)?;
        for kind in ALL_FILE_TYPES {
            self.make(&self.dir.join(kind.dirname()))?;
        }
        for name in [TEMPORARY, "locks"] {
            self.make(&self.dir.join(name))?;
        }
        Ok(())
    }

    fn list(&self, kind: FileType) -> io::Result<Vec<(Id, u64)>> {
        let top = self.dir.join(kind.dirname());
        let mut found = Vec::new();
        if kind != FileType::Pack {
            list_into(&top, &mut found)?;
            return Ok(found);
        }
        for sub in fs::read_dir(&top)? {
            let sub = sub?;
            if sub.file_type()?.is_dir() {
                list_into(&sub.path(), &mut found)?;
            }
        }
        Ok(found)
    }

    fn read(&self, name: Name, limit: u64, to: &mut dyn Write) -> io::Result<()> {
        let mut file = File::open(self.dir.join(path_of(name)))?;
        copy_limited(&mut file, limit, to).map(|_| ())
    }

    fn write(&self, name: Name, length: u64, from: &mut dyn Read) -> io::Result<()> {
        let (free, floor) = room(&self.dir);
        if free.saturating_sub(length) < floor {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let path = self.dir.join(path_of(name));
        if let (FileType::Pack, Some(parent)) = (name.0, path.parent()) {
            self.make(parent)?;
        }
        // Named by what it will be: the leftover of an interrupted copy is replaced.
        let temporary = self.dir.join(TEMPORARY).join(path.file_name().unwrap_or_default());
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&temporary)?;
        let stored = io::copy(from, &mut file).and_then(|count| match count == length {
            true => file.sync_all(),
            false => Err(io::ErrorKind::UnexpectedEof.into()),
        });
        if let Err(error) = stored {
            let _ = fs::remove_file(&temporary);
            return Err(error);
        }
        fs::rename(&temporary, &path)?;
        self.named(&path);
        Ok(())
    }

    fn settle(&self) -> io::Result<()> {
        let waiting =
            std::mem::take(&mut *self.unsynced.lock().unwrap_or_else(PoisonError::into_inner));
        waiting.iter().try_for_each(|dir| File::open(dir)?.sync_all())
    }

    fn directories(&self) -> io::Result<Option<Vec<String>>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.dir)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                names.extend(entry.file_name().into_string());
            }
        }
        Ok(Some(names))
    }
}

fn list_into(dir: &Path, found: &mut Vec<(Id, u64)>) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let Some(id) = entry.file_name().to_str().and_then(id_of) else { continue };
        let facts = entry.metadata()?;
        if facts.is_file() {
            found.push((id, facts.len()));
        }
    }
    Ok(())
}
