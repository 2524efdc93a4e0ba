//! How busy an endpoint is, and how long it takes. Pure.
//!
//! In: requests that begin and end, and the latency of answers. Out: what two endpoints are compared by. All workers write here without
//! waiting for each other; only requests that are spread by load do.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

/// The time in which a latency loses about two thirds of its weight, in milliseconds: as in ingress-nginx and Finagle.
const DECAY_MILLIS: f32 = 10_000.0;

/// The load of one endpoint.
#[derive(Debug, Default)]
pub(crate) struct Load {
    in_flight: AtomicU32,
    /// When it was written, in milliseconds, and the mean latency in microseconds as an `f32`: together, so that nobody reads one
    /// without the other. The time wraps after 49 days, which makes an old latency young once. 0: nothing is known.
    latency: AtomicU64,
}

// === impl Load ===

impl Load {
    pub(crate) fn begin(&self) {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn end(&self) {
        self.in_flight.fetch_sub(1, Ordering::Relaxed);
    }

    /// Requests under way.
    pub(crate) fn in_flight(&self) -> u32 {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// An answer began `latency` after its request. A peak counts at once, so that an endpoint that stalls is left alone soon; what is
    /// better than before counts little by little.
    pub(crate) fn observe(&self, latency: Duration, now_millis: u32) {
        // At least what is told apart from nothing.
        let sample = latency.as_secs_f32().mul_add(1e6, 1.0);
        let next = |word: u64| {
            let mean = match unpack(word) {
                Some((at, mean)) => {
                    let weight = weight(at, now_millis);
                    let decayed = mean * weight;
                    if sample > decayed {
                        sample
                    } else {
                        sample.mul_add(1.0 - weight, decayed)
                    }
                }
                None => sample,
            };
            Some(pack(now_millis, mean))
        };
        // The closure never refuses.
        let _ = self
            .latency
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, next);
    }

    /// The mean latency, in microseconds. It fades: who answers nothing for a while, because it was slow, gets its chance.
    pub(crate) fn latency(&self, now_millis: u32) -> Option<f32> {
        let (at, mean) = unpack(self.latency.load(Ordering::Relaxed))?;
        Some(mean * weight(at, now_millis))
    }
}

fn weight(at: u32, now: u32) -> f32 {
    let elapsed = now.wrapping_sub(at);
    // Another worker may be ahead by the length of a turn.
    if elapsed > u32::MAX / 2 {
        return 1.0;
    }
    #[expect(
        clippy::cast_precision_loss,
        reason = "a decay over days is nothing whatever the digits behind"
    )]
    let elapsed = elapsed as f32;
    (-elapsed / DECAY_MILLIS).exp()
}

fn pack(at: u32, mean: f32) -> u64 {
    u64::from(at) << 32 | u64::from(mean.to_bits())
}

fn unpack(word: u64) -> Option<(u32, f32)> {
    let low = u32::try_from(word & u64::from(u32::MAX)).ok()?;
    let high = u32::try_from(word >> 32).ok()?;
    // No sample is 0.
    (low != 0).then(|| (high, f32::from_bits(low)))
}

/// Whether the first is the better choice by requests under way.
pub(super) fn is_idler(one: &Load, another: &Load) -> bool {
    one.in_flight() <= another.in_flight()
}

/// Whether the first is the better choice by what a request would wait. Who has not been measured is taken to be as quick as the
/// other: a new endpoint is neither flooded nor left alone.
pub(super) fn is_quicker(one: &Load, another: &Load, now_millis: u32) -> bool {
    let (first, second) = (one.latency(now_millis), another.latency(now_millis));
    let known = first.or(second).unwrap_or(1.0);
    #[expect(
        clippy::cast_precision_loss,
        reason = "no endpoint has millions of requests under way"
    )]
    let cost = |latency: Option<f32>, load: &Load| {
        latency.unwrap_or(known) * (load.in_flight() as f32 + 1.0)
    };
    cost(first, one) <= cost(second.or(first), another)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(in_flight: u32, latencies: &[(u64, u32)]) -> Load {
        let load = Load::default();
        (0..in_flight).for_each(|_| load.begin());
        for &(millis, at) in latencies {
            load.observe(Duration::from_millis(millis), at);
        }
        load
    }

    fn millis(load: &Load, now: u32) -> f32 {
        load.latency(now).unwrap() / 1000.0
    }

    #[test]
    fn a_peak_counts_at_once_and_fades_slowly() {
        let load = load(0, &[(10, 0), (1000, 100)]);
        assert!((millis(&load, 100) - 1000.0).abs() < 1.0);
        load.observe(Duration::from_millis(10), 1100);
        // One second of ten: e^-0.1 of the peak is left, and a tenth of the sample.
        assert!((millis(&load, 1100) - 906.0).abs() < 2.0);
        assert!((millis(&load, 11_100) - 333.0).abs() < 2.0);
        assert!(millis(&load, 200_000) < 0.01);
    }

    #[test]
    fn a_clock_that_is_behind_changes_nothing() {
        let load = load(0, &[(10, 1000)]);
        assert!((millis(&load, 999) - 10.0).abs() < 0.1);
        let wrapped = self::load(0, &[(10, u32::MAX)]);
        assert!((millis(&wrapped, 9_999) - 3.68).abs() < 0.1);
    }

    #[test]
    fn the_quicker_is_chosen_unless_it_is_busier() {
        for (one, another, is_chosen) in [
            (load(0, &[(10, 0)]), load(0, &[(20, 0)]), true),
            (load(0, &[(20, 0)]), load(0, &[(10, 0)]), false),
            (load(2, &[(10, 0)]), load(0, &[(20, 0)]), false),
            (load(1, &[]), load(0, &[(500, 0)]), false),
            (load(0, &[]), load(1, &[(1, 0)]), true),
            (load(1, &[(1, 0)]), load(0, &[]), false),
            (load(0, &[]), load(0, &[]), true),
            (load(3, &[]), load(2, &[]), false),
        ] {
            assert_eq!(
                is_quicker(&one, &another, 0),
                is_chosen,
                "{one:?} {another:?}"
            );
        }
    }

    #[test]
    fn the_idler_has_fewer_requests_under_way() {
        let (one, another) = (load(2, &[]), load(1, &[]));
        assert!(!is_idler(&one, &another));
        one.end();
        assert!(is_idler(&one, &another));
        assert_eq!(one.in_flight(), 1);
    }
}
