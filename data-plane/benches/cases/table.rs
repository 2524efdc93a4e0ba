//! The table: look-ups in it, making it, and swapping it in.

use std::hint::black_box;
use std::net::SocketAddr;
use std::sync::Arc;

use http::Uri;
use prometheus_client::registry::Registry;
use tiergate_data_plane::host::{HostName, HostPattern};
use tiergate_data_plane::lookup;
use tiergate_data_plane::metrics::Metrics;
use tiergate_data_plane::snapshot::SnapshotCell;
use tiergate_data_plane::table::{
    Backend, BackendName, Endpoint, PathMatch, Protocol, RouteOwner, Table, TableBuilder,
};

use crate::case::{Case, Operation, uncounted};

/// Where the endpoints of the tables are.
pub(super) fn endpoint() -> SocketAddr {
    SocketAddr::from(([192, 0, 2, 80], 8080))
}

pub(super) const CASES: &[Case] = &[
    Case::new("route/1-host", 2000, || {
        find(hosts(1), "http://h0.example.test/a")
    }),
    Case::new("route/10000-hosts", 2000, || {
        find(hosts(10_000), "http://h7777.example.test/a")
    }),
    Case::new("route/10000-hosts-wildcard", 2000, || {
        find(wildcard(10_000), "http://any.wild.example.test/a")
    }),
    Case::new("route/10-paths", 2000, || {
        find(paths(10), "http://h0.example.test/p7/x")
    }),
    Case::new("route/1000-paths", 2000, || {
        find(paths(1000), "http://h0.example.test/p777/x")
    }),
    Case::new("route/8-elements", 2000, || {
        find(hosts(1), "http://h0.example.test/a/b/c/d/e/f/g/h")
    }),
    Case::new("route/host-in-capitals-with-port", 2000, || {
        find(hosts(1), "http://H0.Example.Test:8080/a")
    }),
    Case::new("route/escaped-path", 2000, || {
        find(hosts(1), "http://h0.example.test/%61//b%2Fc")
    }),
    // What a client may send, and what must not take longer than it is long.
    Case::new("route/16000-slashes", 20, || {
        let path = format!("/{}{}", "a".repeat(16_000), "/".repeat(16_000));
        find(hosts(1), &format!("http://h0.example.test{path}"))
    }),
    // Three sizes, to see how it grows: docs/change.md, and tests/documents.rs.
    Case::new("table/build-1000-hosts", 20, || build(1000)),
    Case::new("table/build-10000-hosts", 2, || build(10_000)),
    Case::new("table/build-50000-hosts", 1, || build(50_000)),
    Case::new("table/publish-1000-hosts-one-endpoint-changed", 200, || {
        publish(1000)
    }),
    Case::new(
        "table/publish-10000-hosts-one-endpoint-changed",
        200,
        || publish(10_000),
    ),
    Case::new(
        "table/publish-50000-hosts-one-endpoint-changed",
        200,
        || publish(50_000),
    ),
];

/// Makes a table of this many hosts from nothing.
fn build(count: usize) -> Operation {
    Box::new(move |operations| {
        for _ in 0..operations {
            let table = hosts(count);
            uncounted(|| drop(table));
        }
    })
}

/// A backend with one endpoint.
fn backend(number: usize, address: SocketAddr, protocol: Protocol) -> Backend {
    let name: Arc<str> = format!("s{number}").into();
    Backend {
        name: BackendName {
            namespace: "team".into(),
            service: name.clone(),
            port: "80".into(),
        },
        protocol,
        endpoints: vec![Endpoint {
            address,
            identity: name,
        }],
    }
}

/// A host with a backend of its own, as the control plane makes it.
fn add_host(builder: &mut TableBuilder, number: usize, protocol: Protocol) {
    let backend = backend(number, endpoint(), protocol);
    let owner = RouteOwner {
        tenant: "team".into(),
        ingress: backend.name.service.clone(),
    };
    let backend = builder.backend(backend);
    let route = builder.route(owner, backend);
    let host = format!("h{number}.example.test");
    let host = HostName::try_from(host.as_str()).expect("this is a name");
    let host = HostPattern::Exact(host);
    builder.path(&host, PathMatch::Prefix, "/", route);
}

/// A table of this many hosts.
pub(super) fn hosts(count: usize) -> Table {
    with_hosts(count).build()
}

fn with_hosts(count: usize) -> TableBuilder {
    let mut builder = TableBuilder::new();
    for number in 0..count {
        add_host(&mut builder, number, Protocol::Http1);
    }
    builder
}

/// One host, whose endpoint speaks HTTP/2.
pub(super) fn h2c() -> Table {
    let mut builder = TableBuilder::new();
    add_host(&mut builder, 0, Protocol::H2c);
    builder.build()
}

fn wildcard(count: usize) -> Table {
    let mut builder = with_hosts(count);
    add_paths(&mut builder, "*.wild.example.test", 1);
    builder.build()
}

fn paths(count: usize) -> Table {
    let mut builder = TableBuilder::new();
    add_paths(&mut builder, "h0.example.test", count);
    builder.build()
}

/// A host with paths, each to a backend of its own.
fn add_paths(builder: &mut TableBuilder, host: &str, count: usize) {
    let name = HostName::try_from(host.trim_start_matches("*.")).expect("this is a name");
    let host = if host.starts_with("*.") {
        HostPattern::Wildcard(name)
    } else {
        HostPattern::Exact(name)
    };
    for number in 0..count {
        let name: Arc<str> = format!("p{number}").into();
        let backend = builder.backend(Backend {
            name: BackendName {
                namespace: "team".into(),
                service: name.clone(),
                port: "80".into(),
            },
            protocol: Protocol::Http1,
            endpoints: Vec::new(),
        });
        let owner = RouteOwner {
            tenant: "team".into(),
            ingress: name,
        };
        let route = builder.route(owner, backend);
        let path = if count == 1 {
            "/".to_owned()
        } else {
            format!("/p{number}")
        };
        builder.path(&host, PathMatch::Prefix, &path, route);
    }
}

/// Looks a request up as the proxy does: host and path are made comparable first.
fn find(table: Table, url: &str) -> Operation {
    let url: Uri = url.parse().expect("this is a URL");
    Box::new(move |operations| {
        for _ in 0..operations {
            let found = lookup::route(black_box(&table), black_box(&url));
            assert!(found.is_ok_and(|route| route.is_some()));
        }
    })
}

/// Moves an endpoint, takes the next table and swaps it in, as the control plane does with the builder that it keeps: what did
/// not change is shared by both tables, and is neither copied nor compared.
fn publish(count: usize) -> Operation {
    let cell = SnapshotCell::new(Metrics::register(&mut Registry::default()));
    let mut builder = with_hosts(count);
    cell.publish(builder.next_table().expect("it is the first"));
    let mut moved = endpoint();
    Box::new(move |operations| {
        for _ in 0..operations {
            moved.set_port(moved.port() ^ 1);
            let backend = uncounted(|| backend(count / 2, moved, Protocol::Http1));
            assert!(builder.replace_backend(backend));
            builder.sweep();
            let table = builder.next_table().expect("an endpoint has moved");
            cell.publish(table);
        }
    })
}
