use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use proptest::prelude::*;

use super::*;
use crate::destination::Protocol;
use crate::test_frames::{MAC, arp, echo4, neighbour, tcp4, tcp6, udp4, udp6};

const FAR: Ipv4Addr = Ipv4Addr::new(9, 9, 9, 9);
const FAR6: Ipv6Addr = Ipv6Addr::new(0x2600, 0, 0, 0, 0, 0, 0, 1);

fn packet(frame: &[u8]) -> Packet {
    match parse(frame, MAC) {
        Ok(Frame::Packet(packet)) => packet,
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_a_guest_sends_is_understood() {
    assert_eq!(parse(&arp(GATEWAY_IPV4), MAC), Ok(Frame::Neighbour));
    assert_eq!(parse(&neighbour(), MAC), Ok(Frame::Neighbour));
    let syn = packet(&tcp4(FAR, 40000, 443, 0x02));
    assert_eq!((syn.ip, syn.port), (IpAddr::V4(FAR), Some(443)));
    assert!(syn.opens && syn.protocol == Protocol::Tcp);
    assert!(!packet(&tcp4(FAR, 40000, 443, 0x12)).opens);
    let question = packet(&udp4(FAR, 40000, 53, b"q"));
    assert_eq!((question.port, question.protocol), (Some(53), Protocol::Udp));
    assert_eq!(packet(&echo4(FAR)).protocol, Protocol::Echo);
    assert_eq!(packet(&tcp6(FAR6, 40000, 443, 0x02)).ip, IpAddr::V6(FAR6));
    assert_eq!(packet(&udp6(FAR6, 40000, 53, b"q")).port, Some(53));
}

#[test]
fn what_does_not_fit_is_dropped() {
    let good = tcp4(FAR, 40000, 443, 0x02);
    let changed = |at: usize, value: u8| {
        let mut frame = good.clone();
        frame[at] = value;
        parse(&frame, MAC)
    };
    assert_eq!(changed(6, 0x02), Err(Malformed::Spoofed), "sender MAC");
    assert_eq!(changed(29, 9), Err(Malformed::Spoofed), "sender IP");
    assert_eq!(changed(0, 0x54), Err(Malformed::Unsupported), "not to the gateway");
    assert_eq!(changed(0, 0xff), Err(Malformed::Unsupported), "to everybody");
    assert_eq!(changed(14, 0x46), Err(Malformed::Unsupported), "IP options");
    assert_eq!(changed(14, 0x55), Err(Malformed::Unsupported), "IP version");
    assert_eq!(changed(16, 0xff), Err(Malformed::Length), "IP length");
    assert_eq!(changed(20, 0x20), Err(Malformed::Unsupported), "a fragment of TCP");
    assert_eq!(changed(23, 47), Err(Malformed::Unsupported), "GRE");
    assert_eq!(changed(46, 0x40), Err(Malformed::Length), "TCP header too short");
    assert_eq!(changed(46, 0xf0), Err(Malformed::Length), "TCP header too long");
    assert_eq!(changed(12, 0x81), Err(Malformed::Unsupported), "a VLAN tag");
    assert_eq!(parse(&vec![0; MAX_FRAME + 1], MAC), Err(Malformed::Length));
    assert_eq!(parse(&arp(FAR), MAC), Err(Malformed::Unsupported));
    let mut spoofed = tcp6(FAR6, 40000, 443, 0x02);
    spoofed[37] = 9;
    assert_eq!(parse(&spoofed, MAC), Err(Malformed::Spoofed));
    let mut options = tcp6(FAR6, 40000, 443, 0x02);
    for header in [0, 43, 50, 51, 60, 135] {
        options[20] = header;
        assert_eq!(parse(&options, MAC), Err(Malformed::Unsupported), "{header}");
    }
}

#[test]
fn a_later_fragment_shows_its_address_but_no_port() {
    let mut frame = udp4(FAR, 40000, 53, b"question");
    frame[21] = 1;
    let later = packet(&frame);
    assert_eq!((later.ip, later.port), (IpAddr::V4(FAR), None));
}

proptest! {
    #[test]
    fn any_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = parse(&bytes, MAC);
    }

    #[test]
    fn damaged_frames_are_survived(
        which in 0usize..8,
        damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut frame = [
            arp(GATEWAY_IPV4), neighbour(), echo4(FAR), tcp4(FAR, 1, 2, 2), udp4(FAR, 1, 2, b"x"),
            tcp6(FAR6, 1, 2, 2), udp6(FAR6, 1, 2, b"x"), tcp4(FAR, 1, 2, 16),
        ][which].clone();
        for (at, value) in damage {
            let at = at.index(frame.len());
            frame[at] = value;
        }
        frame.truncate(cut.index(frame.len() + 1));
        if let Ok(Frame::Packet(packet)) = parse(&frame, MAC) {
            // What passes has the guest's addresses on it.
            prop_assert_eq!(&frame[6..12], &MAC);
            let sender = match packet.ip {
                IpAddr::V4(_) => frame[26..30] == GUEST_IPV4.octets(),
                IpAddr::V6(_) => frame[22..38] == GUEST_IPV6.octets(),
            };
            prop_assert!(sender);
            // Whatever passes can be answered without a panic.
            let _ = crate::reject::answer(&frame, &packet, MAC);
        }
    }
}
