//! Whether what is written about folders fits together: names that exist, no directory twice, no
//! folder whose rule says what the rule of the folder around it forbids.

use std::collections::BTreeMap;
use std::ops::Range;

use toml::Spanned;

use super::error::{Mistake, nearest};
use super::places::Key;
use super::raw::RawFolder;
use super::read::{Place, Wrong};
use super::sources::Source;
use super::{Config, Surroundings};
use crate::folder::FolderRules;
use crate::profile::{Profile, Selector};

/// The words of a folder's rule about who may see it, and where they stand.
pub(super) struct FolderSite {
    source: usize,
    /// Of its path.
    pub(super) path: Range<usize>,
    /// `None`: nothing is written.
    pub(super) profiles: Option<Vec<(Selector, Range<usize>)>>,
    pub(super) deny: Vec<(Selector, Range<usize>)>,
}

impl FolderSite {
    /// Reads them.
    ///
    /// # Errors
    /// The word that is neither a profile nor a label.
    pub(super) fn of(source: usize, raw: &RawFolder, known: &[Profile]) -> Result<Self, Mistake> {
        let each = |words: &[Spanned<String>]| {
            words.iter().map(|word| selector(word, known)).collect::<Result<Vec<_>, _>>()
        };
        Ok(Self {
            source,
            path: raw.path.span(),
            profiles: raw.profiles.as_deref().map(each).transpose()?,
            deny: each(&raw.deny)?,
        })
    }
}

fn selector(
    word: &Spanned<String>,
    known: &[Profile],
) -> Result<(Selector, Range<usize>), Mistake> {
    Selector::try_from(word.get_ref().clone()).map(|selector| (selector, word.span())).map_err(
        |error| {
            let meant = nearest(word.get_ref(), known.iter().map(|one| one.name.as_str()));
            let meant =
                meant.map_or_else(String::new, |meant| format!("; did you mean `{meant}`?"));
            Mistake::new(word.span(), format!("{error}{meant}"))
        },
    )
}

/// That a directory has a rule already, under this path or another one that leads to it.
pub(super) fn listed_twice(
    rules: &FolderRules,
    others: &[FolderRules],
    places: &BTreeMap<Key, Place>,
    around: &Surroundings<'_>,
) -> Option<String> {
    let real = |rules: &FolderRules| (around.canonical)(&rules.path).unwrap_or(rules.path.clone());
    let (index, other) = others
        .iter()
        .enumerate()
        .find(|(_, other)| other.path == rules.path || real(other) == real(rules))?;
    let key = ["folder".to_owned(), index.to_string(), "path".to_owned()];
    let there = places.get(&key[..]).map_or_else(String::new, |place| format!(" in {place}"));
    let path = rules.path.display();
    Some(if other.path == rules.path {
        format!("folder {path} is listed twice: also{there}")
    } else {
        format!("folder {path} is the same directory as {}, listed{there}", other.path.display())
    })
}

/// Checks all folders; gives what is not wrong and yet probably not meant.
///
/// # Errors
/// The first mistake.
pub(super) fn check(
    config: &Config,
    sites: &[FolderSite],
    sources: &[Source],
    around: &Surroundings<'_>,
) -> Result<Vec<Wrong>, Wrong> {
    let profiles = config.all_profiles();
    let mut warnings = Vec::new();
    for (rules, site) in config.folders.iter().zip(sites) {
        for (selector, span) in site.profiles.iter().flatten().chain(&site.deny) {
            match unknown(selector, &profiles) {
                Some(Unknown::Profile(message)) => {
                    return Err((site.source, Mistake::new(span.clone(), message)));
                }
                Some(Unknown::Label(message)) => {
                    warnings.push((site.source, Mistake::new(span.clone(), message)));
                }
                None => {}
            }
        }
        for (selector, span) in site.profiles.iter().flatten() {
            if site.deny.iter().any(|(denied, _)| denied == selector) {
                let message = format!("`{selector}` stands in `deny` as well, which wins");
                return Err((site.source, Mistake::new(span.clone(), message)));
            }
        }
        for (outer, outer_site) in config.folders.iter().zip(sites) {
            if !lies_in(rules, outer, around) {
                continue;
            }
            let there = line(sources, outer_site);
            for (selector, span) in site.profiles.iter().flatten() {
                let message = widens(selector, outer, &profiles, &there);
                let wrong = |message| (site.source, Mistake::new(span.clone(), message));
                match message {
                    Some(Widens::All(message)) => return Err(wrong(message)),
                    Some(Widens::Some(message)) => warnings.push(wrong(message)),
                    None => {}
                }
            }
        }
    }
    Ok(warnings)
}

enum Unknown {
    Profile(String),
    Label(String),
}

fn unknown(selector: &Selector, profiles: &[Profile]) -> Option<Unknown> {
    if profiles.iter().any(|profile| selector.selects(profile)) {
        return None;
    }
    let meant = |wrong: &str, known: &mut dyn Iterator<Item = &str>| match nearest(wrong, known) {
        Some(known) => format!("; did you mean `{known}`?"),
        None => String::new(),
    };
    Some(match selector {
        Selector::Name(name) => {
            let mut known = profiles.iter().map(|profile| profile.name.as_str());
            let hint = meant(name.as_str(), &mut known);
            Unknown::Profile(format!("there is no profile `{name}`{hint}"))
        }
        Selector::Label(label) => {
            let mut known = profiles.iter().flat_map(|p| &p.labels).map(String::as_str);
            let hint = meant(label, &mut known);
            Unknown::Label(format!("no profile carries the label `{label}`{hint}"))
        }
    })
}

/// Whether a folder lies in another one.
fn lies_in(inner: &FolderRules, outer: &FolderRules, around: &Surroundings<'_>) -> bool {
    let real = |rules: &FolderRules| (around.canonical)(&rules.path).unwrap_or(rules.path.clone());
    (inner.path != outer.path && inner.path.starts_with(&outer.path))
        || (real(inner) != real(outer) && real(inner).starts_with(real(outer)))
}

enum Widens {
    /// Nobody that it names may see it.
    All(String),
    /// Some may, others not.
    Some(String),
}

/// That an inner folder names profiles that the folder around it keeps out. They stay out: a
/// denial is not lifted from within, so the words would not mean what they say.
fn widens(
    selector: &Selector,
    outer: &FolderRules,
    profiles: &[Profile],
    there: &str,
) -> Option<Widens> {
    let named = || profiles.iter().filter(|profile| selector.selects(profile));
    let kept_out: Vec<&str> =
        named().filter(|profile| !outer.admits(profile)).map(|p| p.name.as_str()).collect();
    let path = outer.path.display();
    if kept_out.is_empty() {
        None
    } else if kept_out.len() == named().count() {
        Some(Widens::All(format!(
            "`{selector}` may not see {path} ({there}), and this lies in it: allow it there as well, or take it out here"
        )))
    } else {
        Some(Widens::Some(format!(
            "{} may not see {path} ({there}), and this lies in it, whatever `{selector}` says",
            kept_out.join(", ")
        )))
    }
}

fn line(sources: &[Source], site: &FolderSite) -> String {
    let source = &sources[site.source];
    let before = source.text.get(..site.path.start).unwrap_or_default();
    format!("{}:{}", source.file.display(), before.matches('\n').count() + 1)
}
