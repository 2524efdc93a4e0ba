//! One HTTP/2 connection to an endpoint, shared by many requests and driven by a task of its own.
//!
//! In: a fresh stream. Out: a [`Link`] once the endpoint has sent its SETTINGS, so that no request goes to one that speaks
//! no HTTP/2, nor more at a time than it takes. `exchange` sends a request, `driver` is the task, which also finds out that
//! the endpoint is gone.
//!
//! This uses the `h2` crate and not hyper's client over it: with that one a request passes two more tasks, and neither
//! what the endpoint allows nor whether it has processed a request is to be seen.

mod driver;
mod exchange;

use std::cell::{Cell, RefCell};
use std::io;
use std::net::SocketAddr;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use h2::client::{Builder, SendRequest};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;

use super::links::Links;
use crate::alarm::Alarm;
use crate::metrics::OpenUpstream;
use driver::{CountedIo, Driver};
use exchange::Uploading;

/// Requests at a time on one connection, whatever the endpoint allows.
const STREAMS_MAX: usize = 128;
/// What an endpoint may send of one response before the client takes it. Carries 250 MB/s at a round trip of 1 ms.
const STREAM_WINDOW_BYTES: u32 = 256 * 1024;
/// The windows of all streams together: clients that take nothing leave the others their room.
const CONNECTION_WINDOW_BYTES: u32 = STREAM_WINDOW_BYTES * STREAMS_MAX as u32;
/// What is kept of one request's body while the endpoint takes none of it.
const SEND_BUFFER_BYTES_MAX: usize = 256 * 1024;
const RESPONSE_HEAD_BYTES_MAX: u32 = 64 * 1024;

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
    was_used: Cell<bool>,
    used_at: Cell<Instant>,
    /// Of requests that have ended, for the next ones.
    alarms: RefCell<Vec<Alarm>>,
    links: RefCell<Weak<Links>>,
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

/// Why no connection came of a stream.
pub(super) enum HandshakeError {
    /// The endpoint answered something else, or closed the connection, before any request was sent.
    NotHttp2(String),
    Failed(io::Error),
}

// === impl Link ===

impl Link {
    /// Speaks HTTP/2 on a fresh stream. Waits for the endpoint's SETTINGS without limit: the caller sets one.
    pub(super) async fn new<S: AsyncRead + AsyncWrite + Unpin + 'static>(
        stream: S,
        endpoint: SocketAddr,
        open: OpenUpstream,
    ) -> Result<Rc<Self>, HandshakeError> {
        let io = CountedIo::new(stream);
        let bytes_read = io.bytes_read();
        let handshake = Builder::new()
            // None until the endpoint has said how many.
            .initial_max_send_streams(0)
            .initial_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .max_send_buffer_size(SEND_BUFFER_BYTES_MAX)
            .max_header_list_size(RESPONSE_HEAD_BYTES_MAX)
            .enable_push(false)
            .handshake(io);
        let (sender, connection) = handshake.await.map_err(HandshakeError::of)?;
        let load = Rc::new(Load {
            streams: Cell::new(0),
            streams_max: Cell::new(0),
            was_used: Cell::new(false),
            used_at: Cell::new(Instant::now()),
            alarms: RefCell::default(),
            links: RefCell::default(),
        });
        let mut driver = Driver::new(connection, bytes_read, load.clone());
        driver.settings(&sender).await.map_err(HandshakeError::of)?;
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
    fn of(error: h2::Error) -> Self {
        let is_of_network = error.get_io().is_some_and(|error| {
            use io::ErrorKind::{
                BrokenPipe, ConnectionAborted, ConnectionReset, InvalidData, NotConnected,
                UnexpectedEof,
            };
            // A close is an answer to the preface, too.
            let closed = [
                BrokenPipe,
                ConnectionAborted,
                ConnectionReset,
                InvalidData,
                NotConnected,
                UnexpectedEof,
            ];
            !closed.contains(&error.kind())
        });
        if is_of_network {
            let other = || io::ErrorKind::Other.into();
            return Self::Failed(error.into_io().unwrap_or_else(other));
        }
        Self::NotHttp2(error.to_string())
    }
}
