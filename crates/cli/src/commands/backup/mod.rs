//! `ringfence backup …`: one file a sub-command. Owns the list of them and their help.

pub mod accept;
pub mod check;
pub mod key;
pub mod now;
pub mod status;
pub mod switch;

use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::app::App;
use crate::args::JsonArgs;
use crate::error::Result;

/// What to do with the vaults.
#[derive(Debug, Subcommand)]
pub enum BackupCommand {
    /// Take a snapshot now
    Now(DirArgs),
    /// Show each folder's vault and how well it is protected
    Status(JsonArgs),
    /// Accept that most files of a folder are gone: no alarm any more
    Accept(DirArgs),
    /// Check that a vault is whole
    Check(check::CheckArgs),
    /// Print the password of a vault, for stock restic
    Key(DirArgs),
    /// Turn a folder's protection off. Nothing brings its files back after that
    Off(switch::OffArgs),
    /// Turn a folder's protection on again
    On(DirArgs),
}

/// One folder.
#[derive(Debug, Args)]
pub struct DirArgs {
    /// A directory in the folder [default: the current one]
    pub dir: Option<PathBuf>,
}

/// Does it.
///
/// # Errors
/// The daemon's.
pub async fn run(app: &App, command: BackupCommand) -> Result<u8> {
    match command {
        BackupCommand::Now(args) => now::run(app, &args).await,
        BackupCommand::Status(json) => status::run(app, json).await,
        BackupCommand::Accept(args) => accept::run(app, &args).await,
        BackupCommand::Check(args) => check::run(app, &args).await,
        BackupCommand::Key(args) => key::run(app, &args).await,
        BackupCommand::Off(args) => switch::off(app, args).await,
        BackupCommand::On(args) => switch::on(app, &args).await,
    }
}
