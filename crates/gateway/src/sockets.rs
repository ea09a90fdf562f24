//! The sockets a gateway opens before it is confined: two Unix listeners and the
//! published port, reserved.

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrIn, bind, getsockname, setsockopt, socket, sockopt,
};

/// Why a socket could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// A Unix socket.
    #[error("listening on {path}: {source}")]
    Unix {
        /// Where.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The published port.
    #[error("publishing SSH on 127.0.0.1:{port}: {source}")]
    Port {
        /// Which.
        port: u16,
        /// What the system said.
        source: io::Error,
    },
}

/// Listens on `path`, for its owner alone. A socket that a dead gateway left behind is
/// replaced; anything else at that path is an error.
pub(crate) fn listen(path: &Path, owner: Option<u32>) -> Result<UnixListener, SocketError> {
    let open = || {
        match std::fs::symlink_metadata(path) {
            Ok(found) if found.file_type().is_socket() => std::fs::remove_file(path)?,
            Ok(_) => return Err(io::ErrorKind::AlreadyExists.into()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        let listener = UnixListener::bind(path)?;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
        if let Some(owner) = owner {
            std::os::unix::fs::lchown(path, Some(owner), None)?;
        }
        listener.set_nonblocking(true)?;
        Ok(listener)
    };
    open().map_err(|source| SocketError::Unix { path: path.to_owned(), source })
}

/// Takes a loopback port without listening on it: the network stack listens, but
/// cannot be asked which port it got. While this socket lives, no other program that
/// does not insist on this very number can have it.
pub(crate) fn reserve_port(port: u16) -> Result<(OwnedFd, u16), SocketError> {
    let reserve = || -> nix::Result<(OwnedFd, u16)> {
        let fd = socket(AddressFamily::Inet, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
        setsockopt(&fd, sockopt::ReuseAddr, &true)?;
        let wanted = SockaddrIn::from(SocketAddrV4::new(Ipv4Addr::LOCALHOST, port));
        bind(fd.as_raw_fd(), &wanted)?;
        let bound: SockaddrIn = getsockname(fd.as_raw_fd())?;
        Ok((fd, bound.port()))
    };
    reserve().map_err(|errno| SocketError::Port { port, source: errno.into() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stale_socket_is_replaced_and_a_file_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("link.sock");
        drop(listen(&path, None).unwrap());
        let listener = listen(&path, None).unwrap();
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        drop(listener);
        let file = dir.path().join("file");
        std::fs::write(&file, "precious").unwrap();
        assert!(listen(&file, None).is_err());
        assert_eq!(std::fs::read(&file).unwrap(), b"precious");
    }

    #[test]
    fn a_reserved_port_can_be_listened_on_once() {
        let (_kept, port) = reserve_port(0).unwrap();
        assert_ne!(port, 0);
        // std's listener sets SO_REUSEADDR, like the network stack's.
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, port)).unwrap();
        assert!(reserve_port(port).is_err(), "a busy port is told");
        drop(listener);
    }
}
