//! A share process from its first to its last moment.

use std::fs;
use std::io::{self, Read, Write};
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::thread;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use vhost::vhost_user::Listener;
use vhost_user_backend::VhostUserDaemon;
use virtiofsd::vhost_user::{MAX_TAG_LEN, VhostUserFsBackend, VhostUserFsBackendBuilder};
use vm_memory::{GuestMemoryAtomic, GuestMemoryMmap};

use crate::beneath::{Beneath, Names, Owners, Parts};
use crate::confine::{self, ConfineError, Filter, Mapping};
use crate::control::Control;
use crate::gate::{Gate, SetError};
use crate::guarded::Guarded;
use crate::keep::Keeper;
use crate::ops::Mode;
use crate::spec::{Failure, Ready, ShareSpec, Started};

/// Longest description of a share, in bytes.
const LONGEST_SPEC: u64 = 64 * 1024;

/// Most threads that carry out operations beside the one that takes them in.
const MOST_THREADS: u8 = 16;

/// Why a share does not serve.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// Stdin holds no description of a share.
    #[error("the share's description on stdin: {0}")]
    Spec(String),
    /// A socket cannot be made.
    #[error("socket {path}: {source}")]
    Socket {
        /// Where, escaped.
        path: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// See [`ConfineError`].
    #[error(transparent)]
    Confine(#[from] ConfineError),
    /// The starting mode contradicts the access.
    #[error(transparent)]
    Mode(#[from] SetError),
    /// The server itself.
    #[error("the virtiofs server: {0}")]
    Server(String),
}

/// What stdin can hold.
#[derive(Deserialize)]
#[serde(untagged)]
enum Input {
    Helper { map_ids: Mapping },
    Share(Box<ShareSpec>),
}

type Daemon = VhostUserDaemon<Arc<VhostUserFsBackend<Guarded>>>;

/// The whole life of a share process: reads its description from stdin, confines
/// itself, says so on stdout, and serves until the front end is gone or the
/// control socket says `exit`. Must be called while the process has one thread.
/// The exit code is 0 after an orderly end and 1 otherwise.
#[must_use]
pub fn run() -> ExitCode {
    // A fault in the server must end the process, not leave a mount that hangs;
    // what a guest can provoke must not fill a log.
    std::panic::set_hook(Box::new(|info| {
        let _ = writeln!(io::stderr(), "ringfence share: internal fault: {info}");
        std::process::exit(101);
    }));
    match read_input() {
        Ok(Input::Helper { map_ids }) => match confine::map_for(&map_ids) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => fail(&format!("mapping ids: {error}")),
        },
        Ok(Input::Share(spec)) => match start(&spec) {
            Ok((daemon, listener, ready)) => {
                if say(&Started::Ready(ready)).is_err() {
                    return fail("nobody reads stdout");
                }
                serve(daemon, listener)
            }
            Err(error) => refuse(&error),
        },
        Err(error) => refuse(&error),
    }
}

fn fail(message: &str) -> ExitCode {
    let _ = writeln!(io::stderr(), "ringfence share: {message}");
    ExitCode::FAILURE
}

pub(crate) fn say(line: &impl Serialize) -> io::Result<()> {
    let mut text = serde_json::to_vec(line)?;
    text.push(b'\n');
    let mut stdout = io::stdout().lock();
    stdout.write_all(&text)?;
    stdout.flush()
}

fn refuse(error: &RunError) -> ExitCode {
    let failure = Failure {
        missing: match error {
            RunError::Confine(error) => error.missing(),
            _ => None,
        },
        message: error.to_string(),
    };
    let _ = say(&Started::Error(failure));
    ExitCode::FAILURE
}

fn read_stdin() -> Result<Vec<u8>, RunError> {
    let mut text = Vec::new();
    io::stdin()
        .lock()
        .take(LONGEST_SPEC)
        .read_to_end(&mut text)
        .map_err(|error| RunError::Spec(error.to_string()))?;
    Ok(text)
}

/// A description on stdin.
pub(crate) fn read_spec<T: DeserializeOwned>() -> Result<T, RunError> {
    serde_json::from_slice(&read_stdin()?).map_err(|error| RunError::Spec(error.to_string()))
}

fn read_input() -> Result<Input, RunError> {
    let text = read_stdin()?;
    // Untagged errors say nothing; the reason is in the description itself.
    serde_json::from_slice(&text).or_else(|_| {
        serde_json::from_slice(&text)
            .map(Input::Share)
            .map_err(|error| RunError::Spec(error.to_string()))
    })
}

/// A listening socket that only its owner can connect to.
pub(crate) fn listen(path: &Path, owner: Option<u32>) -> Result<UnixListener, RunError> {
    let failed = |source| RunError::Socket { path: format!("{path:?}"), source };
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
        _ => {}
    }
    let before = rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o177));
    let bound = UnixListener::bind(path);
    rustix::process::umask(before);
    let listener = bound.map_err(failed)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).map_err(failed)?;
    if let Some(id) = owner {
        chown(path, Some(id), Some(id)).map_err(failed)?;
    }
    Ok(listener)
}

fn start(spec: &ShareSpec) -> Result<(Daemon, Listener, Ready), RunError> {
    if spec.tag.is_empty() || spec.tag.len() > MAX_TAG_LEN || spec.tag.contains('\0') {
        return Err(RunError::Spec(format!("the tag must have 1 to {MAX_TAG_LEN} bytes")));
    }
    let gate = Arc::new(Gate::new(spec.access, spec.mode)?);
    // The sockets are made while they have a name.
    let as_root = rustix::process::geteuid().is_root();
    let vhost = listen(&spec.vhost_socket, spec.front_end.filter(|_| as_root))?;
    let control = listen(&spec.control_socket, None)?;
    let threads = usize::from(spec.threads.min(MOST_THREADS));
    let keeper = match &spec.keeper {
        Some(path) => Some(
            Keeper::connect(path, threads)
                .map_err(|source| RunError::Socket { path: format!("{path:?}"), source })?,
        ),
        None => None,
    };

    let inside = confine::enter(spec)?;
    let report = inside.report_later();
    let server = |error: String| RunError::Server(error);
    let folder = Beneath::new(Parts {
        root: inside.root,
        own_fds: inside.own_fds,
        mounts: inside.mounts,
        owners: Owners {
            host_uid: inside.owner.0,
            host_gid: inside.owner.1,
            guest_uid: spec.guest_uid,
            guest_gid: spec.guest_gid,
        },
        keeper,
        names: Names::new(&spec.names).map_err(RunError::Spec)?,
        most_descriptors: inside.descriptors,
    })
    .map_err(|error| server(error.to_string()))?;
    let folder = Arc::new(folder);
    if spec.mode != Mode::Closed {
        folder.look_for_links().map_err(|error| server(error.to_string()))?;
    }

    let backend = VhostUserFsBackendBuilder::default()
        .set_thread_pool_size(threads)
        .set_tag(Some(spec.tag.clone()))
        .build(Guarded::new(Arc::clone(&gate), Arc::clone(&folder), spec.chown))
        .map_err(|error| server(error.to_string()))?;
    let daemon = VhostUserDaemon::new(
        "vhost".to_owned(),
        Arc::new(backend),
        GuestMemoryAtomic::new(GuestMemoryMmap::new()),
    )
    .map_err(|error| server(format!("{error:?}")))?;

    let steering = Arc::new(Control { gate, folder });
    thread::Builder::new()
        .name("control".to_owned())
        .spawn(move || steering.serve(&control))
        .map_err(|error| server(error.to_string()))?;

    confine::filter_all_threads(Filter::Share)?;
    let ready = Ready { pid: std::process::id(), confinement: report.now() };
    Ok((daemon, Listener::from(vhost), ready))
}

/// Serves one front end; when it is gone, so is the share's purpose.
fn serve(mut daemon: Daemon, mut listener: Listener) -> ExitCode {
    if let Err(error) = daemon.start(&mut listener) {
        return fail(&format!("waiting for the front end: {error:?}"));
    }
    drop(listener);
    match daemon.wait() {
        Ok(()) => ExitCode::SUCCESS,
        Err(vhost_user_backend::Error::HandleRequest(
            vhost::vhost_user::Error::Disconnected | vhost::vhost_user::Error::PartialMessage,
        )) => ExitCode::SUCCESS,
        Err(error) => fail(&format!("talking to the front end: {error:?}")),
    }
}
