//! Sessions: one run of a profile in a machine, from start to exit code.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::mass_loss::{GuardAction, MassLoss};
use crate::name::{FolderId, MachineName, ProfileName, SessionId};

/// The state of a session. `Ended` and `Failed` are final.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "state", rename_all = "kebab-case")]
pub enum SessionState {
    /// Machine, opening snapshot and share are being made ready.
    Preparing,
    /// The command runs.
    Running,
    /// The guard against mass loss stopped it, or a rule that became stricter: whatever
    /// touches the folder waits.
    Frozen,
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
            Self::Frozen => "frozen",
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

    /// Whether its command is under way, also where it stands still.
    #[must_use]
    pub const fn is_at_work(&self) -> bool {
        matches!(self, Self::Running | Self::Frozen)
    }

    /// Whether a session may go from this state to another in one step.
    #[must_use]
    pub const fn may_become(&self, next: &Self) -> bool {
        match self {
            Self::Preparing => matches!(next, Self::Running | Self::Failed { .. }),
            Self::Running => matches!(next, Self::Frozen | Self::Closing | Self::Failed { .. }),
            Self::Frozen => matches!(next, Self::Running | Self::Closing),
            Self::Closing => matches!(next, Self::Closing | Self::Ended | Self::Failed { .. }),
            Self::Ended | Self::Failed { .. } => false,
        }
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
    /// What is done when it removes or rewrites too much at once.
    #[serde(default)]
    pub guard: GuardAction,
    /// That it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mass_loss: Option<MassLoss>,
    /// What the rules keep from it now and did not when it began; somebody has to decide.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stricter: Vec<String>,
    /// The folder's state before it.
    pub opening_snapshot: Option<String>,
    /// The folder's state after it.
    pub closing_snapshot: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frozen_session_goes_on_or_is_closed_and_nothing_follows_an_end() {
        let failed = || SessionState::Failed { reason: "x".into() };
        assert!(SessionState::Running.may_become(&SessionState::Frozen));
        assert!(SessionState::Frozen.may_become(&SessionState::Running));
        assert!(SessionState::Frozen.may_become(&SessionState::Closing));
        assert!(!SessionState::Closing.may_become(&SessionState::Frozen));
        assert!(!SessionState::Preparing.may_become(&SessionState::Frozen));
        for over in [SessionState::Ended, failed()] {
            assert!(over.is_final() && !over.is_at_work());
            for next in
                [SessionState::Running, SessionState::Frozen, SessionState::Closing, failed()]
            {
                assert!(!over.may_become(&next));
            }
        }
        assert!(SessionState::Frozen.is_at_work() && !SessionState::Frozen.is_final());
    }
}
