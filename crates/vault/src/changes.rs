//! What a caller believes to have changed since a snapshot, and what follows from it
//! for a scan: which directories must be listed. Owns these two; looks at no file.

use std::collections::{BTreeMap, HashSet};

use crate::catalog::SnapshotId;
use crate::scan::ancestors;

/// How much of a changed path has to be looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Extent {
    /// The entry; of a directory also its listing.
    Entry,
    /// Everything below it too.
    Whole,
}

/// Paths below the folder that may have changed since the snapshot `since` was begun.
///
/// It has to hold every such path, or the next snapshot misses a change until a full
/// walk finds it; paths that did not change, or no longer exist, only cost a look. Only
/// directories on the way to these paths are listed, everything else is taken over from
/// the stored state. Paths are bytes relative to the folder, without `.` and `..`; the
/// empty path is the folder itself. A path of any other shape makes the whole folder be
/// walked, since nobody knows what it was meant to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChangeSet {
    since: SnapshotId,
    paths: BTreeMap<Vec<u8>, Extent>,
}

impl ChangeSet {
    /// A set that says: nothing changed since this snapshot was begun. Where
    /// [`crate::SnapshotOutcome::unchanged`] was answered, "begun" is when that look began.
    #[must_use]
    pub const fn new(since: SnapshotId) -> Self {
        Self { since, paths: BTreeMap::new() }
    }

    /// The snapshot that the changes are counted from.
    #[must_use]
    pub const fn since(&self) -> SnapshotId {
        self.since
    }

    /// This entry may have been made, changed, renamed or removed. Of a directory its
    /// own status and its listing are looked at, but nothing below that is not named.
    pub fn entry(&mut self, path: impl Into<Vec<u8>>) {
        self.add(path.into(), Extent::Entry);
    }

    /// As [`Self::entry`], and everything below it may have changed: a directory that is
    /// new, was moved here, or could not be watched.
    pub fn whole(&mut self, path: impl Into<Vec<u8>>) {
        self.add(path.into(), Extent::Whole);
    }

    /// Adds all paths of another set, whatever it is counted from: for what happened
    /// during an attempt that failed.
    pub fn merge(&mut self, other: &Self) {
        for (path, extent) in &other.paths {
            self.add(path.clone(), *extent);
        }
    }

    /// How many paths are named.
    #[must_use]
    pub fn len(&self) -> usize {
        self.paths.len()
    }

    /// Whether nothing changed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.paths.is_empty()
    }

    fn add(&mut self, path: Vec<u8>, extent: Extent) {
        let (path, extent) =
            if is_plain(&path) { (path, extent) } else { (Vec::new(), Extent::Whole) };
        let known = self.paths.entry(path).or_insert(extent);
        *known = (*known).max(extent);
    }

    pub(crate) fn scope(&self) -> Scope {
        let mut scope = Scope::default();
        for (path, extent) in &self.paths {
            scope.look_at(path);
            if *extent == Extent::Whole {
                scope.whole.insert(path.clone());
            }
        }
        scope
    }
}

fn is_plain(path: &[u8]) -> bool {
    path.is_empty()
        || path.split(|b| *b == b'/').all(|part| !matches!(part, b"" | b"." | b".."))
            && !path.contains(&0)
}

/// The directories that a scan has to look into.
#[derive(Debug, Default)]
pub(crate) struct Scope {
    listed: HashSet<Vec<u8>>,
    whole: HashSet<Vec<u8>>,
}

/// What a scan does with one directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Look {
    /// Nothing in it is believed to have changed.
    Reuse,
    /// It is listed; what is below decides for itself.
    List,
    /// It and all below is listed.
    Whole,
}

impl Scope {
    /// Has this path looked at, and with it every directory on the way.
    pub(crate) fn look_at(&mut self, path: &[u8]) {
        self.listed.extend(ancestors([path]));
        self.listed.insert(path.to_vec());
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.listed.is_empty()
    }

    pub(crate) fn of(&self, path: &[u8]) -> Look {
        if self.whole.contains(path) {
            Look::Whole
        } else if self.listed.contains(path) {
            Look::List
        } else {
            Look::Reuse
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set() -> ChangeSet {
        ChangeSet::new("0".repeat(64).parse().unwrap())
    }

    #[test]
    fn a_path_brings_its_directories_and_nothing_beside() {
        let mut changes = set();
        changes.entry("a/b/file");
        changes.whole("new");
        let scope = changes.scope();
        for (path, look) in [
            ("", Look::List),
            ("a", Look::List),
            ("a/b", Look::List),
            ("a/b/file", Look::List),
            ("a/c", Look::Reuse),
            ("new", Look::Whole),
        ] {
            assert_eq!(scope.of(path.as_bytes()), look, "{path}");
        }
        assert!(set().scope().is_empty());
    }

    #[test]
    fn whole_wins_over_entry_in_any_order() {
        for swap in [false, true] {
            let (mut a, mut b) = (set(), set());
            a.entry("x");
            b.whole("x");
            if swap {
                std::mem::swap(&mut a, &mut b);
            }
            a.merge(&b);
            assert_eq!((a.scope().of(b"x"), a.len()), (Look::Whole, 1));
        }
    }

    #[test]
    fn a_path_that_leads_elsewhere_makes_everything_be_walked() {
        for odd in ["/etc", "a/../b", "..", "a//b", "a/", "./a", "a\0b"] {
            let mut changes = set();
            changes.entry(odd);
            assert_eq!(changes.scope().of(b""), Look::Whole, "{odd:?}");
        }
        let mut changes = set();
        changes.entry(*b"..a/b..\xff\n");
        changes.entry("");
        assert_eq!(changes.scope().of(b""), Look::List);
    }
}
