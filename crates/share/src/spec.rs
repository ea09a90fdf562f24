//! What a share process is told on stdin and says on stdout and on its control
//! socket. Data only.

use std::path::PathBuf;

use ringfence_model::admit::ShownNames;
use serde::{Deserialize, Serialize};

use crate::keep::SnapshotStart;
use crate::mass_loss::Watch;
use crate::ops::{Access, Mode};

/// Everything a share process must know, as one JSON document on its stdin.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ShareSpec {
    /// The folder, an absolute path without links in its last component.
    pub folder: PathBuf,
    /// Where the front end (QEMU) connects. A stale socket there is replaced.
    pub vhost_socket: PathBuf,
    /// Where the daemon connects. A stale socket there is replaced.
    pub control_socket: PathBuf,
    /// The name by which the guest mounts, 1 to 36 bytes.
    pub tag: String,
    /// Whether the folder's rules allow writing.
    pub access: Access,
    /// The mode to start in; normally [`Mode::Closed`].
    #[serde(default = "closed")]
    pub mode: Mode,
    /// Uid of the user inside, who the folder's owner is there.
    #[serde(default = "thousand")]
    pub guest_uid: u32,
    /// Gid of the user inside.
    #[serde(default = "thousand")]
    pub guest_gid: u32,
    /// What a change of owner from inside is answered.
    #[serde(default)]
    pub chown: Chown,
    /// When started by root: the uid and gid that the process takes, neither
    /// root's nor another machine's. Ignored for an ordinary user.
    #[serde(default)]
    pub run_as: Option<u32>,
    /// When started by root: the uid and gid that may connect to `vhost_socket`
    /// (QEMU's). Without it only root may.
    #[serde(default)]
    pub front_end: Option<u32>,
    /// Device and inode of the folder as the daemon knows it; another directory
    /// in its place is refused.
    #[serde(default)]
    pub identity: Option<(u64, u64)>,
    /// Where the keeper listens that keeps what would be lost. Without one nothing
    /// is kept and no journal is written.
    #[serde(default)]
    pub keeper: Option<PathBuf>,
    /// Names that do not exist for a guest, or that it can read and not change.
    #[serde(default)]
    pub names: ShownNames,
    /// Threads that carry out operations, at most 16. With none, the thread that takes a
    /// request in carries it out: one after the other, and without a switch of threads.
    #[serde(default)]
    pub threads: u8,
    /// Protections that a rule says may be missing.
    #[serde(default)]
    pub without: Vec<Protection>,
}

const fn closed() -> Mode {
    Mode::Closed
}

const fn thousand() -> u32 {
    1000
}

/// What a change of owner from inside is answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Chown {
    /// Success; nothing changes on the host, the guest sees what it asked for.
    #[default]
    Pretend,
    /// EPERM.
    Strict,
}

/// A protection that a kernel or its configuration may lack.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Protection {
    /// Name spaces of its own, the folder being the root of all names.
    Namespaces,
    /// The kernel's second, independent look at every path.
    Landlock,
}

/// One line on stdout.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Started {
    /// Both sockets listen and the confinement is in force.
    Ready(Ready),
    /// The share does not serve; the process exits with a status that is not 0.
    Error(Failure),
}

/// A share that serves.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Ready {
    /// Process id, in the daemon's own numbering.
    pub pid: u32,
    /// What holds the process.
    pub confinement: Confinement,
}

/// Why a share does not serve.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Failure {
    /// The protection that is missing, where that is the reason.
    pub missing: Option<Protection>,
    /// What happened, where, why, and what helps.
    pub message: String,
}

/// What holds a share process, as the kernel reports it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Confinement {
    /// Uid outside of the name space.
    pub uid: u32,
    /// Whether the folder is the root of all names.
    pub namespaces: bool,
    /// Landlock: none, partly (older kernel) or fully enforced.
    pub landlock: Landlock,
    /// Effective capabilities, which act on the folder owner's files only.
    pub capabilities: Vec<String>,
    /// `Seccomp` of `/proc/self/status`: 2 is a filter.
    pub seccomp: u32,
    /// No program can give the process more rights.
    pub no_new_privs: bool,
    /// Most descriptors that the process may have open.
    pub descriptors: u64,
}

/// How far Landlock is enforced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Landlock {
    /// Not at all.
    None,
    /// All that this kernel knows of, which is less than what was asked for.
    Partly,
    /// Everything that was asked for.
    Fully,
}

/// A line from the daemon.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Command {
    /// Sets the mode; answered when nothing of the earlier mode is in flight.
    Set(Mode),
    /// What a snapshot that is on disk has need not be kept: its start, or that
    /// there is none. Without a keeper it changes nothing.
    Stored(Option<SnapshotStart>),
    /// A session begins: what counts as mass loss from now on, or that nothing does. Takes
    /// an alarm back that stands.
    Guard(Option<Watch>),
    /// Somebody agreed to the loss that the guard halted: it goes on.
    Resume(bool),
    /// Asks for mode and counters.
    Get(bool),
    /// Ends the process.
    Exit(bool),
}
