//! Ends a downstream connection that waits too long, and tells it to end when the process drains.

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use tokio::time::{Instant, Sleep};

use super::pulse::{Cut, Expired, Pulse};
use crate::connections::{Connections, Stage};

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

/// One timer for one connection.
pub(super) struct Watch {
    pulse: Rc<Pulse>,
    /// Nothing before the first look: a connection that brings its request at once then never has a timer that is sooner
    /// than the runtime's next one, for which the runtime would wake itself by a system call.
    sleep: Option<Pin<Box<Sleep>>>,
    connections: Rc<Connections>,
    is_draining: bool,
}

// === impl Watch ===

impl Watch {
    pub(super) fn new(pulse: Rc<Pulse>, connections: &Rc<Connections>) -> Self {
        Self {
            pulse,
            sleep: None,
            connections: connections.clone(),
            is_draining: false,
        }
    }

    /// To be polled after the connection, whose progress it judges, and always by the connection's task.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Seen> {
        match self.connections.stage() {
            Stage::Serving => {}
            Stage::Draining if self.is_draining => {}
            Stage::Draining | Stage::Deadline | Stage::Over => return Poll::Ready(self.drained()),
        }
        loop {
            let due = self.pulse.due();
            if due.is_none() && self.sleep.is_none() {
                // Whatever gives it something to wait for polls this again. A connection that ends with its first answer
                // never has a timer.
                return Poll::Pending;
            }
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
        self.is_draining = true;
        self.pulse.drain();
        Seen::Drain
    }
}
