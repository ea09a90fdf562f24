//! Pins and prunes in the words of the API: what is kept by hand, what may go, and why.

use std::fmt;
use std::path::PathBuf;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::history::{SnapshotKind, SnapshotView};
use crate::protection::Actor;
use crate::retention::{Dropped, Why};

/// A snapshot that no prune lets go. Written down beside the vault and not in it, so
/// that another program that forgets the snapshot cannot take the pin along unseen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pin {
    /// Full id of the snapshot.
    pub snapshot: String,
    /// Why.
    pub reason: String,
    /// When it was pinned.
    pub at: Timestamp,
    /// By whom; absent: by Ringfence itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<Actor>,
}

/// `POST /v1/backup/pin` → [`SnapshotView`]: pins a snapshot, or takes its pin away.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PinRequest {
    /// A directory in the folder.
    pub folder: PathBuf,
    /// Which snapshot.
    pub snapshot: crate::api::StateSelector,
    /// Whether it is pinned from now on.
    pub pinned: bool,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The terminal at which it was typed; written down with the act.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub terminal: Option<String>,
}

/// `POST /v1/backup/prune` → stream of `Item<PruneView>`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PruneRequest {
    /// A directory in the folder.
    pub folder: PathBuf,
    /// The snapshots that a person was shown and agreed to let go; of these, those that
    /// still may go will. Absent: only the plan.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agreed: Option<Vec<String>>,
}

/// A snapshot and why it stays or goes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Judged {
    /// Full id.
    pub id: String,
    /// When it was taken.
    pub time: Timestamp,
    /// Why it was taken.
    pub kind: Option<SnapshotKind>,
    /// In which session.
    pub session: Option<String>,
    /// Why it stays or goes, in sentences.
    pub why: Vec<String>,
}

impl Judged {
    /// A snapshot and the reasons.
    #[must_use]
    pub fn new(snapshot: &SnapshotView, why: Vec<String>) -> Self {
        Self {
            id: snapshot.id.clone(),
            time: snapshot.time,
            kind: snapshot.kind,
            session: snapshot.session.clone(),
            why,
        }
    }
}

/// What a prune will do, or has done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PruneView {
    /// The folder.
    pub folder: PathBuf,
    /// Its keep rule.
    pub rule: String,
    /// Snapshots that go, newest first.
    pub forget: Vec<Judged>,
    /// Snapshots that stay, newest first.
    pub keep: Vec<Judged>,
    /// Bytes in the vault before.
    pub vault_bytes: u64,
    /// Bytes that this run frees.
    pub freed_now: u64,
    /// Bytes that this run marks, or that wait marked; a run a day later frees them.
    pub freed_later: u64,
    /// Bytes that are written anew: so much room is needed meanwhile.
    pub rewritten: u64,
    /// False for a plan.
    pub applied: bool,
}

impl PruneView {
    /// Whether there is nothing to do.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.forget.is_empty() && self.freed_now == 0
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pinned(reason) => write!(f, "pinned: {reason}"),
            Self::Newest => f.write_str("the newest"),
            Self::NewestVerified => f.write_str("the newest that was read back and is good"),
            Self::NoneVerified => f.write_str("none is known to be good, so all stay"),
            Self::Session(session) => write!(f, "an end of session {session}"),
            Self::Everything => f.write_str("young: everything is kept"),
            Self::Last(period) => write!(f, "the last of its {}", period.noun()),
        }
    }
}

impl fmt::Display for Dropped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Later { period, id } => {
                let short: String = id.chars().take(8).collect();
                write!(f, "{short} is later in the same {}", period.noun())
            }
            Self::TooOld => f.write_str("older than the rule reaches"),
        }
    }
}
