//! Whether a folder suddenly lost most of what it held. Pure.
//!
//! A snapshot of an emptied folder is a snapshot like any other, and with time it would be
//! the only one left. So the last full one is kept, and somebody is told, until a person
//! says that it is right or the files are back.

use jiff::{SignedDuration, Timestamp};

use crate::store::{Fullest, Held, Shrunken};

/// What was lost so long ago was not lost suddenly.
const SUDDEN: SignedDuration = SignedDuration::from_hours(24);
/// Fewer files gone are daily work, unless none is left.
const FEW: u64 = 20;
/// Nor is a loss of fewer bytes than this worth an alarm while the files are there.
const LITTLE: u64 = 256 * 1024 * 1024;

/// A snapshot as far as it matters here.
#[derive(Debug, Clone, Copy)]
pub(super) struct Counted<'a> {
    pub(super) snapshot: &'a str,
    pub(super) held: Held,
    pub(super) at: Timestamp,
}

/// What is to be remembered after a snapshot: the fullest state of late, and the alarm.
pub(super) fn judge(
    fullest: Option<Fullest>,
    alarm: Option<Shrunken>,
    now: Counted<'_>,
) -> (Option<Fullest>, Option<Shrunken>) {
    let this = Fullest { snapshot: now.snapshot.to_owned(), held: now.held, at: now.at };
    let (left, left_bytes) = (now.held.files, now.held.bytes);
    if let Some(alarm) = alarm {
        // It stays until the files are back; what it is compared with stays as well.
        let full = Fullest { snapshot: alarm.snapshot.clone(), held: alarm.held, at: alarm.at };
        return if shrank(full.held, now.held) {
            (Some(full), Some(Shrunken { left, left_bytes, ..alarm }))
        } else {
            (Some(this), None)
        };
    }
    match fullest {
        Some(full) if shrank(full.held, now.held) && !is_old(&full, now.at) => {
            let alarm = Shrunken {
                snapshot: full.snapshot.clone(),
                held: full.held,
                at: full.at,
                left,
                left_bytes,
                noticed: now.at,
            };
            (Some(full), Some(alarm))
        }
        Some(full) if is_less(now.held, full.held) && !is_old(&full, now.at) => (Some(full), None),
        _ => (Some(this), None),
    }
}

fn shrank(full: Held, left: Held) -> bool {
    let gone = full.files.saturating_sub(left.files);
    let bytes_gone = full.bytes.saturating_sub(left.bytes);
    (left.files == 0 && gone > 0)
        || (gone >= FEW && left.files < full.files / 2)
        || (bytes_gone >= LITTLE && left.bytes < full.bytes / 2)
}

/// Whether one of the two became less: what is still larger in the other way would hide
/// a loss in steps.
const fn is_less(now: Held, full: Held) -> bool {
    now.files < full.files || now.bytes < full.bytes
}

fn is_old(full: &Fullest, now: Timestamp) -> bool {
    let age = now.duration_since(full.at);
    // A clock that went back makes nothing old.
    age > SUDDEN
}

#[cfg(test)]
mod tests {
    use super::*;

    struct World(Option<Fullest>, Option<Shrunken>);

    impl World {
        fn snapshot(&mut self, hour: i64, files: u64) -> Option<(String, u64)> {
            self.holding(hour, Held { files, bytes: files })
        }

        fn holding(&mut self, hour: i64, held: Held) -> Option<(String, u64)> {
            let at = Timestamp::from_second(hour * 3600).expect("a time");
            let name = format!("{hour}:{}", held.files);
            let now = Counted { snapshot: &name, held, at };
            (self.0, self.1) = judge(self.0.take(), self.1.take(), now);
            self.1.as_ref().map(|alarm| (alarm.snapshot.clone(), alarm.left))
        }
    }

    #[test]
    fn an_emptied_folder_keeps_its_last_full_snapshot_until_the_files_are_back() {
        let mut world = World(None, None);
        assert_eq!(world.snapshot(0, 100), None);
        assert_eq!(world.snapshot(1, 90), None);
        // In steps as well: each is compared with the fullest of the day.
        assert_eq!(world.snapshot(2, 60), None);
        assert_eq!(world.snapshot(3, 49), Some(("0:100".into(), 49)));
        assert_eq!(world.snapshot(4, 0), Some(("0:100".into(), 0)));
        assert_eq!(world.snapshot(400, 0), Some(("0:100".into(), 0)), "it does not go by itself");
        assert_eq!(world.snapshot(401, 100), None);
        assert_eq!(world.snapshot(402, 0), Some(("401:100".into(), 0)));
    }

    #[test]
    fn files_that_lost_what_was_in_them_are_noticed_though_they_are_all_there() {
        let mut world = World(None, None);
        let mib = |mib: u64| Held { files: 10, bytes: mib << 20 };
        assert_eq!(world.holding(0, mib(1000)), None);
        assert_eq!(world.holding(1, Held { files: 11, ..mib(600) }), None, "more, and less");
        assert_eq!(world.holding(2, mib(499)), Some(("0:10".into(), 10)));
        assert_eq!(world.holding(3, mib(900)), None);
        let mut world = World(None, None);
        assert_eq!(world.holding(0, mib(300)), None);
        assert_eq!(world.holding(1, mib(50)), None, "a build directory was cleaned");
        assert_eq!(world.holding(2, mib(40)), Some(("0:10".into(), 10)), "enough is enough");
    }

    #[test]
    fn daily_work_and_slow_change_are_no_alarm() {
        let mut world = World(None, None);
        for (hour, files) in [(0, 0), (1, 30), (2, 11), (3, 15), (30, 9), (60, 5), (90, 1)] {
            assert_eq!(world.snapshot(hour, files), None, "{hour}");
        }
        assert_eq!(world.snapshot(91, 0), Some(("90:1".into(), 0)), "nothing at all is left");
        let mut world = World(None, None);
        assert_eq!(world.snapshot(50, 100), None);
        assert_eq!(world.snapshot(-90, 10), Some(("50:100".into(), 10)), "the clock went back");
    }
}
