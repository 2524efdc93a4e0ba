//! What requests count for an Ingress and for a tenant, and how it is shown.
//!
//! In: the ends of requests. Out: five families of `/metrics`. A request counts in two places that lie apart in memory, whatever
//! there is to count: with thousands of Ingresses each further place is a wait for memory. Workers count in [`LANES`] of their own,
//! so that none waits for the line of the cache that another has just written; who reads adds them up.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use once_cell::race::OnceBox;
use prometheus_client::encoding::{EncodeMetric, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;

use super::codes::{self, SERIES};
use super::histogram::{BUCKETS, bucket_of, encode};
use super::{CodeLabels, OWNERS_MAX, OwnerLabels, TenantLabels};

/// Workers beyond share. Each lane costs a quarter of a KiB for each Ingress that it has had a request of, and that again when
/// answers were others than 200.
pub(crate) const LANES: usize = 4;

/// Which duration.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Which {
    Request,
    Upstream,
}

/// What one lane has counted for one Ingress: 240 bytes, four lines of the cache with the counts of its `Arc`. What an answer of a
/// few milliseconds with 200 counts stands together.
#[derive(Debug, Default)]
#[repr(C)]
pub(crate) struct Counts {
    ok: AtomicU64,
    nanoseconds: [AtomicU64; 2],
    durations: [[AtomicU64; 2]; BUCKETS],
    /// Answers with other codes than 200, which many Ingresses never have.
    others: OnceBox<Codes>,
}

/// By [`codes::position_of`].
#[derive(Debug)]
struct Codes([AtomicU64; SERIES]);

/// What one lane has counted for one tenant. Alone in its lines of the cache: other lanes' stand behind it.
#[derive(Debug, Default)]
#[repr(align(64))]
pub(crate) struct TenantCounts {
    pub(crate) in_flight: AtomicI64,
    pub(crate) request_bytes: AtomicU64,
    pub(crate) response_bytes: AtomicU64,
}

/// The counts of all Ingresses that had a request.
#[derive(Debug, Default)]
pub(crate) struct Owners {
    lanes: Mutex<BTreeMap<OwnerLabels, [Option<Arc<Counts>>; LANES]>>,
    /// Of these, those that are limited in number.
    limited: AtomicUsize,
}

/// Why there are no counts for an owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoCounts {
    /// [`OWNERS_MAX`] others have theirs.
    Full,
    /// It left the table.
    Retired,
}

type TenantLanes = Arc<[Arc<TenantCounts>; LANES]>;

/// The counts of all tenants.
#[derive(Debug, Default)]
pub(crate) struct Tenants(Mutex<BTreeMap<Arc<str>, TenantLanes>>);

/// A family that shows [`Owners`].
#[derive(Debug)]
pub(super) enum OfOwners {
    Requests(Arc<Owners>),
    Durations(Arc<Owners>, Which),
}

/// A family that shows [`Tenants`].
#[derive(Debug)]
pub(super) enum OfTenants {
    InFlight(Arc<Tenants>),
    RequestBytes(Arc<Tenants>),
    ResponseBytes(Arc<Tenants>),
}

// === impl Counts ===

impl Counts {
    /// A request ended.
    pub(crate) fn ended(&self, code: u16, duration: Duration) {
        let count = match code {
            200 => &self.ok,
            code => {
                let others = self.others.get_or_init(Box::default);
                &others.0[codes::position_of(code)]
            }
        };
        count.fetch_add(1, Ordering::Relaxed);
        self.observe(Which::Request, duration);
    }

    /// One duration more.
    pub(crate) fn observe(&self, which: Which, duration: Duration) {
        let nanoseconds = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        let (which, bucket) = (which as usize, bucket_of(nanoseconds));
        self.durations[bucket][which].fetch_add(1, Ordering::Relaxed);
        self.nanoseconds[which].fetch_add(nanoseconds, Ordering::Relaxed);
    }

    fn code(&self, position: usize) -> u64 {
        if position == codes::OK {
            return self.ok.load(Ordering::Relaxed);
        }
        let others = self.others.get();
        others.map_or(0, |others| others.0[position].load(Ordering::Relaxed))
    }
}

// === impl Codes ===

impl Default for Codes {
    fn default() -> Self {
        Self(std::array::from_fn(|_| AtomicU64::default()))
    }
}

// === impl Owners ===

impl Owners {
    /// The counts of an owner, which are shown from now on. `limited`: only if there is a place for one more.
    pub(crate) fn lane(
        &self,
        owner: &OwnerLabels,
        lane: usize,
        is_limited: bool,
        is_retired: &AtomicBool,
    ) -> Result<Arc<Counts>, NoCounts> {
        let mut lanes = self.locked();
        // Within the lock: whoever retires an owner sets this first.
        if is_retired.load(Ordering::SeqCst) {
            return Err(NoCounts::Retired);
        }
        if is_limited && !lanes.contains_key(owner) {
            if self.is_full() {
                return Err(NoCounts::Full);
            }
            self.limited.fetch_add(1, Ordering::Relaxed);
        }
        let lanes = lanes.entry(owner.clone()).or_default();
        Ok(lanes[lane].get_or_insert_default().clone())
    }

    /// Whether there is no place for one more.
    pub(crate) fn is_full(&self) -> bool {
        self.limited.load(Ordering::Relaxed) >= OWNERS_MAX
    }

    /// Shows an owner no longer.
    pub(crate) fn remove(&self, owner: &OwnerLabels, is_limited: bool) {
        if self.locked().remove(owner).is_some() && is_limited {
            self.limited.fetch_sub(1, Ordering::Relaxed);
        }
    }

    fn locked(&self) -> MutexGuard<'_, BTreeMap<OwnerLabels, [Option<Arc<Counts>>; LANES]>> {
        // Nothing is left half done by a panic.
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A copy: no request waits for the writing of the page.
    fn all(&self) -> Vec<(OwnerLabels, [Option<Arc<Counts>>; LANES])> {
        let lanes = self.locked();
        let copied = lanes
            .iter()
            .map(|(owner, lanes)| (owner.clone(), lanes.clone()));
        copied.collect()
    }
}

// === impl Tenants ===

impl Tenants {
    /// The counts of a tenant, which are shown from now on.
    pub(crate) fn add(&self, tenant: &Arc<str>) -> TenantLanes {
        let lanes = TenantLanes::default();
        self.locked().insert(tenant.clone(), lanes.clone());
        lanes
    }

    /// Shows a tenant no longer.
    pub(crate) fn remove(&self, tenant: &Arc<str>) {
        self.locked().remove(tenant);
    }

    fn locked(&self) -> MutexGuard<'_, BTreeMap<Arc<str>, TenantLanes>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl OfOwners ===

impl OfOwners {
    fn owners(&self) -> &Owners {
        match self {
            Self::Requests(owners) | Self::Durations(owners, _) => owners,
        }
    }
}

impl EncodeMetric for OfOwners {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        for (owner, lanes) in self.owners().all() {
            let sum = |count: &dyn Fn(&Counts) -> u64| -> u64 {
                lanes.iter().flatten().map(|counts| count(counts)).sum()
            };
            match *self {
                Self::Requests(_) => {
                    for position in 0..SERIES {
                        let count = sum(&|counts| counts.code(position));
                        // A code that no answer had has no series.
                        if count > 0 {
                            let labels = CodeLabels::new(&owner, codes::name(position));
                            let mut encoder = encoder.encode_family(&labels)?;
                            encoder.encode_counter::<NoLabelSet, _, u64>(&count, None)?;
                        }
                    }
                }
                Self::Durations(_, which) => {
                    let which = which as usize;
                    let of = |count: &AtomicU64| count.load(Ordering::Relaxed);
                    let nanoseconds = sum(&|counts| of(&counts.nanoseconds[which]));
                    let counts = std::array::from_fn(|bucket| {
                        sum(&|counts| of(&counts.durations[bucket][which]))
                    });
                    encode(encoder.encode_family(&owner)?, nanoseconds, &counts)?;
                }
            }
        }
        Ok(())
    }

    fn metric_type(&self) -> MetricType {
        match self {
            Self::Requests(_) => MetricType::Counter,
            Self::Durations(..) => MetricType::Histogram,
        }
    }

    fn is_empty(&self) -> bool {
        self.owners().locked().is_empty()
    }
}

// === impl OfTenants ===

impl OfTenants {
    fn tenants(&self) -> &Tenants {
        match self {
            Self::InFlight(tenants)
            | Self::RequestBytes(tenants)
            | Self::ResponseBytes(tenants) => tenants,
        }
    }
}

impl EncodeMetric for OfTenants {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        for (tenant, lanes) in self.tenants().locked().iter() {
            let labels = TenantLabels {
                tenant: tenant.clone(),
            };
            let mut encoder = encoder.encode_family(&labels)?;
            let sum = |count: fn(&TenantCounts) -> &AtomicU64| -> u64 {
                let counts = lanes.iter().map(|counts| count(counts));
                counts.map(|count| count.load(Ordering::Relaxed)).sum()
            };
            match self {
                Self::InFlight(_) => {
                    let counts = lanes.iter().map(|counts| &counts.in_flight);
                    let sum: i64 = counts.map(|count| count.load(Ordering::Relaxed)).sum();
                    encoder.encode_gauge(&sum)?;
                }
                Self::RequestBytes(_) => {
                    let bytes = sum(|counts| &counts.request_bytes);
                    encoder.encode_counter::<NoLabelSet, _, u64>(&bytes, None)?;
                }
                Self::ResponseBytes(_) => {
                    let bytes = sum(|counts| &counts.response_bytes);
                    encoder.encode_counter::<NoLabelSet, _, u64>(&bytes, None)?;
                }
            }
        }
        Ok(())
    }

    fn metric_type(&self) -> MetricType {
        match self {
            Self::InFlight(_) => MetricType::Gauge,
            Self::RequestBytes(_) | Self::ResponseBytes(_) => MetricType::Counter,
        }
    }

    fn is_empty(&self) -> bool {
        self.tenants().locked().is_empty()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use prometheus_client::registry::Registry;

    use super::*;
    use crate::metrics::{Metrics, Overflow, OwnerHandles, TenantHandles};
    use crate::table::RouteOwner;

    fn text(registry: &Registry) -> String {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, registry).unwrap();
        text
    }

    #[test]
    fn lanes_are_added_up_and_what_is_retired_is_shown_no_longer() {
        let mut registry = Registry::with_prefix("t");
        let metrics = Metrics::register(&mut registry);
        let empty = text(&registry);
        let tenant = Arc::new(TenantHandles::new(&metrics, "team".into()));
        let owner = RouteOwner {
            tenant: "team".into(),
            ingress: "shop-7".into(),
        };
        let handles = OwnerHandles::new(&metrics, &tenant, &owner, &Overflow::default());
        assert!(!text(&registry).contains("shop-7"), "no request, no series");
        for (lane, code) in [(0, 200), (0, 200), (1, 200), (LANES - 1, 503)] {
            let owner = handles.on(lane);
            owner.began();
            owner.answered(Duration::from_millis(1));
            owner.ended(code, Duration::from_millis(3));
            owner.carried(10, 100);
            if code == 200 {
                owner.is_over();
            }
        }
        let shown = text(&registry);
        let series = |name: &str, labels: &str| format!("t_{name}{{tenant=\"team\"{labels}}}");
        for (name, labels, value) in [
            ("requests_total", ",ingress=\"shop-7\",code=\"200\"", "3"),
            ("requests_total", ",ingress=\"shop-7\",code=\"503\"", "1"),
            ("request_duration_seconds_count", ",ingress=\"shop-7\"", "4"),
            (
                "request_duration_seconds_sum",
                ",ingress=\"shop-7\"",
                "0.012",
            ),
            (
                "upstream_duration_seconds_sum",
                ",ingress=\"shop-7\"",
                "0.004",
            ),
            ("requests_in_flight", "", "1"),
            ("request_body_bytes_total", "", "40"),
            ("response_body_bytes_total", "", "400"),
        ] {
            let line = format!("{} {value}", series(name, labels));
            assert!(
                shown.lines().any(|found| found == line),
                "{line} not in\n{shown}"
            );
        }
        for (bucket, count) in [("0.0025", "0"), ("0.005", "4"), ("+Inf", "4")] {
            let line = format!("le=\"{bucket}\",tenant=\"team\",ingress=\"shop-7\"}} {count}");
            let found = shown.lines().find(|found| found.ends_with(&line));
            assert!(
                found.is_some_and(|found| found.starts_with("t_request_duration")),
                "{line}"
            );
        }
        assert_eq!(shown.matches("requests_total{").count(), 2);
        handles.retire();
        tenant.retire(&metrics);
        handles.on(0).ended(200, Duration::ZERO);
        handles.on(2).ended(200, Duration::ZERO);
        assert_eq!(text(&registry), empty);
    }
}
