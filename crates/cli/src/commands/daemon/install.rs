//! `ringfence daemon install` and `uninstall`: systemd keeps the daemon running, or no longer does.

use clap::Args;
use ringfence_model::api::{StartedBy, Version};
use ringfence_model::error::{ApiError, ErrorKind};
use ringfence_model::service::{SERVICE, SOCKET, carried};

use crate::app::App;
use crate::client::Route;
use crate::client::start;
use crate::client::systemd::{self, Refusal, Units};
use crate::commands::DONE;
use crate::env;
use crate::error::Result;

/// Arguments of `daemon install`.
#[derive(Debug, Args)]
pub struct InstallArgs {
    /// Run it from the start of the computer on, also while you are not logged in
    #[arg(long)]
    pub linger: bool,
    /// Let it have this variable of yours, beside those for the net and for its directories
    #[arg(long, value_name = "NAME")]
    pub env: Vec<String>,
}

/// Writes the units, has systemd start the daemon, and offers what keeps it after a logout.
///
/// # Errors
/// Where there is no systemd, it does not answer, or the daemon does not come up.
pub(super) async fn install(app: &App, args: &InstallArgs) -> Result<u8> {
    if !systemd::is_there() {
        return Err(ApiError::new(
            ErrorKind::Failed,
            "this computer was not started by systemd, and nothing else can keep the daemon running",
        )
        .hint("it starts by itself with the next command, for example: ringfence status")
        .hint("what that means: ringfence doctor"));
    }
    let program = start::beside().ok_or_else(|| {
        ApiError::new(ErrorKind::Failed, "the program ringfenced was not found beside ringfence")
            .hint("install both programs into one directory: make install")
    })?;
    let units = Units::new().ok_or_else(|| {
        ApiError::new(ErrorKind::Failed, "there is no home directory for units of systemd")
            .hint("export HOME=/your/home/directory")
    })?;
    // Asked before anything is written.
    systemd::tell(&["show-environment"]).map_err(super::not_told)?;
    let socket = app.client.socket();
    let names = carried().chain(args.env.iter().map(String::as_str));
    units.write(&program, socket, &env::texts(names))?;
    systemd::tell(&["daemon-reload"]).map_err(super::not_told)?;
    // A socket can only be bound anew while the daemon behind it is down. One that a command
    // started is asked to end by the one that comes.
    systemd::stop().map_err(super::not_told)?;
    systemd::tell(&["enable", SOCKET, SERVICE]).map_err(super::not_told)?;
    systemd::start(false).map_err(super::not_told)?;
    let version: Version = app.get(Route::new("/v1/version")).await?;
    app.out.note(&format!(
        "{SERVICE} and {SOCKET} are in {} and run.",
        app.out.error_style.path(units.directory())
    ));
    let StartedBy::Systemd { lingers } = version.started_by else {
        return Err(ApiError::new(
            ErrorKind::Daemon,
            format!("the daemon that answers (process {}) is not systemd's", version.pid),
        )
        .hint("ringfence daemon restart"));
    };
    if !lingers {
        linger(app, args.linger).await?;
    }
    app.out.note(super::kept_by(app.get::<Version>(Route::new("/v1/version")).await?.started_by));
    Ok(DONE)
}

/// Turns lingering on where it is wanted.
async fn linger(app: &App, wanted: bool) -> Result<()> {
    const WHAT: &str = "Without lingering, systemd ends the daemon and all machines when you log out, and starts \
         them when you log in: no backups in between.";
    if !wanted {
        app.out.note(WHAT);
        if !app.out.can_ask() || !app.ask("Let it run while you are not logged in?").await? {
            return Ok(());
        }
    }
    systemd::linger().map_err(|refusal| {
        let (Refusal::NoManager(words) | Refusal::Failed(words)) = refusal;
        ApiError {
            causes: vec![words],
            ..ApiError::new(
                ErrorKind::Refused,
                "the daemon is installed and runs, but lingering could not be turned on",
            )
            .hint("sudo loginctl enable-linger \"$USER\"")
        }
    })
}

/// Ends what systemd runs, and removes the units.
///
/// # Errors
/// When they are there and stay.
pub(super) fn uninstall(app: &App) -> Result<()> {
    let Some(units) = Units::installed(app.client.socket()) else {
        app.out.note("It was not installed; commands start it.");
        return Ok(());
    };
    systemd::tell(&["disable", "--now", SOCKET, SERVICE]).map_err(super::not_told)?;
    units.remove()?;
    systemd::tell(&["daemon-reload"]).map_err(super::not_told)?;
    app.out.note(
        "The daemon has ended, and systemd does not start it any more; machines and sessions go on, and the next \
         command starts it. Lingering stays as it is: loginctl disable-linger",
    );
    Ok(())
}

/// The error for a systemd of the user's that does not answer.
pub(super) fn no_manager(words: String) -> ApiError {
    ApiError {
        causes: vec![words],
        ..ApiError::new(ErrorKind::Failed, "your systemd does not answer")
            .hint("log in as this user (over SSH or at the screen, not with su), and try again")
            .hint("or have it run without a login: sudo loginctl enable-linger \"$USER\"")
    }
}
