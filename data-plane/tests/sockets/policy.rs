//! What an Ingress asks for beside where its requests go: in place of the tier's settings, and for its own requests only.

use std::sync::Arc;
use std::time::Duration;

use h2::server::Builder;
use tiergate_data_plane::table::{PathMatch, Policy, Protocol, Table, TableBuilder};

use crate::harness::client::{Client, get};
use crate::harness::endpoint::{Full, Peer, echo, scripted};
use crate::harness::http2;
use crate::harness::{backend, config, owner, pattern, proxy, run};

const SOON: Duration = Duration::from_millis(60);

/// `a.example` with this policy, and `b.example` without one, at the same endpoints.
fn table(policy: Policy, endpoints: &[std::net::SocketAddr]) -> Table {
    let mut builder = TableBuilder::new();
    let id = builder.backend(backend("app", Protocol::Http1, endpoints));
    for (host, policy) in [("a", Some(Arc::new(policy))), ("b", None)] {
        let route = builder.route(owner(host), id);
        builder.policy(route, policy);
        let host = pattern(&format!("{host}.example"));
        let _ = builder.path(&host, PathMatch::Prefix, "/", route);
    }
    builder.build()
}

#[test]
fn the_body_may_have_as_many_bytes_as_the_ingress_says() {
    run(async {
        let endpoint = echo().await;
        let mut config = config();
        config.limits.body_bytes_max = 4;
        for (bytes_max, of_a) in [(10, 200), (0, 200), (3, 413)] {
            let policy = Policy {
                body_bytes_max: Some(bytes_max),
                ..Policy::default()
            };
            let proxy = proxy(config.clone(), table(policy, &[endpoint.address])).await;
            for (host, status) in [("a", of_a), ("b", 413)] {
                let request = format!(
                    "POST / HTTP/1.1\r\nHost: {host}.example\r\nContent-Length: 5\r\n\r\nhello"
                );
                assert_eq!(
                    get(proxy.http, &request).await.status,
                    status,
                    "{host}: {bytes_max}"
                );
            }
        }
    });
}

#[test]
fn a_closed_ingress_is_answered_for_and_its_neighbour_is_served() {
    run(async {
        let endpoint = echo().await;
        let policy = Policy {
            is_closed: true,
            ..Policy::default()
        };
        let proxy = proxy(config(), table(policy, &[endpoint.address])).await;
        let closed = get(proxy.http, "GET / HTTP/1.1\r\nHost: a.example\r\n\r\n").await;
        assert_eq!(closed.status, 503);
        assert!(closed.text().contains("route_closed"), "{}", closed.text());
        let open = get(proxy.http, "GET / HTTP/1.1\r\nHost: b.example\r\n\r\n").await;
        assert_eq!(open.status, 200);
        assert_eq!(endpoint.received().len(), 1);
        assert!((proxy.errors("route_closed") - 1.0).abs() < 0.1);
    });
}

#[test]
fn a_response_may_take_as_long_as_the_ingress_says() {
    run(async {
        // The head after three times the tier's limit, then as long a pause in the body.
        let endpoint = scripted(|mut peer: Peer| async move {
            while peer.receive().await.is_some() {
                tokio::time::sleep(SOON * 3).await;
                peer.wire
                    .send("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhe")
                    .await;
                tokio::time::sleep(SOON * 3).await;
                peer.wire.send("llo").await;
            }
        })
        .await;
        let mut config = config();
        (config.timeouts.response_head, config.timeouts.response_body) = (SOON, SOON);
        let policy = Policy {
            read: Some(Duration::from_secs(20)),
            ..Policy::default()
        };
        let proxy = proxy(config, table(policy, &[endpoint.address])).await;
        let slow = get(proxy.http, "GET / HTTP/1.1\r\nHost: a.example\r\n\r\n").await;
        assert_eq!((slow.status, slow.text()), (200, "hello"));
        let late = get(proxy.http, "GET / HTTP/1.1\r\nHost: b.example\r\n\r\n").await;
        assert_eq!(late.status, 504);
        assert!((proxy.errors("response_timeout") - 1.0).abs() < 0.1);
    });
}

#[test]
fn an_upgraded_connection_may_be_silent_for_as_long_as_the_ingress_says() {
    run(async {
        let endpoint = scripted(|mut peer: Peer| async move {
            let _ = peer.head().await;
            let agreed =
                "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: chat\r\n\r\n";
            peer.wire.send(agreed).await;
            tokio::time::sleep(SOON * 4).await;
            peer.wire.send("late").await;
        })
        .await;
        let mut config = config();
        config.timeouts.response_body = SOON;
        let policy = Policy {
            read: Some(Duration::from_secs(20)),
            ..Policy::default()
        };
        let proxy = proxy(config, table(policy, &[endpoint.address])).await;
        for (host, heard) in [("a", "late"), ("b", "")] {
            let mut client = Client::connect(proxy.http).await;
            let ask = format!(
                "GET / HTTP/1.1\r\nHost: {host}.example\r\nConnection: upgrade\r\nUpgrade: chat\r\n\r\n"
            );
            client.send(ask).await;
            assert_eq!(client.response().await.status, 101, "{host}");
            assert_eq!(client.rest().await, heard.as_bytes(), "{host}");
        }
    });
}

#[test]
fn an_endpoint_that_takes_no_more_of_a_body_has_as_long_as_the_ingress_says() {
    run(async {
        // Takes the head and nothing of the body, for five times the tier's limit.
        let endpoint = scripted(|mut peer: Peer| async move {
            let _ = peer.head().await;
            tokio::time::sleep(SOON * 5).await;
            peer.answer("taken").await;
        })
        .await;
        let mut config = config();
        config.timeouts.response_head = SOON;
        let policy = Policy {
            send: Some(Duration::from_secs(20)),
            ..Policy::default()
        };
        let proxy = proxy(config, table(policy, &[endpoint.address])).await;
        for (host, status) in [("a", 200), ("b", 504)] {
            let mut client = Client::connect(proxy.http).await;
            let head = format!(
                "POST / HTTP/1.1\r\nHost: {host}.example\r\nContent-Length: 50000000\r\n\r\n"
            );
            client.send(head).await;
            let (mut read, mut write) = tokio::io::split(client.stream);
            let sending = async {
                let _ =
                    tokio::io::AsyncWriteExt::write_all(&mut write, &vec![b'x'; 50_000_000]).await;
                std::future::pending::<()>().await;
            };
            let answer = async {
                let mut start = [0; 12];
                tokio::io::AsyncReadExt::read_exact(&mut read, &mut start)
                    .await
                    .expect("an answer");
                String::from_utf8_lossy(&start).into_owned()
            };
            let answer = tokio::select! {
                () = sending => unreachable!(),
                answer = answer => answer,
            };
            assert_eq!(answer, format!("HTTP/1.1 {status}"), "{host}");
        }
    });
}

#[test]
fn the_ingress_may_say_how_its_endpoints_are_spoken_to() {
    run(async {
        let by_http2 = |mut connection: http2::Http2, _| async move {
            while let Some(Ok(asked)) = connection.accept().await {
                http2::answer(asked, "by HTTP/2");
            }
        };
        let endpoint = http2::scripted(Builder::new(), by_http2).await;
        let policy = Policy {
            protocol: Some(Protocol::H2c),
            ..Policy::default()
        };
        let table = table(policy, &[endpoint.address]);
        let proxy = proxy(config(), table).await;
        let response = get(proxy.http, "GET / HTTP/1.1\r\nHost: a.example\r\n\r\n").await;
        assert_eq!((response.status, response.text()), (200, "by HTTP/2"));
    });
}

#[test]
fn a_connection_may_take_as_long_as_the_ingress_says() {
    run(async {
        let full = Full::listen().await;
        let address = full.address;
        let policy = Policy {
            connect: Some(SOON),
            ..Policy::default()
        };
        // The tier's own limit is longer than the test may take.
        let mut config = config();
        config.timeouts.connect = Duration::from_secs(3600);
        let proxy = proxy(config, table(policy, &[address])).await;
        let response = get(proxy.http, "GET / HTTP/1.1\r\nHost: a.example\r\n\r\n").await;
        assert_eq!(response.status, 504);
        assert!((proxy.errors("connect_timeout") - 1.0).abs() < 0.1);
    });
}

#[test]
fn a_further_table_may_change_the_policy_alone() {
    run(async {
        let endpoint = echo().await;
        let mut builder = TableBuilder::new();
        let id = builder.backend(backend("app", Protocol::Http1, &[endpoint.address]));
        let route = builder.route(owner("a"), id);
        let _ = builder.path(&pattern("a.example"), PathMatch::Prefix, "/", route);
        let open = builder.next_table().expect("a first table");
        builder.policy(
            route,
            Some(Arc::new(Policy {
                is_closed: true,
                ..Policy::default()
            })),
        );
        let closed = builder.next_table().expect("another table");
        builder.policy(route, None);
        let again = builder.next_table().expect("another table");
        builder.policy(route, None);
        assert!(builder.next_table().is_none(), "nothing has changed");
        let proxy = proxy(config(), open).await;
        let request = "GET / HTTP/1.1\r\nHost: a.example\r\n\r\n";
        assert_eq!(get(proxy.http, request).await.status, 200);
        for (table, status) in [(closed, 503), (again, 200)] {
            proxy.cell.publish(table);
            assert_eq!(get(proxy.http, request).await.status, status);
        }
    });
}

#[test]
fn a_body_without_a_length_is_counted_as_it_comes() {
    run(async {
        let endpoint = echo().await;
        let policy = Policy {
            body_bytes_max: Some(3),
            ..Policy::default()
        };
        let proxy = proxy(config(), table(policy, &[endpoint.address])).await;
        for (host, status) in [("a", 413), ("b", 200)] {
            let request = format!(
                "POST / HTTP/1.1\r\nHost: {host}.example\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
            );
            assert_eq!(get(proxy.http, &request).await.status, status, "{host}");
        }
    });
}

#[test]
fn the_wait_for_an_answer_begins_when_the_body_has_ended() {
    run(async {
        let endpoint = scripted(|mut peer: Peer| async move {
            let _ = peer.receive().await;
            std::future::pending::<()>().await;
        })
        .await;
        // While the body comes its pod would have an hour, longer than the test; after it, little.
        let policy = Policy {
            read: Some(SOON),
            send: Some(Duration::from_secs(3600)),
            ..Policy::default()
        };
        let proxy = proxy(config(), table(policy, &[endpoint.address])).await;
        let mut client = Client::connect(proxy.http).await;
        client
            .send("POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 10\r\n\r\nhello")
            .await;
        tokio::time::sleep(SOON * 3).await;
        client.send("world").await;
        assert_eq!(client.response().await.status, 504);
    });
}
