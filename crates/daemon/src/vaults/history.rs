//! Looking into vaults: histories, differences, single files, in the words of the API.
//!
//! Must not: write anything.

use std::collections::HashSet;
use std::io::Write;
use std::path::Path;
use std::time::Duration;

use ringfence_model::bytes::{BytePath, is_within, visible};
use ringfence_model::error::ApiError;
use ringfence_model::folder::Folder;
use ringfence_model::health::LeftOut;
use ringfence_model::history::{
    Change, ChangeCounts, ChangeKind, DiffView, EntryView, HistoryEntry, HistoryView, PathChange,
    ShowView, TextDiff,
};
use ringfence_vault::{
    Entry, PathChange as VaultPathChange, Point, Snapshot, SnapshotId, Vault, VaultError, Version,
    View,
};

use super::{Vaults, blocking, byte_path, convert, read_live, vault_error};

/// Larger files are not compared as text.
const MAX_TEXT: u64 = 1024 * 1024;
/// Most files that are compared as text in one difference.
const MAX_TEXTS: usize = 500;
/// Most bytes of text in one difference.
const MAX_TEXTS_BYTES: usize = 32 * 1024 * 1024;
/// So long one file is compared line by line; what is left then counts as rewritten.
const PATIENCE: Duration = Duration::from_millis(500);
/// Most unreadable entries that one note names.
const NAMED: usize = 5;

/// What to compare.
#[derive(Debug, Clone)]
pub(crate) struct Comparison {
    /// The earlier state.
    pub(crate) from: SnapshotId,
    /// The later state; `None`: now.
    pub(crate) to: Option<SnapshotId>,
    /// Also line by line.
    pub(crate) text: bool,
    /// Only these paths and what lies below them; empty: everything.
    pub(crate) paths: Vec<Vec<u8>>,
}

impl Vaults {
    /// What the newest snapshot holds that tools make again, the largest first.
    pub(crate) async fn giants(&self, folder: &Folder) -> Result<Vec<LeftOut>, ApiError> {
        let vault = self.vault(folder).await?;
        let look = move || match vault.snapshots()?.snapshots.first() {
            Some(newest) => vault.giants(newest.id),
            None => Ok(Vec::new()),
        };
        let found = blocking(look).await.map_err(|error| vault_error(&error))?;
        Ok(found.iter().map(convert::left_out).collect())
    }

    /// The snapshots of a folder (`path` is empty), or those in which a path changed.
    pub(crate) async fn history(
        &self,
        folder: &Folder,
        path: Vec<u8>,
        limit: usize,
    ) -> Result<HistoryView, ApiError> {
        let vault = self.vault(folder).await?;
        let history = blocking(move || vault.history(&path, limit))
            .await
            .map_err(|error| vault_error(&error))?;
        let damaged = history
            .damaged
            .iter()
            .map(|snapshot| format!("snapshot {} cannot be read: {}", snapshot.id, snapshot.why));
        Ok(HistoryView {
            snapshots: history.versions.iter().map(version).collect(),
            damaged: damaged.collect(),
        })
    }

    /// The newest of the acceptable snapshots that has all these paths.
    pub(crate) async fn newest_with(
        &self,
        folder: &Folder,
        paths: &[Vec<u8>],
        accept: fn(&Snapshot) -> bool,
    ) -> Result<Option<Snapshot>, ApiError> {
        let (vault, paths) = (self.vault(folder).await?, paths.to_vec());
        blocking(move || vault.newest_with(&paths, accept))
            .await
            .map_err(|error| vault_error(&error))
    }

    /// The paths that changed between a snapshot and another one, or now.
    pub(crate) async fn diff(
        &self,
        folder: &Folder,
        from: &str,
        to: Option<&str>,
    ) -> Result<Vec<Change>, ApiError> {
        let from = self.find(folder, from).await?.id;
        let to = match to {
            Some(to) => Some(self.find(folder, to).await?.id),
            None => None,
        };
        let what = Comparison { from, to, text: false, paths: Vec::new() };
        self.compare(folder, what).await.map(|view| view.changes)
    }

    /// What changed between two states.
    pub(crate) async fn compare(
        &self,
        folder: &Folder,
        what: Comparison,
    ) -> Result<DiffView, ApiError> {
        let vault = self.vault(folder).await?;
        let root = folder.path.clone();
        blocking(move || compare(&vault, &root, &what)).await.map_err(|error| vault_error(&error))
    }

    /// One path of a snapshot.
    pub(crate) async fn look(
        &self,
        folder: &Folder,
        snapshot: &str,
        path: Vec<u8>,
    ) -> Result<ShowView, ApiError> {
        let id = self.find(folder, snapshot).await?.id;
        let vault = self.vault(folder).await?;
        let shown = blocking(move || {
            let view = vault.view(id)?;
            let found = view.entry(&path)?;
            let is_directory = found.kind == ringfence_vault::EntryKind::Directory;
            let entries = if is_directory { Some(view.list(&path)?) } else { None };
            Ok(ShowView {
                snapshot: convert::snapshot(view.snapshot()),
                entry: entry(&found),
                entries: entries.map(|entries| entries.iter().map(entry).collect()),
            })
        });
        shown.await.map_err(|error| missing(&vault_error(&error), &error))
    }

    /// Streams one file of a snapshot.
    pub(crate) async fn stream(
        &self,
        folder: &Folder,
        snapshot: &str,
        path: Vec<u8>,
        mut to: impl Write + Send + 'static,
    ) -> Result<(), ApiError> {
        // By its full id also one that is no state of the folder.
        let id = match snapshot.parse::<SnapshotId>() {
            Ok(id) => id,
            Err(_) => self.find(folder, snapshot).await?.id,
        };
        let vault = self.vault(folder).await?;
        let asked = path.clone();
        // Whether it exists is said before the first byte.
        let view = blocking(move || {
            let view = vault.view(id)?;
            view.entry(&asked).map(|_| view)
        });
        let view = view.await.map_err(|error| missing(&vault_error(&error), &error))?;
        tokio::task::spawn_blocking(move || {
            if let Err(error) = view.read(&path, &mut to) {
                tracing::warn!(%error, "a file of a snapshot could not be read to its end");
            }
        });
        Ok(())
    }
}

/// A path that a snapshot does not have is most often in another one.
fn missing(api: &ApiError, error: &VaultError) -> ApiError {
    let api = api.clone();
    if matches!(error, VaultError::Path { what: "does not exist", .. }) {
        return api.hint("which snapshots have it: ringfence history PATH");
    }
    api
}

fn version(version: &Version) -> HistoryEntry {
    HistoryEntry {
        snapshot: convert::snapshot(&version.snapshot),
        changes: version.counts.map(|counts| ChangeCounts {
            added: counts.added,
            changed: counts.changed,
            deleted: counts.deleted,
            metadata: counts.metadata,
        }),
        path: version.path.map(|state| PathChange {
            change: match state.change {
                VaultPathChange::Added => ChangeKind::Added,
                VaultPathChange::Removed => ChangeKind::Deleted,
                // A directory in which something changed has not changed itself.
                VaultPathChange::Modified(what) if what.is_empty() => ChangeKind::Modified,
                VaultPathChange::Modified(what) => convert::modified(what),
            },
            kind: convert::kind(state.kind),
            size: state.size,
        }),
    }
}

fn entry(entry: &Entry) -> EntryView {
    EntryView {
        path: byte_path(&entry.path),
        kind: convert::kind(entry.kind),
        size: entry.size,
        mode: entry.mode,
        uid: entry.uid,
        gid: entry.gid,
        modified: entry.modified,
        target: entry.target.clone(),
    }
}

fn compare(vault: &Vault, root: &Path, what: &Comparison) -> Result<DiffView, VaultError> {
    let to = what.to.map_or(Point::Folder(root), Point::Snapshot);
    let diff = vault.diff(Point::Snapshot(what.from), to)?;
    let covered = |path: &[u8]| is_covered(&what.paths, path);
    let mut changes: Vec<Change> = diff
        .entries
        .iter()
        .filter(|entry| !entry.is_directory_time() && covered(&entry.path.0))
        .map(convert::change)
        .collect();
    changes.sort_by(|a, b| a.path.cmp(&b.path));
    let mut notes = Vec::new();
    let unreadable: Vec<_> =
        diff.unreadable.iter().filter(|remark| covered(&remark.path.0)).collect();
    if !unreadable.is_empty() {
        let named: Vec<String> = unreadable
            .iter()
            .take(NAMED)
            .map(|remark| format!("{} ({})", visible(&remark.path.lossy()), remark.why))
            .collect();
        notes.push(format!(
            "{} entries cannot be read now, so nothing is known about them: {}",
            unreadable.len(),
            named.join(", ")
        ));
    }
    let texts =
        if what.text { texts(vault, root, what, &changes, &mut notes)? } else { Vec::new() };
    Ok(DiffView {
        from: what.from.to_string(),
        to: what.to.map_or_else(|| "now".into(), |to| to.to_string()),
        changes,
        texts,
        notes,
    })
}

/// The changed files line by line, as far as that is of use to a person.
fn texts(
    vault: &Vault,
    root: &Path,
    what: &Comparison,
    changes: &[Change],
    notes: &mut Vec<String>,
) -> Result<Vec<TextDiff>, VaultError> {
    let from = vault.view(what.from)?;
    let to = what.to.map(|to| vault.view(to)).transpose()?;
    let mut texts = Vec::new();
    let (mut left_out, mut written) = (0, 0);
    for change in changes {
        let is_file = change.size_before.is_some() || change.size_after.is_some();
        if change.change == ChangeKind::Metadata || !is_file {
            continue;
        }
        if texts.len() >= MAX_TEXTS || written >= MAX_TEXTS_BYTES {
            left_out += 1;
            continue;
        }
        let Some(bytes) = change.path.to_bytes() else { continue };
        let before = match change.size_before {
            None => Some(Vec::new()),
            Some(size) => stored(&from, &bytes, size)?,
        };
        let after = match (change.size_after, &to) {
            (None, _) => Some(Vec::new()),
            (Some(size), Some(view)) => stored(view, &bytes, size)?,
            (Some(_), None) => read_live(root, &bytes, MAX_TEXT),
        };
        let text = text_diff(change, before, after);
        written += text.unified.len();
        texts.push(text);
    }
    if left_out > 0 {
        notes.push(format!(
            "{left_out} more changed files are not shown line by line: ringfence diff --path PATH shows one"
        ));
    }
    Ok(texts)
}

/// A stored file; `None` when it is too large for a comparison of lines.
fn stored(view: &View, path: &[u8], size: u64) -> Result<Option<Vec<u8>>, VaultError> {
    if size > MAX_TEXT {
        return Ok(None);
    }
    let mut content = Vec::new();
    view.read(path, &mut content)?;
    Ok(Some(content))
}

fn text_diff(change: &Change, before: Option<Vec<u8>>, after: Option<Vec<u8>>) -> TextDiff {
    let path = &change.path;
    let note = |note: &str| TextDiff {
        path: path.clone(),
        unified: String::new(),
        note: Some(note.into()),
    };
    let (Some(before), Some(after)) = (before, after) else {
        return note("too large to compare line by line, or not readable");
    };
    let (Ok(before), Ok(after)) = (String::from_utf8(before), String::from_utf8(after)) else {
        return note("binary");
    };
    if before.contains('\0') || after.contains('\0') {
        return note("binary");
    }
    let shown = visible(&path.path);
    let side = |there: Option<u64>, prefix: &str| {
        there.map_or_else(|| "/dev/null".to_owned(), |_| format!("{prefix}/{shown}"))
    };
    let unified = similar::TextDiff::configure()
        .timeout(PATIENCE)
        .diff_lines(&before, &after)
        .unified_diff()
        .header(&side(change.size_before, "a"), &side(change.size_after, "b"))
        .to_string();
    TextDiff { path: path.clone(), unified, note: None }
}

/// Whether a path is one of these or lies below one; of none: every path is covered.
pub(crate) fn is_covered(paths: &[Vec<u8>], path: &[u8]) -> bool {
    paths.is_empty() || paths.iter().any(|wanted| is_within(path, wanted))
}

/// The bytes of paths that a request names, each once.
pub(crate) fn exact(paths: &[BytePath]) -> Result<Vec<Vec<u8>>, ApiError> {
    let mut seen = HashSet::new();
    let mut exact = Vec::new();
    for path in paths {
        let bytes = path.to_bytes().ok_or_else(not_base64)?;
        if seen.insert(bytes.clone()) {
            exact.push(bytes);
        }
    }
    Ok(exact)
}

/// The bytes of a path in a query.
pub(crate) fn decoded(path_b64: &str) -> Result<Vec<u8>, ApiError> {
    ringfence_model::bytes::decode(path_b64).ok_or_else(not_base64)
}

fn not_base64() -> ApiError {
    ApiError::new(ringfence_model::error::ErrorKind::Usage, "a path is not valid base64")
}
