//! The HTTP/1.1 connections to one endpoint that wait for a request.
//!
//! In: connections that were given back. Out: the one that was given back last, so that the rest can grow old and be closed. One is
//! dropped when it has been idle too long, when there are too many, and when its endpoint closed it or sent what nobody
//! asked for. One that has waited for a while is kept without its codec, whose buffers are most of it, and gets another
//! one when it is taken.

use std::cell::RefCell;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;

use super::Http1;
use super::http1::Resting;

/// Connections that have waited for so long are closed when there are no descriptors for others.
const SHED_IDLE: Duration = Duration::from_millis(100);
/// Connections that have waited for so long give their buffers back.
const REST_IDLE: Duration = Duration::from_millis(100);

/// The connections.
pub(super) struct Waiting<S: AsyncRead + AsyncWrite + Unpin + 'static> {
    idle: RefCell<Vec<Idle<S>>>,
    max: usize,
}

struct Idle<S: AsyncRead + AsyncWrite + Unpin + 'static> {
    connection: Kept<S>,
    since: Instant,
}

/// A connection that waits.
pub(super) enum Kept<S: AsyncRead + AsyncWrite + Unpin + 'static> {
    /// It can take a request as it is.
    Ready(Box<Http1<S>>),
    Resting(Resting<S>),
}

// === impl Waiting ===

impl<S: AsyncRead + AsyncWrite + Unpin + 'static> Waiting<S> {
    /// At most `max` of them.
    pub(super) fn new(max: usize) -> Self {
        let idle = RefCell::default();
        Self { idle, max }
    }

    /// One that can take a request.
    pub(super) fn take(&self) -> Option<Kept<S>> {
        let mut idle = self.idle.borrow_mut();
        while let Some(Idle { mut connection, .. }) = idle.pop() {
            let is_usable = match &mut connection {
                Kept::Ready(ready) => {
                    ready.is_reused = true;
                    ready.is_undisturbed() || ready.is_usable()
                }
                Kept::Resting(resting) => resting.is_usable(),
            };
            if is_usable {
                return Some(connection);
            }
        }
        None
    }

    /// One more, unless there are too many.
    pub(super) fn put(&self, connection: Box<Http1<S>>) {
        let mut idle = self.idle.borrow_mut();
        if idle.len() < self.max {
            idle.push(Idle {
                connection: Kept::Ready(connection),
                since: Instant::now(),
            });
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.idle.borrow().is_empty()
    }

    pub(super) fn clear(&self) {
        self.idle.borrow_mut().clear();
    }

    /// Closes those that have waited for a while; how many.
    pub(super) fn shed(&self, now: Instant) -> usize {
        let mut idle = self.idle.borrow_mut();
        let before = idle.len();
        idle.retain(|waiting| now < waiting.since + SHED_IDLE);
        before - idle.len()
    }

    /// Closes those that have waited too long, and lets go of those that were closed. Of the others, those that have waited
    /// for a while give their buffers back.
    pub(super) fn expire(&self, now: Instant, idle_timeout: Duration) {
        let mut idle = self.idle.borrow_mut();
        let before = std::mem::take(&mut *idle);
        for waiting in before {
            let Idle { connection, since } = waiting;
            if now < since + idle_timeout
                && let Some(connection) = connection.later(now >= since + REST_IDLE)
            {
                idle.push(Idle { connection, since });
            }
        }
    }
}

// === impl Kept ===

impl<S: AsyncRead + AsyncWrite + Unpin + 'static> Kept<S> {
    /// The same at a later time, without its buffers when it `rests`; nothing when it can take no request any more.
    fn later(self, rests: bool) -> Option<Self> {
        match self {
            Self::Ready(connection) if rests => connection.rest().map(Self::Resting),
            Self::Ready(mut connection) => {
                let is_usable = connection.is_usable();
                is_usable.then_some(Self::Ready(connection))
            }
            Self::Resting(mut resting) => resting.is_usable().then_some(Self::Resting(resting)),
        }
    }
}

#[cfg(test)]
mod tests;
