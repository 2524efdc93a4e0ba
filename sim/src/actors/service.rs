//! What a Service asks of pods: which ones, which of their addresses, and which of their ports.
//!
//! Shared by the controllers that write Endpoints and EndpointSlices. Pure.

use std::net::IpAddr;

use k8s_openapi::api::core::v1::{Pod, Service, ServicePort};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::core::Selector;

use super::pod;

/// A family of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Family {
    V4,
    V6,
}

// === impl Family ===

impl Family {
    const ALL: [Self; 2] = [Self::V4, Self::V6];

    /// The name that Services and slices give it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        }
    }

    pub(crate) fn of(address: &str) -> Option<Self> {
        match address.parse().ok()? {
            IpAddr::V4(_) => Some(Self::V4),
            IpAddr::V6(_) => Some(Self::V6),
        }
    }
}

/// The selector of a Service that controllers serve: not of one without selector, nor of an external name.
pub(crate) fn selector(service: &Service) -> Option<Selector> {
    let spec = service.spec.as_ref()?;
    let is_external = spec.type_.as_deref() == Some("ExternalName");
    let labels = spec.selector.as_ref().filter(|labels| !labels.is_empty())?;
    (!is_external).then(|| Selector::from_iter(labels.clone()))
}

/// The families of a Service, the first of them first.
pub(crate) fn families(service: &Service) -> Vec<Family> {
    let spec = service.spec.as_ref();
    let named = spec.and_then(|spec| spec.ip_families.as_ref());
    let named: Vec<Family> = named
        .into_iter()
        .flatten()
        .filter_map(|name| Family::ALL.into_iter().find(|family| family.name() == name))
        .collect();
    if !named.is_empty() {
        return named;
    }
    let cluster_ip = spec.and_then(|spec| spec.cluster_ip.as_deref());
    match cluster_ip.and_then(Family::of) {
        Some(family) => vec![family],
        None => Family::ALL.to_vec(),
    }
}

/// The first address of a pod in a family.
pub(crate) fn address(pod: &Pod, family: Family) -> Option<&str> {
    addresses(pod).find(|address| Family::of(address) == Some(family))
}

pub(crate) fn publishes_not_ready(service: &Service) -> bool {
    let spec = service.spec.as_ref();
    spec.and_then(|spec| spec.publish_not_ready_addresses)
        .unwrap_or(false)
}

pub(crate) fn is_headless(service: &Service) -> bool {
    let spec = service.spec.as_ref();
    spec.and_then(|spec| spec.cluster_ip.as_deref()) == Some("None")
}

/// The name that a pod has under a Service that is its subdomain.
pub(crate) fn hostname(service: &Service, pod: &Pod) -> Option<String> {
    let spec = pod.spec.as_ref()?;
    let is_subdomain = spec.subdomain.is_some() && spec.subdomain == service.metadata.name;
    spec.hostname.clone().filter(|_| is_subdomain)
}

/// The number that a Service port has on this pod.
pub(crate) fn target(port: &ServicePort, pod: &Pod) -> Option<i32> {
    match &port.target_port {
        None | Some(IntOrString::Int(0)) => Some(port.port),
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

pub(crate) fn protocol(protocol: Option<&str>) -> String {
    protocol.unwrap_or("TCP").to_owned()
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
        || !addresses(before).eq(addresses(after))
        || place(before) != place(after)
}

fn addresses(pod: &Pod) -> impl Iterator<Item = &str> {
    let status = pod.status.as_ref();
    let listed = status.and_then(|status| status.pod_ips.as_ref());
    let only = status
        .and_then(|status| status.pod_ip.as_deref())
        .filter(|_| listed.is_none_or(Vec::is_empty));
    let listed = listed.into_iter().flatten().map(|ip| ip.ip.as_str());
    listed.chain(only)
}
