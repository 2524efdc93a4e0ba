//! Connections that have been idle for a while and gave their buffers back: what comes next is served as ever.

use std::time::Duration;

use tiergate_data_plane::config::Config;

use crate::harness::client::Client;
use crate::harness::endpoint::{Peer, echo, scripted};
use crate::harness::{Proxy, config, proxy, run, table_of};

const RESTING: &str = "tiergate_client_connections_resting";
const GET: &str = "GET / HTTP/1.1\r\nHost: a.example\r\n\r\n";

/// Connections rest as soon as they may.
fn restless() -> Config {
    let mut config = config();
    config.timeouts.downstream_rest = Duration::from_millis(1);
    config
}

async fn served(proxy: &Proxy, client: &mut Client, request: &str) {
    client.send(request).await;
    assert_eq!(client.response().await.status, 200, "{request}");
    proxy.until(RESTING, 1.0).await;
}

#[test]
fn a_connection_that_rests_takes_the_next_request() {
    run(async {
        let endpoint = echo().await;
        let proxy = proxy(restless(), table_of(&[endpoint.address])).await;
        let mut client = Client::connect(proxy.http).await;
        let long = format!(
            "GET /?{} HTTP/1.1\r\nHost: a.example\r\n\r\n",
            "x".repeat(9000)
        );
        for request in [
            GET,
            "POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 5\r\n\r\nhello",
            "POST / HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
            "\r\nGET / HTTP/1.1\r\nHost: a.example\r\n\r\n",
            &long,
        ] {
            served(&proxy, &mut client, request).await;
        }
        assert_eq!(endpoint.received().len(), 5);
        drop(client);
        proxy.until("tiergate_client_connections_open", 0.0).await;
        proxy.until(RESTING, 0.0).await;
    });
}

#[test]
fn a_head_that_comes_in_pieces_wakes_it_once() {
    run(async {
        let endpoint = echo().await;
        let proxy = proxy(restless(), table_of(&[endpoint.address])).await;
        let mut client = Client::connect(proxy.http).await;
        served(&proxy, &mut client, GET).await;
        client.send("G").await;
        proxy.until(RESTING, 0.0).await;
        client.send("ET / HTTP/1.1\r\nHost: a.exa").await;
        client.send("mple\r\n\r\n").await;
        assert_eq!(client.response().await.status, 200);
        assert_eq!(endpoint.received().len(), 2);
    });
}

#[test]
fn pipelined_requests_are_all_answered() {
    run(async {
        let endpoint = echo().await;
        let proxy = proxy(restless(), table_of(&[endpoint.address])).await;
        let mut client = Client::connect(proxy.http).await;
        served(&proxy, &mut client, GET).await;
        client.send(GET.repeat(3)).await;
        for _ in 0..3 {
            assert_eq!(client.response().await.status, 200);
        }
        proxy.until(RESTING, 1.0).await;
        assert_eq!(endpoint.received().len(), 4);
    });
}

#[test]
fn a_connection_with_work_does_not_rest() {
    run(async {
        let endpoint = scripted(|mut peer: Peer| async move {
            while peer.receive().await.is_some() {
                tokio::time::sleep(Duration::from_millis(50)).await;
                peer.wire
                    .send("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nla")
                    .await;
                tokio::time::sleep(Duration::from_millis(50)).await;
                peer.wire.send("te").await;
            }
        })
        .await;
        let proxy = proxy(restless(), table_of(&[endpoint.address])).await;
        let mut client = Client::connect(proxy.http).await;
        for _ in 0..2 {
            client.send(GET).await;
            assert_eq!(client.response().await.text(), "late");
        }
    });
}

#[test]
fn what_follows_a_body_that_nobody_read_is_never_a_request() {
    run(async {
        let endpoint = echo().await;
        let proxy = proxy(restless(), table_of(&[endpoint.address])).await;
        let mut client = Client::connect(proxy.http).await;
        // Refused for its path, with its body still to come.
        let refused = "POST /../x HTTP/1.1\r\nHost: a.example\r\nContent-Length: 100\r\n\r\n";
        client.send(refused).await;
        assert_eq!(client.response().await.status, 400);
        client.send(GET).await;
        assert!(client.try_response().await.is_none());
        assert_eq!(endpoint.received().len(), 0);
    });
}

#[test]
fn a_resting_connection_ends_as_any_idle_one() {
    run(async {
        let endpoint = echo().await;
        let mut config = restless();
        config.timeouts.downstream_idle = Duration::from_millis(100);
        let by_time = proxy(config, table_of(&[endpoint.address])).await;
        let mut client = Client::connect(by_time.http).await;
        served(&by_time, &mut client, GET).await;
        assert_eq!(client.rest().await, b"");
        by_time.until(RESTING, 0.0).await;

        let by_drain = proxy(restless(), table_of(&[endpoint.address])).await;
        let mut client = Client::connect(by_drain.http).await;
        served(&by_drain, &mut client, GET).await;
        by_drain.drain.start(Duration::from_secs(10));
        by_drain.until("tiergate_draining", 1.0).await;
        client.send(GET).await;
        let last = client.response().await;
        assert!(
            last.head.to_ascii_lowercase().contains("connection: close"),
            "{}",
            last.head
        );
        assert_eq!(client.rest().await, b"");
    });
}
