//! A folder, its vault, and the tools that judge them.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use jiff::Timestamp;
use ringfence_vault::{
    Guard, Labels, RestoreReport, RestoreRequest, Selection, SnapshotId, SnapshotKind,
    SnapshotOutcome, SnapshotRequest, Vault, VaultKey,
};

pub(crate) struct Lab {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) folder: PathBuf,
    pub(crate) vault: Vault,
    pub(crate) key: VaultKey,
    clock: std::cell::Cell<i64>,
}

impl Lab {
    pub(crate) fn new() -> Self {
        let dir = tempfile::Builder::new().prefix("vault-lab").tempdir().unwrap();
        let folder = dir.path().join("folder");
        fs::create_dir(&folder).unwrap();
        let key = VaultKey::generate().unwrap();
        key.store(&dir.path().join("id.key")).unwrap();
        let vault = Vault::create(&dir.path().join("vault"), &key).unwrap();
        Self { dir, folder, vault, key, clock: std::cell::Cell::new(1_800_000_000) }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    pub(crate) fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.clock.set(self.clock.get() + 60);
        Timestamp::from_second(self.clock.get()).unwrap()
    }

    pub(crate) fn request(&self, kind: SnapshotKind) -> SnapshotRequest {
        SnapshotRequest::new(&self.folder, Labels::new(kind), self.now())
    }

    pub(crate) fn snapshot(&self, kind: SnapshotKind) -> SnapshotOutcome {
        self.vault.snapshot(&self.request(kind)).unwrap()
    }

    pub(crate) fn staging(&self) -> PathBuf {
        self.dir.path().join("staging")
    }

    /// Goes back to a snapshot as the daemon would: guard, plan, apply.
    pub(crate) fn restore(&self, to: &SnapshotOutcome) -> RestoreReport {
        let guard = self.snapshot(SnapshotKind::BeforeRestore).snapshot.id;
        let plan =
            self.vault.plan_restore(&self.restore_request(to, Guard::Snapshot(guard))).unwrap();
        self.vault.apply(&plan, &self.staging(), None, Default::default()).unwrap()
    }

    pub(crate) fn restore_request(&self, to: &SnapshotOutcome, guard: Guard) -> RestoreRequest {
        self.request_by_id(to.snapshot.id, guard)
    }

    pub(crate) fn request_by_id(&self, snapshot: SnapshotId, guard: Guard) -> RestoreRequest {
        RestoreRequest {
            snapshot,
            target: self.folder.clone(),
            selection: Selection::All,
            delete_extra: true,
            guard,
        }
    }

    /// An exact copy made by a tool that is not ours.
    pub(crate) fn reference(&self, name: &str) -> PathBuf {
        let copy = self.dir.path().join(name);
        run("cp", [OsStr::new("-a"), self.folder.as_os_str(), copy.as_os_str()]);
        copy
    }

    /// Restores a snapshot into a new directory.
    pub(crate) fn restore_elsewhere(&self, to: &SnapshotOutcome, name: &str) -> PathBuf {
        self.restore_by_id(to.snapshot.id, name)
    }

    pub(crate) fn restore_by_id(&self, snapshot: SnapshotId, name: &str) -> PathBuf {
        let target = self.dir.path().join(name);
        fs::create_dir(&target).unwrap();
        let request = RestoreRequest {
            target: target.clone(),
            ..self.request_by_id(snapshot, Guard::Nothing)
        };
        let plan = self.vault.plan_restore(&request).unwrap();
        let report = self.vault.apply(&plan, &self.staging(), None, Default::default()).unwrap();
        assert_eq!(report.kept_conflicts, []);
        target
    }

    /// No problem of any kind in the vault, read to the last byte.
    pub(crate) fn assert_whole(&self) {
        let report = self.vault.check(true).unwrap();
        assert!(report.is_clean(), "{report:#?}");
        assert_eq!(self.vault.snapshots().unwrap().damaged.len(), 0);
    }
}

pub(crate) fn run<I, S>(program: &str, arguments: I) -> Output
where
    I: IntoIterator<Item = S>,
    S: AsRef<OsStr>,
{
    let output = Command::new(program)
        .args(arguments)
        .output()
        .unwrap_or_else(|e| panic!("{program} must be installed for this test: {e}"));
    assert!(
        output.status.success(),
        "{program}: {}\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    output
}

/// What rsync would change to make `b` into `a`, by content, mode, owner, times to the
/// nanosecond, links, hard links, ACLs and attributes.
pub(crate) fn differences(a: &Path, b: &Path) -> String {
    let slash = |p: &Path| {
        let mut s = OsString::from(p);
        s.push("/");
        s
    };
    let options = ["-naHAXc", "--delete", "--itemize-changes", "--modify-window=-1"];
    let mut arguments: Vec<OsString> = options.iter().map(OsString::from).collect();
    arguments.extend([slash(a), slash(b)]);
    String::from_utf8_lossy(&run("rsync", arguments).stdout).into_owned()
}

#[track_caller]
pub(crate) fn assert_same(a: &Path, b: &Path) {
    let found = differences(a, b);
    assert!(found.is_empty(), "{} and {} differ:\n{found}", a.display(), b.display());
}

pub(crate) fn bytes_name(bytes: &[u8]) -> OsString {
    OsString::from_vec(bytes.to_vec())
}

pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}
