//! The head of a response on its way to the client. Pure.

use http::header::{
    CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, DATE, LOCATION, SERVER, STRICT_TRANSPORT_SECURITY,
    UPGRADE,
};
use http::response::Parts;
use http::{HeaderValue, Response, StatusCode, Version};

use super::hop;
use super::present::Present;
use crate::error::ProxyError;

/// What a response gets from us.
#[derive(Debug)]
pub(crate) struct Finish<'t> {
    /// What the tier calls itself.
    pub(crate) server: &'t HeaderValue,
    /// The HTTP version that the client speaks.
    pub(crate) version: Version,
    /// Whether the connection ends after this response.
    pub(crate) closes: bool,
    /// Whether the request was HEAD, whose answers have no body.
    pub(crate) is_head: bool,
    /// That the client is to come by https only (RFC 6797); it has come by it.
    pub(crate) hsts: Option<&'t HeaderValue>,
}

/// Makes the endpoint's response one for the client. `upgrade` is the protocol that both change to with this response.
///
/// `date` is for a response that brings none (RFC 9110 §6.6.1), and so is our name: conformance of an ingress asks for `Server`. False:
/// no body has the length that it tells, and it cannot be passed on.
pub(crate) fn rewrite(
    parts: &mut Parts,
    present: Present,
    upgrade: Option<HeaderValue>,
    finish: &Finish<'_>,
    date: impl FnOnce() -> HeaderValue,
) -> bool {
    let is_countable = hop::strip_response(&mut parts.headers, present);
    if present.any(Present::CONTENT_LENGTH) && has_no_length(parts.status) {
        parts.headers.remove(CONTENT_LENGTH);
    }
    parts.version = finish.version;
    if !present.any(Present::DATE) {
        parts.headers.insert(DATE, date());
    }
    if !present.any(Present::SERVER) {
        parts.headers.insert(SERVER, finish.server.clone());
    }
    if let Some(hsts) = finish.hsts
        && !parts.headers.contains_key(STRICT_TRANSPORT_SECURITY)
    {
        parts
            .headers
            .insert(STRICT_TRANSPORT_SECURITY, hsts.clone());
    }
    if let Some(protocol) = upgrade {
        let connection = HeaderValue::from_static("upgrade");
        parts.headers.insert(CONNECTION, connection);
        parts.headers.insert(UPGRADE, protocol);
    } else if finish.closes && finish.version != Version::HTTP_2 {
        close(parts);
    }
    is_countable
}

/// Of the answers without content, those that must not name a length either (RFC 9110 §8.6).
fn has_no_length(status: StatusCode) -> bool {
    status.is_informational() || status == StatusCode::NO_CONTENT
}

/// An answer of our own: the reason in words and by name, so that a user can look it up, but no address of an endpoint.
pub(crate) fn of_error(
    error: &ProxyError,
    finish: &Finish<'_>,
    date: HeaderValue,
) -> Response<String> {
    let status = error.status();
    let text = format!(
        "{} {}: {}\nreason: {}\n",
        status.as_u16(),
        status.canonical_reason().unwrap_or("Error"),
        error.meaning(),
        error.reason()
    );
    let closes = finish.closes || error.ends_connection();
    own(status, text, closes, finish, date)
}

/// Sends the client to another URL.
pub(crate) fn of_redirect(
    location: HeaderValue,
    finish: &Finish<'_>,
    date: HeaderValue,
) -> Response<String> {
    let status = StatusCode::PERMANENT_REDIRECT;
    let text = "308 Permanent Redirect: this host is served by https\n".to_owned();
    let mut response = own(status, text, finish.closes, finish, date);
    response.headers_mut().insert(LOCATION, location);
    response
}

fn own(
    status: StatusCode,
    text: String,
    closes: bool,
    finish: &Finish<'_>,
    date: HeaderValue,
) -> Response<String> {
    let length = HeaderValue::from(text.len());
    let mut response = Response::new(if finish.is_head { String::new() } else { text });
    *response.status_mut() = status;
    *response.version_mut() = finish.version;
    let headers = response.headers_mut();
    let text_plain = HeaderValue::from_static("text/plain; charset=utf-8");
    headers.insert(CONTENT_TYPE, text_plain);
    headers.insert(CONTENT_LENGTH, length);
    headers.insert(SERVER, finish.server.clone());
    headers.insert(DATE, date);
    if let Some(hsts) = finish.hsts {
        headers.insert(STRICT_TRANSPORT_SECURITY, hsts.clone());
    }
    if closes && finish.version != Version::HTTP_2 {
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

fn close(parts: &mut Parts) {
    let close = HeaderValue::from_static("close");
    parts.headers.insert(CONNECTION, close);
}
