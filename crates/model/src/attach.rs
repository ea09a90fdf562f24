//! The wire between a session's process and whoever attaches to it.
//!
//! Both directions carry frames: one byte of kind, four bytes of big-endian length,
//! then the payload. Data frames are raw bytes; the others carry JSON.

use serde::{Deserialize, Serialize};

use crate::api::TerminalSize;
use crate::session::Exit;

/// Largest payload; a longer one is a protocol error.
pub const MAX_PAYLOAD: usize = 64 * 1024;

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
}

/// First frame of a client.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// Only look: nothing that this client sends reaches the command.
    pub watch_only: bool,
    /// The client's terminal.
    pub terminal: Option<TerminalSize>,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_travel_and_refuse_too_much() {
        let bytes = header(FromSession::Stdout as u8, 70).expect("fits");
        assert_eq!(parse_header(bytes), Some((65, 70)));
        assert_eq!(header(1, MAX_PAYLOAD + 1), None);
        assert_eq!(parse_header([1, 0xff, 0, 0, 0]), None);
    }
}
