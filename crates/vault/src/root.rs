//! The folder itself: opened, and judged whether it still is the one that is stored.
//! Owns the refusals that keep an unmounted disk, a mount or a link from being taken
//! for an emptied folder; looks at nothing below it but whether there is anything.

use std::path::Path;
use std::sync::Arc;

use rustic_core::repofile::Node;

use crate::beneath::Dir;
use crate::catalog::Snapshot;
use crate::error::{At, FolderProblem, Result, VaultError};
use crate::stat::{self, Stat};

/// An open folder.
pub(crate) struct Root {
    pub(crate) dir: Arc<Dir>,
    pub(crate) stat: Stat,
    /// What is stored of the folder itself.
    pub(crate) node: Node,
    /// Whether a file system is mounted right here; unknown on old kernels.
    pub(crate) mounted: Option<bool>,
}

impl Root {
    /// Opens a folder that lies apart from the vault.
    pub(crate) fn open(path: &Path, vault: &Path) -> Result<Self> {
        if path.to_str().is_none() {
            return Err(refuse(path, FolderProblem::NotUtf8));
        }
        let dir = Dir::open_root(path)?;
        refuse_nesting(vault, path)?;
        let stat = dir.stat().at("look at the folder", path)?;
        let mut node = stat.node("".as_ref(), None);
        let attributes = stat::attributes(&dir).at("read the attributes of", path)?;
        stat::set_attributes(&mut node, &attributes);
        let mounted = dir.is_mount().at("look at the folder", path)?;
        Ok(Self { dir: Arc::new(dir), stat, node, mounted })
    }

    /// Refuses what took the place of the folder that a snapshot holds: never an empty
    /// snapshot of an unmounted disk. Device numbers say nothing here, since they change
    /// with every start of the computer.
    pub(crate) fn refuse_stranger(&self, path: &Path, stored: &Snapshot) -> Result<()> {
        match (stored.mounted, self.mounted) {
            (Some(true), Some(false)) => return Err(refuse(path, FolderProblem::Unmounted)),
            (Some(false), Some(true)) => return Err(refuse(path, FolderProblem::MountedOver)),
            _ => {}
        }
        let held = stored.counts.files + stored.counts.directories + stored.counts.others;
        if held > 0
            && self.is_another(stored)
            && self.dir.names().at("list the folder", path)?.is_empty()
        {
            return Err(refuse(path, FolderProblem::EmptyInItsPlace));
        }
        Ok(())
    }

    /// Whether it is another directory than the one that a snapshot holds.
    fn is_another(&self, stored: &Snapshot) -> bool {
        stored.root.as_ref().is_some_and(|root| root.meta.inode != self.stat.ino)
    }

    /// Whether a snapshot says the same about the folder itself.
    pub(crate) fn unchanged_since(&self, stored: &Snapshot) -> bool {
        let Some(before) = &stored.root else { return false };
        let (a, b) = (&before.meta, &self.node.meta);
        (a.mode, a.mtime, a.uid, a.gid) == (b.mode, b.mtime, b.uid, b.gid)
            && a.extended_attributes == b.extended_attributes
            // Else the next list of changes would be refused for ever.
            && a.inode == b.inode
            && stored.mounted == self.mounted
    }
}

fn refuse(path: &Path, what: FolderProblem) -> VaultError {
    VaultError::Folder { path: path.into(), what }
}

/// Neither may the folder hold the vault, nor the vault the folder.
fn refuse_nesting(vault: &Path, folder: &Path) -> Result<()> {
    let vault = vault.canonicalize().at("resolve the path of", vault)?;
    let folder = folder.canonicalize().at("resolve the path of", folder)?;
    if vault.starts_with(&folder) || folder.starts_with(&vault) {
        return Err(VaultError::Nested { vault, folder });
    }
    Ok(())
}
