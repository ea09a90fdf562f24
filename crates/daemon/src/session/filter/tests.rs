//! The filter against its promises, checked by a parser that is not ours.

use proptest::prelude::*;

use super::*;

fn filter(pieces: &[&[u8]]) -> Vec<u8> {
    let mut filter = Filter::new(Questions::Pass);
    let mut output = Vec::new();
    for piece in pieces {
        filter.push(piece, &mut output);
        assert!(filter.held() <= 2 * MAX_OSC, "held back {} bytes", filter.held());
    }
    output
}

/// Everything that must never reach the person's terminal, found by another parser.
#[derive(Default)]
struct Judge {
    found: Vec<String>,
}

impl vte::Perform for Judge {
    fn execute(&mut self, byte: u8) {
        if byte == ENQUIRY || byte >= 0x80 {
            self.found.push(format!("control {byte:#x}"));
        }
    }

    fn hook(&mut self, _: &vte::Params, _: &[u8], _: bool, last: char) {
        self.found.push(format!("device control {last}"));
    }

    fn osc_dispatch(&mut self, parts: &[&[u8]], _: bool) {
        let number = parts.first().copied().unwrap_or_default();
        let asks = parts.iter().any(|part| part.contains(&b'?')) && number != b"8";
        let known: [&[u8]; 20] = [
            b"4", b"5", b"8", b"9", b"10", b"11", b"12", b"13", b"14", b"17", b"19", b"104",
            b"105", b"110", b"111", b"112", b"113", b"114", b"117", b"119",
        ];
        if asks || !known.contains(&number) {
            self.found.push(format!("command {}", String::from_utf8_lossy(number)));
        }
    }

    fn csi_dispatch(&mut self, params: &vte::Params, more: &[u8], _: bool, last: char) {
        let first = params.iter().next().and_then(|sub| sub.first()).copied().unwrap_or(0);
        let bad = match last {
            't' => more.is_empty() && !matches!(first, 14 | 16 | 18),
            'n' => !matches!(first, 5 | 6 | 996) && more != b">",
            'q' => more == b">",
            'y' | 'i' | 'w' | '|' => true,
            'x' => more.is_empty(),
            'c' => more == b"=",
            'p' => more == b"\"",
            'h' | 'l' => more == b"?" && params.iter().any(|sub| matches!(sub, [2 | 1001])),
            _ => false,
        };
        if bad {
            self.found.push(format!("CSI {more:?} {first} {last}"));
        }
    }

    fn esc_dispatch(&mut self, more: &[u8], _: bool, byte: u8) {
        if more.first() == Some(&b'%')
            || more.first() == Some(&b' ')
            || (more.is_empty() && matches!(byte, b'Z' | b'k'))
        {
            self.found.push(format!("ESC {more:?} {byte:#x}"));
        }
    }
}

fn judge(bytes: &[u8]) -> Vec<String> {
    let mut judge = Judge::default();
    vte::Parser::new().advance(&mut judge, bytes);
    judge.found
}

/// Bytes that like to form sequences, good and bad.
fn terminal_bytes() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        3 => proptest::sample::select(
            b"\x1b\x1b\x1b[[]]PX^_k\\\x07\x18\x1a\x05\n\r ;:?>=<!$\"'#*%()0124569hlmnctqupyixwZ\x80\x90\x9b\x9c\x9d\xc2\xc0\xe2\xff"
                .to_vec()
        ).prop_map(|byte| vec![byte]),
        1 => proptest::sample::select(vec![
            &b"\x1b]52;c;aGk=\x07"[..], b"\x1b]0;t\x1b\\", b"\x1b[21t", b"\x1b[6n", b"\x1bP$qm\x1b\\",
            b"\x1b]11;?\x07", b"\x1b]8;;https://a.b\x1b\\", b"\xc2\x9d52;c;aGk=\x07", b"\x1b[?1049h",
            b"\x1bPtmux;\x1b\x1b]52;c;eA==\x07\x1b\\", "grün ✓ 漢".as_bytes(), b"\x1b[38;2;1;2;3m", b"52;c;",
        ]).prop_map(<[u8]>::to_vec),
        1 => any::<u8>().prop_map(|byte| vec![byte]),
    ];
    proptest::collection::vec(piece, 0..60).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4000, ..ProptestConfig::default() })]

    #[test]
    fn text_passes_unchanged(text in "[^\u{0}-\u{1f}\u{7f}-\u{9f}]{0,200}(\r\n|\t)[a-z]{0,5}") {
        prop_assert_eq!(filter(&[text.as_bytes()]), text.as_bytes());
    }

    #[test]
    fn text_around_a_bad_sequence_is_not_lost(a in "[ -~]{0,20}", b in "[ -~]{0,20}") {
        for bad in ["\x1b]52;c;aGk=\x07", "\x1b]0;x\x1b\\", "\x1bP$qm\x1b\\", "\x1b[21t", "\x05", "\u{85}", "\x1b_G\x1b\\"] {
            let whole = format!("{a}{bad}{b}");
            prop_assert_eq!(filter(&[whole.as_bytes()]), format!("{a}{b}").into_bytes());
        }
    }

    #[test]
    fn a_split_changes_nothing(bytes in terminal_bytes(), cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..6)) {
        let whole = filter(&[&bytes]);
        let mut places: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
        places.extend([0, bytes.len()]);
        places.sort_unstable();
        let pieces: Vec<&[u8]> = places.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).collect();
        prop_assert_eq!(filter(&pieces), whole.clone());
        let single: Vec<&[u8]> = bytes.chunks(1).collect();
        prop_assert_eq!(filter(&single), whole);
    }

    #[test]
    fn nothing_forbidden_comes_out(bytes in terminal_bytes()) {
        let output = filter(&[&bytes]);
        prop_assert_eq!(judge(&output), Vec::<String>::new(), "output {:?}", output.escape_ascii().to_string());
    }

    #[test]
    fn what_passed_once_passes_again(bytes in terminal_bytes()) {
        let once = filter(&[&bytes]);
        // A last letter, because half a character is held until it is complete.
        let whole = [once.as_slice(), b"x"].concat();
        prop_assert_eq!(filter(&[&whole]), whole);
    }
}

#[test]
fn the_judge_can_find() {
    for bad in [
        &b"\x1b]52;c;aGk=\x07"[..],
        b"\x1b]2;t\x07",
        b"\x1b[21t",
        b"\x05",
        b"\x1bP$qm\x1b\\",
        b"\x1b]11;?\x07",
        b"\x1b[?2l",
    ] {
        assert_eq!(judge(bad).len(), 1, "{}", bad.escape_ascii());
        assert_eq!(filter(&[bad]), b"", "{}", bad.escape_ascii());
    }
}

#[test]
fn full_screen_programs_get_what_they_need() {
    for good in [
        "\x1b[?1049h\x1b[22;0H\x1b[2J\x1b[38;5;12mhi\x1b[0m\x1b[?25l",
        "\x1b[6n\x1b[c\x1b[0c\x1b[>c\x1b[?u\x1b[>1u\x1b[<u\x1b[?2026$p\x1b[14t",
        "\x1b]8;id=1;https://example.org/?q=1\x1b\\link\x1b]8;;\x1b\\",
        "\x1b(0lqk\x1b(B\x1b7\x1b8\x1b=\x1b>\x1bM\x1b#8",
        "\x1b]104\x07\x1b]11;#000000\x07\x1b]9;4;1;50\x07",
        "\x1b[4:3m\x1b[58:2::1:2:3m\x1b[2 q\x1b[!p\x1b[1;5r",
    ] {
        assert_eq!(filter(&[good.as_bytes()]), good.as_bytes(), "{good:?}");
    }
}

#[test]
fn replayed_questions_are_not_asked_again() {
    let mut filter = Filter::new(Questions::Drop);
    let mut output = Vec::new();
    filter.push(b"a\x1b[6nb\x1b[cc\x1b[?ud\x1b[?2026$pe\x1b[18tf\x1b[1mg", &mut output);
    assert_eq!(output, b"abcdef\x1b[1mg");
}

#[test]
fn an_endless_command_is_not_kept_and_ends_at_a_line() {
    let mut filter = Filter::new(Questions::Pass);
    let mut output = Vec::new();
    filter.push(b"\x1b]8;;https://", &mut output);
    for _ in 0..1000 {
        filter.push(&[b'x'; 1000], &mut output);
        assert!(filter.held() <= 2 * MAX_OSC);
    }
    filter.push(b"\r\nafter", &mut output);
    assert_eq!(output, b"\r\nafter");
}

#[test]
fn overlong_and_encoded_controls_do_not_pass() {
    assert_eq!(filter(&[b"\xc2\x9b21t"]), b"21t");
    assert_eq!(filter(&[b"\x9d52;c;eA==\x07"]), b"52;c;eA==\x07");
    assert_eq!(filter(&[b"\xc0\x9b]0;t"]), b"\xc0]0;t");
    assert_eq!(filter(&[b"\xe0\x82\x9b"]), b"\xe0");
    assert_eq!(filter(&["“quoted” ü".as_bytes()]), "“quoted” ü".as_bytes());
}
