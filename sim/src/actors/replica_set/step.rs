//! What a ReplicaSet does next, and what its status says.
//!
//! In: the ReplicaSet, the pods of its namespace, and whether the store shows its own writes. Out: [`Action`]s.
//! Pure.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{ReplicaSet, ReplicaSetCondition, ReplicaSetStatus};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use kube::core::{Selector, SelectorExt};

use super::super::owner::{self, Claim};
use super::super::pod;
use super::rank;

/// The most pods that one step creates or deletes.
const BURST_MAX: usize = 500;

/// What the controller saw.
pub(crate) struct Observed<'a> {
    pub(crate) replica_set: &'a ReplicaSet,
    /// The pods of the namespace.
    pub(crate) pods: &'a [Arc<Pod>],
    /// The ReplicaSets of the namespace.
    pub(crate) replica_sets: &'a [Arc<ReplicaSet>],
    /// Whether the pods show all that the controller did before.
    pub(crate) is_current: bool,
    pub(crate) now: Timestamp,
}

/// One thing to do.
#[derive(Debug, PartialEq)]
pub(crate) enum Action {
    /// Make the ReplicaSet the controller of this pod.
    Adopt(Arc<Pod>),
    /// Let this pod go.
    Release(Arc<Pod>),
    /// Create so many pods.
    Create(usize),
    /// Delete these pods.
    Delete(Vec<Arc<Pod>>),
    /// Look again after this time: a ready pod becomes available.
    LookAgain(Duration),
}

/// Why the last step could not do all that it wanted.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Failure {
    pub(crate) reason: &'static str,
    pub(crate) message: String,
}

/// The pods that count, and those that are on their way out.
struct Claimed {
    active: Vec<Arc<Pod>>,
    terminating: usize,
}

/// What to do about the pods.
pub(crate) fn reconcile(observed: &Observed<'_>) -> Vec<Action> {
    let Some((spec, selector)) = parsed(observed.replica_set) else {
        return Vec::new();
    };
    let mut actions = Vec::new();
    for pod in observed.pods {
        match owner::claim(&observed.replica_set.metadata, &selector, &pod.metadata) {
            Claim::Adopt if pod::is_active(pod) => actions.push(Action::Adopt(Arc::clone(pod))),
            Claim::Release if pod::is_active(pod) => {
                actions.push(Action::Release(Arc::clone(pod)));
            }
            Claim::Adopt | Claim::Release | Claim::Keep | Claim::Ignore => {}
        }
    }
    let active = claimed(observed, &selector).active;
    if let Some(at) = active
        .iter()
        .filter_map(|pod| pod::available_at(pod, spec.min_ready_seconds.unwrap_or(0)))
        .filter(|at| *at > observed.now)
        .min()
    {
        let delay = at.duration_since(observed.now).unsigned_abs();
        actions.push(Action::LookAgain(delay));
    }
    if observed.is_current && observed.replica_set.metadata.deletion_timestamp.is_none() {
        let wanted = usize::try_from(spec.replicas.unwrap_or(1)).unwrap_or(0);
        actions.extend(resize(observed, active, wanted));
    }
    actions
}

fn resize(observed: &Observed<'_>, active: Vec<Arc<Pod>>, wanted: usize) -> Option<Action> {
    if active.len() < wanted {
        return Some(Action::Create((wanted - active.len()).min(BURST_MAX)));
    }
    let surplus = (active.len() - wanted).min(BURST_MAX);
    if surplus == 0 {
        return None;
    }
    let siblings = siblings(observed);
    Some(Action::Delete(rank::first_to_go(
        active,
        &siblings,
        surplus,
        observed.now,
    )))
}

/// The pods of all ReplicaSets that have the same controller as this one.
fn siblings(observed: &Observed<'_>) -> Vec<Arc<Pod>> {
    let own_uid = observed.replica_set.metadata.uid.as_deref();
    let owner_uid = owner::controller_of(&observed.replica_set.metadata).map(|owner| &owner.uid);
    let is_sibling = |uid: &str| {
        Some(uid) == own_uid
            || observed.replica_sets.iter().any(|other| {
                other.metadata.uid.as_deref() == Some(uid)
                    && owner_uid.is_some()
                    && owner::controller_of(&other.metadata).map(|owner| &owner.uid) == owner_uid
            })
    };
    let of_siblings = observed.pods.iter().filter(|pod| {
        owner::controller_of(&pod.metadata).is_some_and(|owner| is_sibling(&owner.uid))
    });
    of_siblings.cloned().collect()
}

/// The status after a step: the pods as they were observed, and the failure of the step.
pub(crate) fn status(observed: &Observed<'_>, failure: Option<&Failure>) -> ReplicaSetStatus {
    let replica_set = observed.replica_set;
    let before = replica_set.status.clone().unwrap_or_default();
    let Some((spec, selector)) = parsed(replica_set) else {
        return ReplicaSetStatus {
            observed_generation: replica_set.metadata.generation,
            ..before
        };
    };
    let claimed = claimed(observed, &selector);
    let template_labels = spec
        .template
        .as_ref()
        .and_then(|template| template.metadata.as_ref())
        .and_then(|metadata| metadata.labels.clone())
        .unwrap_or_default();
    let template_labels = Selector::from_iter(template_labels);
    let count = |is: &dyn Fn(&Pod) -> bool| {
        let count = claimed.active.iter().filter(|pod| is(pod)).count();
        i32::try_from(count).unwrap_or(i32::MAX)
    };
    let minimum = spec.min_ready_seconds.unwrap_or(0);
    ReplicaSetStatus {
        replicas: count(&|_| true),
        fully_labeled_replicas: some(count(&|pod| {
            template_labels.matches(&pod.metadata.labels.clone().unwrap_or_default())
        })),
        ready_replicas: some(count(&pod::is_ready)),
        available_replicas: some(count(&|pod| pod::is_available(pod, minimum, observed.now))),
        terminating_replicas: i32::try_from(claimed.terminating).ok(),
        observed_generation: replica_set.metadata.generation,
        conditions: conditions(before.conditions, failure, observed.now),
    }
}

fn conditions(
    before: Option<Vec<ReplicaSetCondition>>,
    failure: Option<&Failure>,
    now: Timestamp,
) -> Option<Vec<ReplicaSetCondition>> {
    let mut conditions = before.unwrap_or_default();
    let is_known = conditions
        .iter()
        .any(|condition| condition.type_.as_deref() == Some("ReplicaFailure"));
    match failure {
        Some(failure) if !is_known => conditions.push(ReplicaSetCondition {
            type_: Some("ReplicaFailure".into()),
            status: Some("True".into()),
            reason: Some(failure.reason.into()),
            message: Some(failure.message.clone()),
            last_transition_time: Some(Time(now)),
        }),
        Some(_) => {}
        None => conditions.retain(|condition| condition.type_.as_deref() != Some("ReplicaFailure")),
    }
    (!conditions.is_empty()).then_some(conditions)
}

/// The pod that the ReplicaSet creates.
pub(crate) fn new_pod(replica_set: &ReplicaSet) -> Pod {
    let template = replica_set.spec.template.clone().unwrap_or_default();
    let metadata = template.metadata.unwrap_or_default();
    Pod {
        metadata: ObjectMeta {
            generate_name: replica_set
                .metadata
                .name
                .as_ref()
                .map(|name| format!("{name}-")),
            namespace: replica_set.metadata.namespace.clone(),
            labels: metadata.labels,
            annotations: metadata.annotations,
            finalizers: metadata.finalizers,
            owner_references: Some(vec![owner::controller_reference(replica_set)]),
            ..ObjectMeta::default()
        },
        spec: template.spec,
        status: None,
    }
}

fn claimed(observed: &Observed<'_>, selector: &Selector) -> Claimed {
    let owner = &observed.replica_set.metadata;
    let is_ours = |pod: &Pod| {
        matches!(
            owner::claim(owner, selector, &pod.metadata),
            Claim::Keep | Claim::Adopt
        )
    };
    let ours = observed.pods.iter().filter(|pod| is_ours(pod));
    let (active, rest): (Vec<_>, Vec<_>) = ours.cloned().partition(|pod| pod::is_active(pod));
    let terminating = rest
        .iter()
        .filter(|pod| pod::is_terminating(pod) && !pod::is_finished(pod))
        .count();
    Claimed {
        active,
        terminating,
    }
}

fn parsed(
    replica_set: &ReplicaSet,
) -> Option<(&k8s_openapi::api::apps::v1::ReplicaSetSpec, Selector)> {
    let spec = &replica_set.spec;
    Some((spec, owner::parse_selector(&spec.selector)?))
}

/// Counts of zero are left out, as the real controllers do.
fn some(count: i32) -> Option<i32> {
    (count != 0).then_some(count)
}

#[cfg(test)]
mod tests;
