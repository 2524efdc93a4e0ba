//! Conditions may name only what is defined outside of them. Pure.
//!
//! In: a schema and the conditions below it. Out: a fault for each field or item that is only in a condition.

use serde_json::Value;

use super::{Causes, DEPTH_MAX, items, members};

/// What the conditions of a schema name must also be defined outside of them.
pub(super) fn check(
    defined: &Value,
    condition: &Value,
    field: &str,
    named_in: &str,
    depth: usize,
    causes: &mut Causes,
) {
    if depth > DEPTH_MAX {
        return;
    }
    let alternatives = ["allOf", "anyOf", "oneOf"].into_iter().flat_map(|name| {
        let all = items(&condition[name]).iter().enumerate();
        all.map(move |(index, one)| (format!("{name}[{index}]"), one))
    });
    let not = condition.get("not").filter(|not| not.is_object());
    let not = not.map(|not| ("not".to_owned(), not));
    for (step, one) in not.into_iter().chain(alternatives) {
        let named_in = format!("{named_in}.{step}");
        named(defined, one, field, &named_in, depth + 1, causes);
    }
}

fn named(
    defined: &Value,
    condition: &Value,
    field: &str,
    named_in: &str,
    depth: usize,
    causes: &mut Causes,
) {
    if depth > DEPTH_MAX {
        return;
    }
    if !defined.is_object() {
        causes.required(field, &format!("because it is defined in {named_in}"));
        return;
    }
    check(defined, condition, field, named_in, depth, causes);
    let fields = members(condition, "properties").map(|(name, one)| {
        let known = &defined["properties"][name];
        (format!("properties[{name}]"), known, one)
    });
    let item = condition.get("items").filter(|item| item.is_object());
    let item = item.map(|item| ("items".to_owned(), &defined["items"], item));
    for (step, known, one) in item.into_iter().chain(fields) {
        let (field, named_in) = (format!("{field}.{step}"), format!("{named_in}.{step}"));
        named(known, one, &field, &named_in, depth + 1, causes);
    }
}
