//! Endpoints whose Service says HTTP/2 and that do not speak it, or not for what a request wants.

use crate::harness::client::{Client, get};
use crate::harness::endpoint::{Endpoint, Peer, scripted};
use crate::harness::{config, new_pods, proxy, run, table};
use tiergate_data_plane::table::Protocol;

const FALLBACKS: &str = "tiergate_upstream_fallbacks_total";
const POST: &str = "POST /order HTTP/1.1\r\nHost: a.example\r\nContent-Length: 5\r\n\r\nhello";
const CHUNKED: &str = "POST /order HTTP/1.1\r\nHost: a.example\r\nTE: trailers\r\nConnection: te\r\n\
    Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n";

/// An HTTP/1.1 server that meets the preface of HTTP/2 with these bytes, or none, and closes.
async fn http1_only(reply: &'static str) -> Endpoint {
    scripted(move |mut peer: Peer| async move {
        while let Some(head) = peer.head().await {
            if head.starts_with("PRI ") {
                peer.wire.send(reply).await;
                return;
            }
            let has_length = head.contains("content-length");
            let body = if has_length {
                peer.wire.take(5).await
            } else {
                peer.wire.take(15).await
            };
            let body = String::from_utf8(body).expect("text");
            peer.answer(&(head + &body)).await;
        }
    })
    .await
}

#[test]
fn an_endpoint_that_does_not_answer_http2_gets_http1_and_no_request_is_lost() {
    for reply in [
        "",
        "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
        "HTTP/1.1 505 HTTP Version Not Supported\r\n\r\n",
        "<html>what?",
    ] {
        run(async move {
            let endpoint = http1_only(reply).await;
            let table = table(Protocol::H2c, &[endpoint.address]);
            let proxy = proxy(config(), table).await;
            let response = get(proxy.http, POST).await;
            assert_eq!(response.status, 200, "{reply}");
            let text = response.text();
            assert!(text.starts_with("POST /order HTTP/1.1\r\n"), "{text}");
            assert!(text.contains("\r\nhost: a.example\r\n"), "{text}");
            assert!(text.ends_with("hello"), "{text}");
            let response = get(proxy.http, CHUNKED).await;
            let text = response.text();
            assert!(
                text.contains("\r\ntransfer-encoding: chunked\r\n"),
                "{text}"
            );
            assert!(text.contains("\r\nte: trailers\r\n"), "{text}");
            assert!(text.contains("\r\nconnection: te\r\n"), "{text}");
            assert_eq!(endpoint.connections(), 2, "it is asked for HTTP/2 once");
            assert!((proxy.sample(FALLBACKS) - 1.0).abs() < 0.1);
            assert!(proxy.sample("tiergate_retries_total{tenant=\"team\"}") < 0.1);
        });
    }
}

#[test]
fn many_requests_at_a_time_fall_back_together() {
    run(async {
        let endpoint = http1_only("").await;
        let proxy = proxy(config(), table(Protocol::H2c, &[endpoint.address])).await;
        let requests = (0..20).map(|_| get(proxy.http, POST));
        for response in futures::future::join_all(requests).await {
            assert_eq!(response.status, 200);
        }
        assert!((proxy.sample(FALLBACKS) - 1.0).abs() < 0.1);
    });
}

#[test]
fn what_is_known_of_an_endpoint_ends_with_its_pod() {
    run(async {
        let endpoint = http1_only("").await;
        let proxy = proxy(config(), table(Protocol::H2c, &[endpoint.address])).await;
        for fallbacks in 1..=3 {
            assert_eq!(get(proxy.http, POST).await.status, 200);
            assert_eq!(get(proxy.http, POST).await.status, 200);
            assert!((proxy.sample(FALLBACKS) - f64::from(fallbacks)).abs() < 0.1);
            new_pods();
            proxy
                .cell
                .publish(table(Protocol::H2c, &[endpoint.address]));
        }
    });
}

#[test]
fn an_upgrade_reaches_an_http2_endpoint_by_http1() {
    run(async {
        let endpoint = scripted(|mut peer: Peer| async move {
            let head = peer.head().await.expect("a head");
            assert!(head.starts_with("GET /chat HTTP/1.1\r\n"), "{head}");
            let switch = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nhello";
            peer.wire.send(switch).await;
            let echoed = peer.wire.take(4).await;
            peer.wire.send(echoed).await;
        })
        .await;
        let proxy = proxy(config(), table(Protocol::H2c, &[endpoint.address])).await;
        let mut client = Client::connect(proxy.http).await;
        let ask = "GET /chat HTTP/1.1\r\nHost: a.example\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
        client.send(ask).await;
        assert_eq!(client.response().await.status, 101);
        client.send("more").await;
        assert_eq!(client.take(9).await, b"hellomore");
        assert!(proxy.sample(FALLBACKS) < 0.1);
    });
}
