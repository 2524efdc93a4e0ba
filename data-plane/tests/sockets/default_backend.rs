//! The tier's own default backend: what gets there, and what it is told.

use std::net::SocketAddr;

use tiergate_data_plane::host::HostPattern;
use tiergate_data_plane::table::{PathMatch, Protocol, RouteOwner, Table, TableBuilder};

use crate::harness::client::{get, values};
use crate::harness::endpoint::{answering, echo};
use crate::harness::{backend, config, owner, pattern, proxy, run};

/// `/app` of `a.example`, every path of `b.example` by the default backend of an Ingress, and the tier's default backend.
fn table(app: SocketAddr, pages: &[SocketAddr]) -> Table {
    let mut builder = TableBuilder::new();
    let app = builder.backend(backend("app", Protocol::Http1, &[app]));
    let route = builder.route(owner("web"), app);
    let _ = builder.path(&pattern("a.example"), PathMatch::Prefix, "/app", route);
    let _ = builder.default(&pattern("b.example"), route);
    let pages = builder.backend(backend("pages", Protocol::Http1, pages));
    let of_nobody = RouteOwner {
        tenant: "team".into(),
        ingress: "".into(),
    };
    let pages = builder.route(of_nobody, pages);
    builder.default_backend(Some(pages));
    builder.build()
}

#[test]
fn a_request_without_a_route_gets_there_and_tells_what_failed() {
    run(async {
        let (app, pages) = (echo().await, echo().await);
        let proxy = proxy(config(), table(app.address, &[pages.address])).await;
        let forged =
            "X-Code: 200\r\nx_code: 200\r\nX-Namespace: forged\r\nX-Service-Name: forged\r\n";
        for (target, host) in [("/no/route?q=1", "a.example"), ("/", "c.example")] {
            let request = format!(
                "GET {target} HTTP/1.1\r\nHost: {host}\r\nAccept: text/html\r\n{forged}\r\n"
            );
            assert_eq!(get(proxy.http, &request).await.status, 200);
            let received = pages.received();
            let head = &received.last().expect("it got there").head;
            assert!(
                head.starts_with(&format!("GET {target} HTTP/1.1\r\n")),
                "{head}"
            );
            for (name, value) in [
                ("x-code", vec!["404"]),
                ("x-format", vec!["text/html"]),
                ("x-original-uri", vec![target]),
                ("x_code", vec![]),
                ("x-namespace", vec![]),
                ("x-service-name", vec![]),
            ] {
                assert_eq!(values(head, name), value, "{name} in {head}");
            }
            assert_eq!(values(head, "x-request-id").len(), 1, "{head}");
        }
        assert!(app.received().is_empty());
    });
}

#[test]
fn what_has_a_route_is_told_nothing() {
    run(async {
        let (app, pages) = (echo().await, echo().await);
        let proxy = proxy(config(), table(app.address, &[pages.address])).await;
        // An application may have a field of such a name for itself.
        for (target, host) in [("/app", "a.example"), ("/else", "b.example")] {
            let request = format!("GET {target} HTTP/1.1\r\nHost: {host}\r\nX-Code: own\r\n\r\n");
            assert_eq!(get(proxy.http, &request).await.status, 200);
            let head = app.received().last().expect("it got there").head.clone();
            assert_eq!(values(&head, "x-code"), ["own"]);
            assert!(values(&head, "x-original-uri").is_empty(), "{head}");
        }
        assert!(pages.received().is_empty());
    });
}

#[test]
fn its_answer_is_the_clients_as_it_is() {
    run(async {
        let app = echo().await;
        let page =
            "HTTP/1.1 404 Not Found\r\nContent-Type: text/html\r\nContent-Length: 4\r\n\r\ngone";
        let pages = answering(page).await;
        let proxy = proxy(config(), table(app.address, &[pages.address])).await;
        let answer = get(proxy.http, "GET / HTTP/1.1\r\nHost: c.example\r\n\r\n").await;
        assert_eq!((answer.status, answer.text()), (404, "gone"));
        let counted = "tiergate_requests_total{tenant=\"team\",ingress=\"\",code=\"404\"}";
        proxy.until(counted, 1.0).await;
        assert!(proxy.errors("no_route").abs() < 0.1);
    });
}

#[test]
fn without_an_endpoint_it_is_as_if_there_were_none() {
    run(async {
        let app = echo().await;
        let proxy = proxy(config(), table(app.address, &[])).await;
        let answer = get(proxy.http, "GET / HTTP/1.1\r\nHost: c.example\r\n\r\n").await;
        assert_eq!(answer.status, 404);
        assert!(answer.text().contains("no_route"), "{}", answer.text());
        assert!((proxy.errors("no_route") - 1.0).abs() < 0.1);
    });
}

#[test]
fn rules_without_a_host_come_before_it() {
    run(async {
        let (app, pages) = (echo().await, echo().await);
        let mut builder = TableBuilder::new();
        let id = builder.backend(backend("app", Protocol::Http1, &[app.address]));
        let route = builder.route(owner("web"), id);
        let _ = builder.path(&HostPattern::Any, PathMatch::Prefix, "/app", route);
        let id = builder.backend(backend("pages", Protocol::Http1, &[pages.address]));
        let default = builder.route(owner(""), id);
        builder.default_backend(Some(default));
        let proxy = proxy(config(), builder.build()).await;
        for target in ["/app", "/else"] {
            let request = format!("GET {target} HTTP/1.1\r\nHost: c.example\r\n\r\n");
            assert_eq!(get(proxy.http, &request).await.status, 200);
        }
        assert_eq!((app.received().len(), pages.received().len()), (1, 1));
    });
}
