//! Knows what changes in a folder without looking at its files: one watch of the kernel's
//! (inotify) on every directory.
//!
//! Owns the watches and one thread a folder, which sleeps until something happens. Knows no
//! vault and no session, decides nothing about snapshots, and opens no file, so that its
//! own work and that of a snapshot never feed it. What it says is a hint: a walk over the
//! folder at intervals catches what no event tells (writes through a mapping, events lost).

mod dirty;
mod place;
mod tree;
mod worker;

use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use rustix::event::{EventfdFlags, eventfd};
use tokio::sync::{Notify, oneshot};

pub use dirty::Dirty;
pub use place::Root;

/// A watching thread needs little.
const STACK: usize = 256 * 1024;

/// Why a folder's directory is not where it was registered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RootLost {
    /// Nothing has its name.
    #[error("it was moved or deleted")]
    Missing,
    /// A link has its name.
    #[error("a link stands in its place")]
    Link,
    /// Something else than a directory has its name.
    #[error("something that is no directory stands in its place")]
    NoDirectory,
    /// Another directory of the same file system has its name.
    #[error("another directory stands in its place")]
    Another,
    /// A directory of another file system has its name: something was mounted or unmounted.
    #[error("another file system is mounted there, or its own is not")]
    OtherDisk,
    /// It cannot even be looked at.
    #[error("it cannot be looked at: {0}")]
    Unreadable(String),
}

/// Why a folder, or a part of it, is not watched.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoWatch {
    /// The host's limit, or the part of it that Ringfence takes, is used up.
    #[error("the limit of watches is reached (sysctl fs.inotify.max_user_watches)")]
    Watches,
    /// No further watcher can be made.
    #[error("the limit of watchers is reached (sysctl fs.inotify.max_user_instances)")]
    Watchers,
    /// More happened than could be taken up, again and again.
    #[error("changes come faster than they can be noted")]
    Flood,
    /// The kernel refuses.
    #[error("{0}")]
    Refused(String),
}

/// How changes of a folder are noticed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mode {
    /// Its directories are being watched one after another.
    Starting,
    /// Every directory is watched.
    Watching,
    /// Some directories are not watched, with all that is below them.
    Partly {
        /// Their paths, printable.
        left: Vec<String>,
        /// Why.
        why: NoWatch,
    },
    /// None is watched.
    Polling(NoWatch),
    /// The folder is not there.
    Lost(RootLost),
}

impl Mode {
    /// Whether a clean [`Dirty`] means that nothing changed, as far as events tell.
    #[must_use]
    pub const fn is_complete(&self) -> bool {
        matches!(self, Self::Watching)
    }
}

/// How many watches all folders may have together.
#[derive(Debug)]
pub struct Budget {
    most: usize,
    used: AtomicUsize,
}

impl Budget {
    /// So many.
    #[must_use]
    pub const fn new(most: usize) -> Self {
        Self { most, used: AtomicUsize::new(0) }
    }

    /// Half of what this host allows its user: editors need watches as well.
    #[must_use]
    pub fn of_host() -> Self {
        let text = std::fs::read_to_string("/proc/sys/fs/inotify/max_user_watches");
        let limit = text.ok().and_then(|text| text.trim().parse::<usize>().ok());
        Self::new(limit.unwrap_or(8192) / 2)
    }

    fn take_one(&self) -> bool {
        let more = |used| (used < self.most).then_some(used + 1);
        self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_ok()
    }

    fn give_back(&self, count: usize) {
        self.used.fetch_sub(count, Ordering::Relaxed);
    }
}

/// What can be said about a folder at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct View {
    /// How its changes are noticed.
    pub mode: Mode,
    /// When the first and the newest change were heard of that nobody took yet.
    pub times: Option<(Instant, Instant)>,
    /// How many these are; `None` when that is not known.
    pub count: Option<u64>,
}

/// Watches one folder until it is dropped.
#[derive(Debug)]
pub struct Watcher {
    shared: Arc<Shared>,
}

/// What the handle and its thread have in common.
#[derive(Debug)]
struct Shared {
    seen: Mutex<Seen>,
    /// Written to wake the thread.
    wake: OwnedFd,
    /// Told when a clean folder became dirty, and when the mode changed.
    told: Arc<Notify>,
}

#[derive(Debug)]
struct Seen {
    mode: Mode,
    dirty: Dirty,
    asked: Vec<Asked>,
    begin_again: bool,
    stop: bool,
    /// The thread is gone.
    ended: bool,
}

/// Somebody who wants to have the changes.
#[derive(Debug)]
struct Asked {
    polled: bool,
    answer: oneshot::Sender<Dirty>,
}

impl Watcher {
    /// Starts to watch. Returns at once: see [`Mode::Starting`]. `told` hears of the first
    /// change after each [`Self::take`] and of each new mode.
    ///
    /// # Errors
    /// When the host has no descriptor or thread left.
    pub fn start(root: Root, budget: Arc<Budget>, told: Arc<Notify>) -> io::Result<Self> {
        let wake = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        let seen = Seen {
            mode: Mode::Starting,
            dirty: Dirty::default(),
            asked: Vec::new(),
            begin_again: false,
            stop: false,
            ended: false,
        };
        let shared = Arc::new(Shared { seen: Mutex::new(seen), wake, told });
        let worker = worker::Worker::new(root, budget, Arc::clone(&shared));
        std::thread::Builder::new().name("watch".into()).stack_size(STACK).spawn({
            let ends = Ends(Arc::clone(&shared));
            move || {
                let _ends = ends;
                worker.run();
            }
        })?;
        Ok(Self { shared })
    }

    /// What can be said at once.
    #[must_use]
    pub fn view(&self) -> View {
        let seen = self.shared.seen();
        View { mode: seen.mode.clone(), times: seen.dirty.times(), count: seen.dirty.count() }
    }

    /// Takes the changes that were made up to now: also those of which the kernel has told
    /// and nobody read yet. With `polled` what is not watched counts as changed. Where
    /// nothing is watched everything does.
    pub async fn take(&self, polled: bool) -> Dirty {
        let dirty = {
            let (answer, dirty) = oneshot::channel();
            let mut seen = self.shared.seen();
            if !seen.ended {
                seen.asked.push(Asked { polled, answer });
            }
            dirty
        };
        self.shared.wake();
        dirty.await.unwrap_or_else(|_| {
            // Its thread is gone, or went before it answered.
            let mut dirty = Dirty::default();
            dirty.everything(Instant::now());
            dirty
        })
    }

    /// Gives changes back that could not be stored.
    pub fn put_back(&self, dirty: Dirty) {
        self.shared.add(dirty);
    }

    /// Watches anew from the root, as after a loss of events.
    pub fn begin_again(&self) {
        self.shared.seen().begin_again = true;
        self.shared.wake();
    }
}

/// Dropped when a watching thread ends, also by a panic: nobody must wait for its answer or
/// believe that it still hears anything.
struct Ends(Arc<Shared>);

impl Drop for Ends {
    fn drop(&mut self) {
        let mut seen = self.0.seen();
        seen.ended = true;
        seen.asked.clear();
        drop(seen);
        self.0.set_mode(Mode::Polling(NoWatch::Refused("its watcher ended".into())));
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.shared.seen().stop = true;
        self.shared.wake();
    }
}

impl Shared {
    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wake(&self) {
        // Full means that it is awake already.
        let _ = rustix::io::write(&self.wake, &1u64.to_ne_bytes());
    }

    fn add(&self, dirty: Dirty) {
        if dirty.is_clean() {
            return;
        }
        let mut seen = self.seen();
        let was_clean = seen.dirty.is_clean();
        seen.dirty.merge(dirty);
        drop(seen);
        if was_clean {
            self.told.notify_one();
        }
    }

    fn set_mode(&self, mode: Mode) {
        let mut seen = self.seen();
        if seen.mode != mode {
            seen.mode = mode;
            drop(seen);
            self.told.notify_one();
        }
    }
}

#[cfg(test)]
#[path = "watch_tests.rs"]
mod tests;
