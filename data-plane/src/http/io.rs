//! The stream of a client: reports to the pulse what moves, and brings back what was read ahead.

use std::future::poll_fn;
use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};

use super::pulse::Pulse;

/// How long a client may take to close its side after we closed ours.
const LINGER: Duration = Duration::from_secs(2);
/// Read at once while there is no codec. Most heads are no longer; the rest is read by the codec.
const READ_BYTES: usize = 4096;

/// Head and body together that are no longer are written as one piece: to copy so little costs less than to have the kernel
/// gather it.
const JOINED_BYTES_MAX: usize = 2048;

/// A client's stream.
pub(super) struct ClientIo<S> {
    stream: S,
    ahead: Bytes,
    pulse: Rc<Pulse>,
    shutdown: Shutdown,
}

/// Who shuts the stream down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shutdown {
    /// The codec, when it has written all.
    Codec,
    /// The session, by [`ClientIo::close`] or [`ClientIo::end`].
    Session,
}

// === impl ClientIo ===

impl<S: AsyncRead + AsyncWrite + Unpin> ClientIo<S> {
    /// `ahead` was read from the stream already and comes first.
    pub(super) fn new(stream: S, ahead: Bytes, pulse: Rc<Pulse>, shutdown: Shutdown) -> Self {
        Self {
            stream,
            ahead,
            pulse,
            shutdown,
        }
    }

    /// Waits for the first bytes of a request and reads them, without a buffer until they are there. False: the client has
    /// closed its side.
    pub(super) async fn is_woken(&mut self) -> io::Result<bool> {
        self.ahead = poll_fn(|cx| {
            let mut room = [MaybeUninit::uninit(); READ_BYTES];
            let mut buffer = ReadBuf::uninit(&mut room);
            ready!(Pin::new(&mut self.stream).poll_read(cx, &mut buffer))?;
            Poll::Ready(io::Result::Ok(Bytes::copy_from_slice(buffer.filled())))
        })
        .await?;
        Ok(!self.ahead.is_empty())
    }

    /// From now on who writes says when nothing more comes: of a tunnel, each direction ends by itself.
    pub(super) fn ends_by_itself(&mut self) {
        self.shutdown = Shutdown::Codec;
    }

    /// Bytes that were read and come again.
    pub(super) fn put_back(&mut self, read: Bytes) {
        self.ahead = read;
    }

    /// Closes it when the client has said that it sends nothing more: there is nothing to wait for. TLS says farewell first;
    /// without TLS dropping the stream is enough.
    pub(super) async fn end(mut self, is_tls: bool) {
        if is_tls {
            // As below: nothing is left to be done for a client that does not take it.
            let _ = tokio::time::timeout(LINGER, self.stream.shutdown()).await;
        }
    }

    /// Closes without a reset: a client that still sends must be able to read the answer (RFC 9112 §9.6).
    pub(super) async fn close(mut self) {
        let closing = async move {
            self.stream.shutdown().await?;
            poll_fn(|cx| {
                loop {
                    let mut room = [MaybeUninit::uninit(); READ_BYTES];
                    let mut rest = ReadBuf::uninit(&mut room);
                    ready!(Pin::new(&mut self.stream).poll_read(cx, &mut rest))?;
                    if rest.filled().is_empty() {
                        return Poll::Ready(io::Result::Ok(()));
                    }
                }
            })
            .await
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
            if self.pulse.is_dry() {
                return Poll::Pending;
            }
            let Poll::Ready(read) = Pin::new(&mut self.stream).poll_read(cx, buffer) else {
                self.pulse.ran_dry();
                return Poll::Pending;
            };
            read?;
        } else {
            let count = self.ahead.len().min(buffer.remaining());
            buffer.put_slice(&self.ahead[..count]);
            self.ahead.advance(count);
            if self.ahead.is_empty() {
                // Let go of the memory, too.
                self.ahead = Bytes::new();
            }
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
        self.pulse.unflushed();
        let count = ready!(Pin::new(&mut self.stream).poll_write(cx, bytes))?;
        self.pulse.wrote(count);
        Poll::Ready(Ok(count))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if let [bytes] = slices {
            return self.poll_write(cx, bytes);
        }
        let bytes: usize = slices.iter().map(|slice| slice.len()).sum();
        if bytes <= JOINED_BYTES_MAX {
            let mut room = [MaybeUninit::uninit(); JOINED_BYTES_MAX];
            let mut joined = ReadBuf::uninit(&mut room);
            for slice in slices {
                joined.put_slice(slice);
            }
            return self.poll_write(cx, joined.filled());
        }
        self.pulse.unflushed();
        let count = ready!(Pin::new(&mut self.stream).poll_write_vectored(cx, slices))?;
        self.pulse.wrote(count);
        Poll::Ready(Ok(count))
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
        self.pulse.flushed();
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.shutdown {
            Shutdown::Codec => Pin::new(&mut self.stream).poll_shutdown(cx),
            Shutdown::Session => Pin::new(&mut self.stream).poll_flush(cx),
        }
    }
}
