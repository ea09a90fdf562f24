//! Everything that touches the machine: see ARCHITECTURE.md for the map.
//!
//! `supervisor` puts the feature modules in order; they do not know each other. `host` and
//! `store` hold the effects and the state on disk.

pub mod config_file;
pub mod engine;
pub mod gateways;
pub mod guest;
pub mod host;
pub mod image;
pub mod keepers;
mod mount;
mod secrets;
pub mod server;
pub mod session;
pub mod shares;
pub mod store;
pub mod supervisor;
mod vaults;
pub mod watch;
pub mod workshop;

use std::fs::File;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::process::ExitCode;
use std::sync::Arc;

use fd_lock::RwLock;
use ringfence_model::layout::Layout;
use tokio::net::UnixListener;
use tokio::signal::unix::{SignalKind, signal};

use host::{facts, files};
use supervisor::Daemon;

/// Log size from which a new log is begun.
const MAX_LOG: u64 = 8 * 1024 * 1024;

/// Runs the daemon until it is asked to end.
#[must_use]
pub fn serve() -> ExitCode {
    let layout = match Layout::resolve(&facts::environment()) {
        Ok(layout) => layout,
        Err(error) => return complain(&error),
    };
    match start(layout) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => complain(&error),
    }
}

fn start(layout: Layout) -> io::Result<()> {
    for directory in layout.own() {
        files::private_directory(directory)?;
    }
    // QEMU and gateway run as users of their own and must pass through to their sockets.
    std::fs::set_permissions(&layout.run, std::fs::Permissions::from_mode(0o711))?;
    let lock_file =
        File::options().create(true).truncate(false).write(true).open(layout.daemon_lock())?;
    let mut lock = RwLock::new(lock_file);
    let Ok(_guard) = lock.try_write() else {
        // Two command lines started a daemon at once: the other one serves both.
        return Ok(());
    };
    log_to(&layout)?;
    // A session of its own: a Ctrl-C in the terminal that started it is not for the daemon.
    let _ = rustix::process::setsid();
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(run(layout))
}

async fn run(layout: Layout) -> io::Result<()> {
    let socket = layout.daemon_socket();
    files::remove_if_there(&socket)?;
    let listener = UnixListener::bind(&socket)?;
    std::fs::set_permissions(&socket, std::fs::Permissions::from_mode(0o600))?;
    let daemon = Daemon::new(layout);
    // Nobody is told anything before it is known what an earlier daemon left running.
    Arc::clone(&daemon).recover().await;
    tokio::spawn(Arc::clone(&daemon).protect_folders());
    tokio::spawn(Arc::clone(&daemon).keep_house());
    tokio::spawn(Arc::clone(&daemon).verify_vaults());
    tokio::spawn(Arc::clone(&daemon).keep_copies());
    tokio::spawn(Arc::clone(&daemon).hear_of_lost_shares());
    tokio::spawn(Arc::clone(&daemon).note_growth());
    tokio::spawn(Arc::clone(&daemon).mind_keepers());
    tokio::spawn(Arc::clone(&daemon).mind_losses());
    tokio::spawn(Arc::clone(&daemon).mind_rules());
    tokio::spawn(Arc::clone(&daemon).mind_holds());
    let mut terminated = signal(SignalKind::terminate())?;
    let asked = Arc::clone(&daemon);
    let shutdown = async move {
        tokio::select! {
            _ = terminated.recv() => {}
            () = asked.shutdown_requested() => {}
        }
    };
    tracing::info!(socket = %socket.display(), "serving");
    server::serve(daemon, listener, shutdown).await?;
    files::remove_if_there(&socket)
}

/// Serves one folder to one machine.
#[must_use]
pub fn share() -> ExitCode {
    let _ = rustix::process::setsid();
    ringfence_share::run()
}

/// Keeps what a share's guest destroys.
#[must_use]
pub fn keeper() -> ExitCode {
    let _ = rustix::process::setsid();
    ringfence_share::keeper::run()
}

/// Runs one machine's network.
#[must_use]
pub fn gateway() -> ExitCode {
    let _ = rustix::process::setsid();
    match ringfence_gateway::run(io::stdin().lock(), io::stdout().lock()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => complain(&error),
    }
}

/// Plans or carries out one restore.
#[must_use]
pub fn restore_process() -> ExitCode {
    let _ = rustix::process::setsid();
    match host::task::serve(vaults::restore) {
        Ok(code) => code,
        Err(error) => complain(&error),
    }
}

/// Runs one session's ssh, terminal and record.
#[must_use]
pub fn session_process() -> ExitCode {
    let _ = rustix::process::setsid();
    match session::run(io::stdin().lock(), io::stdout().lock()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => complain(&error),
    }
}

/// Shows one vault's snapshots as a file system.
#[must_use]
pub fn mount_process() -> ExitCode {
    let _ = rustix::process::setsid();
    match mount::run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => complain(&error),
    }
}

fn log_to(layout: &Layout) -> io::Result<()> {
    let log = files::open_log(&layout.daemon_log(), MAX_LOG)?;
    let filter = facts::variable("RINGFENCE_LOG").and_then(|value| value.into_string().ok());
    tracing_subscriber::fmt()
        .with_env_filter(
            filter.unwrap_or_else(|| "info,rustic_core=warn,rustic_backend=warn".to_owned()),
        )
        .with_ansi(false)
        .with_writer(std::sync::Mutex::new(log))
        .try_init()
        .map_err(io::Error::other)
}

#[expect(clippy::print_stderr, reason = "the daemon could not start, so it has no log")]
fn complain(error: &dyn std::error::Error) -> ExitCode {
    eprintln!("ringfenced: {error}");
    ExitCode::FAILURE
}
