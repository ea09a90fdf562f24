//! Reads addresses out of a DNS answer. Pure and total: the bytes come from a resolver
//! that passes on what strangers wrote.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Records that are looked at, at most.
const MAX_RECORDS: usize = 256;

/// What an answer says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    /// The name that was asked for, lower case, without the final dot.
    pub(crate) name: String,
    /// Addresses, each with its time to live in seconds.
    pub(crate) addresses: Vec<(IpAddr, u32)>,
}

/// Reads an answer without error to one question; anything else is `None`.
pub(crate) fn parse(message: &[u8]) -> Option<Answer> {
    let [_, _, flags_high, flags_low, q0, q1, a0, a1] = *message.first_chunk()?;
    let is_answer = flags_high & 0x80 != 0 && flags_low & 0x0f == 0;
    if !is_answer || [q0, q1] != [0, 1] {
        return None;
    }
    let (name, at) = question_name(message, 12)?;
    let mut at = at.checked_add(4)?;
    let mut addresses = Vec::new();
    let count = usize::from(u16::from_be_bytes([a0, a1])).min(MAX_RECORDS);
    for _ in 0..count {
        at = skip_name(message, at)?;
        let [t0, t1, c0, c1, l0, l1, l2, l3, d0, d1] = *message.get(at..)?.first_chunk()?;
        let length = usize::from(u16::from_be_bytes([d0, d1]));
        let data = message.get(at + 10..at + 10 + length)?;
        at += 10 + length;
        let ip = match (u16::from_be_bytes([t0, t1]), [c0, c1]) {
            (1, [0, 1]) => <[u8; 4]>::try_from(data).ok().map(|ip| Ipv4Addr::from(ip).into()),
            (28, [0, 1]) => <[u8; 16]>::try_from(data).ok().map(|ip| Ipv6Addr::from(ip).into()),
            _ => None,
        };
        let ttl = u32::from_be_bytes([l0, l1, l2, l3]);
        addresses.extend(ip.map(|ip: IpAddr| (ip, ttl)));
    }
    Some(Answer { name, addresses })
}

/// Whether `reply` is to the question in `query`: same number, same words.
pub(crate) fn answers(query: &[u8], reply: &[u8]) -> bool {
    let question = |message: &[u8]| -> Option<([u8; 2], String, [u8; 4])> {
        let (name, at) = question_name(message, 12)?;
        Some((*message.first_chunk()?, name, *message.get(at..)?.first_chunk()?))
    };
    match question(query) {
        Some(asked) => question(reply) == Some(asked),
        None => false,
    }
}

/// "Server failure" in reply to `query`, so that a program in the guest need not wait.
pub(crate) fn failure(query: &[u8]) -> Option<Vec<u8>> {
    let (_, end) = question_name(query, 12)?;
    let mut reply = query.get(..end + 4)?.to_vec();
    let header = reply.first_chunk_mut::<12>()?;
    // An answer, recursion as it was asked for and available, SERVFAIL.
    header[2] = 0x80 | (header[2] & 0x79);
    header[3] = 0x82;
    header[4..].copy_from_slice(&[0, 1, 0, 0, 0, 0, 0, 0]);
    Some(reply)
}

/// The name at `at`, which a question never compresses, and where it ends.
fn question_name(message: &[u8], mut at: usize) -> Option<(String, usize)> {
    let mut name = String::new();
    loop {
        let length = usize::from(*message.get(at)?);
        at += 1;
        if length == 0 {
            return Some((name, at));
        }
        if length > 63 || name.len() > 255 {
            return None;
        }
        if !name.is_empty() {
            name.push('.');
        }
        for byte in message.get(at..at + length)? {
            // Other bytes never match a name on a list.
            name.push(char::from(byte.to_ascii_lowercase()));
        }
        at += length;
    }
}

fn skip_name(message: &[u8], mut at: usize) -> Option<usize> {
    loop {
        let length = usize::from(*message.get(at)?);
        match length {
            0 => return Some(at + 1),
            1..=63 => at += 1 + length,
            0xc0.. => return Some(at + 2),
            _ => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ANSWER: &[u8] = b"\x12\x34\x81\x80\0\x01\0\x03\0\0\0\0\x07eXample\x03org\0\0\x01\0\x01\
        \xc0\x0c\0\x05\0\x01\0\0\0\x3c\0\x06\x03www\xc0\x0c\
        \xc0\x29\0\x01\0\x01\0\0\0\x3c\0\x04\x05\x06\x07\x08\
        \xc0\x29\0\x1c\0\x01\0\0\0\x01\0\x10\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x01";

    #[test]
    fn addresses_behind_an_alias_are_found() {
        let answer = parse(ANSWER).unwrap();
        assert_eq!(answer.name, "example.org");
        assert_eq!(
            answer.addresses,
            [("5.6.7.8".parse().unwrap(), 60), ("2001:db8::1".parse().unwrap(), 1)]
        );
    }

    #[test]
    fn a_reply_must_fit_its_question() {
        let query = b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x07example\x03org\0\0\x01\0\x01";
        assert!(answers(query, ANSWER));
        let mut other = query.to_vec();
        other[1] = 0x35;
        assert!(!answers(&other, ANSWER));
        other = query.to_vec();
        other[13] = b'X';
        assert!(!answers(&other, ANSWER));
        assert!(!answers(b"", b""));
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..512)) {
            let _ = parse(&bytes);
            let _ = answers(&bytes, &bytes);
            if let Some(reply) = failure(&bytes) {
                prop_assert!(answers(&bytes, &reply));
                prop_assert_eq!(parse(&reply), None);
            }
        }

        #[test]
        fn damaged_answers_are_survived(at in 0..ANSWER.len(), byte in any::<u8>(), cut in 0..=ANSWER.len()) {
            let mut bytes = ANSWER.to_vec();
            bytes[at] = byte;
            bytes.truncate(cut);
            let _ = parse(&bytes);
        }
    }
}
