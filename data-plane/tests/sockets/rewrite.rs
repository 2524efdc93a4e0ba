//! Paths that are regular expressions, and what endpoints are asked for in their place.

use std::sync::Arc;

use h2::server::Builder;
use tiergate_data_plane::table::{
    Expression, PathMatch, PathPolicy, Prefix, Protocol, Rewrite, Table, TableBuilder, Target,
};

use crate::harness::client::{get, values};
use crate::harness::endpoint::echo;
use crate::harness::http2;
use crate::harness::{backend, config, owner, pattern, proxy, run};

/// `/app(/|$)(.*)` becomes `/x/$2` there, and everything else stays.
fn table(protocol: Protocol, endpoint: std::net::SocketAddr) -> Table {
    let mut builder = TableBuilder::new();
    let id = builder.backend(backend("app", protocol, &[endpoint]));
    let expression = Expression::new("/app(/|$)(.*)", "/app").expect("an expression");
    let expression = Arc::new(expression);
    let rewrite = Rewrite {
        expression: Some(expression.clone()),
        target: Target::try_from("/x/$2").expect("a target"),
        prefix: Some(Prefix::try_from("/app").expect("a path")),
    };
    let of_path = PathPolicy {
        rewrite: Some(Arc::new(rewrite)),
        ..PathPolicy::default()
    };
    let host = pattern("a.example");
    let rewritten = builder.route_of_path(owner("web"), id, of_path);
    let plain = builder.route(owner("web"), id);
    assert_eq!(builder.expression(&host, expression, rewritten), None);
    assert_eq!(builder.path(&host, PathMatch::Prefix, "/", plain), None);
    assert_eq!(
        builder.path(&host, PathMatch::Exact, "/app/exact", plain),
        None
    );
    builder.build()
}

#[test]
fn an_endpoint_is_asked_for_what_the_rule_says() {
    run(async {
        let endpoint = echo().await;
        let proxy = proxy(config(), table(Protocol::Http1, endpoint.address)).await;
        for (asked, target, prefix) in [
            ("/app/a/b?c=/app/d", "/x/a/b?c=/app/d", &["/app"][..]),
            ("/app", "/x/", &["/app"]),
            ("/APP/%61//b%20c", "/x/a/b%20c", &["/app"]),
            ("http://a.example/app/a?b", "/x/a?b", &["/app"]),
            // Nothing is changed where another rule has the path, not even what could be written otherwise.
            ("/application//%61?b", "/application//%61?b", &[]),
            ("/app/exact", "/app/exact", &[]),
        ] {
            let request = format!(
                "GET {asked} HTTP/1.1\r\nHost: a.example\r\nX-Forwarded-Prefix: /forged\r\n\r\n"
            );
            let answer = get(proxy.http, &request).await;
            assert_eq!(answer.status, 200, "{asked}");
            let line = answer.text().lines().next().unwrap_or_default();
            assert_eq!(line, format!("GET {target} HTTP/1.1"), "{asked}");
            assert_eq!(
                values(answer.text(), "x-forwarded-prefix"),
                prefix,
                "{asked}"
            );
            assert_eq!(values(answer.text(), "host"), ["a.example"], "{asked}");
        }
        let dots = get(
            proxy.http,
            "GET /app/../b HTTP/1.1\r\nHost: a.example\r\n\r\n",
        )
        .await;
        assert_eq!(dots.status, 400);
    });
}

#[test]
fn an_endpoint_of_http2_is_asked_for_the_same() {
    run(async {
        let by_http2 = |mut connection: http2::Http2, _| async move {
            while let Some(Ok(asked)) = connection.accept().await {
                let target = asked.0.uri().to_string();
                http2::answer(asked, Box::leak(target.into_boxed_str()));
            }
        };
        let endpoint = http2::scripted(Builder::new(), by_http2).await;
        let proxy = proxy(config(), table(Protocol::H2c, endpoint.address)).await;
        let answer = get(
            proxy.http,
            "GET /app/a?b HTTP/1.1\r\nHost: a.example\r\n\r\n",
        )
        .await;
        assert_eq!(answer.text(), "http://a.example/x/a?b");
    });
}
