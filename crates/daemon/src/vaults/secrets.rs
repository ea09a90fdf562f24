//! The file by which stores of copies know the user: logins and key files, one table a target.
//! Owns that it is private and that nothing of it is repeated in a message.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use ringfence_model::copy::CopyTarget;
use ringfence_model::error::{ApiError, ErrorKind};
use serde::Deserialize;

/// A larger file is none of ours.
const MAX_FILE: u64 = 1024 * 1024;

/// What one target needs.
#[derive(Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Secret {
    /// REST: user and password.
    pub(super) user: Option<String>,
    pub(super) password: Option<String>,
    /// S3: keys and region.
    pub(super) access_key: Option<String>,
    pub(super) secret_key: Option<String>,
    pub(super) region: Option<String>,
    /// S3 and REST: certificate authorities besides the system's (PEM).
    pub(super) authorities: Option<PathBuf>,
    /// SFTP: a private key, and a file of known hosts, besides those of ssh's configuration.
    pub(super) identity: Option<PathBuf>,
    pub(super) known_hosts: Option<PathBuf>,
    /// Send a password over plain HTTP to another computer all the same.
    #[serde(default)]
    pub(super) in_the_clear: bool,
}

/// What is written about a target, or about the nearest target that contains it.
pub(super) fn read(file: &Path, home: &Path, target: &CopyTarget) -> Result<Secret, ApiError> {
    let shown = file.display();
    let wrong = |what: String| ApiError::new(ErrorKind::Config, format!("{shown}: {what}"));
    let text = match File::open(file) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Secret::default()),
        Err(error) => return Err(wrong(format!("cannot be read: {error}"))),
        Ok(opened) => {
            let facts = opened.metadata().map_err(|error| wrong(error.to_string()))?;
            if facts.mode() & 0o077 != 0 {
                return Err(wrong("others can read it".into()).hint(format!("chmod 600 {shown}")));
            }
            let mut text = String::new();
            let read = opened.take(MAX_FILE).read_to_string(&mut text);
            read.map_err(|error| wrong(format!("cannot be read: {error}")))?;
            text
        }
    };
    // A message of the parser's would quote the line, and with it a secret.
    let tables: BTreeMap<String, Secret> = toml::from_str(&text).map_err(|error| {
        let line = error.span().map_or(0, |span| text[..span.start].lines().count().max(1));
        wrong(format!(
            "line {line} cannot be understood; it holds tables such as [\"{target}\"] with \
             user, password, access_key, secret_key, region, authorities, identity, known_hosts"
        ))
    })?;
    let wanted = target.to_string();
    let mut best: Option<(usize, Secret)> = None;
    for (name, secret) in tables {
        let known = CopyTarget::parse(&name, home).map_err(|error| wrong(error.to_string()))?;
        let known = known.to_string();
        let known = known.trim_end_matches('/');
        let rest = wanted.strip_prefix(known);
        let contains = rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        if contains && best.as_ref().is_none_or(|(length, _)| *length < known.len()) {
            best = Some((known.len(), secret));
        }
    }
    let mut secret = best.map(|(_, secret)| secret).unwrap_or_default();
    for path in [&mut secret.authorities, &mut secret.identity, &mut secret.known_hosts] {
        if let Some(rest) = path.as_ref().and_then(|path| path.strip_prefix("~").ok()) {
            *path = Some(home.join(rest));
        }
    }
    if secret.password.is_some() && target.is_in_the_clear() && !secret.in_the_clear {
        return Err(ApiError::new(
            ErrorKind::Refused,
            format!("the password for {target} would be sent in the clear"),
        )
        .hint(format!("use https, or allow it with in_the_clear = true in {shown}")));
    }
    Ok(secret)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn ask(text: &str, target: &str) -> Result<Secret, ApiError> {
        let directory = tempfile::tempdir().expect("directory");
        let file = directory.path().join("secrets");
        std::fs::write(&file, text).expect("written");
        std::fs::set_permissions(&file, PermissionsExt::from_mode(0o600)).expect("mode");
        let home = Path::new("/home/ann");
        read(&file, home, &CopyTarget::parse(target, home).expect("target"))
    }

    #[test]
    fn the_nearest_target_counts() {
        let text = "[\"rest:https://nas\"]\npassword = \"a\"\n[\"rest:https://nas/ann/\"]\npassword = \"b\"\n\
                    [\"sftp:nas:/b\"]\nidentity = \"~/key\"\n";
        let password = |target| ask(text, target).expect("reads").password;
        assert_eq!(password("rest:https://nas/ann/shop-1/").as_deref(), Some("b"));
        assert_eq!(password("rest:https://nas/anna/").as_deref(), Some("a"));
        assert_eq!(password("rest:https://nas2/"), None);
        let identity = ask(text, "sftp:nas:/b/shop-1").expect("reads").identity;
        assert_eq!(identity.as_deref(), Some(Path::new("/home/ann/key")));
    }

    #[test]
    fn nothing_of_it_is_repeated() {
        for text in
            ["[\"rest:https://nas/\"]\npasword = \"hunter2\"\n", "hunter2", "[\"hunter2\"]\n"]
        {
            let Err(error) = ask(text, "rest:https://nas/") else { panic!("{text}") };
            assert!(!error.message.contains("hunter2") || text == "[\"hunter2\"]\n", "{error}");
        }
    }

    #[test]
    fn a_password_is_not_sent_in_the_clear_unless_it_is_allowed() {
        let text = "[\"rest:http://nas/\"]\npassword = \"a\"\n";
        assert!(ask(text, "rest:http://nas/x").is_err_and(|e| e.kind == ErrorKind::Refused));
        assert!(ask(&format!("{text}in_the_clear = true\n"), "rest:http://nas/x").is_ok());
        let text = "[\"rest:http://127.0.0.1:1/\"]\npassword = \"a\"\n";
        assert!(ask(text, "rest:http://127.0.0.1:1/x").is_ok());
    }

    #[test]
    fn a_file_that_others_can_read_is_refused() {
        let directory = tempfile::tempdir().expect("directory");
        let file = directory.path().join("secrets");
        std::fs::write(&file, "").expect("written");
        std::fs::set_permissions(&file, PermissionsExt::from_mode(0o640)).expect("mode");
        let target = CopyTarget::parse("/mnt/a", Path::new("/")).expect("target");
        assert!(read(&file, Path::new("/"), &target).is_err());
    }
}
