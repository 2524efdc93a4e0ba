//! Structural schemas: pruning, defaulting, validation of custom objects. Pure.

use serde_json::{Map, Value};

use super::Custom;
use crate::api::validate::Cause;

/// Complaints beyond this many are not listed.
const CAUSES_MAX: usize = 100;

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

/// What the schema finds wrong.
pub(crate) fn validate(custom: &Custom, object: &Value) -> Vec<Cause> {
    let mut causes = name_causes(object);
    if custom.schema.is_object() {
        for (name, schema) in custom.schema["properties"]
            .as_object()
            .into_iter()
            .flatten()
        {
            if let Some(value) = object
                .get(name)
                .filter(|_| !OWN_FIELDS.contains(&name.as_str()))
            {
                check(schema, value, name, &mut causes);
            }
        }
        required(&custom.schema, object, "", &mut causes);
    }
    causes.truncate(CAUSES_MAX);
    causes
}

fn name_causes(object: &Value) -> Vec<Cause> {
    match object["metadata"]["name"].as_str() {
        None | Some("") => vec![Cause {
            reason: "FieldValueRequired",
            message: "Required value: name or generateName is required".to_owned(),
            field: "metadata.name".to_owned(),
        }],
        Some(_) => Vec::new(),
    }
}

fn invalid(field: &str, message: String) -> Cause {
    Cause {
        reason: "FieldValueInvalid",
        message,
        field: field.to_owned(),
    }
}

fn check(schema: &Value, value: &Value, path: &str, causes: &mut Vec<Cause>) {
    if value.is_null() && schema["nullable"] == true {
        return;
    }
    if !has_type(schema, value) {
        let wanted = schema["type"].as_str().unwrap_or_default();
        let found = type_name(value);
        causes.push(Cause {
            reason: "FieldValueTypeInvalid",
            message: format!(
                "Invalid value: {found:?}: {path} in body must be of type {wanted}: {found:?}"
            ),
            field: path.to_owned(),
        });
        return;
    }
    if let Some(allowed) = schema["enum"]
        .as_array()
        .filter(|allowed| !allowed.contains(value))
    {
        let list: Vec<String> = allowed.iter().map(Value::to_string).collect();
        causes.push(Cause {
            reason: "FieldValueNotSupported",
            message: format!(
                "Unsupported value: {value}: supported values: {}",
                list.join(", ")
            ),
            field: path.to_owned(),
        });
    }
    match value {
        Value::Number(_) => check_number(schema, value, path, causes),
        Value::String(text) => check_text(schema, text, path, causes),
        Value::Array(items) => check_items(schema, items, path, causes),
        Value::Object(fields) => check_fields(schema, value, fields, path, causes),
        Value::Null | Value::Bool(_) => {}
    }
}

fn has_type(schema: &Value, value: &Value) -> bool {
    if schema["x-kubernetes-int-or-string"] == true {
        return value.is_string() || value.is_i64();
    }
    match schema["type"].as_str() {
        Some("integer") => {
            value.is_i64() || value.is_u64() || value.as_f64().is_some_and(|n| n.fract() == 0.0)
        }
        Some("number") => value.is_number(),
        Some("string") => value.is_string(),
        Some("boolean") => value.is_boolean(),
        Some("array") => value.is_array(),
        Some("object") => value.is_object(),
        _ => true,
    }
}

fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

fn check_number(schema: &Value, value: &Value, path: &str, causes: &mut Vec<Cause>) {
    let number = value.as_f64().unwrap_or(0.0);
    let bounds = [
        (
            "minimum",
            "greater than",
            "exclusiveMinimum",
            number < schema["minimum"].as_f64().unwrap_or(f64::MIN),
        ),
        (
            "maximum",
            "less than",
            "exclusiveMaximum",
            number > schema["maximum"].as_f64().unwrap_or(f64::MAX),
        ),
    ];
    for (bound, words, exclusive, is_outside) in bounds {
        let Some(limit) = schema.get(bound).filter(|limit| limit.is_number()) else {
            continue;
        };
        let is_exclusive = schema[exclusive] == true;
        let is_on_bound = limit.as_f64() == Some(number);
        if is_outside || is_exclusive && is_on_bound {
            let or_equal = if is_exclusive { "" } else { " or equal to" };
            let what = format!(
                "Invalid value: {value}: {path} in body should be {words}{or_equal} {limit}"
            );
            causes.push(invalid(path, what));
        }
    }
}

fn check_text(schema: &Value, text: &str, path: &str, causes: &mut Vec<Cause>) {
    let length = text.chars().count() as u64;
    if let Some(limit) = schema["maxLength"].as_u64().filter(|&limit| length > limit) {
        causes.push(Cause {
            reason: "FieldValueTooLong",
            message: format!("Too long: may not be more than {limit} bytes"),
            field: path.to_owned(),
        });
    }
    if let Some(limit) = schema["minLength"].as_u64().filter(|&limit| length < limit) {
        let what = format!(
            "Invalid value: {text:?}: {path} in body should be at least {limit} chars long"
        );
        causes.push(invalid(path, what));
    }
}

fn check_items(schema: &Value, items: &[Value], path: &str, causes: &mut Vec<Cause>) {
    let count = items.len() as u64;
    if let Some(limit) = schema["minItems"].as_u64().filter(|&limit| count < limit) {
        causes.push(invalid(
            path,
            format!("Invalid value: {count}: {path} in body should have at least {limit} items"),
        ));
    }
    if let Some(limit) = schema["maxItems"].as_u64().filter(|&limit| count > limit) {
        causes.push(Cause {
            reason: "FieldValueTooMany",
            message: format!("Too many: {count}: must have at most {limit} items"),
            field: path.to_owned(),
        });
    }
    if schema["items"].is_object() {
        for (index, item) in items.iter().enumerate() {
            check(&schema["items"], item, &format!("{path}[{index}]"), causes);
        }
    }
}

fn check_fields(
    schema: &Value,
    value: &Value,
    fields: &Map<String, Value>,
    path: &str,
    causes: &mut Vec<Cause>,
) {
    required(schema, value, path, causes);
    for (name, value) in fields {
        let below = format!("{path}.{name}");
        if let Some(schema) = schema["properties"].get(name) {
            check(schema, value, &below, causes);
        } else if schema["additionalProperties"].is_object() {
            check(&schema["additionalProperties"], value, &below, causes);
        }
    }
}

fn required(schema: &Value, value: &Value, path: &str, causes: &mut Vec<Cause>) {
    for name in schema["required"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
    {
        if value.get(name).is_none() {
            causes.push(Cause {
                reason: "FieldValueRequired",
                message: "Required value".to_owned(),
                field: if path.is_empty() {
                    name.to_owned()
                } else {
                    format!("{path}.{name}")
                },
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn custom() -> Custom {
        Custom {
            schema: json!({"type": "object", "properties": {"spec": {"type": "object", "required": ["size"], "properties": {
                "size": {"type": "integer", "minimum": 1},
                "mode": {"type": "string", "default": "auto", "enum": ["auto", "manual"]},
            }}}}),
            columns: Value::Null,
            replicas_path: String::new(),
            observed_path: String::new(),
            selector_path: String::new(),
        }
    }

    #[test]
    fn unknown_fields_are_dropped_and_defaults_filled_in() {
        let mut object = json!({"kind": "Thing", "metadata": {"name": "a", "x": 1}, "spec": {"size": 1, "extra": {}}});
        assert_eq!(prune(&custom(), &mut object), ["spec.extra"]);
        default(&custom(), &mut object);
        assert_eq!(object["spec"], json!({"size": 1, "mode": "auto"}));
    }

    #[test]
    fn the_schema_is_enforced() {
        for (spec, wanted) in [
            (json!({"size": 1}), ""),
            (
                json!({"size": 0}),
                "spec.size: Invalid value: 0: spec.size in body should be greater than or equal to 1",
            ),
            (json!({}), "spec.size: Required value"),
            (
                json!({"size": "a"}),
                "spec.size: Invalid value: \"string\": spec.size in body must be of type integer: \"string\"",
            ),
            (
                json!({"size": 1, "mode": "x"}),
                "spec.mode: Unsupported value: \"x\": supported values: \"auto\", \"manual\"",
            ),
        ] {
            let causes = validate(&custom(), &json!({"metadata": {"name": "a"}, "spec": spec}));
            let found: Vec<_> = causes
                .iter()
                .map(|cause| format!("{}: {}", cause.field, cause.message))
                .collect();
            assert_eq!(found.join("; "), wanted);
        }
    }
}
