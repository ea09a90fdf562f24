//! A process of ours that does one act, tells how it goes, and ends. What must not be able
//! to take the daemon down (a library's panic, its memory) runs in one.
//!
//! It gets its specification as one line of JSON on standard input, which then stays open:
//! when the daemon is gone the process reads its end, and ends as well. It answers with one
//! value of JSON a line on standard output, and writes what else it has to say to a log.

use std::fs::File;
use std::io::{self, BufRead, Read, Write};
use std::path::Path;
use std::process::ExitCode;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};

use super::{child, files};

/// Log size from which a new log is begun.
const MAX_LOG: u64 = 4 * 1024 * 1024;

/// Why such a process did not do its act.
#[derive(Debug, thiserror::Error)]
pub enum TaskError {
    /// It could not be started.
    #[error("the {role} process could not be started")]
    Spawn {
        /// What it was to be.
        role: &'static str,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// It ended before it was done: killed, or by a panic.
    #[error("the {role} process ended before it was done ({how})")]
    Ended {
        /// What it was.
        role: &'static str,
        /// Its exit status, or what it said that was not understood.
        how: String,
    },
}

/// Runs `ringfenced ROLE` to its end; what it says goes to `hear`.
///
/// # Errors
/// When it cannot be started, or ends by anything but its own will.
pub async fn run<S: Serialize, L: DeserializeOwned>(
    role: &'static str,
    spec: &S,
    log: &Path,
    mut hear: impl FnMut(L),
) -> Result<(), TaskError> {
    let spawn_error = |source| TaskError::Spawn { role, source };
    let ended = |how: String| TaskError::Ended { role, how };
    let log: File = files::open_log(log, MAX_LOG).map_err(spawn_error)?;
    let mut line =
        serde_json::to_vec(spec).map_err(|error| spawn_error(io::Error::other(error)))?;
    line.push(b'\n');
    let mut command = child::command(role, log).map_err(spawn_error)?;
    // Also where nobody waits for its end any more.
    let mut child = command.kill_on_drop(true).spawn().map_err(spawn_error)?;
    let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
    let (Some(mut stdin), Some(stdout)) = (stdin, stdout) else {
        return Err(ended("it has no standard streams".into()));
    };
    stdin.write_all(&line).await.map_err(|error| ended(error.to_string()))?;
    let mut lines = BufReader::new(stdout).lines();
    while let Some(line) = lines.next_line().await.map_err(|error| ended(error.to_string()))? {
        hear(serde_json::from_str(&line).map_err(|error| ended(error.to_string()))?);
    }
    let status = child.wait().await.map_err(|error| ended(error.to_string()))?;
    // Open until here: its end is what tells the process that the daemon is gone.
    drop(stdin);
    if status.success() { Ok(()) } else { Err(ended(status.to_string())) }
}

/// The process's side of it: reads its specification, acts, and tells. It ends at once when
/// the daemon is gone, as by a kill; whatever it does must bear that.
pub fn serve<S: DeserializeOwned>(act: impl FnOnce(S, &Mouth)) -> io::Result<ExitCode> {
    let mut line = String::new();
    io::stdin().lock().read_line(&mut line)?;
    let spec = serde_json::from_str(&line)?;
    std::thread::Builder::new().name("daemon gone".into()).spawn(|| {
        let mut rest = [0u8; 64];
        while io::stdin().lock().read(&mut rest).is_ok_and(|read| read > 0) {}
        std::process::exit(1);
    })?;
    act(spec, &Mouth);
    Ok(ExitCode::SUCCESS)
}

/// Tells the daemon something; also usable from several threads.
#[derive(Debug, Clone, Copy)]
pub struct Mouth;

impl Mouth {
    /// Tells it.
    pub fn say(&self, what: &impl Serialize) {
        let Ok(mut line) = serde_json::to_vec(what) else { return };
        line.push(b'\n');
        let mut stdout = io::stdout().lock();
        // Where nobody listens any more this process is about to end anyway.
        let _ = stdout.write_all(&line).and_then(|()| stdout.flush());
    }
}
