//! Which of the fields that concern us a head has. Pure.
//!
//! In: a head. Out: a set, found in one walk over its fields. The rules ask it before they look a field up: nearly every
//! head has nearly none of them, and each look-up would hash a name.

use http::HeaderMap;

/// A set of the fields below. It says what was there when it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Present(u32);

impl Present {
    /// `Connection`, and what else belongs to one connection.
    pub(crate) const CONNECTION: Self = Self(1);
    pub(crate) const KEEP_ALIVE: Self = Self(1 << 1);
    pub(crate) const PROXY_CONNECTION: Self = Self(1 << 2);
    pub(crate) const TRANSFER_ENCODING: Self = Self(1 << 3);
    pub(crate) const UPGRADE: Self = Self(1 << 4);
    /// What only a request has of that, and what is meant for a proxy.
    pub(crate) const TE: Self = Self(1 << 5);
    pub(crate) const HTTP2_SETTINGS: Self = Self(1 << 6);
    pub(crate) const PROXY_AUTHORIZATION: Self = Self(1 << 7);
    pub(crate) const PROXY_AUTHENTICATE: Self = Self(1 << 8);
    pub(crate) const EXPECT: Self = Self(1 << 9);
    pub(crate) const CONTENT_LENGTH: Self = Self(1 << 10);
    pub(crate) const VIA: Self = Self(1 << 11);
    pub(crate) const DATE: Self = Self(1 << 12);
    /// A name that endpoints may take for a statement about the client, or for a setting of theirs.
    pub(crate) const SUSPECT: Self = Self(1 << 13);
    /// Such a name that not even a trusted peer may use. Suspect, too.
    pub(crate) const FORGED: Self = Self(1 << 14);
    /// What a tier in front says about the client. Suspect, too.
    pub(crate) const FORWARDED_PROTO: Self = Self(1 << 15);
    pub(crate) const FORWARDED_HOST: Self = Self(1 << 16);
    pub(crate) const FORWARDED_PORT: Self = Self(1 << 17);
    pub(crate) const REAL_IP: Self = Self(1 << 18);

    /// A value that begins or ends with a blank. Only of HTTP/2: HTTP/1.1 has blanks there that belong to no value.
    pub(crate) const PADDED: Self = Self(1 << 19);
    pub(crate) const SERVER: Self = Self(1 << 20);
    /// What a tier in front says about the request. Suspect, too.
    pub(crate) const RETRIED: Self = Self(1 << 21);

    /// Of a whole head.
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let names = headers.keys().map(|name| of_name(name.as_str()));
        Self(names.fold(0, |all, one| all | one.0))
    }

    /// Of a whole head of HTTP/2.
    pub(crate) fn of_http2(headers: &HeaderMap) -> Self {
        let fields = headers.iter().map(|(name, value)| {
            let padded = if is_padded(value.as_bytes()) {
                Self::PADDED
            } else {
                Self::default()
            };
            of_name(name.as_str()).or(padded)
        });
        Self(fields.fold(0, |all, one| all | one.0))
    }

    /// Whether any of these is there.
    pub(crate) fn any(self, of: Self) -> bool {
        self.0 & of.0 != 0
    }

    /// Whether all of these are there.
    pub(crate) fn all(self, of: Self) -> bool {
        self.0 & of.0 == of.0
    }

    /// These and those.
    pub(crate) const fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

fn of_name(name: &str) -> Present {
    match name {
        "te" => Present::TE,
        "via" => Present::VIA,
        "date" => Present::DATE,
        "expect" => Present::EXPECT,
        "server" => Present::SERVER,
        "upgrade" => Present::UPGRADE,
        "connection" => Present::CONNECTION,
        "keep-alive" => Present::KEEP_ALIVE,
        "content-length" => Present::CONTENT_LENGTH,
        "http2-settings" => Present::HTTP2_SETTINGS,
        "proxy-connection" => Present::PROXY_CONNECTION,
        "transfer-encoding" => Present::TRANSFER_ENCODING,
        "proxy-authenticate" => Present::PROXY_AUTHENTICATE,
        "proxy-authorization" => Present::PROXY_AUTHORIZATION,
        "x-forwarded-for" | "x-request-id" => Present::SUSPECT,
        "x-forwarded-proto" => Present::FORWARDED_PROTO.or(Present::SUSPECT),
        "x-forwarded-host" => Present::FORWARDED_HOST.or(Present::SUSPECT),
        "x-forwarded-port" => Present::FORWARDED_PORT.or(Present::SUSPECT),
        "tiergate-retried" => Present::RETRIED.or(Present::SUSPECT),
        "x-real-ip" => Present::REAL_IP.or(Present::SUSPECT),
        "proxy" => Present::FORGED.or(Present::SUSPECT),
        // Any sign that stands for a dash, and the first letters of every name that `forwarded` knows.
        _ if has_sign(name) => Present::FORGED.or(Present::SUSPECT),
        _ if matches!(name.as_bytes(), [b'x' | b'f' | b'p' | b't', ..]) => Present::SUSPECT,
        _ => Present::default(),
    }
}

fn is_padded(value: &[u8]) -> bool {
    matches!(value, [b' ' | b'\t', ..] | [.., b' ' | b'\t'])
}

fn has_sign(name: &str) -> bool {
    let is_sign = |byte: u8| !byte.is_ascii_alphanumeric() && byte != b'-';
    name.bytes().any(is_sign)
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};

    use super::*;
    use crate::head::forwarded;

    #[test]
    fn every_field_that_a_rule_asks_for_is_seen() {
        for (name, seen) in [
            ("host", Present::default()),
            ("accept", Present::default()),
            ("cookie", Present::default()),
            ("te", Present::TE),
            ("date", Present::DATE),
            ("server", Present::SERVER),
            ("connection", Present::CONNECTION),
            ("proxy-connection", Present::PROXY_CONNECTION),
            ("x-scheme", Present::SUSPECT),
            ("tiergate-retried", Present::RETRIED.or(Present::SUSPECT)),
            ("x-forwarded-for", Present::SUSPECT),
            ("x-real-ip", Present::REAL_IP.or(Present::SUSPECT)),
            ("x_forwarded_for", Present::FORGED.or(Present::SUSPECT)),
            ("a_b", Present::FORGED.or(Present::SUSPECT)),
            ("proxy", Present::FORGED.or(Present::SUSPECT)),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert("accept-encoding", HeaderValue::from_static("br"));
            headers.insert(HeaderName::from_static(name), HeaderValue::from_static("1"));
            assert_eq!(Present::of(&headers), seen, "{name}");
        }
    }

    #[test]
    fn blanks_around_a_value_are_seen() {
        for (value, is_padded) in [
            ("", false),
            ("a b", false),
            (" a", true),
            ("a ", true),
            ("\ta", true),
            ("a\t", true),
            (" ", true),
        ] {
            let mut headers = HeaderMap::new();
            for value in ["first", value, "last"] {
                headers.append("accept", HeaderValue::from_static(value));
            }
            let present = Present::of_http2(&headers);
            assert_eq!(present.any(Present::PADDED), is_padded, "{value:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_name_that_would_be_removed_is_passed_over(
            name in "(x|f|t|p|c|[a-z])?(-|_|\\.)?(forwarded|proxy|real|request|rue|client)?(-|_|!)?(for|ip|id)?(-|_)?[a-z]{0,3}",
        ) {
            let is_refused = !name.is_empty() && forwarded::is_refused(&name, false);
            proptest::prop_assert!(!is_refused || of_name(&name).any(Present::SUSPECT), "{}", name);
            let is_refused = !name.is_empty() && forwarded::is_refused(&name, true);
            proptest::prop_assert!(!is_refused || of_name(&name).all(Present::FORGED.or(Present::SUSPECT)), "{}", name);
        }
    }

    #[test]
    fn every_name_about_the_client_is_suspect() {
        for name in forwarded::ABOUT_CLIENT {
            assert!(of_name(name).any(Present::SUSPECT), "{name}");
        }
    }
}
