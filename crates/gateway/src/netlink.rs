//! Asks the kernel for the host's addresses and routes, and hears of changes.
//! Both sockets are opened before the process is confined and work ever after:
//! no file is needed. Decides nothing.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use ipnet::IpNet;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recvfrom, send,
    setsockopt, socket, sockopt,
};
use nix::sys::time::TimeVal;

use crate::host_networks::HostNetworks;

const RTM_NEWROUTE: u16 = 24;
const RTM_GETROUTE: u16 = 26;
const RTM_NEWADDR: u16 = 20;
const RTM_GETADDR: u16 = 22;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
/// NLM_F_REQUEST | NLM_F_DUMP.
const DUMP: u16 = 0x301;
/// NLM_F_DUMP_INTR: the tables changed while they were read.
const INTERRUPTED: u16 = 0x10;
/// Links, addresses and routes of both families.
const GROUPS: u32 = 0x1 | 0x10 | 0x40 | 0x100 | 0x400;
/// RTM_F_CLONED: a cached path to one destination, not a network of the host's.
const CLONED: u32 = 0x200;
const RTN_LOCAL: u8 = 2;
const RTN_THROW: u8 = 9;
/// More networks than any host needs; beyond it nothing leaves.
const MAX_NETWORKS: usize = 1 << 17;
/// How often the tables are read even when nothing was heard.
const REREAD_MS: u16 = 30_000;
const RECEIVE_BUFFER: usize = 1 << 16;

/// Two netlink sockets: one for questions, one for news.
#[derive(Debug)]
pub(crate) struct Netlink {
    questions: OwnedFd,
    news: OwnedFd,
}

/// Why the host's networks are not known.
#[derive(Debug, thiserror::Error)]
pub enum NetlinkError {
    /// A socket call failed.
    #[error("asking the kernel for the host's networks (netlink): {0}")]
    Socket(#[from] Errno),
    /// The kernel's answer does not parse or does not end.
    #[error("the kernel's answer about the host's networks is not understood: {0}")]
    Answer(&'static str),
}

impl Netlink {
    /// Opens both sockets. Subscribes before anything is read, so that no change is missed.
    pub(crate) fn open() -> Result<Self, NetlinkError> {
        let open = |flags| {
            socket(
                AddressFamily::Netlink,
                SockType::Raw,
                flags | SockFlag::SOCK_CLOEXEC,
                SockProtocol::NetlinkRoute,
            )
        };
        let news = open(SockFlag::SOCK_NONBLOCK)?;
        bind(news.as_raw_fd(), &NetlinkAddr::new(0, GROUPS))?;
        let questions = open(SockFlag::empty())?;
        bind(questions.as_raw_fd(), &NetlinkAddr::new(0, 0))?;
        setsockopt(&questions, sockopt::ReceiveTimeout, &TimeVal::new(2, 0))?;
        Ok(Self { questions, news })
    }

    /// Waits until something may have changed, or until it is time to look again anyway.
    pub(crate) fn wait(&self) {
        let mut watched = [PollFd::new(self.news.as_fd(), PollFlags::POLLIN)];
        if poll(&mut watched, PollTimeout::from(REREAD_MS)).is_err() {
            return;
        }
        let mut buffer = vec![0; RECEIVE_BUFFER];
        // Bounded: a host that changes without end must not keep us here. What is
        // lost (ENOBUFS) counts as news, too.
        for _ in 0..1024 {
            match recvfrom::<NetlinkAddr>(self.news.as_raw_fd(), &mut buffer) {
                Ok(_) | Err(Errno::ENOBUFS | Errno::EINTR) => {}
                Err(_) => break,
            }
        }
    }

    /// Reads the host's addresses and routes as they are now.
    pub(crate) fn read(&self) -> Result<HostNetworks, NetlinkError> {
        let mut found = Found::default();
        // A dump that the kernel marks as interrupted may lack entries: read again.
        for _ in 0..8 {
            found = Found::default();
            let whole =
                self.dump(RTM_GETADDR, 8, &mut found)? & self.dump(RTM_GETROUTE, 12, &mut found)?;
            if whole {
                break;
            }
        }
        if found.own.len() + found.near.len() > MAX_NETWORKS {
            return Err(NetlinkError::Answer("too many routes"));
        }
        Ok(HostNetworks::new(found.own, found.near))
    }

    /// Asks for one table; true when it was read in one piece.
    fn dump(&self, kind: u16, body: usize, found: &mut Found) -> Result<bool, NetlinkError> {
        let fd = self.questions.as_raw_fd();
        let length = 16 + body;
        let mut question = Vec::with_capacity(length);
        question.extend_from_slice(&u32::try_from(length).unwrap_or(0).to_ne_bytes());
        question.extend_from_slice(&kind.to_ne_bytes());
        question.extend_from_slice(&DUMP.to_ne_bytes());
        question.resize(length, 0);
        send(fd, &question, MsgFlags::empty())?;
        let mut buffer = vec![0; RECEIVE_BUFFER];
        let mut whole = true;
        loop {
            let (length, sender) = match recvfrom::<NetlinkAddr>(fd, &mut buffer) {
                Err(Errno::EINTR) => continue,
                other => other?,
            };
            if sender.is_some_and(|sender| sender.pid() != 0) {
                continue;
            }
            let mut rest = buffer.get(..length).unwrap_or_default();
            while let Some(message) = Message::next(&mut rest) {
                whole &= message.flags & INTERRUPTED == 0;
                match message.kind {
                    NLMSG_DONE => return Ok(whole),
                    NLMSG_ERROR => return Err(NetlinkError::Answer("error message")),
                    RTM_NEWADDR => found.address(message.body),
                    RTM_NEWROUTE => found.route(message.body),
                    _ => {}
                }
            }
        }
    }
}

struct Message<'a> {
    kind: u16,
    flags: u16,
    body: &'a [u8],
}

impl<'a> Message<'a> {
    fn next(rest: &mut &'a [u8]) -> Option<Self> {
        let length = usize::try_from(u32::from_ne_bytes(*rest.first_chunk()?)).ok()?;
        let whole = rest.get(..length)?;
        let kind = u16::from_ne_bytes(*whole.get(4..)?.first_chunk()?);
        let flags = u16::from_ne_bytes(*whole.get(6..)?.first_chunk()?);
        let body = whole.get(16..)?;
        *rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some(Self { kind, flags, body })
    }
}

#[derive(Default)]
struct Found {
    own: Vec<IpNet>,
    near: Vec<IpNet>,
}

impl Found {
    fn address(&mut self, body: &[u8]) {
        let [Some(family), Some(prefix)] = [body.first(), body.get(1)] else {
            return;
        };
        let mut local = None;
        let mut address = None;
        for (kind, value) in Attributes(body.get(8..).unwrap_or_default()) {
            match kind {
                1 => address = ip(*family, value),
                2 => local = ip(*family, value),
                _ => {}
            }
        }
        // On a point-to-point link "address" is the other end.
        self.own.extend(local.or(address).map(IpNet::from));
        for ip in local.into_iter().chain(address) {
            self.near.extend(IpNet::new(ip, *prefix).ok());
        }
    }

    fn route(&mut self, body: &[u8]) {
        let Some([family, prefix, _, _, _, _, _, kind, f0, f1, f2, f3]) = body.first_chunk() else {
            return;
        };
        let flags = u32::from_ne_bytes([*f0, *f1, *f2, *f3]);
        if flags & CLONED != 0 || *kind == RTN_THROW {
            return;
        }
        for (attribute, value) in Attributes(body.get(12..).unwrap_or_default()) {
            if attribute == 1
                && let Some(net) = ip(*family, value).and_then(|ip| IpNet::new(ip, *prefix).ok())
            {
                if *kind == RTN_LOCAL {
                    self.own.push(net);
                } else {
                    self.near.push(net);
                }
            }
        }
    }
}

fn ip(family: u8, value: &[u8]) -> Option<IpAddr> {
    match family {
        2 => Some(Ipv4Addr::from(<[u8; 4]>::try_from(value).ok()?).into()),
        10 => Some(Ipv6Addr::from(<[u8; 16]>::try_from(value).ok()?).into()),
        _ => None,
    }
}

struct Attributes<'a>(&'a [u8]);

impl<'a> Iterator for Attributes<'a> {
    type Item = (u16, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let length = usize::from(u16::from_ne_bytes(*self.0.first_chunk()?));
        let kind = u16::from_ne_bytes(*self.0.get(2..)?.first_chunk()?);
        let value = self.0.get(4..length)?;
        self.0 = self.0.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind & 0x3fff, value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn loopback_is_the_host() {
        let host = Netlink::open().unwrap().read().unwrap();
        assert!(!host.unknown);
        assert!(host.own.contains("127.0.0.1".parse().unwrap()));
        assert!(host.own.contains("127.1.2.3".parse().unwrap()));
        // A public address is not near, unless the host is a router of the internet.
        assert!(!host.own.contains("9.9.9.9".parse().unwrap()));
    }

    proptest! {
        #[test]
        fn any_answer_is_survived(bytes in proptest::collection::vec(any::<u8>(), 0..256)) {
            let mut rest = bytes.as_slice();
            let mut found = Found::default();
            let mut steps = 0;
            while let Some(message) = Message::next(&mut rest) {
                found.address(message.body);
                found.route(message.body);
                steps += 1;
                prop_assert!(steps <= bytes.len());
            }
            found.address(&bytes);
            found.route(&bytes);
        }
    }
}
