//! Whether a folder is backed up at this moment, and who decided so. One pure decision,
//! asked by everything that takes snapshots, runs sessions or shows a status.
//!
//! A file alone turns nothing off: `enabled = false` counts only together with the
//! recorded act of a person who typed the folder's name. Must not: read a clock.

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::bytes::visible;

/// A person, as far as the daemon can tell.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct Actor {
    /// The user, as the socket says.
    pub uid: Option<u32>,
    /// That user's name.
    #[serde(default)]
    pub user: Option<String>,
    /// The terminal at which it was typed, as the command line says; `None`: a script.
    #[serde(default)]
    pub terminal: Option<String>,
}

impl fmt::Display for Actor {
    /// `ann (uid 1000) at /dev/pts/3`; printable, whatever was claimed.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.user, self.uid) {
            (Some(user), Some(uid)) => write!(f, "{} (uid {uid})", visible(user))?,
            (Some(user), None) => f.write_str(&visible(user))?,
            (None, Some(uid)) => write!(f, "uid {uid}")?,
            (None, None) => f.write_str("somebody")?,
        }
        match &self.terminal {
            Some(terminal) => write!(f, " at {}", visible(terminal)),
            None => f.write_str(" without a terminal"),
        }
    }
}

/// The act that turned a folder's backup off.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct OptOut {
    /// Who.
    pub by: Actor,
    /// When.
    pub at: Timestamp,
}

/// A moment on two clocks: the one that people read and set, and the one that only runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Moment {
    /// By the clock on the wall.
    pub wall: Timestamp,
    /// Which start of the computer the other clock counts from.
    pub boot: String,
    /// Seconds since then, sleep included.
    pub running: u64,
}

/// A break in the automatic snapshots, which ends by itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pause {
    /// Who asked for it.
    pub by: Actor,
    /// When it began.
    pub since: Moment,
    /// How long it lasts, in seconds; at most [`PauseLength::MOST`].
    pub seconds: u64,
}

impl Pause {
    /// Seconds that are left of it; `None` when it is over.
    ///
    /// Only the clock that nobody can set counts. A restart of the computer ends a
    /// pause, because that clock began anew.
    #[must_use]
    pub fn left(&self, now: &Moment) -> Option<u64> {
        if self.since.boot != now.boot {
            return None;
        }
        let passed = now.running.checked_sub(self.since.running)?;
        let whole = self.seconds.min(PauseLength::MOST);
        whole.checked_sub(passed).filter(|left| *left > 0)
    }
}

/// How long a pause may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "u64", into = "u64")]
pub struct PauseLength(u64);

/// Why a text or number is no length of a pause.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no length of a pause: write 1min to 24h, as in 30min or 2h")]
pub struct PauseLengthError(String);

impl PauseLength {
    /// A day, in seconds.
    pub const MOST: u64 = 24 * 3600;

    /// Its seconds.
    #[must_use]
    pub const fn seconds(self) -> u64 {
        self.0
    }
}

impl Default for PauseLength {
    /// An hour.
    fn default() -> Self {
        Self(3600)
    }
}

impl TryFrom<u64> for PauseLength {
    type Error = PauseLengthError;
    fn try_from(seconds: u64) -> Result<Self, PauseLengthError> {
        if (60..=Self::MOST).contains(&seconds) {
            Ok(Self(seconds))
        } else {
            Err(PauseLengthError(format!("{seconds} s")))
        }
    }
}

impl From<PauseLength> for u64 {
    fn from(length: PauseLength) -> Self {
        length.0
    }
}

impl FromStr for PauseLength {
    type Err = PauseLengthError;

    fn from_str(text: &str) -> Result<Self, PauseLengthError> {
        let error = || PauseLengthError(text.chars().take(40).collect());
        let trimmed = text.trim();
        let digits = trimmed.find(|c: char| !c.is_ascii_digit()).ok_or_else(error)?;
        let (number, unit) = trimmed.split_at(digits);
        let number: u64 = number.parse().map_err(|_| error())?;
        let unit: u64 = match unit.trim() {
            "m" | "min" | "minute" | "minutes" => 60,
            "h" | "hour" | "hours" => 3600,
            "d" | "day" => 24 * 3600,
            _ => return Err(error()),
        };
        number.checked_mul(unit).and_then(|s| Self::try_from(s).ok()).ok_or_else(error)
    }
}

impl fmt::Display for PauseLength {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let minutes = self.0.div_ceil(60);
        match (minutes / 60, minutes % 60) {
            (0, minutes) => write!(f, "{minutes} min"),
            (hours, 0) => write!(f, "{hours} h"),
            (hours, minutes) => write!(f, "{hours} h {minutes} min"),
        }
    }
}

/// Whether a folder is backed up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It is.
    On,
    /// It is, although the configuration says `enabled = false`: nobody confirmed that.
    OnUnconfirmed,
    /// Nothing happens by itself for so many seconds; sessions, restores and requests
    /// still take their snapshots.
    Paused {
        /// Seconds until it goes on by itself.
        left: u64,
    },
    /// Turned off, by the configuration and by a person's recorded act.
    Off,
}

impl Standing {
    /// Whether snapshots are taken by themselves: while the folder changes, and daily.
    #[must_use]
    pub const fn by_itself(self) -> bool {
        matches!(self, Self::On | Self::OnUnconfirmed)
    }

    /// Whether a session opens and closes with a snapshot.
    #[must_use]
    pub const fn around_sessions(self) -> bool {
        !matches!(self, Self::Off)
    }
}

/// Decides it. `enabled` is what the configuration says about the folder.
#[must_use]
pub fn decide(
    enabled: bool,
    opt_out: Option<&OptOut>,
    pause: Option<&Pause>,
    now: &Moment,
) -> Standing {
    match (enabled, opt_out, pause.and_then(|pause| pause.left(now))) {
        (false, Some(_), _) => Standing::Off,
        (_, _, Some(left)) => Standing::Paused { left },
        (false, None, None) => Standing::OnUnconfirmed,
        (true, _, None) => Standing::On,
    }
}

/// Whether a recorded act is void, because the configuration turned the backup on again.
/// It must be forgotten then: else a later edit alone would turn the backup off.
#[must_use]
pub const fn is_void(enabled: bool, opt_out: Option<&OptOut>) -> bool {
    enabled && opt_out.is_some()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn moment(running: u64) -> Moment {
        let wall = "2026-11-23T12:00:00Z".parse().expect("a time");
        Moment { wall, boot: "a".into(), running }
    }

    fn opt_out() -> OptOut {
        OptOut { by: Actor::default(), at: moment(0).wall }
    }

    fn pause(seconds: u64) -> Pause {
        Pause { by: Actor::default(), since: moment(1000), seconds }
    }

    #[test]
    fn a_file_alone_turns_nothing_off() {
        let now = moment(0);
        assert_eq!(decide(true, None, None, &now), Standing::On);
        assert_eq!(decide(false, None, None, &now), Standing::OnUnconfirmed);
        assert_eq!(decide(false, Some(&opt_out()), None, &now), Standing::Off);
        // The file turned it on again: the act of then says nothing any more.
        assert_eq!(decide(true, Some(&opt_out()), None, &now), Standing::On);
        assert!(is_void(true, Some(&opt_out())));
        assert!(!is_void(false, Some(&opt_out())) && !is_void(true, None));
        assert!(Standing::OnUnconfirmed.by_itself() && Standing::OnUnconfirmed.around_sessions());
        assert!(!Standing::Off.by_itself() && !Standing::Off.around_sessions());
    }

    #[test]
    fn people_are_named_as_far_as_they_are_known() {
        let ann = Actor {
            uid: Some(1000),
            user: Some("ann".into()),
            terminal: Some("/dev/pts/3\x1b[2J".into()),
        };
        assert_eq!(ann.to_string(), "ann (uid 1000) at /dev/pts/3\\u{1b}[2J");
        assert_eq!(Actor::default().to_string(), "somebody without a terminal");
    }

    #[test]
    fn a_pause_ends_by_itself() {
        let pause = pause(3600);
        let ask = |now: &Moment| decide(true, None, Some(&pause), now);
        assert_eq!(ask(&moment(1000)), Standing::Paused { left: 3600 });
        assert_eq!(ask(&moment(4599)), Standing::Paused { left: 1 });
        assert_eq!(ask(&moment(4600)), Standing::On);
        let standing = ask(&moment(1000));
        assert!(!standing.by_itself() && standing.around_sessions());
    }

    #[test]
    fn no_clock_prolongs_a_pause() {
        let pause = pause(3600);
        // The wall's clock goes back by years: the pause is over all the same.
        let back = Moment { wall: "2001-01-01T00:00:00Z".parse().expect("time"), ..moment(4600) };
        assert_eq!(pause.left(&back), None);
        // The computer was started again: nobody knows how long that took.
        assert_eq!(pause.left(&Moment { boot: "b".into(), ..moment(1001) }), None);
        assert_eq!(pause.left(&moment(999)), None);
    }

    #[test]
    fn a_recorded_pause_is_never_longer_than_a_day() {
        assert_eq!(pause(u64::MAX).left(&moment(1000)), Some(PauseLength::MOST));
    }

    #[test]
    fn lengths_are_those_that_people_write() {
        let read = |text: &str| text.parse::<PauseLength>().map(PauseLength::seconds).ok();
        assert_eq!(read("1h"), Some(3600));
        assert_eq!(read("30 min"), Some(1800));
        assert_eq!(read("24h"), Some(86_400));
        assert_eq!(read("1 day"), Some(86_400));
        for bad in ["", "1", "h", "0h", "59s", "25h", "2 days", "-1h", "99999999999999999999h"] {
            assert_eq!(read(bad), None, "{bad}");
        }
        let shown = ["90min", "1h", "5min"]
            .map(|text| text.parse::<PauseLength>().expect(text).to_string());
        assert_eq!(shown, ["1 h 30 min", "1 h", "5 min"]);
    }

    proptest! {
        /// Off takes both the file and the act; nothing else stops sessions' snapshots.
        #[test]
        fn only_the_two_together_turn_it_off(
            enabled: bool, out: bool, seconds in prop::option::of(0..200_000u64), running in 0..400_000u64,
        ) {
            let (out, pause) = (out.then(opt_out), seconds.map(pause));
            let standing = decide(enabled, out.as_ref(), pause.as_ref(), &moment(running));
            prop_assert_eq!(standing == Standing::Off, !enabled && out.is_some());
            if let Standing::Paused { left } = standing {
                prop_assert!(left <= PauseLength::MOST && running < 1000 + PauseLength::MOST);
            }
        }
    }
}
