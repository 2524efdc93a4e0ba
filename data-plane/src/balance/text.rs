//! What is hashed of a request. Pure.
//!
//! In: the texts that an Ingress asks for, and the head as it goes to the endpoint, whose fields about the client nobody forges. Out: a key;
//! or nothing when the request has none of what is asked for, so that those do not all meet one endpoint.

use std::borrow::Cow;

use http::header::HOST;
use http::request::Parts;

use super::affinity::cookie;
use super::rank;
use crate::head::{forwarded, host, path};
use crate::table::{HashBy, HashPart};

/// The key of a request.
pub(crate) fn key(by: &HashBy, parts: &Parts) -> Option<u64> {
    let mut text = Vec::new();
    let mut is_there = false;
    for part in &by.0 {
        let before = text.len();
        add(part, parts, &mut text);
        is_there |= text.len() > before && !matches!(part, HashPart::Text(_));
    }
    is_there.then(|| rank::key(&text))
}

fn add(part: &HashPart, parts: &Parts, text: &mut Vec<u8>) {
    let field = |name: &http::HeaderName, text: &mut Vec<u8>| {
        for (number, value) in parts.headers.get_all(name).iter().enumerate() {
            if number > 0 {
                text.extend_from_slice(b", ");
            }
            text.extend_from_slice(value.as_bytes());
        }
    };
    let uri = &parts.uri;
    match part {
        HashPart::Text(known) => text.extend_from_slice(known.as_bytes()),
        HashPart::Host => add_host(parts, text),
        HashPart::RequestUri => {
            let target = uri.path_and_query().map_or("/", |target| target.as_str());
            text.extend_from_slice(target.as_bytes());
        }
        HashPart::Uri => {
            let comparable = path::for_matching(uri.path());
            let comparable = comparable.unwrap_or(Cow::Borrowed(uri.path()));
            text.extend_from_slice(comparable.as_bytes());
        }
        HashPart::Query => text.extend_from_slice(uri.query().unwrap_or_default().as_bytes()),
        HashPart::Method => text.extend_from_slice(parts.method.as_str().as_bytes()),
        HashPart::Scheme => field(&forwarded::PROTO, text),
        HashPart::RemoteAddress => field(&forwarded::REAL_IP, text),
        // HTTP/2 has it elsewhere.
        HashPart::Header(name) if name == HOST && uri.authority().is_some() => {
            let authority = uri.authority().map_or("", |authority| authority.as_str());
            text.extend_from_slice(authority.as_bytes());
        }
        HashPart::Header(name) => field(name, text),
        HashPart::Argument(name) => {
            let mut pairs = uri.query().unwrap_or_default().split('&');
            let value = pairs.find_map(|pair| {
                let (found, value) = pair.split_once('=')?;
                found.eq_ignore_ascii_case(name).then_some(value)
            });
            text.extend_from_slice(value.unwrap_or_default().as_bytes());
        }
        HashPart::Cookie(name) => {
            let value = cookie(&parts.headers, name.as_bytes());
            text.extend_from_slice(value.unwrap_or_default());
        }
    }
}

fn add_host(parts: &Parts, text: &mut Vec<u8>) {
    if let Some(authority) = parts.uri.authority() {
        text.extend_from_slice(authority.host().to_ascii_lowercase().as_bytes());
    } else if let Some(field) = parts.headers.get(HOST)
        && let Ok(host) = host::comparable(field)
    {
        text.extend_from_slice(host.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, Request};

    use super::*;

    fn request(uri: &str, fields: &[(&str, &str)]) -> Parts {
        let mut request = Request::builder().uri(uri);
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap().into_parts().0
    }

    #[test]
    fn each_part_is_the_text_that_nginx_would_take() {
        let parts = request(
            "/a/%62//c?x=1&User=Ann&user=bob&flag",
            &[
                ("host", "Shop.Example:8080"),
                ("x-real-ip", "192.0.2.7"),
                ("x-forwarded-proto", "https"),
                ("x-tenant", "one"),
                ("x-tenant", "two"),
                ("cookie", "sid=abc; other=1"),
            ],
        );
        let header = |name| HashPart::Header(HeaderName::from_static(name));
        for (part, text) in [
            (HashPart::Text("fix".into()), "fix"),
            (HashPart::Host, "shop.example"),
            (HashPart::RequestUri, "/a/%62//c?x=1&User=Ann&user=bob&flag"),
            (HashPart::Uri, "/a/b/c"),
            (HashPart::Query, "x=1&User=Ann&user=bob&flag"),
            (HashPart::Method, "GET"),
            (HashPart::Scheme, "https"),
            (HashPart::RemoteAddress, "192.0.2.7"),
            (header("x-tenant"), "one, two"),
            (header("host"), "Shop.Example:8080"),
            (header("x-absent"), ""),
            (HashPart::Argument("user".into()), "Ann"),
            (HashPart::Argument("flag".into()), ""),
            (HashPart::Cookie("sid".into()), "abc"),
            (HashPart::Cookie("none".into()), ""),
        ] {
            let mut found = Vec::new();
            add(&part, &parts, &mut found);
            assert_eq!(String::from_utf8(found).unwrap(), text, "{part:?}");
        }
        let of_http2 = request("http://Shop.Example:8080/", &[]);
        for (part, text) in [
            (HashPart::Host, "shop.example"),
            (header("host"), "Shop.Example:8080"),
            (HashPart::RequestUri, "/"),
        ] {
            let mut found = Vec::new();
            add(&part, &of_http2, &mut found);
            assert_eq!(String::from_utf8(found).unwrap(), text, "{part:?}");
        }
    }

    #[test]
    fn parts_stand_one_behind_the_other_and_texts_alone_are_no_key() {
        let of = |parts: &[HashPart], request: &Parts| key(&HashBy(parts.into()), request);
        let text = || HashPart::Text("user:".into());
        let cookie = || HashPart::Cookie("sid".into());
        let with = request("/", &[("cookie", "sid=7")]);
        let without = request("/", &[]);
        assert_eq!(of(&[text(), cookie()], &with), Some(rank::key(b"user:7")));
        assert_eq!(of(&[text(), cookie()], &without), None);
        assert_eq!(of(&[text()], &with), None);
        assert_eq!(
            of(&[cookie(), HashPart::RequestUri], &without),
            Some(rank::key(b"/"))
        );
    }
}
