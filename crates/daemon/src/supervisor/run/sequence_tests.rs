//! The real supervisor, with its state on disk and no engine, against the reference: runs,
//! ends, changes of the configuration, deleted machines, removed folders, daemons that start
//! anew. A case that fails prints its seed.

use std::fs;

use ringfence_model::layout::{Environment, Layout};
use ringfence_model::name::ProfileName;
use ringfence_model::profile::Network;
use ringfence_testkit::random::Random;
use ringfence_testkit::reference::{Reference, Rule, Session as Seen};

use super::*;
use std::collections::BTreeSet;

/// Folders below a directory, and the one that each lies in.
const FOLDERS: [(&str, Option<usize>); 4] =
    [("a", None), ("a/c", Some(0)), ("a/c/x/d", Some(1)), ("b", None)];
const PROFILES: [&str; 3] = ["alpha", "beta", "gamma"];
const NETWORKS: [Network; 4] =
    [Network::Offline, Network::Allowlist, Network::Internet, Network::Open];
const STEPS: u64 = 14;

struct Case {
    random: Random,
    directory: tempfile::TempDir,
    daemon: Arc<Daemon>,
    reference: Reference,
    access: [Access; FOLDERS.len()],
    sessions: Vec<(SessionId, u32)>,
    agreed: BTreeSet<u32>,
    trail: Vec<String>,
    admitted: usize,
}

impl Case {
    fn new(seed: u64) -> Self {
        let directory = tempfile::tempdir().expect("directory");
        let home = directory.path().join("home");
        let environment = Environment { ringfence_home: Some(home), ..Environment::default() };
        let layout = Layout::resolve(&environment).expect("layout");
        for place in layout.own() {
            fs::create_dir_all(place).expect("made");
        }
        for (path, _) in FOLDERS {
            fs::create_dir_all(directory.path().join("w").join(path)).expect("made");
        }
        let case = Self {
            random: Random(seed),
            daemon: Daemon::new(layout),
            directory,
            reference: Reference::new(&FOLDERS.map(|(_, inside)| inside)),
            access: [Access::Rw; FOLDERS.len()],
            sessions: Vec::new(),
            agreed: BTreeSet::new(),
            trail: Vec::new(),
            admitted: 0,
        };
        case.configure();
        case
    }

    fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.random.below(limit as u64)).expect("small")
    }

    fn path(&self, folder: usize) -> PathBuf {
        let root = fs::canonicalize(self.directory.path()).expect("canonical");
        root.join("w").join(FOLDERS[folder].0)
    }

    /// Writes the configuration that the reference's rules are.
    fn configure(&self) {
        let names = |bits: u32| {
            let named = PROFILES.iter().enumerate().filter(|(index, _)| bits & 1 << index != 0);
            named.map(|(_, name)| format!("{name:?}")).collect::<Vec<_>>().join(", ")
        };
        // Files of one length within one tick of the clock could be taken for the same.
        let mut text = "#".repeat(self.trail.len() + 1) + "\n";
        for name in PROFILES {
            text += &format!("[profile.{name}]\nnetwork = \"internet\"\n");
        }
        for (folder, rule) in self.reference.rules.iter().enumerate() {
            text += &format!("[[folder]]\npath = {:?}\n", self.path(folder));
            text +=
                &format!("access = \"{}\"\ndeny = [{}]\n", self.access[folder], names(rule.denied));
            if let Some(allowed) = rule.allowed {
                text += &format!("profiles = [{}]\n", names(allowed));
            }
            if let Some(network) = rule.network {
                text += &format!("network = \"{}\"\n", NETWORKS[usize::from(network)].as_str());
            }
        }
        fs::write(self.daemon.config.path(), text).expect("written");
    }

    async fn step(&mut self) {
        match self.below(10) {
            0..=4 => self.run().await,
            5 => {
                let ends = self.below(4);
                if ends < self.sessions.len() {
                    self.trail.push(format!("session {ends} ends"));
                    self.end(ends);
                }
            }
            6 | 7 => self.rule().await,
            8 => {
                let machines = self.daemon.store.machines().expect("read");
                if let Some(machine) = self.random.pick(&machines) {
                    self.trail.push(format!("{} is deleted", machine.name));
                    let nobody = Report::nobody();
                    if self.daemon.delete_machine(&machine.name, &nobody).await.is_ok() {
                        self.reference.machines.remove(machine.name.as_str());
                    }
                }
            }
            _ => {
                let folder = self.below(FOLDERS.len());
                let removed = self.daemon.unregister(&self.path(folder)).is_ok();
                self.trail.push(format!("folder {folder} is removed: {removed}; a new daemon"));
                self.daemon = Daemon::new(self.daemon.layout.clone());
            }
        }
    }

    async fn run(&mut self) {
        let (folder, profile) = (self.below(FOLDERS.len()), self.below(PROFILES.len()));
        let machines = self.daemon.store.machines().expect("read");
        let named = (self.below(2) == 0).then(|| self.random.pick(&machines)).flatten();
        let named = named.map(|machine| machine.name.clone());
        let place = self.path(folder);
        let request = RunRequest {
            directory: Some(place.clone()),
            profile: Some(ProfileName::new(PROFILES[profile]).expect("name")),
            machine: named.clone(),
            command: true,
            register: true,
            ..RunRequest::default()
        };
        let config = self.daemon.config.current().expect("a good file");
        let found = self.daemon.folder_for(&request, Some(&place)).expect("a folder");
        assert_eq!(found.as_ref().map(|found| &found.path), Some(&place));
        let nobody = Report::nobody();
        let plan = self.daemon.admit(&request, &config, found, Some(place.clone()), &nobody).await;
        let said =
            plan.as_ref().map(|plan| plan.session.machine.clone()).map_err(ToString::to_string);
        self.trail.push(format!("{} in {folder}, {named:?}: {said:?}", PROFILES[profile]));
        let Ok(Plan { mut session, granted, .. }) = plan else { return };
        self.admitted += 1;
        session.state = SessionState::Running;
        self.daemon.store.set_session(&session).expect("written");
        let machines = self.daemon.store.machines().expect("read");
        let machine = machines.iter().find(|machine| machine.name == session.machine);
        let id = session.folder.as_ref().expect("a folder");
        assert!(machine.expect("made").seen.has(id, &granted.names.hidden), "not on disk");
        let kept = |at: usize, ways: &BTreeSet<PathBuf>| {
            let way = self.path(at).strip_prefix(&place).map(Path::to_owned);
            way.is_ok_and(|way| !ways.iter().any(|hidden| way.starts_with(hidden)))
        };
        let set = |ways: &BTreeSet<PathBuf>| {
            (0..FOLDERS.len()).filter(|at| kept(*at, ways)).fold(0, |set, at| set | 1 << at)
        };
        let visible: u32 = set(&granted.names.hidden);
        let writes = granted.access == Access::Rw;
        let network = NETWORKS.iter().position(|network| *network == granted.reach.network);
        let seen = Seen {
            machine: session.machine.to_string(),
            profile: u32::try_from(profile).expect("few"),
            visible,
            writable: if writes { visible & set(&granted.names.read_only) } else { 0 },
            network: u8::try_from(network.expect("one")).expect("few"),
        };
        let number = u32::try_from(self.trail.len()).expect("few");
        self.reference.sessions.insert(number, seen);
        self.sessions.push((session.id, number));
    }

    fn end(&mut self, index: usize) {
        let (id, number) = self.sessions.remove(index);
        self.daemon.store.forget_session(&id).expect("forgotten");
        self.reference.sessions.remove(&number);
    }

    async fn rule(&mut self) {
        let folder = self.below(FOLDERS.len());
        let mut bits = |chance| {
            let some = self.random.below(chance) == 0;
            some.then(|| u32::try_from(self.random.below(8)).expect("small"))
        };
        let (allowed, denied) = (bits(1), bits(6).unwrap_or(0));
        let network = bits(5).map(|network| u8::try_from(network % 4).expect("small"));
        let rule = Rule { allowed, denied, network };
        let access = if self.below(5) == 0 { Access::Ro } else { Access::Rw };
        let before = (self.reference.rules[folder], self.access[folder]);
        (self.reference.rules[folder], self.access[folder]) = (rule, access);
        self.trail.push(format!("{folder}: {rule:?} {access}"));
        self.configure();
        if self.daemon.config.current().is_err() {
            // It allows what a rule around it denies: the one before stays in force.
            self.trail.push("which is refused".into());
            (self.reference.rules[folder], self.access[folder]) = before;
            self.configure();
        }
        self.daemon.freeze_what_has_more().await.expect("compared");
        for index in (0..self.sessions.len()).rev() {
            let (id, number) = self.sessions[index].clone();
            let mut session = self.daemon.session(&id).expect("read");
            if session.state != SessionState::Frozen {
                continue;
            }
            if self.below(3) == 0 {
                self.trail.push(format!("agreed to {:?}", session.stricter));
                self.daemon.agree(&mut session).expect("agreed");
                session.state = SessionState::Running;
                self.daemon.store.set_session(&session).expect("written");
                self.agreed.insert(number);
            } else {
                self.trail.push(format!("session {index} is undone"));
                self.end(index);
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_sequence_lets_a_profile_meet_what_a_rule_keeps_from_it() {
    let cases = if facts::variable("RINGFENCE_SOAK").is_some() { 10_000 } else { 120 };
    let (mut asked, mut admitted) = (0, 0);
    for seed in 0..cases {
        let mut case = Case::new(seed);
        for _ in 0..STEPS {
            case.step().await;
            case.reference.settle();
            let found = case.reference.violations(&case.agreed);
            assert!(found.is_empty(), "seed {seed}: {found:?}\n{}", case.trail.join("\n"));
        }
        asked += case.trail.len();
        admitted += case.admitted;
    }
    assert!(admitted * 5 > asked, "the test says little: {admitted} of {asked}");
}
