//! Ends a downstream connection that waits too long, and tells it to end when the process drains.

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use tokio::time::{Instant, Sleep};

use super::pulse::{Cut, Expired, Pulse};
use crate::drain;

/// What `watch` has seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Seen {
    /// The process begins to drain: once.
    Drain,
    /// The connection must end.
    Expired(Expired),
    /// The time to drain is over.
    Deadline,
}

/// One timer and one signal for one connection.
pub(super) struct Watch {
    pulse: Rc<Pulse>,
    sleep: Pin<Box<Sleep>>,
    drain: Pin<Box<dyn Future<Output = ()>>>,
    deadline: Pin<Box<dyn Future<Output = ()>>>,
    is_draining: bool,
}

// === impl Watch ===

impl Watch {
    pub(super) fn new(pulse: Rc<Pulse>, signal: &drain::Signal) -> Self {
        let first = pulse.due().map_or_else(Instant::now, |(at, _)| at);
        let (mut started, mut ended) = (signal.clone(), signal.clone());
        Self {
            pulse,
            sleep: Box::pin(tokio::time::sleep_until(first)),
            drain: Box::pin(async move { started.started().await }),
            deadline: Box::pin(async move { ended.deadline().await }),
            is_draining: false,
        }
    }

    /// To be polled after the connection, whose progress it judges.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Seen> {
        if !self.is_draining {
            if self.drain.as_mut().poll(cx).is_ready() {
                self.is_draining = true;
                self.pulse.drain();
                return Poll::Ready(Seen::Drain);
            }
        } else if self.deadline.as_mut().poll(cx).is_ready() {
            self.pulse.cut(Cut::Drained);
            return Poll::Ready(Seen::Deadline);
        }
        loop {
            let due = self.pulse.due();
            if let Some((at, _)) = due
                && at < self.sleep.deadline()
            {
                self.sleep.as_mut().reset(at);
            }
            if self.sleep.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            match due {
                Some((at, expired)) if at <= Instant::now() => {
                    if expired == Expired::Stalled {
                        self.pulse.cut(Cut::Stalled);
                    }
                    return Poll::Ready(Seen::Expired(expired));
                }
                Some((at, _)) => self.sleep.as_mut().reset(at),
                // A request is running. Look again when it could be over and the shortest wait with it.
                None => {
                    let again = Instant::now() + self.pulse.shortest();
                    self.sleep.as_mut().reset(again);
                }
            }
        }
    }
}
