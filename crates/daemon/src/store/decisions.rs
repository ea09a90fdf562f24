//! The record of decisions: a file of lines that is only ever added to.
//!
//! A line is a checksum and a record as JSON. It is on disk before the run that it is about goes
//! on. A line that was cut off (a full disk, no power) is passed over when the file is read, and
//! counted; the next one begins on a line of its own. At [`MOST`] the file is put aside and a new
//! one begun; [`ASIDE`] of those are kept. See `docs/adr/0033-decisions.md`.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead as _, BufReader, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use ringfence_model::audit::{Decision, Decisions, DecisionsRequest};
use sha2::{Digest as _, Sha256};

use super::{Store, StoreError};
use crate::host::files;

/// Size at which a file is put aside, in bytes: some ten thousand decisions.
const MOST: u64 = 4 * 1024 * 1024;
/// How many files that were put aside are kept.
const ASIDE: u32 = 3;
/// Longest line that is read, in bytes; a record is a few hundred.
const LONGEST: u64 = 64 * 1024;

impl Store {
    fn decisions_file(&self) -> PathBuf {
        self.layout.state.join("decisions/decisions.log")
    }

    /// Adds a decision. One caller at a time.
    ///
    /// # Errors
    /// When it is not on disk.
    pub fn add_decision(&self, decision: &Decision) -> Result<(), StoreError> {
        let path = self.decisions_file();
        add(&path, decision).map_err(|source| StoreError { path, source })
    }

    /// The decisions that are asked for, the oldest first.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub fn decisions(&self, request: &DecisionsRequest) -> Result<Decisions, StoreError> {
        let path = self.decisions_file();
        let mut found = Decisions::default();
        let aside = (1..=ASIDE).rev().map(|number| put_aside(&path, number));
        for file in aside.chain([path.clone()]) {
            read(&file, request, &mut found)
                .map_err(|source| StoreError { path: file.clone(), source })?;
        }
        Ok(found)
    }
}

fn put_aside(path: &Path, number: u32) -> PathBuf {
    path.with_extension(format!("log.{number}"))
}

fn add(path: &Path, decision: &Decision) -> io::Result<()> {
    if let Some(directory) = path.parent() {
        files::private_directory(directory)?;
    }
    let mut file = open(path)?;
    if file.metadata()?.len() >= MOST {
        for number in (1..ASIDE).rev() {
            match fs::rename(put_aside(path, number), put_aside(path, number + 1)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        fs::rename(path, put_aside(path, 1))?;
        file = open(path)?;
    }
    let mut line = if ends_a_line(&mut file)? { Vec::new() } else { vec![b'\n'] };
    let text = serde_json::to_vec(decision)?;
    line.extend(checksum(&text).bytes());
    line.push(b' ');
    line.extend(text);
    line.push(b'\n');
    file.write_all(&line)?;
    file.sync_data()
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).read(true).append(true).mode(0o600).open(path)
}

fn ends_a_line(file: &mut File) -> io::Result<bool> {
    if file.metadata()?.len() == 0 {
        return Ok(true);
    }
    let mut last = [0];
    file.seek(SeekFrom::End(-1))?;
    file.read_exact(&mut last)?;
    Ok(last == *b"\n")
}

/// The first eight bytes of the hash: against accidents, not against somebody who means it.
fn checksum(text: &[u8]) -> String {
    Sha256::digest(text).iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

fn read(path: &Path, request: &DecisionsRequest, found: &mut Decisions) -> io::Result<()> {
    let file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        opened => opened?,
    };
    let mut file = BufReader::new(file);
    let mut line = Vec::new();
    loop {
        line.clear();
        if file.by_ref().take(LONGEST).read_until(b'\n', &mut line)? == 0 {
            return Ok(());
        }
        match record(&line) {
            Some(decision) if request.wants(&decision) => found.decisions.push(decision),
            Some(_) => {}
            None => found.damaged += 1,
        }
    }
}

fn record(line: &[u8]) -> Option<Decision> {
    let line = line.strip_suffix(b"\n")?;
    let (sum, text) = line.split_at_checked(16)?;
    let text = text.strip_prefix(b" ")?;
    (checksum(text).as_bytes() == sum).then(|| serde_json::from_slice(text).ok())?
}

#[cfg(test)]
mod tests {
    use ringfence_model::audit::Outcome;
    use ringfence_model::layout::{Environment, Layout};
    use ringfence_model::name::ProfileName;
    use ringfence_model::protection::Actor;

    use super::*;

    fn store() -> (tempfile::TempDir, Store) {
        let place = tempfile::tempdir().expect("directory");
        let home = Some(place.path().to_owned());
        let environment = Environment { ringfence_home: home, ..Environment::default() };
        (place, Store::new(Layout::resolve(&environment).expect("layout")))
    }

    fn decision(number: usize) -> Decision {
        Decision {
            time: "2026-11-23T14:00:00Z".parse().expect("time"),
            by: Actor { uid: Some(1000), user: None, terminal: Some("/dev/pts/3".into()) },
            outcome: Outcome::Refused,
            profile: ProfileName::new("claude").expect("name"),
            folder: Some(format!("/folder {number}\n").into()),
            access: None,
            machine: None,
            network: None,
            session: None,
            reasons: vec!["profile claude may not see it".into()],
        }
    }

    fn all(store: &Store) -> Decisions {
        store.decisions(&DecisionsRequest::default()).expect("reads")
    }

    #[test]
    fn what_was_added_is_read_by_the_next_daemon_in_its_order() {
        let (_place, store) = store();
        assert_eq!(all(&store), Decisions::default());
        for number in 0..3 {
            store.add_decision(&decision(number)).expect("adds");
        }
        let found = all(&Store::new(store.layout.clone()));
        assert_eq!(found.decisions, (0..3).map(decision).collect::<Vec<_>>());
        assert_eq!(found.damaged, 0);
        let mode = std::os::unix::fs::PermissionsExt::mode(
            &fs::metadata(store.decisions_file()).expect("facts").permissions(),
        );
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn a_line_cut_off_anywhere_costs_that_line_alone() {
        let (_place, store) = store();
        store.add_decision(&decision(0)).expect("adds");
        let one = fs::read(store.decisions_file()).expect("reads");
        for cut in 1..one.len() {
            fs::write(store.decisions_file(), [&one[..], &one[..cut]].concat()).expect("writes");
            store.add_decision(&decision(1)).expect("adds");
            let found = all(&store);
            // Where only the line's end was missing, the whole record is there.
            let whole = usize::from(cut == one.len() - 1);
            assert_eq!(found.decisions.len(), 2 + whole, "cut at {cut}");
            assert_eq!(found.decisions.last(), Some(&decision(1)));
            assert_eq!(found.damaged, 1 - whole as u64, "cut at {cut}");
        }
    }

    #[test]
    fn a_changed_line_is_counted_and_not_believed() {
        let (_place, store) = store();
        for number in 0..2 {
            store.add_decision(&decision(number)).expect("adds");
        }
        let text = fs::read_to_string(store.decisions_file()).expect("reads");
        fs::write(store.decisions_file(), text.replacen("refused", "admitted", 1)).expect("writes");
        let found = all(&store);
        assert_eq!((found.decisions, found.damaged), (vec![decision(1)], 1));
    }

    #[test]
    fn the_record_is_bounded_and_the_newest_stay() {
        let (_place, store) = store();
        let path = store.decisions_file();
        for number in 0..6 {
            store.add_decision(&decision(number)).expect("adds");
            // As if it had filled up.
            open(&path).expect("opens").set_len(MOST).expect("sparse");
        }
        let numbers: Vec<_> = all(&store).decisions.into_iter().map(|one| one.folder).collect();
        assert_eq!(numbers, (2..6).map(|number| decision(number).folder).collect::<Vec<_>>());
        let files = fs::read_dir(path.parent().expect("directory")).expect("lists").count();
        assert_eq!(files, ASIDE as usize + 1);
    }
}
