//! The one host that a request is for. Pure.
//!
//! RFC 9112 §3.2: exactly one Host field, and an absolute-form target replaces it (§3.2.2). RFC 9113 §8.3.1: `:authority`
//! and Host are equal when both are there. HTTP/1.0 may go without.

use http::header::HOST;
use http::request::Parts;
use http::{HeaderValue, Version};

use crate::error::{BadHost, ProxyError};
use crate::host::HostName;

const FOREIGN_SCHEME: ProxyError = ProxyError::BadTarget("the scheme is not http or https");

/// The host as the client wrote it, port included. Nothing: an HTTP/1.0 request without one.
pub(crate) fn effective(parts: &Parts) -> Result<Option<HeaderValue>, ProxyError> {
    let mut fields = parts.headers.get_all(HOST).iter();
    let field = match (fields.next(), fields.next()) {
        (field, None) => field,
        (_, Some(_)) => return Err(BadHost::Doubled.into()),
    };
    if parts.version == Version::HTTP_2 {
        return of_http2(parts, field).map(Some);
    }
    let Some(field) = field else {
        return if parts.version < Version::HTTP_11 && parts.uri.authority().is_none() {
            Ok(None)
        } else {
            Err(BadHost::Missing.into())
        };
    };
    match (parts.uri.scheme_str(), parts.uri.authority()) {
        (Some("http" | "https"), Some(authority)) => {
            comparable(field)?;
            value(authority.as_str()).map(Some)
        }
        (None, None) => Ok(Some(field.clone())),
        (Some(_), _) => Err(FOREIGN_SCHEME),
        (None, Some(_)) => Err(ProxyError::BadTarget("it does not begin with a slash")),
    }
}

/// The host in the form that rules are looked up by.
pub(crate) fn comparable(host: &HeaderValue) -> Result<std::borrow::Cow<'_, str>, ProxyError> {
    let text = host
        .to_str()
        .map_err(|_| BadHost::Invalid(crate::host::InvalidHostName::Character('\u{fffd}')))?;
    Ok(HostName::comparable(text).map_err(BadHost::Invalid)?)
}

fn of_http2(parts: &Parts, field: Option<&HeaderValue>) -> Result<HeaderValue, ProxyError> {
    if !matches!(parts.uri.scheme_str(), None | Some("http" | "https")) {
        return Err(FOREIGN_SCHEME);
    }
    match (parts.uri.authority(), field) {
        (None, None) => Err(BadHost::Missing.into()),
        (None, Some(field)) => Ok(field.clone()),
        (Some(authority), None) => value(authority.as_str()),
        (Some(authority), Some(field)) => {
            let authority = authority.as_str().as_bytes();
            if authority.eq_ignore_ascii_case(field.as_bytes()) {
                Ok(field.clone())
            } else {
                Err(BadHost::Differs.into())
            }
        }
    }
}

fn value(authority: &str) -> Result<HeaderValue, ProxyError> {
    HeaderValue::from_str(authority)
        .map_err(|_| ProxyError::BadTarget("its authority is not printable"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The comparable host, or the reason of the refusal.
    fn check(version: Version, target: &str, hosts: &[&str]) -> Result<Option<String>, String> {
        let mut build = http::Request::builder().version(version).uri(target);
        for host in hosts {
            build = build.header(HOST, *host);
        }
        let (parts, ()) = build.body(()).unwrap().into_parts();
        let host = effective(&parts).map_err(|error| error.to_string())?;
        host.map(|host| {
            let host = comparable(&host).map_err(|error| error.to_string())?;
            Ok(host.into_owned())
        })
        .transpose()
    }

    #[test]
    fn there_is_exactly_one_host() {
        check_all(&[
            (
                Version::HTTP_11,
                "/",
                &["A.example:80"],
                Ok(Some("a.example")),
            ),
            (
                Version::HTTP_11,
                "/",
                &["a.example."],
                Ok(Some("a.example")),
            ),
            (
                Version::HTTP_11,
                "/",
                &[],
                Err("the host is not usable: there is none"),
            ),
            (
                Version::HTTP_11,
                "/",
                &["a", "a"],
                Err("the host is not usable: there is more than one Host field"),
            ),
            (
                Version::HTTP_11,
                "/",
                &[""],
                Err("the host is not usable: the host name is empty"),
            ),
            (
                Version::HTTP_11,
                "/",
                &["a@b"],
                Err("the host is not usable: the host name contains '@'"),
            ),
            (
                Version::HTTP_11,
                "http://b.example:1/x",
                &["a"],
                Ok(Some("b.example")),
            ),
            (
                Version::HTTP_11,
                "http://b.example/x",
                &[],
                Err("the host is not usable: there is none"),
            ),
            (
                Version::HTTP_11,
                "http://b.example/x",
                &["a b"],
                Err("the host is not usable: the host name contains ' '"),
            ),
            (
                Version::HTTP_11,
                "ftp://b.example/x",
                &["a"],
                Err("the request target is not usable: the scheme is not http or https"),
            ),
            (
                Version::HTTP_11,
                "nonsense",
                &["a"],
                Err("the request target is not usable: it does not begin with a slash"),
            ),
        ]);
    }

    #[test]
    fn the_other_versions_have_rules_of_their_own() {
        check_all(&[
            (Version::HTTP_10, "/", &[], Ok(None)),
            (Version::HTTP_10, "/", &["a"], Ok(Some("a"))),
            (
                Version::HTTP_10,
                "/",
                &["a", "b"],
                Err("the host is not usable: there is more than one Host field"),
            ),
            (
                Version::HTTP_2,
                "http://a.example/",
                &[],
                Ok(Some("a.example")),
            ),
            (
                Version::HTTP_2,
                "http://a.example/",
                &["A.EXAMPLE"],
                Ok(Some("a.example")),
            ),
            (
                Version::HTTP_2,
                "http://a.example/",
                &["b.example"],
                Err("the host is not usable: :authority and Host differ"),
            ),
            (Version::HTTP_2, "/", &["b.example"], Ok(Some("b.example"))),
            (
                Version::HTTP_2,
                "/",
                &[],
                Err("the host is not usable: there is none"),
            ),
        ]);
    }

    type Case = (
        Version,
        &'static str,
        &'static [&'static str],
        Result<Option<&'static str>, &'static str>,
    );

    fn check_all(cases: &[Case]) {
        for &(version, target, hosts, expected) in cases {
            let expected = expected
                .map(|host| host.map(str::to_owned))
                .map_err(str::to_owned);
            assert_eq!(
                check(version, target, hosts),
                expected,
                "{version:?} {target} {hosts:?}"
            );
        }
    }
}
