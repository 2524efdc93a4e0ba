//! The taints that say how a node is, and how they are put on and taken off.
//!
//! In: a node, and which taints it shall have or lose. Out: patches, one that adds and one that removes, each made from the
//! node as the API server has it and only good for that version.

use std::sync::Mutex;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, Taint};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::Api;
use kube::api::{GetParams, Patch};
use rand::Rng;
use rand::rngs::SmallRng;
use serde_json::json;

use super::store::locked;
use super::write::{WriteError, Writer, unless_gone};
use crate::clock::wall_now;

pub(crate) const UNSCHEDULABLE: &str = "node.kubernetes.io/unschedulable";
pub(crate) const NOT_READY: &str = "node.kubernetes.io/not-ready";
pub(crate) const UNREACHABLE: &str = "node.kubernetes.io/unreachable";
pub(crate) const MEMORY_PRESSURE: &str = "node.kubernetes.io/memory-pressure";
pub(crate) const DISK_PRESSURE: &str = "node.kubernetes.io/disk-pressure";
pub(crate) const PID_PRESSURE: &str = "node.kubernetes.io/pid-pressure";
pub(crate) const NO_NETWORK: &str = "node.kubernetes.io/network-unavailable";
pub(crate) const OUT_OF_SERVICE: &str = "node.kubernetes.io/out-of-service";

/// Keeps new pods away.
pub(crate) const NO_SCHEDULE: &str = "NoSchedule";
/// Evicts the pods that are there.
pub(crate) const NO_EXECUTE: &str = "NoExecute";

/// How often a change is tried when somebody else changes the node at the same time.
const TRIES: usize = 5;
const RETRY_DELAY: Duration = Duration::from_millis(100);

/// A taint without the time at which it was added: what makes two taints the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Name {
    pub(crate) key: &'static str,
    pub(crate) effect: &'static str,
}

/// Writes taints as one component.
pub(crate) struct Tainter {
    writer: Writer,
    rng: Mutex<SmallRng>,
}

// === impl Name ===

impl Name {
    pub(crate) const fn no_schedule(key: &'static str) -> Self {
        let effect = NO_SCHEDULE;
        Self { key, effect }
    }

    pub(crate) const fn no_execute(key: &'static str) -> Self {
        let effect = NO_EXECUTE;
        Self { key, effect }
    }

    pub(crate) fn is(self, taint: &Taint) -> bool {
        taint.key == self.key && taint.effect == self.effect
    }

    pub(crate) fn is_on(self, node: &Node) -> bool {
        of(node).iter().any(|taint| self.is(taint))
    }
}

// === impl Tainter ===

impl Tainter {
    pub(crate) fn new(writer: Writer, rng: SmallRng) -> Self {
        let rng = Mutex::new(rng);
        Self { writer, rng }
    }

    /// Puts taints on, then takes others off.
    pub(crate) async fn swap(
        &self,
        node: &Node,
        add: &[Name],
        remove: &[Name],
    ) -> Result<(), WriteError> {
        if !add.is_empty() {
            let now = wall_now();
            self.change(node, |taints| Some(with(taints, add, now)))
                .await?;
        }
        self.remove(node, remove).await
    }

    /// Takes off those taints that `node` has, as it was last seen.
    pub(crate) async fn remove(&self, node: &Node, remove: &[Name]) -> Result<(), WriteError> {
        if !remove.iter().any(|name| name.is_on(node)) {
            return Ok(());
        }
        self.change(node, |taints| without(taints, remove)).await
    }

    async fn change(
        &self,
        node: &Node,
        change: impl Fn(&[Taint]) -> Option<Vec<Taint>>,
    ) -> Result<(), WriteError> {
        let api: Api<Node> = Api::all(self.writer.client());
        let name = node.metadata.name.as_deref().unwrap_or_default();
        for attempt in 1..=TRIES {
            // The first time what the API server has at hand will do.
            let version = if attempt == 1 {
                GetParams::any()
            } else {
                GetParams::default()
            };
            let Some(node) = unless_gone(self.writer.send(api.get_with(name, &version)).await)?
            else {
                return Ok(());
            };
            let Some(taints) = change(of(&node)) else {
                return Ok(());
            };
            let patch = Patch::Strategic(json!({
                "metadata": { "resourceVersion": node.metadata.resource_version },
                "spec": { "taints": (!taints.is_empty()).then_some(taints) },
            }));
            let params = self.writer.patch_params();
            match unless_gone(self.writer.send(api.patch(name, &params, &patch)).await) {
                Err(WriteError::Conflict) if attempt < TRIES => {
                    let spread = 1.0 + locked(&self.rng).random::<f64>();
                    tokio::time::sleep(RETRY_DELAY.mul_f64(spread)).await;
                }
                result => return result.map(drop),
            }
        }
        Err(WriteError::Conflict)
    }
}

/// The taints of a node.
pub(crate) fn of(node: &Node) -> &[Taint] {
    let taints = node.spec.as_ref().and_then(|spec| spec.taints.as_deref());
    taints.unwrap_or_default()
}

/// The taints with `names` added; one that is there already is new from now on.
fn with(taints: &[Taint], names: &[Name], now: Timestamp) -> Vec<Taint> {
    let mut taints = taints.to_vec();
    for name in names {
        let added = Taint {
            key: name.key.into(),
            effect: name.effect.into(),
            time_added: Some(Time(now)),
            value: None,
        };
        match taints.iter_mut().find(|taint| name.is(taint)) {
            Some(taint) => *taint = added,
            None => taints.push(added),
        }
    }
    taints
}

/// The taints without `names`; none when it has none of them.
fn without(taints: &[Taint], names: &[Name]) -> Option<Vec<Taint>> {
    let is_other = |taint: &&Taint| !names.iter().any(|name| name.is(taint));
    let left: Vec<Taint> = taints.iter().filter(is_other).cloned().collect();
    (left.len() < taints.len()).then_some(left)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(taints: &[Taint]) -> Vec<String> {
        let time = |taint: &Taint| {
            taint
                .time_added
                .as_ref()
                .map_or(0, |time| time.0.as_second())
        };
        taints
            .iter()
            .map(|taint| format!("{}:{} {}", taint.key, taint.effect, time(taint)))
            .collect()
    }

    #[test]
    fn taints_are_told_apart_by_key_and_effect() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let first = with(&[], &[Name::no_schedule(NOT_READY)], at(1));
        let both = with(
            &first,
            &[Name::no_execute(NOT_READY), Name::no_schedule(NOT_READY)],
            at(2),
        );
        assert_eq!(
            written(&both),
            [
                format!("{NOT_READY}:NoSchedule 2"),
                format!("{NOT_READY}:NoExecute 2")
            ]
        );
        let left = without(&both, &[Name::no_schedule(NOT_READY)]).unwrap();
        assert_eq!(written(&left), [format!("{NOT_READY}:NoExecute 2")]);
        assert_eq!(without(&left, &[Name::no_execute(UNREACHABLE)]), None);
    }
}
