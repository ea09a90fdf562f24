//! The control socket of a process of ours: one line of JSON there, one back.
//!
//! A share or gateway parses a guest's bytes and may be taken over: its answers are
//! bounded in size and time.

use std::io;
use std::path::Path;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;

/// Largest answer.
const MAX_ANSWER: u64 = 256 * 1024;

/// Asks a process of ours.
///
/// # Errors
/// When it does not listen, does not answer in time, or answers with an `error`.
pub async fn ask<T: DeserializeOwned>(
    socket: &Path,
    question: &impl Serialize,
    patience: Duration,
) -> io::Result<T> {
    let mut line = serde_json::to_vec(question).map_err(io::Error::other)?;
    line.push(b'\n');
    let talk = async {
        let mut stream = UnixStream::connect(socket).await?;
        stream.write_all(&line).await?;
        let mut answer = String::new();
        BufReader::new(stream.take(MAX_ANSWER)).read_line(&mut answer).await?;
        if answer.is_empty() {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof));
        }
        let value: serde_json::Value = serde_json::from_str(&answer).map_err(io::Error::other)?;
        match value.get("error") {
            Some(error) => Err(io::Error::other(error.to_string())),
            None => serde_json::from_value(value).map_err(io::Error::other),
        }
    };
    tokio::time::timeout(patience, talk)
        .await
        .unwrap_or_else(|_| Err(io::Error::from(io::ErrorKind::TimedOut)))
}
