//! How long snapshots are kept: the rule in words, and the choice of what goes.
//!
//! Owns both as pure functions. Must not: forget anything; that is the vault's act, on
//! snapshots that a person has been shown.

mod choose;
mod words;

pub use choose::{
    Candidate, Decision, Dropped, Fate, PROTECTED_SESSIONS, SessionEnds, Why, choose,
};
pub use words::KeepError;

use std::fmt;

use serde::{Deserialize, Serialize};

/// The rule of a folder about which nothing is said.
pub const DEFAULT_KEEP: &str =
    "everything for 2 days, hourly for 2 weeks, daily for 3 months, monthly";

/// One stretch of the calendar, of which the last snapshot may be kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Period {
    /// An hour by the local clock.
    Hour,
    /// A local day.
    Day,
    /// An ISO week, which begins on Monday.
    Week,
    /// A calendar month.
    Month,
    /// A calendar year.
    Year,
}

impl Period {
    /// Every period, the shortest first.
    pub const ALL: [Self; 5] = [Self::Hour, Self::Day, Self::Week, Self::Month, Self::Year];

    /// The word of the rule: `hourly`.
    #[must_use]
    pub const fn adverb(self) -> &'static str {
        match self {
            Self::Hour => "hourly",
            Self::Day => "daily",
            Self::Week => "weekly",
            Self::Month => "monthly",
            Self::Year => "yearly",
        }
    }

    /// The word of a sentence: `hour`.
    #[must_use]
    pub const fn noun(self) -> &'static str {
        match self {
            Self::Hour => "hour",
            Self::Day => "day",
            Self::Week => "week",
            Self::Month => "month",
            Self::Year => "year",
        }
    }
}

/// A unit in which the rule counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Unit {
    /// 60 minutes.
    Hour,
    /// 24 hours.
    Day,
    /// 7 days.
    Week,
    /// 31 days: as long as the longest, so that nothing goes early.
    Month,
    /// 366 days, for the same reason.
    Year,
}

impl Unit {
    const ALL: [Self; 5] = [Self::Hour, Self::Day, Self::Week, Self::Month, Self::Year];

    const fn word(self) -> &'static str {
        match self {
            Self::Hour => "hour",
            Self::Day => "day",
            Self::Week => "week",
            Self::Month => "month",
            Self::Year => "year",
        }
    }

    const fn seconds(self) -> i64 {
        const HOUR: i64 = 3600;
        match self {
            Self::Hour => HOUR,
            Self::Day => 24 * HOUR,
            Self::Week => 7 * 24 * HOUR,
            Self::Month => 31 * 24 * HOUR,
            Self::Year => 366 * 24 * HOUR,
        }
    }
}

/// How long one step of the rule applies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Stay {
    /// So many units.
    For(u32, Unit),
    /// Without end.
    Forever,
}

impl Stay {
    /// Its length in seconds; `None` without end.
    #[must_use]
    pub fn seconds(self) -> Option<i64> {
        match self {
            Self::For(count, unit) => Some(i64::from(count) * unit.seconds()),
            Self::Forever => None,
        }
    }
}

/// The rule: everything for a while, then the last snapshot of ever longer periods.
///
/// Periods get longer from step to step, and so do the stays; a value that breaks this
/// cannot be made.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Keep {
    everything: Stay,
    steps: Vec<(Period, Stay)>,
}

impl Keep {
    /// Reads the words of a rule.
    ///
    /// # Errors
    /// What is wrong and where.
    pub fn parse(text: &str) -> Result<Self, KeepError> {
        words::parse(text)
    }

    /// For how long every snapshot is kept.
    #[must_use]
    pub const fn everything(&self) -> Stay {
        self.everything
    }

    /// The steps after that, the shortest period first.
    #[must_use]
    pub fn steps(&self) -> &[(Period, Stay)] {
        &self.steps
    }
}

impl Default for Keep {
    /// [`DEFAULT_KEEP`]
    fn default() -> Self {
        Self {
            everything: Stay::For(2, Unit::Day),
            steps: vec![
                (Period::Hour, Stay::For(2, Unit::Week)),
                (Period::Day, Stay::For(3, Unit::Month)),
                (Period::Month, Stay::Forever),
            ],
        }
    }
}

impl fmt::Display for Stay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::For(1, unit) => write!(f, " for 1 {}", unit.word()),
            Self::For(count, unit) => write!(f, " for {count} {}s", unit.word()),
            Self::Forever => Ok(()),
        }
    }
}

impl fmt::Display for Keep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "everything{}", self.everything)?;
        for (period, stay) in &self.steps {
            write!(f, ", {}{stay}", period.adverb())?;
        }
        Ok(())
    }
}

impl TryFrom<String> for Keep {
    type Error = KeepError;
    fn try_from(text: String) -> Result<Self, KeepError> {
        Self::parse(&text)
    }
}

impl From<Keep> for String {
    fn from(keep: Keep) -> Self {
        keep.to_string()
    }
}
