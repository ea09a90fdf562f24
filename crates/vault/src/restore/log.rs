//! The redo log: what a restore will do, on disk before it does any of it. Owns the
//! format (one JSON value a line); carries nothing out.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustic_core::repofile::Node;
use serde::{Deserialize, Serialize};

use crate::catalog::EntryPath;
use crate::error::{At, Result, VaultError};
use crate::stat::{Stamp, Stat};

const LOG: &str = "redo.log";
const UNFINISHED: &str = "redo.tmp";

/// First line: where the steps apply.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Header {
    pub(crate) schema: u32,
    pub(crate) target: PathBuf,
    /// Inode of the folder: another directory under its name is not restored into.
    pub(crate) inode: u64,
    pub(crate) bytes: u64,
}

/// One step. Each can be carried out again without harm.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case")]
pub(crate) enum LogStep {
    /// Move what is there into staging, or remove the empty directory.
    Remove { number: u64, path: EntryPath, seen: Stat },
    /// Make a directory.
    MakeDir { path: EntryPath },
    /// Put staged entry `number` in place.
    Place { number: u64, path: EntryPath, inode: u64, seen: Option<Stat> },
    /// Set all metadata of what is there; `seen` if it must be that version.
    Adjust { path: EntryPath, node: Box<Node>, seen: Option<Stat> },
    /// Give a directory, whose content the restore touched, its mode and time back.
    Settle { path: EntryPath, mode: u32, mtime: Stamp },
}

/// Where the log of a staging directory is.
pub(crate) fn path(staging: &Path) -> PathBuf {
    staging.join(LOG)
}

/// Writes a log. It counts from the moment [`Writer::publish`] returns.
pub(crate) struct Writer {
    staging: PathBuf,
    file: BufWriter<File>,
}

impl Writer {
    pub(crate) fn new(staging: &Path, header: &Header) -> Result<Self> {
        let path = staging.join(UNFINISHED);
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&path)
            .at("write", &path)?;
        let mut writer = Self { staging: staging.into(), file: BufWriter::new(file) };
        writer.line(header)?;
        Ok(writer)
    }

    pub(crate) fn step(&mut self, step: &LogStep) -> Result<()> {
        self.line(step)
    }

    fn line(&mut self, value: &impl Serialize) -> Result<()> {
        serde_json::to_writer(&mut self.file, value)
            .map_err(io::Error::from)
            .and_then(|()| self.file.write_all(b"\n"))
            .at("write the redo log in", &self.staging)
    }

    pub(crate) fn publish(self) -> Result<()> {
        let staging = self.staging;
        let file = self.file.into_inner().map_err(io::IntoInnerError::into_error);
        file.and_then(|f| f.sync_all())
            .and_then(|()| fs::rename(staging.join(UNFINISHED), path(&staging)))
            .and_then(|()| File::open(&staging)?.sync_all())
            .at("write the redo log in", &staging)
    }
}

/// A log that is being read, step by step.
pub(crate) struct Reader {
    staging: PathBuf,
    lines: io::Split<BufReader<File>>,
}

/// Opens the log of a staging directory, if there is one.
pub(crate) fn read(staging: &Path) -> Result<Option<(Header, Reader)>> {
    let path = path(staging);
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(e).at("open", &path),
    };
    let mut lines = BufReader::new(file).split(b'\n');
    let first =
        lines.next().ok_or_else(|| broken(staging, "its redo log is empty"))?.at("read", &path)?;
    let header: Header = serde_json::from_slice(&first)
        .map_err(|_| broken(staging, "its redo log is unreadable"))?;
    if header.schema != 1 {
        return Err(broken(staging, "its redo log was written by a newer version"));
    }
    Ok(Some((header, Reader { staging: staging.into(), lines })))
}

impl Iterator for Reader {
    type Item = Result<LogStep>;

    fn next(&mut self) -> Option<Self::Item> {
        let line = self.lines.next()?.at("read the redo log in", &self.staging);
        Some(line.and_then(|line| {
            serde_json::from_slice(&line)
                .map_err(|_| broken(&self.staging, "its redo log is unreadable"))
        }))
    }
}

fn broken(staging: &Path, what: &str) -> VaultError {
    VaultError::Staging { path: staging.into(), what: what.into() }
}

/// Ends a restore: from here on there is nothing to resume.
pub(crate) fn remove(staging: &Path) -> Result<()> {
    let path = path(staging);
    fs::remove_file(&path).and_then(|()| File::open(staging)?.sync_all()).at("remove", &path)
}
