//! The decision alone, by examples and against a slow and obvious count.

use proptest::prelude::*;

use super::*;

const WINDOW: u64 = 10_000;

fn watching(files: u64, reaction: Reaction) -> MassLoss<u64> {
    let mut losses = MassLoss::default();
    losses.begin(Some(Watch { files, window: WINDOW, reaction }));
    losses
}

fn plainly(losses: &mut MassLoss<u64>, now: u64, file: u64) -> Verdict {
    losses.lose(now, file, b"src/a", |_| panic!("nothing to look at"))
}

#[test]
fn the_file_that_is_too_much_waits_and_so_does_each_after_it() {
    let mut losses = watching(5, Reaction::Freeze);
    for file in 0..4 {
        assert_eq!(plainly(&mut losses, file, file), Verdict::Proceed);
        assert_eq!(losses.alarm(), None);
    }
    for file in 4..7 {
        assert_eq!(plainly(&mut losses, file, file), Verdict::Halt);
        assert!(losses.halts());
    }
    assert_eq!(losses.alarm(), Some(Alarm { files: 5, reaction: Reaction::Freeze }));
}

#[test]
fn a_warning_stops_nothing() {
    let mut losses = watching(2, Reaction::Warn);
    for file in 0..9 {
        assert_eq!(plainly(&mut losses, 0, file), Verdict::Proceed);
    }
    assert_eq!(losses.alarm(), Some(Alarm { files: 9, reaction: Reaction::Warn }));
    assert!(!losses.halts());
}

#[test]
fn without_a_watch_nothing_is_counted() {
    let mut losses = MassLoss::default();
    losses.made(1);
    for file in 0..1000 {
        assert_eq!(plainly(&mut losses, 0, file), Verdict::Proceed);
    }
    assert_eq!((losses.alarm(), losses.own.len()), (None, 0));
}

#[test]
fn what_the_session_made_or_rewrote_counts_no_more() {
    let mut losses = watching(3, Reaction::Freeze);
    for file in 0..100 {
        losses.made(file);
        assert_eq!(plainly(&mut losses, 0, file), Verdict::Proceed);
    }
    assert_eq!(plainly(&mut losses, 0, 200), Verdict::Proceed);
    losses.rewritten(200);
    for _ in 0..100 {
        assert_eq!(plainly(&mut losses, 0, 200), Verdict::Proceed);
    }
    assert_eq!(plainly(&mut losses, 0, 201), Verdict::Proceed);
    assert_eq!(plainly(&mut losses, 0, 202), Verdict::Halt);
    // The next session finds them there.
    losses.begin(losses.watch);
    assert!(!losses.halts());
    for file in 0..2 {
        assert_eq!(plainly(&mut losses, 0, file), Verdict::Proceed);
    }
    assert_eq!(plainly(&mut losses, 0, 2), Verdict::Halt);
}

#[test]
fn who_agrees_agrees_to_this_loss_and_not_to_the_next() {
    let mut losses = watching(2, Reaction::Freeze);
    plainly(&mut losses, 0, 0);
    assert_eq!(plainly(&mut losses, 0, 1), Verdict::Halt);
    losses.agree(60_000);
    let mut now = 60_000;
    for file in 0..1000 {
        now += 50;
        assert_eq!(plainly(&mut losses, now, file), Verdict::Proceed);
    }
    now += WINDOW;
    assert_eq!(plainly(&mut losses, now, 2000), Verdict::Proceed);
    assert_eq!(plainly(&mut losses, now, 2001), Verdict::Halt);
}

#[test]
fn a_regenerable_directory_counts_once() {
    let mut losses = watching(3, Reaction::Freeze);
    let mut looked = 0;
    for file in 0..1000 {
        let verdict = losses.lose(0, file, b"web/node_modules/x/y.js", |found| {
            looked += 1;
            assert_eq!((found.root, found.parent), (&b"web/node_modules"[..], &b"web"[..]));
            true
        });
        assert_eq!(verdict, Verdict::Proceed);
    }
    assert_eq!(looked, 1);
    assert_eq!(losses.recent.len(), 1);
    // One that is none after a look counts file by file …
    for file in 1000..1001 {
        assert_eq!(losses.lose(0, file, b"target/x", |_| false), Verdict::Proceed);
    }
    assert_eq!(losses.lose(0, 1001, b"target/y", |_| true), Verdict::Halt);
}

#[test]
fn what_is_moved_into_a_regenerable_directory_counts_one_by_one() {
    let mut losses = watching(3, Reaction::Freeze);
    losses.moved_in(b"node_modules");
    let mut lose = |file| losses.lose(0, file, b"node_modules/src/x", |_| true);
    assert_eq!((lose(1), lose(2), lose(3)), (Verdict::Proceed, Verdict::Proceed, Verdict::Halt));
}

#[test]
fn only_whole_names_are_regenerable_and_the_outermost_counts() {
    for (path, root) in [
        (&b"node_modules"[..], Some(&b"node_modules"[..])),
        (b"a/target/b/node_modules/c", Some(b"a/target")),
        (b"my_node_modules/a", None),
        (b"node_modules.bak/a", None),
        (b"src/Target/a", None),
        (b"", None),
    ] {
        assert_eq!(regenerable(path).map(|found| found.root), root, "{path:?}");
    }
    assert_eq!(regenerable(b"target/a").map(|found| found.parent), Some(&b""[..]));
    assert!(!regenerable(b"a/venv/b").unwrap().signs.is_empty());
}

#[test]
fn a_halt_is_told_from_every_other_error() {
    assert!(Halted::is(&Halted::error()));
    for other in [std::io::Error::other("halted"), rustix::io::Errno::IO.into()] {
        assert!(!Halted::is(&other));
    }
}

#[derive(Clone, Debug)]
enum Step {
    Lose { file: u64, inside: bool },
    Make(u64),
    Rewrite(u64),
    Pause(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (0..40_u64, prop::bool::weighted(0.2)).prop_map(|(file, inside)| Step::Lose { file, inside }),
        1 => (0..40_u64).prop_map(Step::Make),
        1 => (0..40_u64).prop_map(Step::Rewrite),
        3 => (0..WINDOW).prop_map(Step::Pause),
    ]
}

proptest! {
    /// Never in any window is the threshold reached by what goes through, and nothing is
    /// halted while the window has room.
    #[test]
    fn no_window_ever_holds_too_much(files in 1..8_u64, steps in prop::collection::vec(step(), 0..120)) {
        let mut losses = watching(files, Reaction::Freeze);
        let (mut now, mut own) = (0, std::collections::BTreeSet::new());
        let mut lost: Vec<u64> = Vec::new();
        let mut root_counted: Option<u64> = None;
        for step in steps {
            match step {
                Step::Pause(time) => now += time,
                Step::Make(file) | Step::Rewrite(file) => {
                    losses.made(file);
                    own.insert(file);
                }
                Step::Lose { file, inside } => {
                    let path: &[u8] = if inside { b"node_modules/a" } else { b"src/a" };
                    let verdict = losses.lose(now, file, path, |_| true);
                    if own.contains(&file) {
                        prop_assert_eq!(verdict, Verdict::Proceed);
                        continue;
                    }
                    if inside && root_counted.is_some_and(|at| now - at < WINDOW) {
                        prop_assert_eq!(verdict, Verdict::Proceed);
                        continue;
                    }
                    let within = lost.iter().filter(|at| now - **at < WINDOW).count() as u64;
                    let expected = if within + 1 >= files { Verdict::Halt } else { Verdict::Proceed };
                    prop_assert_eq!(verdict, expected);
                    if verdict == Verdict::Proceed {
                        lost.push(now);
                        root_counted = if inside { Some(now) } else { root_counted };
                    }
                }
            }
        }
    }
}
