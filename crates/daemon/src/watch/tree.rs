//! Which directory each watch stands for, and what an event of the kernel's means. Pure:
//! opens nothing and adds no watch.
//!
//! A watch follows its directory when that is renamed, so paths are made from parents and
//! names at the moment they are needed. About 70 bytes a directory.

use std::collections::{HashMap, HashSet};
use std::time::Instant;

use rustix::fs::inotify::ReadFlags;

use super::dirty::Dirty;

/// The kernel's number of one watch.
pub(super) type Wd = i32;

/// Deeper than any path that can be opened: a chain of parents that is longer is broken.
const MOST_PARENTS: usize = 4096;

/// One watched directory.
#[derive(Debug)]
struct Node {
    parent: Wd,
    name: Box<[u8]>,
    /// Seconds since 1970 at which something changed directly in it, as far as known.
    warm: i64,
}

/// All watched directories of a folder.
#[derive(Debug, Default)]
pub(super) struct Tree {
    root: Option<Wd>,
    nodes: HashMap<Wd, Node>,
}

/// An event, taken apart.
#[derive(Debug, Clone, Copy)]
pub(super) struct Heard<'a> {
    pub(super) wd: Wd,
    pub(super) mask: ReadFlags,
    pub(super) name: Option<&'a [u8]>,
}

/// What has to be done about an event beside noting the change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Follow {
    /// A directory appeared here: watch it.
    Look(Wd, Box<[u8]>),
    /// A watched directory was moved: find out whether it is still where it is thought to be.
    Verify(Wd),
    /// A watch is no more.
    Forget(Wd),
    /// Events were lost: begin again.
    BeginAgain,
    /// The folder's own directory was moved away, deleted or unmounted.
    RootLost,
}

/// How a directory was placed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Placed {
    /// It was not known.
    New,
    /// It was known by another name.
    Moved,
    /// It was known as that.
    Same,
}

impl Tree {
    pub(super) fn len(&self) -> usize {
        self.nodes.len()
    }

    pub(super) fn set_root(&mut self, wd: Wd, warm: i64) {
        self.root = Some(wd);
        self.nodes.insert(wd, Node { parent: wd, name: Box::default(), warm });
    }

    pub(super) const fn root(&self) -> Option<Wd> {
        self.root
    }

    pub(super) fn is_root(&self, wd: Wd) -> bool {
        self.root == Some(wd)
    }

    pub(super) fn contains(&self, wd: Wd) -> bool {
        self.nodes.contains_key(&wd)
    }

    /// The directory's path; `None` when it is not known any more.
    pub(super) fn path(&self, wd: Wd) -> Option<Vec<u8>> {
        let mut names = Vec::new();
        let mut at = wd;
        while !self.is_root(at) {
            let node = self.nodes.get(&at)?;
            names.push(&node.name);
            at = node.parent;
            if names.len() > MOST_PARENTS {
                return None;
            }
        }
        let mut path = Vec::new();
        for name in names.into_iter().rev() {
            if !path.is_empty() {
                path.push(b'/');
            }
            path.extend_from_slice(name);
        }
        Some(path)
    }

    /// The path of an entry in a watched directory.
    pub(super) fn path_in(&self, wd: Wd, name: &[u8]) -> Option<Vec<u8>> {
        let mut path = self.path(wd)?;
        if !path.is_empty() {
            path.push(b'/');
        }
        path.extend_from_slice(name);
        Some(path)
    }

    /// Where a watched directory is thought to be: its parent and its name in it.
    pub(super) fn place_of(&self, wd: Wd) -> Option<(Wd, Box<[u8]>)> {
        self.nodes.get(&wd).map(|node| (node.parent, node.name.clone()))
    }

    /// Notes where a watched directory is.
    pub(super) fn place(&mut self, wd: Wd, parent: Wd, name: &[u8], warm: i64) -> Placed {
        if self.is_root(wd) {
            return Placed::Same;
        }
        match self.nodes.get_mut(&wd) {
            Some(node) if node.parent == parent && *node.name == *name => Placed::Same,
            Some(node) => {
                (node.parent, node.name) = (parent, name.into());
                Placed::Moved
            }
            None => {
                self.nodes.insert(wd, Node { parent, name: name.into(), warm });
                Placed::New
            }
        }
    }

    pub(super) fn forget(&mut self, wd: Wd) -> bool {
        self.nodes.remove(&wd).is_some()
    }

    /// All watches that stand at or below some, whose directories are elsewhere now.
    pub(super) fn below(&self, tops: &HashSet<Wd>) -> Vec<Wd> {
        let is_below = |wd: &Wd| {
            let mut at = *wd;
            for _ in 0..MOST_PARENTS {
                if tops.contains(&at) {
                    return true;
                }
                match self.nodes.get(&at) {
                    Some(node) if node.parent != at => at = node.parent,
                    _ => return false,
                }
            }
            true
        };
        self.nodes.keys().copied().filter(is_below).collect()
    }

    /// The smallest of the directories in which nothing changed since `cold`, with whose
    /// subdirectories at least `need` watches would come free.
    pub(super) fn cold_directory(&self, need: usize, cold: i64) -> Option<Wd> {
        let mut held: HashMap<Wd, (usize, i64)> = HashMap::with_capacity(self.nodes.len());
        for (wd, node) in &self.nodes {
            let mut at = *wd;
            for _ in 0..MOST_PARENTS {
                let below = held.entry(at).or_insert((0, i64::MIN));
                (below.0, below.1) = (below.0 + 1, below.1.max(node.warm));
                match self.nodes.get(&at) {
                    Some(node) if node.parent != at => at = node.parent,
                    _ => break,
                }
            }
        }
        held.into_iter()
            .filter(|(wd, (count, warm))| !self.is_root(*wd) && *count >= need && *warm < cold)
            .min_by_key(|(wd, (count, _))| (*count, *wd))
            .map(|(wd, _)| wd)
    }

    /// Notes what an event says changed, and gives what else is to be done about it.
    pub(super) fn hear(
        &mut self,
        event: Heard<'_>,
        (now, seconds): (Instant, i64),
        dirty: &mut Dirty,
    ) -> Option<Follow> {
        let Heard { wd, mask, name } = event;
        if mask.contains(ReadFlags::QUEUE_OVERFLOW) {
            dirty.everything(now);
            return Some(Follow::BeginAgain);
        }
        if !self.contains(wd) {
            // The last words of a watch that was given up.
            return None;
        }
        let gone = ReadFlags::DELETE_SELF | ReadFlags::MOVE_SELF | ReadFlags::UNMOUNT;
        if self.is_root(wd) && mask.intersects(gone | ReadFlags::IGNORED) {
            dirty.everything(now);
            return Some(Follow::RootLost);
        }
        if mask.contains(ReadFlags::IGNORED) {
            return Some(Follow::Forget(wd));
        }
        if mask.contains(ReadFlags::MOVE_SELF) {
            return Some(Follow::Verify(wd));
        }
        if let Some(node) = self.nodes.get_mut(&wd) {
            node.warm = seconds;
        }
        let path = match name {
            Some(name) => self.path_in(wd, name),
            None => self.path(wd),
        };
        let Some(path) = path else {
            // Moved to where nothing is known of: which path this was cannot be said.
            dirty.everything(now);
            return None;
        };
        let came = mask.intersects(ReadFlags::CREATE | ReadFlags::MOVED_TO);
        match name {
            Some(name) if came && mask.contains(ReadFlags::ISDIR) => {
                // Also what is in it already, and what comes before it is watched.
                dirty.subtree(path, now);
                Some(Follow::Look(wd, name.into()))
            }
            _ => {
                dirty.entry(path, now);
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_000_000;

    /// `""` is 1, `a` is 2, `a/b` is 3.
    fn tree() -> Tree {
        let mut tree = Tree::default();
        tree.set_root(1, 0);
        assert_eq!(tree.place(2, 1, b"a", 0), Placed::New);
        assert_eq!(tree.place(3, 2, b"b", 0), Placed::New);
        tree
    }

    fn hear(tree: &mut Tree, wd: Wd, mask: ReadFlags, name: &str) -> (Option<Follow>, Dirty) {
        let mut dirty = Dirty::default();
        let name = Some(name.as_bytes()).filter(|name| !name.is_empty());
        let follow = tree.hear(Heard { wd, mask, name }, (Instant::now(), NOW), &mut dirty);
        (follow, dirty)
    }

    fn entries(dirty: &Dirty) -> Vec<&[u8]> {
        dirty.entries().iter().map(Vec::as_slice).collect()
    }

    #[test]
    fn a_change_has_the_path_of_now() {
        let mut tree = tree();
        let (follow, dirty) = hear(&mut tree, 3, ReadFlags::MODIFY, "file");
        assert_eq!((follow, entries(&dirty)), (None, vec![&b"a/b/file"[..]]));
        assert_eq!(tree.place(2, 1, b"new name", 0), Placed::Moved);
        let (_, dirty) = hear(&mut tree, 3, ReadFlags::DELETE, "caf\u{e9}\n");
        assert_eq!(entries(&dirty), ["new name/b/caf\u{e9}\n".as_bytes()]);
        let (_, dirty) = hear(&mut tree, 1, ReadFlags::ATTRIB | ReadFlags::ISDIR, "");
        assert_eq!(entries(&dirty), [b""]);
    }

    #[test]
    fn a_directory_that_comes_is_looked_at_whole() {
        let mut tree = tree();
        for how in [ReadFlags::CREATE, ReadFlags::MOVED_TO] {
            let (follow, dirty) = hear(&mut tree, 2, how | ReadFlags::ISDIR, "c");
            assert_eq!(follow, Some(Follow::Look(2, b"c"[..].into())));
            assert!(dirty.whole().contains(&b"a/c"[..]), "{dirty:?}");
        }
        let (follow, dirty) = hear(&mut tree, 2, ReadFlags::MOVED_FROM | ReadFlags::ISDIR, "b");
        assert_eq!((follow, entries(&dirty)), (None, vec![&b"a/b"[..]]));
        let (follow, _) = hear(&mut tree, 3, ReadFlags::MOVE_SELF, "");
        assert_eq!(follow, Some(Follow::Verify(3)));
        let (follow, _) = hear(&mut tree, 3, ReadFlags::IGNORED, "");
        assert_eq!(follow, Some(Follow::Forget(3)));
    }

    #[test]
    fn lost_events_and_a_lost_root_are_said() {
        let mut tree = tree();
        let (follow, dirty) = hear(&mut tree, -1, ReadFlags::QUEUE_OVERFLOW, "");
        assert!(follow == Some(Follow::BeginAgain) && dirty.is_everything());
        for how in [ReadFlags::MOVE_SELF, ReadFlags::DELETE_SELF, ReadFlags::UNMOUNT] {
            assert_eq!(hear(&mut tree, 1, how, "").0, Some(Follow::RootLost));
        }
        assert!(hear(&mut tree, 99, ReadFlags::MODIFY, "x").1.is_clean());
    }

    #[test]
    fn parents_that_form_a_ring_lose_no_change() {
        let mut tree = tree();
        tree.place(2, 3, b"a", 0);
        assert_eq!(tree.path(3), None);
        assert!(hear(&mut tree, 3, ReadFlags::MODIFY, "x").1.is_everything());
        assert_eq!(tree.below(&HashSet::from([2])).len(), 2);
    }

    #[test]
    fn the_cold_and_large_are_left_to_polling_first() {
        let mut tree = Tree::default();
        tree.set_root(1, 0);
        tree.place(2, 1, b"src", 0);
        tree.place(3, 1, b"node_modules", 0);
        tree.place(4, 1, b"build", 0);
        for wd in 10..30 {
            tree.place(wd, 2, wd.to_string().as_bytes(), 0);
        }
        for wd in 100..300 {
            tree.place(wd, 3, wd.to_string().as_bytes(), 0);
        }
        for wd in 1000..2000 {
            tree.place(wd, 4, wd.to_string().as_bytes(), 0);
        }
        assert_eq!(tree.cold_directory(100, 1), Some(3), "enough, and no more than needed");
        hear(&mut tree, 150, ReadFlags::MODIFY, "x");
        assert_eq!(tree.cold_directory(100, NOW), Some(4), "what is worked in stays watched");
        assert_eq!(tree.below(&HashSet::from([3])).len(), 201);
        assert_eq!(tree.cold_directory(5000, NOW), None);
    }
}
