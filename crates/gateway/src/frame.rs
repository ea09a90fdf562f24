//! Reading a guest's Ethernet frames: just enough to decide about them. Pure,
//! and total: any bytes give an answer, none can make it panic.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::destination::Protocol;
use crate::guest_address::{GATEWAY_IPV4, GATEWAY_MAC, GUEST_IPV4, GUEST_IPV6, MTU};

/// Length of an Ethernet header without tags, in bytes.
pub(crate) const ETHERNET_HEADER: usize = 14;
/// Largest frame on the wire, in bytes.
pub(crate) const MAX_FRAME: usize = MTU as usize + ETHERNET_HEADER;

/// A frame that may go on to the network stack once its destination is allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Frame {
    /// Address resolution between guest and gateway.
    Neighbour,
    /// A packet for somebody.
    Packet(Packet),
}

/// Where a packet wants to go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Packet {
    /// Destination address.
    pub(crate) ip: IpAddr,
    /// Destination port; `None` for echo and for later fragments.
    pub(crate) port: Option<u16>,
    /// What it carries.
    pub(crate) protocol: Protocol,
    /// Whether this is a TCP segment that opens a connection.
    pub(crate) opens: bool,
    /// Where the transport header starts in the frame.
    pub(crate) transport_at: usize,
}

/// Why a frame is dropped without asking where it goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Malformed {
    /// Too short, too long, or with lengths that disagree.
    Length,
    /// A sender address that is not the guest's.
    Spoofed,
    /// An Ethernet, IP or ICMP type that the gateway does not carry.
    Unsupported,
}

/// Reads one frame sent by the guest with MAC address `guest_mac`.
pub(crate) fn parse(frame: &[u8], guest_mac: [u8; 6]) -> Result<Frame, Malformed> {
    if frame.len() > MAX_FRAME {
        return Err(Malformed::Length);
    }
    let destination = bytes::<6>(frame, 0)?;
    if bytes::<6>(frame, 6)? != guest_mac {
        return Err(Malformed::Spoofed);
    }
    let group = destination[0] & 1 == 1;
    if destination != GATEWAY_MAC && !group {
        return Err(Malformed::Unsupported);
    }
    match u16_at(frame, 12)? {
        0x0806 => arp(frame, guest_mac),
        // Nothing is sent to everybody but questions about neighbours.
        0x0800 if group => Err(Malformed::Unsupported),
        0x0800 => ipv4(frame),
        0x86dd => ipv6(frame, group),
        _ => Err(Malformed::Unsupported),
    }
}

fn arp(frame: &[u8], guest_mac: [u8; 6]) -> Result<Frame, Malformed> {
    const AT: usize = ETHERNET_HEADER;
    // Ethernet, IPv4, address lengths 6 and 4.
    if bytes::<6>(frame, AT)? != [0, 1, 8, 0, 6, 4] {
        return Err(Malformed::Unsupported);
    }
    let sender = Ipv4Addr::from(bytes::<4>(frame, AT + 14)?);
    let target = Ipv4Addr::from(bytes::<4>(frame, AT + 24)?);
    if bytes::<6>(frame, AT + 8)? != guest_mac || !(sender == GUEST_IPV4 || sender.is_unspecified())
    {
        return Err(Malformed::Spoofed);
    }
    if target == GATEWAY_IPV4 { Ok(Frame::Neighbour) } else { Err(Malformed::Unsupported) }
}

fn ipv4(frame: &[u8]) -> Result<Frame, Malformed> {
    const AT: usize = ETHERNET_HEADER;
    // Version 4 and no options: a source route would say where else to go.
    if byte(frame, AT)? != 0x45 {
        return Err(Malformed::Unsupported);
    }
    let total = usize::from(u16_at(frame, AT + 2)?);
    if total < 20 || AT + total > frame.len() {
        return Err(Malformed::Length);
    }
    if Ipv4Addr::from(bytes::<4>(frame, AT + 12)?) != GUEST_IPV4 {
        return Err(Malformed::Spoofed);
    }
    let ip = IpAddr::V4(Ipv4Addr::from(bytes::<4>(frame, AT + 16)?));
    let fragment = u16_at(frame, AT + 6)?;
    let (offset, more) = (fragment & 0x1fff, fragment & 0x2000 != 0);
    let transport = Transport {
        frame: frame.get(..AT + total).ok_or(Malformed::Length)?,
        at: AT + 20,
        ip,
        fragment: offset != 0 || more,
        first: offset == 0,
    };
    match byte(frame, AT + 9)? {
        6 => transport.tcp(),
        17 => transport.udp(),
        1 => transport.echo(8),
        _ => Err(Malformed::Unsupported),
    }
}

fn ipv6(frame: &[u8], group: bool) -> Result<Frame, Malformed> {
    const AT: usize = ETHERNET_HEADER;
    if byte(frame, AT)? >> 4 != 6 {
        return Err(Malformed::Unsupported);
    }
    let payload = usize::from(u16_at(frame, AT + 4)?);
    let end = AT + 40 + payload;
    if end > frame.len() {
        return Err(Malformed::Length);
    }
    let frame = frame.get(..end).ok_or(Malformed::Length)?;
    let next = byte(frame, AT + 6)?;
    let sender = Ipv6Addr::from(bytes::<16>(frame, AT + 8)?);
    let ip = Ipv6Addr::from(bytes::<16>(frame, AT + 24)?);
    if next == 58 && is_neighbour_discovery(frame, AT + 40, ip)? {
        let own = sender == GUEST_IPV6 || sender.is_unspecified() || is_link_local(sender);
        return if own { Ok(Frame::Neighbour) } else { Err(Malformed::Spoofed) };
    }
    if sender != GUEST_IPV6 {
        return Err(Malformed::Spoofed);
    }
    if group {
        return Err(Malformed::Unsupported);
    }
    let ip = IpAddr::V6(ip);
    let whole = Transport { frame, at: AT + 40, ip, fragment: false, first: true };
    match next {
        6 => whole.tcp(),
        17 => whole.udp(),
        58 => whole.echo(128),
        44 => {
            // A fragment header; only UDP is put together again.
            if byte(frame, AT + 40)? != 17 {
                return Err(Malformed::Unsupported);
            }
            let offset = u16_at(frame, AT + 42)?;
            Transport { at: AT + 48, fragment: true, first: offset & 0xfff8 == 0, ..whole }.udp()
        }
        _ => Err(Malformed::Unsupported),
    }
}

/// Solicitations and advertisements that stay on the wire.
fn is_neighbour_discovery(frame: &[u8], at: usize, to: Ipv6Addr) -> Result<bool, Malformed> {
    let on_wire = to.segments()[0] == 0xff02 || is_link_local(to) || crate::is_gateway(to.into());
    Ok(on_wire && matches!(byte(frame, at)?, 133 | 135 | 136))
}

fn is_link_local(ip: Ipv6Addr) -> bool {
    ip.segments()[0] & 0xffc0 == 0xfe80
}

/// The part of a packet behind the IP header.
struct Transport<'a> {
    frame: &'a [u8],
    at: usize,
    ip: IpAddr,
    fragment: bool,
    first: bool,
}

impl Transport<'_> {
    fn tcp(&self) -> Result<Frame, Malformed> {
        if self.fragment {
            return Err(Malformed::Unsupported);
        }
        let flags = byte(self.frame, self.at + 13)?;
        let header = usize::from(byte(self.frame, self.at + 12)? >> 4) * 4;
        if header < 20 || self.at + header > self.frame.len() {
            return Err(Malformed::Length);
        }
        let port = u16_at(self.frame, self.at + 2)?;
        // SYN without ACK.
        Ok(self.packet(Some(port), Protocol::Tcp, flags & 0x12 == 0x02))
    }

    fn udp(&self) -> Result<Frame, Malformed> {
        if !self.first {
            return Ok(self.packet(None, Protocol::Udp, false));
        }
        let length = usize::from(u16_at(self.frame, self.at + 4)?);
        if length < 8 || (!self.fragment && self.at + length > self.frame.len()) {
            return Err(Malformed::Length);
        }
        let port = u16_at(self.frame, self.at + 2)?;
        Ok(self.packet(Some(port), Protocol::Udp, false))
    }

    fn echo(&self, request: u8) -> Result<Frame, Malformed> {
        if self.fragment || byte(self.frame, self.at)? != request {
            return Err(Malformed::Unsupported);
        }
        // The shortest echo is its eight-byte header.
        bytes::<8>(self.frame, self.at)?;
        Ok(self.packet(None, Protocol::Echo, false))
    }

    fn packet(&self, port: Option<u16>, protocol: Protocol, opens: bool) -> Frame {
        Frame::Packet(Packet { ip: self.ip, port, protocol, opens, transport_at: self.at })
    }
}

fn byte(frame: &[u8], at: usize) -> Result<u8, Malformed> {
    frame.get(at).copied().ok_or(Malformed::Length)
}

fn u16_at(frame: &[u8], at: usize) -> Result<u16, Malformed> {
    bytes::<2>(frame, at).map(u16::from_be_bytes)
}

/// `N` bytes at `at`, or the news that they are not there.
pub(crate) fn bytes<const N: usize>(frame: &[u8], at: usize) -> Result<[u8; N], Malformed> {
    frame.get(at..).and_then(|rest| rest.first_chunk::<N>()).copied().ok_or(Malformed::Length)
}

#[cfg(test)]
#[path = "frame_tests.rs"]
mod tests;
