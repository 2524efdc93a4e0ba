//! Fields that belong to one connection and end here (RFC 9110 §7.6.1). Pure.
//!
//! A client may name further fields in `Connection`; it cannot so remove what the endpoint relies on: the host, the
//! framing, and what a proxy before us said about the client.

use http::header::{
    CONNECTION, CONTENT_LENGTH, EXPECT, HOST, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, TE, TRAILER,
    TRANSFER_ENCODING, UPGRADE, VIA,
};
use http::{HeaderMap, HeaderName, HeaderValue};

use super::present::Present;
use super::{forwarded, tokens};

static KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
static PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
static HTTP2_SETTINGS: HeaderName = HeaderName::from_static("http2-settings");

/// What belongs to a connection, besides `Connection` itself.
const BESIDE_CONNECTION: Present = Present::KEEP_ALIVE
    .or(Present::PROXY_CONNECTION)
    .or(Present::TRANSFER_ENCODING)
    .or(Present::UPGRADE);
const OF_CONNECTION: Present = Present::CONNECTION.or(BESIDE_CONNECTION);
const OF_REQUEST: Present = OF_CONNECTION.or(OF_REQUEST_ALONE);
const OF_REQUEST_ALONE: Present = Present::TE
    .or(Present::HTTP2_SETTINGS)
    .or(Present::PROXY_AUTHORIZATION)
    .or(Present::PROXY_AUTHENTICATE)
    .or(Present::EXPECT);

/// What implementations of HTTP agree to count: 63 bits.
const LENGTH_MAX: &[u8] = b"9223372036854775807";

/// What a request asked of the connection and may get from ours to the endpoint.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Asked {
    /// The protocol to change to.
    pub(crate) upgrade: Option<HeaderValue>,
    /// Whether the client takes trailers.
    pub(crate) trailers: bool,
    /// Whether the client sends nothing after it.
    pub(crate) close: bool,
}

/// Removes the fields of the client's connection, and says what they asked for.
pub(crate) fn strip_request(headers: &mut HeaderMap, present: Present) -> Asked {
    if !present.any(OF_REQUEST) {
        return Asked::default();
    }
    let asked = Asked {
        upgrade: if present.any(Present::UPGRADE) {
            upgrade_of(headers)
        } else {
            None
        },
        trailers: present.any(Present::TE)
            && tokens(headers, &TE).any(|token| token.eq_ignore_ascii_case("trailers")),
        close: present.any(Present::CONNECTION)
            && tokens(headers, &CONNECTION).any(|token| token.eq_ignore_ascii_case("close")),
    };
    strip(headers, present);
    if !present.any(OF_REQUEST_ALONE) {
        return asked;
    }
    headers.remove(TE);
    headers.remove(&HTTP2_SETTINGS);
    headers.remove(PROXY_AUTHORIZATION);
    headers.remove(PROXY_AUTHENTICATE);
    // Answered by us: hyper sends 100 when the body is first asked for.
    headers.remove(EXPECT);
    asked
}

/// Whether the body of a response has a coding that hyper leaves in it, and that nobody asked for: its name would be lost
/// with the field. hyper removes one `chunked`, and only the last coding.
pub(crate) fn has_foreign_coding(headers: &HeaderMap, present: Present) -> bool {
    if !present.any(Present::TRANSFER_ENCODING) {
        return false;
    }
    let mut is_chunked = false;
    for value in headers.get_all(TRANSFER_ENCODING) {
        let Ok(codings) = value.to_str() else {
            return true;
        };
        for coding in codings.split(',').map(str::trim) {
            let is_last = coding.eq_ignore_ascii_case("chunked");
            if is_chunked
                || !(is_last || coding.is_empty() || coding.eq_ignore_ascii_case("identity"))
            {
                return true;
            }
            is_chunked = is_last;
        }
    }
    false
}

/// Removes the fields of the endpoint's connection from a response. False: no body has the length that it tells.
pub(crate) fn strip_response(headers: &mut HeaderMap, present: Present) -> bool {
    let mut is_countable = true;
    if present.any(Present::CONTENT_LENGTH) {
        // Of a body that is chunked, a length is a lie (RFC 9112 §6.3).
        if present.any(Present::TRANSFER_ENCODING) {
            headers.remove(CONTENT_LENGTH);
        }
        is_countable = join_lengths(headers);
    }
    if present.any(Present::TE) {
        // It means nothing here, and HTTP/2 would refuse to send it.
        headers.remove(TE);
    }
    strip(headers, present);
    is_countable
}

/// One length in its shortest form, where the sender repeated it, in fields or in a list, or wrote zeros before it: the next
/// reader may take no other. That all are equal was checked by hyper (RFC 9110 §8.6). False: no body is so long.
pub(crate) fn join_lengths(headers: &mut HeaderMap) -> bool {
    let mut lengths = headers.get_all(CONTENT_LENGTH).iter();
    let Some(first) = lengths.next().map(HeaderValue::as_bytes) else {
        return true;
    };
    let mut listed = first.split(|&byte| byte == b',');
    let length = without_zeros(listed.next().unwrap_or(first).trim_ascii());
    let is_countable = (length.len(), length) <= (LENGTH_MAX.len(), LENGTH_MAX);
    let is_plain = length.len() == first.len() && lengths.next().is_none();
    if !is_plain && let Ok(length) = HeaderValue::from_bytes(length) {
        headers.insert(CONTENT_LENGTH, length);
    }
    is_countable
}

fn without_zeros(digits: &[u8]) -> &[u8] {
    let mut rest = digits;
    while let [b'0', behind @ ..] = rest
        && !behind.is_empty()
    {
        rest = behind;
    }
    rest
}

fn strip(headers: &mut HeaderMap, present: Present) {
    if !present.any(OF_CONNECTION) {
        return;
    }
    if present.any(Present::CONNECTION) {
        // Whoever says anything there says mostly this, which names no field.
        let is_plain = |value: &HeaderValue| is_of_framing(value.to_str().unwrap_or_default());
        if !headers.get_all(CONNECTION).iter().all(is_plain) {
            remove_named(headers);
        }
        headers.remove(CONNECTION);
    }
    if !present.any(BESIDE_CONNECTION) {
        return;
    }
    headers.remove(&KEEP_ALIVE);
    headers.remove(&PROXY_CONNECTION);
    headers.remove(TRANSFER_ENCODING);
    headers.remove(UPGRADE);
}

/// Removes the fields that `Connection` names.
fn remove_named(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = tokens(headers, &CONNECTION)
        .filter(|token| !is_of_framing(token))
        .filter_map(|token| HeaderName::from_bytes(token.as_bytes()).ok())
        .filter(|name| !is_kept(name))
        .collect();
    for name in named {
        headers.remove(name);
    }
}

/// The common words of `Connection`, which are removed anyway or are no fields.
fn is_of_framing(token: &str) -> bool {
    ["close", "keep-alive", "upgrade", "te"]
        .iter()
        .any(|known| token.eq_ignore_ascii_case(known))
}

fn is_kept(name: &HeaderName) -> bool {
    [HOST, CONTENT_LENGTH, TRAILER, VIA].contains(name) || forwarded::is_about_client(name.as_str())
}

/// The protocol of `Upgrade`, when `Connection` names it. Never HTTP/2: a connection on which we would lose sight of the
/// requests would pass by every rule.
fn upgrade_of(headers: &HeaderMap) -> Option<HeaderValue> {
    let protocol = headers.get(UPGRADE)?;
    // What we cannot read, the endpoint may.
    let is_readable = protocol.to_str().is_ok() && !protocol.is_empty();
    let is_named = tokens(headers, &CONNECTION).any(|token| token.eq_ignore_ascii_case("upgrade"));
    let is_http = tokens(headers, &UPGRADE).any(|token| {
        let name = token.split('/').next().unwrap_or(token);
        ["h2c", "h2", "http"]
            .iter()
            .any(|http| name.eq_ignore_ascii_case(http))
    });
    (is_readable && is_named && !is_http).then(|| protocol.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(fields: &[(&'static str, &'static str)]) -> HeaderMap {
        let field = |&(name, value)| {
            (
                HeaderName::from_static(name),
                HeaderValue::from_static(value),
            )
        };
        fields.iter().map(field).collect()
    }

    fn names(headers: &HeaderMap) -> Vec<&str> {
        headers.keys().map(HeaderName::as_str).collect()
    }

    #[test]
    fn fields_of_one_connection_end_here() {
        let mut request = headers(&[
            ("host", "a"),
            ("connection", "close, X-Mine"),
            ("keep-alive", "timeout=5"),
            ("proxy-connection", "keep-alive"),
            ("proxy-authorization", "basic eDp5"),
            ("te", "gzip;q=0.5, trailers"),
            ("transfer-encoding", "chunked"),
            ("upgrade", "websocket"),
            ("x-mine", "1"),
            ("expect", "100-continue"),
            ("x-other", "1"),
        ]);
        let asked = {
            let present = Present::of(&request);
            strip_request(&mut request, present)
        };
        assert_eq!(names(&request), ["host", "x-other"]);
        assert_eq!((asked.upgrade, asked.trailers), (None, true));
    }

    #[test]
    fn connection_cannot_remove_what_the_endpoint_relies_on() {
        let kept = [
            ("host", "a"),
            ("content-length", "1"),
            ("x-forwarded-for", "b"),
            ("x-real-ip", "b"),
            ("x-request-id", "b"),
            ("via", "1.1 x"),
        ];
        let mut request = headers(&kept);
        let connection =
            "Host, content-length, X-Forwarded-For, X-Real-IP, X-Request-Id, Via, not a name";
        request.insert(CONNECTION, HeaderValue::from_static(connection));
        {
            let present = Present::of(&request);
            strip_request(&mut request, present)
        };
        let expected: Vec<_> = kept.iter().map(|&(name, _)| name).collect();
        assert_eq!(names(&request), expected);
    }

    #[test]
    fn an_upgrade_is_one_only_if_connection_names_it_and_it_is_not_http() {
        for (connection, upgrade, expected) in [
            ("Upgrade", "websocket", Some("websocket")),
            ("keep-alive, upgrade", "websocket", Some("websocket")),
            ("keep-alive", "websocket", None),
            ("upgrade, http2-settings", "h2c", None),
            ("upgrade", "HTTP/2.0", None),
            ("upgrade", "websocket, H2C", None),
            ("upgrade", "h2", None),
            ("upgrade", "", None),
            ("upgrade", "\u{e9}, h2c", None),
        ] {
            let mut fields = headers(&[("connection", connection)]);
            let upgrade = HeaderValue::from_bytes(upgrade.as_bytes()).unwrap();
            fields.insert(UPGRADE, upgrade.clone());
            let asked = {
                let present = Present::of(&fields);
                strip_request(&mut fields, present)
            };
            let protocol = asked
                .upgrade
                .map(|value| value.to_str().unwrap().to_owned());
            assert_eq!(protocol.as_deref(), expected, "{connection}: {upgrade:?}");
        }
    }

    #[test]
    fn a_chunked_response_has_no_length() {
        let mut response = headers(&[
            ("transfer-encoding", "chunked"),
            ("content-length", "5"),
            ("connection", "keep-alive"),
            ("trailer", "x-sum"),
        ]);
        {
            let present = Present::of(&response);
            strip_response(&mut response, present)
        };
        assert_eq!(names(&response), ["trailer"]);
    }
}
