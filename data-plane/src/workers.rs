//! The workers of a process: one OS thread each, with a runtime of its own. The one place that may start threads.
//!
//! In: how many, and what a [`Worker`] needs. Out: the bound addresses, and [`Workers::stopped`], which
//! also tells when one has died. Each thread binds all addresses itself (`SO_REUSEPORT`), so the kernel spreads
//! connections and the threads share no queue.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use futures::future::try_join_all;
use rand::SeedableRng;
use rand::rngs::SmallRng;
use tokio::runtime::Builder;
use tokio::sync::oneshot;
use tokio::task::LocalSet;

use crate::access_log::Switch;
use crate::config::Config;
use crate::drain;
use crate::metrics::Metrics;
use crate::net::Net;
use crate::snapshot::SnapshotCell;
use crate::worker::{BindError, Shared, Worker};

/// Workers that run.
#[derive(Debug)]
pub struct Workers {
    http_addresses: Vec<SocketAddr>,
    https_addresses: Vec<SocketAddr>,
    threads: Vec<Thread>,
}

#[derive(Debug)]
struct Thread {
    name: String,
    /// Closed without a message when the thread dies.
    drained: oneshot::Receiver<()>,
}

/// A worker died by a fault of ours; the panic is in the log. What it had accepted is cut, and a process that went on
/// would serve less than it seems to.
#[derive(Debug, thiserror::Error)]
#[error("the thread {worker} has died")]
pub struct WorkerDied {
    /// The name of its thread.
    pub worker: String,
}

/// What a thread says once its worker is bound: the addresses of HTTP and of HTTPS.
type Bound = Result<(Vec<SocketAddr>, Vec<SocketAddr>), BindError>;

/// Starts `count` workers and returns when all of them listen. They end after `drain` has started.
///
/// # Errors
/// When an address cannot be bound, or a thread cannot be started.
#[expect(
    clippy::too_many_arguments,
    reason = "the same list as Worker::bind, and how many"
)]
pub async fn start<N: Net>(
    count: usize,
    net: N,
    config: Arc<Config>,
    cell: Arc<SnapshotCell>,
    metrics: Metrics,
    access_log: Switch,
    mut rng: SmallRng,
    drain: drain::Signal,
) -> Result<Workers, BindError> {
    let mut workers = Workers {
        http_addresses: config.http_addresses.clone(),
        https_addresses: config.https_addresses.clone(),
        threads: Vec::new(),
    };
    let shared = Shared::new(config, cell, metrics, access_log, net.descriptors_max());
    for number in 0..count.max(1) {
        let (bound_sender, bound) = oneshot::channel();
        let (drained_sender, drained) = oneshot::channel();
        let name = format!("worker-{number}");
        let address = first_address(&workers.http_addresses, &workers.https_addresses);
        let start = Start {
            net: net.clone(),
            shared: shared.clone(),
            http: workers.http_addresses.clone(),
            https: workers.https_addresses.clone(),
            rng: SmallRng::from_rng(&mut rng),
            drain: drain.clone(),
        };
        std::thread::Builder::new()
            .name(name.clone())
            .spawn(move || {
                start.run(bound_sender);
                // Nobody listens when the process ends at once.
                let _ = drained_sender.send(());
            })
            .map_err(|source| BindError { address, source })?;
        let addresses = bound.await.map_err(|_| BindError {
            address,
            source: io::Error::other("the thread of the worker ended before it was bound"),
        })?;
        // The first worker learns the ports that the kernel chose; the others bind the same.
        (workers.http_addresses, workers.https_addresses) = addresses?;
        workers.threads.push(Thread { name, drained });
    }
    Ok(workers)
}

/// The address to name when a thread could not begin at all.
fn first_address(http: &[SocketAddr], https: &[SocketAddr]) -> SocketAddr {
    let first = http.iter().chain(https).next().copied();
    first.unwrap_or_else(|| SocketAddr::from(([0, 0, 0, 0], 0)))
}

/// What one thread starts with.
struct Start<N> {
    net: N,
    shared: Arc<Shared>,
    http: Vec<SocketAddr>,
    https: Vec<SocketAddr>,
    rng: SmallRng,
    drain: drain::Signal,
}

// === impl Start ===

impl<N: Net> Start<N> {
    fn run(self, bound: oneshot::Sender<Bound>) {
        let runtime = match Builder::new_current_thread().enable_all().build() {
            Ok(runtime) => runtime,
            Err(source) => {
                let address = first_address(&self.http, &self.https);
                // Nobody listens any more when the start was given up.
                let _ = bound.send(Err(BindError { address, source }));
                return;
            }
        };
        LocalSet::new().block_on(&runtime, async move {
            let Self {
                net,
                shared,
                http,
                https,
                rng,
                drain,
            } = self;
            match Worker::bind_shared(net, shared, &http, &https, rng).await {
                Ok(worker) => {
                    let addresses = (worker.http_addresses(), worker.https_addresses());
                    if bound.send(Ok(addresses)).is_ok() {
                        worker.run(drain).await;
                    }
                }
                Err(error) => {
                    // Nobody listens any more when the start was given up.
                    let _ = bound.send(Err(error));
                }
            }
        });
    }
}

// === impl Thread ===

impl Thread {
    async fn drained(self) -> Result<(), WorkerDied> {
        let worker = self.name;
        self.drained.await.map_err(|_| {
            tracing::error!(worker, reason = "worker_died", "a worker has died");
            WorkerDied { worker }
        })
    }
}

// === impl Workers ===

impl Workers {
    /// Where plain HTTP is served, as bound.
    #[must_use]
    pub fn http_addresses(&self) -> &[SocketAddr] {
        &self.http_addresses
    }

    /// Where HTTPS is served, as bound.
    #[must_use]
    pub fn https_addresses(&self) -> &[SocketAddr] {
        &self.https_addresses
    }

    /// Waits until every worker has drained.
    ///
    /// # Errors
    /// As soon as one has died; the others still run then.
    pub async fn stopped(self) -> Result<(), WorkerDied> {
        let drained = self.threads.into_iter().map(Thread::drained);
        try_join_all(drained).await.map(drop)
    }
}
