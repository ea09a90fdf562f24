//! The link: QEMU's stream on one side, the gate and the network stack on the other.
//! One guest at a time; a new connection takes the place of the old one. Frames are
//! lost rather than waited for, in both directions, as on any wire.

use std::io;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf, pipe};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc;

use crate::counters::{Counters, add, lock};
use crate::engine::{Engine, FRAME_BUFFER};
use crate::filter::{self, Filter, Verdict};
use crate::framing::{Deframer, append};

/// Bytes that are taken off the stream, or gathered for it, at a time.
const BATCH: usize = 256 * 1024;
/// How long a guest may refuse frames before they are thrown away.
const PATIENCE: Duration = Duration::from_millis(200);
/// Answers of the gate's own that may wait for the guest.
const MAX_ANSWERS: usize = 64;

/// Everything that is needed to serve a guest.
pub(crate) struct Link {
    engine: Engine,
    wake: pipe::Receiver,
    filter: Mutex<Filter>,
    counters: Arc<Counters>,
}

impl Link {
    /// # Errors
    /// When the stack's wake descriptor cannot be watched.
    pub(crate) fn new(
        mut engine: Engine,
        filter: Filter,
        counters: Arc<Counters>,
    ) -> io::Result<Self> {
        engine.start(tokio::runtime::Handle::current());
        let wake = pipe::Receiver::from_owned_fd(engine.wake.try_clone()?)?;
        Ok(Self { engine, wake, filter: Mutex::new(filter), counters })
    }

    /// Serves guests until the listener fails.
    pub(crate) async fn serve(self: Arc<Self>, listener: UnixListener) -> io::Result<()> {
        let mut next = None;
        loop {
            let stream = match next.take() {
                Some(stream) => stream,
                None => self.without_guest(&listener).await?,
            };
            self.counters.links.store(1, Ordering::Relaxed);
            tracing::info!("guest linked");
            tokio::select! {
                result = self.guest(stream) => match result {
                    Ok(()) => tracing::info!("guest unlinked"),
                    Err(error) => tracing::warn!(%error, "link closed"),
                },
                other = listener.accept() => {
                    tracing::info!("guest linked again");
                    next = Some(other?.0);
                }
            }
            self.counters.links.store(0, Ordering::Relaxed);
        }
    }

    /// Waits for a guest. The stack's frames are thrown away meanwhile: a full queue
    /// would make it spin.
    async fn without_guest(&self, listener: &UnixListener) -> io::Result<UnixStream> {
        let mut buffer = vec![0; FRAME_BUFFER];
        loop {
            tokio::select! {
                accepted = listener.accept() => return Ok(accepted?.0),
                woken = self.woken() => {
                    woken?;
                    self.lose(&mut buffer);
                }
            }
        }
    }

    /// Waits until the stack may have frames for the guest.
    async fn woken(&self) -> io::Result<()> {
        self.wake.readable().await?;
        let mut wakes = [0; 512];
        loop {
            match self.wake.try_read(&mut wakes) {
                // The stack holds the other end: there is no end of file.
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    }

    fn lose(&self, buffer: &mut [u8]) {
        while (self.engine.from_stack)(buffer).is_some() {
            add(&self.counters.lost, 1);
        }
    }

    /// Carries frames both ways until either side ends.
    async fn guest(&self, stream: UnixStream) -> io::Result<()> {
        let (read, write) = stream.into_split();
        let (answers, waiting) = mpsc::channel(MAX_ANSWERS);
        tokio::select! {
            result = self.guest_to_stack(read, answers) => result,
            result = self.stack_to_guest(write, waiting) => result,
        }
    }

    async fn guest_to_stack(
        &self,
        mut stream: OwnedReadHalf,
        answers: mpsc::Sender<Vec<u8>>,
    ) -> io::Result<()> {
        let mut frames = Deframer::default();
        loop {
            if stream.read_buf(&mut frames.room(BATCH)).await? == 0 {
                return Ok(());
            }
            let now = Instant::now();
            while let Some(frame) = frames.next().map_err(io::Error::other)? {
                let verdict = lock(&self.filter).outgoing(frame, now);
                match verdict {
                    Verdict::Pass => (self.engine.to_stack)(frame),
                    Verdict::Drop => {}
                    // Full: the guest is told about the next one.
                    Verdict::Answer(answer) => drop(answers.try_send(answer)),
                }
            }
            // A flood must not keep the other tasks of this thread from running.
            tokio::task::yield_now().await;
        }
    }

    async fn stack_to_guest(
        &self,
        mut stream: OwnedWriteHalf,
        mut answers: mpsc::Receiver<Vec<u8>>,
    ) -> io::Result<()> {
        let mut buffer = vec![0; FRAME_BUFFER];
        let mut batch = Vec::with_capacity(BATCH);
        loop {
            batch.clear();
            while batch.len() < BATCH {
                let Some(range) = (self.engine.from_stack)(&mut buffer) else {
                    break;
                };
                let frame = buffer.get(range).unwrap_or_default();
                filter::incoming(frame, &self.counters);
                append(&mut batch, frame);
            }
            while let Ok(answer) = answers.try_recv() {
                append(&mut batch, &answer);
            }
            if batch.is_empty() {
                tokio::select! {
                    woken = self.woken() => woken?,
                    Some(answer) = answers.recv() => append(&mut batch, &answer),
                }
            }
            self.write(&mut stream, &batch, &mut buffer).await?;
        }
    }

    /// Writes a batch whole: half a frame would end the link. While the guest takes
    /// nothing, the frames behind the batch are thrown away.
    async fn write(
        &self,
        stream: &mut OwnedWriteHalf,
        mut rest: &[u8],
        buffer: &mut [u8],
    ) -> io::Result<()> {
        while !rest.is_empty() {
            match tokio::time::timeout(PATIENCE, stream.write(rest)).await {
                Ok(written) => match written? {
                    0 => return Err(io::ErrorKind::WriteZero.into()),
                    written => rest = rest.get(written..).unwrap_or_default(),
                },
                Err(_) => self.lose(buffer),
            }
        }
        Ok(())
    }
}
