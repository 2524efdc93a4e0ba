//! How long to wait after a failure, by what kind it was. Pure.
//!
//! In: the reason of a failure and the time. Out: a delay, and the memory that the next one needs. A missing right is waited for
//! longer than an API server that is away; one that comes back is asked again soon.

use std::time::Duration;

use rand::rngs::SmallRng;
use tokio::time::Instant;

use super::backoff::{Backoff, DELAY_MAX};
use super::trouble::Reason;

/// The longest delay while a right is missing. Somebody must act first, and nobody is helped by a request every few seconds.
const FORBIDDEN_DELAY_MAX: Duration = Duration::from_secs(30);

/// Refusals for a missing right that are taken for those of an API server that is just starting and knows no roles yet.
const FORBIDDEN_AT_START: u32 = 5;

/// Between two times that an API server which was away is asked again soon.
const HURRY_INTERVAL: Duration = Duration::from_secs(10);

/// The delays of one kind of object.
pub(super) struct Patience {
    backoff: Backoff<SmallRng>,
    /// Refusals for a missing right, in a row.
    forbidden: u32,
    /// The last failure came without an answer.
    is_away: bool,
    /// When an API server that was away was last asked again soon.
    hurried: Option<Instant>,
}

// === impl Patience ===

impl Patience {
    pub(super) fn new(backoff: Backoff<SmallRng>) -> Self {
        Self {
            backoff,
            forbidden: 0,
            is_away: false,
            hurried: None,
        }
    }

    /// Before the next try.
    pub(super) fn after(&mut self, reason: Reason, now: Instant) -> Duration {
        if reason == Reason::Forbidden {
            self.forbidden += 1;
        }
        let was_away = std::mem::replace(&mut self.is_away, reason == Reason::Unanswered);
        let may_hurry = self.hurried.is_none_or(|at| now - at >= HURRY_INTERVAL);
        if was_away && !self.is_away && may_hurry {
            // It is back, and about to be ready: what it refuses now it may give in a moment.
            self.hurried = Some(now);
            self.backoff.reset();
        }
        let is_lasting = self.forbidden > FORBIDDEN_AT_START;
        let max = if is_lasting && reason == Reason::Forbidden {
            FORBIDDEN_DELAY_MAX
        } else {
            DELAY_MAX
        };
        self.backoff.next_delay(max)
    }

    /// Before something that did not fail is done again.
    pub(super) fn short(&mut self) -> Duration {
        self.backoff.next_delay(DELAY_MAX)
    }

    /// The API server gives what it is asked for.
    pub(super) fn succeeded(&mut self) {
        self.forbidden = 0;
    }

    /// Begins with short delays anew.
    pub(super) fn reset(&mut self) {
        self.backoff.reset();
    }

    pub(super) fn rng(&mut self) -> &mut SmallRng {
        self.backoff.rng()
    }
}
