//! The invariants of ARCHITECTURE.md, checked.
//!
//! Owns the walk over the repository and the list of checks; the data that the
//! checks compare with is in [`rules`]. A check is a pure function from the files
//! to violations, so that each can be shown to fail on a made-up repository.

mod edges;
mod guards;
mod lists;
mod rules;
mod source;
#[cfg(test)]
mod tests;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// What one run of the checks found.
#[derive(Debug, Default)]
pub(crate) struct Report {
    /// Text files looked at.
    pub(crate) files: usize,
    /// Worth knowing, no failure.
    pub(crate) notes: Vec<String>,
    /// Each makes the run fail.
    pub(crate) violations: Vec<String>,
}

/// One text file of the repository.
#[derive(Debug)]
struct File {
    /// Path from the root, with `/`.
    path: String,
    /// The whole text.
    text: String,
}

impl File {
    fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }

    /// Rust that only tests run: it may start processes and be long.
    fn is_test_only(&self) -> bool {
        self.path.contains("/tests/")
            || self.path.ends_with("/tests.rs")
            || self.path.ends_with("_tests.rs")
            || self.path.contains("crates/testkit/")
    }

    /// A program text other than Rust: by extension, or by its first line.
    fn is_script(&self) -> bool {
        let path = Path::new(&self.path);
        path.extension().is_some_and(|end| end == "sh" || end == "py")
            || self.text.starts_with("#!")
    }

    /// The text before the unit tests that are kept in the same file.
    fn product_text(&self) -> &str {
        self.text.split("\n#[cfg(test)]\nmod tests {").next().unwrap_or(&self.text)
    }
}

/// Reads the repository at `root` and runs every check.
///
/// # Errors
/// When a directory or file of the repository cannot be read.
pub(crate) fn check(root: &Path) -> io::Result<Report> {
    let mut paths = Vec::new();
    walk(root, &mut paths)?;
    paths.sort();
    let mut files = Vec::new();
    for path in paths {
        // What is not UTF-8 is no text of ours (images, fixtures).
        if let Ok(text) = String::from_utf8(fs::read(&path)?) {
            let path = path.strip_prefix(root).unwrap_or(&path).to_string_lossy().into_owned();
            files.push(File { path, text });
        }
    }
    Ok(check_files(&files))
}

fn check_files(files: &[File]) -> Report {
    let mut report = Report { files: files.len(), ..Report::default() };
    edges::check(files, &mut report);
    source::check(files, &mut report);
    lists::check(files, &mut report);
    guards::check(files, &mut report);
    report
}

fn walk(directory: &Path, found: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let name = entry.file_name();
        let kind = entry.file_type()?;
        if kind.is_dir() {
            if !rules::SKIPPED_DIRECTORIES.iter().any(|skipped| name == *skipped) {
                walk(&entry.path(), found)?;
            }
        } else if kind.is_file() {
            found.push(entry.path());
        }
    }
    Ok(())
}
