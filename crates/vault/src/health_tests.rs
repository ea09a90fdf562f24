//! What is due, over days that are only numbers here.

use super::*;
use proptest::prelude::*;

const DAY: SignedDuration = SignedDuration::from_hours(24);

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + seconds).unwrap()
}

fn report(problems: Vec<Problem>) -> CheckReport {
    CheckReport { problems, snapshots: 1, newest: None, data_read: false, bytes_read: 0, bytes: 0 }
}

fn damaged(file: &str) -> Problem {
    Problem {
        severity: Severity::Error,
        name: "pack-damaged",
        what: "a pack".into(),
        file: Some(file.into()),
        snapshots: vec![crate::check::Touched {
            snapshot: "aa".repeat(32).parse().unwrap(),
            time: None,
            whole: false,
            entries: 1,
            paths: Vec::new(),
        }],
    }
}

fn rehearsed(snapshot: &str) -> Rehearsed {
    Rehearsed {
        snapshot: snapshot.repeat(32).parse().unwrap(),
        made: at(-60),
        files: 3,
        compared: 2,
        bytes: 5,
        failures: Vec::new(),
    }
}

fn packs(sizes: &[u64]) -> Vec<(String, u64)> {
    sizes
        .iter()
        .enumerate()
        .map(|(n, size)| (format!("{n:064x}").chars().rev().collect(), *size))
        .collect()
}

/// Does what is due until nothing is, and gives what was done.
fn work(health: &mut Health, packs: &[(String, u64)], now: Timestamp) -> Vec<Work> {
    let mut done = Vec::new();
    loop {
        let work = due(health, Facts { packs, any_snapshot: true }, DAY, now);
        match &work {
            Work::Structure(_) => health.after_check(&report(Vec::new()), now),
            Work::Rehearsal => health.after_rehearsal(&rehearsed("aa"), now),
            Work::Packs(read) => health.after_packs(read, packs, now),
            Work::Nothing => return done,
        }
        done.push(work);
        assert!(done.len() < 10_000, "it never ends");
    }
}

#[test]
fn structure_and_rehearsal_are_due_once_a_day_and_a_small_vault_is_read_whole() {
    let (mut health, packs) = (Health::default(), packs(&[10, 20, 30]));
    assert_eq!(work(&mut health, &packs, at(0)).len(), 3);
    assert_eq!(work(&mut health, &packs, at(3600)), []);
    let names = |work: &Work| if let Work::Packs(names) = work { names.len() } else { 0 };
    let next = work(&mut health, &packs, at(24 * 3600));
    assert_eq!(next.iter().map(names).sum::<usize>(), 3, "{next:?}");
    assert_eq!(health.next_check(DAY, at(24 * 3600 + 5)), at(48 * 3600));
}

#[test]
fn an_interval_shorter_than_the_work_starves_nothing() {
    let (mut health, packs) = (Health::default(), packs(&[10]));
    let facts = Facts { packs: &packs, any_snapshot: true };
    let mut kinds = Vec::new();
    for now in (0..60).step_by(10) {
        match due(&health, facts, SignedDuration::from_secs(1), at(now)) {
            Work::Structure(_) => {
                kinds.push('s');
                health.after_check(&report(Vec::new()), at(now));
            }
            Work::Rehearsal => {
                kinds.push('r');
                health.after_rehearsal(&rehearsed("aa"), at(now));
            }
            Work::Packs(names) => {
                kinds.push('p');
                health.after_packs(&names, &packs, at(now));
            }
            Work::Nothing => panic!("everything is due"),
        }
    }
    assert_eq!(kinds.iter().collect::<String>(), "srpsrp");
}

#[test]
fn a_clock_set_back_makes_everything_due_and_one_set_forward_does_no_harm() {
    let (mut health, packs) = (Health::default(), packs(&[10]));
    work(&mut health, &packs, at(0));
    assert_eq!(work(&mut health, &packs, at(-1_000_000)).len(), 3, "nothing waits for years");
    assert_eq!(health.next_check(DAY, at(-2_000_000)), at(-2_000_000));
    assert_eq!(work(&mut health, &packs, at(9_000_000)).len(), 3);
    assert_eq!(work(&mut health, &packs, at(9_000_001)), []);
}

#[test]
fn a_finding_keeps_its_first_day_and_its_pack_is_read_again_until_it_is_whole() {
    let mut health = Health::default();
    let file = format!("data/ab/{}", "ab".repeat(32));
    health.after_rehearsal(&rehearsed("aa"), at(0));
    assert!(health.verified.is_some());
    health.after_check(&report(vec![damaged(&file)]), at(10));
    assert_eq!(health.verified, None, "what is touched is not verified any more");
    assert!(!health.is_good());
    health.after_rehearsal(&rehearsed("aa"), at(20));
    let facts = Facts { packs: &[], any_snapshot: true };
    let Work::Structure(again) = due(&health, facts, DAY, at(100_000)) else { panic!() };
    assert_eq!(again, ["ab".repeat(32)]);
    health.after_check(&report(vec![damaged(&file)]), at(100_000));
    assert_eq!(health.findings[0].since, at(10));
    // A rehearsal of a touched snapshot verifies nothing; of another one it does.
    health.after_rehearsal(&rehearsed("aa"), at(100_001));
    assert_eq!(health.verified, None);
    health.after_rehearsal(&rehearsed("bb"), at(100_002));
    assert_eq!(health.verified.as_ref().unwrap().snapshot, "bb".repeat(32));
    health.after_check(&report(Vec::new()), at(200_000));
    assert!(health.is_good());
}

#[test]
fn a_failed_rehearsal_is_a_finding_until_one_succeeds() {
    let mut health = Health::default();
    let mut failed = rehearsed("aa");
    failed.failures.push((crate::EntryPath(b"x".to_vec()), "differs".into()));
    health.after_rehearsal(&failed, at(0));
    assert!(health.verified.is_none() && !health.is_good());
    health.after_rehearsal(&rehearsed("aa"), at(1));
    assert!(health.verified.is_some() && health.is_good());
}

#[test]
fn packs_that_are_gone_are_forgotten() {
    let mut health = Health::default();
    let all = packs(&[1, 2, 3]);
    health.after_packs(&all.iter().map(|(n, _)| n.clone()).collect::<Vec<_>>(), &all, at(0));
    assert_eq!(health.packs.len(), 3);
    health.after_packs(&[], &all[..1], at(1));
    assert_eq!(health.packs.len(), 1);
}

proptest! {
    /// Whatever the sizes, and with the daemon awake on two days of three: everything is
    /// read within thirty days, and no day's work is far above its share.
    #[test]
    fn everything_is_read_within_thirty_days_at_a_bounded_rate(
        sizes in proptest::collection::vec(1u64..200 << 20, 1..120)
    ) {
        let packs = packs(&sizes);
        let total: u64 = sizes.iter().sum();
        let largest = *sizes.iter().max().unwrap();
        let share = AT_LEAST.max(total.div_ceil(INTERVALS));
        let mut health = Health::default();
        let mut awake = 0;
        for day in 0..60i64 {
            if day % 3 == 2 {
                continue;
            }
            awake += 1;
            let now = at(day * 24 * 3600);
            let done = work(&mut health, &packs, now);
            let size = |name: &String| packs.iter().find(|(n, _)| n == name).unwrap().1;
            let read: u64 = done
                .iter()
                .filter_map(|work| if let Work::Packs(names) = work { Some(names) } else { None })
                .flatten()
                .map(size)
                .sum();
            prop_assert!(read <= share + largest, "{read} of {share} on day {day}");
            if awake >= 21 {
                for (name, _) in &packs {
                    let last = health.packs[key(name)];
                    prop_assert!(now.as_second() - last <= 30 * 24 * 3600 + 1, "day {day}");
                }
            }
        }
    }
}
