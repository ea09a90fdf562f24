//! Letting snapshots go and freeing what only they needed. Owns the order of a run and
//! its guards; which snapshots go is the caller's decision, shown to a person before.
//!
//! A run is alone (it holds the writer's lock), begins with a vault that is whole, and
//! has two phases: what is not needed any more is marked in this run, and removed by one
//! that comes at least [`PruneRequest::marked_for`] later. Before anything is removed the
//! vault is checked as it will be; a run that is killed or fails leaves every snapshot
//! that is listed whole.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use rustic_core::repofile::SnapshotId as EngineId;
use rustic_core::{FileType, PruneOptions, WriteBackend};
use serde::Serialize;

use crate::catalog::{self, SnapshotId, SnapshotKind};
use crate::check::CheckRequest;
use crate::engine::{Engine, Repo};
use crate::error::{Result, VaultError};
use crate::removal::Removal;
use crate::verify::examine::{Opening, examine};
use crate::watch::{Cancel, Progress, Step, Watch};

/// What to let go of.
#[derive(Clone)]
pub struct PruneRequest {
    /// Snapshots to forget; one that is gone already is no error.
    pub forget: Vec<SnapshotId>,
    /// How long data stays marked before a later run removes it. Readers that began
    /// before the marking have this long to finish.
    pub marked_for: Duration,
    /// Receives progress.
    pub progress: Option<Arc<dyn Progress>>,
    /// Stops it, until the first file is removed.
    pub cancel: Cancel,
}

impl PruneRequest {
    /// A day but an hour, so that a daily run finds what the last one marked.
    pub const MARKED_FOR: Duration = Duration::from_hours(23);

    /// A request without progress.
    #[must_use]
    pub fn new(forget: Vec<SnapshotId>) -> Self {
        Self { forget, marked_for: Self::MARKED_FOR, progress: None, cancel: Cancel::default() }
    }
}

/// What a run would free, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct PruneForecast {
    /// Freed by this run: marked by an earlier one, long enough ago.
    pub now: u64,
    /// Freed by a later run: not needed any more, marked by this one or still waiting.
    pub later: u64,
    /// Rewritten by this run, because it shares files with what is not needed any more:
    /// so much room is needed meanwhile.
    pub rewritten: u64,
}

/// What a run did.
#[derive(Clone, Debug, Serialize)]
pub struct PruneReport {
    /// Snapshots that were forgotten.
    pub forgotten: Vec<SnapshotId>,
    /// Bytes that were freed.
    pub freed: u64,
    /// Bytes that a later run can free.
    pub marked: u64,
}

/// What a run would free if it forgot these snapshots. Changes nothing.
pub(crate) fn forecast(engine: &Engine, request: &PruneRequest) -> Result<PruneForecast> {
    let repo = engine.repo()?;
    let mut options = options(request)?;
    options.ignore_snaps = request.forget.iter().map(|id| EngineId::from(id.0)).collect();
    let plan = engine.run("planning a prune", || repo.prune_plan(&options))?;
    let (marked, unneeded) = (plan.stats.size_to_delete, plan.stats.size_sum());
    Ok(PruneForecast {
        now: marked.remove,
        later: marked.keep + unneeded.remove + unneeded.repackrm,
        rewritten: unneeded.repack.saturating_sub(unneeded.repackrm),
    })
}

/// Does it. The caller holds the writer's lock.
pub(crate) fn prune(engine: &Engine, request: &PruneRequest) -> Result<PruneReport> {
    engine.storage.refuse_stock_restic()?;
    supervised(engine, request, sweep)
}

/// Forgets, lets `sweep` mark and remove, and believes none of it: what is left is
/// checked before the first file is gone.
fn supervised(
    engine: &Engine,
    request: &PruneRequest,
    sweep: impl FnOnce(&Engine, &PruneOptions, &Watch) -> Result<()>,
) -> Result<PruneReport> {
    let watch = Watch { progress: request.progress.clone(), cancel: request.cancel.clone() };
    refuse_damage(engine, "nothing was removed")?;
    watch.step(Step::Checked);
    let forget = forgettable(engine, &request.forget)?;
    watch.cancel.check()?;
    let removal = Removal::permit(&engine.storage);
    for id in &forget {
        engine.run("forgetting a snapshot", || {
            engine.storage.remove(FileType::Snapshot, &id.0, false)
        })?;
    }
    let swept = sweep(engine, &options(request)?, &watch);
    // Packs that a failed sweep wrote and no index names.
    engine.storage.release();
    swept?;
    refuse_damage(engine, "a snapshot would be harmed, so nothing was removed")?;
    watch.step(Step::Checked);
    watch.cancel.check()?;
    let freed = removal.carry_out()?;
    refuse_damage(engine, "found after a prune")?;
    watch.step(Step::Checked);
    let marked = forecast(engine, &PruneRequest { forget: Vec::new(), ..request.clone() })?;
    Ok(PruneReport { forgotten: forget, freed, marked: marked.later + marked.now })
}

/// Those of the snapshots that are still there; never the newest, so never all.
fn forgettable(engine: &Engine, wanted: &[SnapshotId]) -> Result<Vec<SnapshotId>> {
    let listed = catalog::list_all(engine, &*engine.repo()?)?;
    // One that cannot be read is not one that is gone, and may be the newest.
    if let Some(damaged) = listed.damaged.first() {
        return Err(VaultError::Damaged {
            path: engine.storage.dir().into(),
            what: format!("snapshot {}: {}; nothing was removed", damaged.id, damaged.why),
        });
    }
    let known = listed.snapshots;
    let there: BTreeSet<SnapshotId> = known.iter().map(|snapshot| snapshot.id).collect();
    let wanted: BTreeSet<SnapshotId> = wanted.iter().copied().collect();
    let mut states = known.iter().filter(|one| one.labels.kind != SnapshotKind::Kept);
    if states.next().is_some_and(|newest| wanted.contains(&newest.id)) {
        return Err(VaultError::Request("the newest snapshot is never forgotten"));
    }
    Ok(wanted.intersection(&there).copied().collect())
}

/// Marks and rewrites through the engine, which sees the vault without what is forgotten.
fn sweep(engine: &Engine, options: &PruneOptions, watch: &Watch) -> Result<()> {
    let repo: Arc<Repo> = engine.repo()?;
    let plan = engine.run("planning a prune", || repo.prune_plan(options))?;
    watch.cancel.check()?;
    engine.run("pruning", || repo.prune(options, plan))
}

fn options(request: &PruneRequest) -> Result<PruneOptions> {
    let seconds = i64::try_from(request.marked_for.as_secs())
        .map_err(|_| VaultError::Request("nothing stays marked that long"))?;
    let stay = jiff::Span::new()
        .try_seconds(seconds)
        .map_err(|_| VaultError::Request("nothing stays marked that long"))?;
    // Never instant: that is the engine's default, and is not to be set here.
    Ok(PruneOptions::default().keep_delete(stay))
}

/// A damaged vault may be mended from what looks superfluous: nothing is removed from it.
fn refuse_damage(engine: &Engine, then: &str) -> Result<()> {
    let opening = Opening::Open(&engine.master);
    let report = examine(&engine.storage, &opening, &CheckRequest::default())?.report;
    let Some(problem) = report.problems.iter().find(|_| !report.is_clean()) else { return Ok(()) };
    Err(VaultError::Damaged {
        path: engine.storage.dir().into(),
        what: format!("{}: {}; {then}", problem.name, problem.what),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Labels, SnapshotRequest, Vault, VaultKey};
    use rustic_core::ReadBackend;

    /// Whatever the engine would remove by mistake, nothing that is needed goes.
    #[test]
    fn a_sweep_that_would_harm_a_snapshot_removes_nothing() {
        let top = tempfile::tempdir().unwrap();
        let folder = top.path().join("folder");
        std::fs::create_dir(&folder).unwrap();
        let vault =
            Vault::create(&top.path().join("vault"), &VaultKey::generate().unwrap()).unwrap();
        let take = |content: &str, second| {
            std::fs::write(folder.join("file"), content).unwrap();
            let now = jiff::Timestamp::from_second(second).unwrap();
            let labels = Labels::new(SnapshotKind::Manual);
            vault.snapshot(&SnapshotRequest::new(&folder, labels, now)).unwrap().snapshot.id
        };
        let first = take("first", 1_800_000_000);
        take("second", 1_800_000_060);
        let size = vault.size().unwrap();
        let request = PruneRequest::new(vec![first]);
        let evil = |engine: &Engine, _: &PruneOptions, _: &Watch| {
            for (pack, _) in engine.storage.list_with_size(FileType::Pack).unwrap() {
                engine.storage.remove(FileType::Pack, &pack, false).unwrap();
            }
            Ok(())
        };
        let error = supervised(&vault.engine, &request, evil).unwrap_err();
        assert!(matches!(error, VaultError::Damaged { .. }), "{error:?}");
        assert_eq!(vault.size().unwrap(), size);
        assert_eq!(vault.snapshots().unwrap().snapshots.len(), 2);
        assert!(vault.check(true).unwrap().is_clean());
        let report = supervised(&vault.engine, &request, sweep).unwrap();
        assert_eq!(report.forgotten, [first]);
    }
}
