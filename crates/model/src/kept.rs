//! What a session destroyed and the keeper has, in the words of the API.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::bytes::BytePath;

/// How a version of a file was lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Loss {
    /// Content was overwritten or cut off.
    Overwritten,
    /// Content was added behind it.
    Extended,
    /// Its last name was removed.
    Removed,
    /// Another file took its name.
    Replaced,
}

impl Loss {
    /// The word shown in tables and JSON.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Overwritten => "overwritten",
            Self::Extended => "extended",
            Self::Removed => "removed",
            Self::Replaced => "replaced",
        }
    }
}

/// One version of a file that a session destroyed, and that no snapshot need have.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct KeptView {
    /// Its number within the session, from 1 on, in the order of the losses.
    pub number: u64,
    /// When it was lost.
    pub time: jiff::Timestamp,
    /// How.
    pub loss: Loss,
    /// Its path, relative to the folder's root.
    #[serde(flatten)]
    pub path: BytePath,
    /// Its size in bytes.
    pub bytes: u64,
    /// Its permission bits.
    pub mode: u32,
}
