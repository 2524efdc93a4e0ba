//! What follows from a node's present state alone: the taints that keep new pods away, and labels that have an old name too.
//!
//! In: a node. Out: the taints to put on and to take off, and labels. An API server gives every new node the taint
//! `not-ready`; this is who takes it off. Taints of users are left alone, and so are those that evict. Pure.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Node;

use super::super::node_taint::{
    DISK_PRESSURE, MEMORY_PRESSURE, NO_NETWORK, NOT_READY, Name, PID_PRESSURE, UNREACHABLE,
    UNSCHEDULABLE,
};

/// Which status of which condition means which taint.
const CONDITIONS: [(&str, &str, &str); 6] = [
    ("Ready", "False", NOT_READY),
    ("Ready", "Unknown", UNREACHABLE),
    ("MemoryPressure", "True", MEMORY_PRESSURE),
    ("DiskPressure", "True", DISK_PRESSURE),
    ("NetworkUnavailable", "True", NO_NETWORK),
    ("PIDPressure", "True", PID_PRESSURE),
];

/// Labels, and the names that they had before.
const LABELS: [(&str, &str); 2] = [
    ("kubernetes.io/os", "beta.kubernetes.io/os"),
    ("kubernetes.io/arch", "beta.kubernetes.io/arch"),
];

/// The taints to put on, and those to take off.
pub(super) fn taints(node: &Node) -> (Vec<Name>, Vec<Name>) {
    let wanted = wanted(node);
    let ours = CONDITIONS.iter().map(|(_, _, key)| *key);
    let ours = ours.chain([UNSCHEDULABLE]).map(Name::no_schedule);
    let remove = ours.filter(|name| name.is_on(node) && !wanted.contains(name));
    let remove = remove.collect();
    let add = wanted.into_iter().filter(|name| !name.is_on(node));
    (add.collect(), remove)
}

fn wanted(node: &Node) -> Vec<Name> {
    let conditions = node
        .status
        .iter()
        .flat_map(|status| status.conditions.iter().flatten());
    let mut wanted: Vec<Name> = conditions
        .filter_map(|condition| {
            let mut meanings = CONDITIONS.iter();
            let (_, _, key) = meanings.find(|(type_, status, _)| {
                *type_ == condition.type_ && *status == condition.status
            })?;
            Some(Name::no_schedule(key))
        })
        .collect();
    if node.spec.as_ref().and_then(|spec| spec.unschedulable) == Some(true) {
        wanted.push(Name::no_schedule(UNSCHEDULABLE));
    }
    wanted
}

/// The labels that the node lacks.
pub(super) fn labels(node: &Node) -> BTreeMap<&'static str, String> {
    let present = |name: &str| node.metadata.labels.as_ref()?.get(name).cloned();
    let missing = LABELS.iter().filter_map(|(name, old)| {
        let value = present(name)?;
        (present(old).as_ref() != Some(&value)).then_some((*old, value))
    });
    missing.collect()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn taints_follow_the_state_of_the_node_and_others_stay() {
        let mine = json!({ "key": "for", "value": "db", "effect": "NoSchedule" });
        let evicting = json!({ "key": NOT_READY, "effect": "NoExecute" });
        let fresh = json!({ "key": NOT_READY, "effect": "NoSchedule" });
        let ready = |status: &str| json!([{ "type": "Ready", "status": status }]);
        let full = json!([{ "type": "DiskPressure", "status": "True" }, { "type": "Ready", "status": "True" }]);
        // Conditions, cordoned, taints; keys that are put on, keys that are taken off.
        let cases = [
            (ready("True"), false, json!([]), "", ""),
            (ready("True"), false, json!([fresh]), "", "not-ready"),
            (
                ready("True"),
                false,
                json!([mine, fresh, evicting]),
                "",
                "not-ready",
            ),
            (ready("False"), false, json!([]), "not-ready", ""),
            (ready("False"), false, json!([fresh]), "", ""),
            (
                ready("Unknown"),
                false,
                json!([fresh, evicting]),
                "unreachable",
                "not-ready",
            ),
            (ready("True"), true, json!([mine]), "unschedulable", ""),
            (
                ready("Unknown"),
                true,
                json!([]),
                "unreachable unschedulable",
                "",
            ),
            (full, false, json!([]), "disk-pressure", ""),
            // A real one does the same: without a condition nothing speaks against the node.
            (json!([]), false, json!([fresh]), "", "not-ready"),
        ];
        let keys = |names: Vec<Name>| {
            let keys = names
                .iter()
                .map(|name| name.key.trim_start_matches("node.kubernetes.io/"));
            keys.collect::<Vec<_>>().join(" ")
        };
        for (conditions, unschedulable, taints, add, remove) in cases {
            let node = json!({
                "spec": { "taints": taints, "unschedulable": unschedulable },
                "status": { "conditions": conditions },
            });
            let (added, removed) = super::taints(&serde_json::from_value(node.clone()).unwrap());
            assert_eq!(
                (keys(added).as_str(), keys(removed).as_str()),
                (add, remove),
                "{node}"
            );
        }
    }

    #[test]
    fn a_node_has_its_labels_under_their_old_names_too() {
        let labels = |labels: Value| {
            let node = json!({ "metadata": { "labels": labels } });
            let node = serde_json::from_value(node).unwrap();
            serde_json::to_value(super::labels(&node)).unwrap()
        };
        let (os, old) = LABELS[0];
        assert_eq!(labels(json!({ os: "linux" })), json!({ old: "linux" }));
        assert_eq!(
            labels(json!({ os: "linux", old: "bsd" })),
            json!({ old: "linux" })
        );
        assert_eq!(labels(json!({ os: "linux", old: "linux" })), json!({}));
        assert_eq!(labels(json!({ old: "linux" })), json!({}));
    }
}
