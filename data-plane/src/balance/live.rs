//! What is known of backends and endpoints beyond the table, and lives longer than one. Shared by all workers.
//!
//! In: what requests learn. Out: what `balance` decides by. The state of an endpoint belongs to its address and pod, whatever Services
//! have it, and ends when none of them has it any more.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::time::Instant;

use super::load::Load;
use super::rank;
use crate::table::Endpoint;

/// A backend as its requests find it.
#[derive(Clone, Debug)]
pub(crate) struct LiveBackend {
    /// Belongs to its name.
    pub(crate) rotation: Arc<Rotation>,
    /// In the order of its endpoints in the table.
    pub(crate) endpoints: Arc<[Arc<LiveEndpoint>]>,
}

/// Where round robin is.
#[derive(Debug, Default)]
pub(crate) struct Rotation(AtomicUsize);

/// An endpoint as its requests find it.
#[derive(Debug)]
pub(crate) struct LiveEndpoint {
    /// Who it is, in the sense of [`rank::token`].
    pub(crate) token: u64,
    pub(crate) load: Load,
    /// What its times are counted from.
    epoch: Instant,
}

/// A request under way at an endpoint, until it is dropped.
#[derive(Debug)]
pub(crate) struct InFlight(Arc<LiveEndpoint>);

// === impl Rotation ===

impl Rotation {
    pub(crate) fn next(&self) -> usize {
        self.0.fetch_add(1, Ordering::Relaxed)
    }
}

// === impl LiveEndpoint ===

impl LiveEndpoint {
    pub(crate) fn new(endpoint: &Endpoint, epoch: Instant) -> Self {
        Self {
            token: rank::token(endpoint),
            load: Load::default(),
            epoch,
        }
    }

    /// The time as [`Load`] has it.
    pub(crate) fn millis(&self, now: Instant) -> u32 {
        let millis = now.saturating_duration_since(self.epoch).as_millis();
        #[expect(
            clippy::cast_possible_truncation,
            reason = "the time of a load may wrap"
        )]
        let wrapped = millis as u32;
        wrapped
    }
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
