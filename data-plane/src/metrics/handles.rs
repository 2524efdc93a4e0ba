//! The ways to what requests count, made when a table is published.
//!
//! In: the owners and tenants of a table. Out: for each request an [`Owner`], which counts in the lane of its worker. What an
//! Ingress counts appears with its first request: most of thousands of Ingresses have none for long. Handles of an owner that left
//! the table keep working for its last requests, but count nowhere.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;

use super::counts::{Counts, LANES, NoCounts, TenantCounts, Which};
use super::{Metrics, OwnerLabels, ReasonLabels, RetryLabels, TenantLabels};
use crate::error::{ProxyError, REASONS};
use crate::table::RouteOwner;

/// Counts that owners share for want of places of their own.
pub(crate) type Overflow = Arc<[Arc<Counts>; LANES]>;

/// The way to what is counted for one Ingress. First comes what each request reads: of thousands of Ingresses none is in the cache.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct OwnerHandles {
    tenant: Arc<TenantHandles>,
    /// For want of a place. None: this owner needs none.
    overflow: Option<Overflow>,
    metrics: Metrics,
    has_overflowed: AtomicBool,
    is_retired: AtomicBool,
    lanes: [OnceLock<Arc<Counts>>; LANES],
    labels: OwnerLabels,
}

/// The way to what is counted for one tenant.
#[derive(Debug)]
pub(crate) struct TenantHandles {
    lanes: [Arc<TenantLane>; LANES],
}

/// The same for the workers of one lane.
#[derive(Debug)]
struct TenantLane {
    counts: Arc<TenantCounts>,
    events: Arc<TenantEvents>,
}

/// What happens to a tenant now and then, in series of their own.
#[derive(Debug)]
struct TenantEvents {
    tenant: Arc<str>,
    errors: Family<ReasonLabels, Counter>,
    is_retired: AtomicBool,
    reasons: [OnceLock<Counter>; REASONS.len()],
    upgraded: Gauge,
    client_aborts: Counter,
    redirects: Counter,
    ejections: Counter,
    retries: [Counter; Retry::NAMES.len()],
    retries_refused: [Counter; NoRetry::NAMES.len()],
}

/// What a further try is.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Retry {
    /// No endpoint has processed the request.
    Unprocessed,
    /// One may have.
    Repeat,
}

/// Why a request was not sent again.
#[derive(Clone, Copy, Debug)]
pub(crate) enum NoRetry {
    /// The budget of its backend is spent.
    Budget,
    /// It had been sent again before, here or by the tier in front.
    Repeated,
}

/// Counts for the requests of one Ingress, on one worker.
#[derive(Clone, Debug)]
pub(crate) struct Owner {
    counts: Arc<Counts>,
    tenant: Arc<TenantLane>,
}

// === impl OwnerHandles ===

impl OwnerHandles {
    /// Handles of an owner that shares `overflow` when too many others have series of their own.
    pub(crate) fn new(
        metrics: &Metrics,
        tenant: &Arc<TenantHandles>,
        owner: &RouteOwner,
        overflow: &Overflow,
    ) -> Self {
        let labels = OwnerLabels {
            tenant: owner.tenant.clone(),
            ingress: owner.ingress.clone(),
        };
        Self::with(metrics, tenant, labels, Some(overflow.clone()))
    }

    /// Handles of an owner that always has series of its own, with one name for both labels.
    pub(crate) fn without_limit(
        metrics: &Metrics,
        tenant: &Arc<TenantHandles>,
        name: &Arc<str>,
    ) -> Self {
        let handles = Self::with(metrics, tenant, OwnerLabels::both(name), None);
        // There from the start.
        drop(handles.on(0));
        handles
    }

    fn with(
        metrics: &Metrics,
        tenant: &Arc<TenantHandles>,
        labels: OwnerLabels,
        overflow: Option<Overflow>,
    ) -> Self {
        Self {
            tenant: tenant.clone(),
            lanes: Default::default(),
            labels,
            metrics: metrics.clone(),
            overflow,
            has_overflowed: AtomicBool::new(false),
            is_retired: AtomicBool::new(false),
        }
    }

    /// What a worker of this lane counts with.
    pub(crate) fn on(&self, lane: usize) -> Owner {
        let counts = match self.lanes[lane].get() {
            Some(counts) => counts.clone(),
            None => self.first(lane),
        };
        Owner {
            counts,
            tenant: self.tenant.lanes[lane].clone(),
        }
    }

    /// Whose they are.
    pub(crate) fn owner(&self) -> RouteOwner {
        RouteOwner {
            tenant: self.labels.tenant.clone(),
            ingress: self.labels.ingress.clone(),
        }
    }

    /// Whether they are those of this owner.
    pub(crate) fn is_of(&self, owner: &RouteOwner) -> bool {
        self.labels.tenant == owner.tenant && self.labels.ingress == owner.ingress
    }

    /// Removes the series.
    pub(crate) fn retire(&self) {
        self.is_retired.store(true, Ordering::SeqCst);
        let owners = &self.metrics.families().owners;
        owners.remove(&self.labels, self.overflow.is_some());
        self.overflows(false);
    }

    #[cold]
    fn first(&self, lane: usize) -> Arc<Counts> {
        let owners = &self.metrics.families().owners;
        if let Some(overflow) = &self.overflow
            && self.has_overflowed.load(Ordering::Relaxed)
            && owners.is_full()
        {
            return overflow[lane].clone();
        }
        let has_place = || self.lanes.iter().any(|lane| lane.get().is_some());
        let made = match &self.overflow {
            Some(_) if owners.is_full() && !has_place() => Err(NoCounts::Full),
            limited => owners.lane(&self.labels, lane, limited.is_some(), &self.is_retired),
        };
        match (made, &self.overflow) {
            (Ok(counts), _) => {
                self.overflows(false);
                self.lanes[lane].get_or_init(|| counts).clone()
            }
            (Err(NoCounts::Full), Some(overflow)) if !self.is_retired.load(Ordering::SeqCst) => {
                self.overflows(true);
                // It may have been retired meanwhile: then nobody else counts it out again.
                if self.is_retired.load(Ordering::SeqCst) {
                    self.overflows(false);
                }
                overflow[lane].clone()
            }
            (Err(NoCounts::Full | NoCounts::Retired), _) => Arc::default(),
        }
    }

    /// Counts the owners that share the overflow.
    fn overflows(&self, does: bool) {
        // A look first: of many that share, each request comes here.
        if self.has_overflowed.load(Ordering::Relaxed) == does
            || self.has_overflowed.swap(does, Ordering::Relaxed) == does
        {
            return;
        }
        let overflowed = &self.metrics.families().owners_overflowed;
        match does {
            true => overflowed.inc(),
            false => overflowed.dec(),
        };
    }
}

// === impl TenantHandles ===

impl TenantHandles {
    pub(crate) fn new(metrics: &Metrics, tenant: Arc<str>) -> Self {
        let families = metrics.families();
        let counts = families.tenants.add(&tenant);
        let labels = TenantLabels {
            tenant: tenant.clone(),
        };
        let events = Arc::new(TenantEvents {
            tenant,
            errors: families.errors.clone(),
            is_retired: AtomicBool::new(false),
            reasons: std::array::from_fn(|_| OnceLock::new()),
            upgraded: families.upgraded.get_or_create_owned(&labels),
            client_aborts: families.client_aborts.get_or_create_owned(&labels),
            redirects: families.redirects.get_or_create_owned(&labels),
            ejections: families.ejections.get_or_create_owned(&labels),
            retries: Retry::NAMES.map(|kind| {
                let labels = RetryLabels {
                    tenant: labels.tenant.clone(),
                    kind,
                };
                families.retries.get_or_create_owned(&labels)
            }),
            retries_refused: NoRetry::NAMES.map(|reason| {
                let labels = ReasonLabels {
                    tenant: labels.tenant.clone(),
                    reason,
                };
                families.retries_refused.get_or_create_owned(&labels)
            }),
        });
        let lanes = std::array::from_fn(|lane| {
            Arc::new(TenantLane {
                counts: counts[lane].clone(),
                events: events.clone(),
            })
        });
        Self { lanes }
    }

    /// Removes the series.
    pub(crate) fn retire(&self, metrics: &Metrics) {
        let events = &self.lanes[0].events;
        events.is_retired.store(true, Ordering::Release);
        let families = metrics.families();
        families.tenants.remove(&events.tenant);
        let labels = TenantLabels {
            tenant: events.tenant.clone(),
        };
        families.upgraded.remove(&labels);
        families.client_aborts.remove(&labels);
        families.ejections.remove(&labels);
        families.redirects.remove(&labels);
        for kind in Retry::NAMES {
            let tenant = labels.tenant.clone();
            families.retries.remove(&RetryLabels { tenant, kind });
        }
        for reason in &REASONS {
            families.errors.remove(&events.reason_labels(reason.name));
        }
        for reason in NoRetry::NAMES {
            families
                .retries_refused
                .remove(&events.reason_labels(reason));
        }
    }
}

// === impl TenantEvents ===

impl TenantEvents {
    fn failed(&self, error: &ProxyError) {
        let number = error.number();
        self.reasons[number]
            .get_or_init(|| self.reason_counter(REASONS[number].name))
            .inc();
    }

    fn reason_counter(&self, reason: &'static str) -> Counter {
        if self.is_retired.load(Ordering::Acquire) {
            return Counter::default();
        }
        self.errors.get_or_create_owned(&self.reason_labels(reason))
    }

    fn reason_labels(&self, reason: &'static str) -> ReasonLabels {
        ReasonLabels {
            tenant: self.tenant.clone(),
            reason,
        }
    }
}

// === impl Retry, NoRetry ===

impl Retry {
    /// As labels, in their order.
    const NAMES: [&'static str; 2] = ["unprocessed", "repeat"];
}

impl NoRetry {
    /// As labels, in their order.
    const NAMES: [&'static str; 2] = ["budget", "repeated"];
}

// === impl Owner ===

impl Owner {
    /// A request begins.
    pub(crate) fn began(&self) {
        let in_flight = &self.tenant.counts.in_flight;
        in_flight.fetch_add(1, Ordering::Relaxed);
    }

    /// A request that [began](Self::began) is over.
    pub(crate) fn is_over(&self) {
        let in_flight = &self.tenant.counts.in_flight;
        in_flight.fetch_sub(1, Ordering::Relaxed);
    }

    /// A request has ended so.
    pub(crate) fn ended(&self, code: u16, duration: Duration) {
        self.counts.ended(code, duration);
    }

    /// An endpoint took so long to begin its answer.
    pub(crate) fn answered(&self, duration: Duration) {
        self.counts.observe(Which::Upstream, duration);
    }

    /// Bytes of the bodies of a request.
    pub(crate) fn carried(&self, request_bytes: u64, response_bytes: u64) {
        let counts = &self.tenant.counts;
        for (count, bytes) in [
            (&counts.request_bytes, request_bytes),
            (&counts.response_bytes, response_bytes),
        ] {
            if bytes > 0 {
                count.fetch_add(bytes, Ordering::Relaxed);
            }
        }
    }

    /// An error.
    pub(crate) fn failed(&self, error: &ProxyError) {
        self.tenant.events.failed(error);
    }

    /// A further try.
    pub(crate) fn retried(&self, retry: Retry) {
        self.tenant.events.retries[retry as usize].inc();
    }

    /// An endpoint was sent to rest.
    pub(crate) fn ejected(&self) {
        self.tenant.events.ejections.inc();
    }

    /// No further try, though there might be one.
    pub(crate) fn not_retried(&self, why: NoRetry) {
        self.tenant.events.retries_refused[why as usize].inc();
    }

    /// The client was sent to https.
    pub(crate) fn redirected(&self) {
        self.tenant.events.redirects.inc();
    }

    /// The client went away.
    pub(crate) fn aborted(&self) {
        self.tenant.events.client_aborts.inc();
    }

    /// Connections that speak another protocol.
    pub(crate) fn upgraded(&self) -> &Gauge {
        &self.tenant.events.upgraded
    }
}
