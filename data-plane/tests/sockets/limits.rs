//! Limits and waits on the client's side, each with the answer it gets and the counter it moves.

use std::time::Duration;

use tiergate_data_plane::config::{Config, Limits, Timeouts};

use crate::harness::client::{Client, get};
use crate::harness::endpoint::echo;
use crate::harness::{Proxy, config, proxy, run, table_of};

const SOON: Duration = Duration::from_millis(60);

fn limits(change: impl FnOnce(&mut Limits)) -> Config {
    let mut config = config();
    change(&mut config.limits);
    config
}

fn timeouts(change: impl FnOnce(&mut Timeouts)) -> Config {
    let mut config = config();
    change(&mut config.timeouts);
    config
}

fn assert_counted(proxy: &Proxy, reason: &str) {
    let count = proxy.errors(reason);
    assert!(
        (count - 1.0).abs() < 0.1,
        "{reason}: {count}\n{}",
        proxy.metrics()
    );
}

#[test]
fn a_head_that_is_too_large_is_refused() {
    run(async {
        let endpoint = echo().await;
        let config = limits(|limits| (limits.head_bytes_max, limits.headers_max) = (9000, 5));
        for fields in [format!("X: {}\r\n", "x".repeat(9000)), "X: y\r\n".repeat(5)] {
            let proxy = proxy(config.clone(), table_of(&[endpoint.address])).await;
            let request = format!("GET / HTTP/1.1\r\nHost: a.example\r\n{fields}\r\n");
            assert_eq!(get(proxy.http, &request).await.status, 431);
            proxy.until("tiergate_client_connections_open", 0.0).await;
            assert_counted(&proxy, "head_too_large");
        }
        let within = format!("X: {}\r\n", "x".repeat(8000));
        let proxy = proxy(config, table_of(&[endpoint.address])).await;
        let request = format!("GET / HTTP/1.1\r\nHost: a.example\r\n{within}\r\n");
        assert_eq!(get(proxy.http, &request).await.status, 200);
        assert_eq!(endpoint.received().len(), 1);
    });
}

#[test]
fn a_body_that_is_too_large_is_refused_whether_declared_or_not() {
    run(async {
        let endpoint = echo().await;
        for body in [
            "Content-Length: 11\r\n\r\nhello world".to_owned(),
            "Transfer-Encoding: chunked\r\n\r\n6\r\nhello \r\n5\r\nworld\r\n0\r\n\r\n".to_owned(),
        ] {
            let config = limits(|limits| limits.body_bytes_max = 10);
            let proxy = proxy(config, table_of(&[endpoint.address])).await;
            let mut client = Client::connect(proxy.http).await;
            client
                .send(format!("POST / HTTP/1.1\r\nHost: a.example\r\n{body}"))
                .await;
            let response = client.response().await;
            assert_eq!(response.status, 413, "{body}");
            assert_eq!(response.values("connection"), ["close"], "{body}");
            assert_eq!(client.rest().await, b"");
            assert_counted(&proxy, "body_too_large");
        }
        assert_eq!(endpoint.received().len(), 0, "no whole request arrived");
        let config = limits(|limits| limits.body_bytes_max = 10);
        let proxy = proxy(config, table_of(&[endpoint.address])).await;
        let request = "POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 10\r\n\r\n0123456789";
        assert_eq!(get(proxy.http, request).await.status, 200);
    });
}

#[test]
fn an_answer_before_the_end_of_the_request_says_that_the_connection_ends() {
    run(async {
        let endpoint = crate::harness::endpoint::scripted(
            |mut peer: crate::harness::endpoint::Peer| async move {
                while peer.head().await.is_some() {
                    peer.answer("early").await;
                }
            },
        )
        .await;
        for (endpoints, status) in [(vec![], 503), (vec![endpoint.address], 200)] {
            let proxy = proxy(config(), table_of(&endpoints)).await;
            let mut client = Client::connect(proxy.http).await;
            let head = "POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 5\r\n\r\n";
            client.send(head).await;
            let response = client.response().await;
            assert_eq!(response.status, status);
            assert_eq!(response.values("connection"), ["close"], "{status}");
            client
                .send("helloGET / HTTP/1.1\r\nHost: a.example\r\n\r\n")
                .await;
            assert_eq!(client.rest().await, b"", "{status}");
        }
    });
}

#[test]
fn a_refused_upload_gets_its_answer_while_it_is_still_sending() {
    run(async {
        let config = limits(|limits| limits.body_bytes_max = 1000);
        let proxy = proxy(config, table_of(&[])).await;
        let mut client = Client::connect(proxy.http).await;
        let head = "POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 4000000\r\n\r\n";
        client.send(head).await;
        // More than the sockets buffer: without lingering, the close would be a reset that destroys the answer.
        client.send(vec![b'x'; 1_000_000]).await;
        assert_eq!(client.response().await.status, 413);
        let end = tokio::io::AsyncReadExt::read(&mut client.stream, &mut [0]).await;
        assert_eq!(end.expect("an end, not a reset"), 0);
    });
}

#[test]
fn an_upload_that_waits_for_leave_gets_it_once_the_endpoint_is_there() {
    run(async {
        let endpoint = echo().await;
        let proxy = proxy(config(), table_of(&[endpoint.address])).await;
        let mut client = Client::connect(proxy.http).await;
        client
            .send("POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n")
            .await;
        assert_eq!(client.head().await.expect("a head").status, 100);
        client.send("hi").await;
        assert_eq!(client.response().await.status, 200);
        let received = &endpoint.received()[0];
        assert_eq!(received.body, b"hi");
        assert!(!received.head.contains("expect"), "{}", received.head);
        let refused = "GET / HTTP/1.1\r\nHost: a.example\r\nExpect: more\r\n\r\n";
        assert_eq!(get(proxy.http, refused).await.status, 417);
    });
}

#[test]
fn a_head_that_does_not_end_closes_the_connection() {
    run(async {
        let config = timeouts(|timeouts| timeouts.head_read = SOON);
        let proxy = proxy(config, table_of(&[])).await;
        let mut client = Client::connect(proxy.http).await;
        client.send("GET / HTTP/1.1\r\nHost: a.ex").await;
        assert_eq!(client.rest().await, b"");
        assert_counted(&proxy, "head_timeout");
    });
}

#[test]
fn an_idle_connection_is_closed_and_a_busy_one_is_not() {
    run(async {
        let endpoint = crate::harness::endpoint::scripted(
            |mut peer: crate::harness::endpoint::Peer| async move {
                while peer.receive().await.is_some() {
                    tokio::time::sleep(SOON * 5).await;
                    peer.answer("late").await;
                }
            },
        )
        .await;
        let config = timeouts(|timeouts| {
            (timeouts.downstream_idle, timeouts.head_read) = (SOON, SOON);
        });
        let proxy = proxy(config, table_of(&[endpoint.address])).await;
        let mut client = Client::connect(proxy.http).await;
        client
            .send("GET / HTTP/1.1\r\nHost: a.example\r\n\r\n")
            .await;
        assert_eq!(client.response().await.text(), "late");
        assert_eq!(client.rest().await, b"", "closed after its idle time");
        let mut silent = Client::connect(proxy.http).await;
        assert_eq!(silent.rest().await, b"");
        assert!(proxy.errors("head_timeout") < 0.5);
    });
}

#[test]
fn a_body_that_stops_arriving_gets_408() {
    run(async {
        let endpoint = echo().await;
        let config = timeouts(|timeouts| timeouts.body_read = SOON);
        let proxy = proxy(config, table_of(&[endpoint.address])).await;
        let mut client = Client::connect(proxy.http).await;
        client
            .send("POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 10\r\n\r\nhello")
            .await;
        let response = client.response().await;
        assert_eq!(response.status, 408);
        assert_eq!(client.rest().await, b"");
        assert_counted(&proxy, "body_timeout");
        assert_eq!(endpoint.received().len(), 0);
    });
}

#[test]
fn connections_beyond_the_limit_are_closed_and_counted() {
    run(async {
        let endpoint = echo().await;
        let config = limits(|limits| limits.connections_max = 2);
        let proxy = proxy(config, table_of(&[endpoint.address])).await;
        let mut clients = Vec::new();
        for _ in 0..2 {
            let mut client = Client::connect(proxy.http).await;
            client
                .send("GET / HTTP/1.1\r\nHost: a.example\r\n\r\n")
                .await;
            assert_eq!(client.response().await.status, 200);
            clients.push(client);
        }
        assert_eq!(Client::connect(proxy.http).await.rest().await, b"");
        let refused = "tiergate_client_connections_total{result=\"refused\"}";
        assert!((proxy.sample(refused) - 1.0).abs() < 0.1);
        drop(clients);
        proxy.until("tiergate_client_connections_open", 0.0).await;
        let request = "GET / HTTP/1.1\r\nHost: a.example\r\n\r\n";
        assert_eq!(get(proxy.http, request).await.status, 200);
    });
}

#[test]
fn a_client_that_takes_nothing_is_let_go() {
    run(async {
        let endpoint = crate::harness::endpoint::scripted(
            |mut peer: crate::harness::endpoint::Peer| async move {
                let _ = peer.receive().await;
                let head = "HTTP/1.1 200 OK\r\ncontent-length: 100000000\r\n\r\n";
                peer.wire.send(head).await;
                peer.wire.send(vec![b'x'; 100_000_000]).await;
            },
        )
        .await;
        let config = timeouts(|timeouts| timeouts.response_body = SOON * 3);
        let proxy = proxy(config, table_of(&[endpoint.address])).await;
        let mut client = Client::connect(proxy.http).await;
        client
            .send("GET / HTTP/1.1\r\nHost: a.example\r\n\r\n")
            .await;
        proxy.until("tiergate_client_connections_open", 1.0).await;
        proxy.until("tiergate_client_connections_open", 0.0).await;
        assert_counted(&proxy, "client_stalled");
    });
}
