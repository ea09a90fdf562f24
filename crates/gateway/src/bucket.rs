//! A limit on how often something may happen. Pure: the time is given.

use std::time::{Duration, Instant};

/// A token bucket.
#[derive(Debug)]
pub(crate) struct Bucket {
    size: f64,
    rate: f64,
    level: f64,
    last: Instant,
}

impl Bucket {
    /// `size` at once, then `rate` per second.
    pub(crate) fn new((size, rate): (u32, u32), now: Instant) -> Self {
        let size = f64::from(size);
        Self { size, rate: f64::from(rate), level: size, last: now }
    }

    /// Takes one, if there is one.
    pub(crate) fn take(&mut self, now: Instant) -> bool {
        let passed = now.checked_duration_since(self.last).unwrap_or(Duration::ZERO);
        self.last = now;
        self.level = (self.level + passed.as_secs_f64() * self.rate).min(self.size);
        if self.level < 1.0 {
            return false;
        }
        self.level -= 1.0;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_then_a_rate() {
        let start = Instant::now();
        let mut bucket = Bucket::new((10, 5), start);
        let taken = |bucket: &mut Bucket, now| (0..100).filter(|_| bucket.take(now)).count();
        assert_eq!(taken(&mut bucket, start), 10);
        assert_eq!(taken(&mut bucket, start + Duration::from_secs(1)), 5);
        assert_eq!(taken(&mut bucket, start + Duration::from_secs(100)), 10);
        // A clock that goes back gives nothing.
        assert_eq!(taken(&mut bucket, start), 0);
    }
}
