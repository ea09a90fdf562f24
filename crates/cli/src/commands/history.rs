//! `ringfence history [DIR|FILE]`, and the pins of its snapshots

use std::path::PathBuf;

use clap::Args;
use jiff::tz::TimeZone;
use ringfence_model::bytes::encode;
use ringfence_model::history::{HistoryView, SnapshotView};
use ringfence_model::prune::PinRequest;

use super::DONE;
use crate::app::App;
use crate::args::JsonArgs;
use crate::client::Route;
use crate::env::terminal_name;
use crate::error::{Result, usage};
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
    /// Pin a snapshot: no prune lets it go
    #[arg(long, value_name = "SNAPSHOT")]
    pub pin: Option<String>,
    /// Why it is pinned
    #[arg(long, value_name = "WORDS", requires = "pin")]
    pub reason: Option<String>,
    /// Take a snapshot's pin away
    #[arg(long, value_name = "SNAPSHOT", conflicts_with = "pin")]
    pub unpin: Option<String>,
    /// JSON.
    #[command(flatten)]
    pub json: JsonArgs,
}

/// Lists them.
///
/// # Errors
/// The daemon's.
pub async fn run(app: &App, args: &HistoryArgs) -> Result<u8> {
    if let Some(snapshot) = args.pin.as_ref().or(args.unpin.as_ref()) {
        return pin(app, args, snapshot).await;
    }
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

async fn pin(app: &App, args: &HistoryArgs, snapshot: &str) -> Result<u8> {
    let state = app.state(snapshot).await?;
    let request = PinRequest {
        folder: app.directory(args.path.as_deref())?,
        snapshot: state.ok_or_else(|| {
            usage("`now` is the folder as it is: take a snapshot of it first")
                .hint("ringfence backup now")
        })?,
        pinned: args.pin.is_some(),
        reason: args.reason.clone(),
        terminal: terminal_name(),
    };
    let view: SnapshotView = app.post(Route::new("/v1/backup/pin"), &request).await?;
    let short = words::short(&view.id);
    if args.json.json {
        app.out.json_object(&view)?;
    } else if request.pinned {
        app.out.note(&format!(
            "Snapshot {short} is pinned. To take the pin away: ringfence history --unpin {short}"
        ));
    } else {
        app.out.note(&format!("Snapshot {short} goes when the keep rule says so."));
    }
    Ok(DONE)
}
