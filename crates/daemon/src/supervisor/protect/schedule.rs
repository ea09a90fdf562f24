//! When a folder gets its next snapshot, and how much of it is looked at. Pure: what is
//! known and what time it is come in, one decision comes out.
//!
//! All distances are measured by a clock that never jumps. The wall clock is only asked
//! whether it jumped: after a sleep of the computer or a change of its clock nobody knows
//! what happened meanwhile, so the folder is walked.

use std::time::Duration;

use jiff::Timestamp;

/// After so long without a change the changes before are stored.
pub(super) const QUIET: Duration = Duration::from_secs(5);
/// Changes are stored after so long at the latest, however steadily more come.
pub(super) const STEADY: Duration = Duration::from_secs(30);
/// Least pause between two snapshots of a folder.
pub(super) const PAUSE: Duration = Duration::from_secs(5);
/// A snapshot that took long is followed by a longer pause: so many times as long…
const REST: u32 = 4;
/// … up to this, lest a slow folder be left alone for longer than a steady writer is …
const MOST_REST: Duration = STEADY;
// … but always for as long as it took: a file of many gigabytes that grows without end
// is read half of the time at most.
/// Pause between two safety walks while a folder is worked in.
pub(super) const WALK: Duration = Duration::from_secs(10 * 60);
/// The longest pause between two, when nothing happens.
pub(super) const MOST_WALK: Duration = Duration::from_secs(60 * 60);
/// Pause between two looks at what is not watched.
pub(super) const POLL: Duration = Duration::from_secs(30);
/// The longest such pause, when the looks find nothing and no session is at work.
const MOST_POLL: Duration = Duration::from_secs(5 * 60);
/// Looks at what is not watched take at most one part in so many of the time.
const POLL_SHARE: u32 = 20;
/// Safety walks take at most one part in so many of the time …
const WALK_SHARE: u32 = 2000;
/// … where that makes them no rarer than [`MOST_WALK`], and never more than one part in so many.
const MOST_WALK_SHARE: u32 = 50;
/// How long a first walk waits for the watches to be in place.
const MOST_START: Duration = Duration::from_secs(60);
/// First pause after a failure; doubled with each further one.
const RETRY: Duration = Duration::from_secs(5);
/// The longest pause after a failure.
const MOST_RETRY: Duration = Duration::from_secs(5 * 60);
/// Pause between two looks whether the folder is still there.
pub(super) const LOOK: Duration = Duration::from_secs(30);
/// The same while it is not.
const LOOK_FOR: Duration = Duration::from_secs(10);
/// The two clocks may drift so far apart between two decisions before it is a jump.
const JUMP: Duration = Duration::from_secs(60);
/// Snapshots that the scheduler has going at once, over all folders.
const WORKERS: usize = 2;
/// A snapshot from a change list that takes longer is taken to hang.
const STUCK: Duration = Duration::from_secs(60);
/// A walk that takes longer is taken to hang, or is that large that another may go beside it.
const STUCK_WALK: Duration = Duration::from_secs(15 * 60);

/// A moment by both clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Moment {
    /// Since the daemon started; never jumps.
    pub(super) steady: Duration,
    /// For people.
    pub(super) wall: Timestamp,
}

/// Whether a folder is to be protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rule {
    /// It is.
    On,
    /// Not for so long.
    Paused(Duration),
    /// Turned off by the explicit act.
    Off,
}

/// How much is heard of a folder's changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Notice {
    /// Watches are being put in place.
    Starting,
    /// Everything.
    All,
    /// Some directories are not watched.
    Part,
    /// Nothing.
    None,
    /// That it is not there.
    Lost,
}

/// What is known about a folder at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Facts {
    pub(super) rule: Rule,
    pub(super) notice: Notice,
    /// Steady times of the first and the newest change that no snapshot holds yet.
    pub(super) dirty: Option<(Duration, Duration)>,
    /// Which changes these are nobody knows.
    pub(super) unknown: bool,
    /// A session is at work that may write.
    pub(super) session: bool,
}

/// Why a whole folder is walked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Walk {
    /// Nobody knows what happened before the daemon started.
    Start,
    /// The last attempt failed.
    Failure,
    /// The computer slept or its clock was set.
    Clock,
    /// It was time for one.
    Safety,
    /// Nothing of the folder is watched.
    Poll,
    /// The folder was away and came back, or nobody knows what changed.
    Lost,
    /// Somebody waits for it.
    Asked,
}

/// What is to be done for a folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Job {
    /// See whether the folder is still there.
    Look,
    /// A snapshot of what is known to have changed; with `polled` also of what is not watched.
    Changes {
        /// Look at what is not watched as well.
        polled: bool,
    },
    /// A snapshot for which everything is looked at.
    Walk(Walk),
}

/// How an attempt came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// What the folder holds is in the vault.
    Stored {
        /// Something had changed.
        changed: bool,
    },
    /// It did not work.
    Failed,
    /// It made way for a snapshot that somebody waits for.
    GaveWay,
    /// The folder is not there.
    Lost,
}

/// What comes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// Nothing before this steady time.
    Wait(Duration),
    /// This, which was due at this steady time.
    Run(Job, Duration),
}

/// What was done for a folder so far, as far as it matters.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    seed: u64,
    since: Duration,
    wanted: Option<Walk>,
    running: bool,
    ended: Option<Duration>,
    took: Duration,
    walked: Option<Duration>,
    walk_took: Duration,
    walk_every: Duration,
    looked_at_unwatched: Option<Duration>,
    poll_every: Duration,
    looked: Duration,
    lost: bool,
    failures: u32,
    held: bool,
    clock: Moment,
}

impl Plan {
    /// For a folder of which nothing is known. The seed sets folders apart that fail together.
    pub(super) const fn new(now: Moment, seed: u64) -> Self {
        Self {
            seed,
            since: now.steady,
            wanted: Some(Walk::Start),
            running: false,
            ended: None,
            took: Duration::ZERO,
            walked: None,
            walk_took: Duration::ZERO,
            walk_every: WALK,
            looked_at_unwatched: None,
            poll_every: POLL,
            looked: now.steady,
            lost: false,
            failures: 0,
            held: false,
            clock: now,
        }
    }

    /// Takes notice of the time. After a jump of the wall clock the folder is walked.
    pub(super) fn notice_time(&mut self, now: Moment) {
        let steady = now.steady.saturating_sub(self.clock.steady);
        let wall = now.wall.duration_since(self.clock.wall);
        let apart = wall - jiff::SignedDuration::try_from(steady).unwrap_or_default();
        self.clock = now;
        if apart.unsigned_abs() > JUMP {
            self.want(Walk::Clock);
        }
    }

    /// Has the folder walked as soon as may be.
    pub(super) const fn want(&mut self, walk: Walk) {
        if self.wanted.is_none() {
            self.wanted = Some(walk);
        }
    }

    /// Writes of a share wait for the next success: it is tried for often.
    pub(super) const fn set_held(&mut self, held: bool) {
        self.held = held;
    }

    pub(super) const fn is_failing(&self) -> bool {
        self.failures > 0
    }

    pub(super) const fn is_lost(&self) -> bool {
        self.lost
    }

    pub(super) const fn is_running(&self) -> bool {
        self.running
    }

    /// What comes next for this folder.
    pub(super) fn next(&self, facts: &Facts, now: Moment) -> Next {
        match facts.rule {
            Rule::Off => return Next::Wait(now.steady + LOOK),
            Rule::Paused(left) if !left.is_zero() => {
                return Next::Wait(now.steady + left.min(LOOK));
            }
            Rule::Paused(_) | Rule::On => {}
        }
        if self.running {
            return Next::Wait(now.steady + LOOK);
        }
        if self.lost || facts.notice == Notice::Lost {
            return at(Job::Look, self.looked + LOOK_FOR, now);
        }
        let look = self.looked + LOOK;
        let (job, due) = (self.snapshot(facts).0, self.due(facts));
        if due <= look { at(job, due, now) } else { at(Job::Look, look, now) }
    }

    /// When the next snapshot is due.
    pub(super) fn due(&self, facts: &Facts) -> Duration {
        self.snapshot(facts).1.max(self.ended.map_or(Duration::ZERO, |ended| ended + self.rest()))
    }

    /// The next snapshot, and when it is due if the folder may be read at all times.
    fn snapshot(&self, facts: &Facts) -> (Job, Duration) {
        if self.failures > 0 {
            return (Job::Walk(Walk::Failure), self.ended.unwrap_or(self.since) + self.back_off());
        }
        let mut first: Option<(Job, Duration)> = None;
        let mut offer = |job: Job, due: Duration| {
            if first.is_none_or(|(_, earliest)| due < earliest) {
                first = Some((job, due));
            }
        };
        if let Some(walk) = self.wanted {
            let waits = facts.notice == Notice::Starting;
            let due = self.ended.unwrap_or(self.since);
            offer(Job::Walk(walk), if waits { due + MOST_START } else { due });
        }
        if let Some((begun, newest)) = facts.dirty {
            let due = (newest + QUIET).min(begun + STEADY);
            match facts.notice {
                Notice::All | Notice::Part if facts.unknown => offer(Job::Walk(Walk::Lost), due),
                Notice::All | Notice::Part => offer(Job::Changes { polled: false }, due),
                // The walk at the end of the start sees to it.
                Notice::Starting => offer(Job::Walk(Walk::Start), due + MOST_START),
                Notice::None | Notice::Lost => {}
            }
        }
        let looked = self.looked_at_unwatched.or(self.walked).unwrap_or(self.since);
        let every = if facts.session { POLL } else { self.poll_every };
        let polls = looked + every.max(self.walk_took * POLL_SHARE);
        match facts.notice {
            Notice::None => offer(Job::Walk(Walk::Poll), polls),
            Notice::Part if facts.unknown => offer(Job::Walk(Walk::Poll), polls),
            Notice::Part => offer(Job::Changes { polled: true }, polls),
            Notice::All | Notice::Starting | Notice::Lost => {}
        }
        let every = self
            .walk_every
            .max((self.walk_took * WALK_SHARE).min(MOST_WALK))
            .max(self.walk_took * MOST_WALK_SHARE);
        let safety = (Job::Walk(Walk::Safety), self.walked.unwrap_or(self.since) + every);
        match first {
            Some(first) if first.1 <= safety.1 => first,
            _ => safety,
        }
    }

    fn rest(&self) -> Duration {
        rest_after(self.took)
    }

    fn back_off(&self) -> Duration {
        let doubled = RETRY.saturating_mul(1 << (self.failures - 1).min(10));
        let longest = if self.held { RETRY } else { MOST_RETRY };
        let pause = doubled.min(longest);
        // Up to a fifth more: vaults that failed together do not come back together.
        let digits = (self.seed ^ u64::from(self.failures)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        pause + pause / 5 * u32::try_from(digits >> 56).unwrap_or(0) / 256
    }

    /// The scheduler has something going for this folder, or not any more.
    pub(super) const fn set_running(&mut self, running: bool) {
        self.running = running;
    }

    /// A look at the folder came out.
    pub(super) const fn looked(&mut self, there: bool, now: Duration) {
        self.looked = now;
        if there && self.lost {
            self.want(Walk::Lost);
        }
        self.lost = !there;
    }

    /// A snapshot came out, whoever asked for it: it began and ended then.
    pub(super) fn came_out(
        &mut self,
        job: Job,
        outcome: Outcome,
        (began, now): (Duration, Duration),
    ) {
        self.ended = Some(now);
        match outcome {
            Outcome::Stored { changed } => {
                self.failures = 0;
                self.looked(true, now);
                self.took = now.saturating_sub(began);
                self.stored(job, changed, now);
            }
            Outcome::Failed => self.failures = self.failures.saturating_add(1),
            Outcome::Lost => self.looked(false, now),
            Outcome::GaveWay => {
                if let Job::Walk(walk) = job {
                    self.want(walk);
                }
            }
        }
    }

    fn stored(&mut self, job: Job, changed: bool, now: Duration) {
        let unwatched = matches!(job, Job::Walk(_) | Job::Changes { polled: true });
        if unwatched {
            self.looked_at_unwatched = Some(now);
            self.poll_every = if changed { POLL } else { (self.poll_every * 2).min(MOST_POLL) };
        }
        match job {
            Job::Walk(_) => {
                self.wanted = None;
                self.walked = Some(now);
                self.walk_took = self.took;
                self.walk_every = if changed { WALK } else { (self.walk_every * 2).min(MOST_WALK) };
            }
            Job::Changes { .. } if changed => self.walk_every = WALK,
            Job::Changes { .. } | Job::Look => {}
        }
    }
}

/// The pause after a snapshot that took so long.
fn rest_after(took: Duration) -> Duration {
    PAUSE.max((took * REST).min(MOST_REST)).max(took)
}

const fn at(job: Job, due: Duration, now: Moment) -> Next {
    if due.as_nanos() <= now.steady.as_nanos() { Next::Run(job, due) } else { Next::Wait(due) }
}

/// A snapshot that the scheduler has going.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Going {
    /// It may take long: it walks, or its vault failed the last time.
    heavy: bool,
    began: Duration,
}

impl Going {
    pub(super) const fn new(job: Job, failing: bool, began: Duration) -> Self {
        Self { heavy: failing || matches!(job, Job::Walk(_)), began }
    }

    /// Whether this may go beside those. One worker is kept for what is quick, so that no
    /// folder that is large, or whose vault fails, delays the changes of another one.
    pub(super) fn may_go_beside(self, others: &[Self], now: Duration) -> bool {
        // What hangs uses no processor; it must not keep everything else from being stored.
        let stuck = |other: &Self| {
            now.saturating_sub(other.began) > if other.heavy { STUCK_WALK } else { STUCK }
        };
        let count = others.iter().filter(|other| !stuck(other)).count();
        let heavy = others.iter().any(|other| other.heavy && !stuck(other));
        count < WORKERS && !(self.heavy && heavy)
    }
}

#[cfg(test)]
#[path = "schedule_tests.rs"]
mod tests;
