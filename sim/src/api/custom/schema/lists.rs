//! Lists whose items must differ: sets, and maps by key. Pure.
//!
//! In: a schema and a value. Out: a fault for the second appearance of every item.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::api::validate::Cause;

/// Collects the faults of a value and everything below it.
pub(super) fn check(schema: &Value, value: &Value, path: &str, causes: &mut Vec<Cause>) {
    match value {
        Value::Array(items) => {
            match schema["x-kubernetes-list-type"].as_str() {
                Some("set") => duplicates(items.to_vec(), path, causes),
                Some("map") => keyed(schema, items, path, causes),
                _ => {}
            }
            if schema["items"].is_object() {
                for (index, item) in items.iter().enumerate() {
                    check(&schema["items"], item, &format!("{path}[{index}]"), causes);
                }
            }
        }
        Value::Object(fields) => {
            for (name, value) in fields {
                let known = &schema["properties"][name];
                if known.is_object() {
                    check(known, value, &joined(path, name), causes);
                } else if schema["additionalProperties"].is_object() {
                    let below = format!("{path}[{name}]");
                    check(&schema["additionalProperties"], value, &below, causes);
                }
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn joined(path: &str, name: &str) -> String {
    if path.is_empty() {
        name.to_owned()
    } else {
        format!("{path}.{name}")
    }
}

fn keyed(schema: &Value, items: &[Value], path: &str, causes: &mut Vec<Cause>) {
    if let Some(index) = items
        .iter()
        .position(|item| !item.is_object() && !item.is_null())
    {
        causes.push(Cause {
            reason: "FieldValueInvalid",
            message: format!(
                "Invalid value: {}: must be an object for an array of list-type map",
                items[index]
            ),
            field: format!("{path}[{index}]"),
        });
        return;
    }
    let keys: Vec<&str> = schema["x-kubernetes-list-map-keys"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    let key_of = |item: &Value| {
        let found = keys
            .iter()
            .filter_map(|&key| Some((key.to_owned(), item.get(key)?.clone())));
        Value::Object(found.collect::<Map<_, _>>())
    };
    duplicates(items.iter().map(key_of).collect(), path, causes);
}

/// Names each value that comes twice, once, where it comes for the second time.
fn duplicates(values: Vec<Value>, path: &str, causes: &mut Vec<Cause>) {
    let mut times: BTreeMap<String, usize> = BTreeMap::new();
    for (index, value) in values.into_iter().enumerate() {
        let text = value.to_string();
        let seen = times.entry(text.clone()).or_default();
        *seen += 1;
        if *seen == 2 {
            causes.push(Cause {
                reason: "FieldValueDuplicate",
                message: format!("Duplicate value: {text}"),
                field: format!("{path}[{index}]"),
            });
        }
    }
}
