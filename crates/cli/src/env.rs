//! The edge: environment, terminal and clock are read here once and passed on.

use std::ffi::OsString;
use std::io::IsTerminal as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;

use jiff::Zoned;
use ringfence_model::api::TerminalSize;
use ringfence_model::error::{ApiError, ErrorKind};
use ringfence_model::layout::{Environment, Layout, usual_runtime_dir};

/// Variables of the person's terminal that a command inside may need to draw well.
/// Nothing else of the environment goes in: it may hold secrets.
const FORWARDED: [&str; 10] = [
    "TERM",
    "COLORTERM",
    "LANG",
    "LC_ALL",
    "LC_CTYPE",
    "LC_MESSAGES",
    "LC_TIME",
    "LC_COLLATE",
    "LC_NUMERIC",
    "NO_COLOR",
];

/// Which of the three standard streams are terminals.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Terminals {
    /// Standard input.
    pub stdin: bool,
    /// Standard output.
    pub stdout: bool,
    /// Standard error.
    pub stderr: bool,
}

/// What is known about where the process runs.
#[derive(Debug, Clone)]
pub struct Surroundings {
    /// Where Ringfence's files lie.
    pub layout: Layout,
    /// The home directory, for shorter paths in messages.
    pub home: Option<PathBuf>,
    /// The current directory.
    pub directory: PathBuf,
    /// When the process started, in the person's time zone.
    pub now: Zoned,
    /// `PAGER`, where it is set and not empty.
    pub pager: Option<String>,
    /// `VISUAL`, else `EDITOR`, where one is set and not empty.
    pub editor: Option<String>,
    /// Whether `NO_COLOR` is set and not empty, or the terminal is dumb.
    pub no_colour: bool,
    /// Which streams are terminals.
    pub terminals: Terminals,
    /// Variables to be set inside.
    pub forwarded: Vec<(String, String)>,
}

impl Surroundings {
    /// Reads them.
    ///
    /// # Errors
    /// When there is no place for Ringfence's files or no current directory.
    pub fn read() -> Result<Self, ApiError> {
        let path = |name: &str| variable(name).map(PathBuf::from);
        let home = path("HOME");
        let layout = Layout::resolve(&Environment {
            ringfence_home: path("RINGFENCE_HOME"),
            home: home.clone(),
            config_home: path("XDG_CONFIG_HOME"),
            state_home: path("XDG_STATE_HOME"),
            cache_home: path("XDG_CACHE_HOME"),
            runtime_dir: runtime_directory(),
            uid: rustix::process::geteuid().as_raw(),
        })
        .map_err(|error| {
            ApiError::new(ErrorKind::Config, error.to_string())
                .hint("export HOME=/your/home/directory")
        })?;
        let directory = std::env::current_dir().map_err(|error| {
            ApiError::from_source(
                ErrorKind::Failed,
                "the current directory cannot be found; was it deleted?",
                &error,
            )
            .hint("cd ~")
        })?;
        let written = |name: &str| text(name).filter(|value| !value.trim().is_empty());
        let dumb = text("TERM").is_some_and(|term| term == "dumb");
        Ok(Self {
            layout,
            home,
            directory,
            now: Zoned::now(),
            pager: written("PAGER"),
            editor: written("VISUAL").or_else(|| written("EDITOR")),
            no_colour: dumb || variable("NO_COLOR").is_some_and(|value| !value.is_empty()),
            terminals: Terminals {
                stdin: std::io::stdin().is_terminal(),
                stdout: std::io::stdout().is_terminal(),
                stderr: std::io::stderr().is_terminal(),
            },
            forwarded: FORWARDED
                .iter()
                .filter_map(|name| Some(((*name).to_owned(), text(name)?)))
                .collect(),
        })
    }
}

/// The user's runtime directory; also where nobody said which: cron, `su` and `sudo` do not. The
/// daemon looks for it in the same way, or it would not be found.
#[must_use]
pub fn runtime_directory() -> Option<PathBuf> {
    variable("XDG_RUNTIME_DIR").map(PathBuf::from).or_else(|| {
        let uid = rustix::process::geteuid().as_raw();
        let usual = usual_runtime_dir(uid)?;
        std::fs::symlink_metadata(&usual)
            .is_ok_and(|facts| facts.is_dir() && facts.uid() == uid)
            .then_some(usual)
    })
}

/// Variables of these names that are set, and are text.
#[must_use]
pub fn texts<'a>(names: impl IntoIterator<Item = &'a str>) -> Vec<(String, String)> {
    let set = |name: &str| Some((name.to_owned(), text(name).filter(|text| !text.is_empty())?));
    names.into_iter().filter_map(set).collect()
}

/// Where the user's systemd looks for units.
#[must_use]
pub fn units_directory() -> Option<PathBuf> {
    let config = variable("XDG_CONFIG_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    let config = config.or_else(|| Some(PathBuf::from(variable("HOME")?).join(".config")))?;
    Some(config.join("systemd/user"))
}

#[expect(clippy::disallowed_methods, reason = "this is the edge at which the environment is read")]
fn variable(name: &str) -> Option<OsString> {
    std::env::var_os(name)
}

/// A variable that paths in the configuration may name.
#[must_use]
pub fn text(name: &str) -> Option<String> {
    variable(name)?.into_string().ok()
}

/// The size of the terminal that a stream is, if it is one.
#[must_use]
pub fn terminal_size(stream: impl std::os::fd::AsFd) -> Option<TerminalSize> {
    let size = rustix::termios::tcgetwinsize(stream).ok()?;
    (size.ws_row > 0 && size.ws_col > 0)
        .then_some(TerminalSize { rows: size.ws_row, columns: size.ws_col })
}

/// The name of the terminal at which the person types, if it is one.
#[must_use]
pub fn terminal_name() -> Option<String> {
    let name = rustix::termios::ttyname(std::io::stdin(), Vec::new()).ok()?;
    name.into_string().ok()
}
