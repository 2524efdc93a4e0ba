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
    /// Nothing before the first look: a connection that brings its request at once then never has a timer that is sooner
    /// than the runtime's next one, for which the runtime would wake itself by a system call.
    sleep: Option<Pin<Box<Sleep>>>,
    signal: drain::Signal,
    /// The start of the drain, then its deadline.
    drain: Pin<Box<dyn Future<Output = ()>>>,
    /// `drain` knows whom to wake.
    is_waiting: bool,
    is_draining: bool,
}

// === impl Watch ===

impl Watch {
    pub(super) fn new(pulse: Rc<Pulse>, signal: &drain::Signal) -> Self {
        let mut started = signal.clone();
        Self {
            pulse,
            sleep: None,
            signal: signal.clone(),
            drain: Box::pin(async move { started.started().await }),
            is_waiting: false,
            is_draining: false,
        }
    }

    /// To be polled after the connection, whose progress it judges, and always by the same task.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Seen> {
        // The signal takes a lock that all workers share, so it is polled only when that can be of use.
        if !self.is_waiting || self.is_draining || self.signal.has_news() {
            self.is_waiting = true;
            if self.drain.as_mut().poll(cx).is_ready() {
                return Poll::Ready(self.drained());
            }
        }
        loop {
            let due = self.pulse.due();
            // A request is running. Look again when it could be over and the shortest wait with it.
            let again = || self.pulse.now() + self.pulse.shortest();
            let sleep = self.sleep.get_or_insert_with(|| {
                let first = due.map_or_else(again, |(at, _)| at);
                Box::pin(tokio::time::sleep_until(first))
            });
            if let Some((at, _)) = due
                && at < sleep.deadline()
            {
                sleep.as_mut().reset(at);
            }
            if sleep.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            match due {
                Some((at, expired)) if at <= Instant::now() => {
                    if expired == Expired::Stalled {
                        self.pulse.cut(Cut::Stalled);
                    }
                    return Poll::Ready(Seen::Expired(expired));
                }
                Some((at, _)) => sleep.as_mut().reset(at),
                None => sleep.as_mut().reset(again()),
            }
        }
    }

    fn drained(&mut self) -> Seen {
        if self.is_draining {
            self.pulse.cut(Cut::Drained);
            return Seen::Deadline;
        }
        let mut ended = self.signal.clone();
        self.drain = Box::pin(async move { ended.deadline().await });
        self.is_draining = true;
        self.pulse.drain();
        Seen::Drain
    }
}
