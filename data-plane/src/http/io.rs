//! The stream of a client: reports to the pulse what moves, and brings back what was read ahead.

use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};

use super::pulse::Pulse;

/// How long a client may take to close its side after we closed ours.
const LINGER: Duration = Duration::from_secs(2);

/// A client's stream.
pub(super) struct ClientIo<S> {
    stream: S,
    ahead: Bytes,
    pulse: Rc<Pulse>,
}

// === impl ClientIo ===

impl<S: AsyncRead + AsyncWrite + Unpin> ClientIo<S> {
    /// `ahead` was read from the stream already and comes first.
    pub(super) fn new(stream: S, ahead: Bytes, pulse: Rc<Pulse>) -> Self {
        Self {
            stream,
            ahead,
            pulse,
        }
    }

    /// Closes without a reset: a client that still sends must be able to read the answer (RFC 9112 §9.6).
    pub(super) async fn close(mut self) {
        let closing = async move {
            let mut rest = [0; 4096];
            self.stream.shutdown().await?;
            while self.stream.read(&mut rest).await? > 0 {}
            io::Result::Ok(())
        };
        // The client may be gone, or slow, or hostile: nothing is left to be done for it.
        let _ = tokio::time::timeout(LINGER, closing).await;
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for ClientIo<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        if self.ahead.is_empty() {
            ready!(Pin::new(&mut self.stream).poll_read(cx, buffer))?;
        } else {
            let count = self.ahead.len().min(buffer.remaining());
            buffer.put_slice(&self.ahead[..count]);
            self.ahead.advance(count);
        }
        if buffer.filled().len() > before {
            self.pulse.read();
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for ClientIo<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let count = ready!(Pin::new(&mut self.stream).poll_write(cx, bytes))?;
        self.pulse.wrote(count);
        Poll::Ready(Ok(count))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let count = ready!(Pin::new(&mut self.stream).poll_write_vectored(cx, slices))?;
        self.pulse.wrote(count);
        Poll::Ready(Ok(count))
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
