//! Keeps one object from flooding the API with events, as client-go's recorders do.
//!
//! From the tenth different message of one kind within ten minutes on, events about an object are combined into one that is
//! counted; and after 25 events one object gets one more every five minutes. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

/// Different messages from which on they are combined.
const MESSAGES_MAX: usize = 10;

/// After so long a pause messages are counted anew.
const MESSAGES_PERIOD: SignedDuration = SignedDuration::from_secs(600);

/// Events at once about one object.
const BURST: u32 = 25;

/// The time in which one more may come.
const REFILL: Duration = Duration::from_secs(300);

/// Objects and kinds of events that are remembered; above it all are forgotten.
const REMEMBERED_MAX: usize = 4096;

/// What becomes of an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    Written,
    /// Counted with others of its kind, under its own message.
    Combined(String),
    Dropped,
}

/// What came before, by object `O` and by kind `K` of events about it.
#[derive(Debug)]
pub(crate) struct Similar<O, K> {
    kinds: BTreeMap<(O, K), Messages>,
    /// When the budget of an object is full again.
    full_at: BTreeMap<O, Timestamp>,
}

#[derive(Debug)]
struct Messages {
    seen: BTreeSet<String>,
    last: Timestamp,
}

// === impl Similar ===

impl<O, K> Default for Similar<O, K> {
    fn default() -> Self {
        Self {
            kinds: BTreeMap::new(),
            full_at: BTreeMap::new(),
        }
    }
}

impl<O: Ord + Clone, K: Ord + Clone> Similar<O, K> {
    /// Takes note of an event, and says what becomes of it.
    pub(crate) fn note(&mut self, about: &O, kind: &K, message: &str, now: Timestamp) -> Fate {
        if self.kinds.len() >= REMEMBERED_MAX || self.full_at.len() >= REMEMBERED_MAX {
            *self = Self::default();
        }
        let messages = self
            .kinds
            .entry((about.clone(), kind.clone()))
            .or_insert_with(|| Messages {
                seen: BTreeSet::new(),
                last: now,
            });
        if now.duration_since(messages.last) > MESSAGES_PERIOD {
            messages.seen.clear();
        }
        messages.last = now;
        if messages.seen.len() < MESSAGES_MAX {
            messages.seen.insert(message.to_owned());
        }
        let is_combined = messages.seen.len() >= MESSAGES_MAX;
        if !self.spend(about, now) {
            return Fate::Dropped;
        }
        if is_combined {
            Fate::Combined(format!("(combined from similar events): {message}"))
        } else {
            Fate::Written
        }
    }

    fn spend(&mut self, about: &O, now: Timestamp) -> bool {
        let full_at = self.full_at.entry(about.clone()).or_insert(now);
        let after = (*full_at).max(now).saturating_add(REFILL).unwrap_or(now);
        let is_allowed = after.duration_since(now).unsigned_abs() <= REFILL * BURST;
        if is_allowed {
            *full_at = after;
        }
        is_allowed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fates(count: usize, step: SignedDuration) -> Vec<Fate> {
        let mut similar = Similar::default();
        let mut now: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        (0..count)
            .map(|number| {
                now += step;
                similar.note(&"web", &"SuccessfulCreate", &format!("pod {number}"), now)
            })
            .collect()
    }

    #[test]
    fn the_tenth_message_is_combined_and_the_26th_event_dropped() {
        let fates = fates(40, SignedDuration::ZERO);
        assert!(fates[..9].iter().all(|fate| *fate == Fate::Written));
        let combined = "(combined from similar events): pod 9".to_owned();
        assert_eq!(fates[9], Fate::Combined(combined));
        assert!(matches!(fates[24], Fate::Combined(_)));
        assert!(fates[25..].iter().all(|fate| *fate == Fate::Dropped));
    }

    #[test]
    fn events_that_come_slowly_are_all_written() {
        let fates = fates(40, SignedDuration::from_secs(601));
        assert!(fates.iter().all(|fate| *fate == Fate::Written), "{fates:?}");
    }

    #[test]
    fn one_object_does_not_speak_for_another() {
        let mut similar = Similar::default();
        let now: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        for number in 0..60 {
            let fate = similar.note(&number, &"Scheduled", "done", now);
            assert_eq!(fate, Fate::Written);
        }
    }
}
