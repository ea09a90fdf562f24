//! Entries whose status cannot be trusted yet. A file written twice within one tick of
//! the file clock keeps its times, so what is as young as the look at it has to be
//! looked at again, by content, even if nobody names it as changed. Owns the list of
//! these and what the vault remembers of its last look.

use std::collections::BTreeSet;

use rustic_core::Id;

use crate::catalog::{EntryPath, Snapshot};
use crate::stat::Stamp;

/// So many are remembered; with more, the next look goes through the whole folder.
const MOST: usize = 4096;
/// And so many in the snapshot's record, for when the process ends in between.
pub(crate) const MOST_RECORDED: usize = 200;

/// Entries as young as the look at them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Unsettled {
    paths: BTreeSet<Vec<u8>>,
    too_many: bool,
}

impl Unsettled {
    pub(crate) fn note(&mut self, path: &[u8]) {
        if !self.too_many {
            self.paths.insert(path.to_vec());
            self.too_many = self.paths.len() > MOST;
        }
    }

    pub(crate) fn merge(&mut self, other: Self) {
        self.too_many |= other.too_many;
        other.paths.iter().for_each(|path| self.note(path));
    }

    /// All of them, unless they are too many.
    pub(crate) fn paths(&self) -> Option<&BTreeSet<Vec<u8>>> {
        (!self.too_many).then_some(&self.paths)
    }

    /// As a snapshot's record keeps them.
    pub(crate) fn recorded(&self) -> Option<Vec<EntryPath>> {
        let few = self.paths().filter(|paths| paths.len() <= MOST_RECORDED)?;
        Some(few.iter().cloned().map(EntryPath).collect())
    }
}

/// The last look at the folder: it was then as this snapshot holds it.
#[derive(Clone, Debug)]
pub(crate) struct LastLook {
    pub(crate) snapshot: Id,
    /// The file clock when the look began.
    pub(crate) scanned: Stamp,
    pub(crate) unsettled: Unsettled,
}

impl LastLook {
    /// The look that a snapshot was made by.
    pub(crate) fn recorded(snapshot: &Snapshot) -> Option<Self> {
        let mut unsettled = Unsettled::default();
        match &snapshot.unsettled {
            Some(paths) => paths.iter().for_each(|path| unsettled.note(&path.0)),
            None => unsettled.too_many = true,
        }
        Some(Self { snapshot: snapshot.id.0, scanned: snapshot.scanned?, unsettled })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_many_are_said_to_be_too_many() {
        let mut young = Unsettled::default();
        for n in 0..MOST_RECORDED {
            young.note(n.to_string().as_bytes());
        }
        assert_eq!(young.recorded().map(|r| r.len()), Some(MOST_RECORDED));
        young.note(b"one more");
        assert_eq!(young.recorded(), None);
        assert!(young.paths().is_some());
        for n in 0..MOST {
            young.note(n.to_string().as_bytes());
        }
        assert_eq!(young.paths(), None);
        let mut other = Unsettled::default();
        other.merge(young);
        assert_eq!(other.paths(), None);
    }
}
