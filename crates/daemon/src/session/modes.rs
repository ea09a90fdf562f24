//! The lasting modes of a session's terminal: what an attaching terminal must be told
//! before it sees the end of the output, and what must be undone when the session ends.
//!
//! Must not: do I/O. Knows only modes that outlive the program that switched them on.

use std::collections::BTreeSet;

/// Private modes that are off in a fresh terminal: cursor keys, mouse, focus, alternate
/// screens, bracketed paste, synchronised output, colour scheme and size reports.
const OFF_BY_DEFAULT: [u16; 17] =
    [1, 47, 1000, 1002, 1003, 1004, 1005, 1006, 1015, 1016, 1047, 1049, 2004, 2026, 2031, 2048, 9];
/// Private modes that are on in a fresh terminal: wrapping and the cursor.
const ON_BY_DEFAULT: [u16; 2] = [7, 25];
/// Deepest stack of keyboard modes that is believed.
const MAX_KEYBOARD: u32 = 16;

/// Which of them differ from a fresh terminal.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Modes {
    changed: BTreeSet<u16>,
    keyboard: u32,
    keypad: bool,
}

impl Modes {
    /// Takes note of a `CSI` sequence that passed.
    pub(super) fn csi(&mut self, held: &[u8], last: u8) {
        match (held, last) {
            ([b'?', numbers @ ..], b'h' | b'l') => {
                for number in numbers.split(|byte| *byte == b';') {
                    let text = std::str::from_utf8(number).unwrap_or_default();
                    if let Ok(mode) = text.parse() {
                        self.private(mode, last == b'h');
                    }
                }
            }
            (b"!", b'p') => self.reset(),
            ([b'>', ..], b'u') => self.keyboard = (self.keyboard + 1).min(MAX_KEYBOARD),
            ([b'<', count @ ..], b'u') => {
                let text = std::str::from_utf8(count).unwrap_or_default();
                self.keyboard = self.keyboard.saturating_sub(text.parse().unwrap_or(1));
            }
            ([b'>', b'4', b';', level @ ..], b'm') => self.keypad = !matches!(level, b"" | b"0"),
            (b">4" | b">", b'm') => self.keypad = false,
            _ => {}
        }
    }

    /// The terminal was reset.
    pub(super) fn reset(&mut self) {
        *self = Self::default();
    }

    fn private(&mut self, mode: u16, on: bool) {
        let usual = ON_BY_DEFAULT.contains(&mode);
        if !usual && !OFF_BY_DEFAULT.contains(&mode) {
            return;
        }
        if on == usual {
            self.changed.remove(&mode);
        } else {
            self.changed.insert(mode);
        }
    }

    /// What brings a fresh terminal into these modes.
    #[must_use]
    pub(super) fn enter(&self) -> Vec<u8> {
        self.spell(true)
    }

    /// What brings a terminal out of these modes.
    #[must_use]
    pub(super) fn leave(&self) -> Vec<u8> {
        let mut out = self.spell(false);
        if !out.is_empty() {
            out.extend_from_slice(b"\x1b[m");
        }
        out
    }

    fn spell(&self, enter: bool) -> Vec<u8> {
        let mut out = String::new();
        for mode in &self.changed {
            let on = ON_BY_DEFAULT.contains(mode) != enter;
            out.push_str(&format!("\x1b[?{mode}{}", if on { 'h' } else { 'l' }));
        }
        if self.keypad {
            out.push_str(if enter { "\x1b[>4;2m" } else { "\x1b[>4m" });
        }
        if self.keyboard > 0 && !enter {
            out.push_str(&format!("\x1b[<{}u", self.keyboard));
        }
        out.into_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_screen_program_is_entered_and_left() {
        let mut modes = Modes::default();
        for held in ["?1049", "?1000;1006", "?2004", "?12"] {
            modes.csi(held.as_bytes(), b'h');
        }
        modes.csi(b"?25", b'l');
        modes.csi(b">1", b'u');
        assert_eq!(
            modes.enter(),
            b"\x1b[?25l\x1b[?1000h\x1b[?1006h\x1b[?1049h\x1b[?2004h".to_vec()
        );
        assert_eq!(
            modes.leave(),
            b"\x1b[?25h\x1b[?1000l\x1b[?1006l\x1b[?1049l\x1b[?2004l\x1b[<1u\x1b[m".to_vec()
        );
        for held in ["?1049", "?1000;1006", "?2004"] {
            modes.csi(held.as_bytes(), b'l');
        }
        modes.csi(b"?25", b'h');
        modes.csi(b"<", b'u');
        assert_eq!(modes, Modes::default());
        assert!(modes.leave().is_empty());
    }
}
