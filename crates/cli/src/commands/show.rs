//! `ringfence show SNAPSHOT PATH`

use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;

use clap::Args;
use ringfence_model::bytes::encode;

use super::{DONE, session};
use crate::app::App;
use crate::args::FolderArgs;
use crate::client::Route;
use crate::error::{Result, usage};

/// Arguments of `show`.
#[derive(Debug, Args)]
pub struct ShowArgs {
    /// The snapshot: `latest`, the first digits of its id, a time, or `before session ID`
    pub snapshot: String,
    /// The file
    pub path: PathBuf,
    /// The folder.
    #[command(flatten)]
    pub folder: FolderArgs,
}

/// Prints it.
///
/// # Errors
/// The daemon's.
pub async fn run(app: &App, args: &ShowArgs) -> Result<u8> {
    let snapshot = app.state(&args.snapshot).await?.ok_or_else(|| {
        usage("`now` is no snapshot; the file itself is in the folder").hint("ringfence history")
    })?;
    let root = app.root(&app.directory(args.folder.folder.as_deref())?).await?;
    let path = app.relative(&root, &args.path)?.to_path().unwrap_or_default();
    let route = Route::new("/v1/show")
        .query_path("folder", &root)
        .query("snapshot", &snapshot)
        .query("path_b64", &encode(path.as_os_str().as_bytes()));
    session::print_log(app, &route).await?;
    Ok(DONE)
}
