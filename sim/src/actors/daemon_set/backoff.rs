//! How long a failed daemon pod is left alone before it is replaced: 1 s, then twice as long each time, up to 15 min.
//!
//! A kubelet that refuses a pod makes it fail at once; without this the controller and the kubelet would take turns as fast
//! as they can. Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

const DELAY_FIRST: Duration = Duration::from_secs(1);
const DELAY_MAX: Duration = Duration::from_secs(15 * 60);

/// What may fail again and again: a DaemonSet's uid and generation, and a node.
pub(crate) type Place = (String, i64, String);

/// The delays that are running.
#[derive(Debug, Default)]
pub(crate) struct Backoff(BTreeMap<Place, Delay>);

#[derive(Clone, Copy, Debug)]
struct Delay {
    length: Duration,
    since: Timestamp,
}

// === impl Backoff ===

impl Backoff {
    /// How much longer the pod of `place` is left alone; `None` when it may be replaced now, which starts the next delay.
    pub(crate) fn hold(&mut self, place: Place, now: Timestamp) -> Option<Duration> {
        self.0
            .retain(|_, delay| elapsed(delay.since, now) < 2 * DELAY_MAX);
        let known = self.0.get(&place).copied();
        let left = known.and_then(|delay| delay.length.checked_sub(elapsed(delay.since, now)));
        if let Some(left) = left.filter(|left| !left.is_zero()) {
            return Some(left);
        }
        let length = known.map_or(DELAY_FIRST, |delay| (delay.length * 2).min(DELAY_MAX));
        self.0.insert(place, Delay { length, since: now });
        None
    }

    /// The DaemonSet with this uid is gone.
    pub(crate) fn forget(&mut self, uid: &str) {
        self.0.retain(|(known, _, _), _| known != uid);
    }
}

fn elapsed(since: Timestamp, now: Timestamp) -> Duration {
    now.duration_since(since)
        .max(SignedDuration::ZERO)
        .unsigned_abs()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_that_fails_again_is_left_alone_for_longer_each_time() {
        let mut backoff = Backoff::default();
        let start: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let mut hold = |second: i64| {
            let place = ("1".to_owned(), 1, "n1".to_owned());
            backoff
                .hold(place, start + SignedDuration::from_secs(second))
                .map(|left| left.as_secs())
        };
        let cases = [
            (0, None),
            (0, Some(1)),
            (1, None),
            (2, Some(1)),
            (3, None),
            (4, Some(3)),
            (7, None),
            // Half an hour of peace, and it starts over.
            (7 + 1800, None),
            (7 + 1800, Some(1)),
        ];
        for (second, left) in cases {
            assert_eq!(hold(second), left, "at {second} s");
        }
    }
}
