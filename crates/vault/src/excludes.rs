//! What the user does not want to be kept. Owns the patterns' meaning and the account of
//! what they cost; where they come from is the caller's promise: never from the folder,
//! or an agent could switch off its own backup.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use ignore::Match;
use ignore::gitignore::{Gitignore, GitignoreBuilder};
use serde::Serialize;

use crate::beneath::{Dir, MAX_DEPTH, Places, join, split};
use crate::error::{Result, VaultError};
use crate::watch::Cancel;

/// What one pattern leaves out, or would.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Excluded {
    /// The pattern.
    pub pattern: String,
    /// Entries that it leaves out, with all that lies below them.
    pub entries: u64,
    /// Bytes in the regular files among them.
    pub bytes: u64,
}

/// Patterns in the language of a `.gitignore`, and what was found to fit them.
#[derive(Debug)]
pub(crate) struct Excludes {
    patterns: Vec<String>,
    matcher: Gitignore,
    /// The topmost entries that fit, with the pattern.
    found: Mutex<BTreeMap<Vec<u8>, String>>,
}

impl Excludes {
    pub(crate) fn new(patterns: &[String]) -> Result<Self> {
        let refuse =
            |pattern: &str, why: String| VaultError::Exclude { pattern: pattern.to_owned(), why };
        // Paths are given relative to the folder, and nothing is to be cut off them.
        let mut builder = GitignoreBuilder::new(".");
        builder.allow_unclosed_class(false);
        for pattern in patterns {
            if pattern.trim().is_empty() || pattern.starts_with('#') {
                return Err(refuse(pattern, "it says nothing".into()));
            }
            builder.add_line(None, pattern).map_err(|e| refuse(pattern, e.to_string()))?;
        }
        let matcher = builder.build().map_err(|e| refuse(&patterns.join(" "), e.to_string()))?;
        Ok(Self { patterns: patterns.to_vec(), matcher, found: Mutex::default() })
    }

    pub(crate) fn patterns(&self) -> &[String] {
        &self.patterns
    }

    /// The names of a directory that are to be kept; the others are noted.
    pub(crate) fn keep(&self, dir: &Dir, path: &[u8], mut names: Vec<OsString>) -> Vec<OsString> {
        if !self.matcher.is_empty() {
            names.retain(|name| {
                let here = join(path, name);
                let pattern = self.fits(dir, name, &here);
                pattern.map(|pattern| self.note(here, pattern)).is_none()
            });
        }
        names
    }

    /// Whether an entry is to be left out; nothing is noted.
    pub(crate) fn leaves_out(&self, dir: &Dir, path: &[u8], name: &OsStr) -> bool {
        !self.matcher.is_empty() && self.fits(dir, name, &join(path, name)).is_some()
    }

    fn fits(&self, dir: &Dir, name: &OsStr, path: &[u8]) -> Option<String> {
        let (file, directory) = (self.matched(path, false), self.matched(path, true));
        if file == directory {
            return file;
        }
        // Only where it matters what it is, since it has to be asked for.
        if dir.stat_at(name).ok()?.is_dir() { directory } else { file }
    }

    fn matched(&self, path: &[u8], is_dir: bool) -> Option<String> {
        match self.matcher.matched(Path::new(OsStr::from_bytes(path)), is_dir) {
            Match::Ignore(glob) => Some(glob.original().to_owned()),
            Match::None | Match::Whitelist(_) => None,
        }
    }

    fn note(&self, path: Vec<u8>, pattern: String) {
        self.found.lock().unwrap_or_else(PoisonError::into_inner).insert(path, pattern);
    }

    /// What each pattern leaves out, after everything was looked at.
    pub(crate) fn measure(&self, root: Dir, cancel: &Cancel) -> Result<Vec<Excluded>> {
        let nothing =
            |pattern: &String| Excluded { pattern: pattern.clone(), entries: 0, bytes: 0 };
        let mut all: Vec<Excluded> = self.patterns.iter().map(nothing).collect();
        let found = std::mem::take(&mut *self.found.lock().unwrap_or_else(PoisonError::into_inner));
        let mut places = Places::new(root);
        for (path, pattern) in found {
            let Some(sum) = all.iter_mut().find(|e| e.pattern.trim_end() == pattern.trim_end())
            else {
                continue;
            };
            let (parent, name) = split(&path);
            // Gone meanwhile: it costs nothing.
            if let Ok(dir) = places.dir(parent) {
                measure(dir, name, sum, cancel, 0)?;
            }
        }
        Ok(all)
    }
}

fn measure(
    dir: &Dir,
    name: &OsStr,
    sum: &mut Excluded,
    cancel: &Cancel,
    depth: usize,
) -> Result<()> {
    cancel.check()?;
    let Ok(stat) = dir.stat_at(name) else { return Ok(()) };
    sum.entries += 1;
    if stat.is_file() {
        sum.bytes += stat.size;
    }
    if stat.is_dir()
        && depth < MAX_DEPTH
        && let Ok(below) = dir.open_dir(name)
    {
        for name in below.names().unwrap_or_default() {
            measure(&below, &name, sum, cancel, depth + 1)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fits(pattern: &str, path: &str, is_dir: bool) -> bool {
        Excludes::new(&[pattern.to_owned()]).unwrap().matched(path.as_bytes(), is_dir).is_some()
    }

    #[test]
    fn patterns_mean_what_they_mean_to_git() {
        assert!(fits("target/", "a/b/target", true));
        assert!(!fits("target/", "target", false));
        assert!(fits("/build", "build", false) && !fits("/build", "a/build", false));
        assert!(fits("*.o", "a/x.o", false) && !fits("*.o", "a/x.oo", false));
        assert!(fits("a/**/z", "a/b/c/z", false));
        assert!(fits("\\#x", "#x", false));
        let odd = Excludes::new(&["*.o".to_owned()]).unwrap();
        assert!(odd.matched(b"\xff\n.o", false).is_some());
        let both = Excludes::new(&["*.o".to_owned(), "!keep.o".to_owned()]).unwrap();
        assert!(both.matched(b"keep.o", false).is_none());
    }

    #[test]
    fn a_pattern_that_says_nothing_or_is_no_pattern_is_an_error() {
        for bad in ["", "  ", "# comment", "a/[z-"] {
            let error = Excludes::new(&[bad.to_owned()]).unwrap_err();
            assert!(matches!(error, VaultError::Exclude { .. }), "{bad:?}: {error}");
        }
    }
}
