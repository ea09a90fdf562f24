//! The one status: the same value for the table, the JSON, and later the TUI and the page.

use std::collections::BTreeMap;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::HintStatus;
use crate::exit_check::{ExitAction, HeldPath};
use crate::folder::Access;
use crate::growth::VaultSize;
use crate::health::FolderHealth;
use crate::machine::{LimitWords, Limits, MachineState};
use crate::name::{FolderId, MachineName, ProfileName, SecretName};
use crate::profile::Network;
use crate::protection::OptOut;
use crate::session::Session;

/// Version of the JSON of [`Status`]; rises when a field changes its meaning or goes.
pub const STATUS_SCHEMA: u32 = 1;

/// Everything that is to be seen.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Status {
    /// [`STATUS_SCHEMA`].
    pub schema: u32,
    /// The engine and how fast it is here.
    pub engine: EngineStatus,
    /// Every machine.
    pub machines: Vec<MachineStatus>,
    /// Every registered folder.
    pub folders: Vec<FolderStatus>,
    /// Sessions that are not over, and the last ones that are.
    pub sessions: Vec<Session>,
    /// Forwarded ports.
    pub forwards: Vec<ForwardStatus>,
    /// What needs attention, worst first, each with the command that mends it.
    pub problems: Vec<Problem>,
}

/// The engine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct EngineStatus {
    /// `qemu`.
    pub name: String,
    /// Version of the program, where it was found.
    pub version: Option<String>,
    /// `kvm` or `tcg` (software emulation), once measured.
    pub accelerator: Option<String>,
}

/// One machine.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct MachineStatus {
    /// Its name.
    pub name: MachineName,
    /// Where it stands.
    #[serde(flatten)]
    pub state: MachineState,
    /// What it is waiting for, while it is on its way somewhere.
    pub waiting_for: Option<String>,
    /// Hard limits.
    pub limits: Limits,
    /// Recipe in its image.
    pub recipe: Option<String>,
    /// Processor time used by its QEMU since it started, in seconds.
    pub cpu_seconds: Option<f64>,
    /// Host memory used by its QEMU, in bytes.
    pub memory_bytes: Option<u64>,
    /// Host disk used by its own disk, in bytes.
    pub disk_bytes: Option<u64>,
    /// Loopback port of its SSH.
    pub ssh_port: Option<u16>,
    /// Folders visible in it now.
    pub shares: Vec<ShareStatus>,
    /// Paths of the folders that it has ever seen.
    pub has_seen: Vec<PathBuf>,
    /// Why it is used and no other, when that was last a question; absent: it never was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub because: Option<String>,
}

/// How a share answers the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ShareMode {
    /// It answers nothing.
    Closed,
    /// Reads only.
    ReadOnly,
    /// Reads and writes.
    ReadWrite,
    /// Operations wait for a restore.
    Held,
}

/// One share.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ShareStatus {
    /// The folder's id.
    pub folder: FolderId,
    /// Path on the host.
    pub path: PathBuf,
    /// Path inside the machine.
    pub guest_path: PathBuf,
    /// What its rule allows.
    pub access: Access,
    /// How it answers now.
    pub mode: ShareMode,
}

/// How well a folder is protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Protection {
    /// The newest snapshot was written and read back.
    Protected,
    /// No snapshot exists yet.
    NotYet,
    /// Turned off by the explicit act.
    Off,
    /// Nothing happens by itself for a while; sessions still take their snapshots.
    Paused,
    /// The last snapshot failed.
    Failing,
    /// Its vault is damaged: some of what was saved cannot be restored.
    Damaged,
}

/// One registered folder.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct FolderStatus {
    /// Its id, which names its vault.
    pub id: FolderId,
    /// Path on the host.
    pub path: PathBuf,
    /// Directory that stock restic opens.
    pub vault: PathBuf,
    /// How well it is protected.
    pub protection: Protection,
    /// The newest snapshot.
    pub last_snapshot: Option<LastSnapshot>,
    /// Why the last snapshot failed.
    pub error: Option<String>,
    /// What is known about the health of its vault.
    #[serde(default)]
    pub health: Option<FolderHealth>,
    /// Who may see it, as its rule says; absent: every profile.
    pub profiles: Option<Vec<String>>,
    /// Read-only or writable.
    pub access: Access,
    /// Who turned its backup off, and when.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub opt_out: Option<OptOut>,
    /// Until when its automatic snapshots pause.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paused_until: Option<jiff::Timestamp>,
    /// How large its vault is and may get, once that was looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<VaultSize>,
    /// Its second copies.
    #[serde(default)]
    pub copies: Vec<CopyStatus>,
    /// How its changes are noticed and stored; absent where the daemon does not protect it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub watch: Option<WatchStatus>,
    /// What its rule says about the exit check; absent: nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_check: Option<ExitAction>,
    /// What the exit check holds back, at most 50 of it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub held: Vec<HeldPath>,
    /// How much it holds back.
    #[serde(default)]
    pub held_count: u64,
    /// What it says about itself in a file, and what of that counts; absent: nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<HintStatus>,
}

/// One second copy of a folder's vault.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CopyStatus {
    /// Where it lies, as stock restic is told; without any login.
    pub target: String,
    /// The moment up to which it holds what the vault holds; absent: not made yet.
    pub last: Option<jiff::Timestamp>,
    /// How long ago that was, in seconds, when the status was made.
    pub age_seconds: Option<i64>,
    /// Snapshots of the vault that it does not hold yet.
    pub behind: u64,
    /// Why the last attempt failed.
    pub error: Option<String>,
}

/// How changes of a folder are noticed and stored.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct WatchStatus {
    /// How they are noticed.
    #[serde(flatten)]
    pub mode: WatchMode,
    /// Everything that was in the folder up to this moment is in the vault.
    pub protected_until: Option<jiff::Timestamp>,
    /// Changed paths that wait to be stored; absent: that is not known.
    pub pending: Option<u64>,
    /// A snapshot is being taken.
    pub busy: bool,
    /// When the next one is due.
    pub next: Option<jiff::Timestamp>,
    /// When the whole folder was last looked at, since the daemon started.
    pub walked: Option<jiff::Timestamp>,
    /// Changes that only a safety walk found, since the daemon started.
    pub missed: u64,
    /// Most of its files are gone, and nobody said that this is right.
    pub shrunken: Option<ShrunkenStatus>,
}

/// How changes of a folder are noticed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "mode", rename_all = "kebab-case")]
pub enum WatchMode {
    /// Its directories are being watched one after another.
    Starting,
    /// Every directory is watched.
    Watching,
    /// Some directories are looked at every few minutes instead.
    Partly {
        /// Their paths, printable.
        left: Vec<String>,
        /// Why.
        why: String,
    },
    /// The whole folder is looked at every few minutes instead.
    Polling {
        /// Why.
        why: String,
    },
    /// The folder is not where it was registered.
    Lost {
        /// What is there instead.
        why: String,
    },
}

/// A folder that suddenly lost most of its files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ShrunkenStatus {
    /// The last full snapshot; it is kept.
    pub snapshot: String,
    /// When that was taken.
    pub time: jiff::Timestamp,
    /// Files in it.
    pub files: u64,
    /// Bytes in them.
    #[serde(default)]
    pub bytes: u64,
    /// Files that are left.
    pub left: u64,
    /// Bytes that are left.
    #[serde(default)]
    pub left_bytes: u64,
}

/// The newest snapshot of a folder.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct LastSnapshot {
    /// Its id.
    pub id: String,
    /// The moment until which the folder is known to be protected: the newest time
    /// at which a snapshot was written, or found to be the folder's state still.
    pub time: jiff::Timestamp,
    /// How long ago that was, in seconds, when the status was made.
    pub age_seconds: i64,
    /// Whether it is the verified one of [`FolderHealth::verified`]. Every snapshot was read
    /// back when it was made; verified is more than that.
    pub verified: bool,
}

/// One forwarded port.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ForwardStatus {
    /// The machine.
    pub machine: MachineName,
    /// What it is for.
    pub purpose: String,
    /// Port on the host's loopback.
    pub host_port: u16,
    /// Port inside the machine.
    pub guest_port: u16,
}

/// How bad a problem is; sorts worst first.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// Something is not protected or not working.
    Error,
    /// Something is slower or weaker than it could be.
    Warning,
}

/// Something that needs attention.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct Problem {
    /// How bad.
    pub severity: Severity,
    /// What it is, in one sentence.
    pub message: String,
    /// The command that mends it.
    pub command: Option<String>,
}

/// One profile as `profile list` shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProfileView {
    /// Its name.
    pub name: ProfileName,
    /// What it runs.
    pub recipe: Option<String>,
    /// Its labels.
    pub labels: Vec<String>,
    /// Arguments before those of the command line.
    #[serde(default)]
    pub args: Vec<String>,
    /// Environment inside; secrets are not among it.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// The widest network that it gets.
    #[serde(default)]
    pub network: Network,
    /// Hosts and addresses for the network `allowlist`.
    #[serde(default)]
    pub allow: Vec<String>,
    /// Names of the secrets that its sessions carry.
    #[serde(default)]
    pub secrets: Vec<SecretName>,
    /// The size of a machine that is made for it; what is absent, the defaults say.
    #[serde(default)]
    pub limits: LimitWords,
    /// Comes with Ringfence, or from the configuration.
    pub built_in: bool,
}
