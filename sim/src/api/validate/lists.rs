//! How a schema may say that lists and maps are merged. Pure.
//!
//! In: one schema of a definition. Out: faults of `x-kubernetes-list-type`, `-list-map-keys` and `-map-type`.

use serde_json::{Value, json};

use super::{Causes, is_empty, items, text};

const LIST_TYPE: &str = "x-kubernetes-list-type";
const MAP_TYPE: &str = "x-kubernetes-map-type";
const KEYS: &str = "x-kubernetes-list-map-keys";

/// Adds the faults of one schema; its parts are not looked into.
pub(super) fn list_and_map_types(schema: &Value, field: &str, causes: &mut Causes) {
    let list = &schema[LIST_TYPE];
    for (name, wanted) in [(MAP_TYPE, "object"), (LIST_TYPE, "array")] {
        if schema[name].is_null() || schema["type"] == wanted {
            continue;
        }
        let why = format!("must be {wanted} if {name} is specified");
        if is_empty(&schema["type"]) {
            causes.required(format!("{field}.type"), &why);
        } else {
            causes.invalid(format!("{field}.type"), &schema["type"], &why);
        }
    }
    let map = &schema[MAP_TYPE];
    if !map.is_null() && map != "atomic" && map != "granular" {
        causes.not_supported(format!("{field}.{MAP_TYPE}"), map, &["atomic", "granular"]);
    }
    if list == "set" && schema["type"] == "array" {
        set_items(&schema["items"], field, causes);
    }
    if !list.is_null() && !["atomic", "set", "map"].contains(&text(list)) {
        causes.not_supported(
            format!("{field}.{LIST_TYPE}"),
            list,
            &["atomic", "set", "map"],
        );
    }
    if !items(&schema[KEYS]).is_empty() && list != "map" {
        let why = "must be map if x-kubernetes-list-map-keys is non-empty";
        if list.is_null() {
            causes.required(format!("{field}.{LIST_TYPE}"), why);
        } else {
            causes.invalid(format!("{field}.{LIST_TYPE}"), list, why);
        }
    }
    if list == "map" {
        keyed(schema, field, causes);
    }
    if (list == "map" || list == "set") && schema["items"]["nullable"] == true {
        let why = format!("cannot be nullable when {LIST_TYPE} is {}", text(list));
        causes.forbidden(format!("{field}.items.nullable"), &why);
    }
    if list == "map" {
        keys_are_there(schema, field, causes);
    }
}

fn set_items(item: &Value, field: &str, causes: &mut Causes) {
    let why = "must be atomic as item of a list with x-kubernetes-list-type=set";
    let own = &item[LIST_TYPE];
    if item["type"] == "array" && !own.is_null() && own != "atomic" {
        causes.invalid(format!("{field}.items.{LIST_TYPE}"), own, why);
    }
    if item["type"] == "object" && item[MAP_TYPE] != "atomic" {
        causes.invalid(format!("{field}.items.{MAP_TYPE}"), own, why);
    }
}

fn keyed(schema: &Value, field: &str, causes: &mut Causes) {
    let keys = items(&schema[KEYS]);
    let item = &schema["items"];
    if keys.is_empty() {
        causes.required(
            format!("{field}.{KEYS}"),
            "must not be empty if x-kubernetes-list-type is map",
        );
    }
    if item.is_null() {
        causes.required(
            format!("{field}.items"),
            "must have a schema if x-kubernetes-list-type is map",
        );
        return;
    }
    if item["type"] != "object" {
        causes.invalid(
            format!("{field}.items.type"),
            &json!(text(&item["type"])),
            "must be object if parent array's x-kubernetes-list-type is map",
        );
        return;
    }
    for (index, key) in keys.iter().enumerate() {
        let known = &item["properties"][text(key)];
        if known["type"] == "array" || known["type"] == "object" {
            causes.invalid(
                format!("{field}.items.properties[{}].type", text(key)),
                &item["type"],
                "must be a scalar type if parent array's x-kubernetes-list-type is map",
            );
        } else if !known.is_object() {
            causes.invalid(
                format!("{field}.{KEYS}"),
                &schema[KEYS],
                "entries must all be names of item properties",
            );
        }
        if keys[..index].contains(key) {
            causes.invalid(
                format!("{field}.{KEYS}"),
                &schema[KEYS],
                "must not contain duplicate entries",
            );
        }
    }
}

/// A key that can be left out is no key.
fn keys_are_there(schema: &Value, field: &str, causes: &mut Causes) {
    let item = &schema["items"];
    for key in items(&schema[KEYS]) {
        let known = &item["properties"][text(key)];
        let at = format!("{field}.items.properties[{}]", text(key));
        if !known.is_object() {
            continue;
        }
        if !items(&item["required"]).contains(key) && known["default"].is_null() {
            causes.required(
                format!("{at}.default"),
                "this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property",
            );
        }
        if known["nullable"] == true {
            causes.forbidden(
                format!("{at}.nullable"),
                "this property is in x-kubernetes-list-map-keys, so it cannot be nullable",
            );
        }
    }
}
