//! Whether an endpoint is to rest because it fails. Pure.
//!
//! In: requests that an endpoint answered, and those that it did not. Out: whether it is left alone, and until when. Failures in a row bring it
//! rest; each time twice as long, up to a limit. After its rest one more failure suffices, and one answer ends the row. Who has not failed
//! for as long as the longest rest begins anew. All workers write here without waiting for each other; who is well is only read.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::config::Ejection;

/// The health of one endpoint: 0 for one that has not failed lately.
#[derive(Debug, Default)]
pub(super) struct Health(AtomicU64);

/// The same, apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Record {
    /// The end of its last rest, in milliseconds: 40 bits, which is 34 years.
    until: u64,
    /// Rests in a row: 8 bits.
    rests: u64,
    /// Failures in a row: 16 bits.
    failures: u64,
}

/// A rest that begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rest {
    /// How long.
    pub(crate) time: Duration,
    /// Its number in a row.
    pub(crate) number: u64,
}

// === impl Health ===

impl Health {
    /// Whether the endpoint is to be left alone. `now` is asked for only where it may be.
    pub(super) fn rests(&self, now: impl FnOnce() -> u64) -> bool {
        let word = self.0.load(Ordering::Relaxed);
        word != 0 && Record::of(word).until > now()
    }

    /// It answered.
    pub(super) fn succeeded(&self, now: impl FnOnce() -> u64, settings: &Ejection) {
        if self.0.load(Ordering::Relaxed) == 0 {
            return;
        }
        let now = now();
        let next = |word| {
            let record = Record::of(word);
            // What answers now was asked before its rest, or for want of others.
            let next = if record.until > now {
                record
            } else if record.is_over(now, settings) {
                Record::default()
            } else {
                Record {
                    failures: 0,
                    ..record
                }
            };
            (next != record).then(|| next.word())
        };
        // Nothing to write is no failure.
        let _ = self
            .0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, next);
    }

    /// It did not. The rest that begins with it, if this is the failure that brings one.
    pub(super) fn failed(&self, now: u64, settings: &Ejection) -> Option<Rest> {
        if !settings.is_on {
            return None;
        }
        let mut rest = None;
        let next = |word| {
            let record = Record::of(word);
            // Another worker may have come between.
            rest = None;
            if record.until > now {
                return None;
            }
            let failures = record.failures + 1;
            if failures < u64::from(settings.failures) {
                return Some(Record { failures, ..record }.word());
            }
            let before = if record.is_over(now, settings) {
                0
            } else {
                record.rests
            };
            let number = (before + 1).min(u64::from(u8::MAX));
            let time = settings.time_of(number);
            rest = Some(Rest { time, number });
            let next = Record {
                until: now + millis(time),
                rests: number,
                failures: failures - 1,
            };
            Some(next.word())
        };
        self.0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, next)
            .ok()?;
        rest
    }
}

// === impl Record ===

impl Record {
    fn of(word: u64) -> Self {
        Self {
            until: word >> 24,
            rests: word >> 16 & 0xff,
            failures: word & 0xffff,
        }
    }

    fn word(self) -> u64 {
        self.until << 24 | self.rests << 16 | self.failures
    }

    /// It has been well since its last rest for as long as the longest one.
    fn is_over(self, now: u64, settings: &Ejection) -> bool {
        now >= self.until + millis(settings.time_max)
    }
}

// === impl Ejection ===

impl Ejection {
    /// How long the rest of this number in a row is.
    fn time_of(&self, number: u64) -> Duration {
        let doublings = u32::try_from(number - 1).unwrap_or(u32::MAX).min(30);
        let time = self.time.saturating_mul(1 << doublings);
        time.min(self.time_max)
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SETTINGS: Ejection = Ejection {
        is_on: true,
        failures: 3,
        time: Duration::from_secs(5),
        time_max: Duration::from_secs(30),
    };

    /// Lets so many requests fail at this time: the seconds of the rest that this brings.
    fn fail(health: &Health, count: usize, now: u64) -> Option<u64> {
        let rests = (0..count).filter_map(|_| health.failed(now, &SETTINGS));
        let rests: Vec<u64> = rests.map(|rest| rest.time.as_secs()).collect();
        assert!(rests.len() <= 1, "who rests cannot be sent to rest");
        rests.first().copied()
    }

    fn answer(health: &Health, now: u64) {
        health.succeeded(|| now, &SETTINGS);
    }

    #[test]
    fn failures_in_a_row_bring_rest_and_an_answer_between_them_does_not() {
        let health = Health::default();
        for _ in 0..10 {
            assert_eq!(fail(&health, 2, 0), None);
            answer(&health, 0);
        }
        assert_eq!(fail(&health, 2, 0), None);
        assert!(!health.rests(|| 0));
        assert_eq!(fail(&health, 1, 0), Some(5));
        assert!(health.rests(|| 4_999) && !health.rests(|| 5_000));
    }

    #[test]
    fn rests_grow_up_to_the_longest_while_it_goes_on_failing() {
        let health = Health::default();
        let mut now = 0;
        let mut rests = vec![fail(&health, 3, now)];
        for _ in 0..5 {
            now += rests.last().copied().flatten().unwrap() * 1000;
            rests.push(fail(&health, 1, now));
        }
        assert_eq!(rests, [5, 10, 20, 30, 30, 30].map(Some));
    }

    #[test]
    fn one_answer_after_the_rest_ends_the_row_and_a_good_while_the_growth() {
        let health = Health::default();
        assert_eq!(fail(&health, 3, 0), Some(5));
        answer(&health, 5_000);
        assert_eq!(fail(&health, 2, 5_000), None);
        assert_eq!(fail(&health, 1, 5_000), Some(10), "it has rested lately");
        answer(&health, 44_999);
        assert_eq!(fail(&health, 3, 44_999), Some(20));
        answer(&health, 94_999);
        assert_eq!(health.0.load(Ordering::Relaxed), 0);
        assert_eq!(fail(&health, 3, 94_999), Some(5));
    }

    #[test]
    fn what_comes_while_it_rests_changes_nothing() {
        let health = Health::default();
        assert_eq!(fail(&health, 3, 0), Some(5));
        assert_eq!(fail(&health, 9, 1_000), None);
        answer(&health, 2_000);
        assert!(health.rests(|| 4_999));
        assert_eq!(fail(&health, 1, 5_000), Some(10));
    }

    #[test]
    fn nobody_rests_where_that_is_off() {
        let health = Health::default();
        let off = Ejection {
            is_on: false,
            ..SETTINGS
        };
        assert!((0..100).all(|_| health.failed(0, &off).is_none()));
        assert!(!health.rests(|| 0));
    }
}
