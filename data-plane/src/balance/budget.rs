//! How many requests of a backend may be sent again. Pure.
//!
//! In: how many requests there were, the time, and the settings. Out: whether one more may be sent again. A part of the requests of a window may,
//! and a few in any case, so that a backend with hardly any requests has its second chances. What is not used fades with the window: a backend
//! that answered well for an hour has no credit of an hour. Workers share it without waiting for each other; only a request that could be sent
//! again looks at it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::config::Retries;

/// One request, in the unit in which credit is counted: so small that what is rounded off at each look comes to nothing.
const ONE: u64 = 1_000_000_000;
/// Parts of a window. The longest one is a day, of which a millisecond has eleven.
const WHOLE: u64 = 1_000_000_000;
/// Nothing has been spent, and nothing counted.
const UNTOUCHED: u64 = u64::MAX;

/// The budget of one backend.
#[derive(Debug)]
pub(super) struct Budget {
    /// When it was looked at last, in milliseconds, and how many requests there had been: both wrap.
    seen: AtomicU64,
    credit: AtomicU64,
}

// === impl Budget ===

impl Budget {
    /// That of a backend that has had no request.
    pub(super) fn new(now_millis: u32) -> Self {
        Self {
            seen: AtomicU64::new(pack(now_millis, 0)),
            credit: AtomicU64::new(UNTOUCHED),
        }
    }

    /// Whether one of `requests` so far may be sent again; then it counts as sent.
    pub(super) fn take(&self, requests: u32, now_millis: u32, settings: &Retries) -> bool {
        self.count(requests, now_millis, settings);
        let spend = |credit: u64| known(credit, settings).checked_sub(ONE);
        self.credit
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, spend)
            .is_ok()
    }

    /// Adds what requests and time have brought since it was looked at.
    fn count(&self, requests: u32, now: u32, settings: &Retries) {
        let seen = self.seen.load(Ordering::Relaxed);
        let [at, counted] = unpack(seen);
        let elapsed = now.wrapping_sub(at);
        // Another worker has been here, and is ahead by the length of a turn.
        let is_behind = elapsed > u32::MAX / 2;
        let counts = !is_behind
            && self
                .seen
                .compare_exchange(
                    seen,
                    pack(now, requests),
                    Ordering::Relaxed,
                    Ordering::Relaxed,
                )
                .is_ok();
        if !counts {
            return;
        }
        let window = millis(settings.window).max(1);
        let elapsed = u64::from(elapsed);
        let passed = (elapsed * WHOLE / window).min(WHOLE);
        // Of requests in a longer time those of one window, as if they had come evenly.
        let brought = u64::from(requests.wrapping_sub(counted)) * u64::from(settings.percent_max);
        let brought = part(brought * (ONE / 100), window, elapsed.max(window));
        let renewed = part(u64::from(settings.floor) * ONE, passed, WHOLE);
        let next = |credit: u64| {
            let kept = part(known(credit, settings), WHOLE - passed, WHOLE);
            Some(kept.saturating_add(brought).saturating_add(renewed))
        };
        // The closure never refuses.
        let _ = self
            .credit
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, next);
    }
}

fn known(credit: u64, settings: &Retries) -> u64 {
    if credit == UNTOUCHED {
        u64::from(settings.floor) * ONE
    } else {
        credit
    }
}

/// `of` times `numerator` through `denominator`, which is not 0 nor smaller.
fn part(of: u64, numerator: u64, denominator: u64) -> u64 {
    let product = u128::from(of) * u128::from(numerator);
    u64::try_from(product / u128::from(denominator)).unwrap_or(u64::MAX)
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

fn pack(at: u32, requests: u32) -> u64 {
    u64::from(at) << 32 | u64::from(requests)
}

fn unpack(word: u64) -> [u32; 2] {
    [word >> 32, word & u64::from(u32::MAX)].map(|half| u32::try_from(half).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SETTINGS: Retries = Retries {
        percent_max: 20,
        floor: 3,
        window: Duration::from_secs(10),
    };

    /// How many of `wanted` retries at this time are allowed.
    fn allowed(budget: &Budget, wanted: usize, requests: u32, now: u32) -> usize {
        (0..wanted)
            .filter(|_| budget.take(requests, now, &SETTINGS))
            .count()
    }

    #[test]
    fn a_few_are_allowed_whatever_there_was_and_again_in_each_window() {
        let budget = Budget::new(0);
        assert_eq!(allowed(&budget, 9, 0, 0), 3);
        assert_eq!(allowed(&budget, 9, 0, 3_333), 0);
        assert_eq!(allowed(&budget, 9, 0, 3_400), 1);
        assert_eq!(allowed(&budget, 9, 0, 13_400), 3);
        assert_eq!(
            allowed(&budget, 9, 0, 99_000),
            3,
            "not those of every window before"
        );
    }

    #[test]
    fn a_part_of_the_requests_of_a_window_may_be_sent_again_at_once() {
        let budget = Budget::new(0);
        assert_eq!(allowed(&budget, 500, 1000, 10_000), 203);
        assert_eq!(allowed(&budget, 500, 1100, 10_000), 20);
        // An hour with a hundred in each second: of the last ten seconds.
        let budget = Budget::new(0);
        assert_eq!(allowed(&budget, 900, 360_000, 3_600_000), 203);
    }

    #[test]
    fn what_is_not_used_fades() {
        let budget = Budget::new(0);
        assert_eq!(allowed(&budget, 1, 1000, 1), 1);
        assert_eq!(allowed(&budget, 900, 1000, 5_001), 102);
    }

    #[test]
    fn looking_often_costs_nothing() {
        let budget = Budget::new(0);
        let each = |times: std::ops::RangeInclusive<u32>| {
            times.map(|now| allowed(&budget, 1, 0, now)).sum::<usize>()
        };
        assert_eq!(each(1..=3), 3);
        // One comes back after ln(3/2) of a window, and another after as long again.
        assert_eq!(each(4..=10_000), 2);
    }

    #[test]
    fn counts_and_times_may_wrap() {
        let budget = Budget::new(u32::MAX - 1);
        assert_eq!(allowed(&budget, 9, u32::MAX, u32::MAX), 9);
        assert!(allowed(&budget, 999, 4, 8) > 100);
        let budget = Budget::new(10);
        assert_eq!(allowed(&budget, 9, 0, 10), 3);
        assert!(
            !budget.take(900, 9, &SETTINGS),
            "a clock that is behind brings nothing"
        );
        assert!(budget.take(900, 10, &SETTINGS), "and costs nothing");
    }

    #[test]
    fn nothing_is_sent_again_where_nothing_is_to_be() {
        let settings = Retries {
            percent_max: 0,
            floor: 0,
            ..SETTINGS
        };
        let budget = Budget::new(0);
        assert!(!budget.take(1_000_000, 1_000, &settings));
    }

    proptest! {
        #[test]
        fn no_more_than_the_part_and_the_few_of_each_window(
            steps in proptest::collection::vec((0..4000_u32, 0..200_u32, 0..60_usize), 1..60),
        ) {
            let budget = Budget::new(0);
            let (mut now, mut requests, mut retries) = (0, 0, 0);
            for (elapsed, more, wanted) in steps {
                now += elapsed;
                requests += more;
                retries += allowed(&budget, wanted, requests, now);
            }
            let part = f64::from(requests) * 0.2;
            let few = 3.0 * (1.0 + f64::from(now) / 10_000.0);
            prop_assert!(retries as f64 <= part + few + 1e-6, "{} of {}", retries, requests);
        }
    }
}
