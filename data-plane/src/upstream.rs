//! Connections to endpoints: opened, pooled per worker, lent to one request at a time (HTTP/1.1) or to many (h2c).
//!
//! In: a request for an endpoint. Out: its response, and a [`Lease`] that keeps the connection until the body has ended.
//! The pool's key is the endpoint, identity included, so no connection outlives its pod. An HTTP/1.1 connection has no
//! task of its own: it is driven by the request that has it, which saves a wake-up per read.

mod http1;
mod http2;
mod pool;

use std::task::Context;

use http::{Request, Response};
use tokio::io::{AsyncRead, AsyncWrite};

use crate::body::RequestBody;
use crate::codec::{self, Incoming};
pub(crate) use http1::{Http1, Raw};
pub(crate) use http2::{Http2, LocalExecutor};
pub(crate) use pool::{Lease, Pool};

/// A connection that takes a request.
pub(crate) enum Upstream<S: AsyncRead + AsyncWrite + Unpin + 'static> {
    Http1(Http1<S>),
    Http2(Http2),
}

/// Why no response came.
pub(crate) type SendError = codec::SendError<RequestBody>;

/// Why no connection came.
#[derive(Debug)]
pub(crate) enum ConnectError {
    Failed(std::io::Error),
    TimedOut,
}

// === impl Upstream ===

impl<S: AsyncRead + AsyncWrite + Unpin + 'static> Upstream<S> {
    /// Sends a request and drives the connection until the head of the response is there.
    pub(crate) async fn send(
        &mut self,
        request: Request<RequestBody>,
    ) -> Result<Response<Incoming>, SendError> {
        match self {
            Self::Http1(connection) => connection.send(request).await,
            Self::Http2(connection) => connection.send(request).await,
        }
    }

    /// Whether an earlier request has used it, so that the endpoint may have closed it since.
    pub(crate) fn is_reused(&self) -> bool {
        match self {
            Self::Http1(connection) => connection.is_reused,
            Self::Http2(connection) => connection.is_reused,
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
