//! The rehearsal: a random sample of a snapshot's files is restored the way a person
//! would restore them, and compared with what was stored and with what is there.
//! Owns the choice of the sample and the scratch directory, which is gone afterwards;
//! writes nothing anywhere else.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use rustic_core::FileType;
use rustic_core::repofile::Node;
use serde::Serialize;

use crate::beneath::{Dir, Places, join, split};
use crate::catalog::{self, EntryPath, Snapshot, SnapshotId};
use crate::check::MAX_PATHS;
use crate::engine::{Engine, Repo};
use crate::error::{At, Result, VaultError};
use crate::restore::{self, Guard, RestoreRequest, Selection};
use crate::scan::young_from;
use crate::seal::Seal;
use crate::stat::{Stat, unix_mode};
use crate::verify::examine::list;
use crate::verify::inventory::{Inventory, packs_on_disk};
use crate::verify::walk::Walk;
use crate::watch::{Cancel, Watch};

/// Files in a sample.
const SAMPLE: usize = 20;
/// A sample is not larger than this, but has one file at least.
const MOST_BYTES: u64 = 128 * 1024 * 1024;

/// What to rehearse.
#[derive(Clone, Debug)]
pub struct RehearsalRequest {
    /// The folder, to compare with where it is unchanged; `None` compares with the
    /// snapshot alone.
    pub folder: Option<PathBuf>,
    /// A private directory to restore into. Made if missing, and removed at the end.
    pub scratch: PathBuf,
    /// Chooses the sample; any number.
    pub seed: u64,
    /// Stops it.
    pub cancel: Cancel,
}

/// What came of a rehearsal.
#[derive(Clone, Debug, Serialize)]
pub struct Rehearsed {
    /// The snapshot: the newest.
    pub snapshot: SnapshotId,
    /// When it was made.
    pub made: Timestamp,
    /// Files that were restored and are what was stored.
    pub files: u64,
    /// Those among them that are also what the folder holds; others changed since.
    pub compared: u64,
    /// Bytes restored.
    pub bytes: u64,
    /// What could not be restored as it was stored, or differs from a file of the
    /// folder that did not change, and why.
    pub failures: Vec<(EntryPath, String)>,
}

/// Rehearses the newest snapshot; `None` if there is none.
pub(crate) fn rehearse(engine: &Engine, request: &RehearsalRequest) -> Result<Option<Rehearsed>> {
    let repo = engine.repo()?;
    let Some(snapshot) = catalog::list(engine, &repo)?.snapshots.into_iter().next() else {
        return Ok(None);
    };
    let mut done = Rehearsed {
        snapshot: snapshot.id,
        made: snapshot.time,
        files: 0,
        compared: 0,
        bytes: 0,
        failures: incomplete(engine, &snapshot, &request.cancel)?,
    };
    if !done.failures.is_empty() {
        return Ok(Some(done));
    }
    let sample = sample(engine, &repo, &snapshot, request)?;
    clear(&request.scratch)?;
    let outcome = restore_and_compare(engine, (&repo, &snapshot), request, &sample, &mut done);
    let cleared = clear(&request.scratch);
    outcome?;
    cleared?;
    Ok(Some(done))
}

/// Whether every directory of the snapshot can be read, and all its content is in
/// packs that are there; else what is missing.
fn incomplete(
    engine: &Engine,
    snapshot: &Snapshot,
    cancel: &Cancel,
) -> Result<Vec<(EntryPath, String)>> {
    let storage = &engine.storage;
    let seal = Seal::new(&engine.master)?;
    let mut inventory = Inventory::read(storage, &seal, list(storage, FileType::Index)?);
    let found = packs_on_disk(storage).at("list the packs of", storage.dir())?;
    if !inventory.bad_files.is_empty() {
        inventory.recover(storage, &seal, &found);
    }
    let there: Vec<_> = inventory.packs.iter().map(|pack| found.contains_key(&*pack.id)).collect();
    inventory.arrange(|number, _| there.get(number).copied().unwrap_or(false));
    let watch = Watch { progress: None, cancel: cancel.clone() };
    let walk = Walk {
        storage,
        seal: &seal,
        inventory: &inventory,
        lost: &std::collections::HashMap::new(),
        unnamed: 0,
        watch: &watch,
        threads: 1,
    };
    let one = std::slice::from_ref(snapshot);
    let forest = walk.follow(one)?;
    let touched = walk.touched(&forest, one, 0);
    let whole = touched.iter().any(|t| t.whole).then(|| EntryPath(Vec::new()));
    let paths = touched.into_iter().flat_map(|t| t.paths).chain(whole);
    Ok(paths.map(|path| (path, "the vault cannot give it back".to_owned())).collect())
}

/// A file of the sample.
type Sampled = (Vec<u8>, Node);

/// Every file has the same chance to be in the sample.
fn sample(
    engine: &Engine,
    repo: &Repo,
    snapshot: &Snapshot,
    request: &RehearsalRequest,
) -> Result<Vec<Sampled>> {
    let mut chance = Chance(request.seed | 1);
    let mut chosen: Vec<Sampled> = Vec::new();
    let mut seen = 0u64;
    let mut ways = vec![(Vec::new(), snapshot.tree)];
    while let Some((path, tree)) = ways.pop() {
        request.cancel.check()?;
        for node in engine.tree(repo, tree)? {
            let here = join(&path, &node.name());
            if let Some(subtree) = node.subtree {
                ways.push((here, subtree));
            } else if node.is_file() {
                seen += 1;
                if chosen.len() < SAMPLE {
                    chosen.push((here, node));
                } else if let Some(place) =
                    usize::try_from(chance.below(seen)).ok().and_then(|n| chosen.get_mut(n))
                {
                    *place = (here, node);
                }
            }
        }
    }
    chosen.sort_by_key(|(_, node)| node.meta.size);
    let mut bytes = 0;
    let fits = |(_, node): &&Sampled| {
        bytes += node.meta.size;
        bytes <= MOST_BYTES
    };
    let many = chosen.iter().take_while(fits).count().max(1);
    chosen.truncate(many);
    chosen.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(chosen)
}

/// Xorshift: no secret depends on it.
struct Chance(u64);

impl Chance {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit.max(1)
    }
}

fn restore_and_compare(
    engine: &Engine,
    (repo, snapshot): (&Repo, &Snapshot),
    request: &RehearsalRequest,
    sample: &[Sampled],
    done: &mut Rehearsed,
) -> Result<()> {
    let (target, staging) = (request.scratch.join("folder"), request.scratch.join("staging"));
    for dir in [&request.scratch, &target] {
        DirBuilder::new().recursive(true).mode(0o700).create(dir).at("make", dir)?;
    }
    if sample.is_empty() {
        return Ok(());
    }
    let watch = Watch { progress: None, cancel: request.cancel.clone() };
    let restore = RestoreRequest {
        snapshot: snapshot.id,
        target: target.clone(),
        selection: Selection::Paths(sample.iter().map(|(path, _)| path.clone()).collect()),
        delete_extra: false,
        guard: Guard::Nothing,
    };
    let plan = restore::plan_restore(engine, &restore, None, &watch)?;
    match restore::apply(engine, &plan, &staging, &watch) {
        Ok(_) => {}
        Err(e @ (VaultError::Damaged { .. } | VaultError::Engine { .. })) => {
            let path = sample.first().map(|(path, _)| EntryPath(path.clone()));
            done.failures.extend(path.map(|path| (path, e.to_string())));
            return Ok(());
        }
        Err(e) => return Err(e),
    }
    let mut restored = Places::new(Dir::open_root(&target)?);
    let mut live = match &request.folder {
        Some(folder) => Dir::open_root(folder).ok().map(Places::new),
        None => None,
    };
    let young = snapshot.scanned.map(young_from);
    for (path, node) in sample {
        request.cancel.check()?;
        if done.failures.len() >= MAX_PATHS {
            break;
        }
        match as_stored(repo, &mut restored, path, node) {
            Ok(()) => {
                done.files += 1;
                done.bytes += node.meta.size;
            }
            Err(why) => {
                done.failures.push((EntryPath(path.clone()), why));
                continue;
            }
        }
        let Some(live) = &mut live else { continue };
        match unchanged_and_same(repo, live, path, (node, young)) {
            None => {}
            Some(true) => done.compared += 1,
            Some(false) => {
                let why =
                    "the folder's file holds something else, though nothing says that it changed";
                done.failures.push((EntryPath(path.clone()), why.to_owned()));
            }
        }
    }
    Ok(())
}

/// Whether a restored file is what was stored, in content, length, mode and time.
fn as_stored(repo: &Repo, at: &mut Places, path: &[u8], node: &Node) -> Result<(), String> {
    let (parent, name) = split(path);
    let open = |at: &mut Places| -> io::Result<(fs::File, Stat)> {
        let dir = at.dir(parent)?;
        dir.open_file(name, &dir.stat_at(name)?)
    };
    let (mut file, stat) = open(at).map_err(|e| e.to_string())?;
    let content = node.content.as_deref().unwrap_or_default();
    if stat.size != node.meta.size || !Engine::content_is(repo, content, &mut file) {
        return Err("its content is not what was stored".into());
    }
    let mode = node.meta.mode.map(unix_mode);
    let time = node.meta.mtime;
    if mode.is_some_and(|mode| mode != stat.mode & 0o7777)
        || time.is_some_and(|time| crate::stat::timestamp(stat.mtime) != time)
    {
        return Err("its mode or time is not what was stored".into());
    }
    Ok(())
}

/// Whether the folder's file holds the stored content; `None` if it changed since, or
/// too short a time before for its times to tell.
fn unchanged_and_same(
    repo: &Repo,
    live: &mut Places,
    path: &[u8],
    (node, young): (&Node, Option<crate::stat::Stamp>),
) -> Option<bool> {
    let (parent, name) = split(path);
    let dir = live.dir(parent).ok()?;
    let stat = dir.stat_at(name).ok()?;
    if !stat.matches(node) || young.is_none_or(|young| stat.ctime >= young) {
        return None;
    }
    let (mut file, opened) = dir.open_file(name, &stat).ok()?;
    let same = Engine::content_is(repo, node.content.as_deref().unwrap_or_default(), &mut file);
    // A change while it was read is no finding.
    Stat::of(&file).ok()?.same_read(&opened).then_some(same)
}

/// Removes the scratch directory, whatever modes were restored in it.
fn clear(scratch: &Path) -> Result<()> {
    match fs::remove_dir_all(scratch) {
        Err(e) if e.kind() == io::ErrorKind::PermissionDenied => {}
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => return other.at("remove", scratch),
    }
    let mut ways = vec![scratch.to_path_buf()];
    while let Some(way) = ways.pop() {
        use std::os::unix::fs::PermissionsExt;
        fs::set_permissions(&way, fs::Permissions::from_mode(0o700)).at("open", &way)?;
        for entry in fs::read_dir(&way).at("list", &way)? {
            let entry = entry.at("list", &way)?;
            if entry.file_type().at("look at", &way)?.is_dir() {
                ways.push(entry.path());
            }
        }
    }
    fs::remove_dir_all(scratch).at("remove", scratch)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chance_reaches_every_place() {
        let mut chance = Chance(1);
        let mut hit = [false; 7];
        for _ in 0..1000 {
            hit[chance.below(7) as usize] = true;
        }
        assert_eq!(hit, [true; 7]);
        assert_eq!(chance.below(0), 0);
    }
}
