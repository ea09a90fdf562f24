//! `ringfence backup off DIR`, `on`, `pause` and `resume`: whether a folder is backed up.

use std::path::{Path, PathBuf};

use clap::Args;
use ringfence_model::api::{BackupNowRequest, BackupSetRequest, PauseRequest};
use ringfence_model::protection::PauseLength;
use serde::de::IgnoredAny;

use super::DirArgs;
use crate::app::App;
use crate::client::Route;
use crate::commands::DONE;
use crate::env::terminal_name;
use crate::error::{Result, usage};
use crate::output::style::Paint;

/// Arguments of `backup off`.
#[derive(Debug, Args)]
pub struct OffArgs {
    /// The folder
    pub dir: PathBuf,
    /// The folder's last path component, typed by somebody who accepts that nothing protects it
    /// [default: asked for on the terminal]
    #[arg(long, value_name = "NAME")]
    pub i_understand: Option<String>,
}

/// Arguments of `backup pause`.
#[derive(Debug, Args)]
pub struct PauseArgs {
    /// The folder.
    #[command(flatten)]
    pub dir: DirArgs,
    /// How long, at most 24h
    #[arg(long = "for", value_name = "LENGTH", default_value = "1h")]
    pub length: PauseLength,
}

/// Turns a folder's protection off.
///
/// # Errors
/// The daemon's, or wrong usage where nobody can be asked for the name.
pub async fn off(app: &App, args: OffArgs) -> Result<u8> {
    let name = match args.i_understand {
        Some(name) => name,
        None => ask_name(app, &args.dir).await?,
    };
    let folder = set(app, Some(&args.dir), false, Some(name)).await?;
    let style = &app.out.error_style;
    // Never silent: it is the one act after which nothing can be undone.
    app.out.say(&format!(
        "{} is NOT protected any more. To protect it again: ringfence backup on {}",
        style.path(&folder),
        style.argument(&folder)
    ));
    Ok(DONE)
}

async fn ask_name(app: &App, dir: &Path) -> Result<String> {
    let style = &app.out.error_style;
    if !app.out.can_ask() {
        let typed = app.directory(Some(dir))?;
        let name = typed.file_name().unwrap_or_default().to_string_lossy();
        return Err(usage(format!(
            "{} stays protected: nobody can be asked for its name without a terminal",
            style.path(&typed)
        ))
        .hint(format!("ringfence backup off {} --i-understand {name}", style.argument(dir))));
    }
    let root = app.root(&app.directory(Some(dir))?).await?;
    let name = root.file_name().unwrap_or_default().to_string_lossy();
    app.out.say(&style.paint(
        Paint::Bad,
        &format!(
            "Without its backup, nothing that happens to {} can be undone.",
            style.path(&root)
        ),
    ));
    let name = ringfence_model::bytes::visible(&name);
    app.ask_words(&format!("To turn it off, type the folder's name, {name}:")).await
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
    let request =
        BackupSetRequest { folder: folder.clone(), enabled, name, terminal: terminal_name() };
    app.post::<IgnoredAny>(Route::new("/v1/backup/set"), &request).await?;
    Ok(folder)
}

/// Pauses what happens by itself.
///
/// # Errors
/// The daemon's.
pub async fn pause(app: &App, args: &PauseArgs) -> Result<u8> {
    let folder = app.directory(args.dir.dir.as_deref())?;
    let seconds = args.length;
    let request = PauseRequest { folder: folder.clone(), seconds, terminal: terminal_name() };
    app.post::<IgnoredAny>(Route::new("/v1/backup/pause"), &request).await?;
    let style = &app.out.error_style;
    app.out.say(&format!(
        "Automatic snapshots of {} pause for {seconds} and then go on by themselves; sessions still take theirs. \
         To end the pause: ringfence backup resume {}",
        style.path(&folder),
        style.argument(&folder)
    ));
    Ok(DONE)
}

/// Ends a pause.
///
/// # Errors
/// The daemon's.
pub async fn resume(app: &App, args: &DirArgs) -> Result<u8> {
    let folder = app.directory(args.dir.as_deref())?;
    let request = BackupNowRequest { folder: folder.clone() };
    app.post::<IgnoredAny>(Route::new("/v1/backup/resume"), &request).await?;
    app.out.note(&format!("Automatic snapshots of {} go on.", app.out.error_style.path(&folder)));
    Ok(DONE)
}
