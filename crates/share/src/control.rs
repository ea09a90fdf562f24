//! The control socket: JSON lines from the daemon, one answer to each. Survives
//! the loss of its connections; a restarted daemon connects again.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use serde_json::json;

use crate::beneath::Beneath;
use crate::gate::{Gate, Status};
use crate::ops::Mode;
use crate::spec::Command;

/// Longest line that is read, in bytes.
const LONGEST_LINE: u64 = 4096;

/// Most connections at a time.
const MOST_CONNECTIONS: usize = 8;

/// What the control socket steers.
#[derive(Debug)]
pub(crate) struct Control {
    pub(crate) gate: Arc<Gate>,
    pub(crate) folder: Arc<Beneath>,
}

impl Control {
    /// Answers connections until the process ends.
    pub(crate) fn serve(self: Arc<Self>, listener: &UnixListener) {
        let connections = Arc::new(AtomicUsize::new(0));
        loop {
            let Ok((stream, _)) = listener.accept() else {
                // Out of descriptors for a moment: the guest may use all of its own.
                thread::sleep(std::time::Duration::from_millis(50));
                continue;
            };
            if connections.fetch_add(1, Ordering::Relaxed) >= MOST_CONNECTIONS {
                connections.fetch_sub(1, Ordering::Relaxed);
                continue;
            }
            let control = Arc::clone(&self);
            let counter = Arc::clone(&connections);
            let spawned = thread::Builder::new()
                .name("control".to_owned())
                .stack_size(256 * 1024)
                .spawn(move || {
                    // A lost connection is the daemon's business.
                    let _ = control.converse(&stream);
                    counter.fetch_sub(1, Ordering::Relaxed);
                });
            if spawned.is_err() {
                connections.fetch_sub(1, Ordering::Relaxed);
            }
        }
    }

    fn converse(&self, stream: &UnixStream) -> io::Result<()> {
        let mut reader = BufReader::new(stream);
        let mut line = Vec::new();
        loop {
            line.clear();
            (&mut reader).take(LONGEST_LINE).read_until(b'\n', &mut line)?;
            if line.last() != Some(&b'\n') {
                return Ok(());
            }
            let mut answer = self.answer(&line).to_string();
            answer.push('\n');
            let mut writer = stream;
            writer.write_all(answer.as_bytes())?;
        }
    }

    /// Before anything is shown that was closed, what must not be shown is known.
    fn may_open(&self, mode: Mode) -> bool {
        let opens = self.gate.status().mode == Mode::Closed && mode != Mode::Closed;
        !opens || self.folder.look_for_links().is_ok()
    }

    fn status(&self) -> serde_json::Value {
        json!(Status { alarm: self.folder.alarm(), ..self.gate.status() })
    }

    /// What a line is answered.
    pub(crate) fn answer(&self, line: &[u8]) -> serde_json::Value {
        match serde_json::from_slice(line) {
            Ok(Command::Get(_)) => self.status(),
            Ok(Command::Set(mode)) if !self.may_open(mode) => {
                json!({ "error": "the folder cannot be looked through for hidden and protected names" })
            }
            Ok(Command::Set(mode)) => match self.gate.set(mode, || self.folder.refresh()) {
                Ok(_) => self.status(),
                Err(error) => json!({ "error": error.to_string() }),
            },
            Ok(Command::Guard(watch)) => {
                self.folder.watch_losses(watch);
                self.gate.thaw();
                self.status()
            }
            Ok(Command::Resume(_)) => {
                // First nothing halts any more, then what waits is judged anew.
                self.folder.agree_to_loss();
                self.gate.thaw();
                self.status()
            }
            Ok(Command::Stored(snapshot)) => {
                let told = self.folder.keeper().map_or(Ok(()), |keeper| keeper.trust(snapshot));
                match told {
                    Ok(()) => self.status(),
                    Err(error) => json!({ "error": error.to_string() }),
                }
            }
            Ok(Command::Exit(_)) => {
                // Nothing to put in order: what was answered is on the host.
                std::process::exit(0)
            }
            Err(error) => json!({ "error": format!("not a command: {error}") }),
        }
    }
}
