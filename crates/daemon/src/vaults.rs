//! The vaults of all folders as the daemon uses them: opened once, one writer each, their
//! blocking work on threads of its own, their answers in the words of the API.
//!
//! Must not: know about machines, shares or sessions' processes.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use ringfence_model::bytes::BytePath;
use ringfence_model::error::{ApiError, ErrorKind};
use ringfence_model::folder::Folder;
use ringfence_model::health::NotCovered;
use ringfence_model::history::{SnapshotKind, SnapshotView};
use ringfence_model::layout::Layout;
use ringfence_model::name::FolderId;
use ringfence_model::session::Session;
use ringfence_vault::{
    Cancel, ChangeSet, EntryPath, Labels, Snapshot, SnapshotMode, SnapshotRequest, Vault,
    VaultError, VaultKey,
};

use crate::host::{facts, files, thread};
use crate::store::Store;
use crate::supervisor::report::Report;

mod convert;
pub(crate) mod copies;
mod exit_check;
mod hint;
mod history;
mod kept;
pub(crate) mod keyring;
mod restore;
mod retention;
mod secrets;
mod sftp;
mod verify;
mod work;

pub(crate) use convert::snapshot as snapshot_view;
pub(crate) use exit_check::{Ends, Looked};
pub(crate) use hint::StoredHint;
pub(crate) use history::{Comparison, decoded, exact, is_covered};
pub(crate) use kept::kept_paths;
pub(crate) use restore::{Of, Restoring};
pub(crate) use verify::Repairing;
pub(crate) use work::restore;

/// Most unreadable files that one note names.
const NAMED: usize = 5;

/// What is known to have changed in a folder since a snapshot was begun.
pub(crate) struct Changes {
    /// Full id of that snapshot.
    pub(crate) since: String,
    /// Entries that changed themselves.
    pub(crate) entries: Vec<Vec<u8>>,
    /// Directories that have to be looked at with all that is below.
    pub(crate) whole: Vec<Vec<u8>>,
}

/// How a snapshot is taken.
pub(crate) struct How {
    /// What has to be looked at; `None`: everything.
    pub(crate) changes: Option<Changes>,
    /// Stops it.
    pub(crate) cancel: Cancel,
    /// What the user does not want to be backed up.
    pub(crate) excludes: Vec<String>,
    /// Nobody waits for it: everything else goes first.
    pub(crate) background: bool,
    /// When it was begun.
    pub(crate) at: jiff::Timestamp,
}

impl Changes {
    /// In the vault's words; `None` where the snapshot's id is no id.
    fn set(self) -> Option<ChangeSet> {
        let mut set = ChangeSet::new(self.since.parse().ok()?);
        self.entries.into_iter().for_each(|path| set.entry(path));
        self.whole.into_iter().for_each(|path| set.whole(path));
        Some(set)
    }
}

/// What came of a snapshot.
pub(crate) struct Taken {
    /// The snapshot that holds the folder: a new one, or the newest if nothing changed.
    pub(crate) view: SnapshotView,
    /// Everything was looked at, whatever was known to have changed.
    pub(crate) walked: bool,
    /// What it does not hold as it is in the folder. What patterns leave out is only counted
    /// where everything was looked at.
    pub(crate) not_covered: NotCovered,
}

/// An opened vault, and when somebody wanted it last.
struct Opened {
    vault: Arc<Vault>,
    used: Instant,
}

/// A vault that nobody used for so long gives back the memory of its index: loading that
/// again takes a fraction of a second.
const RESTING: Duration = Duration::from_secs(60);

/// All vaults.
pub(crate) struct Vaults {
    layout: Layout,
    store: Store,
    open: Mutex<HashMap<FolderId, Opened>>,
    writers: Mutex<HashMap<FolderId, Arc<tokio::sync::Mutex<()>>>>,
    /// Whether keys also go into the desktop's keyring: not those of a directory that some
    /// other program, such as a test, made for itself.
    use_keyring: bool,
    /// Held by whoever looks for a key file that is gone.
    finding: tokio::sync::Mutex<()>,
    lookers: verify::Lookers,
}

impl Vaults {
    pub(crate) fn new(layout: Layout, store: Store) -> Self {
        let own = Layout::resolve(&facts::environment());
        Self {
            use_keyring: own.is_ok_and(|own| own == layout),
            layout,
            store,
            open: Mutex::default(),
            writers: Mutex::default(),
            finding: tokio::sync::Mutex::default(),
            lookers: verify::Lookers::default(),
        }
    }

    /// The writer's turn for a folder: snapshots and restores take it one after another.
    pub(crate) async fn turn(&self, folder: &FolderId) -> tokio::sync::OwnedMutexGuard<()> {
        let writer = {
            let mut writers = self.writers.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(writers.entry(folder.clone()).or_default())
        };
        writer.lock_owned().await
    }

    /// The vault of a folder, made with a new key where there is none.
    pub(crate) async fn vault(&self, folder: &Folder) -> Result<Arc<Vault>, ApiError> {
        if let Some(vault) = self.opened(&folder.id) {
            return Ok(vault);
        }
        let (directory, key_file) =
            (self.layout.vault(&folder.id), self.layout.vault_key(&folder.id));
        let path = folder.path.clone();
        if directory.join("config").exists() && !key_file.exists() {
            self.find_lost_key(folder).await?;
        }
        let vault =
            blocking(move || open_or_create(&directory, &key_file)).await.map_err(|error| {
                vault_error(&error)
                    .hint(format!("look closer: ringfence backup check {}", path.display()))
            })?;
        if let (true, Ok(key)) = (self.use_keyring, self.key(folder)) {
            // Behind, because a desktop may be slow to answer.
            let key = key.reveal().to_owned();
            tokio::spawn(keyring::keep(folder.id.clone(), folder.path.clone(), key));
        }
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let new = || Opened { vault: Arc::new(vault), used: Instant::now() };
        Ok(Arc::clone(&open.entry(folder.id.clone()).or_insert_with(new).vault))
    }

    fn opened(&self, id: &FolderId) -> Option<Arc<Vault>> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        // A vault that somebody removed must not be written to through an old handle.
        let there = self.layout.vault(id).join("config").exists();
        if !there {
            open.remove(id);
        }
        let opened = open.get_mut(id)?;
        opened.used = Instant::now();
        Some(Arc::clone(&opened.vault))
    }

    /// Has the vaults that nobody uses give back memory.
    pub(crate) fn let_rest(&self) {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let unused = |opened: &&Opened| Arc::strong_count(&opened.vault) == 1;
        for opened in open.values().filter(unused).filter(|it| it.used.elapsed() >= RESTING) {
            opened.vault.unload();
        }
    }

    /// Forgets an open vault; it is opened anew when it is needed.
    fn close(&self, id: &FolderId) {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).remove(id);
    }

    /// Takes a snapshot. Its outcome is on disk before this returns. The caller holds the
    /// folder's turn.
    pub(crate) async fn snapshot(
        &self,
        folder: &Folder,
        (kind, session): (SnapshotKind, Option<&Session>),
        how: How,
        report: &Report,
    ) -> Result<Taken, ApiError> {
        let fresh = !self.layout.vault_key(&folder.id).exists();
        let vault = self.vault(folder).await?;
        if fresh {
            report.note(self.about_the_key(folder));
        }
        let labels = Labels {
            kind: convert::to_vault(kind),
            session: session.map(|session| session.id.to_string()),
            profile: session.map(|session| session.profile.to_string()),
        };
        let mut request = SnapshotRequest::new(&folder.path, labels, how.at);
        request.progress = Some(convert::progress(report, format!("{} snapshot", kind.word())));
        request.cancel = how.cancel;
        request.excludes = how.excludes;
        // Which directory is the folder was decided before, by the identity that a person registered.
        request.replaced = true;
        request.changes = how.changes.and_then(Changes::set);
        let work = move || vault.snapshot(&request);
        let outcome = if how.background { background(work).await } else { blocking(work).await };
        let outcome = outcome.map_err(|error| {
            let mut error = vault_error(&error);
            error.message =
                format!("{} could not be backed up: {}", folder.path.display(), error.message);
            error.hint(format!(
                "when that is mended: ringfence backup now {}",
                folder.path.display()
            ))
        })?;
        if !outcome.unreadable.is_empty() {
            let named: Vec<String> = outcome
                .unreadable
                .iter()
                .take(NAMED)
                .map(|remark| {
                    format!(
                        "{} ({})",
                        ringfence_model::bytes::visible(&remark.path.lossy()),
                        remark.why
                    )
                })
                .collect();
            let count = outcome.unreadable.len();
            report.note(format!(
                "{count} entries could not be backed up as they are: {}",
                named.join(", ")
            ));
        }
        if !outcome.changed_while_read.is_empty() {
            let count = outcome.changed_while_read.len();
            report.note(format!(
                "{count} files changed while they were read; the next snapshot reads them again"
            ));
        }
        let walked = outcome.mode != SnapshotMode::Changes;
        let not_covered = convert::not_covered(&outcome);
        Ok(Taken { view: convert::snapshot(&outcome.snapshot), walked, not_covered })
    }

    /// A key file that is gone comes back from the keyring, if that has it.
    async fn find_lost_key(&self, folder: &Folder) -> Result<(), ApiError> {
        let _alone = self.finding.lock().await;
        let file = self.layout.vault_key(&folder.id);
        if file.exists() {
            // Somebody who missed it at the same time has found it.
            return Ok(());
        }
        let known = if self.use_keyring { keyring::find(&folder.id).await } else { None };
        let Some(key) = known else {
            return Err(ApiError::new(
                ErrorKind::Vault,
                format!(
                    "the key of the backup of {} is missing: there is no {}",
                    folder.path.display(),
                    file.display()
                ),
            )
            .hint("put that file back; nothing was changed")
            .hint(format!(
                "or, with the recovery sheet: ringfence backup recover {} --to DIR",
                self.layout.vault(&folder.id).display()
            )));
        };
        tracing::warn!(folder = %folder.path.display(), "the key file is gone: taken from the keyring");
        let stored = VaultKey::from_password(&key).and_then(|key| key.store(&file));
        stored.map_err(|error| vault_error(&error))
    }

    /// What is said once, when a vault is made: what losing its key means.
    fn about_the_key(&self, folder: &Folder) -> String {
        let path = folder.path.display();
        format!(
            "The backup of {path} is encrypted. Its key is in {}. If that file is lost, nobody can \
             read the backup, not even you: print the key once and keep it elsewhere: \
             ringfence backup key --sheet {path}",
            self.layout.vault_key(&folder.id).display()
        )
    }

    /// The snapshots of a folder, newest first, and sentences about those that are damaged.
    pub(crate) async fn snapshots(
        &self,
        folder: &Folder,
    ) -> Result<(Vec<SnapshotView>, Vec<String>), ApiError> {
        let vault = self.vault(folder).await?;
        let all = blocking(move || vault.snapshots()).await.map_err(|error| vault_error(&error))?;
        let damaged = all
            .damaged
            .iter()
            .map(|snapshot| format!("snapshot {} cannot be read: {}", snapshot.id, snapshot.why));
        Ok((all.snapshots.iter().map(convert::snapshot).collect(), damaged.collect()))
    }

    /// The snapshot that a selector means: `latest`, an id or its beginning, or a time.
    pub(crate) async fn find(&self, folder: &Folder, selector: &str) -> Result<Snapshot, ApiError> {
        let vault = self.vault(folder).await?;
        let asked = selector.to_owned();
        let found = blocking(move || match vault.find(&asked) {
            Ok(found) => Ok(Ok(found)),
            // The oldest one says how far back it goes.
            Err(error) => Ok(Err((error, vault.snapshots()?.snapshots.pop()))),
        });
        let found = found.await.map_err(|error| vault_error(&error))?;
        found.map_err(|(error, oldest)| match (&error, oldest) {
            (VaultError::NoSuchSnapshot { .. }, Some(oldest))
                if selector.parse::<jiff::Timestamp>().is_ok() =>
            {
                let (short, time) = (oldest.id.short(), oldest.time);
                ApiError::new(
                    ErrorKind::Vault,
                    format!("no snapshot is so old: the first one is {short}, taken at {time:.0}"),
                )
                .hint("ringfence history")
            }
            (VaultError::NoSuchSnapshot { .. }, None) => {
                ApiError::new(ErrorKind::Vault, "there is no snapshot yet")
                    .hint(format!("ringfence backup now {}", folder.path.display()))
            }
            _ => vault_error(&error).hint("ringfence history"),
        })
    }

    /// The key of a folder's vault.
    pub(crate) fn key(&self, folder: &Folder) -> Result<VaultKey, ApiError> {
        VaultKey::load(&self.layout.vault_key(&folder.id)).map_err(|error| vault_error(&error))
    }
}

fn open_or_create(directory: &Path, key_file: &Path) -> Result<Vault, VaultError> {
    if directory.join("config").exists() {
        return Vault::open(directory, &VaultKey::load(key_file)?);
    }
    // The key first: a vault whose key was lost in a crash would be lost too.
    let key = if key_file.exists() {
        VaultKey::load(key_file)?
    } else {
        if let Some(directory) = key_file.parent() {
            files::private_directory(directory).map_err(|source| VaultError::Io {
                doing: "make the directory",
                path: directory.to_owned(),
                source,
            })?;
        }
        let key = VaultKey::generate()?;
        key.store(key_file)?;
        key
    };
    Vault::create(directory, &key)
}

/// A vault's error as a person is told, with what helps.
pub(crate) fn vault_error(error: &VaultError) -> ApiError {
    let api = ApiError::new(ErrorKind::Vault, error.to_string());
    match error {
        VaultError::NoSpace { .. } => {
            api.hint("free some space on that disk; what was saved before is intact")
        }
        VaultError::StockRestic { path } => api.hint(format!(
            "wait until it is done; where none is running: restic -r {} unlock",
            path.display()
        )),
        VaultError::WrongKey { .. } | VaultError::KeyFile { .. } => {
            api.hint("put the right key file back; nothing was changed")
        }
        VaultError::Staging { .. } => api.hint(
            "a folder that is a mount point has no place beside it to prepare a restore; \
             restore elsewhere and copy: ringfence restore --to DIR",
        ),
        VaultError::Path { what: "does not exist", .. } => {
            api.hint("in which snapshots a path is: ringfence history PATH")
        }
        VaultError::Folder { .. } => {
            api.hint("nothing in the vault was changed: ringfence history")
        }
        _ => api,
    }
}

/// Runs blocking work on a thread of its own.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, VaultError> + Send + 'static,
) -> Result<T, VaultError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(outcome) => outcome,
        // A panic in the library is an error of this one act.
        Err(error) => Err(VaultError::Engine { doing: "working", detail: error.to_string() }),
    }
}

/// Whether something is at a path below the folder, reached through no link.
pub(crate) fn is_there(root: &Path, path: &[u8]) -> bool {
    use rustix::fs::{Mode, OFlags, ResolveFlags, open, openat2};
    let beneath = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    // With these two a link at the end is opened itself, and not followed.
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    open(root, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .is_ok_and(|root| openat2(root, path, flags, Mode::empty(), beneath).is_ok())
}

/// As [`blocking`], on a thread that everything else goes before.
async fn background<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, VaultError> + Send + 'static,
) -> Result<T, VaultError> {
    match thread::background("snapshot", work).await {
        Some(outcome) => outcome,
        None => Err(VaultError::Engine {
            doing: "working",
            detail: "its thread did not start or did not end well".into(),
        }),
    }
}

/// A live file's content, beneath the folder and through no link; `None` when it is not a
/// readable regular file of at most `limit` bytes.
pub(crate) fn read_live(root: &Path, path: &[u8], limit: u64) -> Option<Vec<u8>> {
    use rustix::fs::{Mode, OFlags, ResolveFlags, open, openat2};
    use std::io::Read;
    let root =
        open(root, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).ok()?;
    let beneath = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = std::fs::File::from(openat2(root, path, flags, Mode::empty(), beneath).ok()?);
    let facts = file.metadata().ok()?;
    if !facts.is_file() || facts.len() > limit {
        return None;
    }
    let mut content = Vec::new();
    file.take(limit).read_to_end(&mut content).ok()?;
    Some(content)
}

/// Raw bytes of a path in a vault.
pub(crate) fn byte_path(path: &EntryPath) -> BytePath {
    BytePath::from_bytes(&path.0)
}
