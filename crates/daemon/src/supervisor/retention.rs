//! Which snapshots stay: pins, the plan of a prune, and the prune that was agreed to.
//!
//! Owns what the choice is told about the world; the choice itself is in the model. No
//! prune runs by itself: see decision 0019.

use std::collections::BTreeSet;

use ringfence_model::error::{ApiError, ErrorKind};
use ringfence_model::folder::Folder;
use ringfence_model::history::{SnapshotKind, SnapshotView};
use ringfence_model::protection::Actor;
use ringfence_model::prune::{Judged, Pin, PinRequest, PruneRequest, PruneView};
use ringfence_model::retention::{Candidate, Fate, SessionEnds, choose};
use ringfence_model::status::{Problem, Severity};

use super::report::Report;
use super::{Daemon, failed, folders};
use crate::host::clock;
use crate::store::Shrunken;
use crate::vaults;

/// No reason for a pin is longer, in characters.
const LONGEST_REASON: usize = 200;

impl Daemon {
    /// Pins a snapshot: no prune lets it go. One that is pinned keeps its first reason.
    ///
    /// # Errors
    /// When it cannot be written down.
    pub(super) fn pin(
        &self,
        folder: &Folder,
        snapshot: &str,
        reason: &str,
        by: Option<Actor>,
    ) -> Result<(), ApiError> {
        let pin = Pin {
            snapshot: snapshot.to_owned(),
            reason: reason.chars().take(LONGEST_REASON).collect(),
            at: clock::now(),
            by,
        };
        self.change_acts(folder, |acts| {
            if !acts.pins.iter().any(|known| known.snapshot == pin.snapshot) {
                acts.pins.push(pin);
            }
        })
    }

    /// Pins the last full snapshot of a folder that suddenly lost most of its files.
    pub(super) fn pin_full(&self, folder: &Folder, shrunken: &Shrunken) {
        let held = shrunken.held.files;
        let reason = format!("the last before {held} files became {}", shrunken.left);
        if let Err(error) = self.pin(folder, &shrunken.snapshot, &reason, None) {
            // No prune lets it go all the same, as long as the alarm stands.
            tracing::error!(folder = %folder.id, %error, "the last full snapshot could not be pinned");
        }
    }

    /// Pins a snapshot for a person, or takes its pin away.
    ///
    /// # Errors
    /// When there is no such snapshot, it is not pinned, or it cannot be written down.
    pub async fn set_pin(&self, request: &PinRequest, by: Actor) -> Result<SnapshotView, ApiError> {
        let folder = self.registered(&request.folder)?;
        let found = self.vaults.find(&folder, &request.snapshot).await?;
        let id = found.id.to_string();
        let pinned = |acts: &crate::store::FolderActs| acts.pins.iter().any(|p| p.snapshot == id);
        if request.pinned {
            let reason = request.reason.as_deref().unwrap_or("by hand");
            self.pin(&folder, &id, reason, Some(by))?;
        } else {
            let (_, acts) = self.standing_and_acts(&folder);
            if !pinned(&acts) {
                let short = found.id.short();
                return Err(ApiError::new(
                    ErrorKind::Failed,
                    format!("snapshot {short} is not pinned"),
                )
                .hint("ringfence history"));
            }
            tracing::warn!(folder = %folder.path.display(), snapshot = %id, %by, "unpinned");
            self.change_acts(&folder, |acts| acts.pins.retain(|pin| pin.snapshot != id))?;
        }
        let (mut snapshots, _) = self.vaults.snapshots(&folder).await?;
        self.mark_pinned(&folder, &mut snapshots);
        let view = snapshots.into_iter().find(|snapshot| snapshot.id == id);
        view.ok_or_else(|| ApiError::new(ErrorKind::Vault, format!("snapshot {id} is gone")))
    }

    /// Writes into a list of snapshots which of them are pinned.
    pub(super) fn mark_pinned<'a>(
        &self,
        folder: &Folder,
        snapshots: impl IntoIterator<Item = &'a mut SnapshotView>,
    ) {
        let (_, acts) = self.standing_and_acts(folder);
        for snapshot in snapshots {
            let pin = acts.pins.iter().find(|pin| pin.snapshot == snapshot.id);
            snapshot.pinned = pin.map(|pin| pin.reason.clone());
        }
    }

    /// Pinned snapshots that are not in the vault any more: somebody else removed them.
    pub(super) fn lost_pins(&self, folder: &Folder) -> Option<Problem> {
        let (_, acts) = self.standing_and_acts(folder);
        let snapshots = self.layout.vault(&folder.id).join("snapshots");
        let lost = acts.pins.iter().find(|pin| !snapshots.join(&pin.snapshot).exists())?;
        let short: String = lost.snapshot.chars().take(8).collect();
        Some(Problem {
            severity: Severity::Error,
            message: format!(
                "{}: the pinned snapshot {short} ({}) is not in the vault any more; not Ringfence removed it",
                folder.path.display(),
                lost.reason
            ),
            command: Some(format!("ringfence backup check {}", folder.path.display())),
        })
    }

    /// Shows what may go, or lets go what was agreed to.
    ///
    /// # Errors
    /// When the vault is damaged or in use: then nothing was removed.
    pub async fn prune(
        &self,
        request: PruneRequest,
        report: &Report,
    ) -> Result<PruneView, ApiError> {
        let folder = self.registered(&request.folder)?;
        let Some(agreed) = request.agreed else { return self.plan_prune(&folder, None).await };
        // Alone from the choice on: what is chosen is what is there when it goes.
        let _turn = self.vaults.turn(&folder.id).await;
        report.progress("choosing what may go", None);
        let plan = self.plan_prune(&folder, Some(&agreed)).await?;
        let forget: Vec<String> = plan.forget.iter().map(|judged| judged.id.clone()).collect();
        tracing::warn!(folder = %folder.path.display(), snapshots = forget.len(), "pruning, as a person agreed");
        report.progress("pruning and checking the vault", None);
        let done = self.vaults.prune_in_turn(&folder, &forget, report).await?;
        Ok(PruneView { freed_now: done.freed, freed_later: done.marked, applied: true, ..plan })
    }

    /// The plan; of what may go only what was agreed to, where that was asked.
    async fn plan_prune(
        &self,
        folder: &Folder,
        agreed: Option<&[String]>,
    ) -> Result<PruneView, ApiError> {
        let (mut snapshots, damaged) = self.vaults.snapshots(folder).await?;
        if let Some(sentence) = damaged.into_iter().next() {
            return Err(ApiError::new(
                ErrorKind::Vault,
                format!("nothing is removed from a damaged vault: {sentence}"),
            )
            .hint(format!("ringfence backup check {}", folder.path.display())));
        }
        self.mark_pinned(folder, &mut snapshots);
        let config = self.config.current()?;
        let rules = folders::rules_of(&folder.path, &config);
        let rule = config.keep_of(&rules);
        let candidates = self.candidates(folder, &snapshots)?;
        let decisions =
            choose(&candidates, &self.session_ends(folder)?, clock::now(), &clock::zone(), rule);
        let (mut keep, mut forget) = (Vec::new(), Vec::new());
        for (decision, snapshot) in decisions.iter().zip(&snapshots) {
            match &decision.fate {
                Fate::Keep(why) => {
                    let why = why.iter().map(ToString::to_string).collect();
                    keep.push(Judged::new(snapshot, why));
                }
                Fate::Drop(_) if agreed.is_some_and(|agreed| !agreed.contains(&snapshot.id)) => {
                    keep.push(Judged::new(snapshot, vec!["it was not in the plan".to_owned()]));
                }
                Fate::Drop(why) => forget.push(Judged::new(snapshot, vec![why.to_string()])),
            }
        }
        self.judge_kept(folder, &snapshots, (&mut keep, &mut forget), agreed).await?;
        let ids: Vec<String> = forget.iter().map(|judged| judged.id.clone()).collect();
        let forecast = self.vaults.forecast_prune(folder, &ids).await?;
        Ok(PruneView {
            folder: folder.path.clone(),
            rule: rule.to_string(),
            forget,
            keep,
            vault_bytes: self.vaults.size(folder).await?,
            freed_now: forecast.now,
            freed_later: forecast.later,
            rewritten: forecast.rewritten,
            applied: false,
        })
    }

    /// What a session destroyed stays as long as the snapshot that it began or ended with does.
    async fn judge_kept(
        &self,
        folder: &Folder,
        snapshots: &[SnapshotView],
        (keep, forget): (&mut Vec<Judged>, &mut Vec<Judged>),
        agreed: Option<&[String]>,
    ) -> Result<(), ApiError> {
        let ends = self.session_ends(folder)?;
        let mut seen = BTreeSet::new();
        for kept in self.vaults.kept(folder).await? {
            let view = vaults::snapshot_view(&kept);
            let session = view.session.clone().unwrap_or_default();
            let recorded = ends.iter().filter(|ends| ends.session == session);
            // The labels speak for sessions whose records are lost.
            let labelled = snapshots.iter().filter(|one| {
                let end = matches!(one.kind, Some(SnapshotKind::Opening | SnapshotKind::Closing));
                end && one.session.as_ref() == Some(&session)
            });
            let mut ids =
                recorded.flat_map(|ends| ends.snapshots.iter()).chain(labelled.map(|one| &one.id));
            let stays = ids.any(|id| keep.iter().any(|judged| judged.id == *id));
            // Only the newest of a session has all of it.
            let newest = seen.insert(session.clone());
            if stays && newest {
                keep.push(Judged::new(&view, vec![format!("what session {session} destroyed")]));
            } else if agreed.is_some_and(|agreed| !agreed.contains(&view.id)) {
                keep.push(Judged::new(&view, vec!["it was not in the plan".to_owned()]));
            } else {
                let why = if newest {
                    format!("no snapshot of the ends of session {session} stays")
                } else {
                    format!("a newer one has all that session {session} destroyed")
                };
                forget.push(Judged::new(&view, vec![why]));
            }
        }
        Ok(())
    }

    /// Snapshots, newest first, as the choice wants to know them.
    fn candidates(
        &self,
        folder: &Folder,
        snapshots: &[SnapshotView],
    ) -> Result<Vec<Candidate>, ApiError> {
        let record = self.store.protection(&folder.id).map_err(failed)?;
        let full = record.shrunken.map(|shrunken| shrunken.snapshot);
        let alarm =
            |id: &String| (full.as_ref() == Some(id)).then(|| "the last full one".to_owned());
        Ok(snapshots
            .iter()
            .zip((0..snapshots.len() as u64).rev())
            .map(|(snapshot, order)| Candidate {
                id: snapshot.id.clone(),
                order,
                time: snapshot.time,
                kind: snapshot.kind,
                session: snapshot.session.clone(),
                pinned: snapshot.pinned.clone().or_else(|| alarm(&snapshot.id)),
                verified: record.snapshot.as_ref() == Some(&snapshot.id),
            })
            .collect())
    }

    /// The snapshots at both ends of each session in a folder, as its record says.
    fn session_ends(&self, folder: &Folder) -> Result<Vec<SessionEnds>, ApiError> {
        let sessions = self.store.sessions().map_err(failed)?;
        Ok(sessions
            .into_iter()
            .filter(|session| session.folder.as_ref() == Some(&folder.id))
            .map(|session| SessionEnds {
                session: session.id.to_string(),
                snapshots: [session.opening_snapshot, session.closing_snapshot]
                    .into_iter()
                    .flatten()
                    .collect(),
            })
            .collect())
    }
}
