//! The health of the echo server as gRPC asks for it: always SERVING, whatever service is named.

use std::convert::Infallible;
use std::future::{Ready, ready};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Response, header, request};
use http_body_util::combinators::WithTrailers;
use http_body_util::{BodyExt, Full};

/// A message and the trailers behind it.
pub(super) type Health = WithTrailers<Full<Bytes>, Ready<Option<Result<HeaderMap, Infallible>>>>;

/// `HealthCheckResponse { status: SERVING }` in a frame of gRPC: not compressed, four bytes of length.
const SERVING: &[u8] = &[0, 0, 0, 0, 2, 0x08, 1];

/// Whether the request is a call of `grpc.health.v1.Health/Check`.
pub(super) fn is_asked(head: &request::Parts) -> bool {
    let content_type = head.headers.get(header::CONTENT_TYPE);
    let is_grpc =
        content_type.is_some_and(|value| value.as_bytes().starts_with(b"application/grpc"));
    is_grpc && head.uri.path() == "/grpc.health.v1.Health/Check"
}

pub(super) fn answer() -> Response<Health> {
    let status = (
        HeaderName::from_static("grpc-status"),
        HeaderValue::from_static("0"),
    );
    let trailers = HeaderMap::from_iter([status]);
    let body = Full::new(Bytes::from_static(SERVING)).with_trailers(ready(Some(Ok(trailers))));
    let mut response = Response::new(body);
    let grpc = HeaderValue::from_static("application/grpc");
    response.headers_mut().insert(header::CONTENT_TYPE, grpc);
    response
}
