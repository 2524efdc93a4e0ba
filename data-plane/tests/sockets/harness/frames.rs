//! A client of HTTP/2 that sends frames as they are, also those that no library sends.

use std::net::SocketAddr;

use super::client::Client;

pub(crate) const DATA: u8 = 0;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const PING: u8 = 6;
pub(crate) const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const INITIAL_WINDOW_SIZE: [u8; 2] = [0, 4];

/// Connects and lets the server send so many bytes of each body.
pub(crate) async fn connect(to: SocketAddr, window: u32) -> Client {
    let mut client = Client::connect(to).await;
    client.send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
    let setting = [&INITIAL_WINDOW_SIZE[..], &window.to_be_bytes()].concat();
    client.send(frame(SETTINGS, false, 0, &setting)).await;
    client
}

/// The kind of the next frame, and whether it is the last of its stream.
pub(crate) async fn next(client: &mut Client) -> Option<(u8, bool)> {
    let head = client.take(9).await;
    let &[_, high, low, kind, flags, ..] = &head[..] else {
        return None;
    };
    client
        .take(usize::from(u16::from_be_bytes([high, low])))
        .await;
    Some((kind, kind <= HEADERS && flags & END_STREAM > 0))
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
    let mut block = Vec::new();
    for (name, value) in pseudo.iter().chain(fields) {
        block.push(0);
        for text in [name, value] {
            block.push(u8::try_from(text.len()).expect("a short text"));
            block.extend(text.as_bytes());
        }
    }
    frame(HEADERS, is_last, stream, &block)
}
