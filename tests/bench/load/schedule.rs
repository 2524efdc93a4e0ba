//! When requests are due: every one at a moment of its own, evenly spaced, whatever became of the others. Pure.
//!
//! Threads share one schedule: the requests of one lie between those of the others.

use std::time::Duration;

/// The requests of one thread.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Schedule {
    /// Of the whole run, in a second.
    rate: f64,
    threads: usize,
    number: usize,
    /// How many requests the thread has.
    pub(crate) requests: usize,
}

// === impl Schedule ===

impl Schedule {
    pub(crate) fn new(rate: f64, time: Duration, threads: usize, number: usize) -> Self {
        let all = (rate * time.as_secs_f64()).round() as usize;
        let requests = crate::threads::part(all, threads, number);
        Self {
            rate,
            threads,
            number,
            requests,
        }
    }

    /// When the request with this number is due, from the start of the run.
    pub(crate) fn due(&self, request: usize) -> Duration {
        let place = request * self.threads + self.number;
        Duration::from_secs_f64(place as f64 / self.rate)
    }

    /// How many requests are due when so much time has passed.
    pub(crate) fn due_by(&self, passed: Duration) -> usize {
        let places = (passed.as_secs_f64() * self.rate) as usize + 1;
        let mine = (places + self.threads - 1).saturating_sub(self.number) / self.threads;
        mine.min(self.requests)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn threads_take_turns() {
        let of = |number| Schedule::new(1000.0, Duration::from_secs(1), 2, number);
        assert_eq!(of(0).requests + of(1).requests, 1000);
        let dues = [0, 1, 2].map(|request| (of(0).due(request), of(1).due(request)));
        let millis = |millis| Duration::from_millis(millis);
        assert_eq!(
            dues,
            [
                (millis(0), millis(1)),
                (millis(2), millis(3)),
                (millis(4), millis(5))
            ]
        );
    }

    proptest! {
        #[test]
        fn a_request_is_due_from_its_moment_on_and_not_before(
            rate in 1.0_f64..100_000.0,
            threads in 1_usize..5,
            request in 0_usize..1000,
        ) {
            for number in 0..threads {
                let schedule = Schedule::new(rate, Duration::from_secs(3600), threads, number);
                prop_assume!(request < schedule.requests);
                let due = schedule.due(request);
                let a_little = Duration::from_nanos(50);
                prop_assert!(schedule.due_by(due + a_little) > request);
                if let Some(before) = due.checked_sub(a_little) {
                    prop_assert!(schedule.due_by(before) <= request);
                }
            }
        }
    }
}
