//! The engine `qemu`: machines run by QEMU, driven over QMP.
//!
//! Owns: every use of `qemu-system-x86_64` and `qemu-img`. [`argv`] decides the command
//! line, [`probe`] what the host can do, [`accel`] whether its processor helps, [`qmp`]
//! speaks to a running QEMU, [`machine`] starts and ends machines, [`disk`] makes their
//! disks, [`plug`] adds and removes shares, [`save`] suspends and resumes, [`console`]
//! keeps what the guest prints. Must not: know images' recipes, SSH or folders.

pub mod accel;
pub mod argv;
pub mod console;
pub mod disk;
pub mod machine;
pub mod plug;
pub mod probe;
pub mod qmp;
pub mod save;

use std::io;

use crate::engine::Capabilities;
use crate::host::command::CommandError;

/// What this engine can do.
pub const CAPABILITIES: Capabilities =
    Capabilities { hot_plug: true, suspend: true, own_image: true };

/// Why the engine could not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// QEMU is not installed.
    #[error("`{program}` is not installed; install it with: apt-get install {package}")]
    Missing {
        /// The program.
        program: &'static str,
        /// The package that has it.
        package: &'static str,
    },
    /// QEMU is too old.
    #[error("QEMU {found} is too old: Ringfence needs {} or newer", probe::MINIMUM)]
    TooOld {
        /// The version found.
        found: String,
    },
    /// An outside program failed.
    #[error(transparent)]
    Command(#[from] CommandError),
    /// QEMU did not do what it was told.
    #[error(transparent)]
    Qmp(#[from] qmp::QmpError),
    /// QEMU ended while it was needed.
    #[error("machine `{machine}`: QEMU ended before it was ready: {log}")]
    Ended {
        /// The machine.
        machine: String,
        /// The end of QEMU's log.
        log: String,
    },
    /// All slots for shares are taken.
    #[error("machine `{machine}` has no free slot: at most {} shares at once", argv::SLOTS)]
    NoSlot {
        /// The machine.
        machine: String,
    },
    /// The guest did not let go of a device in time.
    #[error(
        "machine `{machine}`: the guest did not release the share `{tag}` within {seconds} seconds"
    )]
    Unplug {
        /// The machine.
        machine: String,
        /// The share's tag.
        tag: String,
        /// The deadline.
        seconds: u64,
    },
    /// Saving the machine's memory failed.
    #[error("machine `{machine}` could not be suspended or resumed: {reason}")]
    Save {
        /// The machine.
        machine: String,
        /// QEMU's words.
        reason: String,
    },
    /// A file could not be read or written.
    #[error("{path}: {source}", path = .path.display())]
    File {
        /// The file.
        path: std::path::PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl EngineError {
    /// Wraps an error with the path it happened at.
    pub(crate) fn file(path: impl Into<std::path::PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { path, source }
    }
}
