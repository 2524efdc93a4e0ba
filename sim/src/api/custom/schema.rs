//! Structural schemas: pruning, defaulting, validation of custom objects. Pure.
//!
//! In: the schema of a version and an object. Out: the object without what the schema does not know and with what it
//! adds; what is wrong with it. Rules in CEL (`x-kubernetes-validations`) are not evaluated.

use serde_json::{Value, json};

use super::Custom;
use crate::api::schema::types::types;
use crate::api::validate::{self, Cause};

mod format;
mod lists;
#[cfg(test)]
mod tests;
mod values;

/// Fields that every object has, whatever its schema says.
const OWN_FIELDS: &[&str] = &["apiVersion", "kind", "metadata"];

/// Drops the fields that the schema does not know; their paths come back.
pub(crate) fn prune(custom: &Custom, object: &mut Value) -> Vec<String> {
    let mut dropped = Vec::new();
    if custom.schema.is_object() {
        prune_at(&custom.schema, object, "", true, &mut dropped);
    }
    dropped
}

fn prune_at(
    schema: &Value,
    value: &mut Value,
    path: &str,
    is_root: bool,
    dropped: &mut Vec<String>,
) {
    let is_open = schema["x-kubernetes-preserve-unknown-fields"] == true;
    match value {
        Value::Object(fields) => {
            let embedded = is_root || schema["x-kubernetes-embedded-resource"] == true;
            let known = schema["properties"].as_object();
            let others = &schema["additionalProperties"];
            let takes_others = is_open || others.is_object() || others == &Value::Bool(true);
            fields.retain(|name, value| {
                let below = if path.is_empty() {
                    name.clone()
                } else {
                    format!("{path}.{name}")
                };
                if embedded && name == "metadata" {
                    prune_metadata(value, &below, dropped);
                }
                if embedded && OWN_FIELDS.contains(&name.as_str()) {
                    return true;
                }
                if let Some(schema) = known.and_then(|known| known.get(name)) {
                    prune_at(schema, value, &below, false, dropped);
                    return true;
                }
                if others.is_object() {
                    prune_at(others, value, &below, false, dropped);
                }
                if !takes_others {
                    dropped.push(below);
                }
                takes_others
            });
        }
        Value::Array(items) if schema["items"].is_object() => {
            for (index, item) in items.iter_mut().enumerate() {
                prune_at(
                    &schema["items"],
                    item,
                    &format!("{path}[{index}]"),
                    false,
                    dropped,
                );
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {}
    }
}

/// The metadata of an object has the fields of its Go type and no others.
fn prune_metadata(metadata: &mut Value, path: &str, dropped: &mut Vec<String>) {
    let (Some(of), Some(fields)) = (types().get("meta.ObjectMeta"), metadata.as_object_mut())
    else {
        return;
    };
    fields.retain(|name, _| {
        let is_known = of.fields.contains_key(name.as_str());
        if !is_known {
            dropped.push(format!("{path}.{name}"));
        }
        is_known
    });
}

/// Fills in the defaults of the schema.
pub(crate) fn default(custom: &Custom, object: &mut Value) {
    default_at(&custom.schema, object);
}

fn default_at(schema: &Value, value: &mut Value) {
    match value {
        Value::Object(fields) => {
            for (name, schema) in schema["properties"].as_object().into_iter().flatten() {
                let is_missing = fields
                    .get(name)
                    .is_none_or(|value| value.is_null() && schema["nullable"] != true);
                match schema.get("default") {
                    Some(default) if is_missing => {
                        fields.insert(name.clone(), default.clone());
                    }
                    _ if is_missing => {
                        fields.remove(name);
                    }
                    _ => {}
                }
                if let Some(value) = fields.get_mut(name) {
                    default_at(schema, value);
                }
            }
            if schema["additionalProperties"].is_object() {
                for (_, value) in fields.iter_mut() {
                    default_at(&schema["additionalProperties"], value);
                }
            }
        }
        Value::Array(items) if schema["items"].is_object() => {
            for item in items {
                default_at(&schema["items"], item);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {}
    }
}

/// What the schema finds wrong with a new object, or with what an old one is to become.
pub(crate) fn validate(custom: &Custom, old: Option<&Value>, object: &Value) -> Vec<Cause> {
    let mut causes = match old {
        None => validate::new_metadata(object),
        Some(old) => validate::changed_metadata(old, object),
    };
    if !custom.body.is_object() {
        return causes;
    }
    let body = without_metadata(object);
    let before = old.map(without_metadata);
    let verdict = values::Judge::default().check(&custom.body, &body, before.as_ref(), "");
    causes.extend(verdict.causes);
    lists::check(&custom.body, &body, "", &mut causes);
    embedded(&custom.body, &body, "", &mut causes);
    causes.extend(replicas_fault(&custom.replicas_path, object));
    causes
}

/// The number that the subresource scale shows must be one, whatever the schema says.
fn replicas_fault(path: &str, object: &Value) -> Option<Cause> {
    let value = super::at_path(object, path).filter(|_| !path.is_empty())?;
    let (shown, why) = match value.as_i64() {
        Some(number) if number < 0 => (number, "should be a non-negative integer".to_owned()),
        Some(number) if number > i64::from(i32::MAX) => {
            let why = format!("should be less than or equal to {}", i32::MAX);
            (number, why)
        }
        Some(_) => return None,
        None => {
            let kind = match value {
                Value::Bool(_) => "bool",
                Value::Number(_) => "float64",
                Value::String(_) => "string",
                Value::Null | Value::Array(_) | Value::Object(_) => return None,
            };
            let text = value
                .as_str()
                .map_or_else(|| value.to_string(), str::to_owned);
            let why =
                format!("{path} accessor error: {text} is of the type {kind}, expected int64");
            (0, why)
        }
    };
    Some(Cause {
        reason: "FieldValueInvalid",
        message: format!("Invalid value: {shown}: {why}"),
        field: path.to_owned(),
    })
}

/// A schema without what every object has: that is checked elsewhere, whatever the schema asks.
pub(super) fn of_body(schema: &Value) -> Value {
    let mut schema = schema.clone();
    if let Some(known) = schema.get_mut("properties").and_then(Value::as_object_mut) {
        known.retain(|name, _| !OWN_FIELDS.contains(&name.as_str()));
    }
    if let Some(required) = schema.get_mut("required").and_then(Value::as_array_mut) {
        required.retain(|name| name != "metadata");
    }
    schema
}

/// Whether a default is what its schema asks for.
pub(crate) fn default_faults(schema: &Value, default: &Value, path: &str) -> Vec<Cause> {
    let mut causes = values::Judge::default()
        .check(schema, default, None, path)
        .causes;
    let mut pruned = default.clone();
    let mut dropped = Vec::new();
    prune_at(schema, &mut pruned, path, false, &mut dropped);
    if !dropped.is_empty() {
        causes.push(Cause {
            reason: "FieldValueInvalid",
            message: format!("Invalid value: {default}: must not have unknown fields"),
            field: path.to_owned(),
        });
    }
    causes
}

/// Kind and apiVersion stay: a schema may ask for them.
fn without_metadata(object: &Value) -> Value {
    let mut body = object.clone();
    if let Some(fields) = body.as_object_mut() {
        fields.remove("metadata");
    }
    body
}

/// Resources inside of resources must say what they are.
fn embedded(schema: &Value, value: &Value, path: &str, causes: &mut Vec<Cause>) {
    let joined = |name: &str| {
        if path.is_empty() {
            name.to_owned()
        } else {
            format!("{path}.{name}")
        }
    };
    match value {
        Value::Object(fields) => {
            if schema["x-kubernetes-embedded-resource"] == true {
                for name in ["apiVersion", "kind"] {
                    if fields.get(name).is_none_or(|value| value == &json!("")) {
                        causes.push(Cause {
                            reason: "FieldValueRequired",
                            message: "Required value: must not be empty".to_owned(),
                            field: joined(name),
                        });
                    }
                }
            }
            for (name, value) in fields {
                let known = &schema["properties"][name];
                if known.is_object() {
                    embedded(known, value, &joined(name), causes);
                } else if schema["additionalProperties"].is_object() {
                    embedded(
                        &schema["additionalProperties"],
                        value,
                        &joined(name),
                        causes,
                    );
                }
            }
        }
        Value::Array(items) if schema["items"].is_object() => {
            for (index, item) in items.iter().enumerate() {
                embedded(&schema["items"], item, &format!("{path}[{index}]"), causes);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {}
    }
}
