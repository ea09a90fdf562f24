//! The scratch copy of the repository in which guards are taken out, below the target
//! directory: the tree of whoever works here is read and never written. Owns that copy.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Directories that no test reads, or that are not ours.
const SKIPPED: &[&str] = &[".git", "target", "node_modules", "__pycache__"];

/// The copy.
#[derive(Debug)]
pub(crate) struct Copy {
    root: PathBuf,
    /// Where the copy is.
    pub(crate) tree: PathBuf,
    /// What cargo builds of it.
    pub(crate) target: PathBuf,
    /// What the tests said.
    pub(crate) logs: PathBuf,
    /// What was built of the repository itself.
    built: PathBuf,
}

impl Copy {
    /// The copy of the repository at `root`, whose builds are in `built`.
    pub(crate) fn of(root: &Path, built: PathBuf) -> Self {
        let place = built.join("guards");
        Self {
            root: root.to_owned(),
            tree: place.join("tree"),
            target: place.join("target"),
            logs: place.join("logs"),
            built,
        }
    }

    /// The text files of the repository, by path.
    ///
    /// # Errors
    /// One cannot be read.
    pub(crate) fn sources(&self) -> io::Result<BTreeMap<String, String>> {
        let mut sources = BTreeMap::new();
        for path in entries(&self.root)? {
            let whole = self.root.join(&path);
            if whole.is_symlink() {
                continue;
            }
            if let (Some(path), Ok(text)) = (path.to_str(), String::from_utf8(fs::read(&whole)?)) {
                sources.insert(path.to_owned(), text);
            }
        }
        Ok(sources)
    }

    /// Makes the copy what the repository is, but for these texts. A file that is right is not
    /// touched: cargo goes by the times.
    ///
    /// # Errors
    /// Something cannot be read or written.
    pub(crate) fn bring(&self, texts: &BTreeMap<String, String>) -> io::Result<()> {
        fs::create_dir_all(&self.tree)?;
        fs::create_dir_all(&self.logs)?;
        let wanted = entries(&self.root)?;
        for path in entries(&self.tree)?.difference(&wanted) {
            fs::remove_file(self.tree.join(path))?;
        }
        for path in &wanted {
            let (from, to) = (self.root.join(path), self.tree.join(path));
            if let Some(parent) = to.parent() {
                fs::create_dir_all(parent)?;
            }
            if from.is_symlink() {
                let leads = fs::read_link(&from)?;
                if fs::read_link(&to).ok().as_ref() != Some(&leads) {
                    let _ = fs::remove_file(&to);
                    std::os::unix::fs::symlink(leads, &to)?;
                }
                continue;
            }
            let content = match path.to_str().and_then(|path| texts.get(path)) {
                Some(text) => text.clone().into_bytes(),
                None => fs::read(&from)?,
            };
            if fs::read(&to).ok().as_ref() != Some(&content) {
                fs::write(&to, content)?;
            }
            fs::set_permissions(&to, fs::metadata(&from)?.permissions())?;
        }
        Ok(())
    }

    /// The first time: takes over what was built of other people's crates, which is most of it.
    ///
    /// # Errors
    /// Something cannot be read or written.
    pub(crate) fn seed(&self, sources: &BTreeMap<String, String>) -> io::Result<()> {
        if self.target.exists() || !self.built.join("debug/deps").exists() {
            return Ok(());
        }
        let ours = our_names(sources);
        for part in ["deps", "build", ".fingerprint"] {
            let (from, to) =
                (self.built.join("debug").join(part), self.target.join("debug").join(part));
            fs::create_dir_all(&to)?;
            for entry in fs::read_dir(from)? {
                let name = entry?.file_name();
                if !ours.contains(&stem(&name)) {
                    copy_all(&self.built.join("debug").join(part).join(&name), &to.join(&name))?;
                }
            }
        }
        Ok(())
    }
}

/// Paths of all files and links below a directory, from there.
fn entries(directory: &Path) -> io::Result<BTreeSet<PathBuf>> {
    let mut found = BTreeSet::new();
    let mut open = vec![PathBuf::new()];
    while let Some(below) = open.pop() {
        for entry in fs::read_dir(directory.join(&below))? {
            let entry = entry?;
            let (name, path) = (entry.file_name(), below.join(entry.file_name()));
            if !entry.file_type()?.is_dir() {
                found.insert(path);
            } else if !SKIPPED.iter().any(|skipped| name == *skipped) {
                open.push(path);
            }
        }
    }
    Ok(found)
}

/// Names under which cargo keeps what it builds of this repository.
fn our_names(sources: &BTreeMap<String, String>) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for (path, text) in sources.iter().filter(|(path, _)| path.starts_with("crates/")) {
        let path = Path::new(path);
        if path.ends_with("Cargo.toml") {
            for line in text.lines().filter_map(|line| line.strip_prefix("name = \"")) {
                names.insert(plain(line.trim_end_matches('"')));
            }
        } else if path.components().any(|part| {
            ["tests", "examples", "bin"].iter().any(|directory| part.as_os_str() == *directory)
        }) {
            let parts = [path.file_stem(), path.parent().and_then(Path::file_name)];
            names.extend(parts.into_iter().flatten().filter_map(|name| name.to_str()).map(plain));
        }
    }
    names
}

fn plain(name: &str) -> String {
    name.replace('-', "_")
}

/// `libserde-0123.rlib`, `serde-0123`: `serde`.
fn stem(name: &OsString) -> String {
    let name = name.to_string_lossy();
    let name = name.split('.').next().unwrap_or_default();
    let (name, _) = name.rsplit_once('-').unwrap_or((name, ""));
    plain(name.strip_prefix("lib").unwrap_or(name))
}

fn copy_all(from: &Path, to: &Path) -> io::Result<()> {
    let facts = fs::symlink_metadata(from)?;
    if facts.is_dir() {
        fs::create_dir_all(to)?;
        for entry in fs::read_dir(from)? {
            let name = entry?.file_name();
            copy_all(&from.join(&name), &to.join(&name))?;
        }
    } else if facts.is_file() {
        fs::copy(from, to)?;
        fs::File::options()
            .append(true)
            .open(to)
            .and_then(|file| file.set_modified(facts.modified()?))?;
    }
    Ok(())
}
