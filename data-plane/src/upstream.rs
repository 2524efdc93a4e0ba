//! Connections to endpoints: opened, pooled per worker, lent to one request at a time (HTTP/1.1) or to many (HTTP/2).
//!
//! In: a request for an endpoint. Out: its response, and a [`Lease`] that keeps the connection until the body has ended.
//! The pool's key is the endpoint, identity included, so no connection outlives its pod. An HTTP/1.1 connection has no
//! task of its own: it is driven by the request that has it, which saves a wake-up per read.
//!
//! `pool` knows the endpoints, `slot` is what it has of one, `tls` is how a connection begins that is within TLS, `transport` is the stream of
//! either kind, `lease` is a connection that a request has, `waiting` are the idle HTTP/1.1 connections to one of them, `http1` is such a connection, `links` are the HTTP/2 connections to one endpoint
//! and `http2` is one of them (`docs/link.md`).

mod http1;
mod http2;
mod lease;
mod links;
mod pool;
mod slot;
mod tls;
mod transport;
mod waiting;

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, Request, Response};
use http_body::{Body, Frame, SizeHint};
use tokio::io::{AsyncRead, AsyncWrite};

use crate::alarm::Alarm;
use crate::body::{self, RequestBody};
use crate::codec::CodecError;
pub(crate) use http1::{Http1, Raw};
pub(crate) use http2::Http2;
pub(crate) use lease::{Lease, Slotted};
pub(crate) use pool::{Pool, Wanted};
pub(crate) use transport::Transport;

/// A connection that takes a request.
pub(crate) enum Upstream<S: AsyncRead + AsyncWrite + Unpin + 'static> {
    /// Boxed: it goes from the pool to a request and back.
    Http1(Box<Http1<S>>),
    Http2(Http2),
}

/// The body of a response, as it comes from the endpoint.
pub(crate) enum Received {
    Http1(http1::Received),
    Http2(body::Received),
}

/// What went wrong between us and an endpoint.
#[derive(Debug, thiserror::Error)]
pub enum UpstreamError {
    /// On an HTTP/1.1 connection.
    #[error(transparent)]
    Http1(#[from] CodecError),
    /// On an HTTP/2 connection.
    #[error(transparent)]
    Http2(#[from] h2::Error),
    /// The endpoint takes no request with a head of that size, as it said.
    #[error("the head of the request is larger than the endpoint takes")]
    RequestHeadTooLarge,
    /// The endpoint sent more than the head of a response may have.
    #[error("the head of the response is larger than allowed")]
    ResponseHeadTooLarge,
    /// On an HTTP/2 connection, instead of an answer.
    #[error("interim heads (1xx) without end, and no answer")]
    Interim,
}

/// Why no response came.
pub(crate) struct SendError {
    pub(crate) error: UpstreamError,
    pub(crate) left: Left,
}

/// What is left of a request that got no response.
pub(crate) enum Left {
    /// All of it: nothing was written.
    Request(Box<Request<RequestBody>>),
    /// The endpoint said that it has not processed it, and nothing was taken from this body.
    Body(RequestBody),
    /// It may have been processed. It had no body, and these are the fields of its head.
    Fields(Box<HeaderMap>),
    /// It may have been processed.
    Nothing,
}

/// Why no connection came.
#[derive(Debug)]
pub(crate) enum ConnectError {
    Failed(std::io::Error),
    /// The endpoint is there, but its TLS is none that we can take.
    Tls(std::io::Error),
    TimedOut,
}

/// The head, out of its place.
fn take(head: &mut Parts) -> Parts {
    std::mem::replace(head, Request::new(()).into_parts().0)
}

// === impl Upstream ===

impl<S: AsyncRead + AsyncWrite + Unpin + 'static> Upstream<S> {
    /// Sends a request and drives the connection until the head of the response is there.
    ///
    /// Head and body are taken from where they are: handed down by value, each level would have room for it and move it.
    pub(crate) async fn send(
        &mut self,
        head: &mut Parts,
        body: &mut RequestBody,
    ) -> Result<Response<Received>, SendError> {
        match self {
            Self::Http1(connection) => {
                let answered = connection.send(head, body).await?;
                Ok(answered.map(Received::Http1))
            }
            Self::Http2(connection) => {
                let request = Request::from_parts(take(head), std::mem::take(body));
                let answered = connection.send(request).await?;
                Ok(answered.map(Received::Http2))
            }
        }
    }

    /// Whether an earlier request has used it, so that the endpoint may have closed it since.
    pub(crate) fn is_reused(&self) -> bool {
        match self {
            Self::Http1(connection) => connection.is_reused,
            Self::Http2(connection) => connection.is_reused,
        }
    }

    /// Whether other requests use it too, so that the endpoint may refuse this one alone.
    pub(crate) fn is_shared(&self) -> bool {
        matches!(self, Self::Http2(_))
    }

    /// The alarm for the wait of one request. To be given back with [`Self::keep_alarm`].
    pub(crate) fn take_alarm(&mut self) -> Alarm {
        match self {
            Self::Http1(connection) => std::mem::take(&mut connection.alarm),
            Self::Http2(share) => std::mem::take(&mut share.alarm),
        }
    }

    /// The next request on this connection will use it.
    pub(crate) fn keep_alarm(&mut self, alarm: Alarm) {
        match self {
            Self::Http1(connection) => connection.alarm = alarm,
            Self::Http2(share) => share.alarm = alarm,
        }
    }

    /// Whether its holder drives it.
    fn is_driven(&self) -> bool {
        match self {
            Self::Http1(connection) => connection.is_driven(),
            Self::Http2(_) => false,
        }
    }

    /// Does work on the body that its holder need not be woken for.
    fn quietly<T>(&self, work: impl FnOnce() -> T) -> T {
        match self {
            Self::Http1(connection) => connection.quietly(work),
            Self::Http2(_) => work(),
        }
    }

    /// Drives it on; true when that may have moved something.
    fn drive(&mut self, cx: &mut Context<'_>) -> bool {
        match self {
            Self::Http1(connection) => connection.drive(cx),
            Self::Http2(_) => false,
        }
    }
}

// === impl Received ===

impl Body for Received {
    type Data = Bytes;
    type Error = UpstreamError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, UpstreamError>>> {
        match self.get_mut() {
            Self::Http1(incoming) => {
                let polled = Pin::new(incoming).poll_frame(cx);
                polled.map_err(UpstreamError::Http1)
            }
            Self::Http2(received) => received.poll_frame(cx).map_err(UpstreamError::Http2),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Http1(incoming) => incoming.is_end_stream(),
            Self::Http2(received) => received.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Http1(incoming) => incoming.size_hint(),
            Self::Http2(received) => received.size_hint(),
        }
    }
}

// === impl UpstreamError ===

impl UpstreamError {
    /// Whether the endpoint sent something that is not the HTTP expected of it.
    pub(crate) fn is_parse(&self) -> bool {
        match self {
            Self::Http1(error) => error.is_parse(),
            Self::Http2(error) => error.is_library(),
            Self::RequestHeadTooLarge => false,
            Self::ResponseHeadTooLarge => true,
            Self::Interim => true,
        }
    }
}
