//! The body of a response on an HTTP/2 connection. What the client has taken makes room for more (flow control).

use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::{Reason, RecvStream};
use http_body::{Frame, SizeHint};

/// A body as it arrives.
pub(crate) struct Received {
    stream: RecvStream,
    /// What is still to come, when the head has told.
    bytes_left: Option<u64>,
    has_trailers_next: bool,
}

// === impl Received ===

impl Received {
    pub(super) fn new(stream: RecvStream, length: Option<u64>) -> Self {
        Self {
            stream,
            bytes_left: length,
            has_trailers_next: false,
        }
    }

    pub(in super::super) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, h2::Error>>> {
        if !self.has_trailers_next {
            match ready!(self.stream.poll_data(cx)) {
                Some(Ok(data)) => {
                    let length = data.len();
                    let _ = self.stream.flow_control().release_capacity(length);
                    if let Some(left) = &mut self.bytes_left {
                        *left = left.saturating_sub(length as u64);
                    }
                    return Poll::Ready(Some(Ok(Frame::data(data))));
                }
                Some(Err(error)) if self.is_whole(&error) => return Poll::Ready(None),
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => self.has_trailers_next = true,
            }
        }
        match ready!(self.stream.poll_trailers(cx)) {
            Ok(Some(trailers)) => Poll::Ready(Some(Ok(Frame::trailers(trailers)))),
            Ok(None) => Poll::Ready(None),
            Err(error) if self.is_whole(&error) => Poll::Ready(None),
            Err(error) => Poll::Ready(Some(Err(error))),
        }
    }

    pub(in super::super) fn is_end_stream(&self) -> bool {
        self.stream.is_end_stream()
    }

    pub(in super::super) fn size_hint(&self) -> SizeHint {
        if self.stream.is_end_stream() {
            return SizeHint::with_exact(0);
        }
        self.bytes_left
            .map_or_else(SizeHint::default, SizeHint::with_exact)
    }

    /// An endpoint that has answered in full may ask us not to send the rest of the request (RFC 9113 §8.1).
    fn is_whole(&self, error: &h2::Error) -> bool {
        let asks = error.is_reset() && error.reason() == Some(Reason::NO_ERROR);
        asks && self.bytes_left.is_none_or(|left| left == 0)
    }
}
