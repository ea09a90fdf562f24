//! The one place that reads the clock.

use ringfence_model::protection::Moment;

/// The present moment.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "this is the place that owns the clock")]
pub fn now() -> jiff::Timestamp {
    jiff::Timestamp::now()
}

/// The present moment, also by the clock that nobody can set.
#[must_use]
pub fn moment() -> Moment {
    let running = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    Moment {
        wall: now(),
        // Without it two starts of the computer cannot be told apart.
        boot: std::fs::read_to_string("/proc/sys/kernel/random/boot_id")
            .map_or_else(|_| "unknown".to_owned(), |id| id.trim().to_owned()),
        running: u64::try_from(running.tv_sec).unwrap_or(0),
    }
}

/// The time zone in which the computer's days begin and end.
#[must_use]
pub fn zone() -> jiff::tz::TimeZone {
    jiff::tz::TimeZone::system()
}
