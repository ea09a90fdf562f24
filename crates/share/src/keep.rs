//! The share's side of the keeper: numbers each change, sends it, waits for the
//! answer where something would be lost, and knows what the vault has already.
//! Must not know how or where anything is kept.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError, RwLock};

use rustix::fs::Statx;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use rustix::time::{
    ClockId, Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, clock_gettime,
    timerfd_create, timerfd_settime,
};
use serde::{Deserialize, Serialize};

use crate::journal::Record;
use crate::wire::{self, Answer, MOST_CONNECTIONS, Wish};

const SECOND: i64 = 1_000_000_000;

/// A change time must be older than the snapshot's start by this, in nanoseconds:
/// more than two ticks of any file clock, and more than [`MOST_STEP`].
const MARGIN: i64 = SECOND;

/// How far the clock may have been set back between the snapshot's start and the
/// moment from which every step is noticed, in nanoseconds.
const MOST_STEP: i64 = SECOND / 2;

/// The moment at which a snapshot that is on disk began to be read, by two clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SnapshotStart {
    /// The clock that stamps files, in nanoseconds since 1970.
    pub real: i64,
    /// Time since the host started, in nanoseconds.
    pub boot: i64,
}

fn nanoseconds(time: Timespec) -> i64 {
    time.tv_sec.saturating_mul(SECOND).saturating_add(time.tv_nsec)
}

impl SnapshotStart {
    /// This moment.
    #[must_use]
    pub fn now() -> Self {
        Self {
            real: nanoseconds(clock_gettime(ClockId::Realtime)),
            boot: nanoseconds(clock_gettime(ClockId::Boottime)),
        }
    }

    /// How far the file clock is ahead of the other one; falls when it is set back.
    const fn lead(self) -> i64 {
        self.real - self.boot
    }
}

/// Whether a version need not be kept because the vault has it.
#[derive(Debug)]
struct Stored {
    /// Versions last changed before this, in nanoseconds since 1970, are in the vault.
    before: RwLock<Option<i64>>,
    /// Is cancelled when the clock is set; nothing about change times can be
    /// concluded from then on.
    clock: OwnedFd,
}

/// See the module's description.
#[derive(Debug)]
pub(crate) struct Keeper {
    lines: Vec<Mutex<OwnedFd>>,
    next: AtomicUsize,
    sequence: AtomicU64,
    stored: Stored,
}

impl Keeper {
    /// Connects as often as there are threads. Must happen while the socket has a name.
    ///
    /// # Errors
    /// The keeper does not listen.
    pub(crate) fn connect(socket: &Path, threads: usize) -> io::Result<Self> {
        let address = SocketAddrUnix::new(socket)?;
        let lines = (0..threads.clamp(1, MOST_CONNECTIONS)).map(|_| {
            let (domain, kind) = (AddressFamily::UNIX, SocketType::SEQPACKET);
            let line = rustix::net::socket_with(domain, kind, SocketFlags::CLOEXEC, None)?;
            rustix::net::connect(&line, &address)?;
            Ok(Mutex::new(line))
        });
        Self::over(lines.collect::<io::Result<_>>()?)
    }

    /// A keeper at the other end of these connections.
    pub(crate) fn over(lines: Vec<Mutex<OwnedFd>>) -> io::Result<Self> {
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        // Rises over restarts as well, as long as the clock does.
        let first = clock_gettime(ClockId::Realtime);
        Ok(Self {
            lines,
            next: AtomicUsize::new(0),
            sequence: AtomicU64::new(nanoseconds(first).cast_unsigned()),
            stored: Stored {
                before: RwLock::new(None),
                clock: timerfd_create(TimerfdClockId::Realtime, flags)?,
            },
        })
    }

    /// From now on versions that were last changed before this snapshot began need
    /// not be kept; `None`: every version must.
    ///
    /// # Errors
    /// The clock cannot be watched: every version is kept.
    pub(crate) fn trust(&self, snapshot: Option<SnapshotStart>) -> io::Result<()> {
        let mut before = self.stored.before.write().unwrap_or_else(PoisonError::into_inner);
        *before = None;
        let Some(snapshot) = snapshot else { return Ok(()) };
        // Watched first, compared then: no step falls in between.
        let never = Timespec { tv_sec: i64::from(u32::MAX) * 4, tv_nsec: 0 };
        let zero = Timespec { tv_sec: 0, tv_nsec: 0 };
        timerfd_settime(
            &self.stored.clock,
            TimerfdTimerFlags::ABSTIME | TimerfdTimerFlags::CANCEL_ON_SET,
            &Itimerspec { it_interval: zero, it_value: never },
        )?;
        *before = trusted(snapshot, SnapshotStart::now());
        Ok(())
    }

    /// Whether the vault has exactly this version of a file, so that it may be lost here.
    pub(crate) fn is_stored(&self, stat: &Statx) -> bool {
        let before = *self.stored.before.read().unwrap_or_else(PoisonError::into_inner);
        let Some(before) = before else { return false };
        let changed = stat.stx_ctime.tv_sec.saturating_mul(SECOND);
        if changed.saturating_add(i64::from(stat.stx_ctime.tv_nsec)) >= before {
            return false;
        }
        if self.clock_was_set() {
            *self.stored.before.write().unwrap_or_else(PoisonError::into_inner) = None;
            return false;
        }
        true
    }

    fn clock_was_set(&self) -> bool {
        // Nothing to read: the timer neither ran out (for centuries) nor was cancelled.
        let mut ticks = [0; 8];
        !matches!(rustix::io::read(&self.stored.clock, &mut ticks), Err(Errno::AGAIN))
    }

    fn numbered(&self, mut record: Record) -> Record {
        record.sequence = self.sequence.fetch_add(1, Ordering::Relaxed);
        record.time = nanoseconds(clock_gettime(ClockId::Realtime));
        record
    }

    /// A connection that nobody else uses at the moment, where there is one.
    fn line(&self) -> std::sync::MutexGuard<'_, OwnedFd> {
        let count = self.lines.len();
        let first = self.next.fetch_add(1, Ordering::Relaxed);
        for at in 0..count {
            if let Ok(line) = self.lines[(first + at) % count].try_lock() {
                return line;
            }
        }
        self.lines[first % count].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells of a change that destroys nothing.
    pub(crate) fn note(&self, record: Record) {
        let record = self.numbered(record);
        let sent = wire::send(&*self.line(), Wish::Note, &record, None);
        if let Err(error) = sent {
            gone(&error);
        }
    }

    /// Has the content of a descriptor kept, and returns when it is.
    ///
    /// # Errors
    /// ENOSPC where there is no room, EIO where it could not be kept: then the
    /// operation must not be carried out.
    pub(crate) fn keep(&self, wish: Wish, record: Record, file: BorrowedFd<'_>) -> io::Result<()> {
        let record = self.numbered(record);
        let line = self.line();
        let answer = wire::send(&*line, wish, &record, Some(file))
            .and_then(|()| wire::answered(line.as_fd()));
        match answer {
            Ok(Answer::Kept) => Ok(()),
            Ok(Answer::NoSpace) => Err(Errno::NOSPC.into()),
            Ok(Answer::Failed) => Err(Errno::IO.into()),
            Err(error) => gone(&error),
        }
    }
}

/// Until when change times may be trusted, by a snapshot's start and this moment.
fn trusted(snapshot: SnapshotStart, now: SnapshotStart) -> Option<i64> {
    let set_back = snapshot.lead().saturating_sub(now.lead()) > MOST_STEP;
    let sane = now.boot >= snapshot.boot && now.real >= snapshot.real;
    (sane && !set_back).then(|| snapshot.real.saturating_sub(MARGIN))
}

/// Without a keeper nothing may change any more. The process ends, before the
/// operation that needed it is carried out; whoever started it notices.
fn gone(error: &io::Error) -> ! {
    use std::io::Write;
    let _ = writeln!(io::stderr(), "ringfence share: the keeper is gone: {error}");
    std::process::exit(3)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(real: i64, boot: i64) -> SnapshotStart {
        SnapshotStart { real: real * SECOND, boot: boot * SECOND }
    }

    #[test]
    fn a_clock_that_was_set_back_is_not_trusted() {
        let start = at(1000, 50);
        let before = Some(start.real - MARGIN);
        assert_eq!(trusted(start, at(1060, 110)), before);
        // Forward (or a sleep that both clocks count): change times only grow.
        assert_eq!(trusted(start, at(5000, 110)), before);
        // An hour back, also where the clock has overtaken the start again.
        assert_eq!(trusted(start, at(1060, 3710)), None);
        assert_eq!(trusted(start, at(1059, 110)), None);
        // Another boot of the host.
        assert_eq!(trusted(start, at(2000, 1)), None);
    }

    #[test]
    fn only_what_is_clearly_older_than_the_snapshot_is_stored() {
        let keeper = Keeper::over(Vec::new()).unwrap();
        let temp = tempfile::tempdir().unwrap();
        let look = || {
            let stat = rustix::fs::statx(
                rustix::fs::CWD,
                temp.path(),
                rustix::fs::AtFlags::empty(),
                rustix::fs::StatxFlags::BASIC_STATS,
            );
            stat.unwrap()
        };
        let start = SnapshotStart::now();
        assert!(!keeper.is_stored(&look()), "without a snapshot");
        keeper.trust(Some(start)).unwrap();
        assert!(!keeper.is_stored(&look()), "changed in the second before");
        let mut old = look();
        old.stx_ctime.tv_sec -= 2;
        assert!(keeper.is_stored(&old));
        keeper.trust(None).unwrap();
        assert!(!keeper.is_stored(&old));
    }
}
