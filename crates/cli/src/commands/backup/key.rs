//! `ringfence backup key [DIR]`

use clap::Args;
use ringfence_model::api::BackupKeyView;

use super::DirArgs;
use crate::app::App;
use crate::client::Route;
use crate::commands::DONE;
use crate::error::Result;
use crate::output::copies;

/// Arguments of `backup key`.
#[derive(Debug, Args)]
pub struct KeyArgs {
    /// The folder.
    #[command(flatten)]
    pub dir: DirArgs,
    /// A page to print and keep away from this computer: the key, where vault and copies lie, what to type
    #[arg(long)]
    pub sheet: bool,
}

/// Prints a vault's password, alone on standard output, or on a recovery sheet.
///
/// # Errors
/// The daemon's.
pub async fn run(app: &App, args: &KeyArgs) -> Result<u8> {
    let folder = app.directory(args.dir.dir.as_deref())?;
    let route = Route::new("/v1/backup/key").query_path("folder", &folder);
    let view: BackupKeyView = app.get(route).await?;
    if args.sheet {
        app.out.print(&copies::sheet(&view, &app.surroundings.now))?;
    } else {
        app.out.print(&format!("{}\n", view.key))?;
    }
    Ok(DONE)
}
