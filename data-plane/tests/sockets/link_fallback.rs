//! Endpoints whose Service says HTTP/2 and that do not speak it, or not at the moment, or not for what a request wants.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use h2::server::Builder;

use crate::harness::client::{Client, get};
use crate::harness::endpoint::{Endpoint, Peer, scripted};
use crate::harness::http2::{self, Http2Endpoint, Meets, answer, holding};
use crate::harness::{config, new_pods, proxy, run, table, until};
use tiergate_data_plane::config::Config;
use tiergate_data_plane::table::Protocol;

const FALLBACKS: &str = "tiergate_upstream_fallbacks_total";
const POST: &str = "POST /order HTTP/1.1\r\nHost: a.example\r\nContent-Length: 5\r\n\r\nhello";
const CHUNKED: &str = "POST /order HTTP/1.1\r\nHost: a.example\r\nTE: trailers\r\nConnection: te\r\n\
    Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n";

const SILENCE: &str = "silence";

/// Settings with which an endpoint may be silent for half a second.
fn impatient() -> Config {
    let mut config = config();
    config.timeouts.connect = Duration::from_secs(1);
    config
}

/// An HTTP/1.1 server that meets the preface of HTTP/2 with these bytes, or none, and closes; or with [`SILENCE`].
async fn http1_only(reply: &'static str) -> Endpoint {
    scripted(move |mut peer: Peer| async move {
        while let Some(head) = peer.head().await {
            if head.starts_with("PRI ") {
                if reply == SILENCE {
                    peer.wire.take(usize::MAX).await;
                } else {
                    peer.wire.send(reply).await;
                }
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
        SILENCE,
    ] {
        run(async move {
            let endpoint = http1_only(reply).await;
            let table = table(Protocol::H2c, &[endpoint.address]);
            let proxy = proxy(impatient(), table).await;
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
            assert!(
                proxy.sample("tiergate_retries_total{tenant=\"team\",kind=\"unprocessed\"}") < 0.1
            );
        });
    }
}

#[test]
fn many_requests_at_a_time_fall_back_together() {
    for reply in ["", SILENCE] {
        run(async move {
            let endpoint = http1_only(reply).await;
            let table = table(Protocol::H2c, &[endpoint.address]);
            let proxy = proxy(impatient(), table).await;
            let requests = (0..20).map(|_| get(proxy.http, POST));
            for response in futures::future::join_all(requests).await {
                assert_eq!(response.status, 200);
            }
            assert!((proxy.sample(FALLBACKS) - 1.0).abs() < 0.1);
        });
    }
}

/// An endpoint that takes one request on each connection.
async fn once_each() -> Http2Endpoint {
    http2::scripted(Builder::new(), |mut connection, _| async move {
        if let Some(Ok(asked)) = connection.accept().await {
            answer(asked, "done");
        }
        connection.graceful_shutdown();
        while connection.accept().await.is_some() {}
    })
    .await
}

#[test]
fn one_that_has_spoken_http2_falls_back_only_when_it_answers_something_else() {
    let http1 = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ndone";
    // A GOAWAY before any SETTINGS.
    let frame = b"\0\0\x08\x07\0\0\0\0\0\0\0\0\0\0\0\0\x0b";
    for (case, meets, status, reason, fallbacks) in [
        ("close", Meets::Close, 502, "connect_failed", 0.0),
        ("silence", Meets::Silence, 504, "connect_timeout", 0.0),
        ("frame", Meets::Bytes(frame), 502, "connect_failed", 0.0),
        ("http1", Meets::Bytes(http1), 200, "none", 1.0),
    ] {
        run(async move {
            let endpoint = holding(Builder::new(), |_| true).await;
            let mut config = impatient();
            config.timeouts.upstream_idle = Duration::from_millis(50);
            let proxy = proxy(config, table(Protocol::H2c, &[endpoint.address])).await;
            assert_eq!(get(proxy.http, POST).await.status, 200, "{case}");
            // Closed for being idle: nothing is left but what is known.
            proxy.until("tiergate_upstream_connections", 0.0).await;

            endpoint.meets.set(meets);
            assert_eq!(get(proxy.http, POST).await.status, status, "{case}");
            assert!(status == 200 || proxy.errors(reason) > 0.5, "{case}");
            assert!((proxy.sample(FALLBACKS) - fallbacks).abs() < 0.1, "{case}");

            if status != 200 {
                endpoint.meets.set(Meets::Http2);
                assert_eq!(get(proxy.http, POST).await.status, 200, "{case}");
            }
        });
    }
}

#[test]
fn a_tier_without_room_costs_no_request_while_another_has_some() {
    run(async {
        let (full, free) = (once_each().await, once_each().await);
        let endpoints = [full.address, free.address];
        let proxy = proxy(config(), table(Protocol::H2c, &endpoints)).await;
        for n in 0..12 {
            if n == 4 {
                full.meets.set(Meets::Close);
            }
            assert_eq!(get(proxy.http, POST).await.status, 200, "request {n}");
        }
        assert!(proxy.sample(FALLBACKS) < 0.1);
    });
}

#[test]
fn one_that_lets_no_request_come_yet_speaks_http2() {
    run(async {
        let mut settings = Builder::new();
        settings.max_concurrent_streams(0);
        let endpoint = holding(settings, |_| true).await;
        let table = table(Protocol::H2c, &[endpoint.address]);
        let proxy = proxy(impatient(), table).await;
        assert_eq!(get(proxy.http, POST).await.status, 504);
        assert!(proxy.sample(FALLBACKS) < 0.1);
    });
}

#[test]
fn an_endpoint_without_room_is_not_asked_for_a_further_connection_without_end() {
    run(async {
        let is_free = Rc::new(Cell::new(false));
        let free = is_free.clone();
        let mut settings = Builder::new();
        settings.max_concurrent_streams(1);
        let endpoint = holding(settings, move |_| free.get()).await;
        let proxy = proxy(config(), table(Protocol::H2c, &[endpoint.address])).await;
        let first = tokio::task::spawn_local(get(proxy.http, POST));
        until(|| endpoint.most() == 1).await;
        endpoint.meets.set(Meets::Close);
        let others = (0..3).map(|_| get(proxy.http, POST));
        let others = tokio::task::spawn_local(futures::future::join_all(others));
        until(|| endpoint.connections() > 1).await;
        // A second between two rounds; without a pause there are hundreds by now.
        tokio::time::sleep(Duration::from_millis(200)).await;
        let connections = endpoint.connections();
        assert!(connections <= 20, "{connections} connections");
        is_free.set(true);
        assert_eq!(first.await.expect("no panic").status, 200);
        for response in others.await.expect("no panic") {
            assert_eq!(
                response.status, 200,
                "they had waited for the one connection"
            );
        }
        assert!(proxy.sample(FALLBACKS) < 0.1);
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
