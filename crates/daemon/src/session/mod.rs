//! The session process (`ringfenced session`): one run's ssh, terminal and record.
//!
//! Owns: the ssh that carries the command's bytes, the host's side of the terminal, the
//! life line to the guest service, the socket that command lines attach to, the record
//! on disk. It outlives the command line and the daemon. Must not: know folders,
//! shares, snapshots or the daemon's state; decide whether a run may happen.
//!
//! What ends a session is the guest's report on the life line, never ssh's own exit
//! code. See [`run`] for the order of things.

mod client;
mod filter;
mod hub;
mod input;
mod lifeline;
mod modes;
mod output;
mod process;
mod queue;
pub mod record;
mod spec;
mod ssh;
mod tail;
#[cfg(test)]
mod tests;

pub use process::run;
pub use spec::{Limits, Ready, SecretVariable, SessionSpec, SpecBytes, SshFacts};

/// Why a session process could not begin, or not write down how it ended.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// The specification on standard input is none.
    #[error("the session's specification cannot be read: {0}")]
    Spec(String),
    /// The socket that command lines attach to.
    #[error("session socket {path}: {source}", path = path.display())]
    Socket {
        /// Where.
        path: std::path::PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The record on disk.
    #[error("session record {path}: {source}", path = path.display())]
    Record {
        /// Where.
        path: std::path::PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The guest service refused, or did not answer.
    #[error("the machine did not take the session: {0}")]
    Guest(#[from] lifeline::LifelineError),
    /// The ssh that carries the command's bytes.
    #[error("ssh could not be started: {0}")]
    Ssh(std::io::Error),
    /// The process itself: signals, runtime.
    #[error("the session process: {0}")]
    Process(std::io::Error),
}
