//! What a restore is to reach, and what is put back for it by what the vault and the journals
//! say at the moment at which it is done.
//!
//! Must not: write into a folder.

use jiff::Timestamp;
use ringfence_model::bytes::visible;
use ringfence_model::error::{ApiError, ErrorKind};
use ringfence_model::folder::Folder;
use ringfence_model::history::{PlanView, SnapshotKind};
use ringfence_model::name::SessionId;
use ringfence_vault::{Snapshot, SnapshotId};

use super::moments::{Moment, Pieces};
use super::protect::Want;
use super::report::Report;
use super::{Daemon, failed};
use crate::vaults::{Of, Restoring};

/// What a restore is to reach.
pub(super) enum Goal {
    /// What a snapshot has; no paths: all of it.
    State { snapshot: Snapshot, paths: Vec<Vec<u8>> },
    /// What was there at a moment.
    Moment { moment: Moment, paths: Vec<Vec<u8>> },
    /// What a session changed, or what it changed after a time.
    Undo {
        opening: Snapshot,
        closing: Option<SnapshotId>,
        all: bool,
        since: Option<Timestamp>,
        paths: Vec<Vec<u8>>,
    },
    /// What a session deleted.
    Deletions { session: SessionId, opening: Snapshot, paths: Vec<Vec<u8>> },
    /// A path that is gone; the snapshot is the newest that has it.
    Undelete { snapshot: Option<Snapshot>, path: Vec<u8> },
}

/// What is put back.
pub(super) struct Settled {
    pub(super) what: Restoring,
    /// When its snapshot was taken.
    taken: Timestamp,
    moment: Option<Timestamp>,
    said: Pieces,
}

impl Settled {
    pub(super) fn explained(&self, mut plan: PlanView) -> PlanView {
        plan.snapshot_time = Some(self.taken);
        plan.moment = self.moment;
        self.said.explain(&mut plan);
        plan
    }
}

impl Daemon {
    /// A snapshot of the folder as it is, where a goal needs one: a session that is not over
    /// has said what was, but not what is. The caller holds the folder's turn.
    pub(super) async fn present(
        &self,
        folder: &Folder,
        goal: &Goal,
        report: &Report,
    ) -> Result<Option<String>, ApiError> {
        let sessions = self.store.sessions().map_err(failed)?;
        let mut here = sessions.iter().filter(|one| one.folder.as_ref() == Some(&folder.id));
        if matches!(goal, Goal::State { .. }) || here.all(|session| session.state.is_final()) {
            return Ok(None);
        }
        let guard = self.protect.guard(folder);
        let want = Want::whole(SnapshotKind::Periodic);
        self.snapshot_in_turn(&guard, want, report).await.map(|view| Some(view.id))
    }

    /// What is put back for a goal. `present` is a snapshot of the folder as it is. The caller
    /// holds the folder's turn.
    ///
    /// # Errors
    /// When a journal or the vault cannot be read, or there is no such state.
    pub(super) async fn settle(
        &self,
        folder: &Folder,
        goal: &Goal,
        present: Option<&str>,
    ) -> Result<Settled, ApiError> {
        let state = |snapshot, pieces, paths: &[Vec<u8>]| {
            let of = Of::Below(paths.to_vec());
            Restoring::State { snapshot, pieces, of }
        };
        match goal {
            Goal::State { snapshot, paths } => {
                let what = state(snapshot.id, Vec::new(), paths);
                Ok(Settled { what, taken: snapshot.time, moment: None, said: Pieces::default() })
            }
            Goal::Moment { moment, paths } => {
                let mut laid = self.moment(folder, moment, present).await?;
                let what = state(laid.snapshot, laid.said.take(), paths);
                Ok(Settled { what, taken: laid.taken, moment: laid.at, said: laid.said })
            }
            Goal::Undo { opening, closing, all, since, paths } => {
                let (snapshot, taken, moment, mut said) = match since {
                    Some(since) => {
                        let laid = self.moment(folder, &Moment::Time(*since), present).await?;
                        (laid.snapshot, laid.taken, laid.at, laid.said)
                    }
                    None => (opening.id, opening.time, None, Pieces::default()),
                };
                let pieces = said.take();
                let what = match closing {
                    Some(closing) => Restoring::Undo {
                        opening: snapshot,
                        pieces,
                        closing: *closing,
                        all: *all,
                        paths: paths.clone(),
                    },
                    // Without a closing snapshot nobody can tell who changed what.
                    None => state(snapshot, pieces, paths),
                };
                Ok(Settled { what, taken, moment, said })
            }
            Goal::Deletions { session, opening, paths } => {
                let journal = self.journal_of(folder, session).await?.ok_or_else(|| {
                    let what = format!(
                        "session {session} has no journal, so nobody can tell what it deleted"
                    );
                    ApiError::new(ErrorKind::Failed, what)
                        .hint(format!("everything that it changed: ringfence undo {session}"))
                })?;
                let mut said = self.deletions(folder, &journal, (paths, false), present).await?;
                let what = missing(opening.id, &mut said);
                Ok(Settled { what, taken: opening.time, moment: None, said })
            }
            Goal::Undelete { snapshot, path } => {
                self.settle_undelete(folder, snapshot.as_ref(), path, present).await
            }
        }
    }

    async fn settle_undelete(
        &self,
        folder: &Folder,
        snapshot: Option<&Snapshot>,
        path: &[u8],
        present: Option<&str>,
    ) -> Result<Settled, ApiError> {
        let paths = [path.to_vec()];
        let mut said = Pieces::default();
        // What was made, or changed, and removed since the snapshot.
        let from = snapshot.map_or(Timestamp::MIN, |snapshot| snapshot.time);
        for journal in self.journals_over(folder, from, Timestamp::MAX).await? {
            said.add(self.deletions(folder, &journal, (&paths, true), present).await?);
        }
        let known = snapshot.is_some();
        let base = match snapshot {
            Some(snapshot) => snapshot.clone(),
            None if !said.pieces.is_empty() => self.vaults.find(folder, "latest").await?,
            None => {
                let path = visible(&String::from_utf8_lossy(path));
                let what = format!("no snapshot of {} has `{path}`", folder.path.display());
                return Err(ApiError::new(ErrorKind::Vault, what).hint(
                    "which paths were there: ringfence diff SNAPSHOT --stat · ringfence show SNAPSHOT DIR",
                ));
            }
        };
        let what = if known {
            let of = Of::Below(paths.to_vec());
            Restoring::State { snapshot: base.id, pieces: said.take(), of }
        } else {
            missing(base.id, &mut said)
        };
        Ok(Settled { what, taken: base.time, moment: None, said })
    }
}

/// Exactly what is said, where nothing is.
fn missing(snapshot: SnapshotId, said: &mut Pieces) -> Restoring {
    let pieces = said.take();
    let of = Of::Missing(pieces.iter().map(|piece| piece.path.clone()).collect());
    Restoring::State { snapshot, pieces, of }
}
