//! Where each key of a file stands. Owns the walk over the parsed text; what the keys mean is
//! not known here.

use std::collections::BTreeMap;
use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// A key with those around it: `["folder", "0", "backup", "keep"]`.
pub(super) type Key = Vec<String>;

/// The bytes of each key in a file: those of its name, and of the first name for a table that is
/// spread over several headers.
pub(super) fn of(text: &str) -> BTreeMap<Key, Range<usize>> {
    let mut places = BTreeMap::new();
    // A text that does not parse has been refused before.
    if let Ok(table) = DeTable::parse(text) {
        walk(table.get_ref(), &mut Vec::new(), &mut places);
    }
    places
}

fn walk(table: &DeTable<'_>, above: &mut Key, places: &mut BTreeMap<Key, Range<usize>>) {
    for (name, value) in table {
        above.push(name.get_ref().to_string());
        places.insert(above.clone(), name.span());
        match value.get_ref() {
            DeValue::Table(table) => walk(table, above, places),
            DeValue::Array(items) => {
                for (index, item) in items.iter().enumerate() {
                    above.push(index.to_string());
                    places.insert(above.clone(), Spanned::span(item));
                    if let DeValue::Table(table) = item.get_ref() {
                        walk(table, above, places);
                    }
                    above.pop();
                }
            }
            _ => {}
        }
        above.pop();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_has_the_place_of_its_name() {
        let text = "[defaults]\ncpus = 2\n[[folder]]\npath = \"/a\"\n[folder.backup]\nkeep = \"everything\"\n";
        let places = of(text);
        let at = |key: &[&str]| {
            let key: Key = key.iter().map(ToString::to_string).collect();
            places.get(&key).map(|span| &text[span.clone()])
        };
        assert_eq!(at(&["defaults", "cpus"]), Some("cpus"));
        assert_eq!(at(&["folder", "0", "path"]), Some("path"));
        assert_eq!(at(&["folder", "0", "backup", "keep"]), Some("keep"));
        assert_eq!(at(&["folder", "1"]), None);
        assert!(of("[defaults").is_empty());
    }
}
