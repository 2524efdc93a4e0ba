//! How often something may be done: a token bucket.
//!
//! In: the time. Out: whether it may be done now. Pure.

use std::time::Duration;

use tokio::time::Instant;

/// Gives one token in each interval and keeps at most `burst` of them.
#[derive(Clone, Debug)]
pub(crate) struct Bucket {
    interval: Duration,
    burst: u32,
    /// When the bucket is full again. Kept as a time, not as a number of tokens, so that nothing is lost by rounding.
    full_at: Instant,
}

// === impl Bucket ===

impl Bucket {
    /// A full bucket.
    pub(crate) fn new(interval: Duration, burst: u32, now: Instant) -> Self {
        Self {
            interval,
            burst,
            full_at: now,
        }
    }

    pub(crate) fn interval(&self) -> Duration {
        self.interval
    }

    /// Takes a token if there is one.
    pub(crate) fn try_take(&mut self, now: Instant) -> bool {
        let is_there = self.wait(now).is_zero();
        if is_there {
            self.take(now);
        }
        is_there
    }

    fn wait(&self, now: Instant) -> Duration {
        let missing = self.full_at.saturating_duration_since(now);
        missing.saturating_sub(self.interval * self.burst.saturating_sub(1))
    }

    fn take(&mut self, now: Instant) {
        self.full_at = self.full_at.max(now) + self.interval;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_gives_its_burst_at_once_and_then_one_token_in_each_interval() {
        let start = Instant::now();
        let mut bucket = Bucket::new(Duration::from_millis(50), 3, start);
        let times =
            (0..200).filter(|millis| bucket.try_take(start + Duration::from_millis(*millis)));
        assert_eq!(times.collect::<Vec<_>>(), [0, 1, 2, 50, 100, 150]);
    }

    #[test]
    fn an_empty_bucket_refuses_until_the_interval_is_over_and_never_saves_more_than_its_burst() {
        let start = Instant::now();
        let mut bucket = Bucket::new(Duration::from_secs(10), 1, start);
        // Seconds since the start, and whether there is a token.
        for (seconds, is_there) in [
            (0.0, true),
            (0.1, false),
            (9.9, false),
            (10.0, true),
            (19.9, false),
            (500.0, true),
            (500.1, false),
            (509.9, false),
            (510.0, true),
        ] {
            let now = start + Duration::from_secs_f64(seconds);
            assert_eq!(bucket.try_take(now), is_there, "after {seconds} s");
        }
    }
}
