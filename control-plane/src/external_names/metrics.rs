//! How names in DNS are looked up.

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// Handles to the families.
#[derive(Clone, Debug)]
pub(crate) struct Metrics {
    lookups: Family<ResultLabels, Counter>,
    named: Gauge,
    refused: Gauge,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ResultLabels {
    result: LookupResult,
}

/// What came of a look-up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum LookupResult {
    /// Addresses.
    Answered,
    /// DNS says that there is none.
    Missing,
    /// No answer, or a useless one.
    Failed,
}

// === impl Metrics ===

impl Metrics {
    /// Registers the families.
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            lookups: Family::default(),
            named: Gauge::default(),
            refused: Gauge::default(),
        };
        registry.register(
            "external_name_lookups",
            "Look-ups of names that Services of type ExternalName stand for, by result: answered, missing, failed",
            metrics.lookups.clone(),
        );
        registry.register(
            "external_names",
            "Names in DNS that are looked up for Services of type ExternalName",
            metrics.named.clone(),
        );
        registry.register(
            "external_names_refused",
            "Names in DNS that are not looked up because too many are wanted",
            metrics.refused.clone(),
        );
        // A series that begins at zero shows its first increase.
        for result in LookupResult::ALL {
            drop(metrics.lookups.get_or_create(&ResultLabels { result }));
        }
        metrics
    }

    pub(super) fn looked_up(&self, result: LookupResult) {
        self.lookups.get_or_create(&ResultLabels { result }).inc();
    }

    pub(super) fn named(&self, admitted: usize, refused: usize) {
        self.named.set(i64::try_from(admitted).unwrap_or(i64::MAX));
        self.refused.set(i64::try_from(refused).unwrap_or(i64::MAX));
    }
}

// === impl LookupResult ===

impl LookupResult {
    const ALL: [Self; 3] = [Self::Answered, Self::Missing, Self::Failed];
}

impl EncodeLabelValue for LookupResult {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> std::fmt::Result {
        match self {
            Self::Answered => "answered",
            Self::Missing => "missing",
            Self::Failed => "failed",
        }
        .encode(encoder)
    }
}
