//! How long a container waits before it is started again. Pure.
//!
//! The first restart is at once; then 10 s, doubling to 5 min; a container that ran for 10 min begins anew.

use std::time::Duration;

use tokio::time::Instant;

const FIRST_DELAY: Duration = Duration::from_secs(10);
const DELAY_MAX: Duration = Duration::from_secs(300);
const RESET_AFTER: Duration = Duration::from_secs(600);

/// The restarts of one container.
#[derive(Debug, Clone, Default)]
pub struct Backoff {
    next_delay: Duration,
}

// === impl Backoff ===

impl Backoff {
    /// How long to wait for the next start of a container that ran from `started` to `ended`.
    pub fn after_exit(&mut self, started: Instant, ended: Instant) -> Duration {
        if ended.duration_since(started) >= RESET_AFTER {
            self.next_delay = Duration::ZERO;
        }
        let delay = self.next_delay;
        self.next_delay = (delay * 2).clamp(FIRST_DELAY, DELAY_MAX);
        delay
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_delay_doubles_up_to_five_minutes_and_a_long_run_resets_it() {
        let begin = Instant::now();
        let mut backoff = Backoff::default();
        let mut delays = Vec::new();
        for ran_s in [1, 1, 1, 1, 1, 1, 1, 1, 600, 1] {
            let delay = backoff.after_exit(begin, begin + Duration::from_secs(ran_s));
            delays.push(delay.as_secs());
        }
        assert_eq!(delays, [0, 10, 20, 40, 80, 160, 300, 300, 0, 10]);
    }
}
