//! The API server: objects, lists, watches, writes, over HTTP.
//!
//! What a real kube-apiserver 1.36 answers is recorded (`tests/contract/`); this model gives the same answers to what
//! kube-rs, kubectl, the actors and the tiers ask. It is no product: RBAC is not enforced.
//!
//! The way of a request: `serve` reads it, `dispatch` finds out what it asks, `read`, `watching`, `write`,
//! `patching` and `deletion` carry it out on the `store`, `present` puts the answer into the client's form.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use ipnet::Ipv4Net;
use jiff::Timestamp;
use serde_json::json;
use tiergate_data_plane::net::Net;
use tokio_rustls::TlsAcceptor;

pub mod apply;
pub mod defaults;
pub mod log;
pub mod patch;
pub mod protobuf;
pub mod schema;
pub mod table;
pub mod tls;
pub mod validate;

mod addresses;
mod admission;
mod body;
mod call;
mod clock;
mod custom;
mod deletion;
mod discovery;
mod dispatch;
mod events;
mod expiry;
mod metadata;
mod openapi;
mod own_service;
mod parameters;
mod patching;
mod pods;
mod present;
mod read;
mod request;
mod resources;
mod review;
mod scale;
mod selector;
mod serve;
mod state;
mod status;
mod store;
mod token;
mod watching;
mod write;

#[cfg(test)]
mod tests;

use state::Shared;

use crate::account::Account;

/// What a server is started with.
#[derive(Clone, Debug)]
pub struct Options {
    /// Bearer token of the administrator, who may do everything.
    pub admin_token: String,
    /// For names, uids, addresses and tokens: the same seed and the same requests give the same answers.
    pub seed: u64,
    /// The wall-clock time at the start; it goes on with tokio's clock.
    pub epoch: Timestamp,
    /// Where cluster IPs come from.
    pub service_range: Ipv4Net,
    /// Whether endpoints and Services may have addresses in 127.0.0.0/8, as those of a local cluster do; a real API
    /// server refuses them.
    pub allows_loopback: bool,
    /// Changes that are remembered per kind; a watch from before them is too old.
    pub history_max: usize,
}

/// A server: its objects and the log of its requests. Cheap to clone; all clones are one server.
#[derive(Clone, Debug)]
pub struct Server {
    shared: Arc<Shared>,
}

/// A server that is bound to an address and not yet serving.
pub struct Bound<L> {
    shared: Arc<Shared>,
    listener: L,
    tls: Option<TlsAcceptor>,
}

// === impl Options ===

impl Options {
    /// The usual range of cluster IPs and the current time.
    pub fn new(admin_token: impl Into<String>, seed: u64) -> Self {
        Self {
            admin_token: admin_token.into(),
            seed,
            epoch: crate::clock::wall_now(),
            service_range: Ipv4Net::new_assert(std::net::Ipv4Addr::new(10, 96, 0, 0), 16),
            allows_loopback: true,
            history_max: 8192,
        }
    }

    /// The cluster IP of the Service `default/kubernetes`, which leads to the server itself.
    #[must_use]
    pub fn own_cluster_ip(&self) -> std::net::Ipv4Addr {
        addresses::first(self.service_range)
    }
}

// === impl Server ===

impl Server {
    /// A server with the namespaces that every cluster has; must be made inside a tokio runtime, whose clock it follows.
    pub fn new(options: Options) -> Self {
        let shared = Arc::new(Shared::new(options));
        let server = Self { shared };
        server.add_first_objects();
        server
    }

    /// Binds an address; requests are answered once the result is run.
    ///
    /// # Errors
    /// When the address cannot be bound.
    pub async fn bind<N: Net>(
        &self,
        net: &N,
        address: SocketAddr,
        tls: Option<TlsAcceptor>,
    ) -> std::io::Result<Bound<N::Listener>> {
        let listener = net.bind(address).await?;
        Ok(Bound {
            shared: self.shared.clone(),
            listener,
            tls,
        })
    }

    /// The bearer token of a part of the control plane; it is good as long as the server lives.
    #[must_use]
    pub fn token_of(&self, account: &Account) -> String {
        token::of_account(&self.shared, account)
    }

    /// The requests that were answered, oldest first, as far as they are kept.
    pub fn requests(&self) -> Vec<log::Entry> {
        self.shared.log.entries()
    }

    /// Writes every request from now on as a line of JSON into a file too; a full one is renamed to `….1`.
    ///
    /// # Errors
    /// When the file cannot be opened.
    pub fn log_requests_in(&self, path: &std::path::Path) -> std::io::Result<()> {
        self.shared.log.keep_in(path)
    }

    /// How many requests were answered.
    pub fn requests_total(&self) -> u64 {
        self.shared.log.total()
    }

    /// How many watches were ended because their clients read so slowly that the history had moved past them.
    pub fn watches_cut_total(&self) -> u64 {
        self.shared.watches_cut.load(Ordering::Relaxed)
    }

    fn add_first_objects(&self) {
        for name in ["default", "kube-node-lease", "kube-public", "kube-system"] {
            let mut state = self.shared.state();
            let uid = state.uid();
            let namespace = json!({
                "kind": "Namespace", "apiVersion": "v1",
                "metadata": {
                    "name": name, "uid": uid, "creationTimestamp": self.shared.clock.seconds(),
                    "labels": {"kubernetes.io/metadata.name": name},
                },
                "spec": {"finalizers": ["kubernetes"]}, "status": {"phase": "Active"},
            });
            state.store.put("namespaces", name, namespace);
        }
    }
}

// === impl Bound ===

impl<L> Bound<L>
where
    L: tiergate_data_plane::net::Listener,
    L::Stream: tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + Unpin + 'static,
{
    /// The address, with the port that the kernel chose when 0 was asked for.
    ///
    /// # Errors
    /// When the socket is gone.
    pub fn address(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Answers requests until `shutdown` ends; then open connections, watches included, are dropped.
    pub async fn run(self, shutdown: impl Future<Output = ()> + Send) {
        let Ok(address) = self.address() else {
            tracing::error!(reason = "socket_gone", "the API server has no address");
            return;
        };
        own_service::publish(&self.shared, address);
        tokio::select! {
            () = serve::serve(self.shared.clone(), self.listener, self.tls, shutdown) => {}
            () = own_service::keep(&self.shared, address) => {}
            () = expiry::keep(&self.shared) => {}
        }
    }
}
