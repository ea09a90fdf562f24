//! Suspend and resume: a machine's memory in a file.
//!
//! Owns: the file and the rule that it is used once: continuing old memory on a disk that
//! went on without it would destroy the disk. Must not: be asked while a share is plugged in.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::os::fd::AsFd as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::engine::MachineSpec;
use crate::engine::qemu::EngineError;
use crate::engine::qemu::argv::{Start, argv};
use crate::engine::qemu::machine::Running;
use crate::engine::qemu::probe::Probe;

/// The memory, in the machine's directory.
const MEMORY: &str = "memory.state";

/// What the memory fits to; written last, so that it stands for a whole file.
const RECORD: &str = "memory.json";

/// How long saving or loading may take; a disk of 100 MB/s writes 8 GiB in less.
const PATIENCE: Duration = Duration::from_secs(180);

#[derive(Serialize, Deserialize)]
struct Record {
    schema: u32,
    fits: String,
}

/// Whether the machine has saved memory that this QEMU and these devices can continue.
#[must_use]
pub fn resumable(spec: &MachineSpec, probe: &Probe) -> bool {
    std::fs::read(spec.directory.join(RECORD))
        .ok()
        .and_then(|bytes| serde_json::from_slice::<Record>(&bytes).ok())
        .is_some_and(|record| record.schema == 1 && record.fits == fits(spec, probe))
        && spec.directory.join(MEMORY).is_file()
}

/// Forgets saved memory: the machine's next start is a cold one.
///
/// # Errors
/// When the files cannot be removed.
pub fn forget(directory: &Path) -> Result<(), EngineError> {
    for name in [RECORD, MEMORY] {
        let path = directory.join(name);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(EngineError::file(path)(error));
            }
            _ => {}
        }
    }
    Ok(())
}

/// Memory fits only the same devices, run by the same version of QEMU.
fn fits(spec: &MachineSpec, probe: &Probe) -> String {
    use std::os::unix::ffi::OsStrExt as _;
    let mut hash = Sha256::new();
    hash.update(probe.version.to_string());
    for word in argv(spec, probe.measured.accelerator, Start::Resume) {
        hash.update(word.as_bytes());
        hash.update([0]);
    }
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

impl Running {
    /// Stops the guest, writes its memory to the disk and ends QEMU. No share may be plugged in.
    /// When this fails before the file is whole, the guest runs on.
    ///
    /// # Errors
    /// When a share is plugged in, the disk is full, or QEMU fails.
    pub async fn suspend(&self, probe: &Probe) -> Result<(), EngineError> {
        if !self.plugged().await.is_empty() {
            return Err(self.save_error("a folder is still attached"));
        }
        forget(&self.spec.directory)?;
        self.qmp.execute("stop", json!({})).await?;
        let written = self.write_memory().await;
        if let Err(error) = written {
            let _ = forget(&self.spec.directory);
            self.qmp.execute("cont", json!({})).await?;
            return Err(error);
        }
        // From here on the guest must not run again: its disk has to stay as the memory knows it.
        self.stop(Duration::ZERO).await;
        let record = Record { schema: 1, fits: fits(&self.spec, probe) };
        let path = self.spec.directory.join(RECORD);
        let save = || {
            let mut file = tempfile::NamedTempFile::new_in(&self.spec.directory)?;
            file.write_all(&serde_json::to_vec(&record)?)?;
            file.as_file().sync_all()?;
            file.persist(&path)?;
            File::open(&self.spec.directory)?.sync_all()
        };
        save().map_err(EngineError::file(&path))
    }

    async fn write_memory(&self) -> Result<(), EngineError> {
        let path = self.spec.directory.join(MEMORY);
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)
            .map_err(EngineError::file(&path))?;
        let uri = self.offer(&file).await?;
        self.qmp.execute("migrate", json!({"uri": uri})).await?;
        self.transferred().await?;
        file.sync_all().map_err(EngineError::file(&path))
    }

    /// Starts the machine from its saved memory, which is used up by that. The caller sets the guest's clock.
    ///
    /// # Errors
    /// When there is none, or QEMU cannot continue it; then a cold start is the way on.
    pub async fn resume(spec: &MachineSpec, probe: &Probe) -> Result<Self, EngineError> {
        let path = spec.directory.join(MEMORY);
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .open(&path)
            .map_err(EngineError::file(&path))?;
        // Before the guest can run: after a crash right behind this line the machine starts cold, instead of from
        // memory that no longer fits its disk. The open file keeps the content.
        forget(&spec.directory)?;
        let running = Self::start(spec, probe, Start::Resume).await?;
        let loaded = async {
            let uri = running.offer(&file).await?;
            running.qmp.execute("migrate-incoming", json!({"uri": uri})).await?;
            running.transferred().await
        };
        match loaded.await {
            Ok(()) => Ok(running),
            Err(error) => {
                running.stop(Duration::ZERO).await;
                Err(error)
            }
        }
    }

    /// Hands QEMU the file and says how memory lies in it. QEMU may have no right to open it by name.
    async fn offer(&self, file: &File) -> Result<String, EngineError> {
        let added = self.qmp.execute_with("add-fd", json!({}), file.as_fd()).await?;
        let number = added["fdset-id"]
            .as_u64()
            .ok_or_else(|| self.save_error("QEMU did not take the file"))?;
        let abilities =
            ["mapped-ram", "multifd"].map(|name| json!({"capability": name, "state": true}));
        self.qmp.execute("migrate-set-capabilities", json!({"capabilities": abilities})).await?;
        let channels = json!({"multifd-channels": self.spec.limits.cpus.clamp(1, 8)});
        self.qmp.execute("migrate-set-parameters", channels).await?;
        Ok(format!("file:/dev/fdset/{number}"))
    }

    async fn transferred(&self) -> Result<(), EngineError> {
        let work = async {
            loop {
                let state: Value = self.qmp.execute("query-migrate", json!({})).await?;
                match state["status"].as_str() {
                    Some("completed") => return Ok(()),
                    Some("failed" | "cancelled") => {
                        let reason = state["error-desc"].as_str().unwrap_or("QEMU gave no reason");
                        return Err(self.save_error(reason));
                    }
                    _ => tokio::time::sleep(Duration::from_millis(20)).await,
                }
            }
        };
        tokio::time::timeout(PATIENCE, work)
            .await
            .unwrap_or_else(|_| Err(self.save_error("it took too long")))
    }

    fn save_error(&self, reason: &str) -> EngineError {
        EngineError::Save { machine: self.spec.name.to_string(), reason: reason.to_owned() }
    }
}
