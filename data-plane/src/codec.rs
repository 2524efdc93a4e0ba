//! HTTP/1.1 as bytes: the one place that knows who reads and writes it.
//!
//! In: a stream. Out, to the side of the client: requests for a handler, and their answers written; to the side of an
//! endpoint: a request written, and its response. Heads cross the boundary as the types of the `http` crate, bodies as
//! `http_body` ones. Which requests are served, where they go and how long anybody waits is decided outside.
//!
//! [`Codec`] is all that the rest of the crate may ask of a codec; [`Http1`] names the one that is used. Nothing is boxed
//! or dispatched at run time for it. A codec keeps these rules, which `differential` holds against its records:
//! - The same bytes mean the same, however the network has split them.
//! - Framing that can be read in two ways is refused, or read in the way that RFC 9112 §6 allows with the connection closed
//!   behind it: `Transfer-Encoding` wins over `Content-Length`, which is removed; lengths that differ are refused.
//! - What is no HTTP is refused when the head ends, at the latest.
//! - A body that was not ended by its framing fails.
//! - An endpoint that answers and closes while a request is still written to it is heard.
//! - An endpoint that sends interim heads (1xx) and no answer leaves others their turn, and is an error after some of them.
//! - A request of which nothing was written is handed back, and of any other that got no response the fields.

mod hyper_codec;

#[cfg(test)]
mod differential;

use std::convert::Infallible;
use std::error::Error;
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body::{Body, Frame, SizeHint};
use tokio::io::{AsyncRead, AsyncWrite};

use crate::body::Received;

/// The codec in use.
pub(crate) type Http1 = hyper_codec::Hyper;

/// What a connection to an endpoint is, for requests with this body.
pub(crate) type ClientConnection<S, B> = <Http1 as Codec>::Client<S, B>;

/// How large a head may be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HeadLimits {
    pub(crate) bytes_max: usize,
    pub(crate) fields_max: usize,
}

/// A stream that a codec can use.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Unpin + 'static {}

/// A body that a codec can write.
pub(crate) trait Outgoing:
    Body<Data = Bytes, Error: Into<Box<dyn Error + Send + Sync>>> + 'static
{
}

/// Answers requests whose bodies are `I`.
pub(crate) trait Handler<I>: 'static {
    type Body: Outgoing;
    type Answer: Future<Output = Result<Response<Self::Body>, Infallible>> + 'static;

    fn answer(&self, request: Request<I>) -> Self::Answer;
}

/// Reads and writes HTTP/1.1.
pub(crate) trait Codec {
    /// A body that is being read, of either side.
    type Incoming: Body<Data = Bytes, Error = CodecError> + Unpin + 'static;
    type Server<S: Stream, H: Handler<Self::Incoming>>: Server<S>;
    type Client<S: Stream, B: Outgoing>: Client<S, B, Incoming = Self::Incoming>;

    /// Speaks to a client.
    fn serve<S: Stream, H: Handler<Self::Incoming>>(
        stream: S,
        limits: HeadLimits,
        handler: H,
    ) -> Self::Server<S, H>;

    /// Speaks to an endpoint.
    async fn connect<S: Stream, B: Outgoing>(
        stream: S,
        limits: HeadLimits,
    ) -> Result<Self::Client<S, B>, CodecError>;
}

/// A connection of a client. It is driven by [`Server::poll`] alone, and handles one request at a time.
pub(crate) trait Server<S> {
    /// Reads, lets the handler answer, writes. Ready: the last answer has been written, or the connection has failed; a
    /// request that was no HTTP has been answered then. The stream is not shut down.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), CodecError>>;

    /// The stream, and what was read of it and belongs to no request.
    fn into_parts(self) -> (S, Bytes);
}

/// A connection to an endpoint, driven by whoever holds it. It takes one request at a time.
pub(crate) trait Client<S, B>: Sized {
    type Incoming;

    /// Sends a request and drives the connection until the head of the response is there.
    fn send(
        &mut self,
        request: Request<B>,
    ) -> impl Future<Output = Result<Response<Self::Incoming>, SendError<B>>>;

    /// Drives it on; false when it has a task of its own or is at its end.
    fn drive(&mut self, cx: &mut Context<'_>) -> bool;

    /// Does work on the body of a response that the holder need not be woken for: it drives the connection afterwards, unless
    /// it has got what it wanted.
    fn quietly<T>(&self, work: impl FnOnce() -> T) -> T;

    /// Whether its holder drives it: not once it has a task of its own or has been seen to end.
    fn is_driven(&self) -> bool;

    /// Whether it can take a request this moment. Sees a close that has arrived meanwhile. It wakes nobody until it is driven
    /// again.
    fn is_usable(&mut self) -> bool;

    /// Whether it could take a request when it was last driven, and nothing has arrived since: [`Self::is_usable`] at no
    /// cost. False says nothing.
    fn is_undisturbed(&self) -> bool;

    /// Gives it a task of its own, for a response that begins before the request has ended: neither waits for the other.
    fn detach(&mut self);

    /// The bare stream of a connection that [is usable](Self::is_usable): nothing was read of it that belongs to a response. Nothing
    /// when it is not.
    fn into_waiting(self) -> Option<S>;

    /// The bare stream after a response with 101, and what was read of it already.
    async fn into_raw(self) -> Option<(S, Bytes)>;
}

/// Why no response came.
pub(crate) struct SendError<B> {
    pub(crate) error: CodecError,
    pub(crate) left: Left<B>,
}

/// What a codec has left of a request that got no response. Boxed: it is rare.
pub(crate) enum Left<B> {
    /// All of it: nothing was written.
    Request(Box<Request<B>>),
    /// The fields of its head, which was written.
    Fields(Box<HeaderMap>),
    /// Not even that: its head was not written whole.
    Nothing,
}

/// Why a connection or a body ended before its time.
#[derive(Debug)]
pub struct CodecError {
    kind: Kind,
    source: Box<dyn Error + Send + Sync>,
}

/// What the proxy distinguishes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// A head has more bytes or fields than allowed.
    TooLarge,
    /// The bytes are no HTTP.
    Parse,
    /// The peer, or the network.
    Closed,
}

/// A body that a client or an endpoint sends, by whatever HTTP.
pub(crate) enum Incoming {
    Http1(<Http1 as Codec>::Incoming),
    Http2(Received),
}

// === impl Stream, Outgoing ===

impl<S: AsyncRead + AsyncWrite + Unpin + 'static> Stream for S {}

impl<B> Outgoing for B where
    B: Body<Data = Bytes, Error: Into<Box<dyn Error + Send + Sync>>> + 'static
{
}

// === impl Handler ===

impl<I, F, A, B> Handler<I> for F
where
    F: Fn(Request<I>) -> A + 'static,
    A: Future<Output = Result<Response<B>, Infallible>> + 'static,
    B: Outgoing,
{
    type Body = B;
    type Answer = A;

    fn answer(&self, request: Request<I>) -> A {
        self(request)
    }
}

// === impl CodecError ===

impl CodecError {
    /// Of what a codec has let pass.
    pub(crate) fn malformed(why: &'static str) -> Self {
        Self {
            kind: Kind::Parse,
            source: why.into(),
        }
    }

    /// Whether the bytes were no HTTP, too large a head included.
    pub(crate) fn is_parse(&self) -> bool {
        matches!(self.kind, Kind::TooLarge | Kind::Parse)
    }

    /// Whether a head had more bytes or fields than allowed.
    pub(crate) fn is_too_large(&self) -> bool {
        self.kind == Kind::TooLarge
    }
}

impl fmt::Display for CodecError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.source.fmt(f)
    }
}

impl Error for CodecError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.source()
    }
}

impl From<h2::Error> for CodecError {
    fn from(error: h2::Error) -> Self {
        Self {
            kind: Kind::Closed,
            source: Box::new(error),
        }
    }
}

// === impl Incoming ===

impl Body for Incoming {
    type Data = Bytes;
    type Error = CodecError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, CodecError>>> {
        match self.get_mut() {
            Self::Http1(body) => Pin::new(body).poll_frame(cx),
            Self::Http2(body) => body.poll_frame(cx).map_err(CodecError::from),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Http1(body) => body.is_end_stream(),
            Self::Http2(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Http1(body) => body.size_hint(),
            Self::Http2(body) => body.size_hint(),
        }
    }
}
