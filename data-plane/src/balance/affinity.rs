//! Sessions that stay with their endpoint: reads their cookie, and writes it. Pure.
//!
//! In: the `Cookie` fields of a request. Out: what the cookie says, and the `Set-Cookie` of a session that begins. A client may send
//! anything: in balanced mode every value is a key and leads to some endpoint, in persistent mode one that names no endpoint of the
//! backend is as none. Neither tells an address.

use std::fmt::Write as _;
use std::time::SystemTime;

use http::header::COOKIE;
use http::{HeaderMap, HeaderValue};

use super::rank;
use crate::table::{Affinity, AffinityMode};

/// Longer values are not ours.
const VALUE_BYTES_MAX: usize = 128;

/// The session of one request.
#[derive(Debug)]
pub(crate) struct Session<'r> {
    pub(super) affinity: &'r Affinity,
    /// What the cookie says: a key in balanced mode, the token of an endpoint in persistent mode.
    pub(super) said: Option<u64>,
    /// What a new cookie has to say.
    pub(super) issued: Option<Issued>,
    /// `Path` of a new one.
    path: Box<str>,
}

/// What a new cookie has to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Issued {
    /// This key, as text.
    Key(String),
    /// Who serves the request.
    Endpoint,
}

// === impl Session ===

impl<'r> Session<'r> {
    /// The session of a request with these fields, which met a rule of this path.
    pub(crate) fn new(affinity: &'r Affinity, headers: &HeaderMap, rule_path: &str) -> Self {
        let value = cookie(headers, affinity.cookie.as_bytes());
        let value = value.filter(|value| (1..=VALUE_BYTES_MAX).contains(&value.len()));
        let said = match affinity.mode {
            AffinityMode::Balanced => value.map(rank::key),
            AffinityMode::Persistent => value.and_then(token_of),
        };
        let path = affinity.path.as_deref().unwrap_or(rule_path);
        // A semicolon would end the attribute.
        let path = if path.is_empty() || path.contains(';') {
            "/"
        } else {
            path
        };
        Self {
            affinity,
            said,
            issued: None,
            path: path.into(),
        }
    }

    /// The session gets another key.
    pub(super) fn issue_key(&mut self, random: u64) -> u64 {
        let text = text_of(random);
        let key = rank::key(text.as_bytes());
        self.said = Some(key);
        self.issued = Some(Issued::Key(text));
        key
    }

    /// `Set-Cookie` for the answer of the endpoint with this token, when the session has no cookie, or needs another.
    pub(super) fn set_cookie(
        &self,
        token: u64,
        is_https: bool,
        now: impl FnOnce() -> SystemTime,
    ) -> Option<HeaderValue> {
        let value = match self.issued.as_ref()? {
            Issued::Key(key) => key.clone(),
            Issued::Endpoint => text_of(token),
        };
        let affinity = self.affinity;
        let mut text = format!("{}={value}; Path={}", affinity.cookie, self.path);
        if let Some(expires) = affinity.expires
            && let Some(date) = now().checked_add(expires)
        {
            let _ = write!(text, "; Expires={}", httpdate::fmt_http_date(date));
        }
        text.push_str(&affinity.attributes);
        if affinity.is_secure.unwrap_or(is_https) {
            text.push_str("; Secure");
        }
        text.push_str("; HttpOnly");
        let mut value = HeaderValue::from_bytes(text.as_bytes()).ok()?;
        // Each session has its own: not for the table of an HTTP/2 connection.
        value.set_sensitive(true);
        Some(value)
    }
}

/// The value of the first cookie of this name: of several the browser sends the one with the longest path first (RFC 6265 §5.4).
pub(super) fn cookie<'h>(headers: &'h HeaderMap, name: &[u8]) -> Option<&'h [u8]> {
    let fields = headers.get_all(COOKIE).iter();
    let mut pairs = fields.flat_map(|field| field.as_bytes().split(|&byte| byte == b';'));
    pairs.find_map(|pair| {
        let value = pair.trim_ascii().strip_prefix(name)?.strip_prefix(b"=")?;
        Some(value)
    })
}

fn text_of(number: u64) -> String {
    format!("{number:016x}")
}

fn token_of(text: &[u8]) -> Option<u64> {
    let is_ours = text.len() == 16 && text.iter().all(u8::is_ascii_hexdigit);
    let text = std::str::from_utf8(text).ok().filter(|_| is_ours)?;
    u64::from_str_radix(text, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn affinity(mode: AffinityMode) -> Affinity {
        Affinity {
            mode,
            cookie: "INGRESSCOOKIE".into(),
            path: None,
            attributes: "".into(),
            expires: None,
            is_secure: None,
            changes_on_failure: false,
        }
    }

    fn headers(cookies: &[&'static str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for cookie in cookies {
            headers.append(COOKIE, HeaderValue::from_static(cookie));
        }
        headers
    }

    #[test]
    fn a_cookie_is_found_by_its_whole_name() {
        for (cookies, found) in [
            (&["a=1; b=2"][..], Some("2")),
            (&["b=", "b=3"], Some("")),
            (&["ab=1;b=2"], Some("2")),
            (&["a=b=1"], None),
            (&["B=1"], None),
            (&["b"], None),
            (&["a=1", "  b=4=5 ; c"], Some("4=5")),
        ] {
            let headers = headers(cookies);
            let value = cookie(&headers, b"b").map(|value| std::str::from_utf8(value).unwrap());
            assert_eq!(value, found, "{cookies:?}");
        }
    }

    #[test]
    fn whatever_a_client_says_is_a_key_or_nothing() {
        for (value, key, token) in [
            ("INGRESSCOOKIE=00000000000000ff", true, Some(255)),
            ("INGRESSCOOKIE=+0000000000000ff", true, None),
            ("INGRESSCOOKIE=ff", true, None),
            ("INGRESSCOOKIE=1700000000.1.2|d41d8cd9", true, None),
            ("INGRESSCOOKIE=", false, None),
            ("other=00000000000000ff", false, None),
        ] {
            let headers = headers(&[value]);
            let said = |mode| Session::new(&affinity(mode), &headers, "/").said;
            assert_eq!(said(AffinityMode::Balanced).is_some(), key, "{value}");
            assert_eq!(said(AffinityMode::Persistent), token, "{value}");
        }
        let mut long = HeaderMap::new();
        let value = format!("INGRESSCOOKIE={}", "a".repeat(VALUE_BYTES_MAX + 1));
        long.insert(COOKIE, value.parse().unwrap());
        assert_eq!(
            Session::new(&affinity(AffinityMode::Balanced), &long, "/").said,
            None
        );
    }

    #[test]
    fn the_cookie_has_the_attributes_that_were_asked_for() {
        let now = || SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777);
        let plain = affinity(AffinityMode::Persistent);
        let full = Affinity {
            path: Some("/app".into()),
            attributes: "; Max-Age=60; Domain=a.example; SameSite=Lax".into(),
            expires: Some(Duration::from_secs(60)),
            is_secure: Some(true),
            ..plain.clone()
        };
        let open = Affinity {
            is_secure: Some(false),
            ..plain.clone()
        };
        for (affinity, rule_path, is_https, cookie) in [
            (
                &plain,
                "/a/b",
                false,
                "INGRESSCOOKIE=000000000000000a; Path=/a/b; HttpOnly",
            ),
            (
                &plain,
                "",
                true,
                "INGRESSCOOKIE=000000000000000a; Path=/; Secure; HttpOnly",
            ),
            (
                &plain,
                "/a;b",
                false,
                "INGRESSCOOKIE=000000000000000a; Path=/; HttpOnly",
            ),
            (
                &open,
                "/",
                true,
                "INGRESSCOOKIE=000000000000000a; Path=/; HttpOnly",
            ),
            (
                &full,
                "/",
                false,
                "INGRESSCOOKIE=000000000000000a; Path=/app; Expires=Sun, 06 Nov 1994 08:50:37 GMT; Max-Age=60; \
                 Domain=a.example; SameSite=Lax; Secure; HttpOnly",
            ),
        ] {
            let mut session = Session::new(affinity, &HeaderMap::new(), rule_path);
            assert_eq!(session.set_cookie(10, is_https, now), None, "none is due");
            session.issued = Some(Issued::Endpoint);
            let set = session.set_cookie(10, is_https, now).unwrap();
            assert_eq!(set.to_str().unwrap(), cookie);
        }
        let mut session = Session::new(&plain, &HeaderMap::new(), "/");
        let key = session.issue_key(1);
        let set = session.set_cookie(10, false, now).unwrap();
        assert_eq!(set, "INGRESSCOOKIE=0000000000000001; Path=/; HttpOnly");
        assert_eq!(rank::key(b"0000000000000001"), key);
    }
}
