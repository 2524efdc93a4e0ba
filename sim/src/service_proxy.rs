//! The service proxy: what makes the addresses of Services lead to pods, as kube-proxy does on every node.
//!
//! In: Services and EndpointSlices, through a kube client and nothing else. Out: listeners on cluster IPs, node ports,
//! load-balancer addresses and health ports, and TCP connections between them and the pods. All nodes of this process are
//! one machine, so one proxy plays all of theirs: a node port is answered on each node's address by that node's rules, and an
//! address that all nodes share by the rules of one (`table`, `choose`).
//!
//! The decisions: `endpoint` reads slices, `table` says where to listen, `choose` where a connection goes, `pool` which address
//! a load balancer gets. The drivers: `listeners`, `forward`, `health`, `load_balancer`, and `proxy`, which puts them together.
//! This file has what a proxy is made of. It is no product: the tiers never use it.

use std::fmt::Debug;
use std::net::Ipv4Addr;
use std::time::Duration;

use ipnet::Ipv4Net;
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::runtime::watcher;
use kube::{Api, Client, Resource};
use rand::rngs::SmallRng;
use rand::{RngCore, SeedableRng};
use serde::de::DeserializeOwned;
use tiergate_data_plane::net::Net;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::actors;
use crate::actors::event::{EventWriter, Recorder};
use crate::actors::write::Writer;
use crate::kubelet::watching::{self, Objects};
use crate::stop;

mod choose;
mod endpoint;
mod exclusive;
mod forward;
mod health;
mod listeners;
mod load_balancer;
mod open_files;
mod pool;
mod proxy;
mod table;

use choose::Affinity;
pub use exclusive::ExclusiveNet;
use listeners::Listeners;
use proxy::Proxy;

/// The name under which it reports Events, that of what it stands for.
const COMPONENT: &str = "kube-proxy";

/// Objects that others have taken over, or that are no Services with an address.
const SELECTOR: &str = "!service.kubernetes.io/service-proxy-name,!service.kubernetes.io/headless";

/// Clients that are remembered for `sessionAffinity`.
const AFFINITY_MAX: usize = 16 * 1024;

/// A node for which the proxy answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeIdentity {
    /// Its name.
    pub name: String,
    /// Its own address, where node ports are.
    pub address: Ipv4Addr,
    /// Addresses of its pods.
    pub slice: Ipv4Net,
}

/// What a proxy is made of.
#[derive(Clone)]
pub struct Options<N> {
    /// The network; on a machine that others use too, an [`ExclusiveNet`].
    pub net: N,
    /// The API server.
    pub client: Client,
    /// The nodes that it stands for.
    pub nodes: Vec<NodeIdentity>,
    /// Who gives Services of type LoadBalancer their addresses. None: somebody else does.
    pub load_balancers: Option<LoadBalancers>,
    /// Its bounds.
    pub limits: Limits,
    /// Randomness.
    pub rng: SmallRng,
}

/// What gives addresses to Services of type LoadBalancer.
#[derive(Clone)]
pub struct LoadBalancers {
    /// The addresses.
    pub pool: Ipv4Net,
    /// The API server, as somebody who may write the status of Services.
    pub client: Client,
}

/// The bounds of a proxy.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Time between two looks at the changes of Services and endpoints, as kube-proxy's `minSyncPeriod`.
    pub sync_period: Duration,
    /// Addresses with a listener; a Service beyond is told so.
    pub listeners_max: usize,
    /// Open connections; one beyond is closed at once. Each may hold 32 KiB.
    pub connections_max: usize,
    /// From the arrival of a client to the connection with an endpoint.
    pub connect_timeout: Duration,
    /// Longest silence of a connection, as kube-proxy sets it for connection tracking.
    pub idle_timeout: Duration,
    /// Longest silence after one side has said all.
    pub half_closed_timeout: Duration,
}

/// What a proxy did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Connections that clients opened.
    pub accepted: u64,
    /// Closed at once: too many were open.
    pub over_limit: u64,
    /// Closed at once: no endpoint was left for this client.
    pub no_endpoint: u64,
    /// Closed at once: not in `loadBalancerSourceRanges`.
    pub source_refused: u64,
    /// No endpoint answered.
    pub connect_failed: u64,
    /// Ended for silence.
    pub idle: u64,
    /// Broken off by one side.
    pub broken: u64,
    /// Carried to the end of both sides.
    pub closed: u64,
    /// The endpoint saw another address than the client's, though it was to see that.
    pub lost_client: u64,
    /// Bytes carried, both ways.
    pub bytes: u64,
}

// === impl Options ===

impl std::fmt::Debug for LoadBalancers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "LoadBalancers({})", self.pool)
    }
}

impl<N> std::fmt::Debug for Options<N> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Options({} nodes)", self.nodes.len())
    }
}

// === impl Limits ===

impl Default for Limits {
    fn default() -> Self {
        Self {
            sync_period: Duration::from_secs(1),
            listeners_max: 4096,
            connections_max: 4096,
            connect_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(24 * 60 * 60),
            half_closed_timeout: Duration::from_secs(60 * 60),
        }
    }
}

/// Runs a proxy until `stop`; then its connections end with it. It returns earlier only when a part of it fails.
pub async fn run<N: Net>(mut options: Options<N>, stop: stop::Signal) -> Counts {
    let mut background = JoinSet::new();
    let mut rng = options.rng.clone();
    let mut derive = || SmallRng::seed_from_u64(rng.next_u64());
    options.rng = derive();
    let services = keep::<Service>(&mut background, &options.client, derive());
    let slices = keep::<EndpointSlice>(&mut background, &options.client, derive());
    let (sender, events) = EventWriter::new(derive());
    background.spawn(events.run());
    let recorder = |client: &Client, component| {
        Recorder::new(sender.clone(), Writer::new(client.clone(), component)).of(component)
    };
    if let Some(load_balancers) = options.load_balancers.take() {
        let recorder = recorder(&load_balancers.client, load_balancer::COMPONENT);
        background.spawn(load_balancer::run(
            load_balancers,
            services.clone(),
            recorder,
        ));
    }
    let client = options.client.clone();
    let (listeners, accepted) = Listeners::new(options.net.clone());
    let proxy = Proxy {
        options,
        services,
        slices,
        table: watch::Sender::default(),
        listeners,
        affinity: Affinity::new(AFFINITY_MAX),
        connections: JoinSet::new(),
        recorder: recorder(&client, COMPONENT),
        counts: Counts::default(),
        knows_privileged: false,
    };
    proxy.run(accepted, background, stop).await
}

fn keep<K>(
    background: &mut JoinSet<()>,
    client: &Client,
    rng: SmallRng,
) -> watch::Receiver<Objects<K>>
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
{
    let (sender, receiver) = watch::channel(Objects::default());
    background.spawn(watching::keep(
        Api::all(client.clone()),
        config(),
        rng,
        sender,
    ));
    receiver
}

fn config() -> watcher::Config {
    actors::watch::config().labels(SELECTOR)
}

#[cfg(test)]
mod tests;
