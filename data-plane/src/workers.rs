//! The workers of a process: one OS thread each, with a runtime of its own. The one place that may start threads.
//!
//! In: how many, and what a [`Worker`] needs. Out: the bound addresses, and [`Workers::stopped`]. Each thread binds all
//! addresses itself (`SO_REUSEPORT`), so the kernel spreads connections and the threads share no queue.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

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
    ended: oneshot::Receiver<()>,
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
    let shared = Shared::new(config, cell, metrics, access_log);
    for number in 0..count.max(1) {
        let (bound_sender, bound) = oneshot::channel();
        let (end_sender, ended) = oneshot::channel();
        let start = Start {
            net: net.clone(),
            shared: shared.clone(),
            http: workers.http_addresses.clone(),
            https: workers.https_addresses.clone(),
            rng: SmallRng::from_rng(&mut rng),
            drain: drain.clone(),
        };
        std::thread::Builder::new()
            .name(format!("worker-{number}"))
            .spawn(move || {
                start.run(bound_sender);
                drop(end_sender);
            })
            .map_err(|source| BindError {
                address: first_address(&workers),
                source,
            })?;
        let addresses = bound.await.map_err(|_| BindError {
            address: first_address(&workers),
            source: io::Error::other("the thread of the worker ended before it was bound"),
        })?;
        // The first worker learns the ports that the kernel chose; the others bind the same.
        (workers.http_addresses, workers.https_addresses) = addresses?;
        workers.threads.push(Thread { ended });
    }
    Ok(workers)
}

fn first_address(workers: &Workers) -> SocketAddr {
    let addresses = workers.http_addresses.iter();
    let unspecified = SocketAddr::from(([0, 0, 0, 0], 0));
    addresses
        .chain(&workers.https_addresses)
        .next()
        .copied()
        .unwrap_or(unspecified)
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
                let address = self.http.iter().chain(&self.https).next();
                let address = address
                    .copied()
                    .unwrap_or_else(|| SocketAddr::from(([0, 0, 0, 0], 0)));
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

    /// Waits until every thread has ended: drained, or dead by a fault of ours.
    pub async fn stopped(self) {
        for thread in self.threads {
            // The sender is dropped, never used: the end of the thread is the message.
            let _ = thread.ended.await;
        }
    }
}
