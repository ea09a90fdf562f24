//! Machines: their limits, their states and what they remember.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::name::{FolderId, MachineName, RecipeName};
use crate::size::Size;

/// The hard limits of one machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Virtual processors.
    pub cpus: u32,
    /// Memory.
    pub memory: Size,
    /// Virtual size of the disk; the file grows up to it.
    pub disk: Size,
}

impl Limits {
    /// Sane limits for a host: half its processors (1 to 8) and a quarter of its
    /// memory (1 GiB to 8 GiB), so that one machine never starves the person's own work.
    #[must_use]
    pub fn for_host(processors: u32, memory: Size) -> Self {
        let quarter = Size::mib(memory.as_mib() / 4);
        Self {
            cpus: (processors / 2).clamp(1, 8).max(processors.min(2)),
            memory: quarter.clamp(Size::gib(1), Size::gib(8)),
            disk: Size::gib(40),
        }
    }
}

/// The state of a machine. Transitions: [`MachineState::may_become`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "kebab-case")]
pub enum MachineState {
    /// No process; the disk is kept.
    Stopped,
    /// QEMU runs; the guest does not answer yet.
    Starting,
    /// The guest answers over SSH.
    Running,
    /// QEMU lets it stand still, because its disk cannot grow on the host; it goes on by itself when it can.
    Held {
        /// What is missing.
        reason: String,
    },
    /// Asked to power off.
    Stopping,
    /// No process; disk and memory are kept.
    Suspended,
    /// QEMU died or the guest never answered.
    Failed {
        /// What happened.
        reason: String,
    },
}

impl MachineState {
    /// The word shown in tables and JSON.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Stopped => "stopped",
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Held { .. } => "held",
            Self::Stopping => "stopping",
            Self::Suspended => "suspended",
            Self::Failed { .. } => "failed",
        }
    }

    /// Whether a machine may go from this state to another in one step.
    #[must_use]
    pub const fn may_become(&self, next: &Self) -> bool {
        match self {
            Self::Stopped | Self::Failed { .. } => matches!(next, Self::Starting | Self::Stopped),
            Self::Suspended => matches!(next, Self::Starting | Self::Stopped),
            Self::Starting => {
                matches!(next, Self::Running | Self::Failed { .. } | Self::Stopping)
            }
            Self::Running => matches!(
                next,
                Self::Held { .. } | Self::Stopping | Self::Suspended | Self::Failed { .. }
            ),
            Self::Held { .. } => {
                matches!(next, Self::Running | Self::Stopping | Self::Failed { .. })
            }
            Self::Stopping => matches!(next, Self::Stopped | Self::Failed { .. }),
        }
    }
}

/// What the daemon keeps about a machine for as long as its disk exists.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    /// Its name.
    pub name: MachineName,
    /// Hard limits.
    pub limits: Limits,
    /// Hash of the image its disk starts from.
    pub image: String,
    /// The recipe that is installed in that image; `None` for the plain image.
    pub recipe: Option<RecipeName>,
    /// Its number: no two machines that exist have the same. Decides the user ids of its
    /// processes where the daemon is root.
    #[serde(default)]
    pub slot: u32,
    /// The folder it was made for.
    pub folder: Option<FolderId>,
    /// Every folder it has ever seen. Only grows; goes with the disk.
    pub seen: BTreeSet<FolderId>,
    /// When it was made.
    pub created: jiff::Timestamp,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_leave_the_host_alive() {
        assert_eq!(Limits::for_host(2, Size::gib(24)).cpus, 2);
        assert_eq!(Limits::for_host(1, Size::gib(2)).cpus, 1);
        assert_eq!(Limits::for_host(16, Size::gib(64)).cpus, 8);
        assert_eq!(Limits::for_host(64, Size::gib(256)).memory, Size::gib(8));
        assert_eq!(Limits::for_host(2, Size::gib(2)).memory, Size::gib(1));
    }

    #[test]
    fn a_stopped_machine_does_not_just_run() {
        assert!(!MachineState::Stopped.may_become(&MachineState::Running));
        assert!(MachineState::Stopped.may_become(&MachineState::Starting));
        assert!(!MachineState::Running.may_become(&MachineState::Starting));
    }
}
