//! What a folder held at a moment within a session, out of the session's journal: each path
//! that was changed after the moment, as it was before. Pure.
//!
//! A journal is read backwards: a record says what was before it. Paths that it does not name
//! after the moment are as some snapshot has them.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use ringfence_share::journal::{Operation, Record, STILL_NAMED};

use super::versions::objects;

/// What was at a path, and what is known about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Before {
    /// What.
    pub what: What,
    /// Its permission bits, where the journal says them.
    pub mode: Option<u32>,
    /// When it had been modified last, in nanoseconds since 1970, where the journal says it.
    pub modified: Option<i64>,
    /// The operation that says so: its place in the journal.
    pub operation: usize,
}

/// What was at a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// Nothing.
    Nothing,
    /// A directory; what was in it is said path by path.
    Directory,
    /// A symbolic link to there.
    Link(Vec<u8>),
    /// An empty file.
    Empty,
    /// The version that the operation destroyed, as it was kept.
    Kept,
    /// What the snapshot that the session began with has at a path, of this size in bytes.
    Stored(Vec<u8>, u64),
    /// What is at a path when the journal ends, with all below; of a file its first so many
    /// bytes.
    Later(Vec<u8>, Option<u64>),
}

/// The state at a moment, as far as a journal tells.
#[derive(Debug, Default)]
pub struct Told {
    /// What was at paths that changed after the moment. Below a directory that is `Later`,
    /// everything is as it is there but for what is said here.
    pub before: BTreeMap<Vec<u8>, Before>,
    /// Paths that changed before the moment, and not after it.
    pub settled: BTreeSet<Vec<u8>>,
    /// Paths that were being written for the first time at the moment.
    pub unfinished: BTreeSet<Vec<u8>>,
}

/// The state before the record at `cut`. Changes before `since`, in nanoseconds since 1970,
/// are of no interest: some snapshot has them.
#[must_use]
pub fn told(records: &[Record], cut: usize, since: i64) -> Told {
    let mut back = Back::new(records);
    for place in (cut..records.len()).rev() {
        back.step(place);
    }
    let mut told = Told::default();
    for (path, place) in being_written(&records[..cut]) {
        // Where it is opened anew before anything is heard of its being closed, that came late.
        if !matches!(back.next.get(&path), None | Some(Operation::Close)) {
            continue;
        }
        if records[place].operation == Operation::Create {
            told.unfinished.insert(path);
        } else {
            // The version before is the last that was complete.
            let version = back.version(place);
            back.map.insert(path, version);
        }
    }
    told.settled = records[..cut]
        .iter()
        .filter(|record| record.operation.changes() && record.time >= since)
        .flat_map(|record| [Some(record.path.as_slice()), record.second_path()])
        .flatten()
        .filter(|path| back.later(path).as_deref() == Some(*path))
        .map(<[u8]>::to_vec)
        .collect();
    told.before = back.map;
    told
}

/// Paths that a session removed and that are not there when its journal ends, each as it was
/// before.
#[must_use]
pub fn deletions(records: &[Record]) -> BTreeMap<Vec<u8>, Before> {
    let back = Back::new(records);
    let mut refused = Refused::default();
    let (mut decided, mut gone) = (HashSet::new(), BTreeMap::new());
    for (place, record) in records.iter().enumerate().rev() {
        if refused.skip(record) {
            continue;
        }
        match record.operation {
            Operation::Remove | Operation::RemoveDirectory
                if decided.insert(record.path.as_slice()) =>
            {
                gone.insert(record.path.clone(), back.version(place));
            }
            Operation::Create
            | Operation::MakeDirectory
            | Operation::MakeLink
            | Operation::MakeNode
            | Operation::Link
            | Operation::Rename
            | Operation::Exchange => {
                decided.insert(record.path.as_slice());
                decided.extend(record.second_path());
            }
            _ => {}
        }
    }
    gone
}

/// The first record after a time, in nanoseconds since 1970.
#[must_use]
pub fn cut_at(records: &[Record], time: i64) -> usize {
    records.iter().position(|record| record.time > time).unwrap_or(records.len())
}

/// The path that something had when the journal began, if it was there, by its path before the
/// record at `place`.
#[must_use]
pub fn path_at_begin(records: &[Record], place: usize, path: &[u8]) -> Vec<u8> {
    let mut path = path.to_vec();
    let mut refused = Refused::default();
    for record in records[..place].iter().rev() {
        if refused.skip(record) || record.operation != Operation::Rename {
            continue;
        }
        if let Some(rest) = within(&record.other, &path) {
            path = [record.path.as_slice(), rest].concat();
        }
    }
    path
}

/// Files that are open to be written at the end of these records, by path, and the last
/// record that says so.
fn being_written(records: &[Record]) -> HashMap<Vec<u8>, usize> {
    let mut open = HashMap::new();
    for (place, record) in records.iter().enumerate() {
        match record.operation {
            Operation::Create | Operation::Overwrite | Operation::Append => {
                open.insert(record.path.clone(), place);
            }
            Operation::Close | Operation::Remove | Operation::Replace => {
                open.remove(&record.path);
            }
            Operation::Rename => {
                if let Some(moved) = open.remove(&record.path) {
                    open.insert(record.other.clone(), moved);
                }
            }
            _ => {}
        }
    }
    open
}

/// For each record about a file's content: the other names that the file was given and has.
fn other_names(records: &[Record]) -> HashMap<usize, Vec<Vec<u8>>> {
    let mut refused = Refused::default();
    let skipped: HashSet<usize> =
        (0..records.len()).rev().filter(|place| refused.skip(&records[*place])).collect();
    let mut files: BTreeMap<Vec<u8>, u64> = BTreeMap::new();
    let mut names: HashMap<u64, BTreeSet<Vec<u8>>> = HashMap::new();
    let mut found = HashMap::new();
    for (place, record) in records.iter().enumerate().filter(|(place, _)| !skipped.contains(place))
    {
        match record.operation {
            Operation::Link => {
                for name in [&record.path, &record.other] {
                    files.insert(name.clone(), record.inode);
                    names.entry(record.inode).or_default().insert(name.clone());
                }
                continue;
            }
            Operation::Rename => {
                let mut moved = below(&files, &record.path);
                moved.push(record.path.clone());
                for name in moved {
                    let Some(inode) = files.remove(&name) else { continue };
                    let new = [record.other.as_slice(), &name[record.path.len()..]].concat();
                    files.insert(new.clone(), inode);
                    let names = names.entry(inode).or_default();
                    names.remove(&name);
                    names.insert(new);
                }
                continue;
            }
            Operation::Remove | Operation::Replace => {
                if let Some(inode) = files.remove(&record.path) {
                    names.entry(inode).or_default().remove(&record.path);
                }
            }
            Operation::Overwrite | Operation::Append => {}
            _ => continue,
        }
        if let Some(names) = names.get(&record.inode) {
            let others = names.iter().filter(|name| **name != record.path).cloned().collect();
            found.insert(place, others);
        }
    }
    found
}

/// What follows `directory` in a path that is it or lies below it.
fn within<'a>(directory: &[u8], path: &'a [u8]) -> Option<&'a [u8]> {
    path.strip_prefix(directory).filter(|rest| rest.is_empty() || rest[0] == b'/')
}

/// What is said of paths below a directory.
fn below<T>(map: &BTreeMap<Vec<u8>, T>, directory: &[u8]) -> Vec<Vec<u8>> {
    let inside: Vec<u8> = [directory, b"/"].concat();
    let from = map.range(inside.clone()..);
    from.take_while(|(at, _)| at.starts_with(&inside)).map(|(at, _)| at.clone()).collect()
}

/// Changes that were announced and refused, as a journal is read backwards.
#[derive(Default)]
struct Refused<'a>(HashMap<&'a [u8], usize>);

impl<'a> Refused<'a> {
    /// Whether a record changed nothing.
    fn skip(&mut self, record: &'a Record) -> bool {
        match record.operation {
            Operation::Undone => {
                *self.0.entry(&record.path).or_default() += 1;
                true
            }
            Operation::Remove
            | Operation::Replace
            | Operation::RemoveDirectory
            | Operation::Rename
            | Operation::Exchange => match self.0.get_mut(record.path.as_slice()) {
                Some(count @ 1..) => {
                    *count -= 1;
                    true
                }
                _ => false,
            },
            _ => false,
        }
    }
}

/// A journal on the way back.
struct Back<'a> {
    records: &'a [Record],
    objects: HashMap<usize, u64>,
    /// The other names of the file that a record is about, by the record's place.
    names: HashMap<usize, Vec<Vec<u8>>>,
    refused: Refused<'a>,
    map: BTreeMap<Vec<u8>, Before>,
    /// What happens next to the content of a file.
    next: BTreeMap<Vec<u8>, Operation>,
}

impl<'a> Back<'a> {
    fn new(records: &'a [Record]) -> Self {
        Self {
            records,
            objects: objects(records),
            names: other_names(records),
            refused: Refused::default(),
            map: BTreeMap::new(),
            next: BTreeMap::new(),
        }
    }

    fn step(&mut self, place: usize) {
        let records = self.records;
        let record = &records[place];
        if self.refused.skip(record) {
            return;
        }
        let path = &record.path;
        match record.operation {
            Operation::Begin | Operation::End | Operation::With | Operation::Undone => {}
            // What was an attribute before is not told.
            Operation::ExtendedAttribute => {}
            Operation::Create
            | Operation::MakeDirectory
            | Operation::MakeLink
            | Operation::MakeNode => {
                self.next.remove(path);
                self.set(path, nothing(place));
            }
            Operation::Link => self.set(&record.other, nothing(place)),
            Operation::Overwrite | Operation::Append => {
                let version = self.version(place);
                for name in self.names.get(&place).into_iter().flatten() {
                    self.map.insert(name.clone(), version.clone());
                }
                self.map.insert(path.clone(), version);
                self.next.insert(path.clone(), record.operation);
            }
            Operation::Close => {
                self.next.insert(path.clone(), record.operation);
            }
            Operation::Remove | Operation::Replace | Operation::RemoveDirectory => {
                let version = self.version(place);
                self.set(path, version);
                self.next.insert(path.clone(), record.operation);
            }
            Operation::Rename => {
                let moved = self.take(&record.other, place);
                self.set(&record.other, nothing(place));
                self.put(path, moved);
                let mut moved = below(&self.next, &record.other);
                moved.push(record.other.clone());
                for key in moved {
                    if let Some(next) = self.next.remove(&key) {
                        let rest = &key[record.other.len()..];
                        self.next.insert([path.as_slice(), rest].concat(), next);
                    }
                }
            }
            Operation::Exchange => {
                let (one, other) = (self.take(path, place), self.take(&record.other, place));
                self.put(path, other);
                self.put(&record.other, one);
            }
            Operation::Attributes => {
                let before = (Some(record.mode & 0o7777), Some(record.modified));
                if let Some(known) = self.map.get_mut(path) {
                    (known.mode, known.modified) = before;
                } else if let Some(later) = self.later(path) {
                    let what = What::Later(later, None);
                    let (mode, modified) = before;
                    self.map
                        .insert(path.clone(), Before { what, mode, modified, operation: place });
                }
            }
        }
    }

    /// Where a path's entry is when the journal ends, if that is where nothing is known to
    /// have happened to it.
    fn later(&self, path: &[u8]) -> Option<Vec<u8>> {
        let mut end = path.len();
        loop {
            match self.map.get(&path[..end]).map(|before| &before.what) {
                Some(What::Later(at, None)) => return Some([at, &path[end..]].concat()),
                Some(_) => return None,
                None => {}
            }
            match path[..end].iter().rposition(|byte| *byte == b'/') {
                Some(slash) => end = slash,
                None => return Some(path.to_vec()),
            }
        }
    }

    /// Says what was at a path, and forgets what was said of what lies below it.
    fn set(&mut self, path: &[u8], before: Before) {
        for below in below(&self.map, path) {
            self.map.remove(&below);
        }
        self.map.insert(path.to_vec(), before);
    }

    /// Takes what is said of a path and of all below it, by what follows the path.
    fn take(&mut self, path: &[u8], place: usize) -> Vec<(Vec<u8>, Before)> {
        let own = match self.map.get(path) {
            Some(known) => Some(known.clone()),
            None => self.later(path).map(|later| Before {
                what: What::Later(later, None),
                mode: None,
                modified: None,
                operation: place,
            }),
        };
        let mut taken: Vec<_> = own.into_iter().map(|own| (Vec::new(), own)).collect();
        for below in below(&self.map, path) {
            if let Some(before) = self.map.remove(&below) {
                taken.push((below[path.len()..].to_vec(), before));
            }
        }
        self.map.remove(path);
        taken
    }

    fn put(&mut self, path: &[u8], taken: Vec<(Vec<u8>, Before)>) {
        self.set(path, nothing(self.records.len()));
        if taken.first().is_none_or(|(rest, _)| !rest.is_empty()) {
            return;
        }
        for (rest, before) in taken {
            self.map.insert([path, &rest].concat(), before);
        }
    }

    /// What an operation was about to change or remove.
    fn version(&self, place: usize) -> Before {
        let record = &self.records[place];
        let size = record.size_before;
        let stored = || What::Stored(path_at_begin(self.records, place, &record.path), size);
        let what = match record.mode & 0o170_000 {
            _ if record.operation == Operation::RemoveDirectory => What::Directory,
            0o040_000 => What::Directory,
            0o120_000 if !record.data.is_empty() => What::Link(record.data.clone()),
            0o100_000 if self.objects.contains_key(&place) => What::Kept,
            0o100_000 if size == 0 => What::Empty,
            0o100_000 if record.operation == Operation::Append => {
                let at = match self.map.get(&record.path).map(|before| &before.what) {
                    Some(What::Later(at, _)) => Some(at.clone()),
                    _ => self.later(&record.path),
                };
                at.map_or_else(stored, |at| What::Later(at, Some(size)))
            }
            0o100_000 if record.data == STILL_NAMED => {
                return self.other_name(place).unwrap_or_else(|| self.known(place, stored()));
            }
            _ => stored(),
        };
        self.known(place, what)
    }

    fn known(&self, place: usize, what: What) -> Before {
        let record = &self.records[place];
        let known = record.mode != 0;
        Before {
            what,
            mode: known.then_some(record.mode & 0o7777),
            modified: known.then_some(record.modified),
            operation: place,
        }
    }

    /// What another name of the file leads to that loses this one.
    fn other_name(&self, place: usize) -> Option<Before> {
        let name = self.names.get(&place)?.first()?;
        match self.map.get(name) {
            Some(before) => Some(before.clone()),
            None => self.later(name).map(|at| self.known(place, What::Later(at, None))),
        }
    }
}

const fn nothing(operation: usize) -> Before {
    Before { what: What::Nothing, mode: None, modified: None, operation }
}

#[cfg(test)]
#[path = "moment_tests.rs"]
mod tests;
