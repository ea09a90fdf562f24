//! A folder that suddenly holds much less. Owns the thresholds; what is done about it,
//! pinning the last good snapshot and raising an alarm, is the caller's.

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use crate::catalog::{Brief, Counts, SnapshotId};

/// Fewer files than this going missing is daily work.
const MANY_FILES: u64 = 100;
/// And so are fewer bytes than this.
const MANY_BYTES: u64 = 256 * 1024 * 1024;
/// Deleting a large folder takes longer than the pause between snapshots, so not only
/// the latest one is compared with, but the fullest of so long ago.
const LOOK_BACK: SignedDuration = SignedDuration::from_mins(10);

/// How a folder shrank.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Shrink {
    /// It held files, links or other entries, and holds none.
    Emptied,
    /// Half of its files or more are gone, and at least a hundred.
    Files,
    /// Half of its bytes or more are gone, and at least 256 MiB.
    Bytes,
}

/// A snapshot that holds much less than an earlier one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Shrunk {
    /// How.
    pub how: Shrink,
    /// The last snapshot that was still full.
    pub full: SnapshotId,
    /// What that one holds.
    pub held: Counts,
}

/// Whether a folder that held `before` and now holds `after` was wiped, whole or in
/// large part, rather than worked on. Directories do not count: empty ones hold nothing.
#[must_use]
pub fn shrunk(before: Counts, after: Counts) -> Option<Shrink> {
    let lost = |before: u64, after: u64, many: u64| {
        let lost = before.saturating_sub(after);
        lost >= many && lost >= before.div_ceil(2)
    };
    if before.files + before.others > 0 && after.files + after.others == 0 {
        Some(Shrink::Emptied)
    } else if lost(before.files, after.files, MANY_FILES) {
        Some(Shrink::Files)
    } else if lost(before.bytes, after.bytes, MANY_BYTES) {
        Some(Shrink::Bytes)
    } else {
        None
    }
}

/// The same for a new snapshot with what is known of the earlier ones, the newest first.
/// Only a snapshot that itself lost something against the one before is a reason.
pub(crate) fn against(known: &[Brief], now: Timestamp, after: Counts) -> Option<Shrunk> {
    let latest = known.first()?;
    let less = after.files < latest.counts.files
        || after.others < latest.counts.others
        || after.bytes < latest.counts.bytes;
    let recent = known.iter().skip(1).take_while(|s| now.duration_since(s.time) <= LOOK_BACK);
    let found = std::iter::once(latest).chain(recent).filter(|_| less).filter_map(|s| {
        shrunk(s.counts, after).map(|how| Shrunk { how, full: SnapshotId(s.id), held: s.counts })
    });
    // Of equally full ones the newest.
    found.reduce(|full, next| if next.held.files > full.held.files { next } else { full })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(files: u64, bytes: u64) -> Counts {
        Counts { files, directories: 5, others: 0, bytes }
    }

    #[test]
    fn an_emptied_folder_is_noticed_however_small_it_was() {
        assert_eq!(shrunk(counts(1, 1), counts(0, 0)), Some(Shrink::Emptied));
        assert_eq!(shrunk(counts(0, 0), counts(0, 0)), None);
        let links = Counts { others: 3, ..Counts::default() };
        assert_eq!(shrunk(links, counts(0, 0)), Some(Shrink::Emptied));
    }

    #[test]
    fn half_of_many_is_much_and_half_of_few_is_not() {
        assert_eq!(shrunk(counts(200, 0), counts(100, 0)), Some(Shrink::Files));
        assert_eq!(shrunk(counts(200, 0), counts(101, 0)), None);
        assert_eq!(shrunk(counts(199, 0), counts(100, 0)), None);
        assert_eq!(shrunk(counts(10_000, 0), counts(9_000, 0)), None);
        let gib = 1 << 30;
        assert_eq!(shrunk(counts(3, gib), counts(3, gib / 2)), Some(Shrink::Bytes));
        assert_eq!(shrunk(counts(3, gib / 4), counts(3, 0)), Some(Shrink::Bytes));
        assert_eq!(shrunk(counts(3, gib / 8), counts(3, 1)), None);
        assert_eq!(shrunk(counts(100, 1), counts(500, gib)), None);
    }
}
