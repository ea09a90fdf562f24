//! The configuration's files, read as the daemon reads them, so that they can be checked without
//! one. Must not change them: that is the daemon's.

use std::fs;
use std::path::{Path, PathBuf};

use ringfence_model::config::{ConfigError, INCLUDES, Reading, Source, Surroundings, gather};
use ringfence_model::error::{ApiError, ErrorKind};
use ringfence_model::profile::SHIPPED;

use crate::env;

/// The main file of the configuration to which a file belongs: the file itself, unless it is one
/// of those beside a main file.
#[must_use]
pub fn main_of(file: &Path) -> PathBuf {
    match file.parent() {
        Some(parent) if parent.file_name().is_some_and(|name| name == INCLUDES) => {
            parent.with_file_name("config.toml")
        }
        _ => file.to_owned(),
    }
}

/// The files of a configuration.
///
/// # Errors
/// One that is there and cannot be read.
pub fn sources(main: &Path) -> Result<Vec<Source>, ConfigError> {
    let list = |directory: &Path| {
        fs::read_dir(directory)?.map(|entry| entry.map(|entry| entry.file_name())).collect()
    };
    gather(main, list, |file| fs::read_to_string(file))
}

/// Reads them.
///
/// # Errors
/// The first mistake in them.
pub fn read(sources: Vec<Source>, home: Option<&Path>) -> Result<Reading, ConfigError> {
    Reading::of(
        sources,
        &Surroundings {
            home: home.unwrap_or(Path::new("/")),
            variable: &env::text,
            canonical: &|path| fs::canonicalize(path).ok(),
            shipped: SHIPPED,
        },
    )
}

/// A mistake as the person is told.
#[must_use]
pub fn told(error: &ConfigError) -> ApiError {
    ApiError::new(ErrorKind::Config, error.to_string())
}
