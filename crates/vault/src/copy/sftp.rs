//! A copy on another computer, over SFTP (version 3). Owns the directory's layout there and
//! the durability that the server can give; the words of the protocol are in `wire`.

mod wire;

use std::collections::BTreeSet;
use std::io::{self, Read, Write};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustic_core::{ALL_FILE_TYPES, FileType, Id};

use self::wire::{Kind, Wire};
use super::Connect;
use super::place::{MAX_CONFIG, Name, Place, id_of, path_of, too_long};

/// Files are complete here before they get their names.
const TEMPORARY: &str = "tmp";

/// See the module's header.
pub(super) struct Sftp {
    dir: String,
    connect: Connect,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    wire: Option<Wire>,
    /// Directories that are known to be there.
    made: BTreeSet<String>,
}

impl Sftp {
    pub(super) fn new(dir: &str, connect: Connect) -> Self {
        Self { dir: dir.to_owned(), connect, state: Mutex::default() }
    }

    fn at(&self, path: &str) -> String {
        format!("{}/{path}", self.dir)
    }

    /// Does something over the connection, which is made when it is not there. After an error
    /// of the connection itself it is made anew next time.
    fn with<T>(
        &self,
        act: impl FnOnce(&mut Wire, &mut BTreeSet<String>) -> io::Result<T>,
    ) -> io::Result<T> {
        let mut state: MutexGuard<'_, State> =
            self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.wire.is_none() {
            let channel = (self.connect)()?;
            state.wire = Some(Wire::begin(channel)?);
        }
        let State { wire, made } = &mut *state;
        let Some(open) = wire else { return Err(io::ErrorKind::NotConnected.into()) };
        let outcome = act(open, made);
        if open.is_broken() {
            *wire = None;
        }
        outcome
    }

    fn list_dir(wire: &mut Wire, path: &str, found: &mut Vec<(Id, u64)>) -> io::Result<()> {
        wire.read_dir(path, &mut |name, attributes| {
            if let (Some(id), Some(size), Kind::File | Kind::Unknown) =
                (id_of(name), attributes.size, attributes.kind)
            {
                found.push((id, size));
            }
        })
    }
}

fn make(wire: &mut Wire, made: &mut BTreeSet<String>, path: &str) -> io::Result<()> {
    if made.contains(path) {
        return Ok(());
    }
    if let Err(error) = wire.make_dir(path) {
        // The protocol has no word for "exists": look.
        match wire.stat(path) {
            Ok(attributes) if attributes.kind == Kind::Directory => {}
            _ => return Err(error),
        }
    }
    made.insert(path.to_owned());
    Ok(())
}

impl Place for Sftp {
    fn config(&self) -> io::Result<Option<Vec<u8>>> {
        let path = self.at("config");
        let mut content = Vec::new();
        match self.with(|wire, _| wire.read(&path, MAX_CONFIG, &mut content)) {
            Ok(()) => Ok(Some(content)),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(e),
        }
    }

    fn prepare(&self) -> io::Result<()> {
        self.with(|wire, made| {
            make(wire, made, &self.dir).map_err(|e| match e.kind() {
                io::ErrorKind::NotFound => io::Error::new(
                    io::ErrorKind::NotFound,
                    "the directory in which the copy is to lie does not exist there",
                ),
                _ => e,
            })?;
            for kind in ALL_FILE_TYPES {
                if kind != FileType::Config {
                    make(wire, made, &self.at(kind.dirname()))?;
                }
            }
            make(wire, made, &self.at(TEMPORARY))?;
            make(wire, made, &self.at("locks"))
        })
    }

    fn list(&self, kind: FileType) -> io::Result<Vec<(Id, u64)>> {
        let top = self.at(kind.dirname());
        self.with(|wire, _| {
            let mut found = Vec::new();
            if kind != FileType::Pack {
                Self::list_dir(wire, &top, &mut found)?;
                return Ok(found);
            }
            let mut directories = Vec::new();
            wire.read_dir(&top, &mut |name, _| {
                if name.len() == 2 && name.bytes().all(|b| b.is_ascii_hexdigit()) {
                    directories.push(name.to_owned());
                }
            })?;
            for name in directories {
                Self::list_dir(wire, &format!("{top}/{name}"), &mut found)?;
            }
            Ok(found)
        })
    }

    fn read(&self, name: Name, limit: u64, to: &mut dyn Write) -> io::Result<()> {
        let path = self.at(&path_of(name));
        self.with(|wire, _| wire.read(&path, limit, to))
    }

    fn write(&self, name: Name, length: u64, from: &mut dyn Read) -> io::Result<()> {
        let below = path_of(name);
        let path = self.at(&below);
        // Named by what it will be: the leftover of an interrupted copy is replaced.
        let last = below.rsplit('/').next().unwrap_or(&below);
        let temporary = self.at(&format!("{TEMPORARY}/{last}"));
        self.with(|wire, made| {
            if let (FileType::Pack, Some((parent, _))) = (name.0, path.rsplit_once('/')) {
                make(wire, made, parent)?;
            }
            let stored = wire.write(&temporary, from)?;
            if stored != length {
                return Err(io::Error::new(
                    io::ErrorKind::UnexpectedEof,
                    "the file was not stored in its whole length",
                ));
            }
            wire.rename(&temporary, &path)
        })
    }

    fn settle(&self) -> io::Result<()> {
        // Each file was synced where the server can; directories it cannot.
        Ok(())
    }

    fn directories(&self) -> io::Result<Option<Vec<String>>> {
        self.with(|wire, _| {
            let mut names = Vec::new();
            wire.read_dir(&self.dir, &mut |name, attributes| {
                if attributes.kind != Kind::File && name != "." && name != ".." {
                    names.push(name.to_owned());
                }
            })?;
            Ok(Some(names))
        })
    }
}

/// A limit that a file went beyond.
fn within(count: u64, limit: u64) -> io::Result<()> {
    if count > limit { Err(too_long()) } else { Ok(()) }
}
