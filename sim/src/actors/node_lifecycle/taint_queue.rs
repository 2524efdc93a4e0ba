//! The nodes of one zone that wait for a taint that evicts, and how fast they get it.
//!
//! In: names, and the time. Out: the name whose turn it is. A node that had its turn is not queued again before somebody
//! removed it: the taint stays, so there is nothing left to do. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio::time::Instant;

use super::super::limit::Bucket;

/// Tokens that a zone saves up.
const BURST: u32 = 1;

/// One zone's queue.
#[derive(Debug)]
pub(super) struct TaintQueue {
    /// By the time from which they may be taken, then in order of arrival.
    waiting: BTreeMap<(Instant, u64), String>,
    /// Those that wait, and those that had their turn.
    known: BTreeSet<String>,
    arrivals: u64,
    /// None: nobody's turn comes.
    bucket: Option<Bucket>,
}

// === impl TaintQueue ===

impl TaintQueue {
    pub(super) fn new(interval: Duration, now: Instant) -> Self {
        Self {
            waiting: BTreeMap::new(),
            known: BTreeSet::new(),
            arrivals: 0,
            bucket: Some(Bucket::new(interval, BURST, now)),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Queues a node; returns false when it is known already.
    pub(super) fn add(&mut self, name: &str, now: Instant) -> bool {
        let is_new = self.known.insert(name.to_owned());
        if is_new {
            self.wait_from(name, now);
        }
        is_new
    }

    /// Forgets a node, so that it can be queued again.
    pub(super) fn remove(&mut self, name: &str) {
        self.known.remove(name);
        self.waiting.retain(|_, waiting| waiting != name);
    }

    /// The node whose turn it is. It costs a token whatever becomes of it; so does a look at a node whose time has not come.
    pub(super) fn next(&mut self, now: Instant) -> Option<String> {
        let (at, _) = *self.waiting.first_key_value()?.0;
        if !self.bucket.as_mut()?.try_take(now) || now < at {
            return None;
        }
        self.waiting.pop_first().map(|(_, name)| name)
    }

    /// The taint of `name` could not be written: its turn comes again.
    pub(super) fn retry(&mut self, name: &str, at: Instant) {
        if self.known.contains(name) {
            self.wait_from(name, at);
        }
    }

    /// One node in each interval from now on, or none at all.
    pub(super) fn set_interval(&mut self, interval: Option<Duration>, now: Instant) {
        if interval.is_some() && interval == self.bucket.as_ref().map(Bucket::interval) {
            return;
        }
        let has_token = self.bucket.as_mut().is_some_and(|old| old.try_take(now));
        self.bucket = interval.map(|interval| {
            let mut bucket = Bucket::new(interval, BURST, now);
            if !has_token {
                // Who has to wait goes on waiting: a change of speed gives no turn.
                bucket.try_take(now);
            }
            bucket
        });
    }

    fn wait_from(&mut self, name: &str, at: Instant) {
        self.arrivals += 1;
        self.waiting.insert((at, self.arrivals), name.to_owned());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// What comes out when the queue is asked every 100 ms: seconds since the start, and the name.
    fn taken(
        queue: &mut TaintQueue,
        start: Instant,
        seconds: std::ops::Range<u32>,
    ) -> Vec<(f64, String)> {
        let mut taken = Vec::new();
        for tick in seconds.start * 10..seconds.end * 10 {
            let after = Duration::from_millis(100) * tick;
            while let Some(name) = queue.next(start + after) {
                taken.push((after.as_secs_f64(), name));
            }
        }
        taken
    }

    #[test]
    fn the_first_node_goes_at_once_and_each_other_one_ten_seconds_after_the_one_ahead() {
        let start = Instant::now();
        let mut queue = TaintQueue::new(10 * SECOND, start);
        for name in ["c", "a", "b"] {
            assert!(queue.add(name, start));
            assert!(!queue.add(name, start), "a node waits once");
        }
        let taken = taken(&mut queue, start, 0..60);
        assert_eq!(
            taken,
            [(0.0, "c".into()), (10.0, "a".into()), (20.0, "b".into())]
        );
        assert!(!queue.add("a", start), "who had its turn is known");
        queue.remove("a");
        assert!(queue.add("a", start));
    }

    #[test]
    fn a_node_that_is_dropped_in_its_turn_costs_the_token_and_comes_ten_seconds_later() {
        // The tick came before the cache showed Unknown; the next monitor pass, 5 s later, queues the node again.
        let start = Instant::now();
        let mut queue = TaintQueue::new(10 * SECOND, start);
        queue.add("a", start);
        assert_eq!(queue.next(start).as_deref(), Some("a"));
        queue.remove("a");
        queue.add("a", start + 5 * SECOND);
        assert_eq!(taken(&mut queue, start, 5..60), [(10.0, "a".into())]);
    }

    #[test]
    fn a_taint_that_could_not_be_written_waits_for_the_next_token() {
        let start = Instant::now();
        let mut queue = TaintQueue::new(10 * SECOND, start);
        queue.add("a", start);
        assert_eq!(queue.next(start).as_deref(), Some("a"));
        queue.retry("a", start);
        assert_eq!(taken(&mut queue, start, 0..60), [(10.0, "a".into())]);
    }

    #[test]
    fn a_change_of_speed_takes_nobody_out_of_turn() {
        // From, to, and when the second node comes; the first came at 0, the change at 3 s.
        let cases = [
            (Some(10), Some(100), Some(103.0)),
            (Some(100), Some(10), Some(13.0)),
            (Some(10), Some(10), Some(10.0)),
            (Some(10), None, None),
            (None, Some(10), Some(13.0)),
        ];
        for (from, to, expected) in cases {
            let seconds = |count: Option<u32>| count.map(|count| SECOND * count);
            let start = Instant::now();
            let mut queue = TaintQueue::new(10 * SECOND, start);
            queue.next(start);
            queue.add("first", start);
            assert!(queue.next(start).is_some());
            queue.set_interval(seconds(from), start);
            queue.add("second", start);
            queue.set_interval(seconds(to), start + 3 * SECOND);
            let came = taken(&mut queue, start, 3..300);
            let came: Vec<f64> = came.into_iter().map(|(at, _)| at).collect();
            assert_eq!(
                came,
                expected.into_iter().collect::<Vec<_>>(),
                "{from:?} to {to:?}"
            );
        }
    }
}
