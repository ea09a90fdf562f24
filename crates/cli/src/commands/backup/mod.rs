//! `ringfence backup …`: one file a sub-command. Owns the list of them and their help.

pub mod accept;
pub mod check;
pub mod copy;
pub mod key;
pub mod mount;
pub mod now;
pub mod prune;
pub mod recover;
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
    /// Print the password of a vault, for stock restic, or a recovery sheet
    Key(key::KeyArgs),
    /// Bring a folder's second copies up to date now; it also happens by itself
    Copy(copy::CopyArgs),
    /// Get a folder back out of its second copy, with nothing but the key
    Recover(recover::RecoverArgs),
    /// Show the snapshots as a read-only file system, one directory for each
    Mount(mount::MountArgs),
    /// Let old snapshots go, as the keep rule says, after showing which
    Prune(prune::PruneArgs),
    /// Pause the automatic snapshots of a folder for a while; sessions still take theirs
    Pause(switch::PauseArgs),
    /// End a pause early
    Resume(DirArgs),
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
        BackupCommand::Prune(args) => prune::run(app, &args).await,
        BackupCommand::Pause(args) => switch::pause(app, &args).await,
        BackupCommand::Resume(args) => switch::resume(app, &args).await,
        BackupCommand::Copy(args) => copy::run(app, &args).await,
        BackupCommand::Recover(args) => recover::run(app, &args).await,
        BackupCommand::Mount(args) => mount::run(app, &args).await,
        BackupCommand::Off(args) => switch::off(app, args).await,
        BackupCommand::On(args) => switch::on(app, &args).await,
    }
}
