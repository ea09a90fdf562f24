//! The network stack behind the gate: the only file that knows
//! `microsandbox-network`. It speaks ARP, TCP, UDP and ICMP with the guest and
//! opens the host's sockets. Its own policy is set here to the same rules as the
//! gate's, so that either alone would do.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::num::NonZeroUsize;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex};

use ipnet::IpNet;
use microsandbox_network::OutboundProxy;
use microsandbox_network::config::{
    ConnectionLimit, DnsConfig, EnvNetworkSecretResolver, InterfaceOverrides, NetworkConfig,
    PortProtocol, PublishedPort,
};
use microsandbox_network::dns::Nameserver;
use microsandbox_network::network::SmoltcpNetwork;
use microsandbox_network::policy::{
    Action, Destination, DestinationGroup, Direction, NetworkPolicy, PortRange,
    Protocol as StackProtocol, Rule,
};
use rustix::process::{PidfdFlags, PidfdGetfdFlags, getpid, pidfd_getfd, pidfd_open};

use crate::counters::lock;
use crate::guest_address::{GATEWAY_MAC, GUEST_IPV4, GUEST_IPV6, MTU};
use crate::names::NamePattern;
use crate::spec::{GatewaySpec, Policy};

/// TCP connections of the guest's that are carried at once.
const MAX_TCP: usize = 512;
/// UDP conversations that are carried at once.
const MAX_UDP: usize = 256;
/// Connections through the published port.
const MAX_INBOUND: usize = 64;
/// Bytes that the stack puts before a frame: a virtio-net header.
const VIRTIO_HEADER: usize = 12;
/// How long one DNS question may take, in milliseconds.
const DNS_TIMEOUT_MS: u64 = 5000;

type ToStack = Box<dyn Fn(&mut [u8]) + Send + Sync>;
type FromStack = Box<dyn Fn(&mut [u8]) -> Option<std::ops::Range<usize>> + Send + Sync>;

/// A network stack, made but not started.
pub(crate) struct Engine {
    network: SmoltcpNetwork,
    /// Takes frames of the guest's.
    pub(crate) to_stack: ToStack,
    /// Gives the next frame for the guest: where in the buffer it was put. The buffer
    /// must hold [`FRAME_BUFFER`] bytes.
    pub(crate) from_stack: FromStack,
    /// Readable when [`Self::from_stack`] has frames.
    pub(crate) wake: OwnedFd,
}

/// Bytes that one call of [`Engine::from_stack`] may need.
pub(crate) const FRAME_BUFFER: usize = crate::framing::MAX_STREAM_FRAME + VIRTIO_HEADER;

/// Why the stack could not be made.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The specification's proxy is no proxy.
    #[error("the proxy {proxy:?} cannot be used: {reason}")]
    Proxy {
        /// As given.
        proxy: String,
        /// Why not.
        reason: String,
    },
    /// An allowed name that the stack does not take.
    #[error("the allowed name {name:?} cannot be used: {reason}")]
    Name {
        /// As given.
        name: String,
        /// Why not.
        reason: String,
    },
    /// The stack refuses its configuration.
    #[error("the network stack does not start: {0}")]
    Stack(String),
    /// A system call failed.
    #[error("setting up the network stack: {0}")]
    System(#[from] std::io::Error),
}

impl Engine {
    /// Makes the stack. Opens descriptors but starts no thread, so that the process
    /// can still be confined.
    pub(crate) fn new(
        spec: &GatewaySpec,
        guest_mac: [u8; 6],
        ssh_port: u16,
        resolver: SocketAddr,
    ) -> Result<Self, EngineError> {
        let config = configuration(spec, guest_mac, ssh_port, resolver)?
            .resolve(&EnvNetworkSecretResolver)
            .map_err(|error| EngineError::Stack(error.to_string()))?;
        let mut network = SmoltcpNetwork::new(config, 0, Default::default())
            .and_then(|network| network.with_captured_gateway_mac(GATEWAY_MAC))
            .map_err(|error| EngineError::Stack(error.to_string()))?;
        let backend = network.take_backend();
        let wake = own_copy(backend.raw_socket_fd())?;
        let backend = Arc::new(Mutex::new(backend));
        let reader = Arc::clone(&backend);
        Ok(Self {
            network,
            to_stack: Box::new(move |frame| {
                // A full queue drops the frame, as a network card would.
                let _ = lock(&backend).write_frame(0, frame);
            }),
            from_stack: Box::new(move |buffer| {
                let length = lock(&reader).read_frame(buffer).ok()?;
                (length > VIRTIO_HEADER).then_some(VIRTIO_HEADER..length)
            }),
            wake,
        })
    }

    /// Starts the stack's thread and its published port.
    pub(crate) fn start(&mut self, runtime: tokio::runtime::Handle) {
        self.network.start(runtime);
    }
}

/// A descriptor of our own for one that the stack shows only as a number.
fn own_copy(number: i32) -> Result<OwnedFd, std::io::Error> {
    let own = pidfd_open(getpid(), PidfdFlags::empty())?;
    Ok(pidfd_getfd(own, number, PidfdGetfdFlags::empty())?)
}

fn configuration(
    spec: &GatewaySpec,
    guest_mac: [u8; 6],
    ssh_port: u16,
    resolver: SocketAddr,
) -> Result<NetworkConfig, EngineError> {
    let proxy = spec.proxy.as_ref().map(|text| {
        text.parse::<OutboundProxy>()
            .map_err(|error| EngineError::Proxy { proxy: text.clone(), reason: error.to_string() })
    });
    let limit = |most| NonZeroUsize::new(most).map(ConnectionLimit::Limited);
    Ok(NetworkConfig {
        interface: InterfaceOverrides {
            mac: Some(guest_mac),
            mtu: Some(MTU),
            ipv4_address: Some(GUEST_IPV4),
            ipv6_address: Some(GUEST_IPV6),
            ..InterfaceOverrides::default()
        },
        ports: vec![PublishedPort {
            host_port: ssh_port,
            guest_port: crate::GUEST_SSH,
            protocol: PortProtocol::Tcp,
            host_bind: IpAddr::V4(Ipv4Addr::LOCALHOST),
        }],
        policy: stack_policy(spec)?,
        dns: DnsConfig {
            // Documentation ranges count as private there, and are not: see safety.md.
            // What a name resolves to is judged by address when it is connected to.
            rebind_protection: false,
            nameservers: vec![Nameserver::Addr(resolver)],
            query_timeout_ms: DNS_TIMEOUT_MS,
        },
        // Allowed names may be used by any protocol; a TLS or HTTP connection that
        // names another host is refused all the same.
        strict: false,
        max_tcp_connections: limit(MAX_TCP),
        max_udp_connections: limit(MAX_UDP),
        max_inbound_tcp_connections: limit(MAX_INBOUND),
        outbound_proxy: proxy.transpose()?,
        ..NetworkConfig::default()
    })
}

fn stack_policy(spec: &GatewaySpec) -> Result<NetworkPolicy, EngineError> {
    let group = |group| Rule::allow_egress(Destination::Group(group));
    let mut rules = Vec::new();
    if !spec.host_ports.is_empty() {
        rules.push(Rule {
            direction: Direction::Egress,
            destination: Destination::Group(DestinationGroup::Host),
            protocols: vec![StackProtocol::Tcp],
            ports: spec.host_ports.iter().map(|port| PortRange::single(*port)).collect(),
            action: Action::Allow,
        });
    }
    // The gateway answers an echo under every policy.
    rules.push(Rule {
        direction: Direction::Egress,
        destination: Destination::Group(DestinationGroup::Host),
        protocols: vec![StackProtocol::Icmpv4, StackProtocol::Icmpv6],
        ports: Vec::new(),
        action: Action::Allow,
    });
    match &spec.policy {
        Policy::Offline => {}
        Policy::Internet => {
            rules.push(Rule::allow_dns());
            rules.push(group(DestinationGroup::Public));
        }
        Policy::Open => {
            rules.push(Rule::allow_dns());
            rules.push(group(DestinationGroup::Public));
            rules.push(group(DestinationGroup::Private));
            rules.push(group(DestinationGroup::LinkLocal));
        }
        Policy::Allowlist { names, addresses } => {
            // No rule for DNS as such: only questions about listed names are passed on.
            for address in addresses {
                rules.push(Rule::allow_egress(cidr(address)?));
            }
            for name in names {
                rules.push(Rule::allow_egress(named(name)?));
            }
        }
    }
    Ok(NetworkPolicy { default_egress: Action::Deny, default_ingress: Action::Allow, rules })
}

fn cidr(net: &IpNet) -> Result<Destination, EngineError> {
    // The stack's own network type is not in our reach by name, but it parses.
    let network = net
        .trunc()
        .to_string()
        .parse()
        .map_err(|_| EngineError::Stack(format!("the network {net} is not understood")))?;
    Ok(Destination::Cidr(network))
}

fn named(name: &str) -> Result<Destination, EngineError> {
    let bad = |reason: String| EngineError::Name { name: name.to_owned(), reason };
    Ok(match NamePattern::parse(name).map_err(bad)? {
        NamePattern::Exact(name) => {
            Destination::Domain(name.parse().map_err(|e| bad(format!("{e}")))?)
        }
        NamePattern::Suffix(name) => {
            Destination::DomainSuffix(name.parse().map_err(|e| bad(format!("{e}")))?)
        }
    })
}
