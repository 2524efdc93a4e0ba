//! When to ask a silent HTTP/2 client whether it lives, and when it is gone.
//!
//! Nothing has come for [`INTERVAL`]: a PING is due. Nothing comes for [`ANSWER_TIME`] after it: the client is gone. Idle
//! connections are asked, too, so that a client that has vanished holds no place for longer than that.

use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::Instant;

use crate::alarm::Alarm;

/// How long a client may be silent before it is asked.
const INTERVAL: Duration = Duration::from_secs(20);
/// How long the answer may take.
const ANSWER_TIME: Duration = Duration::from_secs(20);

/// Whether the client lives.
#[derive(Debug, Default)]
pub(super) struct Heart {
    alarm: Alarm,
    /// When it was asked, until something comes.
    asked_at: Option<Instant>,
    /// What the alarm is set for.
    until: Option<Instant>,
}

/// What the silence means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Beat {
    /// A PING is due.
    Ask,
    /// The client did not answer.
    Gone,
}

// === impl Heart ===

impl Heart {
    /// Always polled by the same task. `read_at`: when something came last.
    pub(super) fn poll(
        &mut self,
        now: Instant,
        read_at: Instant,
        cx: &mut Context<'_>,
    ) -> Poll<Beat> {
        // The alarm is set, and knows whom to wake: to look at it once in 20 seconds is enough.
        if self.until.is_some_and(|until| now < until) {
            return Poll::Pending;
        }
        self.asked_at = self.asked_at.filter(|&asked_at| read_at < asked_at);
        let until = match self.asked_at {
            Some(asked_at) => asked_at + ANSWER_TIME,
            None => read_at + INTERVAL,
        };
        self.until = Some(until);
        ready!(self.alarm.poll(until, cx));
        if self.asked_at.is_some() {
            return Poll::Ready(Beat::Gone);
        }
        self.asked_at = Some(Instant::now());
        Poll::Ready(Beat::Ask)
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn who_is_silent_is_asked_and_who_does_not_answer_is_gone() {
        let start = Instant::now();
        let mut heart = Heart::default();
        // When something came last, and what the heart says when.
        for (read, beat, at) in [
            (0, Beat::Ask, 20),
            // The answer came at once, and nothing since.
            (21, Beat::Ask, 41),
            (45, Beat::Ask, 65),
            (45, Beat::Gone, 85),
        ] {
            let read_at = start + Duration::from_secs(read);
            let said = poll_fn(|cx| heart.poll(Instant::now(), read_at, cx)).await;
            assert_eq!((said, start.elapsed().as_secs()), (beat, at), "{read}");
        }
    }
}
