//! The proxy at work: one loop that owns the table, the listeners and every connection.
//!
//! In: the objects as last seen, and accepted connections. Out: the table, made anew when objects changed, and a task for each
//! connection. Tasks outlive the listener that they came through: a connection goes on when its Service changes.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use tiergate_data_plane::net::Net;
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinError, JoinSet};
use tokio::time::Instant;

use super::choose::{self, Affinity, Refusal};
use super::forward::{self, Ending, Report, Times};
use super::listeners::{Accepted, Listeners, Problem, Refused};
use super::table::{self, Listener, Table};
use super::{Counts, Options, health};
use crate::actors::event::{Draft, Recorder};
use crate::actors::store::Key;
use crate::kubelet::watching::Objects;
use crate::stop;

/// Events of one sort that are counted one by one before the log says again how many there were.
const COUNTS_LOGGED_EVERY: u64 = 1000;

pub(super) struct Proxy<N: Net> {
    pub(super) options: Options<N>,
    pub(super) services: watch::Receiver<Objects<Service>>,
    pub(super) slices: watch::Receiver<Objects<EndpointSlice>>,
    pub(super) table: watch::Sender<Arc<Table>>,
    pub(super) listeners: Listeners<N>,
    pub(super) affinity: Affinity,
    pub(super) connections: JoinSet<Option<Report>>,
    pub(super) recorder: Recorder,
    pub(super) counts: Counts,
    /// Ports below 1024 fail all alike: the log says it once.
    pub(super) knows_privileged: bool,
}

// === impl Proxy ===

impl<N: Net> Proxy<N> {
    pub(super) async fn run(
        mut self,
        mut accepted: mpsc::Receiver<Accepted<N::Stream>>,
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
                Some(ended) = self.connections.join_next() => self.count(ended),
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
            let is_privileged = *problem == Problem::Privileged;
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
        // Those that ended make room first.
        while let Some(ended) = self.connections.try_join_next() {
            self.count(ended);
        }
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

    fn count(&mut self, ended: Result<Option<Report>, JoinError>) {
        let report = match ended {
            Ok(Some(report)) => report,
            Ok(None) => return,
            Err(error) => {
                tracing::error!(%error, reason = "internal", "the task of a connection failed");
                return;
            }
        };
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
