//! Which pods nobody else will ever remove.
//!
//! In: all pods and nodes as last seen, tick by tick. Out: the pods to remove, and the nodes that are missing and must be
//! asked for first. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Node, Pod};
use tokio::time::Instant;

use super::super::node_taint::{self, OUT_OF_SERVICE};
use super::super::pod;
use super::super::scheduler::fit;
use super::super::store::Key;

/// Ended pods that may stay; above it the oldest go.
const TERMINATED_MAX: usize = 12_500;

/// How long a node must be missing before anybody asks whether it is gone.
const QUARANTINE: Duration = Duration::from_secs(40);

/// The nodes that are missing, and until when they are given time.
#[derive(Debug, Default)]
pub(super) struct Quarantine(BTreeMap<String, Instant>);

// === impl Quarantine ===

impl Quarantine {
    /// Takes the nodes that pods are bound to and that are not there; returns those whose time is over.
    pub(super) fn step(
        &mut self,
        pods: &[Arc<Pod>],
        nodes: &BTreeSet<String>,
        now: Instant,
    ) -> Vec<String> {
        for node in pods.iter().filter_map(|pod| pod::node_name(pod)) {
            if !nodes.contains(node) {
                self.0.entry(node.to_owned()).or_insert(now + QUARANTINE);
            }
        }
        let over = self.0.iter().filter(|(_, until)| **until <= now);
        let over: Vec<String> = over.map(|(name, _)| name.clone()).collect();
        self.0.retain(|_, until| *until > now);
        over.into_iter()
            .filter(|name| !nodes.contains(name))
            .collect()
    }
}

/// Ended pods beyond the number that may stay: evicted ones first, then the oldest.
pub(super) fn terminated(pods: &[Arc<Pod>], max: usize) -> Vec<Arc<Pod>> {
    let mut ended: Vec<_> = pods
        .iter()
        .filter(|pod| pod::is_finished(pod))
        .cloned()
        .collect();
    ended.sort_by_cached_key(|pod| {
        let status = pod.status.as_ref();
        let is_evicted = status.and_then(|status| status.reason.as_deref()) == Some("Evicted");
        let created = pod
            .metadata
            .creation_timestamp
            .as_ref()
            .map(|created| created.0);
        (!is_evicted, created, Key::of(&**pod).name)
    });
    ended.truncate(ended.len().saturating_sub(max));
    ended
}

/// Ended pods beyond the usual number.
pub(super) fn too_many(pods: &[Arc<Pod>]) -> Vec<Arc<Pod>> {
    terminated(pods, TERMINATED_MAX)
}

/// Pods that are being deleted on nodes that are not ready and said to be out of service.
pub(super) fn out_of_service(pods: &[Arc<Pod>], nodes: &[Arc<Node>]) -> Vec<Arc<Pod>> {
    let lost: BTreeSet<&str> = nodes
        .iter()
        .filter(|node| !fit::is_ready(node))
        .filter(|node| {
            node_taint::of(node)
                .iter()
                .any(|taint| taint.key == OUT_OF_SERVICE)
        })
        .filter_map(|node| node.metadata.name.as_deref())
        .collect();
    let pods = pods.iter().filter(|pod| pod::is_terminating(pod));
    let pods = pods.filter(|pod| pod::node_name(pod).is_some_and(|node| lost.contains(node)));
    pods.cloned().collect()
}

/// Pods that are being deleted and were never bound: no kubelet will end them.
pub(super) fn unscheduled(pods: &[Arc<Pod>]) -> Vec<Arc<Pod>> {
    let pods = pods.iter().filter(|pod| pod::is_terminating(pod));
    pods.filter(|pod| pod::node_name(pod).is_none())
        .cloned()
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn pod(value: Value) -> Arc<Pod> {
        Arc::new(serde_json::from_value(value).unwrap())
    }

    fn names(pods: &[Arc<Pod>]) -> Vec<String> {
        pods.iter().map(|pod| Key::of(&**pod).name).collect()
    }

    #[test]
    fn a_node_is_asked_for_at_the_first_tick_after_forty_seconds() {
        let pods = [pod(
            json!({ "metadata": { "name": "p" }, "spec": { "nodeName": "gone", "containers": [] } }),
        )];
        let (start, none) = (Instant::now(), BTreeSet::new());
        let back = BTreeSet::from(["gone".to_owned()]);
        let mut quarantine = Quarantine::default();
        for (seconds, nodes, expected) in [
            (0, &none, None),
            (20, &none, None),
            (40, &none, Some("gone")),
            (60, &none, None),
            (80, &none, None),
            (100, &back, None),
            (120, &none, None),
            (140, &none, None),
            (160, &none, Some("gone")),
        ] {
            let asked = quarantine.step(&pods, nodes, start + SECOND * seconds);
            assert_eq!(asked.first().map(String::as_str), expected, "{seconds}");
        }
    }

    #[test]
    fn ended_pods_beyond_the_limit_go_evicted_ones_first_then_the_oldest() {
        let ended = |name: &str, second: u32, phase: &str, reason: Option<&str>| {
            let created = format!("2026-01-01T00:00:{second:02}Z");
            pod(
                json!({ "metadata": { "name": name, "creationTimestamp": created }, "status": { "phase": phase, "reason": reason } }),
            )
        };
        let pods = [
            ended("new", 3, "Failed", None),
            ended("old-b", 1, "Succeeded", None),
            ended("old-a", 1, "Failed", None),
            ended("evicted", 9, "Failed", Some("Evicted")),
            ended("runs", 0, "Running", None),
        ];
        for (max, expected) in [
            (0, vec!["evicted", "old-a", "old-b", "new"]),
            (1, vec!["evicted", "old-a", "old-b"]),
            (3, vec!["evicted"]),
            (4, vec![]),
            (9, vec![]),
        ] {
            assert_eq!(names(&terminated(&pods, max)), expected, "{max}");
        }
    }

    #[test]
    fn only_what_is_being_deleted_goes_with_its_node_or_without_one() {
        let deleted = |name: &str, node: Option<&str>, is_deleted: bool| {
            let at = is_deleted.then_some("2026-01-01T00:00:00Z");
            pod(
                json!({ "metadata": { "name": name, "deletionTimestamp": at }, "spec": { "nodeName": node, "containers": [] } }),
            )
        };
        let node = |name: &str, ready: &str, taint: Option<&str>| {
            let taints: Vec<Value> = taint
                .map(|key| json!({ "key": key, "effect": "NoExecute" }))
                .into_iter()
                .collect();
            let node = json!({ "metadata": { "name": name }, "spec": { "taints": taints },
                "status": { "conditions": [{ "type": "Ready", "status": ready }] } });
            Arc::new(serde_json::from_value::<Node>(node).unwrap())
        };
        let pods = [
            deleted("waits", None, false),
            deleted("never-bound", None, true),
            deleted("on-lost", Some("lost"), true),
            deleted("stays-on-lost", Some("lost"), false),
            deleted("on-unknown", Some("unknown"), true),
            deleted("on-ready", Some("ready"), true),
            deleted("on-gone", Some("gone"), true),
        ];
        let nodes = [
            node("lost", "Unknown", Some(OUT_OF_SERVICE)),
            node("unknown", "Unknown", None),
            node("ready", "True", Some(OUT_OF_SERVICE)),
        ];
        assert_eq!(names(&out_of_service(&pods, &nodes)), ["on-lost"]);
        assert_eq!(names(&unscheduled(&pods)), ["never-bound"]);
    }
}
