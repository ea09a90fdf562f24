//! Vaults are looked after whether or not anything runs: one folder at a time, one piece
//! of work at a time, and never while a snapshot or restore of that folder is waiting.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ringfence_model::api::{Finding, Verdict};
use ringfence_model::error::ApiError;
use ringfence_model::folder::Folder;
use ringfence_model::health::{CheckRequest, CheckView, RepairRequest, RepairView};
use ringfence_model::history::SnapshotKind;
use ringfence_model::name::FolderId;
use ringfence_vault::Cancel;

use super::protect::Want;
use super::report::Report;
use super::{Daemon, failed, folders};
use crate::vaults::Repairing;

/// Pause between two looks at what is due.
const PERIOD: Duration = Duration::from_secs(20);
/// After a piece of work the thread rests so many times as long as that took.
const REST: u32 = 4;
/// But never longer than this.
const LONGEST_REST: Duration = Duration::from_secs(60);
/// Where nothing was due, nobody looks again for so long.
const QUIET: Duration = Duration::from_secs(5 * 60);

impl Daemon {
    /// Checks a folder's vault.
    ///
    /// # Errors
    /// When there is none.
    pub async fn check(
        &self,
        request: CheckRequest,
        report: &Report,
    ) -> Result<CheckView, ApiError> {
        let folder = self.registered(&request.folder)?;
        report.progress("checking the vault", None);
        self.vaults.check(&folder, request.read_data, report).await
    }

    /// Plans the repair of a folder's vault, or carries it out.
    ///
    /// # Errors
    /// When nothing opens the vault.
    pub async fn repair(
        &self,
        request: RepairRequest,
        report: &Report,
    ) -> Result<RepairView, ApiError> {
        let folder = self.registered(&request.folder)?;
        // What the folder still has is read again only if it is the folder, and protected.
        let config = self.config.last_good();
        let rules = folders::rules_of(&folder.path, &config);
        let protected = self.standing(&folder).around_sessions();
        let reread = self.same_directory(&folder).is_ok() && protected;
        let places = config.copies_of(&rules).iter().map(|target| target.below(folder.id.as_str()));
        let copies = places.filter_map(|place| self.vaults.target(&place).ok()).collect();
        report.progress("looking for damage", None);
        let RepairRequest { read_data, apply, .. } = request;
        let how = Repairing { reread, read_data, apply, copies };
        let done = self.vaults.repair(&folder, how, report).await;
        // The vault holds other things now than what changes were counted from.
        self.protect.guard(&folder).distrust();
        // What was read again lies in a snapshot of its own: from now on that is the newest one.
        if reread
            && done.as_ref().is_ok_and(|view| view.applied)
            && let Err(error) =
                self.snapshot(&folder, Want::whole(SnapshotKind::Periodic), report).await
        {
            tracing::error!(folder = %folder.path.display(), %error, "no snapshot after the repair");
        }
        done
    }

    /// Looks after all vaults. Ends with the daemon.
    pub async fn verify_vaults(self: Arc<Self>) {
        let cancel = Cancel::default();
        let mut quiet = HashMap::new();
        let mut every = Duration::ZERO;
        loop {
            let wanted = self.config.last_good().defaults.check.duration().unsigned_abs();
            if wanted != every {
                // How long nothing is due was told by another interval.
                quiet.clear();
                every = wanted;
            }
            tokio::select! {
                () = self.shutdown.cancelled() => {
                    cancel.cancel();
                    return;
                }
                () = self.verify_once(&mut quiet, every, &cancel) => {}
            }
            tokio::time::sleep(PERIOD.min(every / 4)).await;
        }
    }

    /// Does what is due for every folder, but not for those that are `quiet` until later.
    async fn verify_once(
        &self,
        quiet: &mut HashMap<FolderId, Instant>,
        every: Duration,
        cancel: &Cancel,
    ) {
        let folders = self.store.folders().map(|file| file.folders).unwrap_or_default();
        quiet.retain(|_, until| *until > Instant::now());
        for folder in &folders {
            if quiet.contains_key(&folder.id) {
                continue;
            }
            while let Some(took) = self.verify_piece(folder, cancel).await {
                tokio::time::sleep((took * REST).min(LONGEST_REST)).await;
            }
            quiet.insert(folder.id.clone(), Instant::now() + QUIET.min(every / 4));
        }
    }

    /// Does one piece for a folder, and gives how long it took; `None` where nothing is due.
    async fn verify_piece(&self, folder: &Folder, cancel: &Cancel) -> Option<Duration> {
        // Whoever has the turn is served first, and so is whoever waits for it.
        drop(self.vaults.turn(&folder.id).await);
        let every = self.config.last_good().defaults.check.duration();
        let begun = Instant::now();
        match self.vaults.look_after(folder, every, cancel).await {
            Ok(done) => done.then(|| begun.elapsed()),
            Err(error) => {
                tracing::warn!(folder = %folder.path.display(), %error, "a vault could not be looked after");
                None
            }
        }
    }

    /// What `doctor` says about the health of vaults.
    pub(super) fn check_health(&self) -> Result<Vec<Finding>, ApiError> {
        let every = self.config.last_good().defaults.check.duration();
        let folders = self.store.folders().map_err(failed)?.folders;
        let finding = |folder: &Folder| {
            let path = folder.path.display();
            let health = self.vaults.health(folder, every);
            let (verdict, message, cure) = match (health.findings.first(), health.verified) {
                (Some(finding), _) => (
                    Verdict::Bad,
                    format!("{path}: {}", finding.sentence()),
                    Some(format!("ringfence backup check --repair {path}")),
                ),
                (None, Some(verified)) => (
                    Verdict::Good,
                    format!("{path}: snapshot {:.8} is verified", verified.id),
                    None,
                ),
                (None, None) => (
                    Verdict::Weak,
                    format!("{path}: no snapshot is verified yet; next look {}", health.next_check),
                    None,
                ),
            };
            Finding { check: "backup".into(), verdict, message, cure }
        };
        Ok(folders.iter().map(finding).collect())
    }
}
