//! Paths as people write them in the configuration: `~`, `$NAME`, `${NAME}`.

use std::path::{Component, Path, PathBuf};

use super::Surroundings;
use crate::secret::is_variable;

/// The absolute path that a text means. `what` names the value in the message.
///
/// # Errors
/// Why it means none.
pub(super) fn absolute(
    what: &str,
    text: &str,
    around: &Surroundings<'_>,
) -> Result<PathBuf, String> {
    let path = expand(text, around)?;
    if !path.is_absolute() {
        return Err(format!("{what} `{text}` must be absolute or start with `~/`"));
    }
    if path.components().any(|part| part == Component::ParentDir) {
        return Err(format!("{what} `{text}` goes up with `..`: write where it leads"));
    }
    // Without `.` and doubled or trailing slashes, so that one directory has one spelling.
    Ok(path.components().collect())
}

/// A path with `~` and variables in their places.
///
/// # Errors
/// When it names another person's home, or a variable that is not set.
pub(super) fn expand(text: &str, around: &Surroundings<'_>) -> Result<PathBuf, String> {
    if text.chars().any(char::is_control) {
        return Err("a path has no control characters".into());
    }
    match text.strip_prefix('~') {
        None => variables(text, around).map(PathBuf::from),
        Some("") => Ok(around.home.to_owned()),
        Some(rest) if rest.starts_with('/') => {
            Ok(around.home.join(variables(rest, around)?.trim_start_matches('/')))
        }
        Some(rest) => {
            let user = Path::new(rest).components().next().map(|part| part.as_os_str().to_owned());
            let user = user.unwrap_or_default();
            Err(format!(
                "`~{}` is another user's home directory: write its whole path",
                user.to_string_lossy()
            ))
        }
    }
}

fn variables(text: &str, around: &Surroundings<'_>) -> Result<String, String> {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('$') {
        out.push_str(before);
        if let Some(after) = after.strip_prefix('$') {
            out.push('$');
            rest = after;
            continue;
        }
        let (name, after) = match after.strip_prefix('{') {
            Some(braced) => {
                braced.split_once('}').ok_or_else(|| format!("`{text}`: `${{` without `}}`"))?
            }
            None => {
                let end = after.find(|c: char| !c.is_ascii_alphanumeric() && c != '_');
                after.split_at(end.unwrap_or(after.len()))
            }
        };
        if !is_variable(name) {
            return Err(format!(
                "`{text}`: `$` begins the name of a variable; for the sign itself write `$$`"
            ));
        }
        let value = (around.variable)(name).filter(|value| !value.is_empty());
        out.push_str(&value.ok_or_else(|| format!("the variable `{name}` is not set"))?);
        rest = after;
    }
    out.push_str(rest);
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<PathBuf, String> {
        let variable = |name: &str| match name {
            "CODE" => Some("/srv/code".to_owned()),
            "EMPTY" => Some(String::new()),
            "LOOP" => Some("$CODE".to_owned()),
            _ => None,
        };
        let around =
            Surroundings { variable: &variable, ..Surroundings::of(Path::new("/home/ann")) };
        absolute("path", text, &around)
    }

    #[test]
    fn a_path_may_begin_at_home_and_have_variables() {
        for (text, path) in [
            ("~", "/home/ann"),
            ("~/", "/home/ann"),
            ("~//a/./b/", "/home/ann/a/b"),
            ("$CODE/shop", "/srv/code/shop"),
            ("${CODE}x/shop", "/srv/codex/shop"),
            ("/a/$$b", "/a/$b"),
            ("/a/~b", "/a/~b"),
        ] {
            let read = read(text);
            assert_eq!(read.as_deref(), Ok(Path::new(path)), "{text}");
            // One spelling, not only one meaning.
            assert_eq!(read.unwrap().as_os_str(), path);
        }
    }

    #[test]
    fn what_is_no_path_is_said() {
        for (text, words) in [
            ("~bob/shop", "`~bob` is another user's home directory"),
            ("$UNSET/a", "the variable `UNSET` is not set"),
            ("$EMPTY/a", "the variable `EMPTY` is not set"),
            ("${CODE/a", "`${` without `}`"),
            ("/a/$", "write `$$`"),
            ("/a/$1", "write `$$`"),
            ("a/b", "must be absolute"),
            ("", "must be absolute"),
            ("/a/../b", "goes up with `..`"),
            ("/a\nb", "control characters"),
            // What a variable holds is not read again.
            ("$LOOP/a", "must be absolute"),
        ] {
            let error = read(text).expect_err(text);
            assert!(error.contains(words), "{text}: {error}");
        }
    }
}
