//! Which endpoints a Service should have: for each of its families, one per pod that its selector matches and that has an
//! address of the family.
//!
//! Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Node, ObjectReference, Pod, Service};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointConditions, EndpointPort};

use super::super::pod;
use super::super::service::{self, Family};

const ZONE_LABEL: &str = "topology.kubernetes.io/zone";

/// The ports of one slice, in the order of the Service's. Pods that resolve a named port to another number, or not at
/// all, go to a slice of their own.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Ports(Vec<Port>);

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Port {
    name: String,
    protocol: String,
    number: Option<i32>,
    app_protocol: Option<String>,
}

/// The endpoints of a Service by their family and ports, and the pods that could not be taken.
#[derive(Debug, Default)]
pub(crate) struct Wanted {
    pub(crate) endpoints: BTreeMap<Family, BTreeMap<Ports, Vec<Endpoint>>>,
    /// Pods on nodes that are not known: they are left out until the node is seen.
    pub(crate) without_node: BTreeSet<String>,
}

/// What the Service should have, given the pods that it selects.
pub(crate) fn wanted(
    service: &Service,
    pods: &[Arc<Pod>],
    node: impl Fn(&str) -> Option<Arc<Node>>,
) -> Wanted {
    let mut wanted = Wanted::default();
    let families = service::families(service);
    wanted
        .endpoints
        .extend(families.iter().map(|family| (*family, BTreeMap::new())));
    for pod in pods.iter().filter(|pod| !pod::is_finished(pod)) {
        let node = pod::node_name(pod).and_then(&node);
        let is_lost = node.is_none() && pod::node_name(pod).is_some();
        for family in &families {
            let Some(address) = service::address(pod, *family) else {
                continue;
            };
            if is_lost && !service::publishes_not_ready(service) {
                let name = pod.metadata.name.clone().unwrap_or_default();
                wanted.without_node.insert(name);
                continue;
            }
            let endpoint = endpoint(service, pod, node.as_deref(), address.to_owned());
            let of_family = wanted.endpoints.entry(*family).or_default();
            let of_ports = of_family.entry(Ports::of(service, pod)).or_default();
            of_ports.push(endpoint);
        }
    }
    wanted
}

// === impl Ports ===

impl Ports {
    fn of(service: &Service, pod: &Pod) -> Self {
        let ports = service.spec.iter().flat_map(|spec| spec.ports.iter());
        let resolved = ports.flatten().filter_map(|port| {
            Some(Port {
                name: port.name.clone().unwrap_or_default(),
                protocol: service::protocol(port.protocol.as_deref()),
                number: Some(service::target(port, pod)?),
                app_protocol: port.app_protocol.clone(),
            })
        });
        Self(resolved.collect())
    }

    /// The ports of a slice.
    pub(crate) fn from_slice(ports: Option<&Vec<EndpointPort>>) -> Self {
        let ports = ports.into_iter().flatten().map(|port| Port {
            name: port.name.clone().unwrap_or_default(),
            protocol: service::protocol(port.protocol.as_deref()),
            number: port.port,
            app_protocol: port.app_protocol.clone(),
        });
        Self(ports.collect())
    }

    pub(crate) fn to_slice(&self) -> Option<Vec<EndpointPort>> {
        let ports = self.0.iter().map(|port| EndpointPort {
            name: Some(port.name.clone()),
            protocol: Some(port.protocol.clone()),
            port: port.number,
            app_protocol: port.app_protocol.clone(),
        });
        Some(ports.collect())
    }
}

fn endpoint(service: &Service, pod: &Pod, node: Option<&Node>, address: String) -> Endpoint {
    let serving = pod::is_ready(pod);
    let terminating = pod::is_terminating(pod);
    let hostname = service::hostname(service, pod);
    let zone = node
        .and_then(|node| node.metadata.labels.as_ref())
        .and_then(|labels| labels.get(ZONE_LABEL).cloned());
    Endpoint {
        addresses: vec![address],
        conditions: Some(EndpointConditions {
            ready: Some(service::publishes_not_ready(service) || (serving && !terminating)),
            serving: Some(serving),
            terminating: Some(terminating),
        }),
        hostname,
        node_name: pod::node_name(pod).map(str::to_owned),
        target_ref: Some(ObjectReference {
            kind: Some("Pod".into()),
            namespace: pod.metadata.namespace.clone(),
            name: pod.metadata.name.clone(),
            uid: pod.metadata.uid.clone(),
            ..ObjectReference::default()
        }),
        zone,
        ..Endpoint::default()
    }
}
