//! `ringfence backup now [DIR]`

use ringfence_model::api::BackupNowRequest;
use ringfence_model::history::SnapshotView;

use super::DirArgs;
use crate::app::App;
use crate::client::Route;
use crate::commands::DONE;
use crate::error::Result;
use crate::output::words;

/// Takes a snapshot.
///
/// # Errors
/// The daemon's.
pub async fn run(app: &App, args: &DirArgs) -> Result<u8> {
    let request = BackupNowRequest { folder: app.directory(args.dir.as_deref())? };
    let taken: SnapshotView = app.stream(Route::new("/v1/backup/now"), &request).await?;
    app.out.note(&format!(
        "Snapshot {} holds {}, {}.",
        words::short(&taken.id),
        words::count(taken.files, "file"),
        words::size(taken.bytes)
    ));
    Ok(DONE)
}
