//! Runs the same work on some threads, each with a runtime of its own, and collects what they counted.

use std::time::Duration;

use anyhow::Context as _;
use tokio::runtime::Builder;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::LocalSet;

/// Threads of one run, at most.
const THREADS_MAX: usize = 64;

/// Runs `work` once for each thread; it gets the number of the thread. The first error ends the run.
pub(crate) fn run<W, T>(threads: usize, work: W) -> anyhow::Result<Vec<T>>
where
    W: AsyncFn(usize) -> anyhow::Result<T> + Sync,
    T: Send,
{
    let one = |number: usize| {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        LocalSet::new().block_on(&runtime, work(number))
    };
    if threads == 1 {
        return Ok(vec![one(0)?]);
    }
    std::thread::scope(|scope| {
        let started: Vec<_> = (0..threads)
            .map(|number| {
                let name = format!("load-{number}");
                let thread = std::thread::Builder::new().name(name);
                thread.spawn_scoped(scope, move || one(number))
            })
            .collect();
        let ended = started.into_iter().map(|thread| {
            let thread = thread.context("no thread could be started")?;
            thread
                .join()
                .map_err(|_| anyhow::anyhow!("a thread of the load generator panicked"))?
        });
        ended.collect()
    })
}

/// Waits for SIGINT or SIGTERM, from now on: the caller has seen enough, and wants the report.
pub(crate) fn told_to_end() -> anyhow::Result<impl Future<Output = ()>> {
    let (mut interrupt, mut terminate) = (
        signal(SignalKind::interrupt())?,
        signal(SignalKind::terminate())?,
    );
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}

/// How many threads a flag asks for.
pub(crate) fn count(text: &str) -> Result<usize, String> {
    let count = text.parse().ok();
    let count = count.filter(|count| (1..=THREADS_MAX).contains(count));
    count.ok_or_else(|| format!("give a number from 1 to {THREADS_MAX}"))
}

/// A time of this length; no run is longer than an hour.
pub(crate) fn seconds(seconds: f64) -> anyhow::Result<Duration> {
    anyhow::ensure!(
        seconds > 0.0 && seconds <= 3600.0,
        "{seconds} s: give a time up to 3600 s"
    );
    Ok(Duration::from_secs_f64(seconds))
}

/// The part of `all` that falls to this thread.
pub(crate) fn part(all: usize, threads: usize, number: usize) -> usize {
    all / threads + usize::from(number < all % threads)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_of_all_threads_are_the_whole() {
        for (all, threads) in [(64, 1), (64, 3), (2, 4), (0, 2)] {
            let parts = (0..threads).map(|number| part(all, threads, number));
            assert_eq!(parts.sum::<usize>(), all);
        }
    }
}
