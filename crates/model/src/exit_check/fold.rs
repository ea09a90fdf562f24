//! Keeps lists short: paths that are held become directories, findings that are alike are
//! told as one. Pure.

use std::collections::{BTreeMap, BTreeSet};

use super::table::generated;
use super::{ExitCheck, Finding, FindingKind, MOST_TOLD};
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

/// What of all findings is told: new programs and links in directories that tools fill are
/// told as one, and no more than [`MOST_TOLD`], worst first.
#[must_use]
pub fn worth_telling(findings: Vec<Finding>, notes: Vec<String>) -> ExitCheck {
    let mut groups: BTreeMap<(Vec<u8>, FindingKind), Finding> = BTreeMap::new();
    let mut told = Vec::new();
    for finding in findings {
        let many = matches!(finding.kind, FindingKind::Executable | FindingKind::LinkOutside);
        let bytes = finding.path.to_bytes().unwrap_or_default();
        match generated(&bytes).filter(|_| many) {
            Some(directory) => {
                let group = groups.entry((directory.to_vec(), finding.kind));
                let group = group.or_insert_with(|| Finding {
                    path: BytePath::from_bytes(directory),
                    entries: 0,
                    ..finding.clone()
                });
                group.entries += 1;
                group.state = group.state.min(finding.state);
            }
            None => told.push(finding),
        }
    }
    told.extend(groups.into_values());
    told.sort_by(Finding::order);
    let more = told.len().saturating_sub(MOST_TOLD) as u64;
    told.truncate(MOST_TOLD);
    ExitCheck { findings: told, more, notes }
}

#[cfg(test)]
mod tests {
    use super::super::{Danger, FindingState};
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
        let finding = |path: String, kind| Finding {
            path: BytePath::from_bytes(path.as_bytes()),
            kind,
            danger: Danger::RunsWhenUsed,
            why: "new".into(),
            entries: 1,
            state: FindingState::Told,
        };
        let mut all: Vec<_> = (0..500)
            .map(|n| finding(format!("target/debug/{n}"), FindingKind::Executable))
            .collect();
        all.extend((0..MOST_TOLD).map(|n| finding(format!("bin/{n}"), FindingKind::Executable)));
        all.push(finding("Makefile".into(), FindingKind::Build));
        let check = worth_telling(all, Vec::new());
        assert_eq!(check.findings[0].kind, FindingKind::Build, "worst first");
        assert_eq!((check.findings.len(), check.more), (MOST_TOLD, 2));
        let only = worth_telling(
            (0..500).map(|n| finding(format!("target/{n}"), FindingKind::Executable)).collect(),
            Vec::new(),
        );
        assert_eq!((only.findings.len(), only.findings[0].entries), (1, 500));
        assert_eq!(only.findings[0].path.path, "target");
    }
}
