use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use super::*;
use crate::guest_address::GATEWAY_IPV4;
use crate::spec::Policy;
use crate::test_frames::{MAC, echo4, tcp4, tcp6, udp4, udp6};

const FAR: Ipv4Addr = Ipv4Addr::new(9, 9, 9, 9);
const NEAR: Ipv4Addr = Ipv4Addr::new(192, 168, 1, 1);
const NEAR6: Ipv6Addr = Ipv6Addr::new(0xfd12, 0, 0, 0, 0, 0, 0, 1);

fn filter(policy: Policy) -> (Filter, SharedHost, Arc<Counters>) {
    let host = SharedHost::new(HostNetworks::new([], []));
    let counters = Arc::new(Counters::default());
    let filter = Filter::new(
        MAC,
        Rules::new(&policy, &[]),
        host.clone(),
        Arc::new(|_| false),
        Arc::clone(&counters),
    );
    (filter, host, counters)
}

fn sum(bytes: &[u8]) -> u16 {
    let mut sum: u32 = bytes
        .chunks(2)
        .map(|c| u32::from(u16::from_be_bytes([c[0], *c.get(1).unwrap_or(&0)])))
        .sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    u16::try_from(sum).unwrap()
}

#[test]
fn a_refused_connection_is_reset() {
    let (mut filter, _, counters) = filter(Policy::Internet);
    let Verdict::Answer(answer) = filter.outgoing(&tcp4(NEAR, 40000, 80, 0x02), Instant::now())
    else {
        panic!("no answer");
    };
    assert_eq!(&answer[..6], &MAC);
    assert_eq!(&answer[26..30], &NEAR.octets(), "from the address that was asked");
    assert_eq!(sum(&answer[14..34]), 0xffff, "IP checksum");
    assert_eq!(&answer[34..38], &[0, 80, 0x9c, 0x40]);
    assert_eq!(&answer[42..46], &[0, 0, 0, 8], "acknowledges the SYN");
    assert_eq!(answer[47], 0x14, "RST, ACK");
    let pseudo = [&answer[26..34], &[0, 6, 0, 20][..], &answer[34..]].concat();
    assert_eq!(sum(&pseudo), 0xffff, "TCP checksum");
    assert_eq!(counters.report().last_denied[0].reason, "private");
    // A reset is not answered by a reset.
    assert_eq!(filter.outgoing(&tcp4(NEAR, 40000, 80, 0x04), Instant::now()), Verdict::Drop);
}

#[test]
fn a_refused_datagram_is_answered_by_icmp() {
    let (mut filter, ..) = filter(Policy::Internet);
    let frame = udp6(NEAR6, 40000, 80, b"odd");
    let Verdict::Answer(answer) = filter.outgoing(&frame, Instant::now()) else {
        panic!("no answer");
    };
    assert_eq!(&answer[54..56], &[1, 1], "administratively prohibited");
    assert_eq!(&answer[62..], &frame[14..], "quotes the packet");
    let length = u16::try_from(answer.len() - 54).unwrap().to_be_bytes();
    let pseudo = [&answer[22..54], &length[..], &[0, 58], &answer[54..]].concat();
    assert_eq!(sum(&pseudo), 0xffff, "ICMPv6 checksum");
    let frame = udp4(NEAR, 40000, 80, b"odd");
    let Verdict::Answer(answer) = filter.outgoing(&frame, Instant::now()) else {
        panic!("no answer");
    };
    assert_eq!(&answer[34..36], &[3, 13]);
    assert_eq!(sum(&answer[34..]), 0xffff, "ICMP checksum");
}

#[test]
fn an_address_that_becomes_the_hosts_is_cut_off_at_once() {
    let (mut filter, host, _) = filter(Policy::Internet);
    let data = tcp4(FAR, 40000, 443, 0x10);
    assert_eq!(filter.outgoing(&data, Instant::now()), Verdict::Pass);
    host.set(HostNetworks::new([ipnet::IpNet::from(IpAddr::V4(FAR))], []));
    assert!(matches!(filter.outgoing(&data, Instant::now()), Verdict::Answer(_)));
    host.set(HostNetworks::unknown());
    let syn = tcp6("2600::1".parse().unwrap(), 1, 443, 0x02);
    assert!(matches!(filter.outgoing(&syn, Instant::now()), Verdict::Answer(_)));
}

#[test]
fn ssh_answers_pass_under_every_policy_and_open_nothing() {
    let (mut filter, ..) = filter(Policy::Offline);
    let now = Instant::now();
    assert_eq!(filter.outgoing(&tcp4(GATEWAY_IPV4, 22, 50000, 0x12), now), Verdict::Pass);
    for frame in [
        tcp4(GATEWAY_IPV4, 22, 50000, 0x02),
        tcp4(GATEWAY_IPV4, 23, 50000, 0x12),
        tcp4(GATEWAY_IPV4, 22, 80, 0x10),
        tcp4(FAR, 22, 50000, 0x12),
    ] {
        assert!(matches!(filter.outgoing(&frame, now), Verdict::Answer(_)));
    }
}

#[test]
fn floods_are_limited() {
    let (mut filter, _, counters) = filter(Policy::Internet);
    let now = Instant::now();
    let mut passed = |frame: &dyn Fn(u16) -> Vec<u8>, at: Instant| {
        let pass = |n: &u16| filter.outgoing(&frame(*n), at) == Verdict::Pass;
        (1..10_000).filter(pass).count()
    };
    assert_eq!(passed(&|n| tcp4(FAR, n, 443, 0x02), now), 512);
    assert_eq!(passed(&|n| udp4(GATEWAY_IPV4, n, 53, b"q"), now), 256);
    assert_eq!(passed(&|_| echo4(FAR), now), 32);
    assert_eq!(passed(&|n| tcp4(FAR, n, 443, 0x02), now + Duration::from_secs(1)), 256);
    assert_eq!(passed(&|n| tcp4(FAR, n, 443, 0x10), now), 9999, "open connections go on");
    assert!(counters.report().limited > 20_000);
}

#[test]
fn connections_are_counted_until_either_side_ends() {
    let (mut filter, _, counters) = filter(Policy::Internet);
    let now = Instant::now();
    for port in [1, 2] {
        filter.outgoing(&tcp4(FAR, port, 443, 0x02), now);
    }
    assert_eq!(counters.report().connections_open, 2);
    filter.outgoing(&tcp4(FAR, 1, 443, 0x11), now);
    assert_eq!(counters.report().connections_open, 1);
    // The far side resets the other one.
    let mut reset = tcp4(FAR, 443, 2, 0x04);
    reset[26..30].copy_from_slice(&FAR.octets());
    incoming(&reset, &counters);
    assert_eq!(counters.report().connections_open, 0);
}
