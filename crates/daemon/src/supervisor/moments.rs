//! States between two snapshots, out of the journals of sessions: which journals say something
//! about a moment, and what they say in the words of the vault. What happened is worked out
//! in `keepers::moment`.
//!
//! Must not: write into a folder.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use jiff::Timestamp;
use ringfence_model::bytes::BytePath;
use ringfence_model::error::ApiError;
use ringfence_model::folder::Folder;
use ringfence_model::history::{PathSource, PlanView, SnapshotView};
use ringfence_model::name::SessionId;
use ringfence_model::session::Session;
use ringfence_share::journal::{Operation, Record};
use ringfence_vault::{Piece, PieceWhat, SnapshotId, StoredAt};

use super::journals::{Place, SessionJournal};
use super::{Daemon, failed};
use crate::host::clock;
use crate::keepers::{self, Before, What};
use crate::vaults;

/// What journals add to a snapshot.
#[derive(Debug, Default)]
pub(super) struct Pieces {
    pub(super) pieces: Vec<Piece>,
    sources: BTreeMap<Vec<u8>, String>,
    pub(super) notes: Vec<String>,
}

/// A moment: a time, or right before one operation of a session.
#[derive(Debug, Clone)]
pub(super) enum Moment {
    Time(Timestamp),
    Operation(SessionId, u64),
}

/// The moment that a selector names; `None` where it names a snapshot.
pub(super) fn moment(selector: &str) -> Option<Moment> {
    match selector.strip_prefix("operation:").and_then(|it| it.split_once(':')) {
        Some((session, number)) => {
            Some(Moment::Operation(session.parse().ok()?, number.parse().ok()?))
        }
        None => selector.parse().ok().map(Moment::Time),
    }
}

/// A snapshot, and what journals say of a moment after it.
pub(super) struct Laid {
    pub(super) snapshot: SnapshotId,
    /// When the snapshot was taken.
    pub(super) taken: Timestamp,
    /// The moment, where journals say something of it.
    pub(super) at: Option<Timestamp>,
    pub(super) said: Pieces,
}

impl Pieces {
    /// The pieces, for the vault; what is said of them stays.
    pub(super) fn take(&mut self) -> Vec<Piece> {
        std::mem::take(&mut self.pieces)
    }

    /// Adds what another journal says.
    pub(super) fn add(&mut self, other: Self) {
        self.pieces.extend(other.pieces);
        self.sources.extend(other.sources);
        self.notes.extend(other.notes);
    }

    /// Writes into a plan where its paths come from.
    pub(super) fn explain(&self, plan: &mut PlanView) {
        let changed = plan.create.iter().chain(&plan.replace).chain(&plan.metadata);
        let mut sources: Vec<PathSource> = changed
            .filter_map(|path| {
                let source = self.sources.get(&path.to_bytes()?)?.clone();
                Some(PathSource { path: path.clone(), source })
            })
            .collect();
        sources.sort_by(|a, b| a.path.cmp(&b.path));
        plan.sources = sources;
        plan.notes.extend(self.notes.iter().cloned());
    }
}

/// A journal whose versions are in the vault, and the snapshots around it.
struct Around<'a> {
    journal: &'a SessionJournal,
    /// Where the vault has what was kept.
    kept: SnapshotId,
    paths: HashMap<u64, Vec<u8>>,
    /// The folder when the journal began.
    opening: SnapshotId,
    /// The folder when it ended, or as it is.
    end: SnapshotId,
    /// The newest first.
    snapshots: &'a [SnapshotView],
}

impl Daemon {
    /// The state at a moment: the snapshot that it is laid over, and what is laid over it.
    /// `present` is a snapshot of the folder as it is, for sessions that are not over. The
    /// caller holds the folder's turn.
    ///
    /// # Errors
    /// When there is no such moment, or a journal or the vault cannot be read.
    pub(super) async fn moment(
        &self,
        folder: &Folder,
        moment: &Moment,
        present: Option<&str>,
    ) -> Result<Laid, ApiError> {
        let (time, only) = match moment {
            Moment::Time(time) => (*time, None),
            Moment::Operation(session, number) => {
                let (time, first, place) = self.operation(folder, session, *number).await?;
                (time, Some((first, place)))
            }
        };
        let base = self.vaults.find(folder, &time.to_string()).await?;
        let (snapshots, _) = self.vaults.snapshots(folder).await?;
        let mut all = Pieces::default();
        let since = i64::try_from(base.time.as_nanosecond()).unwrap_or(0);
        let until = i64::try_from(time.as_nanosecond()).unwrap_or(i64::MAX);
        for journal in self.journals_over(folder, base.time, time).await? {
            let records = &journal.records;
            let cut = match &only {
                Some((first, place)) if *first == journal.first => *place,
                _ => keepers::cut_at(records, until),
            };
            let said = records.last().is_some_and(|last| last.time >= since);
            if !said || records.first().is_none_or(|first| first.time > until) {
                continue;
            }
            let Some(around) = self.around(folder, &journal, &snapshots, present).await? else {
                continue;
            };
            let told = keepers::told(records, cut, since);
            // The first snapshot that was begun after the moment.
            let after = snapshots.iter().rev().find(|snapshot| snapshot.time > time);
            let after = after.and_then(|after| after.id.parse().ok()).unwrap_or(around.end);
            for path in told.settled {
                let from = vec![StoredAt {
                    snapshot: after,
                    path: path.clone(),
                    like: None,
                    length: None,
                }];
                all.sources.insert(path.clone(), source_of(after, &snapshots));
                let what = PieceWhat::Stored { from, or_nothing: true, mode: None, modified: None };
                all.pieces.push(Piece { path, what });
            }
            for (path, before) in told.before {
                around.lay(&mut all, path, &before);
            }
            self.remarks(&journal, &mut all.notes);
            if let Some(first) = told.unfinished.first() {
                all.notes.push(format!(
                    "{} files were being made at that moment, {} among them: they are taken as they became",
                    told.unfinished.len(),
                    BytePath::from_bytes(first).path
                ));
            }
        }
        let at = (!all.pieces.is_empty()).then_some(time);
        Ok(Laid { snapshot: base.id, taken: base.time, at, said: all })
    }

    /// What a session deleted of what it found, as far as nothing is there now. `present` as in
    /// [`Self::moment`].
    ///
    /// # Errors
    /// When the journal or the vault cannot be read.
    pub(super) async fn deletions(
        &self,
        folder: &Folder,
        journal: &SessionJournal,
        (paths, made_too): (&[Vec<u8>], bool),
        present: Option<&str>,
    ) -> Result<Pieces, ApiError> {
        let (snapshots, _) = self.vaults.snapshots(folder).await?;
        let mut all = Pieces::default();
        let Some(around) = self.around(folder, journal, &snapshots, present).await? else {
            return Ok(all);
        };
        let records = &journal.records;
        let gone: Vec<_> = keepers::deletions(records)
            .into_iter()
            .filter(|(path, _)| vaults::is_covered(paths, path))
            .filter(|(path, _)| !vaults::is_there(&folder.path, path))
            .collect();
        let found = gone
            .iter()
            .map(|(path, before)| keepers::path_at_begin(records, before.operation, path));
        let found = self.vaults.has_paths(folder, around.opening, found.collect()).await?;
        let mut made = 0;
        for ((path, before), found) in gone.into_iter().zip(found) {
            if found || made_too {
                around.lay(&mut all, path, &before);
            } else {
                made += 1;
            }
        }
        if made > 0 {
            all.notes.push(format!(
                "{made} paths that the session itself had made and removed again stay away: ringfence session kept {}",
                journal.first
            ));
        }
        self.remarks(journal, &mut all.notes);
        Ok(all)
    }

    /// The time of an operation, the session whose journal has it, and its place there.
    async fn operation(
        &self,
        folder: &Folder,
        session: &SessionId,
        number: u64,
    ) -> Result<(Timestamp, SessionId, usize), ApiError> {
        let journal = self.journal_of(folder, session).await?;
        let place = usize::try_from(number).ok().and_then(|number| number.checked_sub(1));
        let found = journal.and_then(|journal| {
            let place = place?;
            let time = journal.records.get(place)?.time;
            Some((keepers::timestamp(time), journal.first, place))
        });
        found.ok_or_else(|| {
            ApiError::new(
                ringfence_model::error::ErrorKind::Failed,
                format!("session {session} has no operation {number}"),
            )
            .hint(format!("ringfence diff --session {session}"))
        })
    }

    /// The journals of the sessions that worked in a folder between two times.
    pub(super) async fn journals_over(
        &self,
        folder: &Folder,
        from: Timestamp,
        to: Timestamp,
    ) -> Result<Vec<SessionJournal>, ApiError> {
        let sessions = self.store.sessions().map_err(failed)?;
        let over = |session: &&Session| {
            session.folder.as_ref() == Some(&folder.id)
                && session.started <= to
                // What runs late is still written down.
                && session.ended.is_none_or(|ended| ended + LATE >= from)
        };
        let mut found: Vec<SessionJournal> = Vec::new();
        for session in sessions.iter().filter(over) {
            if let Some(journal) = self.journal_of(folder, &session.id).await?
                && !found.iter().any(|known| known.first == journal.first)
            {
                found.push(journal);
            }
        }
        Ok(found)
    }

    /// The snapshots around a journal, with what was kept in the vault. `None` where the
    /// session began without a snapshot.
    async fn around<'a>(
        &self,
        folder: &Folder,
        journal: &'a SessionJournal,
        snapshots: &'a [SnapshotView],
        present: Option<&str>,
    ) -> Result<Option<Around<'a>>, ApiError> {
        let sessions = self.store.sessions().map_err(failed)?;
        let first = sessions.iter().find(|session| session.id == journal.first);
        let opening = first
            .and_then(|session| session.opening_snapshot.clone())
            .or_else(|| named(snapshots, &journal.first, true));
        let Some(opening) = opening else { return Ok(None) };
        let kept = match &journal.place {
            Place::Vault(snapshot) => Some(*snapshot),
            Place::Disk(directory) => {
                let kept =
                    self.vaults.keep(folder, &journal.first, directory.clone(), clock::now());
                kept.await?.map(|(snapshot, _)| snapshot.id)
            }
        };
        let Some(kept) = kept else { return Ok(None) };
        let writers: BTreeSet<&[u8]> = journal
            .records
            .iter()
            .filter(|record| record.operation == Operation::Begin)
            .map(|record| record.path.as_slice())
            .collect();
        let wrote = |session: &&Session| writers.contains(session.id.as_str().as_bytes());
        let over = sessions.iter().filter(wrote).all(|session| session.state.is_final());
        let closing = sessions.iter().filter(wrote).rev().find_map(|session| {
            session.closing_snapshot.clone().or_else(|| named(snapshots, &session.id, false))
        });
        let last = journal.records.last().map_or(Timestamp::MIN, |it| keepers::timestamp(it.time));
        let after = || snapshots.iter().rev().find(|one| one.time > last).map(|one| one.id.clone());
        let present = present.map(ToOwned::to_owned);
        let end = if over { closing.or_else(after).or(present) } else { present.or_else(after) };
        let id = |id: &str| id.parse::<SnapshotId>().map_err(|error| vaults::vault_error(&error));
        let Some(end) = end.or_else(|| snapshots.first().map(|one| one.id.clone())) else {
            return Ok(None);
        };
        let paths = vaults::kept_paths(&keepers::versions(&journal.records));
        let (opening, end) = (id(&opening)?, id(&end)?);
        Ok(Some(Around { journal, kept, paths, opening, end, snapshots }))
    }

    fn remarks(&self, journal: &SessionJournal, notes: &mut Vec<String>) {
        let running = self.session(&journal.first).is_ok_and(|session| !session.state.is_final());
        if !journal.complete && !running {
            notes.push(format!(
                "the journal of session {} has no end: its share or its keeper ended before it did, and what it \
                 changed in its last moments may not be told",
                journal.first
            ));
        }
    }
}

/// A session may end in the daemon's books before its last change is in its journal.
const LATE: jiff::SignedDuration = jiff::SignedDuration::from_mins(10);

/// A session's opening or closing snapshot by its label: the record may be lost.
fn named(snapshots: &[SnapshotView], session: &SessionId, opening: bool) -> Option<String> {
    use ringfence_model::history::SnapshotKind::{Closing, Opening};
    let kind = Some(if opening { Opening } else { Closing });
    let of =
        |one: &&SnapshotView| one.kind == kind && one.session.as_deref() == Some(session.as_str());
    snapshots.iter().find(of).map(|one| one.id.clone())
}

fn source_of(snapshot: SnapshotId, snapshots: &[SnapshotView]) -> String {
    let id = snapshot.to_string();
    let time = snapshots.iter().find(|one| one.id == id).map(|one| one.time);
    let time = time.map(|time| format!(" of {}", clock_time(time))).unwrap_or_default();
    format!("snapshot {}{time}", snapshot.short())
}

fn clock_time(time: Timestamp) -> String {
    time.to_zoned(clock::zone()).strftime("%Y-%m-%d %H:%M:%S%.3f").to_string()
}

impl Around<'_> {
    fn lay(&self, to: &mut Pieces, path: Vec<u8>, before: &Before) {
        let (mode, modified) = (before.mode, before.modified);
        let record = self.journal.records.get(before.operation);
        let number = before.operation as u64 + 1;
        let stored = |from: Vec<StoredAt>, or_nothing| PieceWhat::Stored {
            from,
            or_nothing,
            mode,
            modified,
        };
        let at = |snapshot: SnapshotId, path: &[u8], like, length| StoredAt {
            snapshot,
            path: path.to_vec(),
            like,
            length,
        };
        let (what, source) = match &before.what {
            What::Nothing => (PieceWhat::Nothing, None),
            What::Directory => (PieceWhat::Directory { mode, modified }, self.said(record, number)),
            What::Empty => (PieceWhat::Empty { mode, modified }, self.said(record, number)),
            What::Link(target) => {
                let target = target.clone();
                (PieceWhat::Link { target, modified }, self.said(record, number))
            }
            What::Kept => {
                let place = self.paths.get(&number).map(|kept| at(self.kept, kept, None, None));
                (stored(place.into_iter().collect(), false), self.said(record, number))
            }
            What::Stored(path, size) => {
                // Exactly the version that the session found: of this size and time.
                let like = modified.map(|modified| (*size, modified));
                let mut from = vec![at(self.opening, path, like, None)];
                let time = record.map(|record| keepers::timestamp(record.time));
                let before = self.snapshots.iter().find(|one| time.is_some_and(|t| one.time <= t));
                if let (Some(before), Some(record)) =
                    (before.and_then(|one| one.id.parse().ok()), record)
                {
                    from.push(at(before, &record.path, like, None));
                }
                (stored(from, false), Some(source_of(self.opening, self.snapshots)))
            }
            What::Later(path, length) => {
                let from = vec![at(self.end, path, None, *length)];
                let mut source = source_of(self.end, self.snapshots);
                if let Some(length) = length {
                    source.push_str(&format!(", its first {length} bytes"));
                }
                (stored(from, length.is_none()), Some(source))
            }
        };
        if let Some(source) = source {
            to.sources.insert(path.clone(), source);
        }
        to.pieces.push(Piece { path, what });
    }

    fn said(&self, record: Option<&Record>, number: u64) -> Option<String> {
        let record = record?;
        let time = clock_time(keepers::timestamp(record.time));
        let act = word(record.operation);
        let session = &self.journal.first;
        Some(format!(
            "kept at {time}, before it was {act} (operation {number} of session {session})"
        ))
    }
}

/// What happened to a path, as the end of a sentence: it was ….
pub(super) const fn word(operation: Operation) -> &'static str {
    match operation {
        Operation::Create
        | Operation::MakeDirectory
        | Operation::MakeLink
        | Operation::MakeNode => "made",
        Operation::Link => "given another name",
        Operation::Overwrite => "overwritten",
        Operation::Append => "added to",
        Operation::Close => "written",
        Operation::Remove | Operation::RemoveDirectory => "removed",
        Operation::Rename => "renamed",
        Operation::Exchange => "exchanged",
        Operation::Replace => "replaced",
        Operation::Attributes | Operation::ExtendedAttribute => "given other attributes",
        Operation::Begin | Operation::End | Operation::With | Operation::Undone => "left alone",
    }
}
