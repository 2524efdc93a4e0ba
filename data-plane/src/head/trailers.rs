//! What trailers may say. Pure.
//!
//! In: the trailers of a request or a response. Out: the same without the fields that decide about a message before its
//! content is read (RFC 9110 §6.5.1) or that belong to one connection (RFC 9113 §8.2.2). A receiver that merges them into the
//! head would obey them; HTTP/2 cannot send some of them at all.

use http::{HeaderMap, HeaderName};

use super::forwarded;

/// Of a request: also what the endpoint would take for a statement of ours about the client.
pub(crate) fn strip_request(trailers: &mut HeaderMap) {
    strip(trailers, |name| {
        is_for_heads(name) || forwarded::is_about_client(name)
    });
}

/// Of a response: identities of requests, among others, may stand there.
pub(crate) fn strip_response(trailers: &mut HeaderMap) {
    strip(trailers, is_for_heads);
}

fn strip(trailers: &mut HeaderMap, is_refused: impl Fn(&str) -> bool) {
    // Whoever maps fields to variables cannot tell another sign from the dash.
    let refused: Vec<HeaderName> = trailers
        .keys()
        .filter(|name| is_refused(&forwarded::dashed(name.as_str())))
        .cloned()
        .collect();
    for name in refused {
        trailers.remove(name);
    }
}

fn is_for_heads(name: &str) -> bool {
    is_of_framing(name) || is_of_request(name) || is_of_response(name)
}

/// Framing, the connection, and the form of the content.
fn is_of_framing(name: &str) -> bool {
    matches!(
        name,
        "connection"
            | "content-encoding"
            | "content-length"
            | "content-range"
            | "content-type"
            | "http2-settings"
            | "keep-alive"
            | "proxy-connection"
            | "te"
            | "trailer"
            | "transfer-encoding"
            | "upgrade"
    )
}

/// Routing, conditions and authentication.
fn is_of_request(name: &str) -> bool {
    matches!(
        name,
        "authorization"
            | "cookie"
            | "expect"
            | "host"
            | "if-match"
            | "if-modified-since"
            | "if-none-match"
            | "if-range"
            | "if-unmodified-since"
            | "max-forwards"
            | "proxy"
            | "proxy-authorization"
            | "range"
            | "via"
    )
}

/// What a client or a cache is to do with it.
fn is_of_response(name: &str) -> bool {
    matches!(
        name,
        "age"
            | "cache-control"
            | "date"
            | "expires"
            | "location"
            | "pragma"
            | "proxy-authenticate"
            | "retry-after"
            | "set-cookie"
            | "vary"
            | "warning"
            | "www-authenticate"
    )
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn left(names: &[&'static str], strip: impl Fn(&mut HeaderMap)) -> Vec<String> {
        let mut trailers = HeaderMap::new();
        for name in names {
            for value in ["1", "2"] {
                trailers.append(*name, HeaderValue::from_static(value));
            }
        }
        strip(&mut trailers);
        trailers.keys().map(ToString::to_string).collect()
    }

    #[test]
    fn what_decides_about_a_message_does_not_come_behind_it() {
        let refused = [
            "connection",
            "keep-alive",
            "proxy-connection",
            "te",
            "upgrade",
            "transfer-encoding",
            "transfer_encoding",
            "content-length",
            "content-type",
            "content-encoding",
            "trailer",
            "host",
            "via",
            "authorization",
            "cookie",
            "set-cookie",
            "cache-control",
            "location",
            "expect",
            "range",
        ];
        assert!(left(&refused, strip_request).is_empty());
        assert!(left(&refused, strip_response).is_empty());
    }

    #[test]
    fn what_is_made_for_trailers_passes() {
        let kept = [
            "grpc-status",
            "grpc-message",
            "grpc-status-details-bin",
            "etag",
            "content-digest",
            "server-timing",
            "authentication-info",
            "x-sum",
        ];
        assert_eq!(left(&kept, strip_request), kept);
        assert_eq!(left(&kept, strip_response), kept);
    }

    #[test]
    fn only_a_request_says_nothing_about_the_client() {
        let about_client = ["x-forwarded-for", "x_real_ip", "forwarded", "x-request-id"];
        assert!(left(&about_client, strip_request).is_empty());
        assert_eq!(left(&about_client, strip_response), about_client);
    }
}
