//! Plans and restores, in the words of the API.

use std::path::{Path, PathBuf};

use ringfence_model::bytes::BytePath;
use ringfence_model::error::ApiError;
use ringfence_model::folder::Folder;
use ringfence_model::history::PlanView;
use ringfence_vault::{
    Cancel, ConflictWhy, Entry, Guard, RestorePlan, RestoreRequest, Selection, SnapshotId,
    UndoRequest, Vault, VaultError,
};

use super::{Vaults, blocking, byte_path, convert, vault_error};
use crate::supervisor::report::Report;

/// What is put back.
#[derive(Debug, Clone)]
pub(crate) enum Restoring {
    /// A state: all of it, or these paths and what lies below them.
    State {
        /// Which.
        snapshot: SnapshotId,
        /// Empty: everything.
        paths: Vec<Vec<u8>>,
    },
    /// What changed from one state to the other.
    Undo {
        /// The state before the session.
        opening: SnapshotId,
        /// The state after it.
        closing: SnapshotId,
        /// Also what the host changed since.
        all: bool,
    },
}

impl Restoring {
    /// Only these paths are missing in the vault, so a restore of them is a mistake.
    fn missing(&self, vault: &Vault) -> Result<(), VaultError> {
        if let Self::State { snapshot, paths } = self {
            for path in paths {
                vault.node(*snapshot, path)?;
            }
        }
        Ok(())
    }

    fn plan(&self, vault: &Vault, target: &Path, guard: Guard) -> Result<RestorePlan, VaultError> {
        self.missing(vault)?;
        match self {
            Self::State { snapshot, paths } => vault.plan_restore(&RestoreRequest {
                snapshot: *snapshot,
                target: target.to_owned(),
                selection: if paths.is_empty() {
                    Selection::All
                } else {
                    Selection::Paths(paths.clone())
                },
                delete_extra: true,
                guard,
            }),
            Self::Undo { opening, closing, all } => vault.plan_undo(&UndoRequest {
                opening: *opening,
                closing: *closing,
                root: target.to_owned(),
                all: *all,
                guard,
            }),
        }
    }
}

impl Vaults {
    /// What a restore into an existing directory would do.
    pub(crate) async fn plan(
        &self,
        folder: &Folder,
        what: &Restoring,
        target: &Path,
    ) -> Result<PlanView, ApiError> {
        let vault = self.vault(folder).await?;
        let (what, target) = (what.clone(), target.to_owned());
        let plan = blocking(move || what.plan(&vault, &target, Guard::Promised)).await;
        plan.map(|plan| view(&plan)).map_err(|error| vault_error(&error))
    }

    /// What a restore into a directory that does not exist yet would do: make everything.
    pub(crate) async fn plan_new(
        &self,
        folder: &Folder,
        what: &Restoring,
        target: &Path,
    ) -> Result<PlanView, ApiError> {
        let scratch = tempfile::tempdir().map_err(|error| {
            ApiError::from_source(
                ringfence_model::error::ErrorKind::Failed,
                "no scratch directory",
                &error,
            )
        })?;
        let mut plan = self.plan(folder, what, scratch.path()).await?;
        plan.target = target.display().to_string();
        Ok(plan)
    }

    /// Carries out a restore. `before` is the snapshot that keeps what goes; without it
    /// nothing is taken away. The caller holds the turn.
    pub(crate) async fn apply(
        &self,
        folder: &Folder,
        what: &Restoring,
        target: &Path,
        before: Option<&str>,
        report: &Report,
    ) -> Result<PlanView, ApiError> {
        let vault = self.vault(folder).await?;
        let guard = match before {
            Some(before) => Guard::Snapshot(self.find(folder, before).await?.id),
            None => Guard::Nothing,
        };
        let staging = self.staging(folder, target);
        let progress = convert::progress(report, "putting back".into());
        let (what, target) = (what.clone(), target.to_owned());
        let outcome = blocking(move || {
            let plan = what.plan(&vault, &target, guard)?;
            let mut shown = view(&plan);
            let report = vault.apply(&plan, &staging, Some(progress), Cancel::default())?;
            shown.conflicts =
                report.kept_conflicts.iter().map(|kept| byte_path(&kept.path)).collect();
            shown.notes.extend(kept_notes(report.kept_conflicts.iter().map(|kept| kept.why)));
            shown.notes.extend(report.imperfect.iter().take(10).map(|remark| {
                format!("{}: {}", ringfence_model::bytes::visible(&remark.path.lossy()), remark.why)
            }));
            Ok(shown)
        });
        outcome.await.map_err(|error| vault_error(&error))
    }

    /// Completes a restore that a crash interrupted; false when there was none.
    pub(crate) async fn resume(&self, folder: &Folder) -> Result<bool, ApiError> {
        let staging = self.staging(folder, &folder.path);
        if !staging.exists() {
            return Ok(false);
        }
        let _turn = self.turn(&folder.id).await;
        let outcome = blocking(move || ringfence_vault::resume_restore(&staging, None));
        outcome.await.map(|report| report.is_some()).map_err(|error| vault_error(&error))
    }

    /// Where a restore prepares its entries: in the state directory where that is the
    /// target's file system, else beside the target. No share can show either.
    pub(super) fn staging(&self, folder: &Folder, target: &Path) -> PathBuf {
        use std::os::unix::fs::MetadataExt;
        let device = |path: &Path| std::fs::metadata(path).map(|facts| facts.dev()).ok();
        match target.parent() {
            Some(parent) if device(&self.layout.state) != device(target) => {
                parent.join(format!(".ringfence-staging-{}", folder.id))
            }
            _ => self.layout.staging(&folder.id),
        }
    }
}

fn view(plan: &RestorePlan) -> PlanView {
    let paths = |entries: &[Entry]| -> Vec<BytePath> {
        entries.iter().map(|entry| byte_path(&entry.path)).collect()
    };
    let mut notes = kept_notes(plan.kept_conflicts.iter().map(|kept| kept.why));
    if !plan.unreadable.is_empty() {
        notes.push(format!(
            "{} entries could not be looked at and stay as they are",
            plan.unreadable.len()
        ));
    }
    PlanView {
        snapshot: plan.snapshot.to_string(),
        target: plan.target.display().to_string(),
        create: paths(&plan.created),
        replace: paths(&plan.replaced),
        delete: paths(&plan.deleted),
        metadata: paths(&plan.metadata_only),
        conflicts: plan.kept_conflicts.iter().map(|kept| byte_path(&kept.path)).collect(),
        bytes: plan.bytes,
        notes,
        applied: false,
        before: None,
    }
}

/// One sentence for each reason for which entries are left alone.
fn kept_notes(reasons: impl Iterator<Item = ConflictWhy>) -> Vec<String> {
    let mut notes: Vec<String> = Vec::new();
    for reason in reasons {
        let note = match reason {
            ConflictWhy::ChangedSince => {
                "paths that changed on the host after the session are kept as they are now; --all puts them back too"
            }
            ConflictWhy::HeldByNoSnapshot => {
                "paths whose present version no snapshot holds are kept"
            }
            ConflictWhy::ChangedMeanwhile => {
                "paths that changed while this was carried out are kept"
            }
            ConflictWhy::NotEmpty => "directories that still hold kept entries stay",
            ConflictWhy::Obstructed => {
                "paths whose place is taken by something else could not be put back"
            }
        };
        if !notes.iter().any(|known| known == note) {
            notes.push(note.to_owned());
        }
    }
    notes
}
