//! The admission decision: may this profile see this folder, in which machine, and how?
//! A pure function over rules, what may lie where, and running sessions (`docs/adr/0032-traces.md`).
//!
//! Must not: gather a fact. Whoever asks writes down what an answer says before anything can
//! be seen.

mod names;
mod others;
mod place;
mod reach;
mod rules;
mod stricter;
mod traces;
mod world;

use std::collections::BTreeSet;

use crate::config::HINT_FILE;
use crate::folder::Access;
use crate::machine::{Limits, Machine};
use crate::name::{FolderId, MachineName, RecipeName, SecretName};
use crate::profile::{Network, Profile};

pub use names::{Placed, ShownNames};
pub use place::{Place, Volume};
pub use reach::Reach;
pub use rules::{Ruled, Rules, Said};
pub use stricter::stricter;
pub use traces::{Carrier, Traces};
pub use world::{Granted, Held, Known, Open, World};

use others::{carried_over, met_by_others};
use place::leads_into;
use rules::narrowed;

/// What is asked for.
#[derive(Debug, Clone)]
pub struct Request<'a> {
    /// The folder, if any.
    pub folder: Option<&'a FolderId>,
    /// Where in the folder the command starts.
    pub directory: Option<&'a Place>,
    /// The profile.
    pub profile: &'a Profile,
    /// The machine that the person named.
    pub machine: Option<&'a MachineName>,
    /// The name of a machine that is made for this.
    pub new_machine: &'a MachineName,
    /// The network that the person named. It only narrows.
    pub network: Option<Network>,
}

/// A yes, with what follows from it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admitted {
    /// An existing machine that serves, or `None`: make one.
    pub machine: Option<MachineName>,
    /// What the session is given.
    pub granted: Granted,
    /// How large a machine that is made may be.
    pub limits: Limits,
    /// What may lie where from now on. Written down before a byte can be seen.
    pub held: Held,
    /// Why another machine than the person would expect is used, in one sentence.
    pub because: Option<String>,
    /// What else the person should know, in one sentence each.
    pub notes: Vec<String>,
}

/// A no: every reason, and what the person can do.
#[derive(Debug, Clone, Default, PartialEq, Eq, thiserror::Error)]
#[error("{}", reasons.join("; "))]
pub struct Refused {
    /// Why not. Never empty.
    pub reasons: Vec<String>,
    /// What the person can do.
    pub ways_out: Vec<String>,
}

impl Refused {
    fn add(&mut self, reason: String, way_out: String) {
        self.reasons.push(reason);
        if !self.ways_out.contains(&way_out) {
            self.ways_out.push(way_out);
        }
    }
}

/// Decides. See the module's header.
///
/// # Errors
/// The reasons for a refusal and the ways out.
pub fn admit(world: &World<'_>, request: &Request<'_>) -> Result<Admitted, Refused> {
    let asking = Asking::new(world, request)?;
    let offered = request.profile.limits.cap(world.limits);
    let limits = asking.folder.map_or(offered, |folder| world.rules.limits(&folder.place, offered));
    let named = request.machine.map(|name| world.machines.iter().find(|m| m.name == *name));
    let mut passed_over = Vec::new();
    if let Some(Some(machine)) = named {
        return match asking.or_read_only(Some(machine)) {
            Ok(served) => Ok(served.admitted(Some(machine.name.clone()), limits, None)),
            Err(reasons) => {
                let name = &machine.name;
                let of_machine = |reason| format!("machine {name} cannot be used: {reason}");
                Err(Refused {
                    reasons: reasons.into_iter().map(of_machine).collect(),
                    ways_out: vec![format!(
                        "leave out --machine and another machine is used, or: ringfence machine delete {name}"
                    )],
                })
            }
        };
    }
    if named.is_none() {
        for machine in own_machines(world, request) {
            match asking.in_machine(Some(machine), asking.access) {
                Ok(served) => {
                    return Ok(served.admitted(
                        Some(machine.name.clone()),
                        limits,
                        because(passed_over),
                    ));
                }
                Err(reasons) => passed_over.push((&machine.name, reasons.join("; "))),
            }
        }
        // Somebody who has a machine that could serve may wonder why it does not.
        for machine in world.machines.iter().filter(|other| other.folder.as_ref() != request.folder)
        {
            if let Some(obstacle) = world.obstacle(&machine.seen, request.profile) {
                passed_over.push((&machine.name, format!("it has seen {obstacle}")));
            }
        }
    }
    match asking.or_read_only(None) {
        Ok(served) => Ok(served.admitted(None, limits, because(passed_over))),
        Err(reasons) => Err(Refused {
            reasons,
            ways_out: vec!["end the sessions that stand against it: ringfence session list".into()],
        }),
    }
}

/// The machines of the folder: one made for this very recipe comes first, then the oldest.
fn own_machines<'a>(world: &World<'a>, request: &Request<'_>) -> Vec<&'a Machine> {
    let mut own: Vec<&Machine> = world
        .machines
        .iter()
        .filter(|machine| machine.folder.as_ref() == request.folder && machine.folder.is_some())
        .collect();
    own.sort_by_key(|machine| (machine.recipe != request.profile.recipe, machine.created));
    own
}

fn because(passed_over: Vec<(&MachineName, String)>) -> Option<String> {
    let sentences: Vec<String> = passed_over
        .into_iter()
        .map(|(name, why)| format!("not in machine {name}: {why}"))
        .collect();
    (!sentences.is_empty()).then(|| sentences.join(" · "))
}

/// A request that no rule of the folder itself refuses.
struct Asking<'a> {
    world: &'a World<'a>,
    request: &'a Request<'a>,
    folder: Option<&'a Known>,
    /// How the folder is visible at most.
    access: Access,
}

/// A machine that may serve, and how.
struct Served {
    granted: Granted,
    held: Held,
    notes: Vec<String>,
}

impl Served {
    fn admitted(
        self,
        machine: Option<MachineName>,
        limits: Limits,
        because: Option<String>,
    ) -> Admitted {
        let Self { granted, held, notes } = self;
        Admitted { machine, granted, limits, held, because, notes }
    }
}

impl<'a> Asking<'a> {
    fn new(world: &'a World<'a>, request: &'a Request<'a>) -> Result<Self, Refused> {
        let mut no = Refused::default();
        let folder = request.folder.map(|id| {
            world.known(id).ok_or_else(|| Refused {
                reasons: vec![format!("folder {id} is not registered")],
                ways_out: vec!["ringfence folder add DIR".into()],
            })
        });
        let folder = folder.transpose()?;
        let Some(known) = folder else {
            return Ok(Self { world, request, folder, access: Access::Ro });
        };
        let profile = request.profile;
        let start = request.directory.unwrap_or(&known.place);
        for ruled in world.rules.around(start).filter(|ruled| !ruled.admits(profile)) {
            refuse_by_rule(&mut no, ruled, profile);
        }
        let access = world.rules.access(&known.place);
        let hidden = world.view(world.carried, &known.place, profile, access).hidden;
        for carrier in World::carriers(world.carried, &known.place, &hidden) {
            if no.reasons.is_empty()
                && let Some(obstacle) = world.obstacle(&carrier.holds, profile)
            {
                let path = carrier.place.path.display();
                no.add(
                    format!("{path} may hold something of {obstacle}: a session that had seen it could write there"),
                    format!("look at what is in {path}, then: ringfence folder approve {path} --contents"),
                );
            }
        }
        let inside = known.place.ways_to(start);
        if no.reasons.is_empty() && inside.iter().any(|way| leads_into(way, &hidden)) {
            let (path, start) = (known.place.path.display(), start.path.display());
            no.add(
                format!("{start} is hidden in {path}, because its rule is stricter"),
                format!("make it a folder of its own: ringfence folder add {start}"),
            );
        }
        if no.reasons.is_empty() { Ok(Self { world, request, folder, access }) } else { Err(no) }
    }

    /// As the rules allow in this machine, or else only to be read.
    fn or_read_only(&self, machine: Option<&Machine>) -> Result<Served, Vec<String>> {
        let reasons = match self.in_machine(machine, self.access) {
            Ok(served) => return Ok(served),
            Err(reasons) if self.access == Access::Ro => return Err(reasons),
            Err(reasons) => reasons,
        };
        let Ok(mut served) = self.in_machine(machine, Access::Ro) else { return Err(reasons) };
        served
            .notes
            .push(format!("the folder is read-only in this session: {}", reasons.join("; ")));
        Ok(served)
    }

    /// What follows in one machine, or in a new one; every reason why not.
    fn in_machine(&self, machine: Option<&Machine>, access: Access) -> Result<Served, Vec<String>> {
        let (world, profile) = (self.world, self.request.profile);
        let mut no = machine.map_or_else(Vec::new, |machine| self.unfit(machine));
        let names = self.folder.map_or_else(ShownNames::default, |folder| {
            world.view(world.carried, &folder.place, profile, access)
        });
        let name = machine.map_or(self.request.new_machine, |machine| &machine.name);
        let granted = Granted {
            access,
            names,
            reach: Reach::EVERYTHING,
            secrets: Vec::new(),
            agreed: BTreeSet::new(),
        };
        let mut open = Open {
            session: None,
            machine: name.clone(),
            profile: profile.name.clone(),
            folder: self.request.folder.cloned(),
            granted,
        };
        let (before, after) = (world.spread(None), world.spread(Some(&open)));
        let traces = after.machines.get(name).cloned().unwrap_or_default();
        if let Some(obstacle) = world.obstacle(&traces, profile) {
            no.push(format!("it has seen {obstacle}"));
        }
        no.extend(self.beside(&open));
        no.extend(self.secrets_beside(&traces, name));
        no.extend(met_by_others(world, &before, &after, &open.machine));
        no.extend(carried_over(world, &before, &after, &open));
        let reach = match self.reach(&traces, &open.machine) {
            Ok(reach) => reach,
            Err(reason) => {
                no.push(reason);
                Reach::EVERYTHING
            }
        };
        if !no.is_empty() {
            return Err(no);
        }
        let allowed = |name: &&SecretName| world.rules_of(&traces).all(|ruled| ruled.lets(name));
        open.granted.secrets = profile.secrets.iter().filter(allowed).cloned().collect();
        open.granted.reach = reach;
        let notes = self.notes(&open.granted);
        Ok(Served { granted: open.granted, held: after, notes })
    }

    /// Why a machine cannot serve, whatever it has seen.
    fn unfit(&self, machine: &Machine) -> Vec<String> {
        let mut no = Vec::new();
        if let Some(recipe) = missing_recipe(machine, self.request.profile) {
            no.push(format!("{recipe} is not installed in it"));
        }
        let own = self.request.profile.limits.cap(machine.limits);
        let most = self.folder.map_or(own, |folder| self.world.rules.limits(&folder.place, own));
        if most != machine.limits {
            no.push(format!(
                "it is larger than the rules allow: at most {} processors, {} of memory and a disk of {}",
                most.cpus, most.memory, most.disk
            ));
        }
        no
    }

    /// Why a folder cannot be attached beside what sessions have attached there.
    fn beside(&self, open: &Open) -> Option<String> {
        let folder = self.folder?;
        let there = self.world.open.iter().filter(|other| other.machine == open.machine);
        for other in there {
            let Some(known) = other.folder.as_ref().and_then(|id| self.world.known(id)) else {
                continue;
            };
            let path = known.place.path.display();
            if known.id == folder.id {
                let given = |open: &Open| (open.granted.access, open.granted.names.clone());
                if given(other) != given(open) {
                    return Some(format!(
                        "a session has {path} there, and sees or writes other parts of it"
                    ));
                }
            } else if known.place.holds(&folder.place) || folder.place.holds(&known.place) {
                return Some(format!("a session has {path} there, and one lies in the other"));
            }
        }
        None
    }

    /// A secret that a session has there, and that a rule of what comes with this one leaves out:
    /// who is root inside reads what every session has.
    fn secrets_beside(&self, traces: &Traces, name: &MachineName) -> Option<String> {
        let there = self.world.open.iter().filter(|other| other.machine == *name);
        let left_out =
            |secret: &&SecretName| self.world.rules_of(traces).any(|ruled| !ruled.lets(secret));
        let secret = there.flat_map(|other| &other.granted.secrets).find(left_out)?;
        Some(format!(
            "a session runs there with secret {secret}, which the rule of a folder leaves out"
        ))
    }

    /// The network: the narrower of what is allowed and what is asked for; where sessions run,
    /// the one that they have.
    fn reach(&self, traces: &Traces, name: &MachineName) -> Result<Reach, String> {
        let (world, profile) = (self.world, self.request.profile);
        let mut reach = narrowed(world.asked(profile), world.rules_of(traces), &profile.allow);
        if let Some(asked) = self.request.network {
            reach = reach.and(&Reach::new(asked, &profile.allow));
        }
        for other in world.open.iter().filter(|other| other.machine == *name) {
            let there = &other.granted.reach;
            if !there.is_within(&reach) {
                return Err(format!(
                    "a session runs there with the network `{}`, and this one may only have `{}`",
                    there.network.as_str(),
                    reach.network.as_str()
                ));
            }
            reach = there.clone();
        }
        Ok(reach)
    }

    fn notes(&self, granted: &Granted) -> Vec<String> {
        let (world, profile) = (self.world, self.request.profile);
        let mut notes = Vec::new();
        let wanted = self.request.network.or(profile.network).or(world.network).unwrap_or_default();
        if granted.reach.network < wanted {
            notes.push(format!(
                "the network is `{}` and not `{}`: the strictest rule counts, and nothing widens it",
                granted.reach.network.as_str(),
                wanted.as_str()
            ));
        }
        for name in profile.secrets.iter().filter(|name| !granted.secrets.contains(name)) {
            notes.push(format!("secret {name} stays out: the rule of a folder here leaves it out"));
        }
        let path = self.folder.map(|folder| folder.place.path.as_path());
        for way in &granted.names.hidden {
            let path = path.map(|path| path.join(way)).unwrap_or_default();
            notes.push(format!("{} is hidden: its rule is stricter", path.display()));
        }
        notes
    }
}

fn missing_recipe<'a>(machine: &Machine, profile: &'a Profile) -> Option<&'a RecipeName> {
    profile.recipe.as_ref().filter(|recipe| machine.recipe.as_ref() != Some(recipe))
}

fn refuse_by_rule(no: &mut Refused, ruled: &Ruled, profile: &Profile) {
    let (path, name) = (ruled.place.path.display(), &profile.name);
    if ruled.said == Said::Hint {
        no.add(
            format!("profile {name} may not see {path}: its {HINT_FILE} says so, which you approved"),
            format!("use another profile, or change that file, then: ringfence folder approve {path} --hint"),
        );
        return;
    }
    let denied = ruled.rules.deny.iter().find(|selector| selector.selects(profile));
    if let Some(selector) = denied {
        no.add(
            format!("profile {name} may not see {path}: its rule denies {selector}"),
            "use another profile, or change the rule: ringfence config edit".into(),
        );
        return;
    }
    let allowed: BTreeSet<String> =
        ruled.rules.profiles.iter().flatten().map(ToString::to_string).collect();
    let allowed: Vec<String> = allowed.into_iter().collect();
    let names = if allowed.is_empty() { "no profile".to_owned() } else { allowed.join(", ") };
    let wider: Vec<String> = allowed.into_iter().chain([name.to_string()]).collect();
    no.add(
        format!("profile {name} may not see {path}; its rule allows {names}"),
        format!(
            "use another profile, or: ringfence folder set {path} --profiles {}",
            wider.join(",")
        ),
    );
}

#[cfg(test)]
mod hint_tests;
#[cfg(test)]
mod sequence_tests;
#[cfg(test)]
mod test_world;
#[cfg(test)]
#[path = "admit/admit_tests.rs"]
mod tests;
