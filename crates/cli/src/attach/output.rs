//! The session's frames to standard output and error, at their pace.

use std::io::{self, BufReader, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;

use ringfence_model::attach::{self, FromClient, FromSession, MAX_PAYLOAD, Welcome};
use ringfence_model::bytes::visible;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;

use super::local::{Local, Verdict};
use super::wire;

/// Serves frames until the command or the connection has ended.
pub(super) fn pump(local: &Local, stream: UnixStream) -> Verdict {
    let verdict = serve(local, stream);
    // Whoever wanted to leave has cut the connection: that is not the session's doing.
    match local.left() {
        Some(why) if !matches!(verdict, Verdict::Ended(_)) => Verdict::Detached(why),
        _ => verdict,
    }
}

fn serve(local: &Local, stream: UnixStream) -> Verdict {
    let (stdout, stderr) = (io::stdout(), io::stderr());
    let _ = io::stdout().flush();
    let mut out = Stream::new(stdout.as_fd(), FromClient::StdoutClosed);
    let mut err = Stream::new(stderr.as_fd(), FromClient::StderrClosed);
    let mut reader = BufReader::with_capacity(MAX_PAYLOAD, stream);
    let mut payload = Vec::new();
    loop {
        let kind = match wire::read(&mut reader, &mut payload) {
            Ok(Some(kind)) => kind,
            Ok(None) => return Verdict::Gone,
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                return Verdict::Protocol(error.to_string());
            }
            Err(_) => return Verdict::Gone,
        };
        match kind {
            FromSession::Stdout => out.write(local, &payload),
            FromSession::Stderr => err.write(local, &payload),
            FromSession::Notice => {
                let text = visible(&String::from_utf8_lossy(&payload));
                let end = if local.is_raw() { "\r\n" } else { "\n" };
                err.write(local, format!("ringfence: {text}{end}").as_bytes());
            }
            FromSession::Welcome => match serde_json::from_slice::<Welcome>(&payload) {
                Ok(welcome) => {
                    if let Err(error) = local.welcome(welcome.terminal) {
                        return Verdict::Protocol(format!("raw mode: {error}"));
                    }
                }
                Err(error) => return Verdict::Protocol(error.to_string()),
            },
            FromSession::StdinWindow => match attach::window(&payload) {
                Some(more) => local.open_window(more),
                None => return Verdict::Protocol("a window that is no number".into()),
            },
            FromSession::StdinClosed => local.close_window(),
            FromSession::Stopped => local.suspend(),
            FromSession::TakenOver => local.detach("another terminal took over"),
            FromSession::Ended => {
                return match serde_json::from_slice(&payload) {
                    Ok(ended) => Verdict::Ended(ended),
                    Err(error) => Verdict::Protocol(error.to_string()),
                };
            }
        }
    }
}

/// One of the two outputs.
struct Stream<'a> {
    fd: BorrowedFd<'a>,
    closed: Option<FromClient>,
}

impl<'a> Stream<'a> {
    const fn new(fd: BorrowedFd<'a>, when_closed: FromClient) -> Self {
        Self { fd, closed: Some(when_closed) }
    }

    /// Writes everything, or finds out that nobody reads; then the session hears it once.
    fn write(&mut self, local: &Local, mut bytes: &[u8]) {
        while !bytes.is_empty() && self.closed.is_some() {
            match rustix::io::write(self.fd, bytes) {
                Ok(count) => bytes = &bytes[count..],
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => {
                    let _ = poll(&mut [PollFd::new(&self.fd, PollFlags::OUT)], None);
                }
                Err(_) if local.is_raw() => {
                    self.closed = None;
                    local.detach("the terminal is gone");
                }
                Err(_) => {
                    if let Some(kind) = self.closed.take() {
                        local.sender.send(kind, &[]);
                    }
                }
            }
        }
    }
}
