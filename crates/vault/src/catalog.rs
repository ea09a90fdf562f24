//! Snapshots as the user sees them: what is recorded with each, listing, finding.
//! Owns the record's format; makes no snapshot.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use rustic_core::repofile::{Node, SnapshotFile};
use rustic_core::{FileType, Id, ReadBackend, TreeId};
use serde::{Deserialize, Serialize, Serializer};

use crate::engine::{Engine, Repo};
use crate::error::{Result, VaultError};
use crate::stat::Stamp;

/// Name of one snapshot: 64 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SnapshotId(pub(crate) Id);

impl SnapshotId {
    /// The first eight digits, enough for people.
    #[must_use]
    pub fn short(&self) -> String {
        self.0.to_hex()[..8].to_owned()
    }
}

impl fmt::Display for SnapshotId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.to_hex().as_str())
    }
}

impl FromStr for SnapshotId {
    type Err = VaultError;

    fn from_str(text: &str) -> Result<Self> {
        text.parse().map(Self).map_err(|_| VaultError::NoSuchSnapshot { selector: text.to_owned() })
    }
}

impl Serialize for SnapshotId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for SnapshotId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// Why a snapshot was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SnapshotKind {
    /// Before a session could write.
    Opening,
    /// While a session ran.
    Periodic,
    /// After a session ended.
    Closing,
    /// Before a restore replaced anything.
    BeforeRestore,
    /// Before an undo replaced anything.
    BeforeUndo,
    /// Because somebody asked.
    Manual,
    /// No state of the folder, but versions of files that a session destroyed.
    Kept,
    /// By another program; nothing is recorded with it.
    Other,
}

impl SnapshotKind {
    /// The word that is shown and stored.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Opening => "opening",
            Self::Periodic => "periodic",
            Self::Closing => "closing",
            Self::BeforeRestore => "before-restore",
            Self::BeforeUndo => "before-undo",
            Self::Manual => "manual",
            Self::Kept => "kept",
            Self::Other => "other",
        }
    }
}

/// What a snapshot is labelled with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Labels {
    /// Why it was made.
    pub kind: SnapshotKind,
    /// The session it belongs to.
    #[serde(default)]
    pub session: Option<String>,
    /// The profile that ran.
    #[serde(default)]
    pub profile: Option<String>,
}

impl Labels {
    /// Labels without session and profile.
    #[must_use]
    pub const fn new(kind: SnapshotKind) -> Self {
        Self { kind, session: None, profile: None }
    }
}

/// A path below the folder, as bytes. In JSON `path` is printable text, and
/// `path_b64` is added where that text would lose something.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EntryPath(pub Vec<u8>);

impl EntryPath {
    /// Text for people; bytes that are no UTF-8 are replaced.
    #[must_use]
    pub fn lossy(&self) -> String {
        String::from_utf8_lossy(&self.0).into_owned()
    }

    /// The exact bytes in base64, where [`Self::lossy`] would lose something.
    #[must_use]
    pub fn exact_b64(&self) -> Option<String> {
        str::from_utf8(&self.0).is_err().then(|| STANDARD.encode(&self.0))
    }
}

#[derive(Serialize, Deserialize)]
struct PathForm {
    path: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    path_b64: Option<String>,
}

impl Serialize for EntryPath {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        PathForm { path: self.lossy(), path_b64: self.exact_b64() }.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for EntryPath {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let form = PathForm::deserialize(deserializer)?;
        let exact = form.path_b64.map(|b| STANDARD.decode(b)).transpose();
        let exact = exact.map_err(serde::de::Error::custom)?;
        Ok(Self(exact.unwrap_or_else(|| form.path.into_bytes())))
    }
}

/// One path that a snapshot could not take as it was, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Remark {
    /// The entry.
    #[serde(flatten)]
    pub path: EntryPath,
    /// What happened, as a short sentence.
    pub why: String,
    /// Whether the previous snapshot's version stands in for it.
    pub previous_kept: bool,
}

/// How much a snapshot holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Regular files.
    pub files: u64,
    /// Directories below the folder.
    pub directories: u64,
    /// Links, pipes, sockets and devices.
    pub others: u64,
    /// Bytes in regular files.
    pub bytes: u64,
}

/// One restorable state of the folder.
#[derive(Clone, Debug, Serialize)]
pub struct Snapshot {
    /// Its name.
    pub id: SnapshotId,
    /// When it was made, as the caller's clock said.
    pub time: Timestamp,
    /// Why, and for which session.
    #[serde(flatten)]
    pub labels: Labels,
    /// The folder it was made of.
    pub folder: PathBuf,
    /// How much it holds.
    pub counts: Counts,
    /// Entries it could not take as they were (at most [`MAX_REMARKS`] of them).
    pub unreadable: Vec<Remark>,
    /// Files that changed while they were read (at most [`MAX_REMARKS`] of them).
    pub changed_while_read: Vec<EntryPath>,
    /// Patterns of what was left out of it.
    pub excludes: Vec<String>,
    #[serde(skip)]
    pub(crate) sequence: u64,
    #[serde(skip)]
    pub(crate) tree: TreeId,
    /// The folder's own mode, owner and times; nobody's if another program made it.
    #[serde(skip)]
    pub(crate) root: Option<Node>,
    /// The file clock when the scan began.
    #[serde(skip)]
    pub(crate) scanned: Option<Stamp>,
    /// Entries that were too young for their status to be trusted; unknown if too many.
    #[serde(skip)]
    pub(crate) unsettled: Option<Vec<EntryPath>>,
    /// Whether a file system was mounted right at the folder.
    #[serde(skip)]
    pub(crate) mounted: Option<bool>,
}

/// A snapshot's record keeps no more remarks of a kind than this.
pub const MAX_REMARKS: usize = 200;

/// A snapshot file that cannot be read. It does not hide the others.
#[derive(Clone, Debug, Serialize)]
pub struct DamagedSnapshot {
    /// Its name.
    pub id: SnapshotId,
    /// Why it cannot be read.
    pub why: String,
}

/// All snapshots, the newest first, and what could not be read.
#[derive(Clone, Debug, Serialize)]
pub struct Snapshots {
    /// Readable snapshots, the newest first.
    pub snapshots: Vec<Snapshot>,
    /// Unreadable snapshot files.
    pub damaged: Vec<DamagedSnapshot>,
}

/// Our own notes about a snapshot, kept in its description field.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) schema: u32,
    #[serde(flatten)]
    pub(crate) labels: Labels,
    /// Orders snapshots even when the clock was set back.
    pub(crate) sequence: u64,
    pub(crate) scanned: Stamp,
    pub(crate) root: Node,
    pub(crate) counts: Counts,
    #[serde(default)]
    pub(crate) unreadable: Vec<Remark>,
    #[serde(default)]
    pub(crate) changed_while_read: Vec<EntryPath>,
    #[serde(default)]
    pub(crate) unsettled: Option<Vec<EntryPath>>,
    #[serde(default)]
    pub(crate) excludes: Vec<String>,
    #[serde(default)]
    pub(crate) mounted: Option<bool>,
}

impl Snapshot {
    /// What a snapshot file and our record in it say.
    pub(crate) fn from_file(id: Id, file: SnapshotFile) -> Self {
        let record = file
            .description
            .as_deref()
            .and_then(|d| serde_json::from_str::<Record>(d).ok())
            .filter(|r| r.schema == 1);
        let summary = file.summary.unwrap_or_default();
        let folder = file.paths.iter().next().map(PathBuf::from).unwrap_or_default();
        let base = Self {
            id: SnapshotId(id),
            time: file.time.timestamp(),
            labels: Labels::new(SnapshotKind::Other),
            folder,
            counts: Counts {
                files: summary.total_files_processed,
                directories: summary.total_dirs_processed,
                others: 0,
                bytes: summary.total_bytes_processed,
            },
            unreadable: Vec::new(),
            changed_while_read: Vec::new(),
            sequence: 0,
            tree: file.tree,
            root: None,
            scanned: None,
            unsettled: None,
            excludes: Vec::new(),
            mounted: None,
        };
        match record {
            None => base,
            Some(r) => Self {
                labels: r.labels,
                counts: r.counts,
                unreadable: r.unreadable,
                changed_while_read: r.changed_while_read,
                sequence: r.sequence,
                root: Some(r.root),
                scanned: Some(r.scanned),
                unsettled: r.unsettled,
                excludes: r.excludes,
                mounted: r.mounted,
                ..base
            },
        }
    }
}

/// The states of the folder. Every snapshot file is read by itself, so that a damaged one
/// hides no other.
pub(crate) fn list(engine: &Engine, repo: &Repo) -> Result<Snapshots> {
    let mut all = list_all(engine, repo)?;
    all.snapshots.retain(|snapshot| snapshot.labels.kind != SnapshotKind::Kept);
    Ok(all)
}

/// What sessions destroyed, the newest first.
pub(crate) fn kept(engine: &Engine, repo: &Repo) -> Result<Vec<Snapshot>> {
    let kept = all_briefs(engine, repo)?.into_iter().filter(|brief| brief.kept);
    // A damaged one hides no other; a check names it.
    Ok(kept.filter_map(|brief| load(engine, repo, brief.id).ok()).collect())
}

/// As [`list`], and what sessions destroyed.
pub(crate) fn list_all(engine: &Engine, repo: &Repo) -> Result<Snapshots> {
    let ids = engine.run("listing snapshots", || engine.storage.list(FileType::Snapshot))?;
    let mut all = Snapshots { snapshots: Vec::new(), damaged: Vec::new() };
    for id in ids {
        match load(engine, repo, id) {
            Ok(snapshot) => all.snapshots.push(snapshot),
            Err(e) => all.damaged.push(DamagedSnapshot { id: SnapshotId(id), why: e.to_string() }),
        }
    }
    all.snapshots.sort_by_key(|s| std::cmp::Reverse((s.sequence, s.time, s.id)));
    Ok(all)
}

/// What is remembered of a snapshot from one operation to the next, so that a vault with
/// thousands of them need not read all of them for each new one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Brief {
    pub(crate) id: Id,
    pub(crate) time: Timestamp,
    pub(crate) sequence: u64,
    /// Made by this program, so laid out as the source expects.
    pub(crate) ours: bool,
    /// No state of the folder.
    pub(crate) kept: bool,
}

/// All readable states of the folder, the newest first.
pub(crate) fn briefs(engine: &Engine, repo: &Repo) -> Result<Vec<Brief>> {
    let mut all = all_briefs(engine, repo)?;
    all.retain(|brief| !brief.kept);
    Ok(all)
}

/// All readable snapshots, the newest first. A snapshot file is named by its content, so
/// one that was read once need not be read again.
fn all_briefs(engine: &Engine, repo: &Repo) -> Result<Vec<Brief>> {
    let ids = engine.run("listing snapshots", || engine.storage.list(FileType::Snapshot))?;
    let mut known = engine.briefs();
    let mut all = Vec::with_capacity(ids.len());
    for id in ids {
        let brief = match known.get(&id) {
            Some(brief) => *brief,
            // A damaged one hides no other; a check names it.
            None => match load(engine, repo, id) {
                Ok(snapshot) => Brief::of(&snapshot),
                Err(_) => continue,
            },
        };
        all.push(brief);
    }
    *known = all.iter().map(|brief| (brief.id, *brief)).collect();
    all.sort_by_key(|b| std::cmp::Reverse((b.sequence, b.time, b.id)));
    Ok(all)
}

impl Brief {
    pub(crate) fn of(snapshot: &Snapshot) -> Self {
        Self {
            id: snapshot.id.0,
            time: snapshot.time,
            sequence: snapshot.sequence,
            ours: snapshot.scanned.is_some(),
            kept: snapshot.labels.kind == SnapshotKind::Kept,
        }
    }
}

/// Reads one snapshot file from disk.
pub(crate) fn load(engine: &Engine, repo: &Repo, id: Id) -> Result<Snapshot> {
    engine
        .run("reading a snapshot", || repo.get_file::<SnapshotFile>(&id.into()))
        .map(|file| Snapshot::from_file(id, file))
}

/// Reads the one that `choose` picks of what is remembered of the snapshots. One that was
/// damaged since is passed over.
pub(crate) fn pick(
    engine: &Engine,
    repo: &Repo,
    choose: impl Fn(&[Brief]) -> Result<Id>,
) -> Result<Snapshot> {
    loop {
        let id = choose(&briefs(engine, repo)?)?;
        let error = match load(engine, repo, id) {
            Ok(snapshot) => return Ok(snapshot),
            Err(error) => error,
        };
        if engine.briefs().remove(&id).is_none() {
            return Err(error);
        }
    }
}

/// Finds one snapshot: `latest`, a time (the newest made at or before it), or the
/// beginning of an id.
pub(crate) fn find(all: &[Brief], selector: &str) -> Result<Id> {
    let none = || VaultError::NoSuchSnapshot { selector: selector.to_owned() };
    if selector == "latest" {
        return all.first().map(|brief| brief.id).ok_or_else(none);
    }
    if let Ok(time) = selector.parse::<Timestamp>() {
        return at(all, time).ok_or_else(none);
    }
    let wanted = selector.to_ascii_lowercase();
    let mut fitting =
        all.iter().filter(|s| !wanted.is_empty() && s.id.to_hex().starts_with(&wanted));
    match (fitting.next(), fitting.count()) {
        (Some(one), 0) => Ok(one.id),
        (Some(_), more) => {
            Err(VaultError::Ambiguous { selector: selector.to_owned(), count: more + 1 })
        }
        (None, _) => Err(none()),
    }
}

/// The newest snapshot made at or before `time`.
pub(crate) fn at(all: &[Brief], time: Timestamp) -> Option<Id> {
    all.iter().find(|s| s.time <= time).map(|brief| brief.id)
}

/// The time in the type that the repository format stores.
pub(crate) fn zoned(time: Timestamp) -> jiff::Zoned {
    time.to_zoned(TimeZone::UTC)
}
