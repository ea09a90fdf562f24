//! What a share and its keeper say to each other: one message a request, at most
//! one descriptor with it, over a Unix socket that keeps messages apart. Must not
//! know what either of them does with it.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};

use crate::journal::Record;

/// Longest message, in bytes.
pub(crate) const LONGEST: usize = 1 + Record::LONGEST;

/// Most connections of one share.
pub(crate) const MOST_CONNECTIONS: usize = 16;

/// What a share wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Wish {
    /// Write the record down; not answered.
    Note = 1,
    /// Keep the content of the descriptor: it is about to be overwritten.
    KeepFromWriting = 2,
    /// Keep the content of the descriptor: its last name is about to go, and the
    /// share has it open nowhere.
    KeepFromRemoval = 3,
    /// The removal that was announced failed: the file lives on.
    LivesOn = 4,
}

impl Wish {
    fn of(code: u8) -> Option<Self> {
        [Self::Note, Self::KeepFromWriting, Self::KeepFromRemoval, Self::LivesOn]
            .into_iter()
            .find(|wish| *wish as u8 == code)
    }
}

/// A message to the keeper.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) wish: Wish,
    pub(crate) record: Record,
    pub(crate) file: Option<OwnedFd>,
}

/// The keeper's answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Answer {
    /// It is kept: go ahead.
    Kept = 0,
    /// There is no room: the operation must not be carried out.
    NoSpace = 1,
    /// It could not be kept: the operation must not be carried out.
    Failed = 2,
}

/// Sends a request.
///
/// # Errors
/// The keeper is gone.
pub(crate) fn send(
    line: impl AsFd,
    wish: Wish,
    record: &Record,
    file: Option<BorrowedFd<'_>>,
) -> io::Result<()> {
    let mut message = Vec::with_capacity(512);
    message.push(wish as u8);
    record.encode(&mut message);
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let files: Vec<BorrowedFd<'_>> = file.into_iter().collect();
    if !files.is_empty() && !control.push(SendAncillaryMessage::ScmRights(&files)) {
        return Err(io::Error::other("a descriptor does not fit into a message"));
    }
    loop {
        match sendmsg(&line, &[IoSlice::new(&message)], &mut control, SendFlags::NOSIGNAL) {
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
            Ok(_) => return Ok(()),
        }
    }
}

/// Receives a request; `None` once the share is gone. `buffer` has [`LONGEST`] bytes.
///
/// # Errors
/// A message that no share of ours sends.
pub(crate) fn receive(line: impl AsFd, buffer: &mut [u8]) -> io::Result<Option<Request>> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let flags = RecvFlags::CMSG_CLOEXEC;
    let received = loop {
        match recvmsg(&line, &mut [IoSliceMut::new(buffer)], &mut control, flags) {
            Err(Errno::INTR) => {}
            Err(Errno::CONNRESET) => return Ok(None),
            other => break other?,
        }
    };
    let mut file = None;
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(files) = message {
            for received in files {
                file = Some(received);
            }
        }
    }
    if received.bytes == 0 {
        return Ok(None);
    }
    let bad = |what| Err(io::Error::new(io::ErrorKind::InvalidData, what));
    if received.flags.intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC) {
        return bad("a message that is too long");
    }
    let parsed = buffer[..received.bytes].split_first().and_then(|(code, body)| {
        let record = Record::decode(body)?;
        Some((Wish::of(*code)?, record))
    });
    let Some((wish, record)) = parsed else { return bad("a message that is none") };
    if file.is_some() == (wish == Wish::Note) {
        return bad("a descriptor too many or too few");
    }
    // What only the keeper writes into a journal.
    if !record.operation.changes() || record.object != 0 {
        return bad("a record that is not the share's to make");
    }
    Ok(Some(Request { wish, record, file }))
}

/// Answers a request.
///
/// # Errors
/// The share is gone.
pub(crate) fn answer(line: impl AsFd, answer: Answer) -> io::Result<()> {
    rustix::net::send(line, &[answer as u8], SendFlags::NOSIGNAL)?;
    Ok(())
}

/// Waits for the answer to a request.
///
/// # Errors
/// The keeper is gone, or says what no keeper of ours says.
pub(crate) fn answered(line: impl AsFd) -> io::Result<Answer> {
    let mut buffer = [0; 1];
    loop {
        match rustix::net::recv(&line, &mut buffer, RecvFlags::empty()) {
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
            Ok((1, 1)) => break,
            Ok(_) => return Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }
    [Answer::Kept, Answer::NoSpace, Answer::Failed]
        .into_iter()
        .find(|answer| *answer as u8 == buffer[0])
        .ok_or_else(|| io::Error::other("an answer that is none"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::{LONGEST_DATA, LONGEST_PATH, Operation};
    use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

    fn pair() -> (OwnedFd, OwnedFd) {
        socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).unwrap()
    }

    fn heard(line: &OwnedFd) -> io::Result<Option<Request>> {
        receive(line, &mut vec![0; LONGEST])
    }

    #[test]
    fn the_longest_record_and_a_descriptor_arrive_and_are_answered() {
        let (share, keeper) = pair();
        let record = Record {
            other: vec![b'o'; LONGEST_PATH],
            data: vec![b'd'; LONGEST_DATA],
            ..Record::new(Operation::Remove, vec![b'p'; LONGEST_PATH])
        };
        let file = tempfile::tempfile().unwrap();
        send(&share, Wish::KeepFromWriting, &record, Some(file.as_fd())).unwrap();
        let request = heard(&keeper).unwrap().unwrap();
        assert_eq!((request.wish, &request.record), (Wish::KeepFromWriting, &record));
        let same = |fd: &OwnedFd| rustix::fs::fstat(fd).unwrap().st_ino;
        assert_eq!(same(&request.file.unwrap()), same(&file.into()));
        for said in [Answer::Kept, Answer::NoSpace, Answer::Failed] {
            answer(&keeper, said).unwrap();
            assert_eq!(answered(&share).unwrap(), said);
        }
        drop(keeper);
        assert!(answered(&share).is_err());
        assert!(send(&share, Wish::Note, &record, None).is_err());
    }

    #[test]
    fn what_no_share_says_is_refused() {
        let file = tempfile::tempfile().unwrap();
        let note = Record::new(Operation::Create, b"p".to_vec());
        let refused = |wish, record: &Record, file: Option<BorrowedFd<'_>>| {
            let (share, keeper) = pair();
            send(&share, wish, record, file).unwrap();
            assert!(heard(&keeper).is_err(), "{wish:?} {record:?}");
        };
        refused(Wish::Note, &note, Some(file.as_fd()));
        refused(Wish::KeepFromRemoval, &note, None);
        refused(Wish::Note, &Record { object: 3, ..note.clone() }, None);
        for operation in [Operation::Begin, Operation::End, Operation::With] {
            refused(Wish::Note, &Record::new(operation, b"s".to_vec()), None);
        }
        for garbage in [&b"\x01"[..], b"\x09", &[1; 40], &vec![1; LONGEST + 1]] {
            let (share, keeper) = pair();
            rustix::net::send(&share, garbage, SendFlags::NOSIGNAL).unwrap();
            assert!(heard(&keeper).is_err(), "{} bytes", garbage.len());
        }
        let (share, keeper) = pair();
        drop(share);
        assert!(heard(&keeper).unwrap().is_none());
    }
}
