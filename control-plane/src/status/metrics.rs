//! What is told of telling.

use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// What came of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum WriteResult {
    /// It is as it should be.
    Written,
    /// The object is gone, or another one of its name.
    Gone,
    /// A right is missing.
    Forbidden,
    /// It failed otherwise, and is tried again.
    Failed,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ResultLabel {
    result: WriteResult,
}

/// Counts of the one who writes. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Metrics {
    is_leader: Gauge,
    waiting: Gauge,
    statuses: Family<ResultLabel, Counter<u64, AtomicU64>>,
    events: Family<ResultLabel, Counter<u64, AtomicU64>>,
}

// === impl WriteResult ===

impl EncodeLabelValue for WriteResult {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> std::fmt::Result {
        let word = match self {
            Self::Written => "written",
            Self::Gone => "gone",
            Self::Forbidden => "forbidden",
            Self::Failed => "failed",
        };
        word.encode(encoder)
    }
}

// === impl Metrics ===

impl Metrics {
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            is_leader: Gauge::default(),
            waiting: Gauge::default(),
            statuses: Family::default(),
            events: Family::default(),
        };
        registry.register(
            "status_leader",
            "Whether this replica writes statuses and Events: 1 of one replica of a tier",
            metrics.is_leader.clone(),
        );
        registry.register(
            "status_waiting_ingresses",
            "Ingresses whose address is published as soon as every replica serves them",
            metrics.waiting.clone(),
        );
        registry.register(
            "status_writes",
            "Writes to the status of Ingresses by result: written, gone, forbidden, failed",
            metrics.statuses.clone(),
        );
        registry.register(
            "status_events",
            "Events of conditions by result: written, gone, forbidden, failed",
            metrics.events.clone(),
        );
        for result in [
            WriteResult::Written,
            WriteResult::Gone,
            WriteResult::Forbidden,
            WriteResult::Failed,
        ] {
            let _ = metrics.statuses.get_or_create(&ResultLabel { result });
            let _ = metrics.events.get_or_create(&ResultLabel { result });
        }
        metrics
    }

    pub(super) fn leads(&self, is_leader: bool) {
        self.is_leader.set(i64::from(is_leader));
    }

    pub(super) fn waiting(&self, count: usize) {
        self.waiting.set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    pub(super) fn wrote(&self, result: WriteResult) {
        self.statuses.get_or_create(&ResultLabel { result }).inc();
    }

    pub(super) fn event(&self, result: WriteResult) {
        self.events.get_or_create(&ResultLabel { result }).inc();
    }
}
