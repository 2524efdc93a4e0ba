//! What the Endpoints of a Service hold: the addresses of its pods, by the ports that they have in common.
//!
//! At most [`ADDRESSES_MAX`] addresses, ready ones first; more are cut off, and the object says so. Pods on their way out
//! are left out, unless the Service publishes whatever it has. Pure.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{
    EndpointAddress, EndpointPort, EndpointSubset, Endpoints, ObjectReference, Pod, Service,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::super::service;
use super::super::{pod, trigger_time};

/// The most addresses of one object.
pub(crate) const ADDRESSES_MAX: usize = 1000;

pub(crate) const OVER_CAPACITY: &str = "endpoints.kubernetes.io/over-capacity";
pub(crate) const MANAGED_BY: &str = "endpoints.kubernetes.io/managed-by";
pub(crate) const MANAGER: &str = "endpoint-controller";
const HEADLESS: &str = "service.kubernetes.io/headless";
const LEADER: &str = "control-plane.alpha.kubernetes.io/leader";

/// A port as it is on pods; none for Services without ports.
type Port = Option<(String, i32, String, Option<String>)>;

/// The addresses of a port, each with whether it is ready: by address, then by the pod's uid.
type Addresses = BTreeMap<(String, String), (bool, Arc<Pod>)>;

/// The object as it should be; none when `present` is that already.
pub(crate) fn wanted(
    service: &Service,
    pods: &[Arc<Pod>],
    present: Option<&Endpoints>,
    triggered_at: Option<Timestamp>,
) -> Option<Endpoints> {
    let mut subsets = subsets(service, pods);
    let labels = labels(service);
    let is_over = truncate(&mut subsets);
    let subsets = (!subsets.is_empty()).then_some(subsets);
    if let Some(present) = present {
        let annotations = present.metadata.annotations.as_ref();
        let was_over = annotations.is_some_and(|known| known.contains_key(OVER_CAPACITY));
        let known = present.subsets.clone().filter(|known| !known.is_empty());
        if known == subsets
            && present.metadata.labels.as_ref() == Some(&labels)
            && was_over == is_over
        {
            return None;
        }
    }
    let mut metadata = present.map_or_else(
        || ObjectMeta {
            name: service.metadata.name.clone(),
            namespace: service.metadata.namespace.clone(),
            ..ObjectMeta::default()
        },
        |present| present.metadata.clone(),
    );
    metadata.labels = Some(labels);
    let annotations = metadata.annotations.get_or_insert_default();
    trigger_time::annotate(annotations, triggered_at);
    if is_over {
        annotations.insert(OVER_CAPACITY.into(), "truncated".into());
    } else {
        annotations.remove(OVER_CAPACITY);
    }
    Some(Endpoints { metadata, subsets })
}

/// Whether an object without Service is to be deleted: not the ones that are locks of leaders.
pub(crate) fn goes_with_service(endpoints: &Endpoints) -> bool {
    let annotations = endpoints.metadata.annotations.as_ref();
    !annotations.is_some_and(|annotations| annotations.contains_key(LEADER))
}

fn subsets(service: &Service, pods: &[Arc<Pod>]) -> Vec<EndpointSubset> {
    let family = service::families(service)[0];
    let publishes_all = service::publishes_not_ready(service);
    let ports = service.spec.as_ref().and_then(|spec| spec.ports.as_ref());
    let ports = ports.map(Vec::as_slice).unwrap_or_default();
    let mut by_port: BTreeMap<Port, Addresses> = BTreeMap::new();
    for pod in pods {
        if pod::is_finished(pod) || pod::is_terminating(pod) && !publishes_all {
            continue;
        }
        let Some(address) = service::address(pod, family) else {
            continue;
        };
        let is_ready = publishes_all || pod::is_ready(pod);
        let key = (address.to_owned(), pod::uid(pod).to_owned());
        let mut add = |port: Port| {
            let addresses = by_port.entry(port).or_default();
            addresses.insert(key.clone(), (is_ready, Arc::clone(pod)));
        };
        if ports.is_empty() && service::is_headless(service) {
            add(None);
        }
        for port in ports {
            if let Some(number) = service::target(port, pod) {
                add(Some((
                    port.name.clone().unwrap_or_default(),
                    number,
                    service::protocol(port.protocol.as_deref()),
                    port.app_protocol.clone(),
                )));
            }
        }
    }
    // Ports with the same addresses share a subset.
    let mut by_addresses: BTreeMap<Vec<(String, String)>, Vec<Port>> = BTreeMap::new();
    for (port, addresses) in &by_port {
        let keys = addresses.keys().cloned().collect();
        by_addresses.entry(keys).or_default().push(port.clone());
    }
    let subsets = by_addresses.into_values().map(|ports| {
        let addresses = &by_port[&ports[0]];
        subset(service, ports, addresses)
    });
    subsets.collect()
}

fn subset(service: &Service, ports: Vec<Port>, addresses: &Addresses) -> EndpointSubset {
    let of = |ready: bool| {
        let addresses = addresses
            .iter()
            .filter(|(_, (is_ready, _))| *is_ready == ready);
        let addresses: Vec<EndpointAddress> = addresses
            .map(|((ip, _), (_, pod))| address(service, ip, pod))
            .collect();
        (!addresses.is_empty()).then_some(addresses)
    };
    let ports: Vec<EndpointPort> = ports
        .into_iter()
        .flatten()
        .map(|(name, port, protocol, app_protocol)| EndpointPort {
            name: Some(name).filter(|name| !name.is_empty()),
            port,
            protocol: Some(protocol),
            app_protocol,
        })
        .collect();
    EndpointSubset {
        addresses: of(true),
        not_ready_addresses: of(false),
        ports: (!ports.is_empty()).then_some(ports),
    }
}

fn address(service: &Service, ip: &str, pod: &Pod) -> EndpointAddress {
    EndpointAddress {
        ip: ip.to_owned(),
        hostname: service::hostname(service, pod),
        node_name: pod::node_name(pod).map(str::to_owned),
        target_ref: Some(ObjectReference {
            kind: Some("Pod".into()),
            namespace: pod.metadata.namespace.clone(),
            name: pod.metadata.name.clone(),
            uid: pod.metadata.uid.clone(),
            ..ObjectReference::default()
        }),
    }
}

/// Cuts off what is too much, from each subset its share; ready addresses go last. Returns whether there was too much.
fn truncate(subsets: &mut [EndpointSubset]) -> bool {
    let count = |addresses: &Option<Vec<EndpointAddress>>| addresses.as_ref().map_or(0, Vec::len);
    let ready: usize = subsets.iter().map(|subset| count(&subset.addresses)).sum();
    let not_ready = subsets
        .iter()
        .map(|subset| count(&subset.not_ready_addresses));
    let not_ready: usize = not_ready.sum();
    if ready + not_ready <= ADDRESSES_MAX {
        return false;
    }
    let (room, all) = if ready > ADDRESSES_MAX {
        (ADDRESSES_MAX, ready)
    } else {
        (ADDRESSES_MAX - ready, not_ready)
    };
    let mut left = room;
    for subset in subsets {
        let cut = if ready > ADDRESSES_MAX {
            subset.not_ready_addresses = None;
            &mut subset.addresses
        } else {
            &mut subset.not_ready_addresses
        };
        let share = (count(cut) * room).div_ceil(all).min(left);
        if let Some(addresses) = cut {
            addresses.truncate(share);
        }
        left -= share.min(count(cut));
        *cut = cut.take().filter(|addresses| !addresses.is_empty());
    }
    true
}

/// The labels of the Service, and who wrote this.
fn labels(service: &Service) -> BTreeMap<String, String> {
    let mut labels = service.metadata.labels.clone().unwrap_or_default();
    labels.remove(HEADLESS);
    if service::is_headless(service) {
        labels.insert(HEADLESS.into(), String::new());
    }
    labels.insert(MANAGED_BY.into(), MANAGER.into());
    labels
}

#[cfg(test)]
mod tests;
