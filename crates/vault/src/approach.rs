//! How much of a folder is looked at for a snapshot: what changed, or everything. Owns
//! that decision, and looks at nothing itself.

use serde::Serialize;

use crate::catalog::{MAX_REMARKS, Snapshot};
use crate::changes::{ChangeSet, Scope};
use crate::settle::LastLook;

/// How a snapshot came about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "mode", content = "because", rename_all = "kebab-case")]
pub enum SnapshotMode {
    /// There was no earlier snapshot: everything was read.
    First,
    /// Only what the change list named was looked at.
    Changes,
    /// Every entry's status was looked at.
    Walk(WalkReason),
}

/// Why a folder was walked whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum WalkReason {
    /// No change list was given.
    NoChangeList,
    /// It was asked for, to see what the change list had missed.
    Audit,
    /// Contents were to be compared.
    Reread,
    /// The change list is counted from a snapshot that is gone, or newer than the latest.
    UnknownSnapshot,
    /// Another directory has taken the folder's place.
    FolderReplaced,
    /// Other things are left out than in the latest snapshot.
    Excludes,
    /// Too many entries were too young to trust, unreadable or moving at the last look.
    Doubtful,
    /// A file with several names changed, and some of them lie in unnamed directories.
    HardLinks,
}

/// What the decision rests on.
pub(crate) struct Facts<'a> {
    pub(crate) changes: Option<&'a ChangeSet>,
    pub(crate) reread: bool,
    pub(crate) excludes: &'a [String],
    /// The latest snapshot of ours and the look it rests on.
    pub(crate) parent: Option<(&'a Snapshot, &'a LastLook)>,
    /// The place in the order of the snapshot that the change list is counted from, if
    /// there is such a one.
    pub(crate) since: Option<u64>,
    /// The inode of the folder.
    pub(crate) root_inode: u64,
}

/// How a folder is to be looked at.
pub(crate) struct Approach {
    pub(crate) mode: SnapshotMode,
    /// Where to look; everywhere without it.
    pub(crate) scope: Option<Scope>,
    /// Where a change list would have had one look, when a walk is to judge it.
    pub(crate) judged: Option<Scope>,
}

/// Decides. With `audit` a change list that would do is not used but judged.
pub(crate) fn choose(facts: &Facts<'_>, audit: bool) -> Approach {
    let all = |mode| Approach { mode, scope: None, judged: None };
    let Some((parent, look)) = facts.parent else { return all(SnapshotMode::First) };
    match scope(facts, parent, look) {
        Ok(judged) if audit => {
            let mode = SnapshotMode::Walk(WalkReason::Audit);
            Approach { judged: Some(judged), ..all(mode) }
        }
        Ok(scope) => Approach { scope: Some(scope), ..all(SnapshotMode::Changes) },
        Err(why) => all(SnapshotMode::Walk(why)),
    }
}

fn scope(facts: &Facts<'_>, parent: &Snapshot, look: &LastLook) -> Result<Scope, WalkReason> {
    if facts.reread {
        return Err(WalkReason::Reread);
    }
    let changes = facts.changes.ok_or(WalkReason::NoChangeList)?;
    // Changes counted from an older snapshot are more than is needed; from a newer one
    // they would be too few.
    if facts.since.is_none_or(|since| since > parent.sequence) {
        return Err(WalkReason::UnknownSnapshot);
    }
    if parent.root.as_ref().is_none_or(|root| root.meta.inode != facts.root_inode) {
        return Err(WalkReason::FolderReplaced);
    }
    if parent.excludes != facts.excludes {
        return Err(WalkReason::Excludes);
    }
    // What could not be stored as it was is tried again, named or not; of a list that
    // was cut short nobody knows the rest.
    let whole = |length| length < MAX_REMARKS;
    let young = look.unsettled.paths().ok_or(WalkReason::Doubtful)?;
    if !whole(parent.unreadable.len()) || !whole(parent.changed_while_read.len()) {
        return Err(WalkReason::Doubtful);
    }
    let mut scope = changes.scope();
    young.iter().for_each(|path| scope.look_at(path));
    parent.unreadable.iter().for_each(|remark| scope.look_at(&remark.path.0));
    parent.changed_while_read.iter().for_each(|path| scope.look_at(&path.0));
    Ok(scope)
}
