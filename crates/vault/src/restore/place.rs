//! Carries a redo log out, entry by entry. Owns the two rules of it: an entry that is
//! not what the plan saw is left alone, and every step can be repeated after a crash.
//!
//! The old version is never deleted on the way: it changes places with the new one, or
//! moves into staging, is looked at there once more, and goes back if it is another.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::Path;

use rustix::fs::{AtFlags, Mode, RenameFlags};
use rustix::io::Errno;

use super::log::{self, Header, LogStep};
use super::stage::{self, NEW, OLD};
use super::{Conflict, ConflictWhy, Follow, RestorePlan, RestoreReport, attributes};
use crate::beneath::{Dir, Places, split};
use crate::catalog::{EntryPath, Remark};
use crate::engine::Engine;
use crate::error::{At, Result, VaultError};
use crate::stat::{Stat, stamp};
use crate::watch::Step;

/// Carries out a plan.
pub(crate) fn apply(
    engine: &Engine,
    plan: &RestorePlan,
    staging: &Path,
    watch: Follow<'_>,
) -> Result<RestoreReport> {
    if plan.promised {
        return Err(VaultError::Request("a plan without a guarding snapshot is for showing only"));
    }
    let _alone = stage::prepare(staging, &plan.target)?;
    if let Err(error) = stage::stage(engine, plan, staging, watch) {
        // Nothing has happened to the folder: leave nothing behind either.
        let _ = stage::wipe(staging);
        return Err(error);
    }
    let report = carry_out(staging, watch)?.unwrap_or_default();
    Ok(RestoreReport { bytes: plan.bytes, ..report })
}

/// Finishes a restore that has a log; `None` if there is none.
pub(crate) fn resume(staging: &Path, watch: Follow<'_>) -> Result<Option<RestoreReport>> {
    if !staging.exists() {
        return Ok(None);
    }
    let _alone = stage::alone(staging)?;
    carry_out(staging, watch)
}

/// The steps one after the other, then a look at what came of them. The log is read
/// anew for each, so that its length costs no memory.
fn carry_out(staging: &Path, watch: Follow<'_>) -> Result<Option<RestoreReport>> {
    let Some((header, steps)) = log::read(staging)? else {
        stage::wipe(staging)?;
        return Ok(None);
    };
    let again = || Ok(log::read(staging)?.map(|(_, steps)| steps).into_iter().flatten());
    let mut placing = Placing::open(staging, &header, watch)?;
    placing.reused = reused(steps)?;
    for step in again()? {
        placing.step(step?)?;
    }
    rustix::fs::syncfs(placing.places.root()).at("sync", &header.target)?;
    for step in again()? {
        placing.verify(&step?);
    }
    let report = placing.report;
    // The log goes last: where it is gone the restore is over, and whoever finds it gone knows.
    stage::wipe(staging)?;
    log::remove(staging)?;
    Ok(Some(report))
}

struct Placing<'a> {
    places: Places,
    new: Dir,
    old: Dir,
    device: u64,
    /// Names that are vacated and taken again: by a directory, or by a staged inode.
    reused: HashMap<Vec<u8>, Option<u64>>,
    watch: Follow<'a>,
    report: RestoreReport,
}

/// What is at a path when all is done.
enum Expected {
    Inode(u64),
    Directory,
    Times(Option<jiff::Timestamp>),
    Nothing,
}

/// What became of one step.
enum Outcome {
    Done,
    Kept(ConflictWhy),
}

impl<'a> Placing<'a> {
    fn open(staging: &Path, header: &Header, watch: Follow<'a>) -> Result<Self> {
        let root = Dir::open_root(&header.target)?;
        let stat = root.stat().at("look at the folder", &header.target)?;
        if stat.ino != header.inode {
            return Err(VaultError::Staging {
                path: staging.into(),
                what: format!(
                    "it belongs to a directory that is no longer at {}",
                    header.target.display()
                ),
            });
        }
        // All steps were taken and this was swept when it was stopped.
        stage::make_dirs(staging)?;
        Ok(Self {
            places: Places::new(root),
            new: Dir::open_root(&staging.join(NEW))?,
            old: Dir::open_root(&staging.join(OLD))?,
            device: stat.dev,
            reused: HashMap::new(),
            watch,
            report: RestoreReport { bytes: header.bytes, ..RestoreReport::default() },
        })
    }

    fn step(&mut self, step: LogStep) -> Result<()> {
        let (path, result) = match step {
            LogStep::Remove { number, path, seen } => {
                let result = self.remove(number, &path.0, &self.here(seen));
                (path, result)
            }
            LogStep::MakeDir { path } => {
                let result = self.make_dir(&path.0);
                (path, result)
            }
            LogStep::Place { number, path, inode, seen } => {
                let seen = seen.map(|s| self.here(s));
                let result = self.place((number, inode), &path.0, seen.as_ref());
                (path, result)
            }
            LogStep::Adjust { path, node, seen } => {
                let seen = seen.map(|s| self.here(s));
                let result = self.adjust(&path.0, &node, seen.as_ref());
                (path, result)
            }
            LogStep::Settle { path, mode, mtime } => {
                let (parent, name) = split(&path.0);
                let settled =
                    self.places.dir(parent).and_then(|d| attributes::settle(d, name, mode, mtime));
                // Gone meanwhile: then there is nothing to settle.
                let gone = settled.as_ref().is_err_and(|e| e.kind() == io::ErrorKind::NotFound);
                (path, if gone { Ok(()) } else { settled }.map(|()| Outcome::Done))
            }
        };
        match result {
            Ok(Outcome::Done) => self.watch.step(Step::Placed(1)),
            Ok(Outcome::Kept(why)) => self.report.kept_conflicts.push(Conflict { path, why }),
            // Its directory is gone, or something took its place: nothing to restore into.
            Err(e) if is_obstruction(&e) => {
                let why = ConflictWhy::Obstructed;
                self.report.kept_conflicts.push(Conflict { path, why });
            }
            Err(e) => return Err(VaultError::io("restore", path.lossy(), e)),
        }
        Ok(())
    }

    /// Looks at what a step made. What is not as it was left has been changed since by
    /// somebody else: that is no failure, but it is said.
    fn verify(&mut self, step: &LogStep) {
        let Some((path, as_made)) = self.as_made(step) else { return };
        if as_made {
            self.report.verified += 1;
        } else if !self.report.kept_conflicts.iter().any(|kept| kept.path.0 == path) {
            self.report.disturbed.push(EntryPath(path.to_vec()));
        }
    }

    /// The path of a step that leaves something behind, and whether that is there.
    fn as_made<'s>(&mut self, step: &'s LogStep) -> Option<(&'s [u8], bool)> {
        let (path, expected) = match step {
            LogStep::Place { path, inode, .. } => (path, Expected::Inode(*inode)),
            LogStep::MakeDir { path } => (path, Expected::Directory),
            LogStep::Adjust { path, node, .. } => (path, Expected::Times(node.meta.mtime)),
            LogStep::Remove { path, .. } if self.reused.contains_key(&path.0) => return None,
            LogStep::Remove { path, .. } => (path, Expected::Nothing),
            LogStep::Settle { .. } => return None,
        };
        let (parent, name) = split(&path.0);
        let found = self.places.dir(parent).and_then(|dir| match path.0.is_empty() {
            true => dir.stat(),
            false => dir.stat_at(name),
        });
        let as_made = match (expected, found) {
            (Expected::Inode(inode), Ok(found)) => found.ino == inode && found.dev == self.device,
            (Expected::Directory, Ok(found)) => found.is_dir(),
            (Expected::Times(time), Ok(found)) => time.is_none_or(|t| stamp(t) == found.mtime),
            (Expected::Nothing, found) => found.is_err(),
            (_, Err(_)) => false,
        };
        Some((&path.0, as_made))
    }

    /// Device numbers may change with a reboot between plan and resumption; mounts
    /// are not crossed, so the folder's present one is meant.
    fn here(&self, seen: Stat) -> Stat {
        Stat { dev: self.device, ..seen }
    }

    fn remove(&mut self, number: u64, path: &[u8], seen: &Stat) -> io::Result<Outcome> {
        let (parent, name) = split(path);
        let away = OsString::from(number.to_string());
        if look(Ok(&self.old), &away)?.is_some() {
            // Moved away before a crash; whatever has the name now is ours to place, or
            // somebody else's.
            let outcome = self.check_removed(&away, (parent, name), seen)?;
            let anew = look(self.places.dir(parent), name).is_ok_and(|f| f.is_some());
            let kept = anew && !self.reused.contains_key(path);
            return Ok(if kept { Outcome::Kept(ConflictWhy::ChangedMeanwhile) } else { outcome });
        }
        let found = match look(self.places.dir(parent), name) {
            // Its directory is one no more: nothing is at this path.
            Err(e) if is_obstruction(&e) => None,
            other => other?,
        };
        let taken = |found: &Stat| match self.reused.get(path) {
            Some(Some(inode)) => found.ino == *inode,
            Some(None) => found.is_dir() && !seen.is_dir(),
            None => false,
        };
        // Gone, or (a directory leaves no trace in staging) vacated and taken again.
        let Some(found) = found.filter(|f| !taken(f)) else {
            self.report.removed += 1;
            return Ok(Outcome::Done);
        };
        if !seen.same_version(&found) {
            return Ok(Outcome::Kept(ConflictWhy::ChangedMeanwhile));
        }
        if found.is_dir() {
            let removed = writable(&mut self.places, parent, |dir| {
                rustix::fs::unlinkat(dir, name, AtFlags::REMOVEDIR)
            });
            if let Err(Errno::NOTEMPTY | Errno::EXIST | Errno::BUSY) = removed {
                return Ok(Outcome::Kept(ConflictWhy::NotEmpty));
            }
            removed?;
            self.places.forget(path);
        } else {
            let old = &self.old;
            writable(&mut self.places, parent, |dir| swap_in(dir, name, old, &away, false))?;
            return self.check_removed(&away, (parent, name), seen);
        }
        self.report.removed += 1;
        Ok(Outcome::Done)
    }

    /// Looks at what was moved away; another version than the one seen goes back.
    fn check_removed(
        &mut self,
        away: &OsStr,
        (parent, name): (&[u8], &OsStr),
        seen: &Stat,
    ) -> io::Result<Outcome> {
        if look(Ok(&self.old), away)?.is_none_or(|moved| seen.same_content(&moved)) {
            self.report.removed += 1;
            return Ok(Outcome::Done);
        }
        // No snapshot holds it. Where its name is taken by now it gets another one.
        let mut other = OsString::from("ringfence-kept-");
        other.push(away);
        for (dir, name) in [(parent, name), (parent, other.as_os_str()), (b"", &other)] {
            if let Ok(dir) = self.places.dir(dir)
                && swap_in(&self.old, away, dir, name, false).is_ok()
            {
                return Ok(Outcome::Kept(ConflictWhy::ChangedMeanwhile));
            }
        }
        Err(io::Error::other("a version that no snapshot holds could not be put back"))
    }

    fn make_dir(&mut self, path: &[u8]) -> io::Result<Outcome> {
        let (parent, name) = split(path);
        let made = writable(&mut self.places, parent, |dir| {
            rustix::fs::mkdirat(dir, name, Mode::from_raw_mode(0o700))
        });
        match made {
            Ok(()) => {
                self.places.forget(path);
                self.report.placed += 1;
                Ok(Outcome::Done)
            }
            Err(Errno::EXIST) => {
                let found = look(self.places.dir(parent), name)?;
                if found.is_some_and(|f| f.is_dir()) {
                    Ok(Outcome::Done)
                } else {
                    Ok(Outcome::Kept(ConflictWhy::Obstructed))
                }
            }
            Err(e) => Err(e.into()),
        }
    }

    fn place(
        &mut self,
        (number, inode): (u64, u64),
        path: &[u8],
        seen: Option<&Stat>,
    ) -> io::Result<Outcome> {
        let (parent, name) = split(path);
        let staged = OsString::from(number.to_string());
        let found = look(self.places.dir(parent), name)?;
        let beside = look(Ok(&self.new), &staged)?;
        let placed = found.is_some_and(|f| f.ino == inode && f.dev == self.device);
        if placed || beside.is_none_or(|b| b.ino != inode) {
            // Put in place before a crash. If the name has gone to another entry since,
            // that is somebody else's and stays.
            let swapped = placed.then_some(()).and(seen);
            return self.check_replaced(&staged, (parent, name), swapped);
        }
        let new = &self.new;
        let exchange = match (&found, seen) {
            (None, _) => false,
            (Some(found), Some(seen)) if seen.same_version(found) => true,
            _ => return Ok(Outcome::Kept(ConflictWhy::ChangedMeanwhile)),
        };
        let moved =
            writable(&mut self.places, parent, |dir| swap_in(new, &staged, dir, name, exchange));
        match moved {
            Ok(()) => {}
            Err(Errno::EXIST) => return Ok(Outcome::Kept(ConflictWhy::ChangedMeanwhile)),
            // No exchange on this file system: take the old one away, then move in.
            Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) if exchange => {
                let away = OsString::from(format!("{number}.old"));
                let dir = self.places.dir(parent)?;
                swap_in(dir, name, &self.old, &away, false)?;
                swap_in(&self.new, &staged, dir, name, false)?;
                rustix::fs::renameat(&self.old, &away, &self.new, &staged)?;
            }
            Err(e) => return Err(e.into()),
        }
        self.check_replaced(&staged, (parent, name), seen.filter(|_| exchange))
    }

    /// Looks at what a new version changed places with; another version than the one
    /// seen goes back.
    fn check_replaced(
        &mut self,
        staged: &OsStr,
        (parent, name): (&[u8], &OsStr),
        seen: Option<&Stat>,
    ) -> io::Result<Outcome> {
        let out = look(Ok(&self.new), staged)?;
        if let (Some(seen), Some(out)) = (seen, out)
            && !seen.same_content(&out)
        {
            let dir = self.places.dir(parent)?;
            match swap_in(&self.new, staged, dir, name, true) {
                Err(Errno::NOENT) => swap_in(&self.new, staged, dir, name, false)?,
                other => other?,
            }
            return Ok(Outcome::Kept(ConflictWhy::ChangedMeanwhile));
        }
        self.report.placed += 1;
        Ok(Outcome::Done)
    }

    fn adjust(
        &mut self,
        path: &[u8],
        node: &rustic_core::repofile::Node,
        seen: Option<&Stat>,
    ) -> io::Result<Outcome> {
        let (parent, name) = split(path);
        let dir = self.places.dir(parent)?;
        let found = if path.is_empty() { dir.stat()? } else { dir.stat_at(name)? };
        if found.is_dir() != node.is_dir() || found.is_link() != node.is_symlink() {
            return Ok(Outcome::Kept(ConflictWhy::Obstructed));
        }
        // Old metadata on newer content would hide that it is newer.
        let already = node.meta.mtime.is_some_and(|t| stamp(t) == found.mtime);
        let same = |s: &Stat| s.same_content(&found) || (already && s.ino == found.ino);
        if !seen.is_none_or(same) {
            return Ok(Outcome::Kept(ConflictWhy::ChangedMeanwhile));
        }
        for why in attributes::set_all(dir, name, node)? {
            let path = EntryPath(path.to_vec());
            self.report.imperfect.push(Remark { path, why, previous_kept: false });
        }
        if seen.is_some() {
            self.report.metadata += 1;
        }
        Ok(Outcome::Done)
    }
}

/// Names that one step vacates and a later one takes.
fn reused(steps: impl Iterator<Item = Result<LogStep>>) -> Result<HashMap<Vec<u8>, Option<u64>>> {
    let mut vacated = HashMap::new();
    for step in steps {
        match step? {
            LogStep::Remove { path, .. } => {
                vacated.insert(path.0, None);
            }
            LogStep::MakeDir { path } => {
                vacated.entry(path.0).and_modify(|to| *to = Some(None));
            }
            LogStep::Place { path, inode, .. } => {
                vacated.entry(path.0).and_modify(|to| *to = Some(Some(inode)));
            }
            _ => {}
        }
    }
    Ok(vacated.into_iter().filter_map(|(path, to)| Some((path, to?))).collect())
}

/// Looks at a name; `None` if it, or its directory, is not there.
fn look(dir: io::Result<&Dir>, name: &OsStr) -> io::Result<Option<Stat>> {
    match dir.and_then(|d| d.stat_at(name)) {
        Ok(stat) => Ok(Some(stat)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e),
    }
}

/// Renames without overwriting, or exchanges two entries.
fn swap_in(
    from: &Dir,
    name: &OsStr,
    to: &Dir,
    as_name: &OsStr,
    exchange: bool,
) -> rustix::io::Result<()> {
    let flags = if exchange { RenameFlags::EXCHANGE } else { RenameFlags::NOREPLACE };
    rustix::fs::renameat_with(from, name, to, as_name, flags)
}

/// Changes a directory; one that is closed to its owner is opened for it. Its final
/// mode is set at the end, from the log.
fn writable(
    places: &mut Places,
    path: &[u8],
    change: impl Fn(&Dir) -> rustix::io::Result<()>,
) -> rustix::io::Result<()> {
    let gone = |e: io::Error| e.raw_os_error().map_or(Errno::NOENT, Errno::from_raw_os_error);
    let dir = places.dir(path).map_err(gone)?;
    match change(dir) {
        Err(Errno::ACCESS) => {
            let mode = dir.stat().map_err(gone)?.mode & 0o7777;
            rustix::fs::fchmod(dir, Mode::from_raw_mode(mode | 0o700))?;
            change(dir)
        }
        other => other,
    }
}

fn is_obstruction(error: &io::Error) -> bool {
    let errno = error.raw_os_error().map(Errno::from_raw_os_error);
    matches!(errno, Some(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::XDEV | Errno::BUSY))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{MetadataExt, PermissionsExt};
    use std::path::PathBuf;

    use super::*;
    use crate::catalog::{Labels, SnapshotKind};
    use crate::diff::Point;
    use crate::key::VaultKey;
    use crate::restore::{Guard, RestoreRequest, Selection};
    use crate::snapshot::{SnapshotOutcome, SnapshotRequest};
    use crate::vault::Vault;
    use crate::watch::Watch;

    struct Lab {
        _top: tempfile::TempDir,
        folder: PathBuf,
        staging: PathBuf,
        vault: Vault,
    }

    impl Lab {
        fn new() -> Self {
            let top = tempfile::tempdir().unwrap();
            let folder = top.path().join("folder");
            fs::create_dir(&folder).unwrap();
            let vault =
                Vault::create(&top.path().join("v"), &VaultKey::generate().unwrap()).unwrap();
            Self { folder, staging: top.path().join("staging"), vault, _top: top }
        }

        fn snapshot(&self) -> SnapshotOutcome {
            let now = jiff::Timestamp::from_second(1_800_000_000).unwrap();
            let labels = Labels::new(SnapshotKind::Manual);
            self.vault.snapshot(&SnapshotRequest::new(&self.folder, labels, now)).unwrap()
        }

        fn plan(&self, to: &SnapshotOutcome) -> RestorePlan {
            let guard = Guard::Snapshot(self.snapshot().snapshot.id);
            let request = RestoreRequest {
                snapshot: to.snapshot.id,
                target: self.folder.clone(),
                selection: Selection::All,
                delete_extra: true,
                guard,
            };
            self.vault.plan_restore(&request).unwrap()
        }

        /// Everything up to the point of no return.
        fn stage(&self, plan: &RestorePlan) -> usize {
            stage::prepare(&self.staging, &self.folder).unwrap();
            stage::stage(&self.vault.engine, plan, &self.staging, &Watch::default()).unwrap();
            log::read(&self.staging).unwrap().unwrap().1.count()
        }

        /// The first steps of the log, and then no more.
        fn cut_short(&self, steps: usize) {
            let (header, log) = log::read(&self.staging).unwrap().unwrap();
            let watch = Watch::default();
            let mut placing = Placing::open(&self.staging, &header, &watch).unwrap();
            for step in log.take(steps) {
                placing.step(step.unwrap()).unwrap();
            }
        }

        fn write(&self, name: &str, content: &str) {
            let path = self.folder.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
    }

    #[test]
    fn a_log_cut_short_after_any_step_is_completed_from_there() {
        let lab = Lab::new();
        lab.write("a/one", "1");
        lab.write("a/two", "2");
        lab.write("becomes-dir", "file");
        lab.write("dir/x", "x");
        lab.write("mode", "m");
        fs::hard_link(lab.folder.join("a/one"), lab.folder.join("twin")).unwrap();
        let wanted = lab.snapshot();
        for name in ["a", "dir"] {
            fs::remove_dir_all(lab.folder.join(name)).unwrap();
        }
        fs::remove_file(lab.folder.join("becomes-dir")).unwrap();
        lab.write("becomes-dir/inner", "i");
        lab.write("dir", "now a file");
        lab.write("extra/deep/file", "e");
        lab.write("twin", "changed");
        fs::set_permissions(lab.folder.join("mode"), fs::Permissions::from_mode(0o600)).unwrap();
        let other = lab.snapshot();
        let steps = lab.stage(&lab.plan(&wanted));
        assert!(steps > 12, "{steps}");
        for cut in 0..=steps {
            if cut > 0 {
                // Back to the other state, by the same means.
                let plan = lab.plan(&other);
                let none = Watch::default();
                apply(&lab.vault.engine, &plan, &lab.staging, &none).unwrap();
                lab.stage(&lab.plan(&wanted));
            }
            lab.cut_short(cut);
            let report = resume(&lab.staging, &Watch::default()).unwrap().unwrap();
            assert_eq!(report.kept_conflicts, [], "cut after {cut}");
            assert_eq!(report.disturbed, [], "cut after {cut}");
            let left = lab
                .vault
                .diff(Point::Folder(&lab.folder), Point::Snapshot(wanted.snapshot.id))
                .unwrap();
            assert!(left.entries.is_empty(), "cut after {cut}: {:?}", left.entries);
            let inode = |name| fs::metadata(lab.folder.join(name)).unwrap().ino();
            assert_eq!(inode("a/one"), inode("twin"));
            assert_eq!(fs::read_dir(&lab.staging).unwrap().count(), 0);
        }
    }

    #[test]
    fn a_version_that_appears_after_a_crash_is_not_lost() {
        let lab = Lab::new();
        lab.write("kept", "1");
        lab.write("swapped", "1");
        let wanted = lab.snapshot();
        lab.write("kept", "2");
        lab.write("swapped", "2");
        lab.write("extra", "2");
        let plan = lab.plan(&wanted);
        let steps = lab.stage(&plan);
        // Before anything happens one entry changes; after the crash another does.
        lab.write("kept", "newer");
        lab.cut_short(steps);
        lab.write("swapped", "newest");
        lab.write("extra", "again");
        let report = resume(&lab.staging, &Watch::default()).unwrap().unwrap();
        let kept: Vec<_> = report.kept_conflicts.iter().map(|c| c.path.lossy()).collect();
        assert_eq!(kept, ["extra", "kept"]);
        let read = |name| fs::read_to_string(lab.folder.join(name)).unwrap();
        assert_eq!([read("kept"), read("swapped"), read("extra")], ["newer", "newest", "again"]);
    }

    #[test]
    fn a_version_moved_away_by_mistake_goes_back_even_where_its_name_is_taken() {
        let lab = Lab::new();
        lab.write("d/stays", "1");
        let wanted = lab.snapshot();
        lab.write("d/free", "2");
        lab.write("d/taken", "2");
        let plan = lab.plan(&wanted);
        lab.stage(&plan);
        // The state after a kill between moving and looking, when somebody wrote to both
        // files just before they were moved, and made one of them anew since.
        for step in log::read(&lab.staging).unwrap().unwrap().1 {
            if let LogStep::Remove { number, path, .. } = step.unwrap() {
                let name = lab.folder.join(path.lossy());
                fs::write(&name, "only copy").unwrap();
                fs::rename(&name, lab.staging.join(OLD).join(number.to_string())).unwrap();
            }
        }
        lab.write("d/taken", "made since");
        let report = resume(&lab.staging, &Watch::default()).unwrap().unwrap();
        assert_eq!(report.kept_conflicts.len(), 2, "{report:?}");
        let mut found: Vec<_> = fs::read_dir(lab.folder.join("d"))
            .unwrap()
            .map(|e| fs::read_to_string(e.unwrap().path()).unwrap())
            .collect();
        found.sort();
        assert_eq!(found, ["1", "made since", "only copy", "only copy"]);
    }

    #[test]
    fn what_is_changed_right_after_it_was_placed_is_seen_and_said() {
        let lab = Lab::new();
        lab.write("d/placed", "1");
        lab.write("d/untouched", "1");
        let wanted = lab.snapshot();
        lab.write("d/placed", "2");
        lab.write("d/untouched", "2");
        lab.write("extra", "2");
        lab.stage(&lab.plan(&wanted));
        let watch = Watch::default();
        let (header, steps) = log::read(&lab.staging).unwrap().unwrap();
        let steps: Vec<_> = steps.map(Result::unwrap).collect();
        let mut placing = Placing::open(&lab.staging, &header, &watch).unwrap();
        for step in steps.clone() {
            placing.step(step).unwrap();
        }
        // Another one replaces a file, as editors do, and makes one anew.
        lab.write("mine", "3");
        fs::rename(lab.folder.join("mine"), lab.folder.join("d/placed")).unwrap();
        lab.write("extra", "3");
        for step in &steps {
            placing.verify(step);
        }
        let seen: Vec<_> = placing.report.disturbed.iter().map(EntryPath::lossy).collect();
        assert!(
            seen.contains(&"extra".to_owned()) && seen.contains(&"d/placed".to_owned()),
            "{seen:?}"
        );
        assert!(!seen.contains(&"d/untouched".to_owned()), "{seen:?}");
        assert!(placing.report.verified > 0);
    }

    #[test]
    fn two_restores_do_not_share_a_staging_directory() {
        let lab = Lab::new();
        lab.write("a", "1");
        let wanted = lab.snapshot();
        lab.write("a", "2");
        let plan = lab.plan(&wanted);
        lab.stage(&plan);
        let first = stage::alone(&lab.staging).unwrap();
        let refused = resume(&lab.staging, &Watch::default()).unwrap_err();
        assert!(refused.to_string().contains("another restore"), "{refused}");
        assert_eq!(fs::read(lab.folder.join("a")).unwrap(), b"2");
        drop(first);
        assert!(resume(&lab.staging, &Watch::default()).unwrap().is_some());
        assert_eq!(fs::read(lab.folder.join("a")).unwrap(), b"1");
    }

    #[test]
    fn another_directory_under_the_name_is_not_restored_into() {
        let lab = Lab::new();
        lab.write("a", "1");
        let wanted = lab.snapshot();
        fs::remove_file(lab.folder.join("a")).unwrap();
        lab.stage(&lab.plan(&wanted));
        fs::rename(&lab.folder, lab.folder.with_extension("moved")).unwrap();
        fs::create_dir(&lab.folder).unwrap();
        let refused = resume(&lab.staging, &Watch::default()).unwrap_err();
        assert!(matches!(refused, VaultError::Staging { .. }), "{refused}");
        assert_eq!(fs::read_dir(&lab.folder).unwrap().count(), 0);
    }
}
