//! `ringfence backup …`

use std::path::PathBuf;

use clap::{Args, Subcommand};
use ringfence_model::api::{
    BackupKeyView, BackupNowRequest, BackupSetRequest, CheckRequest, CheckView,
};
use ringfence_model::error::ErrorKind;
use ringfence_model::history::SnapshotView;

use super::{DONE, folder};
use crate::app::App;
use crate::args::JsonArgs;
use crate::client::Route;
use crate::error::Result;
use crate::output::{lists, words};

/// What to do with the vaults.
#[derive(Debug, Subcommand)]
pub enum BackupCommand {
    /// Take a snapshot now
    Now(DirArgs),
    /// Show each folder's vault and how well it is protected
    Status(JsonArgs),
    /// Check that a vault is whole
    Check {
        /// The folder.
        #[command(flatten)]
        dir: DirArgs,
        /// Also read and hash all data
        #[arg(long)]
        read_data: bool,
        /// JSON.
        #[command(flatten)]
        json: JsonArgs,
    },
    /// Print the password of a vault, for stock restic
    Key(DirArgs),
    /// Turn a folder's protection off. Nothing brings its files back after that
    Off {
        /// The folder
        dir: PathBuf,
        /// The folder's last path component, typed by somebody who accepts that nothing protects it
        #[arg(long, value_name = "NAME")]
        i_understand: String,
    },
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
    let out = &app.out;
    match command {
        BackupCommand::Now(args) => {
            let request = BackupNowRequest { folder: app.directory(args.dir.as_deref())? };
            let taken: SnapshotView = app.stream(Route::new("/v1/backup/now"), &request).await?;
            out.note(&format!(
                "Snapshot {} holds {}, {}.",
                words::short(&taken.id),
                words::count(taken.files, "file"),
                words::size(taken.bytes)
            ));
        }
        BackupCommand::Status(json) => {
            let folders = folder::all(app).await?;
            if json.json {
                out.json_list("folders", &folders)?;
            } else if folders.is_empty() {
                out.note("No folder is under protection yet: ringfence folder add DIR");
            } else {
                out.print(&lists::vaults(&folders, app.now(), &out.style))?;
            }
        }
        BackupCommand::Check { dir, read_data, json } => {
            let request = CheckRequest { folder: app.directory(dir.dir.as_deref())?, read_data };
            let view: CheckView = app.stream(Route::new("/v1/backup/check"), &request).await?;
            if json.json {
                out.json_object(&view)?;
            } else {
                out.print(&lists::check(&view, &out.style))?;
            }
            if !view.problems.is_empty() {
                return Ok(ErrorKind::Vault.exit_code());
            }
        }
        BackupCommand::Key(args) => {
            let folder = app.directory(args.dir.as_deref())?;
            let route = Route::new("/v1/backup/key").query_path("folder", &folder);
            let view: BackupKeyView = app.get(route).await?;
            out.print(&format!("{}\n", view.key))?;
        }
        BackupCommand::Off { dir, i_understand } => {
            set(app, Some(dir), false, Some(i_understand)).await?;
        }
        BackupCommand::On(args) => set(app, args.dir, true, None).await?,
    }
    Ok(DONE)
}

async fn set(app: &App, dir: Option<PathBuf>, enabled: bool, name: Option<String>) -> Result<()> {
    let folder = app.directory(dir.as_deref())?;
    let request = BackupSetRequest { folder: folder.clone(), enabled, name };
    app.post::<serde::de::IgnoredAny>(Route::new("/v1/backup/set"), &request).await?;
    let shown = app.out.error_style.path(&folder);
    if enabled {
        app.out.note(&format!("{shown} is protected again."));
    } else {
        // Never silent: it is the one act after which nothing can be undone.
        app.out.say(&format!(
            "{shown} is NOT protected any more. To protect it again: ringfence backup on {}",
            app.out.error_style.argument(&folder)
        ));
    }
    Ok(())
}
