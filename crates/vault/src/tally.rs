//! How much a snapshot holds, as a difference to the stored state it was built from,
//! so that what was taken over unread need not be counted again. Owns the arithmetic
//! and the walk through stored directories that are gone.

use rustic_core::TreeId;
use rustic_core::repofile::Node;

use crate::beneath::MAX_DEPTH;
use crate::catalog::Counts;
use crate::engine::{Engine, Repo};
use crate::error::{Result, VaultError};

/// What came and went. Sums are exact: they follow the nodes that are stored, not the
/// live folder.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    files: i128,
    directories: i128,
    others: i128,
    bytes: i128,
}

impl Tally {
    /// Counts one stored entry, without what is below it.
    pub(crate) fn add(&mut self, node: &Node) {
        self.change(node, 1);
    }

    /// Takes off one stored entry, without what is below it.
    pub(crate) fn remove(&mut self, node: &Node) {
        self.change(node, -1);
    }

    fn change(&mut self, node: &Node, by: i128) {
        if node.is_dir() {
            self.directories += by;
        } else if node.is_file() {
            self.files += by;
            self.bytes += by * i128::from(node.meta.size);
        } else {
            self.others += by;
        }
    }

    /// The counts that follow from `before`; `None` if they cannot have been right.
    pub(crate) fn applied_to(self, before: Counts) -> Option<Counts> {
        let sum = |count: u64, by: i128| u64::try_from(i128::from(count) + by).ok();
        Some(Counts {
            files: sum(before.files, self.files)?,
            directories: sum(before.directories, self.directories)?,
            others: sum(before.others, self.others)?,
            bytes: sum(before.bytes, self.bytes)?,
        })
    }
}

/// Calls `see` for everything below a stored directory.
pub(crate) fn for_each_below(
    (engine, repo): (&Engine, &Repo),
    tree: TreeId,
    see: &mut dyn FnMut(&Node),
) -> Result<()> {
    let mut open = vec![(tree, 0)];
    while let Some((tree, depth)) = open.pop() {
        // Deeper than what was ever stored: a tree that leads back to itself.
        if depth > MAX_DEPTH {
            return Err(VaultError::Damaged {
                path: engine.storage.dir().into(),
                what: "a stored directory is nested too deeply".into(),
            });
        }
        for node in engine.tree(repo, tree)? {
            see(&node);
            open.extend(node.subtree.map(|below| (below, depth + 1)));
        }
    }
    Ok(())
}

/// Counts everything in a stored directory.
pub(crate) fn count(engine: &Engine, repo: &Repo, tree: TreeId) -> Result<Counts> {
    let mut tally = Tally::default();
    for_each_below((engine, repo), tree, &mut |node| tally.add(node))?;
    Ok(tally.applied_to(Counts::default()).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustic_core::repofile::{Metadata, NodeType};

    fn node(kind: NodeType, size: u64) -> Node {
        let meta = Metadata { size, ..Metadata::default() };
        Node::new_node("n".as_ref(), kind, meta)
    }

    #[test]
    fn what_came_and_went_is_summed() {
        let mut tally = Tally::default();
        tally.add(&node(NodeType::File, 7));
        tally.add(&node(NodeType::Dir, 0));
        tally.add(&node(NodeType::Fifo, 0));
        tally.remove(&node(NodeType::File, 3));
        let before = Counts { files: 2, directories: 0, others: 4, bytes: 3 };
        let after = Counts { files: 2, directories: 1, others: 5, bytes: 7 };
        assert_eq!(tally.applied_to(before), Some(after));
    }

    #[test]
    fn less_than_nothing_is_noticed() {
        let mut tally = Tally::default();
        tally.remove(&node(NodeType::File, 3));
        assert_eq!(tally.applied_to(Counts::default()), None);
    }
}
