//! Ports of the node that pods ask for.
//!
//! A pod in the network of its node asks for all of its container ports; the API server has written them as host ports.
//! Pure.

use k8s_openapi::api::core::v1::PodSpec;

/// A port of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct HostPort<'a> {
    address: &'a str,
    protocol: &'a str,
    number: i32,
}

/// The ports that a pod asks for, also those of its sidecars.
pub(crate) fn host_ports(spec: &PodSpec) -> impl Iterator<Item = HostPort<'_>> {
    let sidecars = spec
        .init_containers
        .iter()
        .flatten()
        .filter(|container| container.restart_policy.as_deref() == Some("Always"));
    let ports = spec
        .containers
        .iter()
        .chain(sidecars)
        .flat_map(|container| container.ports.iter().flatten());
    ports.filter_map(|port| {
        Some(HostPort {
            address: port.host_ip.as_deref().unwrap_or_default(),
            protocol: port.protocol.as_deref().unwrap_or("TCP"),
            number: port.host_port.filter(|number| *number > 0)?,
        })
    })
}

// === impl HostPort ===

impl HostPort<'_> {
    /// Whether both cannot be had on one node.
    pub(crate) fn clashes(&self, other: &HostPort<'_>) -> bool {
        let is_any = |address: &str| matches!(address, "" | "0.0.0.0");
        self.protocol == other.protocol
            && self.number == other.number
            && (self.address == other.address || is_any(self.address) || is_any(other.address))
    }
}
