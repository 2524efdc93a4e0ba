//! Says of the pods of a lost node that they are not ready; the kubelet, which would, cannot.
//!
//! In: pods as last seen. Out: their status, one after the other. Nobody here ever says that a pod is ready again.

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, ObjectReference, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::super::event::{Draft, Severity};
use super::super::pod;
use super::super::store::Key;
use super::super::write::{WriteError, unless_gone};
use super::Lifecycle;
use super::health::Status;
use crate::clock::wall_now;

// === impl Lifecycle ===

impl Lifecycle {
    /// The pods that are bound to a node, by namespace and name.
    pub(super) fn pods_on(&self, node: &str) -> Vec<Arc<Pod>> {
        let mut pods = self.stores.pods.all();
        pods.retain(|pod| pod::node_name(pod) == Some(node));
        pods
    }

    /// Writes that `pods` are not ready. One that cannot be written does not hold up the others.
    pub(super) async fn mark_not_ready(&self, pods: &[Arc<Pod>]) -> Result<(), WriteError> {
        let mut result = Ok(());
        for pod in pods {
            let Some(changed) = not_ready(pod, wall_now()) else {
                continue;
            };
            match unless_gone(self.writer.replace_status(&changed).await) {
                Ok(None) => continue,
                Ok(Some(_)) => {}
                Err(error) => {
                    tracing::debug!(pod = %Key::of(&**pod), %error, reason = error.reason(), "not marked as not ready");
                    result = Err(error);
                }
            }
            let message = "Node is not ready".to_owned();
            self.recorder
                .record(Draft::warning(&**pod, "NodeNotReady", message));
        }
        result
    }

    /// A pod was bound: on a node that is away it is not ready, whatever it said before.
    pub(super) async fn look_at_pod(&self, key: &Key) -> Result<(), WriteError> {
        let Some(pod) = self.stores.pods.get(key) else {
            return Ok(());
        };
        let status = pod::node_name(&pod).and_then(|node| self.known_status(node));
        match status {
            Some(Status::False | Status::Unknown) => self.mark_not_ready(&[pod]).await,
            Some(Status::True) | None => Ok(()),
        }
    }

    /// Reports an event about a node.
    pub(super) fn tell(
        &self,
        name: &str,
        uid: Option<&str>,
        reason: &'static str,
        message: String,
    ) {
        self.recorder.record(Draft {
            about: ObjectReference {
                api_version: Some("v1".into()),
                kind: Some("Node".into()),
                name: Some(name.into()),
                uid: uid.map(str::to_owned),
                ..ObjectReference::default()
            },
            severity: Severity::Normal,
            reason,
            message,
        });
    }
}

/// The name of a node.
pub(super) fn name_of(node: &Node) -> &str {
    node.metadata.name.as_deref().unwrap_or_default()
}

/// The pod with `Ready=False`; none when it says so already or says nothing.
fn not_ready(pod: &Pod, now: Timestamp) -> Option<Pod> {
    let mut pod = pod.clone();
    let conditions = pod.status.as_mut()?.conditions.as_mut()?;
    let ready = conditions
        .iter_mut()
        .find(|condition| condition.type_ == "Ready")?;
    if ready.status == "False" {
        return None;
    }
    ready.status = "False".into();
    ready.last_transition_time = Some(Time(now));
    Some(pod)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_the_condition_ready_changes_and_only_when_it_must() {
        let now = "2026-01-02T03:04:05Z".parse().unwrap();
        for (status, changes) in [
            (Some("True"), true),
            (Some("Unknown"), true),
            (Some("False"), false),
            (None, false),
        ] {
            let mut conditions = vec![json!({ "type": "Initialized", "status": "True" })];
            if let Some(status) = status {
                conditions.push(json!({ "type": "Ready", "status": status, "reason": "Kept" }));
            }
            let pod = json!({ "status": { "conditions": conditions } });
            let changed = not_ready(&serde_json::from_value(pod).unwrap(), now);
            let expected = json!([
                { "type": "Initialized", "status": "True" },
                { "type": "Ready", "status": "False", "reason": "Kept", "lastTransitionTime": "2026-01-02T03:04:05Z" },
            ]);
            let conditions = changed.map(|pod| pod.status.unwrap().conditions);
            assert_eq!(
                serde_json::to_value(conditions).unwrap(),
                if changes { expected } else { json!(null) }
            );
        }
    }
}
