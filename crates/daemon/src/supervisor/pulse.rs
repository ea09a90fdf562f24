//! That the daemon goes round: each loop that must never stand still says so after each of its
//! rounds, and once all of them have, the watchdog is fed.
//!
//! Owns: which loops these are. Must not: have a timer of its own. A daemon whose loops stand
//! still is to be restarted, however well its clock ticks.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// A loop without which the daemon keeps none of its promises.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Round {
    /// What is due of the folders' backups was begun.
    Protect,
    /// What nobody asks for was looked after.
    House,
}

/// How many loops there are.
const ROUNDS: usize = 2;

/// Who has gone round since the watchdog was last fed.
pub(super) struct Pulse {
    rounds: Mutex<[bool; ROUNDS]>,
    feed: Box<dyn Fn() + Send + Sync>,
    longest: Option<Duration>,
}

impl Pulse {
    /// Feeds a watchdog that waits for so long by calling `feed`.
    pub(super) fn new(watchdog: Option<Duration>, feed: impl Fn() + Send + Sync + 'static) -> Self {
        // A round may be late, once, without anybody having to be killed for it.
        let longest = watchdog.map(|watchdog| watchdog / 3);
        Self { rounds: Mutex::default(), feed: Box::new(feed), longest }
    }

    /// A loop has gone round.
    pub(super) fn beat(&self, round: Round) {
        let mut rounds = self.rounds.lock().unwrap_or_else(PoisonError::into_inner);
        rounds[round as usize] = true;
        if rounds.iter().all(|done| *done) {
            *rounds = [false; ROUNDS];
            (self.feed)();
        }
    }

    /// How long a loop may rest that would like to rest for so long.
    pub(super) fn rest(&self, wish: Duration) -> Duration {
        self.longest.map_or(wish, |longest| wish.min(longest))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[test]
    fn one_loop_alone_never_feeds_the_watchdog() {
        let fed = Arc::new(AtomicU32::new(0));
        let count = Arc::clone(&fed);
        let pulse = Pulse::new(None, move || {
            count.fetch_add(1, Ordering::Relaxed);
        });
        for (alone, other) in [(Round::Protect, Round::House), (Round::House, Round::Protect)] {
            let before = fed.load(Ordering::Relaxed);
            for _ in 0..10 {
                pulse.beat(alone);
            }
            assert_eq!(fed.load(Ordering::Relaxed), before, "{other:?} stands still");
            pulse.beat(other);
            assert_eq!(fed.load(Ordering::Relaxed), before + 1);
        }
    }

    #[test]
    fn loops_rest_no_longer_than_the_watchdog_allows() {
        let seconds = Duration::from_secs;
        let pulse = |watchdog| Pulse::new(watchdog, || {});
        assert_eq!(pulse(None).rest(seconds(30)), seconds(30));
        assert_eq!(pulse(Some(seconds(120))).rest(seconds(30)), seconds(30));
        assert_eq!(pulse(Some(seconds(9))).rest(seconds(30)), seconds(3));
    }
}
