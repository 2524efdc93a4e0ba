//! Everything seen: one map per kind, of what we read of each object. Pure.
//!
//! In: a [`Change`]. Out: whether anything that we read differs, so that churn in status, managed fields or labels ends here.
//! It does not judge: what is wrong with an object is found by `translate`. A kind holds at most [`OBJECTS_MAX`] objects.

pub mod certificate;
pub mod endpoint_slice;
pub mod ingress;
mod kind;
mod names;
pub mod namespace;
pub mod resolution;
pub mod service;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::model::external::ExternalName;
use crate::scope::ObjectName;
use certificate::Secret;
use endpoint_slice::EndpointSlice;
use ingress::{Ingress, IngressClass};
pub use kind::Kind;
use names::Names;
use namespace::Namespace;
use resolution::Resolution;
use service::Service;

/// Objects of one kind that are held; further ones are refused and counted. The API server bounds the size of each (etcd
/// takes 1.5 MiB), and of a large one we keep only what we read.
pub const OBJECTS_MAX: usize = 50_000;

/// What we read of an object.
#[derive(Clone, Debug, PartialEq)]
pub enum Content {
    /// An Ingress.
    Ingress(Arc<Ingress>),
    /// An IngressClass.
    IngressClass(Arc<IngressClass>),
    /// A Service.
    Service(Arc<Service>),
    /// An EndpointSlice.
    EndpointSlice(Arc<EndpointSlice>),
    /// A Secret of type `kubernetes.io/tls`.
    Secret(Arc<Secret>),
    /// A Namespace.
    Namespace(Arc<Namespace>),
}

/// An object as we read it.
#[derive(Clone, Debug, PartialEq)]
pub struct Object {
    /// Its name.
    pub name: ObjectName,
    /// What we read of it.
    pub content: Content,
}

/// News of the cluster.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// An object was made or changed.
    Apply(Object),
    /// An object is gone.
    Delete(Kind, ObjectName),
    /// These are all objects of the kind: what is not among them is gone.
    Replace(Kind, Vec<Object>),
    /// What is known of a name in DNS; none: nobody asks for it any more.
    Resolve(ExternalName, Option<Arc<Resolution>>),
}

/// What a [`Change`] did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Effect {
    /// Something that we read differs.
    pub changed: bool,
    /// Objects that were refused because the kind is full.
    pub refused: usize,
}

/// Everything seen. Cheap to clone: the objects are shared.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Objects {
    ingresses: Seen<Ingress>,
    ingress_classes: Seen<IngressClass>,
    services: Seen<Service>,
    endpoint_slices: Seen<EndpointSlice>,
    secrets: Seen<Secret>,
    namespaces: Seen<Namespace>,
    /// The slices of each Service, by namespace, Service and slice.
    slices_of: BTreeSet<(String, String, String)>,
    names_in_dns: Names,
}

/// What has changed since it was asked for last: for whoever makes the next table of the last one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Objects that came, went or differ; no slices.
    pub objects: BTreeSet<(Kind, ObjectName)>,
    /// Services whose slices, or whose addresses in DNS, came, went or differ.
    pub services: BTreeSet<ObjectName>,
    /// Ingresses of which nothing differs but what they tell of themselves. No table changes with them.
    pub told: BTreeSet<ObjectName>,
}

/// The objects of one kind. Their names are shared with whoever keeps them as well.
pub type Seen<T> = BTreeMap<Arc<ObjectName>, Arc<T>>;

// === impl Content ===

impl Content {
    /// The kind of the object.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            Self::Ingress(_) => Kind::Ingress,
            Self::IngressClass(_) => Kind::IngressClass,
            Self::Service(_) => Kind::Service,
            Self::EndpointSlice(_) => Kind::EndpointSlice,
            Self::Secret(_) => Kind::Secret,
            Self::Namespace(_) => Kind::Namespace,
        }
    }
}

// === impl Objects ===

impl Objects {
    /// Takes a change in.
    pub fn apply(&mut self, change: Change) -> Effect {
        self.take_in(change, &mut Changes::default())
    }

    /// Takes a change in and notes what differs.
    pub fn take_in(&mut self, change: Change, changes: &mut Changes) -> Effect {
        match change {
            Change::Apply(object) => self.put(object, changes),
            Change::Delete(kind, name) => Effect {
                changed: self.remove(kind, &name, changes),
                refused: 0,
            },
            Change::Replace(kind, objects) => self.replace(kind, objects, changes),
            Change::Resolve(name, resolution) => Effect {
                changed: self.resolve(&name, resolution, changes),
                refused: 0,
            },
        }
    }

    /// The slices of a Service, in the order of their names.
    pub fn slices_of(
        &self,
        service: &ObjectName,
    ) -> impl Iterator<Item = (&ObjectName, &EndpointSlice)> {
        let ObjectName { namespace, name } = service.clone();
        let first = (namespace, name, String::new());
        let of_service = self
            .slices_of
            .range(first..)
            .take_while(|(namespace, name, _)| {
                *namespace == service.namespace && *name == service.name
            });
        of_service.filter_map(|(namespace, _, slice)| {
            let slice = ObjectName::new(namespace.as_str(), slice.as_str());
            let (name, slice) = self.endpoint_slices.get_key_value(&slice)?;
            Some((&**name, &**slice))
        })
    }

    /// The Services that stand for a name in DNS, with that name as it is written.
    pub fn external_services(&self) -> impl Iterator<Item = (&ObjectName, &str)> {
        self.names_in_dns.services().filter_map(|name| {
            let service = self.services.get(name)?;
            Some((name, service.external_name.as_deref()?))
        })
    }

    /// What DNS said of a name.
    #[must_use]
    pub fn resolution(&self, name: &ExternalName) -> Option<&Resolution> {
        self.names_in_dns.get(name)
    }

    /// The Ingresses.
    #[must_use]
    pub fn ingresses(&self) -> &Seen<Ingress> {
        &self.ingresses
    }

    /// The IngressClasses.
    #[must_use]
    pub fn ingress_classes(&self) -> &Seen<IngressClass> {
        &self.ingress_classes
    }

    /// The Services.
    #[must_use]
    pub fn services(&self) -> &Seen<Service> {
        &self.services
    }

    /// The EndpointSlices.
    #[must_use]
    pub fn endpoint_slices(&self) -> &Seen<EndpointSlice> {
        &self.endpoint_slices
    }

    /// The Namespaces, by names without a namespace.
    #[must_use]
    pub fn namespaces(&self) -> &Seen<Namespace> {
        &self.namespaces
    }

    /// The Secrets of type `kubernetes.io/tls`.
    #[must_use]
    pub fn secrets(&self) -> &Seen<Secret> {
        &self.secrets
    }

    fn put(&mut self, object: Object, changes: &mut Changes) -> Effect {
        let kind = object.content.kind();
        let Object { name, content } = object;
        let noted = name.clone();
        let effect = match content {
            Content::Ingress(new) => {
                let same = self.ingresses.get_mut(&name);
                if let Some(old) = same.filter(|old| old.asks_for_the_same(&new)) {
                    if old.told != new.told {
                        *old = new;
                        changes.told.insert(name);
                    }
                    return Effect::default();
                }
                put(&mut self.ingresses, name, new)
            }
            Content::IngressClass(new) => put(&mut self.ingress_classes, name, new),
            Content::Service(new) => {
                let is_name = new.external_name.is_some();
                let effect = put(&mut self.services, name, new);
                self.names_in_dns
                    .note(&noted, is_name && effect.refused == 0);
                effect
            }
            Content::EndpointSlice(new) => return self.put_slice(name, new, changes),
            Content::Secret(new) => put(&mut self.secrets, name, new),
            Content::Namespace(new) => put(&mut self.namespaces, name, new),
        };
        if effect.changed {
            changes.objects.insert((kind, noted));
        }
        effect
    }

    /// Notes the Services that stand for the name, when what is known of it differs.
    fn resolve(
        &mut self,
        name: &ExternalName,
        resolution: Option<Arc<Resolution>>,
        changes: &mut Changes,
    ) -> bool {
        if !self.names_in_dns.resolve(name, resolution) {
            return false;
        }
        for (service, text) in self.external_services() {
            if ExternalName::parse(text, &service.namespace).is_ok_and(|other| other == *name) {
                changes.services.insert(service.clone());
            }
        }
        true
    }

    fn put_slice(
        &mut self,
        name: ObjectName,
        new: Arc<EndpointSlice>,
        changes: &mut Changes,
    ) -> Effect {
        let before = self.endpoint_slices.get(&name).cloned();
        let effect = put(&mut self.endpoint_slices, name.clone(), Arc::clone(&new));
        if effect.changed {
            if let Some(before) = before {
                self.index(&name, &before, changes, false);
            }
            self.index(&name, &new, changes, true);
        }
        effect
    }

    fn index(
        &mut self,
        name: &ObjectName,
        slice: &EndpointSlice,
        changes: &mut Changes,
        is_there: bool,
    ) {
        let (namespace, service) = (name.namespace.clone(), slice.service.clone());
        changes
            .services
            .insert(ObjectName::new(namespace.clone(), service.clone()));
        let entry = (namespace, service, name.name.clone());
        if is_there {
            self.slices_of.insert(entry);
        } else {
            self.slices_of.remove(&entry);
        }
    }

    fn remove(&mut self, kind: Kind, name: &ObjectName, changes: &mut Changes) -> bool {
        let changed = match kind {
            Kind::Ingress => self.ingresses.remove(name).is_some(),
            Kind::IngressClass => self.ingress_classes.remove(name).is_some(),
            Kind::Service => {
                self.names_in_dns.note(name, false);
                self.services.remove(name).is_some()
            }
            Kind::EndpointSlice => {
                let slice = self.endpoint_slices.remove(name);
                if let Some(slice) = &slice {
                    self.index(name, slice, changes, false);
                }
                return slice.is_some();
            }
            Kind::Secret => self.secrets.remove(name).is_some(),
            Kind::Namespace => self.namespaces.remove(name).is_some(),
        };
        if changed {
            changes.objects.insert((kind, name.clone()));
        }
        changed
    }

    fn names(&self, kind: Kind) -> Vec<Arc<ObjectName>> {
        match kind {
            Kind::Ingress => self.ingresses.keys().cloned().collect(),
            Kind::IngressClass => self.ingress_classes.keys().cloned().collect(),
            Kind::Service => self.services.keys().cloned().collect(),
            Kind::EndpointSlice => self.endpoint_slices.keys().cloned().collect(),
            Kind::Secret => self.secrets.keys().cloned().collect(),
            Kind::Namespace => self.namespaces.keys().cloned().collect(),
        }
    }

    /// Removes first, so that a full kind has room for what is new.
    fn replace(&mut self, kind: Kind, objects: Vec<Object>, changes: &mut Changes) -> Effect {
        let listed: BTreeMap<ObjectName, Content> = objects
            .into_iter()
            .filter(|object| object.content.kind() == kind)
            .map(|object| (object.name, object.content))
            .collect();
        let mut effect = Effect::default();
        for name in self.names(kind) {
            if !listed.contains_key(&*name) {
                effect.changed |= self.remove(kind, &name, changes);
            }
        }
        for (name, content) in listed {
            let one = self.put(Object { name, content }, changes);
            effect.changed |= one.changed;
            effect.refused += one.refused;
        }
        effect
    }
}

fn put<T: PartialEq>(seen: &mut Seen<T>, name: ObjectName, new: Arc<T>) -> Effect {
    let is_full = seen.len() >= OBJECTS_MAX;
    let changed = match seen.get_mut(&name) {
        Some(old) => {
            let changed = *old != new;
            if changed {
                *old = new;
            }
            changed
        }
        None if is_full => {
            return Effect {
                changed: false,
                refused: 1,
            };
        }
        None => {
            seen.insert(Arc::new(name), new);
            true
        }
    };
    Effect {
        changed,
        refused: 0,
    }
}

/// Namespace and name in an object's metadata.
fn name_of(metadata: &k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta) -> ObjectName {
    ObjectName::new(
        metadata.namespace.clone().unwrap_or_default(),
        metadata.name.clone().unwrap_or_default(),
    )
}

#[cfg(test)]
mod tests;
