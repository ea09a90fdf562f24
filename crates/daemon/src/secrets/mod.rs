//! Reading secrets: from the keyring, a file, a command or the daemon's environment.
//!
//! Owns what a source must be like to be read at all, and what a person is told when it cannot:
//! the secret's name, the source and a command to type, never the value, and nothing that a
//! program printed. Must not: keep a value, or decide which session carries which secret.

mod value;

use std::io::{self, Read as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ringfence_model::bytes::visible;
use ringfence_model::error::{ApiError, ErrorKind};
use ringfence_model::name::SecretName;
use ringfence_model::secret::{Delivery, Secret, SecretSource};
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};
use zeroize::Zeroizing;

use crate::host::command::{CommandError, Program};
use crate::host::facts;
use crate::vaults::keyring::{self, NoEntry};

pub(crate) use value::SecretValue;
pub(crate) use value::handover;

/// How long a command may take to print a secret: it may ask its person for a password.
const PATIENCE: Duration = Duration::from_secs(60);

/// Variables of the daemon's that programs which keep secrets find their stores and agents by.
const STORES: [&str; 8] = [
    "DBUS_SESSION_BUS_ADDRESS",
    "DISPLAY",
    "GNUPGHOME",
    "PASSWORD_STORE_DIR",
    "SSH_AUTH_SOCK",
    "WAYLAND_DISPLAY",
    "XDG_CONFIG_HOME",
    "XDG_RUNTIME_DIR",
];

/// A secret on its way into a session.
#[derive(Debug)]
pub(crate) struct Carried {
    /// How the session gets to use it.
    pub(crate) delivery: Delivery,
    /// What it is.
    pub(crate) value: SecretValue,
}

/// Reads a secret. A file in one of `folders` is not read: an agent could put another in its place.
///
/// # Errors
/// Why it cannot be had, and what to type next.
pub(crate) async fn read(secret: &Secret, folders: &[PathBuf]) -> Result<Carried, ApiError> {
    let told = |why: Why| why.told(&secret.name, &secret.source);
    let bytes = match &secret.source {
        SecretSource::Keyring { service, account } => {
            keyring::entry(service, account).await.map_err(|none| told(of_keyring(&none)))?
        }
        SecretSource::File(path) => {
            let (path, folders) = (path.clone(), folders.to_vec());
            let read = tokio::task::spawn_blocking(move || file(&path, &folders)).await;
            read.map_err(io::Error::other).map_err(Why::from).flatten().map_err(told)?
        }
        SecretSource::Command(words) => command(words).await.map_err(told)?,
        SecretSource::Environment(variable) => {
            use std::os::unix::ffi::OsStringExt as _;
            let found = facts::variable(variable).ok_or_else(|| told(Why::NotSet))?;
            Zeroizing::new(found.into_vec())
        }
    };
    let value = SecretValue::new(bytes).map_err(|unfit| told(Why::Unfit(unfit.to_string())))?;
    Ok(Carried { delivery: secret.delivery(), value })
}

/// Why a secret cannot be had.
#[derive(Debug)]
enum Why {
    /// The file or the program is not there.
    Missing,
    /// Others may read the file.
    Open,
    /// The file is somebody else's.
    Foreign,
    /// A link leads to the file, which is there.
    Link(PathBuf),
    /// The file lies in a folder.
    Shared(PathBuf),
    /// The file is no file.
    NoFile,
    /// The daemon's environment does not have it.
    NotSet,
    /// There is no such entry in the keyring.
    NoEntry,
    /// The keyring cannot be asked now.
    Locked,
    /// The program ended badly.
    Ended(String),
    /// What was read cannot be a secret's value.
    Unfit(String),
    /// Anything else.
    Failed(String),
}

impl From<io::Error> for Why {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => Self::Missing,
            _ => Self::Failed(error.to_string()),
        }
    }
}

impl Why {
    /// What a person is told.
    fn told(self, name: &SecretName, source: &SecretSource) -> ApiError {
        let place = match source {
            SecretSource::File(path) => shell_word(&path.to_string_lossy()),
            SecretSource::Command(words) => {
                words.iter().map(|word| shell_word(word)).collect::<Vec<_>>().join(" ")
            }
            SecretSource::Keyring { service, account } => {
                format!("service {} account {}", shell_word(service), shell_word(account))
            }
            SecretSource::Environment(variable) => variable.clone(),
        };
        let is_command = matches!(source, SecretSource::Command(_));
        let try_it = if is_command { format!("see for yourself: {place}") } else { String::new() };
        let (kind, why, hint) = match self {
            Self::Missing if is_command => {
                (ErrorKind::Config, "there is no such program".into(), try_it)
            }
            Self::Missing => (
                ErrorKind::Config,
                "it is not there".into(),
                format!(
                    "make it, paste the secret, end with Ctrl-D: install -m 600 /dev/stdin {place}"
                ),
            ),
            Self::Open => {
                (ErrorKind::Config, "others can read it".into(), format!("chmod 600 {place}"))
            }
            Self::Foreign => (
                ErrorKind::Config,
                "it belongs to another user".into(),
                format!("sudo chown \"$USER\" {place}"),
            ),
            Self::Link(target) => (
                ErrorKind::Config,
                "a link leads there, and links are not followed".into(),
                format!(
                    "name the file itself, {}: ringfence config edit",
                    visible(&target.to_string_lossy())
                ),
            ),
            Self::Shared(folder) => (
                ErrorKind::Config,
                format!(
                    "it lies in the folder {}, where an agent could put another in its place",
                    visible(&folder.to_string_lossy())
                ),
                "move it elsewhere and say where: ringfence config edit".into(),
            ),
            Self::NoFile => {
                (ErrorKind::Config, "it is not a plain file".into(), format!("ls -ld {place}"))
            }
            Self::NotSet => (
                ErrorKind::Config,
                "it is not set".into(),
                format!(
                    "set it and start the daemon anew: export {place}; ringfence daemon restart"
                ),
            ),
            Self::NoEntry => (
                ErrorKind::Config,
                "there is no such entry".into(),
                format!("secret-tool store --label={name} {place}"),
            ),
            Self::Locked => (
                ErrorKind::Failed,
                "the keyring is locked, or there is none in this session".into(),
                format!("secret-tool search --unlock {place} >/dev/null"),
            ),
            Self::Ended(how) => (ErrorKind::Failed, how, try_it),
            Self::Unfit(why) => (ErrorKind::Config, why, try_it),
            Self::Failed(why) => (ErrorKind::Failed, why, try_it),
        };
        let hint = if hint.is_empty() { "ringfence doctor".to_owned() } else { hint };
        ApiError::new(kind, format!("secret {name} cannot be had from {source}: {why}")).hint(hint)
    }
}

const fn of_keyring(none: &NoEntry) -> Why {
    match none {
        NoEntry::Closed => Why::Locked,
        NoEntry::Unknown => Why::NoEntry,
    }
}

/// A word as a shell takes it, and as a terminal may show it.
fn shell_word(word: &str) -> String {
    let word = visible(word);
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:@%+,".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word;
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// The content of a file that is the user's alone and that no agent can swap.
fn file(path: &Path, folders: &[PathBuf]) -> Result<Zeroizing<Vec<u8>>, Why> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let links = ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    let opened = rustix::fs::openat2(CWD, path, flags, Mode::empty(), links);
    let opened: std::fs::File = match opened {
        Err(rustix::io::Errno::LOOP) => return Err(Why::Link(path.canonicalize()?)),
        opened => opened.map_err(io::Error::from)?.into(),
    };
    // Where it truly lies: the path may go through `..`.
    let place = std::fs::read_link(format!("/proc/self/fd/{}", opened.as_raw_fd()))?;
    if let Some(folder) = folders.iter().find(|folder| place.starts_with(folder)) {
        return Err(Why::Shared(folder.clone()));
    }
    let facts = opened.metadata()?;
    if !facts.is_file() {
        return Err(Why::NoFile);
    }
    if facts.uid() != rustix::process::geteuid().as_raw() {
        return Err(Why::Foreign);
    }
    if facts.mode() & 0o077 != 0 {
        return Err(Why::Open);
    }
    // All of the room at once: a vector that grows leaves copies behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(value::LONGEST + 64));
    opened.take(value::LONGEST as u64 + 3).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// What a program prints on its standard output. What it says on standard error is nobody's
/// business: it may be the secret.
async fn command(words: &[String]) -> Result<Zeroizing<Vec<u8>>, Why> {
    let (name, arguments) = words.split_first().ok_or(Why::Missing)?;
    let mut program =
        Program::new(name).args(arguments).deadline(PATIENCE).keep(value::LONGEST + 3);
    for variable in STORES {
        if let Some(found) = facts::variable(variable) {
            program = program.env(variable, found);
        }
    }
    let finished = program.run().await.map_err(|error| match error {
        CommandError::Deadline { after, .. } => {
            Why::Ended(format!("it did not finish within {} seconds", after.as_secs()))
        }
        error if error.is_missing() => Why::Missing,
        CommandError::Start { source, .. } | CommandError::Pipe { source, .. } => {
            Why::Failed(source.to_string())
        }
        CommandError::Failed { status, .. } => Why::Ended(format!("it failed ({status})")),
    })?;
    let stdout = Zeroizing::new(finished.stdout);
    drop(Zeroizing::new(finished.stderr));
    if !finished.status.success() {
        return Err(Why::Ended(format!("it failed ({})", finished.status)));
    }
    Ok(stdout)
}

#[cfg(test)]
mod tests;
