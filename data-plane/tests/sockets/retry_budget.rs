//! How often requests are sent again that an endpoint may have had: within a budget, and once in all tiers together.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tiergate_data_plane::config::Config;
use tiergate_data_plane::table::{PathMatch, Policy, Protocol, Table, TableBuilder};

use crate::harness::client::{Client, get};
use crate::harness::endpoint::{Endpoint, Peer, nobody, scripted};
use crate::harness::{Proxy, backend, config, owner, pattern, proxy, run, table_of};

const REQUEST: &str = "GET / HTTP/1.1\r\nHost: a.example\r\n\r\n";
const REPEATS: &str = "tiergate_retries_total{tenant=\"team\",kind=\"repeat\"}";
const OTHERS: &str = "tiergate_retries_total{tenant=\"team\",kind=\"unprocessed\"}";
const BUDGET: &str = "tiergate_retries_refused_total{tenant=\"team\",reason=\"budget\"}";
const REPEATED: &str = "tiergate_retries_refused_total{tenant=\"team\",reason=\"repeated\"}";

/// Takes one request per connection and closes.
async fn closing() -> Endpoint {
    scripted(|mut peer: Peer| async move {
        peer.receive().await;
    })
    .await
}

/// Closes every connection for `/die`, and answers everything else.
async fn mortal() -> Endpoint {
    scripted(|mut peer: Peer| async move {
        while let Some(received) = peer.receive().await {
            if received.head.starts_with("GET /die") {
                return;
            }
            peer.answer(&received.head).await;
        }
    })
    .await
}

/// Within a window that no test sees the end of.
fn with_budget(percent_max: u32, floor: u32) -> Config {
    let mut config = config();
    config.retries.percent_max = percent_max;
    config.retries.floor = floor;
    config.retries.window = Duration::from_secs(3600);
    config
}

fn arrivals(endpoints: &[Endpoint]) -> usize {
    endpoints
        .iter()
        .map(|endpoint| endpoint.received().len())
        .sum()
}

fn count(proxy: &Proxy, name: &str) -> usize {
    // A count of a test is small.
    proxy.sample(name).round() as usize
}

#[test]
fn a_failing_backend_gets_a_part_of_its_requests_again_and_no_more() {
    run(async {
        let endpoints = [closing().await, closing().await];
        let all = endpoints.each_ref().map(|endpoint| endpoint.address);
        let proxy = proxy(with_budget(20, 2), table_of(&all)).await;
        for _ in 0..100 {
            assert_eq!(get(proxy.http, REQUEST).await.status, 502);
        }
        let repeats = count(&proxy, REPEATS);
        assert!((20..=22).contains(&repeats), "{repeats}");
        assert_eq!(arrivals(&endpoints), 100 + repeats);
        assert_eq!(count(&proxy, BUDGET), 100 - repeats);
        assert_eq!(
            count(&proxy, REPEATED),
            repeats,
            "their second try failed as well"
        );
    });
}

#[test]
fn a_backend_that_answers_has_credit_for_those_that_fail_at_once() {
    run(async {
        let endpoints = [mortal().await, mortal().await];
        let all = endpoints.each_ref().map(|endpoint| endpoint.address);
        let proxy = proxy(with_budget(20, 0), table_of(&all)).await;
        let mut client = Client::connect(proxy.http).await;
        for _ in 0..50 {
            client.send(REQUEST).await;
            assert_eq!(client.response().await.status, 200);
        }
        let before = arrivals(&endpoints);
        for _ in 0..20 {
            let request = "GET /die HTTP/1.1\r\nHost: a.example\r\n\r\n";
            assert_eq!(get(proxy.http, request).await.status, 502);
        }
        let repeats = count(&proxy, REPEATS);
        assert!((10..=14).contains(&repeats), "{repeats}");
        assert_eq!(arrivals(&endpoints) - before, 20 + repeats);
    });
}

#[test]
fn endpoints_that_are_not_there_are_passed_over_whatever_the_budget() {
    run(async {
        let endpoint = mortal().await;
        let table = table_of(&[nobody().await, endpoint.address]);
        let proxy = proxy(with_budget(0, 0), table).await;
        for _ in 0..20 {
            assert_eq!(get(proxy.http, REQUEST).await.status, 200);
        }
        assert_eq!(arrivals(std::slice::from_ref(&endpoint)), 20);
        assert!(count(&proxy, OTHERS) > 0);
        assert_eq!(count(&proxy, BUDGET) + count(&proxy, REPEATS), 0);
    });
}

/// Everything to these endpoints, which are tiers of ours.
fn delegating(endpoints: &[SocketAddr]) -> Table {
    let mut builder = TableBuilder::new();
    let id = builder.backend(backend("tier", Protocol::Http1, endpoints));
    let route = builder.route(owner("delegation"), id);
    let policy = Policy {
        delegates: true,
        ..Policy::default()
    };
    builder.policy(route, Some(Arc::new(policy)));
    let _ = builder.path(&pattern("a.example"), PathMatch::Prefix, "/", route);
    builder.build()
}

fn trusting() -> Config {
    let mut config = config();
    config.trusted_proxies = vec!["127.0.0.0/8".parse().expect("a network")];
    config
}

#[test]
fn a_request_is_repeated_once_in_both_tiers_together() {
    run(async {
        let apps = [closing().await, closing().await, closing().await];
        let all = apps.each_ref().map(|app| app.address);
        let lower = proxy(trusting(), table_of(&all)).await;
        // A tier that dies with the request.
        let dying = closing().await;
        let both = delegating(&[dying.address, lower.http]);
        let upper = proxy(config(), both).await;
        while dying.received().is_empty() {
            assert_eq!(get(upper.http, REQUEST).await.status, 502);
        }
        assert_eq!(count(&upper, REPEATS), 1);
        // Which tier the first request goes to is a matter of ports. One that meets the lower tier first is repeated there.
        let direct = count(&lower, REPEATS);
        assert!(direct <= 1);
        assert_eq!(count(&lower, REPEATED), 1 + direct, "it was told");
        assert_eq!(arrivals(&apps), 1 + 2 * direct);
        assert!(dying.received()[0].head.find("tiergate-retried").is_none());
    });
}

#[test]
fn no_application_sees_what_tiers_tell_each_other() {
    run(async {
        let app = mortal().await;
        let lower = proxy(trusting(), table_of(&[app.address])).await;
        let dying = closing().await;
        let upper = proxy(config(), delegating(&[dying.address, lower.http])).await;
        while dying.received().is_empty() {
            assert_eq!(get(upper.http, REQUEST).await.status, 200);
        }
        assert_eq!(count(&upper, REPEATS), 1);
        // Nor an application behind the first tier.
        let alone = [closing().await, mortal().await];
        let all = alone.each_ref().map(|endpoint| endpoint.address);
        let first = proxy(config(), table_of(&all)).await;
        while alone[0].received().is_empty() {
            assert_eq!(get(first.http, REQUEST).await.status, 200);
        }
        assert_eq!(count(&first, REPEATS), 1);
        for received in app.received().into_iter().chain(alone[1].received()) {
            assert!(!received.head.contains("retried"), "{}", received.head);
        }
    });
}

#[test]
fn only_a_trusted_peer_says_that_a_request_was_sent_before() {
    run(async {
        for (config, repeats) in [(config(), 1), (trusting(), 0)] {
            for name in ["Tiergate-Retried", "TIERGATE_RETRIED"] {
                let endpoints = [closing().await, mortal().await];
                let all = endpoints.each_ref().map(|endpoint| endpoint.address);
                let proxy = proxy(config.clone(), table_of(&all)).await;
                let request = format!("GET / HTTP/1.1\r\nHost: a.example\r\n{name}: 1\r\n\r\n");
                while endpoints[0].received().is_empty() {
                    get(proxy.http, &request).await;
                }
                // With a line in its name it is nobody's word.
                let repeats = if name.contains('_') { 1 } else { repeats };
                assert_eq!(count(&proxy, REPEATS), repeats, "{name}");
                assert_eq!(count(&proxy, REPEATED), 1 - repeats, "{name}");
                for received in endpoints.iter().flat_map(Endpoint::received) {
                    assert!(!received.head.to_lowercase().contains("retried"));
                }
            }
        }
    });
}
