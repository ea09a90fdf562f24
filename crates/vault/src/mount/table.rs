//! The numbers by which the kernel knows entries, and the directories read last. Owns how much
//! memory looking around may take.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use rustic_core::TreeId;
use rustic_core::repofile::Node;

/// Entries that the kernel may know at one time; it forgets them when it needs room.
const MOST_ENTRIES: usize = 1_000_000;
/// Directories that are kept parsed, and entries in them.
const MOST_DIRECTORIES: usize = 256;
const MOST_PARSED: usize = 200_000;

/// What a number stands for. A directory is known by its tree; what is in it by name.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Place {
    /// The mount itself.
    Top,
    /// The link to the newest snapshot.
    Newest,
    /// A snapshot, by its directory's name.
    Snapshot(String),
    /// An entry of a stored directory.
    Entry(TreeId, Vec<u8>),
}

/// Numbers of places. The number of the top is 1, as the kernel wants it.
pub(super) struct Table {
    places: HashMap<u64, (Place, u64)>,
    numbers: HashMap<Place, u64>,
    next: u64,
}

impl Table {
    pub(super) fn new() -> Self {
        let places = HashMap::from([(1, (Place::Top, 1))]);
        Self { places, numbers: HashMap::from([(Place::Top, 1)]), next: 2 }
    }

    pub(super) fn place(&self, number: u64) -> Option<Place> {
        self.places.get(&number).map(|(place, _)| place.clone())
    }

    /// The number of a place that the kernel looked up once more; `None` when it knows too many.
    pub(super) fn look_up(&mut self, place: Place) -> Option<u64> {
        if let Some(number) = self.numbers.get(&place) {
            if let Some((_, lookups)) = self.places.get_mut(number) {
                *lookups += 1;
            }
            return Some(*number);
        }
        if self.places.len() >= MOST_ENTRIES {
            return None;
        }
        let number = self.next;
        self.next += 1;
        self.numbers.insert(place.clone(), number);
        self.places.insert(number, (place, 1));
        Some(number)
    }

    /// The kernel forgot so many of its look-ups.
    pub(super) fn forget(&mut self, number: u64, lookups: u64) {
        let Some((place, known)) = self.places.get_mut(&number) else { return };
        *known = known.saturating_sub(lookups);
        if *known == 0 && number != 1 {
            self.numbers.remove(place);
            self.places.remove(&number);
        }
    }
}

/// A parsed directory.
pub(super) struct Listing {
    pub(super) nodes: Vec<Node>,
    by_name: HashMap<Vec<u8>, usize>,
}

impl Listing {
    pub(super) fn new(nodes: Vec<Node>) -> Self {
        use std::os::unix::ffi::OsStrExt as _;
        let name = |(at, node): (usize, &Node)| (node.name().as_bytes().to_vec(), at);
        let by_name = nodes.iter().enumerate().map(name).collect();
        Self { nodes, by_name }
    }

    pub(super) fn node(&self, name: &[u8]) -> Option<&Node> {
        self.by_name.get(name).map(|at| &self.nodes[*at])
    }
}

/// The directories read last.
#[derive(Default)]
pub(super) struct Parsed {
    known: VecDeque<(TreeId, Arc<Listing>)>,
    entries: usize,
}

impl Parsed {
    pub(super) fn get(&mut self, tree: TreeId) -> Option<Arc<Listing>> {
        let at = self.known.iter().position(|(known, _)| *known == tree)?;
        let found = self.known.remove(at)?;
        let listing = Arc::clone(&found.1);
        self.known.push_back(found);
        Some(listing)
    }

    pub(super) fn put(&mut self, tree: TreeId, listing: Arc<Listing>) {
        self.entries += listing.nodes.len();
        self.known.push_back((tree, listing));
        let too_much =
            |parsed: &Self| parsed.known.len() > MOST_DIRECTORIES || parsed.entries > MOST_PARSED;
        while self.known.len() > 1 && too_much(self) {
            let gone = self.known.pop_front();
            self.entries -= gone.map_or(0, |(_, listing)| listing.nodes.len());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustic_core::repofile::{Metadata, NodeType};

    #[test]
    fn numbers_live_as_long_as_the_kernel_knows_them() {
        let mut table = Table::new();
        let place = Place::Snapshot("a".into());
        let first = table.look_up(place.clone()).unwrap();
        assert_eq!(table.look_up(place.clone()), Some(first));
        table.forget(first, 1);
        assert_eq!(table.place(first), Some(place.clone()));
        table.forget(first, 1);
        assert_eq!(table.place(first), None);
        assert_ne!(table.look_up(place), Some(first), "a number means one thing only");
        table.forget(1, 99);
        assert_eq!(table.place(1), Some(Place::Top));
        table.forget(12_345, 1);
    }

    #[test]
    fn directories_read_long_ago_are_let_go() {
        let mut parsed = Parsed::default();
        let listing = || Arc::new(Listing::new(Vec::new()));
        let tree = |n: usize| {
            let mut id = [0u8; 32];
            id[..8].copy_from_slice(&n.to_be_bytes());
            TreeId::from(rustic_core::Id::new(id))
        };
        for n in 0..MOST_DIRECTORIES + 10 {
            parsed.put(tree(n), listing());
        }
        assert!(parsed.get(tree(3)).is_none());
        assert!(parsed.get(tree(MOST_DIRECTORIES)).is_some());
        assert_eq!(parsed.known.len(), MOST_DIRECTORIES);
    }

    #[test]
    fn a_directory_of_any_size_is_kept_but_not_beside_others() {
        let mut parsed = Parsed::default();
        let tree = |n: u8| TreeId::from(rustic_core::Id::new([n; 32]));
        let node = || Node::new_node("x".as_ref(), NodeType::File, Metadata::default());
        let huge = || Arc::new(Listing::new((0..=MOST_PARSED).map(|_| node()).collect()));
        parsed.put(tree(1), huge());
        parsed.put(tree(2), huge());
        assert!(parsed.get(tree(1)).is_none() && parsed.get(tree(2)).is_some());
        assert_eq!(parsed.entries, MOST_PARSED + 1);
    }
}
