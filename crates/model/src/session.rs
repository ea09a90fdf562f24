//! Sessions: one run of a profile in a machine, from start to exit code.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::name::{FolderId, MachineName, ProfileName, SessionId};

/// The state of a session. `Ended` and `Failed` are final.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "state", rename_all = "kebab-case")]
pub enum SessionState {
    /// Machine, opening snapshot and share are being made ready.
    Preparing,
    /// The command runs.
    Running,
    /// The command ended; the closing snapshot is being taken.
    Closing,
    /// All done; the closing snapshot is on disk.
    Ended,
    /// It never ran, or could not be closed.
    Failed {
        /// What happened.
        reason: String,
    },
}

impl SessionState {
    /// The word shown in tables and JSON.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Preparing => "preparing",
            Self::Running => "running",
            Self::Closing => "closing",
            Self::Ended => "ended",
            Self::Failed { .. } => "failed",
        }
    }

    /// Whether nothing will happen to it any more.
    #[must_use]
    pub const fn is_final(&self) -> bool {
        matches!(self, Self::Ended | Self::Failed { .. })
    }
}

/// How the inner command ended, as its guest claims.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Exit {
    /// It returned this code.
    Code(u8),
    /// This signal ended it.
    Signal(u8),
    /// The connection was lost before the guest reported an end.
    Lost,
}

impl Exit {
    /// What a shell would report: the code, 128 + signal, or 255.
    #[must_use]
    pub const fn shell_code(self) -> u8 {
        match self {
            Self::Code(code) => code,
            Self::Signal(signal) => 128u8.saturating_add(signal),
            Self::Lost => 255,
        }
    }
}

/// What is known about a session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Session {
    /// Its id.
    pub id: SessionId,
    /// The profile that runs.
    pub profile: ProfileName,
    /// The machine it runs in.
    pub machine: MachineName,
    /// The folder it may see, if any.
    pub folder: Option<FolderId>,
    /// That folder's path on the host.
    pub folder_path: Option<PathBuf>,
    /// The command, for people (lossy where it is not UTF-8).
    pub command: Vec<String>,
    /// Where it stands.
    #[serde(flatten)]
    pub state: SessionState,
    /// When it was asked for.
    pub started: jiff::Timestamp,
    /// When the command ended.
    pub ended: Option<jiff::Timestamp>,
    /// How the command ended.
    pub exit: Option<Exit>,
    /// The folder's state before it.
    pub opening_snapshot: Option<String>,
    /// The folder's state after it.
    pub closing_snapshot: Option<String>,
}
