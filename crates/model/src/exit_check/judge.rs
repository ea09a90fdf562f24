//! The judge: from one changed path, what it was and what it is, to a hazard. Pure; it
//! looks at nothing that is not handed to it.

use super::git::{GitPlaces, Pointed, Role, dangerous, pointed, resolve};
use super::table::{Matter, Meaning, meaning};
use super::{Danger, Hazard, HazardKind, HazardState, parts};
use crate::bytes::BytePath;
use crate::history::EntryKind;

/// What is known of a file's content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Content<'a> {
    /// All of it.
    Bytes(&'a [u8]),
    /// It is longer than what is judged, or could not be read.
    Unknown,
}

/// An entry at one end of the session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Side<'a> {
    /// What it is.
    pub kind: EntryKind,
    /// Its permission bits.
    pub mode: u32,
    /// Where a link points.
    pub target: Option<&'a str>,
    /// Its content, where [`wants_content`] asks for it.
    pub content: Content<'a>,
}

/// One changed path.
#[derive(Debug, Clone, Copy)]
pub struct Evidence<'a> {
    /// The folder's own path.
    pub folder: &'a [u8],
    /// Relative to it.
    pub path: &'a [u8],
    /// Before the session; `None`: it was not there.
    pub before: Option<Side<'a>>,
    /// After it.
    pub after: Side<'a>,
}

/// Whether the content of a path decides about it.
#[must_use]
pub fn wants_content(path: &[u8], git: &GitPlaces) -> bool {
    match git.role(path) {
        Some(Role::Hook) => false,
        Some(_) => true,
        None => meaning(path, false).is_some_and(|found| found.matter != Matter::Any),
    }
}

/// What there is to say about a path that a session made or changed; `None`: nothing.
#[must_use]
pub fn judge(evidence: &Evidence<'_>, git: &GitPlaces) -> Option<Hazard> {
    let (path, after) = (evidence.path, &evidence.after);
    let found = |(kind, danger, why): (HazardKind, Danger, String)| Hazard {
        path: BytePath::from_bytes(path),
        kind,
        danger,
        why,
        entries: 1,
        state: HazardState::Told,
    };
    let by_role = git.role(path).and_then(|role| in_repository(role, evidence));
    let judged = by_role
        .or_else(|| set_id(evidence))
        .or_else(|| by_name(evidence))
        .or_else(|| executable(evidence))
        .or_else(|| outside(evidence));
    judged.filter(|_| after.kind != EntryKind::Directory).map(found)
}

type Judged = (HazardKind, Danger, String);

/// Whether only its bytes or its kind count: not times, not who owns it.
fn is_same(evidence: &Evidence<'_>) -> bool {
    let Some(before) = &evidence.before else { return false };
    let after = &evidence.after;
    let (a, b) = ((before.kind, before.target), (after.kind, after.target));
    let bytes = |side: &Side<'_>| match side.content {
        Content::Bytes(bytes) => Some(bytes.to_vec()),
        Content::Unknown => None,
    };
    a == b && bytes(before).is_some() && bytes(before) == bytes(after)
}

fn in_repository(role: Role, evidence: &Evidence<'_>) -> Option<Judged> {
    use Danger::{Obeyed, RunsByItself, RunsWhenUsed};
    use HazardKind::{GitConfig, GitHook, GitPlace, GitStep};
    let after = &evidence.after;
    let of = |side: &Side<'_>| match side.content {
        Content::Bytes(bytes) => Some(bytes.to_vec()),
        Content::Unknown => None,
    };
    let is_link = after.kind == EntryKind::Link;
    if role != Role::Hook && is_same(evidence) {
        return None;
    }
    let (content, before) = (of(after), evidence.before.as_ref().and_then(of));
    let directory = match evidence.path.iter().rposition(|byte| *byte == b'/') {
        Some(at) => &evidence.path[..at],
        None => b"",
    };
    let blind = |kind: HazardKind, danger| {
        let what = if is_link { "a link to" } else { "too long, or unreadable, to judge as" };
        Some((kind, danger, format!("{what} {}", kind.words())))
    };
    match role {
        Role::Hook => {
            let what = if evidence.before.is_some() { "changed" } else { "new" };
            let what = if is_link { "a link now" } else { what };
            Some((GitHook, RunsByItself, format!("git runs it by itself; {what}")))
        }
        Role::Config | Role::MaybeConfig => {
            let sure = role == Role::Config;
            let danger = |worst| if sure { worst } else { RunsWhenUsed };
            let Some(content) = content else {
                return if sure { blind(GitConfig, RunsByItself) } else { None };
            };
            let place = (evidence.folder, directory);
            match dangerous(before.as_deref(), &content, place) {
                Ok(keys) => {
                    let worst = keys.first()?.1;
                    let names: Vec<_> = keys.iter().take(8).map(|(key, _)| key.as_str()).collect();
                    let rest = keys.len().saturating_sub(names.len());
                    let more = if rest > 0 { format!(" and {rest} more") } else { String::new() };
                    Some((GitConfig, danger(worst), format!("{}{more}", names.join(", "))))
                }
                Err(_) if sure => {
                    let why = "cannot be read as git reads it, so nobody knows what it does";
                    Some((GitConfig, RunsByItself, why.to_owned()))
                }
                Err(_) => None,
            }
        }
        Role::Pointer => {
            let Some(content) = content else { return blind(GitPlace, RunsByItself) };
            let leads = match pointed(evidence.folder, directory, &content) {
                Some(leads) => leads,
                // The directory that a linked worktree shares with its repository.
                None => resolve(evidence.folder, directory, content.trim_ascii()),
            };
            match leads {
                Pointed::Inside(path) if is_ordinary(&path) => None,
                Pointed::Inside(path) => {
                    let path = String::from_utf8_lossy(&path).into_owned();
                    Some((GitPlace, RunsByItself, format!("git takes its repository from {path}")))
                }
                Pointed::Outside => {
                    let why = "git takes its repository from outside the folder";
                    Some((GitPlace, RunsByItself, why.to_owned()))
                }
            }
        }
        Role::Alternates => {
            let why = "git takes objects from another repository";
            Some((GitPlace, Obeyed, why.to_owned()))
        }
        Role::Steps => {
            let Some(content) = content else { return blind(GitStep, RunsByItself) };
            let text = String::from_utf8_lossy(&content);
            let runs = |line: &str| matches!(line.split_whitespace().next(), Some("exec" | "x"));
            let why = "`git rebase --continue` runs commands in it";
            text.lines().any(runs).then(|| (GitStep, RunsByItself, why.to_owned()))
        }
    }
}

/// Where git itself puts the directories of submodules, worktrees and repositories.
fn is_ordinary(path: &[u8]) -> bool {
    let mut parts = path.split(|byte| *byte == b'/').peekable();
    while let Some(part) = parts.next() {
        if part == b".git" {
            return matches!(parts.peek(), None | Some(&b"modules" | &b"worktrees"));
        }
    }
    false
}

fn set_id(evidence: &Evidence<'_>) -> Option<Judged> {
    const SET_ID: u32 = 0o6000;
    let (after, before) = (&evidence.after, evidence.before.as_ref());
    let new = after.mode & SET_ID & !before.map_or(0, |before| before.mode);
    let is_program = after.kind == EntryKind::File && new != 0;
    let why = "it runs with the rights of its owner or group";
    is_program.then(|| (HazardKind::SetId, Danger::RunsWhenUsed, why.to_owned()))
}

fn by_name(evidence: &Evidence<'_>) -> Option<Judged> {
    let (path, after) = (evidence.path, &evidence.after);
    let is_link = after.kind == EntryKind::Link;
    let Meaning { kind, danger, why, matter } = meaning(path, is_link)?;
    if is_link {
        return Some((kind, danger, format!("{why}; a link")));
    }
    let keys = match matter {
        Matter::Any => return Some((kind, danger, why.to_owned())),
        Matter::Keys(keys) | Matter::Named(keys) => keys,
    };
    let Content::Bytes(content) = after.content else {
        return Some((kind, danger, format!("{why}; too long, or unreadable, to judge")));
    };
    let before = match evidence.before.map(|before| before.content) {
        Some(Content::Bytes(bytes)) => Some(bytes),
        _ => None,
    };
    let named = |parts: &[String]| format!("{why}: {}", parts.join(", "));
    match parts::changed(path, before, content, keys) {
        Ok(parts) if !parts.is_empty() => Some((kind, danger, named(&parts[..parts.len().min(8)]))),
        Ok(_) if matches!(matter, Matter::Keys(_)) => None,
        Ok(_) => Some((kind, danger, why.to_owned())),
        Err(parts::Unreadable) => Some((kind, danger, format!("{why}; it cannot be read"))),
    }
}

fn executable(evidence: &Evidence<'_>) -> Option<Judged> {
    let runs = |side: &Side<'_>| side.kind == EntryKind::File && side.mode & 0o111 != 0;
    let new = runs(&evidence.after) && !evidence.before.as_ref().is_some_and(runs);
    let why = match evidence.before {
        Some(_) => "it was no program before",
        None => "a new program",
    };
    new.then(|| (HazardKind::Executable, Danger::RunsWhenUsed, why.to_owned()))
}

fn outside(evidence: &Evidence<'_>) -> Option<Judged> {
    let (path, after) = (evidence.path, &evidence.after);
    let target = after.target.filter(|_| after.kind == EntryKind::Link)?;
    let same = |before: &Side<'_>| before.kind == after.kind && before.target == after.target;
    if evidence.before.as_ref().is_some_and(same) {
        return None;
    }
    let directory = match path.iter().rposition(|byte| *byte == b'/') {
        Some(at) => &path[..at],
        None => b"",
    };
    let leads = resolve(evidence.folder, directory, target.as_bytes());
    let why = format!("it leads to {target}");
    (leads == Pointed::Outside).then_some((HazardKind::LinkOutside, Danger::Obeyed, why))
}

#[cfg(test)]
#[path = "judge_tests.rs"]
mod tests;
