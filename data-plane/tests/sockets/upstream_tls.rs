//! Endpoints that are spoken to within TLS: answers, bodies, other protocols, whom we believe, and what goes wrong.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use h2::server::Builder;
use rustls::sign::CertifiedKey;
use tiergate_data_plane::host::HostName;
use tiergate_data_plane::table::{
    Authorities, Certificate, PathMatch, Policy, Protocol, Table, TableBuilder, UpstreamTls,
};

use crate::harness::client::{Client, get, values};
use crate::harness::endpoint::{Peer, echo, scripted};
use crate::harness::http2;
use crate::harness::tls_front::{Authority, Heard, Signed, front, self_signed, server};
use crate::harness::{Proxy, backend, config, owner, pattern, proxy, run, table};

const REQUEST: &str = "GET / HTTP/1.1\r\nHost: a.example\r\n\r\n";
const POST: &str = "POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 2\r\n\r\nhi";

/// Hosts by their first letters, each with what its Ingress asks of TLS, at the same endpoints.
fn table_of(protocol: Protocol, asked: &[(&str, UpstreamTls)], endpoints: &[SocketAddr]) -> Table {
    let mut builder = TableBuilder::new();
    let id = builder.backend(backend("app", Protocol::Http1, endpoints));
    for (host, tls) in asked {
        let route = builder.route(owner(host), id);
        let policy = Policy {
            protocol: Some(protocol),
            tls: Some(Box::new(tls.clone())),
            ..Policy::default()
        };
        builder.policy(route, Some(Arc::new(policy)));
        let host = pattern(&format!("{host}.example"));
        let _ = builder.path(&host, PathMatch::Prefix, "/", route);
    }
    builder.build()
}

fn named(name: &str) -> UpstreamTls {
    UpstreamTls {
        name: Some(HostName::try_from(name).expect("a name")),
        sends_name: true,
        ..UpstreamTls::default()
    }
}

fn verified(name: &str, authority: &Authority) -> UpstreamTls {
    UpstreamTls {
        verify: Some(Authorities {
            secret: "team/ca".into(),
            fingerprint: [1; 32],
            roots: authority.roots().into(),
        }),
        ..named(name)
    }
}

fn certificate(signed: &Signed) -> Certificate {
    let key = rustls::crypto::ring::sign::any_supported_type(&signed.key).expect("a usable key");
    Certificate {
        secret: "team/client".into(),
        fingerprint: [2; 32],
        alternative: None,
        key: Arc::new(CertifiedKey::new(signed.chain.clone(), key)),
    }
}

fn handshakes(proxy: &Proxy, result: &str) -> f64 {
    proxy.sample(&format!(
        "tiergate_upstream_tls_handshakes_total{{result=\"{result}\"}}"
    ))
}

fn names(heard: &[Heard]) -> Vec<Option<&str>> {
    heard.iter().map(|one| one.name.as_deref()).collect()
}

#[test]
fn an_endpoint_that_nobody_can_verify_is_encrypted_to_and_its_connection_is_kept() {
    run(async {
        let endpoint = echo().await;
        let front = self_signed(endpoint.address, &[]).await;
        let proxy = proxy(config(), table(Protocol::Https, &[front.address])).await;
        for request in [REQUEST, POST, REQUEST] {
            let response = get(proxy.http, request).await;
            assert_eq!(response.status, 200);
            assert_eq!(values(response.text(), "host"), ["a.example"]);
            assert_eq!(values(response.text(), "x-forwarded-proto"), ["http"]);
        }
        // Neither a name nor a protocol nor a certificate is shown to it.
        assert_eq!(front.heard(), [Heard::default()]);
        assert_eq!(endpoint.received()[1].body, b"hi");
        assert!((handshakes(&proxy, "ok") - 1.0).abs() < 0.1);
    });
}

#[test]
fn large_bodies_pass_both_ways() {
    run(async {
        let endpoint = scripted(|mut peer: Peer| async move {
            while let Some(received) = peer.receive().await {
                let length = received.body.len();
                let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n");
                peer.wire
                    .send([head.as_bytes(), &received.body].concat())
                    .await;
            }
        })
        .await;
        let front = self_signed(endpoint.address, &[]).await;
        let proxy = proxy(config(), table(Protocol::Https, &[front.address])).await;
        let mut client = Client::connect(proxy.http).await;
        for length in [1, 16 * 1024, 16 * 1024 + 1, 3_000_000] {
            let body: Vec<u8> = (0..length).map(|n| (n % 251) as u8).collect();
            let head =
                format!("POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: {length}\r\n\r\n");
            client.send([head.as_bytes(), &body].concat()).await;
            let response = client.response().await;
            assert_eq!(response.status, 200);
            assert!(
                response.body == body,
                "{length} bytes come back as they were"
            );
        }
        assert_eq!(front.heard().len(), 1);
    });
}

#[test]
fn a_websocket_goes_through_whatever_http_its_endpoint_speaks() {
    run(async {
        for protocol in [Protocol::Https, Protocol::H2] {
            let endpoint = crate::upgrade::parrot().await;
            let front = self_signed(endpoint.address, &["h2", "http/1.1"]).await;
            let proxy = proxy(config(), table(protocol, &[front.address])).await;
            let mut client = Client::connect(proxy.http).await;
            client.send(format!("{}early", crate::upgrade::ASK)).await;
            assert_eq!(client.response().await.status, 101);
            assert_eq!(client.take(10).await, b"helloearly");
            client.send("more").await;
            assert_eq!(client.take(4).await, b"more");
            drop(client);
            proxy.until("tiergate_upstream_connections", 0.0).await;
            assert_eq!(
                front.heard(),
                [Heard::default()],
                "it is asked for HTTP/1.1"
            );
        }
    });
}

#[test]
fn requests_share_a_connection_when_the_endpoint_chooses_http2() {
    run(async {
        let endpoint = http2::scripted(Builder::new(), |mut connection, _| async move {
            while let Some(Ok(asked)) = connection.accept().await {
                assert_eq!(asked.0.uri().scheme_str(), Some("https"));
                assert_eq!(asked.0.uri().authority().unwrap(), "a.example");
                http2::answer(asked, "by HTTP/2");
            }
        })
        .await;
        let front = self_signed(endpoint.address, &["h2"]).await;
        let proxy = proxy(config(), table(Protocol::H2, &[front.address])).await;
        for _ in 0..3 {
            let response = get(proxy.http, REQUEST).await;
            assert_eq!((response.status, response.text()), (200, "by HTTP/2"));
        }
        let heard = front.heard();
        assert_eq!(heard.len(), 1);
        assert_eq!(heard[0].alpn.as_deref(), Some("h2"));
        assert!(proxy.sample("tiergate_upstream_fallbacks_total") < 0.5);
    });
}

#[test]
fn an_endpoint_that_does_not_choose_http2_gets_http1_within_tls() {
    run(async {
        for alpn in [&["http/1.1"][..], &[]] {
            let endpoint = echo().await;
            let front = self_signed(endpoint.address, alpn).await;
            let proxy = proxy(config(), table(Protocol::H2, &[front.address])).await;
            for _ in 0..2 {
                let response = get(proxy.http, POST).await;
                assert_eq!(response.status, 200);
                assert_eq!(values(response.text(), "host"), ["a.example"]);
            }
            assert_eq!(endpoint.received().len(), 2);
            assert!((proxy.sample("tiergate_upstream_fallbacks_total") - 1.0).abs() < 0.1);
        }
    });
}

#[test]
fn an_endpoint_without_tls_is_passed_over_and_alone_it_is_a_502() {
    run(async {
        let good = echo().await;
        let good_front = self_signed(good.address, &[]).await;
        for (protocol, is_alone) in [
            (Protocol::Https, true),
            (Protocol::Https, false),
            (Protocol::H2, true),
        ] {
            // A server of plain HTTP says something to a ClientHello, and closes.
            let rude = scripted(|mut peer: Peer| async move {
                let _ = peer.wire.take(5).await;
                peer.wire
                    .send("HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n")
                    .await;
            })
            .await;
            let mut endpoints = vec![rude.address];
            endpoints.extend((!is_alone).then_some(good_front.address));
            let proxy = proxy(config(), table(protocol, &endpoints)).await;
            for request in [POST, REQUEST, POST] {
                let status = if is_alone { 502 } else { 200 };
                assert_eq!(
                    get(proxy.http, request).await.status,
                    status,
                    "{protocol:?}"
                );
            }
            let errors = if is_alone { 3.0 } else { 0.0 };
            assert!((proxy.errors("tls_failed") - errors).abs() < 0.1);
            assert!(handshakes(&proxy, "failed") > 0.5);
        }
        assert_eq!(good.received().len(), 3);
    });
}

#[test]
fn an_endpoint_whose_handshakes_fail_gets_no_requests_for_a_while() {
    run(async {
        let rude = scripted(|mut peer: Peer| async move {
            let _ = peer.wire.take(5).await;
        })
        .await;
        let good = echo().await;
        let good_front = self_signed(good.address, &[]).await;
        let endpoints = [rude.address, good_front.address];
        let proxy = proxy(config(), table(Protocol::Https, &endpoints)).await;
        for _ in 0..30 {
            assert_eq!(get(proxy.http, REQUEST).await.status, 200);
        }
        assert!((proxy.sample("tiergate_endpoints_ejected") - 1.0).abs() < 0.1);
    });
}

#[test]
fn a_handshake_without_end_ends_with_the_time_for_connecting() {
    run(async {
        let silent =
            scripted(|mut peer: Peer| async move { while !peer.wire.take(1).await.is_empty() {} })
                .await;
        for protocol in [Protocol::Https, Protocol::H2] {
            let mut config = config();
            config.timeouts.connect = Duration::from_millis(60);
            let proxy = proxy(config, table(protocol, &[silent.address])).await;
            assert_eq!(get(proxy.http, POST).await.status, 504, "{protocol:?}");
            assert!((proxy.errors("connect_timeout") - 1.0).abs() < 0.1);
            assert!(handshakes(&proxy, "timeout") > 0.5);
            assert!(proxy.sample("tiergate_upstream_connects_total{result=\"timeout\"}") > 0.5);
        }
    });
}

#[test]
fn a_certificate_that_must_be_believed_is() {
    run(async {
        let (authority, stranger) = (Authority::new(), Authority::new());
        let name = "app.team.svc";
        for (signed, asked, status, why) in [
            (
                authority.sign(name),
                verified(name, &authority),
                200,
                "right",
            ),
            (
                authority.sign("other.team.svc"),
                verified(name, &authority),
                502,
                "the name of another",
            ),
            (
                stranger.sign(name),
                verified(name, &authority),
                502,
                "of nobody whom we believe",
            ),
            (
                authority.sign_until(name, 2020),
                verified(name, &authority),
                502,
                "expired",
            ),
            (
                stranger.sign_until(name, 2020),
                named(name),
                200,
                "not asked",
            ),
        ] {
            for protocol in [Protocol::Https, Protocol::H2] {
                let endpoint = echo().await;
                let front = front(server(&signed, &["http/1.1"], None), endpoint.address).await;
                let table = table_of(protocol, &[("a", asked.clone())], &[front.address]);
                let proxy = proxy(config(), table).await;
                let response = get(proxy.http, REQUEST).await;
                assert_eq!(response.status, status, "{protocol:?}: {why}");
                let refused = f64::from(u8::from(status != 200));
                assert!((proxy.errors("tls_failed") - refused).abs() < 0.1, "{why}");
                assert_eq!(endpoint.received().is_empty(), status != 200, "{why}");
            }
        }
    });
}

#[test]
fn what_cannot_be_verified_as_asked_is_not_served() {
    run(async {
        let endpoint = echo().await;
        let front = self_signed(endpoint.address, &[]).await;
        let refused = UpstreamTls {
            is_refused: true,
            ..UpstreamTls::default()
        };
        let asked = [("a", refused), ("b", UpstreamTls::default())];
        for (protocol, statuses) in [(Protocol::Https, [503, 200]), (Protocol::H2, [503, 200])] {
            let proxy = proxy(config(), table_of(protocol, &asked, &[front.address])).await;
            for (host, status) in ["a", "b"].into_iter().zip(statuses) {
                let request = format!("GET / HTTP/1.1\r\nHost: {host}.example\r\n\r\n");
                assert_eq!(get(proxy.http, &request).await.status, status, "{host}");
            }
            assert!((proxy.errors("route_closed") - 1.0).abs() < 0.1);
        }
        // Where no TLS is spoken there is nothing to verify.
        let table = table_of(Protocol::Http1, &asked, &[endpoint.address]);
        let proxy = proxy(config(), table).await;
        assert_eq!(get(proxy.http, REQUEST).await.status, 200);
    });
}

#[test]
fn who_asks_for_our_certificate_gets_it() {
    run(async {
        let authority = Authority::new();
        let endpoint = echo().await;
        let signed = authority.sign("app.team.svc");
        let front = front(server(&signed, &[], Some(&authority)), endpoint.address).await;
        let with = UpstreamTls {
            certificate: Some(certificate(&authority.sign("tier.test"))),
            ..UpstreamTls::default()
        };
        let asked = [("a", with), ("b", UpstreamTls::default())];
        let table = table_of(Protocol::Https, &asked, &[front.address]);
        let proxy = proxy(config(), table).await;
        for (host, status) in [("a", 200), ("b", 502), ("a", 200)] {
            let request = format!("GET / HTTP/1.1\r\nHost: {host}.example\r\n\r\n");
            assert_eq!(get(proxy.http, &request).await.status, status, "{host}");
        }
        let heard = front.heard();
        assert!(heard.iter().all(|one| one.has_certificate), "{heard:?}");
    });
}

#[test]
fn ingresses_that_ask_for_different_things_never_share_a_connection() {
    run(async {
        let endpoint = echo().await;
        let front = self_signed(endpoint.address, &["h2", "http/1.1"]).await;
        let asked = [
            ("a", named("one.test")),
            ("b", named("two.test")),
            ("c", named("one.test")),
            ("d", UpstreamTls::default()),
        ];
        let table = table_of(Protocol::Https, &asked, &[front.address]);
        let proxy = proxy(config(), table).await;
        for _ in 0..3 {
            for host in ["a", "b", "c", "d"] {
                let request = format!("GET / HTTP/1.1\r\nHost: {host}.example\r\n\r\n");
                assert_eq!(get(proxy.http, &request).await.status, 200);
            }
        }
        let heard = front.heard();
        assert_eq!(names(&heard), [Some("one.test"), Some("two.test"), None]);
        assert_eq!(endpoint.connections(), 3);
    });
}

#[test]
fn a_session_is_resumed_by_those_who_ask_for_the_same() {
    run(async {
        let endpoint = scripted(|mut peer: Peer| async move {
            peer.receive().await;
            peer.wire
                .send("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n")
                .await;
        })
        .await;
        let authority = Authority::new();
        let signed = authority.sign("one.test");
        let front = front(server(&signed, &[], None), endpoint.address).await;
        let asked = [
            ("a", named("one.test")),
            ("b", verified("one.test", &authority)),
        ];
        let table = table_of(Protocol::Https, &asked, &[front.address]);
        let proxy = proxy(config(), table).await;
        for host in ["a", "a", "b", "b", "a"] {
            let request = format!("GET / HTTP/1.1\r\nHost: {host}.example\r\n\r\n");
            assert_eq!(get(proxy.http, &request).await.status, 200);
        }
        let resumed: Vec<bool> = front.heard().iter().map(|one| one.is_resumed).collect();
        assert_eq!(resumed, [false, true, false, true, true]);
        assert!((handshakes(&proxy, "ok") - 2.0).abs() < 0.1);
        assert!((handshakes(&proxy, "resumed") - 3.0).abs() < 0.1);
    });
}

#[test]
fn an_answer_that_may_have_been_cut_off_is_no_whole_one() {
    run(async {
        let endpoint = scripted(|mut peer: Peer| async move {
            peer.receive().await;
            peer.wire.send("HTTP/1.1 200 OK\r\n\r\nuntil the end").await;
        })
        .await;
        for cuts in [false, true] {
            let front = self_signed(endpoint.address, &[]).await;
            front.cuts.set(cuts);
            let proxy = proxy(config(), table(Protocol::Https, &[front.address])).await;
            let response = get(proxy.http, REQUEST).await;
            assert_eq!(response.status, 200);
            assert_eq!(response.is_broken, cuts, "{response:?}");
            assert!(cuts || response.text() == "until the end");
        }
    });
}
