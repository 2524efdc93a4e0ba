//! A body as it arrives on an HTTP/2 connection, of either side. What has been taken of it makes room for more (flow control).

use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::{Reason, RecvStream};
use http::HeaderMap;
use http::header::CONTENT_LENGTH;
use http_body::{Frame, SizeHint};

use crate::head::size;

/// What trailers may have. More ends the body as broken: on the link to the next peer they could cost the connection.
const TRAILERS_BYTES_MAX: usize = 64 * 1024;

/// A body as it arrives.
pub(crate) struct Received {
    stream: RecvStream,
    /// What is still to come, when the head has told.
    bytes_left: Option<u64>,
    has_trailers_next: bool,
    /// Known from the head: to ask the stream takes a lock.
    is_empty: bool,
    /// A reset that names no error does not break what is whole.
    may_be_reset: bool,
}

// === impl Received ===

impl Received {
    /// Of a request. A client that resets its stream has not sent it whole, whatever it gives as the reason.
    pub(crate) fn of_request(stream: RecvStream, head: &HeaderMap) -> Self {
        Self::new(stream, head, false)
    }

    /// Of a response.
    pub(crate) fn of_response(stream: RecvStream, head: &HeaderMap) -> Self {
        Self::new(stream, head, true)
    }

    fn new(stream: RecvStream, head: &HeaderMap, may_be_reset: bool) -> Self {
        let is_empty = stream.is_end_stream();
        let length = || head.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok();
        Self {
            stream,
            bytes_left: if is_empty { Some(0) } else { length() },
            has_trailers_next: false,
            is_empty,
            may_be_reset,
        }
    }

    pub(crate) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, h2::Error>>> {
        if self.is_empty {
            return Poll::Ready(None);
        }
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
            Ok(Some(trailers)) if size::of_fields(&trailers) > TRAILERS_BYTES_MAX => {
                Poll::Ready(Some(Err(Reason::ENHANCE_YOUR_CALM.into())))
            }
            Ok(Some(trailers)) => Poll::Ready(Some(Ok(Frame::trailers(trailers)))),
            Ok(None) => Poll::Ready(None),
            Err(error) => Poll::Ready(Some(Err(error))),
        }
    }

    pub(crate) fn is_end_stream(&self) -> bool {
        // What does not bring the bytes that its head has told is an error, and no end: then the stream need not be asked.
        let is_due = self.bytes_left.is_some_and(|left| left > 0);
        self.is_empty || (!is_due && self.stream.is_end_stream())
    }

    pub(crate) fn size_hint(&self) -> SizeHint {
        match self.bytes_left {
            Some(left) => SizeHint::with_exact(left),
            None if self.stream.is_end_stream() => SizeHint::with_exact(0),
            None => SizeHint::default(),
        }
    }

    /// An endpoint that has answered in full may ask us not to send the rest of the request (RFC 9113 §8.1). An answer whose
    /// end was announced by END_STREAM does not come here: h2 forgets it for no reset. Of one without, only a length tells.
    fn is_whole(&self, error: &h2::Error) -> bool {
        let asks = error.is_reset() && error.reason() == Some(Reason::NO_ERROR);
        self.may_be_reset && asks && self.bytes_left == Some(0)
    }
}
