//! From the vault's words to those of the API.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ringfence_model::health::{LeftOut, NotCovered};
use ringfence_model::history::{Change, ChangeKind, EntryKind, SnapshotKind, SnapshotView};
use ringfence_vault::{
    Change as VaultChange, DiffEntry, Difference, Entry, EntryKind as VaultEntryKind, EntryPath,
    Excluded, Progress, Snapshot, SnapshotKind as VaultKind, SnapshotOutcome, Step,
};

use super::byte_path;
use crate::supervisor::report::Report;

/// The kind that is stored.
pub(super) const fn to_vault(kind: SnapshotKind) -> VaultKind {
    match kind {
        SnapshotKind::Opening => VaultKind::Opening,
        SnapshotKind::Periodic => VaultKind::Periodic,
        SnapshotKind::Closing => VaultKind::Closing,
        SnapshotKind::BeforeRestore => VaultKind::BeforeRestore,
        SnapshotKind::Manual => VaultKind::Manual,
        SnapshotKind::Kept => VaultKind::Kept,
    }
}

const fn from_vault(kind: VaultKind) -> Option<SnapshotKind> {
    match kind {
        VaultKind::Opening => Some(SnapshotKind::Opening),
        VaultKind::Periodic => Some(SnapshotKind::Periodic),
        VaultKind::Closing => Some(SnapshotKind::Closing),
        VaultKind::BeforeRestore | VaultKind::BeforeUndo => Some(SnapshotKind::BeforeRestore),
        VaultKind::Manual => Some(SnapshotKind::Manual),
        VaultKind::Kept => Some(SnapshotKind::Kept),
        VaultKind::Other => None,
    }
}

/// One snapshot.
pub(crate) fn snapshot(snapshot: &Snapshot) -> SnapshotView {
    SnapshotView {
        id: snapshot.id.to_string(),
        time: snapshot.time,
        kind: from_vault(snapshot.labels.kind),
        session: snapshot.labels.session.clone(),
        profile: snapshot.labels.profile.clone(),
        files: snapshot.counts.files,
        bytes: snapshot.counts.bytes,
        pinned: None,
    }
}

/// What a snapshot does not hold as it is in the folder.
pub(super) fn not_covered(outcome: &SnapshotOutcome) -> NotCovered {
    let named = |path: &EntryPath, why: &str| {
        format!("{}: {why}", ringfence_model::bytes::visible(&path.lossy()))
    };
    let unreadable = outcome.unreadable.iter().map(|remark| named(&remark.path, &remark.why));
    let torn = outcome.changed_while_read.iter();
    let torn = torn.map(|path| named(path, "it changed during every reading"));
    NotCovered {
        unreadable: outcome.unreadable.len() as u64,
        torn: outcome.changed_while_read.len() as u64,
        first: unreadable.chain(torn).take(super::NAMED).collect(),
        excluded: outcome.excluded.iter().flatten().map(left_out).collect(),
    }
}

/// What a pattern leaves out, or would.
pub(super) fn left_out(excluded: &Excluded) -> LeftOut {
    let Excluded { pattern, entries, bytes } = excluded;
    LeftOut { pattern: pattern.clone(), entries: *entries, bytes: *bytes }
}

/// How an entry that both states have differs.
pub(super) fn modified(what: Difference) -> ChangeKind {
    if what.has(Difference::KIND) {
        ChangeKind::TypeChanged
    } else if what.is_content() {
        ChangeKind::Modified
    } else {
        ChangeKind::Metadata
    }
}

/// What an entry is.
pub(super) const fn kind(kind: VaultEntryKind) -> EntryKind {
    match kind {
        VaultEntryKind::File => EntryKind::File,
        VaultEntryKind::Directory => EntryKind::Directory,
        VaultEntryKind::Link => EntryKind::Link,
        VaultEntryKind::Pipe => EntryKind::Pipe,
        VaultEntryKind::Socket => EntryKind::Socket,
        VaultEntryKind::Device => EntryKind::Device,
    }
}

/// One entry that differs.
pub(super) fn change(entry: &DiffEntry) -> Change {
    let size = |entry: &Option<Entry>| {
        entry.as_ref().filter(|entry| entry.kind == VaultEntryKind::File).map(|entry| entry.size)
    };
    Change {
        path: byte_path(&entry.path),
        change: match entry.change {
            VaultChange::Added => ChangeKind::Added,
            VaultChange::Removed => ChangeKind::Deleted,
            VaultChange::Modified(what) => modified(what),
        },
        size_before: size(&entry.before),
        size_after: size(&entry.after),
    }
}

/// Tells what a long operation of a vault does, a few times a second at most.
pub(super) fn progress(report: &Report, what: String) -> Arc<dyn Progress> {
    Arc::new(Told {
        report: report.clone(),
        what,
        entries: AtomicU64::new(0),
        bytes: AtomicU64::new(0),
    })
}

struct Told {
    report: Report,
    what: String,
    entries: AtomicU64,
    bytes: AtomicU64,
}

/// One sentence for so many entries.
const EVERY: u64 = 2_000;
/// One sentence for so many bytes.
const EVERY_BYTES: u64 = 64 * 1024 * 1024;

impl Progress for Told {
    fn step(&self, step: Step) {
        let (counter, by, every) = match step {
            Step::Scanned(by) | Step::Placed(by) => (&self.entries, by, EVERY),
            Step::Read(by) | Step::Written(by) | Step::Copied(by) => (&self.bytes, by, EVERY_BYTES),
            _ => return,
        };
        let before = counter.fetch_add(by, Ordering::Relaxed);
        if before / every != (before + by) / every {
            let entries = self.entries.load(Ordering::Relaxed);
            let bytes = ringfence_model::size::Size::bytes(self.bytes.load(Ordering::Relaxed));
            self.report.progress(format!("{}: {entries} entries, {bytes}", self.what), None);
        }
    }
}
