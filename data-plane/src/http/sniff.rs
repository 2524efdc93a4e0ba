//! Tells HTTP/2 with prior knowledge from HTTP/1 by the first bytes of a plain connection (RFC 9113 §3.3).

use std::future::poll_fn;
use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::ready;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, ReadBuf};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Most first heads are no longer, so that one read gets both them and the protocol.
const READ_BYTES: usize = 4096;

/// Whether the client speaks HTTP/2, and what was read to know it. Waits without limit: the caller sets one. A connection that
/// has said nothing yet has no buffer.
pub(super) async fn is_http2(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<(bool, Bytes)> {
    let mut read = some(stream).await?;
    while read.len() < PREFACE.len() && PREFACE.starts_with(&read) {
        let more = some(stream).await?;
        if more.is_empty() {
            break;
        }
        read.extend_from_slice(&more);
    }
    Ok((read.starts_with(PREFACE), read.freeze()))
}

/// What there is to be read; nothing: the end.
async fn some(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<BytesMut> {
    poll_fn(|cx| {
        let mut room = [MaybeUninit::uninit(); READ_BYTES];
        let mut buffer = ReadBuf::uninit(&mut room);
        ready!(Pin::new(&mut *stream).poll_read(cx, &mut buffer))?;
        Ok(BytesMut::from(buffer.filled())).into()
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_the_whole_preface_is_http2_and_nothing_is_lost() {
        let with_frames = [PREFACE, b"\0\0\0\x04"].concat();
        for (sent, is_h2, read) in [
            (&with_frames[..], true, &with_frames[..]),
            (
                b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r",
                false,
                b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r",
            ),
            (b"GET / HTTP/1.1\r\n\r\n", false, b"GET / HTTP/1.1\r\n\r\n"),
            (b"PRI * HTTP/1.1\r\n\r\n", false, b"PRI * HTTP/1.1\r\n\r\n"),
            (b"PRI", false, b"PRI"),
            (b"", false, b""),
        ] {
            let mut stream = sent;
            let (found, ahead) = is_http2(&mut stream).await.unwrap();
            assert_eq!((found, &ahead[..]), (is_h2, read), "{sent:?}");
            assert_eq!([&ahead[..], stream].concat(), sent);
        }
    }

    #[tokio::test]
    async fn the_preface_may_come_byte_by_byte() {
        let mut script = tokio_test_stream(PREFACE);
        let (found, ahead) = is_http2(&mut script).await.unwrap();
        assert!(found);
        assert_eq!(&ahead[..], PREFACE);
    }

    /// A stream whose reads give one byte each.
    fn tokio_test_stream(bytes: &'static [u8]) -> impl AsyncRead + Unpin {
        let (mut sender, receiver) = tokio::io::duplex(1);
        tokio::spawn(async move { tokio::io::AsyncWriteExt::write_all(&mut sender, bytes).await });
        receiver
    }
}
