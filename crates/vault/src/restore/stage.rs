//! Writes the new versions of a restore into the private staging directory, checks
//! them, and writes the redo log. Owns everything up to the point of no return;
//! changes nothing in the folder.

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsStr;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Seek, SeekFrom, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use rustic_core::DataId;
use rustic_core::repofile::{Node, NodeType};
use rustix::fs::{AtFlags, CWD, FileType, FlockOperation, Mode, StatxFlags};

use super::log::{self, Header, LogStep, Writer};
use super::plan::Action;
use super::{Follow, RestorePlan, attributes};
use crate::beneath::{Dir, Places, split};
use crate::browse::root_node;
use crate::catalog::EntryPath;
use crate::diff::Lookup;
use crate::engine::{Engine, Repo};
use crate::error::{At, Result, VaultError};
use crate::stat::{Stat, unix_mode};
use crate::watch::Step;

/// Where new versions wait, and where old ones go.
pub(crate) const NEW: &str = "new";
pub(crate) const OLD: &str = "old";
/// Zero blocks of this size become holes.
const HOLE: usize = 4096;
/// So many entries are staged at a time, by so many threads.
const BATCH: usize = 256;
const WORKERS: usize = 4;

/// Whether a restore into `target` could be prepared in `staging`, which need not exist
/// yet: renaming works within one mount only, and the device number alone does not tell.
pub(crate) fn check(staging: &Path, target: &Path) -> Result<()> {
    let mount = |path: &Path| {
        rustix::fs::statx(CWD, path, AtFlags::empty(), StatxFlags::MNT_ID | StatxFlags::BASIC_STATS)
            .map(|s| (s.stx_mnt_id, s.stx_dev_major, s.stx_dev_minor))
            .at("look at", path)
    };
    let existing = staging.ancestors().find(|path| path.exists()).unwrap_or(staging);
    if mount(existing)? == mount(target)? {
        return Ok(());
    }
    Err(VaultError::Staging {
        path: staging.into(),
        what: "it is on another file system than the folder".into(),
    })
}

/// Makes the staging directory ready: private, empty, on the folder's file system, and
/// nobody else's until the descriptor is dropped.
pub(crate) fn prepare(staging: &Path, target: &Path) -> Result<File> {
    let refuse = |what: &str| VaultError::Staging { path: staging.into(), what: what.into() };
    check(staging, target)?;
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(staging)
        .at("make the staging directory", staging)?;
    let alone = alone(staging)?;
    if log::path(staging).exists() {
        return Err(refuse("an unfinished restore waits here to be resumed"));
    }
    wipe(staging)?;
    if fs::read_dir(staging).at("list", staging)?.next().is_some() {
        return Err(refuse("it holds something that is not from a restore"));
    }
    make_dirs(staging)?;
    Ok(alone)
}

/// Makes the directories that entries are moved from and to, where they are missing.
pub(crate) fn make_dirs(staging: &Path) -> Result<()> {
    for sub in [NEW, OLD] {
        let path = staging.join(sub);
        DirBuilder::new().recursive(true).mode(0o700).create(&path).at("make", &path)?;
    }
    Ok(())
}

/// Holds a staging directory against another process of ours: a restore whose daemon was
/// killed may still be at work when the next daemon wants to finish it.
pub(crate) fn alone(staging: &Path) -> Result<File> {
    let directory = File::open(staging).at("open the staging directory", staging)?;
    match rustix::fs::flock(&directory, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(directory),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(VaultError::Staging {
            path: staging.into(),
            what: "another restore is at work in it".into(),
        }),
        Err(e) => Err(e).at("lock the staging directory", staging),
    }
}

/// Removes what a finished or never begun restore left.
pub(crate) fn wipe(staging: &Path) -> Result<()> {
    for sub in [NEW, OLD] {
        let path = staging.join(sub);
        match fs::remove_dir_all(&path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e).at("remove", &path),
            _ => {}
        }
    }
    let unfinished = staging.join("redo.tmp");
    match fs::remove_file(&unfinished) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e).at("remove", &unfinished),
        _ => Ok(()),
    }
}

/// Stages a plan and writes its log.
pub(crate) fn stage(
    engine: &Engine,
    plan: &RestorePlan,
    staging: &Path,
    watch: Follow<'_>,
) -> Result<()> {
    let repo = engine.repo()?;
    let root = Dir::open_root(&plan.target)?;
    let inode = root.stat().at("look at the folder", &plan.target)?.ino;
    let snapshot = plan.state(engine, &repo)?;
    let mut stored = Stored {
        lookup: Lookup::new(engine, &repo, snapshot.tree)?,
        root: root_node(&snapshot),
        vault: engine.storage.dir(),
    };
    let mut stager = Stager {
        maker: Maker {
            engine,
            repo: &repo,
            watch,
            new: Dir::open_root(&staging.join(NEW))?,
            path: staging.join(NEW),
        },
        twins: HashMap::new(),
    };
    let header = Header { schema: 1, target: plan.target.clone(), inode, bytes: plan.bytes };
    let mut writer = Writer::new(staging, &header)?;
    // Removals first, the innermost first: a directory is empty when its turn comes.
    for (number, action) in plan.actions.iter().enumerate().rev() {
        if let Action::Remove { path, seen } = action {
            let path = EntryPath(path.clone());
            writer.step(&LogStep::Remove { number: number as u64, path, seen: *seen })?;
        }
    }
    let mut last = Vec::new();
    let mut number = 0;
    for batch in plan.actions.chunks(BATCH) {
        watch.cancel.check()?;
        let mut waiting = Vec::new();
        for action in batch {
            match action {
                Action::Remove { .. } => {}
                Action::Adjust { path, seen } => {
                    let node = stored.find(path)?;
                    let closes = node.is_dir();
                    let path = EntryPath(path.clone());
                    let step = LogStep::Adjust { path, node: bare(&node), seen: Some(*seen) };
                    // A directory's final mode may close it to us: its turn comes last.
                    if closes { last.push(step) } else { writer.step(&step)? }
                }
                Action::Put { path, seen } => {
                    let node = stored.find(path)?;
                    let path = EntryPath(path.clone());
                    if node.is_dir() {
                        writer.step(&LogStep::MakeDir { path: path.clone() })?;
                        last.push(LogStep::Adjust { path, node: bare(&node), seen: None });
                    } else {
                        waiting.push((number, path, node, *seen));
                    }
                }
            }
            number += 1;
        }
        let inodes = stager.put(&waiting)?;
        for ((number, path, _, seen), inode) in waiting.into_iter().zip(inodes) {
            writer.step(&LogStep::Place { number, path, inode, seen })?;
        }
    }
    let settled = settled(plan, &last, root);
    last.extend(settled);
    // The innermost first.
    last.sort_by_key(|step| std::cmp::Reverse(depth(step)));
    for step in &last {
        writer.step(step)?;
    }
    rustix::fs::syncfs(&stager.maker.new).at("sync", staging)?;
    writer.publish()
}

/// The state that a plan goes back to.
struct Stored<'a> {
    lookup: Lookup<'a>,
    root: Node,
    vault: &'a Path,
}

impl Stored<'_> {
    /// What a path of the plan is to become.
    fn find(&mut self, path: &[u8]) -> Result<Node> {
        if path.is_empty() {
            return Ok(self.root.clone());
        }
        self.lookup.find(path).ok_or_else(|| VaultError::Damaged {
            path: self.vault.into(),
            what: format!("`{}` could not be read again", String::from_utf8_lossy(path)),
        })
    }
}

/// Directories whose content is touched get their present mode and time back, unless
/// the plan removes them or sets these anyway.
fn settled(plan: &RestorePlan, last: &[LogStep], root: Dir) -> Vec<LogStep> {
    if !plan.steady {
        return Vec::new();
    }
    let mut touched = BTreeMap::new();
    let mut set: Vec<&[u8]> = Vec::new();
    let mut places = Places::new(root);
    for action in &plan.actions {
        let path = match action {
            Action::Remove { path, seen } => {
                if seen.is_dir() {
                    set.push(path);
                }
                path
            }
            Action::Put { path, .. } => path,
            Action::Adjust { .. } => continue,
        };
        let parent = split(path).0;
        if path.is_empty() || touched.contains_key(parent) {
            continue;
        }
        if let Ok(stat) = places.dir(parent).and_then(Dir::stat) {
            touched.insert(parent.to_vec(), stat);
        }
    }
    let set_anyway = last.iter().filter_map(|step| match step {
        LogStep::Adjust { path, .. } => Some(path.0.as_slice()),
        _ => None,
    });
    for path in set.into_iter().chain(set_anyway) {
        touched.remove(path);
    }
    let settle = |(path, stat): (Vec<u8>, Stat)| LogStep::Settle {
        path: EntryPath(path),
        mode: stat.mode & 0o7777,
        mtime: stat.mtime,
    };
    touched.into_iter().map(settle).collect()
}

fn depth(step: &LogStep) -> (usize, usize) {
    match step {
        LogStep::Adjust { path, .. } | LogStep::Settle { path, .. } if !path.0.is_empty() => {
            (1 + path.0.iter().filter(|b| **b == b'/').count(), path.0.len())
        }
        _ => (0, 0),
    }
}

/// A node without its content: the log needs the metadata only.
fn bare(node: &Node) -> Box<Node> {
    let mut node = node.clone();
    node.content = None;
    node.subtree = None;
    Box::new(node)
}

/// An entry to stage: the number of its action, where it will go, what it is.
type Waiting = (u64, EntryPath, Node, Option<Stat>);

struct Stager<'a> {
    maker: Maker<'a>,
    /// Entries with several names, by inode: the second name links to the first.
    twins: HashMap<u64, (u64, Node)>,
}

impl Stager<'_> {
    /// Stages some entries, several at a time, and gives their inodes in the same order.
    fn put(&mut self, waiting: &[Waiting]) -> Result<Vec<u64>> {
        let next = AtomicUsize::new(0);
        let maker = &self.maker;
        let work = || -> Result<Vec<(usize, u64)>> {
            let mut made = Vec::new();
            loop {
                let index = next.fetch_add(1, Ordering::Relaxed);
                let Some((number, _, node, _)) = waiting.get(index) else { return Ok(made) };
                if node.meta.links <= 1 {
                    made.push((index, maker.single(*number, node)?));
                }
            }
        };
        let mut inodes = vec![0; waiting.len()];
        let made = std::thread::scope(|scope| {
            let workers: Vec<_> = (0..WORKERS).map(|_| scope.spawn(work)).collect();
            workers.into_iter().map(|worker| worker.join()).collect::<Vec<_>>()
        });
        for worker in made {
            let lost = |_| VaultError::Engine { doing: "staging", detail: "it panicked".into() };
            for (index, inode) in worker.map_err(lost)?? {
                inodes[index] = inode;
            }
        }
        // One name after the other, because the second links to the first.
        for (index, (number, _, node, _)) in waiting.iter().enumerate() {
            if node.meta.links > 1 {
                inodes[index] = self.shared(*number, node)?;
            }
        }
        Ok(inodes)
    }

    /// Stages an entry that has several names.
    fn shared(&mut self, number: u64, node: &Node) -> Result<u64> {
        if let Some((first, twin)) = self.twins.get(&node.meta.inode)
            && twin.content == node.content
            && twin.node_type == node.node_type
        {
            return self.maker.link(*first, number);
        }
        self.twins.insert(node.meta.inode, (number, node.clone()));
        self.maker.single(number, node)
    }
}

/// Makes single entries in staging, also on several threads.
struct Maker<'a> {
    engine: &'a Engine,
    repo: &'a Repo,
    watch: Follow<'a>,
    new: Dir,
    path: PathBuf,
}

impl Maker<'_> {
    /// Stages one entry and gives its inode.
    fn single(&self, number: u64, node: &Node) -> Result<u64> {
        self.watch.cancel.check()?;
        let name = number.to_string();
        let place = self.path.join(&name);
        self.make(&name, &place, node)?;
        attributes::set_all(&self.new, OsStr::new(&name), node)
            .at("set the attributes of", &place)?;
        Ok(self.new.stat_at(OsStr::new(&name)).at("look at", &place)?.ino)
    }

    /// Stages another name of an entry.
    fn link(&self, first: u64, number: u64) -> Result<u64> {
        let name = number.to_string();
        let place = self.path.join(&name);
        rustix::fs::linkat(&self.new, first.to_string(), &self.new, &name, AtFlags::empty())
            .at("link", &place)?;
        Ok(self.new.stat_at(OsStr::new(&name)).at("look at", &place)?.ino)
    }

    fn make(&self, name: &str, place: &Path, node: &Node) -> Result<()> {
        let special = |kind, device| {
            let mode = Mode::from_raw_mode(unix_mode(node.meta.mode.unwrap_or(0o600)));
            rustix::fs::mknodat(&self.new, name, kind, mode, device)
                .at("make the special file", place)
        };
        match &node.node_type {
            NodeType::File => self.write(place, node),
            NodeType::Symlink { .. } => {
                let target = node.node_type.to_link().as_os_str().as_bytes();
                rustix::fs::symlinkat(target, &self.new, name).at("make the link", place)
            }
            NodeType::Fifo => special(FileType::Fifo, 0),
            NodeType::Socket => special(FileType::Socket, 0),
            NodeType::Dev { device } => special(FileType::BlockDevice, *device),
            NodeType::Chardev { device } => special(FileType::CharacterDevice, *device),
            NodeType::Dir => Err(VaultError::Request("a directory is not staged")),
        }
    }

    fn write(&self, place: &Path, node: &Node) -> Result<()> {
        let content: &[DataId] = node.content.as_deref().unwrap_or_default();
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(place)
            .at("write", place)?;
        let mut sparse = Sparse { file, length: 0 };
        self.engine.copy_content(self.repo, content, &mut |piece| {
            sparse.write(piece)?;
            self.watch.step(Step::Written(piece.len() as u64));
            Ok(())
        })?;
        let mut file = sparse.finish().at("write", place)?;
        let whole = file.seek(SeekFrom::Start(0)).is_ok()
            && Stat::of(&file).is_ok_and(|s| s.size == node.meta.size)
            && self.engine.reads_as(self.repo, content, &mut file);
        if whole {
            return Ok(());
        }
        Err(VaultError::Damaged {
            path: self.engine.storage.dir().into(),
            what: format!("`{}` did not read back as it was stored", node.name().to_string_lossy()),
        })
    }
}

/// Writes a file and leaves holes where it is zero.
struct Sparse {
    file: File,
    length: u64,
}

impl Sparse {
    fn write(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            // Runs end where a file block ends, so that a hole is a whole block.
            let first = HOLE - usize::try_from(self.length % HOLE as u64).unwrap_or(0);
            let zero = |block: &[u8]| block.iter().all(|b| *b == 0);
            let mut end = first.min(bytes.len());
            let hole = zero(&bytes[..end]);
            while end < bytes.len() {
                let next = (end + HOLE).min(bytes.len());
                if zero(&bytes[end..next]) != hole {
                    break;
                }
                end = next;
            }
            if hole {
                self.file.seek(SeekFrom::Current(i64::try_from(end).unwrap_or(0)))?;
            } else {
                self.file.write_all(&bytes[..end])?;
            }
            self.length += end as u64;
            bytes = &bytes[end..];
        }
        Ok(())
    }

    fn finish(self) -> io::Result<File> {
        self.file.set_len(self.length)?;
        Ok(self.file)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt;

    #[test]
    fn zeros_become_holes_and_the_bytes_stay() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        let mut bytes = vec![0u8; 1 << 20];
        bytes[300_000..300_010].fill(7);
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .open(&path)
            .unwrap();
        let mut sparse = Sparse { file, length: 0 };
        for piece in bytes.chunks(70_001) {
            sparse.write(piece).unwrap();
        }
        sparse.finish().unwrap();
        assert_eq!(fs::read(&path).unwrap(), bytes);
        assert!(fs::metadata(&path).unwrap().blocks() * 512 < 200_000);
    }
}
