//! The one place that reads the clock.

/// The present moment.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "this is the place that owns the clock")]
pub fn now() -> jiff::Timestamp {
    jiff::Timestamp::now()
}
