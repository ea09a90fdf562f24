//! The clients of a session and who of them is its writer: output goes out to all,
//! input comes from one.
//!
//! The writer's pace is the command's pace: output waits until the writer has read.
//! Watchers hold nobody up; what they are too slow for they do not get. Without a
//! writer nothing waits. Must not: touch sockets, ssh or the guest.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ringfence_model::api::TerminalSize;
use ringfence_model::attach::{self, Ended, FromSession, Hello, MAX_PAYLOAD, Welcome};
use serde::Serialize;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::filter::{Filter, Questions};
use super::queue::{Frame, Queue};
use super::record::Record;
use super::tail::Tail;

/// How much may wait for a client while the command runs, in bytes.
const LIVE: usize = 256 * 1024;
/// How much may wait for the writer once the command has ended: more than ssh and the
/// pipes can still hold, so that the session's end waits for nobody's terminal.
const LAST: usize = 8 * 1024 * 1024;
/// How much input a client may send ahead, in bytes.
pub(super) const WINDOW: usize = 256 * 1024;

/// Said where a client misses output.
const SKIPPED: &str = "some output was skipped here";

/// Names one client of this process.
pub(super) type ClientId = u64;

/// See the module.
#[derive(Debug)]
pub(super) struct Hub {
    state: Mutex<State>,
    /// The writer or the phase changed, or a client left.
    changed: Notify,
    terminal: bool,
}

#[derive(Debug)]
struct State {
    clients: Vec<Client>,
    next: ClientId,
    phase: Phase,
    /// Somebody was the writer once.
    begun: bool,
    /// Standard input still leads to the command.
    input: bool,
    stopped: bool,
    filter: Filter,
    tail: Tail,
    record: Record,
    progress: Instant,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Phase {
    Live,
    Last,
    Over(Ended),
}

#[derive(Debug)]
struct Client {
    id: ClientId,
    writer: bool,
    skipped: bool,
    queue: Arc<Queue>,
}

/// What a new client is.
#[derive(Debug)]
pub(super) struct Attached {
    pub(super) id: ClientId,
    pub(super) queue: Arc<Queue>,
    /// It is the writer; set the terminal to this size.
    pub(super) size: Option<TerminalSize>,
    /// The terminal has output already: make the program draw itself again.
    pub(super) redraw: bool,
    /// The command was stopped: continue it for the new writer.
    pub(super) proceed: bool,
}

impl Hub {
    pub(super) fn new(terminal: bool, record: Record) -> Self {
        Self {
            state: Mutex::new(State {
                clients: Vec::new(),
                next: 1,
                phase: Phase::Live,
                begun: false,
                input: true,
                stopped: false,
                filter: Filter::new(Questions::Pass),
                tail: Tail::default(),
                record,
                progress: Instant::now(),
            }),
            changed: Notify::new(),
            terminal,
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does something with the record.
    pub(super) fn with_record<T>(&self, act: impl FnOnce(&mut Record) -> T) -> T {
        act(&mut self.state().record)
    }

    /// Takes a client in. With a terminal the newest writer takes over: whoever comes
    /// back from elsewhere is not locked out by a window that hangs. Without one the
    /// first stays, because input and output of two cannot be told apart.
    pub(super) fn attach(&self, hello: &Hello) -> Attached {
        let mut state = self.state();
        let taken = state.clients.iter().any(|client| client.writer);
        let writer = !hello.watch_only && (self.terminal || !taken);
        let queue = Arc::new(Queue::default());
        let id = state.next;
        state.next += 1;
        send(&queue, FromSession::Welcome, &Welcome { terminal: self.terminal, writer });
        if !writer && !hello.watch_only {
            notice(&queue, "another command line is attached; this one only watches");
        }
        let replay = self.terminal && !state.tail.is_empty();
        if replay {
            for piece in state.tail.replay(state.filter.modes()).chunks(MAX_PAYLOAD) {
                queue.push(bytes(FromSession::Stdout, piece));
            }
        }
        if writer {
            for other in state.clients.iter_mut().filter(|client| client.writer) {
                other.writer = false;
                other.queue.push(bytes(FromSession::TakenOver, &[]));
            }
            let (kind, payload) = if state.input {
                (FromSession::StdinWindow, u32::try_from(WINDOW).unwrap_or(0).to_be_bytes())
            } else {
                (FromSession::StdinClosed, [0; 4])
            };
            queue.push(bytes(kind, if state.input { &payload } else { &[] }));
            state.begun = true;
        }
        let proceed = writer && std::mem::take(&mut state.stopped);
        if let Phase::Over(ended) = &state.phase {
            send(&queue, FromSession::Ended, ended);
            queue.close();
        }
        state.clients.push(Client { id, writer, skipped: false, queue: Arc::clone(&queue) });
        drop(state);
        self.changed.notify_waiters();
        Attached { id, queue, size: hello.terminal.filter(|_| writer), redraw: replay, proceed }
    }

    /// Forgets a client. Says whether it was the writer of a session without a
    /// terminal: then its input is over, as when a pipe's writer dies.
    pub(super) fn leave(&self, id: ClientId) -> bool {
        let mut state = self.state();
        let Some(at) = state.clients.iter().position(|client| client.id == id) else {
            return false;
        };
        let client = state.clients.swap_remove(at);
        client.queue.abandon();
        let ends = client.writer && !self.terminal && std::mem::take(&mut state.input);
        drop(state);
        self.changed.notify_waiters();
        ends
    }

    /// Whether what this client sends reaches the command.
    pub(super) fn is_writer(&self, id: ClientId) -> bool {
        self.state().clients.iter().any(|client| client.id == id && client.writer)
    }

    /// No more input reaches the command.
    pub(super) fn input_closed(&self) {
        let mut state = self.state();
        state.input = false;
        self.to_writer(&state, &bytes(FromSession::StdinClosed, &[]));
    }

    /// The guest reports that the command was stopped, or goes on.
    pub(super) fn stopped(&self, stopped: bool) {
        let mut state = self.state();
        state.stopped = stopped;
        if stopped {
            self.to_writer(&state, &bytes(FromSession::Stopped, &[]));
        }
    }

    /// Tells everybody something.
    pub(super) fn notice(&self, text: &str) {
        for client in &self.state().clients {
            notice(&client.queue, text);
        }
    }

    fn to_writer(&self, state: &State, frame: &Frame) {
        if let Some(writer) = state.clients.iter().find(|client| client.writer) {
            writer.queue.push(Arc::clone(frame));
        }
    }

    /// Waits until a first writer is there, but not longer than until `deadline`.
    pub(super) async fn begun(&self, deadline: Instant) {
        let wait = async {
            loop {
                let changed = self.changed.notified();
                if self.state().begun {
                    return;
                }
                changed.await;
            }
        };
        let _ = tokio::time::timeout_at(deadline, wait).await;
    }

    /// Waits for no first writer any more.
    pub(super) fn begin(&self) {
        self.state().begun = true;
        self.changed.notify_waiters();
    }

    /// Hands output on, and returns when more of it may be read.
    pub(super) async fn deliver(&self, kind: FromSession, output: &[u8]) {
        self.publish(kind, output);
        loop {
            let changed = self.changed.notified();
            let queue = {
                let state = self.state();
                let writer = state.clients.iter().find(|client| client.writer);
                match writer.filter(|_| state.phase == Phase::Live) {
                    Some(writer) if !writer.queue.has_room(LIVE) => Arc::clone(&writer.queue),
                    _ => return,
                }
            };
            tokio::select! {
                () = queue.room(LIVE) => {}
                () = changed => {}
            }
        }
    }

    fn publish(&self, kind: FromSession, output: &[u8]) {
        let mut state = self.state();
        let State { clients, filter, tail, record, phase, progress, .. } = &mut *state;
        *progress = Instant::now();
        let mut passed = Vec::new();
        let output = if self.terminal {
            filter.push(output, &mut passed);
            tail.push(&passed);
            &passed
        } else {
            output
        };
        // A pipe's bytes are recorded only when nobody takes them.
        if self.terminal || !clients.iter().any(|client| client.writer) {
            record.append(output);
        }
        for piece in output.chunks(MAX_PAYLOAD) {
            let frame = bytes(kind, piece);
            for client in clients.iter_mut() {
                let limit = match (client.writer, &*phase, client.skipped) {
                    (true, Phase::Live, _) => usize::MAX,
                    // Nothing follows a gap in the last output: only more of what is too much.
                    (true, _, true) => 0,
                    (true, _, false) => LAST,
                    // Once behind, a watcher first reads what waits.
                    (false, _, true) => 1,
                    (false, _, false) => LIVE,
                };
                if client.queue.has_room(limit) {
                    if std::mem::take(&mut client.skipped) {
                        notice(&client.queue, SKIPPED);
                    }
                    client.queue.push(Arc::clone(&frame));
                } else {
                    client.skipped = true;
                }
            }
        }
    }

    /// How long nothing came out of ssh.
    pub(super) fn quiet_since(&self) -> Instant {
        self.state().progress
    }

    /// The command has ended: from now on nothing waits for a client.
    pub(super) fn last(&self) {
        let mut state = self.state();
        state.phase = Phase::Last;
        state.progress = Instant::now();
        drop(state);
        self.changed.notify_waiters();
    }

    /// All output is in: tells every client how the command ended.
    pub(super) fn over(&self, ended: &Ended) {
        let mut state = self.state();
        let leave = if self.terminal { state.filter.modes().leave() } else { Vec::new() };
        for client in &state.clients {
            if client.skipped {
                notice(&client.queue, SKIPPED);
            }
            if !leave.is_empty() {
                client.queue.push(bytes(FromSession::Stdout, &leave));
            }
            send(&client.queue, FromSession::Ended, ended);
            client.queue.close();
        }
        state.phase = Phase::Over(ended.clone());
    }

    /// Waits until every client has everything: the writer as long as it takes,
    /// watchers for `patience`.
    pub(super) async fn gone(&self, patience: Duration) {
        let deadline = Instant::now() + patience;
        loop {
            let changed = self.changed.notified();
            let writer = {
                let state = self.state();
                if state.clients.is_empty() {
                    return;
                }
                state.clients.iter().any(|client| client.writer)
            };
            if writer {
                changed.await;
            } else if tokio::time::timeout_at(deadline, changed).await.is_err() {
                return;
            }
        }
    }
}

/// A frame of bytes, at most [`MAX_PAYLOAD`] of them.
pub(super) fn bytes(kind: FromSession, payload: &[u8]) -> Frame {
    attach::frame(kind as u8, payload).unwrap_or_default().into()
}

/// Queues a frame of JSON.
fn send(queue: &Queue, kind: FromSession, value: &impl Serialize) {
    queue.push(bytes(kind, &serde_json::to_vec(value).unwrap_or_default()));
}

/// Queues a line for the person.
pub(super) fn notice(queue: &Queue, text: &str) {
    queue.push(bytes(FromSession::Notice, text.as_bytes()));
}
