//! The daemon's API: HTTP/JSON over a Unix socket, paths under `/v1`.
//!
//! A long call answers with `application/x-ndjson`: one [`Item`] a line, the last of
//! which is `done` or `error`. A short call answers with its JSON body, or with an
//! [`crate::error::ApiError`] and a status of 4xx or 5xx.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::bytes::BytePath;
use crate::error::ApiError;
use crate::exit_check::{ExitAction, ExitCheck};
use crate::history::{ChangeCounts, PlanView};
use crate::machine::Limits;
use crate::mass_loss::GuardAction;
use crate::name::{MachineName, ProfileName, SessionId};
use crate::pattern::Pattern;
use crate::profile::Network;
use crate::protection::PauseLength;
use crate::session::Session;
use crate::size::Size;

/// Version of the API. Command line and daemon of different versions do not talk:
/// the command line says so and names `ringfence daemon restart`.
pub const API_VERSION: u32 = 1;

/// `GET /v1/version`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Version {
    /// [`API_VERSION`].
    pub api: u32,
    /// Version of the package.
    pub package: String,
    /// The daemon's process id.
    pub pid: u32,
    /// What keeps it running.
    #[serde(default)]
    pub started_by: StartedBy,
}

/// What started the daemon, and so starts it again.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StartedBy {
    /// A command that needed it.
    #[default]
    Command,
    /// The user's systemd.
    Systemd {
        /// Whether that runs from the start of the computer on, and not only while the user is
        /// logged in (`loginctl enable-linger`).
        lingers: bool,
    },
}

/// One line of a long answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Item<T> {
    /// Something is being done.
    Progress(Progress),
    /// Something the person should know; printed and kept.
    Note(String),
    /// Something that nobody may miss: printed in red, also where only results are wanted.
    Warning(String),
    /// The result; nothing follows.
    Done(T),
    /// It failed; nothing follows.
    Error(ApiError),
}

/// What is being done.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// What, in a few words: `opening snapshot`, `machine shop: waiting for SSH`.
    pub what: String,
    /// How much of it is done, 0.0 to 1.0, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fraction: Option<f32>,
}

/// Size of a terminal in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct TerminalSize {
    /// Lines.
    pub rows: u16,
    /// Columns.
    pub columns: u16,
}

/// `POST /v1/run` → stream of `Item<RunReady>`: makes machine, snapshot and share
/// ready and starts the session's process.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunRequest {
    /// The directory the person is in or named; the folder is the registered one with
    /// the longest prefix, else (with `register`) this directory itself. `None`: no folder.
    pub directory: Option<PathBuf>,
    /// The directory in which the command starts, where that is another one in the folder.
    #[serde(default)]
    pub working: Option<PathBuf>,
    /// The profile; `None`: the built-in profile `shell`.
    pub profile: Option<ProfileName>,
    /// A machine by name; `None`: the folder's own.
    pub machine: Option<MachineName>,
    /// A narrower network.
    pub network: Option<Network>,
    /// With a recipe: arguments for the agent. Without, or with `command`: the command.
    /// Empty with `shell`: a login shell.
    pub arguments: Vec<BytePath>,
    /// `arguments` are a command to run under the profile, not arguments of its agent.
    #[serde(default)]
    pub command: bool,
    /// The terminal, when there is one: the command gets a PTY.
    pub terminal: Option<TerminalSize>,
    /// `TERM`, `COLORTERM`, `LANG` and the like of the person's terminal.
    pub environment: Vec<(String, String)>,
    /// Register an unknown folder without asking.
    pub register: bool,
    /// The folder's name, typed by somebody who accepts that nothing protects it.
    pub unprotected: Option<String>,
    /// What the guard against mass loss does; `None`: as the configuration says.
    #[serde(default)]
    pub guard: Option<GuardAction>,
}

/// The session's process listens; attach to its socket (see [`crate::attach`]).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunReady {
    /// The session.
    pub session: SessionId,
    /// The socket to attach to.
    pub socket: PathBuf,
    /// The machine it runs in.
    pub machine: MachineName,
}

/// `POST /v1/sessions/{id}/close` and `…/stop` → stream of `Item<RunSummary>`: waits until the
/// session is over and its closing snapshot is on disk. Closing happens without this
/// call too; it may be repeated.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunSummary {
    /// The session in its final state.
    pub session: Session,
    /// What differs in the folder between the snapshots at both ends; absent where one of them
    /// is missing, and nothing is known.
    pub changes: Option<ChangeCounts>,
    /// What the host might run or obey of it; absent where nothing was looked at.
    #[serde(default)]
    pub exit_check: Option<ExitCheck>,
}

/// `POST /v1/folders` → stream of `Item<FolderStatus>`: registers the directory and takes
/// its first snapshot. `DELETE /v1/folders?path=`: forgets it; its vault stays.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FolderRequest {
    /// A directory; made canonical by the daemon.
    pub path: PathBuf,
}

/// `GET /v1/folders/lookup?path=`: what a run in this directory would use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FolderLookup {
    /// The registered folder that contains the directory.
    pub registered: Option<PathBuf>,
    /// The directory itself, canonical: what would be registered.
    pub canonical: PathBuf,
    /// Path inside a machine.
    pub guest_path: PathBuf,
    /// Where the vault is or would be kept.
    pub vaults: PathBuf,
}

/// `POST /v1/folders/set`: edits the folder's rules in the configuration file, whose
/// comments survive. What is absent stays as it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FolderSetRequest {
    /// A directory in the folder.
    pub path: PathBuf,
    /// Who may see it: names and `label:NAME`; empty: nobody.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profiles: Option<Vec<crate::profile::Selector>>,
    /// How it is visible.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access: Option<crate::folder::Access>,
    /// The names that it hides, in place of those before; empty: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hide: Option<Vec<Pattern>>,
    /// The names that it protects, in place of those before; empty: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protect: Option<Vec<Pattern>>,
    /// What happens to what the host might run of a session's changes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_check: Option<ExitAction>,
    /// The other keys of its rule.
    #[serde(flatten)]
    pub more: crate::config::FolderChange,
}

/// `POST /v1/folders/approve` → stream of `Item<ApproveView>`: puts what the exit check holds
/// back into the folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApproveRequest {
    /// A directory in the folder.
    pub folder: PathBuf,
    /// Only the plan.
    pub dry_run: bool,
    /// The paths that a plan showed; what came to it since stays held. `None`: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agreed: Option<Vec<BytePath>>,
    /// Forget them instead: the folder stays as it is, the snapshots have the versions.
    #[serde(default)]
    pub drop: bool,
    /// Also where the host has changed a path since: the snapshot before it has that.
    #[serde(default)]
    pub all: bool,
    /// Instead: that everything in the folder may be seen by whoever may see the folder, also
    /// what sessions may have left there of others.
    #[serde(default)]
    pub contents: bool,
}

/// `POST /v1/folders/hint` → stream of `Item<HintView>`: what a folder says about itself in
/// `.ringfence.toml`, as a snapshot has it; with a snapshot that is in force then.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HintRequest {
    /// A directory in the folder.
    pub folder: PathBuf,
    /// The snapshot whose version somebody was shown and approves. `None`: only the present one
    /// is told, out of a snapshot that is taken for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshot: Option<String>,
    /// The terminal of whoever approves it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub terminal: Option<String>,
}

/// `POST /v1/machines`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MachineRequest {
    /// Its name.
    pub name: MachineName,
    /// Processors, memory and disk where they differ from the defaults.
    pub cpus: Option<u32>,
    /// See `cpus`.
    pub memory: Option<Size>,
    /// See `cpus`.
    pub disk: Option<Size>,
    /// The profile whose recipe it is made for.
    pub profile: Option<ProfileName>,
}

/// `POST /v1/machines/{name}/{act}` → stream of `Item<MachineStatus>`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MachineAct {
    /// Start it, or resume it from suspension.
    Start,
    /// Power it off; kill it after a deadline.
    Stop,
    /// Stop, then start.
    Restart,
    /// Save memory to disk and end the process.
    Suspend,
}

/// One image or recipe layer: `GET /v1/images`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageView {
    /// Hash of its recipe.
    pub hash: String,
    /// `Debian 13`, or the recipe of a layer.
    pub description: String,
    /// Bytes on disk.
    pub bytes: u64,
    /// When it was finished.
    pub built: jiff::Timestamp,
    /// Machines that start from it.
    pub used_by: Vec<MachineName>,
    /// Whether a new machine would start from it.
    pub current: bool,
}

/// `POST /v1/images` → stream of `Item<ImageView>`
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ImageRequest {
    /// A local file instead of packages.
    pub from: Option<PathBuf>,
    /// Also the layer of this recipe.
    pub recipe: Option<crate::name::RecipeName>,
}

/// `POST /v1/images/export` → stream of `Item<PathBuf>`: the base image as one file, for a
/// host that cannot reach the packages' mirror.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageExportRequest {
    /// The file to write; must not exist yet.
    pub file: PathBuf,
}

/// Which state of a folder: `latest`, an id or its first digits, or a time.
pub type StateSelector = String;

/// `GET /v1/history?folder=DIR&path_b64=FILE&limit=N` → `HistoryView`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HistoryQuery {
    /// A directory in the folder.
    pub folder: PathBuf,
    /// Only snapshots in which this path (relative to the root, exact bytes) differs from the
    /// one before.
    pub path_b64: Option<String>,
    /// Only so many, the newest ones.
    pub limit: Option<usize>,
}

/// `GET /v1/show?folder=DIR&snapshot=STATE&path_b64=FILE` → the file's bytes;
/// `GET /v1/entry?…` → [`crate::history::ShowView`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShowQuery {
    /// A directory in the folder.
    pub folder: PathBuf,
    /// Which state.
    pub snapshot: StateSelector,
    /// The path below the folder's root, exact bytes.
    pub path_b64: String,
}

/// `POST /v1/diff` → `DiffView`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiffRequest {
    /// A directory in the folder.
    pub folder: PathBuf,
    /// Earlier state; `None`: the opening snapshot of the last session.
    pub from: Option<StateSelector>,
    /// Later state; `None`: now.
    pub to: Option<StateSelector>,
    /// Also the unified differences of text files.
    pub text: bool,
    /// Only these paths and what lies below them, relative to the root; empty: everything.
    #[serde(default)]
    pub paths: Vec<BytePath>,
}

/// `POST /v1/sessions/{id}/diff` → `SessionDiffView`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionDiffRequest {
    /// Also the unified differences of text files.
    pub text: bool,
    /// Only these paths and what lies below them, relative to the root; empty: everything.
    #[serde(default)]
    pub paths: Vec<BytePath>,
}

/// `POST /v1/restore` → stream of `Item<PlanView>`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RestoreRequest {
    /// A directory in the folder.
    pub folder: PathBuf,
    /// Which state; `None`: the newest snapshot.
    pub at: Option<StateSelector>,
    /// Another directory instead of the folder itself; made if missing, must be empty.
    pub to: Option<PathBuf>,
    /// Only these paths, relative to the folder's root; empty: everything.
    pub paths: Vec<BytePath>,
    /// Only the plan.
    pub dry_run: bool,
}

/// `POST /v1/undelete` → stream of `Item<PlanView>`: brings back a path that is gone, from
/// the newest snapshot that has it. Replaces nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UndeleteRequest {
    /// A directory in the folder.
    pub folder: PathBuf,
    /// The path, relative to the folder's root.
    pub path: BytePath,
    /// The snapshot that a plan named; `None`: the newest that has the path.
    #[serde(default)]
    pub snapshot: Option<StateSelector>,
    /// Only the plan.
    pub dry_run: bool,
}

/// `POST /v1/undo` → stream of `Item<PlanView>`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UndoRequest {
    /// A directory in the folder.
    pub folder: PathBuf,
    /// Which session; `None`: the last one that could write.
    pub session: Option<SessionId>,
    /// Take the whole opening snapshot, also where the host changed paths meanwhile.
    pub all: bool,
    /// Only what the session deleted, where nothing is now.
    #[serde(default)]
    pub deletions: bool,
    /// Only what the session changed after this time.
    #[serde(default)]
    pub since: Option<jiff::Timestamp>,
    /// Only these paths and what lies below them, relative to the root; empty: everything.
    #[serde(default)]
    pub paths: Vec<BytePath>,
    /// Only the plan.
    pub dry_run: bool,
}

/// `POST /v1/backup/now` → stream of `Item<SnapshotView>`; `POST /v1/backup/accept` →
/// `FolderStatus`: it is right that most files of the folder are gone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackupNowRequest {
    /// A directory in the folder.
    pub folder: PathBuf,
}

/// `POST /v1/backup/set`: turns a folder's protection on or off.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackupSetRequest {
    /// A directory in the folder.
    pub folder: PathBuf,
    /// Whether it is backed up from now on.
    pub enabled: bool,
    /// To turn it off: the folder's last path component, typed by somebody who
    /// accepts that nothing protects it.
    pub name: Option<String>,
    /// The terminal at which it was typed; written down with the act.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub terminal: Option<String>,
}

/// `POST /v1/backup/pause` → `FolderStatus`: nothing happens by itself for a while.
/// `POST /v1/backup/resume` with a [`BackupNowRequest`] ends it early.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PauseRequest {
    /// A directory in the folder.
    pub folder: PathBuf,
    /// How long, in seconds.
    pub seconds: PauseLength,
    /// The terminal at which it was typed; written down with the act.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub terminal: Option<String>,
}

/// `POST /v1/backup/copy` → stream of `Item<Vec<CopyStatus>>`: brings a folder's second copies
/// up to date now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackupCopyRequest {
    /// A directory in the folder.
    pub folder: PathBuf,
    /// Begin anew where a copy that was made before is gone.
    pub start_over: bool,
}

/// `POST /v1/backup/recover` → stream of `Item<RecoverView>`: a folder out of its copy. Holds a
/// secret: never logged.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecoverRequest {
    /// Where the copy lies.
    pub target: String,
    /// The key as the person has it: typed, or the text of a recovery sheet.
    pub key: String,
    /// The directory to restore into.
    pub to: PathBuf,
    /// Which state; `None`: the newest snapshot.
    pub at: Option<StateSelector>,
    /// Only list the snapshots.
    pub list_only: bool,
    /// Protect the directory from now on, with the copy's vault.
    pub register: bool,
}

impl std::fmt::Debug for RecoverRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "RecoverRequest({}, ..)", self.target)
    }
}

/// What came of a recovery.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecoverView {
    /// Where the copy lies.
    pub copy: String,
    /// The folder that it was made of, on the computer that made it.
    pub folder: PathBuf,
    /// The directory that was restored into.
    pub to: PathBuf,
    /// The copy's snapshots, the newest first.
    pub snapshots: Vec<crate::history::SnapshotView>,
    /// The snapshot that was restored; absent when only a list was asked for.
    pub restored: Option<crate::history::SnapshotView>,
    /// Whether the directory is protected now, with this history.
    pub registered: bool,
}

/// `POST /v1/backup/mount` → `MountView`: shows a folder's snapshots as a file system.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MountRequest {
    /// A directory in the folder.
    pub folder: PathBuf,
    /// An empty directory.
    pub at: PathBuf,
}

/// The snapshots are shown as long as a connection to the socket is open.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MountView {
    /// Where.
    pub at: PathBuf,
    /// The folder.
    pub folder: PathBuf,
    /// The socket to connect to.
    pub socket: PathBuf,
}

/// `GET /v1/backup/key?folder=DIR`. A secret: never logged.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackupKeyView {
    /// The password of the folder's vault.
    pub key: String,
    /// A word that shows whether it was copied rightly.
    pub check_word: String,
    /// The folder.
    pub folder: PathBuf,
    /// Its id.
    pub id: crate::name::FolderId,
    /// Its vault, as stock restic is told.
    pub vault: PathBuf,
    /// Its second copies, as stock restic is told.
    pub copies: Vec<String>,
}

impl std::fmt::Debug for BackupKeyView {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("BackupKeyView(..)")
    }
}

/// One recipe: `GET /v1/recipes`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecipeView {
    /// Its name.
    pub name: crate::name::RecipeName,
    /// The agent program, in a few words.
    pub description: String,
    /// The built-in profile that runs it.
    pub profile: ProfileName,
    /// The command that starts the agent.
    pub command: Vec<String>,
}

/// One check of `doctor`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// Name of the check.
    pub check: String,
    /// How it came out.
    pub verdict: Verdict,
    /// What was found.
    pub message: String,
    /// What to do.
    pub cure: Option<String>,
}

/// How a check of `doctor` came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// As it should be.
    Good,
    /// Works, but slower or weaker.
    Weak,
    /// Does not work.
    Bad,
    /// Could not be looked at; said aloud.
    Skipped,
}

/// Limits of a machine where only some are named.
#[must_use]
pub fn limits_or(defaults: Limits, request: &MachineRequest) -> Limits {
    Limits {
        cpus: request.cpus.unwrap_or(defaults.cpus),
        memory: request.memory.unwrap_or(defaults.memory),
        disk: request.disk.unwrap_or(defaults.disk),
    }
}

/// What a restore or an undo answers with.
pub type PlanAnswer = Item<PlanView>;
