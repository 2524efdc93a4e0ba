//! The HTTP/2 connections of one worker to one endpoint: which one a request gets, and when to open a further one.
//!
//! In: requests that want a share, connections that were opened, shares that were given back. Out: shares. One connection
//! takes up to [`SPREAD`] requests before the next one gets any, so that few requests need few connections and the others
//! can be closed; beyond that a further one is opened beside the running requests, up to [`SPREAD_CONNECTIONS_MAX`], and
//! then the least busy one gets the request. Only when all are full by what the endpoint allows does a request wait.
//!
//! Requests that find no connection wait for one: a burst opens as many connections as it needs, not one for each.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::ConnectError;
use super::http2::{Http2, Link};

/// Requests at a time that one connection takes before another is opened beside it. More would save sends; fewer would use
/// more of the endpoint's threads, each of which has connections of its own.
const SPREAD: usize = 32;
/// Connections that are opened to spread requests.
const SPREAD_CONNECTIONS_MAX: usize = 8;
/// Connections at most, opened because the endpoint allows few requests on each.
pub(super) const CONNECTIONS_MAX: usize = 256;
/// Requests on a connection whose endpoint has not said yet how many it takes.
const STREAMS_GUESSED: usize = 100;
/// How long an endpoint that did not answer HTTP/2 gets HTTP/1.1 before it is asked again.
const FALLBACK_TIME: Duration = Duration::from_secs(60);
/// How long none is opened beside others after one that failed: an endpoint without room would be asked without end.
const PAUSE: Duration = Duration::from_secs(1);

/// The connections, and who waits for one.
pub(super) struct Links {
    open: RefCell<Vec<Rc<Link>>>,
    waiting: RefCell<VecDeque<oneshot::Sender<Handed>>>,
    opening: Cell<usize>,
    /// Requests that the endpoint takes on one connection, as it said last.
    streams_max: Cell<usize>,
    http1_until: Cell<Option<Instant>>,
    /// The endpoint has sent SETTINGS once. Known for as long as it is in the table.
    has_spoken: Cell<bool>,
    paused_until: Cell<Option<Instant>>,
    was_told: Cell<bool>,
}

/// What a request that waited gets.
pub(super) enum Handed {
    Share(Http2),
    /// The endpoint does not speak HTTP/2.
    Http1,
    Failed(ConnectError),
}

// === impl Links ===

impl Links {
    pub(super) fn new() -> Rc<Self> {
        Rc::new(Self {
            open: RefCell::default(),
            waiting: RefCell::default(),
            opening: Cell::new(0),
            streams_max: Cell::new(STREAMS_GUESSED),
            http1_until: Cell::new(None),
            has_spoken: Cell::new(false),
            paused_until: Cell::new(None),
            was_told: Cell::new(false),
        })
    }

    /// A share of the connection that should get the next request, if one can take it.
    pub(super) fn share(&self) -> Option<Http2> {
        let mut open = self.open.borrow_mut();
        let mut best: Option<(usize, usize)> = None;
        let mut position = 0;
        while let Some(link) = open.get(position) {
            if !link.is_open() {
                open.remove(position);
                continue;
            }
            let streams = link.streams();
            if streams < SPREAD.min(link.streams_max()) {
                return Some(link.share());
            }
            if streams < link.streams_max() && best.is_none_or(|(least, _)| streams < least) {
                best = Some((streams, position));
            }
            position += 1;
        }
        best.map(|(_, position)| open[position].share())
    }

    /// Waits for a share; the caller makes sure that one comes.
    pub(super) fn wait(&self) -> oneshot::Receiver<Handed> {
        let (sender, receiver) = oneshot::channel();
        self.waiting.borrow_mut().push_back(sender);
        receiver
    }

    /// How many connections should be opened now.
    pub(super) fn wanted(&self) -> usize {
        let (open, opening) = (self.open.borrow(), self.opening.get());
        let is_alone = open.is_empty() && opening == 0;
        if !is_alone && self.is_paused() {
            return 0;
        }
        let mut waiting = self.waiting.borrow_mut();
        if waiting.is_empty() {
            let is_spread = open.iter().any(|link| link.streams() < SPREAD);
            let is_many = open.is_empty() || open.len() >= SPREAD_CONNECTIONS_MAX;
            let is_enough = is_spread || is_many || opening > 0;
            return usize::from(!is_enough);
        }
        let streams_max = self.streams_max.get().max(1);
        let room = CONNECTIONS_MAX.saturating_sub(open.len() + opening);
        // Before a look at each of them: thousands may wait for an endpoint that does not answer, and each of them asks.
        if room == 0 || waiting.len() <= opening * streams_max {
            return 0;
        }
        waiting.retain(|waiting| !waiting.is_closed());
        let needed = waiting.len().div_ceil(streams_max);
        needed.saturating_sub(opening).min(room)
    }

    /// Whether a request that waits now waits for another one to end.
    pub(super) fn is_full(&self) -> bool {
        self.open.borrow().len() + self.opening.get() >= CONNECTIONS_MAX
    }

    pub(super) fn opens(&self) {
        self.opening.set(self.opening.get() + 1);
    }

    /// A connection was opened; `is_kept` says whether further requests may use it.
    pub(super) fn opened(self: &Rc<Self>, link: Rc<Link>, is_kept: bool) {
        self.opening.set(self.opening.get() - 1);
        self.http1_until.set(None);
        self.has_spoken.set(true);
        self.paused_until.set(None);
        self.streams_max.set(link.streams_max());
        link.belongs_to(self);
        if is_kept {
            self.open.borrow_mut().push(link);
            self.serve();
            return;
        }
        while link.streams() < link.streams_max()
            && let Some(waiting) = self.next()
        {
            let _ = waiting.send(Handed::Share(link.share()));
        }
    }

    /// The endpoint does not speak HTTP/2. True: nobody had noticed before.
    pub(super) fn fell_back(&self, now: Instant) -> bool {
        self.opening.set(self.opening.get() - 1);
        self.http1_until.set(Some(now + FALLBACK_TIME));
        while let Some(waiting) = self.next() {
            let _ = waiting.send(Handed::Http1);
        }
        !self.was_told.replace(true)
    }

    /// A connection could not be opened. Who waits goes on waiting if another one may still come.
    pub(super) fn failed(&self, error: &ConnectError, now: Instant) {
        self.opening.set(self.opening.get() - 1);
        if self.is_served() || self.opening.get() > 0 {
            self.paused_until.set(Some(now + PAUSE));
            return;
        }
        self.paused_until.set(None);
        while let Some(waiting) = self.next() {
            let _ = waiting.send(Handed::Failed(error.again()));
        }
    }

    fn is_served(&self) -> bool {
        self.open.borrow().iter().any(|link| link.is_open())
    }

    /// Waits until a further connection may be opened beside the open ones.
    pub(super) async fn pause(&self) {
        if let Some(until) = self.paused_until.get()
            && self.is_served()
        {
            tokio::time::sleep_until(until).await;
        }
    }

    fn is_paused(&self) -> bool {
        let until = self.paused_until.get();
        let is_paused = until.is_some_and(|until| Instant::now() < until);
        if !is_paused {
            self.paused_until.set(None);
        }
        is_paused
    }

    /// Whether the endpoint was found not to speak HTTP/2.
    pub(super) fn has_fallen_back(&self) -> bool {
        let until = self.http1_until.get();
        until.is_some_and(|until| Instant::now() < until)
    }

    /// Whether the endpoint was found to speak HTTP/2.
    pub(super) fn has_spoken(&self) -> bool {
        self.has_spoken.get()
    }

    /// Gives shares to those who wait.
    pub(super) fn serve(&self) {
        while self.has_waiting() {
            let Some(share) = self.share() else { return };
            let Some(waiting) = self.next() else { return };
            let _ = waiting.send(Handed::Share(share));
        }
    }

    pub(super) fn has_waiting(&self) -> bool {
        !self.waiting.borrow().is_empty()
    }

    /// Drops connections that have been idle too long or have ended.
    pub(super) fn expire(&self, now: Instant, idle_max: Duration) {
        let mut open = self.open.borrow_mut();
        open.retain(|link| link.is_kept(now, idle_max));
    }

    /// Whether there is nothing to be kept, nor to be known.
    pub(super) fn is_unused(&self) -> bool {
        !self.has_spoken.get()
            && self.open.borrow().is_empty()
            && self.opening.get() == 0
            && !self.has_waiting()
            && !self.has_fallen_back()
    }

    /// No further request; those that run keep their connection.
    pub(super) fn close(&self) {
        self.open.borrow_mut().clear();
        while let Some(waiting) = self.next() {
            let gone = io::ErrorKind::ConnectionAborted.into();
            let _ = waiting.send(Handed::Failed(ConnectError::Failed(gone)));
        }
    }

    fn next(&self) -> Option<oneshot::Sender<Handed>> {
        let mut waiting = self.waiting.borrow_mut();
        while let Some(first) = waiting.pop_front() {
            if !first.is_closed() {
                return Some(first);
            }
        }
        None
    }
}

// === impl ConnectError ===

impl ConnectError {
    /// The same for another request.
    pub(super) fn again(&self) -> Self {
        let same = |error: &io::Error| match error.raw_os_error() {
            Some(number) => io::Error::from_raw_os_error(number),
            None => io::Error::new(error.kind(), error.to_string()),
        };
        match self {
            Self::Failed(error) => Self::Failed(same(error)),
            Self::Tls(error) => Self::Tls(same(error)),
            Self::TimedOut => Self::TimedOut,
        }
    }
}
