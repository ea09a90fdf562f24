//! `--exit-file`: whether an exit code is the inner command's or Ringfence's own.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use ringfence_model::error::{ApiError, ErrorKind};
use ringfence_model::session::Exit;
use serde::Serialize;

use crate::error::Result;

/// Whose exit code it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Kind {
    Inner,
    Ringfence,
}

/// What is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Outcome {
    kind: Kind,
    code: u8,
    exit: Option<Exit>,
}

impl Outcome {
    /// The inner command ended like this.
    #[must_use]
    pub const fn inner(code: u8, exit: Option<Exit>) -> Self {
        Self { kind: Kind::Inner, code, exit }
    }

    /// Ringfence failed, whatever the inner command did.
    #[must_use]
    pub const fn own(code: u8, exit: Option<Exit>) -> Self {
        Self { kind: Kind::Ringfence, code, exit }
    }
}

/// A file that is made before anything runs, so that it cannot fail only at the end.
#[derive(Debug)]
pub struct ExitFile {
    path: PathBuf,
    file: File,
}

impl ExitFile {
    /// Makes it, empty.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn create(path: &Path) -> Result<Self> {
        let file = File::create(path).map_err(|error| failed(path, &error))?;
        Ok(Self { path: path.to_owned(), file })
    }

    /// Writes how it ended.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&mut self, outcome: &Outcome) -> Result<()> {
        let mut text = serde_json::to_string(outcome)
            .map_err(|error| failed(&self.path, &std::io::Error::other(error)))?;
        text.push('\n');
        self.file.write_all(text.as_bytes()).map_err(|error| failed(&self.path, &error))
    }
}

fn failed(path: &Path, error: &std::io::Error) -> ApiError {
    ApiError::from_source(
        ErrorKind::Failed,
        format!("the exit file {} cannot be written", path.display()),
        error,
    )
    .hint("give --exit-file a path in a directory that exists")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_are_the_contract() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("exit");
        let written = |outcome: Outcome| {
            ExitFile::create(&path).and_then(|mut file| file.write(&outcome)).expect("written");
            std::fs::read_to_string(&path).expect("read")
        };
        assert_eq!(
            written(Outcome::inner(7, Some(Exit::Code(7)))),
            "{\"kind\":\"inner\",\"code\":7,\"exit\":{\"code\":7}}\n"
        );
        assert_eq!(
            written(Outcome::inner(137, Some(Exit::Signal(9)))),
            "{\"kind\":\"inner\",\"code\":137,\"exit\":{\"signal\":9}}\n"
        );
        assert_eq!(
            written(Outcome::own(255, Some(Exit::Lost))),
            "{\"kind\":\"ringfence\",\"code\":255,\"exit\":\"lost\"}\n"
        );
        assert_eq!(
            written(Outcome::own(254, None)),
            "{\"kind\":\"ringfence\",\"code\":254,\"exit\":null}\n"
        );
        let error = ExitFile::create(&directory.path().join("no/such")).expect_err("no directory");
        assert!(error.message.contains("no/such"), "{error}");
    }
}
