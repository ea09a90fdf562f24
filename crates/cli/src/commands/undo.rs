//! `ringfence undo [SESSION]`

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
    let request = UndoRequest {
        folder: app.directory(args.folder.folder.as_deref())?,
        session,
        all: args.all,
        dry_run: true,
    };
    let shown = restore::show(app, "/v1/undo", &request, &args.plan).await?;
    if shown.is_none() || !restore::agreed(app, &args.plan, "ringfence undo").await? {
        return Ok(DONE);
    }
    let request = UndoRequest { dry_run: false, ..request };
    restore::apply(app, "/v1/undo", &request, &args.plan).await
}
