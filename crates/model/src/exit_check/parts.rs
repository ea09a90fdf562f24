//! Which parts of a JSON or TOML file changed. Pure; a file that cannot be read is said to
//! be so, and never taken for unchanged.

use serde_json::Value;

/// The present file is not JSON or TOML, as its name says it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Unreadable;

/// Those of the dotted keys whose value is another than before, or new, each with what
/// changed below it. What is gone runs nothing.
///
/// # Errors
/// When the present file cannot be read.
pub(super) fn changed(
    path: &[u8],
    before: Option<&[u8]>,
    after: &[u8],
    keys: &[&str],
) -> Result<Vec<String>, Unreadable> {
    let is_toml = path.to_ascii_lowercase().ends_with(b".toml");
    let read = |bytes: &[u8]| -> Option<Value> {
        let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
        if is_toml {
            toml::from_str(std::str::from_utf8(bytes).ok()?).ok()
        } else {
            serde_json::from_slice(bytes).ok()
        }
    };
    let after = read(after).ok_or(Unreadable)?;
    let before = before.and_then(read).unwrap_or(Value::Null);
    let mut found = Vec::new();
    for key in keys {
        let at = |value: &Value| {
            key.split('.').try_fold(value.clone(), |value, part| value.get(part).cloned())
        };
        let (was, is) = (at(&before), at(&after));
        let (Some(is), true) = (&is, was != is) else { continue };
        match (was.as_ref().unwrap_or(&Value::Null), is) {
            (was, Value::Object(is)) if *key == "scripts" || *key == "tasks" => {
                let new = is.iter().filter(|(name, value)| was.get(*name) != Some(*value));
                found.extend(new.map(|(name, _)| format!("{key}.{name}")));
            }
            _ => found.push((*key).to_owned()),
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_parts_that_are_new_or_other_count() {
        let keys = &["scripts", "a.b"];
        let changed = |before: Option<&str>, after: &str| {
            super::changed(b"x/package.json", before.map(str::as_bytes), after.as_bytes(), keys)
        };
        let one = r#"{"scripts":{"test":"x","build":"y"},"version":"1"}"#;
        let none: Vec<String> = Vec::new();
        assert_eq!(changed(Some(one), &one.replace("\"1\"", "\"2\"")), Ok(none.clone()));
        assert_eq!(changed(Some(one), r#"{"scripts":{"test":"x"}}"#), Ok(none.clone()));
        assert_eq!(changed(Some(one), "{}"), Ok(none));
        assert_eq!(changed(Some(one), &one.replace('y', "z")), Ok(vec!["scripts.build".into()]));
        assert_eq!(changed(None, one).map(|found| found.len()), Ok(2));
        assert_eq!(changed(Some("{}"), r#"{"a":{"b":[1]}}"#), Ok(vec!["a.b".into()]));
        assert_eq!(changed(Some("rubbish"), one).map(|found| found.len()), Ok(2));
        assert_eq!(changed(Some(one), "{"), Err(Unreadable));
    }

    #[test]
    fn toml_is_read_as_well() {
        let keys = &["build-system"];
        let changed = |after: &str| super::changed(b"pyproject.toml", None, after.as_bytes(), keys);
        assert_eq!(changed("[project]\nname = \"x\"\n"), Ok(Vec::new()));
        assert_eq!(changed("[build-system]\nrequires = []\n"), Ok(vec!["build-system".into()]));
        assert_eq!(changed("[x"), Err(Unreadable));
    }
}
