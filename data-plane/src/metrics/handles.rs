//! Handles to the series of one Ingress and of one tenant, resolved when a table is published.
//!
//! The series of an Ingress appear with its first request: most of thousands of Ingresses have none for long. Counters by code
//! and by reason appear with their first use and are found by position afterwards. Handles of an owner that left the table
//! keep working for its last requests, but count nowhere.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;

use super::{CodeLabels, Histogram, Metrics, OwnerLabels, ReasonLabels, TenantLabels};
use crate::error::{ProxyError, REASONS};
use crate::table::RouteOwner;

/// Codes with a series of their own; others count as their class. Sorted.
const CODES: [(u16, &str); 29] = [
    (101, "101"),
    (200, "200"),
    (201, "201"),
    (202, "202"),
    (204, "204"),
    (206, "206"),
    (301, "301"),
    (302, "302"),
    (303, "303"),
    (304, "304"),
    (307, "307"),
    (308, "308"),
    (400, "400"),
    (401, "401"),
    (403, "403"),
    (404, "404"),
    (405, "405"),
    (408, "408"),
    (409, "409"),
    (413, "413"),
    (422, "422"),
    (429, "429"),
    (431, "431"),
    (499, "499"),
    (500, "500"),
    (502, "502"),
    (503, "503"),
    (504, "504"),
    (508, "508"),
];
const CLASSES: [&str; 6] = ["1xx", "2xx", "3xx", "4xx", "5xx", "other"];

/// The way to the series of one Ingress. First comes what each request reads: of thousands of Ingresses none is in the cache.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct OwnerHandles {
    own: OnceLock<Box<Series>>,
    pub(crate) tenant: Arc<TenantHandles>,
    labels: OwnerLabels,
    metrics: Metrics,
    /// For want of a place. None: this owner needs none.
    overflow: Option<Arc<Series>>,
    has_overflowed: AtomicBool,
    is_retired: AtomicBool,
}

/// The series of one Ingress, in the order of their use.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct Series {
    request_duration: Histogram,
    upstream_duration: Histogram,
    codes: [OnceLock<Counter>; CODES.len() + CLASSES.len()],
    labels: OwnerLabels,
    metrics: Metrics,
    is_retired: AtomicBool,
}

/// The series of one tenant.
#[derive(Debug)]
pub(crate) struct TenantHandles {
    tenant: Arc<str>,
    metrics: Metrics,
    is_retired: AtomicBool,
    reasons: [OnceLock<Counter>; REASONS.len()],
    pub(crate) in_flight: Gauge,
    pub(crate) upgraded: Gauge,
    pub(crate) client_aborts: Counter,
    pub(crate) retries: Counter,
    pub(crate) request_bytes: Counter,
    pub(crate) response_bytes: Counter,
}

// === impl OwnerHandles ===

impl OwnerHandles {
    /// Handles of an owner that shares `overflow` when too many others have series of their own.
    pub(crate) fn new(
        metrics: &Metrics,
        tenant: &Arc<TenantHandles>,
        owner: &RouteOwner,
        overflow: &Arc<Series>,
    ) -> Self {
        Self {
            labels: OwnerLabels {
                tenant: owner.tenant.clone(),
                ingress: owner.ingress.clone(),
            },
            metrics: metrics.clone(),
            own: OnceLock::new(),
            overflow: Some(Arc::clone(overflow)),
            has_overflowed: AtomicBool::new(false),
            is_retired: AtomicBool::new(false),
            tenant: tenant.clone(),
        }
    }

    /// Handles of an owner that always has series of its own, with one name for both labels.
    pub(crate) fn without_limit(
        metrics: &Metrics,
        tenant: &Arc<TenantHandles>,
        name: Arc<str>,
    ) -> Self {
        let series = Series::new(metrics, name.clone(), name.clone());
        Self {
            labels: OwnerLabels {
                tenant: name.clone(),
                ingress: name,
            },
            metrics: metrics.clone(),
            own: OnceLock::from(Box::new(series)),
            overflow: None,
            has_overflowed: AtomicBool::new(false),
            is_retired: AtomicBool::new(false),
            tenant: tenant.clone(),
        }
    }

    /// Counts a request that ended.
    pub(crate) fn ended(&self, code: u16, duration: Duration) {
        if let Some(series) = self.series() {
            series.ended(code, duration);
        }
    }

    /// Notes how long an endpoint took to begin its answer.
    pub(crate) fn answered(&self, duration: Duration) {
        if let Some(series) = self.series() {
            series.upstream_duration.observe(duration);
        }
    }

    /// Removes the series.
    pub(crate) fn retire(&self) {
        self.is_retired.store(true, Ordering::SeqCst);
        self.remove_if_retired();
        if self.has_overflowed.swap(false, Ordering::Relaxed) {
            self.metrics.families().owners_overflowed.dec();
        }
    }

    fn series(&self) -> Option<&Series> {
        if let Some(own) = self.own.get() {
            return Some(own);
        }
        if self.is_retired.load(Ordering::SeqCst) {
            return None;
        }
        if !self.metrics.take_owner_place() {
            if !self.has_overflowed.swap(true, Ordering::Relaxed) {
                self.metrics.families().owners_overflowed.inc();
            }
            return self.overflow.as_deref();
        }
        let mut is_first = false;
        let own = self.own.get_or_init(|| {
            is_first = true;
            let OwnerLabels { tenant, ingress } = self.labels.clone();
            Box::new(Series::new(&self.metrics, tenant, ingress))
        });
        if !is_first {
            self.metrics.give_back_owner_place();
        } else if self.has_overflowed.swap(false, Ordering::Relaxed) {
            self.metrics.families().owners_overflowed.dec();
        }
        // It may have been retired meanwhile: then nobody else removes what was just made.
        if is_first && self.is_retired.load(Ordering::SeqCst) {
            self.remove_if_retired();
        }
        Some(own)
    }

    fn remove_if_retired(&self) {
        if let Some(own) = self.own.get()
            && own.retire()
            && self.overflow.is_some()
        {
            self.metrics.give_back_owner_place();
        }
    }
}

// === impl Series ===

impl Series {
    pub(crate) fn new(metrics: &Metrics, tenant: Arc<str>, ingress: Arc<str>) -> Self {
        let labels = OwnerLabels { tenant, ingress };
        let families = metrics.families();
        Self {
            metrics: metrics.clone(),
            is_retired: AtomicBool::new(false),
            codes: std::array::from_fn(|_| OnceLock::new()),
            request_duration: families.request_duration.get_or_create_owned(&labels),
            upstream_duration: families.upstream_duration.get_or_create_owned(&labels),
            labels,
        }
    }

    fn ended(&self, code: u16, duration: Duration) {
        let position = position_of(code);
        self.codes[position]
            .get_or_init(|| self.code_counter(position))
            .inc();
        self.request_duration.observe(duration);
    }

    /// Removes them, once. Tells whether this call was the one.
    fn retire(&self) -> bool {
        if self.is_retired.swap(true, Ordering::SeqCst) {
            return false;
        }
        let families = self.metrics.families();
        families.request_duration.remove(&self.labels);
        families.upstream_duration.remove(&self.labels);
        for position in 0..self.codes.len() {
            families.requests.remove(&self.code_labels(position));
        }
        true
    }

    fn code_counter(&self, position: usize) -> Counter {
        if self.is_retired.load(Ordering::Acquire) {
            return Counter::default();
        }
        let requests = &self.metrics.families().requests;
        requests.get_or_create_owned(&self.code_labels(position))
    }

    fn code_labels(&self, position: usize) -> CodeLabels {
        let code = match CODES.get(position) {
            Some((_, name)) => name,
            None => CLASSES[position - CODES.len()],
        };
        CodeLabels {
            tenant: self.labels.tenant.clone(),
            ingress: self.labels.ingress.clone(),
            code,
        }
    }
}

fn position_of(code: u16) -> usize {
    match CODES.binary_search_by_key(&code, |&(known, _)| known) {
        Ok(position) => position,
        Err(_) => {
            let class = usize::from(code / 100).wrapping_sub(1);
            CODES.len() + class.min(CLASSES.len() - 1)
        }
    }
}

// === impl TenantHandles ===

impl TenantHandles {
    pub(crate) fn new(metrics: &Metrics, tenant: Arc<str>) -> Self {
        let labels = TenantLabels {
            tenant: tenant.clone(),
        };
        let families = metrics.families();
        Self {
            tenant,
            metrics: metrics.clone(),
            is_retired: AtomicBool::new(false),
            reasons: std::array::from_fn(|_| OnceLock::new()),
            in_flight: families.in_flight.get_or_create_owned(&labels),
            upgraded: families.upgraded.get_or_create_owned(&labels),
            client_aborts: families.client_aborts.get_or_create_owned(&labels),
            retries: families.retries.get_or_create_owned(&labels),
            request_bytes: families.request_bytes.get_or_create_owned(&labels),
            response_bytes: families.response_bytes.get_or_create_owned(&labels),
        }
    }

    /// Counts an error.
    pub(crate) fn failed(&self, error: &ProxyError) {
        let number = error.number();
        self.reasons[number]
            .get_or_init(|| self.reason_counter(number))
            .inc();
    }

    /// Removes the series.
    pub(crate) fn retire(&self) {
        self.is_retired.store(true, Ordering::Release);
        let families = self.metrics.families();
        let labels = TenantLabels {
            tenant: self.tenant.clone(),
        };
        families.in_flight.remove(&labels);
        families.upgraded.remove(&labels);
        families.client_aborts.remove(&labels);
        families.retries.remove(&labels);
        families.request_bytes.remove(&labels);
        families.response_bytes.remove(&labels);
        for number in 0..REASONS.len() {
            families.errors.remove(&self.reason_labels(number));
        }
    }

    fn reason_counter(&self, number: usize) -> Counter {
        if self.is_retired.load(Ordering::Acquire) {
            return Counter::default();
        }
        let errors = &self.metrics.families().errors;
        errors.get_or_create_owned(&self.reason_labels(number))
    }

    fn reason_labels(&self, number: usize) -> ReasonLabels {
        ReasonLabels {
            tenant: self.tenant.clone(),
            reason: REASONS[number].name,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_without_a_series_of_its_own_counts_as_its_class() {
        let name = |code| match CODES.get(position_of(code)) {
            Some((_, name)) => *name,
            None => CLASSES[position_of(code) - CODES.len()],
        };
        for (code, expected) in [
            (200, "200"),
            (418, "4xx"),
            (299, "2xx"),
            (599, "5xx"),
            (103, "1xx"),
            (700, "other"),
            (0, "other"),
        ] {
            assert_eq!(name(code), expected, "{code}");
        }
        assert!(CODES.is_sorted());
    }
}
