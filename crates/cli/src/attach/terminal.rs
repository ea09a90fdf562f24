//! The person's terminal in raw mode, and back.

use std::io;
use std::os::fd::AsFd;

use ringfence_model::api::TerminalSize;
use rustix::termios::{self, LocalModes, OptionalActions, QueueSelector, Termios};

/// What a terminal is changed to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// Every key is a byte for the command.
    Raw,
    /// Keys are neither shown nor used, but Ctrl-C and Ctrl-Z do what they always do.
    Watching,
}

/// A changed terminal (standard input's), with what it was before.
#[derive(Debug)]
pub(super) struct Changed(Termios);

impl Changed {
    /// Changes the terminal.
    pub(super) fn enter(mode: Mode) -> io::Result<Self> {
        let before = termios::tcgetattr(io::stdin())?;
        let mut modes = before.clone();
        match mode {
            Mode::Raw => modes.make_raw(),
            Mode::Watching => modes.local_modes.remove(LocalModes::ECHO | LocalModes::ICANON),
        }
        termios::tcsetattr(io::stdin(), OptionalActions::Now, &modes)?;
        Ok(Self(before))
    }

    /// Gives it back as it was. What was typed for a watched command is thrown away.
    pub(super) fn restore(self, mode: Mode) {
        if mode == Mode::Watching {
            let _ = termios::tcflush(io::stdin(), QueueSelector::IFlush);
        }
        let _ = termios::tcsetattr(io::stdin(), OptionalActions::Now, &self.0);
    }
}

/// The size of the terminal that standard output is.
pub(super) fn size() -> Option<TerminalSize> {
    let size = termios::tcgetwinsize(io::stdout().as_fd()).ok()?;
    (size.ws_row > 0 && size.ws_col > 0)
        .then_some(TerminalSize { rows: size.ws_row, columns: size.ws_col })
}
