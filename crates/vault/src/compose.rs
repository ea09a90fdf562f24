//! A state of the folder that no snapshot has, put together from what snapshots have. Owns
//! how pieces are laid over a snapshot; stores nothing: its directories are in memory.

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use rustic_core::repofile::{Metadata, Node, NodeType, Tree};
use rustic_core::{DataId, Id, TreeId};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::beneath::MAX_DEPTH;
use crate::browse::root_node;
use crate::catalog::{self, EntryPath, Snapshot, SnapshotId};
use crate::diff::Lookup;
use crate::engine::{Engine, Repo};
use crate::error::{Result, VaultError};
use crate::stat::{go_mode, is_component, timestamp_of};

/// What is at one path of the state, whatever the snapshot that it is laid over has there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Piece {
    /// Where, below the folder.
    pub path: Vec<u8>,
    /// What.
    pub what: PieceWhat,
}

/// What a piece is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum PieceWhat {
    /// Nothing is there.
    Nothing,
    /// A directory, empty but for other pieces.
    Directory {
        /// Its permission bits, where they are known.
        mode: Option<u32>,
        /// When it was modified last, in nanoseconds since 1970.
        modified: Option<i64>,
    },
    /// An empty file.
    Empty {
        /// Its permission bits, where they are known.
        mode: Option<u32>,
        /// When it was modified last, in nanoseconds since 1970.
        modified: Option<i64>,
    },
    /// A symbolic link.
    Link {
        /// Where it points.
        target: Vec<u8>,
        /// When it was made, in nanoseconds since 1970.
        modified: Option<i64>,
    },
    /// What a snapshot has somewhere, with all that is below it.
    Stored {
        /// Where to look; the first that is there counts.
        from: Vec<StoredAt>,
        /// Where it is nowhere: `true`, nothing is there; `false`, it is lacking, and what
        /// the state is laid over stays.
        or_nothing: bool,
        /// Other permission bits than it was stored with.
        mode: Option<u32>,
        /// Another time than it was stored with, in nanoseconds since 1970.
        modified: Option<i64>,
    },
}

/// A place in a snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredAt {
    /// The snapshot.
    pub snapshot: SnapshotId,
    /// The path in it.
    pub path: Vec<u8>,
    /// Only a file of this size, in bytes, modified at this time, in nanoseconds since 1970.
    pub like: Option<(u64, i64)>,
    /// Only its first so many bytes.
    pub length: Option<u64>,
}

/// A state of the folder that was put together.
#[derive(Clone, Debug)]
pub struct Composed {
    pub(crate) snapshot: Snapshot,
    pub(crate) tree: TreeId,
    /// Pieces that no snapshot has.
    pub lacking: Vec<EntryPath>,
}

/// Puts a state together.
pub(crate) fn compose(engine: &Engine, base: SnapshotId, pieces: &[Piece]) -> Result<Composed> {
    let repo = engine.repo()?;
    let snapshot = catalog::load(engine, &repo, base.0)?;
    let mut composer =
        Composer { engine, repo: &repo, lookups: HashMap::new(), lacking: Vec::new() };
    let mut root = Patch::default();
    let mut sorted: Vec<&Piece> = pieces.iter().collect();
    sorted.sort_by(|a, b| a.path.cmp(&b.path));
    for piece in sorted {
        composer.lay(&mut root, piece)?;
    }
    let top = root_node(&snapshot);
    let tree = composer.build(Some(snapshot.tree), &top, root, 0)?;
    Ok(Composed { snapshot, tree, lacking: composer.lacking })
}

/// What is laid over one name.
#[derive(Debug, Default)]
struct Patch {
    what: Option<Laid>,
    below: BTreeMap<Vec<u8>, Patch>,
}

#[derive(Debug)]
enum Laid {
    Nothing,
    Directory(Option<u32>, Option<i64>),
    Node(Box<Node>),
}

struct Composer<'a> {
    engine: &'a Engine,
    repo: &'a Repo,
    lookups: HashMap<SnapshotId, Lookup<'a>>,
    lacking: Vec<EntryPath>,
}

impl Composer<'_> {
    fn lay(&mut self, root: &mut Patch, piece: &Piece) -> Result<()> {
        let laid = match &piece.what {
            PieceWhat::Nothing => Laid::Nothing,
            PieceWhat::Directory { mode, modified } => Laid::Directory(*mode, *modified),
            PieceWhat::Empty { mode, modified } => {
                let meta = Metadata {
                    mode: Some(go_mode(0o100_000 | mode.unwrap_or(0o644) & 0o7777)),
                    mtime: modified.map(timestamp_of),
                    links: 1,
                    ..Metadata::default()
                };
                let mut node = Node::new_node("".as_ref(), NodeType::File, meta);
                node.content = Some(Vec::new());
                Laid::Node(Box::new(node))
            }
            PieceWhat::Link { target, modified } => {
                let kind = NodeType::from_link(OsStr::from_bytes(target).as_ref());
                let meta = Metadata {
                    mode: Some(go_mode(0o120_777)),
                    mtime: modified.map(timestamp_of),
                    links: 1,
                    ..Metadata::default()
                };
                Laid::Node(Box::new(Node::new_node("".as_ref(), kind, meta)))
            }
            PieceWhat::Stored { from, or_nothing, mode, modified } => match self.stored(from)? {
                Some(mut node) => {
                    if let Some(mode) = mode {
                        let kind = node.meta.mode.unwrap_or(0) & !go_mode(0o7777);
                        node.meta.mode = Some(kind | go_mode(mode & 0o7777));
                    }
                    if let Some(modified) = modified {
                        node.meta.mtime = Some(timestamp_of(*modified));
                    }
                    Laid::Node(Box::new(node))
                }
                None if *or_nothing => Laid::Nothing,
                None => {
                    self.lacking.push(EntryPath(piece.path.clone()));
                    return Ok(());
                }
            },
        };
        let mut at = root;
        for (depth, name) in piece.path.split(|byte| *byte == b'/').enumerate() {
            if !is_component(name) || depth >= MAX_DEPTH {
                // A journal's words are a claim: what is no path in the folder is left out.
                self.lacking.push(EntryPath(piece.path.clone()));
                return Ok(());
            }
            at = at.below.entry(name.to_vec()).or_default();
        }
        at.what = Some(laid);
        Ok(())
    }

    /// The first of some places at which something is.
    fn stored(&mut self, from: &[StoredAt]) -> Result<Option<Node>> {
        for place in from {
            if !self.lookups.contains_key(&place.snapshot) {
                let tree = catalog::load(self.engine, self.repo, place.snapshot.0)?.tree;
                let lookup = Lookup::new(self.engine, self.repo, tree)?;
                self.lookups.insert(place.snapshot, lookup);
            }
            let Some(lookup) = self.lookups.get_mut(&place.snapshot) else { continue };
            let Some(node) = lookup.find(&place.path) else { continue };
            let fits = place.like.is_none_or(|(size, modified)| {
                let same_size = !node.is_file() || node.meta.size == size;
                same_size && node.meta.mtime == Some(timestamp_of(modified))
            });
            if !fits {
                continue;
            }
            match place.length {
                None => return Ok(Some(node)),
                Some(length) if node.is_file() && node.meta.size >= length => {
                    return self.cut(node, length).map(Some);
                }
                Some(_) => {}
            }
        }
        Ok(None)
    }

    /// The first bytes of a stored file.
    fn cut(&self, mut node: Node, length: u64) -> Result<Node> {
        let mut left = length;
        let mut content = Vec::new();
        for id in node.content.take().unwrap_or_default() {
            if left == 0 {
                break;
            }
            let mut piece = Vec::new();
            self.engine.copy_content(self.repo, &[id], &mut |bytes| {
                piece.extend_from_slice(bytes);
                Ok(())
            })?;
            if piece.len() as u64 <= left {
                left -= piece.len() as u64;
                content.push(id);
            } else {
                piece.truncate(usize::try_from(left).unwrap_or(0));
                left = 0;
                let hash = Sha256::digest(&piece);
                let id = DataId::from(Id::new(hash.into()));
                self.engine.imagined().content.insert(id, piece);
                content.push(id);
            }
        }
        node.content = Some(content);
        node.meta.size = length;
        // It is another version than the one that these describe.
        (node.meta.inode, node.meta.ctime, node.meta.links) = (0, None, 1);
        Ok(node)
    }

    /// The directory that comes of a stored one and what is laid over it.
    fn build(
        &mut self,
        tree: Option<TreeId>,
        parent: &Node,
        patch: Patch,
        depth: usize,
    ) -> Result<TreeId> {
        let stored = tree.map(|tree| self.engine.tree(self.repo, tree)).transpose()?;
        let mut nodes: BTreeMap<Vec<u8>, Node> = stored
            .unwrap_or_default()
            .into_iter()
            .map(|node| (node.name().as_bytes().to_vec(), node))
            .collect();
        for (name, patch) in patch.below {
            let existing = nodes.remove(&name);
            if let Some(node) = self.entry(&name, existing, parent, patch, depth)? {
                nodes.insert(name, node);
            }
        }
        let tree = Tree { nodes: nodes.into_values().collect() };
        let serialized = tree.serialize();
        let (_, id) = serialized.map_err(|error| VaultError::Engine {
            doing: "putting a state together",
            detail: error.to_string(),
        })?;
        self.engine.imagined().trees.insert(id, tree.nodes);
        Ok(id)
    }

    fn entry(
        &mut self,
        name: &[u8],
        existing: Option<Node>,
        parent: &Node,
        patch: Patch,
        depth: usize,
    ) -> Result<Option<Node>> {
        let name = OsStr::from_bytes(name);
        let mut node = match patch.what {
            None => match existing {
                Some(node) if node.is_dir() || patch.below.is_empty() => node,
                // Something is to be below, so it is a directory.
                _ if patch.below.values().any(is_something) => directory(parent),
                Some(node) => node,
                None => return Ok(None),
            },
            Some(Laid::Nothing) => return Ok(None),
            Some(Laid::Directory(mode, modified)) => {
                let mut node = existing.filter(Node::is_dir).unwrap_or_else(|| directory(parent));
                node.subtree = None;
                if let Some(mode) = mode {
                    node.meta.mode = Some(go_mode(0o040_000 | mode & 0o7777));
                }
                if let Some(modified) = modified {
                    node.meta.mtime = Some(timestamp_of(modified));
                }
                node
            }
            Some(Laid::Node(laid)) => {
                let mut node = *laid;
                // Versions that were kept, and links, do not know whose they were.
                if let Some(owner) = existing.as_ref().filter(|owner| owner.meta.uid.is_some())
                    && node.meta.inode == 0
                {
                    (node.meta.uid, node.meta.gid) = (owner.meta.uid, owner.meta.gid);
                } else if node.meta.uid.is_none() {
                    (node.meta.uid, node.meta.gid) = (parent.meta.uid, parent.meta.gid);
                }
                node
            }
        };
        if node.is_dir() && (!patch.below.is_empty() || node.subtree.is_none()) {
            let below = Patch { what: None, below: patch.below };
            let tree = self.build(node.subtree, &node.clone(), below, depth + 1)?;
            node.subtree = Some(tree);
        }
        let (content, subtree) = (node.content.take(), node.subtree.take());
        let mut named = Node::new_node(name, node.node_type, node.meta);
        (named.content, named.subtree) = (content, subtree);
        Ok(Some(named))
    }
}

fn is_something(patch: &Patch) -> bool {
    match &patch.what {
        Some(Laid::Nothing) => false,
        Some(_) => true,
        None => patch.below.values().any(is_something),
    }
}

/// A directory about which nothing is known.
fn directory(parent: &Node) -> Node {
    let meta = Metadata {
        mode: parent.meta.mode.or(Some(go_mode(0o040_755))),
        mtime: parent.meta.mtime,
        uid: parent.meta.uid,
        gid: parent.meta.gid,
        ..Metadata::default()
    };
    Node::new_node("".as_ref(), NodeType::Dir, meta)
}
