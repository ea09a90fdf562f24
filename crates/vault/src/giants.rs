//! Directories that are large and that a tool makes again from what lies beside them: what
//! a person may want to leave out. Owns which those are; leaves nothing out by itself.

use rustic_core::TreeId;
use rustic_core::repofile::Node;

use crate::beneath::MAX_DEPTH;
use crate::catalog::Snapshot;
use crate::engine::{Engine, Repo};
use crate::error::Result;
use crate::excludes::Excluded;
use crate::tally;

/// A directory's name, the pattern for it, and the files of which one lies beside it where
/// it is what its name says.
const MADE_AGAIN: [(&str, &str, &[&str]); 6] = [
    ("node_modules", "node_modules/", &["package.json"]),
    ("target", "target/", &["Cargo.toml", "pom.xml"]),
    (".venv", ".venv/", PYTHON),
    ("venv", "venv/", PYTHON),
    (".gradle", ".gradle/", GRADLE),
    ("build", "build/", GRADLE),
];
const PYTHON: &[&str] = &["pyproject.toml", "requirements.txt", "setup.py"];
const GRADLE: &[&str] = &["build.gradle", "build.gradle.kts"];

/// What the patterns for those of a snapshot would leave out, the largest first.
pub(crate) fn find(engine: &Engine, repo: &Repo, snapshot: &Snapshot) -> Result<Vec<Excluded>> {
    let mut found: Vec<Excluded> = Vec::new();
    let mut open: Vec<(TreeId, usize)> = vec![(snapshot.tree, 0)];
    while let Some((tree, depth)) = open.pop() {
        let nodes = engine.tree(repo, tree)?;
        for node in nodes.iter().filter(|node| node.is_dir() && depth < MAX_DEPTH) {
            let Some(below) = node.subtree else { continue };
            let Some(pattern) = pattern_for(node, &nodes) else {
                open.push((below, depth + 1));
                continue;
            };
            let counts = tally::count(engine, repo, below)?;
            let entries = 1 + counts.files + counts.directories + counts.others;
            match found.iter_mut().find(|giant| giant.pattern == pattern) {
                Some(giant) => {
                    giant.entries += entries;
                    giant.bytes += counts.bytes;
                }
                None => {
                    let pattern = pattern.to_owned();
                    found.push(Excluded { pattern, entries, bytes: counts.bytes });
                }
            }
        }
    }
    found.sort_by_key(|giant| std::cmp::Reverse((giant.bytes, giant.entries)));
    Ok(found)
}

fn pattern_for(directory: &Node, beside: &[Node]) -> Option<&'static str> {
    let name = directory.name();
    let (_, pattern, makers) = MADE_AGAIN.iter().find(|(known, ..)| *name == **known)?;
    let makes_it = |node: &Node| node.is_file() && makers.iter().any(|file| *node.name() == **file);
    beside.iter().any(makes_it).then_some(*pattern)
}
