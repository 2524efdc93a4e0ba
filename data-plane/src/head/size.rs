//! How large a head is, and how large it may be. Pure.
//!
//! In: limits and heads. Out: bytes. The `h2` crate counts a head of HTTP/2 too, but what is too large for it costs the whole
//! connection as soon as the coded head has more frames than it expects: Huffman coding makes of one byte up to 28 bits.
//! So it is given more room than a head may have, and heads are measured here.

use http::HeaderMap;
use http::request::Parts;

use crate::config::Limits;

/// What HTTP/1.1 writes around a field, and around a request line.
const FIELD_BYTES: usize = 4;
const LINE_BYTES: usize = 12;
/// What HTTP/2 adds for each field (RFC 9113 §6.5.2), and the names of the four that make the request line.
const LISTED_FIELD_BYTES: usize = 32;
const LISTED_LINE_BYTES: usize = 4 * LISTED_FIELD_BYTES + ":method:scheme:authority:pathhttp".len();

/// What a tier in front adds to a request: `X-Forwarded-*`, `X-Real-IP`, `X-Request-ID`, `Via`.
const ADDED_FIELDS: usize = 16;
const ADDED_BYTES: usize = 2 * 1024;

/// The greatest limit whose heads `h2` takes however they are coded. Beyond, it needs a list of three times the limit.
const WELL_CODED_BYTES_MAX: usize = 32 * 1024;
/// Of a peer in `trusted_proxies`, which has the requests of many: takes whatever a tier may let through, however it is coded
/// (`limits.head_bytes_max` is 1 MiB at most).
const LIST_OF_TRUSTED_BYTES: u32 = 4 * 1024 * 1024;

/// How large the head of a request may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct HeadMax {
    pub(crate) bytes: usize,
    pub(crate) fields: usize,
    /// What `h2` is told.
    pub(crate) list_bytes: u32,
}

// === impl HeadMax ===

impl HeadMax {
    /// Of one client. A tier in front has measured the same head before it has added to it.
    pub(crate) fn of(limits: &Limits, is_trusted: bool) -> Self {
        let (bytes, fields) = (limits.head_bytes_max, limits.headers_max);
        if is_trusted {
            return Self {
                bytes: bytes.saturating_add(ADDED_BYTES),
                fields: fields.saturating_add(ADDED_FIELDS),
                list_bytes: LIST_OF_TRUSTED_BYTES,
            };
        }
        let is_well_coded = bytes <= WELL_CODED_BYTES_MAX;
        let list_bytes = bytes.saturating_mul(if is_well_coded { 1 } else { 3 });
        Self {
            bytes,
            fields,
            list_bytes: u32::try_from(list_bytes).unwrap_or(u32::MAX),
        }
    }

    /// Whether `h2` refuses what is too large itself.
    pub(crate) fn is_kept_by_h2(self) -> bool {
        usize::try_from(self.list_bytes).is_ok_and(|list_bytes| list_bytes <= self.bytes)
    }
}

/// Bytes of a request's head, as HTTP/1.1 has them.
pub(crate) fn of_request(parts: &Parts) -> usize {
    let authority = parts.uri.authority().map_or(0, |name| name.as_str().len());
    let path = parts.uri.path_and_query().map_or(1, |it| it.as_str().len());
    let line = parts.method.as_str().len() + authority + path + LINE_BYTES;
    line + of_fields(&parts.headers)
}

/// Bytes of fields, as HTTP/1.1 has them.
pub(crate) fn of_fields(headers: &HeaderMap) -> usize {
    let lengths = headers
        .iter()
        .map(|(name, value)| name.as_str().len() + value.len());
    lengths.sum::<usize>() + headers.len() * FIELD_BYTES
}

/// Bytes of fields, as HTTP/2 counts them.
pub(crate) fn listed_fields(headers: &HeaderMap) -> usize {
    of_fields(headers) + headers.len() * (LISTED_FIELD_BYTES - FIELD_BYTES)
}

/// Bytes of a request's head, as HTTP/2 counts them.
pub(crate) fn listed_request(method: &http::Method, uri: &http::Uri, headers: &HeaderMap) -> usize {
    let authority = uri.authority().map_or(0, |name| name.as_str().len());
    let path = uri.path_and_query().map_or(1, |it| it.as_str().len());
    method.as_str().len() + authority + path + LISTED_LINE_BYTES + listed_fields(headers)
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::Request;

    #[test]
    fn a_head_is_measured_as_both_protocols_do() {
        let request = Request::get("http://a.example/x?y=1")
            .header("accept", "*/*")
            .header("x", "one")
            .header("x", "two")
            .body(())
            .expect("a request");
        let (parts, ()) = request.into_parts();
        let text = "GET a.example/x?y=1 HTTP/1.1\r\naccept: */*\r\nx: one\r\nx: two\r\n";
        assert_eq!(of_request(&parts), text.len());
        let list = ":methodGET:schemehttp:authoritya.example:path/x?y=1accept*/*xonextwo";
        let listed = listed_request(&parts.method, &parts.uri, &parts.headers);
        assert_eq!(listed, list.len() + 7 * 32);
    }

    #[test]
    fn h2_takes_every_head_within_the_limit_however_it_is_coded() {
        const FRAME: usize = 16 * 1024;
        for bytes in [1024, 32 * 1024, 32 * 1024 + 1, 64 * 1024, 1024 * 1024] {
            let limits = Limits {
                head_bytes_max: bytes,
                ..Limits::default()
            };
            for is_trusted in [false, true] {
                let max = HeadMax::of(&limits, is_trusted);
                let list_bytes = max.list_bytes as usize;
                // The frames that h2 takes: the first, the continuations that it counts, and the last.
                let expected = (list_bytes / FRAME).max(1);
                let frames = (expected + expected / 4).max(5) + 2;
                // 28 bits for each byte.
                assert!(max.bytes / 2 * 7 <= frames * FRAME, "{bytes} {is_trusted}");
                assert_eq!(max.is_kept_by_h2(), !is_trusted && bytes <= 32 * 1024);
            }
        }
    }
}
