//! The words exchanged with the guest service (`guest/ringfence-guest`, whose header
//! documents them from the other side).
//!
//! Owns: requests and answers as types. Must not: do I/O. Every answer is a claim of a
//! guest that may be hostile; nothing of safety is decided by it.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

/// The version of the protocol that this daemon speaks.
pub const VERSION: u32 = 1;

/// Bytes that need not be UTF-8, as base64.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Bytes64(String);

impl Bytes64 {
    /// Encodes bytes.
    #[must_use]
    pub fn new(bytes: impl AsRef<[u8]>) -> Self {
        Self(STANDARD.encode(bytes))
    }

    /// Encodes a path.
    #[must_use]
    pub fn path(path: &Path) -> Self {
        Self::new(path.as_os_str().as_bytes())
    }

    /// Encodes an argument.
    #[must_use]
    pub fn text(text: &OsStr) -> Self {
        Self::new(text.as_bytes())
    }

    /// The bytes; empty when the guest sent what is no base64.
    #[must_use]
    pub fn decode(&self) -> Vec<u8> {
        STANDARD.decode(&self.0).unwrap_or_default()
    }
}

/// What the host asks.
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "op", rename_all = "lowercase")]
pub enum Request {
    /// Who is there?
    Hello,
    /// Mount a share.
    Mount {
        /// The share's tag.
        tag: String,
        /// Where.
        path_b64: Bytes64,
        /// Also the guest treats it as read-only; the host enforces it in any case.
        read_only: bool,
    },
    /// Take a share out of the file tree.
    Unmount {
        /// Where.
        path_b64: Bytes64,
    },
    /// Write the file system's buffers back.
    Sync {
        /// Any path in it.
        path_b64: Bytes64,
        /// How long the guest may take.
        seconds: f64,
    },
    /// Announce a session's command; the connection becomes its life line.
    Session(Command),
    /// Send a signal to a session's foreground process group.
    Signal {
        /// The session.
        id: String,
        /// `INT`, `TERM`, …
        name: String,
    },
    /// List the processes of all sessions.
    Processes,
    /// Set the guest's clock.
    Time {
        /// Seconds since 1970.
        epoch: f64,
    },
    /// What the machine uses.
    Usage,
}

impl Request {
    /// The operation's name, for messages.
    #[must_use]
    pub const fn operation(&self) -> &'static str {
        match self {
            Self::Hello => "hello",
            Self::Mount { .. } => "mount",
            Self::Unmount { .. } => "unmount",
            Self::Sync { .. } => "sync",
            Self::Session(_) => "session",
            Self::Signal { .. } => "signal",
            Self::Processes => "processes",
            Self::Time { .. } => "time",
            Self::Usage => "usage",
        }
    }
}

/// A session's command. Its environment may hold secrets: it is never logged, and printed without values.
#[derive(Clone, Serialize)]
pub struct Command {
    /// The session.
    pub id: String,
    /// The program and its arguments.
    pub argv_b64: Vec<Bytes64>,
    /// Names and values, added to the machine's own environment.
    pub env_b64: Vec<(Bytes64, Bytes64)>,
    /// Working directory.
    pub cwd_b64: Bytes64,
}

impl std::fmt::Debug for Command {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Command").field("id", &self.id).finish_non_exhaustive()
    }
}

/// Why the guest refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Not a place for shares.
    Refused,
    /// The guest has something of its own there.
    Occupied,
    /// The system call failed.
    Failed,
    /// The request was wrong.
    Invalid,
    /// A word that this daemon does not know.
    #[serde(other)]
    Other,
}

/// Any answer.
#[derive(Debug, Deserialize)]
pub(super) struct Answer {
    pub(super) ok: bool,
    pub(super) kind: Option<Kind>,
    #[serde(default)]
    pub(super) message: String,
}

/// The answer to `hello`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Hello {
    /// The protocol that the service speaks.
    pub version: u32,
    /// Changes with every boot of the guest.
    pub boot_id: String,
    /// The guest's kernel.
    pub kernel: String,
    /// Seconds since its boot.
    pub uptime: f64,
    /// Whether the host's extra authorities are in place.
    pub trust: Trust,
    /// Sessions that it knows.
    #[serde(default)]
    pub sessions: Vec<String>,
}

/// Whether the host's extra authorities are in place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Trust {
    /// The host has none.
    None,
    /// Not yet.
    Pending,
    /// Yes.
    Ready,
}

/// The answer to `unmount`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub struct Unmounted {
    /// Something still uses it; it was cut off and goes when that ends.
    pub lazy: bool,
    /// It was mounted.
    pub mounted: bool,
}

/// The answer to `usage`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Usage {
    /// Processor time since boot.
    pub cpu_ticks: Ticks,
    /// Memory in bytes.
    pub memory: Room,
    /// The disk in bytes.
    pub disk: Room,
    /// Load average of one minute.
    pub load: f64,
}

/// Processor time; two answers make a percentage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub struct Ticks {
    /// Spent working.
    pub busy: u64,
    /// Spent in all.
    pub total: u64,
}

/// How much there is and how much is left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub struct Room {
    /// All.
    pub total: u64,
    /// Left.
    pub available: u64,
}

/// The answer to `processes`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Processes {
    /// One entry a session.
    pub sessions: Vec<SessionProcesses>,
    /// The unit of `cpu_ticks`.
    pub ticks_per_second: u64,
}

/// The processes of one session.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct SessionProcesses {
    /// The session.
    pub id: String,
    /// `registered`, `running`, `stopped`, `ended` or `lost`.
    pub state: String,
    /// Memory of all, in bytes.
    pub memory: Option<u64>,
    /// Processor time of all, in microseconds.
    pub cpu_usec: Option<u64>,
    /// The processes, at most 500.
    pub processes: Vec<Process>,
}

/// One process inside a machine.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Process {
    /// Its number in the guest.
    pub pid: u32,
    /// Its parent's.
    pub ppid: u32,
    /// Its name.
    pub name: String,
    /// Its arguments, each ended by NUL, cut at 2 KiB.
    pub argv_b64: Bytes64,
    /// Processor time.
    pub cpu_ticks: u64,
    /// Resident memory in bytes.
    pub memory: u64,
}

/// What a life line says.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(tag = "event", rename_all = "lowercase")]
pub enum Event {
    /// The command is known; the runner may fetch it.
    Registered,
    /// It runs.
    Started {
        /// Its process in the guest.
        pid: u32,
    },
    /// It was stopped, for one by Ctrl-Z.
    Stopped {
        /// By this signal.
        signal: u8,
    },
    /// It goes on.
    Continued,
    /// It ended.
    Exited {
        /// With this code.
        code: u8,
    },
    /// A signal ended it.
    Killed {
        /// This one.
        signal: u8,
    },
    /// It could not be started; an `exited` follows with 125, 126 or 127.
    Failed {
        /// `directory` or `start`.
        stage: String,
        /// The system's number.
        errno: i32,
    },
    /// The runner is gone without a word.
    Lost,
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn requests_look_as_the_service_wants_them() {
        let command = Command {
            id: "s1".to_owned(),
            argv_b64: vec![Bytes64::new("true")],
            env_b64: vec![(Bytes64::new("TOKEN"), Bytes64::new("secret"))],
            cwd_b64: Bytes64::path(Path::new("/home/ann")),
        };
        assert!(!format!("{command:?}").contains("c2VjcmV0"));
        assert_eq!(
            serde_json::to_value(Request::Session(command)).expect("JSON"),
            json!({"op": "session", "id": "s1", "argv_b64": ["dHJ1ZQ=="],
                   "env_b64": [["VE9LRU4=", "c2VjcmV0"]], "cwd_b64": "L2hvbWUvYW5u"})
        );
        assert_eq!(serde_json::to_value(Request::Hello).expect("JSON"), json!({"op": "hello"}));
    }

    #[test]
    fn events_are_read_and_nonsense_is_not() {
        let read = |text: &str| serde_json::from_str::<Event>(text).ok();
        assert_eq!(
            read(r#"{"ok": true, "event": "exited", "code": 7}"#),
            Some(Event::Exited { code: 7 })
        );
        assert_eq!(
            read(r#"{"ok": true, "event": "failed", "stage": "start", "errno": 2}"#),
            Some(Event::Failed { stage: "start".to_owned(), errno: 2 })
        );
        assert_eq!(read(r#"{"event": "exited", "code": 700}"#), None);
        assert_eq!(read(r#"{"event": "won"}"#), None);
    }
}
