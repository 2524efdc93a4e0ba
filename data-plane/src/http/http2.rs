//! Serves one HTTP/2 connection of a client or of a tier in front, by the `h2` crate.
//!
//! In: its stream. Out: each request goes to [`crate::proxy::serve`], and its answer back. One task does all of it: it reads frames,
//! serves the requests that they bring in `seats`, and writes what these have to say in one go.
//!
//! `stream` is one request and its answer, `wakes` says who has something to do, `heart` finds clients that are gone,
//! `bounds` says what a connection may hold. ADR 0025 tells why this is not hyper's.

mod bounds;
mod heart;
mod seats;
mod stream;
mod wakes;

use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use h2::server::{self, Builder};
use h2::{Ping, PingPong};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;

use super::Session;
use super::io::ClientIo;
use super::pulse::{Expired, Pulse};
use super::watch::{Seen, Watch};
use crate::head::size::HeadMax;
use crate::net::Net;
use bounds::Bounds;
use heart::{Beat, Heart};
use seats::{Desk, Seats};
use stream::Stream;
use wakes::Wakes;

/// What is kept of one answer while its client takes none of it, beside what was read at once. A client may leave all of its
/// streams so.
const SEND_BUFFER_BYTES_MAX: usize = 64 * 1024;
/// For how long the fields that a connection keeps for its answers (HPACK) may include `Date`. There is another one each second, and
/// each answer is compared with all that are kept: after this time it costs less to send it in full.
const DATES_TIME: Duration = Duration::from_secs(20);
/// Rounds in one turn, after which other connections get theirs.
const ROUNDS_MAX: usize = 8;

/// A connection whose preface has come.
struct Connection<S, F, M> {
    frames: server::Connection<ClientIo<S>, Bytes>,
    seats: Seats<Box<Stream>, F, M>,
    wakes: Wakes,
    heart: Heart,
    pings: Option<PingPong>,
}

/// Its watch, and what it has said already.
struct Watched {
    watch: Watch,
    pulse: Rc<Pulse>,
    is_leaving: bool,
}

/// What the watch says.
enum Order {
    /// No further requests: those that run are finished.
    Leave,
    /// End at once.
    End(Seen),
}

/// How a connection ended.
enum Ended {
    Closed,
    Failed(h2::Error),
    Seen(Seen),
    /// The client does not answer.
    Gone,
}

/// Serves a connection to its end.
pub(super) async fn serve<N: Net, S>(session: Rc<Session<N>>, io: ClientIo<S>)
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let mut watched = Watched {
        watch: Watch::new(session.pulse.clone(), &session.connections),
        pulse: session.pulse.clone(),
        is_leaving: false,
    };
    let ended = match open(&session, io, &mut watched).await {
        Ok(frames) => run(&session, frames, &mut watched).await,
        Err(ended) => ended,
    };
    let client = session.client.ip;
    match ended {
        Ended::Closed => {}
        Ended::Failed(error) => tracing::debug!(%client, %error, "an HTTP/2 connection failed"),
        Ended::Gone => tracing::debug!(%client, "an HTTP/2 client does not answer any more"),
        Ended::Seen(seen) => session.note_end(seen),
    }
}

/// Sends our settings and waits for the preface.
async fn open<N: Net, S>(
    session: &Session<N>,
    io: ClientIo<S>,
    watched: &mut Watched,
) -> Result<server::Connection<ClientIo<S>, Bytes>, Ended>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut is_leaving = false;
    let opened = {
        let mut opening = pin!(builder(session).handshake(io));
        poll_fn(|cx| {
            loop {
                if let Poll::Ready(opened) = opening.as_mut().poll(cx) {
                    return Poll::Ready(opened.map_err(Ended::Failed));
                }
                match watched.poll(cx) {
                    Poll::Ready(Order::Leave) => is_leaving = true,
                    Poll::Ready(Order::End(seen)) => return Poll::Ready(Err(Ended::Seen(seen))),
                    Poll::Pending => return Poll::Pending,
                }
            }
        })
        .await
    };
    opened.map(|mut frames| {
        if is_leaving {
            frames.graceful_shutdown();
        }
        frames
    })
}

fn builder<N: Net>(session: &Session<N>) -> Builder {
    let limits = &session.context.shared.config.limits;
    let bounds = Bounds::new(session.client.is_trusted, limits.streams_max);
    let mut builder = Builder::new();
    builder
        .max_concurrent_streams(limits.streams_max)
        .max_header_list_size(HeadMax::of(limits, session.client.is_trusted).list_bytes)
        .max_pending_accept_reset_streams(bounds.reset_streams_max)
        .max_local_error_reset_streams(Some(bounds.error_streams_max))
        .initial_window_size(bounds::STREAM_WINDOW_BYTES)
        .initial_connection_window_size(bounds.window_bytes)
        .max_send_buffer_size(SEND_BUFFER_BYTES_MAX);
    builder
}

async fn run<N: Net, S>(
    session: &Rc<Session<N>>,
    frames: server::Connection<ClientIo<S>, Bytes>,
    watched: &mut Watched,
) -> Ended
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let dates_until = Instant::now() + DATES_TIME;
    let make = |desk: Rc<Desk<Box<Stream>>>| {
        let session = session.clone();
        async move {
            loop {
                desk.next().await.serve(&session, dates_until).await;
                desk.done();
            }
        }
    };
    let mut connection = Connection {
        frames,
        seats: Seats::new(bounds::spare_seats(session.client.is_trusted), make),
        wakes: Wakes::new(),
        heart: Heart::default(),
        pings: None,
    };
    poll_fn(|cx| connection.turn(watched, cx)).await
}

// === impl Connection ===

impl<S, F, M> Connection<S, F, M>
where
    S: AsyncRead + AsyncWrite + Unpin,
    F: Future<Output = ()>,
    M: Fn(Rc<Desk<Box<Stream>>>) -> F,
{
    /// One turn of the task. Ready: the connection has ended, and with it whatever still runs.
    fn turn(&mut self, watched: &mut Watched, cx: &mut Context<'_>) -> Poll<Ended> {
        let pulse = watched.pulse.clone();
        let _turn = pulse.turn();
        self.wakes.begin(cx);
        loop {
            if let Poll::Ready(ended) = self.rounds() {
                return Poll::Ready(ended);
            }
            match watched.poll(cx) {
                Poll::Ready(Order::Leave) => {
                    self.frames.graceful_shutdown();
                    self.wakes.connection().wake_by_ref();
                    continue;
                }
                Poll::Ready(Order::End(seen)) => return Poll::Ready(Ended::Seen(seen)),
                Poll::Pending => {}
            }
            match self.heart.poll(pulse.now(), pulse.read_at(), cx) {
                Poll::Ready(Beat::Ask) => self.ask(),
                Poll::Ready(Beat::Gone) => return Poll::Ready(Ended::Gone),
                Poll::Pending => break,
            }
        }
        self.wakes.end();
        if self.has_work() {
            cx.waker().wake_by_ref();
        }
        Poll::Pending
    }

    /// Reads and writes frames and polls streams, until nobody has anything to do.
    fn rounds(&mut self) -> Poll<Ended> {
        for _ in 0..ROUNDS_MAX {
            if self.wakes.take_connection()
                && let Poll::Ready(ended) = self.exchange()
            {
                return Poll::Ready(ended);
            }
            self.poll_seats();
            if !self.has_work() {
                break;
            }
        }
        Poll::Pending
    }

    /// Writes what streams have sent, and reads what has come.
    fn exchange(&mut self) -> Poll<Ended> {
        let mut cx = Context::from_waker(self.wakes.connection());
        loop {
            match self.frames.poll_accept(&mut cx) {
                Poll::Ready(Some(Ok((request, respond)))) => {
                    // Boxed: it is handed on a few times.
                    let stream = Box::new(Stream { request, respond });
                    self.seats.give(stream, &self.wakes);
                }
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Ended::Failed(error)),
                Poll::Ready(None) => return Poll::Ready(Ended::Closed),
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    fn poll_seats(&mut self) {
        if self.seats.is_woken() {
            // The runtime's budget is one for the whole task: the streams beyond it would be polled for nothing. Each of
            // them does no more at a time than windows and buffers allow.
            let round = pin!(tokio::task::unconstrained(poll_fn(|_| {
                self.seats.poll();
                Poll::Ready(())
            })));
            let _ = round.poll(&mut Context::from_waker(self.wakes.connection()));
        }
    }

    fn has_work(&self) -> bool {
        self.wakes.is_connection_woken() || self.seats.is_woken()
    }

    fn ask(&mut self) {
        // Made at the first silence: the connection looks after them each time that it is polled.
        if self.pings.is_none() {
            self.pings = self.frames.ping_pong();
        }
        if let Some(pings) = &mut self.pings {
            let mut cx = Context::from_waker(self.wakes.connection());
            // Takes the answer to the last one, without which there is no other.
            let _ = pings.poll_pong(&mut cx);
            let _ = pings.send_ping(Ping::opaque());
            self.wakes.connection().wake_by_ref();
        }
    }
}

// === impl Watched ===

impl Watched {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Order> {
        match std::task::ready!(self.watch.poll(cx)) {
            Seen::Drain => Poll::Ready(Order::Leave),
            // GOAWAY first: a client that is about to send a request then knows that it was not taken.
            Seen::Expired(Expired::Idle) if !self.is_leaving => {
                self.is_leaving = true;
                self.pulse.drain();
                Poll::Ready(Order::Leave)
            }
            seen @ (Seen::Expired(_) | Seen::Deadline) => Poll::Ready(Order::End(seen)),
        }
    }
}
