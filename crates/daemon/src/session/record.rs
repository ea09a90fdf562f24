//! A session's record on disk: who runs it, what it said last, how it ended.
//!
//! Owns `process.json`, `exit.json` and `output.log` (with `output.log.1`). The output
//! is what the command printed, never what was typed. Written by the session process;
//! read by the daemon.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use ringfence_model::session::Exit;
use serde::{Deserialize, Serialize};

use crate::host::files;
use crate::host::process::ProcessId;

/// Version of the record's files.
const SCHEMA: u32 = 1;
/// Half of the output that is kept, in bytes: the file is moved aside when it is full.
const HALF: u64 = 4 * 1024 * 1024;

/// How a session ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExitRecord {
    /// How the command ended, as its guest claims.
    pub exit: Exit,
    /// Why, where the session itself failed.
    pub reason: Option<String>,
    /// When.
    pub ended: jiff::Timestamp,
}

#[derive(Serialize, Deserialize)]
struct Versioned<T> {
    schema: u32,
    #[serde(flatten)]
    value: T,
}

/// The process that runs the session of this record directory, alive or not.
///
/// # Errors
/// Any error of the file system; `InvalidData` when the file is not such a record.
pub fn process(directory: &Path) -> io::Result<Option<ProcessId>> {
    read(&directory.join("process.json"))
}

/// How the session ended; `None` while it runs, or when its process died without a word.
///
/// # Errors
/// As [`process`].
pub fn exit(directory: &Path) -> io::Result<Option<ExitRecord>> {
    read(&directory.join("exit.json"))
}

/// The kept output, oldest first: at most 8 MiB. It begins anywhere in a line when older
/// output was dropped. With a terminal it is filtered for terminals, else it is raw bytes.
///
/// # Errors
/// Any error of the file system but a missing file.
pub fn output(directory: &Path) -> io::Result<Vec<u8>> {
    let mut output = Vec::new();
    for name in ["output.log.1", "output.log"] {
        match File::open(directory.join(name)) {
            Ok(file) => drop(file.take(2 * HALF).read_to_end(&mut output)?),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(output)
}

fn read<T: serde::de::DeserializeOwned>(path: &Path) -> io::Result<Option<T>> {
    let record: Option<Versioned<T>> = files::read_record(path)?;
    match record {
        Some(record) if record.schema != SCHEMA => Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!("{}: schema {} is not known", path.display(), record.schema),
        )),
        other => Ok(other.map(|record| record.value)),
    }
}

/// The writing side.
#[derive(Debug)]
pub(super) struct Record {
    directory: PathBuf,
    output: Option<File>,
    written: u64,
    failed: bool,
}

impl Record {
    pub(super) fn create(directory: &Path) -> io::Result<Self> {
        files::private_directory(directory)?;
        Ok(Self { directory: directory.to_owned(), output: None, written: 0, failed: false })
    }

    pub(super) fn started(&self, process: ProcessId) -> io::Result<()> {
        self.write("process.json", process)
    }

    pub(super) fn ended(&self, exit: &ExitRecord) -> io::Result<()> {
        self.write("exit.json", exit)
    }

    fn write(&self, name: &str, value: impl Serialize) -> io::Result<()> {
        files::write_record(&self.directory.join(name), &Versioned { schema: SCHEMA, value })
    }

    /// Appends output. The first failure (a full disk) ends the record of output, not the session.
    pub(super) fn append(&mut self, bytes: &[u8]) {
        if self.failed || bytes.is_empty() {
            return;
        }
        if let Err(error) = self.try_append(bytes) {
            self.failed = true;
            tracing::warn!(directory = %self.directory.display(), %error, "output is no longer recorded");
        }
    }

    fn try_append(&mut self, bytes: &[u8]) -> io::Result<()> {
        let path = self.directory.join("output.log");
        if self.written >= HALF {
            self.output = None;
            fs::rename(&path, self.directory.join("output.log.1"))?;
        }
        let file = match &mut self.output {
            Some(file) => file,
            empty => {
                let file = OpenOptions::new().create(true).append(true).mode(0o600).open(&path)?;
                self.written = file.metadata()?.len();
                empty.insert(file)
            }
        };
        file.write_all(bytes)?;
        self.written += bytes.len() as u64;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_record_is_bounded_and_read_back() {
        let place = tempfile::tempdir().expect("tempdir");
        let directory = place.path().join("s1");
        let mut record = Record::create(&directory).expect("creates");
        assert_eq!(process(&directory).expect("reads"), None);
        let own = ProcessId::of(std::process::id()).expect("lives");
        record.started(own).expect("writes");
        assert_eq!(process(&directory).expect("reads"), Some(own));
        for number in 0..200u8 {
            record.append(&vec![number; 64 * 1024]);
        }
        let kept = output(&directory).expect("reads");
        assert!(kept.len() as u64 >= HALF && kept.len() as u64 <= 2 * HALF, "{}", kept.len());
        assert_eq!(kept.last(), Some(&199));
        assert_eq!(exit(&directory).expect("reads"), None);
        let ended = ExitRecord {
            exit: Exit::Code(7),
            reason: None,
            ended: jiff::Timestamp::from_second(5).expect("time"),
        };
        record.ended(&ended).expect("writes");
        assert_eq!(exit(&directory).expect("reads"), Some(ended));
        fs::write(directory.join("exit.json"), b"{\"schema\":9}").expect("writes");
        assert!(exit(&directory).is_err());
    }
}
