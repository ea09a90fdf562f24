//! `ringfence backup key [DIR]`

use ringfence_model::api::BackupKeyView;

use super::DirArgs;
use crate::app::App;
use crate::client::Route;
use crate::commands::DONE;
use crate::error::Result;

/// Prints a vault's password, alone on standard output.
///
/// # Errors
/// The daemon's.
pub async fn run(app: &App, args: &DirArgs) -> Result<u8> {
    let folder = app.directory(args.dir.as_deref())?;
    let route = Route::new("/v1/backup/key").query_path("folder", &folder);
    let view: BackupKeyView = app.get(route).await?;
    app.out.print(&format!("{}\n", view.key))?;
    Ok(DONE)
}
