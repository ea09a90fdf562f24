//! Writes the schemas of the JSON documents that commands print, made from the types that are
//! printed. Owns the files in [`DIRECTORY`]; a test says when they are out of date.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;

use ringfence_model::document::schemas;

/// Where the schemas lie, from the root of the repository.
pub(crate) const DIRECTORY: &str = "docs/reference/schema";

/// Writes every schema; gives how many files.
///
/// # Errors
/// When the directory cannot be written.
pub(crate) fn write(root: &Path) -> io::Result<usize> {
    let directory = root.join(DIRECTORY);
    fs::create_dir_all(&directory)?;
    let files = files()?;
    for (name, text) in &files {
        fs::write(directory.join(name), text)?;
    }
    Ok(files.len())
}

/// The files' names and texts.
fn files() -> io::Result<BTreeMap<String, String>> {
    let mut files = BTreeMap::new();
    let mut list = String::from(
        "# Schemas of what `--json` prints\n\nMade by `cargo xtask schema` from the types themselves; not edited by hand. A document's `schema` rises when a\nfield goes or changes its meaning; fields may be added at any time.\n\n| schema | printed by |\n|---|---|\n",
    );
    for (name, commands, schema) in schemas() {
        let text = serde_json::to_string_pretty(&schema).map_err(io::Error::other)?;
        files.insert(format!("{name}.json"), format!("{text}\n"));
        let commands: Vec<String> = commands.split(", ").map(|c| format!("`{c}`")).collect();
        list.push_str(&format!("| [`{name}.json`]({name}.json) | {} |\n", commands.join(", ")));
    }
    files.insert("README.md".to_owned(), list);
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_schemas_in_the_repository_are_those_of_the_types() {
        let directory = crate::repository_root().join(DIRECTORY);
        let files = files().unwrap();
        for (name, text) in &files {
            let there = fs::read_to_string(directory.join(name)).unwrap_or_default();
            assert!(there == *text, "{DIRECTORY}/{name} is out of date: cargo xtask schema");
        }
        for entry in fs::read_dir(&directory).unwrap() {
            let name = entry.unwrap().file_name().to_string_lossy().into_owned();
            assert!(files.contains_key(&name), "{DIRECTORY}/{name} is nobody's: remove it");
        }
    }
}
