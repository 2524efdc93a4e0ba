//! What the garbage collector does about one object.
//!
//! In: the graph. Out: [`Action`]s. An owner that the graph does not know may only not have been seen yet: [`Action::Check`]
//! asks for it, and [`after_check`] decides with the answer. Pure.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::PropagationPolicy;

use super::graph::{FOREGROUND, Graph, ORPHAN, Object};

/// One thing to do.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Action {
    /// Ask the API whether these owners exist, then decide.
    Check {
        object: Box<Object>,
        /// Owners that the graph does not know.
        unknown: Vec<OwnerReference>,
        /// Owners that are deleted as soon as this object is.
        waiting: Vec<OwnerReference>,
        /// Whether another owner keeps it alive.
        is_kept: bool,
        has_dependents: bool,
    },
    /// Delete it.
    Delete(Box<Object>, PropagationPolicy),
    /// Take these owners, by uid, out of its references.
    DropOwners(Box<Object>, Vec<String>),
    /// Take this finalizer off it.
    RemoveFinalizer(Box<Object>, &'static str),
}

/// What to do about the object with `uid`.
pub(crate) fn decide(graph: &Graph, uid: &str) -> Vec<Action> {
    let Some(object) = graph.get(uid) else {
        return Vec::new();
    };
    if object.is_deleting {
        return decide_deleting(graph, object);
    }
    if object.owners.is_empty() {
        return Vec::new();
    }
    let (mut unknown, mut waiting, mut is_kept) = (Vec::new(), Vec::new(), false);
    for reference in &object.owners {
        let owner = graph.get(&reference.uid);
        match owner.filter(|owner| object.may_be_owned_by(owner)) {
            None => unknown.push(reference.clone()),
            Some(owner) if owner.waits_for_dependents() => waiting.push(reference.clone()),
            Some(_) => is_kept = true,
        }
    }
    if unknown.is_empty() && waiting.is_empty() {
        return Vec::new();
    }
    vec![Action::Check {
        object: Box::new(object.clone()),
        unknown,
        waiting,
        is_kept,
        has_dependents: graph.dependents(uid).next().is_some(),
    }]
}

/// An object on its way out: it lets its dependents go, or waits for them.
fn decide_deleting(graph: &Graph, object: &Object) -> Vec<Action> {
    let boxed = Box::new(object.clone());
    if object.has_finalizer(ORPHAN) {
        let dependents = graph.dependents(&object.uid);
        let mut actions: Vec<Action> = dependents
            .map(|dependent| {
                Action::DropOwners(Box::new(dependent.clone()), vec![object.uid.clone()])
            })
            .collect();
        actions.push(Action::RemoveFinalizer(boxed, ORPHAN));
        return actions;
    }
    if object.has_finalizer(FOREGROUND) {
        let blocks = |dependent: &Object| {
            dependent
                .owners
                .iter()
                .any(|owner| owner.uid == object.uid && owner.block_owner_deletion == Some(true))
        };
        if !graph.dependents(&object.uid).any(blocks) {
            return vec![Action::RemoveFinalizer(boxed, FOREGROUND)];
        }
    }
    Vec::new()
}

/// What to do about an object when the owners that are `gone` are known.
pub(crate) fn after_check(
    object: Box<Object>,
    gone: &[OwnerReference],
    waiting: &[OwnerReference],
    is_kept: bool,
    has_dependents: bool,
) -> Option<Action> {
    let to_drop: Vec<String> = gone
        .iter()
        .chain(waiting)
        .map(|owner| owner.uid.clone())
        .collect();
    if to_drop.is_empty() {
        return None;
    }
    if is_kept {
        return Some(Action::DropOwners(object, to_drop));
    }
    let policy = if !waiting.is_empty() && has_dependents {
        PropagationPolicy::Foreground
    } else if object.has_finalizer(ORPHAN) {
        PropagationPolicy::Orphan
    } else if object.has_finalizer(FOREGROUND) {
        PropagationPolicy::Foreground
    } else {
        PropagationPolicy::Background
    };
    Some(Action::Delete(object, policy))
}

#[cfg(test)]
mod tests;
