//! A worker with a table, clients that send bytes, endpoints that follow a script.

pub(crate) mod client;
pub(crate) mod endpoint;
pub(crate) mod frames;
pub(crate) mod http2;
pub(crate) mod tls_front;

use std::cell::Cell;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use prometheus_client::registry::Registry;
use rand::SeedableRng;
use rand::rngs::SmallRng;
use tiergate_data_plane::access_log::{Level, Switch};
use tiergate_data_plane::config::Config;
use tiergate_data_plane::drain;
use tiergate_data_plane::host::{HostName, HostPattern};
use tiergate_data_plane::metrics::Metrics;
use tiergate_data_plane::net::{Net, TokioNet};
use tiergate_data_plane::snapshot::SnapshotCell;
use tiergate_data_plane::table::{
    Backend, BackendName, Endpoint, PathMatch, Protocol, RouteOwner, Table, TableBuilder,
};
use tiergate_data_plane::worker::Worker;
use tokio::task::{JoinHandle, LocalSet};

/// A test that takes longer hangs.
const PATIENCE: Duration = Duration::from_secs(20);

/// Runs a test on one thread.
pub(crate) fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let in_time = async { tokio::time::timeout(PATIENCE, test).await };
    LocalSet::new()
        .block_on(&runtime, in_time)
        .expect("the test ends in time");
}

/// A worker under test.
pub(crate) struct Proxy {
    pub(crate) http: SocketAddr,
    pub(crate) https: SocketAddr,
    pub(crate) cell: Arc<SnapshotCell>,
    pub(crate) drain: drain::Handle,
    pub(crate) ended: JoinHandle<()>,
    registry: Registry,
}

/// Settings with waits that no test runs into unless it wants to.
pub(crate) fn config() -> Config {
    let loopback = "127.0.0.1:0".parse().expect("an address");
    Config {
        http_addresses: vec![loopback],
        https_addresses: vec![loopback],
        ..Config::new("tiergate-test")
    }
}

/// Starts a worker that serves `table`.
pub(crate) async fn proxy(config: Config, table: Table) -> Proxy {
    proxy_over(TokioNet, config, table).await
}

/// Starts a worker that serves `table` over this network.
pub(crate) async fn proxy_over<N: Net>(net: N, config: Config, table: Table) -> Proxy {
    let mut registry = Registry::with_prefix("tiergate");
    let metrics = Metrics::register(&mut registry);
    let cell = Arc::new(SnapshotCell::new(metrics.clone()));
    cell.publish(table);
    let (rng, log) = (SmallRng::seed_from_u64(1), Switch::new(Level::All));
    let bound = Worker::bind(net, Arc::new(config), cell.clone(), metrics, log, rng);
    let worker = bound.await.expect("the addresses are free");
    let (handle, signal) = drain::channel();
    let nowhere = SocketAddr::from(([127, 0, 0, 1], 0));
    Proxy {
        http: worker.http_addresses()[0],
        https: *worker.https_addresses().first().unwrap_or(&nowhere),
        cell,
        drain: handle,
        ended: tokio::task::spawn_local(worker.run(signal)),
        registry,
    }
}

// === impl Proxy ===

impl Proxy {
    /// The value of the sample with this name and labels, as it is scraped; 0 if there is none.
    pub(crate) fn sample(&self, name: &str) -> f64 {
        let text = self.metrics();
        let mut values = text.lines().filter_map(|line| {
            let (sample, value) = line.rsplit_once(' ')?;
            (sample == name).then(|| value.parse().expect("a number"))
        });
        values.next().unwrap_or(0.0)
    }

    pub(crate) fn metrics(&self) -> String {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry).expect("text");
        text
    }

    /// Waits until a sample has this value.
    pub(crate) async fn until(&self, name: &str, value: f64) {
        until(|| (self.sample(name) - value).abs() < 0.5).await;
    }

    /// How often this reason was counted, for the tenant of [`table`] and for nobody's.
    pub(crate) fn errors(&self, reason: &str) -> f64 {
        ["team", "_none"]
            .map(|tenant| {
                let name = "tiergate_proxy_errors_total";
                self.sample(&format!(
                    "{name}{{tenant=\"{tenant}\",reason=\"{reason}\"}}"
                ))
            })
            .iter()
            .sum()
    }
}

/// Waits for a condition.
pub(crate) async fn until(condition: impl Fn() -> bool) {
    while !condition() {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// A table with one backend that serves the hosts `a.example` and those without a rule.
pub(crate) fn table(protocol: Protocol, endpoints: &[SocketAddr]) -> Table {
    let mut builder = TableBuilder::new();
    let id = builder.backend(backend("app", protocol, endpoints));
    let route = builder.route(owner("web"), id);
    for host in [pattern("a.example"), HostPattern::Any] {
        let _ = builder.path(&host, PathMatch::Prefix, "/", route);
    }
    builder.build()
}

/// An HTTP/1.1 backend with these endpoints.
pub(crate) fn table_of(endpoints: &[SocketAddr]) -> Table {
    table(Protocol::Http1, endpoints)
}

pub(crate) fn backend(service: &str, protocol: Protocol, endpoints: &[SocketAddr]) -> Backend {
    let mut endpoints: Vec<_> = endpoints.iter().map(|&address| endpoint(address)).collect();
    endpoints.sort();
    Backend {
        name: BackendName {
            namespace: "team".into(),
            service: service.into(),
            port: "80".into(),
        },
        protocol,
        endpoints,
    }
}

pub(crate) fn owner(ingress: &str) -> RouteOwner {
    RouteOwner {
        tenant: "team".into(),
        ingress: ingress.into(),
    }
}

pub(crate) fn pattern(host: &str) -> HostPattern {
    HostPattern::Exact(HostName::try_from(host).expect("a host"))
}

/// An endpoint whose pod is new at every call of [`new_pods`].
fn endpoint(address: SocketAddr) -> Endpoint {
    Endpoint {
        address,
        identity: format!("pod-{}", PODS.get()).into(),
    }
}

thread_local! {
    static PODS: Cell<u32> = const { Cell::new(0) };
}

/// From here on the same addresses belong to other pods.
pub(crate) fn new_pods() {
    PODS.set(PODS.get() + 1);
}
