//! The keeper: the process that owns the journal and the content that was about to
//! be lost. One for each share, which talks to it through descriptors only: what is
//! kept has no name in the share's world, so that even a share that a guest took
//! over cannot remove, change or read it.
//!
//! Stdin carries a [`KeeperSpec`]; stdout one line; the control socket takes one
//! [`KeeperCommand`] a line. It ends when the share is gone. Must not parse
//! anything of the guest's but the bounded records of the share.

mod content;
mod spec;
mod store;

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::Duration;

use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use serde_json::json;

pub use spec::{KeeperCommand, KeeperReady, KeeperSpec, KeeperStarted};

use crate::confine::{self, Filter};
use crate::run::{RunError, listen, read_spec};
use crate::spec::Failure;
use crate::wire::{self, MOST_CONNECTIONS, Wish};
pub(crate) use store::Store;

/// How long a share may take to connect.
const CONNECT: Duration = Duration::from_secs(60);

/// A power cut loses no more of what is not waited for than this.
const FLUSH: Duration = Duration::from_secs(1);

/// Longest line of the daemon's, in bytes.
const LONGEST_LINE: u64 = 4096;

/// The whole life of a keeper: reads its description from stdin, confines itself,
/// says so on stdout, and keeps until its share is gone. Must be called while the
/// process has one thread. The exit code is 0 after an orderly end and 1 otherwise.
#[must_use]
pub fn run() -> ExitCode {
    std::panic::set_hook(Box::new(|info| {
        complain(&format!("internal fault: {info}"));
        std::process::exit(101);
    }));
    match start() {
        Ok((store, ended, ready)) => {
            if crate::run::say(&KeeperStarted::Ready(ready)).is_err() {
                return ExitCode::FAILURE;
            }
            keep(&store, &ended)
        }
        Err(error) => {
            let missing = match &error {
                RunError::Confine(error) => error.missing(),
                _ => None,
            };
            let failure = Failure { missing, message: error.to_string() };
            let _ = crate::run::say(&KeeperStarted::Error(failure));
            ExitCode::FAILURE
        }
    }
}

pub(crate) fn complain(message: &str) {
    let _ = writeln!(io::stderr(), "ringfence keeper: {message}");
}

/// What became of a share's connection.
enum Line {
    Opened,
    Closed,
}

fn start() -> Result<(Arc<Store>, Receiver<Line>, KeeperReady), RunError> {
    let spec: KeeperSpec = read_spec()?;
    let sockets =
        |error: io::Error| RunError::Socket { path: format!("{:?}", spec.socket), source: error };
    let lines = listen_for_shares(&spec.socket).map_err(sockets)?;
    let control = listen(&spec.control_socket, None)?;
    let inside = confine::enter_keeper(&spec)?;
    let server = |error: io::Error| RunError::Server(error.to_string());
    let store = Store::open(spec.store.clone(), inside.folder, spec.quota).map_err(server)?;
    let store = Arc::new(store);

    let (sender, ended) = mpsc::channel();
    let spawn = |name: &str, work: Box<dyn FnOnce() + Send>| {
        thread::Builder::new().name(name.to_owned()).spawn(work).map(drop).map_err(server)
    };
    let to = Arc::clone(&store);
    spawn("accept", Box::new(move || accept(&to, &lines, &sender)))?;
    let to = Arc::clone(&store);
    spawn("control", Box::new(move || steer(&to, &control)))?;
    let to = Arc::clone(&store);
    spawn("flush", Box::new(move || flush(&to)))?;
    confine::filter_all_threads(Filter::Keeper)?;
    let ready = KeeperReady { pid: std::process::id(), landlock: inside.landlock };
    Ok((store, ended, ready))
}

/// A listening socket that keeps messages apart and that only its owner can connect to.
fn listen_for_shares(path: &Path) -> io::Result<OwnedFd> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let (domain, kind) = (AddressFamily::UNIX, SocketType::SEQPACKET);
    let socket = rustix::net::socket_with(domain, kind, SocketFlags::CLOEXEC, None)?;
    let before = rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o177));
    let bound = rustix::net::bind(&socket, &SocketAddrUnix::new(path)?);
    rustix::process::umask(before);
    bound?;
    rustix::net::listen(&socket, i32::try_from(MOST_CONNECTIONS).unwrap_or(16))?;
    Ok(socket)
}

/// Takes the connections of one share, as many as it may have and no more.
fn accept(store: &Arc<Store>, lines: &OwnedFd, tell: &Sender<Line>) {
    for _ in 0..MOST_CONNECTIONS {
        let Ok(line) = rustix::net::accept_with(lines, SocketFlags::CLOEXEC) else {
            thread::sleep(Duration::from_millis(20));
            continue;
        };
        let _ = tell.send(Line::Opened);
        let (store, tell) = (Arc::clone(store), tell.clone());
        let spawned = thread::Builder::new().name("line".to_owned()).spawn(move || {
            if let Err(error) = serve(&store, &line) {
                // The share sees its connection end, and ends itself.
                complain(&error.to_string());
            }
            drop(line);
            let _ = tell.send(Line::Closed);
        });
        if spawned.is_err() {
            std::process::exit(1);
        }
    }
}

pub(crate) fn serve(store: &Store, line: &OwnedFd) -> io::Result<()> {
    let mut buffer = vec![0; wire::LONGEST];
    while let Some(request) = wire::receive(line, &mut buffer)? {
        match (request.wish, request.file) {
            (Wish::Note, _) => store.note(&request.record)?,
            (wish, Some(file)) => {
                let answer = store.keep(wish, request.record, &file);
                wire::answer(line, answer)?;
            }
            (_, None) => return Err(io::Error::other("nothing to keep was sent along")),
        }
    }
    Ok(())
}

/// Waits until the share is gone, and leaves everything on disk.
fn keep(store: &Store, lines: &Receiver<Line>) -> ExitCode {
    let mut open = match lines.recv_timeout(CONNECT) {
        Ok(_) => 1_u32,
        Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
            complain("no share has connected");
            return ExitCode::FAILURE;
        }
    };
    while open > 0 {
        match lines.recv() {
            Ok(Line::Opened) => open += 1,
            Ok(Line::Closed) => open -= 1,
            Err(_) => break,
        }
    }
    match store.flush() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&format!("the journal could not be written out: {error}"));
            ExitCode::FAILURE
        }
    }
}

fn flush(store: &Store) {
    loop {
        thread::sleep(FLUSH);
        if let Err(error) = store.flush() {
            complain(&format!("writing the journal out: {error}"));
        }
    }
}

/// Answers the daemon, one connection after the other.
fn steer(store: &Store, control: &UnixListener) {
    loop {
        match control.accept() {
            // A lost connection is the daemon's business.
            Ok((stream, _)) => drop(converse(store, &stream)),
            Err(_) => thread::sleep(Duration::from_millis(50)),
        }
    }
}

fn converse(store: &Store, stream: &UnixStream) -> io::Result<()> {
    let mut reader = BufReader::new(stream);
    let mut line = Vec::new();
    loop {
        line.clear();
        (&mut reader).take(LONGEST_LINE).read_until(b'\n', &mut line)?;
        if line.last() != Some(&b'\n') {
            return Ok(());
        }
        let mut answer = obey(store, &line).to_string();
        answer.push('\n');
        let mut writer = stream;
        writer.write_all(answer.as_bytes())?;
    }
}

fn obey(store: &Store, line: &[u8]) -> serde_json::Value {
    let done = match serde_json::from_slice(line) {
        Ok(KeeperCommand::Begin(session)) => store.begin(&session),
        Ok(KeeperCommand::End(session)) => store.end(&session),
        Ok(KeeperCommand::Forget(session)) => store.forget(&session),
        Ok(KeeperCommand::Recount(_)) => store.recount(),
        Ok(KeeperCommand::Get(_)) => Ok(()),
        Err(error) => return json!({ "error": format!("not a command: {error}") }),
    };
    match done {
        Ok(()) => json!(store.status()),
        Err(error) => json!({ "error": error.to_string() }),
    }
}
