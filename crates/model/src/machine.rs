//! Machines: their limits, their states and what they remember.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::admit::Traces;
use crate::name::{FolderId, MachineName, RecipeName};
use crate::size::Size;

/// The hard limits of one machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
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

/// What a configuration says about limits; what it leaves out, somebody else says.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LimitWords {
    /// Virtual processors.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpus: Option<u32>,
    /// Memory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<Size>,
    /// Virtual size of the disk.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk: Option<Size>,
}

impl LimitWords {
    /// The limits that these words make of wider ones: what they name is taken in their place.
    #[must_use]
    pub fn over(&self, wider: Limits) -> Limits {
        Limits {
            cpus: self.cpus.unwrap_or(wider.cpus),
            memory: self.memory.unwrap_or(wider.memory),
            disk: self.disk.unwrap_or(wider.disk),
        }
    }

    /// The same limits, made no larger than these words say.
    #[must_use]
    pub fn cap(&self, limits: Limits) -> Limits {
        let own = self.over(limits);
        Limits {
            cpus: own.cpus.min(limits.cpus),
            memory: own.memory.min(limits.memory),
            disk: own.disk.min(limits.disk),
        }
    }

    /// What is wrong with them, if anything is.
    #[must_use]
    pub fn mistake(&self) -> Option<&'static str> {
        if self.cpus.is_some_and(|cpus| !(1..=256).contains(&cpus)) {
            return Some("`cpus` must be 1 to 256");
        }
        if self.memory.is_some_and(|memory| memory < Size::mib(512)) {
            return Some("`memory` must be at least 512MiB: less does not start");
        }
        if self.disk.is_some_and(|disk| disk < Size::gib(4)) {
            return Some("`disk` must be at least 4GiB: the image alone needs that");
        }
        None
    }
}

/// The state of a machine. Transitions: [`MachineState::may_become`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
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
    /// What may lie on its disk: every folder it has ever seen. Only grows; goes with the disk.
    pub seen: Traces,
    /// Why it is used and no other, when that was last a question.
    #[serde(default)]
    pub because: Option<String>,
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
    fn words_take_a_limit_s_place_or_hold_it_down() {
        let wide = Limits { cpus: 4, memory: Size::gib(4), disk: Size::gib(40) };
        let words = LimitWords { cpus: Some(8), memory: Some(Size::gib(2)), disk: None };
        let over = words.over(wide);
        assert_eq!((over.cpus, over.memory, over.disk), (8, Size::gib(2), Size::gib(40)));
        let capped = words.cap(wide);
        assert_eq!((capped.cpus, capped.memory, capped.disk), (4, Size::gib(2), Size::gib(40)));
        assert_eq!(LimitWords::default().cap(wide), wide);
    }

    #[test]
    fn a_stopped_machine_does_not_just_run() {
        assert!(!MachineState::Stopped.may_become(&MachineState::Running));
        assert!(MachineState::Stopped.may_become(&MachineState::Starting));
        assert!(!MachineState::Running.may_become(&MachineState::Starting));
    }
}
