//! The endpoints behind one port of a Service, and which of them a node's proxy may use.
//!
//! In: the EndpointSlices of a Service. Out: endpoints in order of their addresses; of these the usable ones: those that are
//! ready, and when there is none, those that still serve while they end. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use k8s_openapi::api::discovery::v1::{Endpoint as SliceEndpoint, EndpointSlice};

/// One place where a Service port is answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Endpoint {
    pub(super) address: SocketAddr,
    pub(super) node: Option<String>,
    pub(super) state: State,
    /// Nodes that shall prefer it (`trafficDistribution: PreferSameNode`).
    hinted_nodes: BTreeSet<String>,
}

/// How far an endpoint may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum State {
    /// Neither ready nor serving.
    Down,
    /// Ending, and still serving: used when nothing better is there.
    Ending,
    Ready,
}

/// From where endpoints are looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum View<'a> {
    /// The whole cluster, as this node sees it.
    Cluster(Option<&'a str>),
    /// One node.
    Node(&'a str),
    /// Any of several nodes.
    Nodes(&'a [super::NodeIdentity]),
}

/// The endpoints of a Service port, by its name. One that two slices hold counts once, in its better state.
pub(super) fn of_port(slices: &[&EndpointSlice], port_name: &str) -> Vec<Endpoint> {
    let mut found: BTreeMap<SocketAddr, Endpoint> = BTreeMap::new();
    for slice in slices.iter().filter(|slice| slice.address_type == "IPv4") {
        let ports = slice.ports.iter().flatten();
        let same_port = ports.filter(|port| {
            port.name.as_deref().unwrap_or_default() == port_name
                && port.protocol.as_deref().unwrap_or("TCP") == "TCP"
        });
        let numbers = same_port.filter_map(|port| u16::try_from(port.port?).ok());
        for number in numbers.filter(|number| *number > 0) {
            for endpoint in slice.endpoints.iter().flatten() {
                let Some(endpoint) = of_slice(endpoint, number) else {
                    continue;
                };
                let known = found.get(&endpoint.address);
                if known.is_none_or(|known| known.state < endpoint.state) {
                    found.insert(endpoint.address, endpoint);
                }
            }
        }
    }
    found.into_values().collect()
}

fn of_slice(endpoint: &SliceEndpoint, port: u16) -> Option<Endpoint> {
    // The other addresses of an endpoint mean the same; proxies use the first.
    let ip: IpAddr = endpoint.addresses.first()?.parse().ok()?;
    let conditions = endpoint.conditions.as_ref();
    let condition = |read: fn(&_) -> Option<bool>| conditions.and_then(read);
    let is_ready = condition(|conditions| conditions.ready).unwrap_or(true);
    let is_serving = condition(|conditions| conditions.serving).unwrap_or(true);
    let is_terminating = condition(|conditions| conditions.terminating).unwrap_or(false);
    let state = match (is_ready, is_serving && is_terminating) {
        (true, _) => State::Ready,
        (false, true) => State::Ending,
        (false, false) => State::Down,
    };
    let hints = endpoint.hints.as_ref();
    let hinted = hints.and_then(|hints| hints.for_nodes.as_ref());
    Some(Endpoint {
        address: SocketAddr::new(ip, port),
        node: endpoint.node_name.clone(),
        state,
        hinted_nodes: hinted
            .into_iter()
            .flatten()
            .map(|node| node.name.clone())
            .collect(),
    })
}

/// The endpoints that may be used from there.
pub(super) fn usable<'a>(endpoints: &'a [Endpoint], view: View<'_>) -> Vec<&'a Endpoint> {
    let of_state = |state: State| -> Vec<&Endpoint> {
        let in_view = endpoints.iter().filter(|endpoint| view.holds(endpoint));
        in_view.filter(|endpoint| endpoint.state == state).collect()
    };
    let ready = of_state(State::Ready);
    if ready.is_empty() {
        return of_state(State::Ending);
    }
    match view {
        View::Cluster(Some(node)) => preferred(ready, node),
        View::Cluster(None) | View::Node(_) | View::Nodes(_) => ready,
    }
}

/// Those that are hinted for the node, when all have hints and one is for it.
fn preferred<'a>(ready: Vec<&'a Endpoint>, node: &str) -> Vec<&'a Endpoint> {
    if ready
        .iter()
        .any(|endpoint| endpoint.hinted_nodes.is_empty())
    {
        return ready;
    }
    let for_node = |endpoint: &&&Endpoint| endpoint.hinted_nodes.contains(node);
    let hinted: Vec<_> = ready.iter().filter(for_node).copied().collect();
    if hinted.is_empty() { ready } else { hinted }
}

// === impl View ===

impl View<'_> {
    fn holds(self, endpoint: &Endpoint) -> bool {
        match self {
            Self::Cluster(_) => true,
            Self::Node(node) => endpoint.node.as_deref() == Some(node),
            Self::Nodes(nodes) => nodes
                .iter()
                .any(|node| endpoint.node.as_ref() == Some(&node.name)),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn slice(endpoints: Value) -> EndpointSlice {
        serde_json::from_value(json!({
            "addressType": "IPv4", "metadata": {}, "endpoints": endpoints,
            "ports": [{"name": "web", "port": 8080, "protocol": "TCP"}, {"name": "dns", "port": 53, "protocol": "UDP"}],
        }))
        .unwrap()
    }

    fn endpoint(last_byte: u8, node: &str, conditions: Value) -> Value {
        json!({"addresses": [format!("127.10.0.{last_byte}")], "nodeName": node, "conditions": conditions})
    }

    fn check(endpoints: &[Endpoint], view: View<'_>, expected: &[u8]) {
        let found: Vec<u8> = usable(endpoints, view)
            .iter()
            .map(|endpoint| match endpoint.address.ip() {
                IpAddr::V4(ip) => ip.octets()[3],
                IpAddr::V6(_) => unreachable!("only IPv4 is written here"),
            })
            .collect();
        assert_eq!(found, expected, "{view:?}");
    }

    #[test]
    fn ready_endpoints_are_used_and_without_them_those_that_end() {
        let ready = || json!({"ready": true, "serving": true, "terminating": false});
        let ending = || json!({"ready": false, "serving": true, "terminating": true});
        let ended = || json!({"ready": false, "serving": false, "terminating": true});
        let starting = || json!({"ready": false, "serving": false, "terminating": false});
        let slice = slice(json!([
            endpoint(1, "a", ready()),
            endpoint(2, "a", ending()),
            endpoint(3, "b", ending()),
            endpoint(4, "b", starting()),
            endpoint(5, "c", ended()),
            endpoint(6, "d", json!({})),
        ]));
        let endpoints = of_port(&[&slice], "web");
        check(&endpoints, View::Cluster(None), &[1, 6]);
        check(&endpoints, View::Node("a"), &[1]);
        check(&endpoints, View::Node("b"), &[3]);
        check(&endpoints, View::Node("c"), &[]);
        check(&endpoints, View::Node("d"), &[6]);
        check(&endpoints, View::Nodes(&[]), &[]);
        assert_eq!(of_port(&[&slice], "dns"), []);
        assert_eq!(of_port(&[&slice], ""), []);
    }

    #[test]
    fn an_endpoint_of_two_slices_counts_once_in_its_better_state() {
        let down = slice(json!([endpoint(1, "a", json!({"ready": false}))]));
        let up = slice(json!([endpoint(1, "a", json!({"ready": true}))]));
        for slices in [[&down, &up], [&up, &down]] {
            let endpoints = of_port(&slices, "web");
            assert_eq!(endpoints.len(), 1);
            check(&endpoints, View::Cluster(None), &[1]);
        }
    }

    #[test]
    fn hints_for_a_node_are_followed_when_every_endpoint_has_some() {
        let hinted = |last_byte, node: &str| json!({"addresses": [format!("127.10.0.{last_byte}")], "hints": {"forNodes": [{"name": node}]}});
        let all = slice(json!([hinted(1, "a"), hinted(2, "b")]));
        let endpoints = of_port(&[&all], "web");
        check(&endpoints, View::Cluster(Some("a")), &[1]);
        check(&endpoints, View::Cluster(Some("c")), &[1, 2]);
        check(&endpoints, View::Cluster(None), &[1, 2]);
        let some = slice(json!([hinted(1, "a"), endpoint(2, "b", json!({}))]));
        check(&of_port(&[&some], "web"), View::Cluster(Some("a")), &[1, 2]);
    }
}
