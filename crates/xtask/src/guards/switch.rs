//! The sources with guards that can be taken out: which text stands where. Pure.
//!
//! What can be chosen at run time is: one build then serves all these guards. An expression or
//! statement becomes `if` a variable of the environment names its guard, the other one.

use std::collections::BTreeMap;
use std::ops::Range;

use super::table::{Edit, Guard, Table, place};

/// By this variable of the environment a process learns which guard is out.
pub(crate) const VARIABLE: &str = "RINGFENCE_GUARD_OUT";

/// A piece of a file, and what stands there instead.
#[derive(Debug)]
struct Piece {
    range: Range<usize>,
    found: String,
    /// Names of guards with what stands there when they are out; no name: whatever is chosen.
    instead: Vec<(Option<String>, String)>,
}

/// The files that differ from the repository's: every guard that can be chosen is a choice,
/// and `alone` is out altogether.
///
/// # Errors
/// An edit has no place, or two of them want to share one.
pub(crate) fn texts(
    table: &Table,
    alone: Option<&Guard>,
    sources: &BTreeMap<String, String>,
) -> Result<BTreeMap<String, String>, String> {
    let mut pieces: BTreeMap<String, Vec<Piece>> = BTreeMap::new();
    let fixed = alone.into_iter().flat_map(Guard::edits).chain(table.always.iter().cloned());
    for edit in fixed {
        put(&mut pieces, (None, edit), sources)?;
    }
    for guard in table.guards.iter().filter(|guard| !guard.build) {
        for edit in guard.edits() {
            match put(&mut pieces, (Some(guard.name.clone()), edit), sources) {
                // What is out altogether needs no choice.
                Err(_) if alone.is_some() => {}
                other => other?,
            }
        }
    }
    let mut texts = BTreeMap::new();
    for (file, mut pieces) in pieces {
        pieces.sort_by_key(|piece| piece.range.start);
        let original = sources.get(&file).map_or("", String::as_str);
        let (mut text, mut at) = (String::new(), 0);
        for piece in pieces {
            text.push_str(&original[at..piece.range.start]);
            text.push_str(&written(&piece));
            at = piece.range.end;
        }
        text.push_str(&original[at..]);
        texts.insert(file, text);
    }
    Ok(texts)
}

fn put(
    pieces: &mut BTreeMap<String, Vec<Piece>>,
    (name, edit): (Option<String>, Edit),
    sources: &BTreeMap<String, String>,
) -> Result<(), String> {
    let range = place(&edit, sources)?;
    let here = pieces.entry(edit.file.clone()).or_default();
    let one = (name, edit.replace);
    let meets = |other: &Range<usize>| other.start < range.end && range.start < other.end;
    match here.iter_mut().find(|piece| meets(&piece.range)) {
        None => {
            here.push(Piece { range, found: edit.find, instead: vec![one] });
            Ok(())
        }
        // Several guards may be about the same words.
        Some(piece)
            if piece.range == range && piece.instead.iter().all(|(name, _)| name.is_some()) =>
        {
            piece.instead.push(one);
            Ok(())
        }
        Some(_) => {
            Err(format!("two guards share `{}` in {}: build one alone", edit.find, edit.file))
        }
    }
}

fn written(piece: &Piece) -> String {
    let Piece { found, instead, .. } = piece;
    if let [(None, text)] = instead.as_slice() {
        return text.clone();
    }
    let mut text = String::new();
    for (name, instead) in instead {
        let name = name.as_deref().unwrap_or_default();
        let out =
            format!("::std::env::var_os(\"{VARIABLE}\").is_some_and(|out| out == \"{name}\")");
        text.push_str(&format!("if {out} {{ {instead} }} else "));
    }
    text.push_str(&format!("{{ {found} }}"));
    let statement = found.ends_with(';') || found.ends_with('}');
    if statement { text } else { format!("({text})") }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MANIFEST: &str = "[package]\nname = \"ringfence-share\"\n";
    const CODE: &str = "fn f() { check()?; open(FLAGS | NOFOLLOW) }\n#[test]\nfn shows() {}\n";

    fn sources() -> BTreeMap<String, String> {
        [
            ("crates/share/Cargo.toml", MANIFEST),
            ("crates/share/src/a.rs", CODE),
            ("e2e/20-network.sh", ""),
        ]
        .map(|(path, text)| (path.to_owned(), text.to_owned()))
        .into()
    }

    fn guard(name: &str, find: &str, replace: &str, rest: &str) -> String {
        format!(
            "[[guard]]\nname = '{name}'\nrule = 'r'\npromises = [1, 2, 3, 4, 5, 6, 7, 8, 9]\n\
             file = 'crates/share/src/a.rs'\nfind = '{find}'\nreplace = '{replace}'\n{rest}\n"
        )
    }

    fn table(guards: &[String]) -> Table {
        Table::read(&guards.concat()).unwrap()
    }

    const TEST: &str = "test = 'shows'";

    #[test]
    fn expressions_and_statements_become_choices() {
        let table = table(&[
            guard("flag", "FLAGS | NOFOLLOW", "FLAGS", TEST),
            guard("check", "check()?;", "", TEST),
        ]);
        assert_eq!(table.problems(&sources()), [""; 0]);
        let texts = texts(&table, None, &sources()).unwrap();
        let out = |name: &str| {
            format!("::std::env::var_os(\"{VARIABLE}\").is_some_and(|out| out == \"{name}\")")
        };
        assert_eq!(
            texts["crates/share/src/a.rs"],
            format!(
                "fn f() {{ if {} {{  }} else {{ check()?; }} open((if {} {{ FLAGS }} else \
                 {{ FLAGS | NOFOLLOW }})) }}\n#[test]\nfn shows() {{}}\n",
                out("check"),
                out("flag")
            )
        );
    }

    #[test]
    fn one_that_is_built_alone_is_out_and_the_others_stay_choices() {
        let alone =
            guard("alone", "open(FLAGS | NOFOLLOW)", "open(0)", "build = true\ntest = 'shows'");
        let table = table(&[guard("flag", "FLAGS | NOFOLLOW", "FLAGS", TEST), alone]);
        let texts = texts(&table, Some(&table.guards[1]), &sources()).unwrap();
        assert!(texts["crates/share/src/a.rs"].contains("check()?; open(0) }"));
    }

    #[test]
    fn a_table_that_no_longer_fits_is_found_out() {
        for (guards, complaint) in [
            (vec![guard("a", "gone()", "", TEST)], "does not have"),
            (vec![guard("a", "(", "", TEST)], "more than once"),
            (vec![guard("a", "check()?;", "", "test = 'renamed'")], "no test"),
            (vec![guard("a", "check()?;", "", "scenario = '21'")], "no scenario"),
            (vec![guard("a", "check()?;", "", "")], "by a test or by a scenario"),
            (vec![guard("A b", "check()?;", "", TEST)], "not a name"),
            (vec![guard("a", "check()?;", "", TEST), guard("a", "open", "", TEST)], "twice"),
            (vec![guard("a", "check()?;", "", "package = 'p'\ntest = 'shows'")], "no package"),
        ] {
            let problems = table(&guards).problems(&sources());
            assert!(problems.iter().any(|text| text.contains(complaint)), "{problems:?}");
        }
        let one = guard("a", "check()?;", "", TEST).replace("[1, 2, 3, 4, 5, 6, 7, 8, 9]", "[1]");
        assert_eq!(table(&[one]).problems(&sources()).len(), 8);
        assert!(Table::read("[[guard]]\nnme = 'a'\n").is_err());
        let both = table(&[guard("a", "check()?;", "", TEST), guard("b", "check()", "true", TEST)]);
        assert!(texts(&both, None, &sources()).unwrap_err().contains("two guards share"));
    }

    #[test]
    fn several_guards_may_be_about_the_same_words() {
        let also = "also = [{ file = 'crates/share/src/a.rs', find = 'check()?;', replace = '' }]";
        let both = format!("{also}\n{TEST}");
        let table = table(&[
            guard("check", "check()?;", "", TEST),
            guard("pair", "FLAGS | NOFOLLOW", "0", &both),
        ]);
        let text = texts(&table, None, &sources()).unwrap().remove("crates/share/src/a.rs");
        let text = text.unwrap();
        assert_eq!(text.matches("out == \"pair\"").count(), 2);
        assert_eq!(text.matches("out == \"check\"").count(), 1);
        assert_eq!(text.matches("{ check()?; }").count(), 1);
    }

    #[test]
    fn guards_are_found_by_words() {
        let table = table(&[guard("flag", "check()?;", "", TEST)]);
        let is_meant = |words: &[&str]| {
            table.guards[0]
                .is_meant(&words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>())
        };
        assert!(is_meant(&[]) && is_meant(&["flag"]) && is_meant(&["x", "share/src"]));
        assert!(is_meant(&["promise 3"]) && is_meant(&["shows"]) && !is_meant(&["gateway"]));
    }
}
