//! Which paths and files a session's journal names: who else changed something meanwhile was
//! not the session. Owns that question, and errs on the side of the session.

use std::collections::{BTreeMap, HashSet};
use std::io;
use std::path::Path;

use ringfence_model::bytes::directories_above;

/// What a session touched.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Touched {
    /// Each path, and whether everything below it counts as well.
    paths: BTreeMap<Vec<u8>, bool>,
    /// Files by their inode: a name may have been given to one by the host since.
    inodes: HashSet<u64>,
}

impl Touched {
    /// Whether the session may have changed what is at a path: a file with this inode and so
    /// many names. Through another name it can change a file that the journal does not name.
    #[must_use]
    pub fn may_have_changed(&self, path: &[u8], inode: u64, names: u64) -> bool {
        names > 1
            || self.paths.contains_key(path)
            || self.inodes.contains(&inode)
            || directories_above(path).any(|above| self.paths.get(above) == Some(&true))
    }
}

/// What a session touched; `None` where its journal is not known to have everything.
///
/// # Errors
/// When the journal cannot be read.
pub fn touched(store: &Path, session: &str) -> io::Result<Option<Touched>> {
    let Some(journal) = super::complete_journal(store, session)? else { return Ok(None) };
    let paths = journal.changed_paths().into_iter();
    let inodes = journal.records.iter().map(|record| record.inode).filter(|inode| *inode != 0);
    Ok(Some(Touched {
        paths: paths.map(|(path, whole)| (path.to_vec(), whole)).collect(),
        inodes: inodes.collect(),
    }))
}

#[cfg(test)]
mod tests {
    use ringfence_share::journal::{self, Operation, Record, Writer};

    use super::*;

    #[test]
    fn only_what_the_session_cannot_have_changed_is_somebody_elses() {
        let temp = tempfile::tempdir().unwrap();
        std::fs::create_dir(temp.path().join("s")).unwrap();
        let mut writer = Writer::open(&temp.path().join("s").join(journal::FILE)).unwrap();
        let mut sequence = 0;
        let mut add = |operation, path: &str, other: &str, inode| {
            sequence += 1;
            let new = Record::new(operation, path.into());
            writer.append(&Record { sequence, inode, other: other.into(), ..new }).unwrap();
        };
        add(Operation::Begin, "s", "", 0);
        add(Operation::Create, "made", "", 0);
        add(Operation::Overwrite, "written", "", 7);
        add(Operation::Rename, "from", "to", 0);
        add(Operation::MakeDirectory, "dir", "", 0);
        assert_eq!(touched(temp.path(), "s").unwrap(), None, "it goes on");
        add(Operation::End, "s", "", 0);
        let touched = touched(temp.path(), "s").unwrap().unwrap();
        for (path, inode, names, may) in [
            ("made", 1, 1, true),
            ("written", 7, 1, true),
            ("host gave it this name", 7, 1, true),
            ("other name of something", 1, 2, true),
            ("to/below/x", 1, 1, true),
            ("from", 1, 1, true),
            ("dir/by the host", 1, 1, false),
            ("made/x", 1, 1, false),
            ("by the host", 1, 1, false),
        ] {
            assert_eq!(touched.may_have_changed(path.as_bytes(), inode, names), may, "{path}");
        }
    }
}
