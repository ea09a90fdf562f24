//! `ringfence undo [SESSION] [PATH…]`

use std::path::PathBuf;

use clap::Args;
use ringfence_model::api::UndoRequest;
use ringfence_model::name::SessionId;

use super::{DONE, restore};
use crate::app::App;
use crate::args::{FolderArgs, PlanArgs};
use crate::error::Result;

/// Arguments of `undo`.
#[derive(Debug, Args)]
#[command(
    after_help = "A snapshot of the present state is taken first, so that an undo can be undone."
)]
pub struct UndoArgs {
    /// The session, or the beginning or end of its id [default: the last one that could write]
    pub session: Option<SessionId>,
    /// Only these paths; relative to the current directory
    pub path: Vec<PathBuf>,
    /// Only take back its deletions: what it found and removed comes back, where nothing is now
    #[arg(long, conflicts_with_all = ["all", "since"])]
    pub deletions: bool,
    /// Only take back what it changed after this time: `14:05`, `10 minutes ago`
    #[arg(long, value_name = "TIME")]
    pub since: Option<String>,
    /// Take the whole opening snapshot, also where the host changed paths meanwhile
    #[arg(long)]
    pub all: bool,
    /// Plan.
    #[command(flatten)]
    pub plan: PlanArgs,
    /// The folder.
    #[command(flatten)]
    pub folder: FolderArgs,
}

/// Undoes.
///
/// # Errors
/// The daemon's, or refused where nobody can be asked.
pub async fn run(app: &App, args: &UndoArgs) -> Result<u8> {
    let session = match &args.session {
        Some(typed) => Some(app.session(typed).await?.id),
        None => None,
    };
    let since = match &args.since {
        None => None,
        Some(text) => Some(app.time(text)?),
    };
    let given = args.folder.folder.as_deref();
    let mut folder = app.directory(given)?;
    let mut paths = Vec::new();
    if let Some(first) = args.path.first() {
        folder = app.folder_of(given, Some(first)).await?;
        paths =
            args.path.iter().map(|typed| app.relative(&folder, typed)).collect::<Result<_>>()?;
    }
    let (all, deletions) = (args.all, args.deletions);
    let request = UndoRequest { folder, session, all, deletions, since, paths, dry_run: true };
    let shown = restore::show(app, "/v1/undo", &request, &args.plan).await?;
    if shown.is_none() || !restore::agreed(app, &args.plan, "ringfence undo").await? {
        return Ok(DONE);
    }
    let request = UndoRequest { dry_run: false, ..request };
    restore::apply(app, "/v1/undo", &request, &args.plan).await
}
