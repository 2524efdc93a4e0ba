//! What is counted, for whom, and for how long.

use tiergate_data_plane::host::HostPattern;
use tiergate_data_plane::table::{PathMatch, Protocol, Table, TableBuilder};

use crate::harness::client::get;
use crate::harness::endpoint::echo;
use crate::harness::{backend, config, owner, proxy, run};

fn table(ingress: &str, address: std::net::SocketAddr) -> Table {
    let mut builder = TableBuilder::new();
    let id = builder.backend(backend("app", Protocol::Http1, &[address]));
    let route = builder.route(owner(ingress), id);
    let _ = builder.path(&HostPattern::Any, PathMatch::Prefix, "/", route);
    builder.build()
}

fn requests(ingress: &str) -> String {
    format!("tiergate_requests_total{{tenant=\"team\",ingress=\"{ingress}\",code=\"200\"}}")
}

#[test]
fn requests_count_for_their_ingress_and_series_go_with_it() {
    run(async {
        let endpoint = echo().await;
        let proxy = proxy(config(), table("one", endpoint.address)).await;
        let request = "GET / HTTP/1.1\r\nHost: x\r\n\r\n";
        for _ in 0..3 {
            assert_eq!(get(proxy.http, request).await.status, 200);
        }
        proxy.until(&requests("one"), 3.0).await;
        let count = "tiergate_request_duration_seconds_count{tenant=\"team\",ingress=\"one\"}";
        proxy.until(count, 3.0).await;
        // Published again, nothing begins anew.
        proxy.cell.publish(table("one", endpoint.address));
        assert_eq!(get(proxy.http, request).await.status, 200);
        proxy.until(&requests("one"), 4.0).await;
        assert!((proxy.sample("tiergate_config_generation") - 2.0).abs() < 0.1);
        // Another Ingress instead: the series of the first are gone, those of the tenant stay.
        proxy.cell.publish(table("two", endpoint.address));
        assert_eq!(get(proxy.http, request).await.status, 200);
        proxy.until(&requests("two"), 1.0).await;
        assert!(
            !proxy.metrics().contains("ingress=\"one\""),
            "{}",
            proxy.metrics()
        );
        proxy.cell.publish(TableBuilder::new().build());
        assert!(
            !proxy.metrics().contains("tenant=\"team\""),
            "{}",
            proxy.metrics()
        );
    });
}

#[test]
fn what_nobody_owns_counts_for_nobody() {
    run(async {
        let proxy = proxy(config(), TableBuilder::new().build()).await;
        let request = "GET / HTTP/1.1\r\nHost: x\r\n\r\n";
        assert_eq!(get(proxy.http, request).await.status, 404);
        let none = "tiergate_requests_total{tenant=\"_none\",ingress=\"_none\",code=\"404\"}";
        proxy.until(none, 1.0).await;
    });
}
