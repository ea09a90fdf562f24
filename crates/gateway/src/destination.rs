//! The promise "no host, no local network", as one pure function: may a guest
//! send to this address and port? It knows nothing of frames, sockets or the
//! network stack behind it, which holds a policy of its own; both must agree.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

use crate::guest_address::{GATEWAY_IPV4, GATEWAY_IPV6};
use crate::host_networks::{AddressSet, HostNetworks, embedded_ipv4};
use crate::spec::Policy;

/// What a packet carries, as far as the decision needs it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// ICMP or ICMPv6 echo request.
    Echo,
}

/// Why a destination is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Denial {
    /// The policy lets nothing out.
    Offline,
    /// The gateway's own address, on a port where nothing is offered.
    Gateway,
    /// An address of the host.
    Host,
    /// A network that the host reaches by something else than its default route.
    HostNetwork,
    /// Loopback, unspecified, multicast, broadcast, or reserved for no use.
    NotAnAddress,
    /// Private, carrier-NAT or link-local.
    Private,
    /// A cloud's metadata service.
    Metadata,
    /// Not on the allow list.
    NotListed,
    /// The host's networks are not known at the moment.
    HostUnknown,
}

impl Denial {
    /// One word for counters and logs.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Offline => "offline",
            Self::Gateway => "gateway",
            Self::Host => "host",
            Self::HostNetwork => "host-network",
            Self::NotAnAddress => "not-an-address",
            Self::Private => "private",
            Self::Metadata => "metadata",
            Self::NotListed => "not-listed",
            Self::HostUnknown => "host-unknown",
        }
    }
}

/// A policy, made ready for many decisions.
#[derive(Debug, Clone)]
pub struct Rules {
    kind: Kind,
    host_ports: Vec<u16>,
}

#[derive(Debug, Clone)]
enum Kind {
    Internet,
    Allowlist(AddressSet),
    Offline,
    Open,
}

impl Rules {
    /// From the specification's policy; `host_ports` are the TCP ports that the
    /// gateway's address leads to on the host's loopback.
    #[must_use]
    pub fn new(policy: &Policy, host_ports: &[u16]) -> Self {
        let kind = match policy {
            Policy::Internet => Kind::Internet,
            Policy::Allowlist { addresses, .. } => {
                Kind::Allowlist(AddressSet::new(addresses.iter().map(IpNet::trunc)))
            }
            Policy::Offline => Kind::Offline,
            Policy::Open => Kind::Open,
        };
        Self { kind, host_ports: host_ports.to_vec() }
    }

    /// Whether allowed names play a part, that is: whether `named` is ever asked.
    #[must_use]
    pub fn asks_names(&self) -> bool {
        matches!(self.kind, Kind::Allowlist(_))
    }
}

/// Decides whether a guest may send to `ip` and `port`. `named` says whether an
/// allowed name resolved to an address. `port` is ignored for [`Protocol::Echo`];
/// `None` means that the packet does not show it (a later fragment).
///
/// # Errors
/// The reason of the refusal.
pub fn destination_allowed(
    rules: &Rules,
    host: &HostNetworks,
    ip: IpAddr,
    port: Option<u16>,
    protocol: Protocol,
    named: impl Fn(IpAddr) -> bool,
) -> Result<(), Denial> {
    if ip == IpAddr::V4(GATEWAY_IPV4) || ip == IpAddr::V6(GATEWAY_IPV6) {
        return gateway_allowed(rules, port, protocol);
    }
    let forms = forms(ip);
    let any = |test: &dyn Fn(IpAddr) -> bool| forms.iter().flatten().any(|form| test(*form));
    if matches!(rules.kind, Kind::Offline) {
        return Err(Denial::Offline);
    }
    if host.unknown {
        return Err(Denial::HostUnknown);
    }
    // Never, whatever the policy is.
    if any(&is_no_address) {
        return Err(Denial::NotAnAddress);
    }
    if any(&|form| host.own.contains(form)) {
        return Err(Denial::Host);
    }
    // The wire to the guest is nobody's network but ours, in every spelling.
    if any(&|form| form == IpAddr::V4(GATEWAY_IPV4) || form == IpAddr::V6(GATEWAY_IPV6)) {
        return Err(Denial::Gateway);
    }
    // A rule that names an address outranks the ranges below.
    if let Kind::Allowlist(listed) = &rules.kind
        && listed.contains(ip)
    {
        return Ok(());
    }
    if any(&is_metadata) {
        return Err(Denial::Metadata);
    }
    if matches!(rules.kind, Kind::Open) {
        return Ok(());
    }
    if any(&is_private) {
        return Err(Denial::Private);
    }
    if any(&|form| host.near.contains(form)) {
        return Err(Denial::HostNetwork);
    }
    match &rules.kind {
        Kind::Allowlist(_) if named(ip) => Ok(()),
        Kind::Allowlist(_) => Err(Denial::NotListed),
        Kind::Offline => Err(Denial::Offline),
        Kind::Internet | Kind::Open => Ok(()),
    }
}

fn gateway_allowed(rules: &Rules, port: Option<u16>, protocol: Protocol) -> Result<(), Denial> {
    let offline = matches!(rules.kind, Kind::Offline);
    match (protocol, port) {
        (Protocol::Echo, _) => Ok(()),
        (Protocol::Tcp | Protocol::Udp, Some(53)) if !offline => Ok(()),
        (Protocol::Tcp, Some(port)) if rules.host_ports.contains(&port) => Ok(()),
        _ if offline => Err(Denial::Offline),
        _ => Err(Denial::Gateway),
    }
}

/// Every address that a packet to `ip` may end at.
fn forms(ip: IpAddr) -> [Option<IpAddr>; 2] {
    let embedded = match ip {
        IpAddr::V4(_) => None,
        IpAddr::V6(ip) => embedded_ipv4(ip).map(IpAddr::V4),
    };
    [Some(ip), embedded]
}

/// Addresses that name no one machine elsewhere.
fn is_no_address(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => {
            let [first, ..] = ip.octets();
            first == 0 || first == 127 || first >= 224
        }
        IpAddr::V6(ip) => {
            let [a, b, c, d, ..] = ip.segments();
            // ::/96 covers the unspecified address, loopback and the long dead
            // IPv4-compatible forms; Teredo and local NAT64 hide where they lead.
            u128::from(ip) >> 32 == 0
                || ip.is_multicast()
                || (a, b, c, d) == (0x100, 0, 0, 0)
                || (a, b) == (0x2001, 0)
                || (a, b, c) == (0x64, 0xff9b, 1)
        }
    }
}

/// Networks that are somebody's own.
fn is_private(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => {
            let [a, b, c, _] = ip.octets();
            ip.is_private()
                || ip.is_link_local()
                || (a == 100 && b & 0xc0 == 64)
                || (a, b, c) == (192, 0, 0)
        }
        IpAddr::V6(ip) => {
            let [first, ..] = ip.segments();
            // fc00::/7, fe80::/10 and the former site-local fec0::/10.
            first & 0xfe00 == 0xfc00 || first & 0xff80 == 0xfe80
        }
    }
}

/// Services that give away a cloud machine's identity. Some sit in public ranges.
fn is_metadata(ip: IpAddr) -> bool {
    const V4: [Ipv4Addr; 6] = [
        Ipv4Addr::new(169, 254, 169, 254),
        Ipv4Addr::new(169, 254, 170, 2),
        Ipv4Addr::new(169, 254, 170, 23),
        Ipv4Addr::new(168, 63, 129, 16),
        Ipv4Addr::new(100, 100, 100, 200),
        Ipv4Addr::new(192, 0, 0, 192),
    ];
    const V6: [Ipv6Addr; 3] = [
        Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254),
        Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x23),
        Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254),
    ];
    match ip {
        IpAddr::V4(ip) => V4.contains(&ip),
        IpAddr::V6(ip) => V6.contains(&ip),
    }
}

#[cfg(test)]
#[path = "destination_tests.rs"]
mod tests;
