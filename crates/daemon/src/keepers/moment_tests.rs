use super::*;

const FILE: u32 = 0o100_644;

/// A journal, record by record; each a second after the other.
#[derive(Default)]
struct Story(Vec<Record>);

impl Story {
    fn add(&mut self, operation: Operation, path: &str, change: impl FnOnce(&mut Record)) {
        let mut record = Record::new(operation, path.into());
        record.sequence = self.0.len() as u64;
        record.time = self.0.len() as i64 * 10;
        change(&mut record);
        self.0.push(record);
    }

    fn pair(&mut self, operation: Operation, path: &str, other: &str) {
        self.add(operation, path, |record| record.other = other.into());
    }

    /// Loses `size` bytes of the inode, kept under a number, or not at all.
    fn lose(&mut self, operation: Operation, path: &str, (inode, size, object): (u64, u64, u64)) {
        self.add(operation, path, |record| {
            (record.inode, record.size_before, record.object) = (inode, size, object);
            record.mode = FILE;
            record.modified = 7;
        });
    }

    fn at(&self, cut: usize) -> Vec<(String, What)> {
        let text = |path: &Vec<u8>| String::from_utf8(path.clone()).unwrap();
        let told = told(&self.0, cut, 0);
        told.before.iter().map(|(path, before)| (text(path), before.what.clone())).collect()
    }
}

fn later(path: &str) -> What {
    What::Later(path.into(), None)
}

#[test]
fn each_of_three_versions_is_there_between_two_overwritings() {
    let mut story = Story::default();
    story.lose(Operation::Overwrite, "f", (5, 3, 0));
    story.add(Operation::Close, "f", |_| {});
    story.lose(Operation::Overwrite, "f", (5, 4, 1));
    story.add(Operation::Close, "f", |_| {});
    story.lose(Operation::Overwrite, "f", (5, 5, 2));
    story.add(Operation::Close, "f", |_| {});
    let at =
        |cut| told(&story.0, cut, 0).before.remove(b"f".as_slice()).map(|b| (b.what, b.operation));
    assert_eq!(at(0), Some((What::Stored("f".into(), 3), 0)));
    assert_eq!(at(1), Some((What::Stored("f".into(), 3), 0)), "half of it was written");
    assert_eq!(at(2), Some((What::Kept, 2)));
    assert_eq!(at(3), Some((What::Kept, 2)));
    assert_eq!(at(4), Some((What::Kept, 4)));
    assert_eq!(at(5), Some((What::Kept, 4)));
    assert_eq!(at(6), None);
    assert_eq!(told(&story.0, 6, 0).settled, BTreeSet::from([b"f".to_vec()]));
    assert_eq!(told(&story.0, 6, 51).settled, BTreeSet::new(), "a snapshot has it");
}

#[test]
fn names_come_back_whichever_way_they_went() {
    let mut story = Story::default();
    story.lose(Operation::Replace, "b", (6, 4, 1));
    story.pair(Operation::Rename, "a", "b");
    story.pair(Operation::Rename, "dir", "moved");
    story.add(Operation::Create, "moved/new", |_| {});
    story.lose(Operation::Remove, "moved/old", (7, 4, 0));
    story.add(Operation::RemoveDirectory, "empty", |record| record.mode = 0o040_700);
    story.pair(Operation::Exchange, "x", "y");
    story.add(Operation::Remove, "link", |record| {
        (record.mode, record.data) = (0o120_777, b"target".to_vec());
    });
    let expected = [
        ("a", later("b")),
        ("b", What::Kept),
        ("dir", later("moved")),
        ("dir/new", What::Nothing),
        ("dir/old", What::Stored("dir/old".into(), 4)),
        ("empty", What::Directory),
        ("link", What::Link("target".into())),
        ("moved", What::Nothing),
        ("x", later("y")),
        ("y", later("x")),
    ];
    let expected = expected.map(|(path, what)| (path.to_owned(), what));
    assert_eq!(story.at(0), expected);
    // After the directory was moved, its content is where it was moved to.
    assert!(story.at(4).contains(&("moved/old".into(), What::Stored("dir/old".into(), 4))));
    assert!(!story.at(4).iter().any(|(path, _)| path.starts_with("dir")));
}

#[test]
fn what_was_refused_changed_nothing() {
    let mut story = Story::default();
    story.add(Operation::RemoveDirectory, "full", |_| {});
    story.add(Operation::Undone, "full", |_| {});
    story.pair(Operation::Rename, "a", "b");
    story.add(Operation::Undone, "a", |_| {});
    assert_eq!(story.at(0), []);
    assert!(deletions(&story.0).is_empty());
}

#[test]
fn what_only_grew_is_the_beginning_of_what_is_there() {
    let mut story = Story::default();
    story.lose(Operation::Append, "log", (5, 6, 0));
    story.add(Operation::Close, "log", |_| {});
    story.lose(Operation::Append, "log", (5, 13, 0));
    story.add(Operation::Close, "log", |_| {});
    assert_eq!(story.at(0), [("log".into(), What::Later("log".into(), Some(6)))]);
    assert_eq!(story.at(2), [("log".into(), What::Later("log".into(), Some(13)))]);
    story.lose(Operation::Remove, "log", (5, 20, 1));
    assert_eq!(story.at(2), [("log".into(), What::Kept)]);
}

#[test]
fn a_name_that_went_leads_to_what_the_other_name_leads_to() {
    let mut story = Story::default();
    story.add(Operation::Link, "one", |record| (record.inode, record.other) = (5, b"two".to_vec()));
    story.lose(Operation::Remove, "one", (5, 4, 0));
    story.0[1].data = STILL_NAMED.to_vec();
    assert_eq!(story.at(1), [("one".into(), later("two"))]);
    assert_eq!(story.at(0), [("one".into(), later("two")), ("two".into(), What::Nothing)]);
}

#[test]
fn a_close_that_comes_late_does_not_hide_the_version() {
    let mut story = Story::default();
    story.lose(Operation::Overwrite, "f", (5, 3, 1));
    story.lose(Operation::Overwrite, "f", (5, 4, 2));
    story.add(Operation::Close, "f", |_| {});
    story.add(Operation::Close, "f", |_| {});
    let at = |cut| told(&story.0, cut, 0).before[b"f".as_slice()].operation;
    assert_eq!((at(0), at(1), at(2)), (0, 1, 1));
}

#[test]
fn a_deletion_is_what_was_removed_and_did_not_come_back() {
    let mut story = Story::default();
    story.lose(Operation::Remove, "gone", (5, 4, 1));
    story.lose(Operation::Remove, "back", (6, 4, 2));
    story.add(Operation::Create, "back", |_| {});
    story.lose(Operation::Remove, "d/x", (7, 4, 0));
    story.add(Operation::RemoveDirectory, "d", |_| {});
    story.pair(Operation::Rename, "moved", "away");
    let gone: Vec<_> =
        deletions(&story.0).into_iter().map(|(path, before)| (path, before.what)).collect();
    let expected = [
        (b"d".to_vec(), What::Directory),
        (b"d/x".to_vec(), What::Stored(b"d/x".to_vec(), 4)),
        (b"gone".to_vec(), What::Kept),
    ];
    assert_eq!(gone, expected);
    assert_eq!(path_at_begin(&story.0, 6, b"away/f"), b"moved/f");
}
