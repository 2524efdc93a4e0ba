//! Refuses what a gateway must not serve. Pure.

use http::header::{CONTENT_LENGTH, COOKIE, EXPECT, TRANSFER_ENCODING};
use http::request::Parts;
use http::{HeaderMap, Method, Version};

use super::present::Present;
use super::size::{self, HeadMax};
use crate::config::Limits;
use crate::error::{CodecError, ProxyError};

/// Checks what needs only the head, before anything is looked up.
pub(crate) fn admit(
    parts: &Parts,
    present: Present,
    limits: &Limits,
    is_trusted: bool,
) -> Result<(), ProxyError> {
    if parts.method == Method::CONNECT {
        return Err(ProxyError::MethodRefused);
    }
    let max = HeadMax::of(limits, is_trusted);
    // hyper counts the fields and bytes of HTTP/1 itself; h2 bounds bytes only.
    if parts.headers.len() > max.fields && fields(&parts.headers) > max.fields {
        return Err(ProxyError::HeadTooLarge);
    }
    if parts.version == Version::HTTP_2
        && !max.is_kept_by_h2()
        && size::of_request(parts) > max.bytes
    {
        return Err(ProxyError::HeadTooLarge);
    }
    if parts.version != Version::HTTP_2 && present.any(Present::TRANSFER_ENCODING) {
        transfer_coding(parts)?;
    }
    if present.any(Present::PADDED) {
        let why = "the value of a field begins or ends with a blank";
        return Err(ProxyError::BadRequest(CodecError::malformed(why)));
    }
    if present.any(Present::EXPECT) {
        let mut expectations = parts.headers.get_all(EXPECT).iter();
        if !expectations.all(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue")) {
            return Err(ProxyError::Expectation);
        }
    }
    Ok(())
}

/// Refuses a body that declares more bytes than these; 0 is no limit. One that declares none is counted as it comes.
pub(crate) fn admit_body(
    parts: &Parts,
    present: Present,
    bytes_max: u64,
) -> Result<(), ProxyError> {
    if bytes_max == 0 || !present.any(Present::CONTENT_LENGTH) {
        return Ok(());
    }
    match declared_length(parts) {
        Some(bytes) if bytes > bytes_max => Err(ProxyError::BodyTooLarge),
        _ => Ok(()),
    }
}

/// Fields as HTTP/1 would have them: HTTP/2 clients may send each cookie in a field of its own (RFC 9113 §8.2.3).
fn fields(headers: &HeaderMap) -> usize {
    let crumbs = headers.get_all(COOKIE).iter().count();
    headers.len() - crumbs.saturating_sub(1)
}

/// Only `chunked` alone, once: of anything else the endpoint would not learn, as the field ends here (RFC 9112 §6.1).
///
/// hyper has refused a body whose last coding is not `chunked`, and has ended the connection after a request that has
/// `Content-Length` as well, which it removed.
fn transfer_coding(parts: &Parts) -> Result<(), ProxyError> {
    let mut codings = parts.headers.get_all(TRANSFER_ENCODING).iter();
    match (codings.next(), codings.next()) {
        (None, _) => Ok(()),
        (Some(coding), None)
            if coding
                .as_bytes()
                .trim_ascii()
                .eq_ignore_ascii_case(b"chunked") =>
        {
            Ok(())
        }
        (Some(_), _) => Err(ProxyError::TransferCoding),
    }
}

fn declared_length(parts: &Parts) -> Option<u64> {
    let length = parts.headers.get(CONTENT_LENGTH)?;
    length.to_str().ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(build: http::request::Builder) -> Option<&'static str> {
        let (parts, ()) = build.body(()).unwrap().into_parts();
        let limits = Limits {
            headers_max: 3,
            ..Limits::default()
        };
        let present = Present::of(&parts.headers);
        admit(&parts, present, &limits, false)
            .and_then(|()| admit_body(&parts, present, 10))
            .err()
            .map(|error| error.reason())
    }

    #[test]
    fn what_is_not_served_is_refused_with_its_reason() {
        let get = http::Request::get("/");
        let te = |value: &str| http::Request::post("/").header(TRANSFER_ENCODING, value);
        assert_eq!(check(get), None);
        assert_eq!(
            check(http::Request::connect("a:80")),
            Some("method_refused")
        );
        for (build, reason) in [
            (te("chunked"), None),
            (te(" Chunked "), None),
            (te("gzip, chunked"), Some("transfer_coding")),
            (te("identity"), Some("transfer_coding")),
            (te("chunked, chunked"), Some("transfer_coding")),
            (
                te("gzip").header(TRANSFER_ENCODING, "chunked"),
                Some("transfer_coding"),
            ),
            (http::Request::get("/").header(EXPECT, "100-Continue"), None),
            (
                http::Request::get("/").header(EXPECT, "200-ok"),
                Some("expectation"),
            ),
            (
                http::Request::get("/")
                    .header(EXPECT, "100-continue")
                    .header(EXPECT, "foo"),
                Some("expectation"),
            ),
            (http::Request::post("/").header(CONTENT_LENGTH, 10), None),
            (
                http::Request::post("/").header(CONTENT_LENGTH, 11),
                Some("body_too_large"),
            ),
            (
                http::Request::get("/")
                    .header("a", "")
                    .header("a", "")
                    .header(COOKIE, "a=1")
                    .header(COOKIE, "b=2"),
                None,
            ),
            (
                http::Request::get("/")
                    .header("a", "")
                    .header("a", "")
                    .header("b", "")
                    .header("c", ""),
                Some("head_too_large"),
            ),
        ] {
            assert_eq!(check(build), reason);
        }
    }
}
