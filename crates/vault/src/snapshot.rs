//! Making a snapshot: scan, passes over what may have changed, commit, read back.
//! Owns the order of these and the promise behind `Ok`: the snapshot is on disk and
//! was read from there.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use jiff::Timestamp;
use rustic_core::repofile::{Node, SnapshotFile};
use rustic_core::{BackupOptions, ParentOptions, SnapshotGroupCriterion, TreeId};
use serde::Serialize;

use crate::beneath::Dir;
use crate::catalog::{
    self, Counts, EntryPath, Labels, MAX_REMARKS, Record, Remark, Snapshot, zoned,
};
use crate::engine::Engine;
use crate::error::{At, Result, VaultError};
use crate::scan::{self, Against, Scan, ancestors, file_clock, young_from};
use crate::source::{Found, Pass, Reuse, Source};
use crate::stat::{self, Stamp};
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
    /// Compare every file by content, trusting no status.
    pub reread: bool,
    /// Receives progress.
    pub progress: Option<Arc<dyn Progress>>,
    /// Stops it.
    pub cancel: Cancel,
}

impl SnapshotRequest {
    /// A request without progress, that trusts file status.
    #[must_use]
    pub fn new(root: &Path, labels: Labels, now: Timestamp) -> Self {
        Self {
            root: root.into(),
            labels,
            now,
            reread: false,
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
    /// How much the folder holds.
    pub counts: Counts,
    /// Files that were read.
    pub files_read: u64,
    /// Bytes that were read.
    pub bytes_read: u64,
    /// Entries that could not be read; none of them looks deleted if it was stored before.
    pub unreadable: Vec<Remark>,
    /// Files that changed during each of three reads, and may be torn.
    pub changed_while_read: Vec<EntryPath>,
}

/// Everything known while a snapshot is being made.
struct Making<'a> {
    engine: &'a Arc<Engine>,
    request: &'a SnapshotRequest,
    watch: Watch,
    root: Arc<Dir>,
    root_node: Node,
    parent: Option<Snapshot>,
    sequence: u64,
    scanned: Stamp,
}

/// The result of the passes.
struct Passed {
    file: SnapshotFile,
    found: Found,
    remarks: BTreeMap<EntryPath, Remark>,
    counts: Counts,
    files_read: u64,
    bytes_read: u64,
}

/// Takes a snapshot. The caller holds the writer's lock.
pub(crate) fn make(engine: &Arc<Engine>, request: &SnapshotRequest) -> Result<SnapshotOutcome> {
    if request.root.to_str().is_none() {
        return Err(VaultError::Folder {
            path: request.root.clone(),
            what: "its path is not UTF-8".into(),
        });
    }
    let root = Dir::open_root(&request.root)?;
    refuse_nesting(engine.storage.dir(), &request.root)?;
    let repo = engine.repo()?;
    let known = catalog::list(engine, &repo)?.snapshots;
    let status = root.stat().at("look at the folder", &request.root)?;
    let mut root_node = status.node("".as_ref(), None);
    let attributes = stat::attributes(&root).at("read the attributes of", &request.root)?;
    stat::set_attributes(&mut root_node, &attributes);
    let making = Making {
        engine,
        request,
        watch: Watch { progress: request.progress.clone(), cancel: request.cancel.clone() },
        root: Arc::new(root),
        root_node,
        // A snapshot of another program is laid out differently.
        parent: known.iter().find(|s| s.scanned.is_some()).cloned(),
        sequence: known.first().map_or(0, |s| s.sequence) + 1,
        scanned: file_clock(),
    };
    making.run()
}

impl Making<'_> {
    fn run(&self) -> Result<SnapshotOutcome> {
        let (scan, clean) = self.scan()?;
        if let (Some(counts), Some(parent)) = (clean, &self.parent)
            && self.root_unchanged(parent)
        {
            return self.unchanged(parent, counts, scan.remarks);
        }
        // Until the last line of `commit` the snapshot exists in memory only.
        let passed = self.passes(scan);
        self.engine.storage.release();
        let passed = passed?;
        if let Some(parent) = self.parent.as_ref().filter(|p| p.tree == passed.file.tree)
            && self.root_unchanged(parent)
        {
            let remarks = passed.remarks.into_values().collect();
            return self.unchanged(parent, passed.counts, remarks);
        }
        self.commit(passed)
    }

    fn scan(&self) -> Result<(Scan, Option<Counts>)> {
        let Some(parent) = &self.parent else { return Ok((Scan::default(), None)) };
        let repo = self.engine.repo()?;
        let young = if self.request.reread { None } else { parent.scanned.map(young_from) };
        let against = Against { engine: self.engine, repo: &repo, young, watch: &self.watch };
        scan::scan(against, &self.root, parent.tree)
    }

    fn root_unchanged(&self, parent: &Snapshot) -> bool {
        let Some(before) = &parent.root else { return false };
        let (a, b) = (&before.meta, &self.root_node.meta);
        (a.mode, a.mtime, a.uid, a.gid) == (b.mode, b.mtime, b.uid, b.gid)
            && a.extended_attributes == b.extended_attributes
    }

    /// Nothing to write; but what is promised instead must be there.
    fn unchanged(
        &self,
        parent: &Snapshot,
        counts: Counts,
        unreadable: Vec<Remark>,
    ) -> Result<SnapshotOutcome> {
        let repo = self.engine.repo()?;
        let snapshot = catalog::load(self.engine, &repo, parent.id.0)?;
        self.engine.tree(&repo, snapshot.tree)?;
        Ok(SnapshotOutcome {
            snapshot,
            unchanged: true,
            counts,
            files_read: 0,
            bytes_read: 0,
            unreadable,
            changed_while_read: Vec::new(),
        })
    }

    fn passes(&self, scan: Scan) -> Result<Passed> {
        let mut remarks = BTreeMap::new();
        let mut denied: HashMap<Vec<u8>, String> = HashMap::new();
        let mut base = self.parent.as_ref().map(|p| (p.id.to_string(), p.tree));
        let mut reuse = Some(Reuse::Clean(scan.clean.clone()));
        let mut counts = None;
        let (mut files_read, mut bytes_read) = (0, 0);
        let (mut reads, mut failures) = (1, 0);
        note(&mut remarks, scan.remarks);
        loop {
            let pass = Arc::new(Pass {
                engine: Arc::clone(self.engine),
                repo: self.engine.repo()?,
                root: Arc::clone(&self.root),
                tree: base.as_ref().map(|b| b.1),
                reuse: reuse.take().unwrap_or_else(|| Reuse::Clean(scan.clean.clone())),
                reread: if reads == 1 { scan.reread.clone() } else { HashSet::new() },
                denied: denied.clone(),
                watch: self.watch.clone(),
                found: Mutex::default(),
                read_bytes: AtomicU64::new(0),
            });
            self.engine.storage.hold();
            let file = self.archive(&pass, base.as_ref().map(|b| b.0.as_str()));
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
            let counts = *counts.get_or_insert(found.counts);
            if found.changed.is_empty() || reads == READS {
                return Ok(Passed { file, found, remarks, counts, files_read, bytes_read });
            }
            reads += 1;
            reuse = Some(Reuse::AllBut(ancestors(&found.changed)));
            base = Some((file.id.to_hex().as_str().to_owned(), file.tree));
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
        let changed: Vec<_> = passed.found.changed.drain(..).map(EntryPath).collect();
        let unreadable: Vec<_> = passed.remarks.into_values().collect();
        let record = Record {
            schema: 1,
            labels: labels.clone(),
            sequence: self.sequence,
            scanned: self.scanned,
            root: self.root_node.clone(),
            counts: passed.counts,
            unreadable: unreadable.iter().take(MAX_REMARKS).cloned().collect(),
            changed_while_read: changed.iter().take(MAX_REMARKS).cloned().collect(),
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
        Ok(SnapshotOutcome {
            snapshot,
            unchanged: false,
            counts: passed.counts,
            files_read: passed.files_read,
            bytes_read: passed.bytes_read,
            unreadable,
            changed_while_read: changed,
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

/// Neither may the folder hold the vault, nor the vault the folder.
fn refuse_nesting(vault: &Path, folder: &Path) -> Result<()> {
    let vault = vault.canonicalize().at("resolve the path of", vault)?;
    let folder = folder.canonicalize().at("resolve the path of", folder)?;
    if vault.starts_with(&folder) || folder.starts_with(&vault) {
        return Err(VaultError::Nested { vault, folder });
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
