//! A connection while a request has it.
//!
//! In: a connection and the endpoint that it was found for. Out: the same, back in its place, when the response has ended and the
//! request was sent whole.

use std::net::SocketAddr;
use std::rc::Rc;
use std::task::Context;

use tokio::io::{AsyncRead, AsyncWrite};

use super::slot::Slot;
use super::transport::Transport;
use super::{Raw, Upstream};
use crate::balance::InFlight;
use crate::body::Upload;

/// A connection while a request has it.
pub(crate) struct Lease<S: AsyncRead + AsyncWrite + Unpin + 'static> {
    upstream: Upstream<Transport<S>>,
    slot: Slotted<S>,
    in_flight: Option<InFlight>,
}

/// The endpoint of a connection that was taken.
pub(crate) struct Slotted<S: AsyncRead + AsyncWrite + Unpin + 'static>(pub(super) Rc<Slot<S>>);

// === impl Lease ===

impl<S: AsyncRead + AsyncWrite + Unpin + 'static> Lease<S> {
    pub(crate) fn new(
        upstream: Upstream<Transport<S>>,
        (slot, in_flight): (Slotted<S>, Option<InFlight>),
        upload: Option<&Upload>,
    ) -> Self {
        let mut upstream = upstream;
        if let Upstream::Http1(connection) = &mut upstream
            && upload.is_some_and(|upload| !upload.is_complete())
        {
            connection.detach();
        }
        Self {
            upstream,
            slot,
            in_flight,
        }
    }

    /// Whose connection it is.
    pub(crate) fn address(&self) -> SocketAddr {
        self.slot.0.endpoint.address
    }

    /// Whether the connection is driven by this lease, and so wakes whoever drives it.
    pub(crate) fn is_driven(&self) -> bool {
        self.upstream.is_driven()
    }

    /// Does work on the body that its holder need not be woken for.
    pub(crate) fn quietly<T>(&self, work: impl FnOnce() -> T) -> T {
        self.upstream.quietly(work)
    }

    /// Drives the connection on; true when that may have moved something.
    pub(crate) fn drive(&mut self, cx: &mut Context<'_>) -> bool {
        self.upstream.drive(cx)
    }

    /// The response has ended. The connection waits for the next request, if this one was sent whole before the response
    /// began: otherwise it has a task of its own, and is not usable any more.
    pub(crate) fn give_back(self) {
        // Whether it is still open is seen when it is taken.
        if let Upstream::Http1(connection) = self.upstream
            && connection.is_driven()
        {
            self.slot.0.put(connection);
        }
    }

    /// The bare stream, after a response with 101, and the request that it is as long as it lives.
    pub(crate) async fn into_raw(self) -> Option<(Raw<Transport<S>>, Option<InFlight>)> {
        let Upstream::Http1(connection) = self.upstream else {
            return None;
        };
        let raw = connection.into_raw().await?;
        Some((raw, self.in_flight))
    }
}
