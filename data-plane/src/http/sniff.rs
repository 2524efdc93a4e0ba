//! Tells HTTP/2 with prior knowledge from HTTP/1 by the first bytes of a plain connection (RFC 9113 §3.3).

use std::io;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Whether the client speaks HTTP/2, and what was read to know it. Waits without limit: the caller sets one.
pub(super) async fn is_http2(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<(bool, Bytes)> {
    let mut read = BytesMut::with_capacity(PREFACE.len());
    while read.len() < PREFACE.len() && PREFACE.starts_with(&read) {
        let room = PREFACE.len() - read.len();
        if (&mut *stream).take(room as u64).read_buf(&mut read).await? == 0 {
            break;
        }
    }
    Ok((read == PREFACE, read.freeze()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_the_whole_preface_is_http2_and_nothing_is_lost() {
        let with_frames = [PREFACE, b"\0\0\0\x04"].concat();
        for (sent, is_h2, read) in [
            (&with_frames[..], true, PREFACE),
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
