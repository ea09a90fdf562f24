//! QEMU's stream framing: four bytes of length, most significant first, then the
//! frame. Pure; the guest chooses lengths and where reads are split.

/// Longest frame that is taken off the stream. QEMU itself refuses longer ones; a
/// larger number means that the two sides have lost step.
pub(crate) const MAX_STREAM_FRAME: usize = 4096 + 65536;

/// A length that cannot be meant: the stream is of no use any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a frame of {0} bytes was announced, more than {MAX_STREAM_FRAME}")]
pub(crate) struct Oversize(pub(crate) u32);

/// Puts a stream together into frames.
#[derive(Debug, Default)]
pub(crate) struct Deframer {
    buffer: Vec<u8>,
    start: usize,
}

impl Deframer {
    /// Room for more bytes, at least `least` of them; [`Self::filled`] says how many came.
    pub(crate) fn room(&mut self, least: usize) -> &mut Vec<u8> {
        self.buffer.drain(..self.start);
        self.start = 0;
        self.buffer.reserve(least);
        &mut self.buffer
    }

    /// The next whole frame, if it is there.
    pub(crate) fn next(&mut self) -> Result<Option<&mut [u8]>, Oversize> {
        let rest = self.buffer.get(self.start..).unwrap_or_default();
        let Some(header) = rest.first_chunk::<4>() else {
            return Ok(None);
        };
        let announced = u32::from_be_bytes(*header);
        let length = usize::try_from(announced).unwrap_or(usize::MAX);
        if length > MAX_STREAM_FRAME {
            return Err(Oversize(announced));
        }
        if rest.len() < 4 + length {
            return Ok(None);
        }
        let at = self.start + 4;
        self.start = at + length;
        Ok(self.buffer.get_mut(at..at + length))
    }
}

/// Appends one frame to a stream.
pub(crate) fn append(stream: &mut Vec<u8>, frame: &[u8]) {
    let Ok(length) = u32::try_from(frame.len()) else {
        return;
    };
    stream.extend_from_slice(&length.to_be_bytes());
    stream.extend_from_slice(frame);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn frames_survive_any_split(
            frames in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..200), 0..20),
            cuts in proptest::collection::vec(1usize..50, 1..400),
        ) {
            let mut stream = Vec::new();
            for frame in &frames {
                append(&mut stream, frame);
            }
            let mut deframer = Deframer::default();
            let mut seen = Vec::new();
            let mut rest = stream.as_slice();
            let mut cuts = cuts.into_iter().cycle();
            while !rest.is_empty() {
                let (now, later) = rest.split_at(cuts.next().unwrap().min(rest.len()));
                deframer.room(64).extend_from_slice(now);
                rest = later;
                while let Some(frame) = deframer.next().unwrap() {
                    seen.push(frame.to_vec());
                }
            }
            prop_assert_eq!(seen, frames);
        }

        #[test]
        fn arbitrary_bytes_end_or_wait(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let mut deframer = Deframer::default();
            deframer.room(0).extend_from_slice(&bytes);
            let mut frames = 0;
            while let Ok(Some(_)) = deframer.next() {
                frames += 1;
                prop_assert!(frames <= bytes.len());
            }
        }
    }

    #[test]
    fn oversize_is_told_before_it_is_waited_for() {
        let mut deframer = Deframer::default();
        deframer.room(0).extend_from_slice(&u32::MAX.to_be_bytes());
        assert_eq!(deframer.next(), Err(Oversize(u32::MAX)));
    }
}
