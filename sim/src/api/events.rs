//! Events have two forms, core and `events.k8s.io`, and one store, which keeps the core form. Pure.

use serde_json::{Map, Value, json};

/// Field names: core, then `events.k8s.io`.
const NAMES: &[(&str, &str)] = &[
    ("involvedObject", "regarding"),
    ("message", "note"),
    ("reportingComponent", "reportingController"),
    ("source", "deprecatedSource"),
    ("firstTimestamp", "deprecatedFirstTimestamp"),
    ("lastTimestamp", "deprecatedLastTimestamp"),
    ("count", "deprecatedCount"),
];

/// Core fields that are written even when they are empty.
const ALWAYS_IN_CORE: &[(&str, &str)] = &[
    ("source", "{}"),
    ("firstTimestamp", "null"),
    ("lastTimestamp", "null"),
    ("eventTime", "null"),
    ("reportingComponent", "\"\""),
    ("reportingInstance", "\"\""),
];

/// Fields of `events.k8s.io` that are written even when they are empty.
const ALWAYS_IN_NEW: &[(&str, &str)] = &[
    ("deprecatedSource", "{}"),
    ("deprecatedFirstTimestamp", "null"),
    ("deprecatedLastTimestamp", "null"),
    ("eventTime", "null"),
];

/// The `events.k8s.io` form of a stored event.
pub(crate) fn to_new(event: &Value) -> Value {
    let mut new = rename(event, |(old, new)| (*old, *new));
    for field in ["reportingController", "reportingInstance"] {
        if new.get(field).is_some_and(|value| value == "") {
            new.remove(field);
        }
    }
    fill(&mut new, ALWAYS_IN_NEW);
    new.insert("apiVersion".to_owned(), json!("events.k8s.io/v1"));
    new.insert("kind".to_owned(), json!("Event"));
    Value::Object(new)
}

/// The stored form of an event that came as `events.k8s.io`.
pub(crate) fn to_core(event: &Value) -> Value {
    let mut core = rename(event, |(old, new)| (*new, *old));
    fill_core(&mut core);
    Value::Object(core)
}

fn fill_core(core: &mut Map<String, Value>) {
    fill(core, ALWAYS_IN_CORE);
    core.insert("apiVersion".to_owned(), json!("v1"));
    core.insert("kind".to_owned(), json!("Event"));
}

fn fill(fields: &mut Map<String, Value>, always: &[(&str, &str)]) {
    for (name, text) in always {
        let empty = serde_json::from_str(text).unwrap_or(Value::Null);
        fields.entry(*name).or_insert(empty);
    }
}

fn rename(
    event: &Value,
    direction: impl Fn(&(&'static str, &'static str)) -> (&'static str, &'static str),
) -> Map<String, Value> {
    let Some(fields) = event.as_object() else {
        return Map::new();
    };
    let renamed = |name: &String| {
        let found = NAMES.iter().map(&direction).find(|(from, _)| from == name);
        found.map_or_else(|| name.clone(), |(_, to)| to.to_owned())
    };
    fields
        .iter()
        .map(|(name, value)| (renamed(name), value.clone()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_survives_the_way_there_and_back() {
        let mut core = json!({
            "kind": "Event", "apiVersion": "v1", "metadata": {"name": "e"}, "message": "m", "count": 2,
            "involvedObject": {"kind": "Pod", "name": "p"}, "reason": "Started", "type": "Normal",
        });
        fill_core(core.as_object_mut().expect("an object"));
        let new = to_new(&core);
        assert_eq!(new["regarding"]["name"], "p");
        assert_eq!(new["deprecatedCount"], 2);
        assert_eq!(to_core(&new), core);
    }
}
