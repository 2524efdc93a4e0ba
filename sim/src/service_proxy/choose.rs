//! Which endpoint a connection goes to, and whose address it comes from.
//!
//! In: the [`Frontend`] where a client arrived, and who it is. Out: a [`Route`], or why there is none. Pure.
//!
//! The client's address is kept where a real cluster keeps it: from a pod to a Service, and from outside when
//! `externalTrafficPolicy` is `Local`. Elsewhere the connection comes from the node, and so it does when the client *is* the
//! endpoint.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use rand::Rng;
use rand::rngs::SmallRng;
use tokio::time::Instant;

use super::NodeIdentity;
use super::endpoint::{self, View};
use super::table::{Frontend, Origin};
use crate::actors::store::Key;

/// Where a connection goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Route {
    pub(super) to: SocketAddr,
    /// Addresses that it may come from, the best first. The kernel may have none of them.
    pub(super) from: Vec<IpAddr>,
    /// Whether the first of them is the client's.
    pub(super) keeps_client: bool,
}

/// Why a connection goes nowhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// No endpoint is usable for this client.
    NoEndpoint,
    /// `loadBalancerSourceRanges` does not hold the client.
    SourceRange,
}

/// Which client stays with which endpoint.
#[derive(Debug)]
pub(super) struct Affinity {
    entries: BTreeMap<AffinityKey, Kept>,
    entries_max: usize,
    /// Clients that were not remembered for want of room.
    pub(super) forgotten: u64,
}

/// As in kube-proxy, a node remembers for each port of a Service.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct AffinityKey {
    service: Key,
    port_name: String,
    node: Option<usize>,
    client: IpAddr,
}

#[derive(Clone, Copy, Debug)]
struct Kept {
    endpoint: SocketAddr,
    until: Instant,
}

/// Chooses for one new connection.
pub(super) fn route(
    frontend: &Frontend,
    client: IpAddr,
    nodes: &[NodeIdentity],
    affinity: &mut Affinity,
    now: Instant,
    rng: &mut SmallRng,
) -> Result<Route, Refusal> {
    let ranges = &frontend.source_ranges;
    if !ranges.is_empty() && !ranges.iter().any(|range| range.contains(&client)) {
        return Err(Refusal::SourceRange);
    }
    let client_node = node_of(client, nodes);
    let is_pod = client_node.is_some();
    let node = frontend.node.or(client_node);
    let name = node.map(|node| nodes[node].name.as_str());
    let is_inside = frontend.origin == Origin::ClusterIp;
    // Pods reach every endpoint by an address for the outside, as if they had asked for the cluster IP.
    let is_local = frontend.is_local && (is_inside || !is_pod);
    let view = match (is_local, name) {
        (false, name) => View::Cluster(name),
        (true, Some(name)) => View::Node(name),
        // Who is nobody's pod comes from this machine, which is all nodes in one.
        (true, None) => View::Nodes(nodes),
    };
    let usable: Vec<SocketAddr> = endpoint::usable(&frontend.endpoints, view)
        .iter()
        .map(|endpoint| endpoint.address)
        .collect();
    if usable.is_empty() {
        return Err(Refusal::NoEndpoint);
    }
    let any = usable[rng.random_range(0..usable.len())];
    let to = match frontend.affinity {
        None => any,
        Some(timeout) => {
            let key = AffinityKey {
                service: frontend.service.clone(),
                port_name: frontend.port_name.clone(),
                node,
                client,
            };
            affinity.keep(key, &usable, any, timeout, now)
        }
    };
    let keeps_client = to.ip() != client
        && match frontend.origin {
            Origin::ClusterIp => is_pod,
            Origin::ExternalIp | Origin::LoadBalancer | Origin::NodePort => frontend.is_local,
        };
    let node_address = node.map_or(nodes.first(), |node| nodes.get(node));
    let node_address = node_address.map(|node| IpAddr::V4(node.address));
    let from = keeps_client.then_some(client);
    Ok(Route {
        to,
        from: from.into_iter().chain(node_address).collect(),
        keeps_client,
    })
}

/// The node whose pod this is. A node's own address is nobody's pod: the kernel may give it to whoever connects to it.
fn node_of(client: IpAddr, nodes: &[NodeIdentity]) -> Option<usize> {
    let IpAddr::V4(client) = client else {
        return None;
    };
    if nodes.iter().any(|node| node.address == client) {
        return None;
    }
    nodes.iter().position(|node| node.slice.contains(&client))
}

// === impl Affinity ===

impl Affinity {
    pub(super) fn new(entries_max: usize) -> Self {
        Self {
            entries: BTreeMap::new(),
            entries_max,
            forgotten: 0,
        }
    }

    /// The endpoint that the client had, while it is usable and its time is not over; else `any`. Each new connection
    /// begins the time anew.
    fn keep(
        &mut self,
        key: AffinityKey,
        usable: &[SocketAddr],
        any: SocketAddr,
        timeout: Duration,
        now: Instant,
    ) -> SocketAddr {
        let until = now + timeout;
        if let Some(kept) = self.entries.get_mut(&key) {
            if kept.until <= now || !usable.contains(&kept.endpoint) {
                kept.endpoint = any;
            }
            kept.until = until;
            return kept.endpoint;
        }
        if self.entries.len() >= self.entries_max {
            self.entries.retain(|_, kept| kept.until > now);
        }
        if self.entries.len() >= self.entries_max {
            self.forgotten += 1;
        } else {
            let endpoint = any;
            self.entries.insert(key, Kept { endpoint, until });
        }
        any
    }
}

#[cfg(test)]
mod tests;
