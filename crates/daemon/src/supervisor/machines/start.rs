//! The way of a machine from its disk to an answer over SSH, and back into the hands of a new
//! daemon.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ringfence_model::error::{ApiError, ErrorKind};
use ringfence_model::machine::{Machine, MachineState};
use ringfence_model::name::{MachineName, RecipeName};
use ringfence_model::profile::Network;
use ringfence_model::size::Size;

use super::{Cell, Live, Machines, Ready, Report, engine_error, failed, machine_error};
use crate::engine::qemu::argv::Start;
use crate::engine::qemu::disk;
use crate::engine::qemu::machine::Running;
use crate::engine::qemu::{argv, save};
use crate::engine::{Addresses, Ids, Link, MachineSpec};
use crate::gateways::{self, GatewayUids, NetworkRule};
use crate::guest::client::Guest;
use crate::guest::identity::{Facts, Identity, host_timezone};
use crate::guest::ssh::Target;
use crate::guest::{GuestError, authorities};
use crate::host::process::ProcessId;
use crate::host::{clock, facts, files};
use crate::image::store::Store as Images;
use crate::workshop::Bench;

/// How long a guest may take to answer over SSH. Emulation on busy cores takes a minute.
const BOOT: Duration = Duration::from_secs(240);

/// A machine that was held by a full disk goes on when so many bytes are free again: enough
/// that it does not stop at the very next write.
const ROOM: u64 = 256 << 20;

impl Machines {
    /// A machine that answers: the running one, or started, or resumed.
    ///
    /// # Errors
    /// When QEMU cannot start it or the guest does not answer.
    pub(in crate::supervisor) async fn ensure_running(
        self: &Arc<Self>,
        name: &MachineName,
        rule: &NetworkRule,
        report: &Report,
    ) -> Result<Ready, ApiError> {
        self.touch(name);
        let cell = self.cell(name);
        let _work = cell.work.lock().await;
        self.ensure_gateway(name, rule).await?;
        if let Some(live) = cell.live() {
            self.mend_disk(name, &cell, &live).await;
            if let MachineState::Held { reason } = cell.seen().state.clone() {
                return Err(ApiError::new(ErrorKind::Engine, format!("machine {name}: {reason}"))
                    .hint("it goes on by itself when there is room: ringfence doctor"));
            }
            if let Some(ready) = &live.ready
                && ready.ssh.is_open().await
            {
                return Ok(ready.clone());
            }
            if cell.seen().state != MachineState::Running {
                cell.become_state(MachineState::Starting);
            }
            return self.wait_for_guest(name, &cell, live, report).await;
        }
        let machine = self.record(name)?;
        let spec = self.spec(&machine).await?;
        let probe = self.probe().await?;
        cell.become_state(MachineState::Starting);
        let started = if save::resumable(&spec, probe) {
            report.progress(format!("machine {name}: resuming"), None);
            Running::resume(&spec, probe).await
        } else {
            report.progress(format!("machine {name}: starting"), None);
            save::forget(&spec.directory).map_err(|error| machine_error(name, error))?;
            self.prepare_disk(&machine, &spec).await?;
            Running::start(&spec, probe, Start::Cold).await
        };
        let qemu = match started {
            Ok(qemu) => qemu,
            Err(error) => {
                cell.become_state(MachineState::Failed { reason: error.to_string() });
                self.clear(name).await;
                return Err(machine_error(name, error));
            }
        };
        let live = self.note_live(name, &cell, qemu)?;
        self.wait_for_guest(name, &cell, live, report).await
    }

    /// Writes down what runs and begins to watch it.
    fn note_live(
        self: &Arc<Self>,
        name: &MachineName,
        cell: &Arc<Cell>,
        qemu: Running,
    ) -> Result<Live, ApiError> {
        let process = u32::try_from(qemu.pid()).ok().and_then(ProcessId::of).ok_or_else(|| {
            ApiError::new(ErrorKind::Engine, format!("machine {name}: QEMU ended at once"))
                .hint(format!("ringfence machine logs {name}"))
        })?;
        let mut runtime = self.store.runtime(name).map_err(failed)?;
        runtime.qemu = Some(process);
        self.store.set_runtime(name, &runtime).map_err(failed)?;
        let live = Live { qemu: Arc::new(qemu), process, ready: None };
        cell.seen().live = Some(live.clone());
        tokio::spawn(Arc::clone(self).watch(name.clone(), Arc::clone(cell), live.clone()));
        Ok(live)
    }

    /// Notices the end of a machine, keeps its console bounded and its gateway alive.
    async fn watch(self: Arc<Self>, name: MachineName, cell: Arc<Cell>, live: Live) {
        let mut tick = tokio::time::interval(Duration::from_secs(2));
        let ended = live.qemu.ended();
        tokio::pin!(ended);
        loop {
            tokio::select! {
                () = &mut ended => break,
                _ = tick.tick() => {
                    self.mend_disk(&name, &cell, &live).await;
                    // Newer output replaces what could not be drained.
                    let _ = live.qemu.drain_console().await;
                    self.mend_gateway(&name, &cell).await;
                    self.drop_dead_shares(&name, &cell, &live).await;
                }
            }
        }
        let unexpected = matches!(
            cell.seen().state,
            MachineState::Running | MachineState::Starting | MachineState::Held { .. }
        );
        if unexpected {
            let _work = cell.work.lock().await;
            // Somebody may have started it again while we waited.
            if cell.seen().live.as_ref().is_some_and(|now| now.process == live.process) {
                tracing::error!(%name, "QEMU ended without being told to");
                cell.seen().live = None;
                cell.become_state(MachineState::Failed {
                    reason: "it stopped without being told to".into(),
                });
                self.clear(&name).await;
            }
        }
    }

    /// Says that a machine is held by a full disk, and lets it go on when there is room again.
    async fn mend_disk(&self, name: &MachineName, cell: &Cell, live: &Live) {
        let state = cell.seen().state.clone();
        if !live.qemu.is_held_by_its_disk().await {
            if matches!(state, MachineState::Held { .. }) {
                cell.become_state(MachineState::Running);
            }
            return;
        }
        if state == MachineState::Running {
            cell.become_state(MachineState::Held { reason: self.full_disk(name) });
        }
        // A file system that does not say how full it is may have room: the guest is held again if not.
        if facts::free_space(&self.layout.machine(name)).is_ok_and(|free| free < ROOM) {
            return;
        }
        match live.qemu.go_on().await {
            Ok(()) => tracing::warn!(%name, "was held by a full disk; it goes on"),
            Err(error) => tracing::error!(%name, %error, "a held machine cannot be let go on"),
        }
    }

    /// Starts a gateway again that died, with the same port and rule: the machine goes on.
    async fn mend_gateway(&self, name: &MachineName, cell: &Cell) {
        let Ok(_work) = cell.work.try_lock() else { return };
        let Ok(runtime) = self.store.runtime(name) else { return };
        if runtime.gateway.is_some_and(ProcessId::lives) {
            return;
        }
        let Some(network) = runtime.network else { return };
        tracing::warn!(%name, "the gateway ended; starting it again");
        let rule = NetworkRule { network, allow: runtime.allow };
        if let Err(error) = self.ensure_gateway(name, &rule).await {
            tracing::error!(%name, %error, "the gateway cannot be started again");
        }
    }

    /// A living gateway that enforces `rule`.
    async fn ensure_gateway(&self, name: &MachineName, rule: &NetworkRule) -> Result<(), ApiError> {
        let mut runtime = self.store.runtime(name).map_err(failed)?;
        let same = runtime.network == Some(rule.network) && runtime.allow == rule.allow;
        if let Some(gateway) = runtime.gateway.filter(|gateway| gateway.lives()) {
            if same {
                return Ok(());
            }
            gateway.end(Duration::from_secs(2)).await;
        }
        let machine = self.record(name)?;
        let sockets = self.sockets(name);
        let uids = self.uids(&machine);
        self.prepare_sockets(name, uids.map(super::Uids::qemu))?;
        let gateway_uids =
            uids.map(|uids| GatewayUids { gateway: uids.gateway(), qemu: uids.qemu() });
        let log = self.layout.machine(name).join("gateway.log");
        let port = runtime.ssh_port.unwrap_or(0);
        let started = match gateways::start(name, &sockets, rule, port, gateway_uids, &log).await {
            // Somebody else may have taken the port while no gateway held it.
            Err(_) if port != 0 => {
                gateways::start(name, &sockets, rule, 0, gateway_uids, &log).await
            }
            outcome => outcome,
        };
        let (process, ready) = started.map_err(|error| {
            machine_error(name, error).hint("what this host lacks: ringfence doctor")
        })?;
        if runtime.ssh_port.is_some_and(|port| port != ready.ssh_port)
            && let Some(live) = self.cell(name).live()
            && let Some(ready) = live.ready
        {
            ready.ssh.close().await;
        }
        runtime.gateway = Some(process);
        runtime.ssh_port = Some(ready.ssh_port);
        runtime.network = Some(rule.network);
        runtime.allow = rule.allow.clone();
        self.store.set_runtime(name, &runtime).map_err(failed)
    }

    /// Waits until the guest answers over SSH and its service through that connection.
    async fn wait_for_guest(
        &self,
        name: &MachineName,
        cell: &Cell,
        mut live: Live,
        report: &Report,
    ) -> Result<Ready, ApiError> {
        let begun = Instant::now();
        let ssh = self.ssh_target(name).await?;
        cell.wait_for("SSH");
        let mut opened = Box::pin(open(&ssh));
        let mut tick = tokio::time::interval(Duration::from_secs(1));
        let outcome = loop {
            tokio::select! {
                outcome = &mut opened => break outcome.map_err(|error| error.to_string()),
                () = live.qemu.ended() => break Err("QEMU ended before the guest answered".to_owned()),
                _ = tick.tick() => {
                    if live.qemu.is_held_by_its_disk().await {
                        break Err(self.full_disk(name));
                    }
                    let seconds = begun.elapsed().as_secs();
                    report.progress(format!("machine {name}: waiting for SSH, {seconds} s"), None);
                }
            }
        };
        drop(opened);
        match outcome {
            Ok(guest) => {
                let ready = Ready { ssh, guest: Arc::new(guest) };
                live.ready = Some(ready.clone());
                cell.seen().live = Some(live);
                cell.become_state(MachineState::Running);
                Ok(ready)
            }
            Err(reason) => {
                cell.become_state(MachineState::Failed { reason: reason.clone() });
                Err(ApiError::new(ErrorKind::Engine, format!("machine {name}: {reason}")).hint(
                    format!("ringfence machine logs {name} · ringfence machine restart {name}"),
                ))
            }
        }
    }

    /// What a person is told when a machine's disk found no room.
    fn full_disk(&self, name: &MachineName) -> String {
        let directory = self.layout.machine(name);
        let place = directory.display();
        facts::free_space(&directory).map_or_else(
            |error| format!("its disk cannot grow: {place} does not answer: {error}"),
            |free| {
                let free = Size::bytes(free);
                format!("its disk cannot grow: {free} free at {place}; make some room")
            },
        )
    }

    async fn prepare_disk(&self, machine: &Machine, spec: &MachineSpec) -> Result<(), ApiError> {
        let path = spec.directory.join(argv::DISK);
        if path.exists() {
            return Ok(());
        }
        disk::create(&path, &spec.boot.disk, machine.limits.disk)
            .await
            .map_err(|error| machine_error(&machine.name, error))?;
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600))
            .map_err(|error| machine_error(&machine.name, error))?;
        if let Some(ids) = spec.ids {
            std::os::unix::fs::chown(&path, Some(ids.uid), Some(ids.gid))
                .map_err(|error| machine_error(&machine.name, error))?;
        }
        Ok(())
    }

    async fn spec(&self, machine: &Machine) -> Result<MachineSpec, ApiError> {
        let directory = self.layout.machine(&machine.name);
        let boot = Images::new(self.layout.images()).boot_files(&machine.image);
        let boot = boot.map_err(|error| machine_error(&machine.name, error))?;
        let error = |error| machine_error(&machine.name, error);
        let identity =
            Identity::ensure(&directory.join("identity"), &machine.name).await.map_err(error)?;
        let credentials = identity.credentials(&handed_in(&machine.name)).map_err(error)?;
        Ok(MachineSpec {
            name: machine.name.clone(),
            limits: machine.limits,
            boot,
            link: Link::Gateway,
            mac: ringfence_gateway::guest_mac(machine.name.as_str()),
            machine_id: machine_id(&identity)?,
            credentials,
            ids: self.uids(machine).map(|uids| Ids { uid: uids.qemu(), gid: uids.qemu() }),
            directory,
            sockets: self.sockets(&machine.name),
        })
    }

    /// A network for the throw-away machine in which a recipe is installed.
    pub(in crate::supervisor) async fn bench(
        &self,
        recipe: &RecipeName,
    ) -> Result<(Bench, ProcessId), ApiError> {
        let name = MachineName::new(format!("layer-{recipe}").chars().take(40).collect::<String>())
            .map_err(failed)?;
        let uids = crate::host::facts::is_root().then_some(super::Uids::WORKSHOP);
        self.prepare_sockets(&name, uids.map(super::Uids::qemu))?;
        let gateway_uids =
            uids.map(|uids| GatewayUids { gateway: uids.gateway(), qemu: uids.qemu() });
        let rule = NetworkRule { network: Network::Internet, allow: Vec::new() };
        let log = self.layout.state.join("logs").join(format!("{name}.log"));
        let (process, ready) =
            gateways::start(&name, &self.sockets(&name), &rule, 0, gateway_uids, &log)
                .await
                .map_err(|error| {
                    machine_error(&name, error).hint("what this host lacks: ringfence doctor")
                })?;
        let bench = Bench {
            run: self.layout.machine_run(&name),
            port: ready.ssh_port,
            mac: ringfence_gateway::guest_mac(name.as_str()),
            facts: handed_in(&name),
            ids: uids.map(|uids| Ids { uid: uids.qemu(), gid: uids.qemu() }),
            name,
        };
        Ok((bench, process))
    }

    /// Where QEMU, gateway and shares of a machine meet.
    pub(super) fn sockets(&self, name: &MachineName) -> PathBuf {
        self.layout.machine_run(name).join("q")
    }

    /// Adopts what an earlier daemon left running.
    pub(in crate::supervisor) async fn adopt(self: &Arc<Self>) {
        let machines = match self.store.machines() {
            Ok(machines) => machines,
            Err(error) => {
                tracing::error!(%error, "machines cannot be read");
                return;
            }
        };
        for machine in machines {
            if let Err(error) = self.adopt_one(&machine).await {
                tracing::error!(name = %machine.name, %error, "a machine could not be adopted");
            }
        }
    }

    async fn adopt_one(self: &Arc<Self>, machine: &Machine) -> Result<(), ApiError> {
        let name = &machine.name;
        let cell = self.cell(name);
        let _work = cell.work.lock().await;
        let runtime = self.store.runtime(name).map_err(failed)?;
        if machine.image.is_empty() {
            return Ok(());
        }
        let spec = self.spec(machine).await?;
        let adopted = Running::adopt(&spec)
            .await
            .map_err(|error| engine_error("QEMU does not answer", error))?;
        let Some(qemu) = adopted else {
            if runtime.qemu.is_some() {
                self.clear(name).await;
            }
            let probe = self.probe().await?;
            if save::resumable(&spec, probe) {
                cell.seen().state = MachineState::Suspended;
            }
            return Ok(());
        };
        cell.seen().state = MachineState::Starting;
        let mut live = self.note_live(name, &cell, qemu)?;
        let ssh = self.ssh_target(name).await?;
        if ssh.is_open().await {
            let guest = Arc::new(Guest::new(ssh.service()));
            live.ready = Some(Ready { ssh, guest });
            cell.seen().live = Some(live);
        }
        cell.become_state(MachineState::Running);
        tracing::info!(%name, "adopted");
        Ok(())
    }

    async fn ssh_target(&self, name: &MachineName) -> Result<Target, ApiError> {
        let port = self.store.runtime(name).map_err(failed)?.ssh_port.ok_or_else(|| {
            ApiError::new(ErrorKind::Engine, format!("machine {name} has no network"))
        })?;
        let directory = self.layout.machine(name).join("identity");
        let identity =
            Identity::ensure(&directory, name).await.map_err(|error| machine_error(name, error))?;
        Ok(Target { identity, port, run: self.layout.machine_run(name) })
    }

    /// The directory of a machine's sockets, which its QEMU's group may pass through.
    fn prepare_sockets(&self, name: &MachineName, qemu: Option<u32>) -> Result<(), ApiError> {
        use std::os::unix::fs::{PermissionsExt, chown};
        let (run, sockets) = (self.layout.machine_run(name), self.sockets(name));
        let prepare = || {
            files::private_directory(&sockets)?;
            let Some(gid) = qemu else { return Ok(()) };
            for directory in [&run, &sockets] {
                chown(directory, None, Some(gid))?;
                std::fs::set_permissions(directory, std::fs::Permissions::from_mode(0o710))?;
            }
            std::fs::set_permissions(
                self.layout.run.join("m"),
                std::fs::Permissions::from_mode(0o711),
            )
        };
        prepare().map_err(|error| machine_error(name, error))
    }
}

/// What a machine is told at its start.
fn handed_in(name: &MachineName) -> Facts {
    let network = ringfence_gateway::guest_network(name.as_str());
    Facts {
        addresses: Addresses {
            guest: network.ipv4,
            prefix: network.ipv4_prefix,
            gateway: network.ipv4_gateway,
            mtu: network.mtu,
        },
        timezone: host_timezone(std::path::Path::new("/etc/localtime")),
        authorities: authorities::host_authorities(&facts::named_authorities()),
    }
}

/// The master connection, and the service that answers through it with the right time.
async fn open(ssh: &Target) -> Result<Guest, GuestError> {
    ssh.open(BOOT).await?;
    let guest = Guest::new(ssh.service());
    let since_1970 = clock::now().as_duration().unsigned_abs();
    guest.set_time(since_1970).await?;
    Ok(guest)
}

/// 128 bits that only this machine has: of the hash of its host key.
fn machine_id(identity: &Identity) -> Result<String, ApiError> {
    use sha2::{Digest, Sha256};
    let pinned = std::fs::read(identity.known_hosts()).map_err(failed)?;
    let hash = Sha256::digest(&pinned);
    Ok(hash.iter().take(16).map(|byte| format!("{byte:02x}")).collect())
}
