//! How a caller follows and stops a long operation. Owns nothing else.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::error::{Result, VaultError};

/// One piece of progress; numbers are what was added since the last step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Step {
    /// Entries looked at.
    Scanned(u64),
    /// Bytes of files read for a snapshot.
    Read(u64),
    /// Bytes of files written for a restore.
    Written(u64),
    /// Entries put in place by a restore.
    Placed(u64),
    /// The vault's structure was followed once more by a prune.
    Checked,
    /// Bytes sent to a copy, or fetched from one.
    Copied(u64),
}

/// Receives progress, from any thread. Must be quick.
pub trait Progress: Send + Sync {
    /// Called for every step.
    fn step(&self, step: Step);
}

/// A request to stop, shared with the operation.
#[derive(Clone, Debug, Default)]
pub struct Cancel(Arc<AtomicBool>);

impl Cancel {
    /// Asks the operation to stop soon. It leaves nothing half-done.
    pub fn cancel(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether it was asked to stop.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    pub(crate) fn check(&self) -> Result<()> {
        if self.is_cancelled() { Err(VaultError::Cancelled) } else { Ok(()) }
    }
}

/// Both together, as the operations carry them.
#[derive(Clone, Default)]
pub(crate) struct Watch {
    pub(crate) progress: Option<Arc<dyn Progress>>,
    pub(crate) cancel: Cancel,
}

impl Watch {
    pub(crate) fn step(&self, step: Step) {
        if let Some(progress) = &self.progress {
            progress.step(step);
        }
    }
}
