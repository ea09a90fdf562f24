//! Making a snapshot: scan, passes over what may have changed, commit, read back.
//! Owns the order of these and the promise behind `Ok`: the snapshot is on disk and
//! was read from there.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use jiff::Timestamp;
use rustic_core::repofile::SnapshotFile;
use rustic_core::{BackupOptions, ParentOptions, SnapshotGroupCriterion, TreeId};
use serde::Serialize;

use crate::approach::{self, Approach, Facts, SnapshotMode, WalkReason};
use crate::catalog::{
    self, Counts, EntryPath, Labels, MAX_REMARKS, Record, Remark, Snapshot, zoned,
};
use crate::changes::{ChangeSet, Scope};
use crate::engine::Engine;
use crate::error::{At, Result, VaultError};
use crate::excludes::{Excluded, Excludes};
use crate::root::Root;
use crate::scan::{self, Against, Missed, Scan, ancestors, file_clock, young_from};
use crate::settle::{LastLook, Unsettled};
use crate::source::{Found, Pass, Reuse, Source};
use crate::stat::Stamp;
use crate::tally;
use crate::watch::{Cancel, Progress, Watch};

/// A file that changes while it is read is read this often.
const READS: usize = 3;
/// So many passes may fail to read something new before the snapshot is given up.
const FAILURES: usize = 8;

/// What to take a snapshot of.
#[derive(Clone)]
pub struct SnapshotRequest {
    /// The folder: an absolute path in UTF-8 to a directory, no link.
    pub root: PathBuf,
    /// Labels to store with it.
    pub labels: Labels,
    /// The time to store with it.
    pub now: Timestamp,
    /// What may have changed since an earlier snapshot; without it, or where it cannot
    /// be enough, every entry is looked at. [`SnapshotOutcome::mode`] says which it was.
    pub changes: Option<ChangeSet>,
    /// Look at everything all the same, and report what the change list had missed.
    pub audit: bool,
    /// Compare every file by content, trusting no status.
    pub reread: bool,
    /// What is left out, in the language of a `.gitignore` file. Only ever from the
    /// user's own configuration: whoever writes them decides what is not backed up.
    pub excludes: Vec<String>,
    /// Somebody confirmed that another directory or mount has the folder's place now.
    pub replaced: bool,
    /// Receives progress.
    pub progress: Option<Arc<dyn Progress>>,
    /// Stops it.
    pub cancel: Cancel,
}

impl SnapshotRequest {
    /// A request without progress, that looks at everything and trusts file status.
    #[must_use]
    pub fn new(root: &Path, labels: Labels, now: Timestamp) -> Self {
        Self {
            root: root.into(),
            labels,
            now,
            changes: None,
            audit: false,
            reread: false,
            excludes: Vec::new(),
            replaced: false,
            progress: None,
            cancel: Cancel::default(),
        }
    }
}

/// What came of a [`SnapshotRequest`].
#[derive(Clone, Debug, Serialize)]
pub struct SnapshotOutcome {
    /// The snapshot that now holds the folder: a new one, or the latest if nothing changed.
    pub snapshot: Snapshot,
    /// Nothing changed since the latest snapshot, so none was written.
    pub unchanged: bool,
    /// How much of the folder was looked at, and why.
    pub mode: SnapshotMode,
    /// How much the snapshot holds.
    pub counts: Counts,
    /// Files that were read.
    pub files_read: u64,
    /// Bytes that were read.
    pub bytes_read: u64,
    /// Entries that could not be read; none of them looks deleted if it was stored before.
    pub unreadable: Vec<Remark>,
    /// Files that changed during each of three reads, and may be torn.
    pub changed_while_read: Vec<EntryPath>,
    /// After an audit with a usable change list: what that list had missed.
    pub missed: Option<Missed>,
    /// What each pattern leaves out; only counted when everything was looked at.
    pub excluded: Option<Vec<Excluded>>,
}

/// Everything known while a snapshot is being made.
struct Making<'a> {
    engine: &'a Arc<Engine>,
    request: &'a SnapshotRequest,
    watch: Watch,
    root: Root,
    excludes: Arc<Excludes>,
    parent: Option<Snapshot>,
    /// The look that the parent rests on.
    look: Option<LastLook>,
    sequence: u64,
    scanned: Stamp,
}

/// What a pass is built on.
struct Base {
    /// Id of a snapshot, or the beginning of one, as the engine takes it.
    id: String,
    tree: TreeId,
    counts: Counts,
}

/// The result of the passes.
struct Passed {
    file: SnapshotFile,
    mode: SnapshotMode,
    changed: Vec<Vec<u8>>,
    remarks: BTreeMap<EntryPath, Remark>,
    unsettled: Unsettled,
    counts: Counts,
    files_read: u64,
    bytes_read: u64,
}

/// Takes a snapshot. The caller holds the writer's lock.
pub(crate) fn make(engine: &Arc<Engine>, request: &SnapshotRequest) -> Result<SnapshotOutcome> {
    let root = Root::open(&request.root, engine.storage.dir())?;
    let excludes = Arc::new(Excludes::new(&request.excludes)?);
    let repo = engine.repo()?;
    engine.sweep_unnamed(&repo)?;
    let known = catalog::briefs(engine, &repo)?;
    // A snapshot of another program is laid out differently; one that was damaged since
    // it was first read is passed over.
    let parent =
        known.iter().filter(|b| b.ours).find_map(|b| catalog::load(engine, &repo, b.id).ok());
    if let Some(parent) = parent.as_ref().filter(|_| !request.replaced) {
        root.refuse_stranger(&request.root, parent)?;
    }
    let last = engine.looked().clone();
    let making = Making {
        engine,
        request,
        watch: Watch { progress: request.progress.clone(), cancel: request.cancel.clone() },
        root,
        excludes,
        look: parent.as_ref().and_then(|parent| {
            last.filter(|l| l.snapshot == parent.id.0).or_else(|| LastLook::recorded(parent))
        }),
        parent,
        sequence: known.first().map_or(0, |s| s.sequence) + 1,
        scanned: file_clock(),
    };
    let since = request.changes.as_ref().map(ChangeSet::since);
    let facts = Facts {
        changes: request.changes.as_ref(),
        reread: request.reread,
        excludes: &request.excludes,
        parent: making.parent.as_ref().zip(making.look.as_ref()),
        since: known.iter().find(|b| Some(b.id) == since.map(|id| id.0)).map(|b| b.sequence),
        root_inode: making.root.stat.ino,
    };
    let mut outcome = making.run(approach::choose(&facts, request.audit))?;
    if outcome.mode != SnapshotMode::Changes {
        let root = making.root.dir.again().at("open the folder", &request.root)?;
        outcome.excluded = Some(making.excludes.measure(root, &request.cancel)?);
    }
    Ok(outcome)
}

impl Making<'_> {
    fn run(&self, approach: Approach) -> Result<SnapshotOutcome> {
        let (mode, audit) = (approach.mode, approach.judged.is_some());
        let scan = match &self.parent {
            Some(parent) => self.scan(parent, approach)?,
            None => Scan::default(),
        };
        let missed = audit.then(|| scan.missed.clone());
        let outcome = self.outcome(scan, mode)?;
        Ok(SnapshotOutcome { missed, ..outcome })
    }

    fn outcome(&self, scan: Scan, mode: SnapshotMode) -> Result<SnapshotOutcome> {
        let mut remarks = BTreeMap::new();
        note(&mut remarks, scan.remarks.clone());
        if let Some(parent) = self.parent.as_ref().filter(|_| scan.all_clean)
            && self.says_the_same(parent, &remarks, &[])
        {
            return self.unchanged(parent, mode, remarks, scan.unsettled);
        }
        // Until the last line of `commit` the snapshot exists in memory only.
        let passed = self.passes(scan, mode, remarks);
        self.engine.storage.release();
        let passed = passed?;
        if let Some(parent) = self.parent.as_ref().filter(|p| p.tree == passed.file.tree)
            && self.says_the_same(parent, &passed.remarks, &passed.changed)
        {
            let outcome = self.unchanged(parent, passed.mode, passed.remarks, passed.unsettled)?;
            let (files_read, bytes_read) = (passed.files_read, passed.bytes_read);
            return Ok(SnapshotOutcome { files_read, bytes_read, ..outcome });
        }
        self.commit(passed)
    }

    fn scan(&self, parent: &Snapshot, mut approach: Approach) -> Result<Scan> {
        if let Some(scope) = approach.scope.as_mut().filter(|scope| scope.is_empty()) {
            if self.root.unchanged_since(parent) {
                return Ok(Scan { all_clean: true, ..Scan::default() });
            }
            scope.look_at(b"");
        }
        self.compare(parent.tree, approach.scope.as_ref(), approach.judged.as_ref())
    }

    fn compare(&self, tree: TreeId, scope: Option<&Scope>, judged: Option<&Scope>) -> Result<Scan> {
        let repo = self.engine.repo()?;
        let look = self.look.as_ref().filter(|_| !self.request.reread);
        let against = Against {
            engine: self.engine,
            repo: &repo,
            young: look.map(|l| young_from(l.scanned)),
            fresh: young_from(self.scanned),
            scope,
            judged,
            excludes: &self.excludes,
            watch: &self.watch,
        };
        scan::scan(against, &self.root.dir, tree)
    }

    /// Whether the parent says all that a snapshot of the same entries would say.
    fn says_the_same(
        &self,
        parent: &Snapshot,
        remarks: &BTreeMap<EntryPath, Remark>,
        changed: &[Vec<u8>],
    ) -> bool {
        self.root.unchanged_since(parent)
            && parent.excludes == self.request.excludes
            && remarks.values().take(MAX_REMARKS).eq(&parent.unreadable)
            && changed.iter().take(MAX_REMARKS).eq(parent.changed_while_read.iter().map(|p| &p.0))
    }

    /// Nothing to write; but what is promised instead must be there.
    fn unchanged(
        &self,
        parent: &Snapshot,
        mode: SnapshotMode,
        remarks: BTreeMap<EntryPath, Remark>,
        unsettled: Unsettled,
    ) -> Result<SnapshotOutcome> {
        let repo = self.engine.repo()?;
        let snapshot = catalog::load(self.engine, &repo, parent.id.0)?;
        self.engine.tree(&repo, snapshot.tree)?;
        self.looked(&snapshot, unsettled);
        Ok(SnapshotOutcome {
            unchanged: true,
            mode,
            counts: snapshot.counts,
            files_read: 0,
            bytes_read: 0,
            unreadable: remarks.into_values().collect(),
            changed_while_read: snapshot.changed_while_read.clone(),
            missed: None,
            excluded: None,
            snapshot,
        })
    }

    /// Remembers that the folder was as this snapshot holds it.
    fn looked(&self, snapshot: &Snapshot, unsettled: Unsettled) {
        let look = LastLook { snapshot: snapshot.id.0, scanned: self.scanned, unsettled };
        *self.engine.looked() = Some(look);
    }

    fn passes(
        &self,
        scan: Scan,
        mut mode: SnapshotMode,
        mut remarks: BTreeMap<EntryPath, Remark>,
    ) -> Result<Passed> {
        let mut denied: HashMap<Vec<u8>, String> = HashMap::new();
        let mut base = self.parent.as_ref().map(|parent| Base {
            id: parent.id.to_string(),
            tree: parent.tree,
            counts: parent.counts,
        });
        let (mut reuse, mut reread) = (Arc::new(Reuse::Clean(scan.clean)), Arc::new(scan.reread));
        let mut unsettled = scan.unsettled;
        let (mut files_read, mut bytes_read) = (0, 0);
        let (mut reads, mut failures) = (1, 0);
        loop {
            let pass = Arc::new(Pass {
                engine: Arc::clone(self.engine),
                repo: self.engine.repo()?,
                root: Arc::clone(&self.root.dir),
                excludes: Arc::clone(&self.excludes),
                tree: base.as_ref().map(|b| b.tree),
                reuse: Arc::clone(&reuse),
                reread: Arc::clone(&reread),
                denied: denied.clone(),
                fresh: young_from(self.scanned),
                watch: self.watch.clone(),
                found: Mutex::default(),
                read_bytes: AtomicU64::new(0),
            });
            self.engine.storage.hold();
            let file = self.archive(&pass, base.as_ref().map(|b| b.id.as_str()));
            let mut found = pass.take_found();
            self.watch.cancel.check()?;
            files_read += found.opened;
            bytes_read += pass.read_bytes.load(Ordering::Relaxed);
            if !found.failed.is_empty() && failures < FAILURES {
                failures += 1;
                denied.extend(found.failed);
                continue;
            }
            let file = file?;
            complete(&file, &found)?;
            note(&mut remarks, std::mem::take(&mut found.remarks));
            unsettled.merge(std::mem::take(&mut found.unsettled));
            let counts = self.counts(base.as_ref(), &found, file.tree)?;
            let id = file.id.to_hex().as_str().to_owned();
            if mode == SnapshotMode::Changes && found.twins.some_unseen() {
                mode = SnapshotMode::Walk(WalkReason::HardLinks);
                let scan = self.compare(file.tree, None, None)?;
                note(&mut remarks, scan.remarks);
                unsettled.merge(scan.unsettled);
                (reuse, reread) = (Arc::new(Reuse::Clean(scan.clean)), Arc::new(scan.reread));
                base = Some(Base { id, tree: file.tree, counts });
                continue;
            }
            if found.changed.is_empty() || reads == READS {
                let mut changed = found.changed;
                changed.sort_unstable();
                #[rustfmt::skip]
                return Ok(Passed {
                    file, mode, changed, remarks, unsettled, counts, files_read, bytes_read,
                });
            }
            reads += 1;
            reuse = Arc::new(Reuse::AllBut(ancestors(&found.changed)));
            reread = Arc::default();
            base = Some(Base { id, tree: file.tree, counts });
        }
    }

    /// What the tree of a pass holds.
    fn counts(&self, base: Option<&Base>, found: &Found, tree: TreeId) -> Result<Counts> {
        let before = base.map_or(Counts::default(), |b| b.counts);
        match found.tally.applied_to(before).filter(|_| !found.uncounted) {
            Some(counts) => Ok(counts),
            None => tally::count(self.engine, &*self.engine.repo()?, tree),
        }
    }

    fn archive(&self, pass: &Arc<Pass>, base: Option<&str>) -> Result<SnapshotFile> {
        let mut parent = ParentOptions::default()
            .group_by(SnapshotGroupCriterion::new())
            // The engine compares inodes when told to ignore them.
            .ignore_inode(true);
        match base {
            Some(id) => parent.parents = vec![id.to_owned()],
            None => parent.force = true,
        }
        let options = BackupOptions::default().parent_opts(parent).no_scan(true);
        let file = SnapshotFile {
            time: zoned(self.request.now),
            program_version: concat!("ringfence ", env!("CARGO_PKG_VERSION")).to_owned(),
            ..SnapshotFile::default()
        };
        let source = Source(Arc::clone(pass));
        let paths = [self.request.root.clone()];
        self.engine.run("storing the folder", || pass.repo.archive(&options, &source, file, &paths))
    }

    fn commit(&self, mut passed: Passed) -> Result<SnapshotOutcome> {
        let labels = &self.request.labels;
        let changed: Vec<_> = passed.changed.drain(..).map(EntryPath).collect();
        let unreadable: Vec<_> = passed.remarks.into_values().collect();
        let record = Record {
            schema: 1,
            labels: labels.clone(),
            sequence: self.sequence,
            scanned: self.scanned,
            root: self.root.node.clone(),
            counts: passed.counts,
            unreadable: unreadable.iter().take(MAX_REMARKS).cloned().collect(),
            changed_while_read: changed.iter().take(MAX_REMARKS).cloned().collect(),
            unsettled: passed.unsettled.recorded(),
            excludes: self.excludes.patterns().to_vec(),
            mounted: self.root.mounted,
        };
        let mut file = passed.file;
        file.parent = self.parent.as_ref().map(|p| p.id.0.into());
        file.parents.clear();
        file.description = serde_json::to_string(&record).ok();
        file.tags.add(labels.kind.as_str().to_owned());
        for (name, value) in [("session", &labels.session), ("profile", &labels.profile)] {
            if let Some(value) = value {
                file.tags.add(format!("{name}={value}"));
            }
        }
        let engine = self.engine;
        let repo = engine.repo()?;
        engine.run("writing the snapshot", || repo.save_snapshots(vec![file]))?;
        let id = engine.storage.last_snapshot().ok_or(VaultError::Engine {
            doing: "writing the snapshot",
            detail: "it wrote none".into(),
        })?;
        let snapshot = catalog::load(engine, &repo, id)?;
        engine.tree(&repo, snapshot.tree)?;
        self.looked(&snapshot, passed.unsettled);
        Ok(SnapshotOutcome {
            snapshot,
            unchanged: false,
            mode: passed.mode,
            counts: passed.counts,
            files_read: passed.files_read,
            bytes_read: passed.bytes_read,
            unreadable,
            changed_while_read: changed,
            missed: None,
            excluded: None,
        })
    }
}

fn note(remarks: &mut BTreeMap<EntryPath, Remark>, more: Vec<Remark>) {
    remarks.extend(more.into_iter().map(|r| (r.path.clone(), r)));
}

/// The engine drops entries with a log line when something goes wrong with them. A
/// snapshot that does not hold exactly what was handed over is never committed.
fn complete(file: &SnapshotFile, found: &Found) -> Result<()> {
    let summary = file.summary.clone().unwrap_or_default();
    let stored = (summary.total_files_processed, summary.total_dirs_processed);
    let handed = (found.leaves, found.entered + 1);
    if stored != handed || found.opened != found.to_read || !found.failed.is_empty() {
        let first = found
            .failed
            .first()
            .map(|(path, why)| format!("; `{}`: {why}", String::from_utf8_lossy(path)));
        return Err(VaultError::Engine {
            doing: "storing the folder",
            detail: format!(
                "it stored {stored:?} of {handed:?} entries and read {} of {} files{}",
                found.opened,
                found.to_read,
                first.unwrap_or_default()
            ),
        });
    }
    Ok(())
}

/// The tree of a snapshot, for tests that compare trees across vaults.
impl Snapshot {
    /// Identity of the stored folder content and metadata: equal trees are equal folders.
    #[must_use]
    pub fn tree_id(&self) -> String {
        let tree: TreeId = self.tree;
        tree.to_hex().as_str().to_owned()
    }
}
