//! Several workers of one process, each on a thread of its own.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use prometheus_client::registry::Registry;
use rand::SeedableRng;
use rand::rngs::SmallRng;
use tiergate_data_plane::access_log::{Level, Switch};
use tiergate_data_plane::metrics::Metrics;
use tiergate_data_plane::net::{Net as _, TokioNet};
use tiergate_data_plane::snapshot::SnapshotCell;
use tiergate_data_plane::{drain, workers};
use tokio::runtime::Builder;

use crate::harness::client::get;
use crate::harness::endpoint::echo;
use crate::harness::{config, proxy, run, table_of};

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

#[test]
fn an_address_that_nobody_has_is_bound_when_it_may_come_later() {
    run(async {
        for address in ["192.0.2.1:1", "[2001:db8::1]:1"] {
            let address = address.parse().expect("an address");
            let refused = TokioNet.try_bind(address, false).await;
            let refused = refused.expect_err("nobody here has it").kind();
            // A machine without IPv6 says so; there is nothing to be bound.
            if refused == std::io::ErrorKind::Unsupported {
                continue;
            }
            assert_eq!(refused, std::io::ErrorKind::AddrNotAvailable);
            TokioNet.try_bind(address, true).await.expect("allowed");
            let mut config = config();
            config.free_bind = true;
            config.http_addresses = vec![address];
            let proxy = proxy(config, table_of(&[])).await;
            assert_eq!(proxy.http, address);
        }
    });
}

#[test]
fn an_address_is_tried_without_taking_a_connection_of_whoever_serves_there() {
    run(async {
        let endpoint = echo().await;
        let proxy = proxy(config(), table_of(&[endpoint.address])).await;
        let is_done = Arc::new(AtomicBool::new(false));
        let (address, stop) = (proxy.http, is_done.clone());
        let trying = std::thread::spawn(move || {
            let runtime = Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime").block_on(async {
                while !stop.load(Ordering::Relaxed) {
                    let tried = TokioNet.try_bind(address, false).await;
                    tried.expect("processes of one user may share it");
                }
            });
        });
        for _ in 0..500 {
            let response = get(address, "GET / HTTP/1.1\r\nHost: a.example\r\n\r\n").await;
            assert_eq!(response.status, 200);
        }
        is_done.store(true, Ordering::Relaxed);
        trying.join().expect("no try failed");
    });
}
