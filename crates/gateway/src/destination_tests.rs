use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use proptest::prelude::*;

use super::*;

fn host() -> HostNetworks {
    let nets = |list: &[&str]| list.iter().map(|net| net.parse().unwrap()).collect::<Vec<IpNet>>();
    HostNetworks::new(
        nets(&["127.0.0.0/8", "::1/128", "198.51.100.7/32", "2001:db8:1::7/128", "10.1.2.3/32"]),
        nets(&["0.0.0.0/0", "::/0", "198.51.100.0/24", "2001:db8:1::/64", "203.0.113.0/25"]),
    )
}

fn list(names: &[&str], addresses: &[&str]) -> Policy {
    Policy::Allowlist {
        names: names.iter().map(|&name| name.to_owned()).collect(),
        addresses: addresses.iter().map(|net| net.parse().unwrap()).collect(),
    }
}

fn decide(policy: &Policy, ip: &str, port: u16) -> Result<(), Denial> {
    let rules = Rules::new(policy, &[8080]);
    let named = |ip: IpAddr| ip == "9.9.9.9".parse::<IpAddr>().unwrap();
    destination_allowed(&rules, &host(), ip.parse().unwrap(), Some(port), Protocol::Tcp, named)
}

/// Every spelling of an IPv4 address that could end there.
fn spellings(ip: Ipv4Addr) -> Vec<IpAddr> {
    let [a, b, c, d] = ip.octets();
    let (high, low) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
    vec![
        ip.into(),
        ip.to_ipv6_mapped().into(),
        Ipv6Addr::new(0, 0, 0, 0, 0, 0, high, low).into(),
        Ipv6Addr::new(0, 0, 0, 0, 0xffff, 0, high, low).into(),
        Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, high, low).into(),
        Ipv6Addr::new(0x2002, high, low, 0, 0, 0, 0, 1).into(),
    ]
}

#[test]
fn internet_reaches_public_addresses_and_documentation_ranges() {
    for ip in [
        "9.9.9.9",
        "203.0.113.200",
        "192.0.2.1",
        "2600::1",
        "2001:db8:2::1",
        "64:ff9b::909:909",
        "2002:909:909::1",
    ] {
        assert_eq!(decide(&Policy::Internet, ip, 443), Ok(()), "{ip}");
    }
}

#[test]
fn internet_reaches_nothing_near() {
    for (ip, why) in [
        ("127.0.0.1", Denial::NotAnAddress),
        ("::1", Denial::NotAnAddress),
        ("0.0.0.0", Denial::NotAnAddress),
        ("::", Denial::NotAnAddress),
        ("224.0.0.1", Denial::NotAnAddress),
        ("255.255.255.255", Denial::NotAnAddress),
        ("ff02::1", Denial::NotAnAddress),
        ("2001:0:1:2::1", Denial::NotAnAddress),
        ("64:ff9b:1::1", Denial::NotAnAddress),
        ("198.51.100.7", Denial::Host),
        ("2001:db8:1::7", Denial::Host),
        ("10.1.2.3", Denial::Host),
        ("198.51.100.8", Denial::HostNetwork),
        ("2001:db8:1::8", Denial::HostNetwork),
        ("203.0.113.1", Denial::HostNetwork),
        ("10.0.0.1", Denial::Private),
        ("172.31.255.255", Denial::Private),
        ("192.168.1.1", Denial::Private),
        ("100.64.0.1", Denial::Private),
        ("100.127.255.254", Denial::Private),
        ("169.254.1.1", Denial::Private),
        ("192.0.0.8", Denial::Private),
        ("fd12::1", Denial::Private),
        ("fe80::1", Denial::Private),
        ("fec0::1", Denial::Private),
        ("169.254.169.254", Denial::Metadata),
        ("fd00:ec2::254", Denial::Metadata),
        ("168.63.129.16", Denial::Metadata),
        ("192.0.0.1", Denial::Gateway),
        ("::ffff:192.0.0.1", Denial::Gateway),
        ("fd52:696e:6766::1", Denial::Gateway),
    ] {
        assert_eq!(decide(&Policy::Internet, ip, 443), Err(why), "{ip}");
    }
}

#[test]
fn the_gateway_offers_dns_echo_and_named_ports_only() {
    let rules = Rules::new(&Policy::Internet, &[8080]);
    let ask = |port, protocol| {
        let gateway = IpAddr::V4(GATEWAY_IPV4);
        destination_allowed(&rules, &host(), gateway, port, protocol, |_| true)
    };
    assert_eq!(ask(Some(53), Protocol::Udp), Ok(()));
    assert_eq!(ask(Some(53), Protocol::Tcp), Ok(()));
    assert_eq!(ask(None, Protocol::Echo), Ok(()));
    assert_eq!(ask(Some(8080), Protocol::Tcp), Ok(()));
    assert_eq!(ask(Some(8080), Protocol::Udp), Err(Denial::Gateway));
    assert_eq!(ask(None, Protocol::Udp), Err(Denial::Gateway));
    assert_eq!(ask(Some(22), Protocol::Tcp), Err(Denial::Gateway));
    // A host that is not read yet still answers questions about names.
    let unknown = HostNetworks::unknown();
    let gateway = IpAddr::V4(GATEWAY_IPV4);
    let dns = destination_allowed(&rules, &unknown, gateway, Some(53), Protocol::Udp, |_| false);
    assert_eq!(dns, Ok(()));
    let out = destination_allowed(
        &rules,
        &unknown,
        "9.9.9.9".parse().unwrap(),
        Some(53),
        Protocol::Udp,
        |_| true,
    );
    assert_eq!(out, Err(Denial::HostUnknown));
}

#[test]
fn offline_lets_nothing_out() {
    for ip in ["9.9.9.9", "10.0.0.1", "2600::1", "192.0.0.1"] {
        assert_eq!(decide(&Policy::Offline, ip, 53), Err(Denial::Offline), "{ip}");
    }
}

#[test]
fn open_reaches_local_networks_but_never_the_host() {
    for ip in ["9.9.9.9", "192.168.1.1", "10.0.0.1", "198.51.100.8", "fd12::1"] {
        assert_eq!(decide(&Policy::Open, ip, 443), Ok(()), "{ip}");
    }
    for ip in ["198.51.100.7", "10.1.2.3", "::ffff:10.1.2.3", "127.0.0.1", "169.254.169.254"] {
        assert!(decide(&Policy::Open, ip, 443).is_err(), "{ip}");
    }
}

#[test]
fn an_allow_list_is_all_there_is() {
    let policy = list(&["example.org"], &["192.168.7.0/24", "10.1.2.0/24", "169.254.169.254/32"]);
    for ip in ["9.9.9.9", "192.168.7.9", "10.1.2.4", "169.254.169.254"] {
        assert_eq!(decide(&policy, ip, 443), Ok(()), "{ip}");
    }
    assert_eq!(decide(&policy, "8.8.8.8", 443), Err(Denial::NotListed));
    assert_eq!(decide(&policy, "192.168.8.9", 443), Err(Denial::Private));
    assert_eq!(decide(&policy, "10.1.2.3", 443), Err(Denial::Host), "listed, but the host");
}

#[test]
fn a_name_does_not_open_a_private_address() {
    let rules = Rules::new(&list(&["rebind.example"], &[]), &[]);
    for ip in ["192.168.1.1", "127.0.0.1", "198.51.100.7", "198.51.100.9", "169.254.169.254"] {
        let ip: IpAddr = ip.parse().unwrap();
        let verdict = destination_allowed(&rules, &host(), ip, Some(80), Protocol::Tcp, |_| true);
        assert!(verdict.is_err(), "{ip}");
    }
}

fn policy() -> impl Strategy<Value = Policy> {
    prop_oneof![
        Just(Policy::Internet),
        Just(Policy::Open),
        Just(Policy::Offline),
        Just(list(&["example.org"], &["0.0.0.0/0", "::/0"])),
    ]
}

proptest! {
    #[test]
    fn the_host_is_out_of_reach_in_every_spelling(
        own in any::<u32>(),
        policy in policy(),
        port in any::<u16>(),
    ) {
        let own = Ipv4Addr::from(own);
        prop_assume!(own != GATEWAY_IPV4);
        let host = HostNetworks::new([IpNet::from(IpAddr::V4(own))], []);
        let rules = Rules::new(&policy, &[]);
        for ip in spellings(own) {
            let verdict = destination_allowed(&rules, &host, ip, Some(port), Protocol::Tcp, |_| true);
            prop_assert!(verdict.is_err(), "{} as {}", own, ip);
        }
    }

    #[test]
    fn a_host_network_is_out_of_reach_in_every_spelling(
        net in any::<u32>(), len in 2u8..=32, at in any::<u32>(),
    ) {
        let net = ipnet::Ipv4Net::new(Ipv4Addr::from(net), len).unwrap();
        let inside = Ipv4Addr::from(u32::from(net.network()) | (at & u32::from(net.hostmask())));
        let host = HostNetworks::new([], [IpNet::V4(net)]);
        let rules = Rules::new(&Policy::Internet, &[]);
        for ip in spellings(inside) {
            prop_assume!(ip != IpAddr::V4(GATEWAY_IPV4));
            let verdict = destination_allowed(&rules, &host, ip, Some(1), Protocol::Udp, |_| true);
            prop_assert!(verdict.is_err(), "{} as {}", inside, ip);
        }
    }

    #[test]
    fn an_ipv6_host_network_is_out_of_reach(net in any::<u128>(), len in 4u8..=128, at in any::<u128>()) {
        let net = ipnet::Ipv6Net::new(Ipv6Addr::from(net), len).unwrap();
        let inside = Ipv6Addr::from(u128::from(net.network()) | (at & u128::from(net.hostmask())));
        prop_assume!(IpAddr::V6(inside) != IpAddr::V6(GATEWAY_IPV6));
        let rules = Rules::new(&Policy::Internet, &[]);
        let near = HostNetworks::new([], [IpNet::V6(net)]);
        let verdict = |host: &HostNetworks, rules: &Rules| {
            destination_allowed(rules, host, inside.into(), Some(1), Protocol::Udp, |_| true)
        };
        prop_assert!(verdict(&near, &rules).is_err());
        let own = HostNetworks::new([IpNet::V6(net)], []);
        prop_assert!(verdict(&own, &Rules::new(&Policy::Open, &[])).is_err());
    }

    #[test]
    fn internet_never_reaches_more_than_open(ip in any::<u128>(), v4 in any::<bool>(), port in any::<u16>()) {
        let ip: IpAddr = if v4 { Ipv4Addr::from(ip as u32).into() } else { Ipv6Addr::from(ip).into() };
        let verdict = |policy: Policy| {
            let rules = Rules::new(&policy, &[]);
            destination_allowed(&rules, &host(), ip, Some(port), Protocol::Tcp, |_| false).is_ok()
        };
        prop_assert!(!verdict(Policy::Internet) || verdict(Policy::Open));
        prop_assert!(!verdict(list(&["example.org"], &[])) || verdict(Policy::Internet));
        prop_assert!(!verdict(Policy::Offline));
    }
}
