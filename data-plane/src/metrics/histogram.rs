//! The buckets of durations, and how they are written.

use std::fmt;
use std::time::Duration;

use prometheus_client::encoding::{MetricEncoder, NoLabelSet};

/// Upper bounds in seconds; the last bucket has none. None is an integer: exporters write those differently (`1`, `1.0`).
const BOUNDS: [f64; 12] = [
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 2.5, 10.5,
];
/// The same in nanoseconds.
const BOUNDS_NANOSECONDS: [u64; 12] = [
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    25_000_000,
    50_000_000,
    100_000_000,
    250_000_000,
    500_000_000,
    2_500_000_000,
    10_500_000_000,
];
/// How many buckets there are.
pub(super) const BUCKETS: usize = BOUNDS.len() + 1;

/// The first bucket that holds a duration.
pub(super) fn bucket_of(nanoseconds: u64) -> usize {
    let holds = |&bound: &u64| nanoseconds <= bound;
    let found = BOUNDS_NANOSECONDS.iter().position(holds);
    found.unwrap_or(BOUNDS.len())
}

/// Writes one series: the sum of the durations, and how many fell into each bucket.
pub(super) fn encode(
    mut encoder: MetricEncoder<'_>,
    nanoseconds: u64,
    counts: &[u64; BUCKETS],
) -> fmt::Result {
    let bounds = BOUNDS.iter().copied().chain([f64::INFINITY]);
    let buckets: Vec<(f64, u64)> = bounds.zip(counts.iter().copied()).collect();
    let sum = Duration::from_nanos(nanoseconds).as_secs_f64();
    encoder.encode_histogram::<NoLabelSet>(sum, counts.iter().sum(), &buckets, None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_counts_in_the_first_bucket_that_holds_it() {
        for (bound, nanoseconds) in BOUNDS.into_iter().zip(BOUNDS_NANOSECONDS) {
            assert_eq!(
                Duration::from_secs_f64(bound),
                Duration::from_nanos(nanoseconds)
            );
        }
        for (milliseconds, bucket) in [(0, 0), (1, 1), (2, 2), (250, 8), (251, 9), (20_000, 12)] {
            assert_eq!(
                bucket_of(milliseconds * 1_000_000),
                bucket,
                "{milliseconds}"
            );
        }
        assert_eq!(bucket_of(1_000_001), 2);
    }
}
