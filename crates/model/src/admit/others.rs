//! What one more session would do to others: nobody comes to see more than rules allow, and
//! nobody loses a folder through what is carried into it.

use std::collections::BTreeSet;

use super::reach::Reach;
use super::rules::narrowed;
use super::world::{Held, Open, World};
use crate::folder::Access;
use crate::name::MachineName;

/// That sessions in other machines, and in this one, may see what they would come to see.
pub(super) fn met_by_others(
    world: &World<'_>,
    before: &Held,
    after: &Held,
    machine: &MachineName,
) -> Vec<String> {
    let mut no = Vec::new();
    for other in world.open {
        let (old, new) = (before.machines.get(&other.machine), after.machines.get(&other.machine));
        let Some(traces) = new.filter(|_| old != new) else { continue };
        let place = if other.machine == *machine { "there" } else { "in another machine" };
        let name = &other.profile;
        let Some(profile) = world.profile(name) else {
            no.push(format!("a session of profile {name}, which is gone, runs {place}"));
            continue;
        };
        if let Some(obstacle) = world.obstacle(traces, profile) {
            no.push(format!("a session of profile {name} runs {place}, and would see {obstacle}"));
        }
        let ceiling = narrowed(Reach::EVERYTHING, world.rules_of(traces), &profile.allow);
        if !other.granted.reach.is_within(&ceiling) {
            no.push(format!("a session with a wider network runs {place}"));
        }
    }
    no
}

/// That whoever may see a folder now may also see it with what would be carried into it.
pub(super) fn carried_over(
    world: &World<'_>,
    before: &Held,
    after: &Held,
    one_more: &Open,
) -> Vec<String> {
    let mut no = Vec::new();
    for open in world.open.iter().chain([one_more]).filter(|o| o.granted.access == Access::Rw) {
        let Some(folder) = open.folder.as_ref().and_then(|id| world.known(id)) else { continue };
        let all = |held: &Held| World::contents(&held.carried, folder, &BTreeSet::new());
        if all(before) == all(after) {
            continue;
        }
        let path = folder.place.path.display();
        for profile in world.profiles {
            let sees = |held: &Held| world.could_see(&held.carried, folder, profile);
            if !sees(before) {
                continue;
            }
            if !sees(after) {
                no.push(format!(
                    "it has seen what profile {} may not see, and that could be carried over into {path}",
                    profile.name
                ));
                break;
            }
            let hidden = world.view(&before.carried, &folder.place, profile, Access::Rw).hidden;
            let reach = |held: &Held| {
                let contents = World::contents(&held.carried, folder, &hidden);
                narrowed(Reach::EVERYTHING, world.rules_of(&contents), &profile.allow)
            };
            if !reach(before).is_within(&reach(after)) {
                no.push(format!(
                    "it has seen a folder with a narrower network, whose content could be carried over into {path}"
                ));
                break;
            }
        }
    }
    no.dedup();
    no
}
