//! `ringfence daemon …`

mod install;

use std::io::{Read as _, Seek as _, SeekFrom};

use clap::{Args, Subcommand};
use ringfence_model::api::{StartedBy, Version};
use ringfence_model::error::{ApiError, ErrorKind};
use ringfence_model::service::SERVICE;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use super::{DONE, session};
use crate::app::App;
use crate::client::Route;
use crate::client::start::not_by_systemd;
use crate::client::systemd::{self, Refusal, State, Units};
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
    /// Say whether it runs, and what keeps it running
    Status,
    /// Have systemd start it with the computer and keep it running
    Install(install::InstallArgs),
    /// Undo that; the next command that needs it starts it
    Uninstall,
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
            let ended = if let Some(state) = service_state(app) {
                systemd::stop().map_err(not_told)?;
                state == State::Alive
            } else {
                let runs = app.interruptible(app.client.version()).await.is_ok();
                if runs {
                    stop(app).await?;
                }
                runs
            };
            app.out.note(if ended {
                "The daemon has ended; machines and sessions go on."
            } else {
                "The daemon does not run."
            });
        }
        DaemonCommand::Restart => {
            if service_state(app).is_some() {
                systemd::start(true).map_err(not_told)?;
            } else if app.interruptible(app.client.version()).await.is_ok() {
                stop(app).await?;
            }
            start(app).await?;
        }
        DaemonCommand::Status => {
            // To connect would have systemd start it.
            if let Some(state @ (State::Down | State::Failed)) = service_state(app) {
                let how = if state == State::Failed { "it failed" } else { "it was stopped" };
                return Err(ApiError::new(
                    ErrorKind::Daemon,
                    format!("the daemon does not run: {how} ({SERVICE})"),
                )
                .hint("ringfence daemon start"));
            }
            let version = app.interruptible(app.client.version()).await?;
            app.out.print(&format!("{}\n{}\n", runs(&version), kept_by(version.started_by)))?;
        }
        DaemonCommand::Install(args) => return install::install(app, &args).await,
        DaemonCommand::Uninstall => install::uninstall(app)?,
        DaemonCommand::Logs(args) => logs(app, args.lines)?,
    }
    Ok(DONE)
}

fn runs(version: &Version) -> String {
    let package = ringfence_model::bytes::visible(&version.package);
    format!("The daemon runs: version {package}, API {}, process {}.", version.api, version.pid)
}

fn kept_by(started_by: StartedBy) -> &'static str {
    match started_by {
        StartedBy::Systemd { lingers: true } => {
            "systemd starts it with the computer, and again if it fails."
        }
        StartedBy::Systemd { lingers: false } => {
            "systemd keeps it running while you are logged in. With the computer, too: ringfence daemon install --linger"
        }
        StartedBy::Command => {
            "A command started it; after a restart of the computer the next one does. By itself: ringfence daemon install"
        }
    }
}

/// What the service is doing; `None` where systemd does not keep this daemon, or cannot be told
/// anything now.
fn service_state(app: &App) -> Option<State> {
    Units::installed(app.client.socket())?;
    Some(systemd::state()).filter(|state| *state != State::Unknown)
}

/// The error for a systemd that did not do what it was told.
fn not_told(refusal: Refusal) -> ApiError {
    match refusal {
        Refusal::NoManager(words) => install::no_manager(words),
        Refusal::Failed(words) => not_by_systemd(words),
    }
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
