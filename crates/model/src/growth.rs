//! How large a vault is, may get, and will be: the forecast that asks early. Pure.
//!
//! A limit deletes nothing and stops nothing: it is where a person is asked. What stops
//! snapshots is only the room that is kept free on the disk.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::size::Size;

/// Without a configured limit a vault may fill a fifth of its disk.
const SHARE_OF_DISK: u64 = 5;
/// A warning comes when so much of the limit is used, in percent,
const WARN_PERCENT: u128 = 80;
/// or when the pace of late reaches it within so many days.
const WARN_DAYS: u64 = 14;
/// The pace is that of so many seconds,
const LOOK_BACK: i64 = 7 * DAY;
/// of which at least so many must be known.
const LEAST: i64 = DAY;
/// One sample an hour is enough.
const APART: i64 = 3600;
/// So many are kept: a little more than the pace looks back.
const KEPT: usize = 8 * 24;
const DAY: i64 = 24 * 3600;

/// How large a vault was at one time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sample {
    /// When.
    pub at: Timestamp,
    /// Bytes in all its files.
    pub bytes: u64,
}

/// The sizes of a vault in the order in which they were noted.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Growth {
    /// The last samples.
    #[serde(default)]
    pub samples: Vec<Sample>,
}

impl Growth {
    /// Whether another sample is due: an hour passed, or the clock was set back.
    #[must_use]
    pub fn is_due(&self, now: Timestamp) -> bool {
        self.samples.last().is_none_or(|last| {
            !(0..APART).contains(&now.as_second().saturating_sub(last.at.as_second()))
        })
    }

    /// Notes a size.
    pub fn note(&mut self, sample: Sample) {
        self.samples.push(sample);
        let surplus = self.samples.len().saturating_sub(KEPT);
        self.samples.drain(..surplus);
    }

    /// Bytes a day that were added of late; `None` while too little is known. What a
    /// prune freed is not counted against what came.
    #[must_use]
    pub fn per_day(&self) -> Option<u64> {
        let last = self.samples.last()?.at.as_second();
        let recent: Vec<&Sample> = self
            .samples
            .iter()
            .filter(|sample| (0..=LOOK_BACK).contains(&(last - sample.at.as_second())))
            .collect();
        let first = recent.iter().map(|sample| sample.at.as_second()).min()?;
        let seconds = u128::try_from(last - first).ok().filter(|_| last - first >= LEAST)?;
        let added: u128 = recent
            .windows(2)
            .map(|pair| u128::from(pair[1].bytes.saturating_sub(pair[0].bytes)))
            .sum();
        u64::try_from(added * u128::from(DAY.unsigned_abs()) / seconds).ok()
    }

    /// How a vault of this size stands against its limit.
    #[must_use]
    pub fn forecast(&self, limit: u64) -> Option<VaultSize> {
        let bytes = self.samples.last()?.bytes;
        let per_day = self.per_day();
        let days_left = per_day
            .filter(|per_day| *per_day > 0)
            .map(|per_day| limit.saturating_sub(bytes) / per_day);
        Some(VaultSize { bytes, limit, per_day, days_left })
    }
}

/// The limit of a vault: the configured one, else a share of the disk it lies on.
#[must_use]
pub fn limit_of(configured: Option<Size>, disk: u64) -> u64 {
    configured.map_or(disk / SHARE_OF_DISK, Size::as_bytes)
}

/// A vault's size, its limit, and when it will be reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct VaultSize {
    /// Bytes in the vault.
    pub bytes: u64,
    /// Bytes that it may hold before a person is asked.
    pub limit: u64,
    /// Bytes a day that were added of late; absent while too little is known.
    pub per_day: Option<u64>,
    /// Days until the limit at that pace; absent without growth.
    pub days_left: Option<u64>,
}

/// How a vault stands against its limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pressure {
    /// Nothing to ask.
    Fine,
    /// It will be reached soon, or most of it is used.
    Near,
    /// It is reached. Snapshots go on.
    Over,
}

impl VaultSize {
    /// How it stands.
    #[must_use]
    pub fn pressure(&self) -> Pressure {
        let used = u128::from(self.bytes) * 100;
        if self.bytes >= self.limit {
            Pressure::Over
        } else if used >= u128::from(self.limit) * WARN_PERCENT
            || self.days_left.is_some_and(|days| days < WARN_DAYS)
        {
            Pressure::Near
        } else {
            Pressure::Fine
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const GIB: u64 = 1 << 30;

    /// One sample every so many hours, of these sizes in GiB.
    fn growth(hours: i64, sizes: &[u64]) -> Growth {
        let start: i64 = 1_800_000_000;
        let samples = sizes.iter().zip(0..).map(|(size, n)| Sample {
            at: Timestamp::from_second(start + n * hours * 3600).expect("a time"),
            bytes: size * GIB,
        });
        Growth { samples: samples.collect() }
    }

    #[test]
    fn a_person_is_asked_early() {
        let at = |growth: &Growth, limit: u64| growth.forecast(limit * GIB).expect("known");
        let steady = growth(24, &[10, 11, 12, 13]);
        assert_eq!(at(&steady, 100).days_left, Some(87));
        assert_eq!(at(&steady, 100).pressure(), Pressure::Fine);
        assert_eq!(at(&steady, 26).days_left, Some(13));
        assert_eq!(at(&steady, 26).pressure(), Pressure::Near, "within two weeks");
        let still = growth(24, &[80, 80, 80]);
        assert_eq!((at(&still, 100).days_left, at(&still, 100).pressure()), (None, Pressure::Near));
        assert_eq!(at(&still, 101).pressure(), Pressure::Fine);
        assert_eq!(at(&still, 80).pressure(), Pressure::Over);
        assert_eq!(Growth::default().forecast(GIB), None);
    }

    #[test]
    fn the_pace_is_that_of_the_last_week_and_no_prune_hides_it() {
        // The first snapshot is no pace: too little is known yet.
        assert_eq!(growth(1, &[0, 50, 50]).per_day(), None);
        assert_eq!(growth(24, &[10, 20, 5, 15]).per_day(), Some(20 * GIB / 3));
        // The great growth of three weeks ago is over.
        let mut long = vec![0, 500];
        long.extend([500; 20]);
        assert_eq!(growth(24, &long).per_day(), Some(0));
    }

    #[test]
    fn samples_are_an_hour_apart_and_few() {
        let mut growth = growth(1, &[1; KEPT]);
        let last = growth.samples[KEPT - 1];
        let later = |seconds| Timestamp::from_second(last.at.as_second() + seconds).expect("time");
        assert!(!growth.is_due(later(3599)) && growth.is_due(later(3600)));
        assert!(growth.is_due(later(-1)), "a clock that was set back stops nothing");
        growth.note(Sample { at: later(3600), bytes: 7 });
        assert_eq!((growth.samples.len(), growth.samples[KEPT - 1].bytes), (KEPT, 7));
    }

    #[test]
    fn without_a_word_a_fifth_of_the_disk() {
        assert_eq!(limit_of(None, 500 * GIB), 100 * GIB);
        assert_eq!(limit_of(Some(Size::gib(7)), 500 * GIB), 7 * GIB);
    }

    proptest! {
        /// Whatever clocks and sizes come: no panic, and over means over.
        #[test]
        fn any_history_has_a_forecast(
            made in prop::collection::vec((-4_000_000_000..4_000_000_000i64, any::<u64>()), 1..60), limit: u64,
        ) {
            let mut growth = Growth::default();
            for (second, bytes) in made {
                growth.note(Sample { at: Timestamp::from_second(second).expect("time"), bytes });
            }
            let forecast = growth.forecast(limit).expect("known");
            prop_assert_eq!(forecast.pressure() == Pressure::Over, forecast.bytes >= limit);
        }
    }
}
