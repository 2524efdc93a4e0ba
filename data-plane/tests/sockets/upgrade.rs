//! Connections that change to another protocol.

use std::time::Duration;

use crate::harness::client::{Client, values};
use crate::harness::endpoint::{Endpoint, Peer, scripted};
use crate::harness::{config, proxy, run, table_of};

const UPGRADED: &str = "tiergate_upgraded_connections{tenant=\"team\"}";
pub(crate) const ASK: &str = "GET /chat HTTP/1.1\r\nHost: a.example\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\
    Sec-WebSocket-Key: k\r\n\r\n";

/// Agrees, greets, and sends everything back.
pub(crate) async fn parrot() -> Endpoint {
    scripted(|mut peer: Peer| async move {
        let head = peer.head().await.expect("a head");
        assert_eq!(values(&head, "upgrade"), ["websocket"]);
        assert_eq!(values(&head, "connection"), ["upgrade"]);
        assert_eq!(values(&head, "sec-websocket-key"), ["k"]);
        peer.wire
            .send("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nhello")
            .await;
        loop {
            let byte = peer.wire.take(1).await;
            if byte.is_empty() {
                return;
            }
            peer.wire.send(byte).await;
        }
    })
    .await
}

#[test]
fn bytes_go_both_ways_until_a_side_ends() {
    run(async {
        let endpoint = parrot().await;
        let proxy = proxy(config(), table_of(&[endpoint.address])).await;
        let mut client = Client::connect(proxy.http).await;
        // What the client sends right behind its request belongs to the new protocol.
        client.send(format!("{ASK}early")).await;
        let response = client.response().await;
        assert_eq!(response.status, 101);
        assert_eq!(response.values("upgrade"), ["websocket"]);
        assert_eq!(response.values("connection"), ["upgrade"]);
        assert_eq!(client.take(10).await, b"helloearly");
        client.send("more").await;
        assert_eq!(client.take(4).await, b"more");
        proxy.until(UPGRADED, 1.0).await;
        drop(client);
        proxy.until(UPGRADED, 0.0).await;
        proxy.until("tiergate_upstream_connections", 0.0).await;
    });
}

#[test]
fn a_client_hears_at_once_that_the_endpoint_has_ended() {
    run(async {
        let endpoint = scripted(|mut peer: Peer| async move {
            let _ = peer.head().await;
            peer.wire
                .send("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nbye")
                .await;
        })
        .await;
        let mut config = config();
        // Longer than the test may take.
        config.timeouts.response_body = Duration::from_secs(3600);
        let proxy = proxy(config, table_of(&[endpoint.address])).await;
        let mut client = Client::connect(proxy.http).await;
        client.send(ASK).await;
        assert_eq!(client.response().await.status, 101);
        assert_eq!(client.rest().await, b"bye");
    });
}

#[test]
fn an_upgraded_connection_in_which_nothing_moves_ends() {
    run(async {
        let endpoint = parrot().await;
        let mut config = config();
        config.timeouts.response_body = Duration::from_millis(60);
        let proxy = proxy(config, table_of(&[endpoint.address])).await;
        let mut client = Client::connect(proxy.http).await;
        client.send(ASK).await;
        assert_eq!(client.response().await.status, 101);
        assert_eq!(client.rest().await, b"hello");
        proxy.until(UPGRADED, 0.0).await;
    });
}

#[test]
fn an_upgraded_connection_lives_as_long_as_something_moves() {
    run(async {
        let pause_max = Duration::from_secs(1);
        let endpoint = parrot().await;
        let mut config = config();
        config.timeouts.response_body = pause_max;
        let proxy = proxy(config, table_of(&[endpoint.address])).await;
        let mut client = Client::connect(proxy.http).await;
        client.send(ASK).await;
        assert_eq!(client.response().await.status, 101);
        assert_eq!(client.take(5).await, b"hello");
        let begin = tokio::time::Instant::now();
        while begin.elapsed() < pause_max * 2 {
            client.send("x").await;
            assert_eq!(client.take(1).await, b"x", "after {:?}", begin.elapsed());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
}

#[test]
fn an_endpoint_may_decline() {
    run(async {
        let endpoint = scripted(|mut peer: Peer| async move {
            while peer.receive().await.is_some() {
                peer.answer("no").await;
            }
        })
        .await;
        let proxy = proxy(config(), table_of(&[endpoint.address])).await;
        let mut client = Client::connect(proxy.http).await;
        for _ in 0..2 {
            client.send(ASK).await;
            let response = client.response().await;
            assert_eq!((response.status, response.text()), (200, "no"));
        }
        assert_eq!(endpoint.connections(), 1);
    });
}

#[test]
fn nobody_changes_to_http2_behind_our_back() {
    run(async {
        let endpoint = crate::harness::endpoint::echo().await;
        let proxy = proxy(config(), table_of(&[endpoint.address])).await;
        let request = "GET / HTTP/1.1\r\nHost: a.example\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n\
            HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n\r\n";
        let response = crate::harness::client::get(proxy.http, request).await;
        assert_eq!(response.status, 200);
        let text = response.text();
        assert!(
            !text.contains("upgrade") && !text.contains("http2"),
            "{text}"
        );
    });
}

#[test]
fn an_upgraded_connection_goes_on_in_a_drain_until_its_deadline() {
    run(async {
        let endpoint = parrot().await;
        let proxy = proxy(config(), table_of(&[endpoint.address])).await;
        let mut client = Client::connect(proxy.http).await;
        client.send(ASK).await;
        assert_eq!(client.response().await.status, 101);
        assert_eq!(client.take(5).await, b"hello");
        proxy.drain.start(Duration::from_secs(60));
        proxy.until("tiergate_draining", 1.0).await;
        client.send("more").await;
        assert_eq!(client.take(4).await, b"more");
        assert!(!proxy.ended.is_finished());
        // A later call can shorten the time.
        proxy.drain.start(Duration::from_millis(50));
        assert_eq!(client.rest().await, b"");
        proxy.ended.await.expect("the worker has ended");
    });
}
