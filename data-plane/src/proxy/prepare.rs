//! Makes the head of the request for the endpoint. Pure but for the random request identity.

use http::header::{CONNECTION, CONTENT_LENGTH, COOKIE, HOST, TE, TRANSFER_ENCODING, UPGRADE};
use http::request::Parts;
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderMap, HeaderValue, Uri, Version};
use rand::Rng;

use crate::error::{BadHost, ProxyError};
use crate::head::present::Present;
use crate::head::{forwarded, hop};
use crate::http::Session;
use crate::net::Net;
use crate::table::Protocol;

/// What a request asks for, besides what its head says.
pub(super) struct Prepared {
    /// The protocol that the client asked to change to, if the endpoint may agree to it.
    pub(super) upgrade: Option<HeaderValue>,
    /// The protocol that the request is for: only HTTP/1.1 can change to another, so an endpoint of HTTP/2 gets such a request
    /// by HTTP/1.1.
    pub(super) protocol: Protocol,
    /// Whether a tier in front has sent it before.
    pub(super) is_retried: bool,
}

/// Rewrites the head.
pub(super) fn prepare<N: Net>(
    session: &Session<N>,
    parts: &mut Parts,
    present: Present,
    host: Option<HeaderValue>,
    protocol: Protocol,
    has_body: bool,
) -> Result<Prepared, ProxyError> {
    let config = &session.context.shared.config;
    let asked = hop::strip_request(&mut parts.headers, present);
    if asked.close {
        session.expects_no_more();
    }
    // Then nothing has to be written: the host is in its field, which is the only one of that name.
    let has_field =
        host.is_some() && parts.version != Version::HTTP_2 && parts.uri.authority().is_none();
    let may_upgrade = parts.version == Version::HTTP_11 && !has_body;
    let upgrade = asked.upgrade.filter(|_| may_upgrade);
    let protocol = upgrade.as_ref().map_or(protocol, |_| protocol.by_http1());
    // An HTTP/1.0 client need not name a host, but our HTTP/1.1 request must: the address it came to.
    let host = match host {
        Some(host) => host,
        None => {
            HeaderValue::try_from(session.client.local.to_string()).map_err(|_| BadHost::Missing)?
        }
    };
    if parts.version == Version::HTTP_2 {
        join_cookies(&mut parts.headers);
    }
    if present.any(Present::CONTENT_LENGTH) && !hop::join_lengths(&mut parts.headers) {
        return Err(ProxyError::BodyTooLarge);
    }
    let new_id = || request_id(&mut *session.context.rng.borrow_mut());
    forwarded::rewrite(&mut parts.headers, present, &session.client, &host, new_id);
    // Of a peer that is not trusted it has been removed.
    let is_retried =
        present.any(Present::RETRIED) && parts.headers.remove(&forwarded::RETRIED).is_some();
    if config.via {
        session.context.via.add(&mut parts.headers, parts.version);
    }
    if asked.trailers {
        parts
            .headers
            .insert(TE, HeaderValue::from_static("trailers"));
    }
    match protocol {
        Protocol::Http1 | Protocol::Https => {
            frame_http1(&mut parts.headers, has_body);
            let host = Some(host).filter(|_| !has_field);
            of_http1(parts, host, upgrade.as_ref(), asked.trailers);
        }
        Protocol::H2c | Protocol::H2 => of_http2(parts, &host, protocol)?,
    }
    Ok(Prepared {
        upgrade,
        protocol,
        is_retried,
    })
}

/// Gives a request the form of the connection that takes it: HTTP/2 when it is shared. It has another one only after an
/// endpoint turned out not to speak HTTP/2.
pub(super) fn fit(
    parts: &mut Parts,
    has_body: bool,
    protocol: Protocol,
    is_shared: bool,
) -> Result<(), ProxyError> {
    if is_shared == (parts.version == Version::HTTP_2) {
        return Ok(());
    }
    if is_shared {
        let host = parts.headers.get(HOST).cloned().ok_or(BadHost::Missing)?;
        parts.headers.remove(TRANSFER_ENCODING);
        parts.headers.remove(CONNECTION);
        of_http2(parts, &host, protocol)?;
    } else {
        let authority = parts.uri.authority().ok_or(BadHost::Missing)?;
        let host = HeaderValue::from_str(authority.as_str()).map_err(|_| BadHost::Missing)?;
        let trailers = parts.headers.contains_key(TE);
        frame_http1(&mut parts.headers, has_body);
        of_http1(parts, Some(host), None, trailers);
    }
    Ok(())
}

/// hyper would otherwise send a GET or HEAD without the body that it has.
fn frame_http1(headers: &mut HeaderMap, has_body: bool) {
    if has_body && !headers.contains_key(CONTENT_LENGTH) {
        headers.insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
    }
}

/// No `host`: it is in its field.
fn of_http1(
    parts: &mut Parts,
    host: Option<HeaderValue>,
    upgrade: Option<&HeaderValue>,
    trailers: bool,
) {
    parts.uri = Uri::from(path_and_query(&parts.uri));
    parts.version = Version::HTTP_11;
    if let Some(host) = host {
        parts.headers.insert(HOST, host);
    }
    if let Some(protocol) = upgrade {
        parts.headers.insert(UPGRADE, protocol.clone());
    }
    let connection = match (upgrade.is_some(), trailers) {
        (true, true) => "upgrade, te",
        (true, false) => "upgrade",
        (false, true) => "te",
        (false, false) => return,
    };
    let connection = HeaderValue::from_static(connection);
    parts.headers.insert(CONNECTION, connection);
}

fn of_http2(parts: &mut Parts, host: &HeaderValue, protocol: Protocol) -> Result<(), ProxyError> {
    let authority = Authority::try_from(host.as_bytes())
        .map_err(|_| ProxyError::BadTarget("its host is no authority of a URL"))?;
    let mut uri = http::uri::Parts::default();
    // What is spoken to the endpoint, which may compare it with that (RFC 9110 §4.2.2).
    let is_tls = protocol.is_tls();
    uri.scheme = Some(if is_tls { Scheme::HTTPS } else { Scheme::HTTP });
    uri.authority = Some(authority);
    uri.path_and_query = Some(path_and_query(&parts.uri));
    parts.uri = Uri::from_parts(uri).map_err(|_| ProxyError::BadTarget("it is no URL"))?;
    parts.version = Version::HTTP_2;
    parts.headers.remove(HOST);
    Ok(())
}

fn path_and_query(uri: &Uri) -> PathAndQuery {
    let given = uri.path_and_query().cloned();
    given.unwrap_or_else(|| PathAndQuery::from_static("/"))
}

/// HTTP/2 may split the field; HTTP/1.1 has it once (RFC 9113 §8.2.3).
fn join_cookies(headers: &mut HeaderMap) {
    let mut crumbs = headers.get_all(COOKIE).iter();
    if crumbs.next().is_none() || crumbs.next().is_none() {
        return;
    }
    let crumbs: Vec<_> = headers
        .get_all(COOKIE)
        .iter()
        .map(HeaderValue::as_bytes)
        .collect();
    if let Ok(joined) = HeaderValue::from_bytes(&crumbs.join(&b"; "[..])) {
        headers.insert(COOKIE, joined);
    }
}

/// 128 random bits in hexadecimal. Never the same again, so HTTP/2 is told not to keep it: in the table of the link it would
/// take the room of fields that come again, and each new one would be compared with all that are kept.
fn request_id(rng: &mut impl Rng) -> HeaderValue {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = [0; 32];
    let bits = rng.random::<u128>().to_le_bytes();
    for (digits, byte) in text.chunks_exact_mut(2).zip(bits) {
        digits[0] = DIGITS[usize::from(byte & 0xf)];
        digits[1] = DIGITS[usize::from(byte >> 4)];
    }
    let mut id = HeaderValue::from_bytes(&text).expect("hexadecimal digits are printable");
    id.set_sensitive(true);
    id
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;
    use rand::rngs::SmallRng;

    #[test]
    fn cookies_of_http2_become_one_field() {
        let mut headers = HeaderMap::new();
        for crumb in ["a=1", "b=2", "c=3"] {
            headers.append(COOKIE, HeaderValue::from_static(crumb));
        }
        join_cookies(&mut headers);
        let cookies: Vec<_> = headers.get_all(COOKIE).iter().collect();
        assert_eq!(cookies, ["a=1; b=2; c=3"]);
    }

    #[test]
    fn request_identities_come_from_the_seed() {
        let id = |seed| request_id(&mut SmallRng::seed_from_u64(seed));
        assert_eq!(id(1), id(1));
        assert_ne!(id(1), id(2));
        assert_eq!(id(1).len(), 32);
    }
}
