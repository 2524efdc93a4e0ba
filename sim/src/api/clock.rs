//! Wall-clock time: an instant that was given at the start, and tokio's time since.

use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

/// Tells the time; follows simulated time when tokio's is simulated.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    epoch: Timestamp,
    started: Instant,
}

// === impl Clock ===

impl Clock {
    /// A clock that shows `epoch` at this moment.
    pub(crate) fn starting_at(epoch: Timestamp) -> Self {
        Self {
            epoch,
            started: Instant::now(),
        }
    }

    /// The time.
    pub(crate) fn now(&self) -> Timestamp {
        self.epoch
            .checked_add(self.started.elapsed())
            .unwrap_or(self.epoch)
    }

    /// The time as Kubernetes writes it: whole seconds.
    pub(crate) fn seconds(&self) -> String {
        written(self.now())
    }

    /// The time in a while, in whole seconds.
    pub(crate) fn seconds_in(&self, delay: Duration) -> String {
        written(self.now().checked_add(delay).unwrap_or_else(|_| self.now()))
    }
}

/// A time as Kubernetes writes it: whole seconds.
pub(crate) fn written(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}
