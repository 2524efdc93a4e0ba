//! HTTP/1.1 by hyper: its connections, bodies and errors as [`Codec`] wants them. Its errors of HTTP/2 become ours here, too.

mod client;
mod endpoint_io;
mod interim;
mod server;
mod wakeup;

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use super::{Codec, CodecError, Handler, HeadLimits, Kind, Outgoing, Stream};

/// The fields that hyper takes when it is not told: it has fixed room for so many.
const FIELDS_MAX: usize = 100;

/// hyper.
pub(crate) struct Hyper;

/// A body that hyper reads.
pub(crate) struct HyperIncoming(hyper::body::Incoming);

// === impl Hyper ===

impl Codec for Hyper {
    type Incoming = HyperIncoming;
    type Server<S: Stream, H: Handler<HyperIncoming>> = server::HyperServer<S, H>;
    type Client<S: Stream, B: Outgoing> = client::HyperClient<S, B>;

    fn serve<S: Stream, H: Handler<HyperIncoming>>(
        stream: S,
        limits: HeadLimits,
        handler: H,
    ) -> Self::Server<S, H> {
        server::HyperServer::new(stream, limits, handler)
    }

    async fn connect<S: Stream, B: Outgoing>(
        stream: S,
        limits: HeadLimits,
    ) -> Result<Self::Client<S, B>, CodecError> {
        Ok(client::HyperClient::new(stream, limits).await?)
    }
}

// === impl HyperIncoming ===

impl Body for HyperIncoming {
    type Data = Bytes;
    type Error = CodecError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, CodecError>>> {
        Pin::new(&mut self.0)
            .poll_frame(cx)
            .map_err(CodecError::from)
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.0.size_hint()
    }
}

// === impl CodecError ===

impl From<hyper::Error> for CodecError {
    fn from(error: hyper::Error) -> Self {
        let kind = if error.is_parse_too_large() {
            Kind::TooLarge
        } else if error.is_parse() {
            Kind::Parse
        } else {
            Kind::Closed
        };
        Self {
            kind,
            source: Box::new(error),
        }
    }
}
