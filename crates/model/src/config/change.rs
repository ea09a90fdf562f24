//! Bodies of the requests that change the configuration. What is absent stays as it is; lists
//! take the place of those before.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::folder::Exception;
use crate::machine::LimitWords;
use crate::name::{ProfileName, RecipeName, SecretName};
use crate::profile::{Network, Selector};

/// Keys of a folder's rule that can be left to the defaults again.
pub const FOLDER_KEYS: [&str; 11] = [
    "profiles",
    "deny",
    "access",
    "hide",
    "protect",
    "exit_check",
    "network",
    "allow",
    "limits",
    "secrets",
    "share_anyway",
];

/// Keys of a profile that can be left to the defaults again.
pub const PROFILE_KEYS: [&str; 8] =
    ["recipe", "labels", "args", "env", "network", "allow", "secrets", "limits"];

/// Changes to a folder's rule, beside those that [`crate::api::FolderSetRequest`] has itself.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FolderChange {
    /// Who may not see it; empty: nobody is kept out by this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deny: Option<Vec<Selector>>,
    /// The widest network while it is attached.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network: Option<Network>,
    /// The only hosts while it is attached.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allow: Option<Vec<String>>,
    /// The largest machine; what is left out of it stays as it is.
    #[serde(default)]
    pub limits: LimitWords,
    /// The secrets that sessions in it may carry; empty: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secrets: Option<Vec<SecretName>>,
    /// The reasons against sharing it that are lifted; empty: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub share_anyway: Option<Vec<Exception>>,
    /// Keys that are left to the defaults again, of [`FOLDER_KEYS`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unset: Vec<String>,
}

/// `POST /v1/profiles/set`: makes or changes a profile of the configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProfileChange {
    /// Its name.
    pub name: ProfileName,
    /// Whether it is made; else it must be there.
    pub add: bool,
    /// The recipe that it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recipe: Option<RecipeName>,
    /// Its labels; empty: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub labels: Option<Vec<String>>,
    /// Arguments before those of the command line; empty: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub args: Option<Vec<String>>,
    /// Variables inside; those that are not named stay.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,
    /// The widest network.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network: Option<Network>,
    /// Hosts for the network `allowlist`; empty: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allow: Option<Vec<String>>,
    /// The secrets that it carries; empty: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secrets: Option<Vec<SecretName>>,
    /// The size of a machine that is made for it; what is left out of it stays as it is.
    #[serde(default)]
    pub limits: LimitWords,
    /// Keys that are left to the defaults again, of [`PROFILE_KEYS`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unset: Vec<String>,
}

/// `POST /v1/profiles/remove`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProfileRemoval {
    /// Its name.
    pub name: ProfileName,
}

/// `POST /v1/config/write`: puts a text in the place of a file of the configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfigWrite {
    /// The main file, or one of those beside it.
    pub file: PathBuf,
    /// What it held when the person read it; `None`: it was not there. Another content now is
    /// an error.
    pub before: Option<String>,
    /// What it is to hold.
    pub text: String,
}
