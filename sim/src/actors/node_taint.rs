//! Keeps pods from nodes that cannot take them: the `NoSchedule` taints that follow from a node's state.
//!
//! In: nodes. Out: their taints. An API server gives every new node the taint `not-ready`; this is who takes it off. Taints
//! that evict (`NoExecute`) belong to the node's lifecycle and are left alone.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, Taint};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::Api;
use kube::api::Patch;
use serde_json::json;

use super::queue::{Queue, work};
use super::store::Key;
use super::write::{Writer, timed, unless_gone};
use super::{CONTROLLER_MANAGER, Context};
use crate::clock::wall_now;

pub(crate) const UNSCHEDULABLE: &str = "node.kubernetes.io/unschedulable";
pub(crate) const NOT_READY: &str = "node.kubernetes.io/not-ready";
const UNREACHABLE: &str = "node.kubernetes.io/unreachable";
const MEMORY_PRESSURE: &str = "node.kubernetes.io/memory-pressure";
const DISK_PRESSURE: &str = "node.kubernetes.io/disk-pressure";
const PID_PRESSURE: &str = "node.kubernetes.io/pid-pressure";
const NO_NETWORK: &str = "node.kubernetes.io/network-unavailable";

/// The taints that this controller sets and takes off.
const OURS: [&str; 7] = [
    UNSCHEDULABLE,
    NOT_READY,
    UNREACHABLE,
    MEMORY_PRESSURE,
    DISK_PRESSURE,
    PID_PRESSURE,
    NO_NETWORK,
];

const RETRY_DELAY_FIRST: Duration = Duration::from_millis(5);

/// Makes the controller listen to the stores, and returns its work, which has no end.
pub(crate) fn run(context: Context) -> impl Future<Output = ()> + Send {
    let stores = context.stores;
    let writer = Writer::new(context.client, CONTROLLER_MANAGER);
    let queue = Queue::new(RETRY_DELAY_FIRST);
    let adder = Arc::clone(&queue);
    stores.nodes.on_change(move |_, after| {
        if let Some(node) = after {
            adder.add(Key::of(node));
        }
    });
    async move {
        stores.nodes.synced().await;
        work("node_taint", &queue, |key| {
            let (stores, writer) = (&stores, &writer);
            async move {
                let Some(node) = stores.nodes.get(&key) else {
                    return Ok(());
                };
                let Some(taints) = step(&node, wall_now()) else {
                    return Ok(());
                };
                let api: Api<Node> = Api::all(writer.client());
                let patch = Patch::Merge(json!({
                    "metadata": { "resourceVersion": node.metadata.resource_version },
                    "spec": { "taints": taints },
                }));
                let params = writer.patch_params();
                let patched = timed(api.patch(&key.name, &params, &patch)).await;
                unless_gone(patched).map(|_| ())
            }
        })
        .await;
    }
}

/// The taints that the node should have; none when it has them. Pure.
fn step(node: &Node, now: Timestamp) -> Option<Vec<Taint>> {
    let present = node.spec.as_ref().and_then(|spec| spec.taints.as_deref());
    let present = present.unwrap_or_default();
    let wanted = wanted(node);
    let is_ours =
        |taint: &Taint| taint.effect == "NoSchedule" && OURS.contains(&taint.key.as_str());
    let mut taints: Vec<Taint> = present
        .iter()
        .filter(|taint| !is_ours(taint) || wanted.contains(&taint.key.as_str()))
        .cloned()
        .collect();
    for key in wanted {
        let is_there = |taint: &Taint| is_ours(taint) && taint.key == key;
        if !taints.iter().any(is_there) {
            taints.push(Taint {
                key: key.into(),
                effect: "NoSchedule".into(),
                time_added: Some(Time(now)),
                value: None,
            });
        }
    }
    (taints != present).then_some(taints)
}

fn wanted(node: &Node) -> Vec<&'static str> {
    let status = node.status.as_ref();
    let conditions = status.and_then(|status| status.conditions.as_deref());
    let is = |type_: &str, status: &str| {
        let mut conditions = conditions.unwrap_or_default().iter();
        conditions.any(|condition| condition.type_ == type_ && condition.status == status)
    };
    let unschedulable = node.spec.as_ref().and_then(|spec| spec.unschedulable);
    let is_known = is("Ready", "True") || is("Ready", "False") || is("Ready", "Unknown");
    let all = [
        (unschedulable == Some(true), UNSCHEDULABLE),
        (is("Ready", "False") || !is_known, NOT_READY),
        (is("Ready", "Unknown"), UNREACHABLE),
        (is("MemoryPressure", "True"), MEMORY_PRESSURE),
        (is("DiskPressure", "True"), DISK_PRESSURE),
        (is("PIDPressure", "True"), PID_PRESSURE),
        (is("NetworkUnavailable", "True"), NO_NETWORK),
    ];
    let wanted = all.into_iter().filter(|(is, _)| *is);
    wanted.map(|(_, key)| key).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn taints_follow_the_state_of_the_node_and_others_stay() {
        let mine = json!({ "key": "for", "value": "db", "effect": "NoSchedule" });
        let evicting = json!({ "key": NOT_READY, "effect": "NoExecute" });
        let fresh = json!({ "key": NOT_READY, "effect": "NoSchedule" });
        let cases = [
            ("True", false, json!([]), None),
            ("True", false, json!([fresh]), Some("")),
            ("True", false, json!([mine, fresh]), Some("for")),
            ("False", false, json!([]), Some(NOT_READY)),
            ("False", false, json!([fresh]), None),
            (
                "Unknown",
                false,
                json!([fresh, evicting]),
                Some("node.kubernetes.io/not-ready node.kubernetes.io/unreachable"),
            ),
            (
                "True",
                true,
                json!([mine]),
                Some("for node.kubernetes.io/unschedulable"),
            ),
        ];
        for (ready, unschedulable, taints, expected) in cases {
            let node = json!({
                "spec": { "taints": taints, "unschedulable": unschedulable },
                "status": { "conditions": [{ "type": "Ready", "status": ready }] },
            });
            let node: Node = serde_json::from_value(node).unwrap();
            let stepped = step(&node, Timestamp::UNIX_EPOCH);
            let keys = stepped.map(|taints| {
                let keys: Vec<String> = taints.into_iter().map(|taint| taint.key).collect();
                keys.join(" ")
            });
            assert_eq!(
                keys.as_deref(),
                expected,
                "{ready} {unschedulable} {taints}"
            );
        }
    }
}
