//! Where the proxy must listen, and what stands behind each address.
//!
//! In: Services, EndpointSlices and the nodes. Out: a [`Table`]: one entry for each address and port that can be answered
//! now, and what must be told about Services that cannot. An address without a usable endpoint has no entry: the kernel
//! refuses its connections, as the rules of kube-proxy do. Pure.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use k8s_openapi::api::core::v1::{Service, ServicePort, ServiceSpec};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use sha2::{Digest, Sha256};

use super::NodeIdentity;
use super::endpoint::{self, Endpoint, State, View};
use crate::actors::store::Key;

/// Whose slice it is.
const SERVICE_NAME_LABEL: &str = "kubernetes.io/service-name";

/// Seconds that a client stays with its endpoint when the Service does not say.
const AFFINITY_SECONDS: i32 = 10_800;

/// What the proxy does now.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Table {
    pub(super) listeners: BTreeMap<SocketAddr, Listener>,
    pub(super) complaints: Vec<Complaint>,
}

/// What stands behind an address.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Listener {
    /// Connections go to an endpoint.
    Forward(Arc<Frontend>),
    /// The answer says how many ready endpoints the node has.
    Health(Health),
}

/// A port of a Service at one address.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Frontend {
    pub(super) service: Key,
    pub(super) port_name: String,
    pub(super) origin: Origin,
    /// The node whose proxy answers, by its place among the nodes. None: the node of the client, if it has one.
    pub(super) node: Option<usize>,
    /// Whether only endpoints of that node are used.
    pub(super) is_local: bool,
    pub(super) endpoints: Arc<Vec<Endpoint>>,
    /// How long a client stays with its endpoint.
    pub(super) affinity: Option<Duration>,
    /// Who may come; everybody when it is empty.
    pub(super) source_ranges: Vec<IpNet>,
}

/// How a client came to the Service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Origin {
    ClusterIp,
    ExternalIp,
    LoadBalancer,
    NodePort,
}

/// The state of a Service on one node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Health {
    pub(super) service: Key,
    pub(super) local_endpoints: usize,
}

/// What the owner of a Service must know.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Complaint {
    pub(super) service: Key,
    pub(super) reason: &'static str,
    pub(super) message: String,
}

/// Builds the table. What one Service asks for never takes what an older one has.
pub(super) fn build<'a>(
    services: impl IntoIterator<Item = &'a Service>,
    slices: impl IntoIterator<Item = &'a EndpointSlice>,
    nodes: &[NodeIdentity],
    listeners_max: usize,
) -> Table {
    let mut by_service: BTreeMap<Key, Vec<&EndpointSlice>> = BTreeMap::new();
    for slice in slices {
        let labels = slice.metadata.labels.as_ref();
        if let Some(name) = labels.and_then(|labels| labels.get(SERVICE_NAME_LABEL)) {
            let namespace = slice.metadata.namespace.clone().unwrap_or_default();
            by_service
                .entry(Key::new(namespace, name))
                .or_default()
                .push(slice);
        }
    }
    let mut services: Vec<&Service> = services.into_iter().collect();
    services.sort_by_key(|service| {
        let created = service.metadata.creation_timestamp.as_ref();
        (created.map(|time| time.0), Key::of(*service))
    });
    let mut builder = Builder {
        nodes,
        listeners_max,
        table: Table::default(),
    };
    for service in services {
        let key = Key::of(service);
        let slices = by_service.remove(&key).unwrap_or_default();
        builder.add(service, &key, &slices);
    }
    builder.table.complaints.sort();
    builder.table
}

struct Builder<'a> {
    nodes: &'a [NodeIdentity],
    listeners_max: usize,
    table: Table,
}

// === impl Builder ===

impl Builder<'_> {
    fn add(&mut self, service: &Service, key: &Key, slices: &[&EndpointSlice]) {
        let Some(spec) = &service.spec else { return };
        // Without a cluster IP a Service is only a name: ExternalName, or headless.
        let Some(cluster_ip) = spec.cluster_ip.as_deref().and_then(address) else {
            return;
        };
        let ports = spec.ports.iter().flatten();
        let (tcp, others): (Vec<_>, Vec<_>) =
            ports.partition(|port| port.protocol.as_deref().unwrap_or("TCP") == "TCP");
        if !others.is_empty() {
            let names: Vec<String> = others.iter().map(|port| title(port)).collect();
            let names = names.join(", ");
            let message = format!("{names}: the service proxy of this cluster forwards TCP only");
            self.complain(key, "UnsupportedProtocol", message);
        }
        let mut all_endpoints = Vec::new();
        for port in tcp {
            let name = port.name.clone().unwrap_or_default();
            let endpoints = Arc::new(endpoint::of_port(slices, &name));
            all_endpoints.extend(endpoints.iter().cloned());
            self.add_port(service, key, spec, port, cluster_ip, endpoints);
        }
        self.add_health(key, spec, &all_endpoints);
    }

    fn add_port(
        &mut self,
        service: &Service,
        key: &Key,
        spec: &ServiceSpec,
        port: &ServicePort,
        cluster_ip: Ipv4Addr,
        endpoints: Arc<Vec<Endpoint>>,
    ) {
        let (nodes, Some(number)) = (self.nodes, port_number(port.port)) else {
            return;
        };
        let is_local = |policy: &Option<String>| policy.as_deref() == Some("Local");
        let is_external_local = is_local(&spec.external_traffic_policy);
        let internal = Frontend {
            service: key.clone(),
            port_name: port.name.clone().unwrap_or_default(),
            origin: Origin::ClusterIp,
            node: None,
            is_local: is_local(&spec.internal_traffic_policy),
            endpoints: Arc::clone(&endpoints),
            affinity: affinity(spec),
            source_ranges: Vec::new(),
        };
        let external = |origin, node| Frontend {
            origin,
            node,
            is_local: is_external_local,
            ..internal.clone()
        };
        self.listen((cluster_ip, number), internal.clone());
        for ip in spec
            .external_ips
            .iter()
            .flatten()
            .filter_map(|ip| address(ip))
        {
            let node = self.node_for(ip, is_external_local, &endpoints);
            self.listen((ip, number), external(Origin::ExternalIp, node));
        }
        for ip in load_balancer_ips(service) {
            let node = self.node_for(ip, is_external_local, &endpoints);
            let mut frontend = external(Origin::LoadBalancer, node);
            frontend.source_ranges = source_ranges(spec);
            self.listen((ip, number), frontend);
        }
        if let Some(node_port) = port.node_port.and_then(port_number) {
            for (index, node) in nodes.iter().enumerate() {
                let frontend = external(Origin::NodePort, Some(index));
                self.listen((node.address, node_port), frontend);
            }
        }
    }

    /// A node for an address that all nodes share: the owner of the address, else the one that would announce it. As
    /// MetalLB does it in layer-2 mode: among those that have an endpoint when only local ones count, by a hash.
    fn node_for(&self, ip: Ipv4Addr, is_local: bool, endpoints: &[Endpoint]) -> Option<usize> {
        let nodes = self.nodes.iter().enumerate();
        if let Some((index, _)) = nodes.clone().find(|(_, node)| node.address == ip) {
            return Some(index);
        }
        let can_serve = |node: &NodeIdentity| {
            let view = View::Node(&node.name);
            !is_local || !endpoint::usable(endpoints, view).is_empty()
        };
        nodes
            .filter(|(_, node)| can_serve(node))
            .min_by_key(|(_, node)| Sha256::digest(format!("{}#{ip}", node.name)).to_vec())
            .map(|(index, _)| index)
    }

    fn add_health(&mut self, key: &Key, spec: &ServiceSpec, endpoints: &[Endpoint]) {
        let Some(port) = spec.health_check_node_port.and_then(port_number) else {
            return;
        };
        for node in self.nodes {
            let ready = endpoints.iter().filter(|endpoint| {
                endpoint.state == State::Ready && endpoint.node.as_ref() == Some(&node.name)
            });
            let addresses: std::collections::BTreeSet<IpAddr> =
                ready.map(|endpoint| endpoint.address.ip()).collect();
            let health = Health {
                service: key.clone(),
                local_endpoints: addresses.len(),
            };
            let at = SocketAddr::from((node.address, port));
            self.insert(at, key, Listener::Health(health));
        }
    }

    fn listen(&mut self, at: (Ipv4Addr, u16), frontend: Frontend) {
        if frontend.can_answer(self.nodes) {
            let key = frontend.service.clone();
            self.insert(at.into(), &key, Listener::Forward(Arc::new(frontend)));
        }
    }

    fn insert(&mut self, at: SocketAddr, key: &Key, listener: Listener) {
        if let Some(taken) = self.table.listeners.get(&at) {
            let owner = taken.service();
            if owner != key {
                let message = format!("{at} is served for the Service {owner}, which is older");
                self.complain(key, "AddressTaken", message);
            }
        } else if self.table.listeners.len() >= self.listeners_max {
            let message = format!(
                "{at} is not served: the service proxy listens on {} addresses already",
                self.listeners_max
            );
            self.complain(key, "TooManyListeners", message);
        } else {
            self.table.listeners.insert(at, listener);
        }
    }

    /// One complaint for each reason: its owner has to look anyway.
    fn complain(&mut self, service: &Key, reason: &'static str, message: String) {
        let complaints = &mut self.table.complaints;
        let is_known = |one: &Complaint| one.service == *service && one.reason == reason;
        if !complaints.iter().any(is_known) {
            complaints.push(Complaint {
                service: service.clone(),
                reason,
                message,
            });
        }
    }
}

// === impl Listener ===

impl Listener {
    pub(super) fn service(&self) -> &Key {
        match self {
            Self::Forward(frontend) => &frontend.service,
            Self::Health(health) => &health.service,
        }
    }
}

// === impl Frontend ===

impl Frontend {
    /// Whether there is a client for whom an endpoint is left.
    fn can_answer(&self, nodes: &[NodeIdentity]) -> bool {
        let view = match (self.is_local, self.node) {
            (false, _) => View::Cluster(None),
            (true, Some(node)) => View::Node(&nodes[node].name),
            (true, None) => View::Nodes(nodes),
        };
        !endpoint::usable(&self.endpoints, view).is_empty()
    }
}

fn affinity(spec: &ServiceSpec) -> Option<Duration> {
    if spec.session_affinity.as_deref() != Some("ClientIP") {
        return None;
    }
    let config = spec.session_affinity_config.as_ref();
    let client_ip = config.and_then(|config| config.client_ip.as_ref());
    let seconds = client_ip.and_then(|client_ip| client_ip.timeout_seconds);
    let seconds = u64::try_from(seconds.unwrap_or(AFFINITY_SECONDS)).unwrap_or(0);
    Some(Duration::from_secs(seconds))
}

fn load_balancer_ips(service: &Service) -> Vec<Ipv4Addr> {
    let spec = service.spec.as_ref();
    if spec.and_then(|spec| spec.type_.as_deref()) != Some("LoadBalancer") {
        return Vec::new();
    }
    let status = service.status.as_ref();
    let balancer = status.and_then(|status| status.load_balancer.as_ref());
    let points = balancer.and_then(|balancer| balancer.ingress.as_ref());
    points
        .into_iter()
        .flatten()
        .filter(|point| point.ip_mode.as_deref() != Some("Proxy"))
        .filter_map(|point| address(point.ip.as_deref()?))
        .collect()
}

/// The API server has checked them; what it let through and we cannot read allows nobody.
fn source_ranges(spec: &ServiceSpec) -> Vec<IpNet> {
    let ranges = spec.load_balancer_source_ranges.iter().flatten();
    let nobody = IpNet::from(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
    ranges
        .map(|range| range.trim().parse().unwrap_or(nobody))
        .collect()
}

fn address(text: &str) -> Option<Ipv4Addr> {
    text.parse().ok()
}

fn port_number(port: i32) -> Option<u16> {
    u16::try_from(port).ok().filter(|port| *port > 0)
}

fn title(port: &ServicePort) -> String {
    let protocol = port.protocol.as_deref().unwrap_or_default();
    format!("port {}/{protocol}", port.port)
}

#[cfg(test)]
pub(super) mod tests;
