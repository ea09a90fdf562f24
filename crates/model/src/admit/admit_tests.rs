use super::test_world::{Lab, limits, place, selectors};
use super::*;
use crate::machine::LimitWords;
use crate::pattern::Pattern;
use std::path::{Path, PathBuf};

const A: usize = 0;
const C: usize = 1;
const D: usize = 2;
const B: usize = 3;
const ALIAS: usize = 4;
const ALPHA: usize = 0;
const BETA: usize = 1;

fn ways(ways: &[&str]) -> BTreeSet<PathBuf> {
    ways.iter().map(PathBuf::from).collect()
}

#[test]
fn a_rule_says_who_and_names_the_way_out() {
    let mut lab = Lab::new();
    lab.only(A, &[ALPHA]);
    assert!(lab.ask(A, ALPHA, None).is_ok());
    let refused = lab.ask(A, BETA, None).expect_err("refused");
    assert!(refused.reasons[0].contains("beta may not see /w/a; its rule allows alpha"));
    assert!(refused.ways_out[0].contains("folder set /w/a --profiles alpha,beta"), "{refused:?}");
}

#[test]
fn deny_wins_and_every_reason_is_told() {
    let mut lab = Lab::new();
    lab.rule(A).deny = selectors(&[BETA]);
    lab.only(C, &[ALPHA]);
    let refused = lab.ask(C, BETA, None).expect_err("refused");
    assert_eq!(refused.reasons.len(), 2, "{refused:?}");
    assert!(refused.reasons[0].contains("its rule denies beta"), "{refused:?}");
    lab.only(C, &[ALPHA, BETA]);
    assert!(lab.ask(C, BETA, None).is_err(), "a child cannot lift what its parent denies");
    lab.rule(A).deny = Vec::new();
    assert!(lab.ask(C, BETA, None).is_ok());
}

#[test]
fn one_directory_by_two_paths_has_the_rules_of_both() {
    let mut lab = Lab::new();
    lab.only(C, &[ALPHA]);
    assert!(lab.ask(ALIAS, BETA, None).is_err());
    assert!(lab.ask(ALIAS, ALPHA, None).is_ok());
    let mut lab = Lab::new();
    lab.only(ALIAS, &[ALPHA]);
    assert!(lab.ask(C, BETA, None).is_err());
    assert_eq!(lab.ask(A, BETA, None).expect("yes").granted.names.hidden, ways(&["c"]));
}

#[test]
fn leftovers_on_a_disk_are_not_shown_and_the_reason_is_told() {
    let mut lab = Lab::new();
    lab.only(A, &[ALPHA]);
    let machine = lab.run(A, ALPHA, None);
    let refused = lab.ask(B, BETA, Some(&machine)).expect_err("refused");
    assert!(refused.reasons[0].contains("it has seen /w/a, which profile beta may not see"));
    let elsewhere = lab.ask(B, BETA, None).expect("another machine");
    assert_eq!(elsewhere.machine, None);
    let because = elsewhere.because.expect("told");
    assert_eq!(
        because,
        format!("not in machine {machine}: it has seen /w/a, which profile beta may not see")
    );
}

#[test]
fn what_is_not_known_any_more_is_shown_to_nobody() {
    let mut lab = Lab::new();
    let machine = lab.run(A, ALPHA, None);
    lab.folders.remove(A);
    let refused = lab.ask(B, ALPHA, Some(&machine)).expect_err("refused");
    assert!(refused.reasons[0].contains("nothing is known about any more"), "{refused:?}");
}

#[test]
fn a_writable_folder_is_a_carrier() {
    // alpha may see both, but what it writes into b is seen by beta later.
    let mut lab = Lab::new();
    lab.only(A, &[ALPHA]);
    let machine = lab.run(A, ALPHA, None);
    let admitted = lab.ask(B, ALPHA, Some(&machine)).expect("only to be read");
    assert_eq!(admitted.granted.access, Access::Ro);
    assert!(admitted.notes[0].contains("carried over into /w/b"), "{:?}", admitted.notes);
    assert_eq!(lab.ask(B, ALPHA, None).expect("elsewhere").granted.access, Access::Rw);
}

#[test]
fn a_folder_carries_what_became_stricter_later_until_somebody_looked() {
    let mut lab = Lab::new();
    let machine = lab.run(A, ALPHA, None);
    lab.run(B, ALPHA, Some(&machine));
    lab.only(A, &[ALPHA]);
    let refused = lab.ask(B, BETA, None).expect_err("b may hold a copy");
    assert!(refused.reasons[0].contains("/w/b may hold something of /w/a"), "{refused:?}");
    assert!(refused.ways_out[0].contains("folder approve /w/b --contents"), "{refused:?}");
    // A machine that is deleted takes nothing back from the folder.
    lab.machines.clear();
    assert!(lab.ask(B, BETA, None).is_err());
    assert!(lab.ask(B, ALPHA, None).is_ok());
    lab.carried.retain(|carrier| carrier.place != place(B));
    assert!(lab.ask(B, BETA, None).is_ok());
}

#[test]
fn a_stricter_child_is_hidden_in_its_parent() {
    let mut lab = Lab::new();
    lab.only(C, &[ALPHA]);
    let hidden = |lab: &Lab, who| lab.ask(A, who, None).expect("yes").granted.names.hidden;
    assert_eq!(hidden(&lab, BETA), ways(&["c"]));
    // alpha may see it, but would carry it to where beta sees it; unless it writes nothing.
    assert_eq!(hidden(&lab, ALPHA), ways(&["c"]));
    lab.rule(A).access = Access::Ro;
    assert_eq!(hidden(&lab, ALPHA), ways(&[]));
    assert_eq!(hidden(&lab, BETA), ways(&["c"]));
    let at = |start: &str| lab.ask_with(A, BETA, None, None, Some(Path::new(start)));
    assert!(at("/w/a/other").is_ok());
    assert!(at("/w/a/c/x").is_err(), "the innermost rule decides");
}

#[test]
fn a_child_is_never_more_than_its_own_rule_allows() {
    let mut lab = Lab::new();
    lab.rule(C).access = Access::Ro;
    lab.rule(D).names.hide = vec!["keys".parse::<Pattern>().expect("pattern")];
    let names = lab.ask(A, ALPHA, None).expect("yes").granted.names;
    assert_eq!(names.read_only, ways(&["c"]));
    assert_eq!(names.placed.len(), 1);
    assert_eq!(names.placed[0].below, Path::new("c/x/d"));
    // A parent's patterns hold in the child, and its access too.
    let mut lab = Lab::new();
    lab.rule(A).access = Access::Ro;
    lab.rule(A).names.hide = vec!["c/x/secret".parse::<Pattern>().expect("pattern")];
    let granted = lab.ask(C, ALPHA, None).expect("yes").granted;
    assert_eq!(granted.access, Access::Ro);
    assert_eq!(granted.names.placed[0].above, Path::new("c"));
}

#[test]
fn the_strictest_network_counts_and_nothing_widens_it() {
    let mut lab = Lab::new();
    lab.profiles[ALPHA].network = Some(Network::Offline);
    let with = |lab: &Lab, who, asked| lab.ask_with(A, who, None, asked, None).expect("yes");
    let admitted = with(&lab, ALPHA, Some(Network::Open));
    assert_eq!(admitted.granted.reach.network, Network::Offline);
    assert!(admitted.notes[0].contains("nothing widens it"), "{:?}", admitted.notes);
    lab.profiles[BETA].network = Some(Network::Open);
    assert_eq!(with(&lab, BETA, None).granted.reach.network, Network::Open);
    lab.network = Some(Network::Internet);
    assert_eq!(with(&lab, BETA, None).granted.reach.network, Network::Internet);
    lab.rule(A).network = Some(Network::Allowlist);
    lab.rule(A).allow = Some(vec!["*.example".into()]);
    lab.profiles[BETA].allow = vec!["a.example".into(), "b.test".into()];
    assert_eq!(with(&lab, BETA, None).granted.reach.allow, ["*.example"]);
    lab.profiles[BETA].network = Some(Network::Allowlist);
    assert_eq!(with(&lab, BETA, None).granted.reach.allow, ["a.example"]);
    lab.rule(A).allow = None;
    assert_eq!(with(&lab, BETA, None).granted.reach.allow, ["a.example", "b.test"]);
}

#[test]
fn folders_of_one_machine_share_the_narrowest_network() {
    let mut lab = Lab::new();
    lab.rule(A).network = Some(Network::Offline);
    let machine = lab.run(A, ALPHA, None);
    // b would be offline for ever: it is read only, or another machine is used.
    let beside = lab.ask(B, ALPHA, Some(&machine)).expect("yes");
    assert_eq!(beside.granted.reach.network, Network::Offline);
    assert_eq!(beside.granted.access, Access::Ro);
    // A session at work holds its machine to its network.
    let mut lab = Lab::new();
    let yes = lab.ask(A, ALPHA, None).expect("yes");
    let machine = lab.carry_out(A, ALPHA, &yes);
    lab.rule(B).network = Some(Network::Offline);
    let refused = lab.ask(B, ALPHA, Some(&machine)).expect_err("refused");
    assert!(refused.reasons.iter().any(|reason| reason.contains("`internet`")), "{refused:?}");
}

#[test]
fn a_stricter_network_in_a_child_hides_the_child() {
    let mut lab = Lab::new();
    lab.rule(C).network = Some(Network::Offline);
    let granted = lab.ask(A, ALPHA, None).expect("yes").granted;
    assert_eq!((granted.names.hidden, granted.reach.network), (ways(&["c"]), Network::Internet));
    assert_eq!(lab.ask(C, ALPHA, None).expect("yes").granted.reach.network, Network::Offline);
}

#[test]
fn limits_are_bounds_and_a_larger_machine_is_not_used() {
    let mut lab = Lab::new();
    let machine = lab.run(A, ALPHA, None);
    assert_eq!(lab.machines[0].limits, limits(4, 8));
    lab.rule(A).limits = LimitWords { cpus: Some(2), ..LimitWords::default() };
    let admitted = lab.ask(A, ALPHA, None).expect("yes");
    assert_eq!((admitted.machine.clone(), admitted.limits), (None, limits(2, 8)));
    assert!(admitted.because.expect("told").contains("larger than the rules allow"));
    assert!(lab.ask(A, ALPHA, Some(&machine)).is_err());
    lab.profiles[ALPHA].limits = LimitWords { cpus: Some(16), ..LimitWords::default() };
    assert_eq!(lab.ask(A, ALPHA, None).expect("yes").limits, limits(2, 8));
}

#[test]
fn a_session_carries_only_the_secrets_that_every_rule_lets_it() {
    let mut lab = Lab::new();
    let (npm, pypi) = (Lab::secret("npm"), Lab::secret("pypi"));
    lab.profiles[ALPHA].secrets = vec![npm.clone(), pypi.clone()];
    assert_eq!(lab.ask(A, ALPHA, None).expect("yes").granted.secrets, [npm.clone(), pypi]);
    lab.rule(A).secrets = Some(vec![npm.clone(), Lab::secret("other")]);
    let admitted = lab.ask(C, ALPHA, None).expect("yes");
    assert_eq!(admitted.granted.secrets, [npm]);
    assert!(admitted.notes[0].contains("secret pypi stays out"), "{:?}", admitted.notes);
}

#[test]
fn no_folder_that_leaves_a_secret_out_comes_beside_a_session_that_has_it() {
    let mut lab = Lab::new();
    lab.profiles[ALPHA].secrets = vec![Lab::secret("npm")];
    lab.rule(B).secrets = Some(Vec::new());
    let yes = lab.ask(A, ALPHA, None).expect("yes");
    let machine = lab.carry_out(A, ALPHA, &yes);
    let refused = lab.ask(B, BETA, Some(&machine)).expect_err("refused");
    assert!(refused.reasons.iter().any(|reason| reason.contains("secret npm")), "{refused:?}");
    assert_eq!(lab.ask(B, BETA, None).expect("yes").machine, None);
    lab.open.clear();
    assert!(lab.ask(B, BETA, Some(&machine)).is_ok());
}

#[test]
fn sessions_side_by_side_see_the_same() {
    let mut lab = Lab::new();
    let yes = lab.ask(B, BETA, None).expect("yes");
    let machine = lab.carry_out(B, BETA, &yes);
    lab.only(A, &[ALPHA]);
    let refused = lab.ask(A, ALPHA, Some(&machine)).expect_err("beta would see it");
    assert!(refused.reasons[0].contains("profile beta runs there"), "{refused:?}");
    // One share a folder and machine: a session that must see less of it goes elsewhere.
    lab.only(A, &[ALPHA, BETA]);
    lab.rule(A).access = Access::Ro;
    lab.only(C, &[ALPHA]);
    lab.open.clear();
    let yes = lab.ask(A, ALPHA, None).expect("yes");
    let machine = lab.carry_out(A, ALPHA, &yes);
    let refused = lab.ask(A, BETA, Some(&machine)).expect_err("refused");
    assert!(refused.reasons.iter().any(|reason| reason.contains("other parts")), "{refused:?}");
    let refused = lab.ask(C, ALPHA, Some(&machine)).expect_err("refused");
    assert!(refused.reasons[0].contains("one lies in the other"), "{refused:?}");
}

#[test]
fn what_becomes_stricter_is_noticed_and_what_becomes_looser_is_not() {
    let mut lab = Lab::new();
    lab.profiles[ALPHA].secrets = vec![Lab::secret("npm")];
    let yes = lab.ask(A, ALPHA, None).expect("yes");
    lab.carry_out(A, ALPHA, &yes);
    let found = |lab: &Lab| stricter(&lab.world(), &lab.open[0]).join("; ");
    assert_eq!(found(&lab), "");
    type Change = (fn(&mut Lab), &'static str);
    let changes: [Change; 9] = [
        (|lab| lab.only(A, &[BETA]), "which profile alpha may not see"),
        (|lab| lab.only(C, &[BETA]), "/w/a/c, which profile alpha may not see"),
        (|lab| lab.only(C, &[ALPHA]), "/w/a/c is to be hidden now"),
        (|lab| lab.rule(A).access = Access::Ro, "/w/a is read-only now"),
        (|lab| lab.rule(C).access = Access::Ro, "/w/a/c is read-only now"),
        (|lab| lab.rule(A).network = Some(Network::Offline), "may only be `offline`"),
        (|lab| lab.rule(A).secrets = Some(Vec::new()), "secret npm is not for it"),
        (|lab| lab.rule(C).names.hide = vec!["k".parse().expect("pattern")], "was changed"),
        (|lab| lab.profiles.clear(), "its profile alpha is gone"),
    ];
    for (change, expected) in changes {
        let mut changed =
            Lab { rules: lab.rules.clone(), profiles: lab.profiles.clone(), ..Lab::new() };
        (changed.machines, changed.open) = (lab.machines.clone(), lab.open.clone());
        change(&mut changed);
        assert!(found(&changed).contains(expected), "{expected}: {}", found(&changed));
    }
    lab.only(A, &[ALPHA, BETA]);
    lab.rule(C).access = Access::Rw;
    lab.rule(B).access = Access::Ro;
    assert_eq!(found(&lab), "");
}
