//! The storage engine (rustic_core) behind typed errors. Owns opening, the loaded
//! index and the translation of the engine's errors and panics; decides nothing
//! about snapshots or folders.

use std::collections::{HashMap, HashSet};
use std::io::{Read, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustic_core::repofile::{BlobType, IndexFile, MasterKey, Node};
use rustic_core::{
    BlobId, ConfigOptions, Credentials, DataId, ErrorKind, FileType, Id, IndexedFullStatus,
    KeyOptions, OpenStatus, ReadBackend, RepairIndexOptions, Repository, RepositoryBackends,
    RepositoryOptions, RusticError, RusticResult, TreeId, WriteBackend,
};

use crate::catalog::Brief;
use crate::error::{At, Result, VaultError};
use crate::key::VaultKey;
use crate::seal::Seal;
use crate::settle::LastLook;
use crate::stat::is_plain_name;
use crate::storage::Storage;
use crate::verify::inventory::Inventory;
use crate::view::View;

/// An opened repository with its index in memory.
pub(crate) type Repo = Repository<IndexedFullStatus>;

/// The repository as loaded.
#[derive(Clone, Debug)]
pub(crate) struct Loaded {
    /// The index files it was loaded from, sorted.
    pub(crate) index: Vec<Id>,
    pub(crate) repo: Arc<Repo>,
}

/// One vault's engine.
#[derive(Debug)]
pub(crate) struct Engine {
    pub(crate) storage: Arc<Storage>,
    pub(crate) master: MasterKey,
    loaded: Mutex<Option<Loaded>>,
    looked: Mutex<Option<LastLook>>,
    /// About a hundred bytes for each snapshot.
    briefs: Mutex<HashMap<Id, Brief>>,
    imagined: Mutex<Imagined>,
}

/// Directories and pieces of content that were put together and are in memory only.
#[derive(Debug, Default)]
pub(crate) struct Imagined {
    pub(crate) trees: HashMap<TreeId, Vec<Node>>,
    pub(crate) content: HashMap<DataId, Vec<u8>>,
}

impl Engine {
    /// Makes the files of a new vault.
    pub(crate) fn create(storage: Arc<Storage>, key: &VaultKey) -> Result<Self> {
        let credentials = Credentials::password(key.reveal());
        let repo = guarded(&storage, "making the vault", || {
            blank(&storage)?.init(&credentials, &KeyOptions::default(), &ConfigOptions::default())
        })?;
        let master = repo.key();
        key.remember(master.clone());
        Ok(Self {
            storage,
            master,
            loaded: Mutex::default(),
            looked: Mutex::default(),
            briefs: Mutex::default(),
            imagined: Mutex::default(),
        })
    }

    /// Opens an existing vault. The remembered master key saves the slow derivation;
    /// when it does not fit the password decides.
    pub(crate) fn open(storage: Arc<Storage>, key: &VaultKey) -> Result<Self> {
        let found = storage.list(FileType::Config);
        if !matches!(found.as_deref(), Ok([_])) {
            return Err(VaultError::NotAVault { path: storage.dir().into() });
        }
        let remembered =
            key.master().and_then(|m| Self::enter(&storage, &Credentials::Masterkey(m)).ok());
        let repo = match remembered {
            Some(repo) => repo,
            None => {
                let repo = Self::enter(&storage, &Credentials::password(key.reveal()))?;
                key.remember(repo.key());
                repo
            }
        };
        Ok(Self {
            storage,
            master: repo.key(),
            loaded: Mutex::default(),
            looked: Mutex::default(),
            briefs: Mutex::default(),
            imagined: Mutex::default(),
        })
    }

    /// The same vault with nothing remembered: no index, no content, no open file.
    pub(crate) fn afresh(&self) -> Self {
        Self {
            storage: Arc::new(Storage::new(self.storage.dir())),
            master: self.master.clone(),
            loaded: Mutex::default(),
            looked: Mutex::default(),
            briefs: Mutex::default(),
            imagined: Mutex::default(),
        }
    }

    fn enter(storage: &Arc<Storage>, with: &Credentials) -> Result<Repository<OpenStatus>> {
        let opened = catch_unwind(AssertUnwindSafe(|| blank(storage)?.open(with)));
        let path = || storage.dir().to_path_buf();
        match opened {
            Ok(Ok(repo)) => Ok(repo),
            Ok(Err(e)) if e.is_incorrect_password() => Err(VaultError::WrongKey { path: path() }),
            Ok(Err(e)) => Err(VaultError::Damaged { path: path(), what: e.display_log() }),
            Err(panic) => Err(VaultError::Damaged { path: path(), what: panic_text(&*panic) }),
        }
    }

    /// The repository, its index loaded anew if the vault's index files changed.
    pub(crate) fn repo(&self) -> Result<Arc<Repo>> {
        let mut now = self.index_files()?;
        let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(loaded) = loaded.as_ref().filter(|loaded| loaded.index == now) {
            return Ok(Arc::clone(&loaded.repo));
        }
        // Two of them at a time would be twice the memory.
        *loaded = None;
        let repo = Arc::new(loop {
            let error = match self.load() {
                Ok(repo) => break repo,
                Err(error) => error,
            };
            // Another process may have merged or pruned what was just listed.
            let again = self.index_files()?;
            if again == now {
                break self.without_damaged(&now)?.ok_or(error)?;
            }
            now = again;
        });
        *loaded = Some(Loaded { index: now, repo: Arc::clone(&repo) });
        Ok(repo)
    }

    /// The repository as it was loaded last, though more may have been stored since.
    pub(crate) fn as_loaded(&self) -> Result<Loaded> {
        let last = self.loaded.lock().unwrap_or_else(PoisonError::into_inner).clone();
        match last {
            Some(loaded) => Ok(loaded),
            None => Ok(Loaded { index: self.index_files()?, repo: self.repo()? }),
        }
    }

    fn load(&self) -> Result<Repo> {
        let opened = Self::enter(&self.storage, &Credentials::Masterkey(self.master.clone()))?;
        guarded(&self.storage, "loading the index", || opened.to_indexed())
    }

    /// Names of the index files, sorted.
    pub(crate) fn index_files(&self) -> Result<Vec<Id>> {
        let mut found = self.storage.list(FileType::Index).map_err(|e| VaultError::Damaged {
            path: self.storage.dir().into(),
            what: e.display_log(),
        })?;
        found.sort_unstable();
        Ok(found)
    }

    /// Forgets the loaded repository, which is by far the most that an opened vault keeps in
    /// memory; it is loaded again when it is needed.
    pub(crate) fn unload(&self) {
        *self.loaded.lock().unwrap_or_else(PoisonError::into_inner) = None;
        self.storage.let_go_of_packs();
    }

    /// Removes packs that a writer put in their places and then could not name in an
    /// index. Only packs that were written down as such: what is merely not found in an
    /// index may be what a damaged index named. The caller holds the writer's lock.
    pub(crate) fn sweep_unnamed(&self, repo: &Repo) -> Result<()> {
        let mut unnamed = self.storage.unnamed();
        if unnamed.is_empty() {
            return Ok(());
        }
        let indexes = self.run("reading the index", || {
            repo.stream_files::<IndexFile>()?.collect::<RusticResult<Vec<_>>>()
        });
        // What a damaged index names is not known, so nothing is removed before it is repaired.
        let Ok(indexes) = indexes else { return Ok(()) };
        let named: HashSet<Id> = indexes
            .iter()
            .flat_map(|(_, index)| index.packs.iter().chain(&index.packs_to_delete))
            .map(|pack| *pack.id)
            .collect();
        unnamed.retain(|id| !named.contains(id));
        tracing::info!(packs = unnamed.len(), "packs of a writer that was stopped are removed");
        self.storage.sweep(&unnamed)
    }

    /// The repository without the index files that cannot be read: their packs are
    /// asked themselves what is in them. `None` where all of them can be read.
    fn without_damaged(&self, index: &[Id]) -> Result<Option<Repo>> {
        let seal = Seal::new(&self.master)?;
        let bad = Inventory::read(&self.storage, &seal, index.to_vec()).bad_files;
        if bad.is_empty() {
            return Ok(None);
        }
        tracing::warn!(count = bad.len(), "damaged index files are passed over");
        let hidden = bad.into_iter().map(|bad| bad.id).collect();
        let view = Arc::new(View::without(&self.storage, hidden));
        let doing = "putting the index together from the packs";
        guarded(&self.storage, doing, || {
            blank_on(view)?.open(&Credentials::Masterkey(self.master.clone()))?.to_indexed_checked()
        })
        .map(Some)
    }

    /// Makes the index fit the packs that are there; index files that go are moved aside.
    pub(crate) fn repair_index(&self, options: RepairIndexOptions) -> Result<()> {
        let view = Arc::new(View::sorting(&self.storage));
        guarded(&self.storage, "repairing the index", || {
            blank_on(view)?
                .open(&Credentials::Masterkey(self.master.clone()))?
                .repair_index(&options, false)
        })?;
        self.storage.sync().at("sync", self.storage.dir())
    }

    /// Makes a key file by which a password opens the vault.
    pub(crate) fn add_key(&self, password: &str, options: &KeyOptions) -> Result<()> {
        let opened = Self::enter(&self.storage, &Credentials::Masterkey(self.master.clone()))?;
        guarded(&self.storage, "making a key file", || opened.add_key(password, options)).map(drop)
    }

    /// The last look at the folder by this process.
    pub(crate) fn looked(&self) -> MutexGuard<'_, Option<LastLook>> {
        self.looked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is remembered of the snapshots.
    pub(crate) fn briefs(&self) -> MutexGuard<'_, HashMap<Id, Brief>> {
        self.briefs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is in memory only.
    pub(crate) fn imagined(&self) -> MutexGuard<'_, Imagined> {
        self.imagined.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs an engine call with its errors and panics turned into ours.
    pub(crate) fn run<T>(
        &self,
        doing: &'static str,
        call: impl FnOnce() -> RusticResult<T>,
    ) -> Result<T> {
        guarded(&self.storage, doing, call)
    }

    /// Entries of a stored directory, sorted by name.
    pub(crate) fn tree(&self, repo: &Repo, id: TreeId) -> Result<Vec<Node>> {
        if let Some(nodes) = self.imagined().trees.get(&id) {
            return Ok(nodes.clone());
        }
        let nodes = self.run("reading a directory", || repo.get_tree(&id))?.nodes;
        if let Some(bad) = nodes.iter().find(|n| !is_plain_name(n)) {
            return Err(VaultError::Damaged {
                path: self.storage.dir().into(),
                what: format!("a stored directory holds the name {:?}", bad.name),
            });
        }
        Ok(nodes)
    }

    /// Writes a stored file's content to `to`, one piece after the other, and gives
    /// its length.
    pub(crate) fn copy_content(
        &self,
        repo: &Repo,
        content: &[DataId],
        to: &mut dyn FnMut(&[u8]) -> std::io::Result<()>,
    ) -> Result<u64> {
        let mut length = 0;
        for id in content {
            let imagined = self.imagined().content.get(id).cloned();
            if let Some(piece) = imagined {
                to(&piece)
                    .map_err(|e| VaultError::io("write the content of", "a restored file", e))?;
                length += piece.len() as u64;
                continue;
            }
            let piece = self.run("reading a file's content", || {
                repo.get_blob_cached(&BlobId::from(**id), BlobType::Data)
            })?;
            to(&piece).map_err(|e| VaultError::io("write the content of", "a restored file", e))?;
            length += piece.len() as u64;
        }
        Ok(length)
    }

    /// Whether the bytes that `from` yields are exactly the stored content.
    pub(crate) fn content_is(repo: &Repo, content: &[DataId], from: &mut impl Read) -> bool {
        let same = content.iter().all(|id| {
            repo.get_index_entry(id)
                .is_ok_and(|entry| id.blob_matches_reader(entry.data_length().into(), from))
        });
        same && matches!(from.read(&mut [0u8]), Ok(0))
    }

    /// As [`Self::content_is`], also for content of which a piece is in memory only.
    pub(crate) fn reads_as(&self, repo: &Repo, content: &[DataId], from: &mut impl Read) -> bool {
        let imagined =
            |id: &DataId| self.imagined().content.get(id).map(|piece| piece.len() as u64);
        let same = content.iter().all(|id| {
            let length = imagined(id)
                .or_else(|| repo.get_index_entry(id).ok().map(|it| it.data_length().into()));
            length.is_some_and(|length| id.blob_matches_reader(length, from))
        });
        same && matches!(from.read(&mut [0u8]), Ok(0))
    }

    /// Whether a stored directory is in the vault, as its index says.
    pub(crate) fn has_tree(repo: &Repo, tree: TreeId) -> bool {
        repo.get_index_entry(&tree).is_ok()
    }

    /// Whether every piece of the content is in the vault, as its index says.
    pub(crate) fn has_content(repo: &Repo, content: &[DataId]) -> bool {
        content.iter().all(|id| repo.get_index_entry(id).is_ok())
    }
}

/// Whether this vault would open with an empty password. It never should.
///
/// # Errors
/// When there is no vault in the directory.
pub(crate) fn opens_without_password(storage: &Arc<Storage>) -> Result<bool> {
    if !matches!(storage.list(FileType::Config).as_deref(), Ok([_])) {
        return Err(VaultError::NotAVault { path: storage.dir().into() });
    }
    Ok(Engine::enter(storage, &Credentials::password("")).is_ok())
}

fn blank(storage: &Arc<Storage>) -> RusticResult<Repository<()>> {
    blank_on(Arc::clone(storage) as _)
}

fn blank_on(files: Arc<dyn WriteBackend>) -> RusticResult<Repository<()>> {
    let mut options = RepositoryOptions::default();
    options.no_cache = true;
    let backends = RepositoryBackends::new(files, None);
    Repository::new(&options, &backends)
}

fn guarded<T>(
    storage: &Storage,
    doing: &'static str,
    call: impl FnOnce() -> RusticResult<T>,
) -> Result<T> {
    let outcome = catch_unwind(AssertUnwindSafe(call));
    // Asked every time, so that an old refusal is never blamed for a new failure.
    let no_space = storage.take_no_space();
    match outcome {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(_)) | Err(_) if no_space.is_some() => Err(no_space.unwrap_or(VaultError::Cancelled)),
        Ok(Err(e)) => Err(VaultError::Engine { doing, detail: e.display_log() }),
        Err(panic) => Err(VaultError::Engine { doing, detail: panic_text(&*panic) }),
    }
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic
        .downcast_ref::<&str>()
        .map(|s| (*s).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned());
    format!("it panicked: {}", text.unwrap_or_default())
}

/// An error of ours in the engine's type, for the traits it calls.
pub(crate) fn engine_error(text: &'static str) -> Box<RusticError> {
    RusticError::new(ErrorKind::InputOutput, text)
}

/// Sends bytes to a writer until it refuses.
pub(crate) fn writing(to: &mut dyn Write) -> impl FnMut(&[u8]) -> std::io::Result<()> + '_ {
    |bytes| to.write_all(bytes)
}
