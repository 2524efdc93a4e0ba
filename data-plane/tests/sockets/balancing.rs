//! Which endpoint gets a request: by load, by a hash, by the cookie of a session, whatever is published meanwhile.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use tiergate_data_plane::table::{
    Affinity, AffinityMode, Algorithm, HashBy, HashPart, PathMatch, Policy, Protocol, Table,
    TableBuilder,
};
use tokio::sync::Notify;

use crate::harness::client::{Client, Response, get};
use crate::harness::endpoint::{Endpoint, Peer, scripted};
use crate::harness::{Proxy, backend, config, owner, pattern, proxy, run, until};

const REQUEST: &str = "GET /app/page HTTP/1.1\r\nHost: a.example\r\n\r\n";

/// `/app` of `a.example` with this policy.
fn table(policy: Policy, endpoints: &[SocketAddr]) -> Table {
    let mut builder = TableBuilder::new();
    let id = builder.backend(backend("app", Protocol::Http1, endpoints));
    let route = builder.route(owner("web"), id);
    builder.policy(route, Some(Arc::new(policy)));
    let _ = builder.path(&pattern("a.example"), PathMatch::Prefix, "/app/", route);
    builder.build()
}

fn by(algorithm: Algorithm) -> Policy {
    Policy {
        algorithm: Some(algorithm),
        ..Policy::default()
    }
}

fn sticky(mode: AffinityMode) -> Policy {
    Policy {
        affinity: Some(Box::new(Affinity {
            mode,
            cookie: "INGRESSCOOKIE".into(),
            path: None,
            attributes: "; Max-Age=600".into(),
            expires: None,
            is_secure: None,
            changes_on_failure: false,
        })),
        ..Policy::default()
    }
}

/// Answers each request with its own name, one whose path ends with `hold` only once it is let go.
async fn named(name: &'static str, go: Rc<Notify>) -> Endpoint {
    scripted(move |mut peer: Peer| {
        let go = go.clone();
        async move {
            while let Some(received) = peer.receive().await {
                if received
                    .head
                    .lines()
                    .next()
                    .is_some_and(|line| line.contains("hold"))
                {
                    go.notified().await;
                }
                peer.answer(name).await;
            }
        }
    })
    .await
}

async fn three() -> [Endpoint; 3] {
    let go = Rc::new(Notify::new());
    [
        named("one", go.clone()).await,
        named("two", go.clone()).await,
        named("three", go).await,
    ]
}

fn addresses(endpoints: &[Endpoint]) -> Vec<SocketAddr> {
    endpoints.iter().map(|endpoint| endpoint.address).collect()
}

async fn ask(proxy: &Proxy, path: &str, fields: &str) -> Response {
    let request = format!("GET {path} HTTP/1.1\r\nHost: a.example\r\n{fields}\r\n");
    let response = get(proxy.http, &request).await;
    assert_eq!(response.status, 200, "{}", response.text());
    response
}

#[test]
fn requests_keep_away_from_who_has_more_under_way_also_after_a_new_table() {
    for algorithm in [Algorithm::LeastRequest, Algorithm::Ewma] {
        run(async move {
            let go = Rc::new(Notify::new());
            let endpoints = [
                named("one", go.clone()).await,
                named("two", go.clone()).await,
            ];
            let mut config = config();
            // The tier's own default.
            config.load_balance = algorithm;
            let all = addresses(&endpoints);
            let proxy = proxy(config, table(Policy::default(), &all)).await;
            let mut held = Client::connect(proxy.http).await;
            held.send("GET /app/hold HTTP/1.1\r\nHost: a.example\r\n\r\n")
                .await;
            let arrived = |endpoint: &Endpoint| endpoint.received().len();
            until(|| endpoints.iter().map(arrived).sum::<usize>() == 1).await;
            let idle = if arrived(&endpoints[0]) == 1 {
                "two"
            } else {
                "one"
            };
            for _ in 0..10 {
                assert_eq!(ask(&proxy, "/app/", "").await.text(), idle, "{algorithm}");
            }
            // Another table with the same endpoints: what is under way still counts.
            proxy.cell.publish(table(by(algorithm), &all));
            for _ in 0..10 {
                assert_eq!(ask(&proxy, "/app/", "").await.text(), idle, "{algorithm}");
            }
            go.notify_one();
            assert_eq!(held.response().await.status, 200);
            if algorithm == Algorithm::LeastRequest {
                let mut seen = BTreeSet::new();
                while seen.len() < 2 {
                    seen.insert(ask(&proxy, "/app/", "").await.text().to_owned());
                }
            }
        });
    }
}

#[test]
fn an_upgraded_connection_counts_until_it_ends() {
    run(async {
        let script = |mut peer: Peer| async move {
            while let Some(received) = peer.receive().await {
                if received.head.contains("upgrade: chat") {
                    let agreed = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: chat\r\n\r\n";
                    peer.wire.send(agreed).await;
                    peer.wire.rest().await;
                    return;
                }
                peer.answer("plain").await;
            }
        };
        let endpoints = [scripted(script).await, scripted(script).await];
        let policy = by(Algorithm::LeastRequest);
        let proxy = proxy(config(), table(policy, &addresses(&endpoints))).await;
        let mut client = Client::connect(proxy.http).await;
        client
            .send("GET /app HTTP/1.1\r\nHost: a.example\r\nConnection: upgrade\r\nUpgrade: chat\r\n\r\n")
            .await;
        assert_eq!(client.head().await.expect("an answer").status, 101);
        proxy
            .until("tiergate_upgraded_connections{tenant=\"team\"}", 1.0)
            .await;
        let holder = usize::from(endpoints[1].received().len() == 1);
        for _ in 0..10 {
            ask(&proxy, "/app", "").await;
        }
        assert_eq!(endpoints[holder].received().len(), 1);
        assert_eq!(endpoints[1 - holder].received().len(), 10);
        drop(client);
        proxy
            .until("tiergate_upgraded_connections{tenant=\"team\"}", 0.0)
            .await;
        while endpoints[holder].received().len() == 1 {
            ask(&proxy, "/app", "").await;
        }
    });
}

#[test]
fn what_is_hashed_alike_meets_one_endpoint() {
    run(async {
        let endpoints = three().await;
        let hash_by = |parts: &[HashPart]| Policy {
            hash_by: Some(HashBy(parts.into())),
            ..Policy::default()
        };
        let all = addresses(&endpoints);
        let proxy = proxy(config(), table(hash_by(&[HashPart::RequestUri]), &all)).await;
        let mut seen = BTreeSet::new();
        for number in 0..30 {
            let path = format!("/app/{number}?a=b");
            let first = ask(&proxy, &path, "").await.text().to_owned();
            for _ in 0..3 {
                assert_eq!(ask(&proxy, &path, "").await.text(), first, "{path}");
            }
            seen.insert(first);
        }
        assert_eq!(seen.len(), 3, "keys are spread");
        // The client's address is not what the client says.
        proxy
            .cell
            .publish(table(hash_by(&[HashPart::RemoteAddress]), &all));
        let first = ask(&proxy, "/app/", "").await.text().to_owned();
        for number in 0..20 {
            let forged =
                format!("X-Real-IP: 10.0.0.{number}\r\nX-Forwarded-For: 10.0.0.{number}\r\n");
            assert_eq!(ask(&proxy, "/app/", &forged).await.text(), first);
        }
        // Who has nothing to hash is spread.
        let cookie = HashPart::Cookie("user".into());
        proxy.cell.publish(table(hash_by(&[cookie]), &all));
        let mut seen = BTreeSet::new();
        for _ in 0..3 {
            seen.insert(ask(&proxy, "/app/", "").await.text().to_owned());
        }
        assert_eq!(seen.len(), 3);
    });
}

#[test]
fn a_key_whose_endpoint_is_dead_goes_to_the_one_that_would_have_it_then() {
    run(async {
        let endpoints = three().await;
        let policy = || Policy {
            hash_by: Some(HashBy([HashPart::RequestUri].into())),
            ..Policy::default()
        };
        let dead = crate::harness::endpoint::nobody().await;
        let mut all = addresses(&endpoints);
        let proxy = proxy(config(), table(policy(), &all)).await;
        let mut before = Vec::new();
        for number in 0..20 {
            let path = format!("/app/{number}");
            before.push((ask(&proxy, &path, "").await.text().to_owned(), path));
        }
        all.push(dead);
        proxy.cell.publish(table(policy(), &all));
        for (first, path) in before {
            assert_eq!(ask(&proxy, &path, "").await.text(), first, "{path}");
        }
    });
}

/// The cookie that an answer sets, and its attributes.
fn set_cookie(response: &Response) -> Option<(String, String)> {
    let values = response.values("set-cookie");
    let ours = values
        .iter()
        .find_map(|value| value.strip_prefix("INGRESSCOOKIE="))?;
    let (value, attributes) = ours.split_once("; ")?;
    Some((value.to_owned(), attributes.to_owned()))
}

#[test]
fn a_session_stays_with_its_endpoint_while_others_come_and_go() {
    for mode in [AffinityMode::Balanced, AffinityMode::Persistent] {
        run(async move {
            let endpoints = three().await;
            let all = addresses(&endpoints);
            let proxy = proxy(config(), table(sticky(mode), &all)).await;
            let first = ask(&proxy, "/app/page", "").await;
            let (value, attributes) = set_cookie(&first).expect("a new session has a cookie");
            assert_eq!(attributes, "Path=/app; Max-Age=600; HttpOnly");
            let cookie = format!("Cookie: other=1; INGRESSCOOKIE={value}\r\n");
            for _ in 0..6 {
                let again = ask(&proxy, "/app/page", &cookie).await;
                assert_eq!((again.text(), set_cookie(&again)), (first.text(), None));
            }
            let holder = ["one", "two", "three"]
                .iter()
                .position(|name| *name == first.text())
                .expect("one of them");
            // Another goes.
            let mut left = all.clone();
            left.remove((holder + 1) % 3);
            proxy.cell.publish(table(sticky(mode), &left));
            let again = ask(&proxy, "/app/page", &cookie).await;
            assert_eq!((again.text(), set_cookie(&again)), (first.text(), None));
            // Its own goes.
            let mut left = all.clone();
            left.remove(holder);
            proxy.cell.publish(table(sticky(mode), &left));
            let moved = ask(&proxy, "/app/page", &cookie).await;
            assert_ne!(moved.text(), first.text());
            let set = set_cookie(&moved);
            assert_eq!(set.is_some(), mode == AffinityMode::Persistent, "{mode:?}");
            let value = set.map_or(value, |(value, _)| value);
            let cookie = format!("Cookie: INGRESSCOOKIE={value}\r\n");
            for _ in 0..4 {
                let again = ask(&proxy, "/app/page", &cookie).await;
                assert_eq!((again.text(), set_cookie(&again)), (moved.text(), None));
            }
        });
    }
}

#[test]
fn a_cookie_leads_no_further_than_the_backend_and_is_secure_under_tls() {
    run(async {
        let endpoints = three().await;
        let mut config = config();
        config.trusted_proxies = vec!["127.0.0.1/32".parse().expect("a network")];
        let policy = sticky(AffinityMode::Persistent);
        let proxy = proxy(config, table(policy, &addresses(&endpoints)[..1])).await;
        for forged in [
            endpoints[1].address.to_string(),
            "ffffffffffffffff".to_owned(),
            "\"; Path=/".to_owned(),
        ] {
            let cookie = format!("Cookie: INGRESSCOOKIE={forged}\r\nX-Forwarded-Proto: https\r\n");
            let answer = ask(&proxy, "/app", &cookie).await;
            assert_eq!(answer.text(), "one");
            let (value, attributes) = set_cookie(&answer).expect("it named no endpoint");
            assert_ne!(value, forged);
            assert_eq!(attributes, "Path=/app; Max-Age=600; Secure; HttpOnly");
            let port = endpoints[0].address.port().to_string();
            assert!(!value.contains(&port), "{value}");
        }
    });
}

#[test]
fn an_endpoint_that_left_the_table_gets_no_request_whatever_decides() {
    let hashed = Policy {
        hash_by: Some(HashBy([HashPart::RequestUri].into())),
        ..Policy::default()
    };
    for policy in [
        by(Algorithm::RoundRobin),
        by(Algorithm::LeastRequest),
        by(Algorithm::Ewma),
        hashed,
        sticky(AffinityMode::Balanced),
        sticky(AffinityMode::Persistent),
    ] {
        run(async move {
            let endpoints = three().await;
            let all = addresses(&endpoints);
            let proxy = proxy(config(), table(policy.clone(), &all)).await;
            let mut cookies = vec![String::new()];
            for _ in 0..12 {
                let answer = get(proxy.http, REQUEST).await;
                if let Some((value, _)) = set_cookie(&answer) {
                    cookies.push(format!("Cookie: INGRESSCOOKIE={value}\r\n"));
                }
            }
            let before = endpoints[1].received().len();
            proxy.cell.publish(table(policy, &[all[0], all[2]]));
            for number in 0..12 {
                for cookie in &cookies {
                    let answer = ask(&proxy, &format!("/app/{number}"), cookie).await;
                    assert_ne!(answer.text(), "two");
                }
            }
            assert_eq!(endpoints[1].received().len(), before);
        });
    }
}
