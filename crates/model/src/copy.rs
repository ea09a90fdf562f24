//! Second copies: where they lie, in words, and when the next attempt is due. Pure.
//!
//! A target is where copies of vaults go; each folder's copy lies in a directory of its own
//! below it, named by the folder's id. A target never holds a password: those stand in a
//! file of their own, which only the daemon reads.

use std::fmt;
use std::path::{Path, PathBuf};

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::name::FolderId;

/// Where copies lie, as written in the configuration and shown everywhere.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CopyTarget {
    /// How it is reached.
    pub place: CopyPlace,
}

/// How a target is reached.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CopyPlace {
    /// A directory of this computer, best on another disk.
    Disk(PathBuf),
    /// A directory on another computer, reached by ssh.
    Sftp {
        /// Who logs in; `None`: as ssh's own configuration says.
        user: Option<String>,
        /// The other computer.
        host: String,
        /// Its port; `None`: as ssh's own configuration says.
        port: Option<u16>,
        /// The directory; relative to the home directory there unless it begins with `/`.
        path: String,
    },
    /// A store that speaks S3.
    S3 {
        /// `https://host` or `http://host:port`, without a path.
        endpoint: String,
        /// The bucket.
        bucket: String,
        /// Below what in the bucket; may be empty; neither begins nor ends with `/`.
        prefix: String,
    },
    /// A restic REST server.
    Rest {
        /// `https://host:port/path`, without `/` at its end.
        url: String,
    },
}

/// Why a text is no target.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{shown}` is no target for copies: {why}")]
pub struct TargetError {
    shown: String,
    why: &'static str,
}

impl CopyTarget {
    /// Reads a target as people write it: a directory, `sftp:[USER@]HOST:PATH`,
    /// `sftp://[USER@]HOST[:PORT]/PATH`, `s3:[https://]HOST/BUCKET[/PREFIX]`,
    /// `rest:https://HOST/PATH`. `home` replaces a leading `~`.
    ///
    /// # Errors
    /// Why it is none; a password in it is not repeated.
    pub fn parse(text: &str, home: &Path) -> Result<Self, TargetError> {
        let place =
            place(text, home).map_err(|why| TargetError { shown: without_login(text), why })?;
        Ok(Self { place })
    }

    /// Where one folder's copy lies, as stock restic is told.
    #[must_use]
    pub fn of_folder(&self, folder: &FolderId) -> Self {
        self.below(folder.as_str())
    }

    /// A directory in this one.
    #[must_use]
    pub fn below(&self, name: &str) -> Self {
        let join = |path: &str| match path.trim_end_matches('/') {
            "" if path.starts_with('/') => format!("/{name}"),
            "" => name.to_owned(),
            path => format!("{path}/{name}"),
        };
        let place = match &self.place {
            CopyPlace::Disk(path) => CopyPlace::Disk(path.join(name)),
            CopyPlace::Sftp { user, host, port, path } => CopyPlace::Sftp {
                user: user.clone(),
                host: host.clone(),
                port: *port,
                path: join(path),
            },
            CopyPlace::S3 { endpoint, bucket, prefix } => CopyPlace::S3 {
                endpoint: endpoint.clone(),
                bucket: bucket.clone(),
                prefix: join(prefix),
            },
            CopyPlace::Rest { url } => CopyPlace::Rest { url: join(url) },
        };
        Self { place }
    }

    /// The last component, where the target has one: the folder's id, if it is one folder's copy.
    #[must_use]
    pub fn last_component(&self) -> Option<&str> {
        let path = match &self.place {
            CopyPlace::Disk(path) => return path.file_name()?.to_str(),
            CopyPlace::Sftp { path, .. } => path,
            CopyPlace::S3 { prefix, .. } => prefix,
            CopyPlace::Rest { url } => url.split_once("://")?.1.split_once('/')?.1,
        };
        path.rsplit('/').next().filter(|name| !name.is_empty())
    }

    /// Whether what is sent there could be read on the way: plain HTTP to another computer.
    #[must_use]
    pub fn is_in_the_clear(&self) -> bool {
        let url = match &self.place {
            CopyPlace::Disk(_) | CopyPlace::Sftp { .. } => return false,
            CopyPlace::S3 { endpoint, .. } => endpoint,
            CopyPlace::Rest { url } => url,
        };
        let Some(rest) = url.strip_prefix("http://") else { return false };
        let host = rest.split('/').next().unwrap_or_default();
        let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
        !(name == "localhost" || name == "[::1]" || name.starts_with("127."))
    }
}

impl fmt::Display for CopyTarget {
    /// As stock restic is told.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            CopyPlace::Disk(path) => write!(f, "{}", path.display()),
            CopyPlace::Sftp { user, host, port, path } => {
                let user = user.as_ref().map(|user| format!("{user}@")).unwrap_or_default();
                match port {
                    Some(port) => write!(f, "sftp://{user}{host}:{port}/{path}"),
                    None => write!(f, "sftp:{user}{host}:{path}"),
                }
            }
            CopyPlace::S3 { endpoint, bucket, prefix } => {
                let slash = if prefix.is_empty() { "" } else { "/" };
                write!(f, "s3:{endpoint}/{bucket}{slash}{prefix}")
            }
            CopyPlace::Rest { url } => write!(f, "rest:{url}/"),
        }
    }
}

impl Serialize for CopyTarget {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for CopyTarget {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        // What was stored is complete: there is no `~` in it.
        Self::parse(&text, Path::new("/")).map_err(serde::de::Error::custom)
    }
}

fn place(text: &str, home: &Path) -> Result<CopyPlace, &'static str> {
    if text.is_empty() {
        return Err("it is empty");
    }
    if text.chars().any(char::is_control) {
        return Err("it has a control character");
    }
    match text.split_once(':') {
        Some(("sftp", rest)) => sftp(rest),
        Some(("s3", rest)) => s3(rest),
        Some(("rest", rest)) => Ok(CopyPlace::Rest { url: url(rest)? }),
        _ => disk(text, home),
    }
}

fn disk(text: &str, home: &Path) -> Result<CopyPlace, &'static str> {
    let path = match text.strip_prefix("~/") {
        Some(rest) => home.join(rest),
        None => PathBuf::from(text),
    };
    let plain = path.components().all(|part| part != std::path::Component::ParentDir);
    if !path.is_absolute() || path == Path::new("/") || !plain {
        return Err(
            "a directory must be absolute or begin with `~/`; others begin with `sftp:`, `s3:` or `rest:`",
        );
    }
    Ok(CopyPlace::Disk(path.components().collect()))
}

fn sftp(rest: &str) -> Result<CopyPlace, &'static str> {
    let (login, port, path) = match rest.strip_prefix("//") {
        Some(rest) => {
            let (login, path) = rest.split_once('/').ok_or("it names no directory")?;
            match login.rsplit_once(':') {
                Some((login, port)) => {
                    let port: u16 = port.parse().map_err(|_| "its port is no number")?;
                    (login, Some(port), path)
                }
                None => (login, None, path),
            }
        }
        None => {
            // A user may stand before the host, a `@` may also stand in the path.
            let user =
                rest.find('@').filter(|at| !rest[..*at].contains('/')).map_or(0, |at| at + 1);
            let colon = rest[user..].find(':').ok_or("it must be `sftp:HOST:PATH`")? + user;
            (&rest[..colon], None, &rest[colon + 1..])
        }
    };
    let (user, host) = match login.rsplit_once('@') {
        Some((user, host)) => (Some(user), host),
        None => (None, login),
    };
    if user.is_some_and(|user| user.contains(':')) {
        return Err("a password does not belong there; ssh logs in by key");
    }
    if !is_plain(host) || !user.is_none_or(is_plain) {
        return Err("its host or user is none");
    }
    let path = path.trim_end_matches('/');
    if path.is_empty() || path.starts_with('-') || path.split('/').any(|part| part == "..") {
        return Err("it names no directory");
    }
    Ok(CopyPlace::Sftp {
        user: user.map(ToOwned::to_owned),
        host: host.to_owned(),
        port,
        path: path.to_owned(),
    })
}

/// A host's or user's name that no program takes for an option.
fn is_plain(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with('-')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || "._-[]:%".contains(c))
}

fn s3(rest: &str) -> Result<CopyPlace, &'static str> {
    let whole = if rest.contains("://") { rest.to_owned() } else { format!("https://{rest}") };
    let whole = url(&whole)?;
    let (scheme, rest) = whole.split_once("://").ok_or("it is no URL")?;
    let (host, path) = rest.split_once('/').ok_or("it names no bucket")?;
    let (bucket, prefix) = path.split_once('/').unwrap_or((path, ""));
    if bucket.is_empty() {
        return Err("it names no bucket");
    }
    Ok(CopyPlace::S3 {
        endpoint: format!("{scheme}://{host}"),
        bucket: bucket.to_owned(),
        prefix: prefix.trim_matches('/').to_owned(),
    })
}

/// A URL with a scheme, a host, perhaps a port and a path, and nothing else.
fn url(text: &str) -> Result<String, &'static str> {
    let (scheme, rest) =
        text.split_once("://").ok_or("it must have a URL such as https://HOST/PATH")?;
    if !["http", "https"].contains(&scheme) {
        return Err("its URL must begin with https:// or http://");
    }
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    if host.contains('@') {
        return Err("a user or password does not belong there, but in the file of secrets");
    }
    if !is_plain(host) {
        return Err("its URL names no host");
    }
    let odd = |c: char| !(c.is_ascii_alphanumeric() || "/._-~".contains(c));
    if path.chars().any(odd) || path.split('/').any(|part| part == ".." || part == ".") {
        return Err("the path in its URL may hold letters, digits and `/._-~`");
    }
    let path = path.trim_end_matches('/');
    let slash = if path.is_empty() { "" } else { "/" };
    Ok(format!("{scheme}://{host}{slash}{path}"))
}

/// A text without what may be a user and a password.
fn without_login(text: &str) -> String {
    match (text.rfind('@'), text.find(':')) {
        (Some(at), Some(colon)) if colon < at => {
            format!("{}:…@{}", &text[..colon], &text[at + 1..])
        }
        _ => text.chars().filter(|c| !c.is_control()).take(200).collect(),
    }
}

/// What is known about one folder's copy at one target. Stored by the daemon.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct CopyRecord {
    /// The moment up to which the copy holds what the vault holds.
    pub last: Option<Timestamp>,
    /// The vault's newest snapshot at that moment.
    pub snapshot: Option<String>,
    /// When the youngest of the vault's snapshot files was written at that moment.
    #[serde(default)]
    pub seen: Option<Timestamp>,
    /// When it was last compared with the vault, successfully or not.
    pub tried: Option<Timestamp>,
    /// Attempts that failed since the last that did not.
    #[serde(default)]
    pub failures: u32,
    /// Why the last attempt failed.
    pub error: Option<String>,
}

/// A copy that is up to date is compared with its vault so often.
const COMPARED_EVERY: SignedDuration = SignedDuration::from_hours(24);
/// Pause after the first failure; doubles with each further one.
const FIRST_PAUSE: SignedDuration = SignedDuration::from_secs(60);
/// Longest pause.
const LONGEST_PAUSE: SignedDuration = SignedDuration::from_hours(1);

/// When the next attempt is due: at once for a new snapshot, later after failures, daily
/// where nothing changed, so that what is lost at the target is found.
#[must_use]
pub fn next_attempt(record: &CopyRecord, newest: Option<&str>, now: Timestamp) -> Timestamp {
    let Some(tried) = record.tried else { return now };
    // A clock that was set back must not put an attempt off for ever.
    let tried = tried.min(now);
    if record.failures > 0 {
        let doubled =
            FIRST_PAUSE.checked_mul(1 << (record.failures - 1).min(10)).unwrap_or(LONGEST_PAUSE);
        return tried.saturating_add(doubled.min(LONGEST_PAUSE)).unwrap_or(now);
    }
    if record.snapshot.as_deref() != newest {
        return now;
    }
    tried.saturating_add(COMPARED_EVERY).unwrap_or(now)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<CopyTarget, TargetError> {
        CopyTarget::parse(text, Path::new("/home/ann"))
    }

    #[test]
    fn targets_are_read_and_shown_as_restic_is_told() {
        let id = FolderId::new("shop-1").expect("id");
        for (text, shown) in [
            ("/mnt/disk/", "/mnt/disk/shop-1"),
            ("~/copies", "/home/ann/copies/shop-1"),
            ("sftp:ann@nas:/backup", "sftp:ann@nas:/backup/shop-1"),
            ("sftp:nas:backup/", "sftp:nas:backup/shop-1"),
            ("sftp://ann@nas:2222//srv/b", "sftp://ann@nas:2222//srv/b/shop-1"),
            ("s3:s3.example.org/b", "s3:https://s3.example.org/b/shop-1"),
            ("s3:http://127.0.0.1:9000/b/x/", "s3:http://127.0.0.1:9000/b/x/shop-1"),
            ("rest:https://nas:8000", "rest:https://nas:8000/shop-1/"),
            ("rest:https://nas:8000/ann/", "rest:https://nas:8000/ann/shop-1/"),
        ] {
            let target = parse(text).expect(text);
            let copy = target.of_folder(&id);
            assert_eq!(copy.to_string(), shown);
            assert_eq!(copy.last_component(), Some("shop-1"));
            assert_eq!(parse(&target.to_string()).expect("again"), target);
        }
        assert_eq!(parse("rest:https://nas").expect("rest").last_component(), None);
    }

    #[test]
    fn what_is_no_target_says_why_and_repeats_no_password() {
        for text in [
            "",
            "disk",
            "/",
            "/a/../b",
            "ftp:x",
            "sftp:nas",
            "sftp:-oProxyCommand=x:/b",
            "sftp:a b:/c",
            "sftp:ann:hunter2@nas:/b",
            "sftp://nas:port/b",
            "sftp:nas:",
            "s3:host",
            "s3:ftp://host/b",
            "s3:https://key:hunter2@host/b",
            "rest:nas",
            "rest:https://ann:hunter2@nas/",
            "rest:https:///x",
            "rest:https://nas/a?b",
            "rest:https://nas/../x",
            "/mnt/a\nb",
        ] {
            let error = parse(text).expect_err(text).to_string();
            assert!(!error.contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn plain_http_to_others_is_told_apart() {
        for (text, clear) in [
            ("rest:http://nas:8000/", true),
            ("rest:https://nas/", false),
            ("rest:http://127.0.0.1:8000/", false),
            ("s3:http://s3.lan/b", true),
            ("s3:http://localhost:9000/b", false),
            ("sftp:nas:/b", false),
        ] {
            assert_eq!(parse(text).expect(text).is_in_the_clear(), clear, "{text}");
        }
    }

    #[test]
    fn attempts_come_at_once_later_or_daily() {
        let now: Timestamp = "2026-01-02T00:00:00Z".parse().expect("time");
        let mut record = CopyRecord::default();
        assert_eq!(next_attempt(&record, None, now), now);
        record = CopyRecord {
            tried: Some(now),
            last: Some(now),
            snapshot: Some("a".into()),
            ..CopyRecord::default()
        };
        assert_eq!(next_attempt(&record, Some("b"), now), now);
        assert_eq!(next_attempt(&record, Some("a"), now), now + COMPARED_EVERY);
        for (failures, seconds) in [(1, 60), (2, 120), (3, 240), (7, 3600), (4_000_000_000, 3600)] {
            record.failures = failures;
            let pause = next_attempt(&record, Some("b"), now).duration_since(now);
            assert_eq!(pause.as_secs(), seconds, "after {failures} failures");
        }
        // The clock went back by a year: not later than the longest pause from now.
        record.tried = Some(now + SignedDuration::from_hours(24 * 365));
        assert!(next_attempt(&record, Some("b"), now) <= now + LONGEST_PAUSE);
    }
}
