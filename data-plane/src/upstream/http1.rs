//! One HTTP/1.1 connection to an endpoint, driven by whoever holds it.

use std::future::poll_fn;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::http1::{Builder, Connection, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::AbortHandle;

use super::SendError;
use super::io::EndpointIo;
use crate::body::RequestBody;
use crate::metrics::OpenUpstream;

/// Bytes and fields of a response head. More is an answer that we cannot pass on.
const RESPONSE_HEAD_BYTES_MAX: usize = 64 * 1024;
const RESPONSE_HEADERS_MAX: usize = 256;

/// A connection with its state machine.
pub(crate) struct Http1<S: AsyncRead + AsyncWrite + Unpin + 'static> {
    sender: SendRequest<RequestBody>,
    driver: Driver<S>,
    pub(crate) is_reused: bool,
    _open: OpenUpstream,
}

enum Driver<S: AsyncRead + AsyncWrite + Unpin + 'static> {
    /// Driven by its holder. Boxed: it moves in and out of the pool.
    Held(Box<Connection<TokioIo<EndpointIo<S>>, RequestBody>>),
    /// Closed, or changed to another protocol; not to be driven any more.
    Done(Box<Connection<TokioIo<EndpointIo<S>>, RequestBody>>),
    /// A task of its own: the request's body is still on its way while the response is.
    Task { _owned: Task },
    /// At its end.
    Ended,
}

/// Ends with its owner.
struct Task(AbortHandle);

/// A connection that has changed to another protocol, with what had been read of it.
pub(crate) struct Raw<S> {
    pub(crate) stream: S,
    pub(crate) read: Bytes,
    pub(crate) _open: OpenUpstream,
}

// === impl Http1 ===

impl<S: AsyncRead + AsyncWrite + Unpin + 'static> Http1<S> {
    /// Speaks HTTP/1.1 on a fresh stream.
    pub(crate) async fn new(stream: S, open: OpenUpstream) -> Result<Self, hyper::Error> {
        let (sender, connection) = Builder::new()
            .max_headers(RESPONSE_HEADERS_MAX)
            .max_header_size(RESPONSE_HEAD_BYTES_MAX)
            .handshake(TokioIo::new(EndpointIo::new(stream)))
            .await?;
        Ok(Self {
            sender,
            driver: Driver::Held(Box::new(connection)),
            is_reused: false,
            _open: open,
        })
    }

    pub(crate) async fn send(
        &mut self,
        request: Request<RequestBody>,
    ) -> Result<Response<Incoming>, SendError> {
        let Self { sender, driver, .. } = self;
        let mut response = pin!(sender.try_send_request(request));
        let answered = poll_fn(|cx| {
            driver.poll(cx);
            let polled = response.as_mut().poll(cx);
            if polled.is_pending() && matches!(driver, Driver::Done(_)) {
                // It closed before it took the request; dropping it hands the request back.
                *driver = Driver::Ended;
                return response.as_mut().poll(cx);
            }
            polled
        });
        answered.await.map_err(|mut failed| SendError {
            unsent: failed.take_message().map(Box::new),
            error: failed.into_error(),
        })
    }

    /// Drives it on; false when it has a task of its own or is at its end.
    pub(super) fn drive(&mut self, cx: &mut Context<'_>) -> bool {
        let is_held = matches!(self.driver, Driver::Held(_));
        self.driver.poll(cx);
        is_held
    }

    /// Whether it can take a request this moment. Sees a close that has arrived meanwhile.
    pub(super) fn is_usable(&mut self) -> bool {
        self.driver.poll(&mut Context::from_waker(Waker::noop()));
        matches!(self.driver, Driver::Held(_)) && self.sender.is_ready()
    }

    /// Gives it a task of its own, for a response that begins before the request has ended: neither waits for the other.
    pub(crate) fn detach(&mut self) {
        if let Driver::Held(connection) = std::mem::replace(&mut self.driver, Driver::Ended) {
            let task = tokio::task::spawn_local(async move {
                if let Err(error) = connection.await {
                    tracing::debug!(%error, "an upstream connection ended");
                }
            });
            self.driver = Driver::Task {
                _owned: Task(task.abort_handle()),
            };
        }
    }

    /// The bare stream, after a response with 101.
    pub(crate) async fn into_raw(self) -> Option<Raw<S>> {
        let Self { driver, _open, .. } = self;
        let mut driver = driver;
        poll_fn(|cx| {
            driver.poll(cx);
            match driver {
                Driver::Held(_) => Poll::Pending,
                Driver::Done(_) | Driver::Task { .. } | Driver::Ended => Poll::Ready(()),
            }
        })
        .await;
        let Driver::Done(connection) = std::mem::replace(&mut driver, Driver::Ended) else {
            return None;
        };
        let parts = connection.into_parts();
        Some(Raw {
            stream: parts.io.into_inner().into_inner(),
            read: parts.read_buf,
            _open,
        })
    }
}

// === impl Driver ===

impl<S: AsyncRead + AsyncWrite + Unpin + 'static> Driver<S> {
    fn poll(&mut self, cx: &mut Context<'_>) {
        if let Self::Held(connection) = self
            && let Poll::Ready(ended) = connection.poll_without_shutdown(cx)
            && let Self::Held(connection) = std::mem::replace(self, Self::Ended)
            && ended.is_ok()
        {
            *self = Self::Done(connection);
        }
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}
