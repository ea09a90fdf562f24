//! The configuration in force, as TOML with where each value came from behind it. Pure.

use ringfence_model::config::{ConfigView, Origin};
use serde_json::Value;

use super::style::Style;

/// Everything, table by table.
#[must_use]
pub fn show(view: &ConfigView, style: &Style) -> String {
    let mut out = String::new();
    let files: Vec<String> = view.files.iter().map(|file| style.path(file)).collect();
    let from = if files.is_empty() { "no file".to_owned() } else { files.join(", ") };
    out.push_str(&format!("# from {from}\n"));
    for table in &view.tables {
        let header = match table.table.as_str() {
            "folder" => "[[folder]]".to_owned(),
            other => format!("[{other}]"),
        };
        out.push_str(&format!("\n{header}\n"));
        let lines: Vec<String> = table
            .values
            .iter()
            .map(|value| format!("{} = {}", value.key, toml(&value.value)))
            .collect();
        // Short values stand in one column, a long one does not push the others away.
        let short = lines.iter().map(|line| line.chars().count()).filter(|width| *width <= 44);
        let width = short.max().unwrap_or_default();
        for (line, value) in lines.iter().zip(&table.values) {
            out.push_str(&format!("{line:<width$}  # {}\n", origin(&value.from, style)));
        }
    }
    out
}

fn origin(origin: &Origin, style: &Style) -> String {
    match origin {
        Origin::File { file, line } => format!("{}:{line}", style.path(file)),
        other => other.to_string(),
    }
}

/// A value as TOML writes it: texts, numbers and lists of texts are written as in JSON.
fn toml(value: &Value) -> String {
    match value {
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(toml).collect();
            format!("[{}]", items.join(", "))
        }
        other => other.to_string(),
    }
}
