//! The order in which a gateway comes to life: read, open, confine, serve.

use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::net::{TcpStream, UnixListener};
use tokio::sync::Notify;

use crate::confine::{ConfineError, confine};
use crate::control::Control;
use crate::counters::Counters;
use crate::destination::Rules;
use crate::engine::{Engine, EngineError};
use crate::filter::{Filter, SharedHost};
use crate::guest_address::{guest_mac, guest_network};
use crate::host_networks::HostNetworks;
use crate::learned::Learned;
use crate::link::Link;
use crate::log;
use crate::names::NamePattern;
use crate::netlink::{Netlink, NetlinkError};
use crate::resolv_conf;
use crate::resolver::{self, Resolver};
use crate::sockets::{SocketError, listen, reserve_port};
use crate::spec::{GatewaySpec, Policy, Ready, SpecError};

/// How long the published port may take to open.
const PORT_PATIENCE: Duration = Duration::from_secs(10);

/// Why a gateway ends, other than by being told to.
#[derive(Debug, thiserror::Error)]
pub enum GatewayError {
    /// The specification.
    #[error(transparent)]
    Spec(#[from] SpecError),
    /// A socket of the gateway's own.
    #[error(transparent)]
    Socket(#[from] SocketError),
    /// The host's networks.
    #[error(transparent)]
    Netlink(#[from] NetlinkError),
    /// Confinement.
    #[error(transparent)]
    Confine(#[from] ConfineError),
    /// The network stack.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The published port did not open.
    #[error("127.0.0.1:{port} was not opened within {PORT_PATIENCE:?}")]
    Port {
        /// Which.
        port: u16,
    },
    /// Anything else the system refused.
    #[error("{what}: {source}")]
    System {
        /// What was tried.
        what: &'static str,
        /// What the system said.
        source: io::Error,
    },
}

fn system(what: &'static str) -> impl FnOnce(io::Error) -> GatewayError {
    move |source| GatewayError::System { what, source }
}

/// What was opened while files could still be opened.
struct Opened {
    link: std::os::unix::net::UnixListener,
    control: std::os::unix::net::UnixListener,
    netlink: Netlink,
    engine: Engine,
    dns: resolver::Sockets,
    resolvers: Vec<IpAddr>,
    // Holds the port until the network stack listens on it.
    reserved: OwnedFd,
    ssh_port: u16,
}

/// Runs a gateway until it is told to end: reads a [`GatewaySpec`] from `spec`, confines
/// this process for good, writes one line of [`Ready`] to `ready` and serves.
///
/// Must be called while the process has one thread. Afterwards the process cannot open
/// a file, so that it should end.
///
/// # Errors
/// When the specification is not valid, the process cannot be confined, or a socket fails.
pub fn run(spec: impl io::Read, mut ready: impl Write) -> Result<(), GatewayError> {
    let spec = GatewaySpec::read(spec)?;
    log::start();
    let opened = open(&spec)?;
    let missing = confine(spec.user, opened.ssh_port, &spec.without)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .max_blocking_threads(1)
        .enable_io()
        .enable_time()
        .build()
        .map_err(system("starting threads"))?;
    let line = Ready {
        ready: true,
        ssh_port: opened.ssh_port,
        guest: guest_network(&spec.machine),
        missing,
    };
    let result = runtime.block_on(serve(&spec, opened, || {
        let mut text = serde_json::to_vec(&line)?;
        text.push(b'\n');
        ready.write_all(&text)?;
        ready.flush()
    }));
    // Tasks of the network stack may be in the middle of anything; nobody waits for them.
    runtime.shutdown_background();
    result
}

fn open(spec: &GatewaySpec) -> Result<Opened, GatewayError> {
    // Sockets are made for their owner alone, from the first moment on.
    nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o177));
    let link = listen(&spec.link, spec.link_owner)?;
    let control = listen(&spec.control, None)?;
    let (reserved, ssh_port) = reserve_port(spec.ssh_port)?;
    let resolvers = if spec.resolvers.is_empty() {
        // A host without the file has no resolver; everything but DNS works.
        resolv_conf::resolvers(&std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default())
    } else {
        spec.resolvers.clone()
    };
    let dns = resolver::Sockets::open().map_err(system("opening a port for DNS"))?;
    let engine = Engine::new(spec, guest_mac(&spec.machine), ssh_port, dns.address)?;
    let netlink = Netlink::open()?;
    Ok(Opened { link, control, netlink, engine, dns, resolvers, reserved, ssh_port })
}

async fn serve(
    spec: &GatewaySpec,
    opened: Opened,
    ready: impl FnOnce() -> io::Result<()>,
) -> Result<(), GatewayError> {
    let host = SharedHost::new(opened.netlink.read()?);
    follow(opened.netlink, host.clone()).map_err(system("watching the host's networks"))?;
    let counters = Arc::new(Counters::default());
    let learned = Arc::new(Learned::new(allowed_names(&spec.policy)));
    let named = Arc::clone(&learned);
    let filter = Filter::new(
        guest_mac(&spec.machine),
        Rules::new(&spec.policy, &spec.host_ports),
        host,
        Arc::new(move |ip| named.contains(ip, Instant::now())),
        Arc::clone(&counters),
    );
    let resolver = Arc::new(Resolver::new(&opened.resolvers, learned));
    let asked = Arc::clone(&resolver).serve(opened.dns);
    let listener = |listener| UnixListener::from_std(listener).map_err(system("listening"));
    let (link, control) = (listener(opened.link)?, listener(opened.control)?);
    let served =
        Link::new(opened.engine, filter, Arc::clone(&counters)).map_err(system("the link"))?;
    port_opens(opened.ssh_port).await?;
    drop(opened.reserved);
    let exit = Arc::new(Notify::new());
    let answers = Arc::new(Control {
        counters,
        exit: Arc::clone(&exit),
        resolvers: Box::new(move |list| resolver.set(&list)),
    });
    ready().map_err(system("reporting that the gateway is ready"))?;
    tokio::select! {
        result = Arc::new(served).serve(link) => result.map_err(system("the link")),
        result = answers.serve(control) => result.map_err(system("the control socket")),
        result = asked => result.map_err(system("carrying DNS")),
        () = exit.notified() => Ok(()),
    }
}

fn allowed_names(policy: &Policy) -> Vec<NamePattern> {
    match policy {
        // Checked when the specification was read.
        Policy::Allowlist { names, .. } => {
            names.iter().filter_map(|name| NamePattern::parse(name).ok()).collect()
        }
        Policy::Internet | Policy::Offline | Policy::Open => Vec::new(),
    }
}

/// Waits until the network stack listens. The connection that finds out ends at once.
async fn port_opens(port: u16) -> Result<(), GatewayError> {
    let address = SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::LOCALHOST, port));
    let tries = async {
        while TcpStream::connect(address).await.is_err() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PORT_PATIENCE, tries).await.map_err(|_| GatewayError::Port { port })
}

/// Keeps the host's networks up to date, on a thread of its own. While they cannot be
/// read, nothing leaves.
fn follow(netlink: Netlink, host: SharedHost) -> io::Result<()> {
    let look = move || {
        loop {
            netlink.wait();
            host.set(netlink.read().unwrap_or_else(|error| {
                tracing::error!(%error, "nothing leaves until the host's networks are known");
                HostNetworks::unknown()
            }));
        }
    };
    std::thread::Builder::new().name("host-networks".to_owned()).spawn(look).map(drop)
}
