//! What a session's terminal may say to the person's terminal: a streaming filter.
//!
//! Owns: taking control sequences out of a byte stream that could type for the person
//! (answer-backs), write their clipboard, rename their window, print, or switch the
//! terminal into a mode in which this filter would read the stream differently than the
//! terminal does. Which sequences pass is in [`allow`]: a list of what is let through,
//! so that an unknown sequence is dropped. Must not: do I/O, or be used where there is
//! no terminal.
//!
//! A sequence is held until it is complete and then passed on whole or not at all;
//! terminals disagree about what a sequence interrupted by a control character means.
//! Text passes unchanged and at once, at whatever byte the stream is split. A raw or
//! UTF-8 encoded C1 control (0x80–0x9f outside of a character) is a second spelling of
//! `ESC` plus a letter that no program needs: it is dropped.

mod allow;
#[cfg(test)]
mod tests;

/// Longest parameters of a `CSI` sequence.
const MAX_CSI: usize = 256;
/// Longest operating system command; a hyperlink's address is the longest one of use.
const MAX_OSC: usize = 4096;

const BEL: u8 = 0x07;
const CANCEL: u8 = 0x18;
const SUBSTITUTE: u8 = 0x1a;
const ESC: u8 = 0x1b;
const ENQUIRY: u8 = 0x05;

/// Whether questions to the terminal pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Questions {
    /// Live output: the harmless ones pass (see [`allow`]), because full-screen
    /// programs wait for the answers.
    Pass,
    /// Replayed output: nobody waits any more, and the answers would be typed.
    Drop,
}

/// The filter's state between two pieces of the stream.
#[derive(Debug)]
pub(super) struct Filter {
    questions: Questions,
    state: State,
    held: Vec<u8>,
    modes: crate::session::modes::Modes,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Text.
    Ground,
    /// Inside a UTF-8 character: this many bytes to come, the next one in this range.
    Character { left: u8, low: u8, high: u8 },
    /// After `0xc2`, which is held: a C1 control or a character.
    MaybeC1,
    /// After `ESC`.
    Escape,
    /// After `ESC` and intermediate bytes.
    EscapeMore,
    /// In a `CSI` sequence.
    Csi,
    /// In a `CSI` sequence that will be dropped.
    CsiLost,
    /// In an operating system command.
    Osc,
    /// In an operating system command that will be dropped.
    OscLost,
    /// After `ESC` in an operating system command that may pass.
    OscEscape,
    /// In a device control, privacy, title or application string: dropped.
    Lost,
}

impl Filter {
    /// A filter at the start of a stream.
    #[must_use]
    pub(in crate::session) fn new(questions: Questions) -> Self {
        Self {
            questions,
            state: State::Ground,
            held: Vec::new(),
            modes: crate::session::modes::Modes::default(),
        }
    }

    /// Appends what passes of `input` to `output`. Never fails, never grows.
    pub(in crate::session) fn push(&mut self, input: &[u8], output: &mut Vec<u8>) {
        for &byte in input {
            self.step(byte, output);
        }
    }

    /// The lasting modes that the stream has switched on so far.
    #[must_use]
    pub(in crate::session) fn modes(&self) -> &crate::session::modes::Modes {
        &self.modes
    }

    fn step(&mut self, byte: u8, output: &mut Vec<u8>) {
        match self.state {
            State::Ground => self.ground(byte, output),
            State::Character { left, low, high } => {
                if (low..=high).contains(&byte) {
                    output.push(byte);
                    self.state = if left > 1 { continuation(left - 1) } else { State::Ground };
                } else {
                    self.ground(byte, output);
                }
            }
            State::MaybeC1 => match byte {
                0x80..=0x9f => self.state = State::Ground,
                _ => {
                    output.push(0xc2);
                    self.state = State::Character { left: 1, low: 0xa0, high: 0xbf };
                    self.step(byte, output);
                }
            },
            State::Escape | State::EscapeMore => self.escape(byte, output),
            State::Csi | State::CsiLost => self.csi(byte, output),
            State::Osc | State::OscLost | State::OscEscape => self.osc(byte, output),
            State::Lost => match byte {
                ESC => self.start(State::Escape),
                CANCEL | SUBSTITUTE => self.state = State::Ground,
                _ => {}
            },
        }
    }

    fn ground(&mut self, byte: u8, output: &mut Vec<u8>) {
        self.state = match byte {
            ESC => return self.start(State::Escape),
            // A raw C1 control, or a piece of no character.
            0x80..=0x9f | ENQUIRY => State::Ground,
            0xc2 => State::MaybeC1,
            _ => {
                output.push(byte);
                lead(byte)
            }
        };
    }

    fn start(&mut self, state: State) {
        self.held.clear();
        self.state = state;
    }

    fn escape(&mut self, byte: u8, output: &mut Vec<u8>) {
        match byte {
            ESC => self.start(State::Escape),
            CANCEL | SUBSTITUTE => self.state = State::Ground,
            // Terminals obey these in the middle of a sequence.
            0x00..=0x1f => output.extend((byte != ENQUIRY).then_some(byte)),
            0x20..=0x2f => {
                if self.held.len() < 4 {
                    self.held.push(byte);
                }
                self.state = State::EscapeMore;
            }
            _ if byte >= 0x7f => {
                self.state = State::Ground;
                if byte != 0x7f {
                    self.ground(byte, output);
                }
            }
            b'[' if self.state == State::Escape => self.start(State::Csi),
            b']' if self.state == State::Escape => self.start(State::Osc),
            b'P' | b'X' | b'^' | b'_' | b'k' if self.state == State::Escape => {
                self.start(State::Lost);
            }
            _ => {
                if allow::escape(&self.held, byte) {
                    if self.held.is_empty() && byte == b'c' {
                        self.modes.reset();
                    }
                    output.push(ESC);
                    output.extend_from_slice(&self.held);
                    output.push(byte);
                }
                self.state = State::Ground;
            }
        }
    }

    fn csi(&mut self, byte: u8, output: &mut Vec<u8>) {
        match byte {
            ESC => self.start(State::Escape),
            CANCEL | SUBSTITUTE => self.state = State::Ground,
            0x00..=0x1f => output.extend((byte != ENQUIRY).then_some(byte)),
            0x20..=0x3f => {
                if self.held.len() < MAX_CSI {
                    self.held.push(byte);
                } else {
                    self.state = State::CsiLost;
                }
            }
            0x40..=0x7e => {
                if self.state == State::Csi && allow::csi(&self.held, byte, self.questions) {
                    self.modes.csi(&self.held, byte);
                    output.extend_from_slice(b"\x1b[");
                    output.extend_from_slice(&self.held);
                    output.push(byte);
                }
                self.state = State::Ground;
            }
            0x7f => {}
            _ => {
                self.state = State::Ground;
                self.ground(byte, output);
            }
        }
    }

    fn osc(&mut self, byte: u8, output: &mut Vec<u8>) {
        match byte {
            b'\\' if self.state == State::OscEscape => self.osc_end(b"\x1b\\", output),
            _ if self.state == State::OscEscape => {
                // Not a terminator: the command is void, and this is another sequence.
                self.start(State::Escape);
                self.step(byte, output);
            }
            BEL if self.state == State::Osc => self.osc_end(b"\x07", output),
            BEL | CANCEL | SUBSTITUTE => self.state = State::Ground,
            ESC if self.state == State::Osc => self.state = State::OscEscape,
            ESC => self.start(State::Escape),
            // A line's end in a command: it was never one, or never ends. Let text go on.
            b'\n' | b'\r' => {
                self.state = State::Ground;
                output.push(byte);
            }
            // C1 controls in either spelling end a command in some terminals.
            0x00..=0x1f | 0x7f..=0x9f => self.state = State::OscLost,
            _ if self.held.len() < MAX_OSC => self.held.push(byte),
            _ => self.state = State::OscLost,
        }
    }

    fn osc_end(&mut self, terminator: &[u8], output: &mut Vec<u8>) {
        if allow::osc(&self.held) {
            output.extend_from_slice(b"\x1b]");
            output.extend_from_slice(&self.held);
            output.extend_from_slice(terminator);
        }
        self.state = State::Ground;
    }

    /// Bytes held back, for the bound that the tests check.
    #[cfg(test)]
    fn held(&self) -> usize {
        self.held.capacity()
    }
}

/// The state after the first byte of a character. Only well-formed UTF-8 counts, so
/// that an overlong spelling of a control never reaches a lenient terminal.
const fn lead(byte: u8) -> State {
    let (left, low, high) = match byte {
        0xc3..=0xdf => (1, 0x80, 0xbf),
        0xe0 => (2, 0xa0, 0xbf),
        0xed => (2, 0x80, 0x9f),
        0xe1..=0xef => (2, 0x80, 0xbf),
        0xf0 => (3, 0x90, 0xbf),
        0xf1..=0xf3 => (3, 0x80, 0xbf),
        0xf4 => (3, 0x80, 0x8f),
        _ => return State::Ground,
    };
    State::Character { left, low, high }
}

const fn continuation(left: u8) -> State {
    State::Character { left, low: 0x80, high: 0xbf }
}
