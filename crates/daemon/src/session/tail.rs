//! The end of a terminal's output, kept in memory for terminals that attach later.

use std::collections::VecDeque;

use super::filter::{Filter, Questions};
use super::modes::Modes;

/// How much is kept, in bytes.
const KEPT: usize = 64 * 1024;

/// The last output of a session with a terminal.
#[derive(Debug, Default)]
pub(super) struct Tail {
    bytes: VecDeque<u8>,
    cut: bool,
}

impl Tail {
    pub(super) fn push(&mut self, bytes: &[u8]) {
        let bytes = if bytes.len() > KEPT { &bytes[bytes.len() - KEPT..] } else { bytes };
        let over = (self.bytes.len() + bytes.len()).saturating_sub(KEPT);
        if over > 0 {
            self.bytes.drain(..over);
            self.cut = true;
        }
        self.bytes.extend(bytes);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// What brings a fresh terminal to where the session's is: its modes, then the
    /// output from a line's start on, without questions.
    pub(super) fn replay(&self, modes: &Modes) -> Vec<u8> {
        let (front, back) = self.bytes.as_slices();
        let all = [front, back].concat();
        // The first line may begin in the middle of a character or a sequence.
        let start = if self.cut {
            all.iter().position(|byte| *byte == b'\n').map_or(0, |at| at + 1)
        } else {
            0
        };
        let mut output = modes.enter();
        Filter::new(Questions::Drop).push(&all[start..], &mut output);
        output
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_output_comes_back_whole_and_a_long_one_from_a_line_on() {
        let mut tail = Tail::default();
        assert!(tail.is_empty());
        tail.push(b"one\x1b[6n\r\ntwo");
        assert_eq!(tail.replay(&Modes::default()), b"one\r\ntwo");
        for number in 0..40_000 {
            tail.push(format!("line {number}\n").as_bytes());
        }
        let replay = tail.replay(&Modes::default());
        assert!(replay.len() <= KEPT && replay.len() > KEPT - 100, "{}", replay.len());
        assert!(replay.starts_with(b"line ") && replay.ends_with(b"line 39999\n"));
        tail.push(&vec![b'x'; KEPT * 2]);
        assert_eq!(tail.replay(&Modes::default()).len(), KEPT);
    }
}
