//! Frames as a guest sends them, for tests.

use std::net::{Ipv4Addr, Ipv6Addr};

use crate::guest_address::{GATEWAY_IPV6, GATEWAY_MAC, GUEST_IPV4, GUEST_IPV6};

/// The guest's MAC address in tests.
pub(crate) const MAC: [u8; 6] = [0x52, 0xe6, 1, 2, 3, 4];

fn ethernet(to: [u8; 6], kind: u16, payload: &[u8]) -> Vec<u8> {
    [&to, &MAC, &kind.to_be_bytes()[..], payload].concat()
}

fn length(bytes: &[u8]) -> [u8; 2] {
    u16::try_from(bytes.len()).unwrap().to_be_bytes()
}

fn ip4(to: Ipv4Addr, protocol: u8, payload: &[u8]) -> Vec<u8> {
    let total = u16::try_from(20 + payload.len()).unwrap().to_be_bytes();
    let mut header = vec![0x45, 0, total[0], total[1], 0, 1, 0, 0, 64, protocol, 0, 0];
    header.extend(GUEST_IPV4.octets());
    header.extend(to.octets());
    let sum: u32 = header.chunks(2).map(|c| u32::from(u16::from_be_bytes([c[0], c[1]]))).sum();
    let sum = !u16::try_from((sum & 0xffff) + (sum >> 16)).unwrap();
    header[10..12].copy_from_slice(&sum.to_be_bytes());
    ethernet(GATEWAY_MAC, 0x0800, &[&header, payload].concat())
}

fn ip6(to: Ipv6Addr, next: u8, payload: &[u8]) -> Vec<u8> {
    let mut header = vec![0x60, 0, 0, 0];
    header.extend(length(payload));
    header.extend([next, 64]);
    header.extend(GUEST_IPV6.octets());
    header.extend(to.octets());
    ethernet(GATEWAY_MAC, 0x86dd, &[&header, payload].concat())
}

fn tcp(from: u16, to: u16, flags: u8) -> Vec<u8> {
    let mut segment = [from.to_be_bytes(), to.to_be_bytes()].concat();
    segment.extend([0, 0, 0, 7, 0, 0, 0, 9, 0x50, flags, 0xff, 0xff, 0, 0, 0, 0]);
    segment
}

fn udp(from: u16, to: u16, payload: &[u8]) -> Vec<u8> {
    let total = u16::try_from(8 + payload.len()).unwrap();
    let mut datagram = [from, to, total, 0].map(u16::to_be_bytes).concat();
    datagram.extend(payload);
    datagram
}

/// A TCP segment by IPv4.
pub(crate) fn tcp4(ip: Ipv4Addr, from: u16, to: u16, flags: u8) -> Vec<u8> {
    ip4(ip, 6, &tcp(from, to, flags))
}

/// A TCP segment by IPv6.
pub(crate) fn tcp6(ip: Ipv6Addr, from: u16, to: u16, flags: u8) -> Vec<u8> {
    ip6(ip, 6, &tcp(from, to, flags))
}

/// A UDP datagram by IPv4.
pub(crate) fn udp4(ip: Ipv4Addr, from: u16, to: u16, payload: &[u8]) -> Vec<u8> {
    ip4(ip, 17, &udp(from, to, payload))
}

/// A UDP datagram by IPv6.
pub(crate) fn udp6(ip: Ipv6Addr, from: u16, to: u16, payload: &[u8]) -> Vec<u8> {
    ip6(ip, 17, &udp(from, to, payload))
}

/// An echo request by IPv4.
pub(crate) fn echo4(ip: Ipv4Addr) -> Vec<u8> {
    ip4(ip, 1, &[8, 0, 0xf7, 0xfd, 0, 1, 0, 1])
}

/// An ARP question about `ip`.
pub(crate) fn arp(ip: Ipv4Addr) -> Vec<u8> {
    let mut question = vec![0, 1, 8, 0, 6, 4, 0, 1];
    question.extend(MAC);
    question.extend(GUEST_IPV4.octets());
    question.extend([0; 6]);
    question.extend(ip.octets());
    ethernet([0xff; 6], 0x0806, &question)
}

/// A neighbour solicitation for the gateway.
pub(crate) fn neighbour() -> Vec<u8> {
    let mut payload = vec![135, 0, 0, 0, 0, 0, 0, 0];
    payload.extend(GATEWAY_IPV6.octets());
    let mut frame = ip6(Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00, 1), 58, &payload);
    frame[..6].copy_from_slice(&[0x33, 0x33, 0xff, 0, 0, 1]);
    frame
}
