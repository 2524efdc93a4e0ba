//! How long to wait before the next try. Pure.
//!
//! In: a source of randomness. Out: delays that double, each drawn between its half and its whole, so that the watchers of many
//! tiers do not come back as one.

use std::time::Duration;

use rand::Rng;

/// The first delay, at most.
pub(crate) const DELAY_MIN: Duration = Duration::from_millis(200);

/// The longest delay, as a rule: an API server that comes back is asked again this soon.
pub(crate) const DELAY_MAX: Duration = Duration::from_secs(4);

/// Doubling delays with jitter.
#[derive(Debug)]
pub(crate) struct Backoff<R> {
    rng: R,
    next: Duration,
}

// === impl Backoff ===

impl<R: Rng> Backoff<R> {
    pub(crate) fn new(rng: R) -> Self {
        Self {
            rng,
            next: DELAY_MIN,
        }
    }

    /// The next delay, at most `max`.
    pub(crate) fn next_delay(&mut self, max: Duration) -> Duration {
        let whole = self.next.min(max);
        self.next = (whole * 2).min(max);
        self.rng.random_range(whole / 2..=whole)
    }

    /// Begins anew, after a success.
    pub(crate) fn reset(&mut self) {
        self.next = DELAY_MIN;
    }

    pub(crate) fn rng(&mut self) -> &mut R {
        &mut self.rng
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::platform::derive_rng;

    #[test]
    fn delays_double_up_to_the_limit_and_begin_anew_after_a_success() {
        let mut backoff = Backoff::new(derive_rng(1, "test"));
        let mut whole = DELAY_MIN;
        for _ in 0..20 {
            let delay = backoff.next_delay(DELAY_MAX);
            assert!(
                (whole / 2..=whole).contains(&delay),
                "{delay:?} of {whole:?}"
            );
            whole = (whole * 2).min(DELAY_MAX);
        }
        backoff.reset();
        assert!(backoff.next_delay(DELAY_MAX) <= DELAY_MIN);
    }

    #[test]
    fn two_seeds_do_not_wait_alike() {
        let delays = |seed| {
            let mut backoff = Backoff::new(derive_rng(seed, "test"));
            [(); 4].map(|()| backoff.next_delay(DELAY_MAX))
        };
        assert_eq!(delays(1), delays(1));
        assert_ne!(delays(1), delays(2));
    }
}
