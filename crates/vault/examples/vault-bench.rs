//! Times the vault on a given tree, for `bench/` to compare with other tools.
//!
//! `vault-bench TREE WORK`: WORK is made anew and holds vault and restored copy. Ten
//! files of TREE get a line more in each round of changes, so give it a copy. One JSON
//! object a line: what was done, seconds of wall time and of processor time, and the most
//! memory it held at a time, in bytes.
#![expect(clippy::print_stdout, reason = "its output is the measurement")]
#![expect(clippy::disallowed_methods, reason = "it measures with the real clock")]

use std::error::Error;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Instant;

use jiff::Timestamp;
use ringfence_vault::{
    Cancel, Guard, Labels, Point, RestoreRequest, Selection, SnapshotKind, SnapshotRequest, Vault,
    VaultKey,
};

type Outcome<T> = Result<T, Box<dyn Error>>;

fn main() -> Outcome<()> {
    let mut arguments = std::env::args_os().skip(1).map(PathBuf::from);
    let (Some(tree), Some(work)) = (arguments.next(), arguments.next()) else {
        return Err("usage: vault-bench TREE WORK".into());
    };
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
    Ok(())
}

/// Appends to ten files, spread over the tree.
fn change(tree: &Path, round: u32) -> Outcome<()> {
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
    for path in files.iter().step_by(step).take(10) {
        writeln!(fs::File::options().append(true).open(path)?, "round {round}")?;
    }
    Ok(())
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
