//! `ringfence backup accept [DIR]`

use ringfence_model::api::BackupNowRequest;

use super::DirArgs;
use crate::app::App;
use crate::client::Route;
use crate::commands::DONE;
use crate::error::Result;

/// Ends the alarm about a folder that suddenly holds fewer files.
///
/// # Errors
/// The daemon's.
pub async fn run(app: &App, args: &DirArgs) -> Result<u8> {
    let folder = app.directory(args.dir.as_deref())?;
    let request = BackupNowRequest { folder: folder.clone() };
    app.post::<serde::de::IgnoredAny>(Route::new("/v1/backup/accept"), &request).await?;
    let shown = app.out.error_style.path(&folder);
    app.out.note(&format!(
        "What {shown} holds now is accepted. What it held before: ringfence history"
    ));
    Ok(DONE)
}
