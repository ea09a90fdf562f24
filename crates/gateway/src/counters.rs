//! What a gateway has seen, in numbers: bounded whatever the guest does.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

use crate::destination::{Denial, Protocol};

/// Refused destinations that are remembered.
const MAX_DENIED: usize = 32;
/// Connections that are counted at once.
const MAX_FLOWS: usize = 4096;

/// One TCP connection, as both sides name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Flow {
    /// The other end's address.
    pub(crate) remote: IpAddr,
    /// The other end's port.
    pub(crate) remote_port: u16,
    /// The guest's port.
    pub(crate) guest_port: u16,
}

/// A destination that was refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Denied {
    /// Address that the guest asked for.
    pub address: IpAddr,
    /// Port, where the packet had one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// `tcp`, `udp` or `icmp`.
    pub protocol: String,
    /// Why, in one word.
    pub reason: String,
    /// How many packets.
    pub packets: u64,
}

/// The numbers at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// Bytes sent to the guest, in whole frames.
    pub rx_bytes: u64,
    /// Bytes sent by the guest, in whole frames, refused ones included.
    pub tx_bytes: u64,
    /// TCP connections that neither side has ended.
    pub connections_open: u64,
    /// Packets refused because of where they wanted to go.
    pub denied: u64,
    /// Frames dropped because they were malformed, spoofed or of no known kind.
    pub malformed: u64,
    /// Packets dropped because the guest sent too many of their kind.
    pub limited: u64,
    /// Frames for the guest dropped because it did not take them.
    pub lost: u64,
    /// Whether a guest is connected.
    pub linked: bool,
    /// The last refused destinations, oldest first.
    pub last_denied: Vec<Denied>,
}

/// Counters shared by the tasks of one gateway.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) rx_bytes: AtomicU64,
    pub(crate) tx_bytes: AtomicU64,
    pub(crate) malformed: AtomicU64,
    pub(crate) limited: AtomicU64,
    pub(crate) lost: AtomicU64,
    pub(crate) links: AtomicU64,
    denied: AtomicU64,
    last_denied: Mutex<VecDeque<Denied>>,
    flows: Mutex<HashMap<Flow, ()>>,
}

/// Adds to a counter.
pub(crate) fn add(counter: &AtomicU64, amount: usize) {
    counter.fetch_add(u64::try_from(amount).unwrap_or(u64::MAX), Ordering::Relaxed);
}

impl Counters {
    /// Remembers a refusal.
    pub(crate) fn deny(&self, address: IpAddr, port: Option<u16>, protocol: Protocol, why: Denial) {
        add(&self.denied, 1);
        let protocol = match protocol {
            Protocol::Tcp => "tcp",
            Protocol::Udp => "udp",
            Protocol::Echo => "icmp",
        };
        let mut list = lock(&self.last_denied);
        let same = |entry: &Denied| {
            (entry.address, entry.port) == (address, port)
                && entry.protocol == protocol
                && entry.reason == why.word()
        };
        if let Some(entry) = list.iter_mut().find(|entry| same(entry)) {
            entry.packets = entry.packets.saturating_add(1);
            return;
        }
        if list.len() == MAX_DENIED {
            list.pop_front();
        }
        list.push_back(Denied {
            address,
            port,
            protocol: protocol.to_owned(),
            reason: why.word().to_owned(),
            packets: 1,
        });
    }

    /// A connection begins.
    pub(crate) fn open(&self, flow: Flow) {
        let mut flows = lock(&self.flows);
        if flows.len() < MAX_FLOWS {
            flows.insert(flow, ());
        }
    }

    /// A connection ends.
    pub(crate) fn close(&self, flow: &Flow) {
        lock(&self.flows).remove(flow);
    }

    /// The numbers now.
    pub(crate) fn report(&self) -> Report {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Report {
            rx_bytes: read(&self.rx_bytes),
            tx_bytes: read(&self.tx_bytes),
            connections_open: u64::try_from(lock(&self.flows).len()).unwrap_or(u64::MAX),
            denied: read(&self.denied),
            malformed: read(&self.malformed),
            limited: read(&self.limited),
            lost: read(&self.lost),
            linked: read(&self.links) > 0,
            last_denied: lock(&self.last_denied).iter().cloned().collect(),
        }
    }
}

/// A lock whose holder never panics halfway; if it did, the numbers are still numbers.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    #[test]
    fn refusals_are_bounded_and_counted() {
        let counters = Counters::default();
        for n in 0..1000_u32 {
            let ip = IpAddr::V4(Ipv4Addr::from(n));
            counters.deny(ip, Some(80), Protocol::Tcp, Denial::Host);
            counters.deny(ip, Some(80), Protocol::Tcp, Denial::Host);
        }
        let report = counters.report();
        assert_eq!(report.denied, 2000);
        assert_eq!(report.last_denied.len(), MAX_DENIED);
        let last = report.last_denied.last().unwrap();
        assert_eq!((last.packets, last.address), (2, Ipv4Addr::from(999).into()));
    }

    #[test]
    fn connections_are_bounded_and_end() {
        let counters = Counters::default();
        let flow =
            |n: u32| Flow { remote: Ipv4Addr::from(n).into(), remote_port: 443, guest_port: 1 };
        for n in 0..100_000 {
            counters.open(flow(n));
        }
        assert_eq!(counters.report().connections_open, MAX_FLOWS as u64);
        for n in 0..100_000 {
            counters.close(&flow(n));
        }
        assert_eq!(counters.report().connections_open, 0);
    }
}
