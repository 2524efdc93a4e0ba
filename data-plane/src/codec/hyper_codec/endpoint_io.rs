//! The stream to an HTTP/1.1 endpoint: goes on to be read when it can no longer be written to.
//!
//! An endpoint may refuse an upload with an answer and close while we still send. Our next write fails then, but the
//! answer is there to be read; hyper would give up at the write. So what cannot be sent any more is thrown away, and
//! what is read decides: an answer, or the end of the connection. It takes no further request: its reads end.
//!
//! It also keeps the head of the request that is being sent, for a second try: hyper takes a request whole and encodes it at
//! once, so the first write has all of the head, and to keep those bytes costs less than any other copy. And it asks
//! `interim` before each read, as hyper's reads pass nobody else.

use std::cell::{Cell, RefCell};
use std::io::{self, ErrorKind};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use http::HeaderMap;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::interim::{Awaited, Instead};
use crate::head::fields;

/// An endpoint's stream.
pub(super) struct EndpointIo<S> {
    stream: S,
    exchange: Rc<Exchange>,
    /// The endpoint takes nothing more.
    is_deaf: bool,
}

/// The last request of a connection.
pub(super) struct Exchange {
    is_head_awaited: Cell<bool>,
    /// Its head as it was written. The room is used again for the next one.
    head: RefCell<Vec<u8>>,
    answer: Awaited,
}

// === impl EndpointIo ===

impl<S> EndpointIo<S> {
    pub(super) fn new(stream: S, exchange: Rc<Exchange>) -> Self {
        let is_deaf = false;
        Self {
            stream,
            exchange,
            is_deaf,
        }
    }

    pub(super) fn into_inner(self) -> S {
        self.stream
    }

    /// Notes what hyper writes, whether the endpoint takes it or not.
    fn note(&self, slices: &[io::IoSlice<'_>]) {
        if self.exchange.is_head_awaited.replace(false) {
            let mut head = self.exchange.head.borrow_mut();
            for slice in slices {
                head.extend_from_slice(slice);
            }
        }
    }

    /// What a write of so many bytes is for hyper.
    fn written(&mut self, result: io::Result<usize>, bytes: usize) -> io::Result<usize> {
        match result {
            Err(error) if is_closed(&error) => {
                self.is_deaf = true;
                Ok(bytes)
            }
            other => other,
        }
    }
}

fn is_closed(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::BrokenPipe | ErrorKind::ConnectionReset
    )
}

// === impl Exchange ===

impl Exchange {
    /// For answers whose heads have so many bytes at the most.
    pub(super) fn new(head_bytes_max: usize) -> Self {
        Self {
            is_head_awaited: Cell::new(false),
            head: RefCell::default(),
            answer: Awaited::new(head_bytes_max),
        }
    }

    /// A request is to be sent. The head of one with a body is not kept: none of those is sent a second time.
    pub(super) fn begin(&self, has_body: bool) {
        self.head.borrow_mut().clear();
        self.is_head_awaited.set(!has_body);
        self.answer.begin();
    }

    /// The head of its answer is there, or an error.
    pub(super) fn answered(&self) {
        self.answer.end();
    }

    /// Whether the endpoint sent too much before its answer.
    pub(super) fn is_too_much(&self) -> bool {
        self.answer.is_too_much()
    }

    /// The fields of the request, if its head was written.
    pub(super) fn fields(&self) -> Option<HeaderMap> {
        fields::of_head(&self.head.borrow())
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for EndpointIo<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.exchange.answer.instead() {
            Some(Instead::Yield) => {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            Some(Instead::GiveUp) => return Poll::Ready(Err(ErrorKind::InvalidData.into())),
            None => {}
        }
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(cx, buffer);
        match polled {
            Poll::Ready(_) => self.exchange.answer.read(buffer.filled().len() - before),
            Poll::Pending => self.exchange.answer.waits(),
        }
        polled
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for EndpointIo<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.note(&[io::IoSlice::new(bytes)]);
        if self.is_deaf {
            return Poll::Ready(Ok(bytes.len()));
        }
        let result = ready!(Pin::new(&mut self.stream).poll_write(cx, bytes));
        Poll::Ready(self.written(result, bytes.len()))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        // A request without a body is one slice, and to send that is less work for the kernel.
        if let [bytes] = slices {
            return self.poll_write(cx, bytes);
        }
        self.note(slices);
        let bytes = slices.iter().map(|slice| slice.len()).sum();
        if self.is_deaf {
            return Poll::Ready(Ok(bytes));
        }
        let result = ready!(Pin::new(&mut self.stream).poll_write_vectored(cx, slices));
        Poll::Ready(self.written(result, bytes))
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.is_deaf {
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.is_deaf {
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
