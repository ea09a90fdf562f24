//! Whether a folder suddenly lost most of what it held. Pure.
//!
//! A snapshot of an emptied folder is a snapshot like any other, and with time it would be
//! the only one left. So the last full one is kept, and somebody is told, until a person
//! says that it is right or the files are back.

use jiff::{SignedDuration, Timestamp};

use crate::store::{Fullest, Shrunken};

/// What was lost so long ago was not lost suddenly.
const SUDDEN: SignedDuration = SignedDuration::from_hours(24);
/// Fewer files gone are daily work, unless none is left.
const FEW: u64 = 20;

/// A snapshot as far as it matters here.
#[derive(Debug, Clone, Copy)]
pub(super) struct Counted<'a> {
    pub(super) snapshot: &'a str,
    pub(super) files: u64,
    pub(super) at: Timestamp,
}

/// What is to be remembered after a snapshot: the fullest state of late, and the alarm.
pub(super) fn judge(
    fullest: Option<Fullest>,
    alarm: Option<Shrunken>,
    now: Counted<'_>,
) -> (Option<Fullest>, Option<Shrunken>) {
    let this = Fullest { snapshot: now.snapshot.to_owned(), files: now.files, at: now.at };
    if let Some(alarm) = alarm {
        // It stays until the files are back; what it is compared with stays as well.
        let full = Fullest { snapshot: alarm.snapshot.clone(), files: alarm.files, at: alarm.at };
        return if shrank(&full, now.files) {
            (Some(full), Some(Shrunken { left: now.files, ..alarm }))
        } else {
            (Some(this), None)
        };
    }
    match fullest {
        Some(full) if shrank(&full, now.files) && !is_old(&full, now.at) => {
            let alarm = Shrunken {
                snapshot: full.snapshot.clone(),
                files: full.files,
                at: full.at,
                left: now.files,
                noticed: now.at,
            };
            (Some(full), Some(alarm))
        }
        Some(full) if now.files < full.files && !is_old(&full, now.at) => (Some(full), None),
        _ => (Some(this), None),
    }
}

fn shrank(full: &Fullest, left: u64) -> bool {
    let gone = full.files.saturating_sub(left);
    (left == 0 && gone > 0) || (gone >= FEW && left < full.files / 2)
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
            let at = Timestamp::from_second(hour * 3600).expect("a time");
            let name = format!("{hour}:{files}");
            let now = Counted { snapshot: &name, files, at };
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
