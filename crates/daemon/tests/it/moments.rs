//! States between two snapshots: what a session's journal and what was kept of it say, from
//! where the keeper put it and from the vault. The journal is written as a share has it
//! written; that the share does so is tested where it is made, and both together in `e2e/`.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use jiff::Timestamp;
use ringfence_model::api::{RestoreRequest, UndeleteRequest, UndoRequest};
use ringfence_model::bytes::BytePath;
use ringfence_model::history::PlanView;
use ringfence_model::mass_loss::GuardAction;
use ringfence_model::name::{MachineName, ProfileName, SessionId};
use ringfence_model::prune::PruneRequest;
use ringfence_model::session::{Exit, Session, SessionState};
use ringfence_share::journal::{self, Operation, Record, STILL_NAMED, Writer};
use ringfence_testkit::project::differences;
use ringfenced::host::clock;
use ringfenced::store::Store;
use ringfenced::supervisor::report::Report;

use crate::Lab;

/// What stands for a session's guest, share and keeper.
pub(crate) struct Agent {
    pub(crate) root: PathBuf,
    pub(crate) kept: PathBuf,
    journal: Writer,
    sequence: u64,
    objects: u64,
    pub(crate) session: Session,
}

impl Agent {
    pub(crate) async fn new(lab: &Lab, id: &str) -> Self {
        let folder = lab.protected().await;
        let opening =
            lab.daemon.backup_now(&lab.project, &Report::nobody()).await.expect("a snapshot");
        let kept = lab.daemon.layout.kept(&folder.id).join(id);
        fs::create_dir_all(&kept).expect("made");
        let session = Session {
            id: SessionId::new(id).expect("id"),
            profile: ProfileName::new("shell").expect("name"),
            machine: MachineName::new("shop").expect("name"),
            folder: Some(folder.id),
            folder_path: Some(lab.project.clone()),
            command: vec!["sh".into()],
            state: SessionState::Running,
            started: clock::now(),
            ended: None,
            exit: None,
            guard: GuardAction::Off,
            mass_loss: None,
            stricter: Vec::new(),
            opening_snapshot: Some(opening.id),
            closing_snapshot: None,
        };
        Store::new(lab.daemon.layout.clone()).set_session(&session).expect("written");
        let journal = Writer::open(&kept.join(journal::FILE)).expect("a journal");
        let root = lab.project.clone();
        let mut agent = Self { root, kept, journal, sequence: 0, objects: 0, session };
        agent.note(Record::new(Operation::Begin, id.into()));
        agent
    }

    pub(crate) fn note(&mut self, mut record: Record) {
        // No two operations happen at one time.
        std::thread::sleep(Duration::from_millis(3));
        self.sequence += 1;
        record.sequence = self.sequence;
        record.time = now();
        self.journal.append(&record).expect("appended");
    }

    /// Tells of a loss; `keep`: the vault has not got it.
    pub(crate) fn lose(&mut self, operation: Operation, path: &str, keep: bool) {
        let file = self.root.join(path);
        let facts = fs::symlink_metadata(&file).expect("there");
        let mut record = Record::new(operation, path.into());
        (record.inode, record.mode) = (facts.ino(), facts.mode());
        record.modified = facts.mtime() * 1_000_000_000 + facts.mtime_nsec();
        if facts.is_file() {
            record.size_before = facts.len();
        }
        if matches!(operation, Operation::Remove | Operation::Replace) && facts.nlink() > 1 {
            record.data = STILL_NAMED.to_vec();
        }
        if keep {
            self.objects += 1;
            record.object = self.objects;
            fs::copy(&file, self.kept.join(self.objects.to_string())).expect("kept");
        }
        self.note(record);
    }

    fn overwrite(&mut self, path: &str, content: &str, keep: bool) {
        self.lose(Operation::Overwrite, path, keep);
        fs::write(self.root.join(path), content).expect("written");
        self.note(Record::new(Operation::Close, path.into()));
    }

    fn make(&mut self, path: &str, content: &str) {
        fs::write(self.root.join(path), content).expect("written");
        self.note(Record::new(Operation::Create, path.into()));
        self.note(Record::new(Operation::Close, path.into()));
    }

    fn remove(&mut self, path: &str, keep: bool) {
        self.lose(Operation::Remove, path, keep);
        fs::remove_file(self.root.join(path)).expect("removed");
    }

    fn rename(&mut self, path: &str, other: &str) {
        let mut record = Record::new(Operation::Rename, path.into());
        record.other = other.into();
        self.note(record);
        fs::rename(self.root.join(path), self.root.join(other)).expect("renamed");
    }

    pub(crate) async fn end(&mut self, lab: &Lab, orderly: bool) {
        if orderly {
            self.note(Record::new(Operation::End, self.session.id.to_string().into()));
        }
        self.journal.sync().expect("on disk");
        let closing =
            lab.daemon.backup_now(&lab.project, &Report::nobody()).await.expect("a snapshot");
        self.session.closing_snapshot = Some(closing.id);
        self.session.state = SessionState::Ended;
        self.session.ended = Some(clock::now());
        self.session.exit = Some(Exit::Code(0));
        Store::new(lab.daemon.layout.clone()).set_session(&self.session).expect("written");
    }
}

pub(crate) fn now() -> i64 {
    i64::try_from(clock::now().as_nanosecond()).expect("a time")
}

/// A moment of which no operation is.
pub(crate) fn moment() -> Timestamp {
    std::thread::sleep(Duration::from_millis(3));
    clock::now()
}

pub(crate) async fn restore(lab: &Lab, at: &str, to: Option<PathBuf>, dry_run: bool) -> PlanView {
    let (folder, at, paths) = (lab.project.clone(), Some(at.to_owned()), Vec::new());
    let request = RestoreRequest { folder, at, to, paths, dry_run };
    lab.daemon.restore(request, &Report::nobody()).await.expect("restored")
}

fn undo(lab: &Lab, id: &SessionId) -> UndoRequest {
    UndoRequest {
        folder: lab.project.clone(),
        session: Some(id.clone()),
        all: false,
        deletions: false,
        since: None,
        paths: Vec::new(),
        dry_run: false,
    }
}

fn same(expected: &Path, found: &Path) {
    // Which times directories had in between is not written down.
    let differs = differences(expected, found).expect("compared");
    let differs: Vec<_> = differs.lines().filter(|line| !line.ends_with('/')).collect();
    assert!(differs.is_empty(), "{} {}: {differs:#?}", expected.display(), found.display());
}

pub(crate) async fn released(lab: &Lab, agent: &Agent) {
    Arc::clone(&lab.daemon).recover().await;
    for _ in 0..600 {
        if !agent.kept.exists() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("what was kept is still there");
}

pub(crate) async fn content(body: Body) -> Vec<u8> {
    axum::body::to_bytes(body, usize::MAX).await.expect("read").to_vec()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_moment_of_a_session_comes_back_also_from_the_vault() {
    let lab = Lab::new();
    fs::create_dir(lab.project.join("old")).expect("made");
    fs::write(lab.project.join("old/inner"), "inner").expect("written");
    fs::write(lab.project.join("f"), "zero").expect("written");
    let mut agent = Agent::new(&lab, "261125-1").await;
    let mut moments = Vec::new();
    let mut keep = |name: &str| moments.push((moment(), lab.reference(name)));
    keep("m0");
    agent.overwrite("f", "first", false);
    agent.make("made", "made");
    keep("m1");
    agent.overwrite("f", "second, longer", true);
    agent.remove("made", true);
    agent.rename("old", "new");
    keep("m2");
    agent.overwrite("f", "3", true);
    agent.remove("src/main.rs", false);
    agent.overwrite("new/inner", "changed", false);
    keep("m3");
    agent.remove("f", true);
    agent.remove("new/inner", true);
    keep("m4");

    // While it is under way.
    let (at, expected) = &moments[2];
    let live = lab.directory.path().join("live");
    restore(&lab, &at.to_string(), Some(live.clone()), false).await;
    same(expected, &live);

    agent.end(&lab, true).await;
    let id = agent.session.id.clone();
    let listed = lab.daemon.kept(&id).await.expect("listed");
    for round in ["kept", "vault"] {
        for (number, (at, expected)) in moments.iter().enumerate() {
            let to = lab.directory.path().join(format!("{round} {number}"));
            restore(&lab, &at.to_string(), Some(to.clone()), false).await;
            same(expected, &to);
        }
        assert_eq!(lab.daemon.kept(&id).await.expect("listed"), listed);
        let last = listed.iter().rfind(|kept| kept.path.path == "f").expect("kept").number;
        let body = lab.daemon.kept_content(&id, last).await.expect("there");
        assert_eq!(content(body).await, b"3", "{round}");
        // Right before one operation, and where each path comes from.
        let plan = restore(&lab, &format!("operation:{id}:{last}"), None, true).await;
        let source = plan.sources.iter().find(|one| one.path.path == "f").expect("said");
        assert!(source.source.contains("before it was removed"), "{}", source.source);
        assert!(plan.moment.is_some());
        if round == "kept" {
            released(&lab, &agent).await;
        }
    }
    let listed = lab.snapshots().await;
    assert!(listed.iter().all(|one| one.kind.is_some_and(|kind| kind.word() != "kept")));

    // In place, and back again.
    let (at, expected) = &moments[1];
    let after = lab.reference("after");
    let done = restore(&lab, &at.to_string(), None, false).await;
    same(expected, &lab.project);
    restore(&lab, &done.before.expect("saved first"), None, false).await;
    same(&after, &lab.project);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_deletions_only_one_path_and_only_what_came_later_are_taken_back() {
    let lab = Lab::new();
    fs::write(lab.project.join("edited"), "before").expect("written");
    let mut agent = Agent::new(&lab, "261125-1").await;
    agent.overwrite("edited", "after", false);
    agent.overwrite("src/main.rs", "edited, then removed", false);
    agent.remove("src/main.rs", true);
    agent.make("temporary", "x");
    agent.remove("temporary", true);
    let later = moment();
    agent.make("late", "x");
    agent.remove(".env", false);
    agent.end(&lab, true).await;
    let id = agent.session.id.clone();
    released(&lab, &agent).await;
    let env = || fs::read_to_string(lab.project.join(".env"));
    let main = || fs::read_to_string(lab.project.join("src/main.rs"));

    let only = UndoRequest { since: Some(later), ..undo(&lab, &id) };
    lab.daemon.undo(only, &Report::nobody()).await.expect("undone");
    assert!(env().is_ok() && main().is_err(), "only what came later");
    assert!(!lab.project.join("late").exists());
    fs::remove_file(lab.project.join(".env")).expect("removed");

    let deletions = UndoRequest { deletions: true, ..undo(&lab, &id) };
    let plan = lab.daemon.undo(deletions, &Report::nobody()).await.expect("undone");
    let created: Vec<_> = plan.create.iter().map(|path| path.path.as_str()).collect();
    assert_eq!(created, [".env", "src/main.rs"]);
    assert!(plan.delete.is_empty() && plan.replace.is_empty());
    assert_eq!(main().expect("back"), "edited, then removed", "as it was when it was removed");
    assert_eq!(fs::read_to_string(lab.project.join("edited")).expect("there"), "after");
    assert!(plan.notes.iter().any(|note| note.contains("made and removed again")), "{plan:?}");

    let paths = vec![BytePath::from_bytes(b"edited")];
    let one = UndoRequest { paths, ..undo(&lab, &id) };
    lab.daemon.undo(one, &Report::nobody()).await.expect("undone");
    assert_eq!(fs::read_to_string(lab.project.join("edited")).expect("there"), "before");
    assert_eq!(main().expect("left alone"), "edited, then removed");

    // What no snapshot has.
    let path = BytePath::from_bytes(b"temporary");
    let request =
        UndeleteRequest { folder: lab.project.clone(), path, snapshot: None, dry_run: false };
    lab.daemon.undelete(request, &Report::nobody()).await.expect("brought back");
    assert_eq!(fs::read_to_string(lab.project.join("temporary")).expect("back"), "x");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_stored_and_not_yet_released_is_not_stored_twice() {
    let lab = Lab::new();
    let mut agent = Agent::new(&lab, "261125-1").await;
    agent.make("made", "made");
    agent.remove("made", true);
    agent.end(&lab, true).await;
    // The state after a kill between storing and releasing.
    let copy = lab.directory.path().join("copy");
    fs::create_dir(&copy).expect("made");
    for entry in fs::read_dir(&agent.kept).expect("listed") {
        let entry = entry.expect("read");
        fs::copy(entry.path(), copy.join(entry.file_name())).expect("copied");
    }
    released(&lab, &agent).await;
    let folder = agent.session.folder.clone().expect("in a folder");
    let vault = lab.daemon.layout.vault(&folder);
    let snapshots = || fs::read_dir(vault.join("snapshots")).expect("listed").count();
    let before = snapshots();
    fs::rename(&copy, &agent.kept).expect("as if never released");
    let lab = lab.restarted();
    released(&lab, &agent).await;
    assert_eq!(snapshots(), before);
    // It stays as long as the snapshots at the session's ends do.
    let request = PruneRequest { folder: lab.project.clone(), agreed: None };
    let plan = lab.daemon.prune(request, &Report::nobody()).await.expect("a plan");
    let why = "what session 261125-1 destroyed".to_owned();
    assert!(plan.keep.iter().any(|judged| judged.why.contains(&why)), "{plan:?}");
    // And after one within releasing: what is left of it is not taken for all of it.
    let left = agent.kept.with_file_name("261125-1.released");
    fs::create_dir(&left).expect("made");
    fs::write(left.join("1"), "the rest").expect("written");
    Arc::clone(&lab.daemon).recover().await;
    for _ in 0..200 {
        if !left.exists() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(!left.exists());
    assert_eq!(snapshots(), before);
    let kept = lab.daemon.kept(&agent.session.id).await.expect("listed");
    assert_eq!(kept.len(), 1);
}
