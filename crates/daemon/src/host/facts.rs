//! Facts of the host: who we are, how large it is, which environment was given.

use std::ffi::OsString;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use ringfence_model::api::StartedBy;
use ringfence_model::layout::{Environment, usual_runtime_dir};
use ringfence_model::service::{AUTHORITIES, NETWORK};
use ringfence_model::size::Size;

/// An environment variable, read at the edge.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "this is the place that reads the environment")]
pub fn variable(name: &str) -> Option<OsString> {
    std::env::var_os(name).filter(|value| !value.is_empty())
}

/// What decides where files lie.
#[must_use]
pub fn environment() -> Environment {
    let path = |name| variable(name).map(PathBuf::from);
    Environment {
        ringfence_home: path("RINGFENCE_HOME"),
        home: path("HOME"),
        config_home: path("XDG_CONFIG_HOME"),
        state_home: path("XDG_STATE_HOME"),
        cache_home: path("XDG_CACHE_HOME"),
        runtime_dir: path("XDG_RUNTIME_DIR").or_else(usual_runtime_directory),
        uid: rustix::process::geteuid().as_raw(),
    }
}

/// The user's runtime directory where nobody said which: cron, `su` and `sudo` do not. The command
/// line looks for it in the same way, or it would not find the daemon.
fn usual_runtime_directory() -> Option<PathBuf> {
    let uid = rustix::process::geteuid();
    let usual = usual_runtime_dir(uid.as_raw())?;
    std::fs::symlink_metadata(&usual)
        .is_ok_and(|facts| facts.is_dir() && facts.uid() == uid.as_raw())
        .then_some(usual)
}

/// Whether the daemon runs as root and can give its processes uids of their own.
#[must_use]
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Whether a service manager started this very process, and so starts it again.
#[must_use]
pub fn is_supervised() -> bool {
    // systemd names the process that it started; those that one starts inherit the name.
    variable("SYSTEMD_EXEC_PID").is_some_and(|pid| *pid == *std::process::id().to_string())
}

/// Whether this computer was started by systemd, which then can keep the daemon running.
#[must_use]
pub fn has_systemd() -> bool {
    // As sd_booted(3) says.
    Path::new("/run/systemd/system").is_dir()
}

/// What started this daemon, and so starts it again.
#[must_use]
pub fn started_by() -> StartedBy {
    if is_supervised() { StartedBy::Systemd { lingers: lingers() } } else { StartedBy::Command }
}

/// Whether the user's systemd runs without the user being logged in.
fn lingers() -> bool {
    // The manager tells the name of its user, which may stand in no local file.
    let told = variable("USER").and_then(|name| name.into_string().ok());
    let names = [user_name(rustix::process::geteuid().as_raw()), told];
    let marked = |name: &String| !name.contains('/') && Path::new(LINGERING).join(name).exists();
    names.iter().flatten().any(marked)
}

/// Where logind keeps who lingers: one empty file for each user.
const LINGERING: &str = "/var/lib/systemd/linger";

/// Number of processors that the daemon may use.
#[must_use]
pub fn processors() -> u32 {
    std::thread::available_parallelism()
        .ok()
        .and_then(|count| u32::try_from(count.get()).ok())
        .unwrap_or(1)
}

/// The host's memory.
#[must_use]
pub fn memory() -> Size {
    let facts = rustix::system::sysinfo();
    Size::bytes(facts.totalram.saturating_mul(u64::from(facts.mem_unit)))
}

/// Bytes that may still be written to the file system of a path.
///
/// # Errors
/// When the file system does not say.
pub fn free_space(path: &Path) -> std::io::Result<u64> {
    let facts = rustix::fs::statvfs(path)?;
    Ok(facts.f_bavail.saturating_mul(facts.f_frsize))
}

/// Whether something is mounted in a directory, at any depth: then nobody may empty it.
/// What cannot be found out counts as mounted.
#[must_use]
pub fn mounted_beneath(directory: &Path) -> bool {
    let below = directory
        .canonicalize()
        .and_then(|directory| ringfence_share::confine::mounts_below(&directory));
    below.map_or(true, |mounts| !mounts.is_empty())
}

/// Name of the daemon's own program.
const PROGRAM: &str = "ringfenced";

/// The daemon's own program. Where the daemon is a part of another one (a test), or an update
/// has replaced it while it runs, that is the one beside that, or in the directory above.
///
/// # Errors
/// When it is not found, or `/proc` is not mounted.
pub fn own_binary() -> std::io::Result<PathBuf> {
    let running = std::env::current_exe()?;
    if running.file_name().is_some_and(|name| name == PROGRAM) {
        return Ok(running);
    }
    let near = running.ancestors().skip(1).take(2).map(|directory| directory.join(PROGRAM));
    near.into_iter().find(|program| program.is_file()).ok_or_else(|| {
        let what = format!("there is no {PROGRAM} beside {}", running.display());
        std::io::Error::new(std::io::ErrorKind::NotFound, what)
    })
}

/// Files that the environment names as holding certificate authorities.
#[must_use]
pub fn named_authorities() -> Vec<PathBuf> {
    AUTHORITIES.into_iter().filter_map(variable).map(PathBuf::from).collect()
}

/// Those of the host's variables that say how to reach the net.
#[must_use]
pub fn network_variables() -> Vec<(OsString, OsString)> {
    NETWORK.iter().filter_map(|name| Some((OsString::from(name), variable(name)?))).collect()
}

/// Bytes of the file system that a path lies on, used or not.
#[must_use]
pub fn disk_size(path: &std::path::Path) -> Option<u64> {
    let facts = rustix::fs::statvfs(path).ok()?;
    Some(facts.f_blocks.saturating_mul(facts.f_frsize.max(1)))
}

/// A user's name, as the local list of users has it.
#[must_use]
pub fn user_name(uid: u32) -> Option<String> {
    name_in(&std::fs::read_to_string("/etc/passwd").ok()?, uid)
}

fn name_in(users: &str, uid: u32) -> Option<String> {
    users.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(uid)).then(|| name.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_have_names() {
        let users = "root:x:0:0:root:/root:/bin/sh\nbroken\nann:x:1000:1000::/home/ann:/bin/sh\n";
        assert_eq!(name_in(users, 1000).as_deref(), Some("ann"));
        assert_eq!(name_in(users, 0).as_deref(), Some("root"));
        assert_eq!(name_in(users, 7), None);
    }

    #[test]
    fn what_cannot_be_found_out_counts_as_mounted() {
        assert!(mounted_beneath(Path::new("/")), "/proc is");
        assert!(!mounted_beneath(Path::new("/proc/self/fd")));
        assert!(mounted_beneath(Path::new("/no such directory")));
    }
}
