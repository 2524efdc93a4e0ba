//! Streams without end: near HTTP/1.1, and wrong in the places where parsers have been wrong.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};

use super::corpus::Asked;

/// Where a stream is cut, whatever its length.
pub(super) type Cut = Vec<Index>;

const METHODS: [&str; 6] = ["GET", "POST", "HEAD", "PUT", "OPTIONS", "BREW"];
const TARGETS: [&str; 6] = ["/", "/a?b", "/stream", "*", "http://b/x", "/a b"];
const VERSIONS: [&str; 4] = ["HTTP/1.1", "HTTP/1.1", "HTTP/1.0", "HTTP/1.2"];
const STATUS: [&str; 9] = [
    "200 OK",
    "200",
    "204 No Content",
    "304 Not Modified",
    "100 Continue",
    "103 Early Hints",
    "101 Switching Protocols",
    "404 Not Found",
    "99 x",
];
const LINE_ENDS: [&str; 8] = [
    "\r\n", "\r\n", "\r\n", "\r\n", "\r\n", "\r\n", "\n", "\r\r\n",
];
const FIELDS: [&str; 24] = [
    "Host: a",
    "Host: a",
    "X: 1",
    "X:\t2 ",
    "Y: a, b",
    "Connection: close",
    "Connection: keep-alive",
    "Connection: upgrade",
    "Upgrade: x",
    "Content-Length: 5",
    "Content-Length: 5",
    "Content-Length: 3",
    "Content-Length: 5, 5",
    "Content-Length: -1",
    "content-length:5",
    "Transfer-Encoding: chunked",
    "Transfer-Encoding: chunked",
    "transfer-encoding:\tChunked",
    "Transfer-Encoding: gzip, chunked",
    "Transfer-Encoding : chunked",
    "Expect: 100-continue",
    "Trailer: X",
    " folded",
    "no colon",
];
const BODIES: [&str; 10] = [
    "",
    "",
    "hello",
    "hello",
    "5\r\nhello\r\n0\r\n\r\n",
    "5\r\nhello\r\n0\r\n\r\n",
    "2;x=y\r\nhi\r\n3\r\n...\r\n0\r\nX: 1\r\n\r\n",
    "5\nhello\n0\n\n",
    "5\r\nhelloX\r\n0\r\n\r\n",
    "0\r\n",
];

/// One to three requests behind each other, perhaps with a byte changed.
pub(super) fn requests() -> impl Strategy<Value = Vec<u8>> {
    let line = (
        select(&METHODS[..]),
        select(&TARGETS[..]),
        select(&VERSIONS[..]),
    );
    let line = line.prop_map(|(method, target, version)| format!("{method} {target} {version}"));
    vec(message(line), 1..4).prop_flat_map(|messages| damaged(messages.concat()))
}

/// One to three answers behind each other, perhaps with a byte changed.
pub(super) fn answers() -> impl Strategy<Value = Vec<u8>> {
    let line = (select(&VERSIONS[..]), select(&STATUS[..]));
    let line = line.prop_map(|(version, status)| format!("{version} {status}"));
    vec(message(line), 1..4).prop_flat_map(|messages| damaged(messages.concat()))
}

/// What an answer is to.
pub(super) fn asked() -> impl Strategy<Value = Asked> {
    select(&[Asked::Get, Asked::Head, Asked::Post, Asked::Upgrade][..])
}

/// Up to eight places.
pub(super) fn cut() -> impl Strategy<Value = Cut> {
    vec(any::<Index>(), 1..8)
}

fn message(line: impl Strategy<Value = String>) -> impl Strategy<Value = String> {
    let end = select(&LINE_ENDS[..]);
    let fields = vec((select(&FIELDS[..]), select(&LINE_ENDS[..])), 0..5);
    (line, end, fields, select(&BODIES[..])).prop_map(|(line, end, fields, body)| {
        let fields: String = fields
            .iter()
            .flat_map(|(field, end)| [*field, *end])
            .collect();
        format!("{line}{end}{fields}{end}{body}")
    })
}

/// Seven times of eight as it is, else with one byte replaced. It ends as a head does: a bad head may be refused at once or
/// at its end, as it comes.
fn damaged(stream: String) -> impl Strategy<Value = Vec<u8>> {
    (0..8_u8, any::<Index>(), any::<u8>()).prop_map(move |(whether, place, byte)| {
        let mut bytes = stream.clone().into_bytes();
        bytes.extend_from_slice(b"\r\n\r\n");
        if whether == 0 {
            let place = place.index(bytes.len());
            bytes[place] = byte;
        }
        bytes
    })
}
