//! `ringfence history [DIR|FILE]`

use std::path::PathBuf;

use clap::Args;
use jiff::tz::TimeZone;
use ringfence_model::bytes::encode;
use ringfence_model::history::HistoryView;

use super::DONE;
use crate::app::App;
use crate::args::JsonArgs;
use crate::client::Route;
use crate::error::Result;
use crate::output::{history, pager, words};
use crate::paths::{nearest_directory, normal};

/// Arguments of `history`.
#[derive(Debug, Args)]
pub struct HistoryArgs {
    /// A folder, or a path in one, which may be deleted [default: the current directory's folder]
    #[arg(value_name = "DIR|FILE")]
    pub path: Option<PathBuf>,
    /// Only the newest N
    #[arg(short = 'n', long, value_name = "N")]
    pub limit: Option<usize>,
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
    let mut of_path = None;
    match &args.path {
        None => route = route.query_path("folder", &app.directory(None)?),
        Some(typed) => {
            let absolute = normal(&app.surroundings.directory.join(typed));
            let directory = nearest_directory(&absolute).unwrap_or(&absolute);
            let root = app.root(&app.directory(Some(directory))?).await?;
            let path = app.relative(&root, &absolute)?;
            route = route.query_path("folder", &root);
            if let Some(bytes) = path.to_bytes().filter(|bytes| !bytes.is_empty()) {
                route = route.query("path_b64", &encode(&bytes));
                of_path = Some(typed);
            }
        }
    }
    if let Some(limit) = args.limit {
        route = route.query("limit", &limit.to_string());
    }
    let view: HistoryView = app.get(route).await?;
    for sentence in &view.damaged {
        app.out.say(&format!("{}\n  next: ringfence backup check", words::sentence(sentence)));
    }
    if args.json.json {
        app.out.json_object(&view)?;
    } else if view.snapshots.is_empty() {
        app.out.note(&match of_path {
            Some(typed) => {
                let shown = app.out.error_style.path(typed);
                format!("No snapshot has ever had {shown}.")
            }
            None => "There is no snapshot yet: ringfence backup now".into(),
        });
    } else {
        let zone: TimeZone = app.surroundings.now.time_zone().clone();
        let style = &app.out.style;
        let text = if of_path.is_some() {
            history::of_path(&view, app.now(), &zone, style)
        } else {
            history::of_folder(&view, app.now(), &zone, style)
        };
        pager::page(&app.out, app.surroundings.pager.as_deref(), &text)?;
    }
    Ok(DONE)
}
