//! `ringfence man DIR`, for packages.

use std::path::PathBuf;

use clap::{Args, CommandFactory as _};
use ringfence_model::error::{ApiError, ErrorKind};

use super::DONE;
use crate::args::Cli;
use crate::error::Result;

/// Arguments of `man`.
#[derive(Debug, Args)]
pub struct ManArgs {
    /// An existing directory
    pub dir: PathBuf,
}

/// Writes one page a command.
///
/// # Errors
/// When a page cannot be written.
pub fn run(args: &ManArgs) -> Result<u8> {
    clap_mangen::generate_to(Cli::command(), &args.dir).map_err(|error| {
        let message = format!("the manual pages cannot be written to {}", args.dir.display());
        ApiError::from_source(ErrorKind::Failed, message, &error)
            .hint(format!("mkdir -p {}", args.dir.display()))
    })?;
    Ok(DONE)
}
