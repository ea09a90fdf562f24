//! The versions that a session destroyed, out of its journal: which there are, and
//! where each one's content stands.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};

use ringfence_model::bytes::BytePath;
use ringfence_model::kept::{KeptView, Loss};
use ringfence_share::journal::{Operation, Record};

/// One version and its content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// What a person sees of it.
    pub view: KeptView,
    /// The file in which its content stands; it is the first `view.bytes` of it.
    pub file: PathBuf,
}

/// Every version that a session destroyed and that is kept, in the order of the losses;
/// `None` where the session has no journal.
///
/// # Errors
/// When the journal cannot be read.
pub fn versions(store: &Path, session: &str) -> io::Result<Option<Vec<Kept>>> {
    let Some((directory, journal)) = super::journal(store, session)? else { return Ok(None) };
    // What only grew is the beginning of what was kept of the same file next.
    let mut next: HashMap<u64, u64> = HashMap::new();
    let mut found: Vec<(&Record, u64)> = Vec::new();
    for record in journal.records.iter().rev() {
        if record.object != 0 {
            next.insert(record.inode, record.object);
        }
        let object = match record.operation {
            Operation::Append if record.size_before > 0 => next.get(&record.inode).copied(),
            _ => Some(record.object).filter(|object| *object != 0),
        };
        found.extend(object.map(|object| (record, object)));
    }
    let kept = found.into_iter().rev().zip(1..).filter_map(|((record, object), number)| {
        let loss = match record.operation {
            Operation::Overwrite => Loss::Overwritten,
            Operation::Append => Loss::Extended,
            Operation::Remove => Loss::Removed,
            Operation::Replace => Loss::Replaced,
            // A removal that was refused destroyed nothing.
            _ => return None,
        };
        let view = KeptView {
            number,
            time: jiff::Timestamp::from_nanosecond(i128::from(record.time)).unwrap_or_default(),
            loss,
            path: BytePath::from_bytes(&record.path),
            bytes: record.size_before,
            mode: record.mode & 0o7777,
        };
        Some(Kept { view, file: directory.join(object.to_string()) })
    });
    Ok(Some(kept.collect()))
}

#[cfg(test)]
mod tests {
    use ringfence_share::journal::{self, Writer};

    use super::*;

    #[test]
    fn each_version_is_found_also_where_it_only_grew() {
        let temp = tempfile::tempdir().unwrap();
        std::fs::create_dir(temp.path().join("s")).unwrap();
        let mut writer = Writer::open(&temp.path().join("s").join(journal::FILE)).unwrap();
        let mut sequence = 0;
        let mut add = |operation, path: &str, inode, size_before, object| {
            sequence += 1;
            let path = path.as_bytes().to_vec();
            let record = Record {
                sequence,
                inode,
                size_before,
                object,
                mode: 0o100_600,
                time: 1_700_000_000_000_000_000,
                ..Record::new(operation, path)
            };
            writer.append(&record).unwrap();
        };
        add(Operation::Begin, "s", 0, 0, 0);
        add(Operation::Append, "log", 5, 10, 0);
        add(Operation::Append, "new", 6, 0, 0);
        add(Operation::Overwrite, "stored", 7, 9, 0);
        add(Operation::Append, "log", 5, 20, 0);
        add(Operation::Remove, "log", 5, 30, 1);
        add(Operation::Undone, "log", 5, 30, 1);
        add(Operation::Append, "log", 5, 30, 0);
        add(Operation::Replace, "b", 8, 4, 2);
        let all = versions(temp.path(), "s").unwrap().unwrap();
        let seen: Vec<_> = all
            .iter()
            .map(|kept| {
                let name = kept.file.file_name().unwrap().to_str().unwrap();
                (&*kept.view.path.path, kept.view.loss, kept.view.bytes, name)
            })
            .collect();
        assert_eq!(
            seen,
            [
                ("log", Loss::Extended, 10, "1"),
                ("log", Loss::Extended, 20, "1"),
                ("log", Loss::Removed, 30, "1"),
                ("b", Loss::Replaced, 4, "2"),
            ]
        );
        assert_eq!(all[0].view.mode, 0o600);
        assert_eq!(versions(temp.path(), "other").unwrap(), None);
    }
}
