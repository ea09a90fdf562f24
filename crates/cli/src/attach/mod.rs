//! The person's side of a session: connects a terminal, or three pipes, with the
//! session's process until the command ends.
//!
//! Owns: raw mode and its end, the signals meant for the command, standard input,
//! output and error while a session is attached. Must not: start or close sessions; know
//! the daemon; decide exit codes.
//!
//! With a terminal on both sides the command's terminal is the person's: Ctrl-C and
//! Ctrl-Z are bytes, and losing the terminal leaves the session running. Without one,
//! signals are passed on, and a closed output reaches the command as it would in a
//! pipeline.

mod input;
mod local;
mod output;
mod terminal;
#[cfg(test)]
mod tests;
mod wire;

use std::io;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process;
use std::sync::Arc;

use ringfence_model::attach::{ClientSignal, Ended, Hello};
use tokio::signal::unix::{Signal, SignalKind, signal};

use local::{Local, Verdict};

/// Why an attached command line leaves without knowing how the command ended.
#[derive(Debug, thiserror::Error)]
pub enum AttachError {
    /// Nobody listens at the session's socket.
    #[error("the session's process cannot be reached")]
    Unreachable(#[source] io::Error),
    /// The connection ended before the command did.
    #[error("the session's process went away")]
    Gone,
    /// The session's process said something that is no frame.
    #[error("the session's process does not speak this version's language: {0}")]
    Protocol(String),
    /// This command line left; the session goes on.
    #[error("left the session, which goes on: {0}")]
    Detached(&'static str),
    /// The terminal or a thread.
    #[error("this terminal cannot be used")]
    Local(#[source] io::Error),
}

/// Attaches to the session at `socket` until the command ends.
///
/// `hello.terminal` is set only where standard input *and* standard output are
/// terminals. While attached, the process's standard streams belong to this function.
/// Whatever happens, also a panic or the future being dropped, the terminal is given
/// back as it was. Afterwards `SIGTERM`, `SIGHUP` and `SIGQUIT` end the process with
/// 128 + their number, as if they had never been caught.
///
/// # Errors
/// See [`AttachError`]; none of them ends the session.
pub async fn run(socket: &Path, hello: Hello) -> Result<Ended, AttachError> {
    let mut signals = Signals::catch().map_err(AttachError::Local)?;
    let stream = UnixStream::connect(socket).map_err(AttachError::Unreachable)?;
    let reader = stream.try_clone().map_err(AttachError::Local)?;
    let local = Arc::new(Local::new(stream, &hello).map_err(AttachError::Local)?);
    // From here on every way out gives the terminal back and wakes the threads.
    let _restore = Restore(Arc::clone(&local));
    local.send_hello(&hello);
    let mut input = {
        let local = Arc::clone(&local);
        tokio::task::spawn_blocking(move || input::pump(&local))
    };
    let mut output = {
        let local = Arc::clone(&local);
        tokio::task::spawn_blocking(move || output::pump(&local, reader))
    };
    let verdict = loop {
        tokio::select! {
            verdict = &mut output => break verdict,
            signal = signals.next() => local.signal(signal),
        }
    };
    local.leave();
    let _ = (&mut input).await;
    signals.hand_back();
    match verdict {
        Ok(Verdict::Ended(ended)) => Ok(ended),
        Ok(Verdict::Gone) => Err(AttachError::Gone),
        Ok(Verdict::Protocol(what)) => Err(AttachError::Protocol(what)),
        Ok(Verdict::Detached(why)) => Err(AttachError::Detached(why)),
        Err(error) => Err(AttachError::Local(io::Error::other(error))),
    }
}

/// Gives the terminal back when it is dropped.
struct Restore(Arc<Local>);

impl Drop for Restore {
    fn drop(&mut self) {
        self.0.leave();
    }
}

/// A signal that this process got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Caught {
    /// One that the command may want.
    Passed(ClientSignal),
    /// The terminal has a new size.
    Resized,
    /// This process goes on after it was stopped.
    Continued,
}

struct Signals {
    int: Signal,
    term: Signal,
    hup: Signal,
    quit: Signal,
    usr1: Signal,
    usr2: Signal,
    winch: Signal,
    cont: Signal,
}

/// `SIGCONT` on Linux.
const CONT: i32 = rustix::process::Signal::CONT.as_raw();

impl Signals {
    fn catch() -> io::Result<Self> {
        Ok(Self {
            int: signal(SignalKind::interrupt())?,
            term: signal(SignalKind::terminate())?,
            hup: signal(SignalKind::hangup())?,
            quit: signal(SignalKind::quit())?,
            usr1: signal(SignalKind::user_defined1())?,
            usr2: signal(SignalKind::user_defined2())?,
            winch: signal(SignalKind::window_change())?,
            cont: signal(SignalKind::from_raw(CONT))?,
        })
    }

    async fn next(&mut self) -> Caught {
        tokio::select! {
            _ = self.int.recv() => Caught::Passed(ClientSignal::Int),
            _ = self.term.recv() => Caught::Passed(ClientSignal::Term),
            _ = self.hup.recv() => Caught::Passed(ClientSignal::Hup),
            _ = self.quit.recv() => Caught::Passed(ClientSignal::Quit),
            _ = self.usr1.recv() => Caught::Passed(ClientSignal::Usr1),
            _ = self.usr2.recv() => Caught::Passed(ClientSignal::Usr2),
            _ = self.winch.recv() => Caught::Resized,
            _ = self.cont.recv() => Caught::Continued,
        }
    }

    /// A caught signal can not be given its default action back: end as it would.
    fn hand_back(mut self) {
        tokio::spawn(async move {
            let number = tokio::select! {
                _ = self.term.recv() => 15,
                _ = self.hup.recv() => 1,
                _ = self.quit.recv() => 3,
            };
            process::exit(128 + number);
        });
    }
}
