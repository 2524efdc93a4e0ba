//! Since when nothing was heard of a node, and what its status says then.
//!
//! In: a node and its lease as last seen, pass by pass, and the time. Out: whether the grace is over, and the conditions
//! that become `Unknown`. A sign of life counts from the pass that first sees it, by the clock of whoever looks: clocks of
//! nodes may be wrong, so no time that a node has written is compared with the present. Pure.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Node, NodeCondition};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use tokio::time::Instant;

/// The grace of a node whose kubelet has never written its status.
const STARTUP_GRACE_PERIOD: Duration = Duration::from_secs(60);

/// What becomes unknown together with the node. `NetworkUnavailable` is not a kubelet's to say.
const CONDITIONS: [&str; 4] = ["Ready", "MemoryPressure", "DiskPressure", "PIDPressure"];

/// The status of a condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Status {
    True,
    False,
    Unknown,
}

/// What was last heard of a node.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Health {
    /// The condition `Ready` as it was when it was last looked at because of a heartbeat.
    ready: Option<(Status, Option<Time>)>,
    heard_at: Instant,
    lease: Option<Option<Timestamp>>,
}

/// A node as a pass sees it.
pub(super) struct Seen<'a> {
    pub(super) node: &'a Node,
    pub(super) lease: Option<&'a Lease>,
    /// For how long the node has existed.
    pub(super) age: Duration,
    pub(super) now: Instant,
}

// === impl Status ===

impl Status {
    fn of(condition: &NodeCondition) -> Self {
        match condition.status.as_str() {
            "True" => Self::True,
            "False" => Self::False,
            _ => Self::Unknown,
        }
    }
}

// === impl Health ===

impl Health {
    /// What is known after this look at the node.
    pub(super) fn observe(before: Option<&Self>, seen: &Seen<'_>) -> Self {
        let now = seen.now;
        let ready = condition(seen.node, "Ready")
            .map(|ready| (Status::of(ready), ready.last_heartbeat_time.clone()));
        let fresh = |heard_at| Self {
            ready: ready.clone(),
            heard_at,
            lease: None,
        };
        let mut health = match (before, &ready) {
            (None, None) => fresh(now.checked_sub(seen.age).unwrap_or(now)),
            (None, Some(_)) => fresh(now),
            (Some(before), None) => Self {
                ready: None,
                ..before.clone()
            },
            (Some(before), Some((_, heartbeat))) => match &before.ready {
                Some((_, known)) if known == heartbeat => before.clone(),
                // The lease is forgotten: the next look counts it as new once more, as the recorded controller does.
                _ => fresh(now),
            },
        };
        let known = before.and_then(|before| before.lease);
        if let Some(lease) = seen.lease.map(renewed_at) {
            let is_newer = match (known, lease) {
                (None, _) => true,
                (Some(Some(known)), Some(renewed)) => known < renewed,
                (Some(_), _) => false,
            };
            if is_newer {
                health.lease = Some(lease);
                health.heard_at = now;
            }
        }
        health
    }

    /// What is known after `Unknown` was written.
    pub(super) fn written(&self, node: &Node, lease: Option<&Lease>) -> Self {
        let heartbeat =
            condition(node, "Ready").and_then(|ready| ready.last_heartbeat_time.clone());
        Self {
            ready: Some((Status::Unknown, heartbeat)),
            heard_at: self.heard_at,
            lease: lease.map(renewed_at),
        }
    }

    /// The same, heard of just now.
    pub(super) fn heard(&mut self, now: Instant) {
        self.heard_at = now;
    }

    /// What the node last said of itself.
    pub(super) fn ready(&self) -> Option<Status> {
        self.ready.as_ref().map(|(status, _)| *status)
    }

    /// Whether nothing was heard for longer than the grace.
    pub(super) fn is_overdue(&self, grace_period: Duration, now: Instant) -> bool {
        let grace_period = match self.ready {
            Some(_) => grace_period,
            None => STARTUP_GRACE_PERIOD,
        };
        now.saturating_duration_since(self.heard_at) > grace_period
    }
}

/// The condition `Ready`.
pub(super) fn ready(node: &Node) -> Option<Status> {
    condition(node, "Ready").map(Status::of)
}

/// The node with unknown conditions; none when that would not change `Ready`.
pub(super) fn unknown(node: &Node, now: Timestamp) -> Option<Node> {
    if ready(node) == Some(Status::Unknown) {
        return None;
    }
    let mut node = node.clone();
    let created = node.metadata.creation_timestamp.clone();
    let status = node.status.get_or_insert_default();
    let conditions = status.conditions.get_or_insert_default();
    for type_ in CONDITIONS {
        match conditions.iter_mut().find(|known| known.type_ == type_) {
            None => conditions.push(NodeCondition {
                type_: type_.into(),
                status: "Unknown".into(),
                reason: Some("NodeStatusNeverUpdated".into()),
                message: Some("Kubelet never posted node status.".into()),
                last_heartbeat_time: created.clone(),
                last_transition_time: Some(Time(now)),
            }),
            Some(known) if known.status != "Unknown" => {
                known.status = "Unknown".into();
                known.reason = Some("NodeStatusUnknown".into());
                known.message = Some("Kubelet stopped posting node status.".into());
                known.last_transition_time = Some(Time(now));
            }
            Some(_) => {}
        }
    }
    Some(node)
}

fn renewed_at(lease: &Lease) -> Option<Timestamp> {
    let spec = lease.spec.as_ref()?;
    spec.renew_time.as_ref().map(|time| time.0)
}

fn condition<'a>(node: &'a Node, type_: &str) -> Option<&'a NodeCondition> {
    let conditions = node.status.as_ref()?.conditions.as_ref()?;
    conditions.iter().find(|condition| condition.type_ == type_)
}

#[cfg(test)]
mod tests;
