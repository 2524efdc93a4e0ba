//! Which requests are tried again, and which never.

use crate::harness::client::{Client, get};
use crate::harness::endpoint::{Endpoint, Peer, echo, nobody, scripted};
use crate::harness::{config, proxy, run, table_of};

const REQUEST: &str = "GET / HTTP/1.1\r\nHost: a.example\r\n\r\n";
const POST: &str = "POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 2\r\n\r\nhi";

/// Answers the first request of its first connection, takes the second and closes; later connections answer.
async fn closing_when_reused() -> Endpoint {
    scripted(|mut peer: Peer| async move {
        if peer.number == 0 {
            peer.receive().await;
            peer.answer("first").await;
            peer.receive().await;
        } else {
            while peer.receive().await.is_some() {
                peer.answer("later").await;
            }
        }
    })
    .await
}

/// Takes one request per connection and closes.
async fn closing() -> Endpoint {
    scripted(|mut peer: Peer| async move {
        peer.receive().await;
    })
    .await
}

#[test]
fn an_endpoint_that_refuses_is_passed_over_for_any_method() {
    run(async {
        let endpoint = echo().await;
        let proxy = proxy(config(), table_of(&[nobody().await, endpoint.address])).await;
        for request in [REQUEST, POST, REQUEST, POST] {
            assert_eq!(get(proxy.http, request).await.status, 200, "{request}");
        }
        let received = endpoint.received();
        assert_eq!(received.len(), 4);
        assert_eq!(received[1].body, b"hi");
        assert!(proxy.sample("tiergate_retries_total{tenant=\"team\",kind=\"unprocessed\"}") > 0.5);
        assert!(proxy.errors("connect_failed") < 0.5, "the client saw none");
    });
}

#[test]
fn more_endpoints_may_refuse_than_a_request_has_tries() {
    run(async {
        let endpoint = echo().await;
        let mut addresses = vec![endpoint.address];
        for _ in 0..6 {
            addresses.push(nobody().await);
        }
        let proxy = proxy(config(), table_of(&addresses)).await;
        for _ in 0..addresses.len() {
            assert_eq!(get(proxy.http, POST).await.status, 200);
        }
        assert_eq!(endpoint.received().len(), addresses.len());
    });
}

#[test]
fn a_get_on_a_kept_connection_that_was_closed_is_sent_again() {
    run(async {
        let endpoint = closing_when_reused().await;
        let mut config = config();
        config.limits.tries_max = 1;
        let proxy = proxy(config, table_of(&[endpoint.address])).await;
        assert_eq!(get(proxy.http, REQUEST).await.text(), "first");
        assert_eq!(get(proxy.http, REQUEST).await.text(), "later");
        assert_eq!(endpoint.connections(), 2);
    });
}

#[test]
fn a_post_is_never_sent_twice_once_it_may_have_been_processed() {
    run(async {
        let endpoint = closing_when_reused().await;
        let proxy = proxy(config(), table_of(&[endpoint.address])).await;
        assert_eq!(get(proxy.http, REQUEST).await.text(), "first");
        assert_eq!(get(proxy.http, POST).await.status, 502);
        let posts = endpoint
            .lines()
            .into_iter()
            .filter(|line| line.starts_with("POST"));
        assert_eq!(posts.count(), 1);
    });
}

#[test]
fn a_request_whose_connection_closes_without_an_answer_is_repeated_once_if_idempotent_and_without_a_body()
 {
    run(async {
        for (request, arrivals) in [
            (REQUEST, 2),
            ("DELETE / HTTP/1.1\r\nHost: a.example\r\n\r\n", 2),
            (
                "POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 0\r\n\r\n",
                1,
            ),
            ("PATCH / HTTP/1.1\r\nHost: a.example\r\n\r\n", 1),
            (POST, 1),
            (
                "PUT / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 2\r\n\r\nhi",
                1,
            ),
        ] {
            let endpoints = [
                closing().await,
                closing().await,
                closing().await,
                closing().await,
            ];
            let addresses = endpoints.each_ref().map(|endpoint| endpoint.address);
            let proxy = proxy(config(), table_of(&addresses)).await;
            assert_eq!(get(proxy.http, request).await.status, 502, "{request}");
            let received: usize = endpoints
                .iter()
                .map(|endpoint| endpoint.received().len())
                .sum();
            assert_eq!(received, arrivals, "{request}");
        }
    });
}

#[test]
fn a_restarted_endpoint_costs_no_request() {
    run(async {
        // Closes its kept connections once it has answered, as a server with a short keep-alive time does.
        let endpoint = scripted(|mut peer: Peer| async move {
            peer.receive().await;
            peer.answer("once").await;
        })
        .await;
        let proxy = proxy(config(), table_of(&[endpoint.address])).await;
        let mut client = Client::connect(proxy.http).await;
        for _ in 0..20 {
            client.send(REQUEST).await;
            assert_eq!(client.response().await.text(), "once");
        }
    });
}

#[test]
fn what_is_sent_again_is_what_was_sent() {
    run(async {
        let endpoints = [closing().await, closing().await, closing().await];
        let addresses = endpoints.each_ref().map(|endpoint| endpoint.address);
        let proxy = proxy(config(), table_of(&addresses)).await;
        let request = "GET /a%2Fb?c=d&e HTTP/1.1\r\nHost: A.example:80\r\nX-Twice: one, two\r\nX-Empty:\r\n\
            X-Twice: \u{e9}: three\r\nTE: trailers\r\nCookie: a=1\r\n\r\n";
        assert_eq!(get(proxy.http, request).await.status, 502);
        let heads: Vec<_> = endpoints
            .iter()
            .flat_map(|endpoint| endpoint.received())
            .map(|received| received.head)
            .collect();
        assert_eq!(heads.len(), 2);
        assert!(heads[0].starts_with("GET /a%2Fb?c=d&e HTTP/1.1\r\n"));
        assert!(heads[0].contains("x-twice: one, two\r\nx-twice: "));
        assert!(heads[0].contains("x-empty: \r\n"));
        assert_eq!(heads[1], heads[0]);
    });
}
