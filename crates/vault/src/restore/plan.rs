//! Decides what a restore does, from comparisons alone. Owns the rule that no
//! version goes that no snapshot holds; touches nothing.

use std::collections::{BTreeSet, HashMap, HashSet};

use rustic_core::TreeId;
use rustic_core::repofile::Node;

use super::links::{self, Shared};
use super::{Conflict, ConflictWhy, Guard, RestorePlan, RestoreRequest, Selection, UndoRequest};
use crate::beneath::{Dir, Places, split};
use crate::browse::Entry;
use crate::catalog::{self, EntryPath, Remark, Snapshot};
use crate::compose::Composed;
use crate::diff::{self, Change, DiffEntry, Difference, Lookup, Point};
use crate::engine::{Engine, Repo};
use crate::error::Result;
use crate::restore::Follow;
use crate::scan::{ancestors, young_from};
use crate::stat::{Stamp, Stat, timestamp};

/// One thing to do. What a path is to become is looked up in the snapshot when its turn
/// comes: a plan may have a great many actions.
#[derive(Clone, Debug)]
pub(crate) enum Action {
    /// Remove what is there.
    Remove { path: Vec<u8>, seen: Stat },
    /// Make, or replace what `seen` describes.
    Put { path: Vec<u8>, seen: Option<Stat> },
    /// Set metadata only.
    Adjust { path: Vec<u8>, seen: Stat },
}

/// Plans going back to a snapshot.
pub(crate) fn plan_restore(
    engine: &Engine,
    request: &RestoreRequest,
    composed: Option<&Composed>,
    watch: Follow<'_>,
) -> Result<RestorePlan> {
    let repo = engine.repo()?;
    let wanted = super::state(engine, &repo, request.snapshot, composed)?;
    let steady = request.selection == Selection::All;
    let mut planner = Planner::new(engine, &repo, request)?;
    let unreadable = each(engine, &repo, (request, &wanted), watch, &mut |entry| {
        let covered = request.selection.covers(&entry.path.0);
        match entry.change {
            // Directories on the way are made, but never changed or removed.
            Change::Added if covered || request.selection.leads_to(&entry.path.0) => {
                planner.take(entry);
            }
            Change::Removed if covered && request.delete_extra => planner.take(entry),
            Change::Modified(_) if covered => planner.take(entry),
            _ => {}
        }
    })?;
    planner.join_names((request, wanted.tree), &BTreeSet::new(), watch)?;
    let mut plan = planner.finish(request);
    plan.composed = composed.cloned();
    plan.unreadable = unreadable;
    plan.steady = steady;
    Ok(plan)
}

/// Plans putting back what a session changed.
pub(crate) fn plan_undo(
    engine: &Engine,
    request: &UndoRequest,
    composed: Option<&Composed>,
    watch: Follow<'_>,
) -> Result<RestorePlan> {
    let restore = RestoreRequest {
        snapshot: request.opening,
        target: request.root.clone(),
        selection: request.selection.clone(),
        delete_extra: true,
        guard: request.guard,
    };
    if request.all {
        return plan_restore(engine, &restore, composed, watch);
    }
    let repo = engine.repo()?;
    let wanted = super::state(engine, &repo, request.opening, composed)?;
    let closing = diff::side(engine, &repo, Point::Snapshot(request.closing))?;
    let live = diff::side(engine, &repo, Point::Folder(&request.root))?;
    let (mut foreign, mut busy_dirs) = (BTreeSet::new(), BTreeSet::new());
    diff::each(engine, &repo, (&live, &closing), watch, &mut |entry| {
        // A directory's time follows from what happened inside: no version of anything is lost.
        let set = if entry.is_directory_time() { &mut busy_dirs } else { &mut foreign };
        set.insert(entry.path.0);
    })?;
    let mut planner = Planner::new(engine, &repo, &restore)?;
    let unreadable = each(engine, &repo, (&restore, &wanted), watch, &mut |entry| {
        let on_the_way = entry.change == Change::Added && restore.selection.leads_to(&entry.path.0);
        if !on_the_way && !restore.selection.covers(&entry.path.0) {
            return;
        }
        if foreign.contains(&entry.path.0) {
            planner.keep(&entry.path.0, ConflictWhy::ChangedSince);
        } else if !(entry.is_directory_time() && busy_dirs.contains(&entry.path.0)) {
            planner.take(entry);
        }
    })?;
    planner.join_names((&restore, wanted.tree), &foreign, watch)?;
    let mut plan = planner.finish(&restore);
    plan.composed = composed.cloned();
    plan.unreadable = unreadable;
    plan.steady = true;
    Ok(plan)
}

/// What differs between the target and the state to go back to.
fn each(
    engine: &Engine,
    repo: &Repo,
    (request, wanted): (&RestoreRequest, &Snapshot),
    watch: Follow<'_>,
    to: &mut dyn FnMut(DiffEntry),
) -> Result<Vec<Remark>> {
    let live = diff::side(engine, repo, Point::Folder(&request.target))?;
    let wanted = diff::stored(wanted)?;
    diff::each(engine, repo, (&live, &wanted), watch, to)
}

/// The guarding snapshot beside the live folder.
struct Held<'a> {
    repo: &'a Repo,
    lookup: Lookup<'a>,
    young: Option<Stamp>,
    live: Places,
}

impl Held<'_> {
    /// Whether the snapshot has the present version. A status so young that a later
    /// write could hide behind it proves nothing, so then the content is compared.
    fn has(&mut self, path: &[u8], stat: &Stat) -> bool {
        let Some(node) = self.lookup.find(path).filter(|n| stat.matches(n)) else { return false };
        if !stat.is_file() || self.young.is_some_and(|young| stat.ctime < young) {
            return true;
        }
        let (parent, name) = split(path);
        let opened = self.live.dir(parent).and_then(|dir| dir.open_file(name, stat));
        let content = node.content.as_deref().unwrap_or_default();
        opened.is_ok_and(|(mut file, _)| Engine::content_is(self.repo, content, &mut file))
    }
}

struct Planner<'a> {
    engine: &'a Engine,
    repo: &'a Repo,
    guard: Guard,
    held: Option<Held<'a>>,
    actions: Vec<Action>,
    /// Entries with several names that get a new version.
    shared: Shared,
    entries: [Vec<Entry>; 4],
    conflicts: Vec<Conflict>,
    bytes: u64,
}

const CREATED: usize = 0;
const REPLACED: usize = 1;
const DELETED: usize = 2;
const METADATA: usize = 3;

impl<'a> Planner<'a> {
    fn new(engine: &'a Engine, repo: &'a Repo, request: &RestoreRequest) -> Result<Self> {
        let guard = request.guard;
        let held = match guard {
            Guard::Snapshot(id) => {
                let snapshot = catalog::load(engine, repo, id.0)?;
                Some(Held {
                    repo,
                    lookup: Lookup::new(engine, repo, snapshot.tree)?,
                    young: snapshot.scanned.map(young_from),
                    live: Places::new(Dir::open_root(&request.target)?),
                })
            }
            Guard::Promised | Guard::Nothing => None,
        };
        Ok(Self {
            engine,
            repo,
            guard,
            held,
            actions: Vec::new(),
            shared: Shared::default(),
            entries: Default::default(),
            conflicts: Vec::new(),
            bytes: 0,
        })
    }

    fn keep(&mut self, path: &[u8], why: ConflictWhy) {
        self.conflicts.push(Conflict { path: EntryPath(path.to_vec()), why });
    }

    /// Whether the present version of an entry is in the guarding snapshot.
    fn is_held(&mut self, path: &[u8], stat: &Stat) -> bool {
        match (&self.guard, &mut self.held) {
            (Guard::Promised, _) => true,
            // A directory holds nothing itself; its entries are asked one by one.
            _ if stat.is_dir() => self.guard != Guard::Nothing || path.is_empty(),
            (Guard::Snapshot(_), Some(held)) => held.has(path, stat),
            _ => false,
        }
    }

    fn take(&mut self, entry: DiffEntry) {
        let path = entry.path.0;
        if let Some(stat) = &entry.live
            && !self.is_held(&path, stat)
        {
            return self.keep(&path, ConflictWhy::HeldByNoSnapshot);
        }
        let (before, after) = (entry.before, entry.after);
        match (entry.change, entry.after_node, entry.live) {
            (Change::Added, Some(node), _) => {
                self.put(CREATED, (path, node, None), after);
            }
            (Change::Removed, _, Some(seen)) => {
                self.entries[DELETED].extend(before);
                self.actions.push(Action::Remove { path, seen });
            }
            (Change::Modified(what), Some(node), Some(seen)) => {
                let dir_involved = seen.is_dir() || node.is_dir();
                if what.has(Difference::KIND) && dir_involved {
                    self.actions.push(Action::Remove { path: path.clone(), seen });
                    self.put(REPLACED, (path, node, None), after);
                } else if what.needs_replacing() {
                    self.put(REPLACED, (path, node, Some(seen)), after);
                } else {
                    self.entries[METADATA].extend(after);
                    self.actions.push(Action::Adjust { path, seen });
                }
            }
            _ => {}
        }
    }

    fn put(
        &mut self,
        list: usize,
        (path, node, seen): (Vec<u8>, Node, Option<Stat>),
        as_entry: Option<Entry>,
    ) {
        if node.is_file() {
            self.bytes += node.meta.size;
        }
        self.shared.note(&node);
        self.entries[list].extend(as_entry);
        self.actions.push(Action::Put { path, seen });
    }

    /// A new version is a new inode: the other names of a stored entry that gets one
    /// must get it too, even where they do not differ, or they would be two files.
    /// `foreign` names, which somebody else changed since, stay.
    fn join_names(
        &mut self,
        (request, tree): (&RestoreRequest, TreeId),
        foreign: &BTreeSet<Vec<u8>>,
        watch: Follow<'_>,
    ) -> Result<()> {
        let shared = std::mem::take(&mut self.shared).incomplete();
        if shared.is_empty() {
            return Ok(());
        }
        let names = links::names((self.engine, self.repo), tree, &shared, watch)?;
        let kept: HashSet<_> = self.conflicts.iter().map(|c| c.path.0.clone()).collect();
        let planned = self.planned();
        let mut live = Places::new(Dir::open_root(&request.target)?);
        for (path, node) in names {
            if kept.contains(&path) || !request.selection.covers(&path) {
                continue;
            }
            if let Some(number) = planned.get(&path) {
                self.replace_instead(*number);
                continue;
            }
            let (parent, name) = split(&path);
            // What cannot be looked at is among the plan's unreadable entries.
            let Ok(seen) = live.dir(parent).and_then(|dir| dir.stat_at(name)) else { continue };
            if foreign.contains(&path) {
                self.keep(&path, ConflictWhy::ChangedSince);
            } else if !is_as_stored(&seen, &node) {
                self.keep(&path, ConflictWhy::ChangedMeanwhile);
            } else if !self.is_held(&path, &seen) {
                self.keep(&path, ConflictWhy::HeldByNoSnapshot);
            } else {
                self.entries[REPLACED].push(Entry::from_node(path.clone(), &node));
                self.actions.push(Action::Put { path, seen: Some(seen) });
            }
        }
        Ok(())
    }

    /// The last action on each path, by its number.
    fn planned(&self) -> HashMap<Vec<u8>, usize> {
        let path = |action: &Action| match action {
            Action::Remove { path, .. }
            | Action::Put { path, .. }
            | Action::Adjust { path, .. } => path.clone(),
        };
        self.actions.iter().enumerate().map(|(number, action)| (path(action), number)).collect()
    }

    /// Turns the setting of metadata into a replacement; other actions stay.
    fn replace_instead(&mut self, number: usize) {
        let Some(Action::Adjust { path, seen, .. }) = self.actions.get(number).cloned() else {
            return;
        };
        let (metadata, replaced) = std::mem::take(&mut self.entries[METADATA])
            .into_iter()
            .partition(|entry| entry.path.0 != path);
        self.entries[METADATA] = metadata;
        self.entries[REPLACED].extend::<Vec<_>>(replaced);
        self.actions[number] = Action::Put { path, seen: Some(seen) };
    }

    fn finish(mut self, request: &RestoreRequest) -> RestorePlan {
        // A directory stays when something in it stays.
        let busy = ancestors(self.conflicts.iter().map(|c| &c.path.0));
        let mut staying = Vec::new();
        self.actions.retain(|action| match action {
            Action::Remove { path, seen } if seen.is_dir() && busy.contains(path) => {
                staying.push(path.clone());
                false
            }
            _ => true,
        });
        for path in staying {
            self.entries[DELETED].retain(|e| e.path.0 != path);
            self.keep(&path, ConflictWhy::NotEmpty);
        }
        self.conflicts.sort_by(|a, b| a.path.cmp(&b.path));
        let [created, replaced, deleted, metadata_only] = self.entries;
        RestorePlan {
            snapshot: request.snapshot,
            target: request.target.clone(),
            created,
            replaced,
            deleted,
            metadata_only,
            kept_conflicts: self.conflicts,
            unreadable: Vec::new(),
            bytes: self.bytes,
            actions: self.actions,
            composed: None,
            promised: self.guard == Guard::Promised,
            steady: false,
        }
    }
}

/// Whether an entry in which the comparison found no difference still looks that way.
fn is_as_stored(seen: &Stat, node: &Node) -> bool {
    let same_size = !seen.is_file() || seen.size == node.meta.size;
    seen.is_file() == node.is_file()
        && seen.is_link() == node.is_symlink()
        && same_size
        && node.meta.mtime == Some(timestamp(seen.mtime))
}
