//! What stands around the proxy: clients that check their answers, and endpoints that give them.
//!
//! In: one end of a connection. HTTP/1.1 is written and read by hand, HTTP/2 is hyper's. None of it is counted.

use std::convert::Infallible;
use std::net::SocketAddr;

use bytes::{Buf, Bytes, BytesMut};
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http2::SendRequest;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tiergate_data_plane::net::{Listener, Net};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::task::spawn_local;

use crate::network::{Memory, MemoryListener, Peer, PeerExecutor};

/// One HTTP/1.1 connection, of a client or of an endpoint.
pub(crate) struct Http1 {
    stream: DuplexStream,
    read: BytesMut,
}

/// The answer that nginx gives with a file of this size.
pub(crate) fn answer(body_bytes: usize) -> Bytes {
    let head = format!(
        "HTTP/1.1 200 OK\r\nServer: nginx/1.22.1\r\nDate: Sat, 01 Jan 2000 00:00:00 GMT\r\n\
         Content-Type: application/octet-stream\r\nContent-Length: {body_bytes}\r\n\
         Last-Modified: Sat, 01 Jan 2000 00:00:00 GMT\r\nConnection: keep-alive\r\n\
         ETag: \"386d4380-40\"\r\nAccept-Ranges: bytes\r\n\r\n"
    );
    let mut answer = head.into_bytes();
    answer.resize(answer.len() + body_bytes, b'x');
    answer.into()
}

/// Answers every HTTP/1.1 request with these bytes.
pub(crate) async fn serve_http1(mut listener: MemoryListener, answer: Bytes) {
    loop {
        let (stream, _) = listener.accept().await;
        let answer = answer.clone();
        let mut connection = Http1::new(stream);
        drop(spawn_local(Peer::new(async move {
            while connection.message().await.is_some() {
                if connection.stream.write_all(&answer).await.is_err() {
                    break;
                }
            }
        })));
    }
}

/// Answers every HTTP/2 request with a body of this size.
pub(crate) async fn serve_http2(mut listener: MemoryListener, body_bytes: usize) {
    let body = Bytes::from(vec![b'x'; body_bytes]);
    loop {
        let (stream, _) = listener.accept().await;
        let body = body.clone();
        let service = service_fn(move |request: Request<Incoming>| {
            let answer = Response::new(Full::new(body.clone()));
            async move { request.into_body().collect().await.map(|_| answer) }
        });
        let connection = hyper::server::conn::http2::Builder::new(PeerExecutor)
            .serve_connection(TokioIo::new(stream), service);
        drop(spawn_local(Peer::new(async move {
            drop(connection.await);
            Ok::<_, Infallible>(())
        })));
    }
}

/// A client's connection with HTTP/2.
pub(crate) async fn http2_client(net: &Memory, to: SocketAddr) -> SendRequest<Full<Bytes>> {
    let stream = net.connect(to, None).await.expect("the worker listens");
    let io = TokioIo::new(stream);
    let handshake = hyper::client::conn::http2::handshake(PeerExecutor, io).await;
    let (client, connection) = handshake.expect("the worker speaks HTTP/2");
    drop(spawn_local(Peer::new(
        async move { drop(connection.await) },
    )));
    client
}

// === impl Http1 ===

impl Http1 {
    pub(crate) async fn connect(net: &Memory, to: SocketAddr) -> Self {
        Self::new(net.connect(to, None).await.expect("the worker listens"))
    }

    fn new(stream: DuplexStream) -> Self {
        let read = BytesMut::new();
        Self { stream, read }
    }

    /// Sends a request. Returns the status of the answer and the size of its body.
    pub(crate) async fn exchange(&mut self, request: &[u8]) -> (StatusCode, usize) {
        let written = self.stream.write_all(request).await;
        written.expect("the worker reads");
        let (status, body_bytes) = self.message().await.expect("the worker answers");
        (status.expect("answers have a status"), body_bytes)
    }

    /// The status of the next message, if it is an answer, and the size of its body.
    async fn message(&mut self) -> Option<(Option<StatusCode>, usize)> {
        let head_bytes = loop {
            if let Some(at) = self.read.windows(4).position(|four| four == b"\r\n\r\n") {
                break at + 4;
            }
            self.more().await?;
        };
        let head = std::str::from_utf8(&self.read[..head_bytes]).expect("heads are text");
        let status = head
            .strip_prefix("HTTP/1.1 ")
            .and_then(|rest| StatusCode::from_bytes(rest.get(..3)?.as_bytes()).ok());
        let length = head.lines().find_map(|line| {
            let (name, value) = line.split_once(": ")?;
            let is_length = name.eq_ignore_ascii_case("content-length");
            is_length.then(|| value.parse().expect("lengths are numbers"))
        });
        let body_bytes: usize = length.unwrap_or(0);
        self.read.advance(head_bytes);
        let mut left = body_bytes;
        loop {
            let taken = left.min(self.read.len());
            self.read.advance(taken);
            left -= taken;
            if left == 0 {
                return Some((status, body_bytes));
            }
            self.more().await?;
        }
    }

    async fn more(&mut self) -> Option<()> {
        self.read.reserve(64 * 1024);
        let read = self.stream.read_buf(&mut self.read).await.ok()?;
        (read > 0).then_some(())
    }
}
