//! Facts of the host: who we are, how large it is, which environment was given.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use ringfence_model::layout::Environment;
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
        runtime_dir: path("XDG_RUNTIME_DIR"),
        uid: rustix::process::geteuid().as_raw(),
    }
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

/// The directory of the daemon's own binary, resolved.
///
/// # Errors
/// When `/proc` is not mounted.
pub fn own_binary() -> std::io::Result<PathBuf> {
    std::env::current_exe()
}

/// Files that the environment names as holding certificate authorities.
#[must_use]
pub fn named_authorities() -> Vec<PathBuf> {
    ["SSL_CERT_FILE", "NODE_EXTRA_CA_CERTS", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"]
        .into_iter()
        .filter_map(variable)
        .map(PathBuf::from)
        .collect()
}

/// Variables that say how this host reaches the net and its package registries.
const NETWORK_VARIABLES: [&str; 8] = [
    "http_proxy",
    "https_proxy",
    "no_proxy",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "PIP_INDEX_URL",
    "NPM_CONFIG_REGISTRY",
];

/// Those of the host's variables that say how to reach the net.
#[must_use]
pub fn network_variables() -> Vec<(OsString, OsString)> {
    NETWORK_VARIABLES
        .iter()
        .filter_map(|name| Some((OsString::from(name), variable(name)?)))
        .collect()
}
