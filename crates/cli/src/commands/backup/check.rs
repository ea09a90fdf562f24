//! `ringfence backup check [DIR]`

use clap::Args;
use ringfence_model::error::ErrorKind;
use ringfence_model::health::{CheckRequest, CheckView, RepairRequest, RepairView};

use super::DirArgs;
use crate::app::App;
use crate::args::JsonArgs;
use crate::client::Route;
use crate::commands::DONE;
use crate::error::Result;
use crate::output::health;

/// Arguments of `backup check`.
#[derive(Debug, Args)]
pub struct CheckArgs {
    /// The folder.
    #[command(flatten)]
    pub dir: DirArgs,
    /// Also read and hash all data
    #[arg(long)]
    pub read_data: bool,
    /// Mend what is damaged, after showing how. Nothing is deleted
    #[arg(long)]
    pub repair: bool,
    /// With --repair: do not ask
    #[arg(long, requires = "repair")]
    pub yes: bool,
    /// JSON.
    #[command(flatten)]
    pub json: JsonArgs,
}

/// Checks a vault; what is wrong is a failure.
///
/// # Errors
/// The daemon's.
pub async fn run(app: &App, args: &CheckArgs) -> Result<u8> {
    if args.repair {
        return repair(app, args).await;
    }
    let out = &app.out;
    let folder = app.directory(args.dir.dir.as_deref())?;
    let request = CheckRequest { folder, read_data: args.read_data };
    let view: CheckView = app.stream(Route::new("/v1/backup/check"), &request).await?;
    if args.json.json {
        out.json_object(&view)?;
    } else {
        out.print(&health::check(&view, app.now(), &out.style))?;
    }
    Ok(exit_code(&view))
}

async fn repair(app: &App, args: &CheckArgs) -> Result<u8> {
    let out = &app.out;
    let folder = app.directory(args.dir.dir.as_deref())?;
    let route = || Route::new("/v1/backup/repair");
    let request =
        |apply| RepairRequest { folder: folder.clone(), read_data: args.read_data, apply };
    let plan: RepairView = app.stream(route(), &request(false)).await?;
    if plan.check.is_good() || plan.steps.is_empty() {
        if args.json.json {
            out.json_object(&plan)?;
        } else {
            out.print(&health::repair(&plan, app.now(), &out.style))?;
        }
        return Ok(exit_code(&plan.check));
    }
    if !args.yes {
        out.say(&health::repair(&plan, app.now(), &out.error_style));
    }
    if !app.confirm(args.yes, "Repair it so?", "ringfence backup check --repair").await? {
        out.note("Nothing was changed.");
        return Ok(exit_code(&plan.check));
    }
    let done: RepairView = app.stream(route(), &request(true)).await?;
    if args.json.json {
        out.json_object(&done)?;
    } else {
        out.print(&health::repair(&done, app.now(), &out.style))?;
    }
    Ok(exit_code(&done.check))
}

fn exit_code(view: &CheckView) -> u8 {
    if view.is_good() { DONE } else { ErrorKind::Vault.exit_code() }
}
