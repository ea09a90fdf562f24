//! What a session process is told, as JSON on its standard input.
//!
//! It holds secrets: never write it to disk, argv or a log; `Debug` therefore shows sizes
//! only, and of a secret nothing.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use ringfence_model::api::TerminalSize;
use ringfence_model::bytes;
use ringfence_model::name::{MachineName, SessionId};
use serde::{Deserialize, Serialize};

use crate::host::process::ProcessId;
use crate::secrets::{SecretValue, handover};

/// Any bytes, in base64 in JSON.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SpecBytes(Vec<u8>);

impl SpecBytes {
    /// Wraps bytes.
    #[must_use]
    pub fn new(bytes: impl Into<Vec<u8>>) -> Self {
        Self(bytes.into())
    }

    /// The bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl TryFrom<String> for SpecBytes {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        bytes::decode(&text).map(Self).ok_or("not base64")
    }
}

impl From<SpecBytes> for String {
    fn from(value: SpecBytes) -> Self {
        bytes::encode(&value.0)
    }
}

impl fmt::Debug for SpecBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{} bytes]", self.0.len())
    }
}

/// A secret for the session's environment inside.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SecretVariable {
    /// The variable.
    pub variable: SpecBytes,
    /// Its value.
    #[serde(with = "handover")]
    pub value: SecretValue,
}

/// Everything a session process needs.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SessionSpec {
    /// The session.
    pub id: SessionId,
    /// Its machine, for messages.
    pub machine: MachineName,
    /// How to reach the machine's ssh master.
    pub ssh: SshFacts,
    /// The forwarded socket of the guest service.
    pub guest_socket: PathBuf,
    /// The command and its arguments; at least one.
    pub argv: Vec<SpecBytes>,
    /// Environment beyond the machine's own, without the secrets.
    pub env: Vec<(SpecBytes, SpecBytes)>,
    /// The secrets of its environment; forgotten as soon as the machine has them.
    #[serde(default)]
    pub secrets: Vec<SecretVariable>,
    /// Directory in the machine.
    pub cwd: SpecBytes,
    /// The person's terminal; with it the command gets a PTY.
    pub terminal: Option<TerminalSize>,
    /// Where to listen for command lines; at most 107 bytes.
    pub socket: PathBuf,
    /// The session's record directory; made if missing.
    pub record: PathBuf,
    /// Bounds in time.
    #[serde(default)]
    pub limits: Limits,
}

/// The machine's ssh master. Nothing but its socket is used: without a living master
/// there is no session, and no key is needed here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SshFacts {
    /// The program; `ssh` is looked up in `PATH`.
    pub program: PathBuf,
    /// The master's control socket.
    pub control_path: PathBuf,
    /// The user in the machine.
    pub user: String,
    /// The program in the machine that runs a registered session.
    pub exec: String,
}

/// Bounds in time, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// How long the guest service may take to register the session.
    pub register_ms: u64,
    /// How long the command may take to start after that.
    pub start_ms: u64,
    /// How long output waits for the first command line to attach.
    pub first_client_ms: u64,
    /// How long a stopped session has between `TERM` and `KILL`.
    pub grace_ms: u64,
    /// Silence after the command's end after which its left-over processes are killed.
    pub quiet_ms: u64,
    /// The same with output going on.
    pub linger_ms: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            register_ms: 30_000,
            start_ms: 60_000,
            first_client_ms: 10_000,
            grace_ms: 5_000,
            quiet_ms: 500,
            linger_ms: 5_000,
        }
    }
}

impl Limits {
    pub(super) const fn first_client(&self) -> Duration {
        Duration::from_millis(self.first_client_ms)
    }
    pub(super) const fn start(&self) -> Duration {
        Duration::from_millis(self.start_ms)
    }
    pub(super) const fn register(&self) -> Duration {
        Duration::from_millis(self.register_ms)
    }
    pub(super) const fn grace(&self) -> Duration {
        Duration::from_millis(self.grace_ms)
    }
    pub(super) const fn quiet(&self) -> Duration {
        Duration::from_millis(self.quiet_ms)
    }
    pub(super) const fn linger(&self) -> Duration {
        Duration::from_millis(self.linger_ms)
    }
}

/// Said on standard output, as `{"ready": …}`, once the session listens, is registered
/// in the machine and its ssh runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ready {
    /// The session process.
    pub process: ProcessId,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_specification_travels_and_does_not_show_secrets() {
        let spec = SessionSpec {
            id: "s1".parse().expect("id"),
            machine: "shop".parse().expect("machine"),
            ssh: SshFacts {
                program: "ssh".into(),
                control_path: "/run/m/shop/ssh".into(),
                user: "agent".into(),
                exec: "/usr/lib/ringfence/exec".into(),
            },
            guest_socket: "/run/m/shop/guest.sock".into(),
            argv: vec![SpecBytes::new(*b"a\xff")],
            env: vec![(SpecBytes::new(*b"TOKEN"), SpecBytes::new(*b"letmein"))],
            secrets: vec![SecretVariable {
                variable: SpecBytes::new(*b"KEY"),
                value: SecretValue::new(b"hunter2".to_vec().into()).expect("a value"),
            }],
            cwd: SpecBytes::new(*b"/w"),
            terminal: None,
            socket: "/run/s/s1.sock".into(),
            record: "/state/sessions/s1".into(),
            limits: Limits::default(),
        };
        let json = serde_json::to_string(&spec).expect("serialises");
        let read: SessionSpec = serde_json::from_str(&json).expect("parses");
        assert_eq!(serde_json::to_string(&read).expect("serialises"), json);
        assert_eq!(read.secrets[0].value.expose(), b"hunter2");
        let shown = format!("{spec:?}");
        assert!(!shown.contains("hunter2") && !shown.contains("letmein"), "{shown}");
    }
}
