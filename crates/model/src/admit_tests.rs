use super::*;
use crate::machine::Limits;
use crate::profile::Selector;
use crate::size::Size;
use proptest::prelude::*;

const NAMES: [&str; 3] = ["alpha", "beta", "gamma"];

fn profile(index: usize) -> Profile {
    Profile {
        name: ProfileName::new(NAMES[index]).expect("name"),
        recipe: None,
        labels: Vec::new(),
        args: Vec::new(),
        env: Default::default(),
        network: None,
        allow: Vec::new(),
        secrets: Vec::new(),
        limits: crate::machine::LimitWords::default(),
    }
}

fn folder_id(index: usize) -> FolderId {
    FolderId::new(format!("f{index}")).expect("id")
}

fn folder(index: usize, allowed: Option<&[usize]>, access: Access) -> RuledFolder {
    let mut rules = FolderRules::unspoken(std::path::Path::new(&format!("/home/x/{index}")));
    rules.access = access;
    rules.profiles =
        allowed.map(|list| list.iter().map(|index| Selector::Name(profile(*index).name)).collect());
    RuledFolder { id: folder_id(index), rules }
}

fn machine(name: &str, for_folder: usize, seen: &[usize]) -> Machine {
    Machine {
        name: MachineName::new(name).expect("name"),
        limits: Limits { cpus: 1, memory: Size::gib(1), disk: Size::gib(1) },
        image: "x".into(),
        recipe: None,
        slot: 0,
        folder: Some(folder_id(for_folder)),
        seen: seen.iter().map(|index| folder_id(*index)).collect(),
        created: jiff::Timestamp::UNIX_EPOCH,
    }
}

fn ask(
    world: &World<'_>,
    folder: usize,
    who: &Profile,
    name: Option<&str>,
) -> Result<Admitted, Refused> {
    let id = folder_id(folder);
    let name = name.map(|name| MachineName::new(name).expect("name"));
    admit(
        world,
        &Request {
            folder: Some(&id),
            profile: who,
            machine: name.as_ref(),
            network: None,
            default_network: Network::Internet,
        },
    )
}

#[test]
fn a_rule_says_who_and_names_the_way_out() {
    let folders = [folder(0, Some(&[0]), Access::Rw)];
    let profiles = [profile(0), profile(1)];
    let world = World { folders: &folders, profiles: &profiles, machines: &[], running: &[] };
    assert!(ask(&world, 0, &profile(0), None).is_ok());
    let refused = ask(&world, 0, &profile(1), None).expect_err("refused");
    assert!(refused.reason.contains("beta may not see /home/x/0"), "{}", refused.reason);
    assert!(refused.way_out.contains("folder set"), "{}", refused.way_out);
}

#[test]
fn leftovers_on_a_disk_are_not_shown() {
    // Folder 0 is for alpha only; the machine has seen it; beta works in folder 1.
    let folders = [folder(0, Some(&[0]), Access::Rw), folder(1, None, Access::Rw)];
    let profiles = [profile(0), profile(1)];
    let machines = [machine("m", 1, &[0, 1])];
    let world = World { folders: &folders, profiles: &profiles, machines: &machines, running: &[] };
    let admitted = ask(&world, 1, &profile(1), None).expect("admitted elsewhere");
    assert_eq!(admitted.machine, None);
    assert!(admitted.notes[0].contains("has seen /home/x/0"), "{:?}", admitted.notes);
    assert!(ask(&world, 1, &profile(1), Some("m")).is_err());
}

#[test]
fn a_writable_folder_is_a_carrier() {
    // alpha may see both, but what it writes into folder 1 is seen by beta later.
    let folders = [folder(0, Some(&[0]), Access::Rw), folder(1, None, Access::Rw)];
    let profiles = [profile(0), profile(1)];
    let machines = [machine("m", 1, &[0])];
    let world = World { folders: &folders, profiles: &profiles, machines: &machines, running: &[] };
    assert_eq!(ask(&world, 1, &profile(0), None).expect("admitted").machine, None);
    let read_only = [folders[0].clone(), folder(1, None, Access::Ro)];
    let world = World { folders: &read_only, ..world };
    assert!(ask(&world, 1, &profile(0), None).expect("admitted").machine.is_some());
}

#[test]
fn nothing_widens_the_network() {
    let folders = [folder(0, None, Access::Rw)];
    let mut offline = profile(0);
    offline.network = Some(Network::Offline);
    let profiles = [offline.clone()];
    let world = World { folders: &folders, profiles: &profiles, machines: &[], running: &[] };
    let id = folder_id(0);
    let admitted = admit(
        &world,
        &Request {
            folder: Some(&id),
            profile: &offline,
            machine: None,
            network: Some(Network::Open),
            default_network: Network::Internet,
        },
    )
    .expect("admitted");
    assert_eq!(admitted.network, Network::Offline);
    assert_eq!(admitted.notes.len(), 1);
}

fn allowed() -> impl Strategy<Value = Option<Vec<usize>>> {
    proptest::option::of(proptest::collection::vec(0..3usize, 0..3))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(10_000))]

    /// Runs any sequence of sessions, keeping a model in which every machine and every
    /// writable folder carries all it ever touched; nobody may end up where
    /// something is that a rule keeps from them.
    #[test]
    fn nobody_meets_what_a_rule_keeps_from_them(
        rules in proptest::collection::vec((allowed(), any::<bool>()), 3),
        runs in proptest::collection::vec((0..3usize, 0..3usize, 0..4usize), 1..12),
    ) {
        let folders: Vec<_> = rules
            .iter()
            .enumerate()
            .map(|(index, (allowed, rw))| {
                folder(index, allowed.as_deref(), if *rw { Access::Rw } else { Access::Ro })
            })
            .collect();
        let profiles: Vec<_> = (0..3).map(profile).collect();
        let mut machines: Vec<Machine> = Vec::new();
        // The reference: what content each folder and machine may hold.
        let mut folder_holds: Vec<BTreeSet<usize>> = (0..3).map(|i| BTreeSet::from([i])).collect();
        let mut machine_holds: Vec<BTreeSet<usize>> = Vec::new();
        for (which, who, named) in runs {
            let name = machines.get(named).map(|machine| machine.name.to_string());
            let world = World { folders: &folders, profiles: &profiles, machines: &machines, running: &[] };
            let Ok(admitted) = ask(&world, which, &profiles[who], name.as_deref()) else { continue };
            let index = match admitted.machine {
                Some(name) => machines.iter().position(|m| m.name == name).expect("exists"),
                None => {
                    machines.push(machine(&format!("m{}", machines.len()), which, &[]));
                    machine_holds.push(BTreeSet::new());
                    machines.len() - 1
                }
            };
            machines[index].seen.insert(folder_id(which));
            let from_folder = folder_holds[which].clone();
            machine_holds[index].extend(from_folder);
            for held in &machine_holds[index] {
                prop_assert!(folders[*held].admits(&profiles[who]), "{who} met folder {held} through machine {index}");
            }
            if admitted.access == Access::Rw {
                let carried = machine_holds[index].clone();
                folder_holds[which].extend(carried);
            }
        }
    }
}
