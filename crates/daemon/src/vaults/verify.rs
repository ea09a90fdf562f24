//! Looking after vaults: checks and repairs on request, and what is due by itself. Owns
//! the record of each vault's health; decides nothing itself, `ringfence_vault` does.
//!
//! None of the looking takes the writer's turn, so that no snapshot waits for it; only a
//! repair does.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use jiff::{SignedDuration, Timestamp};
use ringfence_model::bytes::BytePath;
use ringfence_model::error::ApiError;
use ringfence_model::folder::Folder;
use ringfence_model::health::{
    CheckProblem, CheckView, Finding, FolderHealth, NotCovered, RepairView, TouchedSnapshot,
    VerifiedSnapshot,
};
use ringfence_model::name::FolderId;
use ringfence_vault::{
    Cancel, CheckReport, CheckRequest, Elsewhere, Facts, Health, Labels, RehearsalRequest,
    RepairRequest, RepairStep, Severity, SnapshotKind, SnapshotRequest, Spare, Target, Touched,
    Vault, VaultError, VaultKey, Work,
};

use super::{Vaults, blocking, convert, vault_error};
use crate::host::{clock, thread};
use crate::supervisor::report::Report;

/// How a vault is repaired.
pub(crate) struct Repairing {
    /// The folder may be asked for what is lost.
    pub(crate) reread: bool,
    /// Damage is looked for in all stored data.
    pub(crate) read_data: bool,
    /// It is done; else only planned.
    pub(crate) apply: bool,
    /// Second copies, which may have what is damaged here.
    pub(crate) copies: Vec<Target>,
}

/// One folder's vault and what is needed to look after it.
#[derive(Clone)]
struct Ward {
    folder: PathBuf,
    vault: PathBuf,
    key: PathBuf,
    scratch: PathBuf,
}

/// One look at a time for each folder, so that no result is written over a newer one.
#[derive(Default)]
pub(super) struct Lookers(Mutex<HashMap<FolderId, Arc<tokio::sync::Mutex<()>>>>);

impl Lookers {
    async fn one(&self, folder: &FolderId) -> tokio::sync::OwnedMutexGuard<()> {
        let looker = {
            let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(all.entry(folder.clone()).or_default())
        };
        looker.lock_owned().await
    }
}

impl Vaults {
    fn ward(&self, folder: &Folder) -> Ward {
        Ward {
            folder: folder.path.clone(),
            vault: self.layout.vault(&folder.id),
            key: self.layout.vault_key(&folder.id),
            scratch: self.layout.state.join("scratch").join(&folder.id),
        }
    }

    /// Checks a vault, whether or not it can be opened.
    pub(crate) async fn check(
        &self,
        folder: &Folder,
        read_data: bool,
        report: &Report,
    ) -> Result<CheckView, ApiError> {
        let _look = self.lookers.one(&folder.id).await;
        let ward = self.ward(folder);
        let mut health = self.store.health(&folder.id).unwrap_or_default();
        let request = CheckRequest {
            read_data,
            packs: health.bad_packs(),
            progress: Some(convert::progress(report, "check".into())),
            ..CheckRequest::default()
        };
        let found = blocking(move || {
            ringfence_vault::check(&ward.vault, &VaultKey::load(&ward.key)?, &request)
        })
        .await
        .map_err(|error| vault_error(&error))?;
        health.after_check(&found, clock::now());
        self.keep_health(folder, &health);
        Ok(check_view(&found))
    }

    /// Plans a repair, or carries it out in the writer's turn.
    pub(crate) async fn repair(
        &self,
        folder: &Folder,
        how: Repairing,
        report: &Report,
    ) -> Result<RepairView, ApiError> {
        let _look = self.lookers.one(&folder.id).await;
        let _turn = self.turn(&folder.id).await;
        let ward = self.ward(folder);
        let mut health = self.store.health(&folder.id).unwrap_or_default();
        let labels = Labels::new(SnapshotKind::Manual);
        let Repairing { reread, read_data, apply, copies } = how;
        let reread = reread.then(|| {
            let mut reread = SnapshotRequest::new(&folder.path, labels, clock::now());
            reread.progress = Some(convert::progress(report, "reading the folder again".into()));
            reread
        });
        let mut elsewhere: Vec<Arc<dyn Elsewhere>> = vec![Arc::new(health.spare.clone())];
        elsewhere.extend(copies.into_iter().map(|copy| Arc::new(copy) as Arc<dyn Elsewhere>));
        let request = RepairRequest {
            check: CheckRequest {
                read_data,
                packs: health.bad_packs(),
                progress: Some(convert::progress(report, "check".into())),
                ..CheckRequest::default()
            },
            reread,
            elsewhere,
        };
        let load = move || VaultKey::load(&ward.key);
        let dir = ward.vault.clone();
        if !apply {
            let plan = blocking(move || ringfence_vault::plan_repair(&dir, &load()?, &request))
                .await
                .map_err(|error| vault_error(&error))?;
            let (beyond, steps) = sentences(&plan.steps);
            let check = check_view(&plan.report);
            return Ok(RepairView { applied: false, steps, beyond, healed: Vec::new(), check });
        }
        // What is held open may be of files that go: opened anew afterwards.
        self.close(&folder.id);
        let done = blocking(move || ringfence_vault::repair(&dir, &load()?, &request)).await;
        self.close(&folder.id);
        let done = done.map_err(|error| vault_error(&error))?;
        health.after_check(&done.after, clock::now());
        self.keep_health(folder, &health);
        let (_, steps) = sentences(&done.done);
        let beyond = done.after.problems.iter().filter(|p| p.severity == Severity::Error);
        Ok(RepairView {
            applied: true,
            steps,
            beyond: beyond.map(|problem| problem.what.clone()).collect(),
            healed: done.healed.iter().map(ToString::to_string).collect(),
            check: check_view(&done.after),
        })
    }

    /// Does the next piece of what is due for a folder's vault, on a thread that gives way
    /// to everything else. Gives whether there was anything to do.
    pub(crate) async fn look_after(
        &self,
        folder: &Folder,
        every: SignedDuration,
        cancel: &Cancel,
    ) -> Result<bool, ApiError> {
        let ward = self.ward(folder);
        if !ward.vault.join("data").is_dir() {
            return Ok(false);
        }
        let _look = self.lookers.one(&folder.id).await;
        let before = self.store.health(&folder.id).unwrap_or_default();
        let now = clock::now();
        let (health, cancel) = (before.clone(), cancel.clone());
        let work = move || piece(&ward, health, (every, now), &cancel);
        let after = thread::background("verify", work).await.unwrap_or_else(|| {
            let detail = "the thread ended".to_owned();
            Err(VaultError::Engine { doing: "looking after it", detail })
        });
        match after {
            Ok(None) | Err(VaultError::Cancelled) => Ok(false),
            Ok(Some(after)) => {
                for finding in after.findings.iter().filter(|f| !before.findings.contains(f)) {
                    tracing::error!(folder = %folder.path.display(), name = finding.name, "{}", finding.what);
                }
                self.keep_health(folder, &after);
                Ok(true)
            }
            Err(error) => Err(vault_error(&error)),
        }
    }

    /// What is known of a vault's health, for the status.
    pub(crate) fn health(&self, folder: &Folder, every: SignedDuration) -> FolderHealth {
        let now = clock::now();
        let health = self.store.health(&folder.id).unwrap_or_default();
        let record = self.store.protection(&folder.id).unwrap_or_default();
        view(&health, record.not_covered, (every, now))
    }

    fn keep_health(&self, folder: &Folder, health: &Health) {
        if let Err(error) = self.store.set_health(&folder.id, health) {
            tracing::error!(folder = %folder.path.display(), %error, "a vault's health could not be written down");
        }
    }
}

/// One piece of work; `None` where nothing is due.
fn piece(
    ward: &Ward,
    mut health: Health,
    (every, now): (SignedDuration, Timestamp),
    cancel: &Cancel,
) -> Result<Option<Health>, VaultError> {
    let key = VaultKey::load(&ward.key)?;
    let opened = Vault::open(&ward.vault, &key);
    let packs = opened.as_ref().map(Vault::packs).unwrap_or_else(|_| Ok(Vec::new()))?;
    let facts = Facts { packs: &packs, any_snapshot: opened.is_ok() };
    let check = |packs| CheckRequest {
        packs,
        threads: 1,
        cancel: cancel.clone(),
        ..CheckRequest::default()
    };
    match (ringfence_vault::due(&health, facts, every, now), opened) {
        (Work::Nothing, _) => return Ok(None),
        (Work::Structure(bad), _) => {
            let report = ringfence_vault::check(&ward.vault, &key, &check(bad))?;
            health.after_check(&report, now);
            if report.is_clean() {
                health.spare = Spare::of(&ward.vault)?;
            }
        }
        (Work::Packs(names), Ok(vault)) => {
            let read = vault.read_packs(&names, cancel)?;
            health.after_packs(&read.whole, &packs, now);
            if !read.bad.is_empty() {
                let mut bad = health.bad_packs();
                bad.extend(read.bad);
                let report = vault.check_as(&check(bad))?;
                health.after_check(&report, now);
            }
        }
        (Work::Rehearsal, Ok(vault)) => {
            let request = RehearsalRequest {
                folder: Some(ward.folder.clone()),
                scratch: ward.scratch.clone(),
                // It only spreads what is looked at: nobody needs to be unable to guess it.
                seed: now.as_nanosecond().unsigned_abs() as u64,
                cancel: cancel.clone(),
            };
            match vault.rehearse(&request)? {
                Some(rehearsed) => health.after_rehearsal(&rehearsed, now),
                None => return Ok(None),
            }
        }
        (Work::Packs(_) | Work::Rehearsal, Err(error)) => return Err(error),
    }
    Ok(Some(health))
}

fn view(
    health: &Health,
    not_covered: NotCovered,
    (every, now): (SignedDuration, Timestamp),
) -> FolderHealth {
    let oldest = now.as_second().saturating_sub(every.as_secs().saturating_mul(30));
    let read = health.packs.values().filter(|at| **at >= oldest).count();
    let read_back =
        if health.packs.is_empty() { 0.0 } else { read as f64 / health.packs.len() as f64 };
    FolderHealth {
        verified: health.verified.as_ref().map(|verified| VerifiedSnapshot {
            id: verified.snapshot.clone(),
            time: verified.made,
            age_seconds: now.duration_since(verified.made).as_secs(),
            verified: verified.at,
        }),
        findings: health
            .findings
            .iter()
            .map(|finding| Finding {
                name: finding.name.clone(),
                what: finding.what.clone(),
                touched: finding.touched,
                snapshots: finding.snapshots.clone(),
                since: finding.since,
            })
            .collect(),
        last_check: health.structure.as_ref().map(|structure| structure.at),
        next_check: health.next_check(every, now),
        read_back,
        last_rehearsal: health.rehearsal.as_ref().map(|rehearsal| rehearsal.at),
        not_covered,
    }
}

fn check_view(report: &CheckReport) -> CheckView {
    let touched = |touched: &Touched| TouchedSnapshot {
        id: touched.snapshot.to_string(),
        time: touched.time,
        whole: touched.whole,
        entries: touched.entries,
        paths: touched.paths.iter().map(|path| BytePath::from_bytes(&path.0)).collect(),
    };
    CheckView {
        snapshots: report.snapshots as u64,
        bytes_read: report.bytes_read,
        problems: report
            .problems
            .iter()
            .map(|problem| CheckProblem {
                error: problem.severity == Severity::Error,
                name: problem.name.to_owned(),
                what: problem.what.clone(),
                file: problem.file.clone(),
                touched: problem.snapshots.len() as u64,
                snapshots: problem.snapshots.iter().take(CheckProblem::MOST).map(touched).collect(),
            })
            .collect(),
    }
}

/// What cannot be mended, and what is done, in sentences.
fn sentences(steps: &[RepairStep]) -> (Vec<String>, Vec<String>) {
    let (mut beyond, mut done) = (Vec::new(), Vec::new());
    for step in steps {
        done.push(match step {
            RepairStep::Beyond { what } => {
                beyond.push(what.clone());
                continue;
            }
            RepairStep::Close { count } => {
                format!("make {count} files and directories of the vault their owner's alone")
            }
            RepairStep::PutBack { file, from } => format!("put {file} back from {from}"),
            RepairStep::SetAside { file } => format!("move {file} aside, into set-aside"),
            RepairStep::Salvage { file, sound, lost } => {
                format!("save the {sound} sound pieces of {file} in a new pack; {lost} are damaged")
            }
            RepairStep::Reindex => "make the index fit the packs that are there".to_owned(),
            RepairStep::NewKey => "make a new key file for the same password".to_owned(),
            RepairStep::Reread { folder } => {
                format!("read {} again, so that what it still has comes back", folder.display())
            }
        });
    }
    (beyond, done)
}
