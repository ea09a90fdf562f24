//! Talking to a machine's guest service.
//!
//! Owns: the connection, deadlines and limits. Must not: believe. A guest may answer with
//! anything, for ever or never: lines are bounded, waits end, texts are cleaned.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::de::DeserializeOwned;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};

use crate::engine::qemu::qmp::connect_short;
use crate::guest::GuestError;
use crate::guest::protocol::{
    Answer, Bytes64, Command, Event, Hello, Kind, Processes, Request, Unmounted, Usage,
};

/// The longest answer taken: 500 processes of several sessions fit.
const LONGEST_LINE: u64 = 4 << 20;

/// How long an ordinary request may take. A machine under emulation with a full load is slow.
const PATIENCE: Duration = Duration::from_secs(20);

struct Connection {
    lines: BufReader<OwnedReadHalf>,
    writer: OwnedWriteHalf,
}

/// The guest service of one machine, reached over the machine's SSH connection.
pub struct Guest {
    socket: PathBuf,
    connection: tokio::sync::Mutex<Option<Connection>>,
}

impl Guest {
    /// The service behind a forwarded socket. Nothing is connected yet.
    #[must_use]
    pub fn new(socket: impl Into<PathBuf>) -> Self {
        Self { socket: socket.into(), connection: tokio::sync::Mutex::new(None) }
    }

    /// Asks who is there.
    ///
    /// # Errors
    /// When the service does not answer, as all of these.
    pub async fn hello(&self) -> Result<Hello, GuestError> {
        self.call(&Request::Hello, PATIENCE).await
    }

    /// Mounts a share.
    ///
    /// # Errors
    /// With kind `occupied` when the guest has something of its own there.
    pub async fn mount(&self, tag: &str, path: &Path, read_only: bool) -> Result<(), GuestError> {
        let path_b64 = Bytes64::path(path);
        let request = Request::Mount { tag: tag.to_owned(), path_b64, read_only };
        self.call::<serde::de::IgnoredAny>(&request, PATIENCE).await.map(drop)
    }

    /// Takes a share out of the guest's file tree.
    ///
    /// # Errors
    /// When the guest cannot.
    pub async fn unmount(&self, path: &Path) -> Result<Unmounted, GuestError> {
        self.call(&Request::Unmount { path_b64: Bytes64::path(path) }, PATIENCE).await
    }

    /// Has the guest write back what it holds of a share; false when `deadline` came first.
    ///
    /// # Errors
    /// When the guest cannot.
    pub async fn sync(&self, path: &Path, deadline: Duration) -> Result<bool, GuestError> {
        #[derive(serde::Deserialize)]
        struct Done {
            done: bool,
        }
        let path_b64 = Bytes64::path(path);
        let request = Request::Sync { path_b64, seconds: deadline.as_secs_f64() };
        let answer: Done = self.call(&request, deadline + Duration::from_secs(5)).await?;
        Ok(answer.done)
    }

    /// Sends a signal to a session's foreground process group.
    ///
    /// # Errors
    /// When there is no such session or it has ended.
    pub async fn signal(&self, session: &str, name: &str) -> Result<(), GuestError> {
        let request = Request::Signal { id: session.to_owned(), name: name.to_owned() };
        self.call::<serde::de::IgnoredAny>(&request, PATIENCE).await.map(drop)
    }

    /// Lists the processes of all sessions.
    ///
    /// # Errors
    /// When the service does not answer.
    pub async fn processes(&self) -> Result<Processes, GuestError> {
        self.call(&Request::Processes, PATIENCE).await
    }

    /// Sets the guest's clock to `since_1970`.
    ///
    /// # Errors
    /// When the guest cannot.
    pub async fn set_time(&self, since_1970: Duration) -> Result<(), GuestError> {
        let request = Request::Time { epoch: since_1970.as_secs_f64() };
        self.call::<serde::de::IgnoredAny>(&request, PATIENCE).await.map(drop)
    }

    /// What the machine uses.
    ///
    /// # Errors
    /// When the service does not answer.
    pub async fn usage(&self) -> Result<Usage, GuestError> {
        self.call(&Request::Usage, PATIENCE).await
    }

    /// Announces a session's command. When the returned line is dropped, the guest kills
    /// every process of the session.
    ///
    /// # Errors
    /// When the service does not take it.
    pub async fn session(&self, command: Command) -> Result<LifeLine, GuestError> {
        let connection = self.connect().await?;
        let mut line = LifeLine { connection };
        let work = async {
            line.connection.send(&Request::Session(command)).await?;
            let answer = line.connection.receive().await?;
            let event: Event = understand("session", &answer)?;
            if event == Event::Registered { Ok(()) } else { Err(nonsense()) }
        };
        within(PATIENCE, work).await?;
        Ok(line)
    }

    async fn connect(&self) -> Result<Connection, GuestError> {
        let directory = self.socket.parent().unwrap_or(Path::new("/"));
        let name = self.socket.file_name().unwrap_or_default().to_string_lossy();
        let stream =
            connect_short(directory, &name).await.map_err(GuestError::file(&self.socket))?;
        let (read, writer) = stream.into_split();
        Ok(Connection { lines: BufReader::new(read), writer })
    }

    async fn call<T: DeserializeOwned>(
        &self,
        request: &Request,
        patience: Duration,
    ) -> Result<T, GuestError> {
        let mut kept = self.connection.lock().await;
        // Taken out: a connection whose answer was not waited for is of no use to the next request.
        let mut connection = match kept.take() {
            Some(connection) => connection,
            None => self.connect().await?,
        };
        let work = async {
            connection.send(request).await?;
            connection.receive().await
        };
        let answer = within(patience, work).await?;
        *kept = Some(connection);
        drop(kept);
        understand(request.operation(), &answer)
    }
}

async fn within<T>(
    patience: Duration,
    work: impl Future<Output = Result<T, GuestError>>,
) -> Result<T, GuestError> {
    tokio::time::timeout(patience, work).await.unwrap_or_else(|_| {
        Err(GuestError::Service(format!("no answer within {} seconds", patience.as_secs())))
    })
}

fn nonsense() -> GuestError {
    GuestError::Service("it answered with nonsense".to_owned())
}

impl Connection {
    async fn send(&mut self, request: &Request) -> Result<(), GuestError> {
        let mut line = serde_json::to_vec(request).map_err(|_| nonsense())?;
        line.push(b'\n');
        self.writer.write_all(&line).await.map_err(gone)
    }

    async fn receive(&mut self) -> Result<Vec<u8>, GuestError> {
        next_line(&mut self.lines).await
    }
}

async fn next_line(lines: &mut BufReader<OwnedReadHalf>) -> Result<Vec<u8>, GuestError> {
    let mut line = Vec::new();
    lines.take(LONGEST_LINE).read_until(b'\n', &mut line).await.map_err(gone)?;
    match line.last() {
        Some(b'\n') => Ok(line),
        Some(_) => Err(nonsense()),
        None => Err(GuestError::Service("it closed the connection".to_owned())),
    }
}

fn gone(error: std::io::Error) -> GuestError {
    GuestError::Service(format!("the connection broke: {error}"))
}

fn understand<T: DeserializeOwned>(operation: &'static str, line: &[u8]) -> Result<T, GuestError> {
    let answer: Answer = serde_json::from_slice(line).map_err(|_| nonsense())?;
    if answer.ok {
        return serde_json::from_slice(line).map_err(|_| nonsense());
    }
    let message = answer.message.chars().filter(|c| !c.is_control()).take(300).collect();
    Err(GuestError::Refused { operation, kind: answer.kind.unwrap_or(Kind::Other), message })
}

/// The life line of a session: what happens to its command. Dropping it ends the session.
pub struct LifeLine {
    connection: Connection,
}

impl LifeLine {
    /// The next thing that happens. Safe to drop and call again only between events.
    ///
    /// # Errors
    /// When the connection is lost; then nothing is known about the command.
    pub async fn next(&mut self) -> Result<Event, GuestError> {
        let line = self.connection.receive().await?;
        understand("session", &line)
    }

    /// Splits off the half that sends, so that events can be awaited meanwhile.
    #[must_use]
    pub fn split(self) -> (LifeEvents, LifeOrders) {
        let Connection { lines, writer } = self.connection;
        (LifeEvents { lines }, LifeOrders { writer })
    }
}

/// The receiving half of a life line.
pub struct LifeEvents {
    lines: BufReader<OwnedReadHalf>,
}

impl LifeEvents {
    /// The next thing that happens.
    ///
    /// # Errors
    /// When the connection is lost.
    pub async fn next(&mut self) -> Result<Event, GuestError> {
        let line = next_line(&mut self.lines).await?;
        understand("session", &line)
    }
}

/// The sending half of a life line.
pub struct LifeOrders {
    writer: OwnedWriteHalf,
}

impl LifeOrders {
    /// Sends a signal to the foreground process group.
    ///
    /// # Errors
    /// When the connection is lost.
    pub async fn signal(&mut self, name: &str) -> Result<(), GuestError> {
        self.send(&serde_json::json!({"op": "signal", "name": name})).await
    }

    /// Continues a stopped command in the foreground.
    ///
    /// # Errors
    /// When the connection is lost.
    pub async fn proceed(&mut self) -> Result<(), GuestError> {
        self.send(&serde_json::json!({"op": "continue"})).await
    }

    async fn send(&mut self, order: &serde_json::Value) -> Result<(), GuestError> {
        self.writer.write_all(format!("{order}\n").as_bytes()).await.map_err(gone)
    }
}

#[cfg(test)]
#[path = "client_tests.rs"]
mod tests;
