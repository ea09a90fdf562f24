//! `ringfence status`

use std::time::Duration;

use clap::Args;
use jiff::Timestamp;
use ringfence_model::status::Status;

use super::DONE;
use crate::app::App;
use crate::args::JsonArgs;
use crate::client::Route;
use crate::error::Result;
use crate::output::status::render;

/// How often `--watch` looks.
const PERIOD: Duration = Duration::from_secs(1);

/// Arguments of `status`.
#[derive(Debug, Args)]
pub struct StatusArgs {
    /// Print it again every second until Ctrl-C
    #[arg(long)]
    pub watch: bool,
    /// JSON.
    #[command(flatten)]
    pub json: JsonArgs,
}

/// Shows it.
///
/// # Errors
/// The daemon's.
pub async fn run(app: &App, args: &StatusArgs) -> Result<u8> {
    if !args.watch {
        let (text, _) = page(app, args, app.now()).await?;
        app.out.print(&text)?;
        return Ok(DONE);
    }
    let mut ticks = tokio::time::interval(PERIOD);
    let started = std::time::Instant::now();
    let mut last = String::new();
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = app.interrupts.next() => return Ok(DONE),
        }
        let elapsed = jiff::SignedDuration::try_from(started.elapsed()).unwrap_or_default();
        let (text, same) =
            page(app, args, app.now().saturating_add(elapsed).unwrap_or(app.now())).await?;
        if app.out.stdout_is_terminal() && !args.json.json {
            // Home, then clear what is left of the longer page before.
            app.out.print(&format!("\x1b[H\x1b[2J{text}"))?;
        } else if same != last {
            app.out.print(&text)?;
            last = same;
        }
    }
}

/// The page, and what of it counts as news.
async fn page(app: &App, args: &StatusArgs, now: Timestamp) -> Result<(String, String)> {
    let value: serde_json::Value = app.get(Route::new("/v1/status")).await?;
    if args.json.json {
        let text = if args.watch { value.to_string() } else { format!("{value:#}") };
        return Ok((format!("{text}\n"), text));
    }
    let status: Status = serde_json::from_value(value).map_err(|error| {
        ringfence_model::error::ApiError::from_source(
            ringfence_model::error::ErrorKind::Daemon,
            "the daemon's status cannot be understood",
            &error,
        )
        .hint("ringfence daemon restart")
    })?;
    let text = render(&status, now, &app.out.style);
    Ok((text.clone(), text))
}
