//! The configuration file as it is written. Owns the keys and their types; what the values
//! mean, and whether they fit each other, is `resolve`'s.

use std::collections::BTreeMap;

use serde::Deserialize;
use toml::Spanned;

use crate::exit_check::ExitAction;
use crate::folder::{Access, Exception};
use crate::health::CheckEvery;
use crate::machine::LimitWords;
use crate::mass_loss::GuardWords;
use crate::name::RecipeName;
use crate::profile::{Network, Selector};
use crate::size::Size;

/// The whole file.
#[derive(Debug, Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub(super) struct RawConfig {
    #[serde(default)]
    pub defaults: RawDefaults,
    #[serde(default)]
    pub folder: Vec<Spanned<RawFolder>>,
    #[serde(default)]
    pub profile: BTreeMap<Spanned<String>, RawProfile>,
    #[serde(default)]
    pub secret: BTreeMap<Spanned<String>, RawSecret>,
}

/// `[defaults]`
#[derive(Debug, Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub(super) struct RawDefaults {
    pub engine: Option<Engine>,
    pub cpus: Option<Spanned<u32>>,
    pub memory: Option<Size>,
    pub disk: Option<Size>,
    pub network: Option<Network>,
    pub guard: Option<Spanned<GuardWords>>,
    #[serde(default)]
    pub backup: RawDefaultBackup,
}

/// `[defaults.backup]`: no `enabled`, because nothing turns every backup off at once.
#[derive(Debug, Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub(super) struct RawDefaultBackup {
    pub keep: Option<Spanned<String>>,
    pub limit: Option<Size>,
    pub check: Option<CheckEvery>,
    #[serde(default)]
    pub copy: Vec<Spanned<String>>,
    pub copy_rate: Option<Size>,
}

/// What runs machines.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Engine {
    /// The best that there is.
    Auto,
    /// The built-in one.
    Qemu,
}

/// `[[folder]]`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawFolder {
    pub path: Spanned<String>,
    pub profiles: Option<Vec<Spanned<Selector>>>,
    #[serde(default)]
    pub deny: Vec<Spanned<Selector>>,
    #[serde(default)]
    pub access: Access,
    #[serde(default)]
    pub hide: Vec<Spanned<String>>,
    #[serde(default)]
    pub protect: Vec<Spanned<String>>,
    pub guard: Option<Spanned<GuardWords>>,
    pub exit_check: Option<ExitAction>,
    pub network: Option<Network>,
    pub allow: Option<Spanned<Vec<Spanned<String>>>>,
    pub limits: Option<Spanned<LimitWords>>,
    pub secrets: Option<Vec<Spanned<String>>>,
    #[serde(default)]
    pub share_anyway: Vec<Exception>,
    #[serde(default)]
    pub backup: RawBackup,
}

/// `[folder.backup]`
#[derive(Debug, Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub(super) struct RawBackup {
    pub enabled: Option<bool>,
    pub keep: Option<Spanned<String>>,
    pub limit: Option<Size>,
    pub copy: Option<Vec<Spanned<String>>>,
    #[serde(default)]
    pub exclude: Vec<Spanned<String>>,
}

/// `[profile.NAME]`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawProfile {
    pub recipe: Option<RecipeName>,
    #[serde(default)]
    pub labels: Vec<Spanned<String>>,
    #[serde(default)]
    pub args: Vec<String>,
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    pub network: Option<Network>,
    #[serde(default)]
    pub allow: Vec<Spanned<String>>,
    #[serde(default)]
    pub secrets: Vec<Spanned<String>>,
    pub limits: Option<Spanned<LimitWords>>,
}

/// `[secret.NAME]`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawSecret {
    pub keyring: Option<Spanned<String>>,
    pub file: Option<Spanned<String>>,
    pub command: Option<Spanned<Vec<String>>>,
    pub environment: Option<Spanned<String>>,
    #[serde(rename = "as")]
    pub variable: Option<Spanned<String>>,
}
