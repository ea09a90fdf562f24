//! What became stricter while a session runs.

use super::rules::narrowed;
use super::world::{Open, World};
use crate::folder::Access;

/// What a session was given that the rules now hold back, in one sentence each.
#[must_use]
pub fn stricter(world: &World<'_>, open: &Open) -> Vec<String> {
    let (name, granted) = (&open.profile, &open.granted);
    let Some(profile) = world.profile(name) else {
        return vec![format!("its profile {name} is gone")];
    };
    let Some(machine) = world.machines.iter().find(|machine| machine.name == open.machine) else {
        return Vec::new();
    };
    let mut found = Vec::new();
    if let Some(obstacle) = world.obstacle(&machine.seen, profile) {
        found.push(format!("its machine has seen {obstacle}"));
    }
    let reach = narrowed(world.asked(profile), world.rules_of(&machine.seen), &profile.allow);
    if !granted.reach.is_within(&reach) {
        found.push(format!("its network may only be `{}` now", reach.network.as_str()));
    }
    for secret in &granted.secrets {
        let withheld = world.rules_of(&machine.seen).any(|ruled| !ruled.lets(secret));
        if withheld || !profile.secrets.contains(secret) {
            found.push(format!("secret {secret} is not for it any more"));
        }
    }
    let Some(folder) = open.folder.as_ref().and_then(|id| world.known(id)) else { return found };
    let path = folder.place.path.display();
    if granted.access == Access::Rw && world.rules.access(&folder.place) == Access::Ro {
        found.push(format!("{path} is read-only now"));
    }
    let now = world.view(world.carried, &folder.place, profile, granted.access);
    for way in now.hidden.difference(&granted.names.hidden) {
        found.push(format!("{} is to be hidden now", folder.place.path.join(way).display()));
    }
    let kept = granted.names.hidden.union(&granted.names.read_only);
    let kept: std::collections::BTreeSet<_> = kept.cloned().collect();
    for way in now.read_only.difference(&kept) {
        found.push(format!("{} is read-only now", folder.place.path.join(way).display()));
    }
    if !granted.names.patterns_keep(&now) {
        found.push(format!("what {path} hides or protects was changed"));
    }
    found
}
