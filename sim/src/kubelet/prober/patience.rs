//! A time-out that counts only time in which this process got to run.
//!
//! In: what is waited for and for how long. Out: its result, or none when the time is over. The time passes in short slices, and
//! one that ends late counts no more than one that ends in time. A pod is asked by this process and often played by it
//! too: on a machine that is too busy to run us, a silence is our own, and pods that lose their readiness by it would make even more
//! work for all who watch them.

use std::pin::pin;
use std::time::Duration;

/// How far the clock may jump and still count whole.
const SLICE: Duration = Duration::from_millis(50);

/// Waits for `work`, `limit` at most. None: the time is over.
pub(super) async fn within<T>(limit: Duration, work: impl Future<Output = T>) -> Option<T> {
    let mut work = pin!(work);
    let mut left = limit;
    while !left.is_zero() {
        let slice = left.min(SLICE);
        // The work is looked at first: an answer that is there counts, however late we are.
        if let Ok(done) = tokio::time::timeout(slice, work.as_mut()).await {
            return Some(done);
        }
        left -= slice;
    }
    None
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;

    const MILLISECOND: Duration = Duration::from_millis(1);

    #[tokio::test(start_paused = true)]
    async fn a_silent_peer_gets_the_limit_and_no_more() {
        for limit in [1, 49, 50, 51, 1000, 2510] {
            let limit = limit * MILLISECOND;
            let start = Instant::now();
            let never = within(limit, std::future::pending::<()>()).await;
            assert_eq!((never, start.elapsed()), (None, limit));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_comes_in_time_is_taken() {
        let late = within(1000 * MILLISECOND, tokio::time::sleep(1001 * MILLISECOND)).await;
        let early = within(1000 * MILLISECOND, tokio::time::sleep(999 * MILLISECOND)).await;
        assert_eq!((late, early), (None, Some(())));
    }

    #[tokio::test(start_paused = true)]
    async fn time_in_which_we_did_not_run_is_not_counted() {
        let start = Instant::now();
        let (sender, receiver) = tokio::sync::oneshot::channel();
        // Ten times the process stands still for 300 ms; the answer needs a turn after each.
        let answering = async {
            for _ in 0..10 {
                tokio::time::advance(300 * MILLISECOND).await;
                tokio::task::yield_now().await;
            }
            sender.send("answered").expect("somebody waits");
        };
        let waiting = within(1000 * MILLISECOND, receiver);
        let ((), answer) = tokio::join!(answering, waiting);
        assert_eq!(answer, Some(Ok("answered")));
        assert!(start.elapsed() >= 3000 * MILLISECOND);
    }
}
