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
    use ringfence_model::config::{Config, Reading, Source, Surroundings};
    use serde_json::Value;

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

    /// What of a value its schema does not allow. Knows the words that our schemas have, and no
    /// others: a new one is an error here until somebody says what it means.
    fn objections(schema: &Value, root: &Value, value: &Value, at: &str) -> Vec<String> {
        let mut found = Vec::new();
        let schema = match schema {
            Value::Bool(true) => return found,
            Value::Object(schema) => schema,
            _ => return vec![format!("{at}: is not known")],
        };
        for (word, rule) in schema {
            match word.as_str() {
                "$schema" | "$defs" | "title" | "description" | "default" | "format" => {}
                "$ref" => {
                    let pointer = rule.as_str().unwrap().trim_start_matches('#');
                    found.extend(objections(root.pointer(pointer).unwrap(), root, value, at));
                }
                "type" => {
                    let is = |kind: &Value| match kind.as_str().unwrap() {
                        "object" => value.is_object(),
                        "array" => value.is_array(),
                        "string" => value.is_string(),
                        "boolean" => value.is_boolean(),
                        "integer" => value.is_i64() || value.is_u64(),
                        "null" => value.is_null(),
                        kind => panic!("a type that this test does not know: {kind}"),
                    };
                    if !rule.as_array().map_or_else(|| is(rule), |kinds| kinds.iter().any(is)) {
                        found.push(format!("{at}: is no {rule}"));
                    }
                }
                "const" if rule != value => found.push(format!("{at}: is not {rule}")),
                "const" => {}
                "minimum" if value.as_i64() < rule.as_i64() => {
                    found.push(format!("{at}: too small"))
                }
                "maximum" if value.as_i64() > rule.as_i64() => {
                    found.push(format!("{at}: too large"))
                }
                "minimum" | "maximum" => {}
                "anyOf" | "oneOf" => {
                    let rules = rule.as_array().unwrap();
                    if rules.iter().all(|rule| !objections(rule, root, value, at).is_empty()) {
                        found.push(format!("{at}: is none of {rule}"));
                    }
                }
                "items" => {
                    for (index, item) in value.as_array().into_iter().flatten().enumerate() {
                        found.extend(objections(rule, root, item, &format!("{at}[{index}]")));
                    }
                }
                "required" => {
                    for key in rule.as_array().unwrap() {
                        if value.get(key.as_str().unwrap()).is_none() {
                            found.push(format!("{at}: {key} is missing"));
                        }
                    }
                }
                "properties" => {
                    for (key, rule) in rule.as_object().unwrap() {
                        if let Some(value) = value.get(key) {
                            found.extend(objections(rule, root, value, &format!("{at}.{key}")));
                        }
                    }
                }
                "additionalProperties" => {
                    let known = schema.get("properties").and_then(Value::as_object);
                    for (key, value) in value.as_object().into_iter().flatten() {
                        if !known.is_some_and(|known| known.contains_key(key)) {
                            found.extend(objections(rule, root, value, &format!("{at}.{key}")));
                        }
                    }
                }
                word => panic!("a word of schemas that this test does not know: {word}"),
            }
        }
        found
    }

    /// The examples that stand in a page between lines of three ticks.
    fn examples(text: &str) -> Vec<&str> {
        text.split("```toml\n").skip(1).filter_map(|rest| rest.split("```").next()).collect()
    }

    #[test]
    fn the_examples_of_configurations_are_what_schema_and_reader_allow() {
        let schema = serde_json::to_value(ringfence_model::config::schema()).unwrap();
        let page = crate::repository_root().join("docs/reference/configuration.md");
        let text = fs::read_to_string(page).unwrap();
        let around = Surroundings {
            variable: &|name| (name == "CLIENTS").then(|| "/srv/clients".into()),
            ..Surroundings::of(Path::new("/home/ann"))
        };
        assert!(!examples(&text).is_empty());
        for example in examples(&text) {
            let value: Value = toml::from_str(example).unwrap();
            assert_eq!(objections(&schema, &schema, &value, ""), Vec::<String>::new(), "{example}");
            let source = Source { file: "example".into(), text: example.to_owned() };
            let reading = Reading::of(vec![source], &around).unwrap_or_else(|e| panic!("{e}"));
            assert!(reading.warnings.is_empty(), "{:?}", reading.warnings);
        }
    }

    #[test]
    fn the_schema_of_the_configuration_refuses_what_the_reader_refuses() {
        let schema = serde_json::to_value(ringfence_model::config::schema()).unwrap();
        for text in [
            "[[folder]]\npath = \"/a\"\nprofils = []\n",
            "[[folder]]\naccess = \"rw\"\n",
            "[[folder]]\npath = \"/a\"\naccess = \"write\"\n",
            "[[folder]]\npath = \"/a\"\nprofiles = \"claude\"\n",
            "[defaults]\ncpus = 0\n",
            "[defaults]\nmemory = 4096\n",
            "[profiles.x]\n",
            "[secret.a]\nvalue = \"x\"\n",
            "schema = 2\n",
        ] {
            let value: Value = toml::from_str(text).unwrap();
            assert!(!objections(&schema, &schema, &value, "").is_empty(), "{text}");
            assert!(Config::parse(Path::new("c"), text, Path::new("/home/ann")).is_err(), "{text}");
        }
    }
}
