//! A connection of a client, by hyper.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Request, Response};
use hyper::server::conn::http1::{Builder, Connection};
use hyper_util::rt::TokioIo;

use super::{FIELDS_MAX, HyperIncoming};
use crate::codec::{CodecError, Handler, HeadLimits, Server, Stream};

/// The smallest read buffer that hyper takes.
const BUFFER_BYTES_MIN: usize = 8192;

/// hyper's connection. Its waits are its user's: hyper's own timer does not tell an idle connection from a slow head.
pub(crate) struct HyperServer<S: Stream, H: Handler<HyperIncoming>>(
    Connection<TokioIo<S>, Service<H>>,
);

/// A handler as hyper calls it.
pub(crate) struct Service<H>(H);

// === impl HyperServer ===

impl<S: Stream, H: Handler<HyperIncoming>> HyperServer<S, H> {
    pub(super) fn new(stream: S, limits: HeadLimits, handler: H) -> Self {
        let mut builder = Builder::new();
        builder
            .half_close(false)
            .header_read_timeout(None)
            .max_header_size(limits.bytes_max)
            .max_buf_size(limits.bytes_max.max(BUFFER_BYTES_MIN))
            .auto_date_header(false);
        if limits.fields_max != FIELDS_MAX {
            builder.max_headers(limits.fields_max);
        }
        Self(builder.serve_connection(TokioIo::new(stream), Service(handler)))
    }
}

impl<S: Stream, H: Handler<HyperIncoming>> Server<S> for HyperServer<S, H> {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), CodecError>> {
        Pin::new(&mut self.0).poll(cx).map_err(CodecError::from)
    }

    fn into_parts(self) -> (S, Bytes) {
        let parts = self.0.into_parts();
        (parts.io.into_inner(), parts.read_buf)
    }
}

// === impl Service ===

impl<H: Handler<HyperIncoming>> hyper::service::Service<Request<hyper::body::Incoming>>
    for Service<H>
{
    type Response = Response<H::Body>;
    type Error = std::convert::Infallible;
    type Future = H::Answer;

    fn call(&self, request: Request<hyper::body::Incoming>) -> H::Answer {
        self.0.answer(request.map(HyperIncoming))
    }
}
