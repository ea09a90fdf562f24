//! The guard against mass loss, as far as it is a rule: what is too much, and what is done
//! then. The counting is the share's.

use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What is done when a session removes or rewrites too much at once; the later, the stricter.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum GuardAction {
    /// Nothing; nothing is counted.
    Off,
    /// It is said, and the session goes on.
    Warn,
    /// The session stands still until somebody resumes, undoes or stops it.
    #[default]
    Freeze,
}

impl GuardAction {
    /// The word used in the configuration and on the command line.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Warn => "warn",
            Self::Freeze => "freeze",
        }
    }
}

impl FromStr for GuardAction {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        [Self::Off, Self::Warn, Self::Freeze]
            .into_iter()
            .find(|action| action.as_str() == text)
            .ok_or_else(|| format!("`{text}` is none of off, warn, freeze"))
    }
}

/// What counts as mass loss, and what is done then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GuardRule {
    /// What is done.
    pub action: GuardAction,
    /// Fewer files than this never count as mass loss; at least 1.
    pub files: u64,
    /// Nor does a smaller part of the folder's files than this many in a hundred.
    pub percent: u64,
    /// Within so many seconds; at least 1.
    pub seconds: u64,
}

impl Default for GuardRule {
    fn default() -> Self {
        Self { action: GuardAction::Freeze, files: 500, percent: 5, seconds: 10 }
    }
}

impl GuardRule {
    /// The file with which it becomes mass loss, in a folder that has so many.
    #[must_use]
    pub fn threshold(&self, in_folder: u64) -> u64 {
        let part = u128::from(in_folder) * u128::from(self.percent);
        let part = u64::try_from(part.div_ceil(100)).unwrap_or(u64::MAX);
        self.files.max(part).max(1)
    }
}

/// What a configuration says about the guard; what it leaves out, the wider one says.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GuardWords {
    /// See [`GuardRule::action`].
    pub action: Option<GuardAction>,
    /// See [`GuardRule::files`].
    pub files: Option<u64>,
    /// See [`GuardRule::percent`].
    pub percent: Option<u64>,
    /// See [`GuardRule::seconds`].
    pub seconds: Option<u64>,
}

impl GuardWords {
    /// The rule that these words make of another one.
    #[must_use]
    pub fn over(&self, wider: GuardRule) -> GuardRule {
        GuardRule {
            action: self.action.unwrap_or(wider.action),
            files: self.files.unwrap_or(wider.files),
            percent: self.percent.unwrap_or(wider.percent),
            seconds: self.seconds.unwrap_or(wider.seconds),
        }
    }

    /// What is wrong with them, if anything is.
    #[must_use]
    pub fn mistake(&self) -> Option<&'static str> {
        if self.files == Some(0) {
            return Some("`files` must be at least 1");
        }
        if self.percent.is_some_and(|percent| percent > 100) {
            return Some("`percent` must be 0 to 100");
        }
        if self.seconds.is_some_and(|seconds| !(1..=3600).contains(&seconds)) {
            return Some("`seconds` must be 1 to 3600");
        }
        None
    }
}

/// That a session removed or rewrote too much at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MassLoss {
    /// Files within the time that the rule names, the one included at which it was noticed.
    pub files: u64,
    /// When it was noticed.
    pub at: jiff::Timestamp,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn it_takes_five_hundred_files_and_a_twentieth_of_the_folder() {
        let rule = GuardRule::default();
        for (in_folder, threshold) in [
            (0, 500),
            (600, 500),
            (10_000, 500),
            (10_001, 501),
            (100_000, 5000),
            (u64::MAX, u64::MAX / 20 + 1),
        ] {
            assert_eq!(rule.threshold(in_folder), threshold, "{in_folder}");
        }
    }

    #[test]
    fn the_narrower_words_win_and_the_rest_stays() {
        let wider =
            GuardWords { action: Some(GuardAction::Warn), files: Some(9), ..GuardWords::default() }
                .over(GuardRule::default());
        let rule = GuardWords { files: Some(7), ..GuardWords::default() }.over(wider);
        assert_eq!(
            rule,
            GuardRule { action: GuardAction::Warn, files: 7, percent: 5, seconds: 10 }
        );
        for wrong in [
            GuardWords { files: Some(0), ..GuardWords::default() },
            GuardWords { percent: Some(101), ..GuardWords::default() },
            GuardWords { seconds: Some(0), ..GuardWords::default() },
        ] {
            assert!(wrong.mistake().is_some(), "{wrong:?}");
        }
    }

    #[test]
    fn words_come_back_and_the_strictest_is_the_greatest() {
        for action in [GuardAction::Off, GuardAction::Warn, GuardAction::Freeze] {
            assert_eq!(action.as_str().parse(), Ok(action));
        }
        assert!("on".parse::<GuardAction>().is_err());
        assert_eq!(GuardAction::Freeze.max(GuardAction::Off), GuardAction::Freeze);
        assert_eq!(GuardAction::default(), GuardAction::Freeze);
    }

    proptest! {
        #[test]
        fn both_bounds_hold(in_folder in 0..10_000_000_u64, files in 1..100_000_u64, percent in 0..=100_u64) {
            let rule = GuardRule { files, percent, ..GuardRule::default() };
            let at = rule.threshold(in_folder);
            let enough = |lost: u64| lost >= files && lost * 100 >= in_folder * percent;
            prop_assert!(enough(at));
            prop_assert!(!enough(at - 1));
        }
    }
}
