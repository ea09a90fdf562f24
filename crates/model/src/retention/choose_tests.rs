use super::*;
use proptest::prelude::*;

const DAY: i64 = 86_400;
const HOUR: i64 = 3_600;

fn at(text: &str) -> Timestamp {
    text.parse().expect("a time")
}

fn snapshot(order: u64, time: Timestamp) -> Candidate {
    Candidate {
        id: format!("{order:04}"),
        order,
        time,
        kind: Some(SnapshotKind::Periodic),
        session: None,
        pinned: None,
        verified: true,
    }
}

/// Snapshots every so many seconds back from `now`, the oldest first.
fn every(seconds: i64, count: u64, now: Timestamp) -> Vec<Candidate> {
    (0..count)
        .map(|order| {
            let back = i64::try_from(count - 1 - order).expect("small") * seconds;
            snapshot(order, Timestamp::from_second(now.as_second() - back).expect("a time"))
        })
        .collect()
}

fn kept(decisions: &[Decision]) -> Vec<&str> {
    decisions.iter().filter(|one| one.stays()).map(|one| one.id.as_str()).collect()
}

fn utc(snapshots: &[Candidate], now: Timestamp, keep: &str) -> Vec<Decision> {
    choose(snapshots, &[], now, &TimeZone::UTC, &Keep::parse(keep).expect(keep))
}

fn fate<'a>(decisions: &'a [Decision], id: &str) -> &'a Fate {
    &decisions.iter().find(|one| one.id == id).expect("decided").fate
}

#[test]
fn the_default_thins_out_with_age() {
    let now = at("2026-11-23T12:30:00Z");
    // One every ten minutes for 200 days.
    let all = every(600, 200 * 144, now);
    let decisions = utc(&all, now, crate::retention::DEFAULT_KEEP);
    let ages = |from: i64, to: i64| {
        let within = |c: &&Candidate| {
            let age = now.as_second() - c.time.as_second();
            (from..to).contains(&age)
        };
        let ids: BTreeSet<&str> = all.iter().filter(within).map(|c| c.id.as_str()).collect();
        kept(&decisions).into_iter().filter(|id| ids.contains(id)).count()
    };
    assert_eq!(ages(0, 2 * DAY), 2 * 144, "everything for 2 days");
    assert_eq!(ages(3 * DAY, 13 * DAY), 10 * 24, "one an hour for 2 weeks");
    assert_eq!(ages(15 * DAY, 90 * DAY), 75, "one a day for 3 months");
    assert_eq!(ages(95 * DAY, 200 * DAY), 3, "then the last of each month");
    assert!(matches!(
        fate(&decisions, "0001"),
        Fate::Drop(Dropped::Later { period: Period::Month, .. })
    ));
    assert_eq!(
        fate(&decisions, "28799"),
        &Fate::Keep(vec![
            Why::Newest,
            Why::NewestVerified,
            Why::Everything,
            Why::Last(Period::Hour),
            Why::Last(Period::Day),
            Why::Last(Period::Month)
        ])
    );
}

#[test]
fn what_is_out_of_reach_is_too_old() {
    let now = at("2026-11-23T12:30:00Z");
    let all = every(DAY, 30, now);
    let decisions = utc(&all, now, "everything for 1 hour, daily for 2 weeks");
    assert_eq!(kept(&decisions).len(), 15);
    assert_eq!(fate(&decisions, "0000"), &Fate::Drop(Dropped::TooOld));
}

#[test]
fn pinned_verified_and_the_ends_of_sessions_stay() {
    let now = at("2026-11-23T12:30:00Z");
    let mut all = every(60, 100, now);
    for one in &mut all {
        one.verified = one.order == 3;
    }
    all[5].pinned = Some("before the move".into());
    (all[7].kind, all[7].session) = (Some(SnapshotKind::Closing), Some("lost-record".into()));
    (all[8].kind, all[8].session) = (Some(SnapshotKind::Periodic), Some("lost-record".into()));
    let sessions =
        [SessionEnds { session: "s1".into(), snapshots: vec!["0010".into(), "0012".into()] }];
    // All of them long ago, and one that is new.
    all.push(snapshot(100, now + jiff::SignedDuration::from_hours(24 * 300)));
    all[100].verified = false;
    let later = all[100].time;
    let keep = Keep::parse("everything for 1 hour").expect("a rule");
    let decisions = choose(&all, &sessions, later, &TimeZone::UTC, &keep);
    assert_eq!(kept(&decisions), ["0100", "0012", "0010", "0007", "0005", "0003"]);
    assert_eq!(fate(&decisions, "0005"), &Fate::Keep(vec![Why::Pinned("before the move".into())]));
    assert_eq!(fate(&decisions, "0003"), &Fate::Keep(vec![Why::NewestVerified]));
    assert_eq!(fate(&decisions, "0012"), &Fate::Keep(vec![Why::Session("s1".into())]));
    assert_eq!(fate(&decisions, "0008"), &Fate::Drop(Dropped::TooOld));
}

#[test]
fn of_many_sessions_the_last_twenty_count() {
    let now = at("2026-11-23T12:30:00Z");
    let mut all = every(60, 60, now);
    all.push(snapshot(60, now + jiff::SignedDuration::from_hours(24 * 300)));
    let sessions: Vec<SessionEnds> = (0..30)
        .map(|n| SessionEnds {
            session: format!("s{n}"),
            snapshots: vec![format!("{:04}", 2 * n), format!("{:04}", 2 * n + 1)],
        })
        .collect();
    let keep = Keep::parse("everything for 1 hour").expect("a rule");
    let decisions = choose(&all, &sessions, all[60].time, &TimeZone::UTC, &keep);
    let expected: Vec<String> = (20..61).rev().map(|n| format!("{n:04}")).collect();
    assert_eq!(kept(&decisions), expected);
}

#[test]
fn sessions_that_changed_nothing_push_no_other_out() {
    let now = at("2026-11-23T12:30:00Z");
    let all = vec![
        snapshot(0, now),
        snapshot(1, now),
        snapshot(2, now + jiff::SignedDuration::from_hours(24 * 300)),
    ];
    let mut sessions =
        vec![SessionEnds { session: "it-changed-much".into(), snapshots: vec!["0000".into()] }];
    sessions.extend((0..100).map(|n| SessionEnds {
        session: format!("idle-{n}"),
        snapshots: vec!["0001".into(), "0001".into()],
    }));
    let keep = Keep::parse("everything for 1 hour").expect("a rule");
    let decisions = choose(&all, &sessions, all[2].time, &TimeZone::UTC, &keep);
    assert_eq!(kept(&decisions), ["0002", "0001", "0000"]);
}

#[test]
fn a_clock_that_goes_wrong_lets_nothing_go() {
    let now = at("2026-11-23T12:30:00Z");
    let all = every(600, 100, now);
    let rule = "everything for 2 days, hourly for 2 weeks";
    for wrong in ["1970-01-01T00:00:00Z", "2019-01-01T00:00:00Z", "2099-01-01T00:00:00Z"] {
        assert_eq!(kept(&utc(&all, at(wrong), rule)).len(), 100, "{wrong}");
    }
    // The clock went back by years while snapshots were made.
    let mut back = every(600, 300, now);
    for one in &mut back[250..] {
        one.time -= jiff::SignedDuration::from_hours(24 * 3000);
    }
    assert_eq!(kept(&utc(&back, back[299].time, rule)).len(), 300);
    // One that was made under a clock far ahead does not make the others old.
    let mut ahead = every(600, 100, now);
    ahead[50].time = at("2099-01-01T00:00:00Z");
    assert_eq!(kept(&utc(&ahead, now, rule)).len(), 100);
}

#[test]
fn nothing_goes_while_nothing_is_known_to_be_good() {
    let now = at("2026-11-23T12:30:00Z");
    let mut all = every(DAY, 400, now);
    for one in &mut all {
        one.verified = false;
    }
    let decisions = utc(&all, now, "everything for 1 hour");
    assert_eq!(kept(&decisions).len(), 400);
    assert_eq!(fate(&decisions, "0000"), &Fate::Keep(vec![Why::NoneVerified]));
}

#[test]
fn hours_and_days_are_those_of_the_place() {
    let berlin = TimeZone::get("Europe/Berlin").expect("a zone");
    let keep = Keep::parse("everything for 1 hour, hourly for 1 week").expect("a rule");
    // 02:30 comes twice on this night: in summer time, and an hour later in winter time.
    let twice = [
        snapshot(0, at("2026-10-25T00:30:00Z")),
        snapshot(1, at("2026-10-25T00:40:00Z")),
        snapshot(2, at("2026-10-25T01:30:00Z")),
        snapshot(3, at("2026-10-26T12:00:00Z")),
    ];
    let decisions = choose(&twice, &[], twice[3].time, &berlin, &keep);
    assert_eq!(kept(&decisions), ["0003", "0002", "0001"]);
    // 23:30 UTC is the next day there.
    let keep = Keep::parse("everything for 1 hour, daily for 1 week").expect("a rule");
    let midnight = [
        snapshot(0, at("2026-07-01T12:00:00Z")),
        snapshot(1, at("2026-07-01T23:30:00Z")),
        snapshot(2, at("2026-07-04T12:00:00Z")),
    ];
    assert_eq!(kept(&choose(&midnight, &[], midnight[2].time, &berlin, &keep)).len(), 3);
    let decisions = choose(&midnight, &[], midnight[2].time, &TimeZone::UTC, &keep);
    assert_eq!(kept(&decisions), ["0002", "0001"]);
}

#[test]
fn weeks_and_years_end_where_the_calendar_says() {
    let keep = Keep::parse("everything for 1 hour, weekly for 1 year, yearly").expect("a rule");
    let days = [
        // Friday and Sunday of the same ISO week, in two years.
        snapshot(0, at("2026-01-02T12:00:00Z")),
        snapshot(1, at("2026-01-04T12:00:00Z")),
        snapshot(2, at("2026-01-05T12:00:00Z")),
        snapshot(3, at("2026-01-20T12:00:00Z")),
    ];
    let decisions = choose(&days, &[], days[3].time, &TimeZone::UTC, &keep);
    assert_eq!(kept(&decisions), ["0003", "0002", "0001"]);
}

#[test]
fn equal_times_are_told_apart_by_the_vaults_order() {
    let now = at("2026-11-23T12:30:00Z");
    let old = now - jiff::SignedDuration::from_hours(24 * 10);
    let all = [snapshot(0, old), snapshot(1, old), snapshot(2, old), snapshot(3, now)];
    let decisions = utc(&all, now, "everything for 1 hour, hourly for 2 weeks");
    assert_eq!(kept(&decisions), ["0003", "0002"]);
    let later = Dropped::Later { period: Period::Hour, id: "0002".into() };
    assert_eq!(fate(&decisions, "0000"), &Fate::Drop(later));
}

/// A folder's history as it might be, with clocks that jump and times that coincide.
fn histories() -> impl Strategy<Value = (Vec<Candidate>, Vec<SessionEnds>)> {
    let one = (0..400 * 24i64, 0..4u8, prop::bool::weighted(0.9), prop::option::of(0..40u8));
    prop::collection::vec(one, 1..80).prop_map(|made| {
        let base = at("2026-11-23T12:30:00Z").as_second();
        let mut sessions: BTreeMap<String, Vec<String>> = BTreeMap::new();
        let all: Vec<Candidate> = made
            .into_iter()
            .enumerate()
            .map(|(order, (hours, kind, verified, session))| {
                // Half an hour apart at times, so that hours hold two.
                let seconds = base - hours * HOUR / 2;
                let mut one =
                    snapshot(order as u64, Timestamp::from_second(seconds).expect("a time"));
                one.verified = verified;
                one.pinned = (kind == 0 && hours % 7 == 0).then(|| "mine".to_owned());
                one.kind = [
                    None,
                    Some(SnapshotKind::Opening),
                    Some(SnapshotKind::Closing),
                    Some(SnapshotKind::Periodic),
                ][usize::from(kind)];
                one.session = session.map(|number| format!("s{number}"));
                if let (Some(session), 1) = (&one.session, hours % 3) {
                    sessions.entry(session.clone()).or_default().push(one.id.clone());
                }
                one
            })
            .collect();
        let sessions = sessions
            .into_iter()
            .map(|(session, snapshots)| SessionEnds { session, snapshots })
            .collect();
        (all, sessions)
    })
}

fn rules() -> impl Strategy<Value = Keep> {
    prop::sample::select(vec![
        crate::retention::DEFAULT_KEEP,
        "everything for 1 hour",
        "everything for 1 day, daily for 1 month",
        "everything for 3 hours, hourly for 2 days, daily for 2 weeks, weekly for 2 months, monthly for 1 year",
        "everything for 1 week, yearly",
        "everything",
    ])
    .prop_map(|words| Keep::parse(words).expect(words))
}

fn survivors(all: &[Candidate], decisions: &[Decision]) -> Vec<Candidate> {
    let ids: BTreeSet<&str> = kept(decisions).into_iter().collect();
    all.iter().filter(|one| ids.contains(one.id.as_str())).cloned().collect()
}

proptest! {
    /// What was decided once is not decided otherwise by what was dropped since, nor by
    /// the order in which snapshots are listed.
    #[test]
    fn a_second_run_drops_nothing_more((all, sessions) in histories(), keep in rules(), seed in any::<u64>()) {
        let now = at("2026-11-23T12:30:00Z");
        let first = choose(&all, &sessions, now, &TimeZone::UTC, &keep);
        let rest = survivors(&all, &first);
        let second = choose(&rest, &sessions, now, &TimeZone::UTC, &keep);
        prop_assert_eq!(kept(&second), kept(&first));

        let mut shuffled = all.clone();
        shuffled.sort_by_key(|one| one.order.wrapping_add(1).wrapping_mul(seed | 1));
        let mut turned = sessions.clone();
        turned.reverse();
        prop_assert_eq!(choose(&shuffled, &turned, now, &TimeZone::UTC, &keep), first);
    }

    /// A run today and another one later keep what a single run later would keep: there
    /// is no harm in running it often, and no gain in waiting.
    #[test]
    fn how_often_it_runs_does_not_matter((all, sessions) in histories(), keep in rules(), days in 0..500i64) {
        let now = at("2026-11-23T12:30:00Z");
        let later = Timestamp::from_second(now.as_second() + days * DAY).expect("a time");
        let zone = TimeZone::get("Europe/Berlin").expect("a zone");
        let newer = |mut all: Vec<Candidate>| {
            all.push(snapshot(1_000, later));
            all
        };
        let today = survivors(&all, &choose(&all, &sessions, now, &zone, &keep));
        let both = newer(today);
        let both = choose(&both, &sessions, later, &zone, &keep);
        let once = newer(all);
        let once = choose(&once, &sessions, later, &zone, &keep);
        prop_assert_eq!(kept(&both), kept(&once));
    }

    /// Every reason that a person was promised holds, and some snapshot always stays.
    #[test]
    fn what_is_promised_stays((all, sessions) in histories(), keep in rules(), ahead in -500..500i64) {
        let now = Timestamp::from_second(at("2026-11-23T12:30:00Z").as_second() + ahead * DAY).expect("a time");
        let decisions = choose(&all, &sessions, now, &TimeZone::UTC, &keep);
        prop_assert_eq!(decisions.len(), all.len());
        let kept: BTreeSet<&str> = kept(&decisions).into_iter().collect();
        let newest = all.iter().max_by_key(|one| one.order).expect("some");
        prop_assert!(kept.contains(newest.id.as_str()));
        if let Some(verified) = all.iter().filter(|one| one.verified).max_by_key(|one| one.order) {
            prop_assert!(kept.contains(verified.id.as_str()));
        }
        let everything = keep.everything().seconds().unwrap_or(i64::MAX);
        let from = now.min(newest.time).as_second();
        for one in &all {
            if one.pinned.is_some() || from - one.time.as_second() <= everything {
                prop_assert!(kept.contains(one.id.as_str()), "{:?}", one);
            }
        }
        for decision in &decisions {
            match &decision.fate {
                Fate::Keep(why) => prop_assert!(!why.is_empty()),
                // What stands in for it stays.
                Fate::Drop(Dropped::Later { id, .. }) => prop_assert!(kept.contains(id.as_str())),
                Fate::Drop(Dropped::TooOld) => {}
            }
        }
    }
}
