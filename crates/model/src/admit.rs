//! The admission decision: may this profile see this folder, and in which machine?
//! A pure function over rules and what machines remember (`safety.md`, section Folders).

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::folder::{Access, FolderRules};
use crate::machine::Machine;
use crate::name::{FolderId, MachineName, ProfileName, RecipeName};
use crate::profile::{Network, Profile};

/// A registered folder with its rules in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuledFolder {
    /// Which folder.
    pub id: FolderId,
    /// What is said about it.
    pub rules: FolderRules,
}

impl RuledFolder {
    fn admits(&self, profile: &Profile) -> bool {
        self.rules
            .profiles
            .as_ref()
            .is_none_or(|selectors| selectors.iter().any(|selector| selector.selects(profile)))
    }
}

/// Everything the decision looks at.
#[derive(Debug, Clone)]
pub struct World<'a> {
    /// Every registered folder. A folder that a machine has seen and that is missing
    /// here is unknown: nobody may be shown what it held.
    pub folders: &'a [RuledFolder],
    /// Every profile, configured or built in.
    pub profiles: &'a [Profile],
    /// Every machine.
    pub machines: &'a [Machine],
    /// Profiles of the sessions that are not over, by machine.
    pub running: &'a [(MachineName, ProfileName)],
}

/// What is asked for.
#[derive(Debug, Clone)]
pub struct Request<'a> {
    /// The folder, if any.
    pub folder: Option<&'a FolderId>,
    /// The profile.
    pub profile: &'a Profile,
    /// The machine that the person named.
    pub machine: Option<&'a MachineName>,
    /// The network that the person named.
    pub network: Option<Network>,
    /// The network where neither profile nor person says.
    pub default_network: Network,
}

/// A yes, with what follows from it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Admitted {
    /// An existing machine that may serve, or `None`: make one.
    pub machine: Option<MachineName>,
    /// How the folder is attached.
    pub access: Access,
    /// The network: the narrower of what is allowed and what is asked for.
    pub network: Network,
    /// Why another machine than the person would expect is used, in one sentence each.
    pub notes: Vec<String>,
}

/// A no, with the reason and the way out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct Refused {
    /// Why not.
    pub reason: String,
    /// What the person can do.
    pub way_out: String,
}

/// Decides. See the module's header.
///
/// # Errors
/// The reason for a refusal and the way out.
pub fn admit(world: &World<'_>, request: &Request<'_>) -> Result<Admitted, Refused> {
    let folder = match request.folder {
        Some(id) => Some(find(world, id).ok_or_else(|| Refused {
            reason: format!("folder {id} is not registered"),
            way_out: "ringfence folder add DIR".into(),
        })?),
        None => None,
    };
    if let Some(folder) = folder.filter(|folder| !folder.admits(request.profile)) {
        return Err(refused_by_rule(folder, request.profile));
    }
    let access = folder.map_or(Access::Ro, |folder| folder.rules.access);
    let profile_network = request.profile.network.unwrap_or(request.default_network);
    let network = request.network.map_or(profile_network, |asked| asked.min(profile_network));
    let mut notes = Vec::new();
    if request.network.is_some_and(|asked| asked > profile_network) {
        notes.push(format!(
            "profile {} has the network `{}`; nothing on the command line widens it",
            request.profile.name,
            profile_network.as_str()
        ));
    }

    if let Some(name) = request.machine {
        let Some(machine) = world.machines.iter().find(|machine| machine.name == *name) else {
            return Ok(Admitted { machine: None, access, network, notes });
        };
        return match objection(world, request, folder, machine) {
            None => Ok(Admitted { machine: Some(name.clone()), access, network, notes }),
            Some(reason) => Err(Refused {
                reason: format!("machine {name} cannot be used: {reason}"),
                way_out: format!(
                    "leave out --machine and another machine is used, or: ringfence machine delete {name}"
                ),
            }),
        };
    }
    let mut own: Vec<&Machine> = world
        .machines
        .iter()
        .filter(|machine| machine.folder.as_ref() == request.folder && machine.folder.is_some())
        .collect();
    // The machine that was made for this very recipe comes first, then the oldest.
    own.sort_by_key(|machine| (machine.recipe != request.profile.recipe, machine.created));
    for machine in own {
        match objection(world, request, folder, machine) {
            None => {
                return Ok(Admitted {
                    machine: Some(machine.name.clone()),
                    access,
                    network,
                    notes,
                });
            }
            Some(reason) => notes.push(format!("not in machine {}: {reason}", machine.name)),
        }
    }
    Ok(Admitted { machine: None, access, network, notes })
}

/// Why a machine may not serve a request; `None` when it may.
fn objection(
    world: &World<'_>,
    request: &Request<'_>,
    folder: Option<&RuledFolder>,
    machine: &Machine,
) -> Option<String> {
    if let Some(recipe) = missing_recipe(machine, request.profile) {
        return Some(format!("{recipe} is not installed in it"));
    }
    // What the machine has seen can be on its disk: the profile must be allowed all of it.
    for id in &machine.seen {
        match find(world, id) {
            None => {
                return Some(format!(
                    "it has seen a folder ({id}) that is not registered any more"
                ));
            }
            Some(seen) if !seen.admits(request.profile) => {
                return Some(format!(
                    "it has seen {}, which profile {} may not see",
                    seen.rules.path.display(),
                    request.profile.name
                ));
            }
            Some(_) => {}
        }
    }
    let folder = folder?;
    // Sessions side by side see each other's folders through the machine.
    for (name, other) in world.running.iter().filter(|(name, _)| *name == machine.name) {
        let other = world.profiles.iter().find(|profile| profile.name == *other);
        if !other.is_some_and(|other| folder.admits(other)) {
            return Some(format!("a session runs in {name} that may not see this folder"));
        }
    }
    // A writable folder carries data to whoever may see it later.
    if folder.rules.access == Access::Rw {
        for id in machine.seen.iter().filter(|id| **id != folder.id) {
            let narrower = find(world, id).is_none_or(|seen| {
                world.profiles.iter().any(|profile| folder.admits(profile) && !seen.admits(profile))
            });
            if narrower {
                return Some(
                    "it has seen a folder with stricter rules, whose content could be carried over"
                        .into(),
                );
            }
        }
    }
    None
}

fn missing_recipe<'a>(machine: &Machine, profile: &'a Profile) -> Option<&'a RecipeName> {
    profile.recipe.as_ref().filter(|recipe| machine.recipe.as_ref() != Some(recipe))
}

fn find<'a>(world: &World<'a>, id: &FolderId) -> Option<&'a RuledFolder> {
    world.folders.iter().find(|folder| folder.id == *id)
}

fn refused_by_rule(folder: &RuledFolder, profile: &Profile) -> Refused {
    let allowed: Vec<String> = folder
        .rules
        .profiles
        .iter()
        .flatten()
        .map(ToString::to_string)
        .collect::<BTreeSet<_>>()
        .into_iter()
        .collect();
    let path = folder.rules.path.display();
    let names = if allowed.is_empty() { "no profile".to_owned() } else { allowed.join(", ") };
    Refused {
        reason: format!("profile {} may not see {path}; its rule allows {names}", profile.name),
        way_out: format!("ringfence folder set {path} --profiles {}", profile.name),
    }
}

#[cfg(test)]
#[path = "admit_tests.rs"]
mod tests;
