//! Repeats a request to the API server where that cannot do harm.
//!
//! In: a request and its answer. Out: whether to send it again, and after how long. 429 means that the server refused the
//! request unread, so any may be repeated; 503 and 504 may hide a write that took place, so only reads are. Loops of our own
//! stand behind every call, so a few quick tries are enough; kube's default of 15 tries can hold a call for minutes.

use std::time::Duration;

use http::{Method, Request, Response, StatusCode};
use kube::client::Body;
use tower::BoxError;
use tower::retry::Policy;

/// Tries of one request, the first included.
const TRIES_MAX: u32 = 3;

/// Before the second try; doubles afterwards.
const DELAY: Duration = Duration::from_millis(100);

/// The longest `Retry-After` that is waited for here; with a longer one the caller gets the answer.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(2);

/// Repeats what may be repeated.
#[derive(Clone, Debug, Default)]
pub(super) struct RetryWhenSafe {
    tries: u32,
}

// === impl RetryWhenSafe ===

impl RetryWhenSafe {
    fn delay<B>(&self, method: &Method, response: &Response<B>) -> Option<Duration> {
        let is_safe = match response.status() {
            StatusCode::TOO_MANY_REQUESTS => true,
            StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT => {
                matches!(*method, Method::GET | Method::HEAD)
            }
            _ => false,
        };
        if !is_safe || self.tries + 1 >= TRIES_MAX {
            return None;
        }
        let asked = response
            .headers()
            .get(http::header::RETRY_AFTER)
            .and_then(|value| value.to_str().ok()?.parse().ok())
            .map_or(Duration::ZERO, Duration::from_secs);
        (asked <= RETRY_AFTER_MAX).then(|| asked.max(DELAY * 2_u32.pow(self.tries)))
    }
}

impl<B> Policy<Request<Body>, Response<B>, BoxError> for RetryWhenSafe {
    type Future = tokio::time::Sleep;

    fn retry(
        &mut self,
        request: &mut Request<Body>,
        result: &mut Result<Response<B>, BoxError>,
    ) -> Option<Self::Future> {
        let delay = self.delay(request.method(), result.as_ref().ok()?)?;
        self.tries += 1;
        Some(tokio::time::sleep(delay))
    }

    fn clone_request(&mut self, request: &Request<Body>) -> Option<Request<Body>> {
        let mut copy = Request::new(request.body().try_clone()?);
        copy.method_mut().clone_from(request.method());
        copy.uri_mut().clone_from(request.uri());
        *copy.version_mut() = request.version();
        copy.headers_mut().clone_from(request.headers());
        copy.extensions_mut().clone_from(request.extensions());
        Some(copy)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_cannot_have_taken_place_twice_is_repeated() {
        for (method, status, retry_after, tries, delay_ms) in [
            (Method::GET, 503, None, 0, Some(100)),
            (Method::GET, 504, None, 1, Some(200)),
            (Method::GET, 503, None, 2, None),
            (Method::GET, 503, Some("1"), 0, Some(1000)),
            (Method::GET, 503, Some("60"), 0, None),
            (Method::GET, 500, None, 0, None),
            (Method::GET, 410, None, 0, None),
            (Method::PUT, 503, None, 0, None),
            (Method::POST, 504, None, 0, None),
            (Method::POST, 429, None, 0, Some(100)),
            (Method::POST, 429, Some("nonsense"), 0, Some(100)),
        ] {
            let mut response = Response::new(());
            *response.status_mut() = StatusCode::from_u16(status).unwrap();
            if let Some(text) = retry_after {
                response
                    .headers_mut()
                    .insert("retry-after", text.parse().unwrap());
            }
            assert_eq!(
                RetryWhenSafe { tries }.delay(&method, &response),
                delay_ms.map(Duration::from_millis),
                "{method} {status} {retry_after:?} after {tries}"
            );
        }
    }
}
