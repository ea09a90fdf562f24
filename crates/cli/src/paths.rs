//! From what a person types to a path relative to a folder's root. Lexical, because
//! the path may be one that was deleted.

use std::path::{Component, Path, PathBuf};

/// Resolves `.` and `..` by their letters alone.
#[must_use]
pub fn normal(path: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for component in path.components() {
        match component {
            Component::CurDir => {}
            Component::ParentDir => {
                out.pop();
            }
            other => out.push(other),
        }
    }
    out
}

/// A typed path relative to `root`; `None` where it lies outside.
///
/// A relative one is meant from `directory` where that lies in the folder, else from the root.
#[must_use]
pub fn within(root: &Path, directory: &Path, typed: &Path) -> Option<PathBuf> {
    let base = if directory.starts_with(root) { directory } else { root };
    normal(&base.join(typed)).strip_prefix(root).ok().map(Path::to_owned)
}

/// The nearest directory at or above a path that exists.
#[must_use]
pub fn nearest_directory(path: &Path) -> Option<&Path> {
    path.ancestors().find(|ancestor| ancestor.is_dir())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn typed_paths_become_relative_to_the_root() {
        let ask = |directory: &str, typed: &str| {
            within(Path::new("/home/ann/shop"), Path::new(directory), Path::new(typed))
        };
        assert_eq!(ask("/home/ann/shop/src", "main.rs"), Some("src/main.rs".into()));
        assert_eq!(ask("/home/ann/shop/src", "../README"), Some("README".into()));
        assert_eq!(ask("/home/ann/shop", "."), Some("".into()));
        assert_eq!(ask("/elsewhere", "src/main.rs"), Some("src/main.rs".into()));
        assert_eq!(ask("/elsewhere", "/home/ann/shop/a"), Some("a".into()));
        assert_eq!(ask("/home/ann/shop", "../other/x"), None);
        assert_eq!(ask("/home/ann/shop", "/etc/passwd"), None);
    }
}
