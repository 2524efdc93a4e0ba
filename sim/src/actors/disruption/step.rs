//! The status of a PodDisruptionBudget, and when an announced disruption is stale.
//!
//! In: the budget, the pods that it selects, and what their controllers want. Out: the status. Pure.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Pod, PodCondition};
use k8s_openapi::api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::core::Selector;

use super::super::event::Draft;
use super::super::owner::{self, controller_of};
use super::super::pod;
use super::scale::Scale;

/// After this long an eviction that was granted and is not seen as a deletion is given back.
const DELETION_TIMEOUT: SignedDuration = SignedDuration::from_secs(120);

/// After this long a pod that shall be disrupted and is not counts as left alone.
const STALE_TIMEOUT: SignedDuration = SignedDuration::from_secs(120);

const ALLOWED: &str = "DisruptionAllowed";
const TARGET: &str = "DisruptionTarget";

/// What the controller saw.
pub(crate) struct Observed<'a> {
    pub(crate) budget: &'a PodDisruptionBudget,
    /// The pods that the budget selects.
    pub(crate) pods: &'a [Arc<Pod>],
    /// What controllers of pods want, by their uid.
    pub(crate) scales: &'a BTreeMap<String, Scale>,
    pub(crate) now: Timestamp,
}

/// What the controller writes and says.
#[derive(Debug, PartialEq)]
pub(crate) struct Reckoning {
    pub(crate) status: PodDisruptionBudgetStatus,
    pub(crate) reports: Vec<Draft>,
    /// When a granted eviction is given back.
    pub(crate) look_again: Option<Duration>,
}

/// How many pods there should be, and how many of them healthy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Expected {
    pods: i32,
    healthy: i32,
}

/// The status of a budget.
pub(crate) fn reckon(observed: &Observed<'_>) -> Reckoning {
    let mut reports = Vec::new();
    if observed.pods.is_empty() {
        let message = "No matching pods found".to_owned();
        reports.push(Draft::normal(observed.budget, "NoPods", message));
    }
    let expected = expected(observed);
    if needs_scale(observed.budget) && observed.pods.iter().any(|pod| is_unmanaged(pod)) {
        let message = "Some pods that this PodDisruptionBudget selects have no controller, so what is expected of them is \
                       not known and they are not counted; set \".spec.minAvailable\" to an integer to count them";
        let draft = Draft::warning(observed.budget, "UnmanagedPods", message.into());
        reports.push(draft);
    }
    let (disrupted, look_again) = disrupted(observed, &mut reports);
    let healthy = observed.pods.iter().filter(|pod| {
        let name = pod.metadata.name.as_deref().unwrap_or_default();
        !pod::is_terminating(pod) && !disrupted.contains_key(name) && pod::is_ready(pod)
    });
    let healthy = i32::try_from(healthy.count()).unwrap_or(i32::MAX);
    let allowed = if expected.pods > 0 {
        (healthy - expected.healthy).max(0)
    } else {
        0
    };
    let before = observed.budget.status.clone().unwrap_or_default();
    let (condition, reason) = if allowed > 0 {
        ("True", "SufficientPods")
    } else {
        ("False", "InsufficientPods")
    };
    let generation = observed.budget.metadata.generation;
    let condition = (condition, reason, String::new(), generation);
    Reckoning {
        status: PodDisruptionBudgetStatus {
            conditions: Some(conditions(before.conditions, condition, observed.now)),
            current_healthy: Some(healthy),
            desired_healthy: Some(expected.healthy),
            disrupted_pods: (!disrupted.is_empty()).then_some(disrupted),
            disruptions_allowed: Some(allowed),
            expected_pods: Some(expected.pods),
            observed_generation: generation,
        },
        reports,
        look_again,
    }
}

/// The status when the numbers cannot be known: nothing may be evicted.
pub(crate) fn failed(
    budget: &PodDisruptionBudget,
    why: &str,
    now: Timestamp,
) -> PodDisruptionBudgetStatus {
    let before = budget.status.clone().unwrap_or_default();
    let condition = (
        "False",
        "SyncFailed",
        why.to_owned(),
        before.observed_generation,
    );
    PodDisruptionBudgetStatus {
        disruptions_allowed: Some(0),
        conditions: Some(conditions(before.conditions, condition, now)),
        ..before
    }
}

/// Whether the budget speaks of a share of what controllers want.
pub(crate) fn needs_scale(budget: &PodDisruptionBudget) -> bool {
    budget.spec.as_ref().is_some_and(|spec| {
        spec.max_unavailable.is_some() || matches!(spec.min_available, Some(IntOrString::String(_)))
    })
}

/// Whether the budget is for this pod of its namespace. Without a selector it is for none, with an empty one for all.
pub(crate) fn selects(budget: &PodDisruptionBudget, pod: &Pod) -> bool {
    let selector = budget.spec.as_ref().and_then(|spec| spec.selector.clone());
    let selector = selector.and_then(|selector| Selector::try_from(selector).ok());
    selector.is_some_and(|selector| owner::selects(&selector, &pod.metadata))
}

/// How long until the announced disruption of a pod counts as given up; none when there is nothing to wait for. What the
/// kubelet announces is never given up, and what has ended needs no change.
pub(crate) fn stale_in(pod: &Pod, now: Timestamp) -> Option<Duration> {
    let announced = pod::condition(pod, TARGET)?;
    if pod::is_terminating(pod)
        || pod::is_finished(pod)
        || announced.status != "True"
        || announced.reason.as_deref() == Some("TerminationByKubelet")
    {
        return None;
    }
    let since = announced
        .last_transition_time
        .as_ref()
        .map_or(Timestamp::MIN, |time| time.0);
    let left = STALE_TIMEOUT - now.duration_since(since);
    Some(left.max(SignedDuration::ZERO).unsigned_abs())
}

/// The pod without its announced disruption.
pub(crate) fn without_announcement(pod: &Pod, now: Timestamp) -> Pod {
    let mut changed = pod.clone();
    let conditions = changed
        .status
        .as_mut()
        .and_then(|status| status.conditions.as_mut());
    let mut targets = conditions
        .into_iter()
        .flatten()
        .filter(|condition| condition.type_ == TARGET);
    if let Some(condition) = targets.next() {
        *condition = PodCondition {
            type_: TARGET.into(),
            status: "False".into(),
            last_transition_time: Some(Time(now)),
            observed_generation: condition.observed_generation,
            ..PodCondition::default()
        };
    }
    changed
}

fn expected(observed: &Observed<'_>) -> Expected {
    let mut wanted: BTreeMap<&str, i32> = BTreeMap::new();
    for scale in observed.scales.values() {
        wanted.insert(&scale.uid, scale.replicas);
    }
    let by_scale: i32 = wanted.values().sum();
    let selected = i32::try_from(observed.pods.len()).unwrap_or(i32::MAX);
    let spec = observed.budget.spec.clone().unwrap_or_default();
    match (&spec.max_unavailable, &spec.min_available) {
        (Some(unavailable), _) => Expected {
            pods: by_scale,
            healthy: (by_scale - share(unavailable, by_scale)).max(0),
        },
        (None, Some(IntOrString::Int(healthy))) => Expected {
            pods: selected,
            healthy: *healthy,
        },
        (None, Some(percent)) => Expected {
            pods: by_scale,
            healthy: share(percent, by_scale),
        },
        (None, None) => Expected {
            pods: 0,
            healthy: 0,
        },
    }
}

/// A share of pods is rounded up.
fn share(value: &IntOrString, pods: i32) -> i32 {
    match value {
        IntOrString::Int(number) => *number,
        IntOrString::String(text) => {
            let percent = text
                .strip_suffix('%')
                .and_then(|number| number.parse().ok());
            let parts = percent.unwrap_or(0_i64) * i64::from(pods);
            i32::try_from((parts + 99).div_euclid(100)).unwrap_or(i32::MAX)
        }
    }
}

/// The granted evictions that are still to be seen as deletions, and when the first of them is given back.
fn disrupted(
    observed: &Observed<'_>,
    reports: &mut Vec<Draft>,
) -> (BTreeMap<String, Time>, Option<Duration>) {
    let status = observed.budget.status.as_ref();
    let granted = status.and_then(|status| status.disrupted_pods.as_ref());
    let (mut open, mut first) = (BTreeMap::new(), None);
    for pod in observed.pods.iter().filter(|pod| !pod::is_terminating(pod)) {
        let name = pod.metadata.name.as_deref().unwrap_or_default();
        let Some(at) = granted.and_then(|granted| granted.get(name)) else {
            continue;
        };
        let left = DELETION_TIMEOUT - observed.now.duration_since(at.0);
        if left.is_negative() {
            let meta = &observed.budget.metadata;
            let message = format!(
                "Pod was expected by PDB {}/{} to be deleted but it wasn't",
                meta.namespace.as_deref().unwrap_or_default(),
                meta.name.as_deref().unwrap_or_default(),
            );
            reports.push(Draft::warning(&**pod, "NotDeleted", message));
            continue;
        }
        let left = left.unsigned_abs();
        first = Some(first.map_or(left, |first: Duration| first.min(left)));
        open.insert(name.to_owned(), at.clone());
    }
    // At the very end of its time it still counts, so it is looked at just after.
    (open, first.map(|left| left + Duration::from_millis(1)))
}

fn is_unmanaged(pod: &Pod) -> bool {
    controller_of(&pod.metadata).is_none()
}

fn conditions(
    before: Option<Vec<Condition>>,
    (status, reason, message, observed_generation): (&str, &str, String, Option<i64>),
    now: Timestamp,
) -> Vec<Condition> {
    let mut conditions = before.unwrap_or_default();
    let known = conditions
        .iter()
        .position(|condition| condition.type_ == ALLOWED);
    let since = known
        .map(|at| &conditions[at])
        .filter(|known| known.status == status)
        .map_or(Time(now), |known| known.last_transition_time.clone());
    let condition = Condition {
        type_: ALLOWED.into(),
        status: status.into(),
        reason: reason.into(),
        message,
        observed_generation,
        last_transition_time: since,
    };
    match known {
        Some(at) => conditions[at] = condition,
        None => conditions.push(condition),
    }
    conditions
}

#[cfg(test)]
mod tests;
