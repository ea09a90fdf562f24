//! The control sequences that pass to the person's terminal. Everything else is dropped.
//!
//! Questions that pass, because full-screen programs wait for them and their answers are
//! numbers and fixed letters that the asker cannot choose: cursor position and status
//! (`CSI 5n`, `CSI 6n`, `CSI ?6n`), colour scheme (`CSI ?996n`), primary and secondary
//! attributes (`CSI c`, `CSI >c`), mode reports (`CSI $p`, `CSI ?$p`), the state of the
//! kitty keyboard (`CSI ?u`), sizes of text area and cell (`CSI 14t`, `16t`, `18t`).
//!
//! What does not pass, among others: titles and their stack (OSC 0 to 2, `CSI 20t` to
//! `23t`, `ESC k`), clipboard (OSC 52), colours asked for (OSC 4, 10 and following with
//! `?`), notifications, working directory, command marks and files (OSC 7, 9, 99, 133,
//! 633, 777, 1337), all device control strings (DECRQSS, XTGETTCAP, user-defined keys,
//! images), terminal name and version (`CSI >q`, ENQ, `ESC Z`), reading the screen back
//! (DECRQCRA), printing (`CSI i`), window moves, keyboard lock, VT52 and 8-bit modes,
//! and leaving UTF-8 (`ESC %`).

use super::Questions;

/// `ESC`, intermediate bytes, final byte.
pub(super) fn escape(intermediates: &[u8], last: u8) -> bool {
    match intermediates {
        [] => matches!(
            last,
            b'6'..=b'9'
                | b'='
                | b'>'
                | b'D'
                | b'E'
                | b'H'
                | b'M'
                | b'N'
                | b'O'
                | b'V'
                | b'W'
                | b'c'
                | b'n'
                | b'o'
                | b'|'
                | b'}'
                | b'~'
        ),
        [b'(' | b')' | b'*' | b'+' | b'-' | b'.' | b'/'] => true,
        // National character sets of two letters.
        [b'(' | b')' | b'*' | b'+', b'"' | b'%' | b'&'] => true,
        [b'#'] => matches!(last, b'3'..=b'6' | b'8'),
        _ => false,
    }
}

/// `CSI`, parameters and intermediate bytes as they came, final byte.
pub(super) fn csi(held: &[u8], last: u8, questions: Questions) -> bool {
    let Some((prefix, parameters, intermediate)) = split(held) else { return false };
    let ask = questions == Questions::Pass;
    match (prefix, intermediate, last) {
        (None, None, b'@'..=b'P' | b'S' | b'T' | b'X' | b'Z' | b'^' | b'`' | b'a' | b'b') => true,
        (None, None, b'd'..=b'g' | b'm' | b'r' | b's' | b'u') => true,
        (None, None, b'h' | b'l') => every(parameters, |mode| mode != 2),
        (None, None, b'n') => ask && matches!(parameters, b"5" | b"6"),
        (None, None, b'c') => ask && matches!(parameters, b"" | b"0"),
        (None, None, b't') => ask && matches!(parameters, b"14" | b"16" | b"18"),
        (Some(b'?'), None, b'h' | b'l') => every(parameters, private_mode),
        (Some(b'?'), None, b'J' | b'K' | b'r' | b's') => true,
        (Some(b'?'), None, b'n') => ask && matches!(parameters, b"6" | b"996"),
        (Some(b'?'), None, b'u') => ask,
        (Some(b'>'), None, b'c') => ask && matches!(parameters, b"" | b"0"),
        (Some(b'>'), None, b'm' | b'n' | b'u' | b's') => true,
        (Some(b'<' | b'='), None, b'u') => true,
        (None | Some(b'?'), Some(b'$'), b'p') => ask,
        (None, Some(b'$'), b'r' | b't' | b'v' | b'x' | b'z' | b'{') => true,
        (None, Some(b' '), b'@' | b'A' | b'q' | b't' | b'u') => true,
        (None, Some(b'\''), b'}' | b'~') => true,
        (None, Some(b'#'), b'p' | b'q' | b'{' | b'}' | b'P' | b'Q') => true,
        (None, Some(b'!'), b'p') | (None, Some(b'"'), b'q') | (None, Some(b'*'), b'x') => true,
        _ => false,
    }
}

type Parts<'a> = (Option<u8>, &'a [u8], Option<u8>);

/// Private prefix, parameters, one intermediate byte; `None` for any other shape.
fn split(held: &[u8]) -> Option<Parts<'_>> {
    let (prefix, rest) = match held {
        [first @ 0x3c..=0x3f, rest @ ..] => (Some(*first), rest),
        _ => (None, held),
    };
    let end = rest.iter().position(|byte| !matches!(byte, 0x30..=0x3b)).unwrap_or(rest.len());
    let (parameters, intermediates) = rest.split_at(end);
    match intermediates {
        [] => Some((prefix, parameters, None)),
        [one @ 0x20..=0x2f] => Some((prefix, parameters, Some(*one))),
        _ => None,
    }
}

/// Whether every parameter is a plain number that `good` accepts.
fn every(parameters: &[u8], good: impl Fn(u32) -> bool) -> bool {
    parameters.split(|byte| *byte == b';').all(|number| match number {
        [] => true,
        _ => std::str::from_utf8(number).ok().and_then(|text| text.parse().ok()).is_some_and(&good),
    })
}

/// Not VT52 (2) and not highlight tracking (1001), which hangs the terminal.
fn private_mode(mode: u32) -> bool {
    !matches!(mode, 2 | 1001)
}

/// An operating system command without its introducer and terminator. It holds no control.
pub(super) fn osc(held: &[u8]) -> bool {
    // Bytes of a character pass in a link's label parameters only as UTF-8.
    let Ok(text) = std::str::from_utf8(held) else { return false };
    if text.chars().any(char::is_control) {
        return false;
    }
    let (number, rest) = text.split_once(';').map_or((text, None), |(a, b)| (a, Some(b)));
    match number {
        // Colours: set and reset, never asked for.
        "4" | "5" | "10" | "11" | "12" | "13" | "14" | "17" | "19" => {
            rest.is_some_and(|rest| !rest.contains('?'))
        }
        "104" | "105" | "110" | "111" | "112" | "113" | "114" | "117" | "119" => true,
        "8" => rest.and_then(|rest| rest.split_once(';')).is_some_and(|(_, link)| {
            link.is_empty()
                || ["https://", "http://", "mailto:"].iter().any(|scheme| link.starts_with(scheme))
        }),
        // Progress of a task bar; without the `4` it is a notification.
        "9" => rest.is_some_and(|rest| {
            rest.starts_with("4;") && rest.bytes().all(|byte| byte.is_ascii_digit() || byte == b';')
        }),
        _ => false,
    }
}
