//! How well a vault is known to be, in the words of the API: what a check found, what a
//! repair will do or did, what is verified, and how often that is looked at.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use jiff::{SignedDuration, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};

use crate::bytes::BytePath;

/// `POST /v1/backup/check` → stream of `Item<CheckView>`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckRequest {
    /// A directory in the folder.
    pub folder: PathBuf,
    /// Also read and hash all data.
    pub read_data: bool,
}

/// The result of a check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CheckView {
    /// Snapshots that were looked at.
    pub snapshots: u64,
    /// Bytes of stored data that were read and hashed.
    #[serde(default)]
    pub bytes_read: u64,
    /// What is wrong, the worst first; empty: nothing.
    pub problems: Vec<CheckProblem>,
}

impl CheckView {
    /// Whether nothing is lost, or soon could be.
    #[must_use]
    pub fn is_good(&self) -> bool {
        self.problems.iter().all(|problem| !problem.error)
    }
}

/// One thing that is wrong with a vault.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CheckProblem {
    /// False for what is odd and harms nothing, such as a leftover of a crash.
    pub error: bool,
    /// A stable word: `pack-missing`, `pack-damaged`, `index-damaged`, `snapshot-damaged`,
    /// `key-damaged`, `key-missing`, `key-wrong`, `config-damaged`, `content-missing`,
    /// `exposed`, `pack-unused`.
    pub name: String,
    /// What exactly, in one sentence.
    pub what: String,
    /// The file concerned, below the vault's directory.
    pub file: Option<String>,
    /// How many snapshots cannot be restored whole because of it.
    pub touched: u64,
    /// Those, the newest first; at most [`CheckProblem::MOST`].
    pub snapshots: Vec<TouchedSnapshot>,
}

impl CheckProblem {
    /// So many touched snapshots are listed.
    pub const MOST: usize = 1000;
}

/// A snapshot that cannot be restored whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TouchedSnapshot {
    /// Its id.
    pub id: String,
    /// When it was made; unknown where its own file is damaged.
    pub time: Option<Timestamp>,
    /// Nothing of it can be restored.
    pub whole: bool,
    /// Files, and directories with all they hold, that cannot.
    pub entries: u64,
    /// The first of them.
    pub paths: Vec<BytePath>,
}

/// `POST /v1/backup/repair` → stream of `Item<RepairView>`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RepairRequest {
    /// A directory in the folder.
    pub folder: PathBuf,
    /// Look for damage in all stored data.
    pub read_data: bool,
    /// Do it; else only the plan.
    pub apply: bool,
}

/// What a repair will do, or has done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RepairView {
    /// False for a plan.
    pub applied: bool,
    /// The steps, in order, in sentences.
    pub steps: Vec<String>,
    /// What nothing here can mend, in sentences.
    pub beyond: Vec<String>,
    /// Snapshots that were touched and restore whole now.
    pub healed: Vec<String>,
    /// The vault before it (a plan) or after it.
    pub check: CheckView,
}

/// What is known about the health of a folder's vault.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct FolderHealth {
    /// The newest snapshot that is known to be good.
    pub verified: Option<VerifiedSnapshot>,
    /// What is wrong; empty: nothing that is known.
    pub findings: Vec<Finding>,
    /// When the vault's structure was checked last.
    pub last_check: Option<Timestamp>,
    /// When it will be checked next.
    pub next_check: Timestamp,
    /// The share of the packs that was read back within the last thirty intervals, 0.0 to 1.0.
    pub read_back: f64,
    /// When files were last restored to see whether they can be.
    pub last_rehearsal: Option<Timestamp>,
    /// What the newest snapshot does not hold as it is.
    pub not_covered: NotCovered,
}

/// A snapshot of which every directory was read, every piece of content was found, and a
/// sample of files was restored and compared, and of which nothing bad was found since.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct VerifiedSnapshot {
    /// Its id.
    pub id: String,
    /// When it was made.
    pub time: Timestamp,
    /// How long ago that was, in seconds, when the status was made.
    pub age_seconds: i64,
    /// When it was verified.
    pub verified: Timestamp,
}

/// Something that is wrong with a vault.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Finding {
    /// The word of [`CheckProblem::name`], or `rehearsal-failed`.
    pub name: String,
    /// What exactly, in one sentence.
    pub what: String,
    /// How many snapshots cannot be restored whole because of it.
    pub touched: u64,
    /// The newest of them, by id.
    pub snapshots: Vec<String>,
    /// When it was found first.
    pub since: Timestamp,
}

impl Finding {
    /// What is wrong, and whom it touches, in one sentence.
    #[must_use]
    pub fn sentence(&self) -> String {
        let short = |id: &String| id.get(..8).unwrap_or(id).to_owned();
        let named: Vec<_> = self.snapshots.iter().take(3).map(short).collect();
        match (self.touched, named.len() as u64) {
            (0, _) => self.what.clone(),
            (1, _) => format!("{}; touched: snapshot {}", self.what, named.join(", ")),
            (all, listed) if all > listed => {
                format!("{}; touched: {all} snapshots, {} first", self.what, named.join(", "))
            }
            (..) => format!("{}; touched: snapshots {}", self.what, named.join(", ")),
        }
    }
}

/// What a snapshot does not hold as it is in the folder.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct NotCovered {
    /// Entries that could not be read.
    pub unreadable: u64,
    /// Files that changed during every reading, and may be torn.
    pub torn: u64,
    /// The first of them, and why.
    #[serde(default)]
    pub first: Vec<String>,
    /// What the user's own patterns leave out.
    #[serde(default)]
    pub excluded: Vec<LeftOut>,
}

/// What one pattern leaves out of the backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LeftOut {
    /// The pattern.
    pub pattern: String,
    /// Entries that it leaves out, with all that lies below them, when all was looked at last.
    pub entries: u64,
    /// Bytes in the files among them.
    pub bytes: u64,
}

/// How often a vault's structure is checked and a restore is rehearsed; in thirty such
/// intervals every stored byte is read back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct CheckEvery(u64);

impl CheckEvery {
    const MOST: u64 = 30 * 24 * 3600;

    /// As a duration.
    #[must_use]
    pub fn duration(self) -> SignedDuration {
        SignedDuration::from_secs(i64::try_from(self.0).unwrap_or(i64::MAX))
    }
}

impl Default for CheckEvery {
    /// A day.
    fn default() -> Self {
        Self(24 * 3600)
    }
}

/// Why a text is no such interval.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no interval between checks: write 1s to 30d, as in 12h or 1d")]
pub struct CheckEveryError(String);

impl FromStr for CheckEvery {
    type Err = CheckEveryError;

    fn from_str(text: &str) -> Result<Self, CheckEveryError> {
        let wrong = || CheckEveryError(text.to_owned());
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = text.split_at(digits);
        let unit = match unit {
            "s" => 1,
            "min" => 60,
            "h" => 3600,
            "d" => 24 * 3600,
            _ => return Err(wrong()),
        };
        let seconds = number.parse::<u64>().ok().and_then(|number| number.checked_mul(unit));
        seconds.filter(|seconds| (1..=Self::MOST).contains(seconds)).map(Self).ok_or_else(wrong)
    }
}

impl fmt::Display for CheckEvery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = [(24 * 3600, "d"), (3600, "h"), (60, "min")];
        match units.into_iter().find(|(unit, _)| self.0.is_multiple_of(*unit)) {
            Some((unit, word)) => write!(f, "{}{word}", self.0 / unit),
            None => write!(f, "{}s", self.0),
        }
    }
}

impl<'de> Deserialize<'de> for CheckEvery {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_are_read_strictly_and_shown_as_they_are_written() {
        for text in ["1s", "90s", "5min", "12h", "1d", "30d"] {
            assert_eq!(text.parse::<CheckEvery>().expect(text).to_string(), text);
        }
        assert_eq!(CheckEvery::default().to_string(), "1d");
        for text in ["", "1", "d", "0s", "31d", "1 d", "-1d", "1D", "1d2h", "99999999999999999999d"]
        {
            assert!(text.parse::<CheckEvery>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_finding_names_whom_it_touches() {
        let finding = |touched: u64| Finding {
            name: "pack-damaged".into(),
            what: "pack 12ab: its content is not what was written".into(),
            touched,
            snapshots: (0..touched.min(5)).map(|n| format!("{n}").repeat(64)).collect(),
            since: Timestamp::UNIX_EPOCH,
        };
        assert!(!finding(0).sentence().contains("touched"));
        assert!(finding(1).sentence().ends_with("touched: snapshot 00000000"));
        assert!(finding(2).sentence().ends_with("touched: snapshots 00000000, 11111111"));
        let many = finding(9).sentence();
        assert!(many.ends_with("9 snapshots, 00000000, 11111111, 22222222 first"), "{many}");
    }
}
