//! One attached command line: its frames in, the queued frames out.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use ringfence_model::api::TerminalSize;
use ringfence_model::attach::{self, ClientSignal, FromClient, Hello};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc;

use super::hub::{Attached, ClientId, Hub, WINDOW};
use super::input::Input;
use super::queue::Queue;

/// How long a client may take to say hello.
const HELLO: Duration = Duration::from_secs(10);

/// What a client wants that concerns the whole session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wish {
    /// A signal for the command.
    Signal(ClientSignal),
    /// A new size of the terminal; `redraw`: even if it is the old one.
    Resize {
        /// The size.
        size: TerminalSize,
        /// Make the program draw itself again.
        redraw: bool,
    },
    /// Nobody reads standard output.
    StdoutClosed,
    /// Nobody reads standard error.
    StderrClosed,
}

/// What every client needs.
#[derive(Debug, Clone)]
pub(super) struct Desk {
    pub(super) hub: Arc<Hub>,
    pub(super) wishes: mpsc::Sender<Wish>,
    pub(super) input: mpsc::UnboundedSender<Input>,
}

/// Accepts clients of our own user until the session is over.
pub(super) async fn accept(listener: UnixListener, desk: Desk) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let desk = desk.clone();
                tokio::spawn(async move {
                    if let Err(error) = serve(stream, desk).await {
                        tracing::debug!(%error, "a client left");
                    }
                });
            }
            Err(error) => {
                // Out of descriptors, most likely; one of them will be free again.
                tracing::warn!(%error, "no client can be accepted");
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        }
    }
}

async fn serve(stream: UnixStream, desk: Desk) -> io::Result<()> {
    let peer = stream.peer_cred()?.uid();
    if peer != rustix::process::geteuid().as_raw() && peer != 0 {
        return Err(io::Error::from(io::ErrorKind::PermissionDenied));
    }
    let (mut reader, writer) = stream.into_split();
    let mut payload = Vec::new();
    let first = tokio::time::timeout(HELLO, read(&mut reader, &mut payload)).await??;
    if first != Some(FromClient::Hello) {
        return Err(invalid("the first frame is no hello"));
    }
    let hello: Hello = serde_json::from_slice(&payload)?;
    let Attached { id, queue, size, redraw, proceed } = desk.hub.attach(&hello);
    if let Some(size) = size {
        let _ = desk.wishes.send(Wish::Resize { size, redraw }).await;
    }
    if proceed {
        let _ = desk.wishes.send(Wish::Signal(ClientSignal::Cont)).await;
    }
    let mut client = Client { id, queue: Arc::clone(&queue), ahead: Arc::default(), desk };
    let sender = tokio::spawn(send(writer, queue));
    let outcome = tokio::select! {
        outcome = client.listen(&mut reader, &mut payload) => outcome,
        sent = sender => sent.map_err(io::Error::other).flatten(),
    };
    if client.desk.hub.leave(id) {
        let _ = client.desk.input.send(Input::End);
    }
    outcome
}

async fn send(mut writer: OwnedWriteHalf, queue: Arc<Queue>) -> io::Result<()> {
    while let Some(frame) = queue.pop().await {
        writer.write_all(&frame).await?;
    }
    writer.shutdown().await
}

struct Client {
    id: ClientId,
    queue: Arc<Queue>,
    /// Bytes of input that were sent and not yet taken by the command.
    ahead: Arc<AtomicUsize>,
    desk: Desk,
}

impl Client {
    async fn listen(
        &mut self,
        reader: &mut OwnedReadHalf,
        payload: &mut Vec<u8>,
    ) -> io::Result<()> {
        while let Some(kind) = read(reader, payload).await? {
            if !self.desk.hub.is_writer(self.id) {
                continue;
            }
            let wish = match kind {
                FromClient::Hello => return Err(invalid("a second hello")),
                FromClient::Stdin => {
                    self.input(std::mem::take(payload))?;
                    continue;
                }
                FromClient::StdinEnd => {
                    let _ = self.desk.input.send(Input::End);
                    continue;
                }
                FromClient::Resize => {
                    Wish::Resize { size: serde_json::from_slice(payload)?, redraw: false }
                }
                FromClient::Signal => Wish::Signal(serde_json::from_slice(payload)?),
                FromClient::StdoutClosed => Wish::StdoutClosed,
                FromClient::StderrClosed => Wish::StderrClosed,
            };
            let _ = self.desk.wishes.send(wish).await;
        }
        Ok(())
    }

    fn input(&self, bytes: Vec<u8>) -> io::Result<()> {
        let ahead = self.ahead.fetch_add(bytes.len(), Ordering::Relaxed) + bytes.len();
        if ahead > WINDOW {
            return Err(invalid("more input than was asked for"));
        }
        let (queue, ahead) = (Arc::clone(&self.queue), Arc::clone(&self.ahead));
        let _ = self.desk.input.send(Input::Bytes { bytes, queue, ahead });
        Ok(())
    }
}

/// One frame; `None` at the connection's end between two frames.
async fn read(
    reader: &mut (impl AsyncRead + Unpin),
    payload: &mut Vec<u8>,
) -> io::Result<Option<FromClient>> {
    let mut header = [0; attach::HEADER];
    if reader.read(&mut header[..1]).await? == 0 {
        return Ok(None);
    }
    reader.read_exact(&mut header[1..]).await?;
    let (kind, length) =
        attach::parse_header(header).ok_or_else(|| invalid("a frame that is too long"))?;
    let kind = FromClient::from_byte(kind).ok_or_else(|| invalid("a frame of unknown kind"))?;
    payload.clear();
    payload.resize(length, 0);
    reader.read_exact(payload).await?;
    Ok(Some(kind))
}

fn invalid(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}
