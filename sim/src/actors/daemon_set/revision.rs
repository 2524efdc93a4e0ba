//! The history of a DaemonSet's templates: one ControllerRevision each, numbered from 1.
//!
//! In: the DaemonSet and the revisions of its namespace. Out: the hash of the present template, and writes that bring the
//! history up to date. `kubectl rollout history` and `undo` read it. Pure.

use std::collections::BTreeSet;
use std::sync::Arc;

use k8s_openapi::api::apps::v1::{ControllerRevision, DaemonSet};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::apimachinery::pkg::runtime::RawExtension;
use kube::core::Selector;
use serde_json::{Value, json};

use super::super::owner::{self, Claim};
use super::super::template_hash;
use super::step::Action;
use super::template::HASH_LABEL;

/// The revisions kept when the DaemonSet does not say.
const HISTORY_LIMIT_DEFAULT: i32 = 10;

/// What the revisions of a DaemonSet say.
#[derive(Debug)]
pub(crate) struct History {
    /// The hash of the present template.
    pub(crate) hash: String,
    /// Earlier templates.
    pub(crate) old: Vec<Arc<ControllerRevision>>,
    /// What must be written first.
    pub(crate) actions: Vec<Action>,
}

/// Sorts the revisions into the present one and the old ones.
pub(crate) fn history(
    daemon_set: &DaemonSet,
    selector: &Selector,
    revisions: &[Arc<ControllerRevision>],
    pods: &[Arc<Pod>],
) -> History {
    let data = data(daemon_set);
    let mut actions = Vec::new();
    let (mut same, mut old) = (Vec::new(), Vec::new());
    for revision in revisions {
        match owner::claim(&daemon_set.metadata, selector, &revision.metadata) {
            Claim::Keep => {}
            Claim::Adopt => actions.push(Action::AdoptRevision(Arc::clone(revision))),
            Claim::Release => {
                actions.push(Action::ReleaseRevision(Arc::clone(revision)));
                continue;
            }
            Claim::Ignore => continue,
        }
        let is_same = revision.data.0 == data;
        if is_same { &mut same } else { &mut old }.push(Arc::clone(revision));
    }
    let next = old.iter().map(|old| number(old)).max().unwrap_or(0) + 1;
    // Of several with the same template the latest stays, and the pods of the others become its own.
    same.sort_by_key(|revision| number(revision));
    let hash = match same.pop() {
        None => {
            let new = new(daemon_set, data, next);
            let hash = hash_of(&new);
            actions.push(Action::CreateRevision(Box::new(new)));
            hash
        }
        Some(kept) => {
            let hash = hash_of(&kept);
            for double in same {
                actions.extend(relabel(&double, &hash, daemon_set, pods));
                actions.push(Action::DeleteRevision(double));
            }
            if kept.revision.unwrap_or(0) < next {
                let mut kept = ControllerRevision::clone(&kept);
                kept.revision = Some(next);
                actions.push(Action::ReplaceRevision(Box::new(kept)));
            }
            hash
        }
    };
    History { hash, old, actions }
}

/// The oldest revisions above the limit that no pod is of.
pub(crate) fn trim(
    daemon_set: &DaemonSet,
    mut old: Vec<Arc<ControllerRevision>>,
    pods: &[Arc<Pod>],
) -> Vec<Action> {
    let limit = daemon_set.spec.revision_history_limit;
    let limit = usize::try_from(limit.unwrap_or(HISTORY_LIMIT_DEFAULT)).unwrap_or(0);
    let surplus = old.len().saturating_sub(limit);
    let live: BTreeSet<&String> = pods
        .iter()
        .filter_map(|pod| pod.metadata.labels.as_ref()?.get(HASH_LABEL))
        .collect();
    old.sort_by_key(|revision| number(revision));
    old.retain(|revision| !live.contains(&hash_of(revision)));
    let gone = old.into_iter().take(surplus);
    gone.map(Action::DeleteRevision).collect()
}

/// The strategic merge patch that brings this template back.
pub(crate) fn data(daemon_set: &DaemonSet) -> Value {
    let mut template = serde_json::to_value(&daemon_set.spec.template)
        .expect("a pod template has only string keys");
    template["$patch"] = json!("replace");
    json!({ "spec": { "template": template } })
}

fn new(daemon_set: &DaemonSet, data: Value, revision: i64) -> ControllerRevision {
    let status = daemon_set.status.as_ref();
    let collisions = status.and_then(|status| status.collision_count);
    let hash = template_hash::hash(&daemon_set.spec.template, collisions.unwrap_or(0));
    let metadata = daemon_set.spec.template.metadata.as_ref();
    let mut labels = metadata
        .and_then(|metadata| metadata.labels.clone())
        .unwrap_or_default();
    labels.insert(HASH_LABEL.into(), hash.clone());
    let name = daemon_set.metadata.name.as_deref().unwrap_or_default();
    ControllerRevision {
        metadata: ObjectMeta {
            name: Some(format!("{name}-{hash}")),
            namespace: daemon_set.metadata.namespace.clone(),
            labels: Some(labels),
            annotations: daemon_set.metadata.annotations.clone(),
            owner_references: Some(vec![owner::controller_reference(daemon_set)]),
            ..ObjectMeta::default()
        },
        data: RawExtension(data),
        revision: Some(revision),
    }
}

fn number(revision: &ControllerRevision) -> i64 {
    revision.revision.unwrap_or(0)
}

fn hash_of(revision: &ControllerRevision) -> String {
    let labels = revision.metadata.labels.as_ref();
    let hash = labels.and_then(|labels| labels.get(HASH_LABEL));
    // A revision without the label goes by its name.
    let hash = hash.or(revision.metadata.name.as_ref());
    hash.cloned().unwrap_or_default()
}

fn relabel(
    double: &ControllerRevision,
    hash: &str,
    daemon_set: &DaemonSet,
    pods: &[Arc<Pod>],
) -> Vec<Action> {
    let before = hash_of(double);
    let own = pods.iter().filter(|pod| {
        let owner = owner::controller_of(&pod.metadata);
        let label = pod.metadata.labels.as_ref();
        owner.is_some_and(|owner| Some(&owner.uid) == daemon_set.metadata.uid.as_ref())
            && label.and_then(|labels| labels.get(HASH_LABEL)) == Some(&before)
    });
    own.map(|pod| Action::Relabel(Arc::clone(pod), hash.to_owned()))
        .collect()
}

#[cfg(test)]
mod tests;
