//! Second copies of a vault: the same repository again, elsewhere. This file owns what a
//! copy is and the words of it; each step is a module.
//!
//! - `place` is what every target can do: list, read, write. None can delete.
//! - `disk`, `sftp`, `s3`, `rest` are the targets.
//! - `push` makes the target hold what the vault holds; `pull` the other way round.
//! - `pace` keeps within a rate.
//!
//! All that is sent is encrypted already, and every file but one is named by the hash of
//! its content. So a copy is a difference of two sets of names, an interrupted one is
//! continued by making it again, and whether a file arrived whole can be told by anybody.
//! A file goes up after all that it refers to: packs, then index, then snapshots.
//! Whatever a target answers is checked before it is believed.

mod disk;
mod http;
mod pace;
mod place;
mod pull;
mod push;
mod rest;
mod s3;
mod sftp;

use std::fmt;
use std::io::{self, Read, Write};
use std::path::PathBuf;
use std::sync::Arc;

use jiff::Timestamp;

use crate::error::{Result, VaultError};
use crate::watch::{Cancel, Progress};

pub(crate) use place::Place;
pub(crate) use pull::{Source, complete, small_files};
pub(crate) use push::push;

/// A name and a secret by which a store knows who asks. `Debug` shows neither.
#[derive(Clone)]
pub struct Login {
    /// User, or access key.
    pub name: String,
    /// Password, or secret key.
    pub secret: String,
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Login(redacted)")
    }
}

/// How a store behind HTTP is reached.
#[derive(Clone, Debug, Default)]
pub struct Web {
    /// A file with certificate authorities (PEM) besides those of the system.
    pub authorities: Option<PathBuf>,
}

/// The two ends of a connection that speaks SFTP. Reads and writes must fail, not wait for
/// ever, when the other side is silent. Dropping it ends the connection.
pub struct Channel {
    /// What the server says.
    pub from: Box<dyn Read + Send>,
    /// What the server is told.
    pub to: Box<dyn Write + Send>,
    /// Kept as long as the connection is.
    pub held: Box<dyn std::any::Any + Send>,
}

/// Opens a connection that speaks SFTP; this crate starts no program.
pub type Connect = Arc<dyn Fn() -> io::Result<Channel> + Send + Sync>;

/// Gives the present time, which S3 wants to see in every request.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// A place that holds, or will hold, one repository; or several in directories of their own.
#[derive(Clone)]
pub struct Target {
    place: Arc<dyn Place>,
    shown: String,
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Target({})", self.shown)
    }
}

impl Target {
    /// A directory of this computer. The directory that it lies in must exist: so a disk that
    /// is not mounted is not mistaken for an empty one.
    #[must_use]
    pub fn disk(shown: impl Into<String>, dir: PathBuf) -> Self {
        Self { place: Arc::new(disk::Disk::new(dir)), shown: shown.into() }
    }

    /// A directory on another computer. The directory that it lies in must exist.
    #[must_use]
    pub fn sftp(shown: impl Into<String>, dir: &str, connect: Connect) -> Self {
        Self { place: Arc::new(sftp::Sftp::new(dir, connect)), shown: shown.into() }
    }

    /// A restic REST server; `url` without `/` at its end.
    ///
    /// # Errors
    /// When the authorities cannot be read.
    pub fn rest(
        shown: impl Into<String>,
        url: &str,
        login: Option<Login>,
        web: &Web,
    ) -> Result<Self> {
        let shown = shown.into();
        let rest = rest::Rest::new(url, login, web).map_err(|e| failed("reach", &shown, &e))?;
        Ok(Self { place: Arc::new(rest), shown })
    }

    /// A store that speaks S3, addressed as `ENDPOINT/BUCKET/PREFIX`.
    ///
    /// # Errors
    /// When the authorities cannot be read.
    pub fn s3(
        shown: impl Into<String>,
        bucket: S3Bucket,
        login: Option<Login>,
        web: &Web,
        clock: Clock,
    ) -> Result<Self> {
        let shown = shown.into();
        let s3 = s3::S3::new(bucket, login, web, clock).map_err(|e| failed("reach", &shown, &e))?;
        Ok(Self { place: Arc::new(s3), shown })
    }

    /// How it is called to people.
    #[must_use]
    pub fn shown(&self) -> &str {
        &self.shown
    }

    /// Whether a repository lies here.
    ///
    /// # Errors
    /// When the target cannot be reached.
    pub fn is_repository(&self) -> Result<bool> {
        let config = self.place.config().map_err(|e| failed("read", &self.shown, &e))?;
        Ok(config.is_some())
    }

    /// Names of the directories here, in which repositories may lie; `None` where the
    /// target cannot tell (a REST server).
    ///
    /// # Errors
    /// When the target cannot be reached.
    pub fn directories(&self) -> Result<Option<Vec<String>>> {
        self.place.directories().map_err(|e| failed("list", &self.shown, &e))
    }

    pub(crate) fn place(&self) -> &dyn Place {
        &*self.place
    }

    pub(crate) fn fails(&self, doing: &'static str, error: &io::Error) -> VaultError {
        failed(doing, &self.shown, error)
    }
}

/// A bucket, and where in it.
#[derive(Clone, Debug)]
pub struct S3Bucket {
    /// `https://host` or `http://host:port`.
    pub endpoint: String,
    /// Its name.
    pub bucket: String,
    /// Below what; may be empty.
    pub prefix: String,
    /// The region that requests are signed for.
    pub region: String,
}

/// How a copy is to be made.
#[derive(Clone, Default)]
pub struct CopyRequest {
    /// A copy was there before: if it is gone, that is an error and not a new beginning.
    pub expected: bool,
    /// At most so many bytes a second.
    pub bytes_per_second: Option<u64>,
    /// Receives progress.
    pub progress: Option<Arc<dyn Progress>>,
    /// Stops it.
    pub cancel: Cancel,
}

/// What a copy did. When it is there, the target holds all that the vault held at the
/// beginning, as its own listing says, and every new snapshot and index was read back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CopyOutcome {
    /// Files that were sent.
    pub files: u64,
    /// Bytes that were sent.
    pub bytes: u64,
    /// Snapshots of the vault, all of which the copy holds now.
    pub snapshots: usize,
}

fn failed(doing: &'static str, target: &str, error: &io::Error) -> VaultError {
    VaultError::Copy { target: target.to_owned(), doing, what: error.to_string() }
}
