//! Looking into a snapshot. Owns the public shape of a stored entry; writes nothing.

use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;

use jiff::Timestamp;
use rustic_core::TreeId;
use rustic_core::repofile::{Metadata, Node, NodeType};
use serde::Serialize;

use crate::catalog::{self, EntryPath, Snapshot, SnapshotId};
use crate::diff::Lookup;
use crate::engine::{Engine, Repo, writing};
use crate::error::{Result, VaultError};
use crate::stat::unix_mode;

/// What an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum EntryKind {
    /// Regular file.
    File,
    /// Directory.
    Directory,
    /// Symbolic link.
    Link,
    /// Named pipe.
    Pipe,
    /// Socket.
    Socket,
    /// Block or character device.
    Device,
}

impl EntryKind {
    pub(crate) fn of(node: &Node) -> Self {
        match node.node_type {
            NodeType::File => Self::File,
            NodeType::Dir => Self::Directory,
            NodeType::Symlink { .. } => Self::Link,
            NodeType::Fifo => Self::Pipe,
            NodeType::Socket => Self::Socket,
            NodeType::Dev { .. } | NodeType::Chardev { .. } => Self::Device,
        }
    }
}

/// One stored entry.
#[derive(Clone, Debug, Serialize)]
pub struct Entry {
    /// Where, below the folder.
    #[serde(flatten)]
    pub path: EntryPath,
    /// What.
    pub kind: EntryKind,
    /// Bytes, for a regular file.
    pub size: u64,
    /// Permission bits with set-uid, set-gid and sticky.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// When it was modified last.
    pub modified: Option<Timestamp>,
    /// Where a link points.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
}

impl Entry {
    pub(crate) fn from_node(path: Vec<u8>, node: &Node) -> Self {
        let target =
            node.is_symlink().then(|| node.node_type.to_link().to_string_lossy().into_owned());
        Self {
            path: EntryPath(path),
            kind: EntryKind::of(node),
            size: node.meta.size,
            mode: unix_mode(node.meta.mode.unwrap_or(0)),
            uid: node.meta.uid.unwrap_or(0),
            gid: node.meta.gid.unwrap_or(0),
            modified: node.meta.mtime,
            target,
        }
    }
}

/// The folder itself as a node, in snapshots that recorded it and in others.
pub(crate) fn root_node(snapshot: &Snapshot) -> Node {
    let mut node = snapshot.root.clone().unwrap_or_else(|| {
        let meta = Metadata { mode: Some((1 << 31) | 0o700), ..Metadata::default() };
        Node::new_node("".as_ref(), NodeType::Dir, meta)
    });
    node.subtree = Some(snapshot.tree);
    node
}

/// Finds the node at `path`; `b""` is the folder itself.
pub(crate) fn node(engine: &Engine, repo: &Repo, snapshot: &Snapshot, path: &[u8]) -> Result<Node> {
    let missing = |what| VaultError::Path {
        snapshot: snapshot.id.short(),
        path: String::from_utf8_lossy(path).into_owned(),
        what,
    };
    let mut node = root_node(snapshot);
    for part in path.split(|b| *b == b'/').filter(|p| !p.is_empty()) {
        let tree: TreeId = node.subtree.ok_or_else(|| missing("does not exist"))?;
        let found = engine.tree(repo, tree)?.into_iter().find(|n| n.name().as_bytes() == part);
        node = found.ok_or_else(|| missing("does not exist"))?;
    }
    Ok(node)
}

/// Many looks into one snapshot.
pub struct Looker<'a>(Lookup<'a>);

impl Looker<'_> {
    /// One entry; `None` where there is none, or its directory is damaged.
    pub fn entry(&mut self, path: &[u8]) -> Option<Entry> {
        Some(Entry::from_node(path.to_vec(), &self.0.find(path)?))
    }
}

/// One snapshot, opened for several looks into it.
#[derive(Debug)]
pub struct View {
    engine: Arc<Engine>,
    repo: Arc<Repo>,
    snapshot: Snapshot,
}

impl View {
    pub(crate) fn open(engine: &Arc<Engine>, id: SnapshotId) -> Result<Self> {
        let repo = engine.repo()?;
        let snapshot = catalog::load(engine, &repo, id.0)?;
        Ok(Self { engine: Arc::clone(engine), repo, snapshot })
    }

    /// Which snapshot it is.
    #[must_use]
    pub fn snapshot(&self) -> &Snapshot {
        &self.snapshot
    }

    /// One entry; `b""` is the folder itself.
    ///
    /// # Errors
    /// When there is no such entry.
    pub fn entry(&self, path: &[u8]) -> Result<Entry> {
        Ok(Entry::from_node(path.to_vec(), &self.node(path)?))
    }

    /// Entries of a directory, sorted by name.
    ///
    /// # Errors
    /// When there is no such directory.
    pub fn list(&self, path: &[u8]) -> Result<Vec<Entry>> {
        let tree =
            self.node(path)?.subtree.ok_or_else(|| self.refuse(path, "is not a directory"))?;
        let nodes = self.engine.tree(&self.repo, tree)?;
        Ok(nodes
            .iter()
            .map(|n| Entry::from_node(crate::beneath::join(path, &n.name()), n))
            .collect())
    }

    /// Writes a file's content to `to`, piece by piece, and gives its length.
    ///
    /// # Errors
    /// When there is no such file, it is damaged, or `to` refuses.
    pub fn read(&self, path: &[u8], to: &mut dyn Write) -> Result<u64> {
        let found = self.node(path)?;
        if !found.is_file() {
            return Err(self.refuse(path, "is not a file"));
        }
        let content = found.content.as_deref().unwrap_or_default();
        self.engine.copy_content(&self.repo, content, &mut writing(to))
    }

    /// Looks that are quick for paths in walking order.
    ///
    /// # Errors
    /// When the snapshot is damaged.
    pub fn looker(&self) -> Result<Looker<'_>> {
        Ok(Looker(Lookup::new(&self.engine, &self.repo, self.snapshot.tree)?))
    }

    fn node(&self, path: &[u8]) -> Result<Node> {
        node(&self.engine, &self.repo, &self.snapshot, path)
    }

    fn refuse(&self, path: &[u8], what: &'static str) -> VaultError {
        VaultError::Path {
            snapshot: self.snapshot.id.short(),
            path: String::from_utf8_lossy(path).into_owned(),
            what,
        }
    }
}
