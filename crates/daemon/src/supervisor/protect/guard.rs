//! What the daemon knows about one folder that it protects: its watcher, its plan, and what
//! the vault holds of it.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use ringfence_model::folder::Folder;
use ringfence_model::health::NotCovered;
use ringfence_model::name::MachineName;
use ringfence_vault::Cancel;

use super::Protect;
use super::schedule::{Facts, Moment, Notice, Plan, Rule, Walk};
use crate::watch::{Dirty, Mode, Root, RootLost, View, Watcher};

/// One folder.
pub(in crate::supervisor) struct Guard {
    pub(super) folder: Folder,
    watcher: Option<Watcher>,
    state: Mutex<State>,
    /// Sessions at work that may write.
    at_work: AtomicUsize,
}

pub(super) struct State {
    pub(super) plan: Plan,
    /// The snapshot since which the watcher's changes are counted.
    pub(super) base: Option<String>,
    /// A walk that makes way for a snapshot that somebody waits for.
    pub(super) walking: Option<Cancel>,
    /// Why the folder is not there.
    pub(super) lost: Option<RootLost>,
    /// Changes that only walks found.
    pub(super) missed: u64,
    /// When the whole folder was last walked.
    pub(super) walked: Option<Timestamp>,
    /// Machines whose share of this folder takes no writes because the vault fails.
    pub(super) held: BTreeSet<MachineName>,
    /// What the newest snapshot does not hold as it is.
    pub(super) not_covered: NotCovered,
}

impl Guard {
    pub(super) fn new(folder: Folder, protect: &Protect, now: Moment) -> Self {
        let root = root_of(&folder);
        let watcher = Watcher::start(root, Arc::clone(&protect.budget), Arc::clone(&protect.told))
            .inspect_err(|error| {
                tracing::warn!(folder = %folder.path.display(), %error, "it cannot be watched");
            })
            .ok();
        let state = State {
            plan: Plan::new(now, folder.inode ^ folder.device.rotate_left(32)),
            base: None,
            walking: None,
            lost: None,
            missed: 0,
            walked: None,
            held: BTreeSet::new(),
            not_covered: NotCovered::default(),
        };
        Self { folder, watcher, state: Mutex::new(state), at_work: AtomicUsize::new(0) }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the watcher knows; `None` where there is none.
    pub(super) fn view(&self) -> Option<View> {
        self.watcher.as_ref().map(Watcher::view)
    }

    /// What the plan needs to know.
    pub(super) fn facts(&self, rule: Rule, born: Instant) -> Facts {
        let view = self.view();
        let notice = match view.as_ref().map(|view| &view.mode) {
            Some(Mode::Starting) => Notice::Starting,
            Some(Mode::Watching) => Notice::All,
            Some(Mode::Partly { .. }) => Notice::Part,
            Some(Mode::Lost(_)) => Notice::Lost,
            Some(Mode::Polling(_)) | None => Notice::None,
        };
        let since = |at: Instant| at.saturating_duration_since(born);
        let times = view.as_ref().and_then(|view| view.times);
        let counted = view.is_some_and(|view| view.count.is_some());
        Facts {
            rule,
            notice,
            dirty: times.map(|(first, newest)| (since(first), since(newest))),
            unknown: !counted || self.state().base.is_none(),
            session: self.has_session(),
        }
    }

    pub(super) fn has_session(&self) -> bool {
        self.at_work.load(Ordering::Relaxed) > 0
    }

    /// A session that may write is at work until what this gives is dropped.
    pub(in crate::supervisor) fn at_work(self: Arc<Self>) -> AtWork {
        self.at_work.fetch_add(1, Ordering::Relaxed);
        AtWork(self)
    }

    /// Has the next snapshot look at everything.
    pub(in crate::supervisor) fn distrust(&self) {
        self.state().base = None;
    }

    /// Watches anew where the folder is not watched although it is there.
    pub(super) fn watch_again(&self) {
        if let Some(watcher) = &self.watcher {
            watcher.begin_again();
        }
    }

    /// Whether a snapshot from a change list would do at this moment.
    pub(super) fn knows_changes(&self) -> bool {
        let knows = |view: View| {
            view.count.is_some() && matches!(view.mode, Mode::Watching | Mode::Partly { .. })
        };
        self.state().base.is_some() && self.view().is_some_and(knows)
    }

    /// A walk that does not do what somebody waits for ends now. It is made up for later.
    pub(super) fn make_way(&self, whole: bool) {
        if (whole || self.knows_changes())
            && let Some(walking) = &self.state().walking
        {
            walking.cancel();
        }
    }

    /// Takes the changes up to now; they come back by themselves unless they are stored.
    pub(super) async fn take(&self, polled: bool) -> Taken<'_> {
        let dirty = match &self.watcher {
            Some(watcher) => watcher.take(polled).await,
            None => {
                let mut dirty = Dirty::default();
                dirty.everything(Instant::now());
                dirty
            }
        };
        Taken { guard: self, dirty: Some(dirty) }
    }

    /// Whether the folder's directory still is what was registered. Blocks.
    pub(super) fn check_root(&self) -> Result<(), RootLost> {
        root_of(&self.folder).check()
    }
}

/// The folder's own directory, as it was registered.
pub(in crate::supervisor) fn root_of(folder: &Folder) -> Root {
    Root { path: folder.path.clone(), device: folder.device, inode: folder.inode }
}

/// A walk that may be cancelled for something that somebody waits for: one that stores
/// nothing which that would have to store itself.
pub(super) const fn makes_way(walk: Walk) -> bool {
    match walk {
        Walk::Safety | Walk::Clock | Walk::Poll => true,
        Walk::Start | Walk::Failure | Walk::Lost | Walk::Asked => false,
    }
}

/// A session at work in a folder.
pub(in crate::supervisor) struct AtWork(Arc<Guard>);

impl Drop for AtWork {
    fn drop(&mut self) {
        self.0.at_work.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Changes that were taken from the watcher.
pub(super) struct Taken<'a> {
    guard: &'a Guard,
    dirty: Option<Dirty>,
}

impl Taken<'_> {
    pub(super) fn dirty(&self) -> &Dirty {
        static NONE: std::sync::LazyLock<Dirty> = std::sync::LazyLock::new(Dirty::default);
        self.dirty.as_ref().unwrap_or(&NONE)
    }

    /// A snapshot holds them.
    pub(super) fn stored(mut self) -> Dirty {
        self.dirty.take().unwrap_or_default()
    }
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        if let (Some(dirty), Some(watcher)) = (self.dirty.take(), &self.guard.watcher) {
            watcher.put_back(dirty);
        }
    }
}

/// A moment by the steady clock, told from its distance to now.
pub(super) fn wall_of(steady: Duration, now: Moment) -> Timestamp {
    let ahead = steady.saturating_sub(now.steady);
    let behind = now.steady.saturating_sub(steady);
    let time = now.wall.saturating_add(ahead).unwrap_or(now.wall);
    time.saturating_sub(behind).unwrap_or(now.wall)
}
