//! The command's standard input: bytes from the writer into ssh, at the command's pace.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use ringfence_model::attach::FromSession;
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;

use super::hub::{self, Hub};
use super::queue::Queue;

/// A piece of input.
#[derive(Debug)]
pub(super) enum Input {
    /// Bytes, who sent them, and how many of the sender's are under way.
    Bytes {
        /// The bytes.
        bytes: Vec<u8>,
        /// The sender's queue, for more window.
        queue: Arc<Queue>,
        /// The sender's bytes under way.
        ahead: Arc<AtomicUsize>,
    },
    /// There is no more. A terminal has no end: there it means nothing.
    End,
}

/// Writes input until its end, or until the command reads no more. Then what still
/// comes is dropped, and the writer is told.
pub(super) async fn pump(
    mut input: mpsc::UnboundedReceiver<Input>,
    sink: impl AsyncWrite + Unpin,
    hub: Arc<Hub>,
    terminal: bool,
) {
    let mut sink = Some(sink);
    while let Some(piece) = input.recv().await {
        match piece {
            Input::End if terminal => {}
            Input::End => {
                // Dropping the pipe is what the command sees as the end.
                if sink.take().is_some() {
                    hub.input_closed();
                }
            }
            Input::Bytes { bytes, queue, ahead } => {
                if let Some(open) = &mut sink
                    && (open.write_all(&bytes).await.is_err() || open.flush().await.is_err())
                {
                    sink = None;
                    hub.input_closed();
                }
                ahead.fetch_sub(bytes.len(), Ordering::Relaxed);
                if sink.is_some() {
                    let more = u32::try_from(bytes.len()).unwrap_or(0).to_be_bytes();
                    queue.push(hub::bytes(FromSession::StdinWindow, &more));
                }
            }
        }
    }
}
