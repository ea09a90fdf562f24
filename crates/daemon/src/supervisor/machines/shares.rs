//! A machine's shares: plugged closed, opened for sessions, closed between them.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use ringfence_model::error::{ApiError, ErrorKind};
use ringfence_model::folder::{self, Access, Folder};
use ringfence_model::name::{FolderId, MachineName};
use ringfence_model::status::ShareMode;

use super::{Cell, Live, Machines, failed, machine_error};
use crate::guest::GuestError;
use crate::guest::protocol::Kind;
use crate::keepers::{self, KeeperSockets};
use crate::shares::{self, ShareSockets, ShareUids, Shown};
use crate::store::{MachineRuntime, ShareRuntime};
use crate::supervisor::restore::Held;

/// How long a guest may take to write back what it holds of a folder.
const WRITE_BACK: Duration = Duration::from_secs(10);

/// How long a guest may take to find a device that was plugged in.
const APPEARS: Duration = Duration::from_secs(15);

impl Machines {
    /// Makes a folder visible inside, read-only so far; its path inside.
    ///
    /// # Errors
    /// When the share does not come up or the guest does not mount it.
    pub(in crate::supervisor) async fn attach(
        &self,
        name: &MachineName,
        folder: &Folder,
        shown: &Shown,
    ) -> Result<PathBuf, ApiError> {
        let cell = self.cell(name);
        let _work = cell.work.lock().await;
        if !self.record(name)?.seen.has(&folder.id, &shown.names().hidden) {
            return Err(not_admitted(name, folder));
        }
        let Some(live) = cell.live() else {
            return Err(ApiError::new(
                ErrorKind::Engine,
                format!("machine {name} stopped meanwhile"),
            )
            .hint(format!("ringfence machine logs {name}")));
        };
        let shares = self.shares_of(name);
        let known = shares.get(&folder.id).filter(|known| known.process.lives());
        let other =
            |known: &ShareRuntime| (known.access, &known.names) != (shown.access(), shown.names());
        if let Some(known) = known.filter(|known| other(known)) {
            // Under a session that works with it a share is not exchanged.
            let control = self.share_sockets(name, known).control;
            if !shares::get(&control).await.is_ok_and(|mode| mode == ShareMode::Closed) {
                return Err(names_changed(name, folder));
            }
        }
        if let Some(known) = known.filter(|known| !other(known))
            && self.may_go_on(name, known).await
        {
            let control = self.share_sockets(name, known).control;
            // A session may be at work in it: then it is open already, and stays so.
            if shares::get(&control).await.is_ok_and(|mode| mode == ShareMode::Closed) {
                shares::set(&control, ShareMode::ReadOnly)
                    .await
                    .map_err(|error| machine_error(name, error))?;
                mount(name, known, &live).await?;
            }
            return Ok(known.guest_path.clone());
        }
        cell.wait_for("the folder");
        let attached = self.plug(name, folder, shown, &live).await;
        cell.seen().waiting_for = None;
        attached
    }

    async fn plug(
        &self,
        name: &MachineName,
        folder: &Folder,
        shown: &Shown,
        live: &Live,
    ) -> Result<PathBuf, ApiError> {
        let engine = |error| machine_error(name, error);
        let mut runtime = self.store.runtime(name).map_err(failed)?;
        if let Some(dead) = runtime.shares.remove(&folder.id) {
            // Its process died: the guest must let go of the device before a new one comes.
            let _ = self.unmount(live, &dead).await;
            live.qemu.unplug(&dead.tag).await.map_err(engine)?;
            dead.process.kill().await;
        }
        let slot = match free_slot(&runtime) {
            Some(slot) => slot,
            None => {
                self.make_room(name, &mut runtime, live).await?;
                free_slot(&runtime).ok_or_else(|| no_room(name))?
            }
        };
        let device = format!("s{slot}");
        let machine = self.record(name)?;
        let uids = self
            .uids(&machine)
            .map(|uids| ShareUids { share: uids.share(slot), qemu: uids.qemu() });
        let sockets = ShareSockets::of(&self.sockets(name), &device);
        let log = self.layout.machine(name).join(format!("share-{}.log", folder.id));
        let lacks =
            |error| machine_error(name, error).hint("what this host lacks: ringfence doctor");
        // It is there before the share, and ends with it.
        let keeper = match shown.access() {
            Access::Rw => {
                let (store, kept) =
                    (self.layout.kept(&folder.id), KeeperSockets::of(&self.sockets(name), &device));
                let log = self.layout.machine(name).join(format!("keeper-{}.log", folder.id));
                Some(keepers::start(folder, &store, &kept, &log).await.map_err(lacks)?)
            }
            Access::Ro => None,
        };
        let started = shares::start(folder, shown, &device, &sockets, uids, &log).await;
        if let (Err(_), Some(keeper)) = (&started, keeper) {
            keeper.kill().await;
        }
        let process = started.map_err(lacks)?;
        let share = ShareRuntime {
            process,
            tag: device.clone(),
            device,
            guest_path: folder::guest_path(&folder.path),
            access: shown.access(),
            names: shown.names().clone(),
        };
        // Written down before it is plugged: a daemon that dies now leaves no unknown process.
        runtime.shares.insert(folder.id.clone(), share.clone());
        self.store.set_runtime(name, &runtime).map_err(failed)?;
        match self.show(name, &share, &sockets, live).await {
            Ok(()) => Ok(share.guest_path),
            Err(error) => {
                // Half-plugged is not plugged: the slot and the process are given back.
                let _ = live.qemu.unplug(&share.tag).await;
                share.process.kill().await;
                runtime.shares.remove(&folder.id);
                self.store.set_runtime(name, &runtime).map_err(failed)?;
                Err(error)
            }
        }
    }

    /// Plugs a share in and has the guest mount it.
    async fn show(
        &self,
        name: &MachineName,
        share: &ShareRuntime,
        sockets: &ShareSockets,
        live: &Live,
    ) -> Result<(), ApiError> {
        let engine = |error| machine_error(name, error);
        live.qemu.plug(&share.tag, &sockets.vhost).await.map_err(engine)?;
        shares::set(&sockets.control, ShareMode::ReadOnly)
            .await
            .map_err(|error| machine_error(name, error))?;
        mount(name, share, live).await
    }

    /// Asks the guest to unmount a folder. Best effort: the share is closed after it.
    pub(in crate::supervisor) async fn unmount_folder(
        &self,
        name: &MachineName,
        folder: &FolderId,
    ) {
        let Some(share) = self.shares_of(name).remove(folder) else { return };
        let Some(live) = self.cell(name).live() else { return };
        if let Err(error) = self.unmount(&live, &share).await {
            tracing::warn!(%name, %error, "the guest did not unmount");
        }
    }

    /// Detaches one share that is closed: no session uses it.
    async fn make_room(
        &self,
        name: &MachineName,
        runtime: &mut MachineRuntime,
        live: &Live,
    ) -> Result<(), ApiError> {
        for (folder, share) in runtime.shares.clone() {
            let control = self.share_sockets(name, &share).control;
            let lives = share.process.lives();
            if lives && shares::get(&control).await.is_ok_and(|mode| mode != ShareMode::Closed) {
                continue;
            }
            if let Err(error) = self.unmount(live, &share).await {
                tracing::warn!(%name, %error, "the guest did not unmount");
            }
            live.qemu.unplug(&share.tag).await.map_err(|error| machine_error(name, error))?;
            share.process.kill().await;
            runtime.shares.remove(&folder);
            return self.store.set_runtime(name, runtime).map_err(failed);
        }
        Err(no_room(name))
    }

    /// Unplugs shares whose process died: what waits for an answer inside gets an error
    /// instead of waiting for ever. Their sessions are ended by whoever hears of it.
    pub(super) async fn drop_dead_shares(&self, name: &MachineName, cell: &Cell, live: &Live) {
        let dead = |share: &ShareRuntime| !share.process.lives();
        if !self.shares_of(name).values().any(dead) {
            return;
        }
        let Ok(_work) = cell.work.try_lock() else { return };
        let Ok(mut runtime) = self.store.runtime(name) else { return };
        let lost: Vec<(FolderId, ShareRuntime)> = runtime
            .shares
            .iter()
            .filter(|(_, share)| dead(share))
            .map(|(id, share)| (id.clone(), share.clone()))
            .collect();
        for (folder, share) in lost {
            tracing::error!(%name, %folder, "a share ended without being told to");
            // Told first: the agent must not go on as if nothing had happened.
            let _ = self.lost_shares.send((name.clone(), folder.clone()));
            if let Err(error) = live.qemu.unplug(&share.tag).await {
                // A guest that keeps the dead device could never have this folder again.
                tracing::error!(%name, %error, "the guest keeps a lost share: cutting its power");
                live.qemu.stop(Duration::ZERO).await;
                return;
            }
            runtime.shares.remove(&folder);
            if let Err(error) = self.store.set_runtime(name, &runtime) {
                tracing::error!(%name, %error, "a lost share could not be written down");
            }
        }
    }

    /// Switches how a share answers. A share that does not exist answers nothing already.
    ///
    /// # Errors
    /// When the share lives and does not obey; it is then ended, which answers nothing too.
    pub(in crate::supervisor) async fn set_share(
        &self,
        name: &MachineName,
        folder: &FolderId,
        mode: ShareMode,
    ) -> Result<(), ApiError> {
        let shares = self.shares_of(name);
        let Some(share) = shares.get(folder).filter(|share| share.process.lives()) else {
            return if matches!(mode, ShareMode::ReadWrite | ShareMode::Held) {
                Err(ApiError::new(
                    ErrorKind::Engine,
                    format!("the share in machine {name} has ended"),
                ))
            } else {
                Ok(())
            };
        };
        let control = self.share_sockets(name, share).control;
        if let Err(error) = shares::set(&control, mode).await {
            if matches!(mode, ShareMode::Closed | ShareMode::ReadOnly) {
                // What cannot be closed is ended: an agent must not write after its session.
                tracing::error!(%name, %error, "a share does not obey; ending it");
                share.process.kill().await;
                return Ok(());
            }
            return Err(machine_error(name, error));
        }
        Ok(())
    }

    /// Holds every open share of a folder; how each answered before.
    ///
    /// # Errors
    /// When one does not obey: then none is held.
    pub(in crate::supervisor) async fn hold(&self, folder: &FolderId) -> Result<Held, ApiError> {
        let mut held = Held::new();
        for machine in self.store.machines().map_err(failed)? {
            let shares = self.shares_of(&machine.name);
            let Some(share) = shares.get(folder).filter(|share| share.process.lives()) else {
                continue;
            };
            let control = self.share_sockets(&machine.name, share).control;
            let before =
                shares::get(&control).await.map_err(|error| machine_error(&machine.name, error))?;
            if before == ShareMode::Closed {
                continue;
            }
            if let Err(error) = shares::set(&control, ShareMode::Held).await {
                for (name, mode) in held {
                    let _ = self.set_share(&name, folder, mode).await;
                }
                return Err(machine_error(&machine.name, error));
            }
            held.push((machine.name, before));
        }
        Ok(held)
    }

    /// Asks the guest to write back what it holds of a folder. Best effort, with a deadline.
    pub(in crate::supervisor) async fn sync(&self, name: &MachineName, folder: &FolderId) {
        let Some(share) = self.shares_of(name).remove(folder) else { return };
        let Some(ready) = self.cell(name).live().and_then(|live| live.ready) else { return };
        match ready.guest.sync(&share.guest_path, WRITE_BACK).await {
            Ok(true) => {}
            Ok(false) => tracing::warn!(%name, "the guest did not write back in time"),
            Err(error) => tracing::warn!(%name, %error, "the guest was not asked to write back"),
        }
    }

    /// Closes every share of a machine: it answers nothing.
    pub(super) async fn close_all(&self, name: &MachineName) {
        for folder in self.shares_of(name).into_keys() {
            if let Err(error) = self.set_share(name, &folder, ShareMode::Closed).await {
                tracing::warn!(%name, %error, "a share could not be closed");
            }
        }
    }

    /// Closes shares that no session uses: what a daemon that died may have left open.
    pub(in crate::supervisor) async fn close_unused(
        &self,
        used: impl Fn(&MachineName, &FolderId) -> bool,
    ) {
        for machine in self.store.machines().unwrap_or_default() {
            for folder in self.shares_of(&machine.name).into_keys() {
                if !used(&machine.name, &folder)
                    && let Err(error) =
                        self.set_share(&machine.name, &folder, ShareMode::Closed).await
                {
                    tracing::warn!(name = %machine.name, %error, "a share could not be closed");
                }
            }
        }
    }

    /// Unmounts and unplugs every share of a machine.
    pub(super) async fn detach_all(&self, name: &MachineName, live: &Live) -> Result<(), ApiError> {
        let mut runtime = self.store.runtime(name).map_err(failed)?;
        for (folder, share) in std::mem::take(&mut runtime.shares) {
            // It may still be needed to answer the unmount, so it is closed after it.
            let unmounted = self.unmount(live, &share).await;
            self.set_share(name, &folder, ShareMode::Closed).await?;
            if let Err(error) = unmounted {
                tracing::warn!(%name, %error, "the guest did not unmount");
            }
            live.qemu.unplug(&share.tag).await.map_err(|error| machine_error(name, error))?;
            share.process.kill().await;
        }
        self.store.set_runtime(name, &runtime).map_err(failed)
    }

    async fn unmount(&self, live: &Live, share: &ShareRuntime) -> Result<(), GuestError> {
        let Some(ready) = &live.ready else { return Ok(()) };
        ready.guest.unmount(&share.guest_path).await.map(drop)
    }

    pub(super) fn share_sockets(&self, name: &MachineName, share: &ShareRuntime) -> ShareSockets {
        ShareSockets::of(&self.sockets(name), &share.device)
    }
}

/// Has the guest mount a share that is plugged in.
async fn mount(name: &MachineName, share: &ShareRuntime, live: &Live) -> Result<(), ApiError> {
    let Some(ready) = &live.ready else {
        return Err(ApiError::new(
            ErrorKind::Engine,
            format!("machine {name} does not answer yet"),
        ));
    };
    let begun = Instant::now();
    loop {
        let read_only = share.access == Access::Ro;
        match ready.guest.mount(&share.tag, &share.guest_path, read_only).await {
            Ok(()) => return Ok(()),
            // The guest finds a device some moments after it was plugged in.
            Err(GuestError::Refused { kind: Kind::Failed, .. }) if begun.elapsed() < APPEARS => {
                tokio::time::sleep(Duration::from_millis(30)).await;
            }
            Err(error) => return Err(machine_error(name, error)),
        }
    }
}

fn free_slot(runtime: &MachineRuntime) -> Option<u32> {
    (0..u32::from(crate::engine::qemu::argv::SLOTS))
        .find(|slot| !runtime.shares.values().any(|share| share.device == format!("s{slot}")))
}

/// Nothing becomes visible in a machine that does not remember it first.
fn not_admitted(name: &MachineName, folder: &Folder) -> ApiError {
    let path = folder.path.display();
    ApiError::new(
        ErrorKind::Refused,
        format!("no decision let {path} be seen in machine {name}; nothing was shared"),
    )
    .hint("ringfence daemon restart")
}

fn names_changed(name: &MachineName, folder: &Folder) -> ApiError {
    let path = folder.path.display();
    ApiError::new(
        ErrorKind::Refused,
        format!(
            "the rules of {path} were changed, and a session still works there by the old ones"
        ),
    )
    .hint("end it first: ringfence session list")
    .hint(format!("or use another machine than {name}: --machine NAME"))
}

fn no_room(name: &MachineName) -> ApiError {
    ApiError::new(
        ErrorKind::Engine,
        format!("machine {name} has no room for another folder: sessions use all of its slots"),
    )
    .hint("use another machine: --machine NAME")
}
