//! Starting the daemon on demand: the only place that knows the program `ringfenced`.
//!
//! Where systemd was told to keep it running, systemd starts it. Elsewhere the command line
//! starts itself once more; that process leaves the terminal's session and becomes `ringfenced
//! serve`. So the daemon keeps no terminal, no pipe and no signal of the command that happened
//! to need it first. Two may start at once: the daemon's own lock lets one of them live.

use std::ffi::OsString;
use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use ringfence_model::error::{ApiError, ErrorKind};
use ringfence_model::service::{ALLOCATOR, SERVICE};
use tokio::net::UnixStream;

use super::systemd::{self, Refusal, Units};
use crate::error::Result;

/// The argument by which a process knows that it is to become the daemon.
const BECOME: &str = "__become-daemon";

/// How long a daemon may take until it listens.
const DEADLINE: Duration = Duration::from_secs(30);

/// How long a daemon that found the lock taken is left alone, before another is started:
/// the holder may be about to listen, or about to end.
const AGAIN: Duration = Duration::from_millis(250);

/// Exit code of the intermediate process when there is no program to become.
const NOT_FOUND: u8 = 127;

/// Starts the daemon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Starter {
    /// This very program.
    program: PathBuf,
}

impl Starter {
    /// A starter that uses this very program.
    #[must_use]
    pub fn new() -> Option<Self> {
        std::env::current_exe().ok().map(|program| Self { program })
    }

    /// Starts the daemon and waits until it, or another one, listens.
    ///
    /// # Errors
    /// Why it did not start, in the words of its own last lines.
    pub async fn start(&self, socket: &Path) -> Result<UnixStream> {
        let failed = |error: &std::io::Error| {
            ApiError::from_source(ErrorKind::Daemon, "the daemon cannot be started", error)
                .hint("ringfence daemon logs")
        };
        if by_systemd(socket)? {
            return UnixStream::connect(socket).await.map_err(|error| failed(&error));
        }
        let started = Instant::now();
        let mut words = Words::new().map_err(|error| failed(&error))?;
        let mut child = self.spawn(&words).map_err(|error| failed(&error))?;
        let mut ended: Option<Instant> = None;
        loop {
            match UnixStream::connect(socket).await {
                Ok(stream) => return Ok(stream),
                Err(error) if nobody_listens(&error) => {}
                Err(error) => return Err(failed(&error)),
            }
            match ended {
                None => {
                    if let Some(status) = child.try_wait().map_err(|error| failed(&error))? {
                        if !another_may_come(status) {
                            return Err(explain(status, &words.read()));
                        }
                        ended = Some(Instant::now());
                    }
                }
                Some(when) if when.elapsed() > AGAIN => {
                    child = self.spawn(&words).map_err(|error| failed(&error))?;
                    ended = None;
                }
                Some(_) => {}
            }
            if started.elapsed() > DEADLINE {
                return Err(ApiError {
                    causes: words.read(),
                    ..ApiError::new(
                        ErrorKind::Daemon,
                        format!(
                            "no daemon listens on {} after {} s",
                            socket.display(),
                            DEADLINE.as_secs()
                        ),
                    )
                    .hint("ringfence daemon logs")
                });
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    #[expect(clippy::disallowed_methods, reason = "this file owns how the daemon is started")]
    fn spawn(&self, words: &Words) -> std::io::Result<Child> {
        Command::new(&self.program)
            .arg(BECOME)
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(words.stdio()?)
            .spawn()
    }
}

/// What the daemon says on standard error before it has its log. A file without a name,
/// because a pipe would break when this process ends.
struct Words(File);

impl Words {
    fn new() -> std::io::Result<Self> {
        use rustix::fs::{MemfdFlags, memfd_create};
        Ok(Self(File::from(memfd_create("ringfenced", MemfdFlags::CLOEXEC)?)))
    }

    fn stdio(&self) -> std::io::Result<Stdio> {
        self.0.try_clone().map(Stdio::from)
    }

    /// The last lines, as far as they can be read.
    fn read(&mut self) -> Vec<String> {
        let mut bytes = Vec::new();
        let read = self.0.seek(SeekFrom::Start(0)).and_then(|_| {
            // More than a person reads is not kept.
            (&self.0).take(64 * 1024).read_to_end(&mut bytes)
        });
        if read.is_err() {
            return Vec::new();
        }
        let text = String::from_utf8_lossy(&bytes);
        let lines: Vec<String> =
            text.lines().filter(|line| !line.trim().is_empty()).map(ToOwned::to_owned).collect();
        lines[lines.len().saturating_sub(8)..].to_vec()
    }
}

/// Whether a failed connect means that no daemon runs.
#[must_use]
pub fn nobody_listens(error: &std::io::Error) -> bool {
    matches!(error.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::ConnectionRefused)
}

/// Whether the end of a started daemon can mean that another one holds the lock.
fn another_may_come(status: ExitStatus) -> bool {
    status.code().is_some_and(|code| code == 0 || code == i32::from(ErrorKind::Daemon.exit_code()))
}

/// The error for a daemon that ended before it listened. Its exit code is of the contract.
fn explain(status: ExitStatus, words: &[String]) -> ApiError {
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    if code == Some(NOT_FOUND) {
        return ApiError {
            kind: ErrorKind::Daemon,
            message: "the program ringfenced was not found beside ringfence nor in PATH".into(),
            causes: words.to_vec(),
            hints: vec!["install both programs into one directory: make install".into()],
        };
    }
    let kind = [ErrorKind::Config, ErrorKind::Refused, ErrorKind::Engine, ErrorKind::Vault]
        .into_iter()
        .find(|kind| code == Some(kind.exit_code()))
        .unwrap_or(ErrorKind::Daemon);
    ApiError {
        kind,
        message: format!("the daemon ended before it listened ({status})"),
        causes: words.to_vec(),
        hints: vec!["ringfence daemon logs".into()],
    }
}

/// Whether this process was started to become the daemon.
#[must_use]
pub fn is_request(arguments: &[OsString]) -> bool {
    arguments.len() == 2 && arguments[1] == BECOME
}

/// Leaves the terminal's session and becomes `ringfenced serve`; returns only when it cannot.
#[must_use]
pub fn become_daemon() -> u8 {
    // It fails only where the process leads a session already, which is what is wanted.
    let _ = rustix::process::setsid();
    let program = beside().unwrap_or_else(|| PathBuf::from("ringfenced"));
    let error = exec(&program);
    crate::output::Output::plain().say(&format!("{}: {error}", program.display()));
    NOT_FOUND
}

/// The daemon's program beside this one, if it is there.
#[must_use]
pub fn beside() -> Option<PathBuf> {
    let program = std::env::current_exe().ok()?.parent()?.join("ringfenced");
    program.is_file().then_some(program)
}

/// Has systemd start the daemon, where it was installed for this socket; whether it did. A systemd
/// that does not answer (as in a cron job of a user who is not logged in) is none.
fn by_systemd(socket: &Path) -> Result<bool> {
    if Units::installed(socket).is_none() {
        return Ok(false);
    }
    match systemd::start(false) {
        Ok(()) => Ok(true),
        Err(Refusal::NoManager(_)) => Ok(false),
        Err(Refusal::Failed(words)) => Err(not_by_systemd(words)),
    }
}

/// The error for a service that systemd did not bring up.
#[must_use]
pub fn not_by_systemd(words: String) -> ApiError {
    ApiError {
        causes: vec![words],
        ..ApiError::new(ErrorKind::Daemon, "systemd did not start the daemon")
            .hint("ringfence daemon logs")
            .hint(format!("journalctl --user -u {SERVICE}"))
    }
}

#[expect(clippy::disallowed_methods, reason = "this file owns how the daemon is started")]
fn exec(program: &Path) -> std::io::Error {
    Command::new(program).arg("serve").envs(ALLOCATOR).exec()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::process::ExitStatusExt as _;

    #[test]
    fn an_early_end_keeps_its_kind_and_its_words() {
        let ended = |code: i32| ExitStatus::from_raw(code << 8);
        assert!(another_may_come(ended(0)));
        assert!(another_may_come(ended(7)));
        assert!(!another_may_come(ended(3)));
        assert!(!another_may_come(ExitStatus::from_raw(9)), "killed");
        let error = explain(ended(3), &["config.toml:3:1: unknown key".into()]);
        assert_eq!(error.kind, ErrorKind::Config);
        assert_eq!(error.causes, ["config.toml:3:1: unknown key"]);
        assert_eq!(explain(ended(1), &[]).kind, ErrorKind::Daemon);
        assert!(explain(ended(127), &[]).message.contains("not found"));
    }
}
