//! The value of a secret, in memory: it does not show itself, and is overwritten when dropped.
//!
//! There is no way to print, compare or serialise it by accident: no `Display`, no `Serialize`,
//! and a `Debug` that says nothing. Copies that somebody else made (a runtime's buffers, the
//! kernel's pipes) are out of reach here.

use std::fmt;

use zeroize::Zeroizing;

/// Longest value, in bytes: half of what Linux takes as one variable of an environment.
pub(crate) const LONGEST: usize = 64 * 1024;

/// A secret's value: 1 to [`LONGEST`] bytes, none of them NUL.
pub struct SecretValue(Zeroizing<Vec<u8>>);

/// Why some bytes are no secret's value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unfit {
    /// There is nothing.
    #[error("it is empty")]
    Empty,
    /// There is too much.
    #[error("it is longer than {LONGEST} bytes")]
    TooLong,
    /// No variable of an environment can hold it.
    #[error("it holds a NUL byte, which no environment variable can")]
    Nul,
}

impl SecretValue {
    /// Takes bytes as they were read; one line break at their end is left out.
    pub(crate) fn new(mut bytes: Zeroizing<Vec<u8>>) -> Result<Self, Unfit> {
        if bytes.len() > LONGEST {
            return Err(Unfit::TooLong);
        }
        if bytes.last() == Some(&b'\n') {
            bytes.pop();
            if bytes.last() == Some(&b'\r') {
                bytes.pop();
            }
        }
        match &**bytes {
            [] => Err(Unfit::Empty),
            bytes if bytes.contains(&0) => Err(Unfit::Nul),
            _ => Ok(Self(bytes)),
        }
    }

    /// The bytes, for whoever hands them to the session.
    pub(crate) fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for SecretValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[a secret]")
    }
}

/// The one form in which a value leaves a process: base64 in the specification that a session
/// process reads from its standard input. Asked for by name, with `#[serde(with = "…")]`.
pub(crate) mod handover {
    use ringfence_model::bytes;
    use serde::de::Error as _;
    use serde::{Deserialize, Deserializer, Serializer};
    use zeroize::Zeroizing;

    use super::SecretValue;

    pub(crate) fn serialize<S: Serializer>(value: &SecretValue, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&Zeroizing::new(bytes::encode(value.expose())))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<SecretValue, D::Error> {
        let text = Zeroizing::new(String::deserialize(from)?);
        // The text itself never stands in a message.
        let bytes =
            bytes::decode(&text).ok_or_else(|| D::Error::custom("a value is not base64"))?;
        SecretValue::new(Zeroizing::new(bytes)).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(bytes: &[u8]) -> Result<SecretValue, Unfit> {
        SecretValue::new(Zeroizing::new(bytes.to_vec()))
    }

    #[test]
    fn a_value_is_what_was_read_without_the_last_line_break() {
        let of = |bytes: &[u8]| value(bytes).map(|value| value.expose().to_vec());
        assert_eq!(of(b"a\xffb\n").as_deref(), Ok(&b"a\xffb"[..]));
        assert_eq!(of(b" a\r\n").as_deref(), Ok(&b" a"[..]));
        assert_eq!(of(b"a\n\n").as_deref(), Ok(&b"a\n"[..]));
        assert_eq!(of(b"\n"), Err(Unfit::Empty));
        assert_eq!(of(b"a\0b"), Err(Unfit::Nul));
        assert_eq!(of(&vec![b'a'; LONGEST + 1]), Err(Unfit::TooLong));
    }

    #[test]
    fn a_value_does_not_show_itself() {
        let shown = format!("{:?}", value(b"hunter2"));
        assert_eq!(shown, "Ok([a secret])");
    }
}
