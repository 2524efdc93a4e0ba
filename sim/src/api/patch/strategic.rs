//! Strategic merge patch: lists of built-in kinds merge by the keys that their types declare.
//!
//! In: the object and a patch that may hold directives (`$patch`, `$retainKeys`, `$setElementOrder/x`,
//! `$deleteFromPrimitiveList/x`). Out: the changed object. Pure. Items new to a list come before those that only the
//! server has, unless the patch names an order.

use serde_json::{Map, Value};

use super::Error;
use crate::api::schema::types::{Field, Struct, types};

const DIRECTIVE: &str = "$patch";
const RETAIN_KEYS: &str = "$retainKeys";
const ELEMENT_ORDER: &str = "$setElementOrder/";
const DELETE_ITEMS: &str = "$deleteFromPrimitiveList/";

/// Applies a strategic merge patch. Kinds that are not built in have no such patches.
pub fn strategic(kind: &str, current: &Value, patch: &Value) -> Result<Value, Error> {
    let Some(of) = types().of(kind, current) else {
        return Err(Error::Strategic(format!(
            "unable to find api field in struct {kind} for strategic merge patch"
        )));
    };
    let (Value::Object(current), Value::Object(patch)) = (current, patch) else {
        return Err(super::mistyped(patch, "map[string]interface {}"));
    };
    merge_map(current.clone(), patch.clone(), Some(of)).map(Value::Object)
}

fn merge_map(
    mut current: Map<String, Value>,
    mut patch: Map<String, Value>,
    of: Option<&Struct>,
) -> Result<Map<String, Value>, Error> {
    if let Some(directive) = patch.get(DIRECTIVE).cloned() {
        return match directive.as_str() {
            Some("replace") => {
                patch.remove(DIRECTIVE);
                Ok(patch)
            }
            Some("delete") => Ok(Map::new()),
            _ => Err(unknown_directive(&directive, &patch)),
        };
    }
    retain_keys(&mut current, &mut patch)?;
    set_element_orders(&mut current, &mut patch, of)?;
    for (key, change) in patch {
        if let Some(list) = key.strip_prefix(DELETE_ITEMS) {
            delete_items(&mut current, list, &change)?;
            continue;
        }
        let before = current.remove(&key);
        let field = of.and_then(|of| of.fields.get(key.as_str()));
        if let Some(after) = merge_value(before, change, field)? {
            current.insert(key, after);
        }
    }
    Ok(current)
}

/// The value of one field after the patch, or `None` when it goes.
fn merge_value(
    before: Option<Value>,
    change: Value,
    field: Option<&Field>,
) -> Result<Option<Value>, Error> {
    Ok(match (before, change) {
        (_, Value::Null) => None,
        (Some(Value::Object(before)), Value::Object(change)) => {
            let of = field.and_then(|field| field.shape.as_struct());
            Some(Value::Object(merge_map(before, change, of)?))
        }
        (Some(Value::Array(before)), Value::Array(change)) => {
            match field.and_then(|field| Some((field, field.merge_key?))) {
                Some((field, key)) => Some(Value::Array(merge_list(
                    before,
                    change,
                    key,
                    field.shape.item_struct(),
                )?)),
                None => Some(without_directives(Value::Array(change))),
            }
        }
        (_, change) => Some(without_directives(change)),
    })
}

/// Merges two lists: by key when they hold objects, as a set when they hold scalars.
fn merge_list(
    before: Vec<Value>,
    change: Vec<Value>,
    key: &str,
    of: Option<&Struct>,
) -> Result<Vec<Value>, Error> {
    if key.is_empty() {
        let mut merged = before.clone();
        for item in &change {
            if !merged.contains(item) {
                merged.push(item.clone());
            }
        }
        return Ok(ordered(merged, &change, &before, |a, b| a == b));
    }
    let (left, wanted, replace) = special_items(&before, change, key)?;
    if replace {
        return Ok(wanted);
    }
    let same = |a: &Value, b: &Value| a.get(key) == b.get(key);
    let mut merged = left;
    for item in &wanted {
        let Value::Object(patch) = item else {
            return Err(Error::Strategic(
                "invalid patch: a list of objects holds something else".to_owned(),
            ));
        };
        if !patch.contains_key(key) {
            return Err(no_merge_key(item, key));
        }
        match merged.iter_mut().find(|known| same(known, item)) {
            Some(Value::Object(known)) => {
                *known = merge_map(std::mem::take(known), patch.clone(), of)?
            }
            _ => merged.push(without_directives(item.clone())),
        }
    }
    Ok(ordered(merged, &wanted, &before, same))
}

/// Takes the items with `$patch` out of a patch: what is left of the list, the other items, and whether they replace it.
fn special_items(
    before: &[Value],
    change: Vec<Value>,
    key: &str,
) -> Result<(Vec<Value>, Vec<Value>, bool), Error> {
    let mut left = before.to_vec();
    let mut wanted = Vec::with_capacity(change.len());
    let mut replace = false;
    for item in change {
        match item.get(DIRECTIVE) {
            None => wanted.push(item),
            Some(Value::String(directive)) if directive == "replace" => replace = true,
            Some(Value::String(directive)) if directive == "delete" => {
                let Some(named) = item.get(key) else {
                    return Err(no_merge_key(&item, key));
                };
                left.retain(|known| known.get(key) != Some(named));
            }
            Some(Value::String(directive)) if directive == "merge" => {
                return Err(Error::Strategic(
                    "merging lists cannot yet be specified in the patch".to_owned(),
                ));
            }
            Some(directive) => {
                let map = item.as_object().expect("only objects have a directive");
                return Err(unknown_directive(directive, map));
            }
        }
    }
    Ok((left, wanted, replace))
}

/// Puts merged items into order: those of the patch as the patch has them, those that only the server has as it had
/// them, and an item of the patch first where the two say nothing about each other.
fn ordered(
    merged: Vec<Value>,
    patch_order: &[Value],
    server_order: &[Value],
    same: impl Fn(&Value, &Value) -> bool,
) -> Vec<Value> {
    let place = |order: &[Value], item: &Value| order.iter().position(|known| same(known, item));
    let (mut patched, mut kept): (Vec<Value>, Vec<Value>) = merged
        .into_iter()
        .partition(|item| place(patch_order, item).is_some());
    patched.sort_by_key(|item| place(patch_order, item));
    kept.sort_by_key(|item| place(server_order, item));
    let mut result = Vec::with_capacity(patched.len() + kept.len());
    let mut kept = kept.into_iter().peekable();
    for item in patched {
        let at = place(server_order, &item);
        while kept.peek().is_some_and(|other| {
            at.is_some_and(|at| place(server_order, other).is_some_and(|before| before < at))
        }) {
            result.extend(kept.next());
        }
        result.push(item);
    }
    result.extend(kept);
    result
}

/// `$retainKeys`: fields of the object that it does not name go before the patch is merged.
fn retain_keys(
    current: &mut Map<String, Value>,
    patch: &mut Map<String, Value>,
) -> Result<(), Error> {
    let Some(directive) = patch.remove(RETAIN_KEYS) else {
        return Ok(());
    };
    let Value::Array(keys) = directive else {
        return Err(Error::Strategic(
            "invalid patch format of retainKeys directive".to_owned(),
        ));
    };
    let retained = |key: &str| keys.iter().any(|retained| retained == key);
    if patch
        .iter()
        .any(|(key, value)| !value.is_null() && !key.starts_with('$') && !retained(key))
    {
        return Err(Error::Strategic(
            "patch has a field that its retainKeys directive leaves out".to_owned(),
        ));
    }
    current.retain(|key, _| retained(key));
    Ok(())
}

/// `$setElementOrder/x`: merges the list `x` of the patch, if there is one, and puts the result into that order.
fn set_element_orders(
    current: &mut Map<String, Value>,
    patch: &mut Map<String, Value>,
    of: Option<&Struct>,
) -> Result<(), Error> {
    let orders: Vec<String> = patch
        .keys()
        .filter(|key| key.starts_with(ELEMENT_ORDER))
        .cloned()
        .collect();
    for directive in orders {
        let Some(Value::Array(order)) = patch.remove(&directive) else {
            return Err(Error::Strategic(
                "invalid patch format of setElementOrder list".to_owned(),
            ));
        };
        let name = &directive[ELEMENT_ORDER.len()..];
        let field = of.and_then(|of| of.fields.get(name));
        let key = field.and_then(|field| field.merge_key).unwrap_or("");
        if let Some(delete) = patch.remove(&format!("{DELETE_ITEMS}{name}")) {
            delete_items(current, name, &delete)?;
        }
        let before = current.remove(name);
        let change = patch.remove(name);
        let server_order = before
            .as_ref()
            .and_then(Value::as_array)
            .cloned()
            .unwrap_or_default();
        let merged = match (before, change) {
            (before, None) => before,
            (before, Some(change)) => merge_value(before, change, field)?,
        };
        let Some(Value::Array(merged)) = merged else {
            continue;
        };
        let same = |a: &Value, b: &Value| {
            if key.is_empty() {
                a == b
            } else {
                a.get(key) == b.get(key)
            }
        };
        current.insert(
            name.to_owned(),
            Value::Array(ordered(merged, &order, &server_order, same)),
        );
    }
    Ok(())
}

/// `$deleteFromPrimitiveList/x`: takes scalars out of the list `x`.
fn delete_items(current: &mut Map<String, Value>, list: &str, gone: &Value) -> Result<(), Error> {
    let Value::Array(gone) = gone else {
        return Err(Error::Strategic(
            "invalid patch format of primitive list".to_owned(),
        ));
    };
    if let Some(Value::Array(items)) = current.get_mut(list) {
        items.retain(|item| !gone.contains(item));
    }
    Ok(())
}

/// A value that is new to the object: its directives have nothing to act on, and nulls in its maps say nothing.
fn without_directives(value: Value) -> Value {
    match value {
        Value::Object(entries) => {
            let kept = entries.into_iter().filter(|(key, value)| {
                let directive = key == DIRECTIVE
                    || key == RETAIN_KEYS
                    || key.starts_with(ELEMENT_ORDER)
                    || key.starts_with(DELETE_ITEMS);
                !directive && !value.is_null()
            });
            kept.map(|(key, value)| (key, without_directives(value)))
                .collect()
        }
        Value::Array(items) => {
            let deleted = |item: &Value| {
                matches!(
                    item.get(DIRECTIVE).and_then(Value::as_str),
                    Some("delete" | "replace")
                )
            };
            items
                .into_iter()
                .filter(|item| !deleted(item))
                .map(without_directives)
                .collect()
        }
        scalar @ (Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_)) => scalar,
    }
}

fn unknown_directive(directive: &Value, patch: &Map<String, Value>) -> Error {
    let map = go_text(&Value::Object(patch.clone()));
    Error::Strategic(format!(
        "unknown patch type: {} in map: {map}",
        go_text(directive)
    ))
}

fn no_merge_key(item: &Value, key: &str) -> Error {
    Error::Strategic(format!(
        "map: {} does not contain declared merge key: {key}",
        go_text(item)
    ))
}

/// A value as Go prints it with `%v`.
pub(crate) fn go_text(value: &Value) -> String {
    let joined = |parts: Vec<String>| parts.join(" ");
    match value {
        Value::Null => "<nil>".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(items) => format!("[{}]", joined(items.iter().map(go_text).collect())),
        Value::Object(entries) => {
            let parts = entries
                .iter()
                .map(|(key, value)| format!("{key}:{}", go_text(value)));
            format!("map[{}]", joined(parts.collect()))
        }
        Value::Bool(_) | Value::Number(_) => value.to_string(),
    }
}
