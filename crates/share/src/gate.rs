//! The gate in front of every operation: knows the mode, counts, lets
//! operations in, makes them wait, and tells when the last one of the previous
//! mode is done. Must not know what an operation does.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

use crate::mass_loss::Alarm;
use crate::ops::{self, Access, Mode, Need, Verdict};

/// Counters of a share since it started, as the control socket shows them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// The mode that new operations meet.
    pub mode: Mode,
    /// Operations that are being carried out.
    pub in_flight: u64,
    /// Operations that wait because the share is held.
    pub waiting: u64,
    /// Operations admitted since the start (bookkeeping not counted).
    pub operations: u64,
    /// Of these, the ones that may change something.
    pub writes: u64,
    /// Operations refused by the mode or by a rule.
    pub denied: u64,
    /// Changes of owner that were answered with success and not made.
    pub chown_ignored: u64,
    /// What the guard against mass loss has found and nobody has decided about yet.
    pub alarm: Option<Alarm>,
}

/// Why a mode could not be set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SetError {
    /// The folder's rules say read-only.
    #[error("this folder is shared read-only (access = \"ro\"): it cannot be set to rw")]
    ReadOnlyFolder,
}

#[derive(Debug)]
struct State {
    mode: Mode,
    /// Operations in flight that began under the present mode and under the one before.
    current: u64,
    previous: u64,
    /// Which mode change an operation began after.
    generation: u64,
    waiting: u64,
    /// Stopped by the guard against mass loss until somebody has decided: no mode that the
    /// daemon sets lets anything go on, but one that takes no changes ends the waiting.
    frozen: bool,
}

impl State {
    fn verdict(&self, need: Need) -> Verdict {
        ops::verdict(ops::effective(self.mode, self.frozen), need)
    }
}

/// See the module's description.
#[derive(Debug)]
pub(crate) struct Gate {
    access: Access,
    state: Mutex<State>,
    changed: Condvar,
    /// Held while a mode is being set: there are never more than two generations.
    setting: Mutex<()>,
    operations: AtomicU64,
    writes: AtomicU64,
    denied: AtomicU64,
    chown_ignored: AtomicU64,
}

/// An operation that was let in; it is over when this is dropped.
#[derive(Debug)]
pub(crate) struct Admitted<'a> {
    gate: &'a Gate,
    generation: u64,
}

// A panic while one of these locks is held ends the process (see `run`), so a
// poisoned lock is never met in service; the data are plain numbers.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Gate {
    /// A gate of a folder with this access, in this mode.
    ///
    /// # Errors
    /// The mode is `rw` and the access is `ro`.
    pub(crate) fn new(access: Access, mode: Mode) -> Result<Self, SetError> {
        if !ops::may_set(access, mode) {
            return Err(SetError::ReadOnlyFolder);
        }
        Ok(Self {
            access,
            state: Mutex::new(State {
                mode,
                current: 0,
                previous: 0,
                generation: 0,
                waiting: 0,
                frozen: false,
            }),
            changed: Condvar::new(),
            setting: Mutex::new(()),
            operations: AtomicU64::new(0),
            writes: AtomicU64::new(0),
            denied: AtomicU64::new(0),
            chown_ignored: AtomicU64::new(0),
        })
    }

    /// Lets an operation in, after waiting while the share is held.
    ///
    /// # Errors
    /// What the mode answers to such a need.
    pub(crate) fn enter(&self, need: Need) -> std::io::Result<Admitted<'_>> {
        let mut state = lock(&self.state);
        loop {
            match state.verdict(need) {
                Verdict::Proceed => break,
                Verdict::Refuse(errno) => {
                    drop(state);
                    self.count_denied();
                    return Err(errno.into());
                }
                Verdict::Wait => {
                    state.waiting += 1;
                    state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                    state.waiting -= 1;
                }
            }
        }
        state.current += 1;
        let generation = state.generation;
        drop(state);
        if need != Need::Bookkeeping {
            self.operations.fetch_add(1, Ordering::Relaxed);
        }
        if need == Need::Change {
            self.writes.fetch_add(1, Ordering::Relaxed);
        }
        Ok(Admitted { gate: self, generation })
    }

    /// Sets the mode and returns once every operation that began under an
    /// earlier mode is finished. `leaving_held` is called before the first
    /// operation that waited goes on.
    ///
    /// # Errors
    /// [`SetError::ReadOnlyFolder`]
    pub(crate) fn set(&self, mode: Mode, leaving_held: impl FnOnce()) -> Result<Status, SetError> {
        if !ops::may_set(self.access, mode) {
            return Err(SetError::ReadOnlyFolder);
        }
        let setting = lock(&self.setting);
        let mut state = lock(&self.state);
        if state.mode == Mode::Held && mode != Mode::Held {
            drop(state);
            leaving_held();
            state = lock(&self.state);
        }
        state.mode = mode;
        state.generation += 1;
        state.previous = state.current;
        state.current = 0;
        self.changed.notify_all();
        while state.previous > 0 {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        drop(state);
        drop(setting);
        Ok(self.status())
    }

    /// Has everything wait that would go on, if that is still so when nobody else can
    /// enter. Returns at once: what is in flight is finished meanwhile.
    pub(crate) fn freeze_if(&self, still: impl FnOnce() -> bool) {
        let mut state = lock(&self.state);
        state.frozen |= still();
    }

    /// Lets what waits go on, as the mode says.
    pub(crate) fn thaw(&self) {
        lock(&self.state).frozen = false;
        self.changed.notify_all();
    }

    /// Mode and counters at this moment.
    #[must_use]
    pub(crate) fn status(&self) -> Status {
        let state = lock(&self.state);
        Status {
            mode: state.mode,
            in_flight: state.current + state.previous,
            waiting: state.waiting,
            operations: self.operations.load(Ordering::Relaxed),
            writes: self.writes.load(Ordering::Relaxed),
            denied: self.denied.load(Ordering::Relaxed),
            chown_ignored: self.chown_ignored.load(Ordering::Relaxed),
            // Counted elsewhere; whoever answers the daemon adds it.
            alarm: None,
        }
    }

    /// Counts an operation that a rule refused.
    pub(crate) fn count_denied(&self) {
        self.denied.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a change of owner that was not made.
    pub(crate) fn count_chown_ignored(&self) {
        self.chown_ignored.fetch_add(1, Ordering::Relaxed);
    }
}

impl Drop for Admitted<'_> {
    fn drop(&mut self) {
        let mut state = lock(&self.gate.state);
        if self.generation == state.generation {
            state.current -= 1;
        } else {
            state.previous -= 1;
            if state.previous == 0 {
                self.gate.changed.notify_all();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;
    use std::thread;

    #[test]
    fn a_mode_is_set_only_when_what_began_before_is_over() {
        let gate = Gate::new(Access::Rw, Mode::Rw).unwrap();
        let op = gate.enter(Need::Change).unwrap();
        let (send, done) = mpsc::channel();
        thread::scope(|scope| {
            scope.spawn(|| {
                gate.set(Mode::Ro, || {}).unwrap();
                send.send(()).unwrap();
            });
            // The new mode holds at once for new operations …
            while gate.status().mode != Mode::Ro {
                thread::yield_now();
            }
            assert!(gate.enter(Need::Change).is_err());
            let reading = gate.enter(Need::Look).unwrap();
            // … and the answer waits for the old one, not for new ones.
            assert!(done.try_recv().is_err());
            drop(op);
            done.recv().unwrap();
            drop(reading);
        });
        assert_eq!(gate.status().in_flight, 0);
        assert_eq!(gate.status().denied, 1);
        assert_eq!(gate.status().writes, 1);
    }

    #[test]
    fn held_operations_go_on_after_the_refresh() {
        let gate = Gate::new(Access::Rw, Mode::Rw).unwrap();
        gate.set(Mode::Held, || panic!("not leaving")).unwrap();
        let refreshed = AtomicU64::new(0);
        thread::scope(|scope| {
            let waiter = scope.spawn(|| {
                let _op = gate.enter(Need::Change).unwrap();
                refreshed.load(Ordering::SeqCst)
            });
            while gate.status().waiting == 0 {
                thread::yield_now();
            }
            assert!(gate.enter(Need::Bookkeeping).is_ok());
            gate.set(Mode::Rw, || refreshed.store(7, Ordering::SeqCst)).unwrap();
            assert_eq!(waiter.join().unwrap(), 7);
        });
    }

    #[test]
    fn what_is_frozen_goes_on_by_a_thaw_and_by_no_mode() {
        let gate = Gate::new(Access::Rw, Mode::Rw).unwrap();
        gate.freeze_if(|| false);
        drop(gate.enter(Need::Change).unwrap());
        gate.freeze_if(|| true);
        thread::scope(|scope| {
            let waiter = scope.spawn(|| gate.enter(Need::Change).map(drop));
            while gate.status().waiting == 0 {
                thread::yield_now();
            }
            for mode in [Mode::Rw, Mode::Held, Mode::Rw] {
                gate.set(mode, || {}).unwrap();
                assert_eq!(gate.status().operations, 1, "{mode:?}");
            }
            assert!(!waiter.is_finished());
            gate.thaw();
            waiter.join().unwrap().unwrap();
        });
    }

    #[test]
    fn a_frozen_share_that_takes_no_changes_refuses_what_waited() {
        let gate = Gate::new(Access::Rw, Mode::Rw).unwrap();
        gate.freeze_if(|| true);
        thread::scope(|scope| {
            let waiter = scope.spawn(|| gate.enter(Need::Change).map(drop));
            while gate.status().waiting == 0 {
                thread::yield_now();
            }
            gate.set(Mode::Ro, || {}).unwrap();
            let error = waiter.join().unwrap().unwrap_err();
            assert_eq!(error.raw_os_error(), Some(30)); // EROFS
            drop(gate.enter(Need::Look).unwrap());
        });
    }

    #[test]
    fn closing_a_held_share_refuses_what_waited() {
        let gate = Gate::new(Access::Rw, Mode::Held).unwrap();
        thread::scope(|scope| {
            let waiter = scope.spawn(|| gate.enter(Need::Look).map(drop));
            while gate.status().waiting == 0 {
                thread::yield_now();
            }
            gate.set(Mode::Closed, || {}).unwrap();
            let error = waiter.join().unwrap().unwrap_err();
            assert_eq!(error.raw_os_error(), Some(107)); // ENOTCONN
        });
    }

    #[test]
    fn a_read_only_folder_refuses_rw() {
        assert!(Gate::new(Access::Ro, Mode::Rw).is_err());
        let gate = Gate::new(Access::Ro, Mode::Closed).unwrap();
        assert_eq!(gate.set(Mode::Rw, || {}), Err(SetError::ReadOnlyFolder));
        assert_eq!(gate.status().mode, Mode::Closed);
    }
}
