//! Peers of HTTP/2 that send frames as they are, also those that no library sends.

use std::net::SocketAddr;

use super::client::Client;
use super::endpoint::{Endpoint, Peer, scripted};

pub(crate) const DATA: u8 = 0;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PING: u8 = 6;
pub(crate) const GOAWAY: u8 = 7;
pub(crate) const WINDOW_UPDATE: u8 = 8;
pub(crate) const HEADERS: u8 = 1;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const INITIAL_WINDOW_SIZE: [u8; 2] = [0, 4];
const PREFACE: &str = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Connects and lets the server send so many bytes of each body.
pub(crate) async fn connect(to: SocketAddr, window: u32) -> Client {
    let mut client = Client::connect(to).await;
    greet(&mut client, window).await;
    client
}

/// Begins a connection, and lets the server send so many bytes of each body.
pub(crate) async fn greet(client: &mut Client, window: u32) {
    client.send(PREFACE).await;
    let setting = [&INITIAL_WINDOW_SIZE[..], &window.to_be_bytes()].concat();
    client.send(frame(SETTINGS, false, 0, &setting)).await;
}

/// Starts an endpoint that answers each request with the bytes that `answer` makes for its stream.
pub(crate) async fn answering(answer: impl Fn(u32) -> Vec<u8> + Clone + 'static) -> Endpoint {
    scripted(move |mut peer: Peer| {
        let answer = answer.clone();
        async move {
            peer.wire.take(PREFACE.len()).await;
            peer.wire.send(frame(SETTINGS, false, 0, &[])).await;
            while let Some(frame) = read(&mut peer.wire).await {
                if frame.kind == HEADERS {
                    peer.wire.send(answer(frame.stream)).await;
                }
            }
        }
    })
    .await
}

/// A frame from the peer.
#[derive(Debug)]
pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) stream: u32,
    pub(crate) payload: Vec<u8>,
}

/// The next frame.
pub(crate) async fn read(client: &mut Client) -> Option<Frame> {
    let head = client.take(9).await;
    let &[_, high, low, kind, flags, a, b, c, d] = &head[..] else {
        return None;
    };
    let length = usize::from(u16::from_be_bytes([high, low]));
    Some(Frame {
        kind,
        flags,
        stream: u32::from_be_bytes([a, b, c, d]),
        payload: client.take(length).await,
    })
}

/// The kind of the next frame, and whether it is the last of its stream.
pub(crate) async fn next(client: &mut Client) -> Option<(u8, bool)> {
    let frame = read(client).await?;
    Some((frame.kind, frame.is_last()))
}

// === impl Frame ===

impl Frame {
    /// Whether its stream ends with it, and not by a reset.
    pub(crate) fn is_last(&self) -> bool {
        self.kind <= HEADERS && self.flags & END_STREAM > 0
    }
}

/// One frame.
pub(crate) fn frame(kind: u8, is_last: bool, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("a small frame");
    let mut flags = u8::from(is_last) * END_STREAM;
    if kind == HEADERS {
        flags |= END_HEADERS;
    }
    let head = [
        &length.to_be_bytes()[1..],
        &[kind, flags],
        &stream.to_be_bytes(),
    ];
    [&head.concat(), payload].concat()
}

/// A request for a.example, each field as a literal.
pub(crate) fn request(
    stream: u32,
    is_last: bool,
    method: &str,
    path: &str,
    fields: &[(&str, &str)],
) -> Vec<u8> {
    let pseudo = [
        (":method", method),
        (":scheme", "http"),
        (":authority", "a.example"),
        (":path", path),
    ];
    let all = [&pseudo, fields].concat();
    fields_of(stream, is_last, &all)
}

/// A frame with these fields, each as a literal: a head or trailers.
pub(crate) fn fields_of(stream: u32, is_last: bool, fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        for text in [name, value] {
            block.push(u8::try_from(text.len()).expect("a short text"));
            block.extend(text.as_bytes());
        }
    }
    frame(HEADERS, is_last, stream, &block)
}
