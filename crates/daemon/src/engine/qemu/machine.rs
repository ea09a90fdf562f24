//! One running machine: its QEMU process and the connection to it.
//!
//! Owns: starting, adopting after a restart of the daemon, noticing the end, stopping.
//! Must not: decide when; that is the supervisor's.

use std::fs::Permissions;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustix::process::{Pid, PidfdFlags, Signal};
use serde_json::json;
use tokio::io::unix::AsyncFd;

use crate::engine::MachineSpec;
use crate::engine::qemu::EngineError;
use crate::engine::qemu::argv::{CONTROL, Start, argv};
use crate::engine::qemu::plug::Slots;
use crate::engine::qemu::probe::{BINARY, Probe};
use crate::engine::qemu::qmp::{Qmp, QmpError};
use crate::host::command::{Program, tail};

/// QEMU's own words, in the machine's directory.
pub const LOG: &str = "qemu.log";

/// How long QEMU may take to listen; opening disks and memory is all it does before.
const LISTENS: Duration = Duration::from_secs(20);

/// How long QEMU may take to write its disk back and leave when told to.
const LEAVES: Duration = Duration::from_secs(5);

/// How a machine was stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stopped {
    /// The guest powered itself off.
    ByItself,
    /// It did not in time; as if the power had been cut.
    PowerCut,
    /// QEMU did not leave either and was killed.
    Killed,
}

/// A running QEMU. Dropping it leaves the machine running.
#[derive(Debug)]
pub struct Running {
    pub(super) spec: MachineSpec,
    pub(super) qmp: Arc<Qmp>,
    pub(super) slots: tokio::sync::Mutex<Slots>,
    process: AsyncFd<OwnedFd>,
    pid: i32,
}

impl Running {
    /// Starts the machine. The guest is not up when this returns: QEMU is.
    ///
    /// # Errors
    /// When QEMU cannot be started or ends at once; the error carries its own words.
    pub async fn start(
        spec: &MachineSpec,
        probe: &Probe,
        start: Start,
    ) -> Result<Self, EngineError> {
        prepare(spec).map_err(EngineError::file(&spec.sockets))?;
        let log = spec.directory.join(LOG);
        let started = Program::new(BINARY)
            .args(argv(spec, probe.measured.accelerator, start))
            .directory(&spec.sockets)
            .detach(&log)?;
        let mut child = started.child;
        let deadline = tokio::time::Instant::now() + LISTENS;
        let qmp = loop {
            match Qmp::connect(&spec.sockets, CONTROL).await {
                Ok(qmp) => break qmp,
                Err(error) if tokio::time::Instant::now() >= deadline => {
                    let _ = child.start_kill();
                    return Err(error.into());
                }
                Err(_) => {}
            }
            if let Ok(Some(_)) = child.try_wait() {
                return Err(ended(spec));
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        };
        // QEMU makes it for everybody to see; the directory around it is closed, and so is it.
        let control = spec.sockets.join(CONTROL);
        std::fs::set_permissions(&control, Permissions::from_mode(0o600))
            .map_err(EngineError::file(&control))?;
        // Nobody awaits the child: its end is seen by its descriptor, as for an adopted one; tokio reaps it.
        drop(child);
        Self::with(spec, qmp)
    }

    /// Finds the machine's QEMU again, if it lives.
    ///
    /// # Errors
    /// When something listens that is not a QEMU that answers.
    pub async fn adopt(spec: &MachineSpec) -> Result<Option<Self>, EngineError> {
        let running = match Qmp::connect(&spec.sockets, CONTROL).await {
            Ok(qmp) => Self::with(spec, qmp)?,
            Err(QmpError::Connect(_) | QmpError::Closed) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        *running.slots.lock().await = Slots::found(&running.qmp).await?;
        Ok(Some(running))
    }

    fn with(spec: &MachineSpec, qmp: Qmp) -> Result<Self, EngineError> {
        // The kernel names the process that listens, so a reused number cannot be mistaken for it.
        let pid = qmp.pid().ok_or_else(|| ended(spec))?;
        let known = Pid::from_raw(pid).ok_or_else(|| ended(spec))?;
        let process =
            rustix::process::pidfd_open(known, PidfdFlags::NONBLOCK).map_err(|_| ended(spec))?;
        #[expect(
            deprecated,
            reason = "an owned descriptor is sound here; the replacement is unsafe to call"
        )]
        let process = AsyncFd::new(process).map_err(EngineError::file(&spec.sockets))?;
        Ok(Self {
            spec: spec.clone(),
            qmp: Arc::new(qmp),
            slots: tokio::sync::Mutex::new(Slots::default()),
            process,
            pid,
        })
    }

    /// The QEMU process.
    #[must_use]
    pub const fn pid(&self) -> i32 {
        self.pid
    }

    /// The control connection, for events.
    #[must_use]
    pub fn qmp(&self) -> &Arc<Qmp> {
        &self.qmp
    }

    /// Whether QEMU holds the guest because a write to its disk failed, which on a sound host
    /// means that the host's disk is full.
    pub async fn is_held_by_its_disk(&self) -> bool {
        let status = self.qmp.execute("query-status", json!({})).await;
        status.is_ok_and(|status| status["status"] == "io-error")
    }

    /// Lets a held guest go on; QEMU tries the write that failed again.
    ///
    /// # Errors
    /// When QEMU does not take the command.
    pub async fn go_on(&self) -> Result<(), EngineError> {
        self.qmp.execute("cont", json!({})).await?;
        Ok(())
    }

    /// Returns when QEMU has ended, at once when it has.
    pub async fn ended(&self) {
        // The descriptor of a process becomes readable when the process ends; no other outcome is possible.
        let _ = self.process.readable().await.map(|mut guard| guard.retain_ready());
    }

    /// Presses the power button, waits, cuts the power, kills.
    pub async fn stop(&self, grace: Duration) -> Stopped {
        if !grace.is_zero() {
            // A QEMU that does not take the command is treated like a guest that ignores it.
            let pressed = self.qmp.execute("system_powerdown", json!({})).await;
            if pressed.is_ok() && self.ends_within(grace).await {
                return Stopped::ByItself;
            }
        }
        // `quit` writes the disk's buffers back, which a signal to a hung process would not.
        let quit = tokio::time::timeout(LEAVES, self.qmp.execute("quit", json!({})));
        let _ = quit.await;
        if self.ends_within(LEAVES).await {
            return Stopped::PowerCut;
        }
        let _ = rustix::process::pidfd_send_signal(self.process.get_ref(), Signal::KILL);
        self.ended().await;
        Stopped::Killed
    }

    async fn ends_within(&self, patience: Duration) -> bool {
        tokio::time::timeout(patience, self.ended()).await.is_ok()
    }

    /// What QEMU last wrote to its log.
    #[must_use]
    pub fn log_tail(directory: &Path) -> String {
        tail(&std::fs::read(directory.join(LOG)).unwrap_or_default(), 1500)
    }
}

fn ended(spec: &MachineSpec) -> EngineError {
    let log = Running::log_tail(&spec.directory);
    let log = if log.is_empty() { "it said nothing".to_owned() } else { log };
    EngineError::Ended { machine: spec.name.to_string(), log }
}

/// The socket directory: only this machine's QEMU and the daemon get in.
fn prepare(spec: &MachineSpec) -> io::Result<()> {
    std::fs::create_dir_all(&spec.directory)?;
    std::fs::create_dir_all(&spec.sockets)?;
    let mode = match spec.ids {
        Some(ids) => {
            std::os::unix::fs::chown(&spec.sockets, None, Some(ids.gid))?;
            0o710
        }
        None => 0o700,
    };
    std::fs::set_permissions(&spec.sockets, Permissions::from_mode(mode))?;
    match std::fs::remove_file(spec.sockets.join(CONTROL)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
