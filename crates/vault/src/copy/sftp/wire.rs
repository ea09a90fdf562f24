//! The words of SFTP, version 3: packets, requests, answers. Owns what is believed of a
//! server: no packet over a limit, no answer to another request, no more data than asked for.

use std::io::{self, BufWriter, Read, Write};

use super::within;
use crate::copy::Channel;

/// Longest packet that is read; servers send at most 34,000 bytes, listings up to 256 KiB.
const MAX_PACKET: u32 = 1024 * 1024;
/// Bytes in one read or write: what every server takes.
const PIECE: usize = 32 * 1024;
/// Requests that may be under way, so that a long line is kept full.
const AHEAD: usize = 32;
/// Most entries of a directory; more is no repository.
const MAX_ENTRIES: usize = 20_000_000;

const INIT: u8 = 1;
const VERSION: u8 = 2;
const OPEN: u8 = 3;
const CLOSE: u8 = 4;
const READ: u8 = 5;
const WRITE: u8 = 6;
const OPENDIR: u8 = 11;
const READDIR: u8 = 12;
const MKDIR: u8 = 14;
const STAT: u8 = 17;
const RENAME: u8 = 18;
const EXTENDED: u8 = 200;
const STATUS: u8 = 101;
const HANDLE: u8 = 102;
const DATA: u8 = 103;
const NAME: u8 = 104;
const ATTRS: u8 = 105;

const OK: u32 = 0;
const EOF: u32 = 1;
const FLAG_READ: u32 = 1;
const FLAG_WRITE_NEW: u32 = 0x2 | 0x8 | 0x10;

/// What an entry is, as far as its mode says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    File,
    Directory,
    Other,
    Unknown,
}

/// What is asked of an entry's attributes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Attributes {
    pub(super) size: Option<u64>,
    pub(super) kind: Kind,
}

/// A connection. After an error of the connection itself it is broken for good.
pub(super) struct Wire {
    from: Box<dyn Read + Send>,
    to: BufWriter<Box<dyn Write + Send>>,
    _held: Box<dyn std::any::Any + Send>,
    next: u32,
    can_sync: bool,
    can_replace: bool,
    broken: bool,
}

impl Wire {
    /// Greets the server.
    pub(super) fn begin(channel: Channel) -> io::Result<Self> {
        let mut wire = Self {
            from: channel.from,
            to: BufWriter::with_capacity(PIECE * 2, channel.to),
            _held: channel.held,
            next: 0,
            can_sync: false,
            can_replace: false,
            broken: false,
        };
        wire.to.write_all(&5u32.to_be_bytes())?;
        wire.to.write_all(&[INIT])?;
        wire.to.write_all(&3u32.to_be_bytes())?;
        wire.to.flush()?;
        let (kind, body) = wire.packet()?;
        let mut body = Body(&body);
        if kind != VERSION || body.number()? < 3 {
            return Err(nonsense());
        }
        while !body.0.is_empty() {
            let name = body.bytes()?;
            body.bytes()?;
            wire.can_sync |= name == b"fsync@openssh.com";
            wire.can_replace |= name == b"posix-rename@openssh.com";
        }
        Ok(wire)
    }

    pub(super) const fn is_broken(&self) -> bool {
        self.broken
    }

    pub(super) fn make_dir(&mut self, path: &str) -> io::Result<()> {
        let id = self.ask(MKDIR, |body| {
            put_bytes(body, path.as_bytes());
            put_mode(body, 0o700);
        })?;
        self.done(id)
    }

    pub(super) fn stat(&mut self, path: &str) -> io::Result<Attributes> {
        let id = self.ask(STAT, |body| put_bytes(body, path.as_bytes()))?;
        let body = self.expect(id, ATTRS)?;
        Body(&body[4..]).attributes()
    }

    /// Gives a file its name; a file of that name, which can only be a damaged one of the same
    /// content, is replaced where the server can do that.
    pub(super) fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
        let extended = self.can_replace;
        let id = self.ask(if extended { EXTENDED } else { RENAME }, |body| {
            if extended {
                put_bytes(body, b"posix-rename@openssh.com");
            }
            put_bytes(body, from.as_bytes());
            put_bytes(body, to.as_bytes());
        })?;
        self.done(id)
    }

    /// Calls `each` for every entry of a directory.
    pub(super) fn read_dir(
        &mut self,
        path: &str,
        each: &mut dyn FnMut(&str, Attributes),
    ) -> io::Result<()> {
        let id = self.ask(OPENDIR, |body| put_bytes(body, path.as_bytes()))?;
        let handle = self.handle(id)?;
        let mut entries = 0;
        let outcome = loop {
            let id = self.ask(READDIR, |body| put_bytes(body, &handle))?;
            let (kind, body) = self.answer(id)?;
            let mut body = Body(&body[4..]);
            match kind {
                STATUS => match status(body) {
                    Ok(()) => break Err(nonsense()),
                    Err((EOF, _)) => break Ok(()),
                    Err((_, error)) => break Err(error),
                },
                NAME => {
                    let count = body.number()? as usize;
                    entries += count;
                    if count == 0 || entries > MAX_ENTRIES {
                        break Err(nonsense());
                    }
                    for _ in 0..count {
                        let name = body.bytes()?;
                        body.bytes()?;
                        let attributes = body.attributes()?;
                        // What is no text is not ours.
                        if let Ok(name) = str::from_utf8(name) {
                            each(name, attributes);
                        }
                    }
                }
                _ => break Err(self.lost()),
            }
        };
        self.close(&handle)?;
        outcome
    }

    /// Writes a file's content to `to`; more than `limit` bytes are an error.
    pub(super) fn read(&mut self, path: &str, limit: u64, to: &mut dyn Write) -> io::Result<()> {
        let handle = self.open(path, FLAG_READ)?;
        let outcome = self.read_open(&handle, limit, to);
        if !self.broken {
            self.close(&handle)?;
        }
        outcome
    }

    fn read_open(&mut self, handle: &[u8], limit: u64, to: &mut dyn Write) -> io::Result<()> {
        let mut offset = 0u64;
        let mut asked: std::collections::VecDeque<(u32, u64)> = std::collections::VecDeque::new();
        let (mut next, mut ended) = (0u64, false);
        loop {
            while !ended && asked.len() < AHEAD && next <= limit {
                let id = self.ask_later(READ, |body| {
                    put_bytes(body, handle);
                    body.extend(next.to_be_bytes());
                    body.extend((PIECE as u32).to_be_bytes());
                })?;
                asked.push_back((id, next));
                next += PIECE as u64;
            }
            let Some((id, at)) = asked.pop_front() else { return within(offset, limit) };
            self.flush()?;
            let (kind, body) = self.answer(id)?;
            match kind {
                // What was asked for ahead, beyond the end or behind a short piece.
                _ if ended || at != offset => {}
                STATUS => match status(Body(&body[4..])) {
                    Err((EOF, _)) => ended = true,
                    Err((_, error)) => {
                        self.drain(asked)?;
                        return Err(error);
                    }
                    Ok(()) => return Err(self.lost()),
                },
                DATA => {
                    let data = Body(&body[4..]).bytes()?;
                    if data.is_empty() || data.len() > PIECE {
                        return Err(self.lost());
                    }
                    offset += data.len() as u64;
                    let written = within(offset, limit).and_then(|()| to.write_all(data));
                    if let Err(error) = written {
                        self.drain(asked)?;
                        return Err(error);
                    }
                    if data.len() < PIECE {
                        // A short piece is no end: ask from there again.
                        next = offset;
                    }
                }
                _ => return Err(self.lost()),
            }
        }
    }

    /// Hears the answers to requests whose outcome does not matter any more.
    fn drain(&mut self, asked: impl IntoIterator<Item = (u32, u64)>) -> io::Result<()> {
        for (id, _) in asked {
            self.answer(id)?;
        }
        Ok(())
    }

    /// Writes a new file, puts it on disk where the server can, and gives its length as the
    /// server says it.
    pub(super) fn write(&mut self, path: &str, from: &mut dyn Read) -> io::Result<u64> {
        let handle = self.open(path, FLAG_WRITE_NEW)?;
        let outcome = self.write_open(&handle, from);
        if !self.broken {
            self.close(&handle)?;
        }
        outcome?;
        self.stat(path)?.size.ok_or_else(nonsense)
    }

    fn write_open(&mut self, handle: &[u8], from: &mut dyn Read) -> io::Result<()> {
        let mut asked = std::collections::VecDeque::new();
        let mut piece = vec![0; PIECE];
        let mut offset = 0u64;
        let mut first = Ok(());
        loop {
            let count = match &first {
                Ok(()) => from.read(&mut piece),
                Err(_) => Ok(0),
            };
            match count {
                Ok(0) => break,
                Ok(count) => {
                    asked.push_back(self.ask_later(WRITE, |body| {
                        put_bytes(body, handle);
                        body.extend(offset.to_be_bytes());
                        put_bytes(body, &piece[..count]);
                    })?);
                    offset += count as u64;
                }
                Err(error) => {
                    first = Err(error);
                    break;
                }
            }
            if asked.len() >= AHEAD
                && let Some(id) = asked.pop_front()
            {
                first = first.and(self.done(id));
            }
        }
        for id in asked {
            let outcome = self.done(id);
            if self.broken {
                return outcome;
            }
            first = first.and(outcome);
        }
        first?;
        if self.can_sync {
            let id = self.ask(EXTENDED, |body| {
                put_bytes(body, b"fsync@openssh.com");
                put_bytes(body, handle);
            })?;
            self.done(id)?;
        }
        Ok(())
    }

    fn open(&mut self, path: &str, flags: u32) -> io::Result<Vec<u8>> {
        let id = self.ask(OPEN, |body| {
            put_bytes(body, path.as_bytes());
            body.extend(flags.to_be_bytes());
            put_mode(body, 0o600);
        })?;
        self.handle(id)
    }

    fn handle(&mut self, id: u32) -> io::Result<Vec<u8>> {
        let body = self.expect(id, HANDLE)?;
        Ok(Body(&body[4..]).bytes()?.to_vec())
    }

    fn close(&mut self, handle: &[u8]) -> io::Result<()> {
        let id = self.ask(CLOSE, |body| put_bytes(body, handle))?;
        self.done(id)
    }

    fn ask(&mut self, kind: u8, fill: impl FnOnce(&mut Vec<u8>)) -> io::Result<u32> {
        let id = self.ask_later(kind, fill)?;
        self.flush()?;
        Ok(id)
    }

    /// Puts a request into the buffer.
    fn ask_later(&mut self, kind: u8, fill: impl FnOnce(&mut Vec<u8>)) -> io::Result<u32> {
        let id = self.next;
        self.next = self.next.wrapping_add(1);
        let mut body = vec![kind];
        body.extend(id.to_be_bytes());
        fill(&mut body);
        let length = u32::try_from(body.len()).map_err(|_| nonsense())?;
        let sent = self.to.write_all(&length.to_be_bytes()).and_then(|()| self.to.write_all(&body));
        self.broken |= sent.is_err();
        sent.map(|()| id)
    }

    fn flush(&mut self) -> io::Result<()> {
        let flushed = self.to.flush();
        self.broken |= flushed.is_err();
        flushed
    }

    /// That a request was carried out.
    fn done(&mut self, id: u32) -> io::Result<()> {
        self.flush()?;
        let body = self.expect(id, STATUS)?;
        status(Body(&body[4..])).map_err(|(_, error)| error)
    }

    /// The answer of one kind; a status that says why there is none is an error.
    fn expect(&mut self, id: u32, wanted: u8) -> io::Result<Vec<u8>> {
        let (kind, body) = self.answer(id)?;
        if kind == wanted {
            return Ok(body);
        }
        match kind {
            STATUS => Err(match status(Body(&body[4..])) {
                Ok(()) => self.lost(),
                Err((_, error)) => error,
            }),
            _ => Err(self.lost()),
        }
    }

    /// The answer to a request. The server answers in the order in which it was asked, as
    /// OpenSSH's does; another order is not understood.
    fn answer(&mut self, id: u32) -> io::Result<(u8, Vec<u8>)> {
        let (kind, body) = self.packet().inspect_err(|_| self.broken = true)?;
        if Body(&body).number().ok() != Some(id) {
            return Err(self.lost());
        }
        Ok((kind, body))
    }

    fn packet(&mut self) -> io::Result<(u8, Vec<u8>)> {
        let mut length = [0; 4];
        self.from.read_exact(&mut length)?;
        let length = u32::from_be_bytes(length);
        if !(1..=MAX_PACKET).contains(&length) {
            return Err(nonsense());
        }
        let mut packet = vec![0; length as usize];
        self.from.read_exact(&mut packet)?;
        let kind = packet.remove(0);
        Ok((kind, packet))
    }

    /// The other side cannot be understood any more.
    fn lost(&mut self) -> io::Error {
        self.broken = true;
        nonsense()
    }
}

fn nonsense() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "the server does not speak SFTP as expected")
}

fn put_bytes(body: &mut Vec<u8>, bytes: &[u8]) {
    body.extend(u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_be_bytes());
    body.extend(bytes);
}

/// Attributes that hold permissions only.
fn put_mode(body: &mut Vec<u8>, mode: u32) {
    body.extend(4u32.to_be_bytes());
    body.extend(mode.to_be_bytes());
}

/// A packet's rest.
struct Body<'a>(&'a [u8]);

impl<'a> Body<'a> {
    fn take(&mut self, count: usize) -> io::Result<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or_else(nonsense)?;
        self.0 = rest;
        Ok(taken)
    }

    fn number(&mut self) -> io::Result<u32> {
        self.take(4)?.try_into().map(u32::from_be_bytes).map_err(|_| nonsense())
    }

    fn long(&mut self) -> io::Result<u64> {
        self.take(8)?.try_into().map(u64::from_be_bytes).map_err(|_| nonsense())
    }

    fn bytes(&mut self) -> io::Result<&'a [u8]> {
        let count = self.number()? as usize;
        self.take(count)
    }

    fn attributes(&mut self) -> io::Result<Attributes> {
        let flags = self.number()?;
        let size = if flags & 1 != 0 { Some(self.long()?) } else { None };
        if flags & 2 != 0 {
            self.long()?;
        }
        let kind = match flags & 4 {
            0 => Kind::Unknown,
            _ => match self.number()? & 0o170_000 {
                0o100_000 => Kind::File,
                0o040_000 => Kind::Directory,
                _ => Kind::Other,
            },
        };
        if flags & 8 != 0 {
            self.long()?;
        }
        if flags & 0x8000_0000 != 0 {
            for _ in 0..self.number()? {
                self.bytes()?;
                self.bytes()?;
            }
        }
        Ok(Attributes { size, kind })
    }
}

/// What a status says: nothing wrong, or its number and the error that it is.
fn status(mut body: Body<'_>) -> Result<(), (u32, io::Error)> {
    let code = body.number().map_err(|error| (u32::MAX, error))?;
    if code == OK {
        return Ok(());
    }
    let words = body.bytes().unwrap_or_default();
    let words: String =
        String::from_utf8_lossy(words).chars().filter(|c| !c.is_control()).take(200).collect();
    let kind = match code {
        2 => io::ErrorKind::NotFound,
        3 => io::ErrorKind::PermissionDenied,
        6 | 7 => io::ErrorKind::ConnectionAborted,
        _ => io::ErrorKind::Other,
    };
    Err((code, io::Error::new(kind, format!("the server answered {code}: {words}"))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A server whose every word is given.
    fn wire(says: Vec<u8>) -> io::Result<Wire> {
        Wire::begin(Channel {
            from: Box::new(io::Cursor::new(says)),
            to: Box::new(io::sink()),
            held: Box::new(()),
        })
    }

    fn packet(kind: u8, body: &[u8]) -> Vec<u8> {
        let mut all = (body.len() as u32 + 1).to_be_bytes().to_vec();
        all.push(kind);
        all.extend(body);
        all
    }

    proptest! {
        /// Whatever a server says ends in an answer or an error, and in no more than was asked for.
        #[test]
        fn no_server_confuses_us(noise in proptest::collection::vec(any::<u8>(), 0..300), id in 0u32..3) {
            let mut says = packet(VERSION, &3u32.to_be_bytes());
            says.extend(packet(HANDLE, &[&0u32.to_be_bytes()[..], &1u32.to_be_bytes(), b"h"].concat()));
            says.extend(packet([STATUS, DATA, NAME, ATTRS][id as usize % 4], &[&1u32.to_be_bytes()[..], &noise].concat()));
            says.extend(&noise);
            let mut out = Vec::new();
            let _ = wire(says.clone()).unwrap().read("x", 100, &mut out);
            prop_assert!(out.len() <= 100);
            let _ = wire(says.clone()).unwrap().read_dir("x", &mut |_, _| {});
            let _ = wire(says).unwrap().stat("x");
        }
    }

    #[test]
    fn a_packet_without_end_is_refused_before_it_is_read() {
        let mut says = packet(VERSION, &3u32.to_be_bytes());
        says.extend(u32::MAX.to_be_bytes());
        let mut wire = wire(says).unwrap();
        assert!(wire.stat("x").is_err());
        assert!(wire.is_broken());
        assert!(self::wire(packet(STATUS, &[0; 8])).is_err(), "no greeting");
    }
}
