//! One HTTP/1.1 connection to an endpoint, driven by whoever holds it.

use std::pin::Pin;
use std::task::{Context, Waker};

use bytes::Bytes;
use http::request::Parts;
use http::{Request, Response};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{Left, SendError};
use crate::alarm::Alarm;
use crate::body::RequestBody;
use crate::codec::{self, Client as _, ClientConnection, Codec, CodecError, HeadLimits};
use crate::metrics::OpenUpstream;

/// More in the head of a response is an answer that we cannot pass on. A codec keeps room for so many fields while it reads
/// one; hyper has it on the stack up to a hundred, which is also what Envoy takes, and allocates 16 KiB per answer beyond.
const RESPONSE_HEAD: HeadLimits = HeadLimits {
    bytes_max: 64 * 1024,
    fields_max: 100,
};

/// A connection of the codec, with what the pool knows of it.
pub(crate) struct Http1<S: AsyncRead + AsyncWrite + Unpin + 'static> {
    connection: ClientConnection<S, RequestBody>,
    pub(crate) is_reused: bool,
    /// For the requests that it takes, one after the other.
    pub(super) alarm: Alarm,
    _open: OpenUpstream,
}

/// The body of a response.
pub(crate) type Received = <codec::Http1 as Codec>::Incoming;

/// A connection that waits for a request with nothing but its stream.
pub(super) struct Resting<S> {
    stream: S,
    open: OpenUpstream,
}

/// A connection that has changed to another protocol, with what had been read of it.
pub(crate) struct Raw<S> {
    pub(crate) stream: S,
    pub(crate) read: Bytes,
    pub(crate) _open: OpenUpstream,
}

// === impl Http1 ===

impl<S: AsyncRead + AsyncWrite + Unpin + 'static> Http1<S> {
    /// Speaks HTTP/1.1 on a fresh stream.
    pub(crate) async fn new(stream: S, open: OpenUpstream) -> Result<Self, CodecError> {
        Ok(Self {
            connection: codec::Http1::connect(stream, RESPONSE_HEAD).await?,
            is_reused: false,
            alarm: Alarm::default(),
            _open: open,
        })
    }

    pub(crate) async fn send(
        &mut self,
        head: &mut Parts,
        body: &mut RequestBody,
    ) -> Result<Response<Received>, SendError> {
        let request = Request::from_parts(super::take(head), std::mem::take(body));
        let answered = self.connection.send(request).await;
        answered.map_err(|failed| SendError {
            error: failed.error.into(),
            left: match failed.left {
                codec::Left::Request(unsent) => Left::Request(unsent),
                codec::Left::Fields(fields) => Left::Fields(fields),
                codec::Left::Nothing => Left::Nothing,
            },
        })
    }

    /// Drives it on; false when it has a task of its own or is at its end.
    pub(super) fn drive(&mut self, cx: &mut Context<'_>) -> bool {
        self.connection.drive(cx)
    }

    /// Does work on the body that its holder need not be woken for.
    pub(super) fn quietly<T>(&self, work: impl FnOnce() -> T) -> T {
        self.connection.quietly(work)
    }

    /// Whether its holder drives it: not once it has a task of its own or is at its end.
    pub(super) fn is_driven(&self) -> bool {
        self.connection.is_driven()
    }

    /// Whether it can take a request this moment. Sees a close that has arrived meanwhile.
    pub(super) fn is_usable(&mut self) -> bool {
        self.connection.is_usable()
    }

    /// Whether it can take a request, as far as is known without a look at it. False says nothing.
    pub(super) fn is_undisturbed(&self) -> bool {
        self.connection.is_undisturbed()
    }

    /// Gives it a task of its own, for a response that begins before the request has ended: neither waits for the other.
    pub(crate) fn detach(&mut self) {
        self.connection.detach();
    }

    /// Gives back everything but the stream, until the next request. Nothing when it can take none.
    pub(super) fn rest(self) -> Option<Resting<S>> {
        let Self {
            connection, _open, ..
        } = self;
        let stream = connection.into_waiting()?;
        Some(Resting {
            stream,
            open: _open,
        })
    }

    /// The bare stream, after a response with 101.
    pub(crate) async fn into_raw(self) -> Option<Raw<S>> {
        let Self {
            connection, _open, ..
        } = self;
        let (stream, read) = connection.into_raw().await?;
        Some(Raw {
            stream,
            read,
            _open,
        })
    }
}

// === impl Resting ===

impl<S: AsyncRead + AsyncWrite + Unpin + 'static> Resting<S> {
    /// Whether it can take a request this moment: its endpoint has neither closed it nor said anything.
    pub(super) fn is_usable(&mut self) -> bool {
        let mut room = [0];
        let mut unasked = ReadBuf::new(&mut room);
        let mut cx = Context::from_waker(Waker::noop());
        let read = Pin::new(&mut self.stream).poll_read(&mut cx, &mut unasked);
        read.is_pending()
    }

    /// The connection for the next request.
    pub(super) async fn wake(self) -> Result<Http1<S>, CodecError> {
        let mut connection = Http1::new(self.stream, self.open).await?;
        connection.is_reused = true;
        Ok(connection)
    }
}
