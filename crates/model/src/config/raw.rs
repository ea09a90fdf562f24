//! The configuration file as it is written. Owns the keys, their types and what the JSON schema
//! says about them; what the values mean, and whether they fit each other, is `resolve`'s.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;
use toml::Spanned;

use crate::exit_check::ExitAction;
use crate::folder::{Access, Exception};
use crate::health::CheckEvery;
use crate::machine::LimitWords;
use crate::mass_loss::GuardWords;
use crate::name::RecipeName;
use crate::profile::Network;
use crate::size::Size;

/// Ringfence's configuration: `config.toml`, and each file of `conf.d` beside it.
#[derive(Debug, Deserialize, Default, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "ringfence configuration")]
pub(super) struct RawConfig {
    /// The number of the file's schema.
    #[schemars(with = "Option<u32>", range(min = 1, max = 1))]
    pub schema: Option<Spanned<i64>>,
    /// What applies where nothing else is said.
    #[serde(default)]
    pub defaults: RawDefaults,
    /// Rules, one table a folder.
    #[serde(default)]
    #[schemars(with = "Vec<RawFolder>")]
    pub folder: Vec<Spanned<RawFolder>>,
    /// Named ways to run a recipe; one replaces the built-in one of its name whole.
    #[serde(default)]
    #[schemars(with = "BTreeMap<String, RawProfile>")]
    pub profile: BTreeMap<Spanned<String>, RawProfile>,
    /// Where secrets are read; never the secrets.
    #[serde(default)]
    #[schemars(with = "BTreeMap<String, RawSecret>")]
    pub secret: BTreeMap<Spanned<String>, RawSecret>,
}

/// `[defaults]`
#[derive(Debug, Deserialize, Default, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Defaults")]
pub(super) struct RawDefaults {
    /// What runs machines.
    pub engine: Option<Engine>,
    /// Virtual processors of a new machine; from the host's size.
    #[schemars(with = "Option<u32>", range(min = 1, max = 256))]
    pub cpus: Option<Spanned<u32>>,
    /// Memory of a new machine, as in `4GiB`.
    #[schemars(with = "Option<Size>")]
    pub memory: Option<Spanned<Size>>,
    /// Disk of a new machine, as in `40GiB`.
    #[schemars(with = "Option<Size>")]
    pub disk: Option<Spanned<Size>>,
    /// Network of a profile that does not say.
    pub network: Option<Network>,
    /// What the guard against mass loss does.
    #[schemars(with = "Option<GuardWords>")]
    pub guard: Option<Spanned<GuardWords>>,
    /// Backups of folders that do not say.
    #[serde(default)]
    pub backup: RawDefaultBackup,
}

/// `[defaults.backup]`: no `enabled`, because nothing turns every backup off at once.
#[derive(Debug, Deserialize, Default, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "DefaultBackup")]
pub(super) struct RawDefaultBackup {
    /// How long snapshots are kept, as in `everything for 2 days, daily for 2 weeks`.
    #[schemars(with = "Option<String>")]
    pub keep: Option<Spanned<String>>,
    /// How large a vault may get.
    #[schemars(with = "Option<Size>")]
    pub limit: Option<Spanned<Size>>,
    /// How often vaults are checked, as in `1d`.
    #[schemars(with = "Option<String>")]
    pub check: Option<CheckEvery>,
    /// Where second copies go.
    #[schemars(with = "Option<Vec<String>>")]
    pub copy: Option<Vec<Spanned<String>>>,
    /// How much a copy may send in a second.
    #[schemars(with = "Option<Size>")]
    pub copy_rate: Option<Spanned<Size>>,
}

/// What runs machines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum Engine {
    /// The best that there is.
    Auto,
    /// The built-in one.
    Qemu,
}

/// `[[folder]]`
#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(rename = "Folder")]
#[serde(deny_unknown_fields)]
pub(super) struct RawFolder {
    /// The directory; `~`, `$NAME` and `${NAME}` may stand in it.
    #[schemars(with = "String")]
    pub path: Spanned<String>,
    /// Who may see it: profiles by name, or `label:LABEL`. Absent: everybody; empty: nobody.
    #[schemars(with = "Option<Vec<String>>")]
    pub profiles: Option<Vec<Spanned<String>>>,
    /// Who may not see it, whatever `profiles` says.
    #[serde(default)]
    #[schemars(with = "Vec<String>")]
    pub deny: Vec<Spanned<String>>,
    /// How it is visible.
    #[serde(default)]
    pub access: Access,
    /// Names that do not exist inside, as in a `.gitignore`.
    #[serde(default)]
    #[schemars(with = "Vec<String>")]
    pub hide: Vec<Spanned<String>>,
    /// Names that can be read inside and not changed.
    #[serde(default)]
    #[schemars(with = "Vec<String>")]
    pub protect: Vec<Spanned<String>>,
    /// What the guard against mass loss does here.
    #[schemars(with = "Option<GuardWords>")]
    pub guard: Option<Spanned<GuardWords>>,
    /// What happens to what the host might run of a session's changes.
    pub exit_check: Option<ExitAction>,
    /// The widest network while this folder is attached.
    pub network: Option<Network>,
    /// The only hosts reached while it is attached, beside `network = "allowlist"`.
    #[schemars(with = "Option<Vec<String>>")]
    pub allow: Option<Spanned<Vec<Spanned<String>>>>,
    /// The largest machine that it is attached to.
    #[schemars(with = "Option<LimitWords>")]
    pub limits: Option<Spanned<LimitWords>>,
    /// Names of the secrets that sessions here may carry. Absent: all of the profile's.
    #[schemars(with = "Option<Vec<String>>")]
    pub secrets: Option<Vec<Spanned<String>>>,
    /// Reasons against sharing it that are lifted.
    #[serde(default)]
    pub share_anyway: Vec<Exception>,
    /// Its backup.
    #[serde(default)]
    pub backup: RawBackup,
}

/// `[folder.backup]`
#[derive(Debug, Deserialize, Default, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Backup")]
pub(super) struct RawBackup {
    /// `false` needs the command `ringfence backup off` as well.
    pub enabled: Option<bool>,
    /// How long snapshots are kept.
    #[schemars(with = "Option<String>")]
    pub keep: Option<Spanned<String>>,
    /// How large the vault may get.
    #[schemars(with = "Option<Size>")]
    pub limit: Option<Spanned<Size>>,
    /// Where second copies go.
    #[schemars(with = "Option<Vec<String>>")]
    pub copy: Option<Vec<Spanned<String>>>,
    /// What is not backed up, as in a `.gitignore`.
    #[serde(default)]
    #[schemars(with = "Vec<String>")]
    pub exclude: Vec<Spanned<String>>,
}

/// `[profile.NAME]`
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Profile")]
pub(super) struct RawProfile {
    /// The recipe that it runs; absent: only what is given after `--`.
    #[schemars(with = "Option<RecipeName>")]
    pub recipe: Option<Spanned<RecipeName>>,
    /// Labels that folders can name as `label:LABEL`.
    #[serde(default)]
    #[schemars(with = "Vec<String>")]
    pub labels: Vec<Spanned<String>>,
    /// Arguments before those of the command line.
    #[serde(default)]
    pub args: Vec<String>,
    /// Environment inside; never secrets.
    #[serde(default)]
    #[schemars(with = "BTreeMap<String, String>")]
    pub env: BTreeMap<Spanned<String>, String>,
    /// The widest network that it gets.
    pub network: Option<Network>,
    /// Hosts and addresses for the network `allowlist`.
    #[serde(default)]
    #[schemars(with = "Vec<String>")]
    pub allow: Vec<Spanned<String>>,
    /// Names of the secrets that its sessions carry.
    #[serde(default)]
    #[schemars(with = "Vec<String>")]
    pub secrets: Vec<Spanned<String>>,
    /// The size of a machine that is made for it.
    #[schemars(with = "Option<LimitWords>")]
    pub limits: Option<Spanned<LimitWords>>,
}

/// `[secret.NAME]`: exactly one of `keyring`, `file`, `command` and `environment`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Secret")]
pub(super) struct RawSecret {
    /// An entry of the desktop's keyring, as `service/account`.
    #[schemars(with = "Option<String>")]
    pub keyring: Option<Spanned<String>>,
    /// A file that holds it.
    #[schemars(with = "Option<String>")]
    pub file: Option<Spanned<String>>,
    /// A program that prints it, and its arguments.
    #[schemars(with = "Option<Vec<String>>")]
    pub command: Option<Spanned<Vec<String>>>,
    /// A variable in the environment of the daemon.
    #[schemars(with = "Option<String>")]
    pub environment: Option<Spanned<String>>,
    /// The environment variable that has it inside; absent: the name in capitals, `-` as `_`.
    #[serde(rename = "as")]
    #[schemars(with = "Option<String>")]
    pub variable: Option<Spanned<String>>,
}
