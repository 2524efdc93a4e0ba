//! A histogram of durations without a lock.
//!
//! The one of `prometheus-client` takes a mutex per observation, which all workers would share on every request.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use prometheus_client::encoding::{EncodeMetric, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::{MetricType, TypedMetric};

/// Upper bounds in seconds; the last bucket has none. None is an integer: exporters write those differently (`1`, `1.0`).
const BOUNDS: [f64; 12] = [
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 2.5, 10.5,
];

/// Counts durations in 13 buckets.
#[derive(Clone, Default)]
pub(crate) struct Histogram(Arc<Buckets>);

/// The sum stands before the counts: with those of short durations it is in one line of the cache.
#[derive(Default)]
#[repr(C)]
struct Buckets {
    nanoseconds: AtomicU64,
    counts: [AtomicU64; BOUNDS.len() + 1],
}

// === impl Histogram ===

impl Histogram {
    pub(crate) fn observe(&self, duration: Duration) {
        let seconds = duration.as_secs_f64();
        let bucket = BOUNDS.partition_point(|&bound| bound < seconds);
        self.0.counts[bucket].fetch_add(1, Ordering::Relaxed);
        let nanoseconds = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        self.0.nanoseconds.fetch_add(nanoseconds, Ordering::Relaxed);
    }

    fn buckets(&self) -> Vec<(f64, u64)> {
        let bounds = BOUNDS.iter().copied().chain([f64::INFINITY]);
        let counts = self.0.counts.iter();
        bounds
            .zip(counts.map(|count| count.load(Ordering::Relaxed)))
            .collect()
    }
}

impl fmt::Debug for Histogram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.buckets()).finish()
    }
}

impl TypedMetric for Histogram {
    const TYPE: MetricType = MetricType::Histogram;
}

impl EncodeMetric for Histogram {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        let buckets = self.buckets();
        let count = buckets.iter().map(|(_, count)| count).sum();
        let sum = Duration::from_nanos(self.0.nanoseconds.load(Ordering::Relaxed)).as_secs_f64();
        encoder.encode_histogram::<NoLabelSet>(sum, count, &buckets, None)
    }

    fn metric_type(&self) -> MetricType {
        Self::TYPE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_counts_in_the_first_bucket_that_holds_it() {
        let histogram = Histogram::default();
        for milliseconds in [1, 2, 250, 251, 20_000] {
            histogram.observe(Duration::from_millis(milliseconds));
        }
        let filled: Vec<_> = histogram
            .buckets()
            .into_iter()
            .filter(|&(_, count)| count > 0)
            .collect();
        assert_eq!(
            filled,
            [
                (0.001, 1),
                (0.0025, 1),
                (0.25, 1),
                (0.5, 1),
                (f64::INFINITY, 1)
            ]
        );
    }

    #[test]
    fn it_is_written_as_a_cumulative_histogram() {
        let mut registry = prometheus_client::registry::Registry::default();
        let histogram = Histogram::default();
        registry.register("waits", "Waits", histogram.clone());
        histogram.observe(Duration::from_millis(3));
        histogram.observe(Duration::from_secs(30));
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        for line in [
            "waits_sum 30.003",
            "waits_count 2",
            "waits_bucket{le=\"0.0025\"} 0",
            "waits_bucket{le=\"0.005\"} 1",
            "waits_bucket{le=\"10.5\"} 1",
            "waits_bucket{le=\"+Inf\"} 2",
        ] {
            assert!(
                text.lines().any(|found| found == line),
                "{line} not in\n{text}"
            );
        }
    }
}
