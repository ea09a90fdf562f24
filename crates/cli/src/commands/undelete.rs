//! `ringfence undelete PATH`

use std::path::PathBuf;

use clap::Args;
use ringfence_model::api::UndeleteRequest;

use super::{DONE, restore};
use crate::app::App;
use crate::args::{FolderArgs, PlanArgs};
use crate::error::Result;
use crate::paths::{nearest_directory, normal};

/// Arguments of `undelete`.
#[derive(Debug, Args)]
#[command(
    after_help = "The newest snapshot that has the path is taken. Nothing that is there is replaced."
)]
pub struct UndeleteArgs {
    /// The file or directory that is gone
    pub path: PathBuf,
    /// Plan.
    #[command(flatten)]
    pub plan: PlanArgs,
    /// The folder.
    #[command(flatten)]
    pub folder: FolderArgs,
}

/// Brings it back.
///
/// # Errors
/// The daemon's, or refused where nobody can be asked.
pub async fn run(app: &App, args: &UndeleteArgs) -> Result<u8> {
    let folder = match &args.folder.folder {
        Some(given) => app.root(&app.directory(Some(given))?).await?,
        None => {
            // What is gone lies in the folder of the nearest directory that is left.
            let absolute = normal(&app.surroundings.directory.join(&args.path));
            let directory = nearest_directory(&absolute).unwrap_or(&absolute);
            app.root(&app.directory(Some(directory))?).await?
        }
    };
    let path = app.relative(&folder, &args.path)?;
    let request = UndeleteRequest { folder, path, snapshot: None, dry_run: true };
    let Some(plan) = restore::show(app, "/v1/undelete", &request, &args.plan).await? else {
        return Ok(DONE);
    };
    if !restore::agreed(app, &args.plan, "ringfence undelete").await? {
        return Ok(DONE);
    }
    // What was shown is what is done, whatever snapshots were taken meanwhile.
    let request = UndeleteRequest { snapshot: Some(plan.snapshot), dry_run: false, ..request };
    restore::apply(app, "/v1/undelete", &request, &args.plan).await
}
