//! The vault itself: opening, and every operation in one place. Owns which operation
//! needs the writer's lock; the work is done in the modules it calls.

use std::fs::DirBuilder;
use std::io::Write;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::sync::Arc;

use jiff::Timestamp;
use rustic_core::{FileType, Id};

use crate::browse::{Entry, View};
use crate::catalog::{self, Snapshot, SnapshotId, Snapshots};
use crate::check::{CheckReport, CheckRequest};
use crate::compose::{self, Composed, Piece};
use crate::copy::{self, CopyOutcome, CopyRequest, Source, Target};
use crate::diff::{self, Diff, Point};
use crate::engine::{self, Engine};
use crate::error::{At, Result, VaultError};
use crate::excludes::Excluded;
use crate::giants;
use crate::history::{self, History, KeptCounts};
use crate::kept::{self, KeepRequest};
use crate::key::VaultKey;
use crate::merge;
use crate::prune::{self, PruneForecast, PruneReport, PruneRequest};
use crate::rehearse::{self, RehearsalRequest, Rehearsed};
use crate::restore::{self, RestorePlan, RestoreReport, RestoreRequest, UndoRequest};
use crate::snapshot::{self, SnapshotOutcome, SnapshotRequest};
use crate::storage::Storage;
use crate::verify::examine::{Opening, examine};
use crate::verify::packs::{self, PacksRead};
use crate::watch::{Cancel, Progress, Watch};

/// The snapshots of one folder. Usable from several threads; one operation at a time
/// may write, a second one gets [`VaultError::Busy`].
#[derive(Debug)]
pub struct Vault {
    pub(crate) engine: Arc<Engine>,
    kept_counts: KeptCounts,
}

impl Vault {
    /// Makes a new vault in `dir` (mode 0700, made if missing, else empty or left by a
    /// crash before it was a vault). The key should be stored first: a vault whose key
    /// is lost is lost.
    ///
    /// # Errors
    /// When the directory is in use, cannot be written, or the disk is full.
    pub fn create(dir: &Path, key: &VaultKey) -> Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(dir).at("make the directory", dir)?;
        let storage = Arc::new(Storage::new(dir));
        storage.refuse_foreign()?;
        storage.prepare()?;
        let lock = storage.lock()?;
        storage.clear_unfinished()?;
        let engine = Engine::create(Arc::clone(&storage), key)?;
        storage.sync().at("sync", dir)?;
        drop(lock);
        Ok(Self::of(engine))
    }

    /// Opens an existing vault.
    ///
    /// # Errors
    /// [`VaultError::NotAVault`], [`VaultError::WrongKey`], [`VaultError::Damaged`].
    pub fn open(dir: &Path, key: &VaultKey) -> Result<Self> {
        let engine = Engine::open(Arc::new(Storage::new(dir)), key)?;
        Ok(Self::of(engine))
    }

    /// Makes a vault in `dir` (new, or begun by this before) out of a copy: all but the packs,
    /// which are fetched when something is read that needs them, until [`Self::complete`].
    /// Nothing at the copy is changed.
    ///
    /// # Errors
    /// As [`Self::open`]; [`VaultError::Copy`] when the copy cannot be read or trusted;
    /// [`VaultError::Exists`] when another vault lies in `dir`.
    pub fn recover(
        dir: &Path,
        key: &VaultKey,
        copy: &Target,
        progress: Option<Arc<dyn Progress>>,
        cancel: Cancel,
    ) -> Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(dir).at("make the directory", dir)?;
        let storage = Arc::new(Storage::new(dir));
        storage.refuse_other_than_vault()?;
        let lock = storage.lock()?;
        copy::small_files(&storage, copy, &Watch { progress, cancel })?;
        drop(lock);
        storage.fetch_from(Source::new(copy.clone()));
        Ok(Self::of(Engine::open(storage, key)?))
    }

    /// Fetches all that is still only in the copy that the vault was made from.
    ///
    /// # Errors
    /// When the copy cannot be read or trusted; it can be tried again.
    pub fn complete(&self, progress: Option<Arc<dyn Progress>>, cancel: Cancel) -> Result<()> {
        let storage = &self.engine.storage;
        match storage.source() {
            Some(source) => copy::complete(storage, source.target(), &Watch { progress, cancel }),
            None => Ok(()),
        }
    }

    /// Makes a target hold all that the vault holds, without the writer's lock, so that no
    /// snapshot waits. What is there already is not sent again, and nothing is deleted there.
    ///
    /// # Errors
    /// [`VaultError::Copy`], [`VaultError::ForeignCopy`], [`VaultError::CopyGone`]; what was
    /// sent stays, and the next call goes on from there.
    pub fn copy_to(&self, target: &Target, request: &CopyRequest) -> Result<CopyOutcome> {
        copy::push(&self.engine.storage, target, request)
    }

    fn of(engine: Engine) -> Self {
        Self { engine: Arc::new(engine), kept_counts: KeptCounts::default() }
    }

    /// Where the vault is; stock restic opens this directory.
    #[must_use]
    pub fn dir(&self) -> &Path {
        self.engine.storage.dir()
    }

    /// Takes a snapshot. On `Ok` it is on disk and was read back, or nothing had
    /// changed and the latest snapshot was read back.
    ///
    /// # Errors
    /// Any; earlier snapshots are intact and the next attempt starts afresh.
    pub fn snapshot(&self, request: &SnapshotRequest) -> Result<SnapshotOutcome> {
        let _lock = self.engine.storage.lock()?;
        let outcome = snapshot::make(&self.engine, request)?;
        // The snapshot is safe already; what fails here is tried after the next one.
        if let Err(error) = merge::when_due(&self.engine) {
            tracing::warn!(%error, "index files were not merged");
        }
        Ok(outcome)
    }

    /// All snapshots, the newest first. A damaged snapshot file is listed apart.
    ///
    /// # Errors
    /// When the vault cannot be read.
    pub fn snapshots(&self) -> Result<Snapshots> {
        catalog::list(&self.engine, &*self.engine.repo()?)
    }

    /// Finds one snapshot: `latest`, the beginning of an id, or a time such as
    /// `2026-01-31T12:00:00Z` (the newest made at or before it).
    ///
    /// # Errors
    /// [`VaultError::NoSuchSnapshot`], [`VaultError::Ambiguous`].
    pub fn find(&self, selector: &str) -> Result<Snapshot> {
        catalog::pick(&self.engine, &*self.engine.repo()?, |all| catalog::find(all, selector))
    }

    /// The newest snapshot made at or before a time.
    ///
    /// # Errors
    /// [`VaultError::NoSuchSnapshot`].
    pub fn find_at(&self, time: Timestamp) -> Result<Snapshot> {
        catalog::pick(&self.engine, &*self.engine.repo()?, |all| {
            catalog::at(all, time)
                .ok_or_else(|| VaultError::NoSuchSnapshot { selector: time.to_string() })
        })
    }

    /// Reads one snapshot's record.
    ///
    /// # Errors
    /// When it does not exist or is damaged.
    pub fn load(&self, id: SnapshotId) -> Result<Snapshot> {
        catalog::load(&self.engine, &*self.engine.repo()?, id.0)
    }

    /// The folder's snapshots, the newest first, each with what differs from the one
    /// before; with a path only those in which it changed. At most `limit` of them.
    ///
    /// # Errors
    /// When the vault cannot be read.
    pub fn history(&self, path: &[u8], limit: usize) -> Result<History> {
        history::history(&self.engine, &self.kept_counts, path, limit)
    }

    /// The newest of the acceptable snapshots that has all these paths.
    ///
    /// # Errors
    /// When the vault cannot be read.
    pub fn newest_with(
        &self,
        paths: &[Vec<u8>],
        accept: impl Fn(&Snapshot) -> bool,
    ) -> Result<Option<Snapshot>> {
        history::newest_with(&self.engine, paths, accept)
    }

    /// Directories in a snapshot that tools make again from what lies beside them: what a
    /// pattern for each name would leave out, the largest first. Reads every directory of the snapshot.
    ///
    /// # Errors
    /// When it does not exist or is damaged.
    pub fn giants(&self, snapshot: SnapshotId) -> Result<Vec<Excluded>> {
        let repo = self.engine.repo()?;
        giants::find(&self.engine, &repo, &catalog::load(&self.engine, &repo, snapshot.0)?)
    }

    /// Opens a snapshot to look into it.
    ///
    /// # Errors
    /// When it does not exist or is damaged.
    pub fn view(&self, snapshot: SnapshotId) -> Result<View> {
        View::open(&self.engine, snapshot)
    }

    /// Entries of a directory in a snapshot, sorted by name; `b""` is the folder itself.
    ///
    /// # Errors
    /// When there is no such directory.
    pub fn list_dir(&self, snapshot: SnapshotId, path: &[u8]) -> Result<Vec<Entry>> {
        self.view(snapshot)?.list(path)
    }

    /// One entry of a snapshot.
    ///
    /// # Errors
    /// When there is no such entry.
    pub fn node(&self, snapshot: SnapshotId, path: &[u8]) -> Result<Entry> {
        self.view(snapshot)?.entry(path)
    }

    /// Writes a stored file's content to `to`, piece by piece, and gives its length.
    ///
    /// # Errors
    /// When there is no such file, it is damaged, or `to` refuses.
    pub fn read_file(&self, snapshot: SnapshotId, path: &[u8], to: &mut dyn Write) -> Result<u64> {
        self.view(snapshot)?.read(path, to)
    }

    /// Compares two states; at most one of them may be the live folder. Entries are in
    /// walking order; the folder itself is the entry with the empty path.
    ///
    /// # Errors
    /// When a side cannot be read, or both are live.
    pub fn diff(&self, from: Point<'_>, to: Point<'_>) -> Result<Diff> {
        let repo = self.engine.repo()?;
        let from = diff::side(&self.engine, &repo, from)?;
        let to = diff::side(&self.engine, &repo, to)?;
        diff::compare(&self.engine, &repo, (&from, &to), &Watch::default())
    }

    /// Plans going back to a snapshot, and touches nothing.
    ///
    /// # Errors
    /// When the snapshot or the target cannot be read.
    pub fn plan_restore(&self, request: &RestoreRequest) -> Result<RestorePlan> {
        restore::plan_restore(&self.engine, request, None, &Watch::default())
    }

    /// As [`Self::plan_restore`], to a state that was put together over the request's snapshot.
    ///
    /// # Errors
    /// As [`Self::plan_restore`].
    pub fn plan_restore_composed(
        &self,
        request: &RestoreRequest,
        state: &Composed,
    ) -> Result<RestorePlan> {
        restore::plan_restore(&self.engine, request, Some(state), &Watch::default())
    }

    /// Plans putting back what a session changed, and touches nothing. What somebody
    /// else changed since is a conflict and kept, unless `all` is asked for.
    ///
    /// # Errors
    /// When a snapshot or the folder cannot be read.
    pub fn plan_undo(&self, request: &UndoRequest) -> Result<RestorePlan> {
        restore::plan_undo(&self.engine, request, None, &Watch::default())
    }

    /// As [`Self::plan_undo`], back to a state that was put together over the request's
    /// opening snapshot.
    ///
    /// # Errors
    /// As [`Self::plan_undo`].
    pub fn plan_undo_composed(
        &self,
        request: &UndoRequest,
        state: &Composed,
    ) -> Result<RestorePlan> {
        restore::plan_undo(&self.engine, request, Some(state), &Watch::default())
    }

    /// Puts a state together that no snapshot has: pieces of snapshots, laid over one. It is in
    /// memory only, for as long as this is open.
    ///
    /// # Errors
    /// When a snapshot that is named does not exist or is damaged.
    pub fn compose(&self, base: SnapshotId, pieces: &[Piece]) -> Result<Composed> {
        compose::compose(&self.engine, base, pieces)
    }

    /// Which of these paths a snapshot has, in the same order.
    ///
    /// # Errors
    /// When it does not exist or is damaged.
    pub fn has_paths(&self, snapshot: SnapshotId, paths: &[Vec<u8>]) -> Result<Vec<bool>> {
        let repo = self.engine.repo()?;
        let tree = catalog::load(&self.engine, &repo, snapshot.0)?.tree;
        let mut lookup = diff::Lookup::new(&self.engine, &repo, tree)?;
        Ok(paths.iter().map(|path| path.is_empty() || lookup.find(path).is_some()).collect())
    }

    /// Stores versions of files that a session destroyed, as a snapshot of their own, which is
    /// no state of the folder. On `Ok` it is on disk and was read back. Where the same versions
    /// of the session are stored already, that snapshot is given.
    ///
    /// # Errors
    /// When a version cannot be read whole, or the vault cannot be written: then nothing of it
    /// counts as stored.
    pub fn keep(&self, request: &KeepRequest) -> Result<Snapshot> {
        let _lock = self.engine.storage.lock()?;
        let snapshot = kept::make(&self.engine, request)?;
        // It is safe already; what fails here is tried after the next one.
        if let Err(error) = merge::when_due(&self.engine) {
            tracing::warn!(%error, "index files were not merged");
        }
        Ok(snapshot)
    }

    /// The snapshots of what sessions destroyed, the newest first.
    ///
    /// # Errors
    /// When the vault cannot be read.
    pub fn kept(&self) -> Result<Vec<Snapshot>> {
        catalog::kept(&self.engine, &*self.engine.repo()?)
    }

    /// Carries out a plan. `staging` is a private directory on the same mount as the
    /// target that no share shows; it is made if missing and empty afterwards. If this
    /// is cut short [`resume_restore`] completes it.
    ///
    /// # Errors
    /// When it cannot be staged: then the target is untouched. Later only for errors of
    /// the file system: then the log remains and it can be resumed.
    pub fn apply(
        &self,
        plan: &RestorePlan,
        staging: &Path,
        progress: Option<Arc<dyn Progress>>,
        cancel: Cancel,
    ) -> Result<RestoreReport> {
        restore::apply(&self.engine, plan, staging, &Watch { progress, cancel })
    }

    /// Checks the vault: its structure, and all stored data if `read_data` is set.
    ///
    /// # Errors
    /// When not even the list of snapshots can be had; all else is a named problem.
    pub fn check(&self, read_data: bool) -> Result<CheckReport> {
        self.check_as(&CheckRequest { read_data, ..CheckRequest::default() })
    }

    /// As [`Self::check`], followed and stopped from outside. Takes no writer's turn.
    ///
    /// # Errors
    /// As [`Self::check`], and [`VaultError::Cancelled`].
    pub fn check_as(&self, request: &CheckRequest) -> Result<CheckReport> {
        let opening = Opening::Open(&self.engine.master);
        Ok(examine(&self.engine.storage, &opening, request)?.report)
    }

    /// The packs on disk by name, with their bytes.
    ///
    /// # Errors
    /// When the vault cannot be listed.
    pub fn packs(&self) -> Result<Vec<(String, u64)>> {
        let storage = &self.engine.storage;
        let found = storage.entries(FileType::Pack).at("list the packs of", storage.dir())?;
        let named = |(id, size): (Id, u32)| (id.to_hex().as_str().to_owned(), u64::from(size));
        let mut packs: Vec<_> = found.into_iter().map(named).collect();
        packs.sort_unstable();
        Ok(packs)
    }

    /// Reads whole packs, and gives those that are as they were written, and those
    /// that are not. One that is gone is in neither: a prune may have taken it.
    ///
    /// # Errors
    /// [`VaultError::Cancelled`].
    pub fn read_packs(&self, names: &[String], cancel: &Cancel) -> Result<PacksRead> {
        let watch = Watch { progress: None, cancel: cancel.clone() };
        packs::read_back(&self.engine.storage, &self.engine.master, names, &watch)
    }

    /// Restores a random sample of the newest snapshot's files into a scratch
    /// directory and compares them; `None` if there is no snapshot.
    ///
    /// # Errors
    /// When the vault or the scratch directory cannot be used. A file that does not
    /// come back as it was stored is no error but a failure in the result.
    pub fn rehearse(&self, request: &RehearsalRequest) -> Result<Option<Rehearsed>> {
        // What is in memory already proves nothing about the disk.
        rehearse::rehearse(&self.engine.afresh(), request)
    }

    /// What a prune would free, in bytes. Changes nothing.
    ///
    /// # Errors
    /// When the vault cannot be read, or lacks something that a snapshot needs.
    pub fn forecast_prune(&self, request: &PruneRequest) -> Result<PruneForecast> {
        prune::forecast(&self.engine, request)
    }

    /// Forgets snapshots and frees what only they needed, in two phases: see
    /// [`PruneRequest::marked_for`]. Begins and ends with a check of the vault's
    /// structure. It can be killed at any moment, and repeated.
    ///
    /// # Errors
    /// [`VaultError::Damaged`], [`VaultError::StockRestic`], [`VaultError::Busy`],
    /// [`VaultError::NoSpace`], before anything was removed; later only those of the file
    /// system.
    pub fn prune(&self, request: &PruneRequest) -> Result<PruneReport> {
        let _lock = self.engine.storage.lock()?;
        prune::prune(&self.engine, request)
    }

    /// Gives back the memory that only makes the next operation faster: some sixty bytes for
    /// each piece of stored content, and a cache.
    pub fn unload(&self) {
        self.engine.unload();
    }

    /// Bytes that the vault occupies.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn size(&self) -> Result<u64> {
        self.engine.storage.size()
    }
}

/// Completes a restore that was cut short, from the redo log in its staging
/// directory. `None` if there was none; leftovers of staging are removed then. Needs
/// no vault: what was to be restored is staged.
///
/// # Errors
/// When the folder is gone or the file system refuses; it can be tried again.
pub fn resume_restore(
    staging: &Path,
    progress: Option<Arc<dyn Progress>>,
) -> Result<Option<RestoreReport>> {
    restore::resume(staging, &Watch { progress, cancel: Cancel::default() })
}

/// Whether a restore into `target` could be prepared in `staging`, which need not exist yet.
///
/// # Errors
/// [`VaultError::Staging`] where entries could not be moved from one to the other.
pub fn check_staging(staging: &Path, target: &Path) -> Result<()> {
    restore::check_staging(staging, target)
}

/// Whether the vault in `dir` opens with an empty password. It never should: for the
/// health check.
///
/// # Errors
/// [`VaultError::NotAVault`].
pub fn opens_without_password(dir: &Path) -> Result<bool> {
    engine::opens_without_password(&Arc::new(Storage::new(dir)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vault_may_be_shared_by_threads() {
        fn shared<T: Send + Sync>() {}
        shared::<Vault>();
        shared::<VaultKey>();
        shared::<RestorePlan>();
    }
}
