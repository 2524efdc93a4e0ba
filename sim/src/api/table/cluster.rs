//! Namespaces, nodes, events and what else has columns of its own, as rows.
//!
//! In: an object. Out: its cells. Pure.

use jiff::Timestamp;
use serde_json::Value;

use super::{NONE, age, items, name, number, or_none, plain, since};

pub(super) const NAMESPACE: &[&str] = &["Name", "Status", "Age"];
pub(super) const NODE: &[&str] = &[
    "Name",
    "Status",
    "Roles",
    "Age",
    "Version",
    "Internal-IP*",
    "External-IP*",
    "OS-Image*",
    "Kernel-Version*",
    "Container-Runtime*",
];
pub(super) const SECRET: &[&str] = &["Name", "Type", "Data", "Age"];
pub(super) const CONFIG_MAP: &[&str] = &["Name", "Data", "Age"];
pub(super) const SERVICE_ACCOUNT: &[&str] = &["Name", "Age"];
pub(super) const LEASE: &[&str] = &["Name", "Holder", "Age"];
pub(super) const EVENT: &[&str] = &[
    "Last Seen",
    "Type",
    "Reason",
    "Object",
    "Subobject*",
    "Source*",
    "Message",
    "First Seen*",
    "Count*",
    "Name*",
];
pub(super) const BINDING: &[&str] = &[
    "Name",
    "Role",
    "Age",
    "Users*",
    "Groups*",
    "ServiceAccounts*",
];
pub(super) const PRIORITY_CLASS: &[&str] = &[
    "Name",
    "Value:integer",
    "Global-Default:boolean",
    "Age",
    "PreemptionPolicy",
];

const ROLE_LABEL: &str = "node-role.kubernetes.io/";

/// Of a Namespace.
pub(super) fn namespace(object: &Value, now: Timestamp) -> Vec<Value> {
    vec![
        name(object),
        object["status"]["phase"].clone(),
        age(object, now),
    ]
}

/// Of a Node.
pub(super) fn node(object: &Value, now: Timestamp) -> Vec<Value> {
    let status = &object["status"];
    let ready = items(&status["conditions"])
        .iter()
        .find(|condition| condition["type"] == "Ready");
    let mut word = match ready.map(|condition| condition["status"] == "True") {
        Some(true) => "Ready",
        Some(false) => "NotReady",
        None => "Unknown",
    }
    .to_owned();
    if object["spec"]["unschedulable"] == true {
        word.push_str(",SchedulingDisabled");
    }
    let mut roles: Vec<&str> = Vec::new();
    for (label, value) in object["metadata"]["labels"]
        .as_object()
        .into_iter()
        .flatten()
    {
        roles.extend(
            label
                .strip_prefix(ROLE_LABEL)
                .filter(|role| !role.is_empty()),
        );
        roles.extend(
            value
                .as_str()
                .filter(|role| label == "kubernetes.io/role" && !role.is_empty()),
        );
    }
    roles.sort_unstable();
    roles.dedup();
    let address = |kind: &str| {
        let found = items(&status["addresses"])
            .iter()
            .find(|address| address["type"] == kind);
        found.map_or(Value::from(NONE), |address| address["address"].clone())
    };
    let known = |field: &str| {
        let text = status["nodeInfo"][field]
            .as_str()
            .filter(|text| !text.is_empty());
        Value::from(text.unwrap_or("<unknown>"))
    };
    vec![
        name(object),
        Value::from(word),
        Value::from(if roles.is_empty() {
            NONE.to_owned()
        } else {
            roles.join(",")
        }),
        age(object, now),
        status["nodeInfo"]["kubeletVersion"].clone(),
        address("InternalIP"),
        address("ExternalIP"),
        known("osImage"),
        kernel_with_architecture(known("kernelVersion"), &status["nodeInfo"]),
        known("containerRuntimeVersion"),
    ]
}

fn kernel_with_architecture(kernel: Value, info: &Value) -> Value {
    let architecture = info["architecture"].as_str().unwrap_or_default();
    let kernel = kernel.as_str().unwrap_or_default();
    match architecture {
        "" => Value::from(kernel),
        architecture => Value::from(format!("{kernel} ({architecture})")),
    }
}

/// Of a Secret.
pub(super) fn secret(object: &Value, now: Timestamp) -> Vec<Value> {
    let count = object["data"].as_object().map_or(0, serde_json::Map::len);
    vec![
        name(object),
        object["type"].clone(),
        Value::from(count),
        age(object, now),
    ]
}

/// Of a ConfigMap.
pub(super) fn config_map(object: &Value, now: Timestamp) -> Vec<Value> {
    let counts = ["data", "binaryData"]
        .map(|field| object[field].as_object().map_or(0, serde_json::Map::len));
    vec![
        name(object),
        Value::from(counts[0] + counts[1]),
        age(object, now),
    ]
}

/// Of a ServiceAccount.
pub(super) fn service_account(object: &Value, now: Timestamp) -> Vec<Value> {
    vec![name(object), age(object, now)]
}

/// Of a Lease.
pub(super) fn lease(object: &Value, now: Timestamp) -> Vec<Value> {
    vec![
        name(object),
        Value::from(
            object["spec"]["holderIdentity"]
                .as_str()
                .unwrap_or_default(),
        ),
        age(object, now),
    ]
}

/// Of an Event, in either of its two versions.
pub(super) fn event(object: &Value, now: Timestamp) -> Vec<Value> {
    let either = |old: &str, new: &str| {
        if object[old].is_null() {
            object[new].clone()
        } else {
            object[old].clone()
        }
    };
    let about = either("involvedObject", "regarding");
    let kind = plain(&about["kind"]).to_lowercase();
    let target = match about["name"].as_str() {
        Some(name) if !name.is_empty() => format!("{kind}/{name}"),
        _ => kind,
    };
    let timestamp = |old: &str, new: &str| {
        let at = either(old, new);
        if at.is_null() {
            at
        } else {
            Value::from(since(&at, now))
        }
    };
    let first =
        Some(timestamp("firstTimestamp", "deprecatedFirstTimestamp")).filter(|at| !at.is_null());
    let first = first.unwrap_or_else(|| Value::from(since(&object["eventTime"], now)));
    let mut last = Some(timestamp("lastTimestamp", "deprecatedLastTimestamp"))
        .filter(|at| !at.is_null())
        .unwrap_or_else(|| first.clone());
    let mut count = number(&either("count", "deprecatedCount")).max(1);
    if object["series"].is_object() {
        last = Value::from(since(&object["series"]["lastObservedTime"], now));
        count = number(&object["series"]["count"]);
    }
    let source = either("source", "deprecatedSource");
    let reporter = either("reportingComponent", "reportingController");
    let told = [source["component"].as_str(), source["host"].as_str()];
    let mut told: Vec<&str> = told
        .into_iter()
        .flatten()
        .filter(|text| !text.is_empty())
        .collect();
    if told.is_empty() {
        told.extend(
            [reporter.as_str(), object["reportingInstance"].as_str()]
                .into_iter()
                .flatten()
                .filter(|text| !text.is_empty()),
        );
    }
    vec![
        last,
        object["type"].clone(),
        object["reason"].clone(),
        Value::from(target),
        Value::from(about["fieldPath"].as_str().unwrap_or_default()),
        Value::from(told.join(", ")),
        Value::from(
            either("message", "note")
                .as_str()
                .unwrap_or_default()
                .trim(),
        ),
        first,
        Value::from(count),
        name(object),
    ]
}

/// Of a RoleBinding or ClusterRoleBinding.
pub(super) fn binding(object: &Value, now: Timestamp) -> Vec<Value> {
    let role = &object["roleRef"];
    let subjects = |kind: &str| {
        let of_kind = items(&object["subjects"])
            .iter()
            .filter(|subject| subject["kind"] == kind);
        let names = of_kind.map(|subject| match subject["namespace"].as_str() {
            Some(namespace) if kind == "ServiceAccount" => {
                format!("{namespace}/{}", plain(&subject["name"]))
            }
            _ => plain(&subject["name"]),
        });
        Value::from(names.collect::<Vec<_>>().join(", "))
    };
    vec![
        name(object),
        Value::from(format!("{}/{}", plain(&role["kind"]), plain(&role["name"]))),
        age(object, now),
        subjects("User"),
        subjects("Group"),
        subjects("ServiceAccount"),
    ]
}

/// Of a PriorityClass.
pub(super) fn priority_class(object: &Value, now: Timestamp) -> Vec<Value> {
    vec![
        name(object),
        Value::from(number(&object["value"])),
        Value::from(object["globalDefault"] == true),
        age(object, now),
        or_none(&object["preemptionPolicy"]),
    ]
}
