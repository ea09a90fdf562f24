//! No sequence of runs, ends, changes of rules, deletions of machines and removals of folders
//! lets a profile meet what a rule keeps from it: the decision against the reference.

use super::test_world::{FOLDERS, Lab, folder_id, place, selectors};
use super::*;
use crate::name::SessionId;
use proptest::prelude::*;
use ringfence_testkit::reference::{Reference, Rule, Session};

/// The place of each folder, as the reference numbers them.
const PLACES: [usize; FOLDERS.len()] = [0, 1, 2, 3, 1];
const INSIDE: [Option<usize>; 4] = [None, Some(0), Some(1), None];
const NETWORKS: [Network; 4] =
    [Network::Offline, Network::Allowlist, Network::Internet, Network::Open];

#[derive(Debug, Clone)]
enum Step {
    Run {
        folder: usize,
        profile: usize,
        machine: Option<usize>,
    },
    End(usize),
    Rule {
        said: Said,
        folder: usize,
        allowed: Option<u32>,
        denied: u32,
        network: Option<u8>,
        rw: bool,
    },
    /// Whether somebody agrees to what sessions were given and may not have any more.
    Agree(bool),
    Delete(usize),
    Forget(usize),
}

fn step() -> impl Strategy<Value = Step> {
    let of_folder = 0..FOLDERS.len();
    let run = (of_folder.clone(), 0..3usize, proptest::option::of(0..4usize));
    let rule = (
        prop_oneof![3 => Just(Said::Person), 1 => Just(Said::Hint)],
        0..4usize,
        proptest::option::weighted(0.7, 0..8u32),
        prop_oneof![4 => Just(0u32), 1 => 0..8u32],
        proptest::option::weighted(0.2, 0..4u8),
        proptest::bool::weighted(0.8),
    );
    prop_oneof![
        8 => run.prop_map(|(folder, profile, machine)| Step::Run { folder, profile, machine }),
        4 => (0..4usize).prop_map(Step::End),
        4 => rule.prop_map(|(said, folder, allowed, denied, network, rw)| {
            Step::Rule { said, folder, allowed, denied, network, rw }
        }),
        1 => any::<bool>().prop_map(Step::Agree),
        1 => (0..4usize).prop_map(Step::Delete),
        1 => of_folder.prop_map(Step::Forget),
    ]
}

fn bits(profiles: u32) -> Vec<usize> {
    (0..3).filter(|index| profiles & 1 << index != 0).collect()
}

/// Both worlds.
struct Both {
    lab: Lab,
    reference: Reference,
    agrees: bool,
    /// Sessions that have more than they may, and somebody agreed: what they meet is nobody's
    /// fault.
    agreed: BTreeSet<u32>,
    admitted: usize,
    /// What is said about each folder, by the person and by itself.
    said: std::collections::BTreeMap<(usize, bool), Rule>,
}

impl Both {
    fn new() -> Self {
        let mut lab = Lab::new();
        lab.profiles[2].network = Some(Network::Open);
        Self {
            lab,
            reference: Reference::new(&INSIDE),
            agrees: false,
            agreed: BTreeSet::new(),
            admitted: 0,
            said: Default::default(),
        }
    }

    fn take(&mut self, step: &Step) {
        match step {
            Step::Run { folder, profile, machine } => self.run(*folder, *profile, *machine),
            Step::End(index) => {
                if *index < self.lab.open.len() {
                    let ended = self.lab.open.remove(*index);
                    self.reference.sessions.remove(&number(ended.session.as_ref()));
                }
            }
            Step::Rule { said, folder, allowed, denied, network, rw } => {
                let rules = self.lab.rule_by(*folder, *said);
                rules.profiles = allowed.map(|bits_| selectors(&bits(bits_)));
                rules.deny = selectors(&bits(*denied));
                rules.network = network.map(|network| NETWORKS[usize::from(network)]);
                rules.access = if *rw { Access::Rw } else { Access::Ro };
                let rule = Rule { allowed: *allowed, denied: *denied, network: *network };
                self.said.insert((*folder, *said == Said::Hint), rule);
                // Whoever says it: the reference has both in one.
                let [mine, its] = [false, true]
                    .map(|hint| self.said.get(&(*folder, hint)).copied().unwrap_or_default());
                self.reference.rules[PLACES[*folder]] = Rule {
                    allowed: match (mine.allowed, its.allowed) {
                        (Some(mine), Some(its)) => Some(mine & its),
                        (mine, its) => mine.or(its),
                    },
                    denied: mine.denied | its.denied,
                    network: mine.network.into_iter().chain(its.network).min(),
                };
                self.freeze();
            }
            Step::Agree(agrees) => self.agrees = *agrees,
            Step::Delete(index) => {
                let machine = self.lab.machines.get(*index).map(|machine| machine.name.clone());
                let used = |name: &MachineName| self.lab.open.iter().any(|o| o.machine == *name);
                if let Some(name) = machine.filter(|name| !used(name)) {
                    self.lab.machines.remove(*index);
                    self.reference.machines.remove(name.as_str());
                }
            }
            // Its vault is gone, so it comes back as another folder; what was seen of it stays.
            Step::Forget(index) => {
                let id = folder_id(*index);
                let used = self.lab.open.iter().any(|open| open.folder.as_ref() == Some(&id));
                if let Some(known) = self.lab.folders.iter_mut().find(|known| known.id == id)
                    && !used
                {
                    known.id = FolderId::new(format!("{id}-old")).expect("id");
                    self.lab.folders.push(Known { id, place: place(*index) });
                }
            }
        }
    }

    fn run(&mut self, folder: usize, profile: usize, machine: Option<usize>) {
        let machine = machine.and_then(|index| self.lab.machines.get(index));
        let name = machine.map(|machine| machine.name.to_string());
        let Ok(yes) = self.lab.ask(folder, profile, name.as_deref()) else { return };
        self.admitted += 1;
        let machine = self.lab.carry_out(folder, profile, &yes);
        let id = number(self.lab.open.last().and_then(|open| open.session.as_ref()));
        let names = &yes.granted.names;
        let ways = |index: usize| place(folder).ways_to(&place(index));
        let set = |kept: &BTreeSet<std::path::PathBuf>| {
            (0..4)
                .filter(|index| ways(*index).iter().any(|way| !leads_into(way, kept)))
                .fold(0, |set, index| set | 1 << index)
        };
        let visible = set(&names.hidden);
        let writable =
            if yes.granted.access == Access::Rw { visible & set(&names.read_only) } else { 0 };
        let network = NETWORKS.iter().position(|n| *n == yes.granted.reach.network).expect("one");
        let network = u8::try_from(network).expect("few");
        let profile = u32::try_from(profile).expect("few");
        let session = Session { machine, profile, visible, writable, network };
        self.reference.sessions.insert(id, session);
    }

    /// Sessions that have more than they may are stopped, or somebody agrees.
    fn freeze(&mut self) {
        let world = self.lab.world();
        let more = |open: &&Open| !stricter(&world, open).is_empty();
        let more = self.lab.open.iter().filter(more);
        let more: BTreeSet<u32> = more.map(|open| number(open.session.as_ref())).collect();
        self.agreed.retain(|id| more.contains(id));
        for id in more {
            if self.agrees {
                self.agreed.insert(id);
            } else if !self.agreed.contains(&id) {
                self.lab.open.retain(|open| number(open.session.as_ref()) != id);
                self.reference.sessions.remove(&id);
            }
        }
    }

    fn check(&mut self) -> Result<(), String> {
        self.reference.settle();
        let found = self.reference.violations(&self.agreed);
        if found.is_empty() { Ok(()) } else { Err(found.join("\n")) }
    }
}

fn number(session: Option<&SessionId>) -> u32 {
    session.and_then(|id| id.as_str()[1..].parse().ok()).expect("a number")
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12_000))]

    #[test]
    fn no_sequence_lets_a_profile_meet_what_a_rule_keeps_from_it(
        steps in proptest::collection::vec(step(), 1..25),
    ) {
        let mut both = Both::new();
        for step in &steps {
            both.take(step);
            if let Err(found) = both.check() {
                prop_assert!(false, "after {step:?}: {found}");
            }
        }
    }

    /// The decision is of use: whoever may see a folder that no session of another one wrote
    /// to gets it, in some machine.
    #[test]
    fn who_may_see_a_fresh_folder_gets_it(
        rules in proptest::collection::vec((0..4usize, proptest::option::of(0..8u32)), 0..4),
        runs in proptest::collection::vec((0..5usize, 0..3usize), 0..6),
        folder in 0..5usize,
        profile in 0..3usize,
    ) {
        let mut both = Both::new();
        for (folder, allowed) in rules {
            both.take(&Step::Rule { said: Said::Person, folder, allowed, denied: 0, network: None, rw: true });
        }
        for (folder, profile) in runs {
            both.take(&Step::Run { folder, profile, machine: None });
        }
        let expected = both.reference.may_see(PLACES[folder], u32::try_from(profile).expect("few"));
        let got = both.lab.ask(folder, profile, None);
        prop_assert_eq!(got.is_ok(), expected, "{:?}", got);
    }
}

/// The property says something only if much is admitted.
#[test]
fn sequences_admit_much() {
    use ringfence_testkit::random::Random;
    let mut random = Random(1);
    let (mut asked, mut admitted) = (0, 0);
    for _ in 0..200 {
        let mut both = Both::new();
        for _ in 0..20 {
            let mut below = |limit| usize::try_from(random.below(limit)).expect("small");
            let step = match below(4) {
                0 => Step::Rule {
                    said: Said::Person,
                    folder: below(4),
                    allowed: Some(u32::try_from(below(8)).expect("small")),
                    denied: 0,
                    network: None,
                    rw: true,
                },
                1 => Step::End(below(3)),
                _ => {
                    asked += 1;
                    let machine = (below(2) == 0).then(|| below(4));
                    Step::Run { folder: below(5), profile: below(3), machine }
                }
            };
            both.take(&step);
        }
        admitted += both.admitted;
    }
    assert!(admitted * 4 > asked, "{admitted} of {asked}");
}
