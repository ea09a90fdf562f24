//! Releasing what the exit check holds back: a plan first, then the sessions' versions, where
//! the host has not made another one meanwhile.

use std::sync::Arc;

use ringfence_model::api::ApproveRequest;
use ringfence_model::error::ApiError;
use ringfence_model::exit_check::{ApproveView, HeldPath};
use ringfence_model::history::PlanView;

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
