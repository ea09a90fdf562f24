//! The control socket: one JSON object a line, one answer a line. Only the daemon
//! can open it (the socket's mode says so); it is read with care all the same.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Notify, Semaphore};

use crate::counters::{Counters, Report};

/// Longest request, in bytes.
const MAX_REQUEST: u64 = 16 * 1024;
/// Conversations at once.
const MAX_CONVERSATIONS: usize = 16;
/// How long one answer may take to be read.
const PATIENCE: Duration = Duration::from_secs(5);

/// What may be asked: `{"get":true}`, `{"exit":true}`, `{"resolvers":["IP", …]}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Request {
    /// The numbers, as a [`Report`].
    Get(bool),
    /// End the process.
    Exit(bool),
    /// Ask these resolvers from now on.
    Resolvers(Vec<IpAddr>),
}

/// What is answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Reply {
    /// Done.
    Ok(bool),
    /// The numbers.
    Counters(Box<Report>),
    /// The request was not understood, and why.
    Error(String),
}

/// What a request can do.
pub(crate) struct Control {
    /// The numbers.
    pub(crate) counters: Arc<Counters>,
    /// Told when the process is to end.
    pub(crate) exit: Arc<Notify>,
    /// Takes new resolvers.
    pub(crate) resolvers: Box<dyn Fn(Vec<IpAddr>) + Send + Sync>,
}

impl Control {
    /// Answers until the listener fails.
    pub(crate) async fn serve(self: Arc<Self>, listener: UnixListener) -> std::io::Result<()> {
        let slots = Arc::new(Semaphore::new(MAX_CONVERSATIONS));
        loop {
            let (stream, _) = listener.accept().await?;
            let Ok(slot) = Arc::clone(&slots).try_acquire_owned() else {
                continue;
            };
            let control = Arc::clone(&self);
            tokio::spawn(async move {
                if let Err(error) = control.converse(stream).await {
                    tracing::debug!(%error, "control conversation ended");
                }
                drop(slot);
            });
        }
    }

    async fn converse(&self, stream: UnixStream) -> std::io::Result<()> {
        let (read, mut write) = stream.into_split();
        let mut lines = BufReader::new(read);
        loop {
            let mut line = Vec::new();
            let length = (&mut lines).take(MAX_REQUEST).read_until(b'\n', &mut line).await?;
            if length == 0 {
                return Ok(());
            }
            let whole = line.ends_with(b"\n");
            let (reply, exit) = if whole || length < usize::try_from(MAX_REQUEST).unwrap_or(0) {
                self.answer(&line)
            } else {
                (Reply::Error(format!("a request is at most {MAX_REQUEST} bytes")), false)
            };
            let mut text = serde_json::to_vec(&reply)?;
            text.push(b'\n');
            let written = tokio::time::timeout(PATIENCE, write.write_all(&text)).await;
            // Only now, or the process could be gone before its answer is.
            if exit {
                self.exit.notify_one();
            }
            written??;
            if !whole {
                return Ok(());
            }
        }
    }

    /// The answer to a request, and whether the process is to end after it.
    fn answer(&self, line: &[u8]) -> (Reply, bool) {
        let reply = match serde_json::from_slice(line) {
            Ok(Request::Get(true)) => Reply::Counters(Box::new(self.counters.report())),
            Ok(Request::Exit(true)) => return (Reply::Ok(true), true),
            Ok(Request::Resolvers(list)) => {
                (self.resolvers)(list);
                Reply::Ok(true)
            }
            Ok(Request::Get(false) | Request::Exit(false)) => {
                Reply::Error("a request is switched on with true".to_owned())
            }
            Err(error) => Reply::Error(error.to_string()),
        };
        (reply, false)
    }
}
