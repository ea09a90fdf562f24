//! Finds what may have changed since a snapshot, by looking at every entry's status
//! and reading no content. Owns the rule when a stored directory may stand for a live
//! one; writes nothing.
//!
//! Every directory is listed and every entry's status compared with its stored node:
//! type, inode, size, mode, owner, modification and change time. A directory in which
//! all of that is equal, all the way down, is *clean*: the snapshot may point at the
//! stored copy. A status that is too young is not trusted: a file written twice
//! within one tick of the file clock keeps its times, so anything whose change time
//! is not clearly older than the stored scan is compared by content.

use std::collections::{HashMap, HashSet};
use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;

use rustic_core::TreeId;
use rustic_core::repofile::{Node, NodeType};

use crate::beneath::{Dir, MAX_DEPTH, join};
use crate::catalog::{Counts, EntryPath, Remark};
use crate::engine::{Engine, Repo};
use crate::error::Result;
use crate::stat::{self, Stamp, Stat};
use crate::watch::{Step, Watch};

/// Twice the coarsest tick of the kernel's file clock (100 per second).
const TWO_TICKS_NANOS: i128 = 20_000_000;

/// What a scan found out.
#[derive(Debug, Default)]
pub(crate) struct Scan {
    /// The topmost clean directories and what they hold.
    pub(crate) clean: HashMap<Vec<u8>, Counts>,
    /// Files whose status is equal but whose content is not.
    pub(crate) reread: HashSet<Vec<u8>>,
    /// Entries that could not be looked at.
    pub(crate) remarks: Vec<Remark>,
}

/// The stored state to compare with.
#[derive(Clone, Copy)]
pub(crate) struct Against<'a> {
    pub(crate) engine: &'a Engine,
    pub(crate) repo: &'a Repo,
    /// Change times from here on are too young to trust; `None` trusts none.
    pub(crate) young: Option<Stamp>,
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

/// Scans a folder. `Some` says that everything is clean and how much it is.
pub(crate) fn scan(
    against: Against<'_>,
    root: &Dir,
    tree: TreeId,
) -> Result<(Scan, Option<Counts>)> {
    let mut scanner = Scanner { against, scan: Scan::default() };
    let counts = scanner.directory(root, &[], tree, 0)?;
    Ok((scanner.scan, counts))
}

struct Scanner<'a> {
    against: Against<'a>,
    scan: Scan,
}

impl Scanner<'_> {
    fn directory(
        &mut self,
        dir: &Dir,
        path: &[u8],
        tree: TreeId,
        depth: usize,
    ) -> Result<Option<Counts>> {
        self.against.watch.cancel.check()?;
        // A stored directory that cannot be read is no reason to fail: it is made again.
        let Ok(stored) = self.against.engine.tree(self.against.repo, tree) else {
            return Ok(None);
        };
        let names = match dir.names() {
            Ok(names) => names,
            Err(e) => return Ok(Some(self.keep(path, &e))),
        };
        self.against.watch.step(Step::Scanned(names.len() as u64));
        let mut clean = names.len() == stored.len();
        let mut counts = Counts::default();
        let mut clean_dirs = Vec::new();
        let mut stored = stored.iter().peekable();
        for name in &names {
            while stored.next_if(|n| *n.name() < **name).is_some() {}
            let Some(node) = stored.next_if(|n| *n.name() == **name) else {
                clean = false;
                continue;
            };
            let here = join(path, name);
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
            if let (true, Some(subtree)) = (stat.is_dir(), node.subtree) {
                match self.child(dir, name, (&here, subtree, depth))? {
                    Some(held) => clean_dirs.push((here, held)),
                    None => clean = false,
                }
                clean &= stat.matches(node) && self.dir_attributes_equal(dir, name, (&stat, node));
            } else if self.entry_equal(dir, name, &here, (&stat, node)) {
                add(&mut counts, &stat);
            } else {
                clean = false;
            }
        }
        if clean {
            for (_, held) in &clean_dirs {
                sum(&mut counts, held);
            }
            return Ok(Some(counts));
        }
        self.scan.clean.extend(clean_dirs);
        Ok(None)
    }

    fn child(
        &mut self,
        dir: &Dir,
        name: &OsStr,
        (path, subtree, depth): (&[u8], TreeId, usize),
    ) -> Result<Option<Counts>> {
        if depth + 1 >= MAX_DEPTH {
            return Ok(Some(self.keep(path, &io::Error::other("nested too deeply"))));
        }
        let mut held = match dir.open_dir(name) {
            Ok(child) => self.directory(&child, path, subtree, depth + 1)?,
            Err(e) if e.kind() == io::ErrorKind::NotFound => None,
            Err(e) => Some(self.keep(path, &e)),
        };
        if let Some(counts) = &mut held {
            counts.directories += 1;
        }
        Ok(held)
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

    /// Notes an entry whose stored version has to stand in for it.
    fn keep(&mut self, path: &[u8], error: &io::Error) -> Counts {
        self.scan.remarks.push(remark(path, error, true));
        Counts::default()
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

/// Counts one entry that is no directory.
pub(crate) fn add(counts: &mut Counts, stat: &Stat) {
    if stat.is_file() {
        counts.files += 1;
        counts.bytes += stat.size;
    } else {
        counts.others += 1;
    }
}

/// Adds what a directory holds.
pub(crate) fn sum(counts: &mut Counts, held: &Counts) {
    counts.files += held.files;
    counts.directories += held.directories;
    counts.others += held.others;
    counts.bytes += held.bytes;
}

/// Every directory on the way to these paths, the folder itself (`""`) included.
pub(crate) fn ancestors<'a>(paths: impl IntoIterator<Item = &'a Vec<u8>>) -> HashSet<Vec<u8>> {
    let mut found = HashSet::from([Vec::new()]);
    for path in paths {
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
