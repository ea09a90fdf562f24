//! The order of a check. Owns what is looked at, what counts as a problem, and that a
//! writer may work meanwhile.
//!
//! What is listed first may only refer to what is listed later (snapshots, then index
//! files, then packs), so a snapshot that is being made is never half seen. Only a
//! prune and a merge of index files take things away; if one ran meanwhile the check
//! begins again.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustic_core::repofile::{MasterKey, SnapshotFile};
use rustic_core::{FileType, Id};

use super::inventory::{BadFile, Inventory, packs_on_disk, read_named, reason};
use super::judge::Packs;
use super::keys::{self, Unlocked};
use super::packs::BadPack;
use crate::catalog::{Snapshot, SnapshotId};
use crate::check::{CheckReport, CheckRequest, Problem, Severity, Touched};
use crate::error::{At, Result};
use crate::key::VaultKey;
use crate::seal::Seal;
use crate::storage::Storage;
use crate::watch::Watch;

/// So often what a prune may have caused is looked at again.
pub(super) const TRIES: usize = 3;
/// So often a check begins, and so long after each time that files were being removed:
/// whoever removes some hundreds of them is done then.
const BEGINNINGS: u32 = 6;
const PAUSE: Duration = Duration::from_millis(100);

/// What the vault is opened with.
pub(crate) enum Opening<'a> {
    /// A key, whose password is tried.
    With(&'a VaultKey),
    /// The master key of a vault that is open.
    Open(&'a MasterKey),
}

/// All that a check found out; a repair goes on from here.
pub(crate) struct Examined {
    pub(crate) report: CheckReport,
    pub(crate) seal: Option<Seal>,
    pub(crate) inventory: Inventory,
    /// Packs that are gone or damaged, by their place in the inventory.
    pub(crate) bad: BTreeMap<usize, BadPack>,
}

pub(crate) fn examine(
    storage: &Storage,
    opening: &Opening<'_>,
    request: &CheckRequest,
) -> Result<Examined> {
    let watch = Watch { progress: request.progress.clone(), cancel: request.cancel.clone() };
    let mut tries = 0;
    loop {
        tries += 1;
        let examined = Check { storage, request, watch: &watch }.once(opening)?;
        let pruned = || {
            let now = list(storage, FileType::Index).unwrap_or_default();
            examined.inventory.files.iter().any(|file| now.binary_search(file).is_err())
        };
        if examined.report.is_clean() || tries == BEGINNINGS || !pruned() {
            return Ok(examined);
        }
        std::thread::sleep(PAUSE * tries);
    }
}

struct Check<'a> {
    storage: &'a Storage,
    request: &'a CheckRequest,
    watch: &'a Watch,
}

impl Check<'_> {
    fn once(&self, opening: &Opening<'_>) -> Result<Examined> {
        let mut problems = exposed(self.storage);
        let snapshot_ids = list(self.storage, FileType::Snapshot)?;
        let index_ids = list(self.storage, FileType::Index)?;
        let Unlocked { seal, problems: locked } = keys::unlock(self.storage, opening)?;
        problems.extend(locked);
        let Some(seal) = seal else {
            let all = snapshot_ids.iter().map(|id| touched_whole(*id)).collect::<Vec<_>>();
            if let Some(first) = problems.iter_mut().find(|p| p.name != "exposed") {
                first.snapshots = all;
            }
            return Ok(self.nothing_more(problems));
        };
        let (snapshots, damaged) = self.snapshots(&seal, &snapshot_ids);
        problems.extend(damaged);
        problems.extend(self.config(&seal, &snapshot_ids));
        let mut inventory = Inventory::read(self.storage, &seal, index_ids);
        for bad in &inventory.bad_files {
            let what = format!(
                "index file {}: {}; no content is lost by that, its packs say what is in them",
                short(&bad.id),
                bad.why
            );
            problems.push(error("index-damaged", what, FileType::Index, &bad.id));
        }
        let found = packs_on_disk(self.storage).at("list the packs of", self.storage.dir())?;
        if !inventory.bad_files.is_empty() {
            inventory.recover(self.storage, &seal, &found);
        }
        problems.extend(self.strays(&inventory, &found));
        let mut packs = Packs::new((self.storage, &seal), self.request, self.watch);
        packs.compare(&inventory, &found)?;
        packs.read_wanted(&inventory)?;
        packs.judge(&mut inventory, &snapshots, &mut problems)?;
        let Packs { bad, bytes_read, .. } = packs;
        problems.sort_by_key(|p| p.severity != Severity::Error);
        let report = CheckReport {
            problems,
            snapshots: snapshots.len(),
            newest: snapshots.first().map(|s| s.id),
            data_read: self.request.read_data,
            bytes_read,
            bytes: inventory.packs.iter().map(|pack| u64::from(pack.pack_size())).sum(),
        };
        Ok(Examined { report, seal: Some(seal), inventory, bad })
    }

    /// The end of a check of a vault that nothing opens.
    fn nothing_more(&self, problems: Vec<Problem>) -> Examined {
        let report = CheckReport {
            problems,
            snapshots: 0,
            newest: None,
            data_read: false,
            bytes_read: 0,
            bytes: 0,
        };
        Examined { report, seal: None, inventory: Inventory::default(), bad: BTreeMap::new() }
    }

    /// Every readable snapshot, the newest first, and the others as problems.
    fn snapshots(&self, seal: &Seal, ids: &[Id]) -> (Vec<Snapshot>, Vec<Problem>) {
        let (mut good, mut bad) = (Vec::new(), Vec::new());
        for id in ids {
            let parsed = read_named(self.storage, FileType::Snapshot, id).and_then(|bytes| {
                seal.open_file::<SnapshotFile>(bytes)
                    .ok_or(BadFile { id: *id, why: "the vault's key does not open it" })
            });
            match parsed {
                Ok(file) => good.push(Snapshot::from_file(*id, file)),
                Err(file) => {
                    let what = format!("snapshot {}: {}", short(id), file.why);
                    let mut problem = error("snapshot-damaged", what, FileType::Snapshot, id);
                    problem.snapshots = vec![touched_whole(*id)];
                    bad.push(problem);
                }
            }
        }
        good.sort_by_key(|s| std::cmp::Reverse((s.sequence, s.time, s.id)));
        (good, bad)
    }

    /// The file without which neither we nor restic open anything.
    fn config(&self, seal: &Seal, snapshots: &[Id]) -> Option<Problem> {
        let read = fs::read(self.storage.path(FileType::Config, &Id::default()));
        let why = match read.map(|bytes| seal.open_file::<serde_json::Value>(bytes)) {
            Ok(Some(_)) => return None,
            Ok(None) => "its content is not what was written",
            Err(e) => reason(&e),
        };
        let what = format!("the vault's configuration: {why}; without it nothing opens the vault");
        let mut problem =
            Problem::new(Severity::Error, "config-damaged", what, Some("config".into()));
        problem.snapshots = snapshots.iter().map(|id| touched_whole(*id)).collect();
        Some(problem)
    }

    /// Packs that no index names: nothing refers to them.
    fn strays(&self, inventory: &Inventory, found: &HashMap<Id, u32>) -> Vec<Problem> {
        let named = |id: &Id| {
            inventory.packs.binary_search_by_key(id, |pack| *pack.id).is_ok()
                || inventory.going.iter().any(|pack| *pack.id == *id)
        };
        let mut strays: Vec<_> = found.keys().filter(|id| !named(id)).collect();
        strays.sort_unstable();
        let stray = |id: &&Id| {
            let what = format!("pack {}: no index names it, and no snapshot needs it", short(id));
            let file = Some(file_name(FileType::Pack, id));
            Problem::new(Severity::Notice, "pack-unused", what, file)
        };
        strays.iter().map(stray).collect()
    }
}

/// Names of all files of a kind, sorted.
pub(crate) fn list(storage: &Storage, kind: FileType) -> Result<Vec<Id>> {
    let found = storage.entries(kind).at("list the files of", storage.dir())?;
    let mut ids: Vec<_> = found.into_iter().map(|(id, _)| id).collect();
    ids.sort_unstable();
    Ok(ids)
}

fn touched_whole(id: Id) -> Touched {
    Touched { snapshot: SnapshotId(id), time: None, whole: true, entries: 0, paths: Vec::new() }
}

pub(crate) fn error(name: &'static str, what: String, kind: FileType, id: &Id) -> Problem {
    Problem::new(Severity::Error, name, what, Some(file_name(kind, id)))
}

/// Where a file is below the vault's directory.
pub(crate) fn file_name(kind: FileType, id: &Id) -> String {
    let hex = id.to_hex();
    match kind {
        FileType::Config => "config".to_owned(),
        FileType::Pack => format!("{}/{}/{}", kind.dirname(), &hex[..2], hex.as_str()),
        _ => format!("{}/{}", kind.dirname(), hex.as_str()),
    }
}

pub(crate) fn short(id: &Id) -> String {
    id.to_hex()[..8].to_owned()
}

/// The vault must be nobody else's business: its directory, and what lies in it.
fn exposed(storage: &Storage) -> Vec<Problem> {
    let (dir, found) = (storage.dir(), open_to_others(storage));
    let Some(first) = found.first() else { return Vec::new() };
    let first = first.strip_prefix(dir).ok().filter(|p| !p.as_os_str().is_empty());
    let named = first.unwrap_or(dir).display();
    let what = match found.len() {
        1 => format!("{named} is open to other users; it must be for its owner only"),
        count => format!(
            "{count} files and directories are open to other users, {named} first; they must be for their owner only"
        ),
    };
    vec![Problem::new(Severity::Error, "exposed", what, first.map(|p| p.display().to_string()))]
}

/// Everything in the vault, itself included, that others may use; sorted.
pub(crate) fn open_to_others(storage: &Storage) -> Vec<PathBuf> {
    let open = |path: &Path| {
        fs::symlink_metadata(path).is_ok_and(|m| !m.is_symlink() && m.mode() & 0o077 != 0)
    };
    let dir = storage.dir();
    let mut found: Vec<_> = open(dir).then(|| dir.to_path_buf()).into_iter().collect();
    let mut ways = vec![dir.to_path_buf()];
    while let Some(way) = ways.pop() {
        for entry in fs::read_dir(&way).into_iter().flatten().flatten() {
            let path = entry.path();
            if open(&path) {
                found.push(path.clone());
            }
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                ways.push(path);
            }
        }
    }
    found.sort_unstable();
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_named_as_they_lie_in_the_vault() {
        let id = Id::new([0xab; 32]);
        assert_eq!(file_name(FileType::Config, &id), "config");
        assert_eq!(file_name(FileType::Pack, &id), format!("data/ab/{}", "ab".repeat(32)));
        assert_eq!(file_name(FileType::Index, &id), format!("index/{}", "ab".repeat(32)));
        assert_eq!(short(&id), "abababab");
    }
}
