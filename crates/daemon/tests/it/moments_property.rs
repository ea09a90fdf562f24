//! Random sequences of what several processes of a guest do, with a daemon that is killed at
//! random moments while it puts what was kept into the vault. Then the folder comes back as it
//! was at any moment, and every version that was closed before it was destroyed, byte for byte.
//!
//! The journal is written as a share has it written. That share and keeper write it so, and
//! lose nothing when they are killed, is tested with the real ones in `crates/share`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use ringfence_share::journal::{Operation, Record};
use ringfence_testkit::random::Random;

use crate::Lab;
use crate::moments::{Agent, content, moment, now, released, restore};

/// Operations of one session.
const STEPS: u64 = 60;
/// Moments of a session that are looked at.
const LOOKS: u64 = 6;

/// Content of which no two are alike.
fn new_content(random: &mut Random) -> Vec<u8> {
    let words = 1 + random.below(40);
    (0..words).flat_map(|_| random.next().to_le_bytes()).collect()
}

/// What is below a directory: a file's bytes, or a directory.
type Tree = BTreeMap<String, Option<Vec<u8>>>;

fn tree(root: &Path, below: &str, into: &mut Tree) {
    for entry in fs::read_dir(root.join(below)).expect("listed") {
        let name = entry.expect("read").file_name().into_string().expect("a name");
        let path = if below.is_empty() { name } else { format!("{below}/{name}") };
        if root.join(&path).is_dir() {
            into.insert(path.clone(), None);
            tree(root, &path, into);
        } else {
            into.insert(path.clone(), Some(fs::read(root.join(&path)).expect("read")));
        }
    }
}

struct Guest {
    agent: Agent,
    random: Random,
    /// Inodes of which the vault has not got the present version.
    fresh: BTreeSet<u64>,
    /// A file that a process is writing to, and what it held before.
    open: Option<(String, Vec<u8>)>,
    /// Versions that were destroyed, though no snapshot has them.
    lost: Vec<(String, Vec<u8>)>,
    moments: Vec<(Timestamp, Tree)>,
}

impl Guest {
    fn inode(&self, path: &str) -> u64 {
        fs::symlink_metadata(self.agent.root.join(path)).expect("there").ino()
    }

    fn tree(&self) -> Tree {
        let mut all = Tree::new();
        tree(&self.agent.root, "", &mut all);
        all
    }

    fn free(&self, path: &str) -> bool {
        let busy = self.open.as_ref().map(|(open, _)| open);
        busy.is_none_or(|open| open != path && !open.starts_with(&format!("{path}/")))
    }

    /// A name that is taken by nothing, in a directory that is there.
    fn new_name(&mut self) -> String {
        let directories: Vec<String> = self
            .tree()
            .into_iter()
            .filter(|(_, what)| what.is_none())
            .map(|(path, _)| path)
            .collect();
        let name = format!("n{}", self.random.next());
        match self.random.pick(&directories) {
            Some(directory) if !self.random.0.is_multiple_of(3) => format!("{directory}/{name}"),
            _ => name,
        }
    }

    fn lose(&mut self, operation: Operation, path: &str) {
        let keep = self.fresh.contains(&self.inode(path));
        let file = self.agent.root.join(path);
        let content = fs::read(&file).expect("read");
        let named = fs::metadata(&file).expect("there").nlink() > 1;
        let only = operation == Operation::Overwrite || !named;
        if keep && only && !content.is_empty() {
            self.lost.push((path.to_owned(), content.clone()));
        }
        self.agent.lose(operation, path, keep && only && !content.is_empty());
    }

    fn close(&mut self, path: &str) {
        let inode = self.inode(path);
        self.fresh.insert(inode);
        let mut record = Record::new(Operation::Close, path.into());
        record.inode = inode;
        self.agent.note(record);
    }

    fn note(&mut self, operation: Operation, path: &str, other: &str) {
        let mut record = Record::new(operation, path.into());
        record.other = other.into();
        self.agent.note(record);
    }

    fn step(&mut self) {
        let all = self.tree();
        let files: Vec<&String> = all
            .iter()
            .filter(|(path, what)| what.is_some() && self.free(path))
            .map(|(path, _)| path)
            .collect();
        let directories: Vec<&String> = all
            .iter()
            .filter(|(path, what)| what.is_none() && self.free(path))
            .map(|(path, _)| path)
            .collect();
        let root = self.agent.root.clone();
        let file = self.random.pick(&files).map(|path| (*path).clone());
        let directory = self.random.pick(&directories).map(|path| (*path).clone());
        match (self.random.below(12), file, directory) {
            (0 | 1, ..) => {
                let (path, content) = (self.new_name(), new_content(&mut self.random));
                fs::write(root.join(&path), content).expect("made");
                self.note(Operation::Create, &path, "");
                self.close(&path);
            }
            (2 | 3, Some(path), _) => {
                self.lose(Operation::Overwrite, &path);
                let content = new_content(&mut self.random);
                fs::write(root.join(&path), content).expect("written");
                self.close(&path);
            }
            (4, Some(path), _) => {
                self.agent.lose(Operation::Append, &path, false);
                let content = new_content(&mut self.random);
                let mut open = fs::OpenOptions::new().append(true).open(root.join(&path));
                open.as_mut().expect("opened").write_all(&content).expect("added");
                self.close(&path);
            }
            (5, Some(path), _) => {
                self.lose(Operation::Remove, &path);
                fs::remove_file(root.join(&path)).expect("removed");
            }
            (6, Some(path), _) => {
                let inode = self.inode(&path);
                let over = self.random.pick(&files).map(|path| (*path).clone());
                let over = over
                    .filter(|over| self.inode(over) != inode && self.random.0.is_multiple_of(2));
                let to = over.clone().unwrap_or_else(|| self.new_name());
                if over.is_some() {
                    self.lose(Operation::Replace, &to);
                }
                self.note(Operation::Rename, &path, &to);
                fs::rename(root.join(&path), root.join(&to)).expect("renamed");
                // A rename is a change, as its time says.
                self.fresh.insert(inode);
            }
            (7, ..) => {
                let path = self.new_name();
                fs::create_dir(root.join(&path)).expect("made");
                self.note(Operation::MakeDirectory, &path, "");
            }
            (8, _, Some(path)) => {
                let empty = !all.keys().any(|other| other.starts_with(&format!("{path}/")));
                if empty {
                    self.agent.lose(Operation::RemoveDirectory, &path, false);
                    fs::remove_dir(root.join(&path)).expect("removed");
                } else {
                    // It is announced, and refused.
                    self.note(Operation::RemoveDirectory, &path, "");
                    self.note(Operation::Undone, &path, "");
                }
            }
            (9, _, Some(path)) => {
                let to = self.new_name();
                if !to.starts_with(&format!("{path}/")) {
                    self.note(Operation::Rename, &path, &to);
                    fs::rename(root.join(&path), root.join(&to)).expect("moved");
                }
            }
            (10, Some(path), _) => {
                let to = self.new_name();
                fs::hard_link(root.join(&path), root.join(&to)).expect("linked");
                let mut record = Record::new(Operation::Link, path.clone().into());
                (record.inode, record.other) = (self.inode(&path), to.into());
                self.agent.note(record);
                self.fresh.insert(self.inode(&path));
            }
            (_, Some(path), _) => self.open_or_close(path),
            _ => {}
        }
    }

    /// One process begins to rewrite a file, while others go on; or it is done.
    fn open_or_close(&mut self, path: String) {
        match self.open.take() {
            Some((path, _)) => {
                let content = new_content(&mut self.random);
                fs::write(self.agent.root.join(&path), content).expect("written");
                self.close(&path);
            }
            None if fs::metadata(self.agent.root.join(&path)).is_ok_and(|it| it.nlink() == 1) => {
                let before = fs::read(self.agent.root.join(&path)).expect("read");
                self.lose(Operation::Overwrite, &path);
                fs::write(self.agent.root.join(&path), "half").expect("written");
                self.open = Some((path, before));
            }
            None => {}
        }
    }

    /// Remembers what is complete at this moment.
    fn look(&mut self) {
        let mut all = self.tree();
        if let Some((path, before)) = &self.open {
            all.insert(path.clone(), Some(before.clone()));
        }
        self.moments.push((moment(), all));
    }
}

/// Runs a daemon on the lab's directories, and kills it soon.
#[expect(clippy::disallowed_methods, reason = "the daemon itself, to be killed")]
fn kill_a_daemon(lab: &Lab, random: &mut Random) {
    let mut daemon = Command::new(env!("CARGO_BIN_EXE_ringfenced"))
        .arg("serve")
        .env("RINGFENCE_HOME", lab.directory.path().join("home"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("started");
    std::thread::sleep(Duration::from_millis(random.below(1500)));
    daemon.kill().expect("killed");
    daemon.wait().expect("ended");
}

/// One session; how many versions it destroyed.
async fn round(seed: u64) -> usize {
    let lab = Lab::new();
    fs::remove_dir_all(&lab.project).expect("removed");
    fs::create_dir_all(lab.project.join("d/e")).expect("made");
    let mut random = Random(seed);
    for path in ["a", "b", "d/c", "d/e/f"] {
        fs::write(lab.project.join(path), new_content(&mut random)).expect("written");
    }
    let agent = Agent::new(&lab, "261125-1").await;
    let mut guest = Guest {
        agent,
        random,
        fresh: BTreeSet::new(),
        open: None,
        lost: Vec::new(),
        moments: Vec::new(),
    };
    for _ in 0..STEPS {
        if guest.random.below(STEPS) < 2 * LOOKS {
            guest.look();
        }
        guest.step();
    }
    // What is never closed was never complete.
    guest.look();
    let (mut random, mut agent) = (guest.random, guest.agent);
    let killed = random.below(3) == 0;
    agent.end(&lab, !killed).await;
    if killed {
        // As a power cut leaves it.
        let journal = agent.kept.join(ringfence_share::journal::FILE);
        let mut open = fs::OpenOptions::new().append(true).open(journal).expect("opened");
        open.write_all(&[7; 23]).expect("torn");
    }
    let lab = lab.restarted();
    for _ in 0..random.below(3) {
        kill_a_daemon(&lab, &mut random);
    }
    let in_vault = random.below(4) > 0;
    if in_vault {
        released(&lab, &agent).await;
    }

    let what = |text: &str| format!("{text}, seed {seed}");
    let kept = lab.daemon.kept(&agent.session.id).await.expect("listed");
    let mut found = Vec::new();
    for one in &kept {
        let body = lab.daemon.kept_content(&agent.session.id, one.number).await.expect("there");
        found.push((one.path.path.clone(), content(body).await));
    }
    for lost in &guest.lost {
        assert!(found.contains(lost), "{}", what(&format!("{} is lost", lost.0)));
    }
    let last = guest.moments.len() - 1;
    for number in 0..LOOKS {
        let at = if number == 0 { last } else { random.below(last as u64 + 1) as usize };
        let (time, expected) = &guest.moments[at];
        let to = lab.directory.path().join(format!("look {number}"));
        let plan = restore(&lab, &time.to_string(), Some(to.clone()), false).await;
        let mut there = Tree::new();
        tree(&to, "", &mut there);
        let differs: Vec<_> = expected
            .iter()
            .filter(|(path, what)| there.get(*path) != Some(what))
            .map(|(path, what)| (path, Some(what)))
            .chain(there.keys().filter(|path| !expected.contains_key(*path)).map(|it| (it, None)))
            .map(|(path, what)| {
                let size =
                    |what: Option<&Option<Vec<u8>>>| what.map(|it| it.as_ref().map(Vec::len));
                format!("{path}: {:?} instead of {:?}", size(there.get(path)), size(what))
            })
            .collect();
        assert!(
            differs.is_empty(),
            "{}: {differs:?} {:?}",
            what(&format!("moment {at}")),
            plan.notes
        );
        let torn = plan.notes.iter().any(|note| note.contains("has no end"));
        assert_eq!(
            torn,
            killed && plan.moment.is_some(),
            "{}",
            what("the plan says whether it knows all")
        );
    }
    guest.lost.len()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_closed_version_and_every_moment_comes_back() {
    #[expect(clippy::disallowed_methods, reason = "how long a test takes is for who runs it")]
    let variable = |name: &str| std::env::var(name).ok();
    let seconds = if variable("RINGFENCE_SOAK").is_some() { 600 } else { 60 };
    let first = variable("RINGFENCE_TEST_SEED").and_then(|seed| seed.parse().ok());
    let first: u64 = first.unwrap_or_else(|| now().cast_unsigned());
    println!("first seed {first} (RINGFENCE_TEST_SEED repeats it)");
    let begun = Instant::now();
    let (mut rounds, mut versions) = (0, 0);
    while begun.elapsed() < Duration::from_secs(seconds) {
        versions += round(first.wrapping_add(rounds)).await;
        rounds += 1;
    }
    println!("{rounds} rounds, {versions} versions");
    assert!(versions > 10, "hardly anything happened");
}
