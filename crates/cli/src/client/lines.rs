//! Cuts a stream of bytes into lines, however the bytes arrive. Pure.

/// Bytes of which not every line is complete.
#[derive(Debug, Default)]
pub struct Lines {
    bytes: Vec<u8>,
    /// Everything before it was handed out.
    start: usize,
    /// Everything before it is known to hold no newline.
    searched: usize,
}

impl Lines {
    /// Adds what has arrived.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.start > 0 {
            self.bytes.drain(..self.start);
            self.searched -= self.start;
            self.start = 0;
        }
        self.bytes.extend_from_slice(bytes);
    }

    /// The next complete line, without its newline.
    pub fn next_line(&mut self) -> Option<Vec<u8>> {
        let Some(offset) = self.bytes[self.searched..].iter().position(|byte| *byte == b'\n')
        else {
            self.searched = self.bytes.len();
            return None;
        };
        let end = self.searched + offset;
        let line = self.bytes[self.start..end].to_vec();
        self.start = end + 1;
        self.searched = self.start;
        Some(line)
    }

    /// What came after the last newline.
    #[must_use]
    pub fn rest(&self) -> &[u8] {
        &self.bytes[self.start..]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// The lines are the same, wherever the stream is cut.
        #[test]
        fn cuts_do_not_matter(text in "[ab\n]{0,60}", cuts in proptest::collection::vec(1..7usize, 1..60)) {
            let mut lines = Lines::default();
            let mut seen = Vec::new();
            let mut rest = text.as_bytes();
            for cut in cuts.iter().cycle() {
                if rest.is_empty() { break; }
                let (now, later) = rest.split_at((*cut).min(rest.len()));
                lines.push(now);
                rest = later;
                while let Some(line) = lines.next_line() { seen.push(line); }
            }
            let mut expected: Vec<Vec<u8>> =
                text.split('\n').map(|line| line.as_bytes().to_vec()).collect();
            let rest = expected.pop().unwrap_or_default();
            prop_assert_eq!(seen, expected);
            prop_assert_eq!(lines.rest(), rest);
        }
    }
}
