//! `ringfence backup off DIR` and `backup on [DIR]`

use std::path::{Path, PathBuf};

use clap::Args;
use ringfence_model::api::BackupSetRequest;

use super::DirArgs;
use crate::app::App;
use crate::client::Route;
use crate::commands::DONE;
use crate::error::Result;

/// Arguments of `backup off`.
#[derive(Debug, Args)]
pub struct OffArgs {
    /// The folder
    pub dir: PathBuf,
    /// The folder's last path component, typed by somebody who accepts that nothing protects it
    #[arg(long, value_name = "NAME")]
    pub i_understand: String,
}

/// Turns a folder's protection off.
///
/// # Errors
/// The daemon's.
pub async fn off(app: &App, args: OffArgs) -> Result<u8> {
    let folder = set(app, Some(&args.dir), false, Some(args.i_understand)).await?;
    let style = &app.out.error_style;
    // Never silent: it is the one act after which nothing can be undone.
    app.out.say(&format!(
        "{} is NOT protected any more. To protect it again: ringfence backup on {}",
        style.path(&folder),
        style.argument(&folder)
    ));
    Ok(DONE)
}

/// Turns it on again.
///
/// # Errors
/// The daemon's.
pub async fn on(app: &App, args: &DirArgs) -> Result<u8> {
    let folder = set(app, args.dir.as_deref(), true, None).await?;
    app.out.note(&format!("{} is protected again.", app.out.error_style.path(&folder)));
    Ok(DONE)
}

async fn set(
    app: &App,
    dir: Option<&Path>,
    enabled: bool,
    name: Option<String>,
) -> Result<PathBuf> {
    let folder = app.directory(dir)?;
    let request = BackupSetRequest { folder: folder.clone(), enabled, name };
    app.post::<serde::de::IgnoredAny>(Route::new("/v1/backup/set"), &request).await?;
    Ok(folder)
}
