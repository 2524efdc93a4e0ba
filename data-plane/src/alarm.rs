//! A timer that is set for each wait and moved for few of them.
//!
//! Waits that end in time are the rule, and to set and to cancel a timer for each costs more than the wait. An alarm stays
//! set for the earliest moment that anybody asked for, and is moved only when it goes off too early or would go off too late.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::time::{Instant, Sleep, sleep_until};

/// A timer for one wait after the other. Costs nothing until the first of them has to wait.
#[derive(Debug, Default)]
pub(crate) struct Alarm(Option<Pin<Box<Sleep>>>);

// === impl Alarm ===

impl Alarm {
    /// Ready when `until` has passed.
    pub(crate) fn poll(&mut self, until: Instant, cx: &mut Context<'_>) -> Poll<()> {
        let sleep = self.0.get_or_insert_with(|| Box::pin(sleep_until(until)));
        if until < sleep.deadline() {
            sleep.as_mut().reset(until);
        }
        loop {
            ready!(sleep.as_mut().poll(cx));
            if until <= Instant::now() {
                return Poll::Ready(());
            }
            // It was set for an earlier wait.
            sleep.as_mut().reset(until);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn each_wait_ends_when_it_should_whatever_the_one_before_was() {
        let mut alarm = Alarm::default();
        for (milliseconds, waited_before) in
            [(50, 0), (50, 20), (10, 0), (500, 5), (7, 7), (20, 19)]
        {
            let start = Instant::now();
            let until = start + Duration::from_millis(milliseconds);
            let early = poll_fn(|cx| Poll::Ready(alarm.poll(until, cx))).await;
            assert!(early.is_pending());
            // A wait that ends in time leaves the alarm as it is.
            tokio::time::advance(Duration::from_millis(waited_before)).await;
            let start = Instant::now();
            let until = start + Duration::from_millis(milliseconds);
            poll_fn(|cx| alarm.poll(until, cx)).await;
            assert_eq!(start.elapsed().as_millis(), u128::from(milliseconds));
        }
    }
}
