//! What a Deployment does next.
//!
//! In: the Deployment, and the ReplicaSets and pods of its namespace. Out: [`Action`]s, in the order in which they must be
//! done; when one fails the rest is left for the next step. Pure.

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::core::v1::Pod;

use super::super::owner::{self, Claim};
use super::work::{Action, Fate, Set, Work};
use super::{bounds, roll, scale, status, template};

/// What the controller saw.
pub(crate) struct Observed<'a> {
    pub(crate) deployment: &'a Deployment,
    /// The ReplicaSets of the namespace.
    pub(crate) replica_sets: &'a [Arc<ReplicaSet>],
    /// The pods of the namespace.
    pub(crate) pods: &'a [Arc<Pod>],
    pub(crate) now: Timestamp,
}

/// What to do.
pub(crate) fn reconcile(observed: &Observed<'_>) -> Vec<Action> {
    let deployment = observed.deployment;
    let Some(selector) = owner::parse_selector(&deployment.spec.selector) else {
        return Vec::new();
    };
    let mut actions = Vec::new();
    let mut sets = Vec::new();
    for set in observed.replica_sets {
        match owner::claim(&deployment.metadata, &selector, &set.metadata) {
            Claim::Keep => sets.push(Set {
                object: ReplicaSet::clone(set),
                fate: Fate::Kept,
            }),
            Claim::Adopt => actions.push(Action::Adopt(Arc::clone(set))),
            Claim::Release => actions.push(Action::Release(Arc::clone(set))),
            Claim::Ignore => {}
        }
    }
    // What changes hands has another version afterwards: its turn comes when the store shows it.
    if !actions.is_empty() {
        return actions;
    }
    let mut work = Work::new(deployment, sets, observed.pods, observed.now);
    advance(&mut work);
    work.finish()
}

fn advance(work: &mut Work<'_>) {
    template::find_new(work);
    if work.deployment.metadata.deletion_timestamp.is_some() {
        status::count(work);
        return;
    }
    status::pause(work);
    if status::is_paused(&work.deployment) {
        scale::scale(work);
        scale::trim_history(work);
        status::count(work);
        return;
    }
    if scale::is_scaling(work) {
        scale::scale(work);
        status::count(work);
        return;
    }
    if bounds::is_rolling(&work.deployment) {
        roll::rolling(work);
    } else {
        roll::recreate(work);
    }
    if status::is_complete(work) {
        scale::trim_history(work);
    }
    status::roll_out(work);
}

#[cfg(test)]
mod tests;
