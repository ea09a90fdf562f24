//! What the installed QEMU can do, asked from the binary itself.
//!
//! Owns: the minimum version and the facts. Must not: start a machine.

use std::fmt;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use crate::engine::qemu::EngineError;
use crate::engine::qemu::accel::{Measured, accelerator};
use crate::engine::qemu::qmp::Qmp;
use crate::host::command::{CommandError, Program};

/// The program that runs machines.
pub const BINARY: &str = "qemu-system-x86_64";

/// The oldest QEMU that Ringfence starts: SMBIOS strings from files, `-run-with user=`,
/// and memory saved into a file by page (`mapped-ram`) all need it.
pub const MINIMUM: Version = Version(10, 0);

/// A version of QEMU.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version(pub u64, pub u64);

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.0, self.1)
    }
}

/// What was found out about QEMU on this host.
#[derive(Debug, Clone)]
pub struct Probe {
    /// Its version.
    pub version: Version,
    /// What executes guests, and why not the processor.
    pub measured: Measured,
    /// The device for shares exists.
    pub shares: bool,
    /// Memory can be saved by page into a file.
    pub mapped_ram: bool,
}

/// Asks QEMU what it is and measures the processor, once per boot of the host.
/// `memory` is the file that keeps the measurement.
///
/// # Errors
/// When QEMU is missing, too old, or does not answer.
pub async fn probe(boot_id: &str, memory: &Path) -> Result<Probe, EngineError> {
    let (version, shares, mapped_ram) = facts().await?;
    if version < MINIMUM {
        return Err(EngineError::TooOld { found: version.to_string() });
    }
    let measured = accelerator(BINARY, &version.to_string(), boot_id, memory).await?;
    Ok(Probe { version, measured, shares, mapped_ram })
}

/// Starts QEMU without a machine and asks it over QMP.
async fn facts() -> Result<(Version, bool, bool), EngineError> {
    let directory = tempfile::tempdir().map_err(EngineError::file(std::env::temp_dir()))?;
    let log = directory.path().join("log");
    let started = Program::new(BINARY)
        .args(["-nodefaults", "-no-user-config", "-display", "none", "-M", "none"])
        .args(["-qmp", "unix:probe.sock,server=on,wait=off"])
        .directory(directory.path())
        .detach(&log)
        .map_err(missing)?;
    let mut child = started.child;
    let answers = async {
        let qmp = connect_soon(directory.path(), "probe.sock", Duration::from_secs(10)).await?;
        let devices = qmp.execute("qom-list-types", json!({"implements": "device"})).await?;
        let abilities = qmp.execute("query-migrate-capabilities", json!({})).await?;
        let (major, minor) = qmp.version();
        let found = (
            Version(major, minor),
            has(&devices, "name", "vhost-user-fs-pci"),
            has(&abilities, "capability", "mapped-ram"),
        );
        // It ends right after saying so; that it did not answer is no error.
        let _ = qmp.execute("quit", json!({})).await;
        Ok::<_, EngineError>(found)
    };
    let found = answers.await;
    if found.is_err() {
        let _ = child.start_kill();
    }
    let status = child.wait().await.map_err(EngineError::file(BINARY))?;
    // `setsid` starts QEMU, so a missing QEMU shows as its exit code.
    if status.code() == Some(127) {
        return Err(missing(CommandError::Start {
            program: BINARY.into(),
            source: std::io::ErrorKind::NotFound.into(),
        }));
    }
    found
}

fn missing(error: CommandError) -> EngineError {
    if error.is_missing() {
        EngineError::Missing { program: BINARY, package: "qemu-system-x86" }
    } else {
        error.into()
    }
}

fn has(list: &Value, field: &str, name: &str) -> bool {
    list.as_array().is_some_and(|list| list.iter().any(|entry| entry[field] == name))
}

/// Connects to a QEMU that was just started and may not listen yet.
///
/// # Errors
/// When it does not listen within `patience`.
pub(crate) async fn connect_soon(
    directory: &Path,
    name: &str,
    patience: Duration,
) -> Result<Qmp, EngineError> {
    let deadline = tokio::time::Instant::now() + patience;
    loop {
        match Qmp::connect(directory, name).await {
            Ok(qmp) => return Ok(qmp),
            Err(error) if tokio::time::Instant::now() >= deadline => return Err(error.into()),
            Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn this_hosts_qemu_answers() {
        let (version, shares, mapped_ram) = facts().await.expect("facts");
        assert!(version >= MINIMUM && shares && mapped_ram, "{version} {shares} {mapped_ram}");
    }
}
