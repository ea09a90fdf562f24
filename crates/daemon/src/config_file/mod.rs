//! The user's configuration: read strictly from all its files, again whenever one of them changes.
//!
//! A broken file never takes effect: the last good configuration stays in force, also through a
//! restart of the daemon, and status says so. Owns the files and what was read from them; what
//! the words mean is `model`'s.

mod edit;
#[cfg(test)]
mod tests;
mod write;

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use ringfence_model::config::{
    Config, ConfigError, INCLUDES, Reading, Source, Surroundings, gather,
};
use ringfence_model::error::{ApiError, ErrorKind};
use ringfence_model::profile::SHIPPED;
use serde::{Deserialize, Serialize};

pub use edit::{FolderEdit, ProfileEdit};

use crate::host::{clock, facts, files};

/// The configuration in force and the files it came from.
pub struct ConfigFile {
    main: PathBuf,
    /// Where the last good one is kept.
    kept: PathBuf,
    home: PathBuf,
    state: Mutex<State>,
    /// Held while a file is changed.
    editing: Mutex<()>,
}

struct State {
    good: Arc<Reading>,
    error: Option<ConfigError>,
    /// The files as they were when they were read; `None`: not yet.
    stamps: Option<Vec<Stamp>>,
}

/// What is another when a file was changed.
#[derive(Debug, PartialEq, Eq)]
struct Stamp {
    file: PathBuf,
    /// Device, inode, length, and when content and inode were changed, in seconds and
    /// nanoseconds; `None`: it is not there, or cannot be looked at.
    facts: Option<[i64; 7]>,
}

impl Stamp {
    /// Whether the file was changed just now, by the clock that stamps files.
    fn is_fresh(&self) -> bool {
        let Some([.., seconds, nanoseconds]) = self.facts else { return false };
        let whole = u64::try_from(seconds).unwrap_or_default();
        let rest = u32::try_from(nanoseconds).unwrap_or_default();
        let changed = UNIX_EPOCH + Duration::new(whole, rest);
        // From the future: the clock was set back, and tells nothing.
        SystemTime::from(clock::now()).duration_since(changed).is_ok_and(|age| age < QUIET)
    }
}

/// The last good configuration on disk.
#[derive(Serialize, Deserialize)]
struct Kept {
    schema: u32,
    sources: Vec<Source>,
}

const KEPT_SCHEMA: u32 = 1;

/// A file that was changed this recently may not be written to its end: what is there so far
/// could be good by itself and say less.
const QUIET: Duration = Duration::from_millis(100);
/// The longest that is waited for a file to come to rest.
const PATIENCE: Duration = Duration::from_secs(1);

impl ConfigFile {
    /// The configuration whose main file is this one, which may be missing. The last good one
    /// is kept in `kept`. Reads nothing yet.
    #[must_use]
    pub fn open(main: PathBuf, kept: PathBuf, home: PathBuf) -> Self {
        let state = State { good: Arc::new(Reading::empty()), error: None, stamps: None };
        Self { main, kept, home, state: Mutex::new(state), editing: Mutex::new(()) }
    }

    /// Where the main file is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.main
    }

    /// The configuration in force, or what is wrong with its files. Rereads files that changed.
    ///
    /// # Errors
    /// What is wrong with a file, as the person is told.
    pub fn current(&self) -> Result<Arc<Config>, ApiError> {
        self.reading().map(|reading| Arc::clone(&reading.config))
    }

    /// As [`ConfigFile::current`], with where each value stands.
    ///
    /// # Errors
    /// As [`ConfigFile::current`].
    pub fn reading(&self) -> Result<Arc<Reading>, ApiError> {
        let state = self.refreshed();
        match &state.error {
            None => Ok(Arc::clone(&state.good)),
            Some(error) => Err(self.told(error)),
        }
    }

    /// The last configuration that was good: what keeps being enforced.
    #[must_use]
    pub fn last_good(&self) -> Arc<Config> {
        Arc::clone(&self.refreshed().good.config)
    }

    fn refreshed(&self) -> MutexGuard<'_, State> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let mut stamps = self.stamps();
        if state.stamps.as_ref() != Some(&stamps) {
            let since = Instant::now();
            while stamps.iter().any(Stamp::is_fresh) && since.elapsed() < PATIENCE {
                std::thread::sleep(QUIET / 4);
                stamps = self.stamps();
            }
            let first = state.stamps.is_none();
            self.refresh(&mut state, first);
            // A file that was written while it was read is read again.
            state.stamps = Some(stamps);
        }
        state
    }

    fn refresh(&self, state: &mut State, first: bool) {
        let read = self.sources().and_then(|sources| {
            self.none_emptied(&sources)?;
            Ok((self.read(sources.clone())?, sources))
        });
        match read {
            Ok((reading, sources)) => {
                (state.good, state.error) = (Arc::new(reading), None);
                self.keep(sources);
            }
            Err(error) => {
                tracing::warn!(%error, "the configuration is broken; the last good one stays in force");
                state.error = Some(error);
                if first && let Some(reading) = self.kept() {
                    state.good = Arc::new(reading);
                }
            }
        }
    }

    /// An editor that empties a file before it writes must not take every rule away for a moment,
    /// nor a full disk for longer.
    fn none_emptied(&self, sources: &[Source]) -> Result<(), ConfigError> {
        let empty = |source: &&Source| source.text.is_empty();
        let Some(source) = sources.iter().find(empty) else { return Ok(()) };
        let kept = files::read_record::<Kept>(&self.kept).ok().flatten();
        let said_something = kept.is_some_and(|kept| {
            kept.sources.iter().any(|before| before.file == source.file && !before.text.is_empty())
        });
        if !said_something {
            return Ok(());
        }
        let message = "is empty, and was not before; if that is meant, write a comment into it";
        Err(ConfigError::of_file(&source.file, message.to_owned()))
    }

    fn read(&self, sources: Vec<Source>) -> Result<Reading, ConfigError> {
        self.with_surroundings(|around| Reading::of(sources, around))
    }

    fn with_surroundings<T>(&self, with: impl FnOnce(&Surroundings<'_>) -> T) -> T {
        let variable = |name: &str| facts::variable(name)?.into_string().ok();
        let canonical = |path: &Path| fs::canonicalize(path).ok();
        with(&Surroundings {
            home: &self.home,
            variable: &variable,
            canonical: &canonical,
            shipped: SHIPPED,
        })
    }

    /// The files as they are now.
    fn sources(&self) -> Result<Vec<Source>, ConfigError> {
        gather(&self.main, list, |file| fs::read_to_string(file))
    }

    fn stamps(&self) -> Vec<Stamp> {
        let directory = self.main.with_file_name(INCLUDES);
        let mut names = list(&directory).unwrap_or_default();
        names.sort();
        let includes = names.into_iter().map(|name| directory.join(name));
        let stamp = |file: PathBuf| {
            let facts = fs::metadata(&file).ok().map(|facts| {
                let signed = |number: u64| i64::from_ne_bytes(number.to_ne_bytes());
                [
                    signed(facts.dev()),
                    signed(facts.ino()),
                    signed(facts.size()),
                    facts.mtime(),
                    facts.mtime_nsec(),
                    facts.ctime(),
                    facts.ctime_nsec(),
                ]
            });
            Stamp { file, facts }
        };
        // The directories as well: one that cannot be listed has no names, and an editor may take
        // a file away for a moment before it puts the new one there.
        let home = self.main.parent().map(Path::to_owned);
        let fixed = home.into_iter().chain([self.main.clone(), directory.clone()]);
        fixed.chain(includes).map(stamp).collect()
    }

    /// Writes down what is in force, for a daemon that finds broken files when it starts.
    fn keep(&self, sources: Vec<Source>) {
        let kept = Kept { schema: KEPT_SCHEMA, sources };
        if let Ok(Some(there)) = files::read_record::<Kept>(&self.kept)
            && (there.schema, &there.sources) == (kept.schema, &kept.sources)
        {
            return;
        }
        if let Err(error) = files::write_record(&self.kept, &kept) {
            tracing::warn!(%error, "the good configuration could not be kept for a restart");
        }
    }

    /// What an earlier daemon kept.
    fn kept(&self) -> Option<Reading> {
        let kept = match files::read_record::<Kept>(&self.kept) {
            Ok(kept) => kept.filter(|kept| kept.schema == KEPT_SCHEMA)?,
            Err(error) => {
                tracing::error!(%error, "the last good configuration cannot be read");
                return None;
            }
        };
        self.read(kept.sources)
            .inspect_err(|error| tracing::error!(%error, "the last good configuration is none now"))
            .ok()
    }

    fn told(&self, error: &ConfigError) -> ApiError {
        ApiError::new(ErrorKind::Config, error.to_string())
            .hint(format!("edit {} · then: ringfence config check", error.file.display()))
    }
}

fn list(directory: &Path) -> io::Result<Vec<OsString>> {
    fs::read_dir(directory)?.map(|entry| entry.map(|entry| entry.file_name())).collect()
}
