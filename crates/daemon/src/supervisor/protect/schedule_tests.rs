//! The decisions one by one, and then a simulated week of folders, writers and failures.

use proptest::prelude::*;

use super::*;

fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn moment(steady: Duration) -> Moment {
    Moment { steady, wall: Timestamp::UNIX_EPOCH + steady }
}

fn facts() -> Facts {
    Facts { rule: Rule::On, notice: Notice::All, dirty: None, unknown: false, session: false }
}

/// A folder that was walked at the given second.
fn walked(at: u64) -> Plan {
    let mut plan = Plan::new(moment(Duration::ZERO), 7);
    plan.came_out(Job::Walk(Walk::Start), Outcome::Stored { changed: true }, (s(at), s(at)));
    plan
}

/// The next snapshot, with the second at which it is due; looks at the folder pass by.
fn due(plan: &Plan, facts: &Facts) -> (Job, u64) {
    let (mut plan, mut now) = (plan.clone(), Duration::ZERO);
    loop {
        match plan.next(facts, moment(now)) {
            Next::Run(Job::Look, _) => plan.looked(!plan.is_lost(), now),
            Next::Run(job, due) => return (job, due.as_secs()),
            Next::Wait(until) => {
                assert!(until > now, "a busy loop at {now:?}");
                now = until;
            }
        }
    }
}

const CHANGES: Job = Job::Changes { polled: false };

#[test]
fn five_seconds_of_quiet_or_thirty_of_writing() {
    let plan = walked(1);
    let dirty = |first, last| Facts { dirty: Some((s(first), s(last))), ..facts() };
    assert_eq!(due(&plan, &dirty(100, 100)), (CHANGES, 105));
    assert_eq!(due(&plan, &dirty(100, 110)), (CHANGES, 115));
    assert_eq!(due(&plan, &dirty(100, 129)), (CHANGES, 130));
    assert_eq!(due(&plan, &dirty(100, 900)), (CHANGES, 130));
    let unknown = Facts { unknown: true, ..dirty(100, 100) };
    assert_eq!(due(&plan, &unknown), (Job::Walk(Walk::Lost), 105));
}

#[test]
fn a_snapshot_that_took_long_is_followed_by_a_longer_pause() {
    for (took, expected) in [(0, 205), (1, 205), (3, 212), (20, 230), (60, 260)] {
        let mut plan = walked(1);
        plan.came_out(CHANGES, Outcome::Stored { changed: true }, (s(200 - took), s(200)));
        let facts = Facts { dirty: Some((s(150), s(150))), ..facts() };
        assert_eq!(due(&plan, &facts), (CHANGES, expected), "after {took} s");
    }
}

#[test]
fn safety_walks_come_seldom_where_nothing_happens() {
    let mut plan = walked(0);
    let mut times = Vec::new();
    for _ in 0..5 {
        let (job, at) = due(&plan, &facts());
        assert_eq!(job, Job::Walk(Walk::Safety));
        times.push(at / 60);
        plan.came_out(job, Outcome::Stored { changed: false }, (s(at), s(at)));
    }
    assert_eq!(times, [10, 30, 70, 130, 190]);
    let changed = Outcome::Stored { changed: true };
    plan.came_out(CHANGES, changed, (s(12_000), s(12_000)));
    assert_eq!(due(&plan, &facts()).1 / 60, 200, "and oftener where something does");
    plan.came_out(Job::Walk(Walk::Safety), changed, (s(12_000), s(12_060)));
    assert_eq!(
        due(&plan, &facts()).1,
        12_060 + 60 * 60,
        "an hour at most, where a walk takes a minute"
    );
    plan.came_out(Job::Walk(Walk::Safety), changed, (s(12_000), s(12_001)));
    assert_eq!(due(&plan, &facts()).1, 12_001 + 2000, "else a two-thousandth of the time");
    plan.came_out(Job::Walk(Walk::Safety), changed, (s(12_000), s(12_100)));
    assert_eq!(due(&plan, &facts()).1, 12_100 + 50 * 100, "and never more than a fiftieth");
}

#[test]
fn what_is_not_watched_is_polled() {
    let plan = walked(1);
    let none = Facts { notice: Notice::None, ..facts() };
    assert_eq!(due(&plan, &none), (Job::Walk(Walk::Poll), 31));
    let part = Facts { notice: Notice::Part, ..facts() };
    assert_eq!(due(&plan, &part), (Job::Changes { polled: true }, 31));
    let mut plan = walked(1);
    for _ in 0..9 {
        let unchanged = Outcome::Stored { changed: false };
        plan.came_out(Job::Walk(Walk::Poll), unchanged, (s(1000), s(1000)));
    }
    assert_eq!(due(&plan, &none), (Job::Walk(Walk::Poll), 1300));
    let session = Facts { session: true, ..none };
    assert_eq!(due(&plan, &session), (Job::Walk(Walk::Poll), 1030));
}

#[test]
fn a_failure_is_tried_again_later_and_later_but_often_while_a_share_is_held() {
    let mut plan = walked(1);
    let mut pauses = Vec::new();
    for _ in 0..9 {
        plan.came_out(CHANGES, Outcome::Failed, (s(1000), s(1000)));
        let (job, at) = due(&plan, &facts());
        assert_eq!(job, Job::Walk(Walk::Failure));
        pauses.push(at - 1000);
    }
    for (pause, least) in pauses.iter().zip([5, 10, 20, 40, 80, 160, 300, 300, 300]) {
        assert!((least..=least + least / 5).contains(pause), "{pauses:?}");
    }
    plan.set_held(true);
    assert!((1005..=1006).contains(&due(&plan, &facts()).1));
    let other = Plan { seed: 8, ..plan.clone() };
    let at = |plan: &Plan| plan.back_off();
    assert_ne!(at(&Plan { held: false, ..plan }), at(&Plan { held: false, ..other }));
}

#[test]
fn a_folder_that_is_away_is_looked_for_and_walked_when_it_is_back() {
    let mut plan = walked(1);
    plan.came_out(CHANGES, Outcome::Lost, (s(100), s(100)));
    assert!(plan.is_lost());
    assert_eq!(plan.next(&facts(), moment(s(109))), Next::Wait(s(110)));
    assert_eq!(plan.next(&facts(), moment(s(110))), Next::Run(Job::Look, s(110)));
    plan.looked(false, s(110));
    plan.looked(true, s(120));
    assert_eq!(due(&plan, &facts()), (Job::Walk(Walk::Lost), 105));
}

#[test]
fn off_is_off_and_a_pause_ends_by_itself() {
    let dirty = Facts { dirty: Some((s(2), s(2))), ..facts() };
    let plan = walked(1);
    let off = Facts { rule: Rule::Off, ..dirty };
    assert_eq!(plan.next(&off, moment(s(90_000))), Next::Wait(s(90_030)));
    let paused = |left| Facts { rule: Rule::Paused(s(left)), ..dirty };
    assert_eq!(plan.next(&paused(600), moment(s(20))), Next::Wait(s(50)));
    assert_eq!(plan.next(&paused(10), moment(s(20))), Next::Wait(s(30)));
    assert_eq!(plan.next(&paused(0), moment(s(20))), Next::Run(CHANGES, s(7)));
}

#[test]
fn a_jump_of_the_clock_or_a_sleep_has_the_folder_walked_and_nothing_else() {
    let at = |steady: u64, wall: i64| Moment {
        steady: s(steady),
        wall: Timestamp::from_second(wall).expect("a time"),
    };
    for (wall, walks) in [(1100, false), (1150, false), (1161, true), (39, true), (-90_000, true)] {
        let mut plan = walked(1);
        plan.notice_time(at(1000, 1000));
        assert_eq!(due(&plan, &facts()).0, Job::Walk(Walk::Safety), "not yet");
        plan = walked(1);
        plan.clock = at(1000, 1000);
        plan.notice_time(at(1100, wall));
        assert_eq!(plan.wanted.is_some(), walks, "{wall}");
        // Once: the clock of now is the right one from here on.
        plan.came_out(Job::Walk(Walk::Clock), Outcome::Stored { changed: false }, (s(1), s(1)));
        plan.notice_time(at(1200, wall + 100));
        assert_eq!(plan.wanted, None);
    }
}

#[test]
fn summer_time_is_no_jump() {
    // Two moments ten minutes apart, between which a clock on the wall goes from 2 to 3.
    let zone = jiff::tz::TimeZone::get("Europe/Berlin").expect("a zone");
    let before = jiff::civil::date(2026, 3, 29).at(1, 55, 0, 0).to_zoned(zone).expect("a time");
    let mut plan = walked(1);
    plan.clock = Moment { steady: s(100), wall: before.timestamp() };
    let after = before.checked_add(jiff::SignedDuration::from_mins(10)).expect("a time");
    assert_eq!(after.hour(), 3);
    plan.notice_time(Moment { steady: s(700), wall: after.timestamp() });
    assert_eq!(plan.wanted, None);
}

#[test]
fn one_worker_is_kept_for_what_is_quick() {
    let walk = |began| Going::new(Job::Walk(Walk::Safety), false, s(began));
    let quick = |began| Going::new(CHANGES, false, s(began));
    let failing = |began| Going::new(CHANGES, true, s(began));
    assert!(walk(0).may_go_beside(&[], s(0)));
    assert!(!walk(0).may_go_beside(&[walk(0)], s(0)));
    assert!(!failing(0).may_go_beside(&[walk(0)], s(0)));
    assert!(quick(0).may_go_beside(&[walk(0)], s(0)));
    assert!(!quick(0).may_go_beside(&[walk(0), quick(0)], s(0)));
    assert!(quick(0).may_go_beside(&[walk(0), quick(0)], s(61)), "what hangs delays nobody");
    assert!(!walk(0).may_go_beside(&[walk(0), quick(0)], s(61)));
    assert!(walk(0).may_go_beside(&[walk(0)], s(901)));
}

/// A job under way, and the times of the changes that it took.
type Running = (Job, Going, Option<(Duration, Duration)>);

/// A folder of the simulation.
#[derive(Debug, Clone)]
struct Script {
    /// Seconds at which something is written, in order.
    writes: Vec<u64>,
    /// How long a snapshot takes, in tenths of a second.
    takes: u64,
    /// From and until when its vault fails.
    fails: Option<(u64, u64)>,
}

struct Simulated {
    plan: Plan,
    script: Script,
    written: usize,
    dirty: Option<(Duration, Duration)>,
    /// Writes that no snapshot holds.
    open: Vec<Duration>,
    going: Option<Running>,
    runs: u64,
    worst: Duration,
}

const END: u64 = 6 * 3600;

impl Simulated {
    fn new(script: Script, seed: u64) -> Self {
        Self {
            plan: Plan::new(moment(Duration::ZERO), seed),
            script,
            written: 0,
            dirty: None,
            open: Vec::new(),
            going: None,
            runs: 0,
            worst: Duration::ZERO,
        }
    }

    fn facts(&self) -> Facts {
        Facts { dirty: self.dirty, ..facts() }
    }

    fn takes(&self) -> Duration {
        Duration::from_millis(self.script.takes * 100)
    }

    fn ends(&self) -> Option<Duration> {
        self.going.as_ref().map(|(_, going, _)| going.began + self.takes())
    }

    /// Writes and ends what falls on or before this moment.
    fn advance(&mut self, now: Duration) {
        while let Some(at) = self.script.writes.get(self.written).map(|at| s(*at)) {
            if at > now {
                break;
            }
            self.written += 1;
            self.open.push(at);
            let first = self.dirty.map_or(at, |(first, _)| first);
            self.dirty = Some((first, at));
        }
        let Some(end) = self.ends().filter(|end| *end <= now) else { return };
        let Some((job, going, taken)) = self.going.take() else { return };
        let fails = self.script.fails.is_some_and(|(from, to)| (s(from)..s(to)).contains(&end));
        if fails {
            if let Some((first, last)) = taken {
                self.dirty = Some((first, self.dirty.map_or(last, |(_, newest)| newest)));
            }
            self.plan.came_out(job, Outcome::Failed, (going.began, end));
        } else {
            let began = going.began;
            let was_failing = self.script.fails.is_some_and(|(_, to)| began < s(to) + s(1000));
            let stored: Vec<Duration> = self.open.extract_if(.., |at| *at <= began).collect();
            for at in stored.iter().filter(|_| !was_failing) {
                self.worst = self.worst.max(end - *at);
            }
            let changed = !stored.is_empty();
            self.plan.came_out(job, Outcome::Stored { changed }, (began, end));
        }
        self.plan.set_running(false);
    }
}

/// Runs folders against one scheduler; how often it decided.
fn simulate(folders: &mut [Simulated]) -> u64 {
    let mut now = Duration::ZERO;
    let mut decisions = 0;
    while now < s(END) {
        for folder in folders.iter_mut() {
            folder.advance(now);
        }
        let mut wake = s(END);
        let mut ready: Vec<(Duration, usize, Job)> = Vec::new();
        for (index, folder) in folders.iter_mut().enumerate() {
            decisions += 1;
            folder.plan.notice_time(moment(now));
            match folder.plan.next(&folder.facts(), moment(now)) {
                Next::Wait(until) => {
                    assert!(until > now, "a busy loop");
                    wake = wake.min(until);
                }
                Next::Run(Job::Look, _) => {
                    folder.plan.looked(true, now);
                    wake = wake.min(now + Duration::from_millis(1));
                }
                Next::Run(job, due) => ready.push((due, index, job)),
            }
            let write = folder.script.writes.get(folder.written).map(|at| s(*at));
            wake = write.into_iter().chain(folder.ends()).fold(wake, Duration::min);
        }
        ready.sort_by_key(|(due, index, _)| (*due, *index));
        for (_, index, job) in ready {
            let others: Vec<Going> = folders
                .iter()
                .filter_map(|f| f.going.as_ref().map(|(_, going, _)| *going))
                .collect();
            let folder = &mut folders[index];
            let going = Going::new(job, folder.plan.is_failing(), now);
            if going.may_go_beside(&others, now) {
                folder.plan.set_running(true);
                folder.runs += 1;
                folder.going = Some((job, going, folder.dirty.take()));
                wake = folder.ends().into_iter().fold(wake, Duration::min);
            }
        }
        now = wake.max(now + Duration::from_millis(1));
    }
    decisions
}

fn script() -> impl Strategy<Value = Script> {
    let single = prop::collection::vec(0..END, 0..30);
    // A steady writer: every so many seconds for a while.
    let steady = (0..END, 1..20u64, 0..300usize)
        .prop_map(|(from, step, count)| (0..count as u64).map(|n| from + n * step).collect());
    let fails = prop::option::of((0..END, 1..4000u64).prop_map(|(from, long)| (from, from + long)));
    (single, steady, 0..30u64, fails).prop_map(
        |(mut writes, steady, takes, fails): (_, Vec<u64>, _, _)| {
            writes.extend(steady);
            writes.sort_unstable();
            Script { writes, takes, fails }
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// While its vault works no change of a folder stays unprotected for longer than the
    /// bound, whatever happens to others; and nobody is kept busy by it.
    #[test]
    fn no_change_waits_for_longer_than_the_bound(scripts in prop::collection::vec(script(), 1..6)) {
        let all: Duration =
            scripts.iter().map(|script| Duration::from_millis(script.takes * 100)).sum();
        let mut folders: Vec<Simulated> =
            (0..).zip(scripts).map(|(seed, script)| Simulated::new(script, seed)).collect();
        let decisions = simulate(&mut folders);
        for folder in &folders {
            let rest = rest_after(folder.takes());
            // Its own snapshot that was under way, its rest, and each other folder's once or,
            // while one walks, twice.
            let bound = STEADY + rest + folder.takes() * 2 + all * 2;
            prop_assert!(folder.worst <= bound, "{:?} > {bound:?} {:?}", folder.worst, folder.script);
            prop_assert!(folder.runs <= END / PAUSE.as_secs());
            let idle = folder.script.writes.is_empty() && folder.script.fails.is_none();
            prop_assert!(!idle || folder.runs < 20, "{} runs of an idle folder", folder.runs);
        }
        prop_assert!(decisions < 400_000, "{decisions} decisions in six hours");
    }
}

#[test]
fn a_vault_that_hangs_delays_no_other_folder() {
    let writes: Vec<u64> = (0..END / 40).map(|n| n * 40).collect();
    let hangs = Script { writes: writes.clone(), takes: 10 * 3000, fails: Some((0, END)) };
    let works = Script { writes, takes: 5, fails: None };
    let mut folders =
        [Simulated::new(hangs.clone(), 1), Simulated::new(works, 2), Simulated::new(hangs, 3)];
    // Its first walk may have to wait until what hangs is known to.
    simulate(&mut folders);
    let worst = folders[1].worst;
    assert!(worst <= STUCK_WALK + s(60), "{worst:?}");
    let late = folders[1].open.len();
    assert!(late <= 1, "{late} writes are not stored");
}
