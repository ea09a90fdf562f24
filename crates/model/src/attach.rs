//! The wire between a session's process and whoever attaches to it.
//!
//! Both directions carry frames: one byte of kind, four bytes of big-endian length,
//! then the payload. Data frames are raw bytes; the others carry JSON.

use serde::{Deserialize, Serialize};

use crate::api::TerminalSize;
use crate::session::Exit;

/// Largest payload; a longer one is a protocol error.
pub const MAX_PAYLOAD: usize = 64 * 1024;

/// Bytes before a payload.
pub const HEADER: usize = 5;

/// Kinds of frames that a client sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum FromClient {
    /// Bytes for the command's standard input.
    Stdin = 1,
    /// End of standard input.
    StdinEnd = 2,
    /// The terminal has a new [`TerminalSize`] (JSON).
    Resize = 3,
    /// A [`ClientSignal`] for the command (JSON).
    Signal = 4,
    /// First frame of a connection: [`Hello`] (JSON).
    Hello = 5,
    /// Nobody reads the client's standard output any more: the command gets `SIGPIPE`
    /// at its next write, as in a pipeline on one host.
    StdoutClosed = 6,
    /// The same for standard error.
    StderrClosed = 7,
}

/// Kinds of frames that the session's process sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum FromSession {
    /// Bytes of standard output (with a PTY: of the terminal).
    Stdout = 65,
    /// Bytes of standard error.
    Stderr = 66,
    /// The command ended: [`Ended`] (JSON). Nothing follows.
    Ended = 67,
    /// The command was stopped (Ctrl-Z); continue it with `Signal` `CONT`.
    Stopped = 68,
    /// What was asked for is not possible: text. The connection goes on.
    Notice = 69,
    /// How many more bytes of `Stdin` may be sent ([`window`]). A client starts with
    /// none; so input that the command does not read never delays its other frames.
    StdinWindow = 70,
    /// The command reads no input any more; the client stops reading its own.
    StdinClosed = 71,
    /// First frame of a connection: [`Welcome`] (JSON).
    Welcome = 72,
    /// Another terminal took over: this client is done. The session goes on.
    TakenOver = 73,
}

/// First frame of a client.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// Only look: nothing that this client sends reaches the command.
    pub watch_only: bool,
    /// The client's terminal.
    pub terminal: Option<TerminalSize>,
}

/// First frame of a session's process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Welcome {
    /// The command has a terminal: the client's own goes into raw mode.
    pub terminal: bool,
    /// What the client sends reaches the command. Another client may take over later.
    pub writer: bool,
}

/// A signal that is passed to the command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum ClientSignal {
    /// Interrupt.
    Int,
    /// Terminate.
    Term,
    /// Hang up.
    Hup,
    /// Quit.
    Quit,
    /// Continue.
    Cont,
    /// User-defined.
    Usr1,
    /// User-defined.
    Usr2,
}

/// Last frame of a session's process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ended {
    /// How the command ended.
    pub exit: Exit,
    /// Why, where the session's process itself failed.
    pub reason: Option<String>,
}

impl FromClient {
    /// The kind for a byte from the wire.
    #[must_use]
    pub const fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            1 => Some(Self::Stdin),
            2 => Some(Self::StdinEnd),
            3 => Some(Self::Resize),
            4 => Some(Self::Signal),
            5 => Some(Self::Hello),
            6 => Some(Self::StdoutClosed),
            7 => Some(Self::StderrClosed),
            _ => None,
        }
    }
}

impl FromSession {
    /// The kind for a byte from the wire.
    #[must_use]
    pub const fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            65 => Some(Self::Stdout),
            66 => Some(Self::Stderr),
            67 => Some(Self::Ended),
            68 => Some(Self::Stopped),
            69 => Some(Self::Notice),
            70 => Some(Self::StdinWindow),
            71 => Some(Self::StdinClosed),
            72 => Some(Self::Welcome),
            73 => Some(Self::TakenOver),
            _ => None,
        }
    }
}

/// The five bytes before a payload.
#[must_use]
pub fn header(kind: u8, length: usize) -> Option<[u8; 5]> {
    let length = u32::try_from(length).ok().filter(|_| length <= MAX_PAYLOAD)?;
    let [a, b, c, d] = length.to_be_bytes();
    Some([kind, a, b, c, d])
}

/// Kind and payload length of a header; `None` when it claims too much.
#[must_use]
pub fn parse_header(header: [u8; 5]) -> Option<(u8, usize)> {
    let [kind, a, b, c, d] = header;
    let length = u32::from_be_bytes([a, b, c, d]) as usize;
    (length <= MAX_PAYLOAD).then_some((kind, length))
}

/// A whole frame; `None` when the payload is too long.
#[must_use]
pub fn frame(kind: u8, payload: &[u8]) -> Option<Vec<u8>> {
    let mut frame = Vec::with_capacity(HEADER + payload.len());
    frame.extend_from_slice(&header(kind, payload.len())?);
    frame.extend_from_slice(payload);
    Some(frame)
}

/// The bytes of a `StdinWindow` frame, or `None` when the payload is none.
#[must_use]
pub fn window(payload: &[u8]) -> Option<usize> {
    Some(u32::from_be_bytes(payload.try_into().ok()?) as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_travel_and_refuse_too_much() {
        let bytes = header(FromSession::Stdout as u8, 70).expect("fits");
        assert_eq!(parse_header(bytes), Some((65, 70)));
        assert_eq!(header(1, MAX_PAYLOAD + 1), None);
        assert_eq!(parse_header([1, 0xff, 0, 0, 0]), None);
        assert_eq!(frame(1, b"ab"), Some(b"\x01\0\0\0\x02ab".to_vec()));
        assert_eq!(window(&7u32.to_be_bytes()), Some(7));
        assert_eq!(window(b"abc"), None);
    }

    #[test]
    fn every_kind_comes_back_from_its_byte() {
        for byte in 0..=u8::MAX {
            if let Some(kind) = FromClient::from_byte(byte) {
                assert_eq!(kind as u8, byte);
            }
            if let Some(kind) = FromSession::from_byte(byte) {
                assert_eq!(kind as u8, byte);
            }
        }
        assert_eq!((0..=u8::MAX).filter_map(FromClient::from_byte).count(), 7);
        assert_eq!((0..=u8::MAX).filter_map(FromSession::from_byte).count(), 9);
    }
}
