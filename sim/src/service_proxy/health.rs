//! The health port of a Service with `externalTrafficPolicy: Local`: how a load balancer outside learns which nodes to send to.
//!
//! In: an accepted stream. Out: 200 while the node has a ready endpoint, 503 otherwise, and JSON with their number, as
//! kube-proxy answers. Every path means the same.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use http_body_util::Full;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use serde::Serialize;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;

use super::table::{Health, Listener, Table};

/// From the first byte of a request to the end of its head, and from one request to the next.
const HEAD_READ_TIMEOUT: Duration = Duration::from_secs(30);

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Body<'a> {
    service: Name<'a>,
    local_endpoints: usize,
    service_proxy_healthy: bool,
}

#[derive(Serialize)]
struct Name<'a> {
    namespace: &'a str,
    name: &'a str,
}

/// Longest life of a connection, whatever the client does: one that reads no answers would keep its place for ever.
const CONNECTION_LIFE_MAX: Duration = Duration::from_secs(10 * 60);

/// Answers on one connection until it ends, is silent for too long or too old. Each answer is from the table of the moment.
pub(super) async fn serve<S>(stream: S, at: SocketAddr, table: watch::Receiver<Arc<Table>>)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let service = service_fn(|_request| {
        let health = match table.borrow().listeners.get(&at) {
            Some(Listener::Health(health)) => Some(health.clone()),
            Some(Listener::Forward(_)) | None => None,
        };
        async move { Ok::<_, Infallible>(answer(health.as_ref())) }
    });
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_READ_TIMEOUT)
        .serve_connection(TokioIo::new(stream), service);
    match tokio::time::timeout(CONNECTION_LIFE_MAX, serving).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => {
            tracing::debug!(%at, %error, "a connection to a health port ended early");
        }
        Err(_) => {
            tracing::debug!(%at, reason = "too_old", "a connection to a health port is closed");
        }
    }
}

fn answer(health: Option<&Health>) -> Response<Full<Bytes>> {
    let Some(health) = health else {
        // The Service is gone; so is the listener in a moment.
        let mut response = Response::new(Full::default());
        *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
        return response;
    };
    let body = Body {
        service: Name {
            namespace: &health.service.namespace,
            name: &health.service.name,
        },
        local_endpoints: health.local_endpoints,
        service_proxy_healthy: true,
    };
    let body = serde_json::to_vec(&body).expect("texts and numbers always serialize");
    let mut response = Response::new(Full::new(Bytes::from(body)));
    if health.local_endpoints == 0 {
        *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    }
    let headers = response.headers_mut();
    let json = HeaderValue::from_static("application/json");
    headers.insert(header::CONTENT_TYPE, json);
    let nosniff = HeaderValue::from_static("nosniff");
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, nosniff);
    let weight = HeaderValue::from(health.local_endpoints);
    headers.insert("x-load-balancing-endpoint-weight", weight);
    response
}

#[cfg(test)]
mod tests {
    use expect_test::expect;
    use http_body_util::BodyExt;

    use super::*;
    use crate::actors::store::Key;

    #[tokio::test(start_paused = true)]
    async fn a_client_that_never_reads_its_answers_is_closed_in_the_end() {
        let (mut client, ours) = tokio::io::duplex(256);
        let (_sender, table) = watch::channel(Arc::default());
        let at = SocketAddr::from(([127, 0, 0, 1], 1));
        let serving = tokio::spawn(serve(ours, at, table));
        let asking = async {
            let request = b"GET / HTTP/1.1\r\nhost: a\r\n\r\n";
            while tokio::io::AsyncWriteExt::write_all(&mut client, request)
                .await
                .is_ok()
            {}
        };
        // It asks until nobody reads its questions either, and is rid of only by the end of the connection.
        asking.await;
        serving.await.unwrap();
    }

    #[tokio::test]
    async fn the_answer_is_that_of_kube_proxy() {
        let mut seen = Vec::new();
        for local_endpoints in [0, 2] {
            let health = Health {
                service: Key::new("shop", "web"),
                local_endpoints,
            };
            let (head, body) = answer(Some(&health)).into_parts();
            let body = body.collect().await.unwrap().to_bytes();
            let weight = head.headers["x-load-balancing-endpoint-weight"].clone();
            seen.push(format!(
                "{} {weight:?} {}",
                head.status,
                String::from_utf8_lossy(&body)
            ));
        }
        expect![[r#"
            503 Service Unavailable "0" {"service":{"namespace":"shop","name":"web"},"localEndpoints":0,"serviceProxyHealthy":true}
            200 OK "2" {"service":{"namespace":"shop","name":"web"},"localEndpoints":2,"serviceProxyHealthy":true}"#]]
        .assert_eq(&seen.join("\n"));
    }
}
