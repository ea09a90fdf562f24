//! A guest made of frames: just enough Ethernet to ask a gateway things.

use std::io::{Read, Write};
use std::net::Ipv4Addr;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

pub(crate) const GATEWAY: Ipv4Addr = Ipv4Addr::new(192, 0, 0, 1);
const GUEST: Ipv4Addr = Ipv4Addr::new(192, 0, 0, 2);
const GATEWAY_MAC: [u8; 6] = [0x52, 0x66, 0, 0, 0, 1];
const PATIENCE: Duration = Duration::from_secs(5);

pub(crate) struct Guest {
    pub(crate) stream: UnixStream,
    mac: [u8; 6],
    port: u16,
}

impl Guest {
    pub(crate) fn connect(link: &Path, mac: &str) -> Self {
        let mut bytes = mac.split(':').map(|byte| u8::from_str_radix(byte, 16).unwrap());
        let mac = [(); 6].map(|()| bytes.next().unwrap());
        let stream = UnixStream::connect(link).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Self { stream, mac, port: 40_000 }
    }

    pub(crate) fn send(&mut self, frame: &[u8]) {
        let length = u32::try_from(frame.len()).unwrap().to_be_bytes();
        self.stream.write_all(&[&length, frame].concat()).unwrap();
    }

    /// The first frame for which `wanted` has an answer, within the guest's patience.
    fn receive<T>(&mut self, wanted: impl Fn(&[u8]) -> Option<T>) -> Option<T> {
        let end = Instant::now() + PATIENCE;
        while Instant::now() < end {
            let mut length = [0; 4];
            self.stream.read_exact(&mut length).ok()?;
            let mut frame = vec![0; u32::from_be_bytes(length) as usize];
            self.stream.read_exact(&mut frame).ok()?;
            if let Some(found) = wanted(&frame) {
                return Some(found);
            }
        }
        None
    }

    pub(crate) fn is_closed(&mut self) -> bool {
        let mut buffer = [0; 4096];
        loop {
            match self.stream.read(&mut buffer) {
                Ok(0) => return true,
                Ok(_) => {}
                Err(error) => return error.kind() == std::io::ErrorKind::ConnectionReset,
            }
        }
    }

    fn frame(&self, to: [u8; 6], kind: [u8; 2], payload: &[u8]) -> Vec<u8> {
        [&to, &self.mac, &kind[..], payload].concat()
    }

    fn question(&self) -> Vec<u8> {
        let mut question = vec![0, 1, 8, 0, 6, 4, 0, 1];
        question.extend(self.mac);
        question.extend(GUEST.octets());
        question.extend([0; 6]);
        question.extend(GATEWAY.octets());
        self.frame([0xff; 6], [8, 6], &question)
    }

    /// Asks who has the gateway's address. The gateway learns the guest's by it, too.
    pub(crate) fn finds_gateway(&mut self) -> bool {
        let question = self.question();
        self.send(&question);
        self.receive(|frame| (frame.get(12..14)? == [8, 6] && *frame.get(21)? == 2).then_some(()))
            .is_some()
    }

    pub(crate) fn send_in_pieces(&mut self) {
        let frame = self.question();
        let length = u32::try_from(frame.len()).unwrap().to_be_bytes();
        let whole = [&length[..], &frame].concat();
        let twice = [&whole[7..], &whole, &whole[..2]].concat();
        for piece in [&whole[..2], &whole[2..7], &twice, &whole[2..]] {
            self.stream.write_all(piece).unwrap();
            std::thread::yield_now();
        }
    }

    fn ip(&self, to: Ipv4Addr, protocol: u8, payload: &[u8]) -> Vec<u8> {
        let total = u16::try_from(20 + payload.len()).unwrap().to_be_bytes();
        let mut header = vec![0x45, 0, total[0], total[1], 0, 1, 0, 0, 64, protocol, 0, 0];
        header.extend(GUEST.octets());
        header.extend(to.octets());
        let sum = checksum(&header);
        header[10..12].copy_from_slice(&sum);
        self.frame(GATEWAY_MAC, [8, 0], &[&header, payload].concat())
    }

    /// Opens a connection and tells the flags of the first segment that comes back.
    pub(crate) fn tcp_flags_after_syn(&mut self, to: Ipv4Addr, port: u16) -> u8 {
        self.port += 1;
        let mut segment = [self.port.to_be_bytes(), port.to_be_bytes()].concat();
        segment.extend([0, 0, 0, 7, 0, 0, 0, 0, 0x50, 0x02, 0xff, 0xff, 0, 0, 0, 0]);
        let pseudo = [&GUEST.octets()[..], &to.octets(), &[0, 6, 0, 20], &segment].concat();
        segment[16..18].copy_from_slice(&checksum(&pseudo));
        let frame = self.ip(to, 6, &segment);
        self.send(&frame);
        let own = self.port.to_be_bytes();
        let answer = |frame: &[u8]| {
            let ours = frame.get(23)? == &6 && frame.get(36..38)? == own;
            ours.then(|| frame.get(47).copied()).flatten()
        };
        self.receive(answer).expect("an answer to the SYN")
    }

    pub(crate) fn sees_syn_to_port(&mut self, port: u16) -> bool {
        let syn = |frame: &[u8]| {
            let tcp = frame.get(12..14)? == [8, 0] && *frame.get(23)? == 6;
            let port = frame.get(36..38)? == port.to_be_bytes();
            (tcp && port && frame.get(47)? & 0x12 == 2).then_some(())
        };
        self.receive(syn).is_some()
    }

    /// Asks the gateway for a name; the DNS message that comes back.
    pub(crate) fn dns_reply(&mut self, name: &str) -> Option<Vec<u8>> {
        let mut message = b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0".to_vec();
        for label in name.split('.') {
            message.push(u8::try_from(label.len()).unwrap());
            message.extend(label.bytes());
        }
        message.extend([0, 0, 1, 0, 1]);
        let length = u16::try_from(8 + message.len()).unwrap();
        let mut datagram = [40_053, 53, length, 0].map(u16::to_be_bytes).concat();
        datagram.extend(message);
        let frame = self.ip(GATEWAY, 17, &datagram);
        self.send(&frame);
        let reply = |frame: &[u8]| {
            let ours = *frame.get(23)? == 17 && frame.get(34..36)? == [0, 53];
            ours.then(|| frame.get(42..).map(<[u8]>::to_vec)).flatten()
        };
        self.receive(reply)
    }
}

fn checksum(bytes: &[u8]) -> [u8; 2] {
    let mut sum: u32 =
        bytes.chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    (!u16::try_from(sum).unwrap()).to_be_bytes()
}
