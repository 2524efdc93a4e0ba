//! The body of a request: counts bytes, holds the limit, and ends when the client pauses too long.
//!
//! The HTTP client that sends it knows only that its body failed. Why it failed, and how far it came, is in the
//! [`Upload`] that `proxy` and the books of the request share with it.

use std::cell::Cell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::time::{Instant, Sleep};

use super::BodyError;
use crate::codec::Incoming;
use crate::error::ProxyError;
use crate::head::trailers;

/// How far the body of a request has come.
#[derive(Debug)]
pub(crate) struct Upload {
    state: Cell<State>,
    bytes: Cell<u64>,
    moved_at: Cell<Instant>,
    waits_for_client: Cell<bool>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Untouched,
    Running,
    Complete,
    Failed(UploadFailure),
}

/// Why it will not be complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum UploadFailure {
    TooLarge,
    Stalled,
    Broken,
}

/// The body of a request, as the HTTP client takes it. Boxed: most requests have none, and each is moved several times.
#[derive(Default)]
pub(crate) struct RequestBody(Option<Box<Running>>);

struct Running {
    incoming: Incoming,
    upload: Rc<Upload>,
    bytes_max: u64,
    pause_max: Duration,
    sleep: Option<Pin<Box<Sleep>>>,
}

// === impl Upload ===

impl Upload {
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.get()
    }

    /// Nothing has been taken from it, so it can still be sent to another endpoint.
    pub(crate) fn is_untouched(&self) -> bool {
        self.state.get() == State::Untouched
    }

    pub(crate) fn is_complete(&self) -> bool {
        self.state.get() == State::Complete
    }

    /// Whether the endpoint would take more, and the client has sent no more.
    pub(crate) fn waits_for_client(&self) -> bool {
        self.waits_for_client.get()
    }

    /// When it last moved.
    pub(crate) fn moved_at(&self) -> Instant {
        self.moved_at.get()
    }

    pub(crate) fn failure(&self) -> Option<UploadFailure> {
        match self.state.get() {
            State::Failed(failure) => Some(failure),
            State::Untouched | State::Running | State::Complete => None,
        }
    }
}

impl From<UploadFailure> for ProxyError {
    fn from(failure: UploadFailure) -> Self {
        match failure {
            UploadFailure::TooLarge => Self::BodyTooLarge,
            UploadFailure::Stalled => Self::BodyTimeout,
            UploadFailure::Broken => Self::BodyBroken,
        }
    }
}

// === impl RequestBody ===

impl RequestBody {
    /// No body at all.
    pub(crate) fn empty() -> Self {
        Self(None)
    }

    /// A body that may have `bytes_max` bytes (0: no limit) and may pause for `pause_max`.
    pub(crate) fn new(
        incoming: Incoming,
        bytes_max: u64,
        pause_max: Duration,
    ) -> (Self, Rc<Upload>) {
        let upload = Rc::new(Upload {
            state: Cell::new(State::Untouched),
            bytes: Cell::new(0),
            moved_at: Cell::new(Instant::now()),
            waits_for_client: Cell::new(false),
        });
        let running = Running {
            incoming,
            upload: upload.clone(),
            bytes_max: if bytes_max == 0 { u64::MAX } else { bytes_max },
            pause_max,
            sleep: None,
        };
        (Self(Some(Box::new(running))), upload)
    }

    /// What it gave cannot be sent.
    pub(crate) fn failed_to_send(&mut self) {
        if let Some(running) = &mut self.0 {
            running.fail(UploadFailure::Broken);
        }
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match &mut self.0 {
            None => Poll::Ready(None),
            Some(running) => running.poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.0
            .as_ref()
            .is_none_or(|running| running.incoming.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        self.0.as_ref().map_or(SizeHint::with_exact(0), |running| {
            running.incoming.size_hint()
        })
    }
}

// === impl Running ===

impl Running {
    fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if let Some(_failure) = self.upload.failure() {
            return Poll::Ready(Some(Err(BodyError("the request body has failed"))));
        }
        if self.upload.is_untouched() {
            self.upload.state.set(State::Running);
        }
        let polled = Pin::new(&mut self.incoming).poll_frame(cx);
        self.upload.waits_for_client.set(polled.is_pending());
        match polled {
            Poll::Ready(Some(Ok(frame))) => Poll::Ready(self.pass(frame)),
            Poll::Ready(Some(Err(_))) => Poll::Ready(Some(Err(self.fail(UploadFailure::Broken)))),
            Poll::Ready(None) => {
                self.upload.moved_at.set(Instant::now());
                self.upload.state.set(State::Complete);
                Poll::Ready(None)
            }
            Poll::Pending => self.poll_pause(cx),
        }
    }

    /// Nothing: it has ended with trailers of which none may pass.
    fn pass(&mut self, mut frame: Frame<Bytes>) -> Option<Result<Frame<Bytes>, BodyError>> {
        self.sleep = None;
        self.upload.moved_at.set(Instant::now());
        if let Some(trailers) = frame.trailers_mut() {
            trailers::strip_request(trailers);
            if trailers.is_empty() {
                self.upload.state.set(State::Complete);
                return None;
            }
        }
        let length = frame.data_ref().map_or(0, Bytes::len) as u64;
        let bytes = self.upload.bytes.get() + length;
        self.upload.bytes.set(bytes);
        if bytes > self.bytes_max {
            return Some(Err(self.fail(UploadFailure::TooLarge)));
        }
        // A body is not polled again after its trailers, nor after the last byte of a declared length.
        if frame.is_trailers() || self.incoming.is_end_stream() {
            self.upload.state.set(State::Complete);
        }
        Some(Ok(frame))
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
            Poll::Ready(()) => Poll::Ready(Some(Err(self.fail(UploadFailure::Stalled)))),
        }
    }

    fn fail(&mut self, failure: UploadFailure) -> BodyError {
        self.upload.state.set(State::Failed(failure));
        BodyError(match failure {
            UploadFailure::TooLarge => "the request body is larger than allowed",
            UploadFailure::Stalled => "the request body stopped arriving",
            UploadFailure::Broken => "the request body is broken",
        })
    }
}
