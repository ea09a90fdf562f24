//! agsekit's configuration as its file has it (version 1.7.4, its `docs` and `config.py`). Knows
//! what is written there, not what it means here. Keys that it does not have are kept by name,
//! so that they can be told.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

/// A map in the order of the file: the first machine is the one that mounts mean by default.
pub(super) type Named<T> = Vec<(String, T)>;

/// The whole file.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Setup {
    /// Machines by name.
    #[serde(deserialize_with = "named")]
    pub(super) vms: Named<Vm>,
    /// Folders.
    #[serde(deserialize_with = "or_default")]
    pub(super) mounts: Vec<Mount>,
    /// Profiles by name.
    #[serde(deserialize_with = "named")]
    pub(super) agents: Named<Agent>,
    /// Everything else, `global` among it.
    #[serde(flatten)]
    pub(super) rest: Map<String, Value>,
}

/// A machine. `cpu`, `ram` and `disk` go to Multipass as they are.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Vm {
    pub(super) cpu: Value,
    pub(super) ram: Value,
    pub(super) disk: Value,
    pub(super) allowed_agents: Option<Names>,
    #[serde(flatten)]
    pub(super) rest: Map<String, Value>,
}

/// A folder.
#[derive(Debug, Deserialize)]
pub(super) struct Mount {
    pub(super) source: String,
    #[serde(default)]
    pub(super) vm: Option<String>,
    #[serde(default)]
    pub(super) allowed_agents: Option<Names>,
    #[serde(flatten)]
    pub(super) rest: Map<String, Value>,
}

/// An agent's profile.
#[derive(Debug, Deserialize)]
pub(super) struct Agent {
    #[serde(rename = "type")]
    pub(super) kind: String,
    #[serde(default, deserialize_with = "named")]
    pub(super) env: Named<Value>,
    #[serde(default, rename = "default-args", deserialize_with = "or_default")]
    pub(super) args: Vec<Value>,
    #[serde(flatten)]
    pub(super) rest: Map<String, Value>,
}

/// Names as a list or with commas.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
pub(super) enum Names {
    List(Vec<String>),
    Text(String),
}

impl Names {
    /// The names, without blanks around them.
    pub(super) fn all(&self) -> Vec<&str> {
        let names: Vec<&str> = match self {
            Self::List(names) => names.iter().map(String::as_str).collect(),
            Self::Text(text) => text.split(',').collect(),
        };
        names.into_iter().map(str::trim).filter(|name| !name.is_empty()).collect()
    }
}

/// Reads the text of a file.
///
/// # Errors
/// What is wrong with it, with line and column.
pub fn read(text: &str) -> Result<Setup, String> {
    if text.trim().is_empty() {
        return Ok(Setup::default());
    }
    // Without the lines around the place: people keep keys in them.
    let options = serde_saphyr::options! { with_snippet: false };
    serde_saphyr::from_str_with_options(text, options).map_err(|error| error.to_string())
}

/// A section that is there without content is an empty one.
fn or_default<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(
    deserializer: D,
) -> Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

fn named<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Named<T>, D::Error> {
    struct InOrder<T>(PhantomData<T>);
    impl<'de, T: Deserialize<'de>> Visitor<'de> for InOrder<T> {
        type Value = Named<T>;
        fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
            formatter.write_str("names with what they mean")
        }
        fn visit_unit<E>(self) -> Result<Self::Value, E> {
            Ok(Vec::new())
        }
        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut entries = Vec::new();
            while let Some(entry) = map.next_entry()? {
                entries.push(entry);
            }
            Ok(entries)
        }
    }
    deserializer.deserialize_any(InOrder(PhantomData))
}
