//! The inside of machines, as far as the host has a hand in it.
//!
//! Owns: identity handed in at the start ([`identity`]), the host's extra certificate
//! authorities ([`authorities`]), SSH ([`ssh`]), and the conversation with the guest
//! service ([`protocol`], [`client`]). Must not: trust an answer; know engines or folders.

pub mod authorities;
pub mod client;
pub mod identity;
pub mod protocol;
pub mod recipe;
pub mod ssh;

use std::io;
use std::path::PathBuf;

use crate::host::command::CommandError;

/// Why something about a guest did not work.
#[derive(Debug, thiserror::Error)]
pub enum GuestError {
    /// A file could not be read or written.
    #[error("{path}: {source}", path = .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// An outside program failed.
    #[error(transparent)]
    Command(#[from] CommandError),
    /// What the host wants to hand in is larger than a machine can take.
    #[error(
        "the host's extra certificate authorities take {size} bytes; at most {most} can be handed to a machine"
    )]
    TooLarge {
        /// How much there is.
        size: usize,
        /// How much fits.
        most: usize,
    },
    /// A path that no socket address can hold.
    #[error("{path} is too long for a socket; choose a shorter RINGFENCE_HOME", path = .0.display())]
    LongPath(PathBuf),
    /// The machine did not answer over SSH in time.
    #[error("machine `{machine}` did not answer over SSH within {seconds} seconds: {last}")]
    Silent {
        /// The machine.
        machine: String,
        /// The deadline.
        seconds: u64,
        /// The last failure.
        last: String,
    },
    /// Somebody else answered.
    #[error("machine `{machine}` answered with a host key that is not its own; it was not used")]
    WrongKey {
        /// The machine.
        machine: String,
    },
    /// The guest service could not be talked to.
    #[error("the machine's guest service: {0}")]
    Service(String),
    /// The guest service said no.
    #[error("the machine refused `{operation}`: {message}")]
    Refused {
        /// What was asked.
        operation: &'static str,
        /// Why, as a word of the protocol.
        kind: protocol::Kind,
        /// The guest's words, cut and without control characters.
        message: String,
    },
}

impl GuestError {
    pub(crate) fn file(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { path, source }
    }
}
