//! Which changed paths the host may run or obey later: the exit check, as a pure function.
//! Shown in the summary of a session.

use ringfence_model::api::HostRuns;
use ringfence_model::history::{Change, ChangeKind};

/// Most entries that are shown; an agent could create a million hooks.
const MOST: usize = 50;

/// What a path means to the host, by the last components of its path.
const BY_DIRECTORY: [(&str, &str); 7] = [
    (".git/hooks/", "git hook"),
    (".husky/", "git hook"),
    (".vscode/", "editor settings or task"),
    (".idea/", "editor settings or task"),
    (".github/workflows/", "CI workflow"),
    (".claude/", "agent settings"),
    (".cargo/", "cargo configuration"),
];

const BY_NAME: [(&str, &str); 14] = [
    (".envrc", "direnv script"),
    (".gitattributes", "git filters"),
    (".gitmodules", "git modules"),
    (".mcp.json", "agent settings"),
    (".pre-commit-config.yaml", "git hook"),
    (".ringfence.toml", "Ringfence hints"),
    ("AGENTS.md", "agent instructions"),
    ("CLAUDE.md", "agent instructions"),
    ("Makefile", "build file"),
    ("build.rs", "build script"),
    ("conftest.py", "test start-up code"),
    ("package.json", "package scripts"),
    ("setup.py", "build script"),
    ("sitecustomize.py", "Python start-up code"),
];

/// The entries for a list of changes. Deleted paths run nothing.
pub(super) fn find(changes: &[Change]) -> Vec<HostRuns> {
    let there = |change: &&Change| !matches!(change.change, ChangeKind::Deleted);
    changes
        .iter()
        .filter(there)
        .filter_map(|change| {
            let why = reason(&change.path.path)?;
            Some(HostRuns { path: change.path.clone(), why: why.to_owned() })
        })
        .take(MOST)
        .collect()
}

fn reason(path: &str) -> Option<&'static str> {
    let anchored = format!("/{path}");
    // A repository's configuration can name programs: hooks path, filters, editors, aliases.
    if anchored.ends_with("/.git/config")
        || (anchored.contains("/.git/") && anchored.ends_with("/config"))
    {
        return Some("git configuration");
    }
    let directory = BY_DIRECTORY.iter().find(|(part, _)| anchored.contains(&format!("/{part}")));
    if let Some((_, why)) = directory {
        return Some(why);
    }
    let name = path.rsplit('/').next().unwrap_or(path);
    BY_NAME.iter().find(|(known, _)| *known == name).map(|(_, why)| *why)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ringfence_model::bytes::BytePath;

    fn change(path: &str, kind: ChangeKind) -> Change {
        let path = BytePath::from_bytes(path.as_bytes());
        Change { path, change: kind, size_before: None, size_after: None }
    }

    #[test]
    fn what_the_host_runs_is_named() {
        let changes = [
            change(".git/hooks/post-commit", ChangeKind::Added),
            change("sub/.git/config", ChangeKind::Modified),
            change(".git/modules/x/config", ChangeKind::Modified),
            change("web/package.json", ChangeKind::Modified),
            change("src/main.rs", ChangeKind::Modified),
            change(".envrc", ChangeKind::Deleted),
            change("notgit/hooks/x", ChangeKind::Added),
        ];
        let found: Vec<_> =
            find(&changes).into_iter().map(|entry| (entry.path.path, entry.why)).collect();
        let expected = [
            (".git/hooks/post-commit", "git hook"),
            ("sub/.git/config", "git configuration"),
            (".git/modules/x/config", "git configuration"),
            ("web/package.json", "package scripts"),
        ]
        .map(|(path, why)| (path.to_owned(), why.to_owned()));
        assert_eq!(found, expected);
    }
}
