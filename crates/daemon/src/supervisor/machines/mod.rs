//! Machines and everything that runs for one: gateway, QEMU, SSH, shares.
//!
//! Each machine has one cell; whoever changes something about it holds the cell's lock, so
//! that two runs at once start it once. What runs is on disk before it is relied on: a new
//! daemon adopts it.

mod kept;
mod losses;
mod shares;
mod start;
mod status;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use ringfence_model::admit::Open;
use ringfence_model::error::{ApiError, ErrorKind};
use ringfence_model::layout::Layout;
use ringfence_model::machine::{Machine, MachineState};
use ringfence_model::name::{FolderId, MachineName};
use tokio::sync::{OnceCell, mpsc};

use super::report::Report;
use super::{failed, of_kind};
use crate::engine::qemu::machine::Running;
use crate::engine::qemu::probe::{self, Probe};
use crate::gateways::{self, NetworkRule};
use crate::guest::client::Guest;
use crate::guest::ssh::Target;
use crate::host::process::ProcessId;
use crate::store::Store;

/// How long a machine may take to power off before its power is cut.
const POWER_OFF: Duration = Duration::from_secs(60);

/// A machine that answers: how a session reaches it.
#[derive(Clone)]
pub(super) struct Ready {
    /// The SSH connection that everything shares.
    pub(super) ssh: Target,
    /// The guest's service, through that connection.
    pub(super) guest: Arc<Guest>,
}

/// All machines.
pub(super) struct Machines {
    layout: Layout,
    store: Store,
    probe: OnceCell<Probe>,
    cells: Mutex<HashMap<MachineName, Arc<Cell>>>,
    /// Where the loss of a share is told: whoever owns the sessions must end them.
    lost_shares: mpsc::UnboundedSender<(MachineName, FolderId)>,
}

/// One machine.
#[derive(Default)]
struct Cell {
    /// Held by whoever starts, stops or plugs.
    work: tokio::sync::Mutex<()>,
    seen: Mutex<Seen>,
}

/// What is known without asking.
struct Seen {
    state: MachineState,
    waiting_for: Option<String>,
    live: Option<Live>,
    /// When it was last used: asked for, or seen with a session.
    used: Instant,
}

/// What runs for a machine.
#[derive(Clone)]
struct Live {
    qemu: Arc<Running>,
    process: ProcessId,
    ready: Option<Ready>,
}

impl Default for Seen {
    fn default() -> Self {
        Self { state: MachineState::Stopped, waiting_for: None, live: None, used: Instant::now() }
    }
}

impl Cell {
    fn seen(&self) -> std::sync::MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn become_state(&self, next: MachineState) {
        let mut seen = self.seen();
        if seen.state != next && !seen.state.may_become(&next) {
            tracing::warn!(
                from = seen.state.word(),
                to = next.word(),
                "an unexpected step of a machine"
            );
        }
        seen.state = next;
        seen.waiting_for = None;
    }

    fn wait_for(&self, what: &str) {
        self.seen().waiting_for = Some(what.to_owned());
    }

    fn live(&self) -> Option<Live> {
        self.seen().live.clone().filter(|live| live.process.lives())
    }
}

/// The uids of one machine's processes when the daemon is root: a block of their own.
#[derive(Debug, Clone, Copy)]
struct Uids {
    base: u32,
}

impl Uids {
    /// First uid that is used; far above what user databases and containers use.
    const FIRST: u32 = 0x6f00_0000;
    /// QEMU, gateway and one for each slot.
    const BLOCK: u32 = 16;
    /// The block below all others: throw-away machines, one at a time by the image store's lock.
    const WORKSHOP: Self = Self { base: Self::FIRST - Self::BLOCK };

    const fn qemu(self) -> u32 {
        self.base
    }

    const fn gateway(self) -> u32 {
        self.base + 1
    }

    const fn share(self, slot: u32) -> u32 {
        self.base + 2 + slot
    }
}

impl Machines {
    pub(super) fn new(
        layout: Layout,
        store: Store,
        lost_shares: mpsc::UnboundedSender<(MachineName, FolderId)>,
    ) -> Self {
        Self { layout, store, probe: OnceCell::new(), cells: Mutex::default(), lost_shares }
    }

    fn cell(&self, name: &MachineName) -> Arc<Cell> {
        let mut cells = self.cells.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(cells.entry(name.clone()).or_default())
    }

    /// A machine's record.
    pub(super) fn record(&self, name: &MachineName) -> Result<Machine, ApiError> {
        let machines = self.store.machines().map_err(failed)?;
        machines.into_iter().find(|machine| machine.name == *name).ok_or_else(|| {
            ApiError::new(ErrorKind::Failed, format!("there is no machine {name}"))
                .hint("ringfence machine list")
        })
    }

    /// What QEMU can do here; measured once for each boot of the host.
    pub(super) async fn probe(&self) -> Result<&Probe, ApiError> {
        self.probe
            .get_or_try_init(|| async {
                let boot =
                    std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
                probe::probe(boot.trim(), &self.layout.state.join("accelerator.json")).await
            })
            .await
            .map_err(|error| {
                engine_error("no machine can run here", error).hint("ringfence doctor")
            })
    }

    /// The block of uids of a machine; its number never changes while the machine exists.
    fn uids(&self, machine: &Machine) -> Option<Uids> {
        crate::host::facts::is_root()
            .then_some(Uids { base: Uids::FIRST + machine.slot * Uids::BLOCK })
    }

    /// Running machines that nobody used for so long.
    pub(super) fn idle(&self, limit: Duration) -> Vec<MachineName> {
        let cells = self.cells.lock().unwrap_or_else(PoisonError::into_inner);
        let is_idle = |cell: &Cell| {
            let seen = cell.seen();
            seen.state == MachineState::Running && seen.used.elapsed() >= limit
        };
        cells.iter().filter(|(_, cell)| is_idle(cell)).map(|(name, _)| name.clone()).collect()
    }

    /// A machine is in use: its idle time begins anew.
    pub(super) fn touch(&self, name: &MachineName) {
        self.cell(name).seen().used = Instant::now();
    }

    /// Tells every gateway which resolvers the host has now: they read the file only once,
    /// before they were confined.
    pub(super) async fn announce_resolvers(&self, resolv_conf: &str) {
        let resolvers = ringfence_gateway::resolvers(resolv_conf);
        for machine in self.store.machines().unwrap_or_default() {
            let control = self.sockets(&machine.name).join("net.ctl");
            if control.exists()
                && let Err(error) = gateways::announce(&control, &resolvers).await
            {
                tracing::warn!(name = %machine.name, %error, "a gateway was not told of new resolvers");
            }
        }
    }

    /// That a machine's network can become what a new session asks for.
    ///
    /// # Errors
    /// When a running session holds it to another network.
    pub(super) fn may_use_network(
        &self,
        name: &MachineName,
        rule: &NetworkRule,
        open: &[Open],
    ) -> Result<(), ApiError> {
        let runtime = self.store.runtime(name).map_err(failed)?;
        let same = runtime.network == Some(rule.network) && runtime.allow == rule.allow;
        let Some(network) = runtime.network.filter(|_| !same) else { return Ok(()) };
        if open.iter().any(|session| session.machine == *name) {
            return Err(ApiError::new(
                ErrorKind::Refused,
                format!("a session runs in machine {name} with the network `{}`", network.as_str()),
            )
            .hint("use another machine: --machine NAME"));
        }
        Ok(())
    }

    /// Stops a machine: power button, deadline, power cut. Its shares and gateway end too.
    pub(super) async fn stop(&self, name: &MachineName, report: &Report) -> Result<(), ApiError> {
        let cell = self.cell(name);
        let _work = cell.work.lock().await;
        self.stop_locked(name, &cell, report).await
    }

    async fn stop_locked(
        &self,
        name: &MachineName,
        cell: &Cell,
        report: &Report,
    ) -> Result<(), ApiError> {
        self.close_all(name).await;
        if let Some(live) = cell.live() {
            // A guest that stands still cannot see the power button.
            let held = matches!(cell.seen().state, MachineState::Held { .. });
            cell.become_state(MachineState::Stopping);
            report.progress(format!("machine {name}: powering off"), None);
            if let Some(ready) = &live.ready {
                ready.ssh.close().await;
            }
            live.qemu.stop(if held { Duration::ZERO } else { POWER_OFF }).await;
        }
        self.clear(name).await;
        cell.seen().live = None;
        cell.become_state(MachineState::Stopped);
        Ok(())
    }

    /// Ends what is left of a machine whose QEMU is gone, and writes that down.
    async fn clear(&self, name: &MachineName) {
        let Ok(mut runtime) = self.store.runtime(name) else { return };
        for share in runtime.shares.values() {
            share.process.kill().await;
        }
        if let Some(gateway) = runtime.gateway {
            gateway.end(Duration::from_secs(2)).await;
        }
        runtime.shares = BTreeMap::new();
        (runtime.gateway, runtime.qemu) = (None, None);
        if let Err(error) = self.store.set_runtime(name, &runtime) {
            tracing::error!(%name, %error, "a stopped machine could not be written down");
        }
    }

    /// Saves memory to disk and ends the process. Its folders are detached first.
    pub(super) async fn suspend(
        &self,
        name: &MachineName,
        report: &Report,
    ) -> Result<(), ApiError> {
        let cell = self.cell(name);
        let _work = cell.work.lock().await;
        let Some(live) = cell.live() else {
            return Err(ApiError::new(ErrorKind::Failed, format!("machine {name} does not run")));
        };
        report.progress(format!("machine {name}: detaching folders"), None);
        self.detach_all(name, &live).await?;
        report.progress(format!("machine {name}: saving memory"), None);
        if let Some(ready) = &live.ready {
            ready.ssh.close().await;
        }
        let probe = self.probe().await?;
        live.qemu.suspend(probe).await.map_err(|error| {
            engine_error(format!("machine {name} could not be suspended"), error)
        })?;
        self.clear(name).await;
        cell.seen().live = None;
        cell.become_state(MachineState::Suspended);
        Ok(())
    }

    /// Ends a machine and removes its disk, keys and records. What it has seen is forgotten with it.
    pub(super) async fn delete(&self, name: &MachineName, report: &Report) -> Result<(), ApiError> {
        self.record(name)?;
        let cell = self.cell(name);
        let _work = cell.work.lock().await;
        if let Some(live) = cell.live() {
            report.progress(format!("machine {name}: cutting its power"), None);
            live.qemu.stop(Duration::ZERO).await;
        }
        self.clear(name).await;
        // The record goes first: a half-removed machine is no machine.
        let directory = self.layout.machine(name);
        let gone = directory.with_file_name(format!(".removed-{name}"));
        let remove = || {
            if gone.exists() {
                std::fs::remove_dir_all(&gone)?;
            }
            std::fs::rename(&directory, &gone)?;
            std::fs::remove_dir_all(&gone)
        };
        remove()
            .map_err(|error| engine_error(format!("machine {name} could not be removed"), error))?;
        let _ = std::fs::remove_dir_all(self.layout.machine_run(name));
        self.cells.lock().unwrap_or_else(PoisonError::into_inner).remove(name);
        Ok(())
    }

    /// What the guest printed on its serial console, and QEMU's own words.
    pub(super) async fn log(&self, name: &MachineName) -> Result<Vec<u8>, ApiError> {
        self.record(name)?;
        if let Some(live) = self.cell(name).live() {
            // What is not drained is only newer; an error is in QEMU's log.
            let _ = live.qemu.drain_console().await;
        }
        let directory = self.layout.machine(name);
        let mut log = crate::engine::qemu::console::console_tail(&directory, 256 * 1024)
            .map_err(|error| engine_error("the console's log could not be read", error))?;
        let qemu = Running::log_tail(&directory);
        if !qemu.is_empty() {
            log.extend_from_slice(format!("\n--- QEMU ---\n{qemu}\n").as_bytes());
        }
        Ok(log)
    }

    /// The folder shares that a machine's record names, and the runtime itself.
    fn shares_of(&self, name: &MachineName) -> BTreeMap<FolderId, crate::store::ShareRuntime> {
        self.store.runtime(name).map(|runtime| runtime.shares).unwrap_or_default()
    }
}

fn engine_error<E: std::error::Error + 'static>(what: impl Into<String>, error: E) -> ApiError {
    ApiError::from_source(ErrorKind::Engine, what, &error)
}

/// Keeps the kind of an error and names the machine.
fn machine_error<E: std::error::Error + 'static>(name: &MachineName, error: E) -> ApiError {
    let mut api = of_kind(ErrorKind::Engine, error);
    api.message = format!("machine {name}: {}", api.message);
    api.hint(format!("look: ringfence machine logs {name}"))
}
