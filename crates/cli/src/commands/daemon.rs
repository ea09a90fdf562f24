//! `ringfence daemon …`

use std::io::{Read as _, Seek as _, SeekFrom};

use clap::{Args, Subcommand};
use ringfence_model::api::Version;
use ringfence_model::error::{ApiError, ErrorKind};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use super::{DONE, session};
use crate::app::App;
use crate::client::Route;
use crate::error::Result;

/// How long a daemon may take to end.
const DEADLINE: Timespec = Timespec { tv_sec: 30, tv_nsec: 0 };

/// The most that is read of the log.
const LOG_BYTES: u64 = 4 * 1024 * 1024;

/// What to do with the daemon.
#[derive(Debug, Subcommand)]
pub enum DaemonCommand {
    /// Start it, where it does not run
    Start,
    /// End it; machines and sessions go on
    Stop,
    /// End it and start it again; machines and sessions go on
    Restart,
    /// Say whether it runs
    Status,
    /// Print the end of its log
    Logs(LogsArgs),
}

/// Arguments of `daemon logs`.
#[derive(Debug, Args)]
pub struct LogsArgs {
    /// How many lines
    #[arg(short = 'n', long, default_value_t = 200)]
    pub lines: usize,
}

/// Does it.
///
/// # Errors
/// That no daemon answers, or why it did not start.
pub async fn run(app: &App, command: DaemonCommand) -> Result<u8> {
    match command {
        DaemonCommand::Start => start(app).await?,
        DaemonCommand::Stop => {
            if app.interruptible(app.client.version()).await.is_err() {
                app.out.note("The daemon does not run.");
                return Ok(DONE);
            }
            stop(app).await?;
            app.out.note("The daemon has ended; machines and sessions go on.");
        }
        DaemonCommand::Restart => {
            if app.interruptible(app.client.version()).await.is_ok() {
                stop(app).await?;
            }
            start(app).await?;
        }
        DaemonCommand::Status => {
            let version = app.interruptible(app.client.version()).await?;
            app.out.print(&format!("{}\n", runs(&version)))?;
        }
        DaemonCommand::Logs(args) => logs(app, args.lines)?,
    }
    Ok(DONE)
}

fn runs(version: &Version) -> String {
    let package = ringfence_model::bytes::visible(&version.package);
    format!("The daemon runs: version {package}, API {}, process {}.", version.api, version.pid)
}

async fn start(app: &App) -> Result<()> {
    let version: Version = app.get(Route::new("/v1/version")).await?;
    app.out.note(&runs(&version));
    Ok(())
}

async fn stop(app: &App) -> Result<()> {
    let before = app.interruptible(app.client.version()).await?;
    let still = || {
        ApiError::new(
            ErrorKind::Daemon,
            format!("the daemon (process {}) was asked to end and still runs", before.pid),
        )
        .hint("ringfence daemon logs")
    };
    // It is the process that has to be gone, not only its socket: it holds the lock until then.
    let process = i32::try_from(before.pid).ok().and_then(Pid::from_raw);
    let process = process.and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok());
    app.interruptible(app.client.shut_down()).await?;
    let Some(process) = process else { return Ok(()) };
    let gone = tokio::task::spawn_blocking(move || {
        // A process's descriptor can be read once the process has ended.
        let mut wanted = [PollFd::new(&process, PollFlags::IN)];
        poll(&mut wanted, Some(&DEADLINE))
    });
    let gone = app.interruptible(async { Ok(gone.await) }).await?;
    if matches!(gone, Ok(Ok(1..))) { Ok(()) } else { Err(still()) }
}

/// Prints the end of the log file itself, because it is needed most when no daemon runs.
fn logs(app: &App, lines: usize) -> Result<()> {
    let file = app.surroundings.layout.daemon_log();
    let read = || {
        let mut log = std::fs::File::open(&file)?;
        let length = log.metadata()?.len();
        log.seek(SeekFrom::Start(length.saturating_sub(LOG_BYTES)))?;
        let mut bytes = Vec::new();
        log.take(LOG_BYTES).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let bytes: Vec<u8> = read().map_err(|error: std::io::Error| {
        ApiError::from_source(
            ErrorKind::Failed,
            format!("the daemon's log {} cannot be read", file.display()),
            &error,
        )
        .hint("ringfence daemon start")
    })?;
    let all: Vec<&[u8]> =
        bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).collect();
    let mut text = String::new();
    for line in &all[all.len().saturating_sub(lines)..] {
        text.push_str(&session::safe_line(line));
    }
    app.out.print(&text)
}
