//! The gate between the guest's frames and the network stack. Every frame of the
//! guest passes here first, whatever the stack's own policy would say of it.

use std::net::IpAddr;
use std::sync::{Arc, RwLock};
use std::time::Instant;

use crate::bucket::Bucket;
use crate::counters::{Counters, Flow, add};
use crate::destination::{Denial, Protocol, Rules, destination_allowed};
use crate::frame::{self, Frame, Packet};
use crate::host_networks::HostNetworks;
use crate::reject;

/// Connections a guest may open: so many at once, then so many per second.
const OPENS: (u32, u32) = (512, 256);
/// DNS packets.
const QUESTIONS: (u32, u32) = (256, 64);
/// Echo requests: each costs a socket for up to five seconds.
const ECHOES: (u32, u32) = (32, 16);

/// The host's networks as they are now, read by the gate for every packet.
#[derive(Debug, Clone)]
pub(crate) struct SharedHost(Arc<RwLock<Arc<HostNetworks>>>);

impl SharedHost {
    pub(crate) fn new(host: HostNetworks) -> Self {
        Self(Arc::new(RwLock::new(Arc::new(host))))
    }

    pub(crate) fn set(&self, host: HostNetworks) {
        *self.0.write().unwrap_or_else(|poison| poison.into_inner()) = Arc::new(host);
    }

    pub(crate) fn get(&self) -> Arc<HostNetworks> {
        Arc::clone(&self.0.read().unwrap_or_else(|poison| poison.into_inner()))
    }
}

/// What is to be done with a frame.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Hand it to the network stack.
    Pass,
    /// Forget it.
    Drop,
    /// Forget it and send this frame to the guest, so that it need not wait.
    Answer(Vec<u8>),
}

/// Whether an allowed name resolved to an address.
pub(crate) type Named = Arc<dyn Fn(IpAddr) -> bool + Send + Sync>;

/// Judges the frames of one guest.
pub(crate) struct Filter {
    guest_mac: [u8; 6],
    rules: Rules,
    host: SharedHost,
    named: Named,
    counters: Arc<Counters>,
    opens: Bucket,
    questions: Bucket,
    echoes: Bucket,
}

impl Filter {
    pub(crate) fn new(
        guest_mac: [u8; 6],
        rules: Rules,
        host: SharedHost,
        named: Named,
        counters: Arc<Counters>,
    ) -> Self {
        let now = Instant::now();
        Self {
            guest_mac,
            rules,
            host,
            named,
            counters,
            opens: Bucket::new(OPENS, now),
            questions: Bucket::new(QUESTIONS, now),
            echoes: Bucket::new(ECHOES, now),
        }
    }

    /// Judges one frame of the guest's.
    pub(crate) fn outgoing(&mut self, frame: &[u8], now: Instant) -> Verdict {
        add(&self.counters.tx_bytes, frame.len());
        let packet = match frame::parse(frame, self.guest_mac) {
            Ok(Frame::Neighbour) => return Verdict::Pass,
            Ok(Frame::Packet(packet)) => packet,
            Err(_) => {
                add(&self.counters.malformed, 1);
                return Verdict::Drop;
            }
        };
        match self.judge(frame, &packet) {
            Ok(()) => {}
            Err(why) => {
                let Packet { ip, port, protocol, .. } = packet;
                self.counters.deny(ip, port, protocol, why);
                return match reject::answer(frame, &packet, self.guest_mac) {
                    Some(answer) => Verdict::Answer(answer),
                    None => Verdict::Drop,
                };
            }
        }
        if !self.within_limits(&packet, now) {
            add(&self.counters.limited, 1);
            return Verdict::Drop;
        }
        if packet.opens
            && let Some(flow) = flow(frame, &packet)
        {
            self.counters.open(flow);
        } else if let Some(flow) = ended_flow(frame, &packet) {
            self.counters.close(&flow);
        }
        Verdict::Pass
    }

    fn judge(&self, frame: &[u8], packet: &Packet) -> Result<(), Denial> {
        if packet.protocol == Protocol::Tcp && self.is_ssh_answer(frame, packet) {
            return Ok(());
        }
        let Packet { ip, port, protocol, .. } = *packet;
        let named = |ip| (self.named)(ip);
        destination_allowed(&self.rules, &self.host.get(), ip, port, protocol, named)
    }

    /// The guest's side of a connection that came in through the published port: from
    /// port 22, to the gateway's upper ports, never opening anything.
    fn is_ssh_answer(&self, frame: &[u8], packet: &Packet) -> bool {
        crate::is_gateway(packet.ip)
            && !packet.opens
            && packet.port.is_some_and(|port| port >= 49152)
            && frame::bytes::<2>(frame, packet.transport_at) == Ok(crate::GUEST_SSH.to_be_bytes())
    }

    fn within_limits(&mut self, packet: &Packet, now: Instant) -> bool {
        if packet.opens {
            return self.opens.take(now);
        }
        match (packet.protocol, packet.port) {
            (Protocol::Echo, _) => self.echoes.take(now),
            (Protocol::Udp, Some(53)) => self.questions.take(now),
            _ => true,
        }
    }
}

fn flow(frame: &[u8], packet: &Packet) -> Option<Flow> {
    Some(Flow {
        remote: packet.ip,
        remote_port: packet.port?,
        guest_port: u16::from_be_bytes(frame::bytes::<2>(frame, packet.transport_at).ok()?),
    })
}

/// The connection that a segment with FIN or RST ends.
fn ended_flow(frame: &[u8], packet: &Packet) -> Option<Flow> {
    let flags = *frame.get(packet.transport_at + 13)?;
    (packet.protocol == Protocol::Tcp && flags & 0x05 != 0).then(|| flow(frame, packet)).flatten()
}

/// Looks at a frame of the gateway's on its way to the guest, for the counters only.
pub(crate) fn incoming(frame: &[u8], counters: &Counters) {
    add(&counters.rx_bytes, frame.len());
    let seen = || -> Option<(Flow, u8)> {
        let (transport, remote) = match (frame.get(12..14)?, frame.get(23), frame.get(20)) {
            ([0x08, 0], Some(6), _) => (34, IpAddr::from(frame::bytes::<4>(frame, 26).ok()?)),
            ([0x86, 0xdd], _, Some(6)) => (54, IpAddr::from(frame::bytes::<16>(frame, 22).ok()?)),
            _ => return None,
        };
        let [a, b, c, d] = frame::bytes::<4>(frame, transport).ok()?;
        let flow = Flow {
            remote,
            remote_port: u16::from_be_bytes([a, b]),
            guest_port: u16::from_be_bytes([c, d]),
        };
        Some((flow, *frame.get(transport + 13)?))
    };
    if let Some((flow, flags)) = seen() {
        if flags & 0x05 != 0 {
            counters.close(&flow);
        } else if flags & 0x12 == 0x02 {
            counters.open(flow);
        }
    }
}

#[cfg(test)]
#[path = "filter_tests.rs"]
mod tests;
