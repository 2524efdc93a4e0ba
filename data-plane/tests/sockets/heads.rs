//! What reaches the endpoint, and what comes back to the client.

use tiergate_data_plane::config::Config;
use tiergate_data_plane::host::HostPattern;
use tiergate_data_plane::table::{PathMatch, Protocol, TableBuilder};

use crate::harness::client::{get, values};
use crate::harness::endpoint::{answering, echo};
use crate::harness::{backend, config, owner, pattern, proxy, run, table_of};

#[test]
fn the_endpoint_learns_who_asked_and_nothing_that_was_forged() {
    run(async {
        let endpoint = echo().await;
        let proxy = proxy(config(), table_of(&[endpoint.address])).await;
        let forged = "X-Forwarded-For: 9.9.9.9\r\nX-Real-IP: 9.9.9.9\r\nForwarded: for=9.9.9.9\r\nX_Forwarded_For: 9.9.9.9\r\n\
            X-Request-ID: forged\r\nConnection: X-Forwarded-Proto, close\r\nTE: trailers\r\nProxy: x\r\n";
        let response = get(
            proxy.http,
            &format!("GET /p?q=1 HTTP/1.1\r\nHost: A.Example:8080\r\n{forged}\r\n"),
        )
        .await;
        assert_eq!(response.status, 200);
        let head = response.text();
        for (name, expected) in [
            ("host", "A.Example:8080"),
            ("x-forwarded-for", "127.0.0.1"),
            ("x-forwarded-proto", "http"),
            ("x-forwarded-host", "A.Example:8080"),
            ("x-forwarded-port", "8080"),
            ("x-real-ip", "127.0.0.1"),
            ("via", "1.1 tiergate-test"),
            ("te", "trailers"),
            ("connection", "te"),
        ] {
            assert_eq!(values(head, name), [expected], "{name} in\n{head}");
        }
        assert!(head.starts_with("GET /p?q=1 HTTP/1.1\r\n"), "{head}");
        assert_eq!(values(head, "x-request-id")[0].len(), 32);
        assert!(
            !head.contains("9.9.9.9") && !head.contains("forged"),
            "{head}"
        );
        assert_eq!(values(head, "proxy"), [""; 0]);
    });
}

#[test]
fn a_trusted_proxy_speaks_for_its_client() {
    run(async {
        let endpoint = echo().await;
        let config = Config {
            trusted_proxies: vec!["127.0.0.0/8".parse().expect("a network")],
            ..config()
        };
        let proxy = proxy(config, table_of(&[endpoint.address])).await;
        let fields =
            "X-Forwarded-For: 9.9.9.9\r\nX-Forwarded-Proto: https\r\nX-Request-ID: kept\r\n";
        let response = get(
            proxy.http,
            &format!("GET / HTTP/1.1\r\nHost: a.example\r\n{fields}\r\n"),
        )
        .await;
        let head = response.text();
        assert_eq!(values(head, "x-forwarded-for"), ["9.9.9.9, 127.0.0.1"]);
        assert_eq!(values(head, "x-forwarded-proto"), ["https"]);
        assert_eq!(values(head, "x-request-id"), ["kept"]);
    });
}

#[test]
fn the_target_decides_the_host_and_the_host_the_backend() {
    run(async {
        let (named, any) = (answering(NAMED).await, echo().await);
        let mut builder = TableBuilder::new();
        for (host, endpoint) in [(pattern("b.example"), &named), (HostPattern::Any, &any)] {
            let service = host.to_string();
            let id = builder.backend(backend(&service, Protocol::Http1, &[endpoint.address]));
            let route = builder.route(owner("web"), id);
            let _ = builder.path(&host, PathMatch::Prefix, "/x", route);
        }
        let proxy = proxy(config(), builder.build()).await;
        for (request, status, host) in [
            ("GET /x HTTP/1.1\r\nHost: B.EXAMPLE.:99\r\n\r\n", 201, ""),
            (
                "GET http://b.example/x HTTP/1.1\r\nHost: c.example\r\n\r\n",
                201,
                "",
            ),
            (
                "GET http://c.example:7/x HTTP/1.1\r\nHost: b.example\r\n\r\n",
                200,
                "c.example:7",
            ),
            (
                "GET /x HTTP/1.1\r\nHost: c.example\r\n\r\n",
                200,
                "c.example",
            ),
            ("GET /x HTTP/1.0\r\nHost: b.example\r\n\r\n", 201, ""),
            ("GET /y HTTP/1.1\r\nHost: b.example\r\n\r\n", 404, ""),
            ("GET /y HTTP/1.1\r\nHost: c.example\r\n\r\n", 404, ""),
            ("GET //%78/ HTTP/1.1\r\nHost: b.example\r\n\r\n", 201, ""),
        ] {
            let response = get(proxy.http, request).await;
            assert_eq!(response.status, status, "{request}");
            if status == 200 {
                assert_eq!(values(response.text(), "host"), [host], "{request}");
            }
        }
        // HTTP/1.0 without a host meets only rules without a host; upstream it gets the address it came to.
        let response = get(proxy.http, "GET /x HTTP/1.0\r\n\r\n").await;
        assert_eq!(values(response.text(), "host"), [proxy.http.to_string()]);
    });
}

const NAMED: &str = "HTTP/1.1 201 Created\r\ncontent-length: 0\r\n\r\n";

#[test]
fn an_answer_of_our_own_says_who_answers_why_and_when() {
    run(async {
        let proxy = proxy(config(), TableBuilder::new().build()).await;
        let response = get(proxy.http, "GET / HTTP/1.1\r\nHost: a.example\r\n\r\n").await;
        assert_eq!(response.status, 404);
        assert_eq!(response.values("server"), ["tiergate-test"]);
        assert_eq!(response.values("date").len(), 1);
        assert!(
            response.text().ends_with("reason: no_route\n"),
            "{response:?}"
        );
        assert!((proxy.errors("no_route") - 1.0).abs() < 0.1);
    });
}

#[test]
fn an_endpoints_answer_keeps_its_fields_but_those_of_its_connection() {
    run(async {
        let endpoint = answering(
            "HTTP/1.1 418 Mine\r\nServer: app\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\nConnection: X-Hop\r\nX-Hop: 1\r\n\
             Keep-Alive: timeout=5\r\nContent-Length: 2\r\n\r\nhi",
        )
        .await;
        let proxy = proxy(config(), table_of(&[endpoint.address])).await;
        let response = get(proxy.http, "GET / HTTP/1.1\r\nHost: a.example\r\n\r\n").await;
        assert_eq!((response.status, response.text()), (418, "hi"));
        assert_eq!(response.values("server"), ["app"]);
        assert_eq!(response.values("set-cookie"), ["a=1", "b=2"]);
        assert_eq!(
            response.values("date").len(),
            1,
            "added, as the endpoint sent none"
        );
        assert_eq!(response.values("x-hop"), [""; 0]);
        assert_eq!(response.values("keep-alive"), [""; 0]);
    });
}

#[test]
fn an_answer_that_names_no_server_gets_our_name() {
    run(async {
        let endpoint = answering("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi").await;
        let proxy = proxy(config(), table_of(&[endpoint.address])).await;
        let response = get(proxy.http, "GET / HTTP/1.1\r\nHost: a.example\r\n\r\n").await;
        assert_eq!(response.values("server"), ["tiergate-test"]);
    });
}

#[test]
fn a_request_that_goes_in_circles_ends() {
    run(async {
        let mut builder = TableBuilder::new();
        let id = builder.backend(backend("app", Protocol::Http1, &[]));
        builder.route(owner("web"), id);
        let proxy = proxy(config(), builder.build()).await;
        // The backend is the proxy itself.
        proxy.cell.publish(table_of(&[proxy.http]));
        let response = get(proxy.http, "GET / HTTP/1.1\r\nHost: a.example\r\n\r\n").await;
        assert_eq!(response.status, 508);
        assert!((proxy.errors("loop_detected") - 1.0).abs() < 0.1);
    });
}

#[test]
fn a_response_to_head_has_a_length_and_no_body() {
    run(async {
        let endpoint = answering("HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n").await;
        let proxy = proxy(config(), table_of(&[endpoint.address])).await;
        let mut client = crate::harness::client::Client::connect(proxy.http).await;
        for _ in 0..2 {
            client
                .send("HEAD / HTTP/1.1\r\nHost: a.example\r\n\r\n")
                .await;
            let head = client.head().await.expect("a head");
            assert_eq!(head.values("content-length"), ["1000"]);
        }
        assert_eq!(endpoint.connections(), 1);
    });
}
