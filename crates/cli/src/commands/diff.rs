//! `ringfence diff [FROM] [TO]`

use clap::Args;
use ringfence_model::api::DiffRequest;
use ringfence_model::history::DiffView;

use super::DONE;
use crate::app::App;
use crate::args::{FolderArgs, JsonArgs};
use crate::client::Route;
use crate::error::{Result, usage};
use crate::output::{diff, pager};

/// Arguments of `diff`.
#[derive(Debug, Args)]
#[command(
    after_help = "FROM and TO are `latest`, `now`, the first digits of a snapshot's id, `14:05`, `2026-11-23 14:05`,\n`10 minutes ago` or `before session ID`."
)]
pub struct DiffArgs {
    /// The earlier state [default: before the last session]
    pub from: Option<String>,
    /// The later state [default: now]
    pub to: Option<String>,
    /// Only the paths
    #[arg(long)]
    pub stat: bool,
    /// JSON.
    #[command(flatten)]
    pub json: JsonArgs,
    /// The folder.
    #[command(flatten)]
    pub folder: FolderArgs,
}

/// Shows it.
///
/// # Errors
/// The daemon's.
pub async fn run(app: &App, args: &DiffArgs) -> Result<u8> {
    let from = match &args.from {
        None => None,
        Some(text) => Some(app.state(text).await?.ok_or_else(|| {
            usage("`now` cannot be the earlier state").hint("ringfence diff latest")
        })?),
    };
    let to = match &args.to {
        None => None,
        Some(text) => app.state(text).await?,
    };
    let request = DiffRequest {
        folder: app.directory(args.folder.folder.as_deref())?,
        from,
        to,
        text: !args.stat,
    };
    let view: DiffView = app.post(Route::new("/v1/diff"), &request).await?;
    if args.json.json {
        app.out.json_object(&view)?;
    } else {
        let text = diff::render(&view, args.stat, &app.out.style);
        pager::page(&app.out, app.surroundings.pager.as_deref(), &text)?;
    }
    Ok(DONE)
}
