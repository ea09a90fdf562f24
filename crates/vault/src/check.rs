//! Finds out whether the vault is whole. Owns the list of named problems; repairs
//! nothing.

use std::fs;
use std::os::unix::fs::MetadataExt;

use rustic_core::{CheckOptions, CheckResults, TreeId};
use serde::Serialize;

use crate::catalog;
use crate::engine::{Engine, Repo};
use crate::error::{Result, VaultError};

/// How bad a problem is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// Nothing is lost: leftovers of a crash, say.
    Notice,
    /// A snapshot, or part of one, cannot be restored, or the vault is open to others.
    Error,
}

/// One thing that is wrong.
#[derive(Clone, Debug, Serialize)]
pub struct Problem {
    /// How bad.
    pub severity: Severity,
    /// A stable word for programs.
    pub name: &'static str,
    /// What exactly.
    pub what: String,
}

/// Result of a check.
#[derive(Clone, Debug, Serialize)]
pub struct CheckReport {
    /// All that is wrong, the worst first.
    pub problems: Vec<Problem>,
    /// Snapshots whose structure was followed.
    pub snapshots: usize,
    /// Whether all stored data was read, decrypted and hashed.
    pub data_read: bool,
}

impl CheckReport {
    /// Whether every snapshot can be restored as far as was looked.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.problems.iter().all(|p| p.severity != Severity::Error)
    }
}

pub(crate) fn check(engine: &Engine, read_data: bool) -> Result<CheckReport> {
    let mut problems = exposed(engine);
    let mut error = |name, what| problems.push(Problem { severity: Severity::Error, name, what });
    let repo = match engine.repo() {
        Ok(repo) => repo,
        Err(e) => {
            error("index-unreadable", e.to_string());
            return Ok(CheckReport { problems, snapshots: 0, data_read: false });
        }
    };
    let known = catalog::list(engine, &repo)?;
    for damaged in known.damaged {
        error("snapshot-unreadable", format!("snapshot {}: {}", damaged.id.short(), damaged.why));
    }
    let trees: Vec<_> = known.snapshots.iter().map(|s| s.tree).collect();
    let options = CheckOptions::default().read_data(read_data);
    match run(engine, &repo, options, &trees) {
        Err(e) => error("check-failed", e.to_string()),
        Ok(results) => {
            for (level, finding) in &results.0 {
                let what = brief(&finding.to_string());
                // The engine keeps the types of its findings to itself; their variant
                // names are what `Debug` begins with.
                let severity = match format!("{level:?}").as_str() {
                    "Warn" => Severity::Notice,
                    _ => Severity::Error,
                };
                problems.push(Problem { severity, name: name_of(&format!("{finding:?}")), what });
            }
        }
    }
    problems.sort_by_key(|p| std::cmp::Reverse(p.severity == Severity::Error));
    Ok(CheckReport { problems, snapshots: known.snapshots.len(), data_read: read_data })
}

/// Runs the engine's check. It panics when a thread of its own is slow to let go of the
/// index (0.13.0, on a busy machine); that says nothing about the vault, so it is asked
/// again.
fn run(
    engine: &Engine,
    repo: &Repo,
    options: CheckOptions,
    trees: &[TreeId],
) -> Result<CheckResults> {
    const TRIES: usize = 8;
    let once =
        || engine.run("checking the vault", || repo.check_with_trees(options, trees.to_vec()));
    for _ in 1..TRIES {
        match once() {
            Err(VaultError::Engine { detail, .. }) if detail.contains("index still in use") => {}
            other => return other,
        }
    }
    once()
}

fn name_of(finding: &str) -> &'static str {
    const NAMES: [(&str, &str); 9] = [
        ("PackNotReferenced", "pack-unused"),
        ("NoPack", "pack-missing"),
        ("PackSizeMismatch", "pack-size"),
        ("PackHashMismatch", "pack-damaged"),
        ("PackBlob", "pack-damaged"),
        ("PackHeader", "pack-damaged"),
        ("ErrorReadingPack", "pack-unreadable"),
        ("ErrorCheckingPack", "pack-damaged"),
        ("File", "content-missing"),
    ];
    let named = NAMES.iter().find(|(start, _)| finding.starts_with(start));
    named.map_or("structure", |(_, name)| name)
}

/// The engine's errors fill a page; two lines of it say what is wrong.
fn brief(text: &str) -> String {
    let first = text.lines().next().unwrap_or_default();
    let subject = first.split(": `rustic_core`").next().unwrap_or(first).trim();
    let message = text.lines().skip_while(|l| *l != "Message:").nth(1);
    message.map_or_else(|| subject.to_owned(), |m| format!("{subject}: {}", m.trim()))
}

/// The vault's directory must be nobody else's business.
fn exposed(engine: &Engine) -> Vec<Problem> {
    let dir = engine.storage.dir();
    match fs::metadata(dir) {
        Ok(meta) if meta.mode() & 0o077 != 0 => vec![Problem {
            severity: Severity::Error,
            name: "exposed",
            what: format!("{} is open to other users; make it mode 0700", dir.display()),
        }],
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_of_error_becomes_a_line() {
        let page = "error checking pack 16ff : `rustic_core` experienced an error.\n\nMessage:\nMAC check failed.\n\nMore";
        assert_eq!(brief(page), "error checking pack 16ff: MAC check failed.");
        assert_eq!(brief("pack 12 not found"), "pack 12 not found");
        assert_eq!(name_of("NoPack { id: 1 }"), "pack-missing");
        assert_eq!(name_of("PackBlobHashMismatch { .. }"), "pack-damaged");
    }
}
