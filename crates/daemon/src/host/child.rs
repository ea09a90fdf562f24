//! The daemon's own binary, re-executed as share, gateway or session process.
//!
//! Such a process gets its specification as JSON on standard input (never in argv,
//! so that `ps` shows no path of a key), says as one line of JSON on
//! standard output that it is ready, or `{"error": "why not"}`, logs to a file, and outlives the daemon.

use std::fs::File;
use std::io;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use zeroize::Zeroizing;

use super::process::ProcessId;
use super::{facts, files};

/// Largest ready line.
const MAX_LINE: u64 = 64 * 1024;
/// Log size from which a new log is begun.
const MAX_LOG: u64 = 4 * 1024 * 1024;

/// Why a process of ours did not come up.
#[derive(Debug, thiserror::Error)]
pub enum ChildError {
    /// It could not be started.
    #[error("the {role} process could not be started")]
    Spawn {
        /// `share`, `gateway` or `session`.
        role: &'static str,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// It ended or said something else than `ready`.
    #[error("the {role} process did not become ready: {said}")]
    NotReady {
        /// `share`, `gateway` or `session`.
        role: &'static str,
        /// What it said last.
        said: String,
    },
    /// It said nothing in time.
    #[error("the {role} process was not ready after {seconds} s")]
    Silent {
        /// `share`, `gateway` or `session`.
        role: &'static str,
        /// How long was waited.
        seconds: u64,
    },
}

/// Starts `ringfenced ROLE` and waits until it is ready.
///
/// # Errors
/// When it does not start, reports an error, or is silent for `patience`.
pub async fn start<S: Serialize, R: DeserializeOwned>(
    role: &'static str,
    spec: &S,
    log: &Path,
    patience: Duration,
) -> Result<(ProcessId, R), ChildError> {
    let spawn_error = |source| ChildError::Spawn { role, source };
    let log_path = log;
    let log: File = files::open_log(log_path, MAX_LOG).map_err(spawn_error)?;
    let mut child = command(role, log).and_then(|mut c| c.spawn()).map_err(spawn_error)?;
    let pid = child.id().and_then(ProcessId::of);
    let spec = serde_json::to_vec(spec).map_err(|error| spawn_error(io::Error::other(error)))?;
    // A session's holds its secrets.
    let spec = Zeroizing::new(spec);
    let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
    // Reaped wherever it ends; its death is noticed through `ProcessId::gone`.
    tokio::spawn(async move { child.wait().await });
    let talk = async {
        if let Some(mut stdin) = stdin {
            stdin.write_all(&spec).await?;
            stdin.shutdown().await?;
        }
        let mut line = String::new();
        if let Some(stdout) = stdout {
            BufReader::new(stdout.take(MAX_LINE)).read_line(&mut line).await?;
        }
        io::Result::Ok(line)
    };
    let not_ready = |said: String| ChildError::NotReady { role, said };
    let outcome = match tokio::time::timeout(patience, talk).await {
        Err(_) => Err(ChildError::Silent { role, seconds: patience.as_secs() }),
        Ok(Err(error)) => Err(not_ready(error.to_string())),
        Ok(Ok(line)) if line.is_empty() => {
            Err(not_ready(format!("it ended; see {}", log_path.display())))
        }
        Ok(Ok(line)) => answer(&line).map_err(not_ready),
    };
    match (outcome, pid) {
        (Ok(ready), Some(pid)) => Ok((pid, ready)),
        (Ok(_), None) => Err(not_ready("it ended at once".into())),
        (Err(error), pid) => {
            if let Some(pid) = pid {
                pid.kill().await;
            }
            Err(error)
        }
    }
}

/// The daemon's own program in another role, with nothing of the daemon's environment.
#[expect(clippy::disallowed_methods, reason = "the daemon's own binary; no outside program")]
pub(super) fn command(role: &str, log: File) -> io::Result<tokio::process::Command> {
    let mut command = tokio::process::Command::new(facts::own_binary()?);
    command
        .arg(role)
        .env_clear()
        .env("LC_ALL", "C.UTF-8")
        .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(log);
    Ok(command)
}

/// What is ready, or the reason that stands in `error`: a text, or an object with a `message`.
fn answer<R: DeserializeOwned>(line: &str) -> Result<R, String> {
    use serde_json::Value;
    let mut value: Value =
        serde_json::from_str(line).map_err(|error| format!("{error} in `{}`", line.trim()))?;
    match value.get("error") {
        Some(Value::String(reason)) => return Err(reason.clone()),
        Some(error) => {
            let message = error.get("message").and_then(Value::as_str);
            return Err(message.map_or_else(|| error.to_string(), ToOwned::to_owned));
        }
        None => {}
    }
    let ready = match value.get_mut("ready") {
        Some(object @ Value::Object(_)) => object.take(),
        _ => value,
    };
    serde_json::from_value(ready).map_err(|error| error.to_string())
}
