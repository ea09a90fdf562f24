//! The one client of the daemon's API: HTTP/1 over its Unix socket, the version
//! handshake, streams of [`Item`], errors as the person will read them.
//!
//! Must not: print, read the environment, know a command.

pub mod lines;
pub mod route;
pub mod start;
pub mod systemd;

use std::path::{Path, PathBuf};

use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use ringfence_model::api::{API_VERSION, Item, Progress, Version};
use ringfence_model::error::{ApiError, ErrorKind};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;

use crate::error::Result;
use lines::Lines;
pub use route::Route;
use start::Starter;

/// What arrives before a long call's result.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// Something is being done.
    Progress(Progress),
    /// Something the person should know.
    Note(String),
    /// Something that nobody may miss.
    Warning(String),
}

/// A client of one daemon.
#[derive(Debug, Clone)]
pub struct Client {
    socket: PathBuf,
    starter: Option<Starter>,
}

type Sender = SendRequest<Full<Bytes>>;

impl Client {
    /// A client that talks to whoever listens on the socket; with a starter it starts the
    /// daemon where nobody does.
    #[must_use]
    pub const fn new(socket: PathBuf, starter: Option<Starter>) -> Self {
        Self { socket, starter }
    }

    /// The daemon's socket.
    #[must_use]
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// The daemon's version, whatever it is; never starts one.
    ///
    /// # Errors
    /// When no daemon answers.
    pub async fn version(&self) -> Result<Version> {
        let stream =
            UnixStream::connect(&self.socket).await.map_err(|error| self.no_answer(&error))?;
        let mut sender = self.speak(stream).await?;
        self.ask_version(&mut sender).await
    }

    /// A short call without a body.
    ///
    /// # Errors
    /// The daemon's error, or that it cannot be reached.
    pub async fn get<T: DeserializeOwned>(&self, route: &Route) -> Result<T> {
        self.short(Method::GET, route, None).await
    }

    /// A short call with a body.
    ///
    /// # Errors
    /// See [`Client::get`].
    pub async fn post<T: DeserializeOwned>(
        &self,
        route: &Route,
        body: &impl Serialize,
    ) -> Result<T> {
        self.short(Method::POST, route, Some(encode(body)?)).await
    }

    /// A short call that removes something.
    ///
    /// # Errors
    /// See [`Client::get`].
    pub async fn delete(&self, route: &Route) -> Result<()> {
        self.short::<serde::de::IgnoredAny>(Method::DELETE, route, None).await.map(|_| ())
    }

    /// Whether what a daemon of another version says about itself is to be ignored:
    /// asks it to end without the version handshake.
    ///
    /// # Errors
    /// When no daemon answers, or it does not want to end.
    pub async fn shut_down(&self) -> Result<()> {
        let stream =
            UnixStream::connect(&self.socket).await.map_err(|error| self.no_answer(&error))?;
        let mut sender = self.speak(stream).await?;
        let route = Route::new("/v1/shutdown");
        let response =
            self.send(&mut sender, Method::POST, &route, Some(Bytes::from("{}"))).await?;
        checked(&route, response).await.map(|_| ())
    }

    /// A call that answers with bytes, given to `take` as they come.
    ///
    /// # Errors
    /// See [`Client::get`]; also what `take` fails with.
    pub async fn bytes(
        &self,
        route: &Route,
        mut take: impl FnMut(&[u8]) -> Result<()>,
    ) -> Result<()> {
        let mut sender = self.connect().await?;
        let response = self.send(&mut sender, Method::GET, route, None).await?;
        let mut body = checked(route, response).await?.into_body();
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| broken(route, &error))?;
            if let Some(data) = frame.data_ref() {
                take(data)?;
            }
        }
        Ok(())
    }

    /// A long call: events go to `on`, the result comes back. Dropping the future
    /// closes the connection, by which the daemon knows that nobody waits any more.
    ///
    /// # Errors
    /// See [`Client::get`].
    pub async fn stream<T: DeserializeOwned>(
        &self,
        method: Method,
        route: &Route,
        body: &impl Serialize,
        mut on: impl FnMut(Event),
    ) -> Result<T> {
        let mut sender = self.connect().await?;
        let response = self.send(&mut sender, method, route, Some(encode(body)?)).await?;
        let mut body = checked(route, response).await?.into_body();
        let mut lines = Lines::default();
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| broken(route, &error))?;
            let Some(data) = frame.data_ref() else { continue };
            lines.push(data);
            while let Some(line) = lines.next_line() {
                if line.is_empty() {
                    continue;
                }
                match item::<T>(route, &line)? {
                    Item::Progress(progress) => on(Event::Progress(progress)),
                    Item::Note(note) => on(Event::Note(note)),
                    Item::Warning(warning) => on(Event::Warning(warning)),
                    Item::Done(result) => return Ok(result),
                    Item::Error(error) => return Err(error),
                }
            }
        }
        Err(ApiError::new(
            ErrorKind::Daemon,
            format!("the daemon's answer to {route} ended before its result"),
        )
        .hint("ringfence daemon logs"))
    }

    async fn short<T: DeserializeOwned>(
        &self,
        method: Method,
        route: &Route,
        body: Option<Bytes>,
    ) -> Result<T> {
        let mut sender = self.connect().await?;
        let response = self.send(&mut sender, method, route, body).await?;
        let response = checked(route, response).await?;
        let bytes = collect(route, response).await?;
        decode(route, &bytes)
    }

    /// A connection to a daemon of this version.
    async fn connect(&self) -> Result<Sender> {
        let mut sender = self.reach().await?;
        let version = match self.ask_version(&mut sender).await {
            // A daemon that ends just now has taken the connection still. To be asked for its version changes nothing:
            // the next one is asked again.
            Err(_) if self.starter.is_some() => {
                sender = self.reach().await?;
                self.ask_version(&mut sender).await?
            }
            outcome => outcome?,
        };
        if version.api != API_VERSION {
            return Err(ApiError::new(
                ErrorKind::Daemon,
                format!(
                    "the daemon that runs is of another version ({}, API {}; this is {}, API {API_VERSION})",
                    version.package,
                    version.api,
                    env!("CARGO_PKG_VERSION")
                ),
            )
            .hint("ringfence daemon restart"));
        }
        Ok(sender)
    }

    /// A connection to the daemon that runs, else to one that is started.
    async fn reach(&self) -> Result<Sender> {
        let stream = match UnixStream::connect(&self.socket).await {
            Ok(stream) => stream,
            Err(error) => match &self.starter {
                Some(starter) if start::nobody_listens(&error) => {
                    starter.start(&self.socket).await?
                }
                _ => return Err(self.no_answer(&error)),
            },
        };
        self.speak(stream).await
    }

    async fn speak(&self, stream: UnixStream) -> Result<Sender> {
        let (sender, connection) =
            handshake(TokioIo::new(stream)).await.map_err(|error| self.no_answer(&error))?;
        // It ends when the sender and the answer's body are gone.
        tokio::spawn(connection);
        Ok(sender)
    }

    async fn ask_version(&self, sender: &mut Sender) -> Result<Version> {
        let route = Route::new("/v1/version");
        let response = self.send(sender, Method::GET, &route, None).await?;
        let response = checked(&route, response).await?;
        let bytes = collect(&route, response).await?;
        decode(&route, &bytes)
    }

    async fn send(
        &self,
        sender: &mut Sender,
        method: Method,
        route: &Route,
        body: Option<Bytes>,
    ) -> Result<Response<Incoming>> {
        let request = Request::builder()
            .method(method)
            .uri(route.as_str())
            .header("host", "ringfence")
            .header("content-type", "application/json")
            .body(Full::new(body.unwrap_or_default()))
            .map_err(|error| {
                ApiError::from_source(ErrorKind::Failed, format!("{route} is no request"), &error)
            })?;
        sender.ready().await.map_err(|error| broken(route, &error))?;
        sender.send_request(request).await.map_err(|error| broken(route, &error))
    }

    fn no_answer(&self, error: &(dyn std::error::Error + 'static)) -> ApiError {
        ApiError::from_source(
            ErrorKind::Daemon,
            format!("no daemon answers on {}", self.socket.display()),
            error,
        )
        .hint("ringfence daemon start")
    }
}

fn encode(body: &impl Serialize) -> Result<Bytes> {
    serde_json::to_vec(body).map(Bytes::from).map_err(|error| {
        ApiError::from_source(ErrorKind::Failed, "the request cannot be written as JSON", &error)
    })
}

fn decode<T: DeserializeOwned>(route: &Route, bytes: &[u8]) -> Result<T> {
    // An empty answer is the answer of a call that has nothing to tell.
    let bytes = if bytes.is_empty() { b"null" } else { bytes };
    serde_json::from_slice(bytes).map_err(|error| not_understood(route, &error))
}

fn item<T: DeserializeOwned>(route: &Route, line: &[u8]) -> Result<Item<T>> {
    serde_json::from_slice(line).map_err(|error| not_understood(route, &error))
}

fn not_understood(route: &Route, error: &serde_json::Error) -> ApiError {
    ApiError::from_source(
        ErrorKind::Daemon,
        format!("the daemon's answer to {route} cannot be understood"),
        error,
    )
    .hint("ringfence daemon restart")
}

fn broken(route: &Route, error: &hyper::Error) -> ApiError {
    ApiError::from_source(
        ErrorKind::Daemon,
        format!("the daemon went away while it answered {route}"),
        error,
    )
    .hint("ringfence daemon logs")
}

async fn collect(route: &Route, response: Response<Incoming>) -> Result<Bytes> {
    let body = response.into_body().collect().await.map_err(|error| broken(route, &error))?;
    Ok(body.to_bytes())
}

/// The response, or the error in it.
async fn checked(route: &Route, response: Response<Incoming>) -> Result<Response<Incoming>> {
    let status = response.status();
    if status.is_success() {
        return Ok(response);
    }
    let bytes = collect(route, response).await?;
    Err(serde_json::from_slice::<ApiError>(&bytes).unwrap_or_else(|_| {
        let text: String = String::from_utf8_lossy(&bytes).chars().take(200).collect();
        let mut error =
            ApiError::new(ErrorKind::Daemon, format!("the daemon answered {route} with {status}"))
                .hint("ringfence daemon restart");
        if !text.trim().is_empty() {
            error.causes.push(text);
        }
        error
    }))
}
