//! Where directories are, and which lies in which. Two paths may lead to one directory; what
//! is said about it counts on both. Facts about places come from whoever may look.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// Where a directory is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Place {
    /// Its canonical path on the host.
    pub path: PathBuf,
    /// The same directory as its file system has it; `None` where that is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub volume: Option<Volume>,
}

/// A directory as its file system has it, wherever that is mounted.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Volume {
    /// Which file system, as the kernel numbers it: `8:1`.
    pub device: String,
    /// The path in that file system.
    pub path: PathBuf,
}

impl Place {
    /// A place of which nothing but the path is known.
    #[must_use]
    pub fn at(path: &Path) -> Self {
        Self { path: path.to_owned(), volume: None }
    }

    /// The ways from here down to another place, relative; none where it does not lie in
    /// here, an empty one where it is the same.
    #[must_use]
    pub fn ways_to(&self, other: &Self) -> BTreeSet<PathBuf> {
        let by_path = other.path.strip_prefix(&self.path).ok();
        let in_volume = match (&self.volume, &other.volume) {
            (Some(own), Some(other)) if own.device == other.device => {
                other.path.strip_prefix(&own.path).ok()
            }
            _ => None,
        };
        by_path.into_iter().chain(in_volume).map(Path::to_owned).collect()
    }

    /// Whether another place is here, or lies in here.
    #[must_use]
    pub fn holds(&self, other: &Self) -> bool {
        let in_volume = match (&self.volume, &other.volume) {
            (Some(own), Some(other)) => {
                own.device == other.device && other.path.starts_with(&own.path)
            }
            _ => false,
        };
        in_volume || other.path.starts_with(&self.path)
    }
}

/// Whether a way leads into one of these, or to it.
#[must_use]
pub(crate) fn leads_into(way: &Path, those: &BTreeSet<PathBuf>) -> bool {
    those.iter().any(|one| way.starts_with(one))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(path: &str, device: &str, inside: &str) -> Place {
        let volume = Volume { device: device.into(), path: inside.into() };
        Place { path: path.into(), volume: Some(volume) }
    }

    #[test]
    fn a_directory_is_found_in_another_by_path_and_by_file_system() {
        let code = place("/home/ann/code", "8:1", "/home/ann/code");
        let nda = place("/home/ann/code/nda", "8:1", "/home/ann/code/nda");
        let way = |from: &Place, to: &Place| from.ways_to(to).into_iter().collect::<Vec<_>>();
        assert_eq!(way(&code, &nda), [Path::new("nda")]);
        assert_eq!(way(&nda, &code), Vec::<PathBuf>::new());
        assert_eq!(way(&nda, &nda), [Path::new("")]);
        // The same directory through a bind mount, and what lies in it.
        let elsewhere = place("/srv/work", "8:1", "/home/ann/code");
        assert_eq!(way(&elsewhere, &nda), [Path::new("nda")]);
        assert!(elsewhere.holds(&code) && code.holds(&elsewhere));
        // A mount of something else in it is found by its path.
        let disk = place("/home/ann/code/disk", "8:2", "/");
        assert_eq!(way(&code, &disk), [Path::new("disk")]);
        // Two names of one beginning are not one in the other.
        assert!(!code.holds(&place("/home/ann/codex", "8:1", "/home/ann/codex")));
        assert!(!Place::at(Path::new("/x")).holds(&code));
    }
}
