//! What a table of N hosts costs, for `tests/bench/tables`: `tables N` prints one line of JSON.
//!
//! Each host has one path, a backend and an endpoint of its own. Measured are the making of the table, its first publication, and then one
//! endpoint that changes: the median of many such changes. Memory is what the process holds more than before, with the table and the
//! live state beside it, by the kernel's count of resident pages, with the allocator of the tiers.

use std::io::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use prometheus_client::registry::Registry;
use tiergate_data_plane::host::{HostName, HostPattern};
use tiergate_data_plane::metrics::Metrics;
use tiergate_data_plane::snapshot::SnapshotCell;
use tiergate_data_plane::table::{
    Backend, BackendName, Endpoint, PathMatch, Protocol, RouteOwner, TableBuilder,
};
use tokio::time::Instant;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Changes of one endpoint, one after another.
const CHANGES: u16 = 501;

fn main() -> std::io::Result<()> {
    let count: usize = std::env::args()
        .nth(1)
        .and_then(|word| word.parse().ok())
        .ok_or_else(|| std::io::Error::other("tables N"))?;
    // What every process has is there before the first count.
    drop(with_hosts(1));
    let cell = SnapshotCell::new(Metrics::register(&mut Registry::default()));
    let before = resident_bytes()?;
    let begun = Instant::now();
    let mut builder = with_hosts(count);
    let first = builder.next_table();
    let build = begun.elapsed();
    let begun = Instant::now();
    if let Some(table) = first {
        cell.publish(table);
    }
    let publish = begun.elapsed();
    let resident = resident_bytes()?.saturating_sub(before);
    let mut changes: Vec<Duration> = (0..CHANGES)
        .map(|number| {
            let begun = Instant::now();
            builder.replace_backend(backend(count / 2, 9000 + number));
            builder.sweep();
            if let Some(table) = builder.next_table() {
                cell.publish(table);
            }
            begun.elapsed()
        })
        .collect();
    changes.sort();
    let change = changes[changes.len() / 2];
    writeln!(
        std::io::stdout(),
        r#"{{"hosts": {count}, "build_us": {}, "publish_us": {}, "change_ns": {}, "resident_bytes": {resident}}}"#,
        build.as_micros(),
        publish.as_micros(),
        change.as_nanos(),
    )
}

fn backend(number: usize, port: u16) -> Backend {
    let name: Arc<str> = format!("s{number}").into();
    Backend {
        name: BackendName {
            namespace: "team".into(),
            service: name.clone(),
            port: "80".into(),
        },
        protocol: Protocol::Http1,
        endpoints: vec![Endpoint {
            address: SocketAddr::from(([192, 0, 2, 80], port)),
            identity: name,
        }],
    }
}

fn with_hosts(count: usize) -> TableBuilder {
    let mut builder = TableBuilder::new();
    for number in 0..count {
        let backend = backend(number, 8080);
        let owner = RouteOwner {
            tenant: "team".into(),
            ingress: backend.name.service.clone(),
        };
        let backend = builder.backend(backend);
        let route = builder.route(owner, backend);
        let name = format!("h{number}.example.test");
        let Ok(host) = HostName::try_from(name.as_str()).map(HostPattern::Exact) else {
            continue;
        };
        let _ = builder.path(&host, PathMatch::Prefix, "/", route);
    }
    builder
}

/// The pages of this process that are in memory, in bytes (proc(5), statm).
fn resident_bytes() -> std::io::Result<usize> {
    const PAGE: usize = 4096;
    let statm = std::fs::read_to_string("/proc/self/statm")?;
    let pages = statm.split_whitespace().nth(1);
    let pages: Option<usize> = pages.and_then(|word| word.parse().ok());
    let pages = pages.ok_or_else(|| std::io::Error::other("no count of pages"))?;
    Ok(pages * PAGE)
}
