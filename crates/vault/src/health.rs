//! What is known about a vault's health, and what to look at next. Pure: the time and
//! the facts are passed in, and nothing here touches a file. Whoever keeps the record
//! writes it down and does the work.
//!
//! Three kinds of looking take turns. The *structure check*, once every interval,
//! finds what is missing or cannot be opened. *Reading back* hashes whole packs, those
//! that were not read for longest first, so that every pack is read within
//! [`INTERVALS`] intervals, and in every interval if the vault is small. A *rehearsal*,
//! once every interval, restores a random sample of the newest snapshot's files.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::check::{CheckReport, Problem, Severity};
use crate::rehearse::Rehearsed;
use crate::repair::Spare;

/// Every pack is read within so many intervals; the promise is thirty, the rest is for
/// days on which the computer sleeps.
pub const INTERVALS: u64 = 20;
/// In every interval at least so many bytes are read back, if there are so many.
const AT_LEAST: u64 = 256 * 1024 * 1024;
/// At most so many bytes are read in one go, and at least one pack.
const PIECE: u64 = 64 * 1024 * 1024;
/// A pack is known by so many digits of its name.
const DIGITS: usize = 16;
/// A finding names no more snapshots than this; it counts all.
const NAMED: usize = 50;

/// What is known about a vault's health.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// The last structure check.
    #[serde(default)]
    pub structure: Option<Structure>,
    /// When each pack was read last, in seconds since 1970.
    #[serde(default)]
    pub packs: BTreeMap<String, i64>,
    /// The last rehearsal.
    #[serde(default)]
    pub rehearsal: Option<Rehearsal>,
    /// The newest snapshot that is known to be good.
    #[serde(default)]
    pub verified: Option<Verified>,
    /// What is wrong, as last looked.
    #[serde(default)]
    pub findings: Vec<Finding>,
    /// The files without which nothing opens the vault, as they were when all was well.
    #[serde(default)]
    pub spare: Spare,
}

/// A structure check that came to its end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Structure {
    /// When.
    pub at: Timestamp,
    /// Snapshots that were followed.
    pub snapshots: u64,
}

/// A rehearsal that came to its end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rehearsal {
    /// When.
    pub at: Timestamp,
    /// Of which snapshot.
    pub snapshot: String,
    /// Files that were restored and compared with the snapshot.
    pub files: u64,
    /// Those that could be compared with the folder as well.
    pub compared: u64,
    /// Bytes restored.
    pub bytes: u64,
}

/// A snapshot of which every directory was read, every piece of content was found in a
/// pack that is there, and a sample of files was restored and compared, and of which
/// nothing bad has been found since.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verified {
    /// Which.
    pub snapshot: String,
    /// When it was made.
    pub made: Timestamp,
    /// When it was verified.
    pub at: Timestamp,
}

/// Something that is wrong with the vault.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// A stable word for programs.
    pub name: String,
    /// What exactly.
    pub what: String,
    /// The file concerned, below the vault's directory.
    pub file: Option<String>,
    /// The newest snapshots that it touches.
    pub snapshots: Vec<String>,
    /// All that it touches.
    pub touched: u64,
    /// When it was found first.
    pub since: Timestamp,
}

/// What is there to be looked at.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// The packs on disk, by name, and their bytes.
    pub packs: &'a [(String, u64)],
    /// Whether there is a snapshot.
    pub any_snapshot: bool,
}

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Work {
    /// A structure check, which also reads these packs: they were bad before.
    Structure(Vec<String>),
    /// Restore a sample of the newest snapshot.
    Rehearsal,
    /// Read these packs and hash them.
    Packs(Vec<String>),
    /// Nothing before some time has passed.
    Nothing,
}

/// Decides what to do next. `every` is the interval. A clock that was set back makes
/// everything due that seems to lie in the future: too much work, never too little.
#[must_use]
pub fn due(health: &Health, facts: Facts<'_>, every: SignedDuration, now: Timestamp) -> Work {
    let past = |at: Timestamp| is_past(at, every, now);
    // What seems to have been done in the future is as good as never done.
    let last = |at: Option<Timestamp>| at.filter(|at| *at <= now);
    let checked = health.structure.as_ref().map(|s| s.at);
    let rehearsed = health.rehearsal.as_ref().map(|r| r.at);
    let mut works = Vec::new();
    if checked.is_none_or(past) {
        works.push((last(checked), Work::Structure(health.bad_packs())));
    }
    // While nothing is verified, every check is followed by another attempt.
    let tried = rehearsed.is_some_and(|at| checked.is_none_or(|checked| checked <= at));
    let untried = health.verified.is_none() && !tried;
    if facts.any_snapshot && (untried || rehearsed.is_none_or(past)) {
        works.push((last(rehearsed), Work::Rehearsal));
    }
    let packs = health.packs_due(facts.packs, every, now);
    if !packs.is_empty() {
        let read = health.packs.values().max().and_then(|at| Timestamp::from_second(*at).ok());
        works.push((last(read), Work::Packs(packs)));
    }
    // What was done longest ago goes first: with an interval shorter than the work takes,
    // everything would else wait for ever behind the first.
    works.into_iter().min_by_key(|(last, _)| *last).map_or(Work::Nothing, |(_, work)| work)
}

fn is_past(at: Timestamp, every: SignedDuration, now: Timestamp) -> bool {
    let age = now.duration_since(at);
    age >= every || age.is_negative()
}

fn key(name: &str) -> &str {
    name.get(..DIGITS).unwrap_or(name)
}

impl Health {
    /// When the next structure check is due.
    #[must_use]
    pub fn next_check(&self, every: SignedDuration, now: Timestamp) -> Timestamp {
        let last = self.structure.as_ref().map(|s| s.at).filter(|at| *at <= now);
        last.and_then(|at| at.checked_add(every).ok()).unwrap_or(now)
    }

    /// Whether nothing bad is known.
    #[must_use]
    pub fn is_good(&self) -> bool {
        self.findings.is_empty()
    }

    /// The packs to read next: those not read for longest, until the interval's share
    /// is read.
    fn packs_due(
        &self,
        packs: &[(String, u64)],
        every: SignedDuration,
        now: Timestamp,
    ) -> Vec<String> {
        let total: u64 = packs.iter().map(|(_, size)| size).sum();
        let share = AT_LEAST.max(total.div_ceil(INTERVALS));
        let last = |name: &str| {
            let read = self.packs.get(key(name))?;
            Timestamp::from_second(*read).ok().filter(|at| !is_past(*at, every, now))
        };
        let fresh = packs.iter().filter(|(name, _)| last(name).is_some());
        let left = share.saturating_sub(fresh.map(|(_, size)| size).sum());
        let mut waiting: Vec<_> = packs.iter().filter(|(name, _)| last(name).is_none()).collect();
        // What seems to have been read in the future is as good as never read.
        waiting.sort_by_key(|(name, _)| {
            let read = self.packs.get(key(name)).copied().filter(|at| *at <= now.as_second());
            (read.unwrap_or(i64::MIN), name)
        });
        let mut bytes = 0;
        let mut due = Vec::new();
        for (name, size) in waiting {
            if left == 0 || (!due.is_empty() && bytes + size > PIECE.min(left)) {
                break;
            }
            bytes += size;
            due.push(name.clone());
        }
        due
    }

    /// Names of packs that were found to be bad.
    #[must_use]
    pub fn bad_packs(&self) -> Vec<String> {
        let files = self.findings.iter().filter_map(|f| f.file.as_deref());
        let packs = files.filter(|file| file.starts_with("data/"));
        packs.filter_map(|file| file.rsplit('/').next()).map(ToOwned::to_owned).collect()
    }

    /// Takes in the result of a structure check that also read the packs that were bad
    /// before, and those named here.
    pub fn after_check(&mut self, report: &CheckReport, now: Timestamp) {
        let before = std::mem::take(&mut self.findings);
        let errors = report.problems.iter().filter(|p| p.severity == Severity::Error);
        self.findings = errors.map(|problem| finding(problem, &before, now)).collect();
        // Only a rehearsal can take back what a rehearsal found.
        self.findings.extend(before.into_iter().filter(|f| f.name == REHEARSAL_FAILED));
        self.structure = Some(Structure { at: now, snapshots: report.snapshots as u64 });
        let touched = |verified: &Verified| {
            let of = |p: &Problem| {
                p.snapshots.iter().any(|t| t.snapshot.to_string() == verified.snapshot)
            };
            report.problems.iter().any(of)
        };
        if self.verified.as_ref().is_some_and(touched) {
            self.verified = None;
        }
    }

    /// Takes in packs that were read and found as they were written; `there` are all
    /// packs on disk.
    pub fn after_packs(&mut self, read: &[String], there: &[(String, u64)], now: Timestamp) {
        for name in read {
            self.packs.insert(key(name).to_owned(), now.as_second());
        }
        if self.packs.len() > there.len() {
            let there: std::collections::BTreeSet<_> = there.iter().map(|(n, _)| key(n)).collect();
            self.packs.retain(|name, _| there.contains(name.as_str()));
        }
    }

    /// Takes in a rehearsal. What went wrong in it is a finding.
    pub fn after_rehearsal(&mut self, rehearsed: &Rehearsed, now: Timestamp) {
        let snapshot = rehearsed.snapshot.to_string();
        self.findings.retain(|finding| finding.name != REHEARSAL_FAILED);
        if let Some((path, why)) = rehearsed.failures.first() {
            let count = rehearsed.failures.len();
            self.findings.push(Finding {
                name: REHEARSAL_FAILED.into(),
                what: format!("{count} of the sampled files could not be restored as they were stored, `{}` first: {why}", path.lossy()),
                file: None,
                snapshots: vec![snapshot.clone()],
                touched: 1,
                since: now,
            });
        }
        self.rehearsal = Some(Rehearsal {
            at: now,
            snapshot: snapshot.clone(),
            files: rehearsed.files,
            compared: rehearsed.compared,
            bytes: rehearsed.bytes,
        });
        if self.findings.iter().any(|finding| finding.snapshots.contains(&snapshot)) {
            self.verified = self.verified.take().filter(|v| v.snapshot != snapshot);
            return;
        }
        self.verified = Some(Verified { snapshot, made: rehearsed.made, at: now });
    }
}

/// The name of what a failed rehearsal finds.
const REHEARSAL_FAILED: &str = "rehearsal-failed";

fn finding(problem: &Problem, before: &[Finding], now: Timestamp) -> Finding {
    let same = |f: &&Finding| f.name == problem.name && f.file == problem.file;
    Finding {
        name: problem.name.into(),
        what: problem.what.clone(),
        file: problem.file.clone(),
        snapshots: problem.snapshots.iter().take(NAMED).map(|t| t.snapshot.to_string()).collect(),
        touched: problem.snapshots.len() as u64,
        since: before.iter().find(same).map_or(now, |f| f.since),
    }
}

#[cfg(test)]
#[path = "health_tests.rs"]
mod tests;
