//! Which snapshots stay and which may go, each with its reason. Pure: the same
//! snapshots, time, zone and rule give the same answer, in whatever order they come.
//!
//! Time is counted back from the newest snapshot or from now, whichever is earlier: a
//! folder at rest, or a clock set years ahead, lets nothing go. What seems to come from
//! the future is young. So every doubt about the clock keeps snapshots.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::{Keep, Period, Stay};
use crate::history::SnapshotKind;

/// So many sessions, the last ones, keep their opening and closing snapshots.
pub const PROTECTED_SESSIONS: usize = 20;

/// A snapshot as far as the choice needs to know it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// Its id.
    pub id: String,
    /// Its place in the vault's own order, which no clock decides; larger is newer.
    pub order: u64,
    /// When it was taken, as the clock said then.
    pub time: Timestamp,
    /// Why it was taken.
    pub kind: Option<SnapshotKind>,
    /// In which session.
    pub session: Option<String>,
    /// Why it is pinned, if it is.
    pub pinned: Option<String>,
    /// Whether it was read back from disk and found good.
    pub verified: bool,
}

/// The snapshots at both ends of a session. They may have been taken for another
/// reason: where nothing changed a session shares a snapshot with what came before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionEnds {
    /// The session.
    pub session: String,
    /// Ids of its opening and closing snapshots, as far as there are any.
    pub snapshots: Vec<String>,
}

/// Why a snapshot stays.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Why {
    /// It is pinned, with this reason.
    Pinned(String),
    /// It is the newest.
    Newest,
    /// It is the newest that was read back and found good.
    NewestVerified,
    /// No snapshot is known to be good, so none may go.
    NoneVerified,
    /// It is at an end of one of the last sessions.
    Session(String),
    /// It is so young that everything stays.
    Everything,
    /// It is the last of its hour, day, week, …
    Last(Period),
}

/// Why a snapshot may go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Dropped {
    /// A later one of the same hour, day, week, … stays.
    Later {
        /// The period.
        period: Period,
        /// Id of the later one.
        id: String,
    },
    /// It is older than the rule reaches.
    TooOld,
}

/// What becomes of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    /// It stays, for each of these reasons; there is at least one.
    Keep(Vec<Why>),
    /// It may go.
    Drop(Dropped),
}

/// The answer for one snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// The snapshot.
    pub id: String,
    /// What becomes of it.
    pub fate: Fate,
}

impl Decision {
    /// Whether it stays.
    #[must_use]
    pub const fn stays(&self) -> bool {
        matches!(self.fate, Fate::Keep(_))
    }
}

/// Decides about every snapshot; the answers come newest first.
#[must_use]
pub fn choose(
    snapshots: &[Candidate],
    sessions: &[SessionEnds],
    now: Timestamp,
    zone: &TimeZone,
    keep: &Keep,
) -> Vec<Decision> {
    let mut sorted: Vec<&Candidate> = snapshots.iter().collect();
    sorted.sort_by(|a, b| (b.order, &b.id).cmp(&(a.order, &a.id)));
    let Some(newest) = sorted.first() else { return Vec::new() };
    let verified = sorted.iter().find(|snapshot| snapshot.verified);
    let chooser = Chooser {
        keep,
        zone,
        newest: &newest.id,
        verified: verified.map(|snapshot| snapshot.id.as_str()),
        from: now.min(newest.time),
        sessions: protected(&sorted, sessions),
        last: last_of_periods(&sorted, zone, keep),
    };
    sorted
        .into_iter()
        .map(|snapshot| Decision { id: snapshot.id.clone(), fate: chooser.fate(snapshot) })
        .collect()
}

/// The beginning of an hour, day, week, month or year by the local clock. The hour that
/// a clock shows twice in autumn is two hours, told apart by their offset.
type Stretch = (Period, i16, i16, i8, i32);

struct Chooser<'a> {
    keep: &'a Keep,
    zone: &'a TimeZone,
    newest: &'a str,
    verified: Option<&'a str>,
    from: Timestamp,
    /// Snapshots at the ends of the last sessions, with a session's id.
    sessions: BTreeMap<&'a str, &'a str>,
    last: BTreeMap<Stretch, &'a Candidate>,
}

impl Chooser<'_> {
    fn fate(&self, snapshot: &Candidate) -> Fate {
        let mut why = Vec::new();
        why.extend(snapshot.pinned.clone().map(Why::Pinned));
        why.extend((snapshot.id == self.newest).then_some(Why::Newest));
        match self.verified {
            None => why.push(Why::NoneVerified),
            Some(id) if id == snapshot.id => why.push(Why::NewestVerified),
            Some(_) => {}
        }
        let session = self.sessions.get(snapshot.id.as_str());
        why.extend(session.map(|session| Why::Session((*session).to_owned())));
        why.extend(self.reaches(self.keep.everything(), snapshot).then_some(Why::Everything));
        let mut dropped = Dropped::TooOld;
        for (period, stay) in self.keep.steps() {
            if !self.reaches(*stay, snapshot) {
                continue;
            }
            match self.last.get(&stretch(*period, snapshot.time, self.zone)) {
                Some(last) if last.id != snapshot.id => {
                    // The shortest period says it best.
                    if dropped == Dropped::TooOld {
                        dropped = Dropped::Later { period: *period, id: last.id.clone() };
                    }
                }
                _ => why.push(Why::Last(*period)),
            }
        }
        if why.is_empty() { Fate::Drop(dropped) } else { Fate::Keep(why) }
    }

    fn reaches(&self, stay: Stay, snapshot: &Candidate) -> bool {
        let Some(seconds) = stay.seconds() else { return true };
        let age = self.from.as_second().saturating_sub(snapshot.time.as_second());
        age <= seconds
    }
}

/// The last snapshot of every stretch that the rule names.
fn last_of_periods<'a>(
    snapshots: &[&'a Candidate],
    zone: &TimeZone,
    keep: &Keep,
) -> BTreeMap<Stretch, &'a Candidate> {
    let mut last: BTreeMap<Stretch, &Candidate> = BTreeMap::new();
    for snapshot in snapshots {
        for (period, _) in keep.steps() {
            let known = last.entry(stretch(*period, snapshot.time, zone)).or_insert(snapshot);
            let key = |s: &Candidate| (s.time, s.order);
            if key(snapshot) > key(known) {
                *known = snapshot;
            }
        }
    }
    last
}

fn stretch(period: Period, time: Timestamp, zone: &TimeZone) -> Stretch {
    let local = time.to_zoned(zone.clone());
    match period {
        Period::Hour => {
            let offset = local.offset().seconds();
            (period, local.year(), local.day_of_year(), local.hour(), offset)
        }
        Period::Day => (period, local.year(), local.day_of_year(), 0, 0),
        Period::Week => {
            let week = local.date().iso_week_date();
            (period, week.year(), 0, week.week(), 0)
        }
        Period::Month => (period, local.year(), 0, local.month(), 0),
        Period::Year => (period, local.year(), 0, 0, 0),
    }
}

/// The ends of the last sessions. A session is as new as its newest snapshot; sessions
/// that share one, because nothing changed, count together.
fn protected<'a>(
    snapshots: &[&'a Candidate],
    sessions: &'a [SessionEnds],
) -> BTreeMap<&'a str, &'a str> {
    let order: BTreeMap<&str, (u64, &str)> =
        snapshots.iter().map(|s| (s.id.as_str(), (s.order, s.id.as_str()))).collect();
    let mut ends: BTreeMap<&str, BTreeSet<(u64, &str)>> = BTreeMap::new();
    for session in sessions {
        let there = session.snapshots.iter().filter_map(|id| order.get(id.as_str()));
        ends.entry(&session.session).or_default().extend(there);
    }
    // The labels speak for sessions whose records are lost.
    for snapshot in snapshots {
        let end = matches!(snapshot.kind, Some(SnapshotKind::Opening | SnapshotKind::Closing));
        if let (true, Some(session)) = (end, &snapshot.session) {
            let place = order.get(snapshot.id.as_str()).copied();
            ends.entry(session).or_default().extend(place);
        }
    }
    let newest = |ends: &BTreeSet<(u64, &str)>| ends.last().map(|(order, _)| *order);
    let ranks: BTreeSet<u64> = ends.values().filter_map(newest).collect();
    let least = ranks.iter().rev().take(PROTECTED_SESSIONS).next_back().copied();
    let mut protected = BTreeMap::new();
    for (session, ends) in &ends {
        if newest(ends) >= least && least.is_some() {
            protected.extend(ends.iter().map(|(_, id)| (*id, *session)));
        }
    }
    protected
}

#[cfg(test)]
#[path = "choose_tests.rs"]
mod tests;
