//! What the daemon says to a gateway and what the gateway answers: plain data,
//! read once from standard input. Nothing here touches the machine.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

/// The largest specification that is read from standard input, in bytes.
pub const MAX_SPEC_BYTES: u64 = 1 << 20;

/// Everything one gateway process needs, as one JSON object on standard input.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GatewaySpec {
    /// The machine's name; the guest's MAC address is derived from it.
    pub machine: String,
    /// Unix socket on which the gateway listens for QEMU's `-netdev stream`.
    pub link: PathBuf,
    /// Unix socket on which the gateway answers the daemon.
    pub control: PathBuf,
    /// User that owns the link socket (QEMU's, where that differs from ours).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link_owner: Option<u32>,
    /// Loopback port that leads to port 22 of the guest; 0 lets the gateway choose.
    #[serde(default)]
    pub ssh_port: u16,
    /// What the guest may reach.
    pub policy: Policy,
    /// TCP ports of the host's loopback that the guest reaches at the gateway's
    /// address. Empty unless a rule names them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub host_ports: Vec<u16>,
    /// Resolvers to ask. Empty means the host's `/etc/resolv.conf`, read at start.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub resolvers: Vec<IpAddr>,
    /// Proxy for outgoing connections: `http://IP:PORT`, `socks4://IP:PORT` or
    /// `socks5://IP:PORT`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proxy: Option<String>,
    /// User and group to become. Required when started as root.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<User>,
    /// Guards that may be missing on this host because a rule says so.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub without: Vec<Guard>,
}

/// An unprivileged identity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct User {
    /// User number, never 0.
    pub uid: u32,
    /// Group number, never 0.
    pub gid: u32,
}

/// A guard that not every host can give.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Guard {
    /// A user and mount namespace with an empty root.
    UserNamespace,
    /// Landlock: no file, no foreign socket.
    Landlock,
}

impl std::fmt::Display for Guard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::UserNamespace => "user-namespace",
            Self::Landlock => "landlock",
        })
    }
}

/// What a machine may reach.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "network", rename_all = "lowercase", deny_unknown_fields)]
pub enum Policy {
    /// The public internet; no host, no local network.
    Internet,
    /// Only what is listed.
    Allowlist {
        /// Host names (`example.org`) or suffixes (`*.example.org`, which also
        /// covers the name itself).
        #[serde(default)]
        names: Vec<String>,
        /// Networks, `192.0.2.7/32`. May lie in private ranges; the host's own
        /// addresses stay out of reach all the same.
        #[serde(default)]
        addresses: Vec<IpNet>,
    },
    /// Nothing leaves; SSH still gets in.
    Offline,
    /// Also local networks; never the host itself.
    Open,
}

/// What the guest has to configure on its network card.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GuestNetwork {
    /// Guest MAC address, `52:66:…`.
    pub mac: String,
    /// Largest IP packet, in bytes.
    pub mtu: u16,
    /// Guest IPv4 address.
    pub ipv4: Ipv4Addr,
    /// Prefix length of the IPv4 network.
    pub ipv4_prefix: u8,
    /// IPv4 router.
    pub ipv4_gateway: Ipv4Addr,
    /// Guest IPv6 address.
    pub ipv6: Ipv6Addr,
    /// Prefix length of the IPv6 network.
    pub ipv6_prefix: u8,
    /// IPv6 router.
    pub ipv6_gateway: Ipv6Addr,
    /// DNS servers, in the order in which they should be asked.
    pub dns: Vec<IpAddr>,
}

/// The one line a gateway writes to standard output, once it serves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ready {
    /// Always true.
    pub ready: bool,
    /// Loopback port that leads to port 22 of the guest.
    pub ssh_port: u16,
    /// What the guest has to configure.
    pub guest: GuestNetwork,
    /// Guards that are missing because the specification allowed it.
    pub missing: Vec<Guard>,
}

/// Why a specification is refused.
#[derive(Debug, thiserror::Error)]
pub enum SpecError {
    /// Standard input could not be read.
    #[error("reading the gateway's specification from standard input: {0}")]
    Read(#[from] std::io::Error),
    /// Not the JSON that is expected.
    #[error("the gateway's specification on standard input is not valid: {0}")]
    Parse(#[from] serde_json::Error),
    /// More than [`MAX_SPEC_BYTES`].
    #[error("the gateway's specification is larger than {MAX_SPEC_BYTES} bytes")]
    TooLarge,
    /// A value that cannot be meant.
    #[error("the gateway's specification: {field}: {reason}")]
    Value {
        /// Field in question.
        field: &'static str,
        /// What is wrong with it.
        reason: String,
    },
}

impl GatewaySpec {
    /// Reads and checks one specification, up to end of file.
    ///
    /// # Errors
    /// When reading fails, the text is too long, or a value cannot be meant.
    pub fn read(from: impl std::io::Read) -> Result<Self, SpecError> {
        let mut text = Vec::new();
        std::io::Read::read_to_end(&mut from.take(MAX_SPEC_BYTES + 1), &mut text)?;
        if text.len() as u64 > MAX_SPEC_BYTES {
            return Err(SpecError::TooLarge);
        }
        let spec: Self = serde_json::from_slice(&text)?;
        spec.check()?;
        Ok(spec)
    }

    fn check(&self) -> Result<(), SpecError> {
        let value =
            |field, reason: &str| Err(SpecError::Value { field, reason: reason.to_owned() });
        if self.machine.is_empty() {
            return value("machine", "is empty");
        }
        for (field, path) in [("link", &self.link), ("control", &self.control)] {
            if !path.is_absolute() {
                return value(field, "must be an absolute path");
            }
        }
        if self.link == self.control {
            return value("control", "must not be the link's path");
        }
        if let Some(user) = self.user
            && (user.uid == 0 || user.gid == 0)
        {
            return value("user", "root cannot run a gateway");
        }
        if self.host_ports.contains(&0) || self.host_ports.contains(&53) {
            return value("host_ports", "0 and 53 cannot be forwarded");
        }
        if let Policy::Allowlist { names, .. } = &self.policy {
            for name in names {
                crate::names::NamePattern::parse(name)
                    .map_err(|reason| SpecError::Value { field: "policy.names", reason })?;
            }
        }
        Ok(())
    }
}
