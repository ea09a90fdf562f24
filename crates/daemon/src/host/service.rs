//! What the daemon and systemd tell each other: the socket that was handed over, that the daemon is
//! ready, that it goes round (the watchdog), that it ends. Without systemd all of it is nothing.
//!
//! Owns: the protocol (`sd_listen_fds(3)`, `sd_notify(3)`). Must not: decide when the daemon is
//! well; its loops say so.

use std::ffi::OsString;
use std::io;
use std::os::fd::OwnedFd;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram, UnixListener};
use std::time::Duration;

use rustix::process::{PidfdFlags, PidfdGetfdFlags, getpid, pidfd_getfd, pidfd_open};

use super::facts;

/// The number of the first descriptor that is handed over.
const FIRST: i32 = 3;

/// The service manager that started this process.
#[derive(Debug)]
pub struct Service {
    notices: Option<SocketAddr>,
    watchdog: Option<Duration>,
}

impl Service {
    /// What systemd handed over; no service where something else started this process. Called
    /// once, before there is a second thread and before any process is started: a descriptor of
    /// systemd's is open in every process that comes after it, and this one is the daemon's API.
    ///
    /// # Errors
    /// When a socket was handed over that cannot be taken.
    pub fn take() -> io::Result<(Option<Self>, Option<UnixListener>)> {
        let own = |name: &str, what: &str| {
            let for_us = number(name).is_some_and(|pid| pid == u64::from(std::process::id()));
            number(what).filter(|_| for_us)
        };
        let listener = match own("LISTEN_PID", "LISTEN_FDS") {
            None | Some(0) => None,
            Some(1) => Some(take_listener()?),
            Some(several) => {
                return Err(io::Error::other(format!(
                    "systemd handed over {several} sockets, and the daemon has one"
                )));
            }
        };
        if !facts::is_supervised() {
            return Ok((None, listener));
        }
        let watchdog = own("WATCHDOG_PID", "WATCHDOG_USEC").map(Duration::from_micros);
        let notices = facts::variable("NOTIFY_SOCKET").and_then(|name| address(&name));
        Ok((Some(Self { notices, watchdog }), listener))
    }

    /// How often the daemon has to say that it goes round; `None` where nobody minds.
    #[must_use]
    pub const fn watchdog(&self) -> Option<Duration> {
        self.watchdog
    }

    /// Requests are answered from now on.
    pub fn ready(&self) {
        self.tell("READY=1");
    }

    /// The daemon goes round.
    pub fn alive(&self) {
        self.tell("WATCHDOG=1");
    }

    /// The daemon was asked to end, and does.
    pub fn stopping(&self) {
        self.tell("STOPPING=1");
    }

    fn tell(&self, what: &str) {
        let Some(address) = &self.notices else { return };
        let told = UnixDatagram::unbound()
            .and_then(|socket| socket.send_to_addr(what.as_bytes(), address));
        if let Err(error) = told {
            tracing::warn!(%error, what, "systemd was not told");
        }
    }
}

fn number(name: &str) -> Option<u64> {
    facts::variable(name)?.to_str()?.parse().ok()
}

/// A path, or behind an `@` a name that is no file's.
fn address(name: &OsString) -> Option<SocketAddr> {
    match name.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name).ok(),
        _ => SocketAddr::from_pathname(name).ok(),
    }
}

/// Takes the handed-over descriptor into one that programs which are started do not inherit.
fn take_listener() -> io::Result<UnixListener> {
    // To own a descriptor that is only known by its number takes unsafe code; to be given another
    // one of the same socket does not.
    let own = pidfd_open(getpid(), PidfdFlags::empty())?;
    let socket: OwnedFd = pidfd_getfd(own, FIRST, PidfdGetfdFlags::empty())?;
    nix::unistd::close(FIRST)?;
    let listener = UnixListener::from(socket);
    listener.set_nonblocking(true)?;
    Ok(listener)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notices_go_to_a_path_or_to_a_name() {
        let directory = tempfile::tempdir().expect("directory");
        let path = directory.path().join("notify");
        let by_path = UnixDatagram::bind(&path).expect("binds");
        let name = format!("ringfence-test-{}", std::process::id());
        let by_name = SocketAddr::from_abstract_name(&name).expect("a name");
        let by_name = UnixDatagram::bind_addr(&by_name).expect("binds");
        let addresses = [path.into_os_string(), format!("@{name}").into()];
        for (address_text, heard) in addresses.iter().zip([by_path, by_name]) {
            let service = Service { notices: address(address_text), watchdog: None };
            service.ready();
            service.alive();
            service.stopping();
            let mut buffer = [0; 64];
            for wanted in ["READY=1", "WATCHDOG=1", "STOPPING=1"] {
                let count = heard.recv(&mut buffer).expect("heard");
                assert_eq!(&buffer[..count], wanted.as_bytes());
            }
        }
        // Nobody to tell: nothing happens.
        Service { notices: None, watchdog: None }.ready();
    }
}
