//! What the decision looks at, and what follows for machines and folders when something is
//! attached: what may lie where. See `docs/adr/0032-traces.md`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::names::ShownNames;
use super::place::{Place, leads_into};
use super::reach::Reach;
use super::rules::{Ruled, Rules, is_tighter, narrowed};
use super::traces::{Carrier, Traces};
use crate::folder::Access;
use crate::machine::{Limits, Machine};
use crate::name::{FolderId, MachineName, ProfileName, SecretName, SessionId};
use crate::profile::{Network, Profile};

/// A folder that is registered, or was: what it held may still lie somewhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    /// Which folder.
    pub id: FolderId,
    /// Where it is, or was.
    pub place: Place,
}

/// What a session was given.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Granted {
    /// How its folder is visible.
    pub access: Access,
    /// What of it is hidden and protected.
    pub names: ShownNames,
    /// What its machine may reach.
    pub reach: Reach,
    /// The secrets that it may carry, by name.
    #[serde(default)]
    pub secrets: Vec<SecretName>,
    /// What became stricter while it ran, and somebody agreed to.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub agreed: BTreeSet<String>,
}

/// A session that is not over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Open {
    /// Which session; `None` for one that is only thought of.
    pub session: Option<SessionId>,
    /// Where it runs.
    pub machine: MachineName,
    /// Its profile.
    pub profile: ProfileName,
    /// The folder that is attached for it.
    pub folder: Option<FolderId>,
    /// What it was given.
    pub granted: Granted,
}

/// Everything the decision looks at.
#[derive(Debug, Clone, Copy)]
pub struct World<'a> {
    /// Every rule.
    pub rules: Rules<'a>,
    /// Every folder that is, or was, registered. What was seen of any other one is shown to
    /// nobody.
    pub folders: &'a [Known],
    /// Every profile, configured or built in.
    pub profiles: &'a [Profile],
    /// Every machine.
    pub machines: &'a [Machine],
    /// What folders may have been given by sessions.
    pub carried: &'a [Carrier],
    /// Every session that is not over.
    pub open: &'a [Open],
    /// The network that the defaults name.
    pub network: Option<Network>,
    /// The size of a new machine about which no rule says anything.
    pub limits: Limits,
}

/// What may lie where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// On the disks of machines.
    pub machines: BTreeMap<MachineName, Traces>,
    /// In folders.
    pub carried: Vec<Carrier>,
}

impl<'a> World<'a> {
    pub(crate) fn known(&self, id: &FolderId) -> Option<&'a Known> {
        self.folders.iter().find(|known| known.id == *id)
    }

    pub(crate) fn profile(&self, name: &ProfileName) -> Option<&'a Profile> {
        self.profiles.iter().find(|profile| profile.name == *name)
    }

    /// The rules of all that may lie in traces.
    pub(crate) fn rules_of<'t>(&self, traces: &'t Traces) -> impl Iterator<Item = &'a Ruled> + 't
    where
        'a: 't,
    {
        let world = *self;
        let known = move |(id, hidden)| Some((world.known(id)?, hidden));
        let rules = self.rules;
        traces
            .iter()
            .filter_map(known)
            .flat_map(move |(known, hidden)| rules.touching(&known.place, hidden))
    }

    /// What in traces a profile may not meet, in words; `None`: it may meet all of it.
    pub(crate) fn obstacle(&self, traces: &Traces, profile: &Profile) -> Option<String> {
        if let Some(id) = traces.folders().find(|id| self.known(id).is_none()) {
            return Some(format!("a folder that nothing is known about any more ({id})"));
        }
        let ruled = self.rules_of(traces).find(|ruled| !ruled.admits(profile))?;
        Some(format!("{}, which profile {} may not see", ruled.place.path.display(), profile.name))
    }

    /// What a folder may hold, of which some is hidden: itself, and what sessions may have
    /// left in it, around it and in what lies in it.
    pub(crate) fn contents(
        carried: &[Carrier],
        folder: &Known,
        hidden: &BTreeSet<PathBuf>,
    ) -> Traces {
        let mut contents = Traces::of(&folder.id, hidden);
        for carrier in Self::carriers(carried, &folder.place, hidden) {
            contents.add(&carrier.holds);
        }
        contents
    }

    /// The writable folders of which something is visible in a place: it, those around it, and
    /// those in it that are not hidden.
    pub(crate) fn carriers<'c>(
        carried: &'c [Carrier],
        place: &Place,
        hidden: &BTreeSet<PathBuf>,
    ) -> impl Iterator<Item = &'c Carrier> {
        carried.iter().filter(|carrier| {
            let ways = place.ways_to(&carrier.place);
            ways.iter().any(|way| !leads_into(way, hidden)) || carrier.place.holds(place)
        })
    }

    /// What is hidden of a folder, and what is only readable in it, because more is said about
    /// what lies in it than about the folder. Whoever may write takes nothing there that not
    /// all who see the folder may see.
    pub(crate) fn view(
        &self,
        carried: &[Carrier],
        place: &Place,
        profile: &Profile,
        access: Access,
    ) -> ShownNames {
        let mut names = self.rules.names(place);
        // What a folder says about itself narrows it, and so could make what lies in it look no
        // stricter than it, or harmless to see: only what the person says opens that.
        let around = || self.rules.by_person_around(place);
        let reach = |other: &Profile| narrowed(self.asked(other), around(), &other.allow);
        let in_folder: Vec<&Profile> = self
            .profiles
            .iter()
            .filter(|other| around().all(|ruled| ruled.admits(other)))
            .collect();
        let said = around().map(|ruled| ruled.rules.access).min().unwrap_or_default();
        let by_hint = said != self.rules.access(place);
        let writes_nothing = access == Access::Ro && !by_hint;
        let for_all = |may: &dyn Fn(&Profile) -> bool| {
            may(profile) && (writes_nothing || in_folder.iter().all(|other| may(other)))
        };
        for (ways, ruled) in self.rules.within(place) {
            let open_to =
                |other: &Profile| ruled.admits(other) && !is_tighter(ruled, || reach(other), other);
            if !for_all(&open_to) {
                names.hidden.extend(ways);
            } else if ruled.rules.access == Access::Ro {
                names.read_only.extend(ways);
            }
        }
        for carrier in carried.iter().filter(|carrier| !carrier.place.holds(place)) {
            let ways = place.ways_to(&carrier.place);
            let may = |other: &Profile| self.obstacle(&carrier.holds, other).is_none();
            if !ways.is_empty() && !for_all(&may) {
                names.hidden.extend(ways);
            }
        }
        names
    }

    /// The network that a profile has where no folder says anything.
    pub(crate) fn asked(&self, profile: &Profile) -> Reach {
        let said = profile.network.into_iter().chain(self.network).min();
        Reach::new(said.unwrap_or_default(), &profile.allow)
    }

    /// The widest network of a machine on whose disk this may lie, where no profile runs that
    /// has a list of its own.
    #[must_use]
    pub fn ceiling(&self, traces: &Traces) -> Reach {
        narrowed(Reach::EVERYTHING, self.rules_of(traces), &[])
    }

    /// What may lie where once every session that is not over, and one more, did all that it
    /// can: each machine has what its folders hold, each writable folder what its machines hold.
    #[must_use]
    pub fn spread(&self, one_more: Option<&Open>) -> Held {
        let machines = self.machines.iter().map(|machine| (machine.name.clone(), &machine.seen));
        let mut held = Held {
            machines: machines.map(|(name, seen)| (name, seen.clone())).collect(),
            carried: self.carried.to_vec(),
        };
        if let Some(open) = one_more {
            held.machines.entry(open.machine.clone()).or_default();
        }
        loop {
            let before = held.clone();
            for open in self.open.iter().chain(one_more) {
                let known = open.folder.as_ref().and_then(|id| self.known(id));
                if let Some(folder) = known {
                    held.flow(folder, open);
                }
            }
            if held == before {
                return held;
            }
        }
    }

    /// Whether a profile may be shown a folder that holds what it holds, in its own view.
    pub(crate) fn could_see(&self, carried: &[Carrier], folder: &Known, profile: &Profile) -> bool {
        self.rules.admit(&folder.place, profile) && {
            let hidden = self.view(carried, &folder.place, profile, Access::Rw).hidden;
            self.obstacle(&Self::contents(carried, folder, &hidden), profile).is_none()
        }
    }
}

impl Held {
    /// One session's part.
    fn flow(&mut self, folder: &Known, open: &Open) {
        let contents = World::contents(&self.carried, folder, &open.granted.names.hidden);
        let machine = self.machines.entry(open.machine.clone()).or_default();
        machine.add(&contents);
        if open.granted.access == Access::Ro {
            return;
        }
        match self.carried.iter_mut().find(|carrier| carrier.place == folder.place) {
            Some(carrier) => carrier.holds.add(machine),
            None => {
                let holds = machine.clone();
                self.carried.push(Carrier { place: folder.place.clone(), holds });
            }
        }
    }
}
