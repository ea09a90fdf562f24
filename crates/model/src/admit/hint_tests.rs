//! Whatever a folder says about itself, nobody gets more by it.

use super::test_world::{FOLDERS, Lab, place};
use super::*;
use crate::config::Hint;
use crate::folder::FolderRules;
use proptest::prelude::*;
use std::path::{Path, PathBuf};

/// One line of a hint, valid or not quite.
fn line() -> impl Strategy<Value = String> {
    let names = proptest::sample::subsequence(vec!["alpha", "beta", "gamma", "label:x"], 0..=4);
    let list = names.prop_map(|names| format!("{names:?}"));
    prop_oneof![
        list.clone().prop_map(|list| format!("profiles = {list}")),
        list.prop_map(|list| format!("deny = {list}")),
        Just("access = \"ro\"".to_owned()),
        Just("network = \"offline\"".to_owned()),
        Just("network = \"internet\"".to_owned()),
        Just("network = \"open\"".to_owned()),
        Just("network = \"allowlist\"\nallow = [\"*.example.org\", \"evil.example\"]".to_owned()),
        Just("hide = [\"!.env\", \"x\"]".to_owned()),
        Just("protect = [\"!ci\", \"y\"]".to_owned()),
        Just("limits = { cpus = 64, memory = \"64GiB\" }".to_owned()),
        Just("limits = { cpus = 1 }".to_owned()),
        Just("exit_check = \"hold\"".to_owned()),
    ]
}

/// What a person says about a folder.
fn rules() -> impl Strategy<Value = FolderRules> {
    let who = proptest::option::weighted(0.5, proptest::sample::subsequence(vec![0, 1, 2], 0..=3));
    let network = proptest::option::weighted(
        0.5,
        proptest::sample::select(vec![Network::Offline, Network::Allowlist, Network::Open]),
    );
    (who, network, any::<bool>(), any::<bool>()).prop_map(|(who, network, rw, names)| {
        let mut rules = FolderRules::unspoken(Path::new("/"));
        rules.profiles = who.map(|who| super::test_world::selectors(&who));
        rules.network = network;
        let allow = vec!["a.example.org".to_owned()];
        rules.allow = (network == Some(Network::Allowlist)).then_some(allow);
        rules.access = if rw { Access::Rw } else { Access::Ro };
        if names {
            rules.names.hide = vec![".env".parse().expect("a pattern")];
            rules.names.protect = vec!["ci".parse().expect("a pattern")];
        }
        rules
    })
}

/// What is not seen of a folder, and what is not written.
fn kept(names: &ShownNames) -> (&BTreeSet<PathBuf>, BTreeSet<PathBuf>) {
    (&names.hidden, names.hidden.union(&names.read_only).cloned().collect())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(10_000))]

    #[test]
    fn no_hint_gives_anything_to_anybody(
        said in proptest::collection::vec((0..4usize, rules()), 0..4),
        hints in proptest::collection::vec(
            (0..FOLDERS.len(), proptest::collection::btree_set(line(), 1..5)), 1..3),
        folder in 0..FOLDERS.len(),
        profile in 0..3usize,
    ) {
        let mut lab = Lab::new();
        lab.profiles[1].network = Some(Network::Open);
        for profile in &mut lab.profiles {
            profile.secrets = vec![Lab::secret("key")];
        }
        for (folder, rules) in said {
            let path = place(folder).path;
            *lab.rule(folder) = FolderRules { path, ..rules };
        }
        let before = lab.ask(folder, profile, None);
        for (about, lines) in hints {
            let text = lines.into_iter().collect::<Vec<_>>().join("\n");
            // One that says a key twice is a mistake, and nothing of it counts.
            if let Ok(hint) = Hint::read(Path::new("/x"), text.as_bytes()) {
                *lab.rule_by(about, Said::Hint) = hint.rules(&place(about).path);
            }
        }
        let Ok(after) = lab.ask(folder, profile, None) else { return Ok(()) };
        let before = before.expect("who is admitted with hints was admitted without");
        let (had, has) = (&before.granted, &after.granted);
        prop_assert!(has.access <= had.access);
        prop_assert!(has.reach.is_within(&had.reach), "{:?} {:?}", has.reach, had.reach);
        prop_assert!(has.secrets.iter().all(|secret| had.secrets.contains(secret)));
        prop_assert!(kept(&has.names).0.is_superset(kept(&had.names).0));
        prop_assert!(kept(&has.names).1.is_superset(&kept(&had.names).1));
        prop_assert!(has.names.patterns_keep(&had.names), "{:?} {:?}", has.names, had.names);
        prop_assert!(after.limits.cpus <= before.limits.cpus);
        prop_assert!(after.limits.memory <= before.limits.memory);
    }
}

fn hint(lab: &mut Lab, folder: usize, text: &str) {
    let hint = Hint::read(Path::new("/x"), text.as_bytes()).expect(text);
    *lab.rule_by(folder, Said::Hint) = hint.rules(&place(folder).path);
}

#[test]
fn a_hint_keeps_somebody_out_and_names_the_way_out() {
    let mut lab = Lab::new();
    hint(&mut lab, 3, "deny = [\"alpha\"]\n");
    let refused = lab.ask(3, 0, None).expect_err("denied");
    assert!(refused.reasons[0].contains("its .ringfence.toml says so"), "{refused:?}");
    assert!(refused.ways_out[0].contains("folder approve /w/b --hint"), "{refused:?}");
    assert!(lab.ask(3, 1, None).is_ok());
}

#[test]
fn the_patterns_of_a_hint_lift_none_of_the_persons() {
    let mut lab = Lab::new();
    lab.rule(3).names.hide = vec![".env".parse().expect("a pattern")];
    hint(&mut lab, 3, "hide = [\"!.env\", \"keys/\"]\n");
    let names = lab.ask(3, 0, None).expect("admitted").granted.names;
    assert_eq!(names.own.hide.len(), 1);
    assert_eq!(names.placed.len(), 1);
    assert_eq!(names.placed[0].names.hide.len(), 2);
}

#[test]
fn a_hint_of_a_folder_opens_nothing_that_lies_in_it() {
    // Only alpha may see what lies in /w/a, so nobody sees it through /w/a, which all may see.
    let mut lab = Lab::new();
    lab.only(1, &[0]);
    let hidden = |lab: &Lab| lab.ask(0, 0, None).expect("admitted").granted.names.hidden;
    let before = hidden(&lab);
    assert!(before.contains(Path::new("c")), "{before:?}");
    hint(&mut lab, 0, "profiles = [\"alpha\"]\nnetwork = \"offline\"\naccess = \"ro\"\n");
    assert_eq!(hidden(&lab), before);
    // What the person says does.
    lab.only(0, &[0]);
    assert!(!hidden(&lab).contains(Path::new("c")));
}
