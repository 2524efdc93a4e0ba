//! What was published, and how long that took. The generation itself is a metric of the data plane.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use tiergate_data_plane::table::{Backend, Table};

use crate::objects::Kind;
use crate::platform::wall_now;
use crate::scope::ObjectName;
use crate::translate::condition::Reason;
use crate::translate::increment::Increment;

/// Upper bounds in seconds. The aim is 30 ms.
const PROPAGATION_BUCKETS: [f64; 11] = [
    0.001, 0.003, 0.01, 0.02, 0.03, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0,
];

/// Tenants with series of their own in `config_objects`; the others share [`OVERFLOW`].
const TENANTS_MAX: usize = 1000;

/// The label of tenants beyond the limit.
const OVERFLOW: &str = "_overflow";

/// Handles to the families of the publishing loop.
#[derive(Clone, Debug)]
pub(super) struct Metrics {
    applies: Family<ApplyLabels, Counter>,
    propagation: Histogram,
    objects: Family<ObjectLabels, Gauge>,
    backends: Family<BackendLabels, Gauge>,
    conditions: Family<ReasonLabels, Gauge>,
    refused: Counter,
    last_success: Gauge<f64, AtomicU64>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ApplyLabels {
    result: ApplyResult,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, EncodeLabelSet)]
struct ObjectLabels {
    tenant: String,
    kind: Kind,
    state: ObjectState,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, EncodeLabelSet)]
struct BackendLabels {
    tenant: String,
    state: BackendState,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabels {
    reason: Reason,
}

/// What became of a translation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum ApplyResult {
    /// A new generation.
    Published,
    /// The table was the same.
    Unchanged,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum ObjectState {
    Accepted,
    Rejected,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum BackendState {
    Ready,
    Empty,
}

// === impl Metrics ===

impl Metrics {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            applies: Family::default(),
            propagation: Histogram::new(PROPAGATION_BUCKETS),
            objects: Family::default(),
            backends: Family::default(),
            conditions: Family::default(),
            refused: Counter::default(),
            last_success: Gauge::default(),
        };
        registry.register(
            "config_applies",
            "Translations by result: published as a new generation, or unchanged",
            metrics.applies.clone(),
        );
        registry.register(
            "config_propagation_seconds",
            "From news of the API server to the table that serves it, oldest news of each translation",
            metrics.propagation.clone(),
        );
        registry.register(
            "config_objects",
            "Ingresses that are ours, and other objects with a condition, by tenant, kind and state: rejected has a condition",
            metrics.objects.clone(),
        );
        registry.register(
            "config_backends",
            "Service ports that routes name, by tenant and state: ready has endpoints, empty has none and answers 503",
            metrics.backends.clone(),
        );
        registry.register(
            "config_conditions",
            "Conditions by reason; /debug/model has their words",
            metrics.conditions.clone(),
        );
        registry.register(
            "config_objects_refused",
            "Objects beyond the limit of their kind, which are not served",
            metrics.refused.clone(),
        );
        registry.register(
            "config_last_apply_success_timestamp_seconds",
            "When a translation was last published or found unchanged",
            metrics.last_success.clone(),
        );
        metrics
    }

    pub(super) fn applied(&self, result: ApplyResult) {
        self.applies.get_or_create(&ApplyLabels { result }).inc();
        self.last_success.set(wall_now().as_second() as f64);
    }

    pub(super) fn propagated(&self, time: Duration) {
        self.propagation.observe(time.as_secs_f64());
    }

    pub(super) fn refused(&self, count: usize) {
        self.refused.inc_by(count as u64);
    }

    /// Sets the gauges of objects and conditions; those of objects that are gone go with them.
    pub(super) fn count_objects(&self, increment: &Increment) {
        let mut rejected: BTreeSet<(Kind, &ObjectName)> = BTreeSet::new();
        let mut reasons = BTreeMap::new();
        for condition in increment.conditions() {
            let object = &condition.object;
            rejected.insert((object.kind, &object.name));
            *reasons.entry(condition.reason).or_insert(0) += 1;
        }
        let mut counts: BTreeMap<(&str, Kind, ObjectState), i64> = BTreeMap::new();
        for (namespace, count) in increment.namespaces() {
            let count = i64::try_from(*count).unwrap_or(i64::MAX);
            counts.insert((namespace, Kind::Ingress, ObjectState::Accepted), count);
        }
        for (kind, name) in rejected {
            let namespace = name.namespace.as_str();
            *counts
                .entry((namespace, kind, ObjectState::Rejected))
                .or_default() += 1;
            if let Some(accepted) = counts.get_mut(&(namespace, kind, ObjectState::Accepted)) {
                *accepted -= 1;
            }
        }
        let mut tenants: BTreeMap<&str, BTreeMap<(Kind, ObjectState), i64>> = BTreeMap::new();
        for ((namespace, kind, state), count) in counts {
            let is_full = tenants.len() >= TENANTS_MAX;
            let tenant = match namespace {
                new if is_full && !tenants.contains_key(new) => OVERFLOW,
                known => known,
            };
            if count > 0 {
                let counts = tenants.entry(tenant).or_default();
                *counts.entry((kind, state)).or_default() += count;
            }
        }
        self.objects.clear();
        for (tenant, counts) in tenants {
            for ((kind, state), count) in counts {
                let labels = ObjectLabels {
                    tenant: tenant.to_owned(),
                    kind,
                    state,
                };
                self.objects.get_or_create(&labels).set(count);
            }
        }
        for reason in Reason::ALL {
            let count = reasons.get(&reason).copied().unwrap_or_default();
            self.conditions
                .get_or_create(&ReasonLabels { reason })
                .set(count);
        }
    }

    /// Sets the gauges of the Service ports that routes name.
    pub(super) fn count_backends(&self, increment: &Increment, table: &Table) {
        let known = increment.namespaces().keys();
        let mut tenants: BTreeMap<&str, BTreeMap<BackendState, i64>> = known
            .map(|namespace| (&**namespace, BTreeMap::new()))
            .collect();
        for backend in table.backends() {
            let counts = tenants.entry(&backend.name.namespace).or_default();
            *counts.entry(BackendState::of(backend)).or_default() += 1;
        }
        let mut counts: BTreeMap<BackendLabels, i64> = BTreeMap::new();
        for (position, (tenant, served)) in tenants.into_iter().enumerate() {
            let tenant = if position < TENANTS_MAX {
                tenant
            } else {
                OVERFLOW
            };
            // Both states of a tenant are shown, so that nothing appears only when it is wrong.
            for state in [BackendState::Ready, BackendState::Empty] {
                let labels = BackendLabels {
                    tenant: tenant.to_owned(),
                    state,
                };
                let count = served.get(&state).copied().unwrap_or_default();
                *counts.entry(labels).or_default() += count;
            }
        }
        self.backends.clear();
        for (labels, count) in counts {
            self.backends.get_or_create(&labels).set(count);
        }
    }
}

// === impl ApplyResult ===

impl EncodeLabelValue for ApplyResult {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> std::fmt::Result {
        match self {
            Self::Published => "published",
            Self::Unchanged => "unchanged",
        }
        .encode(encoder)
    }
}

// === impl ObjectState ===

impl EncodeLabelValue for ObjectState {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> std::fmt::Result {
        match self {
            Self::Accepted => "accepted",
            Self::Rejected => "rejected",
        }
        .encode(encoder)
    }
}

// === impl BackendState ===

impl BackendState {
    fn of(backend: &Backend) -> Self {
        if backend.endpoints.is_empty() {
            Self::Empty
        } else {
            Self::Ready
        }
    }
}

impl EncodeLabelValue for BackendState {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> std::fmt::Result {
        match self {
            Self::Ready => "ready",
            Self::Empty => "empty",
        }
        .encode(encoder)
    }
}
