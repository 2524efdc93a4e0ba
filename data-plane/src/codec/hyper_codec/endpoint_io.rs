//! The stream to an HTTP/1.1 endpoint: goes on to be read when it can no longer be written to.
//!
//! An endpoint may refuse an upload with an answer and close while we still send. Our next write fails then, but the
//! answer is there to be read; hyper would give up at the write. So what cannot be sent any more is thrown away, and
//! what is read decides: an answer, or the end of the connection. It takes no further request: its reads end.

use std::io::{self, ErrorKind};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// An endpoint's stream.
pub(super) struct EndpointIo<S> {
    stream: S,
    /// The endpoint takes nothing more.
    is_deaf: bool,
}

// === impl EndpointIo ===

impl<S> EndpointIo<S> {
    pub(super) fn new(stream: S) -> Self {
        let is_deaf = false;
        Self { stream, is_deaf }
    }

    pub(super) fn into_inner(self) -> S {
        self.stream
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

impl<S: AsyncRead + Unpin> AsyncRead for EndpointIo<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for EndpointIo<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
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
