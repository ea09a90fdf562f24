//! Follows every directory of every snapshot once, and says which snapshots need
//! something that is lost. Owns the way from a lost blob to the names that a person
//! knows; reads no file's content.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use rustic_core::Id;
use rustic_core::repofile::Tree;
use serde::Deserialize;

use super::inventory::{Inventory, Kind, Reader};
use super::packs::threads;
use crate::beneath::join;
use crate::catalog::{EntryPath, Snapshot};
use crate::check::{MAX_LISTED, MAX_PATHS, Touched};
use crate::error::Result;
use crate::seal::Seal;
use crate::storage::Storage;
use crate::watch::{Step, Watch};

/// Number of a problem in the list that is being made.
pub(crate) type Cause = usize;

/// What a walk needs.
pub(crate) struct Walk<'a> {
    pub(crate) storage: &'a Storage,
    pub(crate) seal: &'a Seal,
    pub(crate) inventory: &'a Inventory,
    /// Blobs that can be read nowhere, and the problem that says so.
    pub(crate) lost: &'a HashMap<(Kind, Id), Cause>,
    /// The problem to blame for what no index names.
    pub(crate) unnamed: Cause,
    pub(crate) watch: &'a Watch,
    pub(crate) threads: usize,
}

/// The directories that were followed.
#[derive(Debug, Default)]
pub(crate) struct Forest {
    numbers: HashMap<Id, usize>,
    trees: Vec<Stored>,
    /// Lost entries in and below a directory, by problem; only where there are any.
    below: HashMap<usize, BTreeMap<Cause, u64>>,
    /// Packs that should have given a directory, and did not.
    pub(crate) stumbled: BTreeSet<usize>,
}

/// One stored directory, as far as the question needs it.
#[derive(Debug, Default)]
struct Stored {
    children: Vec<usize>,
    /// Lost files directly in it, by problem.
    lost: BTreeMap<Cause, u64>,
    /// The directory itself is lost, for this problem.
    gone: Option<Cause>,
}

/// What reading one directory came to.
enum Looked {
    Gone(Cause),
    Stumbled(usize),
    Read { children: Vec<Id>, lost: BTreeMap<Cause, u64> },
}

/// A stored directory without all that a walk does not look at.
#[derive(Deserialize)]
struct Slim {
    #[serde(default)]
    nodes: Vec<SlimNode>,
}

#[derive(Deserialize)]
struct SlimNode {
    #[serde(default)]
    content: Option<Vec<Id>>,
    #[serde(default)]
    subtree: Option<Id>,
}

impl Walk<'_> {
    /// Follows all directories of these snapshots.
    pub(crate) fn follow(&self, snapshots: &[Snapshot]) -> Result<Forest> {
        let mut forest = Forest::default();
        let mut frontier = Vec::new();
        for snapshot in snapshots {
            forest.number(*snapshot.tree, &mut frontier);
        }
        while !frontier.is_empty() {
            self.watch.cancel.check()?;
            // Side by side in the packs, so that files stay open and disks read ahead.
            frontier.sort_by_cached_key(|id| {
                let found = self.inventory.find(Kind::Tree, id);
                found.map(|(pack, blob)| (pack, blob.location.offset))
            });
            let looked = self.look_at(&frontier);
            self.watch.cancel.check()?;
            self.watch.step(Step::Scanned(frontier.len() as u64));
            let mut next = Vec::new();
            for (id, looked) in frontier.iter().zip(looked) {
                let stored = match looked {
                    Looked::Gone(cause) => Stored { gone: Some(cause), ..Stored::default() },
                    Looked::Stumbled(pack) => {
                        forest.stumbled.insert(pack);
                        Stored { gone: Some(self.unnamed), ..Stored::default() }
                    }
                    Looked::Read { children, lost } => {
                        let children =
                            children.into_iter().map(|id| forest.number(id, &mut next)).collect();
                        Stored { children, lost, gone: None }
                    }
                };
                if let Some(place) = forest.numbers.get(id).and_then(|n| forest.trees.get_mut(*n)) {
                    *place = stored;
                }
            }
            frontier = next;
        }
        forest.sum_up();
        Ok(forest)
    }

    fn look_at(&self, frontier: &[Id]) -> Vec<Looked> {
        let threads = threads(self.threads).min(frontier.len()).max(1);
        let share = frontier.len().div_ceil(threads);
        let look = |part: &[Id]| {
            let mut reader = Reader::new(self.storage, self.seal);
            part.iter()
                .map(|id| {
                    // Whoever asked to stop throws the rest away.
                    if self.watch.cancel.is_cancelled() {
                        return Looked::Gone(self.unnamed);
                    }
                    self.look(&mut reader, id)
                })
                .collect::<Vec<_>>()
        };
        std::thread::scope(|scope| {
            let parts: Vec<_> = frontier
                .chunks(share)
                .map(|part| (part, scope.spawn(move || look(part))))
                .collect();
            let mut all = Vec::with_capacity(frontier.len());
            for (part, thread) in parts {
                // A panic costs its own part, which then counts as not to be read.
                let looked = thread.join().unwrap_or_default();
                let missing = part.len() - looked.len();
                all.extend(looked);
                all.extend((0..missing).map(|_| Looked::Gone(self.unnamed)));
            }
            all
        })
    }

    fn look(&self, reader: &mut Reader<'_>, id: &Id) -> Looked {
        if let Some(cause) = self.lost.get(&(Kind::Tree, *id)) {
            return Looked::Gone(*cause);
        }
        let Some((pack, blob)) = self.inventory.find(Kind::Tree, id) else {
            return Looked::Gone(self.unnamed);
        };
        let Some(pack_id) = self.inventory.packs.get(pack).map(|pack| pack.id) else {
            return Looked::Gone(self.unnamed);
        };
        let Some(text) = reader.blob(&pack_id, blob) else { return Looked::Stumbled(pack) };
        let Ok(tree) = serde_json::from_slice::<Slim>(text) else {
            return Looked::Gone(self.unnamed);
        };
        let mut children = Vec::new();
        let mut lost = BTreeMap::new();
        for node in tree.nodes {
            children.extend(node.subtree);
            for cause in self.causes(node.content.as_deref().unwrap_or_default()) {
                *lost.entry(cause).or_insert(0) += 1;
            }
        }
        Looked::Read { children, lost }
    }

    /// Why content cannot be read; nothing where it can.
    fn causes(&self, content: &[Id]) -> BTreeSet<Cause> {
        let missing = content.iter().filter(|id| !self.inventory.has(Kind::Data, id));
        missing
            .map(|id| self.lost.get(&(Kind::Data, *id)).copied().unwrap_or(self.unnamed))
            .collect()
    }

    /// The snapshots that a problem touches, in the given order.
    pub(crate) fn touched(
        &self,
        forest: &Forest,
        snapshots: &[Snapshot],
        cause: Cause,
    ) -> Vec<Touched> {
        let mut touched: Vec<Touched> = Vec::new();
        for snapshot in snapshots {
            let Some(number) = forest.numbers.get(&*snapshot.tree) else { continue };
            let whole = forest.trees.get(*number).and_then(|tree| tree.gone) == Some(cause);
            let entries = forest.lost_below(*number, cause);
            if !whole && entries == 0 {
                continue;
            }
            let mut paths = Vec::new();
            if touched.len() < MAX_LISTED && !whole {
                let mut reader = Reader::new(self.storage, self.seal);
                self.paths(forest, (&mut reader, &mut paths), (*snapshot.tree, &[]), cause);
            }
            touched.push(Touched {
                snapshot: snapshot.id,
                time: Some(snapshot.time),
                whole,
                entries,
                paths,
            });
        }
        touched
    }

    /// Names lost entries below a directory, as many as are wanted.
    fn paths(
        &self,
        forest: &Forest,
        (reader, paths): (&mut Reader<'_>, &mut Vec<EntryPath>),
        (id, at): (Id, &[u8]),
        cause: Cause,
    ) {
        let Some((pack, blob)) = self.inventory.find(Kind::Tree, &id) else { return };
        let Some(pack) = self.inventory.packs.get(pack) else { return };
        let Some(text) = reader.blob(&pack.id, blob) else { return };
        let Ok(tree) = serde_json::from_slice::<Tree>(text) else { return };
        for node in tree.nodes {
            if paths.len() >= MAX_PATHS {
                return;
            }
            let path = join(at, &node.name());
            let content: Vec<Id> = node.content.iter().flatten().map(|id| **id).collect();
            if self.causes(&content).contains(&cause) {
                paths.push(EntryPath(path));
            } else if let Some(subtree) = node.subtree
                && let Some(number) = forest.numbers.get(&*subtree)
            {
                if forest.trees.get(*number).and_then(|tree| tree.gone) == Some(cause) {
                    paths.push(EntryPath(path));
                } else if forest.lost_below(*number, cause) > 0 {
                    self.paths(forest, (&mut *reader, &mut *paths), (*subtree, &path), cause);
                }
            }
        }
    }
}

impl Forest {
    /// The number of a directory; one that is new comes onto the frontier.
    fn number(&mut self, id: Id, frontier: &mut Vec<Id>) -> usize {
        let next = self.trees.len();
        *self.numbers.entry(id).or_insert_with(|| {
            self.trees.push(Stored::default());
            frontier.push(id);
            next
        })
    }

    fn lost_below(&self, number: usize, cause: Cause) -> u64 {
        self.below.get(&number).and_then(|lost| lost.get(&cause)).copied().unwrap_or(0)
    }

    /// Adds up what is lost, from the leaves to the roots. A directory with several
    /// parents counts in each: every path to it is lost.
    fn sum_up(&mut self) {
        let mut entered = vec![false; self.trees.len()];
        for root in 0..self.trees.len() {
            let mut way = vec![(root, 0)];
            if std::mem::replace(&mut entered[root], true) {
                continue;
            }
            while let Some((number, child)) = way.last_mut() {
                let number = *number;
                if let Some(next) = self.trees[number].children.get(*child).copied() {
                    *child += 1;
                    if !std::mem::replace(&mut entered[next], true) {
                        way.push((next, 0));
                    }
                    continue;
                }
                way.pop();
                let mut sum = self.trees[number].lost.clone();
                for child in &self.trees[number].children {
                    if let Some(cause) = self.trees[*child].gone {
                        *sum.entry(cause).or_insert(0) += 1;
                    }
                    for (cause, lost) in self.below.get(child).into_iter().flatten() {
                        *sum.entry(*cause).or_insert(0) += lost;
                    }
                }
                if !sum.is_empty() {
                    self.below.insert(number, sum);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lost_file_counts_on_every_way_to_it() {
        // 0 → 1, 2; 1 → 3; 2 → 3; 3 has two lost files; 4 → a lost directory 5.
        let stored =
            |children: &[usize]| Stored { children: children.to_vec(), ..Stored::default() };
        let mut forest = Forest {
            trees: vec![stored(&[1, 2]), stored(&[3]), stored(&[3]), stored(&[]), stored(&[5])],
            ..Forest::default()
        };
        forest.trees[3].lost = BTreeMap::from([(7, 2)]);
        forest.trees.push(Stored { gone: Some(8), ..Stored::default() });
        forest.sum_up();
        assert_eq!(forest.lost_below(0, 7), 4);
        assert_eq!(forest.lost_below(1, 7), 2);
        assert_eq!(forest.lost_below(4, 8), 1);
        assert_eq!(forest.lost_below(0, 8), 0);
    }
}
