//! Whether a node takes a pod that was bound to it. Pure.
//!
//! The scheduler looks at the same before it binds; a kubelet looks again, because a pod can be bound by hand, or by a scheduler that
//! did not know of the other pod yet.

use k8s_openapi::api::core::v1::Pod;

/// A port of the node that a pod asks for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct HostPort {
    protocol: String,
    port: i32,
    /// Empty: every address.
    address: String,
}

/// Why a pod is refused for good.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Another pod of the node has one of its ports.
    #[error(
        "Predicate NodePorts failed: node(s) didn't have free ports for the requested pod ports"
    )]
    NodePorts,
    /// The node is full.
    #[error(
        "Node didn't have enough resource: pods, requested: 1, used: {used}, capacity: {capacity}"
    )]
    Pods {
        /// Pods that are there.
        used: usize,
        /// Pods that have room.
        capacity: usize,
    },
}

/// The ports of the node that a pod asks for: its hostPorts, and all of its ports when it lives in the node's network.
#[must_use]
pub fn host_ports(pod: &Pod) -> Vec<HostPort> {
    let Some(spec) = &pod.spec else {
        return Vec::new();
    };
    let uses_host_network = spec.host_network == Some(true);
    let sidecars = spec.init_containers.iter().flatten();
    let sidecars = sidecars.filter(|init| init.restart_policy.as_deref() == Some("Always"));
    let containers = spec.containers.iter().chain(sidecars);
    containers
        .flat_map(|container| container.ports.iter().flatten())
        .filter_map(|port| {
            let implied = uses_host_network.then_some(port.container_port);
            let number = port.host_port.filter(|port| *port > 0).or(implied)?;
            let address = port.host_ip.clone().unwrap_or_default();
            let is_every = matches!(address.as_str(), "0.0.0.0" | "::");
            Some(HostPort {
                protocol: port.protocol.clone().unwrap_or_else(|| "TCP".to_owned()),
                port: number,
                address: if is_every { String::new() } else { address },
            })
        })
        .collect()
}

/// Whether a pod with these ports may run beside `others`, the ports of each pod of the node that has not ended.
///
/// # Errors
/// When it may not.
pub fn admit<'a>(
    ports: &[HostPort],
    others: impl IntoIterator<Item = &'a [HostPort]>,
    capacity: usize,
) -> Result<(), Refusal> {
    let mut used = 0;
    let mut clashes = false;
    for other in others {
        used += 1;
        clashes |= ports
            .iter()
            .any(|port| other.iter().any(|other| port.clashes(other)));
    }
    if used >= capacity {
        return Err(Refusal::Pods { used, capacity });
    }
    if clashes {
        return Err(Refusal::NodePorts);
    }
    Ok(())
}

// === impl HostPort ===

impl HostPort {
    fn clashes(&self, other: &Self) -> bool {
        let shares_address =
            self.address.is_empty() || other.address.is_empty() || self.address == other.address;
        shares_address && self.protocol == other.protocol && self.port == other.port
    }
}

// === impl Refusal ===

impl Refusal {
    /// The reason of the pod's status and of the Event.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::NodePorts => "NodePorts",
            Self::Pods { .. } => "OutOfpods",
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn pod(uses_host_network: bool, port: Value) -> Pod {
        serde_json::from_value(json!({"spec": {
            "hostNetwork": uses_host_network,
            "containers": [{"name": "web", "ports": [port]}],
        }}))
        .unwrap()
    }

    #[test]
    fn two_pods_cannot_have_one_port_of_the_node() {
        let cases = [
            (
                json!({"containerPort": 80}),
                json!({"containerPort": 80}),
                true,
            ),
            (
                json!({"containerPort": 80, "hostPort": 80}),
                json!({"containerPort": 9, "hostPort": 80}),
                false,
            ),
            (
                json!({"containerPort": 80, "hostPort": 80}),
                json!({"containerPort": 80, "hostPort": 81}),
                true,
            ),
            (
                json!({"containerPort": 80, "hostPort": 80}),
                json!({"containerPort": 80, "hostPort": 80, "protocol": "UDP"}),
                true,
            ),
            (
                json!({"containerPort": 80, "hostPort": 80, "hostIP": "127.0.0.1"}),
                json!({"containerPort": 80, "hostPort": 80, "hostIP": "127.0.0.2"}),
                true,
            ),
            (
                json!({"containerPort": 80, "hostPort": 80, "hostIP": "127.0.0.1"}),
                json!({"containerPort": 80, "hostPort": 80, "hostIP": "0.0.0.0"}),
                false,
            ),
        ];
        for (first, second, fits) in cases {
            let there = host_ports(&pod(false, first.clone()));
            let comes = host_ports(&pod(false, second.clone()));
            let admitted = admit(&comes, [there.as_slice()], 10);
            assert_eq!(admitted.is_ok(), fits, "{first} and {second}");
        }
        let there = host_ports(&pod(true, json!({"containerPort": 80})));
        let comes = host_ports(&pod(false, json!({"containerPort": 8080, "hostPort": 80})));
        let refusal = admit(&comes, [there.as_slice()], 10).unwrap_err();
        assert_eq!(refusal.reason(), "NodePorts");
        assert!(
            refusal
                .to_string()
                .starts_with("Predicate NodePorts failed: ")
        );
    }

    #[test]
    fn a_full_node_takes_no_pod() {
        let none: &[HostPort] = &[];
        assert_eq!(admit(none, [none], 2), Ok(()));
        let refusal = admit(none, [none, none], 2).unwrap_err();
        assert_eq!(refusal.reason(), "OutOfpods");
        assert_eq!(
            refusal.to_string(),
            "Node didn't have enough resource: pods, requested: 1, used: 2, capacity: 2"
        );
    }
}
