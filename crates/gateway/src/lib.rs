//! A machine's whole network, as one unprivileged, confined process.
//!
//! The guest's network card is a stream of frames from QEMU. Every frame passes
//! [`destination_allowed`] (no host, no local network, whatever the policy) and a
//! network stack in user space that opens the sockets of the host. SSH gets in by one
//! port on the host's loopback.
//!
//! This crate parses bytes of a hostile guest. It must not contain the daemon, must
//! not read or write files once it serves, and must not decide what a policy is.

mod bucket;
mod confine;
mod control;
mod counters;
mod destination;
mod dns_answer;
mod engine;
mod filter;
mod frame;
mod framing;
mod guest_address;
mod host_networks;
mod learned;
mod link;
mod log;
mod names;
mod netlink;
mod process;
mod reject;
mod resolv_conf;
mod resolver;
mod seccomp;
mod sockets;
mod spec;
#[cfg(test)]
mod test_frames;

pub use confine::ConfineError;
pub use control::{Reply, Request};
pub use counters::{Denied, Report};
pub use destination::{Denial, Protocol, Rules, destination_allowed};
pub use engine::EngineError;
pub use guest_address::{guest_mac, guest_network, mac_text};
pub use host_networks::{AddressSet, HostNetworks};
pub use netlink::NetlinkError;
pub use process::{GatewayError, run};
pub use resolv_conf::resolvers;
pub use spec::{GatewaySpec, Guard, GuestNetwork, MAX_SPEC_BYTES, Policy, Ready, SpecError, User};

/// The guest's port that the published port leads to.
pub(crate) const GUEST_SSH: u16 = 22;

/// Whether an address is the gateway's own on the wire.
pub(crate) fn is_gateway(ip: std::net::IpAddr) -> bool {
    ip == guest_address::GATEWAY_IPV4 || ip == guest_address::GATEWAY_IPV6
}
