//! What reaches the person's eyes: results to standard output, everything else to
//! standard error. No colour, no spinner, no question where there is no terminal.

pub mod config;
pub mod copies;
pub mod decisions;
pub mod diff;
pub mod entries;
pub mod exit_check;
pub mod health;
pub mod hint;
pub mod history;
pub mod lists;
pub mod pager;
pub mod plan;
pub mod progress;
pub mod prune;
pub mod status;
pub mod style;
pub mod summary;
pub mod table;
pub mod words;

use std::io::{BufRead as _, Write as _};

use ringfence_model::error::{ApiError, ErrorKind};
use serde::Serialize;

use crate::env::{Surroundings, Terminals};
use crate::error::{self, Result};
use style::Style;

/// Version of the JSON of lists; rises when a field changes its meaning or goes.
pub const LIST_SCHEMA: u32 = 1;

/// The three standard streams, and what the person wants to see.
#[derive(Debug)]
pub struct Output {
    quiet: bool,
    /// Say more: every step of a preparation, every path of a plan.
    pub verbose: u8,
    /// How to render for standard output.
    pub style: Style,
    /// How to render for standard error.
    pub error_style: Style,
    terminals: Terminals,
}

impl Output {
    /// For a person in these surroundings.
    #[must_use]
    pub fn new(surroundings: &Surroundings, quiet: bool, verbose: u8) -> Self {
        let style = |terminal: bool, columns: Option<u16>| Style {
            colour: terminal && !surroundings.no_colour,
            columns: columns.filter(|_| terminal),
            home: surroundings.home.clone(),
            zone: Some(surroundings.now.time_zone().clone()),
        };
        let columns = |size: Option<ringfence_model::api::TerminalSize>| size.map(|s| s.columns);
        Self {
            quiet,
            verbose,
            style: style(
                surroundings.terminals.stdout,
                columns(crate::env::terminal_size(std::io::stdout())),
            ),
            error_style: style(
                surroundings.terminals.stderr,
                columns(crate::env::terminal_size(std::io::stderr())),
            ),
            terminals: surroundings.terminals,
        }
    }

    /// For messages before the surroundings are known.
    #[must_use]
    pub fn plain() -> Self {
        Self {
            quiet: false,
            verbose: 0,
            style: Style::plain(),
            error_style: Style::plain(),
            terminals: Terminals::default(),
        }
    }

    /// Whether standard output is a terminal.
    #[must_use]
    pub const fn stdout_is_terminal(&self) -> bool {
        self.terminals.stdout
    }

    /// Whether somebody can be asked.
    #[must_use]
    pub const fn can_ask(&self) -> bool {
        self.terminals.stdin && self.terminals.stderr
    }

    /// A result.
    ///
    /// # Errors
    /// When standard output cannot be written, except that nobody reads it any more.
    pub fn print(&self, text: &str) -> Result<()> {
        self.write(text.as_bytes())
    }

    /// A result in bytes.
    ///
    /// # Errors
    /// See [`Output::print`].
    pub fn write(&self, bytes: &[u8]) -> Result<()> {
        let mut stdout = std::io::stdout().lock();
        match stdout.write_all(bytes).and_then(|()| stdout.flush()) {
            // `ringfence history | head` is no failure.
            Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
                Err(ApiError::from_source(
                    ErrorKind::Failed,
                    "standard output cannot be written",
                    &error,
                ))
            }
            _ => Ok(()),
        }
    }

    /// A result as JSON, for scripts.
    ///
    /// # Errors
    /// See [`Output::print`].
    pub fn json(&self, value: &impl Serialize) -> Result<()> {
        let text = serde_json::to_string_pretty(value).map_err(|error| {
            ApiError::from_source(ErrorKind::Failed, "the result cannot be written as JSON", &error)
        })?;
        self.print(&format!("{text}\n"))
    }

    /// A list as JSON: `{"schema": 1, "<noun>": […]}`.
    ///
    /// # Errors
    /// See [`Output::print`].
    pub fn json_list(&self, noun: &str, list: &impl Serialize) -> Result<()> {
        let list = serde_json::to_value(list).map_err(|error| {
            ApiError::from_source(ErrorKind::Failed, "the result cannot be written as JSON", &error)
        })?;
        self.json(&serde_json::json!({ "schema": LIST_SCHEMA, noun: list }))
    }

    /// One object as JSON, with the schema's number beside its fields.
    ///
    /// # Errors
    /// See [`Output::print`].
    pub fn json_object(&self, object: &impl Serialize) -> Result<()> {
        let mut value = serde_json::to_value(object).map_err(|error| {
            ApiError::from_source(ErrorKind::Failed, "the result cannot be written as JSON", &error)
        })?;
        if let Some(fields) = value.as_object_mut() {
            fields.insert("schema".into(), LIST_SCHEMA.into());
        }
        self.json(&value)
    }

    /// Something to know; silent with `--quiet`.
    pub fn note(&self, text: &str) {
        if !self.quiet {
            self.say(text);
        }
    }

    /// What a question or a refusal is about; never silent.
    pub fn say(&self, text: &str) {
        // Where standard error is gone there is nobody to tell that it is.
        let _ = writeln!(std::io::stderr().lock(), "{}", text.trim_end_matches('\n'));
    }

    /// A failure.
    pub fn error(&self, error: &ApiError) {
        self.say(&error::render(error, &self.error_style));
    }

    /// Shows what is being waited for until it is dropped.
    #[must_use]
    pub fn waiting(&self) -> progress::Waiting {
        let how = if self.quiet {
            progress::How::Silent
        } else if self.terminals.stderr {
            progress::How::Line
        } else if self.verbose > 0 {
            progress::How::Log
        } else {
            progress::How::Silent
        };
        progress::Waiting::new(how, self.quiet, self.error_style.clone())
    }

    /// Asks a question that `y` answers with yes, and everything else with no.
    ///
    /// # Errors
    /// When standard input cannot be read.
    pub async fn ask(&self, question: &str) -> Result<bool> {
        let answer = self.ask_words(&format!("{question} [y/N]")).await?;
        Ok(matches!(answer.to_ascii_lowercase().as_str(), "y" | "yes"))
    }

    /// Asks for words.
    ///
    /// # Errors
    /// When standard input cannot be read.
    pub async fn ask_words(&self, question: &str) -> Result<String> {
        Ok(self.line(&format!("{question} ")).await?.trim().to_owned())
    }

    /// Asks for a line that is not shown while it is typed.
    ///
    /// # Errors
    /// When standard input cannot be read.
    pub async fn ask_secret(&self, question: &str) -> Result<String> {
        use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};
        let stdin = std::io::stdin();
        let before = tcgetattr(&stdin).ok();
        if let Some(mut silent) = before.clone() {
            silent.local_modes.remove(LocalModes::ECHO);
            silent.local_modes.insert(LocalModes::ECHONL);
            let _ = tcsetattr(&stdin, OptionalActions::Flush, &silent);
        }
        // Given back however this ends, also when it is interrupted.
        let _shown = before.map(Shown);
        self.line(question).await
    }

    async fn line(&self, question: &str) -> Result<String> {
        {
            let mut stderr = std::io::stderr().lock();
            let _ = write!(stderr, "{question}");
            let _ = stderr.flush();
        }
        let read = tokio::task::spawn_blocking(|| {
            let mut line = String::new();
            std::io::stdin().lock().read_line(&mut line).map(|_| line)
        });
        let answer = read.await.map_err(std::io::Error::other).and_then(|line| line);
        answer.map_err(|error| {
            ApiError::from_source(ErrorKind::Failed, "standard input cannot be read", &error)
        })
    }
}

/// A terminal that shows what is typed again.
struct Shown(rustix::termios::Termios);

impl Drop for Shown {
    fn drop(&mut self) {
        use rustix::termios::{OptionalActions, tcsetattr};
        let _ = tcsetattr(std::io::stdin(), OptionalActions::Now, &self.0);
    }
}
