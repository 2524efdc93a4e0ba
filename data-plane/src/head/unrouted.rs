//! What the tier's default backend is told about a request that no rule matches. Pure.
//!
//! In: the head as the client sent it. Out: the same with the fields that error pages made for ingress-nginx read: `X-Code`, the
//! status that the client would get from us; `X-Format`, what it accepts; `X-Original-URI`, what it asked for. `X-Request-ID` has every
//! request. `X-Namespace`, `X-Ingress-Name`, `X-Service-Name` and `X-Service-Port` name what failed, and here nothing did: there is no
//! Ingress. What a client says in any of these fields is removed, in every spelling that an endpoint could take for it.

use http::header::ACCEPT;
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue};

use super::forwarded::dashed;

static CODE: HeaderName = HeaderName::from_static("x-code");
static FORMAT: HeaderName = HeaderName::from_static("x-format");
static ORIGINAL_URI: HeaderName = HeaderName::from_static("x-original-uri");

/// Everything that error pages believe.
const SAID_TO_ERROR_PAGES: [&str; 7] = [
    "x-code",
    "x-format",
    "x-original-uri",
    "x-namespace",
    "x-ingress-name",
    "x-service-name",
    "x-service-port",
];

/// Writes the fields. To be called before the head is made one for the endpoint, which may change its target.
pub(crate) fn tell(parts: &mut Parts) {
    remove_forged(&mut parts.headers);
    let headers = &mut parts.headers;
    headers.insert(CODE.clone(), HeaderValue::from_static("404"));
    if let Some(accepted) = accepted(headers) {
        headers.insert(FORMAT.clone(), accepted);
    }
    let target = parts.uri.path_and_query().map_or("/", |path| path.as_str());
    if let Ok(mut target) = HeaderValue::from_str(target) {
        // Hardly ever the same again: not for the table of an HTTP/2 connection.
        target.set_sensitive(true);
        headers.insert(ORIGINAL_URI.clone(), target);
    }
}

fn remove_forged(headers: &mut HeaderMap) {
    let is_forged = |name: &&HeaderName| SAID_TO_ERROR_PAGES.contains(&&*dashed(name.as_str()));
    let forged: Vec<HeaderName> = headers.keys().filter(is_forged).cloned().collect();
    for name in forged {
        headers.remove(name);
    }
}

/// All that the client accepts, in one field.
fn accepted(headers: &HeaderMap) -> Option<HeaderValue> {
    let mut fields = headers.get_all(ACCEPT).iter();
    let first = fields.next()?;
    let more: Vec<&HeaderValue> = fields.collect();
    if more.is_empty() {
        return Some(first.clone());
    }
    let all: Vec<&[u8]> = std::iter::once(first)
        .chain(more)
        .map(HeaderValue::as_bytes)
        .collect();
    HeaderValue::from_bytes(&all.join(&b", "[..])).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(uri: &str, fields: &[(&'static str, &'static str)]) -> Vec<String> {
        let mut request = http::Request::get(uri);
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        let (mut parts, ()) = request.body(()).unwrap().into_parts();
        tell(&mut parts);
        let mut lines: Vec<String> = parts
            .headers
            .iter()
            .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()))
            .collect();
        lines.sort();
        lines
    }

    #[test]
    fn an_error_page_is_told_what_failed_and_what_it_shall_look_like() {
        let said = told("http://a.example/no/such%20page?q=1", &[]);
        assert_eq!(said, ["x-code: 404", "x-original-uri: /no/such%20page?q=1"]);
        let said = told("/", &[("accept", "text/html"), ("accept", "*/*;q=0.1")]);
        assert_eq!(
            said,
            [
                "accept: */*;q=0.1",
                "accept: text/html",
                "x-code: 404",
                "x-format: text/html, */*;q=0.1",
                "x-original-uri: /",
            ]
        );
    }

    #[test]
    fn nothing_that_a_client_says_looks_like_ours() {
        let mut forged: Vec<(&'static str, &'static str)> = SAID_TO_ERROR_PAGES
            .iter()
            .map(|name| (*name, "forged"))
            .collect();
        forged.extend([
            ("x_code", "200"),
            ("x-original_uri", "/forged"),
            ("x.service.name", "forged"),
            ("x-codes", "kept"),
        ]);
        let said = told("/a", &forged);
        assert_eq!(said, ["x-code: 404", "x-codes: kept", "x-original-uri: /a"]);
    }
}
