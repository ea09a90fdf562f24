//! Second copies: made by themselves after snapshots, one after the other for each target and
//! folder, later after failures; shown with their age.
//!
//! Owns when a copy is made and where it may lie. Must not: hold up a snapshot or a session.

mod recover;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ringfence_model::api::BackupCopyRequest;
use ringfence_model::config::Config;
use ringfence_model::copy::{CopyPlace, CopyRecord, CopyTarget, next_attempt};
use ringfence_model::error::{ApiError, ErrorKind};
use ringfence_model::folder::Folder;
use ringfence_model::name::FolderId;
use ringfence_model::size::Size;
use ringfence_model::status::{CopyStatus, FolderStatus, Problem, Severity};
use tokio::sync::Semaphore;

use super::report::Report;
use super::{Daemon, failed, folders};
use crate::host::clock;
use crate::vaults::copies::{Copying, younger, youngest};

/// Pause between two looks whether a copy is due.
const PERIOD: Duration = Duration::from_secs(5);
/// Copies that are made at one time: a slow target must not hold up all others.
const AT_ONCE: usize = 3;
/// What a copy takes of a line or a disk unless the configuration says otherwise.
const RATE: Size = Size::mib(32);

type Turn = Arc<tokio::sync::Mutex<()>>;

/// One at a time for each copy.
#[derive(Default)]
pub(super) struct Turns(Mutex<HashMap<(FolderId, CopyTarget), Turn>>);

impl Turns {
    fn of(&self, folder: &Folder, target: &CopyTarget) -> Turn {
        let mut turns = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(turns.entry((folder.id.clone(), target.clone())).or_default())
    }
}

impl Daemon {
    /// Makes copies as they fall due. Ends with the daemon.
    pub async fn keep_copies(self: Arc<Self>) {
        let places = Arc::new(Semaphore::new(AT_ONCE));
        loop {
            tokio::time::sleep(PERIOD).await;
            for (folder, target) in self.due_copies() {
                let turn = self.copy_turns.of(&folder, &target);
                // Waiting for a place counts as being at work: it is not begun twice.
                let Ok(turn) = turn.try_lock_owned() else { continue };
                let (daemon, places) = (Arc::clone(&self), Arc::clone(&places));
                tokio::spawn(async move {
                    let _turn = turn;
                    let Ok(_place) = places.acquire().await else { return };
                    if let Err(error) =
                        daemon.copy(&folder, &target, false, &Report::nobody()).await
                    {
                        tracing::warn!(folder = %folder.path.display(), %target, %error, "a copy failed");
                    }
                });
            }
        }
    }

    fn due_copies(&self) -> Vec<(Folder, CopyTarget)> {
        let config = self.config.last_good();
        let now = clock::now();
        let mut due = Vec::new();
        for folder in self.store.folders().unwrap_or_default().folders {
            for target in copies_of(&folder, &config) {
                let newest = self.store.protection(&folder.id).unwrap_or_default().snapshot;
                let record = self.copy_record(&folder, &target);
                // Without a snapshot there is nothing to copy.
                if newest.is_some() && next_attempt(&record, newest.as_deref(), now) <= now {
                    due.push((folder.clone(), target));
                }
            }
        }
        due
    }

    /// Brings all copies of a folder up to date now.
    ///
    /// # Errors
    /// When there is none, or one of them fails; the others are made all the same.
    pub async fn copy_now(
        &self,
        request: &BackupCopyRequest,
        report: &Report,
    ) -> Result<Vec<CopyStatus>, ApiError> {
        let folder = self.registered(&request.folder)?;
        let config = self.config.current()?;
        let targets = copies_of(&folder, &config);
        if targets.is_empty() {
            let path = folder.path.display();
            return Err(ApiError::new(ErrorKind::Config, format!("{path} has no second copy"))
                .hint(format!(
                    "name a place in {}: [[folder]] path = \"{path}\" [folder.backup] copy = [\"/mnt/disk/copies\"]",
                    self.config.path().display()
                )));
        }
        let mut first = None;
        for target in &targets {
            let turn = self.copy_turns.of(&folder, target);
            let _turn = turn.lock_owned().await;
            let made = self.copy(&folder, target, request.start_over, report).await;
            first = first.or(made.err());
        }
        match first {
            Some(error) => Err(error),
            None => self.copy_statuses(&folder, &config),
        }
    }

    /// Brings one copy up to date and writes down how that went. The caller has its turn.
    async fn copy(
        &self,
        folder: &Folder,
        target: &CopyTarget,
        start_over: bool,
        report: &Report,
    ) -> Result<(), ApiError> {
        let before = self.copy_record(folder, target);
        let began = clock::now();
        let newest = self.store.protection(&folder.id).unwrap_or_default().snapshot;
        let seen = youngest(&self.layout.vault(&folder.id));
        let rate = self.config.last_good().defaults.copy_rate.unwrap_or(RATE);
        let how = Copying { expected: before.last.is_some() && !start_over, rate };
        let made = match self.may_lie_there(target) {
            Ok(()) => self.vaults.copy(folder, &target.of_folder(&folder.id), how, report).await,
            Err(error) => Err(error),
        };
        let record = match &made {
            Ok(outcome) => {
                tracing::info!(folder = %folder.path.display(), %target, files = outcome.files, bytes = outcome.bytes, "copied");
                CopyRecord {
                    last: Some(began),
                    snapshot: newest,
                    seen,
                    tried: Some(clock::now()),
                    failures: 0,
                    error: None,
                }
            }
            Err(error) => CopyRecord {
                tried: Some(clock::now()),
                failures: before.failures.saturating_add(1),
                error: Some(error.message.clone()),
                ..before
            },
        };
        let written = self.store.set_copy(&folder.id, &target.to_string(), &record);
        made?;
        written.map_err(failed)
    }

    fn copy_record(&self, folder: &Folder, target: &CopyTarget) -> CopyRecord {
        self.store.copy(&folder.id, &target.to_string()).unwrap_or_else(|error| {
            tracing::error!(%error, "the record of a copy cannot be read");
            CopyRecord::default()
        })
    }

    /// A copy that an agent could reach is none.
    fn may_lie_there(&self, target: &CopyTarget) -> Result<(), ApiError> {
        let CopyPlace::Disk(path) = &target.place else { return Ok(()) };
        let real = resolved(path);
        let registered = self.store.folders().map_err(failed)?.folders;
        let folders = registered.iter().map(|folder| folder.path.as_path());
        let own = self.layout.own().map(resolved);
        for other in folders.chain(own.iter().map(PathBuf::as_path)) {
            if real.starts_with(other) || other.starts_with(&real) {
                return Err(ApiError::new(
                    ErrorKind::Refused,
                    format!("copies cannot lie at {target}: it overlaps with {}", other.display()),
                )
                .hint("name a directory of its own, best on another disk"));
            }
        }
        Ok(())
    }

    /// Directories in which copies lie: none of them may become a folder.
    pub(super) fn copy_directories(&self) -> Vec<PathBuf> {
        let config = self.config.last_good();
        let all = config.folders.iter().filter_map(|rules| rules.copy.as_ref()).flatten();
        all.chain(&config.defaults.copy)
            .filter_map(|target| match &target.place {
                CopyPlace::Disk(path) => Some(resolved(path)),
                _ => None,
            })
            .collect()
    }

    /// How every copy of a folder stands.
    pub(super) fn copy_statuses(
        &self,
        folder: &Folder,
        config: &Config,
    ) -> Result<Vec<CopyStatus>, ApiError> {
        let targets = copies_of(folder, config);
        if targets.is_empty() {
            return Ok(Vec::new());
        }
        let newest = self.store.protection(&folder.id).map_err(failed)?.snapshot;
        let vault = self.layout.vault(&folder.id);
        let mut statuses = Vec::new();
        for target in targets {
            let record = self.copy_record(folder, &target);
            let current = record.snapshot == newest && record.last.is_some();
            statuses.push(CopyStatus {
                target: target.of_folder(&folder.id).to_string(),
                last: record.last,
                age_seconds: record.last.map(|last| clock::now().duration_since(last).as_secs()),
                behind: if current { 0 } else { younger(&vault, record.seen) },
                error: record.error,
            });
        }
        Ok(statuses)
    }
}

/// Where a folder's copies go.
fn copies_of(folder: &Folder, config: &Config) -> Vec<CopyTarget> {
    let rules = folders::rules_of(&folder.path, config);
    if rules.backup { config.copies_of(&rules).to_vec() } else { Vec::new() }
}

/// A path with all links on the way resolved, as far as it exists.
fn resolved(path: &Path) -> PathBuf {
    let existing = path.ancestors().find_map(|place| Some((place, place.canonicalize().ok()?)));
    match existing {
        Some((place, real)) => real.join(path.strip_prefix(place).unwrap_or(Path::new(""))),
        None => path.to_owned(),
    }
}

/// What is wrong with the copies of a folder.
pub(super) fn problems(folder: &FolderStatus) -> impl Iterator<Item = Problem> {
    folder.copies.iter().filter_map(|copy| {
        let error = copy.error.as_ref()?;
        let path = folder.path.display();
        Some(Problem {
            severity: Severity::Warning,
            message: format!("second copy of {path} at {}: {error}", copy.target),
            command: Some(format!("ringfence backup copy {path}")),
        })
    })
}
