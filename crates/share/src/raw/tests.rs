//! The short form of the fuzzer: guests of random bytes, and those that the fuzzer kept.

use proptest::prelude::*;

use super::{Guest, Lab, bound_files};

fn attack(bytes: &[u8]) {
    let place = tempfile::tempdir().unwrap();
    let lab = Lab::new(place.path()).unwrap();
    Guest::new(&lab).play(bytes);
    let broken = lab.broken();
    assert!(broken.is_empty(), "{broken}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3000, max_shrink_time: 60_000, ..ProptestConfig::default() })]

    #[test]
    fn no_request_reaches_what_is_hidden_protected_or_outside(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        bound_files().unwrap();
        attack(&bytes);
    }
}

/// The bytes that a line of hexadecimal digits stands for.
fn bytes_of(line: &str) -> Vec<u8> {
    let digits: Vec<u8> =
        line.chars().map(|digit| u8::try_from(digit.to_digit(16).unwrap()).unwrap()).collect();
    digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

#[test]
fn what_the_fuzzer_kept_reaches_nothing_either() {
    bound_files().unwrap();
    let kept = include_str!("../../../../fuzz/share_request.corpus");
    assert!(kept.lines().count() > 100);
    for line in kept.lines() {
        attack(&bytes_of(line));
    }
}
