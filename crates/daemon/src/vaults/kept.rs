//! What sessions destroyed, in vaults: a snapshot of its own for each session, with the
//! session's journal and a file for each version, whose name says of which file and before
//! which operation.
//!
//! Must not: release what was stored; decide what it is good for.

use std::collections::{BTreeSet, HashMap};
use std::io;
use std::path::{Path, PathBuf};

use ringfence_model::bytes::directories_above;
use ringfence_model::error::ApiError;
use ringfence_model::folder::Folder;
use ringfence_model::name::SessionId;
use ringfence_share::journal::{self, Journal, Record};
use ringfence_vault::{KeepRequest, KeptContent, KeptFile, Snapshot, SnapshotId, VaultError};

use super::{Vaults, blocking, vault_error};
use crate::keepers::{self, Kept};

/// Names in a snapshot of what was kept. A version is `files/PATH.~NUMBER~`, as many tools
/// name numbered backups; one whose path makes no such name is `others/NUMBER`.
const FILES: &[u8] = b"files/";
const OTHERS: &str = "others";
/// No file system has longer names, in bytes.
const LONGEST_NAME: usize = 255;
/// Deeper paths are not made again, in directories.
const DEEPEST: usize = 200;

impl Vaults {
    /// What sessions destroyed in a folder, as far as it is in the vault; the newest first.
    pub(crate) async fn kept(&self, folder: &Folder) -> Result<Vec<Snapshot>, ApiError> {
        let vault = self.vault(folder).await?;
        blocking(move || vault.kept()).await.map_err(|error| vault_error(&error))
    }

    /// A file of a snapshot as it is, in memory: a journal.
    pub(crate) async fn bytes(
        &self,
        folder: &Folder,
        snapshot: SnapshotId,
        path: &[u8],
    ) -> Result<Vec<u8>, ApiError> {
        let (vault, path) = (self.vault(folder).await?, path.to_vec());
        let read = move || {
            let mut bytes = Vec::new();
            vault.read_file(snapshot, &path, &mut bytes)?;
            Ok(bytes)
        };
        blocking(read).await.map_err(|error| vault_error(&error))
    }

    /// Which of some paths a snapshot has.
    pub(crate) async fn has_paths(
        &self,
        folder: &Folder,
        snapshot: SnapshotId,
        paths: Vec<Vec<u8>>,
    ) -> Result<Vec<bool>, ApiError> {
        let vault = self.vault(folder).await?;
        blocking(move || vault.has_paths(snapshot, &paths))
            .await
            .map_err(|error| vault_error(&error))
    }

    /// Stores what a session destroyed, with its journal as it is now; on disk when this
    /// returns. `None` where there is no journal. The caller holds the folder's turn.
    pub(crate) async fn keep(
        &self,
        folder: &Folder,
        session: &SessionId,
        directory: PathBuf,
        now: jiff::Timestamp,
    ) -> Result<Option<(Snapshot, Vec<Record>)>, ApiError> {
        let vault = self.vault(folder).await?;
        let (root, session) = (folder.path.clone(), session.to_string());
        let store = move || {
            let file = directory.join(journal::FILE);
            let read = |source| VaultError::Io { doing: "read", path: file.clone(), source };
            let bytes = match std::fs::read(&file) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
                bytes => bytes.map_err(read)?,
            };
            let records = Journal::parse(&bytes).map_err(read)?.records;
            let mut files = contents(&directory, &keepers::versions(&records));
            files.push(KeptFile {
                path: journal::FILE.into(),
                content: KeptContent::Bytes(bytes),
                mode: 0o600,
                modified: records.last().map_or(0, |record| record.time),
            });
            let stored = vault.keep(&KeepRequest { root, session, now, files })?;
            Ok(Some((stored, records)))
        };
        blocking(store).await.map_err(|error| vault_error(&error))
    }
}

/// The versions as the vault takes them. What is not there is not a version: its operation was
/// never answered.
fn contents(directory: &Path, versions: &[Kept]) -> Vec<KeptFile> {
    let mut places = kept_paths(versions);
    let files = versions.iter().filter_map(|kept| {
        let path = directory.join(kept.object.to_string());
        let there = std::fs::symlink_metadata(&path).ok().filter(std::fs::Metadata::is_file)?;
        Some(KeptFile {
            path: places.remove(&kept.view.number)?,
            content: KeptContent::File { path, length: kept.view.bytes.min(there.len()) },
            mode: kept.view.mode,
            modified: kept.modified,
        })
    });
    files.collect()
}

/// Where the vault has each version, by its number.
pub(crate) fn kept_paths(versions: &[Kept]) -> HashMap<u64, Vec<u8>> {
    let named: Vec<(u64, Option<Vec<u8>>)> = versions
        .iter()
        .map(|kept| (kept.view.number, named(kept.view.number, kept.view.path.to_bytes())))
        .collect();
    // A guest can give a directory the name that a version has.
    let mut directories = BTreeSet::new();
    for path in named.iter().filter_map(|(_, path)| path.as_deref()) {
        directories.extend(directories_above(path).map(<[u8]>::to_vec));
    }
    let place = |(number, path): (u64, Option<Vec<u8>>)| {
        let own = path.filter(|path| !directories.contains(path));
        (number, own.unwrap_or_else(|| format!("{OTHERS}/{number}").into_bytes()))
    };
    named.into_iter().map(place).collect()
}

/// The name of a version, where its path, which is a claim, makes one.
fn named(number: u64, path: Option<Vec<u8>>) -> Option<Vec<u8>> {
    let path = path?;
    let named = [FILES, &path, format!(".~{number}~").as_bytes()].concat();
    let plain = |name: &[u8]| {
        !name.is_empty()
            && name.len() <= LONGEST_NAME
            && name != b"."
            && name != b".."
            && !name.contains(&0)
    };
    let names = || named.split(|byte| *byte == b'/');
    (names().all(plain) && names().count() <= DEEPEST && plain(path.rsplit(|b| *b == b'/').next()?))
        .then(|| named.clone())
}

#[cfg(test)]
mod tests {
    use ringfence_share::journal::Operation;

    use super::*;

    #[test]
    fn a_version_is_named_after_its_file_and_its_number() {
        let record = |path: &[u8]| Record {
            object: 1,
            size_before: 3,
            ..Record::new(Operation::Overwrite, path.to_vec())
        };
        let long = vec![b'x'; 253];
        let paths: [&[u8]; 8] =
            [b"src/a.rs", b"a", b"a.~2~/b", b"../out", b"a//b", b"", &long, b"\xff"];
        let kept = keepers::versions(&paths.map(record));
        let places = kept_paths(&kept);
        let place = |number: u64| String::from_utf8_lossy(&places[&number]).into_owned();
        let seen: Vec<_> = (1..=8).map(place).collect();
        let expected = [
            "files/src/a.rs.~1~",
            "others/2",
            "files/a.~2~/b.~3~",
            "others/4",
            "others/5",
            "others/6",
            "others/7",
            "files/\u{fffd}.~8~",
        ];
        assert_eq!(seen, expected);
    }
}
