//! What the threads of an attached command line share: the connection, the terminal,
//! the input window, and the reason to leave.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ringfence_model::attach::{ClientSignal, Ended, FromClient, Hello};
use rustix::process::{Signal, kill_current_process_group};

use super::Caught;
use super::terminal::{self, Changed, Mode};
use super::wire::Sender;

/// How long this process may take to stop after it asked for it.
const STOPPING: Duration = Duration::from_millis(300);
/// Three signals within this time mean that the person wants to leave, whatever the
/// command does with them.
const IMPATIENT: Duration = Duration::from_secs(3);

/// How an attachment came to its end.
#[derive(Debug)]
pub(super) enum Verdict {
    Ended(Ended),
    Gone,
    Protocol(String),
    Detached(&'static str),
}

/// See the module.
#[derive(Debug)]
pub(super) struct Local {
    pub(super) sender: Sender,
    /// The mode for the terminal, if the session has one too.
    wanted: Option<Mode>,
    terminal: Mutex<Option<Changed>>,
    input: Mutex<Window>,
    input_changed: Condvar,
    /// Readable once the input thread must end.
    pub(super) wake: OwnedFd,
    waker: Mutex<Option<OwnedFd>>,
    state: Mutex<State>,
    continued: Condvar,
}

#[derive(Debug, Default)]
struct Window {
    bytes: usize,
    closed: bool,
}

#[derive(Debug, Default)]
struct State {
    /// The session's terminal is this one.
    raw: bool,
    left: Option<&'static str>,
    over: bool,
    suspending: bool,
    /// How often this process was continued.
    continued: u64,
    signals: Vec<Instant>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Local {
    pub(super) fn new(stream: UnixStream, hello: &Hello) -> io::Result<Self> {
        let (wake, waker) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
        let mode = if hello.watch_only { Mode::Watching } else { Mode::Raw };
        Ok(Self {
            sender: Sender::new(stream),
            wanted: hello.terminal.map(|_| mode),
            terminal: Mutex::new(None),
            input: Mutex::default(),
            input_changed: Condvar::new(),
            wake,
            waker: Mutex::new(Some(waker)),
            state: Mutex::default(),
            continued: Condvar::new(),
        })
    }

    pub(super) fn send_hello(&self, hello: &Hello) {
        self.sender.send_json(FromClient::Hello, hello);
    }

    /// The session says whether it has a terminal.
    pub(super) fn welcome(&self, terminal: bool) -> io::Result<()> {
        if !terminal || self.wanted.is_none() {
            return Ok(());
        }
        lock(&self.state).raw = true;
        self.enter()
    }

    /// Whether the session's terminal is the person's.
    pub(super) fn is_raw(&self) -> bool {
        lock(&self.state).raw
    }

    fn enter(&self) -> io::Result<()> {
        let mut terminal = lock(&self.terminal);
        // Checked under the lock: nobody changes the terminal after it was given back.
        if let (Some(mode), false) = (self.wanted, lock(&self.state).over)
            && terminal.is_none()
        {
            *terminal = Some(Changed::enter(mode)?);
        }
        Ok(())
    }

    fn restore(&self) {
        if let (Some(changed), Some(mode)) = (lock(&self.terminal).take(), self.wanted) {
            changed.restore(mode);
        }
    }

    /// Gives the terminal back and ends all threads. May be called again.
    pub(super) fn leave(&self) {
        lock(&self.state).over = true;
        self.restore();
        self.sender.shut_down();
        lock(&self.input).closed = true;
        self.input_changed.notify_all();
        lock(&self.waker).take();
        self.continued.notify_all();
    }

    /// Leaves the session running.
    pub(super) fn detach(&self, why: &'static str) {
        lock(&self.state).left.get_or_insert(why);
        self.sender.shut_down();
    }

    /// Why this command line wants to leave, if it does.
    pub(super) fn left(&self) -> Option<&'static str> {
        lock(&self.state).left
    }

    /// More input may be sent.
    pub(super) fn open_window(&self, more: usize) {
        let mut window = lock(&self.input);
        window.bytes = window.bytes.saturating_add(more);
        self.input_changed.notify_all();
    }

    /// The command reads no more.
    pub(super) fn close_window(&self) {
        lock(&self.input).closed = true;
        self.input_changed.notify_all();
        lock(&self.waker).take();
    }

    /// Waits until input may be sent; `None`: no more at all.
    pub(super) fn window(&self) -> Option<usize> {
        let mut window = lock(&self.input);
        while window.bytes == 0 && !window.closed {
            window = self.input_changed.wait(window).unwrap_or_else(PoisonError::into_inner);
        }
        (!window.closed).then_some(window.bytes)
    }

    /// Input was sent.
    pub(super) fn use_window(&self, count: usize) {
        let mut window = lock(&self.input);
        window.bytes = window.bytes.saturating_sub(count);
    }

    /// A signal came.
    pub(super) fn signal(&self, caught: Caught) {
        let raw = self.is_raw();
        match caught {
            Caught::Resized => self.send_size(),
            Caught::Continued => self.resume(),
            Caught::Passed(signal) if raw || self.wanted == Some(Mode::Watching) => {
                // The terminal goes away, or somebody ends this process: not the session.
                match signal {
                    ClientSignal::Int => self.detach("interrupted"),
                    ClientSignal::Term => self.detach("asked to end by SIGTERM"),
                    ClientSignal::Hup => self.detach("the terminal was closed"),
                    ClientSignal::Quit => self.detach("asked to end by SIGQUIT"),
                    _ => self.sender.send_json(FromClient::Signal, &signal),
                }
            }
            Caught::Passed(signal) => {
                self.sender.send_json(FromClient::Signal, &signal);
                if matches!(signal, ClientSignal::Int | ClientSignal::Term | ClientSignal::Quit) {
                    self.count_signal();
                }
            }
        }
    }

    fn count_signal(&self) {
        let now = Instant::now();
        let mut state = lock(&self.state);
        state.signals.retain(|past| now.duration_since(*past) < IMPATIENT);
        state.signals.push(now);
        let enough = state.signals.len() >= 3;
        drop(state);
        if enough {
            self.detach("interrupted three times");
        }
    }

    fn send_size(&self) {
        if self.is_raw()
            && let Some(size) = terminal::size()
        {
            self.sender.send_json(FromClient::Resize, &size);
        }
    }

    /// This process goes on after a stop: by us, or by somebody else.
    fn resume(&self) {
        let mut state = lock(&self.state);
        state.continued += 1;
        let (raw, suspending) = (state.raw, state.suspending);
        drop(state);
        self.continued.notify_all();
        if raw && !suspending {
            // A shell may have changed the terminal meanwhile: once more from its state.
            self.restore();
            let _ = self.enter();
            self.send_size();
        }
    }

    /// The command was stopped by Ctrl-Z: so is this process, as the shell expects.
    /// Returns when both go on.
    pub(super) fn suspend(&self) {
        let before = {
            let mut state = lock(&self.state);
            if !state.raw || state.over {
                return;
            }
            state.suspending = true;
            state.continued
        };
        self.restore();
        // The whole group, as the kernel does for the key: also who waits for us.
        let _ = kill_current_process_group(Signal::TSTP);
        let mut state = lock(&self.state);
        // A thread runs on for a moment after the signal was sent; and without job
        // control nobody is stopped at all.
        let deadline = Instant::now() + STOPPING;
        while state.continued == before && !state.over {
            let Some(left) = deadline.checked_duration_since(Instant::now()) else { break };
            state =
                self.continued.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        state.suspending = false;
        drop(state);
        let _ = self.enter();
        self.send_size();
        self.sender.send_json(FromClient::Signal, &ClientSignal::Cont);
    }
}
