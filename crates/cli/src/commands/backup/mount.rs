//! `ringfence backup mount [DIR] MOUNTPOINT`

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use ringfence_model::api::{MountRequest, MountView};
use ringfence_model::error::{ApiError, ErrorKind};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;

use crate::app::App;
use crate::client::Route;
use crate::commands::DONE;
use crate::error::Result;

/// Unmounting takes moments; what still stands in it does not hold it up.
const PATIENCE: Duration = Duration::from_secs(20);

/// Arguments of `backup mount`.
#[derive(Debug, Args)]
pub struct MountArgs {
    /// A directory in the folder [default: the current one], then an empty directory to show the
    /// snapshots in; made if missing
    #[arg(value_name = "[DIR] MOUNTPOINT", num_args = 1..=2, required = true)]
    pub places: Vec<PathBuf>,
}

/// Shows the snapshots as a file system until Ctrl-C.
///
/// # Errors
/// The daemon's, or that the directory cannot be made.
pub async fn run(app: &App, args: &MountArgs) -> Result<u8> {
    let (dir, at) = match args.places.as_slice() {
        [at] => (None, at),
        [dir, at, ..] => (Some(dir.as_path()), at),
        [] => return Err(crate::error::usage("name an empty directory")),
    };
    let folder = app.directory(dir)?;
    let at = app.directory(Some(at))?;
    let made = make(app, &at)?;
    let outcome = show(app, &folder, &at).await;
    if made {
        // Ours, and empty again; if it is not, it stays.
        let _ = std::fs::remove_dir(&at);
    }
    outcome.map(|()| DONE)
}

/// Makes the directory; false if it was there.
fn make(app: &App, at: &Path) -> Result<bool> {
    match std::fs::create_dir(at) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(false),
        Err(error) => {
            let shown = app.out.error_style.path(at);
            Err(ApiError::from_source(ErrorKind::Failed, format!("{shown} cannot be made"), &error))
        }
    }
}

async fn show(app: &App, folder: &Path, at: &Path) -> Result<()> {
    let request = MountRequest { folder: folder.to_owned(), at: at.to_owned() };
    let view: MountView = app.post(Route::new("/v1/backup/mount"), &request).await?;
    let lost = |error: Option<std::io::Error>| {
        let mut lost = ApiError::new(
            ErrorKind::Vault,
            "the process that showed the snapshots died without unmounting them",
        );
        lost.causes.extend(error.map(|error| error.to_string()));
        lost.hint(format!("fusermount3 -u {}", app.out.error_style.argument(at)))
    };
    // As long as this connection is open the snapshots are shown.
    let mut stream = UnixStream::connect(&view.socket).await.map_err(|error| lost(Some(error)))?;
    app.out.note(&format!(
        "The snapshots of {} are in {}, read-only. Ctrl-C ends it.",
        app.out.error_style.path(&view.folder),
        app.out.error_style.path(&view.at)
    ));
    // Its last word, which only a process that has unmounted them says.
    let mut word = [0; 16];
    let said = tokio::select! {
        said = stream.read(&mut word) => said,
        () = app.interrupts.next() => {
            stream.shutdown().await.map_err(|error| lost(Some(error)))?;
            match tokio::time::timeout(PATIENCE, stream.read(&mut word)).await {
                Ok(said) => said,
                Err(_) => Err(std::io::ErrorKind::TimedOut.into()),
            }
        }
    };
    match said {
        Ok(0) => Err(lost(None)),
        Ok(_) => Ok(()),
        Err(error) => Err(lost(Some(error))),
    }
}
