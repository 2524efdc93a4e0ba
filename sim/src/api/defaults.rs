//! Default values: what an API server fills in where a body says nothing.
//!
//! In: an object of a built-in kind as the client sent it, or as a patch made it. Out: the same object in canonical form
//! with its defaults. Pure. What needs the rest of the cluster (addresses, node ports, tokens, tolerations, uids) is
//! admission's, not ours.

mod cluster;
mod network;
mod pod;
mod workload;

use serde_json::{Map, Value, json};

use super::schema::canonical::canonicalise;
use super::schema::types::types;

pub use pod::quality_of_service;

/// Brings an object into canonical form and fills in its defaults. Doing it twice changes nothing. Kinds that are not
/// built in stay as they are.
pub fn apply(kind: &str, object: &mut Value) {
    settle(kind, object);
    let version = object["apiVersion"].as_str().unwrap_or_default().to_owned();
    if let Value::Object(entries) = object {
        match kind {
            "Pod" => pod::pod(entries),
            "PodTemplate" => within(entries, &["template", "spec"], pod::template_spec),
            "Deployment"
            | "ReplicaSet"
            | "DaemonSet"
            | "StatefulSet"
            | "ReplicationController"
            | "Job"
            | "CronJob"
            | "HorizontalPodAutoscaler" => workload::apply(kind, &version, entries),
            "Service" | "Endpoints" | "EndpointSlice" | "IngressClass" | "NetworkPolicy" => {
                network::apply(kind, entries);
            }
            _ => cluster::apply(kind, entries),
        }
    }
    settle(kind, object);
}

/// What only creating an object does: its status begins empty, a namespace gets its finalizer, a pod its phase.
pub fn create(kind: &str, object: &mut Value) {
    let has_status = types()
        .of(kind, object)
        .is_some_and(|of| of.fields.contains_key("status"));
    let Value::Object(entries) = object else {
        return;
    };
    if has_status && kind != "Node" {
        entries.insert("status".to_owned(), json!({}));
    }
    match kind {
        "Pod" => {
            let class = quality_of_service(entries);
            entries.insert(
                "status".to_owned(),
                json!({"phase": "Pending", "qosClass": class}),
            );
        }
        "DaemonSet" => workload::set_template_generation(entries, 1),
        _ => cluster::create(kind, entries),
    }
    settle(kind, object);
}

/// What only a replacement of an object does.
pub fn update(kind: &str, old: &Value, new: &mut Value) {
    let Value::Object(entries) = new else { return };
    if kind == "DaemonSet" {
        let changed = old["spec"]["template"]
            != entries
                .get("spec")
                .map_or(Value::Null, |spec| spec["template"].clone());
        let generation = workload::template_generation(old) + i64::from(changed);
        workload::set_template_generation(entries, generation);
    }
}

/// Canonical form, but for one thing: Go tells an empty list from none until it stores the object, and the refusal of an
/// Ingress without rules shows the difference.
fn settle(kind: &str, object: &mut Value) {
    let spec = &object["spec"];
    let has_no_rules =
        kind == "Ingress" && spec["rules"] == json!([]) && spec["defaultBackend"].is_null();
    canonicalise(kind, object);
    if has_no_rules && let Some(spec) = object.get_mut("spec").and_then(Value::as_object_mut) {
        spec.insert("rules".to_owned(), json!([]));
    }
}

/// Sets a member that is absent, null or an empty text.
fn fill(entries: &mut Map<String, Value>, name: &str, value: impl Into<Value>) {
    if is_unset(entries.get(name)) {
        entries.insert(name.to_owned(), value.into());
    }
}

fn is_unset(value: Option<&Value>) -> bool {
    value.is_none_or(|value| value.is_null() || value == "")
}

/// The text of a member, or nothing.
fn text<'a>(entries: &'a Map<String, Value>, name: &str) -> &'a str {
    entries
        .get(name)
        .and_then(Value::as_str)
        .unwrap_or_default()
}

/// The object at a member, made if there is none; `None` when something else stands there.
fn object<'a>(
    entries: &'a mut Map<String, Value>,
    name: &str,
) -> Option<&'a mut Map<String, Value>> {
    fill(entries, name, json!({}));
    entries.get_mut(name).and_then(Value::as_object_mut)
}

/// Does something to the object at a path, if there is one.
fn within(
    entries: &mut Map<String, Value>,
    path: &[&str],
    act: impl FnOnce(&mut Map<String, Value>),
) {
    let mut at = entries;
    for name in path {
        let Some(Value::Object(next)) = at.get_mut(*name) else {
            return;
        };
        at = next;
    }
    act(at);
}

/// Does something to every object in the list at a member.
fn each(
    entries: &mut Map<String, Value>,
    name: &str,
    mut act: impl FnMut(&mut Map<String, Value>),
) {
    let Some(Value::Array(items)) = entries.get_mut(name) else {
        return;
    };
    for item in items.iter_mut().filter_map(Value::as_object_mut) {
        act(item);
    }
}

#[cfg(test)]
mod tests;
