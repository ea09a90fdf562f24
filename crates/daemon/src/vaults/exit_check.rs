//! Collects for the exit check: what differs between the two ends of a session, and the
//! content of the few files where it decides, out of the snapshots alone. Nothing live is
//! read, no link is followed, no program is run. The judging is the model's.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use ringfence_model::bytes::{BytePath, directories_above, visible};
use ringfence_model::error::ApiError;
use ringfence_model::exit_check::{
    Content, Evidence, GitPlaces, HOOK_NAMES, Hazard, HazardKind, MOST_JUDGED, Pointed, Side,
    hooks_and_includes, judge, pointed, resolve, wants_content,
};
use ringfence_model::folder::Folder;
use ringfence_vault::{
    Change, Difference, Entry, EntryKind, Looker, Point, SnapshotId, Vault, VaultError, View,
};

use super::{Vaults, blocking, convert, vault_error};
use crate::keepers::Touched;

/// Most configurations of git that are followed.
const MOST_CONFIGS: usize = 256;
/// Most entries that a note names.
const NAMED: usize = 5;

/// What to look at.
pub(crate) struct Ends {
    /// Before the session.
    pub(crate) opening: String,
    /// After it.
    pub(crate) closing: String,
    /// What the session touched; `None`: that is not known, so everything may be its doing.
    pub(crate) touched: Option<Touched>,
    /// Paths that are compared with another state than the opening one.
    pub(crate) rebased: Vec<(Vec<u8>, String)>,
}

/// What was found, in no order, and what there is to say about it.
#[derive(Debug, Default)]
pub(crate) struct Looked {
    pub(crate) hazards: Vec<Hazard>,
    pub(crate) notes: Vec<String>,
}

impl Vaults {
    /// What the host might run or obey of a session's changes.
    pub(crate) async fn exit_check(&self, folder: &Folder, ends: Ends) -> Result<Looked, ApiError> {
        let opening = self.find(folder, &ends.opening).await?.id;
        let closing = self.find(folder, &ends.closing).await?.id;
        let mut rebased = Vec::new();
        for (path, snapshot) in ends.rebased {
            rebased.push((path, self.find(folder, &snapshot).await?.id));
        }
        let vault = self.vault(folder).await?;
        let root = folder.path.clone();
        let touched = ends.touched;
        let look = move || look(&vault, &root, (opening, closing), touched.as_ref(), &rebased);
        blocking(look).await.map_err(|error| vault_error(&error))
    }
}

/// Paths with what they were and are.
type Candidates = BTreeMap<Vec<u8>, (Option<Entry>, Entry)>;

fn look(
    vault: &Vault,
    root: &Path,
    (opening, closing): (SnapshotId, SnapshotId),
    touched: Option<&Touched>,
    rebased: &[(Vec<u8>, SnapshotId)],
) -> Result<Looked, VaultError> {
    let (before, after) = (vault.view(opening)?, vault.view(closing)?);
    let candidates = changed(vault, (opening, closing), touched)?;
    let folder = root.as_os_str().as_bytes();
    let mut finder =
        Finder { folder, after: &after, looker: after.looker()?, git: GitPlaces::default() };
    finder.repositories(&candidates);
    let new = finder.new_repositories(&candidates);
    let git = finder.git;
    let mut looked = Looked::default();
    let judged = |path: &[u8], was: Option<(&View, &Entry)>, is: &Entry| {
        let wanted = wants_content(path, &git);
        let old = was.filter(|_| wanted).and_then(|(view, entry)| content(view, entry));
        let new = Some(is).filter(|_| wanted).and_then(|entry| content(&after, entry));
        let evidence = Evidence {
            folder,
            path,
            before: was.map(|(_, entry)| side(entry, old.as_deref())),
            after: side(is, new.as_deref()),
        };
        judge(&evidence, &git)
    };
    let is_rebased = |path: &Vec<u8>| rebased.iter().any(|(known, _)| known == path);
    for (path, (was, is)) in candidates.iter().filter(|(path, _)| !is_rebased(path)) {
        looked.hazards.extend(judged(path, was.as_ref().map(|entry| (&before, entry)), is));
    }
    for (head, entries) in &new {
        let worst = entries.iter().filter_map(|entry| judged(&entry.path.0, None, entry));
        if let Some(worst) = worst.min_by(Hazard::order) {
            let name = &worst.path.path;
            let why = format!("with it git obeys {name}, which was there before");
            let path = BytePath::from_bytes(head);
            looked.hazards.push(Hazard { path, kind: HazardKind::GitPlace, why, ..worst.clone() });
        }
    }
    let mut present = after.looker()?;
    for (path, snapshot) in rebased {
        let Some(is) = present.entry(path) else { continue };
        let view = vault.view(*snapshot)?;
        let was = view.looker()?.entry(path);
        looked.hazards.extend(judged(path, was.as_ref().map(|entry| (&view, entry)), &is));
    }
    unreadable(&after, (folder, &git), touched, &mut looked);
    Ok(looked)
}

/// What is another thing than before: not only its times or owner, and no directory.
fn changed(
    vault: &Vault,
    (opening, closing): (SnapshotId, SnapshotId),
    touched: Option<&Touched>,
) -> Result<Candidates, VaultError> {
    let diff = vault.diff(Point::Snapshot(opening), Point::Snapshot(closing))?;
    let mut candidates = Candidates::new();
    for entry in diff.entries {
        let (inode, names) = entry.inode_and_names().unwrap_or_default();
        let path = entry.path.0;
        let matters = match entry.change {
            Change::Added => true,
            Change::Removed => false,
            Change::Modified(what) => what.is_content() || what.has(Difference::MODE),
        };
        let own = touched.is_none_or(|touched| touched.may_have_changed(&path, inode, names));
        let after = entry.after.filter(|after| after.kind != EntryKind::Directory);
        if let Some(after) = after.filter(|_| matters && own) {
            candidates.insert(path, (entry.before, after));
        }
    }
    Ok(candidates)
}

fn side<'a>(entry: &'a Entry, content: Option<&'a [u8]>) -> Side<'a> {
    Side {
        kind: convert::kind(entry.kind),
        mode: entry.mode,
        target: entry.target.as_deref(),
        content: content.map_or(Content::Unknown, Content::Bytes),
    }
}

/// A small file's content; `None` where it is none, or cannot be read.
fn content(view: &View, entry: &Entry) -> Option<Vec<u8>> {
    if entry.kind != EntryKind::File || entry.size > MOST_JUDGED {
        return None;
    }
    let mut bytes = Vec::new();
    view.read(&entry.path.0, &mut bytes).ok()?;
    Some(bytes)
}

/// What the closing snapshot could not take may be anything.
fn unreadable(
    after: &View,
    (folder, git): (&[u8], &GitPlaces),
    touched: Option<&Touched>,
    looked: &mut Looked,
) {
    let remarks = &after.snapshot().unreadable;
    for remark in remarks {
        let path = &remark.path.0;
        if touched.is_some_and(|touched| !touched.may_have_changed(path, 0, 1)) {
            continue;
        }
        let kind = ringfence_model::history::EntryKind::File;
        let after = Side { kind, mode: 0, target: None, content: Content::Unknown };
        looked.hazards.extend(judge(&Evidence { folder, path, before: None, after }, git));
    }
    if !remarks.is_empty() {
        let named: Vec<String> =
            remarks.iter().take(NAMED).map(|remark| visible(&remark.path.lossy())).collect();
        looked.notes.push(format!(
            "{} entries could not be read, so nobody knows what is in them: {}",
            remarks.len(),
            named.join(", ")
        ));
    }
}

/// Finds where git's things lie.
struct Finder<'a> {
    folder: &'a [u8],
    after: &'a View,
    looker: Looker<'a>,
    git: GitPlaces,
}

/// A repository: where its files are checked out, and its own directory.
type Repository = (Vec<u8>, Vec<u8>);

impl Finder<'_> {
    /// The repositories around what changed: those in a directory above it, and bare ones.
    fn repositories(&mut self, candidates: &Candidates) {
        let mut directories: BTreeSet<&[u8]> = BTreeSet::from([&b""[..]]);
        let mut bare: BTreeSet<&[u8]> = BTreeSet::new();
        for path in candidates.keys() {
            directories.extend(directories_above(path));
            bare.extend(may_be_bare(path));
        }
        let mut found: Vec<Repository> = Vec::new();
        for directory in directories {
            let own = join(directory, b".git");
            match self.looker.entry(&own) {
                Some(entry) if entry.kind == EntryKind::Directory => {
                    found.push((directory.to_vec(), own));
                }
                Some(entry) if entry.kind == EntryKind::File => {
                    let content = content(self.after, &entry).unwrap_or_default();
                    if let Some(Pointed::Inside(place)) = pointed(self.folder, directory, &content)
                    {
                        self.git.directories.insert(place.clone());
                        found.push((directory.to_vec(), place));
                    }
                }
                _ => {}
            }
        }
        for directory in bare {
            let mut has = |name: &[u8]| self.looker.entry(&join(directory, name)).is_some();
            if has(b"HEAD") && (has(b"objects") && has(b"refs") || has(b"commondir")) {
                self.git.directories.insert(directory.to_vec());
                found.push((directory.to_vec(), directory.to_vec()));
            }
        }
        for repository in found {
            self.follow(&repository);
        }
    }

    /// Where a repository's configuration leads: to hooks, to other files of it.
    fn follow(&mut self, (tree, own): &Repository) {
        let mut waiting = vec![join(own, b"config"), join(own, b"config.worktree")];
        if let Some(common) = self.read(&join(own, b"commondir"))
            && let Pointed::Inside(place) = resolve(self.folder, own, common.trim_ascii())
        {
            waiting.push(join(&place, b"config"));
            self.git.directories.insert(place);
        }
        let mut seen = BTreeSet::new();
        while let Some(file) = waiting.pop() {
            if seen.len() >= MOST_CONFIGS || !seen.insert(file.clone()) {
                continue;
            }
            let Some(content) = self.read(&file) else { continue };
            let (hooks, included) = hooks_and_includes(&content);
            for place in hooks {
                if let Pointed::Inside(place) = resolve(self.folder, tree, place.as_bytes())
                    && !place.is_empty()
                {
                    // Husky's own hooks run those in the directory above.
                    let above = place.strip_suffix(b"/_").map(<[u8]>::to_vec);
                    self.git.hooks.insert(above.unwrap_or(place));
                }
            }
            let at = file.iter().rposition(|byte| *byte == b'/').unwrap_or(0);
            for place in included {
                if let Pointed::Inside(place) = resolve(self.folder, &file[..at], place.as_bytes())
                {
                    self.git.included.insert(place.clone());
                    waiting.push(place);
                }
            }
        }
    }

    /// Repositories that are such only since the session, by the path that makes them one, each
    /// with its hooks and configuration: all of it is new to git, also what was there before.
    fn new_repositories(&mut self, candidates: &Candidates) -> Vec<(Vec<u8>, Vec<Entry>)> {
        let mut found = Vec::new();
        for place in self.git.directories.clone() {
            let head = join(&place, b"HEAD");
            if !candidates.get(&head).is_some_and(|(was, _)| was.is_none()) {
                continue;
            }
            let mut files = vec![join(&place, b"config"), join(&place, b"config.worktree")];
            if let Ok(hooks) = self.after.list(&join(&place, b"hooks")) {
                files.extend(hooks.into_iter().map(|hook| hook.path.0));
            }
            files.retain(|file| !candidates.contains_key(file));
            let entries = files.iter().filter_map(|file| self.looker.entry(file)).collect();
            found.push((head, entries));
        }
        found
    }

    fn read(&mut self, path: &[u8]) -> Option<Vec<u8>> {
        let entry = self.looker.entry(path)?;
        content(self.after, &entry)
    }
}

/// Directories that are bare repositories if the rest of one is there as well.
fn may_be_bare(path: &[u8]) -> Option<&[u8]> {
    let (directory, name) = match path.iter().rposition(|byte| *byte == b'/') {
        Some(at) => (&path[..at], &path[at + 1..]),
        None => (&b""[..], path),
    };
    let own = [&b"HEAD"[..], b"config", b"config.worktree", b"commondir"];
    if own.contains(&name) {
        return Some(directory);
    }
    let is_hook = HOOK_NAMES.iter().any(|hook| hook.as_bytes() == name);
    match directory.strip_suffix(b"hooks").filter(|_| is_hook) {
        Some(b"") => Some(b""),
        Some(above) => above.strip_suffix(b"/"),
        None => None,
    }
}

fn join(directory: &[u8], name: &[u8]) -> Vec<u8> {
    if directory.is_empty() { name.to_vec() } else { [directory, b"/", name].concat() }
}
