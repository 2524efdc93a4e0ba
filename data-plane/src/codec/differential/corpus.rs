//! Streams with a name: what HTTP/1.1 allows, what it forbids, and what smugglers try.

use super::script::End::{self, Closed, Open};

/// What a client sends.
pub(super) struct Requests {
    pub(super) name: &'static str,
    pub(super) bytes: &'static [u8],
    pub(super) end: End,
}

/// What an endpoint sends, and what it was asked.
pub(super) struct Answer {
    pub(super) name: &'static str,
    pub(super) asked: Asked,
    pub(super) bytes: &'static [u8],
    pub(super) end: End,
}

/// The request that is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    Get,
    Head,
    Post,
    Upgrade,
    /// GET, of an endpoint that does not wait for it.
    Unheard,
}

const fn requests(name: &'static str, bytes: &'static [u8], end: End) -> Requests {
    Requests { name, bytes, end }
}

const fn answer(name: &'static str, asked: Asked, bytes: &'static [u8], end: End) -> Answer {
    Answer {
        name,
        asked,
        bytes,
        end,
    }
}

/// A field after the request line and Host, for cases that differ in one.
macro_rules! with {
    ($method:literal, $fields:literal) => {
        concat!($method, " / HTTP/1.1\r\nHost: a\r\n", $fields).as_bytes()
    };
}

pub(super) const REQUESTS: [Requests; 52] = [
    requests("nothing at all", b"", Closed),
    requests("one request, the client waits", b"GET /a?b HTTP/1.1\r\nHost: a\r\nX-One: 1\r\n\r\n", Open),
    requests("one request, the client closes", b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", Closed),
    requests("an empty line before the request", b"\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", Open),
    requests("lines that end in LF alone", b"GET / HTTP/1.1\nHost: a\nX: 1\n\n", Open),
    requests("three requests at once", b"GET /1 HTTP/1.1\r\nHost: a\r\n\r\nPOST /2 HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabcGET /3 HTTP/1.1\r\nHost: a\r\n\r\n", Open),
    requests("close, with a request behind it", b"GET /1 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\n", Open),
    requests("HTTP/1.0", b"GET / HTTP/1.0\r\n\r\n", Open),
    requests("HTTP/1.0 that stays", b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\nGET /2 HTTP/1.0\r\n\r\n", Open),
    requests("HTTP/1.0 with a chunked body", b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", Open),
    requests("a version that is none", b"GET / HTTP/1.2\r\nHost: a\r\n\r\n", Open),
    requests("HTTP/2 in words", b"GET / HTTP/2.0\r\nHost: a\r\n\r\n", Open),
    requests("no version", b"GET /\r\nHost: a\r\n\r\n", Open),
    requests("an absolute target", b"GET http://b.example:1/x HTTP/1.1\r\nHost: a\r\n\r\n", Open),
    requests("an asterisk", b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", Open),
    requests("a target with a space", b"GET /a b HTTP/1.1\r\nHost: a\r\n\r\n", Open),
    requests("a target with a fragment", b"GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n", Open),
    requests("a method of its own", b"BREW / HTTP/1.1\r\nHost: a\r\n\r\n", Open),
    requests("HEAD is answered without a body", b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n", Open),
    requests("an answer without a length", b"GET /stream HTTP/1.1\r\nHost: a\r\n\r\n", Open),
    requests("an answer without a length to HTTP/1.0", b"GET /stream HTTP/1.0\r\n\r\n", Open),
    requests("names in any case, values trimmed", b"GET / HTTP/1.1\r\nhOST:a\r\nX:  1\t \r\nX:\r\n\r\n", Open),
    requests("no colon", with!("GET", "X\r\n\r\n"), Open),
    requests("a space before the colon", with!("GET", "X : 1\r\n\r\n"), Open),
    requests("an empty name", with!("GET", ": 1\r\n\r\n"), Open),
    requests("a folded line", with!("GET", "X: 1\r\n 2\r\n\r\n"), Open),
    requests("a folded first line", b"GET / HTTP/1.1\r\n Host: a\r\n\r\n", Open),
    requests("CR alone in a value", with!("GET", "X: 1\r2\r\n\r\n"), Open),
    requests("zero in a value", with!("GET", "X: 1\x002\r\n\r\n"), Open),
    requests("bytes above ASCII in a value", b"GET / HTTP/1.1\r\nHost: a\r\nX: \xc3\xa4\xff\r\n\r\n", Open),
    requests("too many fields", with!("GET", "a:1\r\na:1\r\na:1\r\na:1\r\na:1\r\na:1\r\na:1\r\na:1\r\na:1\r\na:1\r\na:1\r\na:1\r\na:1\r\na:1\r\na:1\r\na:1\r\na:1\r\na:1\r\na:1\r\na:1\r\na:1\r\n\r\n"), Open),
    requests("a length", with!("POST", "Content-Length: 5\r\n\r\nhello"), Open),
    requests("a body that the client cuts", with!("POST", "Content-Length: 5\r\n\r\nhel"), Closed),
    requests("two equal lengths", with!("POST", "Content-Length: 2\r\nContent-Length: 2\r\n\r\nhi"), Open),
    requests("a list of equal lengths", with!("POST", "Content-Length: 2, 2\r\n\r\nhi"), Open),
    requests("two lengths", with!("POST", "Content-Length: 2\r\nContent-Length: 3\r\n\r\nhi!"), Open),
    requests("a length with a sign", with!("POST", "Content-Length: +2\r\n\r\nhi"), Open),
    requests("a length that no number holds", with!("POST", "Content-Length: 18446744073709551616\r\n\r\nhi"), Open),
    requests("an empty length", with!("POST", "Content-Length:\r\n\r\n"), Open),
    requests("length and coding", with!("POST", "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"), Open),
    requests("coding and length", with!("POST", "Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n2\r\nhi\r\n0\r\n\r\n"), Open),
    requests("chunks, an extension, trailers", with!("POST", "Transfer-Encoding: chunked\r\nTrailer: x\r\n\r\n2;a=\"b\"\r\nhi\r\n0a\r\n0123456789\r\n0\r\nX: 1\r\n\r\n"), Open),
    requests("chunks, then a request", with!("POST", "Transfer-Encoding: Chunked\r\n\r\n0\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\n"), Open),
    requests("a chunk without its end", with!("POST", "Transfer-Encoding: chunked\r\n\r\n2\r\nhiX\r\n0\r\n\r\n"), Open),
    requests("a chunk without a length", with!("POST", "Transfer-Encoding: chunked\r\n\r\n\r\nhi\r\n0\r\n\r\n"), Open),
    requests("a chunk's length that no number holds", with!("POST", "Transfer-Encoding: chunked\r\n\r\n10000000000000000\r\nhi\r\n0\r\n\r\n"), Open),
    requests("a chunk's length after 0x", with!("POST", "Transfer-Encoding: chunked\r\n\r\n0x2\r\nhi\r\n0\r\n\r\n"), Open),
    requests("chunks that the client cuts", with!("POST", "Transfer-Encoding: chunked\r\n\r\n5\r\nhel"), Closed),
    requests("a coding that is not chunked", with!("POST", "Transfer-Encoding: gzip\r\n\r\n2\r\nhi\r\n0\r\n\r\n"), Open),
    requests("chunked, but not last", with!("POST", "Transfer-Encoding: chunked, gzip\r\n\r\n2\r\nhi\r\n0\r\n\r\n"), Open),
    requests("100-continue", with!("POST", "Expect: 100-continue\r\nContent-Length: 2\r\n\r\nhi"), Open),
    requests("a change of protocol, with bytes behind it", b"GET /switch HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\nbytes of x", Open),
];

pub(super) const ANSWERS: [Answer; 39] = [
    answer("nothing, the endpoint closes", Asked::Get, b"", Closed),
    answer("nothing, the endpoint waits", Asked::Get, b"", Open),
    answer("closed before it was asked", Asked::Unheard, b"", Closed),
    answer("a length", Asked::Get, b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", Open),
    answer("to a request with a body", Asked::Post, b"HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n", Open),
    answer("a length, then closed", Asked::Get, b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", Closed),
    answer("close", Asked::Get, b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nhi", Open),
    answer("a length that is cut", Asked::Get, b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhi", Closed),
    answer("a length that does not come", Asked::Get, b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhi", Open),
    answer("more than the length", Asked::Get, b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi!", Open),
    answer("a second answer", Asked::Get, b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", Open),
    answer("until it closes", Asked::Get, b"HTTP/1.1 200 OK\r\n\r\nall of it", Closed),
    answer("until it closes, but it does not", Asked::Get, b"HTTP/1.1 200 OK\r\n\r\nall of it", Open),
    answer("HTTP/1.0", Asked::Get, b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nhi", Open),
    answer("HTTP/1.0 that stays", Asked::Get, b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nhi", Open),
    answer("chunks and trailers", Asked::Get, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nX: 1\r\n\r\n", Open),
    answer("chunks that are cut", Asked::Get, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhi", Closed),
    answer("chunks that end without the last", Asked::Get, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n", Closed),
    answer("chunks that are none", Asked::Get, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nhi\r\n0\r\n\r\n", Open),
    answer("coding and length", Asked::Get, b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n", Open),
    answer("a coding that is not chunked", Asked::Get, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nhi", Closed),
    answer("two lengths", Asked::Get, b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nhi!", Open),
    answer("a length that is none", Asked::Get, b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\nhi", Open),
    answer("to HEAD, with a length", Asked::Head, b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n", Open),
    answer("to HEAD, with a body", Asked::Head, b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", Open),
    answer("to HEAD, coded", Asked::Head, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", Open),
    answer("204", Asked::Get, b"HTTP/1.1 204 No Content\r\nContent-Length: 2\r\n\r\n", Open),
    answer("304", Asked::Get, b"HTTP/1.1 304 Not Modified\r\nContent-Length: 2\r\n\r\n", Open),
    answer("100, then the answer", Asked::Post, b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", Open),
    answer("103, then the answer", Asked::Get, b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", Open),
    answer("101 that was asked for", Asked::Upgrade, b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\nbytes of x", Open),
    answer("101 that nobody asked for", Asked::Get, b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\nbytes of x", Open),
    answer("an upgrade that is refused", Asked::Upgrade, b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", Open),
    answer("no reason", Asked::Get, b"HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n", Open),
    answer("a status that is none", Asked::Get, b"HTTP/1.1 20 OK\r\nContent-Length: 0\r\n\r\n", Open),
    answer("no HTTP", Asked::Get, b"SSH-2.0-OpenSSH_9.2\r\n", Open),
    answer("a head that is cut", Asked::Get, b"HTTP/1.1 200 OK\r\nContent-Le", Closed),
    answer("a folded line", Asked::Get, b"HTTP/1.1 200 OK\r\nX: 1\r\n 2\r\nContent-Length: 0\r\n\r\n", Open),
    answer("a name with a space", Asked::Get, b"HTTP/1.1 200 OK\r\nX Y: 1\r\nContent-Length: 0\r\n\r\n", Open),
];
