//! What a network may reach, and the narrower of two of them.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::profile::Network;

/// A kind of network with its list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reach {
    /// What kind of network.
    pub network: Network,
    /// Hosts and addresses that an `allowlist` names; without meaning for the others.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allow: Vec<String>,
}

impl Reach {
    /// One that holds nothing back: a rule that says nothing about networks.
    pub(crate) const EVERYTHING: Self = Self { network: Network::Open, allow: Vec::new() };

    /// A network, with the list where it needs one.
    #[must_use]
    pub fn new(network: Network, allow: &[String]) -> Self {
        let allow = if network == Network::Allowlist { allow.to_vec() } else { Vec::new() };
        Self { network, allow }
    }

    /// What both allow.
    #[must_use]
    pub fn and(&self, other: &Self) -> Self {
        let (narrow, wide) =
            if self.network <= other.network { (self, other) } else { (other, self) };
        if narrow.network != Network::Allowlist || wide.network != Network::Allowlist {
            return narrow.clone();
        }
        let covered = |entry: &&String, by: &[String]| by.iter().any(|wide| covers(wide, entry));
        let mut allow: Vec<String> = narrow
            .allow
            .iter()
            .filter(|entry| covered(entry, &wide.allow))
            .chain(wide.allow.iter().filter(|entry| covered(entry, &narrow.allow)))
            .cloned()
            .collect();
        allow.sort();
        allow.dedup();
        Self { network: Network::Allowlist, allow }
    }

    /// Whether it reaches nothing that the other does not.
    #[must_use]
    pub fn is_within(&self, other: &Self) -> bool {
        if self.network != Network::Allowlist || other.network != Network::Allowlist {
            return self.network <= other.network;
        }
        self.allow.iter().all(|entry| other.allow.iter().any(|wide| covers(wide, entry)))
    }
}

/// Whether an entry of an allow list allows all that another one does: names (`a.example`,
/// `*.example` with all below it), addresses, networks.
fn covers(wide: &str, entry: &str) -> bool {
    if let (Some((wide, bits)), Some((address, of))) = (network(wide), network(entry)) {
        return bits <= of && prefix(wide, bits) == prefix(address, bits);
    }
    let plain = |text: &str| text.trim_end_matches('.').to_ascii_lowercase();
    let (wide, entry) = (plain(wide), plain(entry));
    match wide.strip_prefix("*.") {
        None => wide == entry,
        Some(domain) => {
            let entry = entry.strip_prefix("*.").unwrap_or(&entry);
            entry.strip_suffix(domain).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
        }
    }
}

/// An address, or a network with the length of its prefix.
fn network(text: &str) -> Option<(IpAddr, u32)> {
    let (address, bits) = match text.split_once('/') {
        Some((address, bits)) => (address, Some(bits.parse().ok()?)),
        None => (text, None),
    };
    let address: IpAddr = address.parse().ok()?;
    let most = if address.is_ipv4() { 32 } else { 128 };
    Some((address, bits.unwrap_or(most))).filter(|(_, bits)| *bits <= most)
}

/// The first bits of an address, told apart by family.
fn prefix(address: IpAddr, bits: u32) -> (bool, u128) {
    let (value, most) = match address {
        IpAddr::V4(address) => (u128::from(address.to_bits()), 32),
        IpAddr::V6(address) => (address.to_bits(), 128),
    };
    (address.is_ipv4(), value.checked_shr(most - bits).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(allow: &[&str]) -> Reach {
        Reach::new(Network::Allowlist, &allow.iter().map(ToString::to_string).collect::<Vec<_>>())
    }

    #[test]
    fn the_narrower_network_counts_and_of_two_lists_what_both_name() {
        let internet = Reach::new(Network::Internet, &["a.example".into()]);
        let offline = Reach::new(Network::Offline, &[]);
        assert_eq!(internet.and(&offline), offline);
        assert_eq!(internet.and(&list(&["a.example"])), list(&["a.example"]));
        assert_eq!(Reach::EVERYTHING.and(&internet), internet);
        let ours = list(&["*.example.org", "example.net", "192.0.2.0/24", "2001:db8::1"]);
        let theirs = list(&["registry.example.org.", "Example.net", "192.0.2.7", "198.51.100.1"]);
        let both = ours.and(&theirs);
        assert_eq!(
            both.allow,
            ["192.0.2.7", "Example.net", "example.net", "registry.example.org."]
        );
        assert!(both.is_within(&ours) && both.is_within(&theirs));
        assert!(!ours.is_within(&theirs) && offline.is_within(&both) && !internet.is_within(&both));
        assert_eq!(list(&["a.example"]).and(&list(&["b.example"])), list(&[]));
    }

    #[test]
    fn entries_cover_what_lies_below_them_and_nothing_beside() {
        for (wide, entry, expected) in [
            ("*.example", "example", true),
            ("*.example", "*.a.example", true),
            ("*.example", "badexample", false),
            ("a.example", "*.a.example", false),
            ("0.0.0.0/0", "192.0.2.1", true),
            ("0.0.0.0/0", "2001:db8::1", false),
            ("192.0.2.0/25", "192.0.2.0/24", false),
            ("192.0.2.1", "192.0.2.1/32", true),
            ("2001:db8::/32", "2001:db8:1::/48", true),
            ("192.0.2.0/99", "192.0.2.1", false),
        ] {
            assert_eq!(covers(wide, entry), expected, "{wide} {entry}");
        }
    }
}
