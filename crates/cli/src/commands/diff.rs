//! `ringfence diff [FROM] [TO]`, `ringfence diff --session ID`

use std::path::{Path, PathBuf};

use clap::Args;
use ringfence_model::api::{DiffRequest, SessionDiffRequest, StateSelector};
use ringfence_model::history::DiffView;
use ringfence_model::kept::SessionDiffView;
use ringfence_model::name::SessionId;

use super::DONE;
use crate::app::App;
use crate::args::{FolderArgs, JsonArgs};
use crate::client::Route;
use crate::error::{Result, usage};
use crate::output::{diff, lists, pager};

/// Arguments of `diff`.
#[derive(Debug, Args)]
#[command(
    after_help = "FROM and TO are `latest`, `now`, the first digits of a snapshot's id, `14:05`, `yesterday 9:00`,\n`2026-11-23 14:05`, `10 minutes ago`, `2 days ago`, `before session ID` or `after session ID`."
)]
pub struct DiffArgs {
    /// The earlier state [default: before the last session]
    pub from: Option<String>,
    /// The later state [default: now]
    pub to: Option<String>,
    /// What this session changed, operation by operation, also while it is under way
    #[arg(long, value_name = "SESSION", conflicts_with_all = ["from", "to"])]
    pub session: Option<SessionId>,
    /// Only the paths, with how many lines were added and removed
    #[arg(long)]
    pub stat: bool,
    /// Only this path and what lies below it; may be repeated
    #[arg(short, long, value_name = "PATH")]
    pub path: Vec<PathBuf>,
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
    if let Some(session) = &args.session {
        return of_session(app, args, session).await;
    }
    let from = match &args.from {
        None => None,
        Some(text) => Some(state(app, text).await?.ok_or_else(|| {
            usage("`now` cannot be the earlier state").hint("ringfence diff latest")
        })?),
    };
    let to = match &args.to {
        None => None,
        Some(text) => state(app, text).await?,
    };
    let given = args.folder.folder.as_deref();
    let folder = app.folder_of(given, args.path.first().map(PathBuf::as_path)).await?;
    let paths =
        args.path.iter().map(|typed| app.relative(&folder, typed)).collect::<Result<_>>()?;
    let request = DiffRequest { folder, from, to, text: true, paths };
    let view: DiffView = app.post(Route::new("/v1/diff"), &request).await?;
    if args.json.json {
        app.out.json_object(&view)?;
    } else {
        let text = diff::render(&view, args.stat, &app.out.style);
        pager::page(&app.out, app.surroundings.pager.as_deref(), &text)?;
    }
    Ok(DONE)
}

async fn of_session(app: &App, args: &DiffArgs, typed: &SessionId) -> Result<u8> {
    let session = app.session(typed).await?;
    let folder = match &session.folder_path {
        Some(folder) => folder.clone(),
        None => return Err(usage(format!("session {} worked in no folder", session.id))),
    };
    let paths =
        args.path.iter().map(|typed| app.relative(&folder, typed)).collect::<Result<_>>()?;
    let request = SessionDiffRequest { text: true, paths };
    let view: SessionDiffView =
        app.post(super::session::route(&session.id).segment("diff"), &request).await?;
    if args.json.json {
        app.out.json_object(&view)?;
    } else {
        let zone = app.surroundings.now.time_zone();
        let mut text = lists::operations(&view.operations, zone, &app.out.style);
        text.push('\n');
        text.push_str(&diff::render(&view.diff, args.stat, &app.out.style));
        pager::page(&app.out, app.surroundings.pager.as_deref(), &text)?;
    }
    Ok(DONE)
}

/// A state; where it is none, but a path, how to say that.
async fn state(app: &App, text: &str) -> Result<Option<StateSelector>> {
    app.state(text).await.map_err(|error| {
        if app.surroundings.directory.join(text).exists() {
            let path = app.out.error_style.argument(Path::new(text));
            return error.hint(format!("of one path: ringfence diff --path {path}"));
        }
        error
    })
}
