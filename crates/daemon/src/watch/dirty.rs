//! What is known to have changed in a folder since it was last asked: a bounded set of
//! paths, which gives way to coarser answers when there are too many. Pure.
//!
//! Paths are bytes relative to the folder's root, without a leading slash; `""` is the root.

use std::collections::BTreeSet;
use std::time::Instant;

/// Most paths that are kept one by one.
const MOST_PATHS: usize = 4096;
/// Most bytes that these paths may have together.
const MOST_BYTES: usize = 512 * 1024;

/// What changed, and since when.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Dirty {
    /// Nobody can say what changed: the whole folder has to be looked at.
    everything: bool,
    /// Entries that changed themselves: content, metadata, or their being there at all.
    entries: BTreeSet<Vec<u8>>,
    /// Directories that have to be looked at with all that is below.
    whole: BTreeSet<Vec<u8>>,
    bytes: usize,
    times: Option<(Instant, Instant)>,
}

impl Dirty {
    /// Whether nothing changed.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        !self.everything && self.entries.is_empty() && self.whole.is_empty()
    }

    /// Whether only a walk over the whole folder can tell what changed.
    #[must_use]
    pub const fn is_everything(&self) -> bool {
        self.everything
    }

    /// How many paths changed; `None` when that is not known.
    #[must_use]
    pub fn count(&self) -> Option<u64> {
        (!self.everything).then(|| (self.entries.len() + self.whole.len()) as u64)
    }

    /// Entries that changed themselves.
    #[must_use]
    pub const fn entries(&self) -> &BTreeSet<Vec<u8>> {
        &self.entries
    }

    /// Directories that have to be looked at with all that is below.
    #[must_use]
    pub const fn whole(&self) -> &BTreeSet<Vec<u8>> {
        &self.whole
    }

    /// When the first and the newest of these changes were heard of.
    #[must_use]
    pub const fn times(&self) -> Option<(Instant, Instant)> {
        self.times
    }

    /// Whether a look at these changes also looks at this path.
    #[must_use]
    pub fn covers(&self, path: &[u8]) -> bool {
        // A change of a directory's entry shows in the directory's own times as well.
        let holds = |entry: &Vec<u8>| parent(entry) == Some(path);
        self.everything
            || self.entries.contains(path)
            || self.in_whole(path)
            || self.entries.iter().any(holds)
            || self.whole.iter().any(holds)
    }

    /// An entry changed.
    pub fn entry(&mut self, path: Vec<u8>, now: Instant) {
        self.touch(now);
        if self.everything || self.in_whole(&path) {
            return;
        }
        let length = path.len();
        if self.entries.insert(path) {
            self.bytes += length;
            self.bound();
        }
    }

    /// A directory came, or nobody knows what happened below it.
    pub fn subtree(&mut self, path: Vec<u8>, now: Instant) {
        self.touch(now);
        if self.everything || self.in_whole(&path) {
            return;
        }
        if path.is_empty() {
            self.give_up();
            return;
        }
        for set in [&mut self.entries, &mut self.whole] {
            let below: Vec<Vec<u8>> = range_below(set, &path).cloned().collect();
            for path in below {
                self.bytes -= path.len();
                set.remove(&path);
            }
        }
        self.bytes += path.len();
        self.whole.insert(path);
        self.bound();
    }

    /// Nobody can say what changed.
    pub fn everything(&mut self, now: Instant) {
        self.touch(now);
        self.give_up();
    }

    /// Takes changes back that could not be stored after all.
    pub fn merge(&mut self, other: Self) {
        let Some((first, last)) = other.times else { return };
        if other.everything {
            self.give_up();
        }
        for path in other.whole {
            self.subtree(path, last);
        }
        for path in other.entries {
            self.entry(path, last);
        }
        self.touch(last);
        self.times = self.times.map(|(own, last)| (own.min(first), last));
    }

    fn touch(&mut self, now: Instant) {
        self.times = Some(match self.times {
            None => (now, now),
            Some((first, last)) => (first.min(now), last.max(now)),
        });
    }

    fn in_whole(&self, path: &[u8]) -> bool {
        !self.whole.is_empty() && ancestors(path).any(|place| self.whole.contains(place))
    }

    fn give_up(&mut self) {
        self.everything = true;
        self.entries.clear();
        self.whole.clear();
        self.bytes = 0;
    }

    /// Too many paths become the directories that hold them; too many of these, everything.
    fn bound(&mut self) {
        if self.entries.len() + self.whole.len() <= MOST_PATHS && self.bytes <= MOST_BYTES {
            return;
        }
        let Some((_, last)) = self.times else { return };
        let holders: BTreeSet<Vec<u8>> =
            self.entries.iter().map(|entry| parent(entry).unwrap_or_default().to_vec()).collect();
        if holders.len() + self.whole.len() > MOST_PATHS / 4 {
            self.give_up();
            return;
        }
        self.entries.clear();
        self.bytes = self.whole.iter().map(Vec::len).sum();
        for holder in holders {
            self.subtree(holder, last);
        }
    }
}

/// The directory that holds a path; `None` for the root itself.
pub(super) fn parent(path: &[u8]) -> Option<&[u8]> {
    if path.is_empty() {
        return None;
    }
    Some(path.iter().rposition(|byte| *byte == b'/').map_or(b"", |at| &path[..at]))
}

/// A path itself and all directories above it but the root.
fn ancestors(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::successors(Some(path), |path| parent(path)).filter(|path| !path.is_empty())
}

/// Everything in a set that lies below a path, the path itself included.
pub(super) fn range_below<'a>(
    set: &'a BTreeSet<Vec<u8>>,
    path: &[u8],
) -> impl Iterator<Item = &'a Vec<u8>> {
    let (mut from, mut to) = (path.to_vec(), path.to_vec());
    from.push(b'/');
    // The byte after the slash: the first one that no path below can have there.
    to.push(b'/' + 1);
    set.get(path).into_iter().chain(set.range(from..to))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn set(paths: &[&str]) -> BTreeSet<Vec<u8>> {
        paths.iter().map(|path| path.as_bytes().to_vec()).collect()
    }

    #[test]
    fn a_whole_directory_swallows_what_is_below_it_and_nothing_beside() {
        let now = Instant::now();
        let mut dirty = Dirty::default();
        assert!(dirty.is_clean());
        for path in ["a/b", "a-b", "a/b/c", "a0", "ab"] {
            dirty.entry(path.as_bytes().to_vec(), now);
        }
        dirty.subtree(b"a/b/x".to_vec(), now);
        dirty.subtree(b"a".to_vec(), now);
        dirty.entry(b"a/later".to_vec(), now);
        assert_eq!(dirty.entries(), &set(&["a-b", "a0", "ab"]));
        assert_eq!(dirty.whole(), &set(&["a"]));
        assert_eq!(dirty.count(), Some(4));
        assert!(dirty.covers(b"a/anything/below") && dirty.covers(b"") && !dirty.covers(b"abc"));
    }

    #[test]
    fn too_many_paths_become_coarser_and_then_everything() {
        let now = Instant::now();
        let mut dirty = Dirty::default();
        for number in 0..=MOST_PATHS {
            dirty.entry(format!("logs/{number}").into_bytes(), now);
        }
        assert_eq!(dirty.whole(), &set(&["logs"]));
        assert!(dirty.entries().is_empty() && !dirty.is_everything());
        for number in 0..=MOST_PATHS {
            dirty.entry(format!("{number}/file").into_bytes(), now);
        }
        assert!(dirty.is_everything());
        assert_eq!(dirty.count(), None);
    }

    #[test]
    fn changes_taken_back_keep_the_time_of_the_first() {
        let now = Instant::now();
        let later = now + std::time::Duration::from_secs(9);
        let (mut dirty, mut taken) = (Dirty::default(), Dirty::default());
        taken.entry(b"old".to_vec(), now);
        dirty.entry(b"new".to_vec(), later);
        dirty.merge(taken);
        assert_eq!(dirty.times(), Some((now, later)));
        assert_eq!(dirty.entries(), &set(&["new", "old"]));
        dirty.merge(Dirty::default());
        assert_eq!(dirty.count(), Some(2));
    }

    proptest! {
        /// However changes arrive, nothing that changed is left out, and memory is bounded.
        #[test]
        fn every_change_is_covered(
            steps in prop::collection::vec((any::<bool>(), "([ab0-]{1,2}/){0,3}[ab0-]{1,2}"), 0..60),
        ) {
            let now = Instant::now();
            let mut dirty = Dirty::default();
            for (whole, path) in &steps {
                let path = path.as_bytes().to_vec();
                if *whole { dirty.subtree(path, now) } else { dirty.entry(path, now) }
            }
            for (whole, path) in &steps {
                prop_assert!(dirty.covers(path.as_bytes()));
                let below = format!("{path}/below");
                prop_assert!(!whole || dirty.covers(below.as_bytes()));
            }
            let bytes: usize = dirty.entries.iter().chain(&dirty.whole).map(Vec::len).sum();
            prop_assert_eq!(bytes, dirty.bytes);
        }
    }
}
