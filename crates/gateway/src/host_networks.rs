//! The host's own addresses and networks, as sets that answer "is this one of
//! them?". Pure: where the facts come from is `netlink`'s business.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

/// A set of addresses, kept as sorted ranges that do not touch.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AddressSet {
    v4: Vec<(u32, u32)>,
    v6: Vec<(u128, u128)>,
}

impl AddressSet {
    /// The union of `networks`.
    #[must_use]
    pub fn new(networks: impl IntoIterator<Item = IpNet>) -> Self {
        let mut v4 = Vec::new();
        let mut v6 = Vec::new();
        for network in networks {
            match network {
                IpNet::V4(net) => v4.push((u32::from(net.network()), u32::from(net.broadcast()))),
                IpNet::V6(net) => v6.push((u128::from(net.network()), u128::from(net.broadcast()))),
            }
        }
        Self { v4: merged(v4), v6: merged(v6) }
    }

    /// Whether `ip`, taken literally, is in the set.
    #[must_use]
    pub fn contains(&self, ip: IpAddr) -> bool {
        match ip {
            IpAddr::V4(ip) => in_ranges(&self.v4, u32::from(ip)),
            IpAddr::V6(ip) => in_ranges(&self.v6, u128::from(ip)),
        }
    }
}

fn merged<T: Ord + Copy>(mut ranges: Vec<(T, T)>) -> Vec<(T, T)> {
    ranges.sort_unstable();
    let mut out: Vec<(T, T)> = Vec::with_capacity(ranges.len());
    for (start, end) in ranges {
        match out.last_mut() {
            Some(last) if start <= last.1 => last.1 = last.1.max(end),
            _ => out.push((start, end)),
        }
    }
    out
}

fn in_ranges<T: Ord + Copy>(ranges: &[(T, T)], value: T) -> bool {
    let after = ranges.partition_point(|(start, _)| *start <= value);
    after.checked_sub(1).and_then(|index| ranges.get(index)).is_some_and(|(_, end)| value <= *end)
}

/// What the host is, and what is around it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostNetworks {
    /// Addresses that are the host itself.
    pub own: AddressSet,
    /// Networks the host reaches by anything but its default route.
    pub near: AddressSet,
    /// Set when the facts could not be read: then nothing may leave.
    pub unknown: bool,
}

impl HostNetworks {
    /// The answer while nothing is known: everything is the host.
    #[must_use]
    pub fn unknown() -> Self {
        Self { own: AddressSet::default(), near: AddressSet::default(), unknown: true }
    }

    /// From the host's addresses and from its routes, of which default routes are
    /// left out.
    #[must_use]
    pub fn new(
        own: impl IntoIterator<Item = IpNet>,
        near: impl IntoIterator<Item = IpNet>,
    ) -> Self {
        Self {
            own: AddressSet::new(own.into_iter().filter(|net| !is_default_route(net))),
            near: AddressSet::new(near.into_iter().filter(|net| !is_default_route(net))),
            unknown: false,
        }
    }
}

/// Whether a route stands for "everywhere else". VPN clients split the default
/// route in halves to outrank it, and 2000::/3 is all public IPv6; refusing those
/// would refuse the internet.
#[must_use]
pub(crate) fn is_default_route(net: &IpNet) -> bool {
    match net {
        IpNet::V4(net) => net.prefix_len() <= 1,
        IpNet::V6(net) => net.prefix_len() <= 3,
    }
}

/// The IPv4 address that an IPv6 address stands for on its way: mapped,
/// compatible, NAT64 (well-known prefix) and 6to4 forms.
#[must_use]
pub(crate) fn embedded_ipv4(ip: Ipv6Addr) -> Option<Ipv4Addr> {
    let [a, b, c, d, e, f, g, h] = ip.segments();
    let low = Ipv4Addr::from((u32::from(g) << 16) | u32::from(h));
    match (a, b, c, d, e, f) {
        // ::ffff:0:0/96, ::ffff:0:0:0/96 (SIIT) and ::/96
        (0, 0, 0, 0, 0, 0xffff | 0) | (0, 0, 0, 0, 0xffff, 0) => Some(low),
        (0x64, 0xff9b, 0, 0, 0, 0) => Some(low),
        (0x2002, high, mid, ..) => Some(Ipv4Addr::from((u32::from(high) << 16) | u32::from(mid))),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn net() -> impl Strategy<Value = IpNet> {
        prop_oneof![
            (any::<u32>(), 0u8..=32).prop_map(|(ip, len)| IpNet::new(
                Ipv4Addr::from(ip).into(),
                len
            )
            .unwrap()),
            (any::<u128>(), 0u8..=128).prop_map(|(ip, len)| IpNet::new(
                Ipv6Addr::from(ip).into(),
                len
            )
            .unwrap()),
        ]
    }

    proptest! {
        #[test]
        fn set_agrees_with_a_plain_search(
            nets in proptest::collection::vec(net(), 0..12),
            probe in any::<u128>(),
            pick in any::<prop::sample::Index>(),
            nudge in -2i8..=2,
        ) {
            let set = AddressSet::new(nets.iter().copied());
            let mut probes = vec![
                IpAddr::V6(Ipv6Addr::from(probe)),
                IpAddr::V4(Ipv4Addr::from(probe as u32)),
            ];
            if !nets.is_empty() {
                // Edges are where a range search goes wrong.
                let near = |value: u128| value.wrapping_add_signed(i128::from(nudge));
                for edge in [pick.get(&nets).network(), pick.get(&nets).broadcast()] {
                    probes.push(match edge {
                        IpAddr::V4(ip) => Ipv4Addr::from(near(u32::from(ip).into()) as u32).into(),
                        IpAddr::V6(ip) => Ipv6Addr::from(near(ip.into())).into(),
                    });
                }
            }
            for probe in probes {
                prop_assert_eq!(set.contains(probe), nets.iter().any(|net| net.contains(&probe)));
            }
        }
    }

    #[test]
    fn half_routes_are_default_routes() {
        for text in ["0.0.0.0/0", "0.0.0.0/1", "128.0.0.0/1", "::/0", "2000::/3", "8000::/1"] {
            assert!(is_default_route(&text.parse().unwrap()), "{text}");
        }
        for text in ["10.0.0.0/8", "192.0.2.0/24", "fd00::/8", "64.0.0.0/2"] {
            assert!(!is_default_route(&text.parse().unwrap()), "{text}");
        }
    }
}
