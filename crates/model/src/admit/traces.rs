//! What may lie on a machine's disk, or in a folder: whatever was ever to be seen there.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::place::{Place, leads_into};
use crate::name::FolderId;

/// Folders of which something may be there, each without what of it was hidden every time
/// (ways from the folder's root). Only grows.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Written")]
pub struct Traces(BTreeMap<FolderId, BTreeSet<PathBuf>>);

/// What may stand in a file. Once it was a list: of folders that were seen as a whole.
#[derive(Deserialize)]
#[serde(untagged)]
enum Written {
    Map(BTreeMap<FolderId, BTreeSet<PathBuf>>),
    List(BTreeSet<FolderId>),
}

impl From<Written> for Traces {
    fn from(written: Written) -> Self {
        match written {
            Written::Map(map) => Self(map),
            Written::List(list) => Self(list.into_iter().map(|id| (id, BTreeSet::new())).collect()),
        }
    }
}

impl Traces {
    /// Of one folder without what is hidden of it.
    #[must_use]
    pub fn of(folder: &FolderId, hidden: &BTreeSet<PathBuf>) -> Self {
        Self(BTreeMap::from([(folder.clone(), hidden.clone())]))
    }

    /// The folders.
    pub fn folders(&self) -> impl Iterator<Item = &FolderId> {
        self.0.keys()
    }

    /// The folders, each with what of it was always hidden.
    pub fn iter(&self) -> impl Iterator<Item = (&FolderId, &BTreeSet<PathBuf>)> {
        self.0.iter()
    }

    /// Whether it is known that a folder may have been seen, with no more hidden than this.
    #[must_use]
    pub fn has(&self, folder: &FolderId, hidden: &BTreeSet<PathBuf>) -> bool {
        self.0.get(folder).is_some_and(|kept| kept.iter().all(|way| leads_into(way, hidden)))
    }

    /// Whether nothing was ever seen.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds others.
    pub fn add(&mut self, others: &Self) {
        for (folder, hidden) in &others.0 {
            match self.0.get_mut(folder) {
                None => {
                    self.0.insert(folder.clone(), hidden.clone());
                }
                Some(own) => {
                    // Hidden both times is what lies in something hidden, each time.
                    let both = |some: &BTreeSet<PathBuf>, others: &BTreeSet<PathBuf>| {
                        let kept = some.iter().filter(|way| leads_into(way, others));
                        kept.cloned().collect::<BTreeSet<_>>()
                    };
                    let mut kept = both(own, hidden);
                    kept.extend(both(hidden, own));
                    *own = kept;
                }
            }
        }
    }
}

/// A folder that a session could write to, with what it may have been given.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Carrier {
    /// Where it is. Whoever registers it anew, or a folder around it, finds it by this.
    pub place: Place,
    /// What may lie in it, itself included.
    pub holds: Traces,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(name: &str) -> FolderId {
        FolderId::new(name).expect("id")
    }

    fn ways(ways: &[&str]) -> BTreeSet<PathBuf> {
        ways.iter().map(PathBuf::from).collect()
    }

    #[test]
    fn only_what_was_hidden_every_time_is_free_of_traces() {
        let mut traces = Traces::of(&id("a"), &ways(&["x", "y/z", "w"]));
        traces.add(&Traces::of(&id("a"), &ways(&["x/deep", "y"])));
        traces.add(&Traces::of(&id("b"), &ways(&[])));
        assert_eq!(traces.0[&id("a")], ways(&["x/deep", "y/z"]));
        traces.add(&Traces::of(&id("a"), &ways(&[])));
        assert_eq!(traces.0[&id("a")], ways(&[]));
        assert_eq!(traces.folders().count(), 2);
        let known = Traces::of(&id("a"), &ways(&["x"]));
        assert!(known.has(&id("a"), &ways(&["x"])) && known.has(&id("a"), &ways(&["x", "y"])));
        assert!(!known.has(&id("a"), &ways(&["x/deep"])) && !known.has(&id("b"), &ways(&[])));
    }

    #[test]
    fn the_list_that_was_written_once_means_whole_folders() {
        let old: Traces = serde_json::from_str(r#"["a-1", "b-2"]"#).expect("reads");
        let new: Traces = serde_json::from_str(r#"{"a-1": [], "b-2": []}"#).expect("reads");
        assert_eq!(old, new);
        let again = serde_json::to_string(&old).expect("writes");
        assert_eq!(serde_json::from_str::<Traces>(&again).expect("reads"), new);
    }
}
