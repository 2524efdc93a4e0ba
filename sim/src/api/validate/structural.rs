//! Whether the schema of a definition is structural: every field has a type outside of `anyOf` and its like.
//!
//! In: an `openAPIV3Schema` and where it stands. Out: the faults that make the real server refuse the definition, in
//! its words. Pure. The text of CEL rules is not read.

use serde_json::{Value, json};

use super::{Cause, Causes, is_empty, items, text};
use crate::api::custom;

mod completeness;

/// Schemas deeper than this are refused: nobody writes them by hand.
const DEPTH_MAX: usize = 200;

const TYPES: [&str; 6] = ["array", "boolean", "integer", "number", "object", "string"];

/// What only the outer schema may say, with the words of the refusal.
const ONLY_OUTSIDE: [(&str, &str); 11] = [
    ("type", "must be empty to be structural"),
    ("additionalProperties", "must be undefined to be structural"),
    ("default", "must be undefined to be structural"),
    ("title", "must be empty to be structural"),
    ("description", "must be empty to be structural"),
    ("nullable", "must be false to be structural"),
    ("externalDocs", "must be undefined to be structural"),
    (
        "x-kubernetes-preserve-unknown-fields",
        "must be false to be structural",
    ),
    (
        "x-kubernetes-embedded-resource",
        "must be false to be structural",
    ),
    (
        "x-kubernetes-int-or-string",
        "must be false to be structural",
    ),
    (
        "x-kubernetes-list-type",
        "must be undefined to be structural",
    ),
];

/// What a schema cannot say at all.
const NOT_SUPPORTED: [(&str, &str); 6] = [
    ("id", "id is not supported"),
    ("additionalItems", "additionalItems is not supported"),
    ("patternProperties", "patternProperties is not supported"),
    ("definitions", "definitions is not supported"),
    ("dependencies", "dependencies is not supported"),
    ("$ref", "$ref is not supported"),
];

/// Where in an object a schema stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Level {
    Root,
    Item,
    Field,
}

/// Adds the faults of a schema.
pub(super) fn schema(schema: &Value, field: &str, causes: &mut Causes) {
    if schema["nullable"] == true {
        causes.forbidden(
            format!("{field}.nullable"),
            "nullable cannot be true at the root",
        );
    }
    let mut shape = Causes::default();
    invariants(schema, Level::Root, field, 0, &mut shape);
    completeness::check(schema, schema, field, field, 0, &mut shape);
    // The order of the real server: by text, because its maps have none.
    let line = |cause: &Cause| format!("{}: {}", cause.field, cause.message);
    shape.list.sort_by_key(line);
    let is_structural = shape.list.is_empty();
    causes.list.append(&mut shape.list);
    if is_structural {
        defaults(schema, field, 0, causes);
    }
    rules(schema, field, 0, causes);
}

/// Whether a schema has rules in CEL somewhere.
pub(crate) fn has_rules(schema: &Value) -> bool {
    match schema {
        Value::Object(fields) => fields.iter().any(|(name, value)| {
            name == "x-kubernetes-validations"
                && value.as_array().is_some_and(|list| !list.is_empty())
                || has_rules(value)
        }),
        Value::Array(list) => list.iter().any(has_rules),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

fn members<'a>(schema: &'a Value, name: &str) -> impl Iterator<Item = (&'a String, &'a Value)> {
    schema[name].as_object().into_iter().flatten()
}

fn is_set(schema: &Value, name: &str) -> bool {
    match &schema[name] {
        Value::Null => false,
        Value::Bool(flag) => *flag,
        Value::String(text) => !text.is_empty(),
        Value::Number(_) | Value::Array(_) | Value::Object(_) => true,
    }
}

fn invariants(schema: &Value, level: Level, field: &str, depth: usize, causes: &mut Causes) {
    if depth > DEPTH_MAX {
        return causes.forbidden(field, "must not be nested deeper");
    }
    if schema["type"] == "array" && schema["items"].is_null() {
        causes.required(format!("{field}.items"), "must be specified");
    }
    if schema["items"].is_object() {
        let below = format!("{field}.items");
        invariants(&schema["items"], Level::Item, &below, depth + 1, causes);
    }
    for (name, one) in members(schema, "properties") {
        let below = format!("{field}.properties[{name}]");
        invariants(one, Level::Field, &below, depth + 1, causes);
    }
    if !schema["additionalProperties"].is_null() {
        let below = format!("{field}.additionalProperties");
        if level == Level::Root {
            causes.forbidden(&below, "must not be used at the root");
        }
        if schema["additionalProperties"].is_object() {
            let others = &schema["additionalProperties"];
            invariants(others, Level::Field, &below, depth + 1, causes);
        }
    }
    let is_either = is_set(schema, "x-kubernetes-int-or-string");
    for extension in [
        "x-kubernetes-preserve-unknown-fields",
        "x-kubernetes-embedded-resource",
    ] {
        if is_either && is_set(schema, extension) {
            causes.invalid(
                format!("{field}.{extension}"),
                &json!(true),
                "must be false if x-kubernetes-int-or-string is true",
            );
        }
    }
    let either = json!([{"type": "integer"}, {"type": "string"}]);
    nested_conditions(
        schema,
        schema["anyOf"] == either,
        schema["allOf"][0]["anyOf"] == either,
        field,
        depth,
        causes,
    );
    own_type(schema, level, field, causes);
    own_fields(schema, level, field, causes);
}

fn own_type(schema: &Value, level: Level, field: &str, causes: &mut Causes) {
    let at = format!("{field}.type");
    let embedded = is_set(schema, "x-kubernetes-embedded-resource");
    let is_untyped = is_empty(&schema["type"]);
    if embedded && schema["type"] != "object" {
        let why = "must be object if x-kubernetes-embedded-resource is true";
        if is_untyped {
            causes.required(&at, why);
        } else {
            causes.invalid(&at, &schema["type"], why);
        }
    } else if is_untyped
        && !is_set(schema, "x-kubernetes-int-or-string")
        && !is_set(schema, "x-kubernetes-preserve-unknown-fields")
    {
        let why = match level {
            Level::Root => "must not be empty at the root",
            Level::Item => "must not be empty for specified array items",
            Level::Field => "must not be empty for specified object fields",
        };
        causes.required(&at, why);
    }
    if embedded && !schema["additionalProperties"].is_null() {
        causes.forbidden(
            format!("{field}.additionalProperties"),
            "must not be used if x-kubernetes-embedded-resource is set",
        );
    }
    if level == Level::Root && !is_untyped && schema["type"] != "object" {
        causes.invalid(&at, &schema["type"], "must be object at the root");
    }
    let has_fields = members(schema, "properties").next().is_some();
    if embedded && !is_set(schema, "x-kubernetes-preserve-unknown-fields") && !has_fields {
        causes.required(
            format!("{field}.properties"),
            "must not be empty if x-kubernetes-embedded-resource is true without x-kubernetes-preserve-unknown-fields",
        );
    }
}

/// Kind, apiVersion and metadata of a whole resource are the server's; a schema can restrict only names.
fn own_fields(schema: &Value, level: Level, field: &str, causes: &mut Causes) {
    if level != Level::Root && !is_set(schema, "x-kubernetes-embedded-resource") {
        return;
    }
    let known = &schema["properties"];
    for (name, wanted) in [
        ("kind", "string"),
        ("apiVersion", "string"),
        ("metadata", "object"),
    ] {
        if known[name].is_object() && known[name]["type"] != wanted {
            causes.invalid(
                format!("{field}.properties[{name}].type"),
                &json!(text(&known[name]["type"])),
                &format!("must be {wanted}"),
            );
        }
    }
    if level != Level::Root {
        return;
    }
    let restricts_more = members(&known["metadata"], "properties")
        .any(|(name, _)| name != "name" && name != "generateName")
        || known["metadata"]
            .as_object()
            .into_iter()
            .flatten()
            .any(|(name, _)| !matches!(name.as_str(), "type" | "properties" | "description"));
    if restricts_more {
        causes.forbidden(
            format!("{field}.properties[metadata]"),
            "must not specify anything other than name and generateName, but metadata is implicitly specified",
        );
    }
}

/// Conditions below `anyOf`, `allOf`, `oneOf` and `not` restrict values and define nothing.
fn nested_conditions(
    schema: &Value,
    skips_any: bool,
    skips_first: bool,
    field: &str,
    depth: usize,
    causes: &mut Causes,
) {
    for name in ["anyOf", "allOf", "oneOf"] {
        if name == "anyOf" && skips_any {
            continue;
        }
        for (index, one) in items(&schema[name]).iter().enumerate() {
            let skips = name == "allOf" && index == 0 && skips_first;
            let below = format!("{field}.{name}[{index}]");
            nested(one, skips, &below, depth + 1, causes);
        }
    }
    if schema["not"].is_object() {
        let below = format!("{field}.not");
        nested(&schema["not"], false, &below, depth + 1, causes);
    }
    let pattern = text(&schema["pattern"]);
    if let Err(error) = regex::Regex::new(pattern) {
        let error = error.to_string();
        let error = error.lines().last().unwrap_or_default();
        let error = error.trim_start_matches("error: ");
        let why = format!("must be a valid regular expression, but isn't: {error}");
        causes.invalid(format!("{field}.pattern"), &schema["pattern"], &why);
    }
}

fn nested(schema: &Value, skips_any: bool, field: &str, depth: usize, causes: &mut Causes) {
    if depth > DEPTH_MAX {
        return causes.forbidden(field, "must not be nested deeper");
    }
    nested_conditions(schema, skips_any, false, field, depth, causes);
    if schema["items"].is_object() {
        let below = format!("{field}.items");
        nested(&schema["items"], false, &below, depth + 1, causes);
    }
    for (name, one) in members(schema, "properties") {
        let below = format!("{field}.properties[{name}]");
        nested(one, false, &below, depth + 1, causes);
    }
    for (name, why) in ONLY_OUTSIDE {
        if is_set(schema, name) {
            causes.forbidden(format!("{field}.{name}"), why);
        }
    }
    for (name, why) in [
        (
            "x-kubernetes-list-map-keys",
            "must be empty to be structural",
        ),
        (
            "x-kubernetes-map-type",
            "must be undefined to be structural",
        ),
        ("x-kubernetes-validations", "must be empty to be structural"),
    ] {
        if is_set(schema, name) {
            causes.forbidden(format!("{field}.{name}"), why);
        }
    }
    if schema["properties"]["metadata"].is_object() {
        causes.forbidden(
            format!("{field}.properties[metadata]"),
            "must not be specified in a nested context",
        );
    }
}

/// A default must itself be good.
fn defaults(schema: &Value, field: &str, depth: usize, causes: &mut Causes) {
    if depth > DEPTH_MAX {
        return;
    }
    if let Some(default) = schema.get("default").filter(|value| !value.is_null()) {
        let at = format!("{field}.default");
        causes
            .list
            .extend(custom::default_faults(schema, default, &at));
    }
    for (name, one) in members(schema, "properties") {
        let below = format!("{field}.properties[{name}]");
        defaults(one, &below, depth + 1, causes);
    }
    for name in ["items", "additionalProperties"] {
        if schema[name].is_object() {
            let below = format!("{field}.{name}");
            defaults(&schema[name], &below, depth + 1, causes);
        }
    }
}

/// What holds for a schema and all its parts, nested conditions included.
fn rules(schema: &Value, field: &str, depth: usize, causes: &mut Causes) {
    if depth > DEPTH_MAX {
        return;
    }
    if !is_empty(&schema["type"]) && !TYPES.contains(&text(&schema["type"])) {
        causes.not_supported(format!("{field}.type"), &schema["type"], &TYPES);
    }
    for (name, why) in NOT_SUPPORTED {
        if is_set(schema, name) {
            causes.forbidden(format!("{field}.{name}"), why);
        }
    }
    if schema["items"].is_array() {
        causes.forbidden(
            format!("{field}.items"),
            "items must be a schema object and not an array",
        );
    }
    if schema["uniqueItems"] == true {
        causes.forbidden(
            format!("{field}.uniqueItems"),
            "uniqueItems cannot be set to true since the runtime complexity becomes quadratic",
        );
    }
    let has_fields = members(schema, "properties").next().is_some();
    let others = &schema["additionalProperties"];
    if has_fields && (others.is_object() || others == &json!(false)) {
        causes.forbidden(
            format!("{field}.additionalProperties"),
            "additionalProperties and properties are mutual exclusive",
        );
    }
    if schema["x-kubernetes-preserve-unknown-fields"] == false {
        causes.invalid(
            format!("{field}.x-kubernetes-preserve-unknown-fields"),
            &json!(false),
            "must be true or undefined",
        );
    }
    super::lists::list_and_map_types(schema, field, causes);
    for (name, one) in members(schema, "properties") {
        let below = format!("{field}.properties[{name}]");
        rules(one, &below, depth + 1, causes);
    }
    for name in ["additionalProperties", "items", "not"] {
        if schema[name].is_object() {
            rules(&schema[name], &format!("{field}.{name}"), depth + 1, causes);
        }
    }
    for name in ["allOf", "oneOf", "anyOf"] {
        for (index, one) in items(&schema[name]).iter().enumerate() {
            let below = format!("{field}.{name}[{index}]");
            rules(one, &below, depth + 1, causes);
        }
    }
}
