//! Registers the metrics of the request path, and keeps the handles that requests use.
//!
//! In: a registry that brings the prefix `tiergate` and the label `tier`. Out: [`Metrics`], shared by all workers of a
//! process. Label values come from the table (tenant, ingress) or from closed sets (code, reason, …), never from a request.
//! `handles` holds what is resolved once per publication, so that a request looks nothing up; `counts` is where requests count.

mod codes;
mod counts;
mod handles;
mod histogram;

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, OnceLock};

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

pub(crate) use counts::LANES;
use counts::{OfOwners, OfTenants, Owners, Tenants, Which};
pub(crate) use handles::{NoRetry, Overflow, Owner, OwnerHandles, Retry, TenantHandles};

/// Label values of requests that have no owner: nothing matched.
pub(crate) const NO_OWNER: &str = "_none";
/// Label values of owners beyond [`OWNERS_MAX`].
pub(crate) const OVERFLOW: &str = "_overflow";
/// Ingresses with series of their own, of those that had a request; about 45 series each.
pub(crate) const OWNERS_MAX: usize = 5_000;

/// Handles to every family of the data plane. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Metrics(Arc<Families>);

/// The families, and what the process counts as a whole.
#[derive(Debug, Default)]
pub(crate) struct Families {
    owners: Arc<Owners>,
    tenants: Arc<Tenants>,
    pub(crate) upgraded: Family<TenantLabels, Gauge>,
    pub(crate) errors: Family<ReasonLabels, Counter>,
    pub(crate) client_aborts: Family<TenantLabels, Counter>,
    pub(crate) ejections: Family<TenantLabels, Counter>,
    pub(crate) endpoints_ejected: Gauge,
    pub(crate) retries: Family<RetryLabels, Counter>,
    pub(crate) retries_refused: Family<ReasonLabels, Counter>,
    pub(crate) redirects: Family<TenantLabels, Counter>,
    pub(crate) client_connections_open: Gauge,
    pub(crate) client_connections_resting: Gauge,
    pub(crate) client_connections_total: Family<ResultLabels, Counter>,
    pub(crate) accept_pauses: Family<PauseLabels, Counter>,
    pub(crate) handshakes: Family<ResultLabels, Counter>,
    pub(crate) upstream_connections: Gauge,
    pub(crate) upstream_connects: Family<ResultLabels, Counter>,
    pub(crate) upstream_handshakes: Family<ResultLabels, Counter>,
    pub(crate) upstream_connections_limited: Counter,
    pub(crate) upstream_fallbacks: Counter,
    pub(crate) owners_overflowed: Gauge,
    pub(crate) generation: Gauge,
    pub(crate) draining: Gauge,
    /// Of `client_connections_total`: found once, not by each connection.
    accepted: OnceLock<Counter>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, EncodeLabelSet)]
pub(crate) struct OwnerLabels {
    pub(crate) tenant: Arc<str>,
    pub(crate) ingress: Arc<str>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct CodeLabels {
    pub(crate) tenant: Arc<str>,
    pub(crate) ingress: Arc<str>,
    pub(crate) code: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct TenantLabels {
    pub(crate) tenant: Arc<str>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct ReasonLabels {
    pub(crate) tenant: Arc<str>,
    pub(crate) reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct RetryLabels {
    pub(crate) tenant: Arc<str>,
    pub(crate) kind: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct ResultLabels {
    pub(crate) result: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct PauseLabels {
    pub(crate) reason: &'static str,
}

/// One open downstream connection, counted until it is dropped.
#[derive(Debug)]
pub(crate) struct OpenConnection(Metrics);

/// One open upstream connection, counted until it is dropped.
#[derive(Debug)]
pub(crate) struct OpenUpstream(Metrics);

// === impl OwnerLabels, CodeLabels ===

impl OwnerLabels {
    /// One name for both.
    fn both(name: &Arc<str>) -> Self {
        let (tenant, ingress) = (name.clone(), name.clone());
        Self { tenant, ingress }
    }
}

impl CodeLabels {
    fn new(owner: &OwnerLabels, code: &'static str) -> Self {
        let OwnerLabels { tenant, ingress } = owner.clone();
        Self {
            tenant,
            ingress,
            code,
        }
    }
}

// === impl Metrics ===

impl Metrics {
    /// Registers every family. The registry brings the prefix `tiergate` and the label `tier`.
    #[must_use]
    pub fn register(registry: &mut Registry) -> Self {
        let families = Families::default();
        register_requests(&families, registry);
        register_connections(&families, registry);
        register_endpoints(&families, registry);
        Self(Arc::new(families))
    }

    pub(crate) fn families(&self) -> &Families {
        &self.0
    }

    /// Takes one of `connections_max` places of the process, or counts the refusal.
    pub(crate) fn open_connection(&self, connections_max: usize) -> Option<OpenConnection> {
        let families = self.families();
        let others = families.client_connections_open.inc();
        if usize::try_from(others).is_ok_and(|others| others >= connections_max) {
            families.client_connections_open.dec();
            self.count(&families.client_connections_total, "refused");
            return None;
        }
        let accepted = families.accepted.get_or_init(|| {
            let result = ResultLabels { result: "accepted" };
            families
                .client_connections_total
                .get_or_create_owned(&result)
        });
        accepted.inc();
        Some(OpenConnection(self.clone()))
    }

    /// Connections that are open, of clients and to endpoints.
    pub(crate) fn connections(&self) -> usize {
        let families = self.families();
        let upstreams = families.upstream_connections.get();
        let clients = families.client_connections_open.get();
        usize::try_from(clients.saturating_add(upstreams)).unwrap_or(0)
    }

    pub(crate) fn open_upstream(&self) -> OpenUpstream {
        self.0.upstream_connections.inc();
        OpenUpstream(self.clone())
    }

    /// Counts that owners share, shown from now on.
    pub(crate) fn overflow(&self) -> Overflow {
        let labels = OwnerLabels::both(&OVERFLOW.into());
        let is_retired = AtomicBool::new(false);
        let owners = &self.families().owners;
        let lane = |lane| owners.lane(&labels, lane, false, &is_retired);
        Arc::new(std::array::from_fn(|number| {
            lane(number).expect("it is neither limited nor retired")
        }))
    }

    /// Counts something that happens once per connection, not per request.
    pub(crate) fn count(&self, family: &Family<ResultLabels, Counter>, result: &'static str) {
        family.get_or_create(&ResultLabels { result }).inc();
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.0.families().client_connections_open.dec();
    }
}

impl Drop for OpenUpstream {
    fn drop(&mut self) {
        self.0.families().upstream_connections.dec();
    }
}

fn register_requests(families: &Families, registry: &mut Registry) {
    registry.register(
        "requests",
        "Requests that ended, by what the client saw; 499: it went away before",
        OfOwners::Requests(families.owners.clone()),
    );
    registry.register_with_unit(
        "request_duration",
        "From the head of the request to the end of the answer",
        Unit::Seconds,
        OfOwners::Durations(families.owners.clone(), Which::Request),
    );
    registry.register_with_unit(
        "upstream_duration",
        "From the request sent to the head of the response, last try",
        Unit::Seconds,
        OfOwners::Durations(families.owners.clone(), Which::Upstream),
    );
    registry.register(
        "requests_in_flight",
        "Requests that have not ended",
        OfTenants::InFlight(families.tenants.clone()),
    );
    registry.register(
        "upgraded_connections",
        "Connections that speak another protocol after 101, such as WebSocket",
        families.upgraded.clone(),
    );
    registry.register(
        "proxy_errors",
        "Answers of our own and broken bodies, by reason; see docs/reasons.md",
        families.errors.clone(),
    );
    registry.register(
        "client_aborts",
        "Requests whose client went away before the end of the answer",
        families.client_aborts.clone(),
    );
    registry.register(
        "retries",
        "Further tries of requests: nothing was processed before (unprocessed), or something may have been, and the budget allowed it (repeat)",
        families.retries.clone(),
    );
    registry.register(
        "https_redirects",
        "Requests by http that were sent to https",
        families.redirects.clone(),
    );
    registry.register(
        "retries_refused",
        "Requests that might have been sent again and were not: the budget was spent (budget), or they had been before (repeated)",
        families.retries_refused.clone(),
    );
    registry.register_with_unit(
        "request_body",
        "Bytes of request bodies read",
        Unit::Bytes,
        OfTenants::RequestBytes(families.tenants.clone()),
    );
    registry.register_with_unit(
        "response_body",
        "Bytes of response bodies handed to clients",
        Unit::Bytes,
        OfTenants::ResponseBytes(families.tenants.clone()),
    );
}

fn register_endpoints(families: &Families, registry: &mut Registry) {
    registry.register(
        "endpoint_ejections",
        "Times that an endpoint was left alone because it failed again and again",
        families.ejections.clone(),
    );
    registry.register(
        "endpoints_ejected",
        "Endpoints that are left alone at present; one that a worker has sent to rest counts for up to a second longer",
        families.endpoints_ejected.clone(),
    );
    registry.register(
        "upstream_connections",
        "Open connections to endpoints, idle ones included",
        families.upstream_connections.clone(),
    );
    registry.register(
        "upstream_connects",
        "Connections opened to endpoints by result: ok, failed, timeout, no_descriptors",
        families.upstream_connects.clone(),
    );
    registry.register(
        "upstream_tls_handshakes",
        "TLS handshakes with endpoints by result: ok, resumed, failed, timeout",
        families.upstream_handshakes.clone(),
    );
    // There from the start, as those above: many tiers never speak TLS to a pod.
    for result in ["ok", "resumed", "failed", "timeout"] {
        families
            .upstream_handshakes
            .get_or_create(&ResultLabels { result })
            .inc_by(0);
    }
    registry.register(
        "upstream_connections_limited",
        "Requests that waited because their endpoint has as many HTTP/2 connections as a worker opens",
        families.upstream_connections_limited.clone(),
    );
    registry.register(
        "upstream_fallbacks",
        "Connections to endpoints of HTTP/2 that did not answer it, so that they got HTTP/1.1",
        families.upstream_fallbacks.clone(),
    );
}

fn register_connections(families: &Families, registry: &mut Registry) {
    registry.register(
        "client_connections_open",
        "Open connections of clients; limits.connections_max bounds them",
        families.client_connections_open.clone(),
    );
    registry.register(
        "client_connections_resting",
        "Of these, HTTP/1 connections that have been idle for a moment and have no buffers",
        families.client_connections_resting.clone(),
    );
    registry.register(
        "client_connections",
        "Connections of clients by result: accepted, or refused at the limit",
        families.client_connections_total.clone(),
    );
    registry.register(
        "accept_pauses",
        "Pauses in which no client is taken: descriptors are kept for endpoints (reserve), or the kernel has no descriptors or memory",
        families.accept_pauses.clone(),
    );
    // There from the start: a rate needs a value before the first pause.
    for reason in ["reserve", "process_descriptors"] {
        families
            .accept_pauses
            .get_or_create(&PauseLabels { reason })
            .inc_by(0);
    }
    registry.register(
        "tls_handshakes",
        "TLS handshakes by result: ok, no_certificate, failed, timeout",
        families.handshakes.clone(),
    );
    registry.register(
        "metrics_owners_overflowed",
        "Ingresses that share the series _overflow because there are too many",
        families.owners_overflowed.clone(),
    );
    registry.register(
        "config_generation",
        "Number of the table that is served; 0 before the first",
        families.generation.clone(),
    );
    registry.register(
        "draining",
        "1 while the process finishes its requests before it ends",
        families.draining.clone(),
    );
}
