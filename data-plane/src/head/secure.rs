//! Whether a request came by https, and where one that did not is sent instead. Pure.
//!
//! A trusted peer (`trusted_proxies`) is believed what it says in `X-Forwarded-Proto`, whoever else says it is not. Of a request that
//! passed another of our tiers, which this one was not told to trust, nobody here knows how the client sent it: it is not sent anywhere
//! else, because the tier in front would bring it back in the same way, for ever. A client that forges `Via` for that only denies
//! itself the redirect.

use http::{HeaderMap, HeaderName, HeaderValue, Uri};

use super::present::Present;
use super::{forwarded, via};
use crate::client::Client;
use crate::table::Redirect;

/// How the client sent a request, as far as it is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scheme {
    Https,
    /// To us.
    Http,
    /// To the trusted peer in front of us, which says so.
    HttpInFront,
    /// To a tier in front of us that is not trusted.
    Unknown,
}

/// What begins the paths that are served by http in any case: a certificate authority asks for them to see whose the host is, when
/// there may be no certificate yet (RFC 8555 §8.3).
const CHALLENGES: &str = "/.well-known/acme-challenge/";

/// How the client sent a request.
pub(crate) fn scheme(headers: &HeaderMap, present: Present, client: &Client) -> Scheme {
    if client.is_trusted
        && present.any(Present::FORWARDED_PROTO)
        && let Some(is_https) = said(headers, &forwarded::PROTO)
    {
        return if is_https {
            Scheme::Https
        } else {
            Scheme::HttpInFront
        };
    }
    if client.is_tls {
        Scheme::Https
    } else if !client.is_trusted && present.any(Present::VIA) && via::names_a_tier(headers) {
        Scheme::Unknown
    } else {
        Scheme::Http
    }
}

/// Whether https is what the peer says. None: it says nothing, or two things.
fn said(headers: &HeaderMap, name: &HeaderName) -> Option<bool> {
    let mut fields = headers.get_all(name).iter();
    let (Some(field), None) = (fields.next(), fields.next()) else {
        return None;
    };
    // Of a list the first is the client's.
    let first = field.to_str().ok()?.split(',').next()?.trim();
    match first {
        _ if first.eq_ignore_ascii_case("https") => Some(true),
        _ if first.eq_ignore_ascii_case("http") => Some(false),
        _ => None,
    }
}

/// The same URL by https, when a request is to be sent there. `is_served` tells whether this tier would answer there.
pub(crate) fn redirect(
    redirect: Redirect,
    scheme: Scheme,
    host: Option<&HeaderValue>,
    uri: &Uri,
    is_served: impl FnOnce() -> bool,
) -> Option<HeaderValue> {
    let is_wanted = match (redirect, scheme) {
        (Redirect::Never, _) | (_, Scheme::Https | Scheme::Unknown) => false,
        (Redirect::Always, Scheme::Http | Scheme::HttpInFront)
        | (Redirect::WhereServed, Scheme::HttpInFront) => true,
        (Redirect::WhereServed, Scheme::Http) => is_served(),
    };
    if !is_wanted || uri.path().starts_with(CHALLENGES) {
        return None;
    }
    // Without a host (HTTP/1.0) there is nothing to name.
    let host = without_port(host?.as_bytes());
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    // `*` is no path of a URL.
    let path = if path.starts_with('/') { path } else { "/" };
    let location = [b"https://", host, path.as_bytes()].concat();
    HeaderValue::from_maybe_shared(bytes::Bytes::from(location)).ok()
}

/// The colons of an IPv6 address are within brackets.
fn without_port(host: &[u8]) -> &[u8] {
    let behind_address = host.iter().rposition(|&byte| byte == b']').unwrap_or(0);
    let colon = host[behind_address..].iter().position(|&byte| byte == b':');
    colon.map_or(host, |colon| &host[..behind_address + colon])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::Recent;
    use crate::config::Config;

    fn scheme_of(is_trusted: bool, is_tls: bool, fields: &[(&'static str, &str)]) -> Scheme {
        let peer = if is_trusted {
            "10.0.0.7:1"
        } else {
            "10.9.9.9:1"
        };
        let config = Config {
            trusted_proxies: vec!["10.0.0.0/24".parse().unwrap()],
            ..Config::new("tiergate-namespace")
        };
        let (peer, local) = (peer.parse().unwrap(), "127.0.0.1:1".parse().unwrap());
        let client = Client::new(peer, local, is_tls, &config, &mut Recent::default());
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(*name, HeaderValue::from_str(value).unwrap());
        }
        scheme(&headers, Present::of(&headers), &client)
    }

    #[test]
    fn a_trusted_peer_is_believed_and_nobody_else() {
        const PROTO: &str = "x-forwarded-proto";
        for (is_trusted, is_tls, fields, expected) in [
            (false, false, &[][..], Scheme::Http),
            (false, true, &[], Scheme::Https),
            (false, false, &[(PROTO, "https")], Scheme::Http),
            (false, true, &[(PROTO, "http")], Scheme::Https),
            (true, false, &[], Scheme::Http),
            (true, false, &[(PROTO, "https")], Scheme::Https),
            (true, false, &[(PROTO, "HTTPS, http")], Scheme::Https),
            (true, false, &[(PROTO, "http")], Scheme::HttpInFront),
            (true, true, &[(PROTO, "http")], Scheme::HttpInFront),
            (true, false, &[(PROTO, "wss")], Scheme::Http),
            (
                true,
                true,
                &[(PROTO, "https"), (PROTO, "http")],
                Scheme::Https,
            ),
            (
                true,
                false,
                &[(PROTO, "https"), (PROTO, "https")],
                Scheme::Http,
            ),
            (
                false,
                false,
                &[("via", "1.1 tiergate-cluster")],
                Scheme::Unknown,
            ),
            (
                false,
                false,
                &[("via", "1.1 squid, 2.0 tiergate-cluster (x)")],
                Scheme::Unknown,
            ),
            (false, false, &[("via", "1.1 squid")], Scheme::Http),
            (
                false,
                true,
                &[("via", "1.1 tiergate-cluster")],
                Scheme::Https,
            ),
            (
                true,
                false,
                &[("via", "1.1 tiergate-cluster")],
                Scheme::Http,
            ),
        ] {
            let found = scheme_of(is_trusted, is_tls, fields);
            assert_eq!(found, expected, "{is_trusted} {is_tls} {fields:?}");
        }
    }

    fn location(
        asked: Redirect,
        scheme: Scheme,
        is_served: bool,
        host: Option<&'static str>,
        uri: &str,
    ) -> Option<String> {
        let host = host.map(HeaderValue::from_static);
        let found = redirect(asked, scheme, host.as_ref(), &uri.parse().unwrap(), || {
            is_served
        });
        found.map(|location| location.to_str().unwrap().to_owned())
    }

    #[test]
    fn a_request_by_http_is_sent_where_https_answers() {
        use Redirect::{Always, Never, WhereServed};
        use Scheme::{Http, HttpInFront, Https, Unknown};
        for (asked, scheme, is_served, is_sent) in [
            (Never, Http, true, false),
            (Never, HttpInFront, true, false),
            (WhereServed, Http, true, true),
            (WhereServed, Http, false, false),
            (WhereServed, HttpInFront, false, true),
            (WhereServed, Https, true, false),
            (WhereServed, Unknown, true, false),
            (Always, Http, false, true),
            (Always, HttpInFront, false, true),
            (Always, Https, true, false),
            (Always, Unknown, true, false),
        ] {
            let found = location(asked, scheme, is_served, Some("a.example"), "/a");
            let expected = is_sent.then(|| "https://a.example/a".to_owned());
            assert_eq!(found, expected, "{asked:?} {scheme:?} {is_served}");
        }
    }

    #[test]
    fn the_url_stays_the_same_but_for_the_scheme_and_the_port() {
        for (host, uri, expected) in [
            (
                "A.example:8080",
                "/a/?b=c&d",
                Some("https://A.example/a/?b=c&d"),
            ),
            ("a.example", "/", Some("https://a.example/")),
            (
                "a.example",
                "//evil.example/%2e",
                Some("https://a.example//evil.example/%2e"),
            ),
            (
                "a.example",
                "http://a.example:80/x",
                Some("https://a.example/x"),
            ),
            ("a.example", "*", Some("https://a.example/")),
            ("[2001:db8::1]", "/x", Some("https://[2001:db8::1]/x")),
            ("[2001:db8::1]:80", "/x", Some("https://[2001:db8::1]/x")),
            ("a.example", "/.well-known/acme-challenge/token", None),
            (
                "a.example",
                "/.well-known/acme-challenge",
                Some("https://a.example/.well-known/acme-challenge"),
            ),
        ] {
            let found = location(Redirect::Always, Scheme::Http, true, Some(host), uri);
            assert_eq!(found.as_deref(), expected, "{host} {uri}");
        }
        assert_eq!(
            location(Redirect::Always, Scheme::Http, true, None, "/"),
            None
        );
    }
}
