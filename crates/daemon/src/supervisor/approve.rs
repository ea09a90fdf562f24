//! Releasing what the exit check holds back: a plan first, then the sessions' versions, where
//! the host has not made another one meanwhile. Also that what is in a folder is taken for
//! nothing but the folder's own.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ringfence_model::admit::Held;
use ringfence_model::api::ApproveRequest;
use ringfence_model::error::{ApiError, ErrorKind};
use ringfence_model::exit_check::{ApproveView, HeldPath};
use ringfence_model::folder::Folder;
use ringfence_model::history::PlanView;
use ringfence_model::name::FolderId;

use super::exit_check::{by_states, nothing_held};
use super::report::Report;
use super::{Daemon, failed};

impl Daemon {
    /// Puts what is held back into the folder, or forgets it.
    ///
    /// # Errors
    /// When nothing is held, the present state cannot be saved first, or writing fails.
    pub async fn approve(
        self: &Arc<Self>,
        request: ApproveRequest,
        report: &Report,
    ) -> Result<ApproveView, ApiError> {
        let folder = self.registered(&request.folder)?;
        if request.contents {
            return self.approve_contents(&folder, request.dry_run).await;
        }
        let mut held = self.store.held(&folder.id).map_err(failed)?.paths;
        if let Some(agreed) = &request.agreed {
            held.retain(|held| agreed.contains(&held.path));
        }
        if held.is_empty() {
            return Err(nothing_held(&folder));
        }
        let mut plan =
            PlanView { target: folder.path.display().to_string(), ..PlanView::default() };
        plan.paths = held.iter().map(|held| held.path.clone()).collect();
        if request.drop {
            plan.applied = !request.dry_run;
            if plan.applied {
                self.forget_held(&folder, &held)?;
            }
            return Ok(ApproveView { held, plan });
        }
        for ((before, after), paths) in by_states(&held) {
            let goal = self.between(&folder, (&before, &after), &paths, request.all).await?;
            let part = self.restore_here(&folder, &goal, request.dry_run, report).await?;
            if part.applied {
                // What the host has made of a path meanwhile is its own, until that is settled.
                let gone: Vec<HeldPath> =
                    paths.into_iter().filter(|held| !is_left(held, &part)).collect();
                self.forget_held(&folder, &gone)?;
            }
            add(&mut plan, part);
        }
        if !request.dry_run {
            held.retain(|held| !is_left(held, &plan));
        }
        Ok(ApproveView { held, plan })
    }

    /// Forgets what sessions may have left in a folder, and in folders in it: somebody has
    /// looked, and says that whoever may see the folder may see what is in it.
    async fn approve_contents(
        &self,
        folder: &Folder,
        dry_run: bool,
    ) -> Result<ApproveView, ApiError> {
        let _one_at_a_time = self.admission.lock().await;
        let facts = self.facts(&self.config.last_good())?;
        let place = facts.mounts.place(&folder.path);
        let in_it = |id: &FolderId| {
            facts.folders.iter().any(|known| known.id == *id && place.holds(&known.place))
        };
        if facts.open.iter().any(|open| open.folder.as_ref().is_some_and(in_it)) {
            let what = format!("a session is at work in {}", folder.path.display());
            return Err(ApiError::new(ErrorKind::Failed, what).hint("ringfence session list"));
        }
        let (looked_at, carried): (Vec<_>, Vec<_>) =
            facts.carried.iter().cloned().partition(|carrier| place.holds(&carrier.place));
        let others: BTreeSet<&FolderId> = looked_at
            .iter()
            .flat_map(|carrier| carrier.holds.folders())
            .filter(|id| !in_it(id))
            .collect();
        let path = |id: &FolderId| {
            let known = facts.folders.iter().find(|known| known.id == *id);
            known.map_or_else(|| id.to_string(), |known| known.place.path.display().to_string())
        };
        let target = folder.path.display().to_string();
        let mut plan = PlanView { target, ..PlanView::default() };
        plan.notes = others
            .into_iter()
            .map(|id| format!("it may hold something of {}, which a session had seen", path(id)))
            .collect();
        if !dry_run {
            let held = Held { machines: BTreeMap::new(), carried };
            self.write_held(&facts, &held)?;
            plan.applied = true;
        }
        Ok(ApproveView { held: Vec::new(), plan })
    }
}

/// Whether a held path was left alone, because the host has another version of it.
fn is_left(held: &HeldPath, plan: &PlanView) -> bool {
    plan.conflicts.iter().any(|path| held.covers(path))
}

/// One plan of several.
fn add(plan: &mut PlanView, part: PlanView) {
    plan.create.extend(part.create);
    plan.replace.extend(part.replace);
    plan.delete.extend(part.delete);
    plan.metadata.extend(part.metadata);
    plan.conflicts.extend(part.conflicts);
    plan.bytes += part.bytes;
    plan.notes.extend(part.notes);
    plan.applied |= part.applied;
    // The first snapshot before it is the one that takes all of it back.
    plan.before = plan.before.take().or(part.before);
    plan.snapshot = part.snapshot;
}
