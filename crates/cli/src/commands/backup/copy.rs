//! `ringfence backup copy [DIR]`

use clap::Args;
use ringfence_model::api::BackupCopyRequest;
use ringfence_model::status::CopyStatus;

use super::DirArgs;
use crate::app::App;
use crate::args::JsonArgs;
use crate::client::Route;
use crate::commands::DONE;
use crate::error::Result;
use crate::output::copies;

/// Arguments of `backup copy`.
#[derive(Debug, Args)]
pub struct CopyArgs {
    /// The folder.
    #[command(flatten)]
    pub dir: DirArgs,
    /// Begin anew where a copy that was made before is gone
    #[arg(long)]
    pub start_over: bool,
    /// JSON.
    #[command(flatten)]
    pub json: JsonArgs,
}

/// Brings a folder's copies up to date now, which also happens by itself.
///
/// # Errors
/// The daemon's.
pub async fn run(app: &App, args: &CopyArgs) -> Result<u8> {
    let folder = app.directory(args.dir.dir.as_deref())?;
    let request = BackupCopyRequest { folder, start_over: args.start_over };
    let made: Vec<CopyStatus> = app.stream(Route::new("/v1/backup/copy"), &request).await?;
    if args.json.json {
        app.out.json_list("copies", &made)?;
    } else {
        app.out.print(&copies::table(&made, app.now(), &app.out.style))?;
    }
    Ok(DONE)
}
