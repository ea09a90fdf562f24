//! Protects every registered folder by itself, whether or not an agent runs: watches it,
//! and takes snapshots while it changes.
//!
//! Owns one guard a folder, and the loop that asks each guard's plan (`schedule`, pure)
//! what comes next. Must not: know what a vault looks like inside, or read a folder itself.

mod guard;
mod schedule;
mod shown;
mod shrink;
mod take;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use ringfence_model::folder::Folder;
use ringfence_model::name::FolderId;
use ringfence_model::protection::Standing;
use tokio::sync::Notify;

use super::Daemon;
use super::pulse::Round;
use crate::watch::{Budget, Mode};
use guard::Guard;
use schedule::{Going, Job, LOOK, Moment, Next, Rule};

pub(super) use guard::root_of;
pub(super) use shown::{MORE_WATCHES, problems};
pub(super) use take::{Want, lost_error};

/// All folders that are protected.
pub(super) struct Protect {
    budget: Arc<Budget>,
    /// Told of whatever may change what comes next.
    told: Arc<Notify>,
    born: Instant,
    guards: Mutex<HashMap<FolderId, Arc<Guard>>>,
    going: Mutex<HashMap<FolderId, Going>>,
    /// Held while shares are switched for a vault's sake, or a session begins to close.
    pub(super) switching: tokio::sync::Mutex<()>,
}

impl Protect {
    pub(super) fn new() -> Self {
        Self {
            budget: Arc::new(Budget::of_host()),
            told: Arc::new(Notify::new()),
            born: Instant::now(),
            guards: Mutex::default(),
            going: Mutex::default(),
            switching: tokio::sync::Mutex::new(()),
        }
    }

    fn now(&self) -> Moment {
        take::moment(self.born)
    }

    /// Has the loop look at all folders again: one came, went, or has other rules.
    pub(super) fn tell(&self) {
        self.told.notify_one();
    }

    /// The guard of a folder; a new one where another directory was registered since.
    pub(super) fn guard(&self, folder: &Folder) -> Arc<Guard> {
        let mut guards = self.guards.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(guard) = guards.get(&folder.id).filter(|guard| guard.folder == *folder) {
            return Arc::clone(guard);
        }
        let guard = Arc::new(Guard::new(folder.clone(), self, self.now()));
        guards.insert(folder.id.clone(), Arc::clone(&guard));
        guard
    }

    fn known(&self, folder: &FolderId) -> Option<Arc<Guard>> {
        self.guards.lock().unwrap_or_else(PoisonError::into_inner).get(folder).cloned()
    }

    /// Forgets folders that are not protected any more; their watches end.
    fn keep(&self, holds: impl Fn(&Guard) -> bool) {
        let mut guards = self.guards.lock().unwrap_or_else(PoisonError::into_inner);
        guards.retain(|_, guard| holds(guard));
    }

    fn going(&self) -> std::sync::MutexGuard<'_, HashMap<FolderId, Going>> {
        self.going.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Daemon {
    /// Protects all registered folders. Ends with the daemon.
    pub async fn protect_folders(self: Arc<Self>) {
        loop {
            let pause = self.pulse.rest(self.protect_once());
            self.pulse.beat(Round::Protect);
            tokio::select! {
                () = self.protect.told.notified() => {}
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// Starts whatever is due; how long nothing else will be.
    fn protect_once(self: &Arc<Self>) -> Duration {
        let folders = match self.store.folders() {
            Ok(file) => file.folders,
            Err(error) => {
                tracing::error!(%error, "folders cannot be read, so none is backed up");
                return LOOK;
            }
        };
        let now = self.protect.now();
        let mut wake = now.steady + LOOK;
        let mut ready = Vec::new();
        let mut protected = Vec::new();
        for folder in &folders {
            let rule = self.rule(folder);
            if rule == Rule::Off {
                continue;
            }
            protected.push(&folder.id);
            let guard = self.protect.guard(folder);
            let facts = guard.facts(rule, self.protect.born);
            let next = {
                let plan = &mut guard.state().plan;
                plan.notice_time(now);
                plan.next(&facts, now)
            };
            match next {
                Next::Wait(until) => wake = wake.min(until),
                Next::Run(job, due) => ready.push((due, guard, job)),
            }
        }
        // A session at work keeps a folder's guard, whatever its rule is by now.
        self.protect.keep(|guard| protected.contains(&&guard.folder.id) || guard.has_session());
        // Whoever waits longest goes first.
        ready.sort_by_key(|(due, ..)| *due);
        for (_, guard, job) in ready {
            self.begin(guard, job, now);
        }
        wake.saturating_sub(now.steady)
    }

    /// Begins a job, unless everybody is busy: then the end of another one wakes the loop.
    fn begin(self: &Arc<Self>, guard: Arc<Guard>, job: Job, now: Moment) {
        let daemon = Arc::clone(self);
        let id = guard.folder.id.clone();
        if job != Job::Look {
            let going = Going::new(job, guard.state().plan.is_failing(), now.steady);
            let mut all = self.protect.going();
            let others: Vec<Going> = all.values().copied().collect();
            if !going.may_go_beside(&others, now.steady) {
                return;
            }
            all.insert(id.clone(), going);
        }
        guard.state().plan.set_running(true);
        tokio::spawn(async move {
            match job {
                Job::Look => daemon.look_at(&guard).await,
                Job::Changes { .. } | Job::Walk(_) => daemon.scheduled(&guard, job).await,
            }
            guard.state().plan.set_running(false);
            daemon.protect.going().remove(&id);
            daemon.protect.tell();
        });
    }

    /// Sees whether a folder is still there, or there again.
    async fn look_at(&self, guard: &Arc<Guard>) {
        let found = take::look(guard).await;
        let now = self.protect.now().steady;
        let unwatched = guard.view().is_some_and(|view| matches!(view.mode, Mode::Lost(_)));
        let news = {
            let mut state = guard.state();
            let was_lost = state.plan.is_lost() || unwatched && found.is_ok();
            state.plan.looked(found.is_ok(), now);
            state.lost = found.as_ref().err().cloned();
            was_lost == found.is_ok()
        };
        if news {
            // Its watches stand where the folder was.
            guard.watch_again();
            guard.distrust();
        }
        if let (Err(lost), true) = (found, news) {
            tracing::error!(folder = %guard.folder.path.display(), %lost, "the folder is not there");
        }
    }

    /// Whether a folder is to be protected now.
    fn rule(&self, folder: &Folder) -> Rule {
        match self.standing(folder) {
            Standing::On | Standing::OnUnconfirmed => Rule::On,
            Standing::Paused { left } => Rule::Paused(Duration::from_secs(left)),
            Standing::Off => Rule::Off,
        }
    }
}
