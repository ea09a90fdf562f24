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
use std::os::unix::net::UnixListener as StdListener;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use fd_lock::RwLock;
use ringfence_model::layout::Layout;
use rustix::process::Signal;
use tokio::net::UnixListener;
use tokio::signal::unix::{SignalKind, signal};

use host::process::ProcessId;
use host::service::Service;
use host::{facts, files};
use supervisor::Daemon;

/// Log size from which a new log is begun.
const MAX_LOG: u64 = 8 * 1024 * 1024;

/// Pause between two looks whether the daemon before this one has ended.
const PREDECESSOR: Duration = Duration::from_millis(50);

/// Runs the daemon until it is asked to end.
#[must_use]
pub fn serve() -> ExitCode {
    let (service, handed) = match Service::take() {
        Ok(taken) => taken,
        Err(error) => return complain(&error),
    };
    let layout = match Layout::resolve(&facts::environment()) {
        Ok(layout) => layout,
        Err(error) => return complain(&error),
    };
    match start(layout, service, handed) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => complain(&error),
    }
}

fn start(layout: Layout, service: Option<Service>, handed: Option<StdListener>) -> io::Result<()> {
    for directory in layout.own() {
        files::private_directory(directory)?;
    }
    // QEMU and gateway run as users of their own and must pass through to their sockets.
    std::fs::set_permissions(&layout.run, std::fs::Permissions::from_mode(0o711))?;
    let lock_file =
        File::options().create(true).truncate(false).write(true).open(layout.daemon_lock())?;
    let mut lock = RwLock::new(lock_file);
    if service.is_some() {
        // One that a command started does not keep out the one that is there to stay.
        while lock.try_write().is_err() {
            end_predecessor(&layout);
            std::thread::sleep(PREDECESSOR);
        }
    }
    let Ok(_guard) = lock.try_write() else {
        // Two command lines started a daemon at once: the other one serves both.
        return Ok(());
    };
    files::write_record(&layout.daemon_process(), &ProcessId::of(std::process::id()))?;
    log_to(&layout)?;
    // A session of its own: a Ctrl-C in the terminal that started it is not for the daemon.
    let _ = rustix::process::setsid();
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(run(layout, service, handed))
}

/// Asks the daemon that holds the lock to end. Machines and sessions go on.
fn end_predecessor(layout: &Layout) {
    let holder: Option<ProcessId> = files::read_record(&layout.daemon_process()).ok().flatten();
    // It may be gone, or have been asked already.
    let _ = holder.is_some_and(|holder| holder.signal(Signal::TERM));
}

/// The socket at which requests come in; and which file it is, where it is the daemon's own.
fn listen(
    socket: &Path,
    handed: Option<StdListener>,
) -> io::Result<(UnixListener, Option<files::Identity>)> {
    if let Some(handed) = handed {
        let at = handed.local_addr()?;
        if at.as_pathname() != Some(socket) {
            return Err(io::Error::other(format!(
                "systemd listens on {at:?} and not on {}; write its units anew: ringfence daemon install",
                socket.display()
            )));
        }
        return Ok((UnixListener::from_std(handed)?, None));
    }
    files::remove_if_there(socket)?;
    let listener = UnixListener::bind(socket)?;
    std::fs::set_permissions(socket, std::fs::Permissions::from_mode(0o600))?;
    Ok((listener, Some(files::Identity::of(socket)?)))
}

async fn run(
    layout: Layout,
    service: Option<Service>,
    handed: Option<StdListener>,
) -> io::Result<()> {
    let socket = layout.daemon_socket();
    let (listener, own) = listen(&socket, handed)?;
    let service = service.map(Arc::new);
    let daemon = Daemon::under(layout, service.clone());
    // Nobody is told anything before it is known what an earlier daemon left running.
    Arc::clone(&daemon).recover().await;
    tokio::spawn(Arc::clone(&daemon).protect_folders());
    tokio::spawn(Arc::clone(&daemon).keep_house());
    tokio::spawn(Arc::clone(&daemon).mind_idle());
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
    tracing::info!(socket = %socket.display(), systemd = service.is_some(), "serving");
    if let Some(service) = &service {
        service.ready();
    }
    server::serve(daemon, listener, shutdown).await?;
    if let Some(service) = &service {
        service.stopping();
    }
    // By now it may be the socket of the daemon that comes after this one.
    own.map_or(Ok(()), |own| own.remove(&socket))
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
