//! One HTTP/2 connection to an endpoint, shared by many requests and driven by a task of its own.
//!
//! In: a fresh stream. Out: a [`Link`] once the endpoint has sent its SETTINGS, so that no request goes to one that speaks
//! no HTTP/2, nor more at a time than it takes. `exchange` sends a request, `driver` is the task, which also finds out that
//! the endpoint is gone. `interim` bounds what it sends before its answers.
//!
//! This uses the `h2` crate and not hyper's client over it: with that one a request passes two more tasks, and neither
//! what the endpoint allows nor whether it has processed a request is to be seen.

mod driver;
mod exchange;
mod heads;
mod interim;

use std::cell::{Cell, RefCell};
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use h2::client::{Builder, SendRequest};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, timeout};

use super::ConnectError;
use super::links::Links;
use crate::alarm::Alarm;
use crate::metrics::OpenUpstream;
use driver::{CountedIo, Driver, Read};
use exchange::Uploading;
use interim::Room;

/// Requests at a time on one connection, whatever the endpoint allows.
const STREAMS_MAX: usize = 128;
/// What an endpoint may send of one response before the client takes it. Carries 250 MB/s at a round trip of 1 ms.
const STREAM_WINDOW_BYTES: u32 = 256 * 1024;
/// The windows of all streams together: clients that take nothing leave the others their room.
const CONNECTION_WINDOW_BYTES: u32 = STREAM_WINDOW_BYTES * STREAMS_MAX as u32;
/// What is kept of one request's body while the endpoint takes none of it.
const SEND_BUFFER_BYTES_MAX: usize = 256 * 1024;
/// What the head of a response may have, as HTTP/1.1 would write it: a little more than what comes by HTTP/1.1, so that a tier
/// takes what one behind it took, and added `Date` to.
const RESPONSE_HEAD_BYTES_MAX: usize = 64 * 1024 + 256;
/// What `h2` is told. Larger, as a larger head costs more than the one response as soon as it is coded in more frames than `h2`
/// expects of this, and one byte becomes up to 28 bits (`head/size.rs`).
const RESPONSE_LIST_BYTES_MAX: u32 = 256 * 1024;
/// No request has a larger head: `limits.head_bytes_max` is 1 MiB at most. An endpoint that takes so much takes all.
const REQUEST_HEAD_BYTES_MAX: usize = 1024 * 1024;
/// What every frame begins with that the endpoint may send before it knows us: it has 16 KiB at most. No text begins so,
/// nor does TLS.
const FRAME_BEGIN: u8 = 0;

/// A connection, as [`Links`] keeps it.
pub(super) struct Link {
    sender: RefCell<SendRequest<Bytes>>,
    /// Of requests that have ended, for the next ones: to make one costs more than to send with it.
    senders: RefCell<Vec<SendRequest<Bytes>>>,
    load: Rc<Load>,
}

/// How many requests a connection carries.
pub(super) struct Load {
    streams: Cell<usize>,
    /// What the endpoint allows.
    streams_max: Cell<usize>,
    /// Which heads the endpoint takes, as it said.
    heads_bytes_max: Cell<usize>,
    was_used: Cell<bool>,
    used_at: Cell<Instant>,
    /// Of requests that have ended, for the next ones.
    alarms: RefCell<Vec<Alarm>>,
    links: RefCell<Weak<Links>>,
    room: Rc<Room>,
}

/// One request's share of a connection.
pub(crate) struct Http2 {
    link: Rc<Link>,
    /// Until the request is sent, and nobody else's till it has ended: it may hold on to its stream.
    sender: Option<SendRequest<Bytes>>,
    pub(crate) is_reused: bool,
    pub(super) alarm: Alarm,
    /// The rest of the request's body, when the response came before its end.
    uploading: Option<Uploading>,
}

/// Why no connection came of a stream. No request was sent.
pub(super) enum HandshakeError {
    /// The endpoint answered something else.
    NotHttp2(String),
    /// The endpoint closed the connection without a word.
    Closed(io::Error),
    /// The endpoint said nothing for as long as it had.
    Silent(Duration),
    /// There was not even a stream.
    NotConnected(ConnectError),
    Failed(io::Error),
}

/// Waits for the endpoint's settings; as long as it has said nothing, not for longer than this.
async fn first_byte_within<T>(
    silence_max: Option<Duration>,
    settings: impl Future<Output = T>,
    read: &Read,
) -> Result<T, HandshakeError> {
    let mut settings = pin!(settings);
    if let Some(silence_max) = silence_max {
        match timeout(silence_max, settings.as_mut()).await {
            Ok(answered) => return Ok(answered),
            Err(_) if read.first_byte.get().is_none() => {
                return Err(HandshakeError::Silent(silence_max));
            }
            Err(_) => {}
        }
    }
    Ok(settings.await)
}

// === impl Link ===

impl Link {
    /// Speaks HTTP/2 on a fresh stream. The endpoint has `silence_max` for its first byte, where that is given; for the
    /// whole of its SETTINGS the caller sets a limit.
    pub(super) async fn new<S: AsyncRead + AsyncWrite + Unpin + 'static>(
        stream: S,
        endpoint: SocketAddr,
        open: OpenUpstream,
        silence_max: Option<Duration>,
    ) -> Result<Rc<Self>, HandshakeError> {
        let room = Rc::<Room>::default();
        let io = CountedIo::new(stream, room.clone());
        let read = io.read();
        let handshake = Builder::new()
            // None until the endpoint has said how many.
            .initial_max_send_streams(0)
            .initial_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .max_send_buffer_size(SEND_BUFFER_BYTES_MAX)
            .max_header_list_size(RESPONSE_LIST_BYTES_MAX)
            .enable_push(false)
            .handshake(io);
        let of = |error| HandshakeError::of(error, read.first_byte.get());
        let (sender, connection) = handshake.await.map_err(of)?;
        let load = Rc::new(Load {
            streams: Cell::new(0),
            streams_max: Cell::new(0),
            heads_bytes_max: Cell::new(usize::MAX),
            was_used: Cell::new(false),
            used_at: Cell::new(Instant::now()),
            alarms: RefCell::default(),
            links: RefCell::default(),
            room,
        });
        let mut driver = Driver::new(connection, read.clone(), load.clone());
        let settings = driver.settings(&sender);
        first_byte_within(silence_max, settings, &read)
            .await?
            .map_err(of)?;
        if let Some(bytes) = read.heads_bytes_max.get() {
            load.heads_bytes_max.set(bytes);
        }
        tokio::task::spawn_local(async move {
            let _open = open;
            driver.run(endpoint).await;
        });
        Ok(Rc::new(Self {
            sender: RefCell::new(sender),
            senders: RefCell::default(),
            load,
        }))
    }

    /// Who is told that a request has ended.
    pub(super) fn belongs_to(&self, links: &Rc<Links>) {
        *self.load.links.borrow_mut() = Rc::downgrade(links);
    }

    /// Whether it takes further requests: it has not ended, and the endpoint has not said GOAWAY.
    pub(super) fn is_open(&self) -> bool {
        let mut cx = Context::from_waker(Waker::noop());
        let ready = self.sender.borrow_mut().poll_ready(&mut cx);
        !matches!(ready, Poll::Ready(Err(_)))
    }

    /// Requests that it carries.
    pub(super) fn streams(&self) -> usize {
        self.load.streams.get()
    }

    /// Requests that it may carry.
    pub(super) fn streams_max(&self) -> usize {
        self.load.streams_max.get().min(STREAMS_MAX)
    }

    /// A share for one request.
    pub(super) fn share(self: &Rc<Self>) -> Http2 {
        let streams = self.load.streams.get();
        self.load.streams.set(streams + 1);
        self.load.room.grow();
        let spare = self.senders.borrow_mut().pop();
        let sender = spare.unwrap_or_else(|| self.sender.borrow().clone());
        Http2 {
            link: self.clone(),
            sender: Some(sender),
            is_reused: self.load.was_used.replace(true),
            alarm: self.load.alarms.borrow_mut().pop().unwrap_or_default(),
            uploading: None,
        }
    }

    /// Whether it is worth keeping: open, and in use or used lately.
    pub(super) fn is_kept(&self, now: Instant, idle_max: Duration) -> bool {
        let is_in_use = self.load.streams.get() > 0;
        self.is_open() && (is_in_use || now < self.load.used_at.get() + idle_max)
    }
}

// === impl Http2 ===

impl Drop for Http2 {
    fn drop(&mut self) {
        let load = &self.link.load;
        load.streams.set(load.streams.get() - 1);
        let alarm = std::mem::take(&mut self.alarm);
        load.alarms.borrow_mut().push(alarm);
        if load.streams.get() == 0 {
            load.used_at.set(Instant::now());
        }
        if let Some(mut sender) = self.sender.take() {
            // Lets go of a stream that has begun. One that has not would be kept from ending by its sender.
            let mut cx = Context::from_waker(Waker::noop());
            if let Poll::Ready(Ok(())) = sender.poll_ready(&mut cx) {
                self.link.senders.borrow_mut().push(sender);
            }
        }
        let links = load.links.borrow().upgrade();
        if let Some(links) = links.filter(|links| links.has_waiting()) {
            links.serve();
        }
    }
}

// === impl HandshakeError ===

impl HandshakeError {
    /// `first_byte` is what the endpoint's answer begins with, if anything came.
    fn of(error: h2::Error, first_byte: Option<u8>) -> Self {
        match first_byte {
            // Whatever the error: it may also be that the rest of our preface could not be sent any more.
            Some(first) if first != FRAME_BEGIN => Self::NotHttp2(error.to_string()),
            Some(_) => {
                let text = error.to_string();
                Self::Failed(error.into_io().unwrap_or_else(|| io::Error::other(text)))
            }
            None => Self::without_answer(error),
        }
    }

    fn without_answer(error: h2::Error) -> Self {
        use io::ErrorKind::{
            BrokenPipe, ConnectionAborted, ConnectionReset, NotConnected, UnexpectedEof,
        };
        let Some(error) = error.into_io() else {
            return Self::Closed(UnexpectedEof.into());
        };
        let closed = [
            BrokenPipe,
            ConnectionAborted,
            ConnectionReset,
            NotConnected,
            UnexpectedEof,
        ];
        if closed.contains(&error.kind()) {
            Self::Closed(error)
        } else {
            Self::Failed(error)
        }
    }

    /// Why the endpoint gets HTTP/1.1, or why the attempt failed.
    ///
    /// Who `has_spoken` HTTP/2 does not unlearn it by a close or by silence: so look a tier that has no room for a further
    /// connection and a container that starts again.
    pub(super) fn judge(self, has_spoken: bool) -> Result<String, ConnectError> {
        match self {
            Self::NotHttp2(answer) => Ok(format!("it answers something else: {answer}")),
            Self::Closed(error) if !has_spoken => Ok(format!("it closes the connection: {error}")),
            Self::Silent(time) if !has_spoken => Ok(format!("it says nothing for {time:?}")),
            Self::Closed(error) | Self::Failed(error) => Err(ConnectError::Failed(error)),
            Self::Silent(_) => Err(ConnectError::TimedOut),
            Self::NotConnected(error) => Err(error),
        }
    }
}
