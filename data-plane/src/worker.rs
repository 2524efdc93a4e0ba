//! One worker: the listeners it accepts on, and what its connections share. Everything of it runs on one thread.
//!
//! In: the network, the settings, the cell. Out: [`Worker::run`], which ends when the process has drained. A worker
//! shares with the others of its process only the cell, the metrics, the TLS settings and the access-log switch.

use std::cell::RefCell;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use http::HeaderValue;
use rand::rngs::SmallRng;

use crate::access_log::{Sampler, Switch};
use crate::account::Unrouted;
use crate::client::Recent;
use crate::clock::DateCache;
use crate::config::Config;
use crate::drain;
use crate::head::via;
use crate::listener::{self, Scheme};
use crate::metrics::{LANES, Metrics};
use crate::net::{Listener as _, Net, connections_before_pause};
use crate::proxy::{self, Resting};
use crate::snapshot::{Latest, SnapshotCell};
use crate::tls;
use crate::upstream::Pool;

/// An address could not be bound.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}")]
pub struct BindError {
    /// The address.
    pub address: SocketAddr,
    /// What the kernel said.
    #[source]
    pub source: io::Error,
}

/// Accepts connections on all addresses and serves them. Lives inside a `LocalSet`.
pub struct Worker<N: Net> {
    listeners: Vec<(N::Listener, SocketAddr, Scheme)>,
    context: Rc<Context<N>>,
}

/// What the workers of a process share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) config: Arc<Config>,
    pub(crate) cell: Arc<SnapshotCell>,
    pub(crate) metrics: Metrics,
    pub(crate) access_log: Switch,
    pub(crate) tls: Arc<rustls::ServerConfig>,
    /// Connections of clients and to endpoints at which no further client is taken for a moment.
    pub(crate) connections_pause: usize,
    /// Workers so far.
    workers: AtomicUsize,
}

/// What the connections of a worker share.
pub(crate) struct Context<N: Net> {
    pub(crate) net: N,
    pub(crate) shared: Arc<Shared>,
    pub(crate) pool: Rc<Pool<N::Stream>>,
    pub(crate) resting: Resting,
    pub(crate) rng: RefCell<SmallRng>,
    pub(crate) date: DateCache,
    pub(crate) recent: RefCell<Recent>,
    pub(crate) sampler: Sampler,
    pub(crate) server: HeaderValue,
    /// What answers over https say about it.
    pub(crate) hsts: Option<HeaderValue>,
    pub(crate) via: via::Entries,
    /// Metric handles of connections that end before they have a request.
    pub(crate) unrouted: Rc<Unrouted>,
    pub(crate) snapshots: Latest,
    /// Where its requests count.
    pub(crate) lane: usize,
}

// === impl Shared ===

impl Shared {
    pub(crate) fn new(
        config: Arc<Config>,
        cell: Arc<SnapshotCell>,
        metrics: Metrics,
        access_log: Switch,
        descriptors_max: Option<usize>,
    ) -> Arc<Self> {
        let connections_pause = connections_before_pause(descriptors_max);
        let connections_max = config.limits.connections_max;
        if connections_pause < connections_max {
            tracing::warn!(
                descriptors_max,
                connections_max,
                connections = connections_pause,
                reason = "few_descriptors",
                "limits.connections_max cannot be reached: beyond so many connections of clients and to endpoints clients wait; \
                 raise the hard limit of open files (ulimit -Hn)"
            );
        }
        let tls = tls::server_config(cell.clone());
        Arc::new(Self {
            config,
            cell,
            metrics,
            access_log,
            tls,
            connections_pause,
            workers: AtomicUsize::new(0),
        })
    }
}

// === impl Worker ===

impl<N: Net> Worker<N> {
    /// Binds all addresses of `config`.
    ///
    /// # Errors
    /// When one cannot be bound; the others are free again then.
    pub async fn bind(
        net: N,
        config: Arc<Config>,
        cell: Arc<SnapshotCell>,
        metrics: Metrics,
        access_log: Switch,
        rng: SmallRng,
    ) -> Result<Self, BindError> {
        let shared = Shared::new(config, cell, metrics, access_log, net.descriptors_max());
        let http = shared.config.http_addresses.clone();
        let https = shared.config.https_addresses.clone();
        Self::bind_shared(net, shared, &http, &https, rng).await
    }

    /// Binds these addresses; what the process shares is given.
    pub(crate) async fn bind_shared(
        net: N,
        shared: Arc<Shared>,
        http: &[SocketAddr],
        https: &[SocketAddr],
        rng: SmallRng,
    ) -> Result<Self, BindError> {
        let addresses = http.iter().map(|&address| (address, Scheme::Http));
        let addresses = addresses.chain(https.iter().map(|&address| (address, Scheme::Https)));
        let mut listeners = Vec::new();
        for (address, scheme) in addresses {
            let failed = |source| BindError { address, source };
            let listener = if shared.config.free_bind {
                net.bind_free(address).await.map_err(failed)?
            } else {
                net.bind(address).await.map_err(failed)?
            };
            let bound = listener.local_addr().map_err(failed)?;
            listeners.push((listener, bound, scheme));
        }
        let lane = shared.workers.fetch_add(1, Ordering::Relaxed) % LANES;
        let pool = Pool::new(&shared.config, shared.metrics.clone());
        let context = Context {
            net,
            pool: Rc::new(pool),
            resting: Resting::default(),
            rng: RefCell::new(rng),
            date: DateCache::default(),
            recent: RefCell::default(),
            sampler: Sampler::default(),
            server: HeaderValue::from_static(shared.config.tier),
            hsts: shared.config.hsts.map(|hsts| {
                HeaderValue::try_from(hsts.to_string()).expect("a number and words of ours")
            }),
            via: via::Entries::new(shared.config.tier),
            unrouted: Rc::new(Unrouted(shared.cell.unrouted().on(lane))),
            lane,
            snapshots: Latest::new(shared.cell.clone()),
            shared,
        };
        Ok(Self {
            listeners,
            context: Rc::new(context),
        })
    }

    /// Where plain HTTP is served, as bound.
    #[must_use]
    pub fn http_addresses(&self) -> Vec<SocketAddr> {
        self.addresses(Scheme::Http)
    }

    /// Where HTTPS is served, as bound.
    #[must_use]
    pub fn https_addresses(&self) -> Vec<SocketAddr> {
        self.addresses(Scheme::Https)
    }

    /// Serves until `drain` has started and the last connection has ended, or its deadline has passed.
    pub async fn run(self, drain: drain::Signal) {
        let Self { listeners, context } = self;
        let accepting = listeners.into_iter().map(|(listener, address, scheme)| {
            listener::run(listener, address, scheme, context.clone(), drain.clone())
        });
        let mut ended = drain.clone();
        tokio::select! {
            biased;
            _ = futures::future::join_all(accepting) => {}
            () = proxy::tend_pool(&context) => {}
        }
        // A worker without addresses has nothing to wait for but the signal.
        ended.started().await;
    }

    fn addresses(&self, wanted: Scheme) -> Vec<SocketAddr> {
        let listeners = self.listeners.iter();
        listeners
            .filter(|(_, _, scheme)| *scheme == wanted)
            .map(|&(_, address, _)| address)
            .collect()
    }
}
