//! What is to be seen of machines.

use std::os::unix::fs::MetadataExt;

use ringfence_model::error::ApiError;
use ringfence_model::folder::Folder;
use ringfence_model::name::MachineName;
use ringfence_model::status::{EngineStatus, MachineStatus, ShareMode, ShareStatus};

use super::{Machines, failed};
use crate::engine::qemu::accel::Accelerator;
use crate::engine::qemu::argv;
use crate::shares;

impl Machines {
    /// The engine, as measured.
    pub(in crate::supervisor) async fn engine_status(&self) -> EngineStatus {
        let probe = self.probe().await.ok();
        EngineStatus {
            name: "qemu".into(),
            version: probe.map(|probe| probe.version.to_string()),
            accelerator: probe.map(|probe| {
                match probe.measured.accelerator {
                    Accelerator::Kvm => "kvm",
                    Accelerator::Tcg => "tcg",
                }
                .into()
            }),
        }
    }

    /// Every machine.
    ///
    /// # Errors
    /// When the state cannot be read.
    pub(in crate::supervisor) async fn statuses(
        &self,
        folders: &[Folder],
    ) -> Result<Vec<MachineStatus>, ApiError> {
        let mut statuses = Vec::new();
        for machine in self.store.machines().map_err(failed)? {
            let cell = self.cell(&machine.name);
            let live = cell.live();
            let usage = live.as_ref().and_then(|live| live.process.usage());
            let runtime = self.store.runtime(&machine.name).map_err(failed)?;
            let disk = self.layout.machine(&machine.name).join(argv::DISK);
            let path_of = |id: &ringfence_model::name::FolderId| {
                folders.iter().find(|folder| folder.id == *id).map(|folder| folder.path.clone())
            };
            let (state, waiting_for) = {
                let seen = cell.seen();
                (seen.state.clone(), seen.waiting_for.clone())
            };
            statuses.push(MachineStatus {
                shares: self.share_statuses(&machine.name, folders).await,
                has_seen: machine
                    .seen
                    .folders()
                    .map(|id| path_of(id).unwrap_or_else(|| format!("(unregistered {id})").into()))
                    .collect(),
                because: machine.because,
                name: machine.name,
                state,
                waiting_for,
                limits: machine.limits,
                recipe: machine.recipe.map(Into::into),
                cpu_seconds: usage.map(|usage| usage.0),
                memory_bytes: usage.map(|usage| usage.1),
                disk_bytes: std::fs::metadata(disk).ok().map(|facts| facts.blocks() * 512),
                ssh_port: runtime.ssh_port,
            });
        }
        Ok(statuses)
    }

    async fn share_statuses(&self, name: &MachineName, registered: &[Folder]) -> Vec<ShareStatus> {
        let mut statuses = Vec::new();
        for (id, share) in self.shares_of(name) {
            if !share.process.lives() {
                continue;
            }
            let Some(folder) = registered.iter().find(|folder| folder.id == id) else { continue };
            // A share that does not answer us is shown as it would be to the guest: closed.
            let mode = shares::get(&self.share_sockets(name, &share).control)
                .await
                .unwrap_or(ShareMode::Closed);
            statuses.push(ShareStatus {
                folder: id,
                path: folder.path.clone(),
                guest_path: share.guest_path,
                access: share.access,
                mode,
            });
        }
        statuses
    }
}
