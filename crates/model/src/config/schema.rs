//! The JSON schema of a configuration file, for editors: made from the types that read it.

use schemars::Schema;
use schemars::generate::SchemaSettings;

use super::raw::RawConfig;

/// The schema of `config.toml` and of each file of `conf.d`.
#[must_use]
pub fn schema() -> Schema {
    SchemaSettings::draft2020_12()
        .for_deserialize()
        .into_generator()
        .into_root_schema_for::<RawConfig>()
}
