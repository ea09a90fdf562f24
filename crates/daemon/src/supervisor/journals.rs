//! Journals of sessions: begun before a session may write, ended when it may no more; how what
//! was kept goes into the vault; and what happens when there is no room left to keep anything.

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use axum::body::Body;
use ringfence_model::error::{ApiError, ErrorKind};
use ringfence_model::folder::Folder;
use ringfence_model::history::SnapshotKind;
use ringfence_model::kept::KeptView;
use ringfence_model::name::SessionId;
use ringfence_model::session::Session;
use ringfence_model::status::ShareMode;
use ringfence_share::SnapshotStart;
use ringfence_share::journal::{self, Journal, Record};
use ringfence_vault::SnapshotId;

use super::protect::Want;
use super::report::Report;
use super::{Daemon, failed};
use crate::host::clock;
use crate::keepers::{self, Kept};
use crate::vaults;

/// Pause between two looks whether keepers have room.
const PERIOD: Duration = Duration::from_secs(2);

/// The journal in which sessions' changes stand.
#[derive(Debug)]
pub(super) struct SessionJournal {
    /// The session that began it.
    pub(super) first: SessionId,
    /// Where it and what was kept are.
    pub(super) place: Place,
    /// What it says.
    pub(super) records: Vec<Record>,
    /// Whether it is all that was changed.
    pub(super) complete: bool,
}

/// Where what a session destroyed is kept.
#[derive(Debug, Clone)]
pub(super) enum Place {
    /// Where the keeper put it.
    Disk(PathBuf),
    /// In the vault, as this snapshot.
    Vault(SnapshotId),
}

/// The versions of a session, and where they are.
type Versions = (Folder, Place, Vec<Kept>);

impl Daemon {
    /// Has a session's changes written down. `before` was taken before its opening snapshot
    /// was begun: what that has need not be kept again.
    ///
    /// # Errors
    /// When the keeper does not obey: the session must not write.
    pub(super) async fn begin_journal(
        &self,
        session: &Session,
        folder: &Folder,
        before: SnapshotStart,
    ) -> Result<(), ApiError> {
        let stored = match &session.opening_snapshot {
            Some(opening) => self.what_is_stored(folder, opening, before).await?,
            None => None,
        };
        self.make_room(folder).await;
        self.machines.recount_kept(&session.machine, &folder.id).await;
        self.machines.begin_journal(&session.machine, &folder.id, &session.id).await?;
        self.machines.trust_snapshot(&session.machine, &folder.id, stored).await
    }

    /// A snapshot that could not read everything says nothing about any one file.
    async fn what_is_stored(
        &self,
        folder: &Folder,
        snapshot: &str,
        before: SnapshotStart,
    ) -> Result<Option<SnapshotStart>, ApiError> {
        let snapshot = self.vaults.find(folder, snapshot).await?;
        Ok(snapshot.unreadable.is_empty().then_some(before))
    }

    /// Makes room for what a session will destroy: where much is kept, it waits until the vault
    /// has what ended sessions left. Best effort: without room, what cannot be kept is not
    /// destroyed.
    async fn make_room(&self, folder: &Folder) {
        let store = self.layout.kept(&folder.id);
        let used = tokio::task::spawn_blocking(move || keepers::used(&store)).await;
        if matches!(used, Ok(Ok(used)) if used > keepers::COMFORTABLE) {
            self.store_kept(folder).await;
        }
    }

    /// Stores what ended sessions destroyed in the folder's vault, and releases it then. Killed
    /// at any point, it is done again from there, and what is stored already is not stored twice.
    pub(super) async fn store_kept(&self, folder: &Folder) {
        let store = self.layout.kept(&folder.id);
        let found = tokio::task::spawn_blocking(move || {
            if store.exists() {
                keepers::sweep(&store)?;
            }
            keepers::sessions(&store)
        });
        let found = match found.await.map_err(io::Error::other).and_then(|found| found) {
            Ok(found) => found,
            Err(error) => {
                tracing::warn!(folder = %folder.id, %error, "what is kept cannot be listed");
                return;
            }
        };
        for session in found {
            if let Err(error) = self.store_one(folder, &session).await {
                tracing::warn!(
                    folder = %folder.id, %session, error = %error.message,
                    "what it destroyed stays where it is kept: it is not in the vault yet"
                );
            }
        }
    }

    async fn store_one(&self, folder: &Folder, session: &SessionId) -> Result<(), ApiError> {
        let _turn = self.vaults.turn(&folder.id).await;
        if self.is_written(folder, session)? {
            return Ok(());
        }
        let store = self.layout.kept(&folder.id);
        let directory = store.join(session);
        if self.vaults.keep(folder, session, directory, clock::now()).await?.is_none() {
            return Ok(());
        }
        // Nobody may take an inode for kept whose last name goes now.
        let machine = self.session(session).ok().map(|session| session.machine);
        if let Some(machine) = &machine {
            self.machines.forget_kept(machine, &folder.id, session).await.map_err(failed)?;
        }
        let released = session.to_string();
        let gone = tokio::task::spawn_blocking(move || keepers::release(&store, &released)).await;
        gone.map_err(failed)?.map_err(failed)?;
        if let Some(machine) = &machine {
            self.machines.recount_kept(machine, &folder.id).await;
        }
        Ok(())
    }

    /// Whether a session, or one that shares its journal, is not over.
    fn is_written(&self, folder: &Folder, session: &SessionId) -> Result<bool, ApiError> {
        let store = self.layout.kept(&folder.id);
        let sessions = self.store.sessions().map_err(failed)?;
        let mut live = sessions
            .iter()
            .filter(|other| other.folder.as_ref() == Some(&folder.id) && !other.state.is_final());
        Ok(live.any(|other| {
            let shares = || {
                let journal = Journal::read(&store.join(&other.id).join(journal::FILE)).ok()?;
                keepers::written_by(&journal.records)
            };
            other.id == *session || shares().as_ref() == Some(session)
        }))
    }

    /// The journal that has a session's changes; `None` where there is none.
    ///
    /// # Errors
    /// When it, or the vault, cannot be read.
    pub(super) async fn journal_of(
        &self,
        folder: &Folder,
        session: &SessionId,
    ) -> Result<Option<SessionJournal>, ApiError> {
        let Some(own) = self.own_journal(folder, session).await? else { return Ok(None) };
        match keepers::written_by(&own.records) {
            Some(first) if first != *session => self.own_journal(folder, &first).await,
            _ => Ok(Some(own)),
        }
    }

    async fn own_journal(
        &self,
        folder: &Folder,
        session: &SessionId,
    ) -> Result<Option<SessionJournal>, ApiError> {
        let directory = self.layout.kept(&folder.id).join(session);
        let file = directory.join(journal::FILE);
        let read = tokio::task::spawn_blocking(move || Journal::read(&file)).await;
        let (place, journal) = match read.map_err(failed)? {
            Ok(journal) => (Place::Disk(directory), journal),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let kept = self.vaults.kept(folder).await?;
                let of = |kept: &&ringfence_vault::Snapshot| {
                    kept.labels.session.as_deref() == Some(session.as_str())
                };
                let Some(kept) = kept.iter().find(of) else { return Ok(None) };
                let bytes = self.vaults.bytes(folder, kept.id, journal::FILE.as_bytes()).await?;
                (Place::Vault(kept.id), Journal::parse(&bytes).map_err(failed)?)
            }
            Err(error) => return Err(failed(error)),
        };
        let complete = journal.is_complete();
        let (first, records) = (session.clone(), journal.records);
        Ok(Some(SessionJournal { first, place, records, complete }))
    }

    /// A session writes no more. Best effort: a journal without an end is not relied on.
    pub(super) async fn end_journal(&self, session: &Session, folder: &Folder) {
        let (machine, id) = (&session.machine, &session.id);
        if let Err(error) = self.machines.end_journal(machine, &folder.id, id).await {
            tracing::warn!(session = %id, %error, "its journal could not be ended");
        }
    }

    /// Looks whether what sessions destroy can still be kept. Where it cannot, the share is
    /// held until a snapshot has everything that is there. Ends with the daemon.
    pub async fn mind_keepers(self: Arc<Self>) {
        loop {
            tokio::time::sleep(PERIOD).await;
            for id in self.watched_sessions() {
                let Ok(session) = self.session(&id) else { continue };
                let Ok(Some(folder)) = self.folder_by_id(session.folder.as_ref()) else { continue };
                if self.machines.is_full(&session.machine, &folder.id).await {
                    self.hold_until_stored(&session, &folder).await;
                }
            }
        }
    }

    /// What a session destroyed and is kept, in the order of the losses.
    ///
    /// # Errors
    /// When there is no such session or its journal cannot be read.
    pub async fn kept(&self, id: &SessionId) -> Result<Vec<KeptView>, ApiError> {
        let found = self.kept_versions(id).await?;
        let versions = found.into_iter().flat_map(|(.., versions)| versions);
        Ok(versions.map(|kept| kept.view).collect())
    }

    /// The content of one version that a session destroyed.
    ///
    /// # Errors
    /// When there is no such session or no version of that number.
    pub async fn kept_content(&self, id: &SessionId, number: u64) -> Result<Body, ApiError> {
        let missing = || {
            let what = format!("session {id} has no kept version {number}");
            ApiError::new(ErrorKind::Failed, what).hint(format!("ringfence session kept {id}"))
        };
        let (folder, place, all) = self.kept_versions(id).await?.ok_or_else(missing)?;
        let mut paths = vaults::kept_paths(&all);
        let kept = all.into_iter().find(|kept| kept.view.number == number).ok_or_else(missing)?;
        let snapshot = match place {
            Place::Disk(directory) => {
                match tokio::fs::File::open(directory.join(kept.object.to_string())).await {
                    Ok(file) => {
                        let content = tokio::io::AsyncReadExt::take(file, kept.view.bytes);
                        return Ok(Body::from_stream(tokio_util::io::ReaderStream::new(content)));
                    }
                    // It went into the vault just now.
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {
                        match self.journal_of(&folder, id).await?.map(|journal| journal.place) {
                            Some(Place::Vault(snapshot)) => snapshot,
                            _ => return Err(missing()),
                        }
                    }
                    Err(error) => return Err(failed(error)),
                }
            }
            Place::Vault(snapshot) => snapshot,
        };
        let path = paths.remove(&number).ok_or_else(missing)?;
        self.stream_of(&folder, &snapshot.to_string(), path).await
    }

    async fn kept_versions(&self, id: &SessionId) -> Result<Option<Versions>, ApiError> {
        let session = self.session(id)?;
        let Some(folder) = self.folder_by_id(session.folder.as_ref())? else { return Ok(None) };
        let journal = self.journal_of(&folder, id).await?;
        Ok(journal.map(|journal| (folder, journal.place, keepers::versions(&journal.records))))
    }

    pub(super) fn watched_sessions(&self) -> Vec<SessionId> {
        let watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
        let open = watched.iter().filter(|(_, closed)| closed.borrow().is_none());
        open.map(|(id, _)| id.clone()).collect()
    }

    async fn hold_until_stored(&self, session: &Session, folder: &Folder) {
        let (id, machine) = (&session.id, &session.machine);
        tracing::error!(session = %id, "no room to keep what it destroys: its writes wait for a snapshot");
        let stored = async {
            self.machines.set_share(machine, &folder.id, ShareMode::Held).await?;
            // Nothing is in flight: what the snapshot reads is all there is.
            let before = SnapshotStart::now();
            let want = Want { whole: true, ..Want::new(SnapshotKind::Periodic, Some(session)) };
            let taken = self.snapshot(folder, want, &Report::nobody()).await?;
            let stored = self.what_is_stored(folder, &taken.id, before).await?;
            self.machines.trust_snapshot(machine, &folder.id, stored).await?;
            self.machines.recount_kept(machine, &folder.id).await;
            match stored {
                Some(_) => Ok(()),
                None => Err(ApiError::new(
                    ErrorKind::Vault,
                    "some entries of the folder cannot be read, so not everything is in the vault",
                )),
            }
        };
        match stored.await {
            Ok(()) => {
                // A session that is closing meanwhile sets the mode that it needs itself.
                let _switching = self.protect.switching.lock().await;
                let goes_on = |now: Session| now.state.is_at_work() && now.stricter.is_empty();
                let running = self.session(id).is_ok_and(goes_on);
                if running
                    && let Err(error) =
                        self.machines.set_share(machine, &folder.id, ShareMode::ReadWrite).await
                {
                    tracing::error!(session = %id, %error, "a held share could not be let go");
                }
            }
            Err(error) => {
                tracing::error!(session = %id, %error, "it stays held: ringfence session stop {id}");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use ringfence_model::layout::{Environment, Layout};
    use ringfence_model::mass_loss::GuardAction;
    use ringfence_model::name::{FolderId, MachineName, ProfileName};
    use ringfence_model::session::SessionState;
    use ringfence_share::journal::{Operation, Writer};

    use super::*;

    #[tokio::test]
    async fn nothing_is_released_that_a_session_still_writes() {
        let temp = tempfile::tempdir().unwrap();
        let home = Some(temp.path().join("home"));
        let environment = Environment { ringfence_home: home, ..Environment::default() };
        let layout = Layout::resolve(&environment).unwrap();
        layout.own().iter().for_each(|place| std::fs::create_dir_all(place).unwrap());
        let daemon = Daemon::new(layout);
        let path = temp.path().join("shop");
        std::fs::create_dir(&path).unwrap();
        let id = FolderId::new("f").unwrap();
        let folder = Folder { id, path, device: 0, inode: 0, registered: clock::now() };
        let store = daemon.layout.kept(&folder.id);
        let session = |id: &str, state| {
            let session = Session {
                id: SessionId::new(id).unwrap(),
                profile: ProfileName::new("shell").unwrap(),
                machine: MachineName::new("m").unwrap(),
                folder: Some(folder.id.clone()),
                folder_path: Some(folder.path.clone()),
                command: Vec::new(),
                state,
                started: clock::now(),
                ended: None,
                exit: None,
                guard: GuardAction::Off,
                mass_loss: None,
                stricter: Vec::new(),
                opening_snapshot: None,
                closing_snapshot: None,
            };
            daemon.store.set_session(&session).unwrap();
        };
        let write = |id: &str, record: Record| {
            std::fs::create_dir_all(store.join(id)).unwrap();
            let file = store.join(id).join(journal::FILE);
            Writer::open(&file).unwrap().append(&record).unwrap();
        };
        session("a", SessionState::Ended);
        write("a", Record::new(Operation::Begin, b"a".to_vec()));
        session("b", SessionState::Running);
        write("b", Record::new(Operation::With, b"a".to_vec()));
        session("c", SessionState::Ended);
        write("c", Record::new(Operation::Begin, b"c".to_vec()));
        let left = || -> Vec<String> {
            keepers::sessions(&store).unwrap().iter().map(ToString::to_string).collect()
        };
        daemon.store_kept(&folder).await;
        assert_eq!(left(), ["a", "b"]);
        session("b", SessionState::Ended);
        daemon.store_kept(&folder).await;
        assert!(left().is_empty());
        // Whoever shared a journal finds it there as well.
        let found = daemon.journal_of(&folder, &SessionId::new("b").unwrap()).await.unwrap();
        let found = found.unwrap();
        assert_eq!(found.first.as_str(), "a");
        assert!(matches!(found.place, Place::Vault(_)));
        assert_eq!(daemon.vaults.kept(&folder).await.unwrap().len(), 3);
    }
}
