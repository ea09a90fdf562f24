//! Carries DNS questions from the network stack to the host's resolvers. It stands
//! between the two so that resolvers can change while machines run, questions in flight
//! are bounded, and the addresses of allowed names are known to the gate.
//!
//! It listens on loopback, where no guest gets.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::{Mutex, Semaphore};

use crate::dns_answer;
use crate::learned::Learned;
use crate::resolv_conf;

/// Questions in flight.
const MAX_QUESTIONS: usize = 128;
/// TCP conversations with the network stack, which needs one.
const MAX_CONVERSATIONS: usize = 8;
/// How long one resolver may take before the next one is asked.
const PATIENCE: Duration = Duration::from_millis(2200);
/// Longest message by UDP that is carried.
const MAX_DATAGRAM: usize = 4096;

/// The loopback sockets, opened before the process is confined.
#[derive(Debug)]
pub(crate) struct Sockets {
    udp: std::net::UdpSocket,
    tcp: std::net::TcpListener,
    /// Where both of them listen.
    pub(crate) address: SocketAddr,
}

impl Sockets {
    /// # Errors
    /// When no port is free for both protocols.
    pub(crate) fn open() -> io::Result<Self> {
        let mut last = io::Error::from(io::ErrorKind::AddrInUse);
        for _ in 0..64 {
            let udp = std::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
            let address = udp.local_addr()?;
            match std::net::TcpListener::bind(address) {
                Ok(tcp) => {
                    udp.set_nonblocking(true)?;
                    tcp.set_nonblocking(true)?;
                    return Ok(Self { udp, tcp, address });
                }
                Err(error) => last = error,
            }
        }
        Err(last)
    }
}

/// Asks the host's resolvers.
#[derive(Debug)]
pub(crate) struct Resolver {
    upstream: RwLock<Vec<SocketAddr>>,
    questions: Arc<Semaphore>,
    learned: Arc<Learned>,
}

impl Resolver {
    pub(crate) fn new(resolvers: &[IpAddr], learned: Arc<Learned>) -> Self {
        Self {
            upstream: RwLock::new(resolv_conf::with_port(resolvers)),
            questions: Arc::new(Semaphore::new(MAX_QUESTIONS)),
            learned,
        }
    }

    /// From now on these are asked.
    pub(crate) fn set(&self, resolvers: &[IpAddr]) {
        *self.upstream.write().unwrap_or_else(PoisonError::into_inner) =
            resolv_conf::with_port(resolvers);
    }

    fn upstream(&self) -> Vec<SocketAddr> {
        self.upstream.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Answers until a socket fails.
    pub(crate) async fn serve(self: Arc<Self>, sockets: Sockets) -> io::Result<()> {
        let udp = Arc::new(UdpSocket::from_std(sockets.udp)?);
        let tcp = TcpListener::from_std(sockets.tcp)?;
        tokio::select! {
            result = Arc::clone(&self).serve_udp(udp) => result,
            result = self.serve_tcp(tcp) => result,
        }
    }

    async fn serve_udp(self: Arc<Self>, socket: Arc<UdpSocket>) -> io::Result<()> {
        let mut buffer = vec![0; MAX_DATAGRAM];
        loop {
            let (length, from) = socket.recv_from(&mut buffer).await?;
            let query = buffer.get(..length).unwrap_or_default().to_vec();
            // Too many in flight. Told so, the network stack forgets the question at once.
            let Ok(slot) = Arc::clone(&self.questions).try_acquire_owned() else {
                if let Some(reply) = dns_answer::failure(&query) {
                    drop(socket.try_send_to(&reply, from));
                }
                continue;
            };
            let (resolver, socket) = (Arc::clone(&self), Arc::clone(&socket));
            tokio::spawn(async move {
                if let Some(reply) = resolver.ask(&query, Transport::Udp).await {
                    drop(socket.send_to(&reply, from).await);
                }
                drop(slot);
            });
        }
    }

    async fn serve_tcp(self: Arc<Self>, listener: TcpListener) -> io::Result<()> {
        let conversations = Arc::new(Semaphore::new(MAX_CONVERSATIONS));
        loop {
            let (stream, _) = listener.accept().await?;
            let Ok(slot) = Arc::clone(&conversations).try_acquire_owned() else {
                continue;
            };
            let resolver = Arc::clone(&self);
            tokio::spawn(async move {
                if let Err(error) = resolver.converse(stream).await {
                    tracing::debug!(%error, "DNS conversation ended");
                }
                drop(slot);
            });
        }
    }

    /// The network stack keeps its connection for good and does not open another one;
    /// so it is never closed from here, and each question gets its own way upstream.
    async fn converse(self: Arc<Self>, stream: TcpStream) -> io::Result<()> {
        let (mut read, write) = stream.into_split();
        let write = Arc::new(Mutex::new(write));
        loop {
            let query = read_message(&mut read).await?;
            let slot =
                Arc::clone(&self.questions).acquire_owned().await.map_err(io::Error::other)?;
            let (resolver, write) = (Arc::clone(&self), Arc::clone(&write));
            tokio::spawn(async move {
                if let Some(reply) = resolver.ask(&query, Transport::Tcp).await {
                    let mut write = write.lock().await;
                    drop(write_message(&mut *write, &reply).await);
                }
                drop(slot);
            });
        }
    }

    /// The first usable answer, or the news that there is none.
    async fn ask(&self, query: &[u8], transport: Transport) -> Option<Vec<u8>> {
        for upstream in self.upstream() {
            let asked = async {
                match transport {
                    Transport::Udp => ask_udp(upstream, query).await,
                    // Some resolvers speak no TCP; what fits into a datagram still comes.
                    Transport::Tcp => match ask_tcp(upstream, query).await {
                        Err(_) => ask_udp(upstream, query).await,
                        reply => reply,
                    },
                }
            };
            match tokio::time::timeout(PATIENCE, asked).await {
                Ok(Ok(reply)) => {
                    if let Some(answer) = dns_answer::parse(&reply) {
                        self.learned.learn(&answer, Instant::now());
                    }
                    return Some(reply);
                }
                Ok(Err(error)) => tracing::warn!(%upstream, %error, "resolver failed"),
                Err(_) => tracing::warn!(%upstream, "resolver does not answer"),
            }
        }
        dns_answer::failure(query)
    }
}

#[derive(Debug, Clone, Copy)]
enum Transport {
    Udp,
    Tcp,
}

async fn ask_udp(upstream: SocketAddr, query: &[u8]) -> io::Result<Vec<u8>> {
    let local: IpAddr = match upstream {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    // A port of its own for every question, chosen by the kernel.
    let socket = UdpSocket::bind((local, 0)).await?;
    socket.connect(upstream).await?;
    socket.send(query).await?;
    let mut buffer = vec![0; MAX_DATAGRAM];
    loop {
        let length = socket.recv(&mut buffer).await?;
        let reply = buffer.get(..length).unwrap_or_default();
        if dns_answer::answers(query, reply) {
            return Ok(reply.to_vec());
        }
    }
}

async fn ask_tcp(upstream: SocketAddr, query: &[u8]) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(upstream).await?;
    write_message(&mut stream, query).await?;
    let reply = read_message(&mut stream).await?;
    if dns_answer::answers(query, &reply) {
        Ok(reply)
    } else {
        Err(io::ErrorKind::InvalidData.into())
    }
}

async fn read_message(from: &mut (impl AsyncReadExt + Unpin)) -> io::Result<Vec<u8>> {
    let length = usize::from(from.read_u16().await?);
    let mut message = vec![0; length];
    from.read_exact(&mut message).await?;
    Ok(message)
}

async fn write_message(to: &mut (impl AsyncWriteExt + Unpin), message: &[u8]) -> io::Result<()> {
    let length = u16::try_from(message.len()).map_err(io::Error::other)?;
    let mut whole = length.to_be_bytes().to_vec();
    whole.extend_from_slice(message);
    to.write_all(&whole).await
}

#[cfg(test)]
#[path = "resolver_tests.rs"]
mod tests;
