//! Which files make up a configuration, and the numbers of their schemas.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::error::ConfigError;

/// The schema that this version writes; it reads every one up to it.
pub const SCHEMA: i64 = 1;

/// The directory beside the main file whose files belong to the configuration.
pub const INCLUDES: &str = "conf.d";

/// One file of the configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    /// Where it is.
    pub file: PathBuf,
    /// What stands in it.
    pub text: String,
}

/// The files of a configuration: the main one, if it is there, and those of `conf.d` beside it
/// whose names end in `.toml` and do not begin with `.`, in the order of the bytes of their
/// names. `list` gives the names in a directory, `read` a file's text.
///
/// # Errors
/// The file or directory that is there and cannot be read.
pub fn gather(
    main: &Path,
    list: impl Fn(&Path) -> io::Result<Vec<OsString>>,
    read: impl Fn(&Path) -> io::Result<String>,
) -> Result<Vec<Source>, ConfigError> {
    let unreadable = |file: &Path, error: &io::Error| {
        ConfigError::of_file(file, format!("cannot be read: {error}"))
    };
    let directory = main.with_file_name(INCLUDES);
    let mut names = match list(&directory) {
        Ok(names) => names,
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(unreadable(&directory, &error)),
    };
    names.retain(|name| {
        let name = name.as_encoded_bytes();
        name.ends_with(b".toml") && !name.starts_with(b".")
    });
    names.sort();
    let mut sources = Vec::new();
    match read(main) {
        Ok(text) => sources.push(Source { file: main.to_owned(), text }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(unreadable(main, &error)),
    }
    for name in names {
        let file = directory.join(name);
        // One that goes between listing and reading is an error: half of the rules is no rules.
        let text = read(&file).map_err(|error| unreadable(&file, &error))?;
        sources.push(Source { file, text });
    }
    Ok(sources)
}

/// From each schema to the next one, comments kept. 0 is a file without a number.
const STEPS: [fn(&str) -> String; SCHEMA as usize] = [number];

/// The text in the present schema; `None` when it is that already, or does not parse.
#[must_use]
pub fn migrated(text: &str) -> Option<String> {
    let from = usize::try_from(schema_of(text)?).ok()?;
    let steps = STEPS.get(from..).filter(|steps| !steps.is_empty())?;
    Some(steps.iter().fold(text.to_owned(), |text, step| step(&text)))
}

/// The number that a file gives itself; 0 without one.
fn schema_of(text: &str) -> Option<i64> {
    let table = DeTable::parse(text).ok()?;
    match table.get_ref().get("schema").map(Spanned::get_ref) {
        None => Some(0),
        Some(DeValue::Integer(number)) => number.as_str().parse().ok(),
        Some(_) => None,
    }
}

/// 0 to 1: the keys are the same, the file gets its number. Comments that open the file stay in
/// front of it.
fn number(text: &str) -> String {
    let opening = text.split_inclusive('\n').take_while(|line| line.starts_with('#'));
    let (opening, rest) = text.split_at(opening.map(str::len).sum());
    let lines = if opening.is_empty() || opening.ends_with('\n') { "" } else { "\n" };
    let gap = if rest.is_empty() || rest.starts_with(['\n', '\r']) { "" } else { "\n" };
    format!("{opening}{lines}schema = 1\n{gap}{rest}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use std::collections::BTreeMap;

    #[test]
    fn a_file_without_a_number_gets_it_and_keeps_its_comments() {
        for (text, after) in [
            ("", "schema = 1\n"),
            ("[defaults]\ncpus = 2\n", "schema = 1\n\n[defaults]\ncpus = 2\n"),
            (
                "# mine\n# and yours\n\n[defaults] # here\n",
                "# mine\n# and yours\nschema = 1\n\n[defaults] # here\n",
            ),
            ("# mine\n[defaults]\n", "# mine\nschema = 1\n\n[defaults]\n"),
            ("# mine", "# mine\nschema = 1\n"),
        ] {
            assert_eq!(migrated(text).as_deref(), Some(after));
            assert_eq!(migrated(after), None, "{after}");
            Config::parse(Path::new("c"), after, Path::new("/home/ann")).expect(after);
        }
        assert_eq!(migrated("schema = 2\n"), None);
        assert_eq!(migrated("schema = \n"), None);
    }

    #[test]
    fn files_of_conf_d_follow_the_main_one_by_the_bytes_of_their_names() {
        let files: BTreeMap<PathBuf, &str> = ["config.toml", "conf.d/B.toml", "conf.d/a.toml"]
            .map(|name| (Path::new("/c").join(name), name))
            .into();
        let missing = || io::Error::from(io::ErrorKind::NotFound);
        let read = |file: &Path| files.get(file).map(ToString::to_string).ok_or_else(missing);
        let listed = ["a.toml", ".hidden.toml", "B.toml", "note.txt", "a.toml~"];
        let list = |_: &Path| Ok(listed.map(OsString::from).to_vec());
        let main = Path::new("/c/config.toml");
        let texts = |sources: Vec<Source>| -> Vec<String> {
            sources.into_iter().map(|source| source.text).collect()
        };
        let all = gather(main, list, read).expect("gathers");
        assert_eq!(texts(all), ["config.toml", "conf.d/B.toml", "conf.d/a.toml"]);
        let none = gather(main, |_| Err(missing()), |_| Err(missing())).expect("gathers");
        assert!(none.is_empty());
        // Neither a file that cannot be read nor one that went meanwhile is left out in silence.
        let gone = |_: &Path| Ok(vec!["gone.toml".into()]);
        let error = gather(main, gone, read).expect_err("gone");
        assert_eq!(error.file, Path::new("/c/conf.d/gone.toml"));
        let denied = |_: &Path| Err(io::Error::from(io::ErrorKind::PermissionDenied));
        assert!(gather(main, denied, read).is_err());
    }
}
