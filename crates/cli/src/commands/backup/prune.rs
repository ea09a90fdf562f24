//! `ringfence backup prune [DIR]`: shown, asked, done.

use clap::Args;
use ringfence_model::prune::{PruneRequest, PruneView};

use super::DirArgs;
use crate::app::App;
use crate::args::PlanArgs;
use crate::client::Route;
use crate::commands::{DONE, restore};
use crate::error::Result;
use crate::output::prune;

/// Arguments of `backup prune`.
#[derive(Debug, Args)]
#[command(
    after_help = "How long snapshots are kept stands in the configuration:\n  [folder.backup]\n  keep = \"everything for 2 days, hourly for 2 weeks, daily for 3 months, monthly\"\n\nNothing is pruned by itself. The newest snapshot, the newest that was read back, those at the ends\nof the last 20 sessions and pinned ones (ringfence history --pin) always stay. What is not needed\nany more is marked first, and freed by a prune that runs a day later."
)]
pub struct PruneArgs {
    /// The folder.
    #[command(flatten)]
    pub dir: DirArgs,
    /// Plan.
    #[command(flatten)]
    pub plan: PlanArgs,
}

/// Lets snapshots go.
///
/// # Errors
/// The daemon's, or refused where nobody can be asked.
pub async fn run(app: &App, args: &PruneArgs) -> Result<u8> {
    let out = &app.out;
    let folder = app.directory(args.dir.dir.as_deref())?;
    let request = PruneRequest { folder: folder.clone(), agreed: None };
    let plan: PruneView = app.stream(Route::new("/v1/backup/prune"), &request).await?;
    let ends_here = args.plan.dry_run || plan.is_empty();
    let full = out.verbose > 0;
    if args.plan.json.json {
        if ends_here {
            out.json_object(&plan)?;
        }
    } else if args.plan.dry_run {
        out.print(&prune::render(&plan, full, &out.style))?;
    } else if plan.is_empty() || !args.plan.yes {
        out.say(&prune::render(&plan, full, &out.error_style));
    } else {
        out.note(&prune::render(&plan, full, &out.error_style));
    }
    if ends_here {
        return Ok(DONE);
    }
    let command = format!("ringfence backup prune {}", out.error_style.argument(&plan.folder));
    if !restore::agreed(app, &args.plan, &command).await? {
        return Ok(DONE);
    }
    // What was shown is what goes, whatever has become old meanwhile.
    let agreed = plan.forget.into_iter().map(|judged| judged.id).collect();
    let request = PruneRequest { folder, agreed: Some(agreed) };
    let done: PruneView = app.stream(Route::new("/v1/backup/prune"), &request).await?;
    if args.plan.json.json {
        out.json_object(&done)?;
    } else {
        out.note(&prune::done(&done, &out.error_style));
    }
    Ok(DONE)
}
