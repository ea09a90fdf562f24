//! Sizes of memory and disk, written by people with a unit.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A number of bytes; reads and prints with binary units (`4GiB`).
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(try_from = "String", into = "String")]
pub struct Size(u64);

/// Why a text is not a size.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a size: write a whole number and a unit, such as 512MiB, 4GiB or 20GB")]
pub struct SizeError(String);

const KIB: u64 = 1024;
const UNITS: [(&str, u64); 9] = [
    ("KiB", KIB),
    ("MiB", KIB * KIB),
    ("GiB", KIB * KIB * KIB),
    ("TiB", KIB * KIB * KIB * KIB),
    ("KB", 1000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000),
    ("B", 1),
];

impl Size {
    /// A size of so many bytes.
    #[must_use]
    pub const fn bytes(bytes: u64) -> Self {
        Self(bytes)
    }

    /// A size of so many MiB.
    #[must_use]
    pub const fn mib(count: u64) -> Self {
        Self(count * KIB * KIB)
    }

    /// A size of so many GiB.
    #[must_use]
    pub const fn gib(count: u64) -> Self {
        Self(count * KIB * KIB * KIB)
    }

    /// The number of bytes.
    #[must_use]
    pub const fn as_bytes(self) -> u64 {
        self.0
    }

    /// Whole MiB, rounded down.
    #[must_use]
    pub const fn as_mib(self) -> u64 {
        self.0 / (KIB * KIB)
    }
}

impl FromStr for Size {
    type Err = SizeError;

    fn from_str(text: &str) -> Result<Self, SizeError> {
        let error = || SizeError(text.chars().take(40).collect());
        let trimmed = text.trim();
        let digits = trimmed.find(|c: char| !c.is_ascii_digit()).ok_or_else(error)?;
        let (number, unit) = trimmed.split_at(digits);
        let number: u64 = number.parse().map_err(|_| error())?;
        let unit = unit.trim();
        // A bare `G` means GiB, as in QEMU and Docker.
        let factor = UNITS
            .iter()
            .find(|(name, _)| {
                name.eq_ignore_ascii_case(unit)
                    || (name.len() == 3 && unit.eq_ignore_ascii_case(&name[..1]))
            })
            .map(|(_, factor)| *factor)
            .ok_or_else(error)?;
        number.checked_mul(factor).map(Self).ok_or_else(error)
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, factor) in UNITS[..4].iter().rev() {
            if self.0 >= *factor {
                let whole = self.0 / factor;
                let tenth = (self.0 % factor) * 10 / factor;
                return if tenth == 0 {
                    write!(f, "{whole}{name}")
                } else {
                    write!(f, "{whole}.{tenth}{name}")
                };
            }
        }
        write!(f, "{}B", self.0)
    }
}

impl TryFrom<String> for Size {
    type Error = SizeError;
    fn try_from(text: String) -> Result<Self, SizeError> {
        text.parse()
    }
}

impl From<Size> for String {
    /// Exact, unlike `Display`: what was stored reads back as the same number.
    fn from(size: Size) -> String {
        UNITS[..4]
            .iter()
            .rev()
            .find(|(_, factor)| size.0 != 0 && size.0.is_multiple_of(*factor))
            .map_or_else(
                || format!("{}B", size.0),
                |(name, factor)| format!("{}{name}", size.0 / factor),
            )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reads_what_people_write() {
        assert_eq!("4GiB".parse(), Ok(Size::gib(4)));
        assert_eq!("4 gib".parse(), Ok(Size::gib(4)));
        assert_eq!("512M".parse(), Ok(Size::mib(512)));
        assert_eq!("20GB".parse(), Ok(Size::bytes(20_000_000_000)));
        for bad in ["", "4", "GiB", "-1GiB", "4.5GiB", "4 potatoes", "99999999999TiB"] {
            assert!(bad.parse::<Size>().is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn stored_sizes_read_back(bytes in any::<u64>()) {
            let size = Size::bytes(bytes);
            let text: String = size.into();
            prop_assert_eq!(text.parse(), Ok(size));
        }
    }
}
