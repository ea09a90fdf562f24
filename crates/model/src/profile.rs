//! Profiles: named ways to run a recipe, and what a folder's rule says about them.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::machine::LimitWords;
use crate::name::{NameError, ProfileName, RecipeName, SecretName};

/// What a machine may reach.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Default,
    Serialize,
    Deserialize,
    JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Network {
    /// Nothing but Ringfence's own SSH.
    Offline,
    /// Only named hosts.
    Allowlist,
    /// Public addresses; no LAN, no host.
    #[default]
    Internet,
    /// Public addresses and the LAN; still not the host.
    Open,
}

impl Network {
    /// The word used in the configuration and on the command line.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Offline => "offline",
            Self::Allowlist => "allowlist",
            Self::Internet => "internet",
            Self::Open => "open",
        }
    }
}

impl FromStr for Network {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        [Self::Offline, Self::Allowlist, Self::Internet, Self::Open]
            .into_iter()
            .find(|network| network.as_str() == text)
            .ok_or_else(|| {
                format!("`{text}` is not a network: one of internet, allowlist, offline, open")
            })
    }
}

/// A named way to run a recipe, resolved from configuration or built in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Profile {
    /// Its name.
    pub name: ProfileName,
    /// The recipe it runs; `None` runs only what is given after `--`.
    pub recipe: Option<RecipeName>,
    /// Labels that folder rules can name.
    #[serde(default)]
    pub labels: Vec<String>,
    /// Arguments that go before those of the command line.
    #[serde(default)]
    pub args: Vec<String>,
    /// Environment inside the machine; never secrets.
    #[serde(default)]
    pub env: std::collections::BTreeMap<String, String>,
    /// The network it asks for; a folder can only narrow it.
    pub network: Option<Network>,
    /// Hosts and addresses for `allowlist`.
    #[serde(default)]
    pub allow: Vec<String>,
    /// The secrets that its sessions carry, by name.
    #[serde(default)]
    pub secrets: Vec<SecretName>,
    /// The size of a machine that is made for it.
    #[serde(default)]
    pub limits: LimitWords,
}

/// One entry of a folder's `profiles`: a profile by name or by label.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Selector {
    /// This profile.
    Name(ProfileName),
    /// Every profile that carries this label.
    Label(String),
}

impl Selector {
    /// Whether it selects a profile.
    #[must_use]
    pub fn selects(&self, profile: &Profile) -> bool {
        match self {
            Self::Name(name) => *name == profile.name,
            Self::Label(label) => profile.labels.contains(label),
        }
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => name.fmt(f),
            Self::Label(label) => write!(f, "label:{label}"),
        }
    }
}

impl TryFrom<String> for Selector {
    type Error = NameError;
    fn try_from(text: String) -> Result<Self, NameError> {
        match text.strip_prefix("label:") {
            // A label has the same letters as a profile name.
            Some(label) => Ok(Self::Label(ProfileName::new(label)?.into())),
            None => ProfileName::new(text).map(Self::Name),
        }
    }
}

impl From<Selector> for String {
    fn from(selector: Selector) -> String {
        selector.to_string()
    }
}
