//! How a folder, or one path in it, changed from snapshot to snapshot. Owns the walk
//! through many snapshots and what makes it cheap; decides nothing about what is shown.
//!
//! Snapshots never change, and equal directories have equal identities. So a path is
//! looked up again only below the directory whose identity differs from the snapshot
//! before, only directories that differ are counted, and a count is kept.

use std::collections::HashMap;
use std::os::unix::ffi::OsStrExt;
use std::sync::{Mutex, PoisonError};

use rustic_core::TreeId;
use rustic_core::repofile::Node;

use crate::beneath::MAX_DEPTH;
use crate::browse::{EntryKind, root_node};
use crate::catalog::{self, DamagedSnapshot, Snapshot};
use crate::diff::{self, Difference};
use crate::engine::{Engine, Repo};
use crate::error::Result;

/// Directories that one history reads to count changes before it puts off the rest.
const BUDGET: usize = 40_000;
/// Counts that are kept; when there are more, all are forgotten.
const MAX_KEPT: usize = 20_000;

/// How many entries differ between two states; what a comparison lists, counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ChangeCounts {
    /// Only in the later state.
    pub added: u64,
    /// Of another kind or content.
    pub changed: u64,
    /// Only in the earlier state.
    pub deleted: u64,
    /// Only mode, owner, times or attributes differ.
    pub metadata: u64,
}

impl ChangeCounts {
    /// Whether nothing differs.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.added + self.changed + self.deleted + self.metadata == 0
    }
}

/// What happened to a path from one snapshot to the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PathChange {
    /// It was not there.
    Added,
    /// It is gone.
    Removed,
    /// This differs; nothing, where it is a directory in which something changed.
    Modified(Difference),
}

/// The path that a history is about, in one snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PathState {
    /// What happened to it.
    pub change: PathChange,
    /// What it is, or was.
    pub kind: EntryKind,
    /// Bytes, for a file that is there.
    pub size: Option<u64>,
}

/// One snapshot of a history.
#[derive(Clone, Debug)]
pub struct Version {
    /// The snapshot.
    pub snapshot: Snapshot,
    /// What differs from the snapshot before, in the folder or below the path. `None`
    /// for the first one, for a path that is no directory on both sides, and where
    /// counting was put off: what was counted is kept, so asking again counts on.
    pub counts: Option<ChangeCounts>,
    /// With a path: what happened to it.
    pub path: Option<PathState>,
}

/// The snapshots of a folder, or those in which a path changed.
#[derive(Clone, Debug)]
pub struct History {
    /// The newest first.
    pub versions: Vec<Version>,
    /// Snapshot files that cannot be read.
    pub damaged: Vec<DamagedSnapshot>,
}

/// Counts that were made, by the two directories compared.
#[derive(Debug, Default)]
pub(crate) struct KeptCounts(Mutex<HashMap<(TreeId, TreeId), ChangeCounts>>);

impl KeptCounts {
    fn get(&self, pair: (TreeId, TreeId)) -> Option<ChangeCounts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&pair).copied()
    }

    fn keep(&self, pair: (TreeId, TreeId), counts: ChangeCounts) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() >= MAX_KEPT {
            kept.clear();
        }
        kept.insert(pair, counts);
    }
}

/// The history of the folder (`path` is empty), or of one path; at most `limit` snapshots.
pub(crate) fn history(
    engine: &Engine,
    kept: &KeptCounts,
    path: &[u8],
    limit: usize,
) -> Result<History> {
    let repo = engine.repo()?;
    let all = catalog::list(engine, &repo)?;
    let mut counter = Counter { engine, repo: &repo, kept, budget: BUDGET };
    let mut versions = Vec::new();
    let mut way = Way::new(path);
    let mut newer: Option<(&Snapshot, Option<Node>)> = None;
    // From the newest backwards: what is shown first is counted first.
    for snapshot in &all.snapshots {
        if versions.len() >= limit {
            break;
        }
        let node = way.find(engine, &repo, snapshot)?;
        if let Some((later, after)) = newer.replace((snapshot, node.clone())) {
            versions.extend(counter.version(later, path, node.as_ref(), after.as_ref())?);
        }
    }
    if let Some((first, node)) = newer.filter(|_| versions.len() < limit)
        && (path.is_empty() || node.is_some())
    {
        let path = node.filter(|_| !path.is_empty()).map(|node| PathState {
            change: PathChange::Added,
            kind: EntryKind::of(&node),
            size: node.is_file().then_some(node.meta.size),
        });
        versions.push(Version { snapshot: first.clone(), counts: None, path });
    }
    Ok(History { versions, damaged: all.damaged })
}

/// The newest of the acceptable snapshots that has all these paths.
pub(crate) fn newest_with(
    engine: &Engine,
    paths: &[Vec<u8>],
    accept: impl Fn(&Snapshot) -> bool,
) -> Result<Option<Snapshot>> {
    let repo = engine.repo()?;
    let mut ways: Vec<Way> = paths.iter().map(|path| Way::new(path)).collect();
    for snapshot in catalog::list(engine, &repo)?.snapshots {
        if !accept(&snapshot) {
            continue;
        }
        let mut everywhere = true;
        for way in &mut ways {
            everywhere = everywhere && way.find(engine, &repo, &snapshot)?.is_some();
        }
        if everywhere {
            return Ok(Some(snapshot));
        }
    }
    Ok(None)
}

/// The way from the folder down to a path, as it was in the snapshot looked at last:
/// the directory entered at each step, and what was found in it.
struct Way<'a> {
    parts: Vec<&'a [u8]>,
    known: Vec<(TreeId, Option<Node>)>,
}

impl<'a> Way<'a> {
    fn new(path: &'a [u8]) -> Self {
        let parts = path.split(|b| *b == b'/').filter(|part| !part.is_empty()).collect();
        Self { parts, known: Vec::new() }
    }

    fn find(&mut self, engine: &Engine, repo: &Repo, snapshot: &Snapshot) -> Result<Option<Node>> {
        if self.parts.is_empty() {
            return Ok(Some(root_node(snapshot)));
        }
        let mut tree = snapshot.tree;
        for (step, part) in self.parts.iter().enumerate() {
            // The same directory as last time holds the same, all the way down.
            if self.known.get(step).is_some_and(|(known, _)| *known == tree) {
                break;
            }
            self.known.truncate(step);
            let found = engine.tree(repo, tree)?.into_iter().find(|n| n.name().as_bytes() == *part);
            let below = found.as_ref().and_then(|node| node.subtree);
            self.known.push((tree, found));
            match below {
                Some(below) => tree = below,
                None => break,
            }
        }
        let whole = self.known.len() == self.parts.len();
        Ok(self.known.last().filter(|_| whole).and_then(|(_, node)| node.clone()))
    }
}

struct Counter<'a> {
    engine: &'a Engine,
    repo: &'a Repo,
    kept: &'a KeptCounts,
    /// Directories that may still be read.
    budget: usize,
}

impl Counter<'_> {
    /// The line of `snapshot`; `None` where the path is the same as before.
    fn version(
        &mut self,
        snapshot: &Snapshot,
        path: &[u8],
        before: Option<&Node>,
        after: Option<&Node>,
    ) -> Result<Option<Version>> {
        let version = |counts, path| Some(Version { snapshot: snapshot.clone(), counts, path });
        let state = |node: &Node, change, there: bool| PathState {
            change,
            kind: EntryKind::of(node),
            size: (there && node.is_file()).then_some(node.meta.size),
        };
        let (before, after) = match (before, after) {
            (None, None) => return Ok(None),
            (None, Some(now)) => {
                return Ok(version(None, Some(state(now, PathChange::Added, true))));
            }
            (Some(then), None) => {
                return Ok(version(None, Some(state(then, PathChange::Removed, false))));
            }
            (Some(before), Some(after)) => (before, after),
        };
        let mut differs = diff::visible(before, after);
        let both = before.subtree.zip(after.subtree);
        let counts = match both {
            Some(pair) => self.below(pair)?,
            None => None,
        };
        if both.is_some() {
            differs.set(Difference::LINKS, false);
            if differs == Difference::TIMES {
                differs = Difference::default();
            }
        }
        if path.is_empty() {
            // The folder's own mode counts as one path, as it does in a comparison.
            let own = u64::from(!differs.is_empty());
            let counts = counts.map(|t| ChangeCounts { metadata: t.metadata + own, ..t });
            return Ok(version(counts, None));
        }
        let same_inside =
            both.is_none_or(|(a, b)| a == b || counts.is_some_and(ChangeCounts::is_empty));
        if differs.is_empty() && same_inside {
            return Ok(None);
        }
        Ok(version(counts, Some(state(after, PathChange::Modified(differs), true))))
    }

    /// What differs in two directories; `None` once the budget is used up.
    fn below(&mut self, pair: (TreeId, TreeId)) -> Result<Option<ChangeCounts>> {
        if pair.0 == pair.1 {
            return Ok(Some(ChangeCounts::default()));
        }
        if let Some(counts) = self.kept.get(pair) {
            return Ok(Some(counts));
        }
        if self.budget == 0 {
            return Ok(None);
        }
        let mut counts = ChangeCounts::default();
        let mut waiting = vec![(Some(pair.0), Some(pair.1), 0)];
        while let Some((before, after, depth)) = waiting.pop() {
            let (a, b) = (self.list(before)?, self.list(after)?);
            let (mut a, mut b) = (a.into_iter().peekable(), b.into_iter().peekable());
            loop {
                let (x, y) = match (a.peek(), b.peek()) {
                    (None, None) => break,
                    (Some(_), None) => (a.next(), None),
                    (None, Some(_)) => (None, b.next()),
                    (Some(x), Some(y)) => match x.name().cmp(&y.name()) {
                        std::cmp::Ordering::Less => (a.next(), None),
                        std::cmp::Ordering::Greater => (None, b.next()),
                        std::cmp::Ordering::Equal => (a.next(), b.next()),
                    },
                };
                count(&mut counts, x.as_ref(), y.as_ref());
                let below = |node: Option<&Node>| node.and_then(|node| node.subtree);
                let (x, y) = (below(x.as_ref()), below(y.as_ref()));
                if x != y && depth + 1 < MAX_DEPTH {
                    waiting.push((x, y, depth + 1));
                }
            }
        }
        self.kept.keep(pair, counts);
        Ok(Some(counts))
    }

    fn list(&mut self, tree: Option<TreeId>) -> Result<Vec<Node>> {
        let Some(tree) = tree else { return Ok(Vec::new()) };
        self.budget = self.budget.saturating_sub(1);
        self.engine.tree(self.repo, tree)
    }
}

fn count(counts: &mut ChangeCounts, before: Option<&Node>, after: Option<&Node>) {
    match (before, after) {
        (None, None) => {}
        (None, Some(_)) => counts.added += 1,
        (Some(_), None) => counts.deleted += 1,
        (Some(a), Some(b)) => {
            let differs = diff::visible(a, b);
            if differs.is_empty() || (a.is_dir() && b.is_dir() && differs == Difference::TIMES) {
                return;
            }
            if differs.is_content() { counts.changed += 1 } else { counts.metadata += 1 }
        }
    }
}
