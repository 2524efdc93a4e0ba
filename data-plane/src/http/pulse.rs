//! How one downstream connection is doing: what it waits for, and since when.
//!
//! The stream, the requests and their bodies report here; `watch` asks for the moment at which the connection has waited
//! too long. One cell per fact and no timer per request: a connection has one timer, which is moved only when it must
//! fire earlier.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use tokio::time::Instant;

use crate::config::Timeouts;
use crate::connections::{Connections, Stage};

/// How long an idle connection may still bring a request once we drain. A client that is about to send one gets an
/// answer instead of a reset.
const DRAIN_IDLE: Duration = Duration::from_secs(2);
/// Writes on HTTP/2 that are no larger may be frames of its own, like our PINGs and the answers to the client's. They go
/// out whether the client takes its answer or not.
const CONTROL_BYTES_MAX: usize = 64;

/// The facts of one connection.
#[derive(Debug)]
pub(crate) struct Pulse {
    timeouts: Waits,
    /// HTTP/1 reads heads one at a time; in HTTP/2 frames of all streams share the connection.
    reads_heads: bool,
    requests: Cell<usize>,
    handed: Cell<usize>,
    is_in_head: Cell<bool>,
    is_tunnel: Cell<bool>,
    is_draining: Cell<bool>,
    is_quiet: Cell<bool>,
    is_flushed: Cell<bool>,
    cut: Cell<Option<Cut>>,
    since: Cell<Instant>,
    /// When bytes came last; HTTP/2 only.
    read_at: Cell<Instant>,
    /// The time of this turn, while the connection is being driven by one task.
    turn: Cell<Option<Instant>>,
    /// Nothing more is there to be read in this turn; HTTP/2 only.
    is_dry: Cell<bool>,
}

#[derive(Clone, Copy, Debug)]
struct Waits {
    idle: Duration,
    rest: Duration,
    head: Duration,
    stall: Duration,
}

/// A wait that was too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Expired {
    /// No request came for a while: the connection need not hold more than its stream. Told once after each request.
    Quiet,
    /// No request came.
    Idle,
    /// A head began and did not end.
    Head,
    /// The client takes nothing of what we have for it.
    Stalled,
}

/// Why requests of the connection end before their time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cut {
    Stalled,
    Drained,
}

/// One request of a connection, until it is dropped.
#[derive(Debug)]
pub(crate) struct Busy {
    pulse: Rc<Pulse>,
    /// The connection has something of the answer, and has not asked for more.
    is_handed: Cell<bool>,
}

/// One turn of a connection, until it is dropped.
pub(super) struct Turn<'p>(&'p Pulse);

/// Ends when the process drains and a connection that has said nothing yet has had its chance.
pub(super) async fn silence(connections: &Connections) {
    connections.reached(Stage::Draining).await;
    tokio::time::sleep(DRAIN_IDLE).await;
}

// === impl Pulse ===

impl Pulse {
    pub(crate) fn new(timeouts: &Timeouts, reads_heads: bool) -> Rc<Self> {
        let now = Instant::now();
        Rc::new(Self {
            timeouts: Waits {
                idle: timeouts.downstream_idle,
                rest: timeouts.downstream_rest,
                head: timeouts.head_read,
                stall: timeouts.response_body,
            },
            reads_heads,
            requests: Cell::new(0),
            handed: Cell::new(0),
            is_in_head: Cell::new(false),
            is_tunnel: Cell::new(false),
            is_draining: Cell::new(false),
            is_quiet: Cell::new(false),
            is_flushed: Cell::new(true),
            cut: Cell::new(None),
            since: Cell::new(now),
            read_at: Cell::new(now),
            turn: Cell::new(None),
            is_dry: Cell::new(false),
        })
    }

    /// Bytes came in.
    pub(super) fn read(&self) {
        if !self.reads_heads {
            self.read_at.set(self.now());
        } else if self.is_tunnel.get() {
            self.touch();
        } else if self.requests.get() == 0 && !self.is_in_head.get() {
            self.is_in_head.set(true);
            self.touch();
        }
    }

    /// So many bytes went out.
    pub(super) fn wrote(&self, bytes: usize) {
        let is_answer = self.reads_heads || bytes > CONTROL_BYTES_MAX;
        if self.is_tunnel.get() || (self.handed.get() > 0 && is_answer) {
            self.touch();
        }
    }

    /// The connection has changed to another protocol: whatever moves now, moves it.
    pub(super) fn tunnel(&self) {
        self.is_tunnel.set(true);
        self.touch();
    }

    /// Something moved.
    pub(super) fn touch(&self) {
        self.since.set(self.now());
    }

    /// A turn of the connection begins: until it ends, time stands still. A turn takes microseconds, and a look at the clock
    /// for each thing that moves would be a part of it.
    pub(super) fn turn(&self) -> Turn<'_> {
        self.turn.set(Some(Instant::now()));
        Turn(self)
    }

    /// The stream had nothing to read, and will wake the connection. What comes meanwhile is seen in the next turn: the codec
    /// of HTTP/2 asks once for each request that it hands over. That of HTTP/1 asks with wakers of several kinds.
    pub(super) fn ran_dry(&self) {
        self.is_dry
            .set(!self.reads_heads && self.turn.get().is_some());
    }

    /// Whether it has nothing to read before the next turn.
    pub(super) fn is_dry(&self) -> bool {
        self.is_dry.get()
    }

    pub(super) fn now(&self) -> Instant {
        self.turn.get().unwrap_or_else(Instant::now)
    }

    /// When it last moved.
    pub(super) fn since(&self) -> Instant {
        self.since.get()
    }

    /// When bytes came last; HTTP/2 only.
    pub(super) fn read_at(&self) -> Instant {
        self.read_at.get()
    }

    /// A request begins.
    pub(super) fn begin(self: &Rc<Self>) -> Busy {
        self.is_in_head.set(false);
        self.is_quiet.set(false);
        self.requests.set(self.requests.get() + 1);
        Busy {
            pulse: self.clone(),
            is_handed: Cell::new(false),
        }
    }

    /// It is known that nothing moves.
    pub(super) fn quieten(&self) {
        self.is_quiet.set(true);
    }

    /// The codec has something to write.
    pub(super) fn unflushed(&self) {
        self.is_flushed.set(false);
    }

    /// The codec has written all that it had: only then does it flush the stream.
    pub(super) fn flushed(&self) {
        self.is_flushed.set(true);
    }

    /// Whether all answers are written and it waits for the first byte of a request.
    pub(super) fn is_idle(&self) -> bool {
        self.requests.get() == 0 && !self.is_in_head.get() && self.is_flushed.get()
    }

    /// The process drains: requests are still answered, but no longer waited for.
    pub(super) fn drain(&self) {
        self.is_draining.set(true);
        if self.requests.get() == 0 && !self.is_in_head.get() {
            self.touch();
        }
    }

    /// Ends what is left.
    pub(super) fn cut(&self, cut: Cut) {
        self.cut.set(Some(cut));
    }

    /// No wait that ends the connection can be over sooner than this.
    pub(super) fn shortest(&self) -> Duration {
        let Waits {
            idle, head, stall, ..
        } = self.timeouts;
        idle.min(head).min(stall)
    }

    /// What the connection waits for, and until when. Nothing: it waits for us or for an endpoint.
    pub(super) fn due(&self) -> Option<(Instant, Expired)> {
        let (wait, expired) = if self.requests.get() > 0 {
            let all_wait_for_client = self.handed.get() >= self.requests.get();
            all_wait_for_client.then_some((self.timeouts.stall, Expired::Stalled))?
        } else if self.is_in_head.get() {
            (self.timeouts.head, Expired::Head)
        } else if self.is_draining.get() {
            (DRAIN_IDLE.min(self.timeouts.idle), Expired::Idle)
        } else if self.reads_heads
            && !self.is_quiet.get()
            && self.timeouts.rest < self.timeouts.idle
        {
            (self.timeouts.rest, Expired::Quiet)
        } else {
            (self.timeouts.idle, Expired::Idle)
        };
        Some((self.since.get() + wait, expired))
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.turn.set(None);
        self.0.is_dry.set(false);
    }
}

// === impl Busy ===

impl Busy {
    /// The answer, or a piece of it, was handed to the connection.
    pub(crate) fn handed(&self) {
        if !self.is_handed.replace(true) {
            self.pulse.handed.set(self.pulse.handed.get() + 1);
        }
        self.pulse.touch();
    }

    /// The connection took it, and wants the next.
    pub(crate) fn taken(&self) {
        if self.is_handed.replace(false) {
            self.pulse.handed.set(self.pulse.handed.get() - 1);
            self.pulse.touch();
        }
    }

    /// The time, as precise as a turn of the connection.
    pub(crate) fn now(&self) -> Instant {
        self.pulse.now()
    }

    /// Why the connection is being cut, if it is.
    pub(crate) fn cut(&self) -> Option<Cut> {
        self.pulse.cut.get()
    }

    /// Whether this should be the last request of the connection.
    pub(crate) fn is_draining(&self) -> bool {
        self.pulse.is_draining.get()
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.taken();
        let left = self.pulse.requests.get() - 1;
        self.pulse.requests.set(left);
        if left == 0 {
            self.pulse.touch();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waits(pulse: &Pulse) -> Option<(u64, Expired)> {
        let (at, expired) = pulse.due()?;
        Some(((at - Instant::now()).as_secs(), expired))
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_waits_for_one_thing_at_a_time() {
        let timeouts = Timeouts {
            downstream_idle: Duration::from_secs(75),
            downstream_rest: Duration::from_secs(3),
            head_read: Duration::from_secs(15),
            response_body: Duration::from_secs(60),
            ..Timeouts::default()
        };
        let pulse = Pulse::new(&timeouts, true);
        assert_eq!(waits(&pulse), Some((3, Expired::Quiet)));
        pulse.quieten();
        assert_eq!(waits(&pulse), Some((75, Expired::Idle)));
        tokio::time::advance(Duration::from_secs(5)).await;
        pulse.read();
        tokio::time::advance(Duration::from_secs(5)).await;
        pulse.read();
        assert_eq!(waits(&pulse), Some((10, Expired::Head)));
        let busy = pulse.begin();
        assert_eq!(waits(&pulse), None);
        busy.handed();
        tokio::time::advance(Duration::from_secs(20)).await;
        assert_eq!(waits(&pulse), Some((40, Expired::Stalled)));
        pulse.wrote(1);
        assert_eq!(waits(&pulse), Some((60, Expired::Stalled)));
        let other = pulse.begin();
        assert_eq!(waits(&pulse), None);
        drop(other);
        busy.taken();
        assert_eq!(waits(&pulse), None);
        drop(busy);
        assert_eq!(waits(&pulse), Some((3, Expired::Quiet)));
        pulse.drain();
        assert_eq!(waits(&pulse), Some((2, Expired::Idle)));
    }

    #[tokio::test(start_paused = true)]
    async fn frames_of_http2_itself_are_no_sign_that_the_client_takes_its_answer() {
        let pulse = Pulse::new(&Timeouts::default(), false);
        let busy = pulse.begin();
        busy.handed();
        for (bytes, left) in [(17, 50), (CONTROL_BYTES_MAX, 40), (1000, 60)] {
            tokio::time::advance(Duration::from_secs(10)).await;
            pulse.wrote(bytes);
            assert_eq!(waits(&pulse), Some((left, Expired::Stalled)), "{bytes}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn whatever_moves_keeps_a_tunnel() {
        let pulse = Pulse::new(&Timeouts::default(), true);
        pulse.tunnel();
        let moves: [fn(&Pulse); 4] = [Pulse::read, Pulse::read, |p| p.wrote(1), |p| p.wrote(1)];
        for (number, moving) in moves.into_iter().enumerate() {
            tokio::time::advance(Duration::from_secs(10)).await;
            moving(&pulse);
            assert_eq!(pulse.since(), Instant::now(), "{number}");
        }
    }
}
