//! Waits for the next request of an HTTP/1 connection that has been idle for a while, with nothing but its stream.
//!
//! A codec keeps its buffers as long as it lives. Between two requests it knows nothing that matters, so it is dropped, and
//! another begins with what wakes the connection. Ten thousand clients that say nothing then cost little more than their
//! sockets.

use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite};

use super::io::ClientIo;
use super::pulse::{Expired, Pulse};
use super::watch::{Seen, Watch};

/// `read` is what the codec had read ahead. True: a request begins. False: the client has closed its side.
pub(super) async fn rest<S: AsyncRead + AsyncWrite + Unpin>(
    io: &mut ClientIo<S>,
    read: Bytes,
    pulse: &Pulse,
    watch: &mut Watch,
) -> Result<bool, Seen> {
    pulse.quieten();
    if !read.is_empty() {
        io.put_back(read);
        return Ok(true);
    }
    // Empty, but it still holds the codec's buffer.
    drop(read);
    let mut waking = pin!(io.is_woken());
    poll_fn(|cx| {
        loop {
            if let Poll::Ready(woken) = waking.as_mut().poll(cx) {
                // An error is an end too.
                return Poll::Ready(Ok(woken.unwrap_or(false)));
            }
            match watch.poll(cx) {
                Poll::Ready(Seen::Drain | Seen::Expired(Expired::Quiet)) => {}
                Poll::Ready(seen) => return Poll::Ready(Err(seen)),
                Poll::Pending => return Poll::Pending,
            }
        }
    })
    .await
}
