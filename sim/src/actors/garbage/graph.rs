//! Who owns whom, over all kinds, from what the watches saw.
//!
//! In: objects that come, change and go. Out: the uids of the objects that must be looked at because of it. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};

use super::super::discovery::Found;
use super::super::store::Key;

pub(crate) const FOREGROUND: &str = "foregroundDeletion";
pub(crate) const ORPHAN: &str = "orphan";

/// What matters of an object.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Object {
    pub(crate) resource: Arc<Found>,
    pub(crate) key: Key,
    pub(crate) uid: String,
    pub(crate) version: Option<String>,
    pub(crate) owners: Vec<OwnerReference>,
    pub(crate) finalizers: Vec<String>,
    pub(crate) is_deleting: bool,
}

/// All objects by uid, and the other direction of their owner references.
#[derive(Debug, Default)]
pub(crate) struct Graph {
    objects: BTreeMap<String, Object>,
    dependents: BTreeMap<String, BTreeSet<String>>,
}

// === impl Object ===

impl Object {
    pub(crate) fn new(resource: Arc<Found>, metadata: ObjectMeta) -> Self {
        Self {
            resource,
            key: Key::new(
                metadata.namespace.unwrap_or_default(),
                metadata.name.unwrap_or_default(),
            ),
            uid: metadata.uid.unwrap_or_default(),
            version: metadata.resource_version,
            owners: metadata.owner_references.unwrap_or_default(),
            finalizers: metadata.finalizers.unwrap_or_default(),
            is_deleting: metadata.deletion_timestamp.is_some(),
        }
    }

    pub(crate) fn has_finalizer(&self, finalizer: &str) -> bool {
        self.finalizers.iter().any(|known| known == finalizer)
    }

    /// Whether it is deleted only after the dependents that block it.
    pub(crate) fn waits_for_dependents(&self) -> bool {
        self.is_deleting && self.has_finalizer(FOREGROUND)
    }

    /// Whether `owner` may own it at all: an owner is of the whole cluster, or of the same namespace.
    pub(crate) fn may_be_owned_by(&self, owner: &Self) -> bool {
        owner.key.namespace.is_empty() || owner.key.namespace == self.key.namespace
    }
}

// === impl Graph ===

impl Graph {
    pub(crate) fn get(&self, uid: &str) -> Option<&Object> {
        self.objects.get(uid)
    }

    /// The objects that name the object with `uid` as an owner.
    pub(crate) fn dependents(&self, uid: &str) -> impl Iterator<Item = &Object> {
        let uids = self.dependents.get(uid).into_iter().flatten();
        uids.filter_map(|uid| self.objects.get(uid))
    }

    /// Takes an object that was added or changed; returns whom to look at.
    pub(crate) fn apply(&mut self, object: Object) -> Vec<String> {
        let uid = object.uid.clone();
        let before = self.objects.get(&uid);
        let is_news = before.is_none_or(|before| {
            before.owners != object.owners
                || before.finalizers != object.finalizers
                || before.is_deleting != object.is_deleting
        });
        let mut look_at = Vec::new();
        if is_news {
            look_at.push(uid.clone());
            look_at.extend(self.waiting_owners(&uid));
            // Those that it does not let go of any more are looked at by their own change.
            if object.waits_for_dependents() {
                look_at.extend(self.dependents.get(&uid).into_iter().flatten().cloned());
            }
        }
        self.unlink(&uid);
        for owner in &object.owners {
            let dependents = self.dependents.entry(owner.uid.clone()).or_default();
            dependents.insert(uid.clone());
        }
        self.objects.insert(uid.clone(), object);
        if is_news {
            look_at.extend(self.waiting_owners(&uid));
        }
        look_at
    }

    /// Forgets an object that is gone; returns whom to look at.
    pub(crate) fn remove(&mut self, uid: &str) -> Vec<String> {
        let mut look_at = self.waiting_owners(uid);
        look_at.extend(self.dependents.get(uid).into_iter().flatten().cloned());
        self.unlink(uid);
        self.objects.remove(uid);
        look_at
    }

    /// Takes all objects of one resource: what is not among them is gone.
    pub(crate) fn replace(&mut self, resource: &Found, objects: Vec<Object>) -> Vec<String> {
        let present: BTreeSet<&String> = objects.iter().map(|object| &object.uid).collect();
        let gone: Vec<String> = self
            .objects
            .values()
            .filter(|object| object.resource.resource == resource.resource)
            .filter(|object| !present.contains(&object.uid))
            .map(|object| object.uid.clone())
            .collect();
        let mut look_at: Vec<String> = gone.iter().flat_map(|uid| self.remove(uid)).collect();
        look_at.extend(objects.into_iter().flat_map(|object| self.apply(object)));
        look_at
    }

    /// The owners of an object that wait for it to go.
    fn waiting_owners(&self, uid: &str) -> Vec<String> {
        let owners = self.objects.get(uid).into_iter();
        let owners = owners.flat_map(|object| &object.owners);
        let waiting = owners.filter_map(|owner| self.objects.get(&owner.uid));
        waiting
            .filter(|owner| owner.waits_for_dependents())
            .map(|owner| owner.uid.clone())
            .collect()
    }

    fn unlink(&mut self, uid: &str) {
        let owners = self.objects.get(uid).map(|object| object.owners.clone());
        for owner in owners.into_iter().flatten() {
            if let Some(dependents) = self.dependents.get_mut(&owner.uid) {
                dependents.remove(uid);
                if dependents.is_empty() {
                    self.dependents.remove(&owner.uid);
                }
            }
        }
    }
}
