//! Plans and restores, in the words of the API. The work is done by a process of its own.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use ringfence_model::bytes::{BytePath, visible};
use ringfence_model::error::{ApiError, ErrorKind};
use ringfence_model::folder::Folder;
use ringfence_model::history::PlanView;
use ringfence_vault::{
    ConflictWhy, Entry, EntryPath, Guard, Piece, RestorePlan, RestoreRequest, Selection,
    SnapshotId, UndoRequest, Vault, VaultError,
};
use serde::{Deserialize, Serialize};

use super::work::{self, Act, Outcome, Place, Said};
use super::{Vaults, byte_path, vault_error};
use crate::host::task::{self, TaskError};
use crate::supervisor::report::Report;

/// What is put back.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum Restoring {
    /// A state: all of it, or some of its paths.
    State {
        /// Which.
        snapshot: SnapshotId,
        /// What the state has instead of what the snapshot has.
        pieces: Vec<Piece>,
        /// Which paths.
        of: Of,
    },
    /// What changed from one state to the other.
    Undo {
        /// The state before.
        opening: SnapshotId,
        /// What that state has instead of what its snapshot has.
        pieces: Vec<Piece>,
        /// The state after it.
        closing: SnapshotId,
        /// Also what the host changed since.
        all: bool,
        /// Only these paths and what lies below them; empty: everything.
        paths: Vec<Vec<u8>>,
    },
}

/// Of which paths a state is put back.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum Of {
    /// Of these, and of what lies below them; empty: everything.
    Below(Vec<Vec<u8>>),
    /// Of exactly these, where nothing is.
    Missing(BTreeSet<Vec<u8>>),
}

fn selection(paths: &[Vec<u8>]) -> Selection {
    if paths.is_empty() { Selection::All } else { Selection::Paths(paths.to_vec()) }
}

impl Restoring {
    /// The plan, and what of the state is nowhere.
    pub(super) fn plan(
        &self,
        vault: &Vault,
        target: &Path,
        guard: Guard,
    ) -> Result<(RestorePlan, Vec<EntryPath>), VaultError> {
        let (base, pieces) = match self {
            Self::State { snapshot, pieces, .. } => (snapshot, pieces),
            Self::Undo { opening, pieces, .. } => (opening, pieces),
        };
        let state = if pieces.is_empty() { None } else { Some(vault.compose(*base, pieces)?) };
        let plan = match self {
            Self::State { snapshot, of, .. } => {
                let (selection, delete_extra) = match of {
                    Of::Below(paths) => {
                        if state.is_none() {
                            refuse_missing(vault, *snapshot, paths)?;
                        }
                        (selection(paths), true)
                    }
                    Of::Missing(paths) => (Selection::Exactly(paths.clone()), false),
                };
                let target = target.to_owned();
                let snapshot = *snapshot;
                let request = RestoreRequest { snapshot, target, selection, delete_extra, guard };
                match &state {
                    Some(state) => vault.plan_restore_composed(&request, state),
                    None => vault.plan_restore(&request),
                }
            }
            Self::Undo { opening, closing, all, paths, .. } => {
                let request = UndoRequest {
                    opening: *opening,
                    closing: *closing,
                    root: target.to_owned(),
                    selection: selection(paths),
                    all: *all,
                    guard,
                };
                match &state {
                    Some(state) => vault.plan_undo_composed(&request, state),
                    None => vault.plan_undo(&request),
                }
            }
        };
        Ok((plan?, state.map(|state| state.lacking).unwrap_or_default()))
    }
}

/// A path that the state does not have is a mistake. Where a journal says what was at a moment
/// it is not: what was made since is to go.
fn refuse_missing(
    vault: &Vault,
    snapshot: SnapshotId,
    paths: &[Vec<u8>],
) -> Result<(), VaultError> {
    paths.iter().try_for_each(|path| vault.node(snapshot, path).map(drop))
}

impl Vaults {
    /// What a restore into an existing directory would do.
    pub(crate) async fn plan(
        &self,
        folder: &Folder,
        what: &Restoring,
        target: &Path,
    ) -> Result<PlanView, ApiError> {
        let vault = self.place(folder).await?;
        let act = Act::Plan { vault, what: what.clone(), target: target.to_owned() };
        let heard = self.work(&act, &Report::nobody()).await?;
        heard.planned.ok_or_else(nothing_said)
    }

    /// What a restore into a directory that does not exist yet would do: make everything.
    pub(crate) async fn plan_new(
        &self,
        folder: &Folder,
        what: &Restoring,
        target: &Path,
    ) -> Result<PlanView, ApiError> {
        let scratch = tempfile::tempdir().map_err(|error| {
            ApiError::from_source(ErrorKind::Failed, "no scratch directory", &error)
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
        let before = match before {
            Some(before) => Some(self.find(folder, before).await?.id),
            None => None,
        };
        let staging = self.staging(folder, target);
        let act = Act::Apply {
            vault: self.place(folder).await?,
            what: what.clone(),
            target: target.to_owned(),
            before,
            staging: staging.clone(),
        };
        let mut heard = Heard::default();
        let ended = self.listen(&act, &mut heard, report).await;
        if let Some(error) = heard.failed {
            return Err(error);
        }
        let mut plan = heard.planned.unwrap_or_default();
        match (ended, heard.done) {
            (Ok(()), Some(done)) => {
                let mut known: BTreeSet<BytePath> = plan.conflicts.iter().cloned().collect();
                let new = done.conflicts.into_iter().filter(|path| known.insert(path.clone()));
                plan.conflicts.extend(new);
                plan.notes.extend(done.notes);
                Ok(plan)
            }
            (Ok(()), None) => Err(nothing_said()),
            // It was killed, or the library panicked: either nothing has happened yet, or its
            // log is there and it is finished from that.
            (Err(error), _) => {
                tracing::error!(%error, folder = %folder.path.display(), "a restore was cut short");
                if self.resume(&staging).await? {
                    plan.notes.push(format!("{error}; it was completed from its log"));
                    return Ok(plan);
                }
                Err(cut_short(&error).hint("nothing was changed; try again"))
            }
        }
    }

    /// Refuses a restore into a directory that has no place for its preparation.
    pub(crate) fn can_stage(&self, folder: &Folder, target: &Path) -> Result<(), ApiError> {
        let staging = self.staging(folder, target);
        ringfence_vault::check_staging(&staging, target).map_err(|error| vault_error(&error))
    }

    /// Completes a restore into a directory that a crash interrupted; false when there was
    /// none. The caller holds the turn.
    pub(crate) async fn finish(&self, folder: &Folder, target: &Path) -> Result<bool, ApiError> {
        self.resume(&self.staging(folder, target)).await
    }

    async fn resume(&self, staging: &Path) -> Result<bool, ApiError> {
        if !work::is_begun(staging) {
            return Ok(false);
        }
        let act = Act::Resume { staging: staging.to_owned() };
        self.work(&act, &Report::nobody()).await?.resumed.ok_or_else(nothing_said)
    }

    /// The vault as another process finds it; made if it is missing.
    async fn place(&self, folder: &Folder) -> Result<Place, ApiError> {
        self.vault(folder).await?;
        Ok(Place {
            directory: self.layout.vault(&folder.id),
            key_file: self.layout.vault_key(&folder.id),
        })
    }

    /// Has the restore process do something, to its end.
    async fn work(&self, act: &Act, report: &Report) -> Result<Heard, ApiError> {
        let mut heard = Heard::default();
        let ended = self.listen(act, &mut heard, report).await;
        match (heard.failed.take(), ended) {
            (Some(error), _) => Err(error),
            (None, Err(error)) => Err(cut_short(&error)),
            (None, Ok(())) => Ok(heard),
        }
    }

    async fn listen(&self, act: &Act, heard: &mut Heard, report: &Report) -> Result<(), TaskError> {
        let log = self.layout.restore_log();
        task::run("restore", act, &log, |said| match said {
            Said::Progress(progress) => report.progress(progress.what, progress.fraction),
            Said::Note(note) => report.note(note),
            Said::Warning(warning) => report.warning(warning),
            Said::Planned(plan) => heard.planned = Some(*plan),
            Said::Done(done) => heard.done = Some(done),
            Said::Resumed(resumed) => heard.resumed = Some(resumed),
            Said::Failed(error) => heard.failed = Some(error),
        })
        .await
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

/// What a restore process has said.
#[derive(Default)]
struct Heard {
    planned: Option<PlanView>,
    done: Option<Outcome>,
    resumed: Option<bool>,
    failed: Option<ApiError>,
}

fn cut_short(error: &TaskError) -> ApiError {
    let mut api = ApiError::new(ErrorKind::Vault, error.to_string());
    if let Some(source) = std::error::Error::source(error) {
        api.causes.push(source.to_string());
    }
    api.hint("ringfence daemon logs")
}

fn nothing_said() -> ApiError {
    ApiError::new(ErrorKind::Vault, "the restore process ended without a word")
        .hint("ringfence daemon logs")
}

pub(super) fn view(plan: &RestorePlan, lacking: &[EntryPath]) -> PlanView {
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
    if let Some(first) = lacking.first() {
        notes.push(format!(
            "{} paths had a version that is neither kept nor in a snapshot, {} among them: they are taken from \
             the snapshot instead",
            lacking.len(),
            visible(&first.lossy())
        ));
    }
    PlanView {
        snapshot: plan.snapshot.to_string(),
        snapshot_time: None,
        moment: None,
        sources: Vec::new(),
        target: plan.target.display().to_string(),
        paths: Vec::new(),
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
pub(super) fn kept_notes(reasons: impl Iterator<Item = ConflictWhy>) -> Vec<String> {
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
