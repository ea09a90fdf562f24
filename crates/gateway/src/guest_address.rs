//! The addresses on the wire between a guest and its gateway. Each wire is
//! private to one machine, so that the IP addresses are the same on all of
//! them (a resumed machine keeps them whatever its name is); the MAC address is
//! the machine's own.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::spec::GuestNetwork;

/// Guest IPv4 address. 192.0.0.0/29 is set apart for such point-to-point wires
/// (RFC 7335): no local network, container bridge or VPN uses it.
pub(crate) const GUEST_IPV4: Ipv4Addr = Ipv4Addr::new(192, 0, 0, 2);
/// Gateway IPv4 address.
pub(crate) const GATEWAY_IPV4: Ipv4Addr = Ipv4Addr::new(192, 0, 0, 1);
/// Prefix length of the IPv4 wire.
pub(crate) const IPV4_PREFIX: u8 = 30;
/// Guest IPv6 address, in a unique local network ("fd", then "Ringf" in ASCII).
pub(crate) const GUEST_IPV6: Ipv6Addr = Ipv6Addr::new(0xfd52, 0x696e, 0x6766, 0, 0, 0, 0, 2);
/// Gateway IPv6 address.
pub(crate) const GATEWAY_IPV6: Ipv6Addr = Ipv6Addr::new(0xfd52, 0x696e, 0x6766, 0, 0, 0, 0, 1);
/// Prefix length of the IPv6 wire.
pub(crate) const IPV6_PREFIX: u8 = 64;
/// Gateway MAC address, the same on every wire.
pub(crate) const GATEWAY_MAC: [u8; 6] = [0x52, 0x66, 0, 0, 0, 1];
/// Largest IP packet on the wire, in bytes. Few large packets cost an emulated guest far
/// less than many small ones; nothing behind the gateway sees this number.
pub(crate) const MTU: u16 = 16_000;

/// The guest's MAC address: locally administered, stable per machine name.
#[must_use]
pub fn guest_mac(machine: &str) -> [u8; 6] {
    // FNV-1a: needs to be stable and well spread, not secret.
    let hash = machine.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let [.., a, b, c, d] = (hash ^ (hash >> 32)).to_be_bytes();
    // 0x52 has the "locally administered" bit; 0x66 | 0x80 keeps clear of the gateway.
    [0x52, 0xe6, a, b, c, d]
}

/// A MAC address as text.
#[must_use]
pub fn mac_text(mac: [u8; 6]) -> String {
    let [a, b, c, d, e, f] = mac;
    format!("{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x}")
}

/// What the guest of `machine` has to configure.
#[must_use]
pub fn guest_network(machine: &str) -> GuestNetwork {
    GuestNetwork {
        mac: mac_text(guest_mac(machine)),
        mtu: MTU,
        ipv4: GUEST_IPV4,
        ipv4_prefix: IPV4_PREFIX,
        ipv4_gateway: GATEWAY_IPV4,
        ipv6: GUEST_IPV6,
        ipv6_prefix: IPV6_PREFIX,
        ipv6_gateway: GATEWAY_IPV6,
        dns: vec![IpAddr::V4(GATEWAY_IPV4), IpAddr::V6(GATEWAY_IPV6)],
    }
}

impl GuestNetwork {
    /// The systemd-networkd unit (`/etc/systemd/network/10-ringfence.network`, or the
    /// credential `network.network.10-ringfence`) that configures this network.
    #[must_use]
    pub fn networkd_unit(&self) -> String {
        let dns: Vec<String> = self.dns.iter().map(ToString::to_string).collect();
        format!(
            "[Match]\nMACAddress={mac}\n\n\
             [Link]\nMTUBytes={mtu}\nRequiredForOnline=no\n\n\
             [Network]\nDHCP=no\nLLMNR=no\nMulticastDNS=no\nIPv6AcceptRA=no\n\
             Address={v4}/{v4_prefix}\nAddress={v6}/{v6_prefix}\n\
             Gateway={v4_gateway}\nGateway={v6_gateway}\n\
             DNS={dns}\nDomains=~.\n",
            mac = self.mac,
            mtu = self.mtu,
            v4 = self.ipv4,
            v4_prefix = self.ipv4_prefix,
            v6 = self.ipv6,
            v6_prefix = self.ipv6_prefix,
            v4_gateway = self.ipv4_gateway,
            v6_gateway = self.ipv6_gateway,
            dns = dns.join(" "),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mac_is_stable_unicast_and_local() {
        let mac = guest_mac("shop");
        assert_eq!(mac, guest_mac("shop"));
        assert_ne!(mac, guest_mac("shop2"));
        assert_eq!(mac[0] & 3, 2, "unicast and locally administered");
        assert_ne!(mac, GATEWAY_MAC);
    }

    #[test]
    fn networkd_unit_is_complete() {
        let mut network = guest_network("shop");
        network.mac = "52:e6:00:00:00:01".to_owned();
        assert_eq!(
            network.networkd_unit(),
            "[Match]\nMACAddress=52:e6:00:00:00:01\n\n\
             [Link]\nMTUBytes=16000\nRequiredForOnline=no\n\n\
             [Network]\nDHCP=no\nLLMNR=no\nMulticastDNS=no\nIPv6AcceptRA=no\n\
             Address=192.0.0.2/30\nAddress=fd52:696e:6766::2/64\n\
             Gateway=192.0.0.1\nGateway=fd52:696e:6766::1\n\
             DNS=192.0.0.1 fd52:696e:6766::1\nDomains=~.\n"
        );
    }
}
