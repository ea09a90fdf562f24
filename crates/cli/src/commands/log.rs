//! `ringfence log`: what was decided about runs.

use std::path::PathBuf;

use clap::Args;
use ringfence_model::audit::Decisions;
use ringfence_model::name::ProfileName;

use super::DONE;
use crate::app::App;
use crate::args::JsonArgs;
use crate::client::Route;
use crate::error::Result;
use crate::output::decisions;

/// Arguments of `log`.
#[derive(Debug, Args)]
pub struct LogArgs {
    /// What was decided about runs: admitted or refused, for whom, under which rule
    #[arg(long, required = true)]
    pub decisions: bool,
    /// Only what came after a time: '2 days ago', 'yesterday 9:00', '2026-11-23 14:00'
    #[arg(long, value_name = "TIME")]
    pub since: Option<String>,
    /// Only of one profile
    #[arg(long, value_name = "PROFILE")]
    pub profile: Option<ProfileName>,
    /// Only about one folder
    #[arg(long, value_name = "DIR")]
    pub folder: Option<PathBuf>,
    /// JSON.
    #[command(flatten)]
    pub json: JsonArgs,
}

/// Shows them.
///
/// # Errors
/// The daemon's.
pub async fn run(app: &App, args: &LogArgs) -> Result<u8> {
    let mut route = Route::new("/v1/decisions");
    if let Some(text) = &args.since {
        route = route.query("since", &app.time(text)?.to_string());
    }
    if let Some(profile) = &args.profile {
        route = route.query("profile", profile.as_str());
    }
    if let Some(folder) = &args.folder {
        // A folder that is gone was decided about, too.
        let typed = app.surroundings.directory.join(folder);
        let folder = std::fs::canonicalize(&typed).unwrap_or(typed);
        route = route.query_path("folder", &folder);
    }
    let found: Decisions = app.get(route).await?;
    if args.json.json {
        app.out.json_object(&found)?;
    } else if found.decisions.is_empty() {
        app.out.note("Nothing was decided.");
    } else {
        let zone = app.surroundings.now.time_zone();
        app.out.print(&decisions::table(&found.decisions, zone, &app.out.style))?;
    }
    if found.damaged > 0 {
        app.out.say(&format!(
            "{} of the record cannot be read: cut off when the disk was full or the power went, or changed",
            crate::output::words::count(found.damaged, "line")
        ));
    }
    Ok(DONE)
}
