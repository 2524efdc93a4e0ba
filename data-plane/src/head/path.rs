//! The path as rules are compared with it. Pure.
//!
//! The endpoint gets the path as the client wrote it, and may resolve it as RFC 3986 §6.2.2 allows. So that the route is
//! the one of the path that the endpoint will see, the path that is compared is resolved where that is harmless
//! (`%61` is `a`, `//` is `/`), and refused where the two could differ: `.` and `..` as elements, also written `%2e`, also
//! between `%2F`, `\` or `%5C`, also before `;`. Browsers and HTTP libraries resolve dots before they send.
//! `%2F` stays as it is: it is no separator, and no rule can contain it (Kubernetes refuses such a rule).

use std::borrow::Cow;

use http::Method;

use crate::error::ProxyError;

/// The path to look up for a request.
pub(crate) fn of_request<'p>(method: &Method, path: &'p str) -> Result<Cow<'p, str>, ProxyError> {
    if path == "*" && *method != Method::OPTIONS {
        return Err(ProxyError::BadTarget("`*` is for OPTIONS alone"));
    }
    for_matching(path)
}

/// The path to look up.
pub(crate) fn for_matching(path: &str) -> Result<Cow<'_, str>, ProxyError> {
    if !path.starts_with('/') {
        return if path == "*" || path.is_empty() {
            Ok(Cow::Borrowed("/"))
        } else {
            Err(ProxyError::BadTarget("it does not begin with a slash"))
        };
    }
    if is_plain(path.as_bytes()) {
        return Ok(Cow::Borrowed(path));
    }
    let mut resolved = decode_unreserved(path)?;
    if has_dot_element(&resolved) {
        return Err(ProxyError::BadTarget("its path has `.` or `..` elements"));
    }
    let mut before = None;
    resolved.retain(|next| {
        let is_doubled = next == '/' && before == Some('/');
        before = Some(next);
        !is_doubled
    });
    Ok(Cow::Owned(resolved))
}

fn is_plain(path: &[u8]) -> bool {
    let mut before = b' ';
    path.iter().all(|&byte| {
        let is_special =
            matches!(byte, b'%' | b'\\') || (before == b'/' && matches!(byte, b'/' | b'.'));
        before = byte;
        !is_special
    })
}

fn decode_unreserved(path: &str) -> Result<String, ProxyError> {
    let mut decoded = String::with_capacity(path.len());
    let mut rest = path;
    while let Some(at) = rest.find('%') {
        decoded.push_str(&rest[..at]);
        let byte = rest
            .get(at + 1..at + 3)
            .filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()))
            .and_then(|digits| u8::from_str_radix(digits, 16).ok())
            .ok_or(ProxyError::BadTarget(
                "a `%` is not followed by two hexadecimal digits",
            ))?;
        match byte {
            0 => return Err(ProxyError::BadTarget("its path has a zero byte")),
            b'-' | b'.' | b'_' | b'~' => decoded.push(char::from(byte)),
            _ if byte.is_ascii_alphanumeric() => decoded.push(char::from(byte)),
            _ => decoded.push_str(&rest[at..at + 3].to_ascii_uppercase()),
        }
        rest = &rest[at + 3..];
    }
    decoded.push_str(rest);
    Ok(decoded)
}

fn has_dot_element(path: &str) -> bool {
    path.replace("%2F", "/")
        .replace("%5C", "/")
        .split(['/', '\\'])
        .map(|element| element.split(';').next().unwrap_or(element))
        .any(|element| matches!(element, "." | ".."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_equal_by_rfc_3986_is_compared_as_equal() {
        for (path, compared) in [
            ("/", "/"),
            ("/a/b/", "/a/b/"),
            ("/%61pi", "/api"),
            ("/a%2fb", "/a%2Fb"),
            ("/a%20b", "/a%20b"),
            ("//a///b//", "/a/b/"),
            ("/a%2F//é//%2f/", "/a%2F/é/%2F/"),
            ("/.well-known/x", "/.well-known/x"),
            ("/a..b/...", "/a..b/..."),
            ("/a;x=1/b", "/a;x=1/b"),
            ("*", "/"),
        ] {
            assert_eq!(for_matching(path).unwrap(), compared, "{path}");
        }
    }

    #[test]
    fn a_path_that_could_mean_another_one_upstream_is_refused() {
        for path in [
            "/a/../b",
            "/a/..",
            "/./a",
            "/a/.",
            "/%2e%2E/b",
            "/a/%2e./b",
            "/a%2f..%2Fb",
            "/a\\..\\b",
            "/a%5c..%5cb",
            "/a/..;/b",
            "/a/.;x/b",
            "/%",
            "/%2",
            "/%zz",
            "/%+1",
            "/a%00",
            "a",
            "/a//../b",
        ] {
            assert_eq!(
                for_matching(path).unwrap_err().reason(),
                "bad_target",
                "{path}"
            );
        }
    }

    proptest::proptest! {
        #[test]
        fn no_path_with_a_dot_element_passes(
            before in "[a-z/%25]{0,6}",
            dots in "(\\.|%2e|%2E){1,2}",
            separator in "(/|%2f|%2F|\\\\|%5c)",
            after in "[a-z/]{0,6}",
        ) {
            let path = format!("/{before}{separator}{dots}{separator}{after}");
            proptest::prop_assert!(for_matching(&path).is_err(), "{path}");
        }
    }
}
