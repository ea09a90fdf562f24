//! Finds the other names of stored entries that have several. Owns the walk over a
//! snapshot for them; decides nothing about what to do with them.

use std::collections::HashMap;

use rustic_core::TreeId;
use rustic_core::repofile::Node;

use super::Follow;
use crate::beneath::{MAX_DEPTH, join};
use crate::engine::{Engine, Repo};
use crate::error::Result;

/// Stored entries with several names that get a new version, by inode.
#[derive(Debug, Default)]
pub(crate) struct Shared(HashMap<u64, (Node, u64)>);

impl Shared {
    /// Notes that one name of an entry gets a new version.
    pub(crate) fn note(&mut self, node: &Node) {
        if node.meta.links > 1 && !node.is_dir() {
            self.0.entry(node.meta.inode).or_insert_with(|| (node.clone(), 0)).1 += 1;
        }
    }

    /// Forgets the entries of which every name is noted: nothing is left to find.
    pub(crate) fn incomplete(mut self) -> Self {
        self.0.retain(|_, (node, noted)| *noted < node.meta.links);
        self
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether `node` is another name of one of these. An inode alone does not tell:
    /// its number may have been given to another file while the snapshot was taken.
    fn has(&self, node: &Node) -> bool {
        node.meta.links > 1
            && self.0.get(&node.meta.inode).is_some_and(|(twin, _)| {
                twin.content == node.content && twin.node_type == node.node_type
            })
    }
}

/// All names in a stored directory, and below it, of these entries.
pub(crate) fn names(
    (engine, repo): (&Engine, &Repo),
    tree: TreeId,
    shared: &Shared,
    watch: Follow<'_>,
) -> Result<Vec<(Vec<u8>, Node)>> {
    let mut found = Vec::new();
    let mut waiting = vec![(Vec::new(), tree, 0)];
    while let Some((path, tree, depth)) = waiting.pop() {
        watch.cancel.check()?;
        for node in engine.tree(repo, tree)? {
            let here = join(&path, &node.name());
            match node.subtree {
                Some(below) if depth + 1 < MAX_DEPTH => waiting.push((here, below, depth + 1)),
                None if shared.has(&node) => found.push((here, node)),
                _ => {}
            }
        }
    }
    found.sort_by(|(a, _), (b, _)| a.cmp(b));
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustic_core::repofile::{Metadata, NodeType};

    fn node(name: &str, inode: u64, links: u64) -> Node {
        let meta = Metadata { inode, links, ..Metadata::default() };
        Node::new_node(name.as_ref(), NodeType::File, meta)
    }

    #[test]
    fn only_entries_with_names_left_are_looked_for() {
        let mut shared = Shared::default();
        shared.note(&node("single", 1, 1));
        shared.note(&node("a", 2, 2));
        shared.note(&node("b", 2, 2));
        shared.note(&node("c", 3, 2));
        let shared = shared.incomplete();
        assert!(!shared.is_empty());
        assert!(!shared.has(&node("single", 1, 1)));
        assert!(!shared.has(&node("a", 2, 2)));
        assert!(shared.has(&node("d", 3, 2)));
        let mut other = node("d", 3, 2);
        other.node_type = NodeType::Fifo;
        assert!(!shared.has(&other));
    }
}
