//! Times the vault on a given tree, for `bench/` to compare with other tools.
//!
//! `vault-bench TREE WORK [MANY]`: WORK is made anew and holds vault and restored copy.
//! Ten files of TREE get a line more in each round of changes, so give it a copy. One JSON
//! object a line: what was done, seconds of wall time and of processor time, and the most
//! memory it held at a time, in bytes. With MANY so many more snapshots of one changed file
//! follow, in one process as the daemon takes them, and it is said after each tenth how long
//! one took and how large the process is.
#![expect(clippy::print_stdout, reason = "its output is the measurement")]
#![expect(clippy::disallowed_methods, reason = "it measures with the real clock")]

use std::error::Error;
use std::fs;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Instant;

use jiff::Timestamp;
use ringfence_vault::{
    Cancel, ChangeSet, Guard, Labels, Point, RestoreRequest, Selection, SnapshotId, SnapshotKind,
    SnapshotMode, SnapshotRequest, Vault, VaultKey,
};

type Outcome<T> = Result<T, Box<dyn Error>>;

fn main() -> Outcome<()> {
    let mut arguments = std::env::args_os().skip(1).map(PathBuf::from);
    let (Some(tree), Some(work)) = (arguments.next(), arguments.next()) else {
        return Err("usage: vault-bench TREE WORK [MANY]".into());
    };
    let many = arguments.next().map(|m| m.to_string_lossy().parse()).transpose()?.unwrap_or(0);
    fs::create_dir(&work)?;
    let key = VaultKey::generate()?;
    let key_path = work.join("id.key");
    key.store(&key_path)?;
    timed("create", || Vault::create(&work.join("vault"), &key).map(drop))?;
    let open = || Vault::open(&work.join("vault"), &VaultKey::load(&key_path)?);
    let take = || {
        let labels = Labels::new(SnapshotKind::Manual);
        open()?.snapshot(&SnapshotRequest::new(&tree, labels, Timestamp::now()))
    };
    timed("first", take)?;
    for _ in 0..3 {
        let outcome = timed("unchanged", take)?;
        assert!(outcome.unchanged, "the tree changed while it was measured");
    }
    for round in 0..3 {
        change(&tree, round)?;
        timed("ten-changes", take)?;
    }
    let kept = open()?;
    for round in 0..5 {
        let changed = change(&tree, round)?;
        timed("ten-changes-listed", || take_listed(&kept, &tree, &changed))?;
    }
    timed("no-changes-listed", || take_listed(&kept, &tree, &[]))?;
    drop(kept);
    let last = open()?.find("latest")?.id;
    timed("compare-live", || open()?.diff(Point::Snapshot(last), Point::Folder(&tree)))?;
    let target = work.join("restored");
    fs::create_dir(&target)?;
    timed("restore", || {
        let vault = open()?;
        let plan = vault.plan_restore(&RestoreRequest {
            snapshot: last,
            target: target.clone(),
            selection: Selection::All,
            delete_extra: false,
            guard: Guard::Nothing,
        })?;
        vault.apply(&plan, &work.join("staging"), None, Cancel::default())
    })?;
    timed("check", || open()?.check(false))?;
    timed("check-data", || open()?.check(true))?;
    println!("{}", serde_json::json!({"what": "size", "bytes": open()?.size()?}));
    take_many(&open()?, &tree, many)
}

/// Takes a snapshot by a list of what changed since the latest one.
fn take_listed(vault: &Vault, tree: &Path, changed: &[PathBuf]) -> Outcome<()> {
    let mut changes = ChangeSet::new(vault.find("latest")?.id);
    for path in changed {
        changes.entry(path.strip_prefix(tree)?.as_os_str().as_bytes());
    }
    snapshot_listed(vault, tree, changes)?;
    Ok(())
}

fn snapshot_listed(vault: &Vault, tree: &Path, changes: ChangeSet) -> Outcome<SnapshotId> {
    let labels = Labels::new(SnapshotKind::Periodic);
    let mut request = SnapshotRequest::new(tree, labels, Timestamp::now());
    request.changes = Some(changes);
    let outcome = vault.snapshot(&request)?;
    assert_eq!(outcome.mode, SnapshotMode::Changes, "the list was not used");
    Ok(outcome.snapshot.id)
}

/// Takes so many snapshots more, each of one changed file.
fn take_many(vault: &Vault, tree: &Path, many: u32) -> Outcome<()> {
    if many == 0 {
        return Ok(());
    }
    let name = "vault-bench-changes";
    let mut since = vault.find("latest")?.id;
    let mut start = Instant::now();
    for n in 1..=many {
        fs::write(tree.join(name), n.to_string())?;
        let mut changes = ChangeSet::new(since);
        changes.entry(name);
        since = snapshot_listed(vault, tree, changes)?;
        if n % many.div_ceil(10) == 0 {
            println!(
                "{}",
                serde_json::json!({
                    "what": "many",
                    "snapshots": n,
                    "wall-each": start.elapsed().as_secs_f64() / f64::from(many.div_ceil(10)),
                    "resident-kib": resident()?,
                })
            );
            start = Instant::now();
        }
    }
    Ok(())
}

/// Resident memory of this process in KiB.
fn resident() -> Outcome<u64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:")).ok_or("no VmRSS")?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}

/// Appends to ten files, spread over the tree, and names them.
fn change(tree: &Path, round: u32) -> Outcome<Vec<PathBuf>> {
    let mut files = Vec::new();
    let mut stack = vec![tree.to_path_buf()];
    while let Some(dir) = stack.pop() {
        for entry in fs::read_dir(dir)? {
            let entry = entry?;
            match entry.file_type()? {
                t if t.is_dir() => stack.push(entry.path()),
                t if t.is_file() => files.push(entry.path()),
                _ => {}
            }
        }
    }
    files.sort();
    let step = (files.len() / 10).max(1);
    let changed: Vec<_> = files.into_iter().step_by(step).take(10).collect();
    for path in &changed {
        writeln!(fs::File::options().append(true).open(path)?, "round {round}")?;
    }
    Ok(changed)
}

fn timed<T, E: Into<Box<dyn Error>>>(what: &str, act: impl FnOnce() -> Result<T, E>) -> Outcome<T> {
    // From here on the kernel remembers the most memory anew.
    fs::write("/proc/self/clear_refs", "5")?;
    let (wall, cpu) = (Instant::now(), processor());
    let result = act().map_err(Into::into)?;
    println!(
        "{}",
        serde_json::json!({
            "what": what,
            "wall": wall.elapsed().as_secs_f64(),
            "cpu": processor() - cpu,
            "peak": peak()?,
        })
    );
    Ok(result)
}

/// The most memory that this process has held since it was last told to forget it.
fn peak() -> Outcome<u64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or_default();
    let kib: u64 = line.trim().trim_end_matches(" kB").parse()?;
    Ok(kib * 1024)
}

/// Seconds of processor time of this process, all threads.
fn processor() -> f64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}
