//! Mending a damaged vault: what can be mended, how, and what stays lost. This file
//! owns the words and the order; `files` moves and places files, `salvage` saves what
//! is sound in a damaged pack.
//!
//! Nothing is ever deleted or overwritten: a damaged file is moved aside, into
//! `set-aside` in the vault's directory. Every step may be cut short and the whole be
//! done again; what was mended by then stays mended.

mod files;
mod salvage;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustic_core::{FileType, Id, KeyOptions, RepairIndexOptions};
use serde::{Deserialize, Serialize};

use crate::catalog::SnapshotId;
use crate::check::{CheckReport, CheckRequest, Problem, Severity, Touched};
use crate::copy::Target;
use crate::engine::Engine;
use crate::error::{At, Result, VaultError};
use crate::key::VaultKey;
use crate::seal::{Seal, hash};
use crate::snapshot::{self, SnapshotRequest};
use crate::storage::Storage;
use crate::verify::examine::{Examined, Opening, examine, list, open_to_others};

pub(crate) use files::set_aside;

/// No file of a vault is larger.
const MAX_FILE: u64 = 512 * 1024 * 1024;

/// Where a file of the vault can be had from, other than the vault: a second copy, or
/// what was kept of the few files without which nothing opens. What it gives is
/// believed only if its hash is right or the vault's key opens it.
pub trait Elsewhere: Send + Sync {
    /// What to call it: `the copy on backup-disk`.
    fn name(&self) -> String;

    /// The content of a file, by its path below the vault's directory; `None` where it
    /// has none.
    ///
    /// # Errors
    /// When it cannot be reached.
    fn fetch(&self, file: &str) -> Result<Option<Vec<u8>>>;
}

/// A second copy of the vault, wherever it lies.
impl Elsewhere for Target {
    fn name(&self) -> String {
        format!("the copy at {}", self.shown())
    }

    fn fetch(&self, file: &str) -> Result<Option<Vec<u8>>> {
        let failed = |error: std::io::Error| self.fails("read", &error);
        if file == "config" {
            return self.place().config().map_err(failed);
        }
        let Some(name) = file_of(file) else { return Ok(None) };
        let mut bytes = Vec::new();
        match self.place().read(name, MAX_FILE, &mut bytes) {
            Ok(()) => Ok(Some(bytes)),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(failed(e)),
        }
    }
}

/// The two kinds of files without which nothing opens a vault: small, sealed, and
/// worth keeping twice.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spare {
    /// Content by path below the vault's directory, in base64.
    pub files: BTreeMap<String, String>,
}

impl Spare {
    /// Takes a spare of a vault that is whole.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub fn of(dir: &Path) -> Result<Self> {
        use base64::Engine as _;
        let storage = Storage::new(dir);
        let mut spare = Self::default();
        let mut keep = |name: String, path: &Path| -> Result<()> {
            let bytes = std::fs::read(path).at("read", path)?;
            spare.files.insert(name, base64::engine::general_purpose::STANDARD.encode(bytes));
            Ok(())
        };
        let config = Id::default();
        keep("config".into(), &storage.path(FileType::Config, &config))?;
        for id in list(&storage, FileType::Key)? {
            let name = crate::verify::examine::file_name(FileType::Key, &id);
            keep(name, &storage.path(FileType::Key, &id))?;
        }
        Ok(spare)
    }
}

impl Elsewhere for Spare {
    fn name(&self) -> String {
        "what Ringfence kept of it".to_owned()
    }

    fn fetch(&self, file: &str) -> Result<Option<Vec<u8>>> {
        use base64::Engine as _;
        let decode = |text: &String| base64::engine::general_purpose::STANDARD.decode(text).ok();
        Ok(self.files.get(file).and_then(decode))
    }
}

/// One step of a repair.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "step")]
pub enum RepairStep {
    /// Files and directories are made their owner's alone.
    Close {
        /// How many.
        count: usize,
    },
    /// A file is put back from elsewhere; what is there now is moved aside.
    PutBack {
        /// Which, below the vault's directory.
        file: String,
        /// Where it comes from.
        from: String,
    },
    /// A damaged file is moved aside.
    SetAside {
        /// Which.
        file: String,
    },
    /// What is sound in a damaged pack is put into a new one.
    Salvage {
        /// The damaged pack.
        file: String,
        /// Pieces of content that are sound.
        sound: usize,
        /// Pieces that are lost.
        lost: usize,
    },
    /// The index is made to fit the packs.
    Reindex,
    /// A new key file is made for the same password.
    NewKey,
    /// The folder is read again, so that what it still has comes back into the vault.
    Reread {
        /// The folder.
        folder: PathBuf,
    },
    /// Nothing here can mend this.
    Beyond {
        /// What.
        what: String,
    },
}

/// What a repair will do; nothing was touched for it.
#[derive(Clone, Debug, Serialize)]
pub struct RepairPlan {
    /// What is wrong.
    pub report: CheckReport,
    /// What will be done about it, in order.
    pub steps: Vec<RepairStep>,
}

/// What a repair did.
#[derive(Clone, Debug, Serialize)]
pub struct RepairReport {
    /// What was done.
    pub done: Vec<RepairStep>,
    /// Snapshots that were touched before and restore whole now.
    pub healed: Vec<SnapshotId>,
    /// What is still lost, by snapshot.
    pub lost: Vec<Touched>,
    /// The check after it.
    pub after: CheckReport,
}

/// How to repair.
#[derive(Clone, Default)]
pub struct RepairRequest {
    /// How to look for damage. All data is read if this says so.
    pub check: CheckRequest,
    /// The folder to read again, and the labels of the snapshot that comes of it.
    pub reread: Option<SnapshotRequest>,
    /// Other places that may have files of the vault, the best first.
    pub elsewhere: Vec<Arc<dyn Elsewhere>>,
}

/// Says what a repair would do. Touches nothing.
///
/// # Errors
/// As [`crate::check`].
pub fn plan_repair(dir: &Path, key: &VaultKey, request: &RepairRequest) -> Result<RepairPlan> {
    let storage = Arc::new(Storage::new(dir));
    let examined = examine(&storage, &Opening::With(key), &request.check)?;
    let work = Work::of(&storage, &examined, request);
    Ok(RepairPlan { steps: work.steps(request), report: examined.report })
}

/// Repairs, after looking again.
///
/// # Errors
/// [`VaultError::WrongKey`] when nothing opens the vault, [`VaultError::Busy`] when it
/// is being written to, [`VaultError::Damaged`] when its configuration cannot be put
/// back, or any error of the file system. It can be done again.
pub fn repair(dir: &Path, key: &VaultKey, request: &RepairRequest) -> Result<RepairReport> {
    let storage = Arc::new(Storage::new(dir));
    let lock = storage.lock()?;
    let examined = examine(&storage, &Opening::With(key), &request.check)?;
    let Some(seal) = &examined.seal else {
        return Err(VaultError::WrongKey { path: dir.into() });
    };
    let work = Work::of(&storage, &examined, request);
    let mut done = Vec::new();
    work.close(&storage, &mut done)?;
    work.put_back(&storage, &mut done)?;
    if work.beyond.iter().any(|problem| problem.name == "config-damaged") {
        return Err(VaultError::Damaged {
            path: dir.into(),
            what: "its configuration is lost, and no copy of it is known".into(),
        });
    }
    work.new_key(&storage, key, &mut done)?;
    for bad in &work.packs {
        salvage::salvage(&storage, seal, bad)?;
        done.push(bad.step());
        files::set_aside(&storage, FileType::Pack, &bad.id)?;
        done.push(RepairStep::SetAside { file: bad.file.clone() });
    }
    for (kind, id, file) in &work.aside {
        files::set_aside(&storage, *kind, id)?;
        done.push(RepairStep::SetAside { file: file.clone() });
    }
    let engine = Arc::new(Engine::open(Arc::clone(&storage), key)?);
    if work.reindex {
        engine.repair_index(RepairIndexOptions::default())?;
        done.push(RepairStep::Reindex);
    }
    if work.lost {
        reread(&engine, request, &mut done)?;
    }
    drop(lock);
    let after = examine(&storage, &Opening::With(key), &request.check)?.report;
    Ok(RepairReport { healed: healed(&examined.report, &after), lost: lost(&after), done, after })
}

fn reread(engine: &Arc<Engine>, request: &RepairRequest, done: &mut Vec<RepairStep>) -> Result<()> {
    let Some(reread) = &request.reread else { return Ok(()) };
    snapshot::make(engine, reread)?;
    done.push(RepairStep::Reread { folder: reread.root.clone() });
    Ok(())
}

fn touched(report: &CheckReport) -> BTreeSet<SnapshotId> {
    report.problems.iter().flat_map(|p| &p.snapshots).map(|t| t.snapshot).collect()
}

/// A snapshot whose own file was moved aside is not healed by being listed no more.
fn healed(before: &CheckReport, after: &CheckReport) -> Vec<SnapshotId> {
    let gone: BTreeSet<_> = before
        .problems
        .iter()
        .filter(|p| p.name == "snapshot-damaged")
        .flat_map(|p| &p.snapshots)
        .map(|t| t.snapshot)
        .collect();
    let (was, is) = (touched(before), touched(after));
    was.into_iter().filter(|id| !is.contains(id) && !gone.contains(id)).collect()
}

fn lost(after: &CheckReport) -> Vec<Touched> {
    after.problems.iter().flat_map(|p| p.snapshots.iter().cloned()).collect()
}

/// A damaged pack, and what is still good in it.
struct BadPack {
    id: Id,
    file: String,
    sound: Vec<rustic_core::repofile::IndexBlob>,
    lost: usize,
}

impl BadPack {
    fn step(&self) -> RepairStep {
        RepairStep::Salvage { file: self.file.clone(), sound: self.sound.len(), lost: self.lost }
    }
}

/// What there is to do.
#[derive(Default)]
struct Work {
    open: Vec<PathBuf>,
    put_back: Vec<(FileType, Id, String, Vec<u8>, String)>,
    packs: Vec<BadPack>,
    aside: Vec<(FileType, Id, String)>,
    reindex: bool,
    new_key: bool,
    /// Content is lost that the folder may still have.
    lost: bool,
    beyond: Vec<Problem>,
}

impl Work {
    fn of(storage: &Storage, examined: &Examined, request: &RepairRequest) -> Self {
        let mut work = Self { open: open_to_others(storage), ..Self::default() };
        let Some(seal) = &examined.seal else {
            work.beyond = examined.report.problems.clone();
            return work;
        };
        let bad: BTreeMap<Id, _> = examined
            .bad
            .values()
            .filter_map(|bad| Some((*examined.inventory.packs.get(bad.number)?.id, bad)))
            .collect();
        let errors = examined.report.problems.iter().filter(|p| p.severity == Severity::Error);
        for problem in errors.filter(|p| p.name != "exposed") {
            let Some((kind, id, file)) = named(problem) else {
                work.without_file(problem);
                continue;
            };
            if let Some((bytes, from)) = fetch(request, seal, (kind, &id), &file) {
                work.put_back.push((kind, id, file, bytes, from));
                continue;
            }
            match kind {
                FileType::Pack => {
                    work.reindex = true;
                    work.lost |= !problem.snapshots.is_empty();
                    if let Some(bad) = bad.get(&id).filter(|_| problem.name != "pack-missing") {
                        let (sound, lost) = (bad.sound.clone(), bad.lost.len());
                        work.packs.push(BadPack { id, file, sound, lost });
                    }
                }
                FileType::Index => {
                    work.reindex = true;
                    work.aside.push((kind, id, file));
                }
                FileType::Key => {
                    work.new_key = true;
                    work.aside.push((kind, id, file));
                }
                FileType::Snapshot => {
                    work.aside.push((kind, id, file));
                    work.beyond.push(problem.clone());
                }
                FileType::Config => work.beyond.push(problem.clone()),
            }
        }
        // What an earlier repair salvaged and could not enter any more.
        work.reindex |= examined.report.problems.iter().any(|p| p.name == "pack-unused")
            && (work.lost || work.reindex);
        work
    }

    fn without_file(&mut self, problem: &Problem) {
        match problem.name {
            "key-missing" => self.new_key = true,
            "content-missing" => {
                self.reindex = true;
                self.lost = true;
            }
            _ => self.beyond.push(problem.clone()),
        }
    }

    /// What will be done, in the order of [`repair`].
    fn steps(&self, request: &RepairRequest) -> Vec<RepairStep> {
        let mut steps = Vec::new();
        if !self.open.is_empty() {
            steps.push(RepairStep::Close { count: self.open.len() });
        }
        for (_, _, file, _, from) in &self.put_back {
            steps.push(RepairStep::PutBack { file: file.clone(), from: from.clone() });
        }
        if self.new_key {
            steps.push(RepairStep::NewKey);
        }
        for bad in &self.packs {
            steps.push(bad.step());
            steps.push(RepairStep::SetAside { file: bad.file.clone() });
        }
        for (_, _, file) in &self.aside {
            steps.push(RepairStep::SetAside { file: file.clone() });
        }
        if self.reindex {
            steps.push(RepairStep::Reindex);
        }
        if let (true, Some(reread)) = (self.lost, &request.reread) {
            steps.push(RepairStep::Reread { folder: reread.root.clone() });
        }
        let beyond = |problem: &Problem| RepairStep::Beyond { what: problem.what.clone() };
        steps.extend(self.beyond.iter().map(beyond));
        steps
    }

    fn close(&self, storage: &Storage, done: &mut Vec<RepairStep>) -> Result<()> {
        for path in &self.open {
            files::close(path)?;
        }
        if !self.open.is_empty() {
            storage.sync().at("sync", storage.dir())?;
            done.push(RepairStep::Close { count: self.open.len() });
        }
        Ok(())
    }

    fn put_back(&self, storage: &Storage, done: &mut Vec<RepairStep>) -> Result<()> {
        for (kind, id, file, bytes, from) in &self.put_back {
            files::put_back(storage, (*kind, id), bytes)?;
            done.push(RepairStep::PutBack { file: file.clone(), from: from.clone() });
        }
        Ok(())
    }

    fn new_key(
        &self,
        storage: &Arc<Storage>,
        key: &VaultKey,
        done: &mut Vec<RepairStep>,
    ) -> Result<()> {
        if !self.new_key {
            return Ok(());
        }
        // Through the remembered master key: the password opens nothing any more.
        let engine = Engine::open(Arc::clone(storage), key)?;
        engine.add_key(key.reveal(), &KeyOptions::default())?;
        storage.sync().at("sync", storage.dir())?;
        done.push(RepairStep::NewKey);
        Ok(())
    }
}

/// The file that a problem names.
fn named(problem: &Problem) -> Option<(FileType, Id, String)> {
    let file = problem.file.clone()?;
    let (kind, id) = file_of(&file)?;
    Some((kind, id, file))
}

/// What file of the vault lies at a path below its directory.
fn file_of(file: &str) -> Option<(FileType, Id)> {
    if file == "config" {
        return Some((FileType::Config, Id::default()));
    }
    let kinds = [FileType::Pack, FileType::Index, FileType::Snapshot, FileType::Key];
    let kind = kinds.into_iter().find(|kind| file.starts_with(&format!("{}/", kind.dirname())))?;
    Some((kind, file.rsplit('/').next()?.parse().ok()?))
}

/// A good copy of a file from the first place that has one.
fn fetch(
    request: &RepairRequest,
    seal: &Seal,
    (kind, id): (FileType, &Id),
    file: &str,
) -> Option<(Vec<u8>, String)> {
    let good = |bytes: &Vec<u8>| match kind {
        FileType::Config => seal.open_file::<serde_json::Value>(bytes.clone()).is_some(),
        _ => hash(bytes) == *id,
    };
    request.elsewhere.iter().find_map(|place| {
        let bytes = match place.fetch(file) {
            Ok(bytes) => bytes.filter(good)?,
            Err(error) => {
                tracing::warn!(%error, place = place.name(), "a copy could not be asked");
                return None;
            }
        };
        Some((bytes, place.name()))
    })
}
