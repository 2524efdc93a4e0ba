//! What a slow client says: at first, and then again and again. Pure.
//!
//! In HTTP/2 the frames are written as they are, with header fields as literals, so that one connection can be slow on many streams.

use crate::slow::{Kind, Protocol};

/// Bytes that a slow upload promises. It never gets there.
const BODY_BYTES: u64 = 1 << 30;
/// The largest window of HTTP/2 (RFC 9113 §6.9.1).
const WINDOW_MAX: u32 = (1 << 31) - 1;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const INITIAL_WINDOW_SIZE: [u8; 2] = [0, 4];

/// The words of one connection.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Script {
    pub(crate) opening: Vec<u8>,
    /// Said after each pause; nothing: the client is silent.
    pub(crate) further: Vec<u8>,
}

/// What a script is about.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Request<'r> {
    pub(crate) host: &'r str,
    pub(crate) path: &'r str,
    pub(crate) is_tls: bool,
    /// Of HTTP/2.
    pub(crate) streams: u32,
    /// Of HTTP/2: how much of each answer the server may send.
    pub(crate) window: u32,
}

// === impl Script ===

impl Script {
    pub(crate) fn new(kind: Kind, protocol: Protocol, request: Request<'_>) -> Self {
        match (kind, protocol) {
            (Kind::Handshakes, _) => Self {
                // The head of a TLS record, and of a ClientHello that never comes whole.
                opening: vec![0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3],
                further: vec![0],
            },
            (_, Protocol::Http1) => http1(kind, request),
            (_, Protocol::H2) => http2(kind, request),
        }
    }
}

fn http1(kind: Kind, request: Request<'_>) -> Script {
    let Request { host, path, .. } = request;
    let (opening, further) = match kind {
        Kind::Reads => (format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n"), ""),
        Kind::Bodies => (
            format!("POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Length: {BODY_BYTES}\r\n\r\n"),
            "x",
        ),
        Kind::Heads | Kind::Handshakes => (
            format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nX-Slow: "),
            "x",
        ),
    };
    Script {
        opening: opening.into_bytes(),
        further: further.into(),
    }
}

fn http2(kind: Kind, request: Request<'_>) -> Script {
    let mut opening = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    let setting = [&INITIAL_WINDOW_SIZE[..], &request.window.to_be_bytes()].concat();
    opening.extend(frame(SETTINGS, 0, 0, &setting));
    let more = WINDOW_MAX - 65_535;
    opening.extend(frame(WINDOW_UPDATE, 0, 0, &more.to_be_bytes()));
    let mut further = Vec::new();
    // A head that is not whole must be followed by its continuation: only one stream can be slow with it.
    let streams = if kind == Kind::Heads {
        1
    } else {
        request.streams
    };
    for stream in (0..streams).map(|number| 2 * number + 1) {
        let method = if kind == Kind::Bodies { "POST" } else { "GET" };
        let scheme = if request.is_tls { "https" } else { "http" };
        let mut fields = Vec::new();
        for (name, value) in [
            (":method", method),
            (":scheme", scheme),
            (":authority", request.host),
            (":path", request.path),
        ] {
            fields.extend(literal(name, value));
        }
        let (flags, again) = match kind {
            Kind::Heads | Kind::Handshakes => (
                END_STREAM,
                frame(CONTINUATION, 0, stream, &literal("x", "y")),
            ),
            Kind::Bodies => (END_HEADERS, frame(DATA, 0, stream, b"x")),
            Kind::Reads => (END_STREAM | END_HEADERS, Vec::new()),
        };
        opening.extend(frame(HEADERS, flags, stream, &fields));
        further.extend(again);
    }
    Script { opening, further }
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len())
        .unwrap_or(u32::MAX)
        .to_be_bytes();
    let stream = stream.to_be_bytes();
    [&length[1..], &[kind, flags], &stream, payload].concat()
}

/// A field that is neither compressed nor remembered (RFC 7541 §6.2.2).
fn literal(name: &str, value: &str) -> Vec<u8> {
    let mut field = vec![0];
    for text in [name, value] {
        // Lengths of 127 and more continue in further bytes (RFC 7541 §5.1).
        let mut length = text.len();
        if length < 127 {
            field.push(length as u8);
        } else {
            field.push(127);
            length -= 127;
            while length >= 128 {
                field.push((length % 128) as u8 | 128);
                length /= 128;
            }
            field.push(length as u8);
        }
        field.extend(text.as_bytes());
    }
    field
}

#[cfg(test)]
mod tests {
    use super::*;

    fn script(kind: Kind, protocol: Protocol, streams: u32) -> Script {
        let request = Request {
            host: "a.example",
            path: "/x",
            is_tls: false,
            streams,
            window: 9,
        };
        Script::new(kind, protocol, request)
    }

    #[test]
    fn a_slow_client_of_http1_never_ends_what_it_began() {
        let heads = script(Kind::Heads, Protocol::Http1, 1);
        assert!(
            !String::from_utf8(heads.opening)
                .unwrap()
                .contains("\r\n\r\n")
        );
        let bodies = script(Kind::Bodies, Protocol::Http1, 1);
        assert!(bodies.opening.ends_with(b"\r\n\r\n"));
        let reads = script(Kind::Reads, Protocol::Http1, 1);
        assert!(
            reads.further.is_empty(),
            "it has asked and only takes its time"
        );
    }

    #[test]
    fn frames_follow_one_another_without_a_gap() {
        for (kind, streams, kinds) in [
            (
                Kind::Reads,
                2,
                vec![SETTINGS, WINDOW_UPDATE, HEADERS, HEADERS],
            ),
            (
                Kind::Bodies,
                1,
                vec![SETTINGS, WINDOW_UPDATE, HEADERS, DATA],
            ),
            (
                Kind::Heads,
                5,
                vec![SETTINGS, WINDOW_UPDATE, HEADERS, CONTINUATION],
            ),
        ] {
            let Script { opening, further } = script(kind, Protocol::H2, streams);
            let all = [opening, further].concat();
            let mut rest = all
                .strip_prefix(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
                .unwrap();
            let mut found = Vec::new();
            while let [high, middle, low, kind, ..] = *rest {
                found.push(kind);
                let length = u32::from_be_bytes([0, high, middle, low]);
                rest = &rest[9 + length as usize..];
            }
            assert_eq!((found, rest), (kinds, &[][..]), "{kind:?}");
        }
    }

    #[test]
    fn long_texts_have_long_lengths() {
        let long = "x".repeat(127 + 300);
        let field = literal("x", &long);
        assert_eq!(field[..6], [0, 1, b'x', 127, 128 | 44, 2]);
        assert_eq!(field.len(), 6 + long.len());
    }
}
