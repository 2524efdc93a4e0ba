//! What is known of backends and endpoints beyond the table, and lives longer than one. Shared by all workers.
//!
//! In: what requests learn. Out: what `balance` decides by. The state of an endpoint belongs to its address and pod, whatever Services
//! have it, and ends when none of them has it any more.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::time::Instant;

use super::budget::Budget;
use super::health::{Health, Rest};
use super::load::Load;
use super::rank;
use crate::config::{Ejection, Retries};
use crate::table::Endpoint;

/// A backend as its requests find it.
#[derive(Clone, Debug)]
pub(crate) struct LiveBackend {
    /// Belongs to its name.
    pub(crate) traffic: Arc<Traffic>,
    /// In the order of its endpoints in the table.
    pub(crate) endpoints: Arc<[Arc<LiveEndpoint>]>,
}

/// The requests of a backend.
#[derive(Debug)]
pub(crate) struct Traffic {
    /// The tries so far: where round robin is.
    turns: AtomicUsize,
    /// Those that were not the first of their request.
    further: AtomicUsize,
    budget: Budget,
    /// What the times of the budget are counted from.
    epoch: Instant,
}

/// An endpoint as its requests find it.
#[derive(Debug)]
pub(crate) struct LiveEndpoint {
    /// Who it is, in the sense of [`rank::token`].
    pub(crate) token: u64,
    pub(crate) load: Load,
    health: Health,
    /// What its times are counted from.
    epoch: Instant,
}

/// A request under way at an endpoint, until it is dropped.
#[derive(Debug)]
pub(crate) struct InFlight(Arc<LiveEndpoint>);

// === impl Traffic ===

impl Traffic {
    /// That of a backend that has had no request.
    pub(crate) fn new(epoch: Instant, now: Instant) -> Self {
        Self {
            turns: AtomicUsize::new(0),
            further: AtomicUsize::new(0),
            budget: Budget::new(millis(epoch, now)),
            epoch,
        }
    }

    /// The turn of a request.
    pub(crate) fn turn(&self) -> usize {
        self.turns.fetch_add(1, Ordering::Relaxed)
    }

    /// The turn of a further try.
    pub(super) fn further_turn(&self) -> usize {
        self.further.fetch_add(1, Ordering::Relaxed);
        self.turn()
    }

    /// Whether one more of its requests may be sent again; then it counts as sent.
    pub(super) fn may_retry(&self, now: Instant, settings: &Retries) -> bool {
        let further = self.further.load(Ordering::Relaxed);
        let requests = self.turns.load(Ordering::Relaxed).wrapping_sub(further);
        #[expect(
            clippy::cast_possible_truncation,
            reason = "the count of a budget may wrap"
        )]
        let requests = requests as u32;
        self.budget
            .take(requests, millis(self.epoch, now), settings)
    }
}

// === impl LiveEndpoint ===

impl LiveEndpoint {
    pub(crate) fn new(endpoint: &Endpoint, epoch: Instant) -> Self {
        Self {
            token: rank::token(endpoint),
            load: Load::default(),
            health: Health::default(),
            epoch,
        }
    }

    /// The time as [`Load`] has it.
    pub(crate) fn millis(&self, now: Instant) -> u32 {
        millis(self.epoch, now)
    }

    /// Whether it is to be left alone.
    pub(super) fn rests(&self, now: Instant) -> bool {
        self.health.rests(|| self.long_millis(now))
    }

    /// It answered.
    pub(super) fn succeeded(&self, now: Instant, settings: &Ejection) {
        self.health.succeeded(|| self.long_millis(now), settings);
    }

    /// It did not. The rest that begins with it.
    pub(super) fn failed(&self, now: Instant, settings: &Ejection) -> Option<Rest> {
        self.health.failed(self.long_millis(now), settings)
    }

    /// The time as [`Health`] has it, which does not wrap.
    fn long_millis(&self, now: Instant) -> u64 {
        let millis = now.saturating_duration_since(self.epoch).as_millis();
        u64::try_from(millis).unwrap_or(u64::MAX)
    }
}

fn millis(epoch: Instant, now: Instant) -> u32 {
    let millis = now.saturating_duration_since(epoch).as_millis();
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the times of loads and budgets may wrap"
    )]
    let wrapped = millis as u32;
    wrapped
}

// === impl InFlight ===

impl InFlight {
    pub(crate) fn new(endpoint: &Arc<LiveEndpoint>) -> Self {
        endpoint.load.begin();
        Self(endpoint.clone())
    }

    /// The answer began.
    pub(crate) fn answered(&self, latency: std::time::Duration, now: Instant) {
        self.0.load.observe(latency, self.0.millis(now));
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.load.end();
    }
}
