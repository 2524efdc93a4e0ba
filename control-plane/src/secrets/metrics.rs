//! How Secrets are read by their names.

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// Handles to the families.
#[derive(Clone, Debug)]
pub(crate) struct Metrics {
    reads: Family<ResultLabels, Counter>,
    named: Gauge,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ResultLabels {
    result: ReadResult,
}

/// What came of a read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum ReadResult {
    /// A TLS Secret.
    Read,
    /// There is none.
    Missing,
    /// A right is missing.
    Forbidden,
    /// No answer, or a useless one.
    Failed,
}

// === impl Metrics ===

impl Metrics {
    /// Registers the families.
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            reads: Family::default(),
            named: Gauge::default(),
        };
        registry.register(
            "secret_reads",
            "Reads of single Secrets by the cluster tier, by result: read, missing, forbidden, failed",
            metrics.reads.clone(),
        );
        registry.register(
            "secrets_named",
            "Secrets that are read by their names: what Ingresses and settings name in the namespaces that are allowed",
            metrics.named.clone(),
        );
        // A series that begins at zero shows its first increase.
        for result in ReadResult::ALL {
            drop(metrics.reads.get_or_create(&ResultLabels { result }));
        }
        metrics
    }

    pub(super) fn read(&self, result: ReadResult) {
        self.reads.get_or_create(&ResultLabels { result }).inc();
    }

    pub(super) fn named(&self, count: usize) {
        self.named.set(i64::try_from(count).unwrap_or(i64::MAX));
    }
}

// === impl ReadResult ===

impl ReadResult {
    const ALL: [Self; 4] = [Self::Read, Self::Missing, Self::Forbidden, Self::Failed];
}

impl EncodeLabelValue for ReadResult {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> std::fmt::Result {
        match self {
            Self::Read => "read",
            Self::Missing => "missing",
            Self::Forbidden => "forbidden",
            Self::Failed => "failed",
        }
        .encode(encoder)
    }
}
