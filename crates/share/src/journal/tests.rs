//! A journal's file cut, damaged and written on.

use std::fs;

use super::*;

fn record(sequence: u64, operation: Operation, path: &[u8]) -> Record {
    Record {
        sequence,
        time: 1_700_000_000_000_000_000 + i64::try_from(sequence).unwrap(),
        pid: 42,
        uid: 1000,
        inode: 7,
        size_before: 3,
        size_after: 9,
        mode: 0o100_644,
        modified: -1,
        object: sequence * 2,
        other: b"to \xff".to_vec(),
        data: vec![0, 1, 2],
        ..Record::new(operation, path.to_vec())
    }
}

fn written(records: &[Record]) -> (tempfile::TempDir, std::path::PathBuf) {
    let temp = tempfile::tempdir().unwrap();
    let path = temp.path().join(FILE);
    let mut writer = Writer::open(&path).unwrap();
    for record in records {
        writer.append(record).unwrap();
    }
    writer.sync().unwrap();
    (temp, path)
}

#[test]
fn what_was_written_is_read_in_the_order_of_the_changes() {
    let mut records: Vec<Record> = Operation::ALL
        .into_iter()
        .enumerate()
        .map(|(at, operation)| record(100 - at as u64, operation, b"a/\xfe\nb"))
        .collect();
    let (_temp, path) = written(&records);
    let journal = Journal::read(&path).unwrap();
    records.reverse();
    assert_eq!(journal.records, records);
    assert!(!journal.torn);
    assert_eq!(journal.good, fs::metadata(&path).unwrap().len());
}

#[test]
fn cut_at_any_byte_every_whole_record_is_read_and_writing_goes_on_behind_it() {
    let records: Vec<_> =
        (0..4).map(|at| record(at, Operation::Overwrite, &vec![b'p'; at as usize])).collect();
    let (temp, path) = written(&records);
    let whole = fs::read(&path).unwrap();
    let mut ends = vec![HEADER.len()];
    for record in &records {
        let mut body = Vec::new();
        record.encode(&mut body);
        ends.push(ends[ends.len() - 1] + FRAME + body.len());
    }
    assert_eq!(*ends.last().unwrap(), whole.len());
    let cut = temp.path().join("cut");
    for length in 0..=whole.len() {
        fs::write(&cut, &whole[..length]).unwrap();
        let known = Journal::read(&cut).unwrap();
        let want = ends.iter().filter(|end| **end <= length).count().saturating_sub(1);
        assert_eq!(known.records, records[..want], "cut at {length}");
        assert_eq!(known.torn, length != 0 && !ends.contains(&length), "cut at {length}");
        let mut writer = Writer::open(&cut).unwrap();
        let more = record(99, Operation::End, b"s");
        writer.append(&more).unwrap();
        let again = Journal::read(&cut).unwrap();
        assert_eq!(again.records[..want], records[..want], "cut at {length}");
        assert_eq!(again.records[want..], [more], "cut at {length}");
        assert!(again.is_complete(), "cut at {length}");
    }
}

#[test]
fn a_flipped_bit_ends_the_reading_and_invents_nothing() {
    let records: Vec<_> = (0..3).map(|at| record(at, Operation::Remove, b"path")).collect();
    let (_temp, path) = written(&records);
    let whole = fs::read(&path).unwrap();
    for at in HEADER.len()..whole.len() {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x10;
        let known = Journal::parse(&bytes).unwrap();
        assert!(known.torn, "flipped at {at}");
        assert!(known.records.len() < records.len(), "flipped at {at}");
        assert_eq!(known.records, records[..known.records.len()], "flipped at {at}");
    }
}

#[test]
fn another_version_is_refused_and_not_cut() {
    let temp = tempfile::tempdir().unwrap();
    let path = temp.path().join(FILE);
    let mut bytes = HEADER.to_vec();
    bytes[12] = 2;
    bytes.extend_from_slice(b"of the future");
    fs::write(&path, &bytes).unwrap();
    assert!(Journal::read(&path).is_err());
    assert!(Writer::open(&path).is_err());
    assert_eq!(fs::read(&path).unwrap(), bytes);
}

#[test]
fn the_checksum_is_the_usual_one() {
    assert_eq!(checksum(b"123456789"), 0xcbf4_3926);
}

#[test]
fn changed_paths_are_named_once_and_only_an_ended_journal_is_complete() {
    let mut records = vec![
        Record::new(Operation::Begin, b"s".to_vec()),
        Record { other: b"c".to_vec(), ..Record::new(Operation::Rename, b"b".to_vec()) },
        Record::new(Operation::Create, b"b".to_vec()),
        Record::new(Operation::Create, b"a".to_vec()),
    ];
    let journal = |records: &[Record]| {
        let numbered = records.iter().zip(1..);
        Journal {
            records: numbered.map(|(r, at)| Record { sequence: at, ..r.clone() }).collect(),
            ..Journal::default()
        }
    };
    let want = BTreeMap::from([(&b"a"[..], false), (b"b", true), (b"c", true)]);
    assert_eq!(journal(&records).changed_paths(), want);
    assert!(!journal(&records).is_complete());
    records.push(Record::new(Operation::End, b"s".to_vec()));
    assert!(journal(&records).is_complete());
}

#[test]
fn a_record_of_a_usual_path_is_small() {
    let mut body = Vec::new();
    let path = b"node_modules/@scope/some-package/dist/esm/internal/index.js".to_vec();
    Record::new(Operation::Create, path).encode(&mut body);
    assert!(FRAME + body.len() <= 200, "{}", body.len());
}
