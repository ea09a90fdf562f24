//! Processes by pid *and* start time, so that a reused pid is never taken for ours,
//! also by a daemon that did not start them.

use std::time::Duration;

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde::{Deserialize, Serialize};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// One process, for as long as the host is up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessId {
    /// Its pid.
    pub pid: u32,
    /// Its start in clock ticks since boot (`proc(5)`, stat field 22).
    pub start: u64,
}

impl ProcessId {
    /// The identity of a living process.
    #[must_use]
    pub fn of(pid: u32) -> Option<Self> {
        let facts = stat(pid)?;
        (!facts.dead).then_some(Self { pid, start: facts.start })
    }

    /// Whether it still lives (a zombie does not).
    #[must_use]
    pub fn lives(self) -> bool {
        Self::of(self.pid) == Some(self)
    }

    /// Sends a signal; `false` when the process is gone.
    #[must_use]
    pub fn signal(self, signal: Signal) -> bool {
        let Some(pid) = i32::try_from(self.pid).ok().and_then(Pid::from_raw) else { return false };
        // The pidfd is opened before the identity is checked: from then on it cannot
        // mean another process.
        let Ok(pidfd) = pidfd_open(pid, PidfdFlags::empty()) else { return false };
        self.lives() && pidfd_send_signal(pidfd, signal).is_ok()
    }

    /// Waits until it is gone.
    pub async fn gone(self) {
        let pid = i32::try_from(self.pid).ok().and_then(Pid::from_raw);
        let pidfd = pid.and_then(|pid| pidfd_open(pid, PidfdFlags::NONBLOCK).ok());
        if !self.lives() {
            return;
        }
        #[expect(deprecated, reason = "an OwnedFd keeps what the unsafe successor demands")]
        let watched = pidfd.and_then(|fd| AsyncFd::with_interest(fd, Interest::READABLE).ok());
        match watched {
            // A pidfd becomes readable when its process ends.
            Some(fd) => drop(fd.readable().await),
            None => {
                while self.lives() {
                    tokio::time::sleep(Duration::from_millis(200)).await;
                }
            }
        }
    }

    /// Asks it to end, waits, then kills it.
    pub async fn end(self, grace: Duration) {
        if self.signal(Signal::TERM) && tokio::time::timeout(grace, self.gone()).await.is_err() {
            self.kill().await;
        }
    }

    /// Kills it and waits until it is gone.
    pub async fn kill(self) {
        if self.signal(Signal::KILL) {
            self.gone().await;
        }
    }

    /// Processor time in seconds and resident memory in bytes.
    #[must_use]
    pub fn usage(self) -> Option<(f64, u64)> {
        let facts = stat(self.pid).filter(|facts| facts.start == self.start)?;
        let ticks = rustix::param::clock_ticks_per_second();
        let page = u64::try_from(rustix::param::page_size()).ok()?;
        #[expect(clippy::cast_precision_loss, reason = "a duration for people")]
        Some((facts.cpu as f64 / ticks as f64, facts.resident_pages * page))
    }
}

struct Stat {
    dead: bool,
    start: u64,
    cpu: u64,
    resident_pages: u64,
}

fn stat(pid: u32) -> Option<Stat> {
    let text = std::fs::read(format!("/proc/{pid}/stat")).ok()?;
    // The command name stands in brackets and may hold anything; count from its end.
    let after = text.iter().rposition(|byte| *byte == b')')?;
    let fields: Vec<&str> =
        std::str::from_utf8(&text[after + 1..]).ok()?.split_whitespace().collect();
    let number = |index: usize| fields.get(index).and_then(|field| field.parse::<u64>().ok());
    Some(Stat {
        dead: matches!(*fields.first()?, "Z" | "X"),
        cpu: number(11)? + number(12)?,
        start: number(19)?,
        resident_pages: number(21)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pid_alone_is_not_an_identity() {
        let own = ProcessId::of(std::process::id()).expect("lives");
        assert!(own.lives());
        assert!(!ProcessId { start: own.start + 1, ..own }.lives());
        assert!(own.usage().is_some());
    }

    #[tokio::test]
    #[expect(clippy::disallowed_methods, reason = "a real process to watch")]
    async fn death_is_noticed_and_other_processes_are_spared() {
        let mut child = tokio::process::Command::new("sleep").arg("60").spawn().expect("spawns");
        let id = ProcessId::of(child.id().expect("pid")).expect("lives");
        assert!(!ProcessId { start: id.start + 1, ..id }.signal(Signal::KILL));
        assert!(id.lives());
        let reaper = tokio::spawn(async move { child.wait().await });
        id.end(Duration::from_secs(5)).await;
        reaper.await.expect("joins").expect("waits");
        assert!(!id.lives());
    }
}
