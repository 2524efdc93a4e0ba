//! Which pods go first when a ReplicaSet shrinks.
//!
//! The order of the real controller: what serves least goes first, then what shares its node with most siblings, then what
//! is youngest. Ages are compared by powers of two, so that among pods of about the same age the choice is spread. Pure.

use std::cmp::{Ordering, Reverse};
use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;

use super::super::pod;

/// Lets an owner say which of its pods is cheapest to lose.
const DELETION_COST: &str = "controller.kubernetes.io/pod-deletion-cost";

/// The `count` of `pods` to delete; `siblings` are the active pods of all ReplicaSets with the same owner.
pub(crate) fn first_to_go(
    mut pods: Vec<Arc<Pod>>,
    siblings: &[Arc<Pod>],
    count: usize,
    now: Timestamp,
) -> Vec<Arc<Pod>> {
    if count < pods.len() {
        let mut on_node: BTreeMap<&str, usize> = BTreeMap::new();
        for sibling in siblings.iter().filter(|sibling| pod::is_active(sibling)) {
            *on_node.entry(node(sibling)).or_default() += 1;
        }
        pods.sort_by(|a, b| compare(a, b, &on_node, now));
        pods.truncate(count);
    }
    pods
}

fn compare(a: &Pod, b: &Pod, on_node: &BTreeMap<&str, usize>, now: Timestamp) -> Ordering {
    let is_bound = |pod| pod::node_name(pod).is_some();
    let crowd = |pod| on_node.get(node(pod)).copied().unwrap_or(0);
    is_bound(a)
        .cmp(&is_bound(b))
        .then_with(|| pod::phase(a).cmp(&pod::phase(b)))
        .then_with(|| pod::is_ready(a).cmp(&pod::is_ready(b)))
        .then_with(|| deletion_cost(a).cmp(&deletion_cost(b)))
        .then_with(|| Reverse(crowd(a)).cmp(&Reverse(crowd(b))))
        .then_with(|| age_class(ready_since(a), now).cmp(&age_class(ready_since(b), now)))
        .then_with(|| Reverse(restarts(a)).cmp(&Reverse(restarts(b))))
        .then_with(|| age_class(created(a), now).cmp(&age_class(created(b), now)))
        .then_with(|| pod::uid(a).cmp(pod::uid(b)))
}

fn node(pod: &Pod) -> &str {
    pod::node_name(pod).unwrap_or_default()
}

fn deletion_cost(pod: &Pod) -> i32 {
    let annotations = pod.metadata.annotations.as_ref();
    annotations
        .and_then(|annotations| annotations.get(DELETION_COST))
        .and_then(|cost| cost.parse().ok())
        .unwrap_or(0)
}

fn ready_since(pod: &Pod) -> Option<Timestamp> {
    let ready = pod::condition(pod, "Ready").filter(|condition| condition.status == "True")?;
    ready.last_transition_time.as_ref().map(|time| time.0)
}

fn created(pod: &Pod) -> Option<Timestamp> {
    pod.metadata.creation_timestamp.as_ref().map(|time| time.0)
}

/// The power of two that an age in nanoseconds reaches; what has no time yet, or one in the future, is youngest.
fn age_class(since: Option<Timestamp>, now: Timestamp) -> i64 {
    let age = since.map_or(0, |since| now.as_nanosecond() - since.as_nanosecond());
    u128::try_from(age)
        .ok()
        .and_then(u128::checked_ilog2)
        .map_or(-1, i64::from)
}

fn restarts(pod: &Pod) -> i32 {
    let statuses = pod
        .status
        .as_ref()
        .and_then(|status| status.container_statuses.as_ref());
    let counts = statuses
        .into_iter()
        .flatten()
        .map(|status| status.restart_count);
    counts.max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn pod(value: &Value) -> Arc<Pod> {
        Arc::new(serde_json::from_value(value.clone()).unwrap())
    }

    fn running(name: &str, node: &str, ready: &str, created: &str) -> Value {
        json!({
            "metadata": { "name": name, "uid": name, "creationTimestamp": created },
            "spec": { "nodeName": node, "containers": [] },
            "status": { "phase": "Running", "conditions": [
                { "type": "Ready", "status": ready, "lastTransitionTime": created }
            ] },
        })
    }

    const OLD: &str = "2026-01-01T00:00:00Z";
    const NEW: &str = "2026-01-01T00:50:00Z";

    /// Each row: the pod that goes, the one that stays, and why.
    #[test]
    fn what_serves_least_goes_first() {
        let steady = running("b", "n1", "True", OLD);
        let with = |change: fn(&mut Value)| {
            let mut pod = running("z", "n2", "True", OLD);
            change(&mut pod);
            pod
        };
        let cases = [
            ("unbound", with(|pod| pod["spec"]["nodeName"] = json!(null))),
            (
                "pending",
                with(|pod| pod["status"]["phase"] = json!("Pending")),
            ),
            ("not ready", running("z", "n2", "False", OLD)),
            (
                "cheap",
                with(|pod| pod["metadata"]["annotations"] = json!({ DELETION_COST: "-1" })),
            ),
            ("ready for less time", running("z", "n2", "True", NEW)),
            (
                "restarted",
                with(|pod| {
                    pod["status"]["containerStatuses"] = json!([{ "name": "a", "image": "a", "imageID": "", "ready": true, "restartCount": 2 }]);
                }),
            ),
            (
                "created later",
                with(|pod| pod["metadata"]["creationTimestamp"] = json!(NEW)),
            ),
        ];
        for (why, goes) in &cases {
            let pods = vec![pod(&steady), pod(goes)];
            let first = first_to_go(
                pods.clone(),
                &pods,
                1,
                "2026-01-01T01:00:00Z".parse().unwrap(),
            );
            assert_eq!(pod::uid(&first[0]), "z", "{why}");
        }
    }

    #[test]
    fn the_crowded_node_loses_first() {
        let a = pod(&running("a", "n1", "True", OLD));
        let z = pod(&running("z", "n2", "True", NEW));
        let sibling = pod(&running("s", "n1", "True", OLD));
        let siblings = [Arc::clone(&a), Arc::clone(&z), sibling];
        let first = first_to_go(
            vec![z, a],
            &siblings,
            1,
            "2026-01-01T01:00:00Z".parse().unwrap(),
        );
        assert_eq!(pod::uid(&first[0]), "a");
    }

    #[test]
    fn pods_of_about_the_same_age_are_told_apart_by_uid() {
        let a = pod(&running("a", "n1", "True", "2026-01-01T00:00:00Z"));
        let b = pod(&running("b", "n2", "True", "2026-01-01T00:00:10Z"));
        let first = first_to_go(vec![b, a], &[], 1, "2026-01-01T01:00:00Z".parse().unwrap());
        assert_eq!(pod::uid(&first[0]), "a");
    }
}
