//! Large heads on the link between two tiers: each costs the one request that it belongs to, and no other of the connection.

use std::net::SocketAddr;
use std::rc::Rc;

use bytes::Bytes;
use h2::server::Builder;
use http::{HeaderMap, HeaderValue, Response};
use tiergate_data_plane::config::Config;
use tiergate_data_plane::table::Protocol;
use tokio::sync::Semaphore;

use crate::harness::client::{Client, Response as Answer, values};
use crate::harness::endpoint::{Endpoint, Peer, scripted};
use crate::harness::http2::{self, answer};
use crate::harness::{Proxy, config, proxy, run, table, table_of};

const CONNECTS: &str = "tiergate_upstream_connects_total{result=\"ok\"}";

fn trusting() -> Config {
    let mut config = config();
    config.trusted_proxies = vec!["127.0.0.0/8".parse().expect("a network")];
    config
}

async fn upper_of(config: Config, lower: SocketAddr) -> Proxy {
    proxy(config, table(Protocol::H2c, &[lower])).await
}

/// Answers `/wait` when it may, and others at once with this head.
async fn waiting(head: Vec<u8>) -> (Endpoint, Rc<Semaphore>) {
    let may_go = Rc::new(Semaphore::new(0));
    let (go, head) = (may_go.clone(), Rc::new(head));
    let endpoint = scripted(move |mut peer: Peer| {
        let (go, head) = (go.clone(), head.clone());
        async move {
            while let Some(received) = peer.receive().await {
                if received.head.starts_with("GET /wait") {
                    let _permit = go.acquire().await;
                    peer.answer("waited").await;
                } else {
                    peer.wire.send(&*head).await;
                }
            }
        }
    })
    .await;
    (endpoint, may_go)
}

/// Sends this head while another request waits on the same connection, which is then answered.
async fn beside_another(upper: &Proxy, head: &[u8], go: &Semaphore) -> Answer {
    let mut other = Client::connect(upper.http).await;
    let wait = "GET /wait HTTP/1.1\r\nHost: a.example\r\n\r\n";
    other.send(wait).await;
    let in_flight = "tiergate_requests_in_flight{tenant=\"team\"}";
    upper.until(in_flight, 1.0).await;
    upper.until(CONNECTS, 1.0).await;
    let mut client = Client::connect(upper.http).await;
    client.send(head).await;
    let response = client.response().await;
    go.add_permits(1);
    let waited = other.response().await;
    assert_eq!((waited.status, waited.text()), (200, "waited"));
    assert!(upper.sample(CONNECTS) < 1.5, "one connection for both");
    response
}

fn request(fields: &[(&str, u8, usize)]) -> Vec<u8> {
    let mut head = b"GET /x HTTP/1.1\r\nHost: a.example\r\n".to_vec();
    for &(name, byte, count) in fields {
        head.extend([name.as_bytes(), b": ", &vec![byte; count], b"\r\n"].concat());
    }
    [&head, &b"\r\n"[..]].concat()
}

#[test]
fn the_head_of_a_response_that_grows_by_its_coding_passes_both_tiers() {
    for (byte, count) in [
        (0xf9, 35_000),
        (0xf9, 65_000),
        (b'\\', 65_000),
        (b'a', 65_000),
    ] {
        run(async move {
            let start = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX: ";
            let value = vec![byte; count];
            let head = [start, &value[..], b"\r\n\r\nok"].concat();
            let (endpoint, go) = waiting(head).await;
            let lower = proxy(trusting(), table_of(&[endpoint.address])).await;
            let upper = upper_of(config(), lower.http).await;
            let asked = request(&[]);
            let response = beside_another(&upper, &asked, &go).await;
            assert_eq!((response.status, response.text()), (200, "ok"));
        });
    }
}

#[test]
fn the_head_of_a_request_costs_no_other_whatever_the_limits() {
    const KIB: usize = 1024;
    let coded = [("X", 0xf9, 40_000)];
    let two = [("X", b'a', 15_000), ("Y", b'a', 15_000)];
    let largest = [("X", 0xf9, 400_000)];
    let half = [("X", 0xf9, 7000)];
    for (upper, lower, fields, status) in [
        (64 * KIB, 64 * KIB, &coded[..], 200),
        (32 * KIB, 8 * KIB, &two, 431),
        (32 * KIB, 8 * KIB, &half, 200),
        (64 * KIB, KIB, &coded, 431),
        (1024 * KIB, 1024 * KIB, &largest, 200),
        (1024 * KIB, KIB, &largest, 431),
    ] {
        for is_trusted in [true, false] {
            run(async move {
                let ok = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
                let (endpoint, go) = waiting(ok.to_vec()).await;
                let mut below = if is_trusted { trusting() } else { config() };
                below.limits.head_bytes_max = lower;
                let below = proxy(below, table_of(&[endpoint.address])).await;
                let mut above = config();
                above.limits.head_bytes_max = upper;
                let above = upper_of(above, below.http).await;
                let response = beside_another(&above, &request(fields), &go).await;
                assert_eq!(
                    response.status, status,
                    "{upper} and {lower}, {is_trusted}: {}",
                    response.head
                );
                if status == 431 && is_trusted {
                    let errors =
                        "tiergate_proxy_errors_total{tenant=\"_none\",reason=\"head_too_large\"}";
                    assert!(below.sample(errors) > 0.5, "counted where it was refused");
                }
            });
        }
    }
}

/// An HTTP/2 endpoint that takes heads of 8 KiB and says so. `/large` and `/trailers` have too much for us.
async fn foreign() -> (http2::Http2Endpoint, Rc<Semaphore>) {
    let may_go = Rc::new(Semaphore::new(0));
    let go = may_go.clone();
    let mut settings = Builder::new();
    settings.max_header_list_size(8 * 1024);
    let script = move |mut connection: http2::Http2, _| {
        let go = go.clone();
        async move {
            while let Some(Ok(asked)) = connection.accept().await {
                let path = asked.0.uri().path().to_owned();
                let large = HeaderValue::from_bytes(&[0xf9; 70_000]).expect("a value");
                if path == "/wait" {
                    let go = go.clone();
                    tokio::task::spawn_local(async move {
                        let _permit = go.acquire().await;
                        answer(asked, "waited");
                    });
                    continue;
                }
                let (_, mut respond) = asked;
                let mut response = Response::new(());
                if path == "/large" {
                    response.headers_mut().insert("x", large.clone());
                }
                let mut body = respond.send_response(response, false).expect("sent");
                body.send_data(Bytes::from_static(b"x"), path != "/trailers")
                    .expect("sent");
                if path == "/trailers" {
                    let trailers = HeaderMap::from_iter([("x".parse().expect("a name"), large)]);
                    body.send_trailers(trailers).expect("sent");
                }
            }
        }
    };
    (http2::scripted(settings, script).await, may_go)
}

#[test]
fn an_endpoint_gets_no_head_that_it_does_not_take_and_its_own_cost_no_other() {
    let target = |path: &str| {
        format!("GET {path} HTTP/1.1\r\nHost: a.example\r\nTE: trailers\r\nConnection: te\r\n\r\n")
            .into_bytes()
    };
    for (head, status, is_broken) in [
        (request(&[("X", b'a', 7000)]), 200, false),
        (request(&[("X", b'a', 9000)]), 431, false),
        (
            request(&[("X", b'a', 15_000), ("Y", b'a', 15_000)]),
            431,
            false,
        ),
        (request(&[("X", 0xf9, 31_000)]), 431, false),
        (target("/large"), 502, false),
        (target("/trailers"), 200, true),
    ] {
        run(async move {
            let (endpoint, go) = foreign().await;
            let proxy = upper_of(config(), endpoint.address).await;
            let response = beside_another(&proxy, &head, &go).await;
            let seen = (response.status, response.is_broken);
            assert_eq!(seen, (status, is_broken), "{}", response.head);
        });
    }
}

/// What one tier alone answers, and what two do.
async fn alone_and_by_two(request: &[u8], answer: &[u8]) -> ((Answer, Answer), Endpoint) {
    let (endpoint, _) = waiting(answer.to_vec()).await;
    let alone = proxy(config(), table_of(&[endpoint.address])).await;
    let lower = proxy(trusting(), table_of(&[endpoint.address])).await;
    let upper = upper_of(config(), lower.http).await;
    let mut answers = Vec::new();
    for tier in [&alone, &upper] {
        let mut client = Client::connect(tier.http).await;
        client.send(request).await;
        answers.push(client.response().await);
    }
    let by_two = answers.pop().expect("two answers");
    let alone = answers.pop().expect("two answers");
    ((alone, by_two), endpoint)
}

#[test]
fn two_tiers_serve_the_heads_that_one_serves() {
    let names: Vec<_> = (0..110).map(|number| format!("X{number}")).collect();
    let many = |count: usize| {
        let fields: Vec<_> = names[..count]
            .iter()
            .map(|name| (&name[..], b'a', 1))
            .collect();
        request(&fields)
    };
    let large = |bytes: usize| request(&[("X", b'a', bytes - request(&[("X", b'a', 0)]).len())]);
    let ok = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
    for (head, status) in [
        (many(98), 200),
        (many(99), 200),
        (many(100), 431),
        (large(32_600), 200),
        (large(32 * 1024 - 1), 200),
        (large(32 * 1024 + 1), 431),
    ] {
        run(async move {
            let ((alone, by_two), _) = alone_and_by_two(&head, ok).await;
            let seen = (alone.status, by_two.status);
            assert_eq!(seen, (status, status), "{} bytes", head.len());
        });
    }
}

#[test]
fn two_tiers_read_a_length_as_one_does() {
    let ok = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    let asks = |length: &str| {
        format!("POST /x HTTP/1.1\r\nHost: a.example\r\nContent-Length: {length}\r\n\r\nbody")
    };
    let answers = |length: &str| format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\nok");
    for (request, answer, status, lengths) in [
        (asks("0000000000000000000000000004"), ok.to_owned(), 200, 2),
        (asks("04"), ok.to_owned(), 200, 2),
        (asks("9223372036854775808"), ok.to_owned(), 413, 0),
        (asks("18446744073709551613"), ok.to_owned(), 413, 0),
        (asks("4"), answers("0000000000000000000000000002"), 200, 2),
        (asks("4"), answers("2, 02"), 200, 2),
        (asks("4"), answers("9223372036854775808"), 502, 2),
        (asks("4"), answers("18446744073709551613"), 502, 2),
    ] {
        run(async move {
            let served = alone_and_by_two(request.as_bytes(), answer.as_bytes()).await;
            let ((alone, by_two), endpoint) = served;
            for seen in [alone, by_two] {
                assert_eq!(seen.status, status, "{request} {answer}");
                if status == 200 {
                    assert_eq!(seen.values("content-length"), ["2"], "{answer}");
                    assert_eq!(seen.text(), "ok");
                }
            }
            let received = endpoint.received();
            assert_eq!(received.len(), lengths, "{request}");
            for received in received {
                assert_eq!(values(&received.head, "content-length"), ["4"]);
            }
        });
    }
}
