//! No text makes the reader panic, and no slip of the fingers opens a folder: a broken text takes
//! no effect, and one that is read shows a folder to nobody who did not see it before.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use proptest::prelude::*;

use super::{Config, Reading, Source, Surroundings};
use crate::profile::built_in;

/// Rules of every kind, all of them strict.
const GOOD: &str = "schema = 1

[defaults]
network = \"offline\" # until said otherwise

[[folder]]
path = \"/a\"
profiles = [\"claude\"]
access = \"ro\"

[[folder]]
path = \"/a/b\"
profiles = []

[[folder]]
path = \"/c\"
deny = [\"codex\", \"label:hosted\"]
network = \"allowlist\"
allow = [\"a.example\"]
hide = [\".env\"]

[profile.qwen]
recipe = \"qwen-code\"
labels = [\"hosted\"]
";

/// Words of the file's own, for texts that come near to meaning something.
const WORDS: [&str; 29] = [
    "[[folder]]",
    "[folder]",
    "[defaults]",
    "[profile.",
    "[secret.",
    "]",
    "path",
    "profiles",
    "deny",
    " = ",
    "\"/a\"",
    "\"~/x\"",
    "[]",
    "[\"claude\"]",
    "{",
    "}",
    "\n",
    "#",
    "\"",
    "'''",
    "\\u00e9",
    "é",
    "limits",
    "cpus",
    "1979-05-27",
    "network",
    "\0",
    "\t",
    "env",
];

fn read(text: &str) -> Option<Config> {
    Config::parse(Path::new("config.toml"), text, Path::new("/home/ann")).ok()
}

/// Who may see which folder.
fn open(config: &Config) -> BTreeSet<(PathBuf, String)> {
    let mut open = BTreeSet::new();
    for path in ["/a", "/a/b", "/c"] {
        let rules = config.folders.iter().find(|rules| rules.path == Path::new(path));
        for profile in config.all_profiles() {
            if rules.is_none_or(|rules| rules.admits(&profile)) {
                open.insert((path.into(), profile.name.to_string()));
            }
        }
    }
    open
}

fn piece() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-z_]{1,12}",
        "\\PC{0,8}",
        proptest::sample::select(&WORDS[..]).prop_map(String::from),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 10_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_text_panics(pieces in proptest::collection::vec(piece(), 0..24)) {
        let text = pieces.concat();
        if let Err(error) = Config::parse(Path::new("c"), &text, Path::new("/home/ann")) {
            // What is said moves nothing on a terminal.
            let said = error.to_string();
            prop_assert!(!said.chars().any(|c| c.is_control() && c != '\n'), "{said:?}");
        }
    }

    #[test]
    fn no_text_within_a_good_file_panics(at in 0..GOOD.len(), pieces in proptest::collection::vec(piece(), 0..6)) {
        let mut text = GOOD.to_owned();
        text.insert_str(at, &pieces.concat());
        let _ = read(&text);
    }

    /// A key that is misspelt, in any way: nothing is read, so what was in force stays.
    #[test]
    fn a_misspelt_key_is_never_read(line in 0usize..40, at in 0usize..12, sign in "[a-z_-]", how in 0u8..3) {
        let lines: Vec<&str> = GOOD.lines().collect();
        let keyed: Vec<usize> = (0..lines.len()).filter(|n| lines[*n].contains(" = ")).collect();
        let number = keyed[line % keyed.len()];
        let (key, rest) = lines[number].split_once(" = ").expect("a key");
        let at = at % key.len();
        let sign = sign.chars().next().expect("one");
        let mut wrong: Vec<char> = key.chars().collect();
        match how {
            0 => { wrong.remove(at); }
            1 => wrong.insert(at, sign),
            _ => wrong[at] = sign,
        }
        let wrong: String = wrong.into_iter().collect();
        prop_assume!(wrong != key);
        let mut text: Vec<String> = lines.into_iter().map(String::from).collect();
        text[number] = format!("{wrong} = {rest}");
        prop_assert!(read(&text.join("\n")).is_none(), "{}", text.join("\n"));
    }

    /// A line that no version knows, anywhere: nothing is read.
    #[test]
    fn an_unknown_line_is_never_read(at in 0usize..40, key in "[a-z]{3,10}_[a-z]{3,10}", value in "(true|1|\"x\"|\\[\\])") {
        prop_assume!(!["exit_check", "share_anyway", "copy_rate"].contains(&key.as_str()));
        let mut lines: Vec<String> = GOOD.lines().map(String::from).collect();
        lines.insert(at % (lines.len() + 1), format!("{key} = {value}"));
        prop_assert!(read(&lines.join("\n")).is_none());
    }

    /// One sign more, less or other in what says who: what is read all the same shows nobody
    /// more, or the reader warns.
    #[test]
    fn a_slip_in_a_name_shows_nobody_more(at in 0..400usize, sign in "[a-z0-9:\"\\[\\],.-]", how in 0u8..3) {
        let says_who = |at: &usize| {
            let line_start = GOOD[..*at].rfind('\n').map_or(0, |newline| newline + 1);
            GOOD[line_start..].starts_with("profiles") || GOOD[line_start..].starts_with("deny")
        };
        let places: Vec<usize> = (0..GOOD.len()).filter(says_who).collect();
        let at = places[at % places.len()];
        let mut text = GOOD.to_owned();
        match how {
            0 => { text.remove(at); }
            1 => text.insert_str(at, &sign),
            _ => text.replace_range(at..=at, &sign),
        }
        let source = Source { file: "c".into(), text: text.clone() };
        if let Ok(reading) = Reading::of(vec![source], &Surroundings::of(Path::new("/home/ann"))) {
            let (before, after) = (open(&read(GOOD).expect("good")), open(&reading.config));
            let more: Vec<_> = after.difference(&before).collect();
            prop_assert!(more.is_empty() || !reading.warnings.is_empty(), "{more:?}\n{text}");
        }
    }
}

#[test]
fn the_good_file_keeps_most_profiles_out() {
    let config = read(GOOD).expect("good");
    assert!(open(&config).len() * 2 <= 3 * built_in().len(), "{:?}", open(&config));
}
