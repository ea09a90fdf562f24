//! The one shape in which an error crosses the socket and reaches a person:
//! what happened, why, and the command to type next. The kind decides the exit code.

use serde::{Deserialize, Serialize};

/// What sort of failure it is; decides the exit code (`product.md`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ErrorKind {
    /// Something failed that fits nowhere else.
    Failed,
    /// The command line or the request is wrong.
    Usage,
    /// The configuration file is wrong.
    Config,
    /// A rule says no.
    Refused,
    /// QEMU, an image or a machine failed.
    Engine,
    /// A vault failed.
    Vault,
    /// The daemon cannot be reached or died meanwhile.
    Daemon,
    /// The guard froze the session.
    Frozen,
    /// The person interrupted it.
    Interrupted,
}

impl ErrorKind {
    /// The exit code of ordinary commands.
    #[must_use]
    pub const fn exit_code(self) -> u8 {
        match self {
            Self::Failed | Self::Frozen => 1,
            Self::Usage => 2,
            Self::Config => 3,
            Self::Refused => 4,
            Self::Engine => 5,
            Self::Vault => 6,
            Self::Daemon => 7,
            Self::Interrupted => 130,
        }
    }

    /// The exit code of `run`, `exec` and `shell`, which pass an inner code
    /// through and therefore keep their own failures at 250 to 255.
    #[must_use]
    pub const fn exit_code_around_a_command(self) -> u8 {
        match self {
            Self::Frozen => 250,
            Self::Failed => 251,
            Self::Usage => 252,
            Self::Config => 253,
            Self::Refused => 254,
            Self::Engine | Self::Vault | Self::Daemon => 255,
            Self::Interrupted => 130,
        }
    }
}

/// An error as the API sends it and the command line prints it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct ApiError {
    /// What sort of failure it is.
    pub kind: ErrorKind,
    /// What happened and where, in one sentence.
    pub message: String,
    /// Why, outermost cause first; never repeats `message`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub causes: Vec<String>,
    /// What to do or type next.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hints: Vec<String>,
}

impl ApiError {
    /// An error with a message alone.
    #[must_use]
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), causes: Vec::new(), hints: Vec::new() }
    }

    /// An error from a source error: its whole chain becomes the causes.
    #[must_use]
    pub fn from_source(
        kind: ErrorKind,
        message: impl Into<String>,
        source: &(dyn std::error::Error + 'static),
    ) -> Self {
        let mut error = Self::new(kind, message);
        let mut next = Some(source);
        while let Some(cause) = next {
            let text = cause.to_string();
            if error.causes.last() != Some(&text) && text != error.message {
                error.causes.push(text);
            }
            next = cause.source();
        }
        error
    }

    /// Adds what to type next.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_the_contract() {
        use ErrorKind::*;
        let codes: Vec<_> =
            [Failed, Usage, Config, Refused, Engine, Vault, Daemon, Frozen, Interrupted]
                .into_iter()
                .map(|kind| (kind.exit_code(), kind.exit_code_around_a_command()))
                .collect();
        assert_eq!(
            codes,
            [
                (1, 251),
                (2, 252),
                (3, 253),
                (4, 254),
                (5, 255),
                (6, 255),
                (7, 255),
                (1, 250),
                (130, 130)
            ]
        );
    }
}
