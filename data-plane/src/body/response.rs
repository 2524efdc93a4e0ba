//! The body of a response: passes frames on, drives the connection they come by, and gives it back when it is free.
//!
//! When the client goes away, the body is dropped and with it the connection. When the endpoint goes away, the body fails,
//! so the client sees a broken one and never a clean end.

use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Sleep;

use super::BodyError;
use crate::account::Account;
use crate::error::ProxyError;
use crate::head::trailers;
use crate::upstream::{Lease, Received, UpstreamError};

/// What the client gets.
pub(crate) enum ResponseBody<S: AsyncRead + AsyncWrite + Unpin + 'static> {
    /// A text of ours, or nothing, with the books of the request.
    Own {
        text: Option<Bytes>,
        account: Box<Account>,
    },
    /// What the endpoint sends.
    Forwarded(Forwarded<S>),
}

/// A body on its way from an endpoint.
pub(crate) struct Forwarded<S: AsyncRead + AsyncWrite + Unpin + 'static> {
    incoming: Received,
    lease: Option<Lease<S>>,
    account: Box<Account>,
    pause_max: Duration,
    sleep: Option<Pin<Box<Sleep>>>,
    /// Why it has failed; told at the next poll.
    failure: Option<&'static str>,
}

// === impl Forwarded ===

impl<S: AsyncRead + AsyncWrite + Unpin + 'static> Forwarded<S> {
    pub(crate) fn new(
        incoming: Received,
        lease: Lease<S>,
        account: Box<Account>,
        pause_max: Duration,
    ) -> Self {
        // Until it is asked for, the client has not made room for it.
        account.busy().handed();
        let mut body = Self {
            incoming,
            lease: Some(lease),
            account,
            pause_max,
            sleep: None,
            failure: None,
        };
        if body.incoming.is_end_stream() {
            body.finish();
        }
        body
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        self.account.busy().taken();
        if let Some(failure) = self.failure {
            return Poll::Ready(Some(Err(BodyError(failure))));
        }
        match self.poll_incoming(cx) {
            Poll::Ready(Some(Ok(frame))) => Poll::Ready(self.pass(frame).map(Ok)),
            Poll::Ready(Some(Err(error))) => {
                tracing::debug!(%error, reason = "response_broken", "the body of a response ended early");
                self.fail(&ProxyError::ResponseBroken, cx)
            }
            Poll::Ready(None) => {
                self.finish();
                Poll::Ready(None)
            }
            Poll::Pending => self.poll_pause(cx),
        }
    }

    fn poll_incoming(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, UpstreamError>>> {
        let incoming = Pin::new(&mut self.incoming);
        let Some(lease) = self.lease.as_mut().filter(|lease| lease.is_driven()) else {
            return incoming.poll_frame(cx);
        };
        // Only the connection brings the body on, and it wakes us; the body itself would wake us for what we see here.
        let quiet = &mut Context::from_waker(Waker::noop());
        let polled = lease.quietly(|| incoming.poll_frame(quiet));
        if polled.is_ready() {
            return polled;
        }
        lease.drive(cx);
        let incoming = Pin::new(&mut self.incoming);
        if lease.is_driven() {
            lease.quietly(|| incoming.poll_frame(quiet))
        } else {
            incoming.poll_frame(cx)
        }
    }

    /// Nothing: it has ended with trailers of which none may pass.
    fn pass(&mut self, mut frame: Frame<Bytes>) -> Option<Frame<Bytes>> {
        self.sleep = None;
        if let Some(trailers) = frame.trailers_mut() {
            trailers::strip_response(trailers);
            if trailers.is_empty() {
                self.finish();
                return None;
            }
        }
        let length = frame.data_ref().map_or(0, Bytes::len);
        self.account.handed_over(length);
        self.account.busy().handed();
        // A body is not polled again after its trailers, nor after the last byte of a declared length.
        if frame.is_trailers() || self.incoming.is_end_stream() {
            self.finish();
        }
        Some(frame)
    }

    fn poll_pause(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let pause_max = self.pause_max;
        let sleep = self
            .sleep
            .get_or_insert_with(|| Box::pin(tokio::time::sleep(pause_max)));
        match sleep.as_mut().poll(cx) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(()) => self.fail(&ProxyError::ResponseStalled, cx),
        }
    }

    fn finish(&mut self) {
        self.account.complete();
        if let Some(lease) = self.lease.take() {
            lease.give_back();
        }
    }

    /// Fails at the next poll: until then the client's connection can send what it has, which it drops at a failure.
    fn fail(
        &mut self,
        error: &ProxyError,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        self.account.fail(error);
        self.lease = None;
        self.failure = Some(error.meaning());
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

// === impl ResponseBody ===

impl<S: AsyncRead + AsyncWrite + Unpin + 'static> ResponseBody<S> {
    /// A text of ours, which ends the books when it is handed over.
    pub(crate) fn own(text: impl Into<Bytes>, mut account: Box<Account>) -> Self {
        let text = text.into();
        account.handed_over(text.len());
        account.complete();
        account.busy().handed();
        Self::Own {
            text: Some(text).filter(|text| !text.is_empty()),
            account,
        }
    }

    /// The client takes nothing of it, and it will not be sent any further.
    pub(crate) fn stalled(&mut self) {
        self.account().fail(&ProxyError::ClientStalled);
    }

    /// What it gave cannot be sent.
    pub(crate) fn failed_to_send(&mut self) {
        self.account().fail(&ProxyError::ResponseBroken);
    }

    /// The client left before its end was sent.
    pub(crate) fn not_delivered(&mut self) {
        self.account().not_delivered();
    }

    fn account(&mut self) -> &mut Account {
        let (Self::Own { account, .. } | Self::Forwarded(Forwarded { account, .. })) = self;
        account
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin + 'static> Body for ResponseBody<S> {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match self.get_mut() {
            Self::Own { text, .. } => Poll::Ready(text.take().map(|text| Ok(Frame::data(text)))),
            Self::Forwarded(forwarded) => forwarded.poll(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Own { text, .. } => text.is_none(),
            Self::Forwarded(forwarded) => forwarded.incoming.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Own { text, .. } => {
                SizeHint::with_exact(text.as_ref().map_or(0, |text| text.len() as u64))
            }
            Self::Forwarded(forwarded) => forwarded.incoming.size_hint(),
        }
    }
}
