//! Files with several names, in a pass that did not look at every directory. A write
//! through one name, a new name and a removed one change the status of all others, and
//! no change list names those. Owns the bookkeeping that tells whether all were seen.

use std::collections::{HashMap, HashSet};

use rustic_core::repofile::Node;

use crate::stat::Stat;

/// Names of files that have more than one, by inode.
#[derive(Debug, Default)]
pub(crate) struct Twins {
    /// How many names the file has, and how many of them were met.
    live: HashMap<u64, (u64, u64)>,
    /// How many names it had when stored, and how many of them are gone.
    gone: HashMap<u64, (u64, u64)>,
    touched: HashSet<u64>,
}

impl Twins {
    /// A live entry that is no directory, and what was stored under its name.
    pub(crate) fn meet(&mut self, stat: &Stat, stored: Option<&Node>) {
        let same = stored.is_some_and(|n| n.meta.inode == stat.ino);
        if let Some(stored) = stored.filter(|_| !same) {
            self.lose(stored);
        }
        let had = stored.filter(|_| same).map_or(0, |n| n.meta.links);
        if stat.links > 1 || had > 1 {
            let live = self.live.entry(stat.ino).or_insert((0, 0));
            *live = (stat.links, live.1 + 1);
            if !stored.is_some_and(|n| stat.matches(n)) {
                self.touched.insert(stat.ino);
            }
        }
    }

    /// A stored entry that is no longer there under its name.
    pub(crate) fn lose(&mut self, stored: &Node) {
        if !stored.is_dir() && stored.meta.links > 1 {
            let gone = self.gone.entry(stored.meta.inode).or_insert((0, 0));
            *gone = (gone.0.max(stored.meta.links), gone.1 + 1);
            self.touched.insert(stored.meta.inode);
        }
    }

    /// Whether some file was touched of which not every name was met, so that nothing
    /// less than a full walk finds the others.
    pub(crate) fn some_unseen(&self) -> bool {
        self.touched.iter().any(|inode| match (self.live.get(inode), self.gone.get(inode)) {
            (Some((links, met)), _) => links != met,
            (None, Some((links, met))) => links != met,
            (None, None) => false,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stat(ino: u64, links: u64, second: i64) -> Stat {
        Stat {
            dev: 1,
            ino,
            mode: 0o100_644,
            uid: 0,
            gid: 0,
            links,
            size: 1,
            rdev: 0,
            mtime: (second, 0),
            ctime: (second, 0),
        }
    }

    fn stored(ino: u64, links: u64) -> Node {
        stat(ino, links, 1).node("n".as_ref(), None)
    }

    #[test]
    fn a_write_through_one_of_two_names_leaves_one_unseen() {
        let mut twins = Twins::default();
        twins.meet(&stat(5, 2, 2), Some(&stored(5, 2)));
        assert!(twins.some_unseen());
        twins.meet(&stat(5, 2, 2), Some(&stored(5, 2)));
        assert!(!twins.some_unseen(), "both were met");
    }

    #[test]
    fn an_untouched_name_asks_for_nothing() {
        let mut twins = Twins::default();
        twins.meet(&stat(5, 2, 1), Some(&stored(5, 2)));
        twins.meet(&stat(6, 1, 2), Some(&stored(6, 1)));
        twins.lose(&stored(7, 1));
        assert!(!twins.some_unseen());
    }

    #[test]
    fn a_new_and_a_removed_name_leave_the_first_unseen() {
        let mut twins = Twins::default();
        twins.meet(&stat(5, 2, 2), None);
        assert!(twins.some_unseen(), "made");
        let mut twins = Twins::default();
        twins.lose(&stored(5, 2));
        assert!(twins.some_unseen(), "removed");
        twins.lose(&stored(5, 2));
        assert!(!twins.some_unseen(), "both removed");
        let mut twins = Twins::default();
        twins.meet(&stat(9, 1, 2), Some(&stored(5, 2)));
        assert!(twins.some_unseen(), "replaced");
    }

    #[test]
    fn the_last_of_two_names_is_seen_by_itself() {
        let mut twins = Twins::default();
        twins.lose(&stored(5, 2));
        twins.meet(&stat(5, 1, 2), Some(&stored(5, 2)));
        assert!(!twins.some_unseen());
    }
}
