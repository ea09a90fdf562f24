//! What every command has at hand: surroundings, output, and the daemon with the
//! person's Ctrl-C in mind.

use std::future::Future;
use std::path::{Path, PathBuf};

use hyper::Method;
use jiff::Timestamp;
use ringfence_model::api::{FolderLookup, StateSelector};
use ringfence_model::bytes::BytePath;
use ringfence_model::error::{ApiError, ErrorKind};
use ringfence_model::name::SessionId;
use ringfence_model::session::Session;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::client::start::Starter;
use crate::client::{Client, Route};
use crate::env::Surroundings;
use crate::error::{self, Result, usage};
use crate::interrupt::Interrupts;
use crate::output::Output;
use crate::paths;
use crate::time::{self, Moment};

/// See the module's header.
#[derive(Debug)]
pub struct App {
    /// Where the process runs.
    pub surroundings: Surroundings,
    /// Where its words go.
    pub out: Output,
    /// The daemon; started when it is needed.
    pub client: Client,
    /// The person's Ctrl-C.
    pub interrupts: Interrupts,
}

impl App {
    /// An app whose daemon is started on demand.
    #[must_use]
    pub fn new(surroundings: Surroundings, out: Output, interrupts: Interrupts) -> Self {
        let client = Client::new(surroundings.layout.daemon_socket(), Starter::new());
        Self { surroundings, out, client, interrupts }
    }

    /// When the process started.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.surroundings.now.timestamp()
    }

    /// A short call.
    ///
    /// # Errors
    /// The daemon's, or that it was interrupted.
    pub async fn get<T: DeserializeOwned>(&self, route: Route) -> Result<T> {
        self.interruptible(self.client.get(&route)).await
    }

    /// A short call with a body.
    ///
    /// # Errors
    /// See [`App::get`].
    pub async fn post<T: DeserializeOwned>(
        &self,
        route: Route,
        body: &impl Serialize,
    ) -> Result<T> {
        self.interruptible(self.client.post(&route, body)).await
    }

    /// A short call that removes something.
    ///
    /// # Errors
    /// See [`App::get`].
    pub async fn delete(&self, route: Route) -> Result<()> {
        self.interruptible(self.client.delete(&route)).await
    }

    /// A long call, with progress on standard error; Ctrl-C ends it.
    ///
    /// # Errors
    /// See [`App::get`].
    pub async fn stream<T: DeserializeOwned>(
        &self,
        route: Route,
        body: &impl Serialize,
    ) -> Result<T> {
        self.stream_by(Method::POST, route, body).await
    }

    /// A long call by another method.
    ///
    /// # Errors
    /// See [`App::get`].
    pub async fn stream_by<T: DeserializeOwned>(
        &self,
        method: Method,
        route: Route,
        body: &impl Serialize,
    ) -> Result<T> {
        let mut waiting = self.out.waiting();
        self.interruptible(self.client.stream(method, &route, body, |event| waiting.on(event)))
            .await
    }

    /// A typed directory as an absolute path, else the current one.
    ///
    /// # Errors
    /// When it is not valid UTF-8, which no folder may be.
    pub fn directory(&self, typed: Option<&Path>) -> Result<PathBuf> {
        let directory = match typed {
            Some(typed) => self.surroundings.directory.join(typed),
            None => self.surroundings.directory.clone(),
        };
        if directory.to_str().is_none() {
            return Err(ApiError::new(
                ErrorKind::Refused,
                format!(
                    "{} is not valid UTF-8, so no machine could be told its path",
                    directory.display()
                ),
            )
            .hint("rename the directory"));
        }
        Ok(directory)
    }

    /// What the daemon knows about a directory.
    ///
    /// # Errors
    /// See [`App::get`].
    pub async fn lookup(&self, directory: &Path) -> Result<FolderLookup> {
        self.get(Route::new("/v1/folders/lookup").query_path("path", directory)).await
    }

    /// The root of the folder that a directory lies in.
    ///
    /// # Errors
    /// When it lies in none; see also [`App::get`].
    pub async fn root(&self, directory: &Path) -> Result<PathBuf> {
        self.lookup(directory).await?.registered.ok_or_else(|| {
            let shown = self.out.error_style.path(directory);
            usage(format!("{shown} is not in a folder under protection"))
                .hint(format!("ringfence folder add {}", self.out.error_style.argument(directory)))
                .hint("ringfence folder list")
        })
    }

    /// A typed path relative to a folder's root.
    ///
    /// # Errors
    /// When it lies outside.
    pub fn relative(&self, root: &Path, typed: &Path) -> Result<BytePath> {
        let directory = &self.surroundings.directory;
        let absolute = paths::normal(&directory.join(typed));
        let resolved = || {
            // The way to the folder may lead through a link; its end need not exist any more.
            let existing = paths::nearest_directory(&absolute)?;
            let rest = absolute.strip_prefix(existing).ok()?;
            let real = existing.canonicalize().ok()?.join(rest);
            paths::within(root, directory, &real)
        };
        paths::within(root, directory, typed).or_else(resolved).map_or_else(
            || {
                let style = &self.out.error_style;
                Err(usage(format!("{} lies outside of {}", style.path(typed), style.path(root))))
            },
            |path| Ok(BytePath::from_path(&path)),
        )
    }

    /// What a person means by a state, in the API's words; `None` is the folder as it is.
    ///
    /// # Errors
    /// When it is no state, or of a session that has none.
    pub async fn state(&self, text: &str) -> Result<Option<StateSelector>> {
        Ok(match time::parse(text, &self.surroundings.now).map_err(usage)? {
            Moment::Now => None,
            Moment::Latest => Some("latest".into()),
            Moment::Snapshot(id) => Some(id),
            Moment::At(time) => Some(time.to_string()),
            Moment::Operation(id, number) => {
                Some(format!("operation:{}:{number}", self.session(&id).await?.id))
            }
            Moment::Before(id) => {
                let session = self.session(&id).await?;
                Some(session.opening_snapshot.ok_or_else(|| {
                    usage(format!("session {} has no opening snapshot", session.id))
                        .hint("ringfence history")
                })?)
            }
            Moment::After(id) => {
                let session = self.session(&id).await?;
                Some(session.closing_snapshot.ok_or_else(|| {
                    usage(format!("session {} has no closing snapshot yet", session.id))
                        .hint("ringfence history")
                })?)
            }
        })
    }

    /// A time that a person means.
    ///
    /// # Errors
    /// When the text is no time that is past.
    pub fn time(&self, text: &str) -> Result<jiff::Timestamp> {
        match time::parse(text, &self.surroundings.now).map_err(usage)? {
            Moment::At(time) => Ok(time),
            _ => Err(usage(format!("`{text}` is no time, such as `14:05` or `10 minutes ago`"))),
        }
    }

    /// The session that a person means by its id, or by the beginning or end of it.
    ///
    /// # Errors
    /// When there is none, or several.
    pub async fn session(&self, typed: &SessionId) -> Result<Session> {
        let sessions: Vec<Session> = self.get(Route::new("/v1/sessions")).await?;
        if let Some(exact) = sessions.iter().find(|session| session.id == *typed) {
            return Ok(exact.clone());
        }
        let part = |session: &&Session| {
            let id = session.id.as_str();
            id.starts_with(typed.as_str()) || id.ends_with(typed.as_str())
        };
        let mut fitting = sessions.iter().filter(part);
        match (fitting.next(), fitting.next()) {
            (Some(session), None) => Ok(session.clone()),
            (Some(one), Some(other)) => Err(usage(format!(
                "`{typed}` could be session {} or session {}; type more of it",
                one.id, other.id
            ))
            .hint("ringfence session list")),
            (None, _) => {
                Err(usage(format!("there is no session `{typed}`")).hint("ringfence session list"))
            }
        }
    }

    /// The folder that a command is about: as given, else the current directory's where that
    /// is in one, else that of the first path.
    ///
    /// # Errors
    /// When none of them lies in a folder.
    pub async fn folder_of(&self, given: Option<&Path>, first: Option<&Path>) -> Result<PathBuf> {
        if given.is_some() {
            return self.root(&self.directory(given)?).await;
        }
        let here = self.root(&self.directory(None)?).await;
        let Some(typed) = first.filter(|path| here.is_err() && path.is_absolute()) else {
            return here;
        };
        let absolute = paths::normal(typed);
        let directory = paths::nearest_directory(&absolute).unwrap_or(&absolute);
        self.root(&self.directory(Some(directory))?).await
    }

    /// Asks before something that could lose something; `yes` answers it.
    ///
    /// # Errors
    /// Refused where nobody can be asked.
    pub async fn confirm(&self, yes: bool, question: &str, command: &str) -> Result<bool> {
        if yes {
            return Ok(true);
        }
        if !self.out.can_ask() {
            return Err(ApiError::new(
                ErrorKind::Refused,
                "nothing was done, because nobody can be asked without a terminal",
            )
            .hint(format!("{command} --yes")));
        }
        self.ask(question).await
    }

    /// Asks a question on the terminal.
    ///
    /// # Errors
    /// When it is interrupted or standard input cannot be read.
    pub async fn ask(&self, question: &str) -> Result<bool> {
        self.asking(self.out.ask(question)).await
    }

    /// Asks for words on the terminal.
    ///
    /// # Errors
    /// See [`App::ask`].
    pub async fn ask_words(&self, question: &str) -> Result<String> {
        self.asking(self.out.ask_words(question)).await
    }

    async fn asking<T>(&self, asked: impl Future<Output = Result<T>>) -> Result<T> {
        let answer = self.interruptible(asked).await;
        if answer.as_ref().is_err_and(|error| error.kind == ErrorKind::Interrupted) {
            // The cursor stands behind the question.
            self.out.say("");
        }
        answer
    }

    /// Ends a wait on Ctrl-C.
    ///
    /// # Errors
    /// The future's, or that it was interrupted.
    pub async fn interruptible<T>(&self, future: impl Future<Output = Result<T>>) -> Result<T> {
        tokio::select! {
            result = future => result,
            () = self.interrupts.next() => Err(error::interrupted()),
        }
    }
}
