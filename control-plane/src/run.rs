//! One tier from its start to its end, in the product and in the simulator.
//!
//! In: the settings, the scope, everything outside, and a future that says when to end. Out: nothing, or a [`Failure`].
//! The order is what matters: addresses are tried first, so that a wrong one ends the start at once; requests are taken
//! only when everything has been read, so that none gets a 404 for a route that exists; at the end `/readyz` says so
//! first, everything is served for a while longer, then no connection is taken and open requests finish.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use prometheus_client::registry::Registry;
use tiergate_data_plane::access_log;
use tiergate_data_plane::config::Config as DataPlane;
use tiergate_data_plane::drain;
use tiergate_data_plane::metrics::Metrics;
use tiergate_data_plane::net::{Families, Net};
use tiergate_data_plane::snapshot::SnapshotCell;
use tiergate_data_plane::worker::Worker;
use tiergate_data_plane::workers::{self, WorkerDied, Workers};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::timeout;

use crate::admin::{Admin, Readiness, Sources};
use crate::config::Common;
use crate::external_names::{self, Resolver};
use crate::failure::Failure;
use crate::platform::Platform;
use crate::publish::{self, ControlPlane};
use crate::scope::Scope;
use crate::status::Reporter;
use crate::telemetry::{self, registry};

/// The part that serves requests, before it does.
struct Front<N> {
    net: N,
    threads: usize,
    config: Arc<DataPlane>,
    cell: Arc<SnapshotCell>,
    metrics: Metrics,
    access_log: access_log::Switch,
    rng: rand::rngs::SmallRng,
}

/// The part that serves requests, listening.
enum Running<N: Net> {
    Threads(Workers),
    Here(Worker<N>),
}

/// How long we wait for the API server before we say in the log that nothing is served yet.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long after its deadline the request path may take to let go.
const DRAIN_GRACE: Duration = Duration::from_secs(5);
/// How long a start waits for the Lease that tells the others of this replica.
const JOIN_TIMEOUT: Duration = Duration::from_secs(2);
/// How long it may take to let go of the Leases at the end.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(3);

/// Runs a tier until `shutdown` resolves and all requests have ended. Must be called inside a `LocalSet`.
///
/// # Errors
/// When an address cannot be bound, or a part of the tier ends that must not.
pub async fn run<N: Net>(
    common: Common,
    mut scope: Scope,
    platform: Platform<N>,
    telemetry: Option<telemetry::Handle>,
    shutdown: impl Future<Output = ()>,
) -> Result<(), Failure> {
    let families = common.upstream_families;
    let families = families.unwrap_or_else(|| platform.net.families());
    scope.families = families;
    let mut all = registry::registry(common.tier);
    if common.worker_threads > 0 {
        registry::register_process(&mut all);
    }
    let registry = registry::families(&mut all, common.tier, common.version);
    let metrics = Metrics::register(registry);
    let cell = Arc::new(SnapshotCell::new(metrics.clone()));
    let (mut control_plane, handle) =
        ControlPlane::new(&platform, scope.clone(), cell.clone(), registry);
    if scope.external_names.is_some() {
        control_plane = control_plane.with_resolver(resolver(&platform.net, &common, families));
    }
    let reporter = Reporter::new(
        &platform,
        common.tier.program(),
        &scope,
        common.status.clone(),
        handle.clone(),
        registry,
    );
    let admin = bind_admin(&platform.net, &common, registry).await?;
    try_addresses(&platform.net, &common.data_plane).await?;

    let readiness = Readiness::default();
    let access_log = access_log::Switch::new(common.access_log);
    let front = Front {
        net: platform.net.clone(),
        threads: common.worker_threads,
        config: Arc::new(common.data_plane.clone()),
        cell,
        metrics,
        access_log: access_log.clone(),
        rng: platform.rng("workers"),
    };
    let sources = Sources {
        tier: common.tier,
        version: common.version,
        registry: all,
        control_plane: handle.clone(),
        readiness: readiness.clone(),
        access_log,
        telemetry,
    };
    tracing::info!(
        version = common.version,
        admin = %admin.address(),
        upstream_families = %families,
        "started; requests are served once the API server has been read"
    );
    // Dropped at the end of this function, which ends both tasks.
    let (stop, stopped) = watch::channel(());
    let mut tasks = JoinSet::new();
    tasks.spawn(admin.run(sources, gone(stopped.clone())));
    tasks.spawn(control_plane.run(gone(stopped)));
    // It lets go of its Leases only when nothing is served any more: until then others wait for this replica.
    let (leave, left) = watch::channel(());
    let joined = reporter.joined();
    let reporting = tokio::spawn(reporter.run(left));
    let result = tokio::select! {
        biased;
        result = serve(front, &common, &handle, &readiness, joined, shutdown) => result,
        Some(_) = tasks.join_next() => Err(Failure::Fault("the admin port or the control plane has ended")),
    };
    drop(stop);
    tasks.shutdown().await;
    drop(leave);
    left_behind(reporting).await;
    result
}

/// Looks names up for Services of type ExternalName.
fn resolver<N: Net>(net: &N, common: &Common, families: Families) -> Resolver {
    let servers = dns_servers(&common.external_name_servers);
    Resolver::new(net.clone(), servers, families)
}

/// Who is asked for the addresses of names: as it is set, else as the pod's file says.
fn dns_servers(set: &[SocketAddr]) -> Vec<SocketAddr> {
    const FILE: &str = "/etc/resolv.conf";
    if !set.is_empty() {
        return set.to_vec();
    }
    let text = std::fs::read_to_string(FILE).unwrap_or_default();
    let servers = external_names::servers(&text);
    if servers.is_empty() {
        tracing::warn!(
            reason = "no_dns_servers",
            "{FILE} names no DNS server: Services of type ExternalName have no address; set external_name_servers"
        );
    }
    servers
}

/// Waits until the Leases are let go of.
async fn left_behind(reporting: JoinHandle<()>) {
    if timeout(LEAVE_TIMEOUT, reporting).await.is_err() {
        tracing::warn!(
            reason = "lease_failed",
            "the Leases of this replica stay until others see that it is gone"
        );
    }
}

/// Listens on the admin port, and on its socket when there is to be one.
async fn bind_admin<N: Net>(
    net: &N,
    common: &Common,
    registry: &mut Registry,
) -> Result<Admin<N>, Failure> {
    let mut admin = Admin::bind(net, common.admin_address, registry)
        .await
        .map_err(|error| Failure::bind("admin_address", error.address, error.source))?;
    if let Some(path) = &common.admin_socket {
        admin
            .bind_socket(path)
            .await
            .map_err(|source| Failure::socket("admin_socket", path, source))?;
    }
    Ok(admin)
}

/// Waits for the objects, serves, and drains.
async fn serve<N: Net>(
    front: Front<N>,
    common: &Common,
    handle: &publish::Handle,
    readiness: &Readiness,
    mut joined: watch::Receiver<bool>,
    shutdown: impl Future<Output = ()>,
) -> Result<(), Failure> {
    tokio::pin!(shutdown);
    tokio::select! {
        biased;
        () = &mut shutdown => return Ok(()),
        () = synced(handle) => {}
    }
    let (drain, signal) = drain::channel();
    let running = front.start(signal.clone()).await?;
    // Before requests come here, whoever publishes addresses must know of this replica.
    let _ = timeout(JOIN_TIMEOUT, joined.wait_for(|joined| *joined)).await;
    readiness.listening();
    let (http, https) = running.addresses();
    tracing::info!(http = %list(&http), https = %list(&https), "serving");

    let ended = running.ended(signal);
    tokio::pin!(ended);
    tokio::select! {
        biased;
        () = &mut shutdown => {}
        ended = &mut ended => return Err(too_early(ended)),
    }
    readiness.draining();
    tracing::info!(delay = ?common.drain_delay, timeout = ?common.drain_timeout, "draining");
    tokio::select! {
        biased;
        () = tokio::time::sleep(common.drain_delay) => {}
        // Polled here as well: a worker on this thread serves only while somebody waits for it.
        ended = &mut ended => return Err(too_early(ended)),
    }
    drain.start(common.drain_timeout);
    tokio::time::timeout(common.drain_timeout + DRAIN_GRACE, ended)
        .await
        .map_err(|_| Failure::Fault("the workers did not end in time"))??;
    tracing::info!("stopped");
    Ok(())
}

/// The request path has ended although nobody asked it to.
fn too_early(ended: Result<(), WorkerDied>) -> Failure {
    match ended {
        Ok(()) => Failure::Fault("the workers have ended"),
        Err(died) => died.into(),
    }
}

async fn synced(handle: &publish::Handle) {
    if tokio::time::timeout(PATIENCE, handle.wait_synced())
        .await
        .is_err()
    {
        tracing::warn!(
            reason = "not_synced",
            "nothing is served yet: the API server has not been read in full; trying on"
        );
        handle.wait_synced().await;
    }
}

/// Finds out whether every address can be bound, without taking a connection at any.
async fn try_addresses<N: Net>(net: &N, config: &DataPlane) -> Result<(), Failure> {
    let http = config
        .http_addresses
        .iter()
        .map(|address| ("http_address", *address));
    let https = config
        .https_addresses
        .iter()
        .map(|address| ("https_address", *address));
    for (setting, address) in http.chain(https) {
        net.try_bind(address, config.free_bind)
            .await
            .map_err(|source| Failure::bind(setting, address, source))?;
    }
    Ok(())
}

/// Resolves when the sender is dropped.
async fn gone(mut stop: watch::Receiver<()>) {
    while stop.changed().await.is_ok() {}
}

/// As the setting is written.
fn list(addresses: &[SocketAddr]) -> String {
    if addresses.is_empty() {
        return "none".to_owned();
    }
    let texts: Vec<_> = addresses.iter().map(ToString::to_string).collect();
    texts.join(",")
}

// === impl Front ===

impl<N: Net> Front<N> {
    async fn start(self, signal: drain::Signal) -> Result<Running<N>, Failure> {
        let config = self.config.clone();
        let started = if self.threads == 0 {
            Worker::bind(
                self.net,
                self.config,
                self.cell,
                self.metrics,
                self.access_log,
                self.rng,
            )
            .await
            .map(Running::Here)
        } else {
            workers::start(
                self.threads,
                self.net,
                self.config,
                self.cell,
                self.metrics,
                self.access_log,
                self.rng,
                signal,
            )
            .await
            .map(Running::Threads)
        };
        started.map_err(|error| {
            let is_http = config.http_addresses.contains(&error.address);
            let setting = if is_http {
                "http_address"
            } else {
                "https_address"
            };
            Failure::bind(setting, error.address, error.source)
        })
    }
}

// === impl Running ===

impl<N: Net> Running<N> {
    /// Where HTTP and HTTPS are served, as bound.
    fn addresses(&self) -> (Vec<SocketAddr>, Vec<SocketAddr>) {
        match self {
            Self::Threads(workers) => (
                workers.http_addresses().to_vec(),
                workers.https_addresses().to_vec(),
            ),
            Self::Here(worker) => (worker.http_addresses(), worker.https_addresses()),
        }
    }

    /// Resolves when everything has drained, or with an error when a thread has died.
    async fn ended(self, signal: drain::Signal) -> Result<(), WorkerDied> {
        match self {
            Self::Threads(workers) => workers.stopped().await,
            Self::Here(worker) => {
                worker.run(signal).await;
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests;
