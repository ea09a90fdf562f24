//! What git runs and obeys: which paths are hooks, configuration and pointers, and which keys
//! of a configuration are dangerous. Owns git's rules; must not read anything itself.

use std::collections::BTreeSet;

use super::Danger;
use super::git_config::{Setting, Unreadable, read};
use crate::bytes::directories_above;

/// What git calls its hooks.
pub const HOOK_NAMES: [&str; 28] = [
    "applypatch-msg",
    "commit-msg",
    "fsmonitor-watchman",
    "p4-changelist",
    "p4-post-changelist",
    "p4-pre-submit",
    "p4-prepare-changelist",
    "post-applypatch",
    "post-checkout",
    "post-commit",
    "post-index-change",
    "post-merge",
    "post-receive",
    "post-rewrite",
    "post-update",
    "pre-applypatch",
    "pre-auto-gc",
    "pre-commit",
    "pre-merge-commit",
    "pre-push",
    "pre-rebase",
    "pre-receive",
    "prepare-commit-msg",
    "proc-receive",
    "push-to-checkout",
    "reference-transaction",
    "sendemail-validate",
    "update",
];

/// What a path is to git.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// A hook, or the directory of them.
    Hook,
    /// Configuration that git reads.
    Config,
    /// A file of that name where git looks only if it is told to.
    MaybeConfig,
    /// A `.git` that is no directory, or a `commondir`.
    Pointer,
    /// Where objects are taken from.
    Alternates,
    /// The steps of a rebase.
    Steps,
}

/// Where git's things lie in a folder, beside what their names say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GitPlaces {
    /// Repositories whose directory is not called `.git`.
    pub directories: BTreeSet<Vec<u8>>,
    /// Directories that `core.hooksPath` names.
    pub hooks: BTreeSet<Vec<u8>>,
    /// Files that a configuration includes.
    pub included: BTreeSet<Vec<u8>>,
}

impl GitPlaces {
    pub(super) fn role(&self, path: &[u8]) -> Option<Role> {
        if self.included.contains(path) {
            return Some(Role::Config);
        }
        let prefixes = || directories_above(path).chain([path]);
        if prefixes().any(|prefix| self.hooks.contains(prefix)) {
            return Some(Role::Hook);
        }
        let is_git = |prefix: &&[u8]| {
            last(prefix).eq_ignore_ascii_case(b".git") || self.directories.contains(*prefix)
        };
        let Some(directory) = prefixes().rfind(is_git) else {
            let name = last(path);
            let like = [&b"config"[..], b"config.worktree", b".gitconfig"];
            return like.contains(&name).then_some(Role::MaybeConfig);
        };
        let rest = &path[directory.len()..];
        let rest = String::from_utf8_lossy(rest.strip_prefix(b"/").unwrap_or(rest));
        inside(&rest)
    }
}

/// What a path in a repository's directory is.
fn inside(rest: &str) -> Option<Role> {
    let name = rest.rsplit('/').next().unwrap_or(rest);
    let is_sample = name.ends_with(".sample");
    let module = rest.starts_with("modules/");
    match rest {
        "" => Some(Role::Pointer),
        "config" | "config.worktree" => Some(Role::Config),
        "commondir" => Some(Role::Pointer),
        "hooks" => Some(Role::Hook),
        "objects/info/alternates" => Some(Role::Alternates),
        "rebase-merge/git-rebase-todo" => Some(Role::Steps),
        _ if rest.starts_with("hooks/") && !is_sample => Some(Role::Hook),
        _ if rest.starts_with("worktrees/") || module => match name {
            "config" | "config.worktree" => Some(Role::Config),
            "commondir" => Some(Role::Pointer),
            "git-rebase-todo" => Some(Role::Steps),
            // A module that is not whole yet: its directory is not known for one.
            _ if module && rest.contains("/hooks/") && HOOK_NAMES.contains(&name) => {
                Some(Role::Hook)
            }
            _ if module && name == "hooks" => Some(Role::Hook),
            _ => None,
        },
        _ => None,
    }
}

fn last(path: &[u8]) -> &[u8] {
    path.rsplit(|b| *b == b'/').next().unwrap_or(path)
}

/// Where a text that names a place leads, seen from a directory of the folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pointed {
    /// To this path in the folder.
    Inside(Vec<u8>),
    /// Out of it.
    Outside,
}

/// Where `target` leads from `directory`, both as git and links write them: by the words
/// alone. `folder` is the folder's own path.
#[must_use]
pub fn resolve(folder: &[u8], directory: &[u8], target: &[u8]) -> Pointed {
    let mut parts: Vec<&[u8]> = Vec::new();
    let relative = match target.strip_prefix(b"/") {
        Some(_) => {
            let below = target.strip_prefix(folder).filter(|r| r.is_empty() || r[0] == b'/');
            let Some(below) = below else { return Pointed::Outside };
            below
        }
        None if target.starts_with(b"~") => return Pointed::Outside,
        None => {
            parts.extend(directory.split(|b| *b == b'/').filter(|p| !p.is_empty()));
            target
        }
    };
    for part in relative.split(|b| *b == b'/') {
        match part {
            b"" | b"." => {}
            b".." => {
                if parts.pop().is_none() {
                    return Pointed::Outside;
                }
            }
            part => parts.push(part),
        }
    }
    Pointed::Inside(parts.join(&b'/'))
}

/// The place that a `.git` file names; `None` where it names none.
#[must_use]
pub fn pointed(folder: &[u8], directory: &[u8], content: &[u8]) -> Option<Pointed> {
    let target = content.strip_prefix(b"gitdir:")?.trim_ascii();
    (!target.is_empty()).then(|| resolve(folder, directory, target))
}

/// The directories that a configuration names for hooks, and the files that it includes, as
/// it writes them.
#[must_use]
pub fn hooks_and_includes(content: &[u8]) -> (Vec<String>, Vec<String>) {
    let settings = read(content).unwrap_or_default();
    let values = |matches: fn(&Setting) -> bool| {
        let found = settings.iter().filter(|setting| matches(setting));
        found.filter_map(|setting| setting.value.clone()).collect::<Vec<_>>()
    };
    (
        values(|setting| setting.section == "core" && setting.name == "hookspath"),
        values(|s| matches!(&*s.section, "include" | "includeif") && s.name == "path"),
    )
}

/// How a key's value makes it dangerous.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum When {
    /// Whatever it is.
    Always,
    /// Unless it is a plain yes or no.
    NotBoolean,
    /// When it begins with `!` or `-`.
    Command,
    /// When it begins with `!`, or has words that git takes for options.
    Alias,
    /// When it leads out of the folder.
    Outside,
    /// When the key was there before, with another value.
    Changed,
    /// When it is a URL that runs something.
    RunningUrl,
    /// When it turns a check off.
    No,
}

use Danger::{RunsByItself as Itself, RunsWhenUsed as Used};
use When::{Alias, Always, Changed, Command, No, NotBoolean, Outside, RunningUrl};

/// The dangerous keys: section, name (`*`: any), when, and how dangerous. The first that
/// fits counts.
const KEYS: &[(&str, &str, When, Danger)] = &[
    ("alias", "*", Alias, Itself),
    ("browser", "cmd", Always, Used),
    ("browser", "path", Always, Used),
    ("core", "alternaterefscommand", Always, Itself),
    ("core", "askpass", Always, Itself),
    ("core", "attributesfile", Always, Used),
    ("core", "editor", Always, Itself),
    ("core", "fsmonitor", NotBoolean, Itself),
    ("core", "gitproxy", Always, Itself),
    ("core", "hookspath", Always, Itself),
    ("core", "pager", Always, Itself),
    ("core", "sshcommand", Always, Itself),
    ("core", "worktree", Outside, Itself),
    ("credential", "helper", Always, Itself),
    ("diff", "command", Always, Itself),
    ("diff", "external", Always, Itself),
    ("diff", "textconv", Always, Itself),
    ("difftool", "cmd", Always, Used),
    ("difftool", "path", Always, Used),
    ("filter", "clean", Always, Itself),
    ("filter", "process", Always, Itself),
    ("filter", "smudge", Always, Itself),
    ("gc", "recentobjectshook", Always, Itself),
    ("gpg", "defaultkeycommand", Always, Itself),
    ("gpg", "program", Always, Itself),
    ("guitool", "cmd", Always, Used),
    ("help", "browser", Always, Used),
    ("hook", "*", Always, Itself),
    ("http", "proxy", Always, Used),
    ("http", "sslcainfo", Always, Used),
    ("http", "sslcapath", Always, Used),
    ("http", "sslverify", No, Used),
    ("imap", "tunnel", Always, Used),
    ("include", "path", Always, Itself),
    ("includeif", "path", Always, Itself),
    ("init", "templatedir", Always, Itself),
    ("instaweb", "browser", Always, Used),
    ("instaweb", "httpd", Always, Used),
    ("interactive", "difffilter", Always, Itself),
    ("lfs", "clean", Always, Itself),
    ("lfs", "path", Always, Itself),
    ("lfs", "smudge", Always, Itself),
    ("lfs", "standalonetransferagent", Always, Itself),
    ("lfs", "url", Changed, Used),
    ("man", "cmd", Always, Used),
    ("man", "path", Always, Used),
    ("merge", "driver", Always, Itself),
    ("mergetool", "cmd", Always, Used),
    ("mergetool", "path", Always, Used),
    ("pager", "*", NotBoolean, Itself),
    ("protocol", "allow", Always, Itself),
    ("remote", "proxy", Always, Used),
    ("remote", "pushdefault", Always, Used),
    ("remote", "pushurl", RunningUrl, Itself),
    ("remote", "pushurl", Changed, Used),
    ("remote", "receivepack", Always, Itself),
    ("remote", "uploadpack", Always, Itself),
    ("remote", "url", RunningUrl, Itself),
    ("remote", "url", Changed, Used),
    ("remote", "vcs", Always, Itself),
    ("branch", "pushremote", Changed, Used),
    ("sendemail", "cccmd", Always, Used),
    ("sendemail", "headercmd", Always, Used),
    ("sendemail", "sendmailcmd", Always, Used),
    ("sendemail", "smtpserver", Always, Used),
    ("sendemail", "tocmd", Always, Used),
    ("sequence", "editor", Always, Itself),
    ("submodule", "update", Command, Itself),
    ("submodule", "url", RunningUrl, Itself),
    ("svn", "authorsprog", Always, Used),
    ("tar", "command", Always, Used),
    ("trailer", "cmd", Always, Itself),
    ("trailer", "command", Always, Itself),
    ("uploadpack", "packobjectshook", Always, Itself),
    ("url", "insteadof", Always, Itself),
    ("url", "pushinsteadof", Always, Itself),
    ("web", "browser", Always, Used),
    // Whatever git or a tool around it may learn to read.
    ("*", "*", Command, Itself),
];

/// The dangerous keys that a configuration has and the one before had not, or not so; and
/// how dangerous they are.
///
/// # Errors
/// Where the text cannot be read as git reads it.
pub(super) fn dangerous(
    before: Option<&[u8]>,
    after: &[u8],
    place: (&[u8], &[u8]),
) -> Result<Vec<(String, Danger)>, Unreadable> {
    let after = read(after)?;
    // What could not be read before is no reason to trust what can be now.
    let before = before.and_then(|bytes| read(bytes).ok()).unwrap_or_default();
    let values = |settings: &[Setting], key: &str| -> Vec<Option<String>> {
        let same = settings.iter().filter(|setting| setting.key() == key);
        same.map(|setting| setting.value.clone()).collect()
    };
    let mut found: Vec<(String, Danger)> = Vec::new();
    for setting in &after {
        let key = setting.key();
        let was = values(&before, &key);
        if found.iter().any(|(known, _)| *known == key) || was == values(&after, &key) {
            continue;
        }
        let last_changed = was.last() != values(&after, &key).last();
        if was.contains(&setting.value) && !last_changed {
            continue;
        }
        if let Some(danger) = danger(setting, !was.is_empty(), place) {
            found.push((key, danger));
        }
    }
    found.sort_by_key(|(_, danger)| *danger);
    Ok(found)
}

fn danger(setting: &Setting, was_there: bool, place: (&[u8], &[u8])) -> Option<Danger> {
    let fits = |wanted: &str, word: &str| wanted == "*" || wanted == word;
    let value = setting.value.as_deref().unwrap_or_default();
    let command = |value: &str| value.trim_start().starts_with(['!', '-']);
    let is = |words: &[&str]| words.iter().any(|word| value.eq_ignore_ascii_case(word));
    let no = is(&["", "no", "off", "false", "0"]) && setting.value.is_some();
    let yes = setting.value.is_none() || is(&["yes", "on", "true", "1"]);
    let dangerous = |when: &When| match when {
        Always => true,
        NotBoolean => !(yes || no),
        Command => command(value),
        Alias => command(value) || value.split_whitespace().any(|w| w == "-c" || w.contains("=!")),
        Outside => resolve(place.0, place.1, value.as_bytes()) == super::Pointed::Outside,
        Changed => was_there,
        RunningUrl => command(value) || value.contains("::"),
        No => no,
    };
    KEYS.iter()
        .filter(|(section, name, ..)| fits(section, &setting.section) && fits(name, &setting.name))
        .find(|(_, _, when, _)| dangerous(when))
        .map(|(.., danger)| *danger)
}

#[cfg(test)]
#[path = "git_tests.rs"]
mod tests;
