//! Ending without a failed request.

use std::time::Duration;

use tokio::sync::watch;

use crate::harness::client::Client;
use crate::harness::endpoint::{Endpoint, Peer, echo, scripted};
use crate::harness::{config, proxy, run, table_of, until};

const REQUEST: &str = "GET / HTTP/1.1\r\nHost: a.example\r\n\r\n";
const LONG: Duration = Duration::from_secs(60);

/// Answers when it is told to.
async fn waiting(go: watch::Receiver<bool>) -> Endpoint {
    scripted(move |mut peer: Peer| {
        let mut go = go.clone();
        async move {
            while peer.receive().await.is_some() {
                go.wait_for(|go| *go).await.expect("told in the end");
                peer.answer("done").await;
            }
        }
    })
    .await
}

#[test]
fn what_runs_is_finished_and_what_is_about_to_come_is_still_answered() {
    run(async {
        let (go, told) = watch::channel(false);
        let endpoint = waiting(told).await;
        let proxy = proxy(config(), table_of(&[endpoint.address])).await;
        let mut running = Client::connect(proxy.http).await;
        running.send(REQUEST).await;
        until(|| endpoint.received().len() == 1).await;
        go.send(true).expect("the endpoint waits");
        let mut idle = Client::connect(proxy.http).await;
        idle.send(REQUEST).await;
        assert_eq!(idle.response().await.values("connection"), [""; 0]);
        assert_eq!(running.response().await.status, 200);
        go.send(false).expect("the endpoint waits");
        running.send(REQUEST).await;
        until(|| endpoint.received().len() == 3).await;
        // Connected and not yet accepted when the drain begins.
        let mut queued = Client::connect(proxy.http).await;
        proxy.drain.start(LONG);
        queued.send(REQUEST).await;
        proxy.until("tiergate_draining", 1.0).await;
        idle.send(REQUEST).await;
        until(|| endpoint.received().len() == 5).await;
        go.send(true).expect("the endpoint waits");
        for mut client in [running, idle, queued] {
            let response = client.response().await;
            assert_eq!((response.status, response.text()), (200, "done"));
            assert_eq!(response.values("connection"), ["close"]);
            assert_eq!(client.rest().await, b"");
        }
        proxy.ended.await.expect("the worker has ended");
        assert!(tokio::net::TcpStream::connect(proxy.http).await.is_err());
    });
}

#[test]
fn a_connection_that_stays_idle_does_not_hold_the_end_up() {
    run(async {
        let endpoint = echo().await;
        let proxy = proxy(config(), table_of(&[endpoint.address])).await;
        let mut idle = Client::connect(proxy.http).await;
        idle.send(REQUEST).await;
        assert_eq!(idle.response().await.status, 200);
        proxy.drain.start(LONG);
        proxy.ended.await.expect("the worker has ended");
        assert_eq!(idle.rest().await, b"");
    });
}

#[test]
fn at_the_deadline_the_rest_is_cut_and_counted() {
    run(async {
        let (_go, told) = watch::channel(false);
        let endpoint = waiting(told).await;
        let proxy = proxy(config(), table_of(&[endpoint.address])).await;
        let mut client = Client::connect(proxy.http).await;
        client.send(REQUEST).await;
        until(|| endpoint.received().len() == 1).await;
        proxy.drain.start(Duration::from_millis(50));
        assert!(client.try_response().await.is_none());
        assert!((proxy.errors("drain_deadline") - 1.0).abs() < 0.1);
        proxy.ended.await.expect("the worker has ended");
    });
}

#[test]
fn a_download_that_runs_when_the_drain_begins_arrives_whole() {
    const PIECES: usize = 20;
    run(async {
        let (go, told) = watch::channel(0);
        let endpoint = scripted(move |mut peer: Peer| {
            let mut told = told.clone();
            async move {
                peer.receive().await;
                let head = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
                peer.wire.send(head).await;
                for number in 0..PIECES {
                    told.wait_for(|&pieces| pieces > number)
                        .await
                        .expect("told in the end");
                    peer.wire.send("5\r\npiece\r\n").await;
                }
                peer.wire.send("0\r\n\r\n").await;
            }
        })
        .await;
        let proxy = proxy(config(), table_of(&[endpoint.address])).await;
        let mut client = Client::connect(proxy.http).await;
        client.send(REQUEST).await;
        go.send(1).expect("the endpoint waits");
        let mut download = client.head().await.expect("a head");
        assert!(client.chunk(&mut download).await);
        proxy.drain.start(LONG);
        // The listener has gone meanwhile, and nobody else holds the end up.
        until(|| std::net::TcpListener::bind(proxy.http).is_ok()).await;
        assert!(!proxy.ended.is_finished());
        go.send(PIECES).expect("the endpoint waits");
        while client.chunk(&mut download).await {}
        assert_eq!(download.text(), "piece".repeat(PIECES));
        assert!(!download.is_broken);
        proxy.ended.await.expect("the worker has ended");
    });
}
