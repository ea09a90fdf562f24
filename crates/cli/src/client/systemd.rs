//! The user's systemd: the only file that knows `systemctl` and `loginctl` (systemd 240 or newer).
//!
//! Owns: where Ringfence's two units lie, and what they are told. Must not: print, or decide
//! whether somebody wants them.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use ringfence_model::error::{ApiError, ErrorKind};
use ringfence_model::service::{self, SERVICE, SOCKET, Unwritable};

use crate::env;
use crate::error::Result;

/// The files of the two units, where they may be and where they are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Units {
    directory: PathBuf,
}

/// What the daemon's service is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// It runs, or is on its way up or down.
    Alive,
    /// It does not run.
    Down,
    /// It does not run because it failed.
    Failed,
    /// Nobody can tell: the user's systemd does not answer.
    Unknown,
}

/// Why systemd did not do what it was told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// The user's systemd does not answer, or there is none.
    NoManager(String),
    /// It answered no.
    Failed(String),
}

impl Units {
    /// Where they belong; `None` where nobody has a home.
    #[must_use]
    pub fn new() -> Option<Self> {
        env::units_directory().map(|directory| Self { directory })
    }

    /// Those that were installed for this socket.
    #[must_use]
    pub fn installed(socket: &Path) -> Option<Self> {
        let units = Self::new()?;
        let text = std::fs::read_to_string(units.directory.join(SOCKET)).ok()?;
        service::listens_on(&text, socket).then_some(units)
    }

    /// Where they lie.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Writes both.
    ///
    /// # Errors
    /// When a path cannot stand in a unit, or a file not be written.
    pub fn write(
        &self,
        program: &Path,
        socket: &Path,
        environment: &[(String, String)],
    ) -> Result<()> {
        let unwritable = |error: Unwritable| {
            let what = "the units of systemd cannot be written";
            ApiError::from_source(ErrorKind::Failed, what, &error)
        };
        let service = service::service_unit(program, environment).map_err(unwritable)?;
        let listen = service::socket_unit(socket).map_err(unwritable)?;
        for (name, text) in [(SERVICE, service), (SOCKET, listen)] {
            self.replace(name, &text).map_err(|error| self.file_error(name, "written", &error))?;
        }
        Ok(())
    }

    /// Removes both; that they are missing is no error.
    ///
    /// # Errors
    /// When a file is there and stays.
    pub fn remove(&self) -> Result<()> {
        for name in [SOCKET, SERVICE] {
            match std::fs::remove_file(self.directory.join(name)) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(self.file_error(name, "removed", &error));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// A proxy's variable may have a password in it: nobody else reads the file.
    fn replace(&self, name: &str, text: &str) -> std::io::Result<()> {
        use std::os::unix::fs::OpenOptionsExt as _;
        std::fs::create_dir_all(&self.directory)?;
        let new = self.directory.join(format!(".{name}.new"));
        let mut file = std::fs::OpenOptions::new()
            .create(true)
            .truncate(true)
            .write(true)
            .mode(0o600)
            .open(&new)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        std::fs::rename(&new, self.directory.join(name))
    }

    fn file_error(&self, name: &str, what: &str, error: &std::io::Error) -> ApiError {
        let file = self.directory.join(name);
        ApiError::from_source(
            ErrorKind::Failed,
            format!("{} cannot be {what}", file.display()),
            error,
        )
    }
}

/// Whether this computer was started by systemd (`sd_booted(3)`).
#[must_use]
pub fn is_there() -> bool {
    Path::new("/run/systemd/system").is_dir()
}

/// Tells the user's systemd something, and waits until it is done.
///
/// # Errors
/// That nobody answers, or why it was not done.
pub fn tell(arguments: &[&str]) -> std::result::Result<(), Refusal> {
    have_done("systemctl", &[&["--user", "--quiet"], arguments].concat())
}

/// Has both units listen and run; `restart` also ends a daemon that runs.
///
/// # Errors
/// See [`tell`].
pub fn start(restart: bool) -> std::result::Result<(), Refusal> {
    tell(&["start", SOCKET])?;
    tell(&[if restart { "restart" } else { "start" }, SERVICE])
}

/// Has both units end; machines and sessions go on.
///
/// # Errors
/// See [`tell`].
pub fn stop() -> std::result::Result<(), Refusal> {
    tell(&["stop", SOCKET, SERVICE])
}

/// What the daemon's service is doing.
#[must_use]
pub fn state() -> State {
    let asked = ask("systemctl", &["--user", "is-active", SERVICE]);
    asked.map_or(State::Unknown, |output| state_of(&String::from_utf8_lossy(&output.stdout)))
}

/// The word of `systemctl is-active`.
fn state_of(word: &str) -> State {
    match word.trim() {
        "active" | "activating" | "reloading" | "refreshing" | "deactivating" => State::Alive,
        "inactive" => State::Down,
        "failed" => State::Failed,
        _ => State::Unknown,
    }
}

/// Has the user's systemd run from the start of the computer on, whether or not the user is logged in.
///
/// # Errors
/// See [`tell`]; most often that only root may.
pub fn linger() -> std::result::Result<(), Refusal> {
    have_done("loginctl", &["enable-linger"])
}

fn have_done(program: &str, arguments: &[&str]) -> std::result::Result<(), Refusal> {
    let output = ask(program, arguments).map_err(|error| Refusal::NoManager(error.to_string()))?;
    if output.status.success() { Ok(()) } else { Err(refusal(&output)) }
}

/// How a program that said no is to be understood.
fn refusal(output: &Output) -> Refusal {
    let words = String::from_utf8_lossy(&output.stderr);
    let words = words.lines().map(str::trim).filter(|line| !line.is_empty());
    let words = words.collect::<Vec<_>>().join("; ");
    // The only sentence by which `systemctl` tells that it spoke to nobody.
    if words.contains("Failed to connect to") {
        Refusal::NoManager(words)
    } else {
        Refusal::Failed(words)
    }
}

#[expect(clippy::disallowed_methods, reason = "this file owns how systemd is asked")]
fn ask(program: &str, arguments: &[&str]) -> std::io::Result<Output> {
    let mut command = Command::new(program);
    // Its sentences are read, so they must be in one language.
    command.args(arguments).env("LC_ALL", "C.UTF-8").stdin(Stdio::null());
    if let Some(directory) = env::runtime_directory() {
        command.env("XDG_RUNTIME_DIR", directory);
    }
    command.output()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::process::ExitStatusExt as _;

    #[test]
    fn nobody_who_answers_is_not_somebody_who_says_no() {
        let said = |stderr: &str| {
            refusal(&Output {
                status: std::process::ExitStatus::from_raw(1 << 8),
                stdout: Vec::new(),
                stderr: stderr.into(),
            })
        };
        let words = "Failed to connect to bus: No medium found\n";
        assert_eq!(said(words), Refusal::NoManager(words.trim().into()));
        let words = "Failed to connect to user scope bus via local transport: $DBUS_SESSION_BUS_ADDRESS and $XDG_RUNTIME_DIR not defined";
        assert!(matches!(said(words), Refusal::NoManager(_)));
        let words = "Job for ringfence.service failed.\nSee \"systemctl --user status\".\n";
        assert!(matches!(said(words), Refusal::Failed(text) if text.contains("failed.; See")));
    }

    #[test]
    fn words_of_systemctl_have_one_meaning() {
        assert_eq!(state_of("active\n"), State::Alive);
        assert_eq!(state_of("activating\n"), State::Alive);
        assert_eq!(state_of("inactive\n"), State::Down);
        assert_eq!(state_of("failed\n"), State::Failed);
        assert_eq!(state_of(""), State::Unknown);
    }

    #[test]
    fn units_are_private_whole_and_known_again() {
        use std::os::unix::fs::PermissionsExt as _;
        let directory = tempfile::tempdir().expect("a directory");
        let units = Units { directory: directory.path().join("systemd/user") };
        let socket = Path::new("/run/user/7/ringfence/daemon.sock");
        units.write(Path::new("/opt/bin/ringfenced"), socket, &[]).expect("written");
        units.write(Path::new("/opt/bin/ringfenced"), socket, &[]).expect("written again");
        let names: Vec<_> = std::fs::read_dir(units.directory()).expect("a list").collect();
        assert_eq!(names.len(), 2, "nothing half is left: {names:?}");
        for name in [SERVICE, SOCKET] {
            let mode = units.directory.join(name).metadata().expect("there").permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
        units.remove().expect("removed");
        units.remove().expect("nothing to do");
    }
}
