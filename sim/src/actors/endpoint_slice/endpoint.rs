//! Which endpoints a Service should have: one per pod that its selector matches and that has an address.
//!
//! Pure.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Node, ObjectReference, Pod, Service, ServicePort};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointConditions, EndpointPort};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::core::Selector;

use super::super::owner;
use super::super::pod;

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

/// The endpoints of a Service by their ports, and the pods that could not be taken.
#[derive(Debug, Default)]
pub(crate) struct Wanted {
    pub(crate) endpoints: BTreeMap<Ports, Vec<Endpoint>>,
    /// Pods on nodes that are not known: they are left out until the node is seen.
    pub(crate) without_node: Vec<String>,
}

/// The selector of a Service that this controller serves.
pub(crate) fn selector(service: &Service) -> Option<Selector> {
    let spec = service.spec.as_ref()?;
    let is_external = spec.type_.as_deref() == Some("ExternalName");
    let labels = spec.selector.as_ref().filter(|labels| !labels.is_empty())?;
    (!is_external).then(|| Selector::from_iter(labels.clone()))
}

/// What the Service should have, given the pods of its namespace.
pub(crate) fn wanted(
    service: &Service,
    pods: &[Arc<Pod>],
    node: impl Fn(&str) -> Option<Arc<Node>>,
) -> Wanted {
    let mut wanted = Wanted::default();
    let Some(selector) = selector(service) else {
        return wanted;
    };
    for pod in pods {
        if !owner::selects(&selector, &pod.metadata) || pod::is_finished(pod) {
            continue;
        }
        let Some(address) = address(pod) else {
            continue;
        };
        let node = pod::node_name(pod).and_then(&node);
        if node.is_none() && pod::node_name(pod).is_some() && !publishes_not_ready(service) {
            wanted
                .without_node
                .push(pod.metadata.name.clone().unwrap_or_default());
            continue;
        }
        let endpoint = endpoint(service, pod, node.as_deref(), address);
        let ports = Ports::of(service, pod);
        wanted.endpoints.entry(ports).or_default().push(endpoint);
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
                protocol: protocol(port.protocol.as_deref()),
                number: Some(target(port, pod)?),
                app_protocol: port.app_protocol.clone(),
            })
        });
        Self(resolved.collect())
    }

    /// The ports of a slice.
    pub(crate) fn from_slice(ports: Option<&Vec<EndpointPort>>) -> Self {
        let ports = ports.into_iter().flatten().map(|port| Port {
            name: port.name.clone().unwrap_or_default(),
            protocol: protocol(port.protocol.as_deref()),
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

fn protocol(protocol: Option<&str>) -> String {
    protocol.unwrap_or("TCP").to_owned()
}

/// The number that a Service port has on this pod.
fn target(port: &ServicePort, pod: &Pod) -> Option<i32> {
    match &port.target_port {
        None => Some(port.port),
        Some(IntOrString::Int(0)) => Some(port.port),
        Some(IntOrString::Int(number)) => Some(*number),
        Some(IntOrString::String(name)) => {
            let spec = pod.spec.as_ref()?;
            let sidecars = spec.init_containers.iter().flatten();
            let sidecars =
                sidecars.filter(|container| container.restart_policy.as_deref() == Some("Always"));
            let mut ports = spec
                .containers
                .iter()
                .chain(sidecars)
                .flat_map(|container| container.ports.iter().flatten());
            let found = ports.find(|candidate| {
                candidate.name.as_ref() == Some(name)
                    && protocol(candidate.protocol.as_deref()) == protocol(port.protocol.as_deref())
            });
            found.map(|found| found.container_port)
        }
    }
}

/// The first IPv4 address of a pod.
fn address(pod: &Pod) -> Option<String> {
    let status = pod.status.as_ref()?;
    let listed = status.pod_ips.iter().flatten().map(|ip| &ip.ip);
    let mut addresses = listed.chain(status.pod_ip.as_ref());
    addresses
        .find(|address| address.parse::<Ipv4Addr>().is_ok())
        .cloned()
}

fn publishes_not_ready(service: &Service) -> bool {
    let spec = service.spec.as_ref();
    spec.and_then(|spec| spec.publish_not_ready_addresses)
        .unwrap_or(false)
}

fn endpoint(service: &Service, pod: &Pod, node: Option<&Node>, address: String) -> Endpoint {
    let serving = pod::is_ready(pod);
    let terminating = pod::is_terminating(pod);
    let spec = pod.spec.as_ref();
    let hostname = spec
        .filter(|spec| spec.subdomain.is_some() && spec.subdomain == service.metadata.name)
        .and_then(|spec| spec.hostname.clone());
    let zone = node
        .and_then(|node| node.metadata.labels.as_ref())
        .and_then(|labels| labels.get(ZONE_LABEL).cloned());
    Endpoint {
        addresses: vec![address],
        conditions: Some(EndpointConditions {
            ready: Some(publishes_not_ready(service) || (serving && !terminating)),
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

/// Whether a change of a pod can change an endpoint. (A change of the phase alone does not count: kubelets write it
/// together with the condition.)
pub(crate) fn matters(before: &Pod, after: &Pod) -> bool {
    let place = |pod: &Pod| {
        let spec = pod.spec.as_ref();
        spec.map(|spec| {
            (
                spec.node_name.clone(),
                spec.hostname.clone(),
                spec.subdomain.clone(),
            )
        })
    };
    before.metadata.uid != after.metadata.uid
        || before.metadata.labels != after.metadata.labels
        || pod::is_terminating(before) != pod::is_terminating(after)
        || pod::is_ready(before) != pod::is_ready(after)
        || address(before) != address(after)
        || place(before) != place(after)
}
