//! Keeps lists short: paths that are held become directories, hazards that are alike are
//! told as one. Pure.

use std::collections::{BTreeMap, BTreeSet};

use super::table::generated;
use super::{ExitCheck, Hazard, HazardKind, MOST_TOLD};
use crate::bytes::BytePath;

/// The same paths, or, where there are more than `most`, the directories that they lie in:
/// nothing that was in is left out.
#[must_use]
pub fn fold(mut paths: BTreeSet<Vec<u8>>, most: usize) -> BTreeSet<Vec<u8>> {
    let depth = |path: &Vec<u8>| path.iter().filter(|byte| **byte == b'/').count();
    let mut deepest = paths.iter().map(depth).max().unwrap_or(0);
    while paths.len() > most.max(1) {
        let parent = |path: Vec<u8>| match path.iter().rposition(|byte| *byte == b'/') {
            _ if depth(&path) < deepest => path,
            Some(at) => path[..at].to_vec(),
            None => Vec::new(),
        };
        paths = paths.into_iter().map(parent).collect();
        deepest = deepest.saturating_sub(1);
    }
    paths
}

/// What of all hazards is told: new programs and links in directories that tools fill are
/// told as one, and no more than [`MOST_TOLD`], worst first.
#[must_use]
pub fn worth_telling(hazards: Vec<Hazard>, notes: Vec<String>) -> ExitCheck {
    let mut groups: BTreeMap<(Vec<u8>, HazardKind), Hazard> = BTreeMap::new();
    let mut told = Vec::new();
    for hazard in hazards {
        let many = matches!(hazard.kind, HazardKind::Executable | HazardKind::LinkOutside);
        let bytes = hazard.path.to_bytes().unwrap_or_default();
        match generated(&bytes).filter(|_| many) {
            Some(directory) => {
                let group = groups.entry((directory.to_vec(), hazard.kind));
                let group = group.or_insert_with(|| Hazard {
                    path: BytePath::from_bytes(directory),
                    entries: 0,
                    ..hazard.clone()
                });
                group.entries += 1;
                group.state = group.state.min(hazard.state);
            }
            None => told.push(hazard),
        }
    }
    told.extend(groups.into_values());
    told.sort_by(Hazard::order);
    let more = told.len().saturating_sub(MOST_TOLD) as u64;
    told.truncate(MOST_TOLD);
    ExitCheck { hazards: told, more, notes }
}

#[cfg(test)]
mod tests {
    use super::super::{Danger, HazardState};
    use super::*;

    #[test]
    fn too_many_paths_become_their_directories_and_none_is_lost() {
        let set = |paths: &[&str]| -> BTreeSet<Vec<u8>> {
            paths.iter().map(|path| path.as_bytes().to_vec()).collect()
        };
        let paths = set(&["a/b/1", "a/b/2", "a/c/3", "d"]);
        assert_eq!(fold(paths.clone(), 4), paths);
        assert_eq!(fold(paths.clone(), 3), set(&["a/b", "a/c", "d"]));
        assert_eq!(fold(paths.clone(), 2), set(&["a", "d"]));
        assert_eq!(fold(paths, 1), set(&[""]));
        assert_eq!(fold(set(&[]), 1), set(&[]));
    }

    #[test]
    fn programs_that_a_build_makes_are_told_as_one() {
        let hazard = |path: String, kind| Hazard {
            path: BytePath::from_bytes(path.as_bytes()),
            kind,
            danger: Danger::RunsWhenUsed,
            why: "new".into(),
            entries: 1,
            state: HazardState::Told,
        };
        let mut all: Vec<_> =
            (0..500).map(|n| hazard(format!("target/debug/{n}"), HazardKind::Executable)).collect();
        all.extend((0..MOST_TOLD).map(|n| hazard(format!("bin/{n}"), HazardKind::Executable)));
        all.push(hazard("Makefile".into(), HazardKind::Build));
        let check = worth_telling(all, Vec::new());
        assert_eq!(check.hazards[0].kind, HazardKind::Build, "worst first");
        assert_eq!((check.hazards.len(), check.more), (MOST_TOLD, 2));
        let only = worth_telling(
            (0..500).map(|n| hazard(format!("target/{n}"), HazardKind::Executable)).collect(),
            Vec::new(),
        );
        assert_eq!((only.hazards.len(), only.hazards[0].entries), (1, 500));
        assert_eq!(only.hazards[0].path.path, "target");
    }
}
