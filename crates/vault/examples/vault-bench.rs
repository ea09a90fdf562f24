//! One operation of the vault as a whole process, for `bench/vault` to compare with other
//! tools: `vault-bench DIR WHAT …`, where DIR holds the vault and its key.
//!
//! - `create` makes both.
//! - `snapshot TREE` looks at everything; `snapshot TREE LIST` at the paths that the file
//!   LIST names, one a line, relative to TREE.
//! - `restore TARGET` puts the latest snapshot into an empty directory.
//! - `check` looks at the structure, `check-data` at every byte.
//! - `size` prints how many bytes the vault occupies.
//! - `many TREE COUNT` takes so many more snapshots of one changed file in one process, as the
//!   daemon does, and prints ten times on the way how long one took and how large the
//!   process is.
#![expect(clippy::print_stdout, reason = "its output is the measurement")]
#![expect(clippy::disallowed_methods, reason = "it measures with the real clock")]

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use jiff::Timestamp;
use ringfence_vault::{
    Cancel, ChangeSet, Guard, Labels, RestoreRequest, Selection, SnapshotId, SnapshotKind,
    SnapshotMode, SnapshotRequest, Vault, VaultKey,
};

type Outcome<T> = Result<T, Box<dyn Error>>;

const USAGE: &str = "usage: vault-bench DIR create | snapshot TREE [LIST] | restore TARGET \
                     | check | check-data | size | many TREE COUNT";

fn main() -> Outcome<()> {
    let arguments: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    let (Some(dir), Some(what)) = (arguments.first(), arguments.get(1)) else {
        return Err(USAGE.into());
    };
    let (place, key) = (dir.join("vault"), dir.join("id.key"));
    if what.as_os_str() == "create" {
        let new = VaultKey::generate()?;
        new.store(&key)?;
        Vault::create(&place, &new)?;
        return Ok(());
    }
    let vault = Vault::open(&place, &VaultKey::load(&key)?)?;
    match (what.to_str(), arguments.get(2..).unwrap_or_default()) {
        (Some("snapshot"), [tree]) => {
            let labels = Labels::new(SnapshotKind::Manual);
            let taken = vault.snapshot(&SnapshotRequest::new(tree, labels, Timestamp::now()))?;
            println!("{}", if taken.unchanged { "unchanged" } else { "stored" });
        }
        (Some("snapshot"), [tree, list]) => {
            let mut changes = ChangeSet::new(vault.find("latest")?.id);
            for path in fs::read_to_string(list)?.lines() {
                changes.entry(path);
            }
            listed(&vault, tree, changes)?;
        }
        (Some("restore"), [target]) => restore(&vault, target, &dir.join("staging"))?,
        (Some(check @ ("check" | "check-data")), []) => {
            let report = vault.check(check == "check-data")?;
            if !report.is_clean() {
                return Err(format!("{:?}", report.problems).into());
            }
        }
        (Some("size"), []) => println!("{}", vault.size()?),
        (Some("many"), [tree, count]) => many(&vault, tree, count.to_string_lossy().parse()?)?,
        _ => return Err(USAGE.into()),
    }
    Ok(())
}

/// Takes a snapshot by a list of what changed since an earlier one.
fn listed(vault: &Vault, tree: &Path, changes: ChangeSet) -> Outcome<SnapshotId> {
    let labels = Labels::new(SnapshotKind::Periodic);
    let mut request = SnapshotRequest::new(tree, labels, Timestamp::now());
    request.changes = Some(changes);
    let outcome = vault.snapshot(&request)?;
    if outcome.mode == SnapshotMode::Changes {
        Ok(outcome.snapshot.id)
    } else {
        Err(format!("the list was not used: {:?}", outcome.mode).into())
    }
}

fn restore(vault: &Vault, target: &Path, staging: &Path) -> Outcome<()> {
    let plan = vault.plan_restore(&RestoreRequest {
        snapshot: vault.find("latest")?.id,
        target: target.into(),
        selection: Selection::All,
        delete_extra: false,
        guard: Guard::Nothing,
    })?;
    vault.apply(&plan, staging, None, Cancel::default())?;
    Ok(())
}

/// Takes so many snapshots more, each of one changed file.
fn many(vault: &Vault, tree: &Path, count: u32) -> Outcome<()> {
    let name = "vault-bench-changes";
    let mut since = vault.find("latest")?.id;
    let tenth = count.div_ceil(10).max(1);
    let (mut wall, mut cpu) = (Instant::now(), processor());
    for n in 1..=count {
        fs::write(tree.join(name), n.to_string())?;
        let mut changes = ChangeSet::new(since);
        changes.entry(name);
        since = listed(vault, tree, changes)?;
        if n % tenth == 0 {
            println!(
                "{}",
                serde_json::json!({
                    "snapshots": n,
                    "wall-each": wall.elapsed().as_secs_f64() / f64::from(tenth),
                    "cpu-each": (processor() - cpu) / f64::from(tenth),
                    "resident-kib": resident()?,
                })
            );
            (wall, cpu) = (Instant::now(), processor());
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

/// Seconds of processor time of this process, all threads.
fn processor() -> f64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}
