//! Several workers of one process, each on a thread of its own.

use std::sync::Arc;
use std::time::Duration;

use prometheus_client::registry::Registry;
use rand::SeedableRng;
use rand::rngs::SmallRng;
use tiergate_data_plane::access_log::{Level, Switch};
use tiergate_data_plane::metrics::Metrics;
use tiergate_data_plane::net::TokioNet;
use tiergate_data_plane::snapshot::SnapshotCell;
use tiergate_data_plane::{drain, workers};

use crate::harness::client::get;
use crate::harness::endpoint::echo;
use crate::harness::{config, run, table_of};

#[test]
fn workers_share_their_addresses_and_end_with_the_drain() {
    run(async {
        let endpoint = echo().await;
        let metrics = Metrics::register(&mut Registry::default());
        let cell = Arc::new(SnapshotCell::new(metrics.clone()));
        let (handle, signal) = drain::channel();
        let (config, log) = (Arc::new(config()), Switch::new(Level::Off));
        let rng = SmallRng::seed_from_u64(1);
        let started = workers::start(3, TokioNet, config, cell.clone(), metrics, log, rng, signal);
        let workers = started.await.expect("the addresses are free");
        assert_eq!(workers.http_addresses().len(), 1);
        assert_eq!(workers.https_addresses().len(), 1);
        cell.publish(table_of(&[endpoint.address]));
        let address = workers.http_addresses()[0];
        for _ in 0..30 {
            let response = get(address, "GET / HTTP/1.1\r\nHost: a.example\r\n\r\n").await;
            assert_eq!(response.status, 200);
        }
        handle.start(Duration::from_secs(60));
        workers.stopped().await.expect("no worker dies");
        assert!(tokio::net::TcpStream::connect(address).await.is_err());
    });
}

#[test]
fn an_address_that_cannot_be_bound_is_named() {
    run(async {
        let metrics = Metrics::register(&mut Registry::default());
        let cell = Arc::new(SnapshotCell::new(metrics.clone()));
        let (_handle, signal) = drain::channel();
        let mut config = config();
        // An address of nobody here (RFC 5737).
        config.https_addresses = vec!["192.0.2.1:1".parse().expect("an address")];
        let (config, log) = (Arc::new(config), Switch::new(Level::Off));
        let rng = SmallRng::seed_from_u64(1);
        let started = workers::start(2, TokioNet, config, cell, metrics, log, rng, signal);
        let error = started.await.expect_err("not bound");
        assert_eq!(error.to_string(), "cannot listen on 192.0.2.1:1");
    });
}
