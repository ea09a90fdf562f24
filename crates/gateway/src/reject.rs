//! Answers to refused packets, so that a program in the guest fails at once
//! instead of waiting for a timeout: a TCP reset, or an ICMP "administratively
//! prohibited". Pure; made only from packets that [`crate::frame`] accepted.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::destination::Protocol;
use crate::frame::{ETHERNET_HEADER, Packet, bytes};
use crate::guest_address::{GATEWAY_IPV4, GATEWAY_IPV6, GATEWAY_MAC, GUEST_IPV4, GUEST_IPV6};

/// Bytes of the refused packet that an ICMP error quotes.
const QUOTE: usize = 64;

/// The frame to send to the guest instead of `packet`, if any.
pub(crate) fn answer(frame: &[u8], packet: &Packet, guest_mac: [u8; 6]) -> Option<Vec<u8>> {
    match packet.protocol {
        Protocol::Tcp => reset(frame, packet, guest_mac),
        Protocol::Udp | Protocol::Echo => prohibited(frame, packet, guest_mac),
    }
}

fn reset(frame: &[u8], packet: &Packet, guest_mac: [u8; 6]) -> Option<Vec<u8>> {
    let at = packet.transport_at;
    let [_, _, _, _, s0, s1, s2, s3, a0, a1, a2, a3, offset, flags] =
        bytes::<14>(frame, at).ok()?;
    if flags & 0x04 != 0 {
        return None;
    }
    let sequence = u32::from_be_bytes([s0, s1, s2, s3]);
    let payload = ip_end(frame)?.checked_sub(at + usize::from(offset >> 4) * 4)?;
    let mut tcp = vec![0; 20];
    tcp.get_mut(..2)?.copy_from_slice(frame.get(at + 2..at + 4)?);
    tcp.get_mut(2..4)?.copy_from_slice(frame.get(at..at + 2)?);
    if flags & 0x10 != 0 {
        // The guest said where it expects us to be.
        tcp.get_mut(4..8)?.copy_from_slice(&[a0, a1, a2, a3]);
        *tcp.get_mut(13)? = 0x04;
    } else {
        let seen = u32::try_from(payload).ok()? + u32::from(flags & 0x03 != 0);
        tcp.get_mut(8..12)?.copy_from_slice(&sequence.wrapping_add(seen).to_be_bytes());
        *tcp.get_mut(13)? = 0x14;
    }
    *tcp.get_mut(12)? = 0x50;
    let sum = checksum(pseudo(packet.ip, 6, 20) + sum(&tcp));
    tcp.get_mut(16..18)?.copy_from_slice(&sum.to_be_bytes());
    wrapped(packet.ip, 6, &tcp, guest_mac)
}

fn prohibited(frame: &[u8], packet: &Packet, guest_mac: [u8; 6]) -> Option<Vec<u8>> {
    let quote = frame.get(ETHERNET_HEADER..ip_end(frame)?)?;
    let quote = quote.get(..quote.len().min(QUOTE))?;
    let (from, number, kind, code) = match packet.ip {
        IpAddr::V4(_) => (IpAddr::V4(GATEWAY_IPV4), 1, 3, 13),
        IpAddr::V6(_) => (IpAddr::V6(GATEWAY_IPV6), 58, 1, 1),
    };
    let mut icmp = vec![kind, code, 0, 0, 0, 0, 0, 0];
    icmp.extend_from_slice(quote);
    let header = match from {
        IpAddr::V4(_) => 0,
        IpAddr::V6(_) => pseudo(from, 58, icmp.len()),
    };
    let sum = checksum(header + sum(&icmp));
    icmp.get_mut(2..4)?.copy_from_slice(&sum.to_be_bytes());
    wrapped(from, number, &icmp, guest_mac)
}

/// Where the IP packet in `frame` ends.
fn ip_end(frame: &[u8]) -> Option<usize> {
    let version = frame.get(ETHERNET_HEADER)? >> 4;
    let length = |at| Some(usize::from(u16::from_be_bytes(bytes::<2>(frame, at).ok()?)));
    let end = match version {
        4 => ETHERNET_HEADER + length(ETHERNET_HEADER + 2)?,
        _ => ETHERNET_HEADER + 40 + length(ETHERNET_HEADER + 4)?,
    };
    (end <= frame.len()).then_some(end)
}

/// A frame from `from` to the guest with `payload` behind a plain IP header.
fn wrapped(from: IpAddr, protocol: u8, payload: &[u8], guest_mac: [u8; 6]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(ETHERNET_HEADER + 40 + payload.len());
    out.extend_from_slice(&guest_mac);
    out.extend_from_slice(&GATEWAY_MAC);
    match from {
        IpAddr::V4(from) => {
            out.extend_from_slice(&[0x08, 0]);
            let total = u16::try_from(20 + payload.len()).ok()?.to_be_bytes();
            let mut header = vec![0x45, 0, total[0], total[1], 0, 0, 0x40, 0, 64, protocol, 0, 0];
            header.extend_from_slice(&from.octets());
            header.extend_from_slice(&GUEST_IPV4.octets());
            let sum = checksum(sum(&header));
            header.get_mut(10..12)?.copy_from_slice(&sum.to_be_bytes());
            out.extend_from_slice(&header);
        }
        IpAddr::V6(from) => {
            out.extend_from_slice(&[0x86, 0xdd, 0x60, 0, 0, 0]);
            out.extend_from_slice(&u16::try_from(payload.len()).ok()?.to_be_bytes());
            out.extend_from_slice(&[protocol, 64]);
            out.extend_from_slice(&from.octets());
            out.extend_from_slice(&GUEST_IPV6.octets());
        }
    }
    out.extend_from_slice(payload);
    Some(out)
}

/// The part of a transport checksum that covers addresses, protocol and length.
fn pseudo(from: IpAddr, protocol: u8, length: usize) -> u64 {
    let addresses = match from {
        IpAddr::V4(from) => sum(&from.octets()) + sum(&Ipv4Addr::octets(&GUEST_IPV4)),
        IpAddr::V6(from) => sum(&from.octets()) + sum(&Ipv6Addr::octets(&GUEST_IPV6)),
    };
    addresses + u64::from(protocol) + u64::try_from(length).unwrap_or(0)
}

fn sum(bytes: &[u8]) -> u64 {
    bytes
        .chunks(2)
        .map(|pair| match pair {
            [high, low] => u64::from(u16::from_be_bytes([*high, *low])),
            [high] => u64::from(*high) << 8,
            _ => 0,
        })
        .sum()
}

fn checksum(mut sum: u64) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap_or(0)
}
