//! What a keeper process is told on stdin, says on stdout and hears on its control
//! socket. Data only.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::spec::{Failure, Landlock, Protection};

/// Everything a keeper must know, as one JSON document on its stdin.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeeperSpec {
    /// The folder of the share that it keeps for.
    pub folder: PathBuf,
    /// Where it keeps: a private directory that no share shows.
    pub store: PathBuf,
    /// Where the share connects. A stale socket there is replaced.
    pub socket: PathBuf,
    /// Where the daemon connects. A stale socket there is replaced.
    pub control_socket: PathBuf,
    /// Bytes that may be kept for this folder.
    pub quota: u64,
    /// Protections that a rule says may be missing.
    #[serde(default)]
    pub without: Vec<Protection>,
}

/// One line on stdout.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeeperStarted {
    /// Both sockets listen and the confinement is in force.
    Ready(KeeperReady),
    /// Nothing is kept; the process exits with a status that is not 0.
    Error(Failure),
}

/// A keeper that keeps.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct KeeperReady {
    /// Process id.
    pub pid: u32,
    /// How far Landlock is enforced on it.
    pub landlock: Landlock,
}

/// A line from the daemon.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum KeeperCommand {
    /// A session begins to write: on disk when answered.
    Begin(String),
    /// A session writes no more: its journal is on disk when answered.
    End(String),
    /// What a session left is stored elsewhere and will be released.
    Forget(String),
    /// Counts anew after something that was kept has been released.
    Recount(bool),
    /// Asks how much is kept.
    Get(bool),
}
