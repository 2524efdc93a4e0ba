//! How fast one client may ask the API server: so many requests a second, and some at once after a pause.
//!
//! As the clients of the real controllers do it: a request that comes too early waits, in its place in the line. It is what
//! makes a Deployment of 500 pods take its time. Each controller has a line of its own.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::time::Instant;

use super::store::locked;

/// Requests a second, and how many may come at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestRate {
    /// Requests a second in the long run; 0 is no limit.
    pub per_second: u32,
    /// Requests at once after a pause.
    pub burst: u32,
}

/// The line of one client.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    rate: RequestRate,
    /// When the next request would be due if all had come evenly.
    due: Arc<Mutex<Option<Instant>>>,
}

// === impl RequestRate ===

impl RequestRate {
    /// What kube-controller-manager gives each of its controllers.
    pub const CONTROLLER: Self = Self {
        per_second: 20,
        burst: 30,
    };

    /// What kube-scheduler gives itself.
    pub const SCHEDULER: Self = Self {
        per_second: 50,
        burst: 100,
    };
}

// === impl Line ===

impl Line {
    pub(crate) fn new(rate: RequestRate) -> Self {
        Self {
            rate,
            due: Arc::default(),
        }
    }

    /// Returns when it is this request's turn.
    pub(crate) async fn turn(&self) {
        if self.rate.per_second > 0 {
            let at = self.reserve(Instant::now());
            tokio::time::sleep_until(at).await;
        }
    }

    /// When a request that comes `now` may go.
    fn reserve(&self, now: Instant) -> Instant {
        let interval = Duration::from_secs(1) / self.rate.per_second;
        let ahead = interval * self.rate.burst.saturating_sub(1);
        let mut due = locked(&self.due);
        let own = due.map_or(now, |due| due.max(now));
        *due = Some(own + interval);
        own.checked_sub(ahead).map_or(now, |at| at.max(now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_burst_goes_at_once_and_the_rest_at_the_rate() {
        let line = Line::new(RequestRate::CONTROLLER);
        let start = Instant::now();
        let mut times = Vec::new();
        for _ in 0..500 {
            line.turn().await;
            times.push(start.elapsed().as_millis());
        }
        assert_eq!(times[29], 0);
        assert_eq!(times[30], 50);
        // (n - 30) / 20 s, as a real Deployment of 500 pods was recorded.
        assert_eq!(times[499], 23_500);
    }

    #[tokio::test(start_paused = true)]
    async fn a_pause_earns_the_next_burst() {
        let line = Line::new(RequestRate {
            per_second: 10,
            burst: 2,
        });
        for _ in 0..4 {
            line.turn().await;
        }
        tokio::time::sleep(Duration::from_secs(60)).await;
        let start = Instant::now();
        let mut times = Vec::new();
        for _ in 0..3 {
            line.turn().await;
            times.push(start.elapsed().as_millis());
        }
        assert_eq!(times, [0, 0, 100]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_rate_of_zero_is_no_limit() {
        let line = Line::new(RequestRate {
            per_second: 0,
            burst: 0,
        });
        let start = Instant::now();
        for _ in 0..1000 {
            line.turn().await;
        }
        assert_eq!(start.elapsed(), Duration::ZERO);
    }
}
