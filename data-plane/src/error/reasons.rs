//! The words for every error: name, status, meaning, cure. Pure. `docs/reasons.md` is made from this table.

use http::StatusCode;

use super::Side;

/// One row of `docs/reasons.md`.
#[derive(Debug)]
pub struct Reason {
    /// Metric label `reason`, field `reason` of the access log, and the word in the body of the answer.
    pub name: &'static str,
    /// Status of the answer. 499 is counted but not sent: nobody is there to read it.
    pub status: StatusCode,
    /// Whether an answer with this status is sent. If not, the connection or the body ends early instead.
    pub is_answered: bool,
    /// Whose fault it is.
    pub side: Side,
    /// What happened, in one sentence without its full stop.
    pub meaning: &'static str,
    /// What to do about it.
    pub cure: &'static str,
}

const CLIENT_CLOSED_REQUEST: StatusCode = match StatusCode::from_u16(499) {
    Ok(status) => status,
    Err(_) => panic!("499 is in the range of status codes"),
};

const fn reason(
    name: &'static str,
    status: StatusCode,
    side: Side,
    meaning: &'static str,
    cure: &'static str,
) -> Reason {
    Reason {
        name,
        status,
        is_answered: true,
        side,
        meaning,
        cure,
    }
}

const fn unanswered(reason: Reason) -> Reason {
    Reason {
        is_answered: false,
        ..reason
    }
}

/// In the order of [`super::ProxyError::number`].
pub(crate) static REASONS: [Reason; 28] = [
    reason(
        "bad_request",
        StatusCode::BAD_REQUEST,
        Side::Downstream,
        "the bytes received are not a valid HTTP request",
        "Look at what the client sends: a wrong port (TLS sent to the HTTP port), control characters, conflicting \
         lengths, or HTTP/0.9.",
    ),
    reason(
        "head_too_large",
        StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
        Side::Downstream,
        "the head of the request has more bytes or fields than allowed",
        "Usually cookies: shorten them, or raise `limits.head_bytes_max` or `limits.headers_max`.",
    ),
    unanswered(reason(
        "head_timeout",
        StatusCode::REQUEST_TIMEOUT,
        Side::Downstream,
        "the head of a request began and did not arrive in time, so the connection was closed",
        "A slow or hostile client. Raise `timeouts.head_read` only for clients that are known to be slow.",
    )),
    reason(
        "bad_host",
        StatusCode::BAD_REQUEST,
        Side::Downstream,
        "the request has no Host, more than one, one that is no host name, or one that differs from :authority",
        "Send exactly one valid Host field; HTTP/2 clients send :authority.",
    ),
    reason(
        "bad_target",
        StatusCode::BAD_REQUEST,
        Side::Downstream,
        "the request target is neither a path nor an http URL, or its path has `.` or `..` elements",
        "Resolve the path before sending it, as browsers and curl do (RFC 3986 §5.2.4).",
    ),
    reason(
        "transfer_coding",
        StatusCode::NOT_IMPLEMENTED,
        Side::Downstream,
        "the request has a transfer coding other than `chunked`",
        "Send the body with `Content-Length` or with `Transfer-Encoding: chunked` alone.",
    ),
    reason(
        "method_refused",
        StatusCode::METHOD_NOT_ALLOWED,
        Side::Downstream,
        "CONNECT is for forward proxies, and this is none",
        "Do not configure this address as a forward proxy.",
    ),
    reason(
        "expectation",
        StatusCode::EXPECTATION_FAILED,
        Side::Downstream,
        "the field Expect asks for something other than `100-continue`",
        "Remove the field.",
    ),
    reason(
        "body_too_large",
        StatusCode::PAYLOAD_TOO_LARGE,
        Side::Downstream,
        "the body of the request is larger than allowed",
        "Raise `limits.body_bytes_max`, or the annotation `proxy-body-size` of the Ingress, or upload in parts.",
    ),
    reason(
        "body_timeout",
        StatusCode::REQUEST_TIMEOUT,
        Side::Downstream,
        "the body of the request stopped arriving",
        "A slow or broken client. `timeouts.body_read` is the longest pause allowed.",
    ),
    reason(
        "body_broken",
        StatusCode::BAD_REQUEST,
        Side::Downstream,
        "the body of the request is wrongly framed or ended early",
        "Look at the client: it closed the connection within the body, or its chunk sizes are invalid.",
    ),
    reason(
        "loop_detected",
        StatusCode::LOOP_DETECTED,
        Side::Internal,
        "the request has passed this tier too often",
        "An Ingress sends requests to a Service that sends them back here: look at the backends of the host.",
    ),
    reason(
        "not_ready",
        StatusCode::SERVICE_UNAVAILABLE,
        Side::Internal,
        "no configuration has been published yet",
        "Wait until `/readyz` says ready; if it does not, look at its reason and at the watches.",
    ),
    reason(
        "no_route",
        StatusCode::NOT_FOUND,
        Side::Internal,
        "no rule of an Ingress matches the host and the path",
        "Compare host and path with `kubectl get ingress -A`; look at `/debug/table` and at the class of the Ingress.",
    ),
    reason(
        "route_closed",
        StatusCode::SERVICE_UNAVAILABLE,
        Side::Internal,
        "the Ingress asks for something that this tier cannot give, and must not be served without it",
        "Look at the conditions of the Ingress in `/debug/model`: an annotation that guards access, or asks for FastCGI to the application, is not \
         supported, or one that asks for verified TLS to it does not say whole whom to believe. Remove the annotation only if the application needs no such guard.",
    ),
    reason(
        "no_endpoints",
        StatusCode::SERVICE_UNAVAILABLE,
        Side::Upstream,
        "the Service has no endpoint that takes requests",
        "Look at `kubectl get endpointslices`: are pods ready, and does the selector fit?",
    ),
    reason(
        "connect_failed",
        StatusCode::BAD_GATEWAY,
        Side::Upstream,
        "no endpoint of the Service accepted a connection",
        "Is the application listening on the targetPort, on all addresses? Does a NetworkPolicy refuse us?",
    ),
    reason(
        "connect_timeout",
        StatusCode::GATEWAY_TIMEOUT,
        Side::Upstream,
        "connecting to the endpoints took too long",
        "A node or its network is gone, or a NetworkPolicy drops packets. `timeouts.connect` is the limit.",
    ),
    reason(
        "tls_failed",
        StatusCode::BAD_GATEWAY,
        Side::Upstream,
        "no endpoint of the Service ended a TLS handshake",
        "Does the port speak TLS at all, 1.2 or 1.3? `appProtocol` of the Service port or `backend-protocol` of the Ingress says that it does. Where \
         `proxy-ssl-verify` is `on`: is the certificate valid, for `proxy-ssl-name`, and of an authority in `ca.crt`? The log says at level `debug` what was wrong.",
    ),
    reason(
        "no_descriptors",
        StatusCode::SERVICE_UNAVAILABLE,
        Side::Internal,
        "there is no descriptor or memory for a connection to an endpoint",
        "Raise the limit of open files of the pod, or of the node; `process_open_fds` and `tiergate_accept_pauses_total` show how \
         near it is.",
    ),
    reason(
        "response_timeout",
        StatusCode::GATEWAY_TIMEOUT,
        Side::Upstream,
        "the application did not begin its answer in time",
        "The application is slow or stuck. `timeouts.response_head` is the limit, or the annotation `proxy-read-timeout` of the Ingress.",
    ),
    reason(
        "upstream_reset",
        StatusCode::BAD_GATEWAY,
        Side::Upstream,
        "the application closed the connection without an answer, and the request may not be repeated",
        "Look at the application's log; does it close idle connections sooner than `timeouts.upstream_idle`?",
    ),
    reason(
        "upstream_protocol",
        StatusCode::BAD_GATEWAY,
        Side::Upstream,
        "the application's answer is not the HTTP expected of it",
        "Does the port speak TLS, or HTTP/2 without `appProtocol: kubernetes.io/h2c`, or not HTTP at all? Does it send interim answers (1xx) without end?",
    ),
    unanswered(reason(
        "response_broken",
        StatusCode::BAD_GATEWAY,
        Side::Upstream,
        "the body of the response ended early, so the client sees a broken body",
        "Look at the application's log: it crashed or was killed within the answer.",
    )),
    unanswered(reason(
        "response_stalled",
        StatusCode::GATEWAY_TIMEOUT,
        Side::Upstream,
        "the body of the response stopped arriving, so the client sees a broken body",
        "`timeouts.response_body` is the longest pause allowed; streams that pause longer need a heartbeat.",
    )),
    unanswered(reason(
        "client_aborted",
        CLIENT_CLOSED_REQUEST,
        Side::Downstream,
        "the client went away before the answer was complete",
        "Often a time-out of the client: compare with `tiergate_upstream_duration_seconds`.",
    )),
    unanswered(reason(
        "client_stalled",
        CLIENT_CLOSED_REQUEST,
        Side::Downstream,
        "the client stopped taking the answer, so the connection was closed",
        "A slow or hostile client. `timeouts.response_body` is the longest pause allowed.",
    )),
    unanswered(reason(
        "drain_deadline",
        StatusCode::SERVICE_UNAVAILABLE,
        Side::Internal,
        "the request was not finished when the time to drain was over",
        "Raise `--drain-timeout` and the pod's terminationGracePeriodSeconds.",
    )),
];

#[cfg(test)]
mod tests {
    use super::super::{BadHost, ProxyError};
    use super::*;

    #[test]
    fn names_are_unique_and_fit_a_label() {
        let mut names: Vec<_> = REASONS.iter().map(|reason| reason.name).collect();
        assert!(
            names
                .iter()
                .all(|name| name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'))
        );
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), REASONS.len());
    }

    #[test]
    fn every_error_has_the_row_that_bears_its_name() {
        let endpoint = "127.0.0.1:80".parse().unwrap();
        let source = || std::io::ErrorKind::Other.into();
        let connect_timeout = ProxyError::ConnectTimeout { endpoint };
        for (error, name, status) in [
            (ProxyError::HeadTooLarge, "head_too_large", 431),
            (ProxyError::HeadTimeout, "head_timeout", 408),
            (ProxyError::BadHost(BadHost::Missing), "bad_host", 400),
            (ProxyError::BadTarget(""), "bad_target", 400),
            (ProxyError::TransferCoding, "transfer_coding", 501),
            (ProxyError::MethodRefused, "method_refused", 405),
            (ProxyError::Expectation, "expectation", 417),
            (ProxyError::BodyTooLarge, "body_too_large", 413),
            (ProxyError::BodyTimeout, "body_timeout", 408),
            (ProxyError::BodyBroken, "body_broken", 400),
            (ProxyError::LoopDetected, "loop_detected", 508),
            (ProxyError::NotReady, "not_ready", 503),
            (ProxyError::NoRoute, "no_route", 404),
            (ProxyError::RouteClosed, "route_closed", 503),
            (ProxyError::NoEndpoints, "no_endpoints", 503),
            (connect_timeout, "connect_timeout", 504),
            (
                ProxyError::ConnectFailed {
                    endpoint,
                    source: source(),
                },
                "connect_failed",
                502,
            ),
            (
                ProxyError::TlsFailed {
                    endpoint,
                    source: source(),
                },
                "tls_failed",
                502,
            ),
            (
                ProxyError::NoDescriptors {
                    endpoint,
                    source: source(),
                },
                "no_descriptors",
                503,
            ),
            (
                ProxyError::ResponseTimeout { endpoint },
                "response_timeout",
                504,
            ),
            (
                ProxyError::UpstreamProtocol {
                    endpoint,
                    source: None,
                },
                "upstream_protocol",
                502,
            ),
            (ProxyError::ResponseBroken, "response_broken", 502),
            (ProxyError::ResponseStalled, "response_stalled", 504),
            (ProxyError::ClientAborted, "client_aborted", 499),
            (ProxyError::ClientStalled, "client_stalled", 499),
            (ProxyError::DrainDeadline, "drain_deadline", 503),
        ] {
            assert_eq!(
                (error.reason(), error.status().as_u16()),
                (name, status),
                "{error}"
            );
        }
    }
}
