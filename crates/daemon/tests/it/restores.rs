//! Restores as a process of their own: killed, refused, finished later.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use ringfence_model::api::RestoreRequest;
use ringfence_model::error::ErrorKind;
use ringfence_testkit::project::differences;
use ringfenced::supervisor::report::Report;
use rustix::process::{Pid, Signal, kill_process};

use crate::Lab;

/// A way back to the first snapshot.
fn back(lab: &Lab, at: &str) -> RestoreRequest {
    RestoreRequest {
        folder: lab.project.clone(),
        at: Some(at.to_owned()),
        to: None,
        paths: Vec::new(),
        dry_run: false,
    }
}

fn fill(folder: &Path, seed: usize) {
    for n in 0..1500 {
        let directory = folder.join(format!("d{}", n % 31));
        fs::create_dir_all(&directory).expect("made");
        fs::write(directory.join(format!("f{n}")), format!("{seed} {n}\n").repeat(40 + n % 7))
            .expect("written");
    }
}

/// The restore process of this test's daemon, if one is at work.
fn restore_process() -> Option<Pid> {
    let own = std::process::id().to_string();
    let mut processes = fs::read_dir("/proc").expect("proc").flatten();
    processes.find_map(|entry| {
        let status = fs::read_to_string(entry.path().join("stat")).ok()?;
        let parent = status.rsplit_once(')')?.1.split_whitespace().nth(1)?.to_owned();
        let line = fs::read(entry.path().join("cmdline")).ok()?;
        let pid = entry.file_name().to_str()?.parse().ok()?;
        (parent == own && line.ends_with(b"\0restore\0")).then(|| Pid::from_raw(pid)).flatten()
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restore_whose_process_is_killed_has_happened_whole_or_not_at_all() {
    let lab = Lab::new();
    let nobody = Report::nobody();
    lab.daemon.add_folder(&lab.project, &nobody).await.expect("added");
    let mut states = Vec::new();
    for seed in [1, 2] {
        fill(&lab.project, seed);
        let taken = lab.daemon.backup_now(&lab.project, &nobody).await.expect("snapshot");
        states.push((taken.id, lab.reference(&format!("state{seed}"))));
    }
    let (mut killed, mut completed, mut present) = (0, 0, 1);
    for round in 0..12u64 {
        let (id, reference) = &states[1 - present];
        let (daemon, request) = (lab.daemon.clone(), back(&lab, id));
        let restoring =
            tokio::spawn(async move { daemon.restore(request, &Report::nobody()).await });
        // From before the log is written until after.
        let wait = Duration::from_millis(round * 60);
        let mut seen: Option<Instant> = None;
        while !restoring.is_finished() {
            if let Some(pid) = restore_process()
                && seen.get_or_insert_with(Instant::now).elapsed() >= wait
            {
                kill_process(pid, Signal::KILL).expect("killed");
                killed += 1;
                break;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        match restoring.await.expect("no panic") {
            Ok(plan) => {
                completed +=
                    usize::from(plan.notes.iter().any(|n| n.contains("completed from its log")));
                assert_eq!(
                    differences(reference, &lab.project).expect("compared"),
                    "",
                    "round {round}"
                );
                present = 1 - present;
            }
            Err(error) => {
                assert!(error.message.contains("ended before it was done"), "{error:?}");
                let before = &states[present].1;
                assert_eq!(
                    differences(before, &lab.project).expect("compared"),
                    "",
                    "round {round}"
                );
            }
        }
        assert!(restore_process().is_none(), "round {round}: a process was left behind");
    }
    eprintln!("{killed} of 12 killed, {completed} completed from the log");
    assert!(killed >= 4, "only {killed} were killed in time");
}

#[tokio::test]
async fn a_folder_that_is_gone_or_a_link_is_not_restored_into() {
    let lab = Lab::new();
    let nobody = Report::nobody();
    lab.daemon.add_folder(&lab.project, &nobody).await.expect("added");
    let aside = lab.directory.path().join("aside");
    fs::rename(&lab.project, &aside).expect("moved");
    let error = lab.daemon.restore(back(&lab, "latest"), &nobody).await.expect_err("gone");
    assert!(error.hints.iter().any(|hint| hint.contains("--to DIR")), "{error:?}");
    symlink(&aside, &lab.project).expect("link");
    let before = lab.reference("before");
    lab.daemon.restore(back(&lab, "latest"), &nobody).await.expect_err("a link");
    assert_eq!(differences(&before, &lab.project).expect("compared"), "");
    // Elsewhere it comes back all the same.
    fs::remove_file(&lab.project).expect("removed");
    let to = lab.directory.path().join("elsewhere");
    let request = RestoreRequest { to: Some(to.clone()), ..back(&lab, "latest") };
    lab.daemon.restore(request, &nobody).await.expect("restored");
    assert_eq!(differences(&aside, &to).expect("compared"), "");
}

/// A file system of its own at a directory; gone with the value.
struct Mounted(PathBuf);

impl Mounted {
    fn at(path: &Path) -> Option<Self> {
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=8m", "tmpfs"])
            .arg(path)
            .status();
        if !mounted.is_ok_and(|status| status.success()) {
            eprintln!("SKIPPED: a file system can only be mounted as root");
            return None;
        }
        Some(Self(path.to_owned()))
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).status();
    }
}

#[tokio::test]
async fn a_folder_that_is_a_mount_point_is_restored_elsewhere_only() {
    let lab = Lab::new();
    let nobody = Report::nobody();
    let Some(_mounted) = Mounted::at(&lab.project) else { return };
    fs::write(lab.project.join("file"), "first").expect("written");
    lab.daemon.add_folder(&lab.project, &nobody).await.expect("added");
    fs::write(lab.project.join("file"), "second").expect("written");
    // Already the plan says so, before anything is saved, held or asked.
    for dry_run in [true, false] {
        let request = RestoreRequest { dry_run, ..back(&lab, "latest") };
        let error = lab.daemon.restore(request, &nobody).await.expect_err("a mount point");
        assert_eq!(error.kind, ErrorKind::Vault);
        assert!(error.hints.iter().any(|hint| hint.contains("restore --to DIR")), "{error:?}");
    }
    assert_eq!(fs::read(lab.project.join("file")).expect("read"), b"second");
    assert_eq!(fs::read_dir(&lab.project).expect("listed").count(), 1, "nothing is left in it");
    let to = lab.directory.path().join("elsewhere");
    let request = RestoreRequest { to: Some(to.clone()), ..back(&lab, "latest") };
    lab.daemon.restore(request, &nobody).await.expect("restored");
    assert_eq!(fs::read(to.join("file")).expect("read"), b"first");
}
