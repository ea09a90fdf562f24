//! Frames on the socket of a session, blocking.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::{Mutex, PoisonError};

use ringfence_model::attach::{self, FromClient, FromSession};
use serde::Serialize;

/// The sending side, shared by all threads. A broken connection shows on the reading side.
#[derive(Debug)]
pub(super) struct Sender(Mutex<UnixStream>);

impl Sender {
    pub(super) fn new(stream: UnixStream) -> Self {
        Self(Mutex::new(stream))
    }

    /// Sends one frame, whole.
    pub(super) fn send(&self, kind: FromClient, payload: &[u8]) {
        let Some(frame) = attach::frame(kind as u8, payload) else { return };
        let mut stream = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = stream.write_all(&frame);
    }

    /// Sends one frame of JSON.
    pub(super) fn send_json(&self, kind: FromClient, value: &impl Serialize) {
        self.send(kind, &serde_json::to_vec(value).unwrap_or_default());
    }

    /// Ends the connection in both directions: the reading thread wakes.
    pub(super) fn shut_down(&self) {
        let stream = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = stream.shutdown(std::net::Shutdown::Both);
    }
}

/// Reads one frame; `None` at the connection's end.
pub(super) fn read(
    stream: &mut impl Read,
    payload: &mut Vec<u8>,
) -> io::Result<Option<FromSession>> {
    let invalid = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what.to_owned());
    let mut header = [0; attach::HEADER];
    match stream.read_exact(&mut header) {
        Err(error) if ends(&error) => return Ok(None),
        outcome => outcome?,
    }
    let (kind, length) =
        attach::parse_header(header).ok_or_else(|| invalid("a frame that is too long"))?;
    let kind = FromSession::from_byte(kind).ok_or_else(|| invalid("a frame of unknown kind"))?;
    payload.clear();
    payload.resize(length, 0);
    match stream.read_exact(payload) {
        Err(error) if ends(&error) => Ok(None),
        outcome => outcome.map(|()| Some(kind)),
    }
}

fn ends(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset)
}
