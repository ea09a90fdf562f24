//! Moves damaged files aside and puts good ones in their place, durably. Owns the
//! directory `set-aside` in a vault, which neither restic nor the engine looks into.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustic_core::{FileType, Id};

use crate::error::{At, Result};
use crate::storage::Storage;

/// Where damaged files go.
const ASIDE: &str = "set-aside";
/// So many versions of one file are kept apart.
const VERSIONS: u32 = 1000;

/// Moves a file aside. One that is gone already is no error: an earlier repair may
/// have come so far.
pub(crate) fn set_aside(storage: &Storage, kind: FileType, id: &Id) -> Result<()> {
    let path = storage.path(kind, id);
    match keep_aside(storage, kind, id) {
        Ok(()) => {}
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(e).at("move aside", &path),
    }
    fs::remove_file(&path).at("take out", &path)?;
    sync_parent(&path)
}

/// Puts good content in place of what is there, which is kept aside.
pub(crate) fn put_back(storage: &Storage, (kind, id): (FileType, &Id), bytes: &[u8]) -> Result<()> {
    let path = storage.path(kind, id);
    match keep_aside(storage, kind, id) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e).at("move aside", &path),
        _ => {}
    }
    place(storage, &path, bytes)
}

/// Writes a file to its place: complete or not at all, on disk on return.
pub(crate) fn place(storage: &Storage, path: &Path, bytes: &[u8]) -> Result<()> {
    if let Some(parent) = path.parent()
        && !parent.is_dir()
    {
        make_private(parent).at("make", parent)?;
        sync_parent(parent)?;
    }
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let temporary = storage.dir().join("tmp").join(format!("repair-{name}"));
    let write = || -> io::Result<()> {
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&temporary)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&temporary, path)
    };
    if let Err(e) = write() {
        let _ = fs::remove_file(&temporary);
        return Err(e).at("write", path);
    }
    sync_parent(path)
}

/// Makes a file or directory its owner's alone.
pub(crate) fn close(path: &Path) -> Result<()> {
    let mode = fs::metadata(path).at("look at", path)?.permissions().mode() & 0o700;
    fs::set_permissions(path, Permissions::from_mode(mode)).at("close", path)
}

/// Gives a file a second name in `set-aside`, under which its content stays.
fn keep_aside(storage: &Storage, kind: FileType, id: &Id) -> io::Result<()> {
    let aside = storage.dir().join(ASIDE);
    make_private(&aside)?;
    let path = storage.path(kind, id);
    let base = match kind {
        FileType::Config => "config".to_owned(),
        _ => format!("{}-{}", kind.dirname(), id.to_hex().as_str()),
    };
    for version in 0..VERSIONS {
        let name = if version == 0 { base.clone() } else { format!("{base}.{version}") };
        match fs::hard_link(&path, aside.join(name)) {
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
            other => {
                other?;
                File::open(&aside)?.sync_all()?;
                return File::open(storage.dir())?.sync_all();
            }
        }
    }
    Err(io::Error::other("too many versions of it are kept aside already"))
}

fn make_private(path: &Path) -> io::Result<()> {
    match DirBuilder::new().mode(0o700).create(path) {
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        other => other,
    }
}

fn sync_parent(path: &Path) -> Result<()> {
    let parent: PathBuf = path.parent().unwrap_or(Path::new(".")).into();
    File::open(&parent).and_then(|dir| dir.sync_all()).at("sync the directory", &parent)
}
