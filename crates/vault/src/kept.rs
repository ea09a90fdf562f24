//! Versions of files that a session destroyed, as a snapshot of their own. Owns how they are
//! stored; knows nothing of journals or of what the versions are good for.
//!
//! Such a snapshot is no state of the folder: [`catalog::list`] does not have it, so that
//! nobody takes it for the newest one, compares with it or goes back to it.

use std::fs::File;
use std::io::{self, Cursor, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use jiff::{SignedDuration, Timestamp};
use rustic_core::repofile::{Metadata, Node, NodeType, SnapshotFile};
use rustic_core::{
    BackupOptions, ParentOptions, ReadSource, ReadSourceEntry, RusticResult, SnapshotGroupCriterion,
};

use crate::beneath::{Dir, MAX_DEPTH};
use crate::catalog::{self, Counts, Labels, Record, Snapshot, SnapshotKind, zoned};
use crate::engine::{Engine, Repo};
use crate::error::{At, Result, VaultError};
use crate::readback;
use crate::scan::file_clock;
use crate::stat::{self, Stat, go_mode, is_component, timestamp_of};

/// How much older than the newest state it is said to be.
const BEFORE: SignedDuration = SignedDuration::from_millis(1);

/// One version.
#[derive(Clone, Debug)]
pub struct KeptFile {
    /// Where it goes in the snapshot; names and slashes, no two alike.
    pub path: Vec<u8>,
    /// Where its content is.
    pub content: KeptContent,
    /// Its permission bits.
    pub mode: u32,
    /// When it had been modified last, in nanoseconds since 1970.
    pub modified: i64,
}

/// A version's content.
#[derive(Clone, Debug)]
pub enum KeptContent {
    /// The first so many bytes of a file.
    File {
        /// The file.
        path: PathBuf,
        /// How many bytes of it.
        length: u64,
    },
    /// These bytes.
    Bytes(Vec<u8>),
}

/// What is to be stored.
#[derive(Clone, Debug)]
pub struct KeepRequest {
    /// The folder; its owner is the owner of the versions.
    pub root: PathBuf,
    /// The session that destroyed them.
    pub session: String,
    /// The present time. The snapshot is dated before the newest state of the folder, if that is earlier.
    pub now: Timestamp,
    /// The versions.
    pub files: Vec<KeptFile>,
}

/// Stores them. The caller holds the writer's lock.
pub(crate) fn make(engine: &Arc<Engine>, request: &KeepRequest) -> Result<Snapshot> {
    let repo = engine.repo()?;
    engine.sweep_unnamed(&repo)?;
    let root = Dir::open_root(&request.root)?;
    let owner = root.stat().at("look at the folder", &request.root)?;
    let source = Source { handed: Arc::default(), files: arranged(&request.files)?, owner };
    let handed = Arc::clone(&source.handed);
    engine.storage.hold();
    let parent = ParentOptions::default().group_by(SnapshotGroupCriterion::new()).force(true);
    let options = BackupOptions::default().parent_opts(parent).no_scan(true);
    let file = SnapshotFile {
        time: zoned(dated(engine, &repo, request.now)?),
        program_version: concat!("ringfence ", env!("CARGO_PKG_VERSION")).to_owned(),
        ..SnapshotFile::default()
    };
    let paths = [request.root.clone()];
    let archived: Result<SnapshotFile> =
        engine.run("storing what was kept", || repo.archive(&options, &source, file, &paths));
    let stored = archived.and_then(|file| whole(&file, &handed).map(|()| file));
    engine.storage.release();
    let file = stored?;
    // It was stored before, and whoever did it was killed before that was of use.
    let twin = catalog::kept(engine, &repo)?.into_iter().find(|known| {
        known.labels.session.as_ref() == Some(&request.session) && known.tree == file.tree
    });
    match twin {
        Some(twin) => {
            engine.tree(&*engine.repo()?, twin.tree)?;
            Ok(twin)
        }
        None => commit(engine, request, (file, &owner), &handed),
    }
}

/// A time before the newest state's: whoever asks stock restic for the latest snapshot wants that.
fn dated(engine: &Engine, repo: &Repo, now: Timestamp) -> Result<Timestamp> {
    let times = catalog::briefs(engine, repo)?.into_iter().map(|state| state.time);
    let newest = times.max().and_then(|newest| newest.checked_sub(BEFORE).ok());
    Ok(newest.map_or(now, |newest| newest.min(now)))
}

fn commit(
    engine: &Engine,
    request: &KeepRequest,
    (mut file, owner): (SnapshotFile, &Stat),
    handed: &Handed,
) -> Result<Snapshot> {
    let labels =
        Labels { kind: SnapshotKind::Kept, session: Some(request.session.clone()), profile: None };
    let record = Record {
        schema: 1,
        labels,
        sequence: 0,
        scanned: file_clock(),
        root: owner.node("".as_ref(), None),
        counts: Counts {
            files: handed.files.load(Ordering::Relaxed),
            directories: handed.directories.load(Ordering::Relaxed),
            others: 0,
            bytes: handed.bytes.load(Ordering::Relaxed),
        },
        unreadable: Vec::new(),
        changed_while_read: Vec::new(),
        unsettled: None,
        excludes: Vec::new(),
        mounted: None,
    };
    file.parents.clear();
    file.description = serde_json::to_string(&record).ok();
    file.tags.add(SnapshotKind::Kept.as_str().to_owned());
    file.tags.add(format!("session={}", request.session));
    let loaded = engine.as_loaded()?;
    engine.run("writing the snapshot", || loaded.repo.save_snapshots(vec![file]))?;
    let id = engine.storage.last_snapshot().ok_or(VaultError::Engine {
        doing: "writing the snapshot",
        detail: "it wrote none".into(),
    })?;
    let snapshot = catalog::load(engine, &loaded.repo, id)?;
    readback::directory(engine, &loaded, snapshot.tree)?;
    Ok(snapshot)
}

/// The files in the order in which the engine wants them: directories whole, sorted by name.
fn arranged(files: &[KeptFile]) -> Result<Vec<KeptFile>> {
    let parts = |file: &KeptFile| -> Vec<Vec<u8>> {
        file.path.split(|byte| *byte == b'/').map(<[u8]>::to_vec).collect()
    };
    let mut sorted: Vec<_> = files.iter().map(|file| (parts(file), file)).collect();
    sorted.sort_by(|a, b| a.0.cmp(&b.0));
    let plain = |parts: &[Vec<u8>]| parts.iter().all(|name| is_component(name));
    if sorted.iter().any(|(parts, _)| !plain(parts) || parts.len() >= MAX_DEPTH) {
        return Err(VaultError::Request("a kept version has no plain path"));
    }
    if sorted.windows(2).any(|pair| pair[1].0.starts_with(&pair[0].0)) {
        return Err(VaultError::Request("two kept versions have one path"));
    }
    Ok(sorted.into_iter().map(|(_, file)| file.clone()).collect())
}

/// The engine drops entries with a log line when something goes wrong with them.
fn whole(file: &SnapshotFile, handed: &Handed) -> Result<()> {
    let summary = file.summary.clone().unwrap_or_default();
    let stored = (
        summary.total_files_processed,
        summary.total_dirs_processed,
        summary.total_bytes_processed,
    );
    let count = |number: &AtomicU64| number.load(Ordering::Relaxed);
    let wanted = (count(&handed.files), count(&handed.directories) + 1, count(&handed.bytes));
    let failed = handed.failed.lock().unwrap_or_else(PoisonError::into_inner).take();
    if stored == wanted && failed.is_none() {
        return Ok(());
    }
    Err(VaultError::Engine {
        doing: "storing what was kept",
        detail: failed.unwrap_or_else(|| format!("it stored {stored:?} of {wanted:?}")),
    })
}

/// What was handed to the engine.
#[derive(Debug, Default)]
struct Handed {
    files: AtomicU64,
    directories: AtomicU64,
    bytes: AtomicU64,
    failed: Mutex<Option<String>>,
}

impl Handed {
    fn fail(&self, path: &Path, error: &io::Error) {
        let why = format!("{}: {error}", path.display());
        self.failed.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(why);
    }
}

struct Source {
    files: Vec<KeptFile>,
    owner: Stat,
    handed: Arc<Handed>,
}

impl ReadSource for Source {
    type Open = Content;
    type Iter = Walk;

    fn size(&self) -> RusticResult<Option<u64>> {
        Ok(None)
    }

    fn entries(&self) -> Walk {
        Walk {
            files: self.files.clone().into_iter().peekable(),
            owner: self.owner,
            handed: Arc::clone(&self.handed),
            at: Vec::new(),
        }
    }
}

/// A version as the engine reads it: exactly as many bytes as its node promises.
struct Content {
    from: From,
    left: u64,
    handed: Arc<Handed>,
}

enum From {
    File(File, PathBuf),
    Bytes(Cursor<Vec<u8>>),
}

impl Read for Content {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(to.len());
        if most == 0 {
            return Ok(0);
        }
        let read = match &mut self.from {
            From::File(file, _) => file.read(&mut to[..most]),
            From::Bytes(bytes) => bytes.read(&mut to[..most]),
        };
        let read = read.and_then(|read| match read {
            0 => Err(io::Error::from(io::ErrorKind::UnexpectedEof)),
            read => Ok(read),
        });
        if let (Err(error), From::File(_, path)) = (&read, &self.from) {
            self.handed.fail(path, error);
        }
        self.left -= *read.as_ref().unwrap_or(&0) as u64;
        read
    }
}

struct Walk {
    files: std::iter::Peekable<std::vec::IntoIter<KeptFile>>,
    owner: Stat,
    handed: Arc<Handed>,
    /// The directory that was entered last.
    at: Vec<Vec<u8>>,
}

impl Walk {
    fn node(&self, name: &[u8], kind: NodeType, mode: u32, modified: Option<i64>) -> Node {
        let time = modified.map(timestamp_of);
        let meta = Metadata {
            mode: Some(go_mode(mode)),
            mtime: time,
            atime: time,
            uid: Some(self.owner.uid),
            gid: Some(self.owner.gid),
            links: u64::from(kind != NodeType::Dir),
            ..Metadata::default()
        };
        Node::new_node(std::ffi::OsStr::from_bytes(name), kind, meta)
    }

    fn file(&mut self, file: KeptFile) -> ReadSourceEntry<Content> {
        let path = PathBuf::from(std::ffi::OsStr::from_bytes(&file.path));
        let name = file.path.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
        let mode = 0o100_000 | file.mode & 0o7777;
        let mut node = self.node(name, NodeType::File, mode, Some(file.modified));
        let (from, left) = match file.content {
            KeptContent::Bytes(bytes) => {
                let length = bytes.len() as u64;
                (From::Bytes(Cursor::new(bytes)), length)
            }
            KeptContent::File { path, length } => match File::open(&path) {
                Ok(open) => {
                    if let Ok(attributes) = stat::attributes(&open) {
                        stat::set_attributes(&mut node, &attributes);
                    }
                    (From::File(open, path), length)
                }
                Err(error) => {
                    self.handed.fail(&path, &error);
                    (From::Bytes(Cursor::default()), 0)
                }
            },
        };
        node.meta.size = left;
        self.handed.files.fetch_add(1, Ordering::Relaxed);
        self.handed.bytes.fetch_add(left, Ordering::Relaxed);
        let open = Some(Content { from, left, handed: Arc::clone(&self.handed) });
        ReadSourceEntry { path, node, open }
    }
}

impl Iterator for Walk {
    type Item = RusticResult<ReadSourceEntry<Content>>;

    fn next(&mut self) -> Option<Self::Item> {
        let next = self.files.peek()?;
        let mut parents: Vec<Vec<u8>> =
            next.path.split(|byte| *byte == b'/').map(<[u8]>::to_vec).collect();
        parents.pop();
        let common = self.at.iter().zip(&parents).take_while(|(a, b)| a == b).count();
        self.at.truncate(common);
        if let Some(name) = parents.get(common) {
            self.at.push(name.clone());
            self.handed.directories.fetch_add(1, Ordering::Relaxed);
            let node = self.node(name, NodeType::Dir, 0o040_700, None);
            let path = self.at.iter().map(|name| std::ffi::OsStr::from_bytes(name)).collect();
            return Some(Ok(ReadSourceEntry { path, node, open: None }));
        }
        let file = self.files.next()?;
        Some(Ok(self.file(file)))
    }
}
