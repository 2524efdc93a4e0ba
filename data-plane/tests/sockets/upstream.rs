//! What goes wrong on the endpoint's side, and what the client sees of it.

use std::time::Duration;

use tiergate_data_plane::table::TableBuilder;

use crate::harness::client::{Client, get};
use crate::harness::endpoint::{Full, Peer, answering, echo, nobody, scripted};
use crate::harness::{config, new_pods, proxy, run, table_of};

const SOON: Duration = Duration::from_millis(60);
const REQUEST: &str = "GET / HTTP/1.1\r\nHost: a.example\r\n\r\n";
const POST: &str = "POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 2\r\n\r\nhi";

#[test]
fn without_a_usable_endpoint_the_client_gets_the_reason() {
    run(async {
        let silent = scripted(|mut peer: Peer| async move {
            peer.receive().await;
            std::future::pending::<()>().await;
        })
        .await;
        let closing = scripted(|mut peer: Peer| async move {
            peer.receive().await;
        })
        .await;
        let garbage = answering("SSH-2.0-OpenSSH_9.2\r\n\r\n").await;
        let unasked = answering("HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\n\r\n").await;
        let squeezed =
            answering("HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n").await;
        for (endpoints, request, status, reason) in [
            (vec![squeezed.address], REQUEST, 502, "upstream_protocol"),
            (vec![], REQUEST, 503, "no_endpoints"),
            (vec![nobody().await], REQUEST, 502, "connect_failed"),
            (
                vec![nobody().await, nobody().await],
                POST,
                502,
                "connect_failed",
            ),
            (vec![silent.address], REQUEST, 504, "response_timeout"),
            (vec![silent.address], POST, 504, "response_timeout"),
            (vec![closing.address], REQUEST, 502, "upstream_reset"),
            (vec![closing.address], POST, 502, "upstream_reset"),
            (vec![garbage.address], REQUEST, 502, "upstream_protocol"),
            (vec![unasked.address], REQUEST, 502, "upstream_protocol"),
        ] {
            let mut config = config();
            config.timeouts.response_head = SOON;
            let proxy = proxy(config, table_of(&endpoints)).await;
            let response = get(proxy.http, request).await;
            assert_eq!(response.status, status, "{reason}");
            let word = format!("reason: {reason}\n");
            assert!(response.text().ends_with(&word), "{}", response.text());
            let address = endpoints.first().map(ToString::to_string);
            assert!(!address.is_some_and(|address| response.text().contains(&address)));
            assert!((proxy.errors(reason) - 1.0).abs() < 0.1, "{reason}");
        }
    });
}

#[test]
fn an_endpoint_that_does_not_accept_in_time_is_a_connect_timeout() {
    run(async {
        let full = Full::listen().await;
        let address = full.address;
        let mut config = config();
        config.timeouts.connect = SOON;
        let proxy = proxy(config, table_of(&[address])).await;
        assert_eq!(get(proxy.http, REQUEST).await.status, 504);
        assert!((proxy.errors("connect_timeout") - 1.0).abs() < 0.1);
    });
}

#[test]
fn before_the_first_table_the_answer_is_503() {
    run(async {
        let mut config = config();
        config.https_addresses.clear();
        let registry = &mut prometheus_client::registry::Registry::default();
        let metrics = tiergate_data_plane::metrics::Metrics::register(registry);
        let cell = std::sync::Arc::new(tiergate_data_plane::snapshot::SnapshotCell::new(
            metrics.clone(),
        ));
        let worker = tiergate_data_plane::worker::Worker::bind(
            tiergate_data_plane::net::TokioNet,
            std::sync::Arc::new(config),
            cell.clone(),
            metrics,
            tiergate_data_plane::access_log::Switch::new(
                tiergate_data_plane::access_log::Level::Off,
            ),
            rand::SeedableRng::seed_from_u64(1),
        )
        .await
        .expect("bound");
        let address = worker.http_addresses()[0];
        let (_handle, signal) = tiergate_data_plane::drain::channel();
        tokio::task::spawn_local(worker.run(signal));
        assert_eq!(get(address, REQUEST).await.status, 503);
        cell.publish(TableBuilder::new().build());
        assert_eq!(get(address, REQUEST).await.status, 404);
    });
}

#[test]
fn an_endpoint_that_refuses_an_upload_and_closes_is_heard() {
    run(async {
        for taken in [0, 20_000] {
            let endpoint = scripted(move |mut peer: Peer| async move {
                peer.head().await;
                peer.wire.take(taken).await;
                let answer = "HTTP/1.1 413 Too Large\r\ncontent-length: 3\r\n\r\nbig";
                // Closed with unread bytes: a reset for whoever still writes.
                peer.wire.send(answer).await;
            })
            .await;
            let proxy = proxy(config(), table_of(&[endpoint.address])).await;
            for _ in 0..5 {
                let mut client = Client::connect(proxy.http).await;
                let head = "POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 3000000\r\n\r\n";
                client.send(head).await;
                client.send(vec![b'x'; 3_000_000]).await;
                let response = client.response().await;
                assert_eq!((response.status, response.text()), (413, "big"), "{taken}");
            }
            proxy.until("tiergate_upstream_connections", 0.0).await;
        }
    });
}

#[test]
fn a_body_that_ends_early_is_broken_for_the_client_as_well() {
    run(async {
        for answer in [
            "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhalf\r\nx\r\n",
        ] {
            let endpoint = scripted(move |mut peer: Peer| async move {
                peer.receive().await;
                peer.wire.send(answer).await;
            })
            .await;
            let proxy = proxy(config(), table_of(&[endpoint.address])).await;
            let mut client = Client::connect(proxy.http).await;
            client.send(REQUEST).await;
            let response = client.response().await;
            assert!(response.is_broken, "{answer}: {response:?}");
            assert_eq!(client.rest().await, b"");
            assert!(
                (proxy.errors("response_broken") - 1.0).abs() < 0.1,
                "{answer}"
            );
        }
    });
}

#[test]
fn a_body_that_stops_arriving_is_broken_for_the_client() {
    run(async {
        let endpoint = scripted(|mut peer: Peer| async move {
            peer.receive().await;
            peer.wire
                .send("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf")
                .await;
            std::future::pending::<()>().await;
        })
        .await;
        let mut config = config();
        config.timeouts.response_body = SOON;
        let proxy = proxy(config, table_of(&[endpoint.address])).await;
        let response = get(proxy.http, REQUEST).await;
        assert!(response.is_broken);
        assert!((proxy.errors("response_stalled") - 1.0).abs() < 0.1);
    });
}

#[test]
fn connections_are_kept_and_dropped_with_their_pod() {
    run(async {
        let endpoint = echo().await;
        let proxy = proxy(config(), table_of(&[endpoint.address])).await;
        for _ in 0..3 {
            assert_eq!(get(proxy.http, REQUEST).await.status, 200);
            assert_eq!(get(proxy.http, POST).await.status, 200);
        }
        assert_eq!(endpoint.connections(), 1);
        proxy.until("tiergate_upstream_connections", 1.0).await;
        // The same address, another pod.
        new_pods();
        proxy.cell.publish(table_of(&[endpoint.address]));
        assert_eq!(get(proxy.http, REQUEST).await.status, 200);
        assert_eq!(endpoint.connections(), 2);
        // No pod at all; nobody asks, the connection is dropped nevertheless.
        proxy.cell.publish(table_of(&[]));
        proxy.until("tiergate_upstream_connections", 0.0).await;
    });
}

#[test]
fn tables_and_pods_that_come_and_go_fail_no_request() {
    run(async {
        let endpoints = [echo().await, echo().await];
        let addresses = endpoints.each_ref().map(|endpoint| endpoint.address);
        let proxy = proxy(config(), table_of(&addresses)).await;
        let asking = [REQUEST, POST, REQUEST, POST].map(|request| {
            let to = proxy.http;
            tokio::task::spawn_local(async move {
                let mut client = Client::connect(to).await;
                for _ in 0..100 {
                    client.send(request).await;
                    assert_eq!(client.response().await.status, 200);
                }
            })
        });
        let mut publications = 0;
        while !asking.iter().all(tokio::task::JoinHandle::is_finished) {
            if publications % 3 == 0 {
                new_pods();
            }
            let count = 1 + publications % 2;
            proxy.cell.publish(table_of(&addresses[..count]));
            publications += 1;
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        for asked in asking {
            asked.await.expect("every request is answered");
        }
        let arrived: usize = endpoints
            .iter()
            .map(|endpoint| endpoint.received().len())
            .sum();
        assert_eq!(arrived, 400);
        proxy.cell.publish(table_of(&[]));
        proxy.until("tiergate_upstream_connections", 0.0).await;
    });
}

#[test]
fn an_idle_upstream_connection_is_closed_after_its_time() {
    run(async {
        let endpoint = echo().await;
        let mut config = config();
        config.timeouts.upstream_idle = SOON;
        let proxy = proxy(config, table_of(&[endpoint.address])).await;
        assert_eq!(get(proxy.http, REQUEST).await.status, 200);
        proxy.until("tiergate_upstream_connections", 0.0).await;
    });
}

#[test]
fn a_connection_is_not_kept_when_it_was_not_left_clean() {
    run(async {
        // Answers before it has read the body.
        let endpoint = scripted(|mut peer: Peer| async move {
            while peer.head().await.is_some() {
                peer.answer("early").await;
            }
        })
        .await;
        let proxy = proxy(config(), table_of(&[endpoint.address])).await;
        let mut client = Client::connect(proxy.http).await;
        client
            .send("POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 100000\r\n\r\nbegin")
            .await;
        assert_eq!(client.response().await.text(), "early");
        drop(client);
        proxy.until("tiergate_upstream_connections", 0.0).await;
        assert_eq!(get(proxy.http, REQUEST).await.text(), "early");
        assert_eq!(endpoint.connections(), 2);
    });
}

#[test]
fn a_client_that_goes_away_takes_its_request_along() {
    run(async {
        let endpoint = scripted(|mut peer: Peer| async move {
            peer.receive().await;
            assert_eq!(peer.wire.rest().await, b"");
        })
        .await;
        let proxy = proxy(config(), table_of(&[endpoint.address])).await;
        let mut client = Client::connect(proxy.http).await;
        client.send(REQUEST).await;
        let in_flight = "tiergate_requests_in_flight{tenant=\"team\"}";
        proxy.until(in_flight, 1.0).await;
        drop(client);
        proxy.until(in_flight, 0.0).await;
        proxy.until("tiergate_upstream_connections", 0.0).await;
        assert!((proxy.errors("client_aborted") - 1.0).abs() < 0.1);
        let code = "tiergate_requests_total{tenant=\"team\",ingress=\"web\",code=\"499\"}";
        assert!((proxy.sample(code) - 1.0).abs() < 0.1);
    });
}

#[test]
fn requests_leave_from_the_source_address() {
    run(async {
        let endpoint = scripted(|mut peer: Peer| async move {
            let from = peer.wire.stream.peer_addr().expect("an address").ip();
            peer.receive().await;
            peer.answer(&from.to_string()).await;
        })
        .await;
        let mut config = config();
        config.upstream_source_address = Some([127, 0, 0, 77].into());
        let proxy = proxy(config, table_of(&[endpoint.address])).await;
        assert_eq!(get(proxy.http, REQUEST).await.text(), "127.0.0.77");
    });
}
