//! How the endpoints of a Service lie in its slices: with as few writes as possible.
//!
//! An endpoint stays in the slice where it is. New ones go into slices that must be written anyway, fullest first, then
//! into one other slice that has room for all the rest, then into new slices. Slices are never levelled. A Service without
//! endpoints keeps one empty slice without ports. Pure.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointSlice};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::super::service::{self, Family};
use super::super::{owner, trigger_time};
use super::endpoint::Ports;

/// The most endpoints of one slice.
pub(crate) const ENDPOINTS_MAX: usize = 100;

pub(crate) const SERVICE_NAME: &str = "kubernetes.io/service-name";
pub(crate) const MANAGED_BY: &str = "endpointslice.kubernetes.io/managed-by";
pub(crate) const MANAGER: &str = "endpointslice-controller.k8s.io";
const HEADLESS: &str = "service.kubernetes.io/headless";

/// One write.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Action {
    Create(Box<EndpointSlice>),
    Replace(Box<EndpointSlice>),
    Delete(Arc<EndpointSlice>),
}

/// Writes under way.
#[derive(Default)]
struct Changes {
    create: Vec<EndpointSlice>,
    replace: Vec<EndpointSlice>,
    delete: Vec<Arc<EndpointSlice>>,
}

/// A slice that exists, with the endpoints that it keeps.
struct Kept {
    slice: Arc<EndpointSlice>,
    endpoints: Vec<Endpoint>,
    is_changed: bool,
}

/// What all slices of a Service have in common.
struct Head<'a> {
    service: &'a Service,
    labels: BTreeMap<String, String>,
    triggered_at: Option<Timestamp>,
    family: Family,
}

/// The writes that turn `existing` into slices with the `wanted` endpoints; `triggered_at` is when the change happened that
/// they answer to.
pub(crate) fn reconcile(
    service: &Service,
    wanted: BTreeMap<Family, BTreeMap<Ports, Vec<Endpoint>>>,
    existing: &[Arc<EndpointSlice>],
    triggered_at: Option<Timestamp>,
) -> Vec<Action> {
    let families: Vec<Family> = wanted.keys().copied().collect();
    let mut actions = Vec::new();
    for (family, endpoints) in wanted {
        let head = Head {
            service,
            labels: labels(service),
            triggered_at,
            family,
        };
        actions.extend(of_family(&head, endpoints, existing));
    }
    let strange = existing.iter().filter(|slice| {
        !families
            .iter()
            .any(|family| slice.address_type == family.name())
    });
    actions.extend(strange.cloned().map(Action::Delete));
    actions
}

fn of_family(
    head: &Head<'_>,
    wanted: BTreeMap<Ports, Vec<Endpoint>>,
    existing: &[Arc<EndpointSlice>],
) -> Vec<Action> {
    let mut changes = Changes::default();
    let mut by_ports: BTreeMap<Ports, Vec<Arc<EndpointSlice>>> = BTreeMap::new();
    let mut count = 0;
    for slice in existing {
        if slice.address_type == head.family.name() {
            let ports = Ports::from_slice(slice.ports.as_ref());
            by_ports.entry(ports).or_default().push(Arc::clone(slice));
            count += 1;
        }
    }
    for (ports, endpoints) in wanted {
        let slices = by_ports.remove(&ports).unwrap_or_default();
        of_ports(&mut changes, head, &ports, endpoints, slices);
    }
    changes.delete.extend(by_ports.into_values().flatten());
    if changes.delete.len() == count && changes.create.is_empty() {
        keep_one(&mut changes, head.new_slice(&Ports::default()));
    }
    changes.finish(head)
}

/// A Service always has a slice. If the one that it has is as empty as it should be, nothing is written.
fn keep_one(changes: &mut Changes, empty: EndpointSlice) {
    if let [slice] = changes.delete.as_slice()
        && is_same(slice, &empty)
    {
        changes.delete.clear();
    } else {
        changes.create.push(empty);
    }
}

fn of_ports(
    changes: &mut Changes,
    head: &Head<'_>,
    ports: &Ports,
    endpoints: Vec<Endpoint>,
    slices: Vec<Arc<EndpointSlice>>,
) {
    let mut left: BTreeMap<_, Endpoint> = endpoints
        .into_iter()
        .map(|endpoint| (identity(&endpoint), endpoint))
        .collect();
    let mut kept: Vec<Kept> = slices
        .into_iter()
        .map(|slice| keep(slice, &head.labels, &mut left))
        .collect();
    let mut left: Vec<Endpoint> = left.into_values().collect();
    // What must be written anyway takes new endpoints first, the fullest slice before the others.
    kept.sort_by_key(|kept| std::cmp::Reverse(kept.endpoints.len()));
    for kept in kept.iter_mut().filter(|kept| kept.is_changed) {
        let room = ENDPOINTS_MAX.saturating_sub(kept.endpoints.len());
        kept.endpoints.extend(left.drain(..room.min(left.len())));
    }
    while !left.is_empty() {
        let fitting = kept
            .iter_mut()
            .filter(|kept| !kept.is_changed && kept.endpoints.len() + left.len() <= ENDPOINTS_MAX)
            .max_by_key(|kept| kept.endpoints.len());
        if let Some(kept) = fitting {
            kept.endpoints.append(&mut left);
            kept.is_changed = true;
        } else {
            let mut slice = head.new_slice(ports);
            let part = left.drain(..left.len().min(ENDPOINTS_MAX)).collect();
            slice.endpoints = Some(part);
            changes.create.push(slice);
        }
    }
    for kept in kept {
        if kept.endpoints.is_empty() {
            changes.delete.push(kept.slice);
        } else if kept.is_changed {
            let mut slice = EndpointSlice::clone(&kept.slice);
            slice.endpoints = Some(kept.endpoints);
            slice.metadata.labels = Some(head.labels.clone());
            changes.replace.push(slice);
        }
    }
}

/// Takes the endpoints that a slice has already out of those that are `left`.
fn keep(
    slice: Arc<EndpointSlice>,
    labels: &BTreeMap<String, String>,
    left: &mut BTreeMap<Identity, Endpoint>,
) -> Kept {
    let before = slice.endpoints.clone().unwrap_or_default();
    let endpoints: Vec<Endpoint> = before
        .iter()
        .filter_map(|endpoint| left.remove(&identity(endpoint)))
        .collect();
    Kept {
        is_changed: endpoints != before || slice.metadata.labels.as_ref() != Some(labels),
        endpoints,
        slice,
    }
}

// === impl Changes ===

impl Changes {
    /// A slice that would be deleted is rewritten instead of creating another one.
    fn finish(mut self, head: &Head<'_>) -> Vec<Action> {
        while !self.delete.is_empty()
            && let Some(new) = self.create.pop()
        {
            let mut slice = EndpointSlice::clone(&self.delete.remove(0));
            slice.ports = new.ports;
            slice.endpoints = new.endpoints;
            slice.metadata.labels = new.metadata.labels;
            slice.metadata.owner_references = new.metadata.owner_references;
            self.replace.push(slice);
        }
        let create = self
            .create
            .into_iter()
            .map(|slice| Action::Create(Box::new(head.stamp(slice))));
        let replace = self
            .replace
            .into_iter()
            .map(|slice| Action::Replace(Box::new(head.stamp(slice))));
        let delete = self.delete.into_iter().map(Action::Delete);
        create.chain(replace).chain(delete).collect()
    }
}

/// What makes two endpoints the same, the pod and its addresses: everything else about them may change.
type Identity = (Option<String>, Option<String>, Vec<String>);

fn identity(endpoint: &Endpoint) -> Identity {
    let target = endpoint.target_ref.as_ref();
    let mut addresses = endpoint.addresses.clone();
    addresses.sort();
    let name = target.and_then(|target| target.name.clone());
    let uid = target.and_then(|target| target.uid.clone());
    (name, uid, addresses)
}

fn is_same(slice: &EndpointSlice, wanted: &EndpointSlice) -> bool {
    let is_empty = |slice: &EndpointSlice| slice.endpoints.iter().flatten().next().is_none();
    is_empty(slice) == is_empty(wanted)
        && Ports::from_slice(slice.ports.as_ref()) == Ports::from_slice(wanted.ports.as_ref())
        && slice.metadata.labels == wanted.metadata.labels
}

/// The labels of the Service, and those that say whose slice this is.
fn labels(service: &Service) -> BTreeMap<String, String> {
    let mut labels = service.metadata.labels.clone().unwrap_or_default();
    labels.remove(HEADLESS);
    if service::is_headless(service) {
        labels.insert(HEADLESS.into(), String::new());
    }
    let name = service.metadata.name.clone().unwrap_or_default();
    labels.insert(SERVICE_NAME.into(), name);
    labels.insert(MANAGED_BY.into(), MANAGER.into());
    labels
}

// === impl Head ===

impl Head<'_> {
    fn new_slice(&self, ports: &Ports) -> EndpointSlice {
        let name = self.service.metadata.name.as_deref().unwrap_or_default();
        EndpointSlice {
            metadata: ObjectMeta {
                generate_name: Some(format!("{name}-")),
                namespace: self.service.metadata.namespace.clone(),
                labels: Some(self.labels.clone()),
                owner_references: Some(vec![owner::controller_reference(self.service)]),
                ..ObjectMeta::default()
            },
            address_type: self.family.name().into(),
            endpoints: Some(Vec::new()),
            ports: ports.to_slice(),
        }
    }

    /// The slice with the time of the change that it answers to.
    fn stamp(&self, mut slice: EndpointSlice) -> EndpointSlice {
        let annotations = slice.metadata.annotations.get_or_insert_default();
        trigger_time::annotate(annotations, self.triggered_at);
        if annotations.is_empty() {
            slice.metadata.annotations = None;
        }
        slice
    }
}

#[cfg(test)]
mod tests;
