//! The service proxy: what makes the addresses of Services lead to pods, as kube-proxy does on every node.
//!
//! In: Services and EndpointSlices, through a kube client and nothing else. Out: listeners on cluster IPs, node ports,
//! load-balancer addresses and health ports, and TCP connections between them and the pods. All nodes of this process are
//! one machine, so one proxy plays all of theirs: a node port is answered on each node's address by that node's rules, and an
//! address that all nodes share by the rules of one (`table`, `choose`).
//!
//! Pure: `endpoint` reads slices, `table` says where to listen, `choose` where a connection goes, `pool` which address a
//! load balancer gets. Drivers: `listeners`, `forward`, `health`, `load_balancer`; this file owns the state and puts them together.
//! It is no product: the tiers never use it.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use ipnet::Ipv4Net;
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::runtime::watcher;
use kube::{Api, Client};
use rand::rngs::SmallRng;
use rand::{RngCore, SeedableRng};
use tiergate_data_plane::net::Net;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::actors;
use crate::actors::event::{Draft, EventWriter, Recorder};
use crate::actors::store::Key;
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
mod pool;
mod table;

use choose::{Affinity, Refusal};
pub use exclusive::ExclusiveNet;
use forward::{Ending, Report, Times};
use listeners::{Accepted, Listeners, Refused};
use table::{Listener, Table};

/// The name under which it reports Events, that of what it stands for.
const COMPONENT: &str = "kube-proxy";

/// Objects that others have taken over, or that are no Services with an address.
const SELECTOR: &str = "!service.kubernetes.io/service-proxy-name,!service.kubernetes.io/headless";

/// Clients that are remembered for `sessionAffinity`.
const AFFINITY_MAX: usize = 16 * 1024;

/// Connections that ended and are counted one by one before a line of the log says how many there were.
const COUNTS_LOGGED_EVERY: u64 = 1000;

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

struct Proxy<N: Net> {
    options: Options<N>,
    services: watch::Receiver<Objects<Service>>,
    slices: watch::Receiver<Objects<EndpointSlice>>,
    table: watch::Sender<Arc<Table>>,
    listeners: Listeners<N>,
    affinity: Affinity,
    connections: JoinSet<Option<Report>>,
    recorder: Recorder,
    counts: Counts,
    /// Ports below 1024 fail all alike: the log says it once.
    knows_privileged: bool,
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
    let services = keep_services(&mut background, &options.client, derive());
    let slices = keep_slices(&mut background, &options.client, derive());
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

fn keep_services(
    background: &mut JoinSet<()>,
    client: &Client,
    rng: SmallRng,
) -> watch::Receiver<Objects<Service>> {
    let (sender, receiver) = watch::channel(Objects::default());
    background.spawn(watching::keep(
        Api::all(client.clone()),
        config(),
        rng,
        sender,
    ));
    receiver
}

fn keep_slices(
    background: &mut JoinSet<()>,
    client: &Client,
    rng: SmallRng,
) -> watch::Receiver<Objects<EndpointSlice>> {
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

// === impl Proxy ===

impl<N: Net> Proxy<N> {
    async fn run(
        mut self,
        mut accepted: tokio::sync::mpsc::Receiver<Accepted<N::Stream>>,
        mut background: JoinSet<()>,
        mut stop: stop::Signal,
    ) -> Counts {
        // Both lists first: a Service without its endpoints would look as if it had none.
        tokio::select! {
            () = stop.wait() => return self.counts,
            _ = async { tokio::join!(self.services.changed(), self.slices.changed()) } => {}
        }
        let mut sync_at = Some(Instant::now());
        let mut synced_at = Instant::now();
        loop {
            let due = [sync_at, self.listeners.retry_at()];
            let due = due.into_iter().flatten().min();
            tokio::select! {
                biased; // The end first, then what is known, so that a connection meets the newest table.
                () = stop.wait() => break,
                () = until(due) => {
                    sync_at = None;
                    synced_at = Instant::now();
                    self.sync().await;
                }
                Ok(()) = self.services.changed() => {
                    sync_at = sync_at.or(Some(synced_at + self.options.limits.sync_period));
                }
                Ok(()) = self.slices.changed() => {
                    sync_at = sync_at.or(Some(synced_at + self.options.limits.sync_period));
                }
                Some(connection) = accepted.recv() => self.take(connection),
                Some(ended) = self.connections.join_next() => self.count(ended.unwrap_or(None)),
                Some(_) = background.join_next() => {
                    tracing::error!(reason = "service_proxy_broken", "the service proxy stops: a task of it has ended");
                    break;
                }
            }
        }
        tracing::info!(counts = ?self.counts, "the service proxy ends");
        self.counts
    }

    /// Makes table and listeners equal to the objects.
    async fn sync(&mut self) {
        let services = self.services.borrow_and_update().clone();
        let slices = self.slices.borrow_and_update().clone();
        let table = table::build(
            services.values().map(AsRef::as_ref),
            slices.values().map(AsRef::as_ref),
            &self.options.nodes,
            self.options.limits.listeners_max,
        );
        let before = self.table.borrow().clone();
        for complaint in &table.complaints {
            if !before.complaints.contains(complaint) {
                let key = &complaint.service;
                let message = complaint.message.clone();
                tracing::warn!(service = %key, message, reason = complaint.reason, "a Service is not served whole");
                self.tell(&services, key, complaint.reason, message);
            }
        }
        // The table first: whoever connects to a new listener must find it there.
        self.table.send_replace(Arc::new(table.clone()));
        let refused = self.listeners.follow(&table).await;
        self.report(&services, &table, &refused);
        tracing::debug!(
            listeners = self.listeners.open_count(),
            wanted = table.listeners.len(),
            "the service proxy follows the Services"
        );
    }

    /// Says what could not be opened: each in the log, and one Event for a Service.
    fn report(&mut self, services: &Objects<Service>, table: &Table, refused: &[Refused]) {
        let mut told = BTreeMap::new();
        for Refused { at, problem, error } in refused {
            let Some(listener) = table.listeners.get(at) else {
                continue;
            };
            let service = listener.service();
            let ip = match at.ip() {
                IpAddr::V4(ip) => ip,
                IpAddr::V6(_) => continue,
            };
            let message = format!("cannot listen on {at}: {error}; {}", problem.cure(ip));
            let is_privileged = *problem == listeners::Problem::Privileged;
            if !problem.concerns_owner(listener) || (is_privileged && self.knows_privileged) {
                tracing::debug!(%service, %at, %error, reason = problem.reason(), "a Service is not served at an address");
            } else {
                self.knows_privileged |= is_privileged;
                tracing::warn!(%service, %at, %error, reason = problem.reason(), "{message}");
            }
            if problem.concerns_owner(listener) {
                told.entry(service.clone()).or_insert(message);
            }
        }
        for (service, message) in told {
            self.tell(services, &service, "ListenFailed", message);
        }
    }

    fn tell(&self, services: &Objects<Service>, key: &Key, reason: &'static str, message: String) {
        if let Some(service) = services.get(&(key.namespace.clone(), key.name.clone())) {
            let draft = Draft::warning(&**service, reason, message);
            self.recorder.record(draft);
        }
    }

    fn take(&mut self, accepted: Accepted<N::Stream>) {
        let Accepted { stream, peer, at } = accepted;
        self.counts.accepted += 1;
        if self.connections.len() >= self.options.limits.connections_max {
            self.counts.over_limit += 1;
            if self.counts.over_limit % COUNTS_LOGGED_EVERY == 1 {
                tracing::warn!(%at, over_limit = self.counts.over_limit, reason = "too_many_connections", "connections through Services are closed at once");
            }
            return;
        }
        let table = self.table.borrow().clone();
        let frontend = match table.listeners.get(&at) {
            // It went while the connection waited.
            None => {
                self.counts.no_endpoint += 1;
                return;
            }
            Some(Listener::Health(_)) => {
                let table = self.table.subscribe();
                self.connections.spawn(async move {
                    health::serve(stream, at, table).await;
                    None
                });
                return;
            }
            Some(Listener::Forward(frontend)) => frontend,
        };
        let options = &mut self.options;
        let (nodes, rng) = (&options.nodes, &mut options.rng);
        let (now, client) = (Instant::now(), peer.ip());
        let route = choose::route(frontend, client, nodes, &mut self.affinity, now, rng);
        match route {
            Ok(route) => {
                let limits = options.limits;
                let times = Times {
                    connect_timeout: limits.connect_timeout,
                    idle_timeout: limits.idle_timeout,
                    half_closed_timeout: limits.half_closed_timeout,
                };
                let net = options.net.clone();
                let forwarded =
                    async move { Some(forward::forward(net, stream, route, times).await) };
                self.connections.spawn(forwarded);
            }
            Err(Refusal::NoEndpoint) => {
                self.counts.no_endpoint += 1;
                tracing::debug!(%at, %client, reason = "no_local_endpoint", "a connection to a Service is closed");
            }
            Err(Refusal::SourceRange) => {
                self.counts.source_refused += 1;
                tracing::debug!(%at, %client, reason = "source_range", "a connection to a Service is closed");
            }
        }
    }

    fn count(&mut self, report: Option<Report>) {
        let Some(report) = report else { return };
        let counts = &mut self.counts;
        match report.ending {
            Ending::Closed => counts.closed += 1,
            Ending::Broken => counts.broken += 1,
            Ending::Idle => counts.idle += 1,
            Ending::ConnectFailed | Ending::ConnectTimedOut => counts.connect_failed += 1,
        }
        counts.bytes += report.bytes;
        if report.lost_client {
            counts.lost_client += 1;
            if counts.lost_client % COUNTS_LOGGED_EVERY == 1 {
                tracing::info!(
                    lost_client = counts.lost_client,
                    reason = "address_not_local",
                    "endpoints see a node's address instead of the client's, which is none of this machine"
                );
            }
        }
    }
}

/// Waits for a moment that may be none.
async fn until(moment: Option<Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests;
