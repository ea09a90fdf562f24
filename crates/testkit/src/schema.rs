//! Whether a JSON document is as its schema says: for tests of what commands print.
//!
//! Knows the keywords that our schemas use and takes any other for a violation, so that it
//! never passes what it does not understand. Stricter than the standard in one thing: a
//! field that no part of the schema names is a violation, or a schema could be forgotten.

use std::collections::BTreeSet;

use serde_json::Value;

/// Keywords that say something to people only, or are read elsewhere.
const SILENT: [&str; 7] =
    ["$schema", "$defs", "title", "description", "default", "format", "examples"];

/// What is wrong with a document; empty: nothing.
#[must_use]
pub fn violations(schema: &Value, document: &Value) -> Vec<String> {
    let mut found = Vec::new();
    Checking { root: schema }.whole(schema, document, "$", &mut found);
    found
}

struct Checking<'a> {
    root: &'a Value,
}

impl Checking<'_> {
    /// One value, and that nothing in it is unspoken of.
    fn whole(&self, schema: &Value, value: &Value, at: &str, found: &mut Vec<String>) {
        let named = self.part(schema, value, at, found);
        for key in value.as_object().into_iter().flat_map(|object| object.keys()) {
            if !named.contains(key) {
                found.push(format!("{at}: the schema does not know `{key}`"));
            }
        }
    }

    /// One schema of perhaps several for a value; gives the fields that it names.
    fn part(
        &self,
        schema: &Value,
        value: &Value,
        at: &str,
        found: &mut Vec<String>,
    ) -> BTreeSet<String> {
        let mut named = BTreeSet::new();
        let Some(keywords) = schema.as_object() else {
            if schema != &Value::Bool(true) {
                found.push(format!("{at}: nothing is allowed here"));
            }
            return named;
        };
        for (keyword, said) in keywords {
            match keyword.as_str() {
                "$ref" => match said.as_str().and_then(|text| text.strip_prefix('#')) {
                    Some(place) => match self.root.pointer(place) {
                        Some(other) => named.extend(self.part(other, value, at, found)),
                        None => found.push(format!("{at}: there is no {place}")),
                    },
                    None => found.push(format!("{at}: {said} leads elsewhere")),
                },
                "type" => {
                    let one = |kind: &Value| kind.as_str().is_some_and(|kind| is_a(value, kind));
                    let right =
                        said.as_array().map_or_else(|| one(said), |all| all.iter().any(one));
                    if !right {
                        found.push(format!("{at}: {value} is no {said}"));
                    }
                }
                "const" if said != value => found.push(format!("{at}: {value} is not {said}")),
                "enum" if !said.as_array().is_some_and(|all| all.contains(value)) => {
                    found.push(format!("{at}: {value} is none of {said}"));
                }
                "const" | "enum" => {}
                "minimum" | "maximum" => {
                    let (limit, number) = (said.as_f64(), value.as_f64());
                    let beyond = limit.zip(number).is_some_and(|(limit, number)| {
                        if keyword == "minimum" { number < limit } else { number > limit }
                    });
                    if beyond {
                        found.push(format!("{at}: {value} is beyond the {keyword} {said}"));
                    }
                }
                "required" => {
                    let missing = said.as_array().into_iter().flatten().filter_map(Value::as_str);
                    let missing =
                        missing.filter(|key| value.is_object() && value.get(key).is_none());
                    found.extend(missing.map(|key| format!("{at}: `{key}` is missing")));
                }
                "properties" => {
                    for (key, of_key) in said.as_object().into_iter().flatten() {
                        named.insert(key.clone());
                        if let Some(below) = value.get(key) {
                            self.whole(of_key, below, &format!("{at}.{key}"), found);
                        }
                    }
                }
                "items" => {
                    for (index, item) in value.as_array().into_iter().flatten().enumerate() {
                        self.whole(said, item, &format!("{at}[{index}]"), found);
                    }
                }
                "allOf" => {
                    for one in said.as_array().into_iter().flatten() {
                        named.extend(self.part(one, value, at, found));
                    }
                }
                "anyOf" | "oneOf" => {
                    let fitting = self.fitting(said, value, at);
                    let right = fitting.len() == 1 || (keyword == "anyOf" && !fitting.is_empty());
                    if !right {
                        let count = fitting.len();
                        found.push(format!("{at}: {value} fits {count} of the {keyword}"));
                    }
                    named.extend(fitting.into_iter().flatten());
                }
                // Every field that no other part names is checked by this.
                "additionalProperties" if said.is_boolean() => {}
                silent if SILENT.contains(&silent) => {}
                unknown => found.push(format!("{at}: `{unknown}` is not known to this check")),
            }
        }
        named
    }

    /// The schemas of a list that a value fits, each as the fields that it names.
    fn fitting(&self, list: &Value, value: &Value, at: &str) -> Vec<BTreeSet<String>> {
        let all = list.as_array().into_iter().flatten();
        all.filter_map(|one| {
            let mut wrong = Vec::new();
            let named = self.part(one, value, at, &mut wrong);
            wrong.is_empty().then_some(named)
        })
        .collect()
    }
}

fn is_a(value: &Value, kind: &str) -> bool {
    match kind {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_document_is_as_its_schema_says_or_it_is_told_where_not() {
        let schema = json!({
            "title": "T",
            "type": "object",
            "properties": {
                "schema": { "type": "integer", "minimum": 1 },
                "list": { "type": "array", "items": { "$ref": "#/$defs/Item" } },
                "maybe": { "type": ["string", "null"] },
            },
            "required": ["schema", "list"],
            "oneOf": [
                { "properties": { "state": { "const": "on" } }, "required": ["state"] },
                { "properties": { "state": { "const": "off" }, "why": { "type": "string" } }, "required": ["state", "why"] },
            ],
            "$defs": { "Item": { "enum": ["a", "b"] } },
        });
        let of = |document: Value| violations(&schema, &document);
        assert_eq!(
            of(json!({ "schema": 1, "list": ["a"], "maybe": null, "state": "on" })),
            [""; 0]
        );
        assert_eq!(of(json!({ "schema": 1, "list": [], "state": "off", "why": "w" })), [""; 0]);
        for (document, complaint) in [
            (json!({ "schema": 1, "state": "on" }), "`list` is missing"),
            (json!({ "schema": 0, "list": [], "state": "on" }), "beyond the minimum"),
            (json!({ "schema": "1", "list": [], "state": "on" }), "is no \"integer\""),
            (json!({ "schema": 1, "list": ["c"], "state": "on" }), "$.list[0]: \"c\" is none of"),
            (json!({ "schema": 1, "list": [], "state": "off" }), "fits 0 of the oneOf"),
            (json!({ "schema": 1, "list": [], "state": "on", "why": "w" }), "does not know `why`"),
            (json!({ "schema": 1, "list": [], "state": "on", "maybe": 3 }), "$.maybe: 3 is no"),
        ] {
            let found = of(document.clone());
            assert!(found.iter().any(|one| one.contains(complaint)), "{document}: {found:?}");
        }
        let odd = json!({ "type": "string", "pattern": "x" });
        assert_eq!(violations(&odd, &json!("x")), ["$: `pattern` is not known to this check"]);
        assert_eq!(violations(&json!(false), &json!(1)).len(), 1);
    }
}
