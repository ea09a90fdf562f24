//! The rules in force, by place. What a rule says holds for all that lies in its folder: of
//! nested rules the strictest counts, so what one denies cannot be had through another.

use std::collections::BTreeSet;
use std::path::PathBuf;

use super::names::{Placed, ShownNames};
use super::place::{Place, leads_into};
use super::reach::Reach;
use crate::folder::{Access, FolderRules};
use crate::machine::Limits;
use crate::name::SecretName;
use crate::profile::Profile;

/// Who said it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Said {
    /// The person, in the configuration.
    Person,
    /// The folder itself, in a file that the person approved. It takes and gives nothing.
    Hint,
}

/// What is said about a folder, whether or not anybody ever registered it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ruled {
    /// By whom. Of two about one folder both count.
    pub said: Said,
    /// Where the folder is.
    pub place: Place,
    /// What is said.
    pub rules: FolderRules,
}

impl Ruled {
    /// Whether sessions that may have met what it is about can carry this secret.
    pub(super) fn lets(&self, secret: &SecretName) -> bool {
        self.rules.secrets.as_ref().is_none_or(|allowed| allowed.contains(secret))
    }

    /// Whether this rule alone lets a profile see the folder. `deny` wins.
    #[must_use]
    pub fn admits(&self, profile: &Profile) -> bool {
        let selected = |selectors: &Vec<_>| {
            selectors.iter().any(|selector: &crate::profile::Selector| selector.selects(profile))
        };
        self.rules.profiles.as_ref().is_none_or(selected) && !selected(&self.rules.deny)
    }

    /// The widest network that it leaves a profile with such a list.
    fn ceiling(&self, allow: &[String]) -> Option<Reach> {
        let allow = self.rules.allow.as_deref().unwrap_or(allow);
        self.rules.network.map(|network| Reach::new(network, allow))
    }

    /// Whether it lets a profile carry all its secrets.
    fn lets_carry_all(&self, profile: &Profile) -> bool {
        let allowed = self.rules.secrets.as_ref();
        allowed.is_none_or(|allowed| profile.secrets.iter().all(|name| allowed.contains(name)))
    }
}

/// All rules.
#[derive(Debug, Clone, Copy)]
pub struct Rules<'a>(pub &'a [Ruled]);

impl<'a> Rules<'a> {
    /// The rules of this place and of all around it.
    pub fn around(self, place: &Place) -> impl Iterator<Item = &'a Ruled> {
        self.0.iter().filter(|ruled| ruled.place.holds(place))
    }

    /// The rules of what lies in a place, with the ways there.
    pub fn within(self, place: &Place) -> impl Iterator<Item = (BTreeSet<PathBuf>, &'a Ruled)> {
        self.0
            .iter()
            .filter(|ruled| !ruled.place.holds(place))
            .map(|ruled| (place.ways_to(&ruled.place), ruled))
            .filter(|(ways, _)| !ways.is_empty())
    }

    /// The rules of a place, of all around it, and of what is visible in it.
    pub(crate) fn touching(
        self,
        place: &Place,
        hidden: &BTreeSet<PathBuf>,
    ) -> impl Iterator<Item = &'a Ruled> {
        let visible = |ways: &BTreeSet<PathBuf>| ways.iter().any(|way| !leads_into(way, hidden));
        let within = self.within(place).filter(move |(ways, _)| visible(ways));
        self.around(place).chain(within.map(|(_, ruled)| ruled))
    }

    /// As [`Self::around`], without what folders say about themselves.
    pub(super) fn by_person_around(self, place: &Place) -> impl Iterator<Item = &'a Ruled> {
        self.around(place).filter(|ruled| ruled.said == Said::Person)
    }

    /// Whether a profile may see a place, as far as rules say.
    #[must_use]
    pub fn admit(self, place: &Place, profile: &Profile) -> bool {
        self.around(place).all(|ruled| ruled.admits(profile))
    }

    /// How a place is visible at most.
    #[must_use]
    pub fn access(self, place: &Place) -> Access {
        self.around(place).map(|ruled| ruled.rules.access).min().unwrap_or_default()
    }

    /// The largest machine that a place is attached to, of an offered size.
    #[must_use]
    pub fn limits(self, place: &Place, offered: Limits) -> Limits {
        self.around(place).fold(offered, |limits, ruled| ruled.rules.limits.cap(limits))
    }

    /// What of a place is hidden and protected by names: its own patterns, those of folders
    /// around it, and those of what lies in it.
    #[must_use]
    pub fn names(self, place: &Place) -> ShownNames {
        let mut shown = ShownNames::default();
        for ruled in self.around(place) {
            let names = &ruled.rules.names;
            // Side by side with the person's: a `!` in the one lifts nothing of the other.
            if ruled.place.path == place.path && ruled.said == Said::Person {
                shown.own = names.clone();
                continue;
            }
            for above in ruled.place.ways_to(place) {
                shown.placed.push(Placed { above, below: PathBuf::new(), names: names.clone() });
            }
        }
        for (ways, ruled) in self.within(place) {
            for below in ways {
                let names = ruled.rules.names.clone();
                shown.placed.push(Placed { above: PathBuf::new(), below, names });
            }
        }
        shown
            .placed
            .retain(|Placed { names, .. }| !(names.hide.is_empty() && names.protect.is_empty()));
        shown
    }
}

/// Narrows a reach by what some rules say.
pub(crate) fn narrowed<'a>(
    reach: Reach,
    rules: impl Iterator<Item = &'a Ruled>,
    allow: &[String],
) -> Reach {
    rules.filter_map(|ruled| ruled.ceiling(allow)).fold(reach, |reach, by| reach.and(&by))
}

/// Whether a rule holds back more of a network or of secrets than a profile has of them.
pub(crate) fn is_tighter(ruled: &Ruled, reach: impl FnOnce() -> Reach, profile: &Profile) -> bool {
    let network = ruled.ceiling(&profile.allow).is_some_and(|ceiling| !reach().is_within(&ceiling));
    network || !ruled.lets_carry_all(profile)
}
