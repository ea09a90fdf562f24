//! Keeps a stream of bytes within a rate, counts it and hears a request to stop. Owns no
//! decision about how fast is fair.

use std::io::{self, Read};
use std::time::{Duration, Instant};

use crate::watch::{Step, Watch};

/// Longest sleep, so that a request to stop is heard soon.
const NAP: Duration = Duration::from_millis(200);

/// The rate that one copy keeps over all its files.
pub(crate) struct Pace {
    per_second: Option<u64>,
    began: Instant,
    sent: u64,
}

impl Pace {
    pub(crate) fn new(per_second: Option<u64>) -> Self {
        Self { per_second: per_second.filter(|rate| *rate > 0), began: Instant::now(), sent: 0 }
    }

    /// How long to wait before more may be sent, `elapsed` after the beginning.
    fn due(&self, elapsed: Duration) -> Duration {
        let Some(rate) = self.per_second else { return Duration::ZERO };
        Duration::from_secs_f64(self.sent as f64 / rate as f64).saturating_sub(elapsed)
    }
}

/// A reader that is no faster than its pace.
pub(crate) struct Paced<'a, R> {
    from: R,
    pace: &'a mut Pace,
    watch: &'a Watch,
}

impl<'a, R: Read> Paced<'a, R> {
    pub(crate) const fn new(from: R, pace: &'a mut Pace, watch: &'a Watch) -> Self {
        Self { from, pace, watch }
    }
}

impl<R: Read> Read for Paced<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            if self.watch.cancel.is_cancelled() {
                return Err(io::Error::other("stopped on request"));
            }
            let wait = self.pace.due(self.pace.began.elapsed());
            if wait.is_zero() {
                break;
            }
            std::thread::sleep(wait.min(NAP));
        }
        // Small pieces keep the rate even over short times.
        let most = buffer.len().min(64 * 1024);
        let count = self.from.read(&mut buffer[..most])?;
        self.pace.sent += count as u64;
        self.watch.step(Step::Copied(count as u64));
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_sent_decides_how_long_to_wait() {
        let mut pace = Pace::new(Some(1000));
        assert_eq!(pace.due(Duration::ZERO), Duration::ZERO);
        pace.sent = 2500;
        assert_eq!(pace.due(Duration::from_secs(1)), Duration::from_millis(1500));
        assert_eq!(pace.due(Duration::from_secs(9)), Duration::ZERO);
        assert_eq!(Pace::new(None).due(Duration::ZERO), Duration::ZERO);
        assert_eq!(Pace::new(Some(0)).due(Duration::ZERO), Duration::ZERO);
    }

    #[test]
    fn a_paced_stream_stops_when_it_is_asked_to() {
        let watch = Watch::default();
        let mut pace = Pace::new(Some(1));
        let mut paced = Paced::new(&[0u8; 100][..], &mut pace, &watch);
        assert_eq!(paced.read(&mut [0; 100]).unwrap(), 100);
        watch.cancel.cancel();
        assert!(paced.read(&mut [0; 100]).is_err());
    }
}
