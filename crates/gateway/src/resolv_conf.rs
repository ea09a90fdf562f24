//! Reads resolvers out of the text of a `resolv.conf`. Pure.

use std::net::{IpAddr, SocketAddr};

/// As many as the C library asks.
pub(crate) const MAX_RESOLVERS: usize = 3;

/// The resolvers in `text`, in order. Scoped addresses (`fe80::1%eth0`) are left out:
/// they mean nothing without their interface.
#[must_use]
pub fn resolvers(text: &str) -> Vec<IpAddr> {
    text.lines()
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            (words.next() == Some("nameserver")).then(|| words.next()?.parse().ok()).flatten()
        })
        .take(MAX_RESOLVERS)
        .collect()
}

/// Resolvers with their port.
pub(crate) fn with_port(resolvers: &[IpAddr]) -> Vec<SocketAddr> {
    resolvers.iter().take(MAX_RESOLVERS).map(|ip| SocketAddr::new(*ip, 53)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_what_the_c_library_takes() {
        let text = "# nameserver 9.9.9.9\n; nameserver 9.9.9.9\nsearch example.org\n\
                    nameserver 127.0.0.53 # stub\n\tnameserver\t2001:db8::1\n\
                    nameserver fe80::1%eth0\nnameserver nonsense\nnameserver 192.0.2.1\n\
                    nameserver 192.0.2.2\nnameservers 9.9.9.9\n";
        let found: Vec<String> = resolvers(text).iter().map(ToString::to_string).collect();
        assert_eq!(found, ["127.0.0.53", "2001:db8::1", "192.0.2.1"]);
    }
}
