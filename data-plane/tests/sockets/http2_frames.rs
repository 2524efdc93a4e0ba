//! HTTP/2 frame by frame: clients that keep to no window and framing that no library would send.

use std::time::Duration;

use crate::harness::client::Client;
use crate::harness::endpoint::{Peer, answering, echo, scripted};
use crate::harness::frames::{
    DATA, HEADERS, PING, RST_STREAM, connect, fields_of, frame, next, read, request,
};
use crate::harness::{config, proxy, run, table_of, until};

const OPEN: &str = "tiergate_client_connections_open";
const IN_FLIGHT: &str = "tiergate_requests_in_flight{tenant=\"team\"}";

#[test]
fn a_client_that_makes_no_room_for_its_answer_is_let_go() {
    run(async {
        let body = "x".repeat(200_000);
        let large = format!("HTTP/1.1 200 OK\r\ncontent-length: 200000\r\n\r\n{body}");
        let large = answering(large.leak()).await.address;
        let small = echo().await.address;
        for (endpoints, window) in [(vec![], 0), (vec![small], 0), (vec![large], 1000)] {
            let mut config = config();
            config.timeouts.response_body = Duration::from_millis(150);
            let proxy = proxy(config, table_of(&endpoints)).await;
            let mut client = connect(proxy.http, window).await;
            client.send(request(1, true, "GET", "/", &[])).await;
            proxy.until(OPEN, 1.0).await;
            // Mostly its connection is closed; when the machine has stood still meanwhile, its answer may be given up first.
            let is_over = || proxy.sample(OPEN) < 0.5 || proxy.errors("client_stalled") > 0.5;
            while !is_over() {
                // It is alive, and takes the answers to this.
                client.send(frame(PING, false, 0, b"or not?!")).await;
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            let is_ours = endpoints.is_empty();
            let stalled = proxy.errors("client_stalled");
            assert!(is_ours || (stalled - 1.0).abs() < 0.1, "{endpoints:?}");
            proxy.until(IN_FLIGHT, 0.0).await;
        }
    });
}

#[test]
fn an_answer_to_head_has_no_body_whoever_gives_it() {
    run(async {
        let endpoint = answering("HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n").await;
        for endpoints in [vec![], vec![endpoint.address]] {
            let proxy = proxy(config(), table_of(&endpoints)).await;
            let mut client = connect(proxy.http, 65_535).await;
            client.send(request(1, true, "HEAD", "/", &[])).await;
            let is_last = loop {
                let (kind, is_last) = next(&mut client).await.expect("an answer");
                if kind == HEADERS {
                    break is_last;
                }
            };
            assert!(is_last, "{endpoints:?}");
            let mut client = Client::connect(proxy.http).await;
            let head = "HEAD / HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n\r\n";
            client.send(head).await;
            let head = client.head().await.expect("a head");
            assert_eq!(head.values("content-length").len(), 1, "{head:?}");
            assert_eq!(client.rest().await, b"");
        }
    });
}

#[test]
fn a_repeated_length_reaches_an_http1_endpoint_once() {
    run(async {
        let endpoint = echo().await;
        let proxy = proxy(config(), table_of(&[endpoint.address])).await;
        let mut client = connect(proxy.http, 65_535).await;
        let lengths = [("content-length", "5"), ("content-length", "5")];
        client.send(request(1, false, "POST", "/", &lengths)).await;
        client.send(frame(DATA, true, 1, b"hello")).await;
        until(|| endpoint.received().len() == 1).await;
        let received = &endpoint.received()[0];
        assert_eq!(received.body, b"hello");
        assert_eq!(received.head.matches("content-length").count(), 1);
    });
}

#[test]
fn a_body_without_a_length_passes_whatever_the_method() {
    run(async {
        let endpoint = echo().await;
        let proxy = proxy(config(), table_of(&[endpoint.address])).await;
        let mut client = connect(proxy.http, 65_535).await;
        client.send(request(1, false, "GET", "/", &[])).await;
        client.send(frame(DATA, true, 1, b"hello")).await;
        until(|| endpoint.received().len() == 1).await;
        assert_eq!(endpoint.received()[0].body, b"hello");
    });
}

#[test]
fn a_stream_that_is_reset_or_lost_leaves_nothing_behind() {
    run(async {
        let endpoint = scripted(|mut peer: Peer| async move {
            let head = peer.head().await.unwrap_or_default();
            if head.contains("/answer") {
                let part = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n";
                peer.wire.send(part).await;
            }
            peer.wire.rest().await;
        })
        .await;
        let proxy = proxy(config(), table_of(&[endpoint.address])).await;
        let mut connections = 0;
        for (method, path) in [
            ("GET", "/"),
            ("POST", "/"),
            ("GET", "/answer"),
            ("POST", "/answer"),
        ] {
            for is_reset in [true, false] {
                let mut client = connect(proxy.http, 65_535).await;
                let is_whole = method == "GET";
                client.send(request(1, is_whole, method, path, &[])).await;
                if !is_whole {
                    client.send(frame(DATA, false, 1, b"hello")).await;
                }
                connections += 1;
                until(|| endpoint.connections() == connections).await;
                proxy.until(IN_FLIGHT, 1.0).await;
                if is_reset {
                    client
                        .send(frame(RST_STREAM, false, 1, &[0, 0, 0, 8]))
                        .await;
                    proxy.until(IN_FLIGHT, 0.0).await;
                }
                drop(client);
                proxy.until(IN_FLIGHT, 0.0).await;
                proxy.until("tiergate_upstream_connections", 0.0).await;
                proxy.until(OPEN, 0.0).await;
            }
        }
    });
}

#[test]
fn a_head_that_no_request_may_have_is_refused() {
    const PATH: (&str, &str) = (":path", "/");
    const GET: (&str, &str) = (":method", "GET");
    const HOST: (&str, &str) = (":authority", "a.example");
    const HTTP: (&str, &str) = (":scheme", "http");
    // Of HPACK's own table.
    const STATUS_200: u8 = 0x88;
    const STATUS_400: u8 = 0x8c;
    run(async {
        let endpoint = echo().await;
        let proxy = proxy(config(), table_of(&[endpoint.address])).await;
        for (head, status) in [
            ([GET, HTTP, HOST, PATH, ("x", "a b")], STATUS_200),
            ([GET, HTTP, HOST, PATH, ("x", "")], STATUS_200),
            ([GET, HTTP, HOST, PATH, ("x", " a")], STATUS_400),
            ([GET, HTTP, HOST, PATH, ("x", "a ")], STATUS_400),
            ([GET, HTTP, HOST, PATH, ("x", "a\t")], STATUS_400),
            (
                [GET, (":scheme", "ftp"), HOST, PATH, ("x", "a")],
                STATUS_400,
            ),
            (
                [GET, (":scheme", "https"), HOST, PATH, ("x", "a")],
                STATUS_200,
            ),
            ([GET, HTTP, HOST, (":path", "*"), ("x", "a")], STATUS_400),
            (
                [
                    (":method", "OPTIONS"),
                    HTTP,
                    HOST,
                    (":path", "*"),
                    ("x", "a"),
                ],
                STATUS_200,
            ),
        ] {
            let mut client = connect(proxy.http, 65_535).await;
            client.send(fields_of(1, true, &head)).await;
            let answer = loop {
                let frame = read(&mut client).await.expect("an answer");
                if frame.kind == HEADERS {
                    break frame;
                }
            };
            assert_eq!(answer.payload[0], status, "{head:?}");
        }
        assert_eq!(endpoint.lines().len(), 4);
    });
}
