//! `ringfence history [DIR|FILE]`

use std::path::PathBuf;

use clap::Args;
use jiff::tz::TimeZone;
use ringfence_model::history::SnapshotView;

use super::DONE;
use crate::app::App;
use crate::args::JsonArgs;
use crate::client::Route;
use crate::error::Result;
use crate::output::lists;
use crate::paths::nearest_directory;

/// Arguments of `history`.
#[derive(Debug, Args)]
pub struct HistoryArgs {
    /// A folder, or a path in one, which may be deleted [default: the current directory's folder]
    #[arg(value_name = "DIR|FILE")]
    pub path: Option<PathBuf>,
    /// JSON.
    #[command(flatten)]
    pub json: JsonArgs,
}

/// Lists them.
///
/// # Errors
/// The daemon's.
pub async fn run(app: &App, args: &HistoryArgs) -> Result<u8> {
    let mut route = Route::new("/v1/history");
    match &args.path {
        None => route = route.query_path("folder", &app.directory(None)?),
        Some(typed) => {
            let absolute = app.surroundings.directory.join(typed);
            let directory = nearest_directory(&absolute).unwrap_or(&absolute);
            let root = app.root(&app.directory(Some(directory))?).await?;
            let path = app.relative(&root, &absolute)?.to_path().unwrap_or_default();
            route = route.query_path("folder", &root);
            if !path.as_os_str().is_empty() {
                route = route.query_path("path", &path);
            }
        }
    }
    let snapshots: Vec<SnapshotView> = app.get(route).await?;
    if args.json.json {
        app.out.json_list("snapshots", &snapshots)?;
    } else if snapshots.is_empty() {
        app.out.note("There is no snapshot yet: ringfence backup now");
    } else {
        let zone: TimeZone = app.surroundings.now.time_zone().clone();
        app.out.print(&lists::history(&snapshots, app.now(), &zone, &app.out.style))?;
    }
    Ok(DONE)
}
