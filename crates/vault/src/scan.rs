//! Finds what may have changed since a snapshot, by looking at every entry's status
//! and reading no content. Owns the rule when a stored directory may stand for a live
//! one; writes nothing.
//!
//! Every directory is listed and every entry's status compared with its stored node:
//! type, inode, size, mode, owner, modification and change time. A directory in which
//! all of that is equal, all the way down, is *clean*: the snapshot may point at the
//! stored copy. With a scope only the directories in it are listed, and the others are
//! taken for clean as long as they are the stored directories. A status that is too young is not trusted: a file written twice
//! within one tick of the file clock keeps its times, so anything whose change time
//! is not clearly older than the stored scan is compared by content.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;

use rustic_core::TreeId;
use rustic_core::repofile::{Node, NodeType};
use serde::Serialize;

use crate::beneath::{Dir, MAX_DEPTH, join};
use crate::catalog::{EntryPath, MAX_REMARKS, Remark};
use crate::changes::{Look, Scope};
use crate::engine::{Engine, Repo};
use crate::error::Result;
use crate::excludes::Excludes;
use crate::settle::Unsettled;
use crate::stat::{self, Stamp, Stat};
use crate::watch::{Step, Watch};

/// Twice the coarsest tick of the kernel's file clock (100 per second).
const TWO_TICKS_NANOS: i128 = 20_000_000;

/// What a scan found out.
#[derive(Debug, Default)]
pub(crate) struct Scan {
    /// Nothing differs from the stored state.
    pub(crate) all_clean: bool,
    /// The topmost clean directories.
    pub(crate) clean: HashSet<Vec<u8>>,
    /// Files whose status is equal but whose content is not.
    pub(crate) reread: HashSet<Vec<u8>>,
    /// Entries that could not be looked at.
    pub(crate) remarks: Vec<Remark>,
    /// Entries as young as the scan.
    pub(crate) unsettled: Unsettled,
    /// What the judged scope would have missed.
    pub(crate) missed: Missed,
}

/// Changes that a change list did not name, found by a full walk. A directory that came
/// or went counts once. Changes during the walk itself are not counted where their times
/// tell; one from between the end of the list and the walk looks like a missed one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Missed {
    /// How many.
    pub count: u64,
    /// Some of them, at most [`MAX_REMARKS`].
    pub paths: Vec<EntryPath>,
}

/// The stored state to compare with.
#[derive(Clone, Copy)]
pub(crate) struct Against<'a> {
    pub(crate) engine: &'a Engine,
    pub(crate) repo: &'a Repo,
    /// Change times from here on are too young to trust; `None` trusts none.
    pub(crate) young: Option<Stamp>,
    /// Change times from here on will be too young to trust next time.
    pub(crate) fresh: Stamp,
    /// Where to look; `None` looks everywhere.
    pub(crate) scope: Option<&'a Scope>,
    /// A scope to be judged while everything is looked at.
    pub(crate) judged: Option<&'a Scope>,
    pub(crate) excludes: &'a Excludes,
    pub(crate) watch: &'a Watch,
}

/// The file clock's reading before which a change time is old enough, for a scan
/// that began at `scanned`.
pub(crate) fn young_from(scanned: Stamp) -> Stamp {
    let total = i128::from(scanned.0) * 1_000_000_000 + i128::from(scanned.1) - TWO_TICKS_NANOS;
    let seconds = i64::try_from(total.div_euclid(1_000_000_000)).unwrap_or(i64::MIN);
    (seconds, u32::try_from(total.rem_euclid(1_000_000_000)).unwrap_or(0))
}

/// The clock that stamps files. Not the caller's clock: it is only ever compared with
/// change times that the same kernel wrote.
pub(crate) fn file_clock() -> Stamp {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::RealtimeCoarse);
    (now.tv_sec, u32::try_from(now.tv_nsec).unwrap_or(0))
}

/// Scans a folder, or the part of it that may have changed.
pub(crate) fn scan(against: Against<'_>, root: &Dir, tree: TreeId) -> Result<Scan> {
    let Ok(status) = root.stat() else { return Ok(Scan::default()) };
    let mut scanner = Scanner { against, device: status.dev, scan: Scan::default() };
    let whole = against.scope.is_none_or(|scope| scope.of(b"") == Look::Whole);
    let seen = against.judged.map_or(Look::Whole, |judged| judged.of(b""));
    let below = Below { tree, depth: 0, whole, seen };
    scanner.scan.all_clean = scanner.directory(root, &[], below)?;
    Ok(scanner.scan)
}

struct Scanner<'a> {
    against: Against<'a>,
    device: u64,
    scan: Scan,
}

/// A directory to be compared.
#[derive(Clone, Copy)]
struct Below {
    tree: TreeId,
    depth: usize,
    /// Everything below it is looked at, whatever the scope says.
    whole: bool,
    /// How the scope that is judged would have looked at it.
    seen: Look,
}

impl Scanner<'_> {
    /// Whether a directory is clean.
    fn directory(&mut self, dir: &Dir, path: &[u8], below: Below) -> Result<bool> {
        self.against.watch.cancel.check()?;
        // A stored directory that cannot be read is no reason to fail: it is made again.
        let Ok(stored) = self.against.engine.tree(self.against.repo, below.tree) else {
            return Ok(false);
        };
        let names = match dir.names() {
            Ok(names) => self.against.excludes.keep(dir, path, names),
            Err(e) => return Ok(self.keep(path, &e)),
        };
        self.against.watch.step(Step::Scanned(names.len() as u64));
        let mut clean = names.len() == stored.len();
        let mut clean_dirs = Vec::new();
        let mut stored = stored.iter().peekable();
        for name in &names {
            while let Some(gone) = stored.next_if(|n| *n.name() < **name) {
                self.gone(dir, join(path, &gone.name()), below);
            }
            let here = join(path, name);
            let Some(node) = stored.next_if(|n| *n.name() == **name) else {
                clean = false;
                self.differs(|| dir.stat_at(name), &here, below);
                continue;
            };
            let stat = match dir.stat_at(name) {
                Ok(stat) => stat,
                Err(e) if e.kind() == io::ErrorKind::NotFound => {
                    clean = false;
                    continue;
                }
                Err(e) => {
                    self.keep(&here, &e);
                    continue;
                }
            };
            if stat.ctime >= self.against.fresh {
                self.scan.unsettled.note(&here);
            }
            if let (true, Some(tree)) = (stat.is_dir(), node.subtree) {
                let depth = below.depth + 1;
                let look = self.look(self.against.scope, &here, (&stat, node), below.whole);
                let seen = match below.seen {
                    Look::Reuse => Look::Reuse,
                    seen => {
                        self.look(self.against.judged, &here, (&stat, node), seen == Look::Whole)
                    }
                };
                let child = (look != Look::Reuse).then(|| Below {
                    tree,
                    depth,
                    whole: look == Look::Whole,
                    seen,
                });
                let below_clean = child.map_or(Ok(true), |b| self.child(dir, name, &here, b))?;
                let same = self.dir_attributes_equal(dir, name, (&stat, node));
                // Times move with what is below, which is judged by itself.
                if !same || !stat.same_but_times(node) {
                    self.differs(|| Ok(stat), &here, below);
                }
                clean &= below_clean && same && stat.matches(node);
                if below_clean {
                    clean_dirs.push(here);
                }
            } else if !self.entry_equal(dir, name, &here, (&stat, node)) {
                clean = false;
                self.differs(|| Ok(stat), &here, below);
            }
        }
        for gone in stored {
            self.gone(dir, join(path, &gone.name()), below);
        }
        // The folder itself is never taken over as a whole, so its parts are always named.
        if !clean || path.is_empty() {
            self.scan.clean.extend(clean_dirs);
        }
        Ok(clean)
    }

    /// How much of a directory has to be looked at. Another directory under the same
    /// name, or what may be another file system, shares nothing with what is stored;
    /// and a status that differs tells of a change that the list does not name.
    fn look(
        &self,
        scope: Option<&Scope>,
        path: &[u8],
        (stat, node): (&Stat, &Node),
        whole: bool,
    ) -> Look {
        let Some(scope) = scope.filter(|_| !whole) else { return Look::Whole };
        let stored = node.subtree.is_some_and(|t| Engine::has_tree(self.against.repo, t));
        if !stored || !stat.is_directory_of(node) || stat.dev != self.device {
            return Look::Whole;
        }
        match scope.of(path) {
            Look::Reuse if !stat.matches(node) => Look::List,
            look => look,
        }
    }

    fn child(&mut self, dir: &Dir, name: &OsStr, path: &[u8], below: Below) -> Result<bool> {
        if below.depth >= MAX_DEPTH {
            return Ok(self.keep(path, &io::Error::other("nested too deeply")));
        }
        match dir.open_dir(name) {
            Ok(child) => self.directory(&child, path, below),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(e) => Ok(self.keep(path, &e)),
        }
    }

    fn entry_equal(&mut self, dir: &Dir, name: &OsStr, path: &[u8], both: (&Stat, &Node)) -> bool {
        let (stat, node) = both;
        if !stat.matches(node) {
            return false;
        }
        let content = node.content.as_deref().unwrap_or_default();
        if stat.is_file() && !Engine::has_content(self.against.repo, content) {
            return false;
        }
        if !self.is_young(stat) {
            return true;
        }
        if stat.is_link() {
            return dir
                .read_link(name)
                .is_ok_and(|t| NodeType::from_link(t.as_ref()) == node.node_type);
        }
        if !stat.is_file() {
            return true;
        }
        // Unreadable: the snapshot will notice when it tries and keep the stored version.
        let Ok((mut file, _)) = dir.open_file(name, stat) else { return false };
        let same = Engine::content_is(self.against.repo, content, &mut file)
            && stat::attributes(&file).is_ok_and(|a| a == stat::stored_attributes(node));
        if !same {
            self.scan.reread.insert(path.to_vec());
        }
        same
    }

    fn dir_attributes_equal(&self, dir: &Dir, name: &OsStr, (stat, node): (&Stat, &Node)) -> bool {
        if !self.is_young(stat) {
            return true;
        }
        dir.open_dir(name)
            .and_then(stat::attributes)
            .is_ok_and(|a| a == stat::stored_attributes(node))
    }

    fn is_young(&self, stat: &Stat) -> bool {
        self.against.young.is_none_or(|young| stat.ctime >= young)
    }

    /// Notes a difference that the judged scope would not have led to, unless its time
    /// says that it came about during the walk.
    fn differs(&mut self, stat: impl Fn() -> io::Result<Stat>, path: &[u8], below: Below) {
        if below.seen == Look::Reuse && stat().is_ok_and(|s| s.ctime < self.against.fresh) {
            self.scan.missed.count += 1;
            if self.scan.missed.paths.len() < MAX_REMARKS {
                self.scan.missed.paths.push(EntryPath(path.to_vec()));
            }
        }
    }

    /// The same for an entry that is no longer in `dir`, whose time tells when it went.
    fn gone(&mut self, dir: &Dir, path: Vec<u8>, below: Below) {
        self.differs(|| dir.stat(), &path, below);
    }

    /// Notes an entry whose stored version has to stand in for it, and so is no change.
    fn keep(&mut self, path: &[u8], error: &io::Error) -> bool {
        self.scan.remarks.push(remark(path, error, true));
        true
    }
}

/// A remark about an entry that could not be read.
pub(crate) fn remark(path: &[u8], error: &io::Error, previous_kept: bool) -> Remark {
    let why = match error.raw_os_error().map(rustix::io::Errno::from_raw_os_error) {
        Some(rustix::io::Errno::XDEV) => "another file system is mounted here".to_owned(),
        Some(rustix::io::Errno::ACCESS | rustix::io::Errno::PERM) => "not permitted".to_owned(),
        Some(rustix::io::Errno::IO) => "the disk could not read it".to_owned(),
        _ => error.to_string(),
    };
    Remark { path: EntryPath(path.to_vec()), why, previous_kept }
}

/// Every directory on the way to these paths, the folder itself (`""`) included.
pub(crate) fn ancestors<P: AsRef<[u8]>>(paths: impl IntoIterator<Item = P>) -> HashSet<Vec<u8>> {
    let mut found = HashSet::from([Vec::new()]);
    for path in paths {
        let path = path.as_ref();
        for (at, _) in path.iter().enumerate().filter(|(_, b)| **b == b'/') {
            found.insert(path[..at].to_vec());
        }
    }
    found
}

/// Names compare by their bytes, in listings and in stored directories alike.
pub(crate) fn name_bytes(node: &Node) -> Vec<u8> {
    node.name().as_bytes().to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_ticks_are_taken_off_across_the_second() {
        assert_eq!(young_from((10, 30_000_000)), (10, 10_000_000));
        assert_eq!(young_from((10, 5_000_000)), (9, 985_000_000));
        assert_eq!(young_from((0, 0)), (-1, 980_000_000));
    }

    #[test]
    fn every_directory_on_the_way_is_named() {
        let found = ancestors(&[b"a/b/c".to_vec(), b"d".to_vec()]);
        let expected = [b"".to_vec(), b"a".to_vec(), b"a/b".to_vec()];
        assert_eq!(found, HashSet::from(expected));
    }
}
