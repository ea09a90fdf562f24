//! `ringfence restore`, and what it shares with `undo`: the plan, the question, the act.

use std::path::PathBuf;

use clap::Args;
use ringfence_model::api::RestoreRequest;
use ringfence_model::history::PlanView;
use serde::Serialize;

use super::DONE;
use crate::app::App;
use crate::args::{FolderArgs, PlanArgs};
use crate::client::Route;
use crate::error::{Result, usage};
use crate::output::plan;

/// Arguments of `restore`.
#[derive(Debug, Args)]
pub struct RestoreArgs {
    /// Which state: `latest`, the first digits of a snapshot's id, `14:05`, `yesterday 9:00`,
    /// `10 minutes ago`, `before session ID`, `before operation N of session ID` [default: the newest snapshot]
    #[arg(long, value_name = "SNAPSHOT|TIME")]
    pub at: Option<String>,
    /// Another directory instead of the folder itself; made if missing, must be empty
    #[arg(long, value_name = "DIR")]
    pub to: Option<PathBuf>,
    /// Only these paths [default: the whole folder]
    pub path: Vec<PathBuf>,
    /// Plan.
    #[command(flatten)]
    pub plan: PlanArgs,
    /// The folder.
    #[command(flatten)]
    pub folder: FolderArgs,
}

/// Restores.
///
/// # Errors
/// The daemon's, or refused where nobody can be asked.
pub async fn run(app: &App, args: &RestoreArgs) -> Result<u8> {
    let at = match &args.at {
        None => None,
        Some(text) => Some(app.state(text).await?.ok_or_else(|| {
            usage("`now` is the folder as it is: there is nothing to put back")
                .hint("ringfence history")
        })?),
    };
    let given = args.folder.folder.as_deref();
    let mut folder = app.directory(given)?;
    let mut paths = Vec::new();
    if let Some(first) = args.path.first() {
        folder = app.folder_of(given, Some(first)).await?;
        for typed in &args.path {
            let path = app.relative(&folder, typed)?;
            // The root itself is the whole folder.
            if path.path.is_empty() {
                paths.clear();
                break;
            }
            paths.push(path);
        }
    }
    let request = RestoreRequest {
        folder,
        at,
        to: args.to.as_ref().map(|to| app.directory(Some(to))).transpose()?,
        paths,
        dry_run: true,
    };
    let Some(plan) = show(app, "/v1/restore", &request, &args.plan).await? else { return Ok(DONE) };
    if !agreed(app, &args.plan, "ringfence restore").await? {
        return Ok(DONE);
    }
    // What was shown is what is done, whatever snapshot has become the newest meanwhile.
    let at = if plan.moment.is_some() { request.at } else { Some(plan.snapshot) };
    let request = RestoreRequest { at, dry_run: false, ..request };
    apply(app, "/v1/restore", &request, &args.plan).await
}

/// Shows the plan; `None` where that is all there is to do.
///
/// # Errors
/// The daemon's.
pub async fn show(
    app: &App,
    route: &str,
    request: &impl Serialize,
    args: &PlanArgs,
) -> Result<Option<PlanView>> {
    let plan: PlanView = app.stream(Route::new(route), request).await?;
    let ends_here = args.dry_run || plan.is_empty();
    let render = |style| plan::render(&plan, app.out.verbose > 0, &app.surroundings.now, style);
    if args.json.json {
        if ends_here {
            app.out.json_object(&plan)?;
        }
    } else if args.dry_run {
        app.out.print(&render(&app.out.style))?;
    } else if plan.is_empty() || !args.yes {
        app.out.say(&render(&app.out.error_style));
    } else {
        app.out.note(&render(&app.out.error_style));
    }
    Ok((!ends_here).then_some(plan))
}

/// Asks whether the plan is to be carried out.
///
/// # Errors
/// Refused where nobody can be asked.
pub async fn agreed(app: &App, args: &PlanArgs, command: &str) -> Result<bool> {
    let agreed = app.confirm(args.yes, "Do it?", command).await?;
    if !agreed {
        app.out.note("Nothing was changed.");
    }
    Ok(agreed)
}

/// Carries the plan out and says how to take it back.
///
/// # Errors
/// The daemon's.
pub async fn apply(
    app: &App,
    route: &str,
    request: &impl Serialize,
    args: &PlanArgs,
) -> Result<u8> {
    let done: PlanView = app.stream(Route::new(route), request).await?;
    if args.json.json {
        app.out.json_object(&done)?;
    } else {
        app.out.note(&plan::done(&done, &app.out.error_style));
    }
    Ok(DONE)
}
