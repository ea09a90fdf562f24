//! The versions that a session destroyed, out of its journal: which there are, and under
//! which number each one's content stands. Pure.

use std::collections::HashMap;

use ringfence_model::bytes::BytePath;
use ringfence_model::kept::{KeptView, Loss};
use ringfence_share::journal::{Operation, Record, STILL_NAMED};

/// One version and its content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// What a person sees of it.
    pub view: KeptView,
    /// The number under which its content was kept; it is the first `view.bytes` of that.
    pub object: u64,
    /// When it had been modified last, in nanoseconds since 1970.
    pub modified: i64,
}

/// The content before each operation that destroyed some, by the operation's place in the
/// journal.
pub(super) fn objects(records: &[Record]) -> HashMap<usize, u64> {
    // What only grew is the beginning of what was kept of the same file next.
    let mut next: HashMap<u64, u64> = HashMap::new();
    let mut found = HashMap::new();
    for (place, record) in records.iter().enumerate().rev() {
        if record.object != 0 {
            next.insert(record.inode, record.object);
            found.insert(place, record.object);
            continue;
        }
        let lives_on = record.operation == Operation::Append || record.data == STILL_NAMED;
        match next.get(&record.inode) {
            Some(object) if lives_on && record.size_before > 0 => {
                found.insert(place, *object);
            }
            // What is kept of an inode is another file's before this one lost its content.
            _ if loss(record).is_some() && !lives_on => {
                next.remove(&record.inode);
            }
            _ => {}
        }
    }
    found
}

fn loss(record: &Record) -> Option<Loss> {
    match record.operation {
        Operation::Overwrite => Some(Loss::Overwritten),
        Operation::Append => Some(Loss::Extended),
        Operation::Remove => Some(Loss::Removed),
        Operation::Replace => Some(Loss::Replaced),
        // A removal that was refused destroyed nothing.
        _ => None,
    }
}

/// Every version that a session destroyed and that is kept, in the order of the losses.
#[must_use]
pub fn versions(records: &[Record]) -> Vec<Kept> {
    let objects = objects(records);
    let kept = records.iter().enumerate().filter_map(|(place, record)| {
        let view = KeptView {
            number: place as u64 + 1,
            time: super::timestamp(record.time),
            loss: loss(record)?,
            path: BytePath::from_bytes(&record.path),
            bytes: record.size_before,
            mode: record.mode & 0o7777,
        };
        Some(Kept { view, object: *objects.get(&place)?, modified: record.modified })
    });
    kept.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_version_is_found_also_where_it_only_grew() {
        let mut records = Vec::new();
        let mut add = |operation, path: &str, inode, size_before, object| {
            records.push(Record {
                sequence: records.len() as u64,
                inode,
                size_before,
                object,
                mode: 0o100_600,
                time: 1_700_000_000_000_000_000,
                ..Record::new(operation, path.as_bytes().to_vec())
            });
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
        let all = versions(&records);
        let seen: Vec<_> = all
            .iter()
            .map(|kept| {
                (
                    kept.view.number,
                    &*kept.view.path.path,
                    kept.view.loss,
                    kept.view.bytes,
                    kept.object,
                )
            })
            .collect();
        assert_eq!(
            seen,
            [
                (2, "log", Loss::Extended, 10, 1),
                (5, "log", Loss::Extended, 20, 1),
                (6, "log", Loss::Removed, 30, 1),
                (9, "b", Loss::Replaced, 4, 2),
            ]
        );
        assert_eq!(all[0].view.mode, 0o600);
    }

    #[test]
    fn an_inode_that_another_file_had_says_nothing_and_another_name_does() {
        let record = |operation, inode, size_before, object, data: &[u8]| Record {
            inode,
            size_before,
            object,
            data: data.to_vec(),
            ..Record::new(operation, b"a".to_vec())
        };
        let records = [
            record(Operation::Append, 5, 3, 0, b""),
            // The vault has it; its inode goes to another file.
            record(Operation::Remove, 5, 9, 0, b""),
            record(Operation::Remove, 5, 7, 0, STILL_NAMED),
            record(Operation::Overwrite, 5, 7, 1, b""),
        ];
        let numbers: Vec<_> = versions(&records).iter().map(|kept| kept.view.number).collect();
        assert_eq!(numbers, [3, 4]);
    }
}
