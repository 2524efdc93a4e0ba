//! What the endpoint is told about the client. Pure.
//!
//! A peer that is not trusted cannot say anything about a client but itself: every field of the family is replaced or
//! removed. A trusted one (`trusted_proxies`) is continued: its fields are kept, and its own address is added to
//! `X-Forwarded-For`. Spellings with an underscore, a dot or another sign in place of the dash are removed from everybody:
//! endpoints that map fields to CGI variables could not tell them from ours.

use std::borrow::Cow;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};

use super::present::Present;
use crate::client::Client;

static FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
pub(crate) static PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
static FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
static PORT: HeaderName = HeaderName::from_static("x-forwarded-port");
pub(crate) static REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");
/// Whether a tier in front has sent the request before. Between tiers only: no endpoint beyond them sees it.
pub(crate) static RETRIED: HeaderName = HeaderName::from_static("tiergate-retried");
pub(crate) static REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Longer request identities of trusted peers are replaced.
const REQUEST_ID_BYTES_MAX: usize = 128;
/// Fields beyond the `x-forwarded-` family that endpoints read as a statement about the client or the URL.
pub(super) const ABOUT_CLIENT: [&str; 11] = [
    "forwarded",
    "x-forwarded",
    "x-real-ip",
    "x-request-id",
    "x-original-forwarded-for",
    "x-scheme",
    "x-client-ip",
    "x-cluster-client-ip",
    "true-client-ip",
    "x-envoy-external-address",
    "tiergate-retried",
];

/// What `complete` would look for.
const SAID_BY_TIER: Present = Present::FORWARDED_PROTO
    .or(Present::FORWARDED_HOST)
    .or(Present::FORWARDED_PORT)
    .or(Present::REAL_IP);

/// Whether endpoints take this field as a statement about the client.
pub(crate) fn is_about_client(name: &str) -> bool {
    name.starts_with("x-forwarded-") || ABOUT_CLIENT.contains(&name)
}

/// Whether the client spoke HTTPS to the first of us. Of a head that is for the endpoint.
pub(crate) fn is_https(headers: &HeaderMap) -> bool {
    headers.get(&PROTO).is_some_and(|proto| proto == "https")
}

/// Writes the fields for the endpoint. `new_id` makes a request identity.
pub(crate) fn rewrite(
    headers: &mut HeaderMap,
    present: Present,
    client: &Client,
    host: &HeaderValue,
    new_id: impl FnOnce() -> HeaderValue,
) {
    if !present.any(Present::SUSPECT) {
        return write(headers, client, host, new_id());
    }
    if !client.is_trusted || present.any(Present::FORGED) {
        remove_refused(headers, client.is_trusted);
    }
    let addresses = match headers.get(&FOR) {
        None => client.ip_value.clone(),
        Some(_) => appended(headers, client),
    };
    headers.insert(FOR.clone(), addresses);
    // A tier in front has said all there is, and each field once: nothing is to be looked for.
    let is_said_once = present.all(SAID_BY_TIER) && headers.len() == headers.keys_len();
    if !(client.is_trusted && is_said_once) {
        complete(headers, client, host);
    }
    if headers.get(&REQUEST_ID).is_none_or(|id| !is_usable(id)) {
        headers.insert(REQUEST_ID.clone(), new_id());
    }
}

fn remove_refused(headers: &mut HeaderMap, is_trusted: bool) {
    let refused: Vec<HeaderName> = headers
        .keys()
        .filter(|name| is_refused(name.as_str(), is_trusted))
        .cloned()
        .collect();
    for name in refused {
        headers.remove(name);
    }
}

/// Adds what a trusted peer has not said, or has said twice.
fn complete(headers: &mut HeaderMap, client: &Client, host: &HeaderValue) {
    if_absent(headers, &PROTO, || client.scheme());
    if_absent(headers, &FORWARDED_HOST, || host.clone());
    let is_https = headers.get(&PROTO).is_some_and(|proto| proto == "https");
    if_absent(headers, &PORT, || named_port(host, is_https));
    if_absent(headers, &REAL_IP, || client.ip_value.clone());
}

/// The fields of a request that brought none of them.
fn write(headers: &mut HeaderMap, client: &Client, host: &HeaderValue, id: HeaderValue) {
    // These, `Via` and what the protocol of the endpoint needs.
    headers.reserve(8);
    headers.insert(FOR.clone(), client.ip_value.clone());
    headers.insert(PROTO.clone(), client.scheme());
    headers.insert(FORWARDED_HOST.clone(), host.clone());
    headers.insert(PORT.clone(), named_port(host, client.is_tls));
    headers.insert(REAL_IP.clone(), client.ip_value.clone());
    headers.insert(REQUEST_ID.clone(), id);
}

/// The port that the client connected to, as it named it (RFC 9110 §7.2): that of our own socket is behind the Service, or
/// whatever else brought the connection here, and no link that an application makes of it would lead anywhere.
fn named_port(host: &HeaderValue, is_https: bool) -> HeaderValue {
    let standard = || HeaderValue::from_static(if is_https { "443" } else { "80" });
    if !host.as_bytes().contains(&b':') {
        return standard();
    }
    let text = host.to_str().unwrap_or_default();
    // The colons of an IPv6 address are within brackets.
    let behind_address = text.rsplit_once(']').map_or(text, |(_, rest)| rest);
    let named = behind_address.rsplit_once(':').map(|(_, port)| port);
    match named.and_then(|port| port.parse::<u16>().ok()) {
        Some(port) => HeaderValue::from(port),
        None => standard(),
    }
}

/// The name with dashes for every sign, as CGI variables do not tell them apart (RFC 3875 §4.1.18).
pub(crate) fn dashed(name: &str) -> Cow<'_, str> {
    let is_other = |c: char| !c.is_ascii_alphanumeric() && c != '-';
    if name.contains(is_other) {
        Cow::Owned(name.replace(is_other, "-"))
    } else {
        Cow::Borrowed(name)
    }
}

pub(super) fn is_refused(name: &str, is_trusted: bool) -> bool {
    if let Cow::Owned(dashed) = dashed(name) {
        return is_about_client(&dashed) || dashed == "proxy";
    }
    // `Proxy` becomes HTTP_PROXY in CGI, which libraries read as a setting (CVE-2016-5385).
    name == "proxy" || (!is_trusted && is_about_client(name))
}

/// The addresses so far and the peer's, in one field: a list in several may be read from the wrong end.
fn appended(headers: &HeaderMap, client: &Client) -> HeaderValue {
    let (said, own) = (headers.get_all(&FOR), client.ip_value.as_bytes());
    let said_bytes: usize = said.iter().map(|value| value.len() + 2).sum();
    let mut list = Vec::with_capacity(said_bytes + own.len());
    for value in said {
        list.extend_from_slice(value.as_bytes());
        list.extend_from_slice(b", ");
    }
    list.extend_from_slice(own);
    let list = HeaderValue::from_maybe_shared(Bytes::from(list));
    let mut list = list.unwrap_or_else(|_| client.ip_value.clone());
    // It begins with one client of many: not for the table of an HTTP/2 connection (`client.rs`).
    list.set_sensitive(true);
    list
}

fn if_absent(headers: &mut HeaderMap, name: &HeaderName, value: impl FnOnce() -> HeaderValue) {
    let mut present = headers.get_all(name).iter();
    // Twice is none: who of two statements is meant, nobody can tell.
    if present.next().is_none() || present.next().is_some() {
        headers.insert(name.clone(), value());
    }
}

fn is_usable(id: &HeaderValue) -> bool {
    !id.is_empty()
        && id.len() <= REQUEST_ID_BYTES_MAX
        && id.as_bytes().iter().all(u8::is_ascii_graphic)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::Recent;
    use crate::config::Config;

    const FORGED: [(&str, &str); 14] = [
        ("x-forwarded-for", "9.9.9.9"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-host", "forged"),
        ("x-forwarded-port", "1"),
        ("x-forwarded-prefix", "/forged"),
        ("x-real-ip", "9.9.9.9"),
        ("x-request-id", "forged"),
        ("forwarded", "for=9.9.9.9"),
        ("x_forwarded_for", "9.9.9.9"),
        ("x-forwarded_for", "9.9.9.9"),
        ("x.forwarded.for", "9.9.9.9"),
        ("x!real-ip", "9.9.9.9"),
        ("x-original-forwarded-for", "9.9.9.9"),
        ("proxy", "evil:80"),
    ];

    fn rewritten(trusted: &str, fields: &[(&'static str, &'static str)]) -> Vec<String> {
        let config = Config {
            trusted_proxies: vec![trusted.parse().unwrap()],
            ..Config::new("tiergate-cluster")
        };
        let (peer, local) = ("[::ffff:10.0.0.7]:1", "127.0.0.1:8443");
        let client = Client::new(
            peer.parse().unwrap(),
            local.parse().unwrap(),
            true,
            &config,
            &mut Recent::default(),
        );
        let mut headers: HeaderMap = fields
            .iter()
            .map(|&(name, value)| {
                (
                    HeaderName::from_static(name),
                    HeaderValue::from_static(value),
                )
            })
            .collect();
        let host = HeaderValue::from_static("a.example:8443");
        let present = Present::of(&headers);
        rewrite(&mut headers, present, &client, &host, || {
            HeaderValue::from_static("new")
        });
        let mut lines: Vec<_> = headers
            .iter()
            .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()))
            .collect();
        lines.sort();
        lines
    }

    const OURS: [&str; 6] = [
        "x-forwarded-for: 10.0.0.7",
        "x-forwarded-host: a.example:8443",
        "x-forwarded-port: 8443",
        "x-forwarded-proto: https",
        "x-real-ip: 10.0.0.7",
        "x-request-id: new",
    ];

    #[test]
    fn nobody_but_a_trusted_peer_can_say_who_the_client_is() {
        assert_eq!(rewritten("10.0.0.8/32", &FORGED), OURS);
        assert_eq!(rewritten("10.0.0.8/32", &[]), OURS);
        assert_eq!(rewritten("10.0.0.7/32", &[]), OURS);
    }

    #[test]
    fn the_port_is_the_one_that_the_client_named() {
        for (host, is_https, port) in [
            ("a.example", false, "80"),
            ("a.example", true, "443"),
            ("a.example:8080", false, "8080"),
            ("a.example:", true, "443"),
            ("[2001:db8::1]", true, "443"),
            ("[2001:db8::1]:8443", true, "8443"),
        ] {
            assert_eq!(
                named_port(&HeaderValue::from_static(host), is_https),
                port,
                "{host}"
            );
        }
    }

    #[test]
    fn a_trusted_peer_is_continued() {
        assert_eq!(
            rewritten("10.0.0.0/8", &FORGED),
            [
                "forwarded: for=9.9.9.9",
                "x-forwarded-for: 9.9.9.9, 10.0.0.7",
                "x-forwarded-host: forged",
                "x-forwarded-port: 1",
                "x-forwarded-prefix: /forged",
                "x-forwarded-proto: https",
                "x-original-forwarded-for: 9.9.9.9",
                "x-real-ip: 9.9.9.9",
                "x-request-id: forged",
            ]
        );
    }

    #[test]
    fn what_even_a_trusted_peer_cannot_mean_is_replaced() {
        let fields = [
            ("x-forwarded-for", "1.1.1.1"),
            ("x-forwarded-for", "2.2.2.2"),
            ("x-real-ip", "1.1.1.1"),
            ("x-real-ip", "2.2.2.2"),
            ("x-request-id", "two words"),
        ];
        // `collect` keeps the last of equal names, so they are appended here.
        let config = Config {
            trusted_proxies: vec!["10.0.0.0/8".parse().unwrap()],
            ..Config::new("tiergate-cluster")
        };
        let client = Client::new(
            "10.0.0.7:1".parse().unwrap(),
            "127.0.0.1:80".parse().unwrap(),
            false,
            &config,
            &mut Recent::default(),
        );
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(name, HeaderValue::from_static(value));
        }
        let present = Present::of(&headers);
        rewrite(
            &mut headers,
            present,
            &client,
            &HeaderValue::from_static("a"),
            || HeaderValue::from_static("new"),
        );
        let of = |name: &str| {
            let values: Vec<_> = headers.get_all(name).iter().collect();
            assert_eq!(values.len(), 1, "{name}");
            values[0].to_str().unwrap()
        };
        assert_eq!(of("x-forwarded-for"), "1.1.1.1, 2.2.2.2, 10.0.0.7");
        assert_eq!(of("x-real-ip"), "10.0.0.7");
        assert_eq!(of("x-request-id"), "new");
    }
}
