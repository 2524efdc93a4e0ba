//! Two tiers in a row, HTTP/2 between them: what passes both, and who waits for whom.

use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use tiergate_data_plane::table::Protocol;

use crate::harness::client::{Client, get, values};
use crate::harness::endpoint::{Endpoint, Peer, echo, scripted};
use crate::harness::{Proxy, config, proxy, run, table, table_of, until};

const GET: &str = "GET / HTTP/1.1\r\nHost: a.example\r\n\r\n";
const MIB: usize = 1024 * 1024;
const UPSTREAM: &str = "tiergate_upstream_connections";

/// The lower tier: it believes the upper one.
pub(crate) async fn lower(endpoints: &[SocketAddr]) -> Proxy {
    let mut config = config();
    config.trusted_proxies = vec!["127.0.0.0/8".parse().expect("a network")];
    proxy(config, table_of(endpoints)).await
}

pub(crate) async fn upper(lower: &[&Proxy]) -> Proxy {
    let endpoints: Vec<_> = lower.iter().map(|lower| lower.http).collect();
    proxy(config(), table(Protocol::H2c, &endpoints)).await
}

/// Sends a body of so many MiB for `/down`, takes one for `/up` and none for `/stuck`.
async fn large(mib: usize) -> Endpoint {
    scripted(move |mut peer: Peer| async move {
        while let Some(head) = peer.head().await {
            if head.starts_with("GET /down") {
                let length = mib * MIB;
                let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n");
                peer.wire.send(head).await;
                let piece = vec![b'x'; MIB];
                for _ in 0..mib {
                    peer.wire.send(&piece).await;
                }
            } else if head.starts_with("POST /up") {
                let length = values(&head, "content-length")[0]
                    .parse()
                    .expect("a length");
                let body = peer.wire.take(length).await;
                peer.answer(&body.len().to_string()).await;
            } else {
                std::future::pending::<()>().await;
            }
        }
    })
    .await
}

#[test]
fn clients_that_take_nothing_leave_the_others_their_room() {
    run(async {
        let endpoint = large(16).await;
        let lower = lower(&[endpoint.address]).await;
        let upper = upper(&[&lower]).await;
        let down = "GET /down HTTP/1.1\r\nHost: a.example\r\n\r\n";
        let mut stalled = Vec::new();
        for _ in 0..20 {
            let mut client = Client::connect(upper.http).await;
            client.send(down).await;
            client.head().await.expect("a head");
            stalled.push(client);
        }
        for _ in 0..3 {
            let response = get(upper.http, down).await;
            assert_eq!(response.body.len(), 16 * MIB);
        }
        assert!((upper.sample(UPSTREAM) - 1.0).abs() < 0.1, "all by one");
        // Each of them gets the rest when it wants it.
        let rest = stalled.pop().expect("a client").take(16 * MIB).await;
        assert_eq!(rest.len(), 16 * MIB);
    });
}

#[test]
fn uploads_that_nobody_takes_leave_the_others_their_room() {
    run(async {
        let endpoint = large(0).await;
        let lower = lower(&[endpoint.address]).await;
        let upper = upper(&[&lower]).await;
        let head = |path: &str, length: usize| {
            format!("POST {path} HTTP/1.1\r\nHost: a.example\r\nContent-Length: {length}\r\n\r\n")
        };
        let mut stalled = Vec::new();
        for _ in 0..20 {
            let mut client = Client::connect(upper.http).await;
            client.send(head("/stuck", 16 * MIB)).await;
            let body = vec![b'x'; 16 * MIB];
            stalled.push(tokio::task::spawn_local(async move {
                client.send(&body).await;
            }));
        }
        proxy_has(&lower, 20.0).await;
        let mut client = Client::connect(upper.http).await;
        client.send(head("/up", 16 * MIB)).await;
        client.send(vec![b'x'; 16 * MIB]).await;
        let response = client.response().await;
        assert_eq!((response.status, response.text()), (200, "16777216"));
        assert!(stalled.iter().all(|stalled| !stalled.is_finished()));
        assert!((upper.sample(UPSTREAM) - 1.0).abs() < 0.1, "all by one");
    });
}

async fn proxy_has(proxy: &Proxy, in_flight: f64) {
    let name = "tiergate_requests_in_flight{tenant=\"team\"}";
    proxy.until(name, in_flight).await;
}

#[test]
fn a_web_socket_passes_both_tiers() {
    run(async {
        let endpoint = scripted(|mut peer: Peer| async move {
            let head = peer.head().await.expect("a head");
            assert_eq!(values(&head, "upgrade"), ["websocket"]);
            assert_eq!(values(&head, "connection"), ["upgrade"]);
            let switch = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nhello";
            peer.wire.send(switch).await;
            loop {
                let byte = peer.wire.take(1).await;
                if byte.is_empty() {
                    return;
                }
                peer.wire.send(byte).await;
            }
        })
        .await;
        let lower = lower(&[endpoint.address]).await;
        let upper = upper(&[&lower]).await;
        let mut client = Client::connect(upper.http).await;
        let ask = "GET /chat HTTP/1.1\r\nHost: a.example\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nearly";
        client.send(ask).await;
        assert_eq!(client.response().await.status, 101);
        assert_eq!(client.take(10).await, b"helloearly");
        let upgraded = "tiergate_upgraded_connections{tenant=\"team\"}";
        upper.until(upgraded, 1.0).await;
        lower.until(upgraded, 1.0).await;
        drop(client);
        upper.until(upgraded, 0.0).await;
        lower.until(upgraded, 0.0).await;
    });
}

#[test]
fn the_endpoint_sees_the_client_and_both_tiers() {
    run(async {
        let endpoint = echo().await;
        let lower = lower(&[endpoint.address]).await;
        let upper = upper(&[&lower]).await;
        let mut client = Client::connect(upper.http).await;
        let request = "GET /x?y=1 HTTP/1.1\r\nHost: A.example:81\r\nX-Forwarded-For: 6.6.6.6\r\nX-Request-ID: mine\r\n\
            Cookie: a=1; b=2\r\nTE: trailers\r\nConnection: te\r\n\r\n";
        client.send(request).await;
        let response = client.response().await;
        let head = response.text();
        assert!(head.starts_with("GET /x?y=1 HTTP/1.1\r\n"), "{head}");
        for (name, expected) in [
            ("host", vec!["A.example:81"]),
            ("x-forwarded-for", vec!["127.0.0.1, 127.0.0.1"]),
            ("x-forwarded-host", vec!["A.example:81"]),
            ("x-forwarded-proto", vec!["http"]),
            ("x-forwarded-port", vec!["81"]),
            ("x-real-ip", vec!["127.0.0.1"]),
            ("cookie", vec!["a=1; b=2"]),
            ("te", vec!["trailers"]),
        ] {
            assert_eq!(values(head, name), expected, "{name} of {head}");
        }
        assert_eq!(
            values(head, "via").join(", "),
            "1.1 tiergate-test, 2.0 tiergate-test"
        );
        assert_ne!(values(head, "x-request-id"), ["mine"]);
        assert_eq!(values(head, "x-request-id").len(), 1);
    });
}

#[test]
fn bodies_of_every_shape_pass_both_tiers() {
    run(async {
        let endpoint = scripted(|mut peer: Peer| async move {
            while let Some(received) = peer.receive().await {
                let path = received.head.split(' ').nth(1).unwrap_or_default();
                let answer = match path {
                    "/length" => "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello",
                    "/chunked" => {
                        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: x-sum\r\n\r\n5\r\nhello\r\n0\r\nx-sum: 1\r\n\r\n"
                    }
                    "/close" => "HTTP/1.1 200 OK\r\n\r\nhello",
                    "/hints" => {
                        "HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello"
                    }
                    "/none" => "HTTP/1.1 204 No Content\r\n\r\n",
                    "/same" => "HTTP/1.1 304 Not Modified\r\netag: \"x\"\r\ncontent-length: 5\r\n\r\n",
                    "/head" => "HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n",
                    "/short" => "HTTP/1.1 200 OK\r\ncontent-length: 50\r\n\r\nhello",
                    _ => "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n",
                };
                peer.wire.send(answer).await;
                if ["/close", "/short", "/cut"].contains(&path) {
                    return;
                }
            }
        })
        .await;
        let lower = lower(&[endpoint.address]).await;
        let upper = upper(&[&lower]).await;
        for (path, status, body, is_broken) in [
            ("/length", 200, "hello", false),
            ("/chunked", 200, "hello", false),
            ("/close", 200, "hello", false),
            ("/hints", 200, "hello", false),
            ("/none", 204, "", false),
            ("/short", 200, "hello", true),
            ("/cut", 200, "hello", true),
        ] {
            let request = format!(
                "GET {path} HTTP/1.1\r\nHost: a.example\r\nTE: trailers\r\nConnection: te\r\n\r\n"
            );
            let response = get(upper.http, &request).await;
            let seen = (response.status, response.text(), response.is_broken);
            assert_eq!(seen, (status, body, is_broken), "{path}");
            if path == "/chunked" {
                assert_eq!(response.trailers, "x-sum: 1\r\n");
            }
        }
        for (method, path, status) in [("HEAD", "/head", 200), ("GET", "/same", 304)] {
            let mut client = Client::connect(upper.http).await;
            let request =
                format!("{method} {path} HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n\r\n");
            client.send(request).await;
            let head = client.head().await.expect("a head");
            assert_eq!(head.status, status);
            assert_eq!(client.rest().await, b"", "{path}");
        }
        let upload = "POST /length HTTP/1.1\r\nHost: a.example\r\nExpect: 100-continue\r\nTransfer-Encoding: chunked\r\n\
            Trailer: x-sum\r\n\r\n";
        let mut client = Client::connect(upper.http).await;
        client.send(upload).await;
        assert_eq!(client.head().await.expect("a head").status, 100);
        client.send("5\r\nhello\r\n0\r\nx-sum: 2\r\n\r\n").await;
        assert_eq!(client.response().await.text(), "hello");
        let received = endpoint.received().pop().expect("a request");
        assert_eq!(received.body, b"hellox-sum: 2\r\n");
    });
}

#[test]
fn an_early_answer_ends_an_upload_and_the_connection_goes_on() {
    run(async {
        let endpoint = scripted(|mut peer: Peer| async move {
            while peer.head().await.is_some() {
                peer.answer("enough").await;
                let _ = peer.wire.take(16 * MIB).await;
            }
        })
        .await;
        let lower = lower(&[endpoint.address]).await;
        let upper = upper(&[&lower]).await;
        for _ in 0..3 {
            let mut client = Client::connect(upper.http).await;
            let head = "POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 1000000000\r\n\r\n";
            client.send(head).await;
            client.send(vec![b'x'; 100_000]).await;
            let response = client.response().await;
            assert_eq!((response.status, response.text()), (200, "enough"));
        }
        assert!(upper.sample("tiergate_upstream_connects_total{result=\"ok\"}") < 1.5);
    });
}

#[test]
fn a_lower_tier_that_drains_fails_no_request() {
    run(async {
        let endpoint = echo().await;
        let first = lower(&[endpoint.address]).await;
        let second = lower(&[endpoint.address]).await;
        let upper = upper(&[&first, &second]).await;
        let is_over = Rc::new(Cell::new(false));
        let mut clients = Vec::new();
        for n in 0..20 {
            let (is_over, to) = (is_over.clone(), upper.http);
            clients.push(tokio::task::spawn_local(async move {
                let method = if n % 2 == 0 { "GET" } else { "POST" };
                let length = if n % 4 == 3 {
                    "Content-Length: 5\r\n\r\nhello"
                } else {
                    "Content-Length: 0\r\n\r\n"
                };
                let mut client = Client::connect(to).await;
                let mut count = 0;
                while !is_over.get() {
                    client
                        .send(format!(
                            "{method} / HTTP/1.1\r\nHost: a.example\r\n{length}"
                        ))
                        .await;
                    let response = client.response().await;
                    assert_eq!(response.status, 200, "{}", response.text());
                    count += 1;
                }
                count
            }));
        }
        until(|| endpoint.received().len() > 200).await;
        first.drain.start(Duration::from_secs(10));
        first.ended.await.expect("it has ended");
        let before = endpoint.received().len();
        until(|| endpoint.received().len() > before + 200).await;
        is_over.set(true);
        for client in clients {
            assert!(client.await.expect("every request was answered") > 5);
        }
        assert!(get(upper.http, GET).await.status == 200);
    });
}
