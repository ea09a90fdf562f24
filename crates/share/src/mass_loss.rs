//! The guard against mass loss: counts files that were there before and are being removed
//! or rewritten, and says when that becomes too much in too short a time. Pure: time and
//! what is on disk are passed in. Must not do I/O, and must not stop anything itself.

use std::collections::{HashMap, HashSet, VecDeque};
use std::hash::Hash;

use serde::{Deserialize, Serialize};

/// Most files that are remembered as the session's own. What it makes beyond that is
/// counted like everybody's: too early an alarm, never too late.
const MOST_OWN: usize = 1_000_000;

/// Most regenerable directories that are told apart; the rest is counted file by file.
const MOST_ROOTS: usize = 100_000;

/// Directories that programs fill by themselves and fill again, and what lies beside one
/// (or in it) where the name alone does not say so.
const REGENERABLE: &[(&[u8], &[&[u8]])] = &[
    (b"node_modules", &[]),
    (b"__pycache__", &[]),
    (b".venv", &[]),
    (b".tox", &[]),
    (b".mypy_cache", &[]),
    (b".pytest_cache", &[]),
    (b".ruff_cache", &[]),
    (b".gradle", &[]),
    (b".next", &[]),
    (b".nuxt", &[]),
    (b".turbo", &[]),
    (b".parcel-cache", &[]),
    (b"target", &[b"Cargo.toml", b"pom.xml"]),
    (b"venv", &[b"venv/pyvenv.cfg"]),
];

/// What is done when too much is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Reaction {
    /// It goes on; the daemon finds the alarm.
    Warn,
    /// Whatever touches the folder waits until somebody has decided.
    Freeze,
}

/// What counts as too much.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Watch {
    /// So many files are too many; at least 1.
    pub files: u64,
    /// Within so many milliseconds.
    pub window: u64,
    /// What is done then.
    pub reaction: Reaction,
}

/// Too much was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Alarm {
    /// Files that were lost within the window, the one included that waits now.
    pub files: u64,
    /// What was done.
    pub reaction: Reaction,
}

/// What becomes of an operation that destroys a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It is carried out.
    Proceed,
    /// It waits, and is judged anew when somebody has decided.
    Halt,
}

/// A regenerable directory: whether all of it counts as one file, and when it last did.
#[derive(Clone, Copy, Debug)]
struct Root {
    as_one: bool,
    counted: Option<u64>,
}

/// See the module's description. `F` says which file it is.
#[derive(Debug)]
pub(crate) struct MassLoss<F> {
    watch: Option<Watch>,
    /// When files were lost, the oldest first, in milliseconds.
    recent: VecDeque<u64>,
    /// Made by the session, or counted already.
    own: HashSet<F>,
    roots: HashMap<Vec<u8>, Root>,
    alarm: Option<Alarm>,
    /// Somebody agreed to the loss that is under way: the time of its last file so far.
    agreed: Option<u64>,
}

impl<F> Default for MassLoss<F> {
    fn default() -> Self {
        Self {
            watch: None,
            recent: VecDeque::new(),
            own: HashSet::new(),
            roots: HashMap::new(),
            alarm: None,
            agreed: None,
        }
    }
}

impl<F: Copy + Eq + Hash> MassLoss<F> {
    /// A session begins: what is there now was there before. `None` watches nothing.
    pub(crate) fn begin(&mut self, watch: Option<Watch>) {
        *self = Self { watch, ..Self::default() };
    }

    /// Whether anything is watched at all.
    pub(crate) const fn is_on(&self) -> bool {
        self.watch.is_some()
    }

    /// The alarm that stands.
    pub(crate) const fn alarm(&self) -> Option<Alarm> {
        self.alarm
    }

    /// Whether operations are to wait.
    pub(crate) fn halts(&self) -> bool {
        self.alarm.is_some_and(|alarm| alarm.reaction == Reaction::Freeze)
    }

    /// Somebody agreed to the loss: it goes on until for a whole window nothing more is
    /// lost, and whatever comes after that is judged anew.
    pub(crate) fn agree(&mut self, now: u64) {
        self.alarm = None;
        self.agreed = Some(now);
        self.recent.clear();
    }

    /// The session made this file.
    pub(crate) fn made(&mut self, file: F) {
        if self.is_on() && self.own.len() < MOST_OWN {
            self.own.insert(file);
        }
    }

    /// Something that was there before was moved into a regenerable directory, or became
    /// one: no program will make it again, so its files count one by one.
    pub(crate) fn moved_in(&mut self, root: &[u8]) {
        if self.is_on() && (self.roots.len() < MOST_ROOTS || self.roots.contains_key(root)) {
            self.roots.insert(root.to_vec(), Root { as_one: false, counted: None });
        }
    }

    /// Whether a regenerable directory counts as one file; `look` finds it out once.
    fn as_one(&mut self, root: &[u8], look: impl FnOnce() -> bool) -> bool {
        if let Some(known) = self.roots.get(root) {
            return known.as_one;
        }
        if self.roots.len() >= MOST_ROOTS {
            return false;
        }
        let as_one = look();
        self.roots.insert(root.to_vec(), Root { as_one, counted: None });
        as_one
    }

    /// A file at this path is about to be removed or rewritten, at a time that never goes
    /// back, in milliseconds. `look` says whether the regenerable directory that it is
    /// asked for is one.
    pub(crate) fn lose(
        &mut self,
        now: u64,
        file: F,
        path: &[u8],
        look: impl FnOnce(&Regenerable<'_>) -> bool,
    ) -> Verdict {
        let Some(watch) = self.watch else { return Verdict::Proceed };
        if self.own.contains(&file) {
            return Verdict::Proceed;
        }
        if let Some(last) = self.agreed {
            if now.saturating_sub(last) < watch.window {
                self.agreed = Some(now);
                return Verdict::Proceed;
            }
            self.agreed = None;
        }
        let found = regenerable(path).filter(|found| self.as_one(found.root, || look(found)));
        let counted = found.and_then(|found| self.roots.get(found.root)?.counted);
        if counted.is_some_and(|last| now.saturating_sub(last) < watch.window) {
            return Verdict::Proceed;
        }
        while self.recent.front().is_some_and(|first| now.saturating_sub(*first) >= watch.window) {
            self.recent.pop_front();
        }
        let files = self.recent.len() as u64 + 1;
        if files >= watch.files.max(1) {
            self.alarm = Some(Alarm { files, reaction: watch.reaction });
            if watch.reaction == Reaction::Freeze {
                return Verdict::Halt;
            }
        }
        if let Some(root) = found.and_then(|found| self.roots.get_mut(found.root)) {
            root.counted = Some(now);
        }
        self.recent.push_back(now);
        Verdict::Proceed
    }

    /// A file was rewritten: what it holds now is the session's.
    pub(crate) fn rewritten(&mut self, file: F) {
        self.made(file);
    }
}

/// A directory that programs fill again by themselves, by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Regenerable<'a> {
    /// Its path from the folder's root.
    pub(crate) root: &'a [u8],
    /// The directory that it lies in; empty for the folder itself.
    pub(crate) parent: &'a [u8],
    /// One of these must be in the parent; none: the name says enough.
    pub(crate) signs: &'static [&'static [u8]],
}

/// The outermost regenerable directory on a path.
pub(crate) fn regenerable(path: &[u8]) -> Option<Regenerable<'_>> {
    let mut from = 0;
    for name in path.split(|byte| *byte == b'/') {
        let to = from + name.len();
        if let Some((_, signs)) = REGENERABLE.iter().find(|(known, _)| *known == name) {
            let parent = &path[..from.saturating_sub(1)];
            return Some(Regenerable { root: &path[..to], parent, signs });
        }
        from = to + 1;
    }
    None
}

/// An operation that waits for somebody's decision; never an answer to a guest.
#[derive(Debug, thiserror::Error)]
#[error("halted by the guard against mass loss")]
pub(crate) struct Halted;

impl Halted {
    /// As the folder's operations report it.
    pub(crate) fn error() -> std::io::Error {
        std::io::Error::other(Self)
    }

    /// Whether this is what an error says.
    pub(crate) fn is(error: &std::io::Error) -> bool {
        error.get_ref().is_some_and(|inner| inner.is::<Self>())
    }
}

#[cfg(test)]
#[path = "mass_loss_tests.rs"]
mod tests;
