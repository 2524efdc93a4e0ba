//! Which objects an actor must look at, and when.
//!
//! In: names from listeners, delays, and failures. Out: one name after the other; a name that is being worked on is not
//! given out again before that work ended. A name is in the queue once, however often it was added, so the queue never
//! holds more than there are objects.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::store::locked;
use super::write::WriteError;

/// Objects that one actor works on at the same time.
const WORKERS: usize = 8;

/// The longest delay between two attempts.
const RETRY_DELAY_MAX: Duration = Duration::from_secs(30);

/// The names to look at, shared by the listeners that add and the one worker that takes.
pub(crate) struct Queue<T> {
    state: Mutex<State<T>>,
    changed: Notify,
    retry_delay_first: Duration,
}

struct State<T> {
    ready: VecDeque<T>,
    queued: BTreeSet<T>,
    delayed: BTreeMap<T, Instant>,
    running: BTreeSet<T>,
    failures: BTreeMap<T, u32>,
}

// === impl Queue ===

impl<T: Clone + Ord + std::fmt::Display> Queue<T> {
    /// A queue whose first retry comes after `retry_delay_first`, doubled with each further failure.
    pub(crate) fn new(retry_delay_first: Duration) -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::new(State {
                ready: VecDeque::new(),
                queued: BTreeSet::new(),
                delayed: BTreeMap::new(),
                running: BTreeSet::new(),
                failures: BTreeMap::new(),
            }),
            changed: Notify::new(),
            retry_delay_first,
        })
    }

    /// Look at `item` now.
    pub(crate) fn add(&self, item: T) {
        locked(&self.state).push(item);
        self.changed.notify_one();
    }

    /// Look at `item` after `delay`, or earlier if it is added.
    pub(crate) fn add_after(&self, item: T, delay: Duration) {
        let due = Instant::now() + delay;
        let mut state = locked(&self.state);
        let at = state.delayed.entry(item).or_insert(due);
        *at = due.min(*at);
        drop(state);
        self.changed.notify_one();
    }

    async fn next(&self) -> T {
        loop {
            let due = {
                let mut state = locked(&self.state);
                state.wake(Instant::now());
                if let Some(item) = state.take() {
                    return item;
                }
                state.delayed.values().min().copied()
            };
            match due {
                Some(due) => tokio::select! {
                    () = self.changed.notified() => {}
                    () = tokio::time::sleep_until(due) => {}
                },
                None => self.changed.notified().await,
            }
        }
    }

    fn done(&self, actor: &str, item: T, result: Result<(), WriteError>) {
        let mut state = locked(&self.state);
        state.running.remove(&item);
        let Err(error) = result else {
            state.failures.remove(&item);
            return;
        };
        let failures = state.failures.entry(item.clone()).or_insert(0);
        *failures = failures.saturating_add(1);
        let doubled = 2_u32.saturating_pow((*failures - 1).min(20));
        let delay = self
            .retry_delay_first
            .saturating_mul(doubled)
            .min(RETRY_DELAY_MAX);
        if error.is_expected() {
            tracing::debug!(actor, object = %item, %error, ?delay, "trying again");
        } else {
            tracing::warn!(actor, object = %item, %error, ?delay, reason = error.reason(), "failed; trying again");
        }
        drop(state);
        self.add_after(item, delay);
    }
}

// === impl State ===

impl<T: Clone + Ord> State<T> {
    fn push(&mut self, item: T) {
        self.delayed.remove(&item);
        if self.queued.insert(item.clone()) {
            self.ready.push_back(item);
        }
    }

    fn wake(&mut self, now: Instant) {
        let due: Vec<T> = self
            .delayed
            .iter()
            .filter(|(_, at)| **at <= now)
            .map(|(item, _)| item.clone())
            .collect();
        for item in due {
            self.push(item);
        }
    }

    fn take(&mut self) -> Option<T> {
        let at = self
            .ready
            .iter()
            .position(|item| !self.running.contains(item))?;
        let item = self.ready.remove(at)?;
        self.queued.remove(&item);
        self.running.insert(item.clone());
        Some(item)
    }
}

/// Works on what the queue gives, several items at a time, without end. What failed comes back after a while.
pub(crate) async fn work<T, F>(actor: &str, queue: &Queue<T>, reconcile: impl Fn(T) -> F)
where
    T: Clone + Ord + std::fmt::Display,
    F: Future<Output = Result<(), WriteError>>,
{
    let mut running = FuturesUnordered::new();
    loop {
        tokio::select! {
            biased; // Finished work first: it makes room for the next.
            Some((item, result)) = running.next(), if !running.is_empty() => queue.done(actor, item, result),
            item = queue.next(), if running.len() < WORKERS => {
                let work = reconcile(item.clone());
                running.push(async move { (item, work.await) });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    /// Works until nothing happens for `limit`, and returns what was worked on and when.
    async fn worked(
        queue: &Queue<String>,
        limit: Duration,
        work_on: impl AsyncFn(&str, usize) -> Result<(), WriteError>,
    ) -> Vec<(String, u128)> {
        let start = Instant::now();
        let seen = RefCell::new(Vec::new());
        let count = std::cell::Cell::new(0);
        let working = work("test", queue, |item: String| {
            seen.borrow_mut()
                .push((item.clone(), start.elapsed().as_millis()));
            count.set(count.get() + 1);
            let nth = count.get();
            let work_on = &work_on;
            async move { work_on(&item, nth).await }
        });
        let _ = tokio::time::timeout(limit, working).await;
        seen.into_inner()
    }

    fn queue_of(items: &[&str]) -> Arc<Queue<String>> {
        let queue = Queue::new(Duration::from_millis(5));
        for item in items {
            queue.add((*item).to_owned());
        }
        queue
    }

    #[tokio::test(start_paused = true)]
    async fn an_item_added_twice_is_worked_on_once_and_in_order_of_arrival() {
        let queue = queue_of(&["b", "a", "b"]);
        let seen = worked(&queue, Duration::from_secs(1), async |_, _| Ok(())).await;
        assert_eq!(seen, [("b".into(), 0), ("a".into(), 0)]);
    }

    #[tokio::test(start_paused = true)]
    async fn an_item_is_never_worked_on_twice_at_the_same_time() {
        let queue = queue_of(&["a"]);
        let adder = Arc::clone(&queue);
        let seen = worked(&queue, Duration::from_secs(1), async move |item, nth| {
            if nth == 1 {
                adder.add(item.to_owned());
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
            Ok(())
        })
        .await;
        assert_eq!(seen, [("a".into(), 0), ("a".into(), 100)]);
    }

    #[tokio::test(start_paused = true)]
    async fn what_fails_comes_back_later_each_time() {
        let queue = queue_of(&["a"]);
        let seen = worked(&queue, Duration::from_secs(1), async |_, nth| {
            if nth < 4 {
                return Err(WriteError::Stale);
            }
            Ok(())
        })
        .await;
        let times: Vec<u128> = seen.into_iter().map(|(_, at)| at).collect();
        assert_eq!(times, [0, 5, 15, 35]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_delayed_item_comes_early_when_it_is_added() {
        let queue = queue_of(&[]);
        queue.add_after("a".into(), Duration::from_millis(500));
        queue.add_after("b".into(), Duration::from_millis(500));
        queue.add("a".into());
        let seen = worked(&queue, Duration::from_secs(1), async |_, _| Ok(())).await;
        assert_eq!(seen, [("a".into(), 0), ("b".into(), 500)]);
    }
}
