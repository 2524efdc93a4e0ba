//! A process without descriptors: clients wait and are served again by themselves, whoever is connected is served meanwhile, and
//! no endpoint is blamed. The network of these tests runs out of descriptors when it is told to.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, AtomicUsize, Ordering};
use std::time::Duration;

use tiergate_data_plane::net::{Listener, Net, TokioNet};
use tokio::net::{TcpListener, TcpStream};

use crate::harness::client::{Client, get};
use crate::harness::endpoint::echo;
use crate::harness::{config, proxy_over, run, table_of, until};

/// What Linux says when a process has as many files open as it may.
const EMFILE: i32 = 24;
const REQUEST: &str = "GET / HTTP/1.1\r\nHost: a.example\r\n\r\n";

/// The kernel's TCP with fewer descriptors.
#[derive(Clone, Default)]
struct Scarce(Arc<State>);

#[derive(Default)]
struct State {
    /// What `accept` says instead of a connection; 0: nothing.
    accept_error: AtomicI32,
    accept_errors: AtomicUsize,
    /// So many connects fail.
    connects_to_fail: AtomicUsize,
    descriptors_max: Option<usize>,
}

struct ScarceListener {
    inner: TcpListener,
    state: Arc<State>,
}

// === impl Scarce ===

impl Scarce {
    fn with_descriptors(descriptors_max: usize) -> Self {
        Self(Arc::new(State {
            descriptors_max: Some(descriptors_max),
            ..State::default()
        }))
    }

    fn accept_fails(&self, error: i32) {
        self.0.accept_error.store(error, Ordering::SeqCst);
    }
}

impl Net for Scarce {
    type Stream = TcpStream;
    type Listener = ScarceListener;

    async fn bind(&self, address: SocketAddr) -> io::Result<ScarceListener> {
        Ok(ScarceListener {
            inner: TokioNet.bind(address).await?,
            state: self.0.clone(),
        })
    }

    async fn connect(&self, to: SocketAddr, from: Option<IpAddr>) -> io::Result<TcpStream> {
        let one_less = |left: usize| left.checked_sub(1);
        let left = &self.0.connects_to_fail;
        if left
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_less)
            .is_ok()
        {
            return Err(io::Error::from_raw_os_error(EMFILE));
        }
        TokioNet.connect(to, from).await
    }

    fn descriptors_max(&self) -> Option<usize> {
        self.0.descriptors_max
    }

    async fn resolve(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        TokioNet.resolve(host, port).await
    }
}

impl Listener for ScarceListener {
    type Stream = TcpStream;

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Listener::local_addr(&self.inner)
    }

    async fn accept(&mut self) -> (TcpStream, SocketAddr) {
        Listener::accept(&mut self.inner).await
    }

    async fn try_accept(&mut self) -> io::Result<(TcpStream, SocketAddr)> {
        match self.state.accept_error.load(Ordering::SeqCst) {
            0 => Listener::try_accept(&mut self.inner).await,
            error => {
                self.state.accept_errors.fetch_add(1, Ordering::SeqCst);
                Err(io::Error::from_raw_os_error(error))
            }
        }
    }
}

fn pauses(reason: &str) -> String {
    format!("tiergate_accept_pauses_total{{reason=\"{reason}\"}}")
}

#[test]
fn without_descriptors_clients_wait_and_the_connected_are_served() {
    run(async {
        let endpoint = echo().await;
        let net = Scarce::default();
        let proxy = proxy_over(net.clone(), config(), table_of(&[endpoint.address])).await;
        let mut connected = Client::connect(proxy.http).await;
        connected.send(REQUEST).await;
        assert_eq!(connected.response().await.status, 200);
        net.accept_fails(EMFILE);
        // One of these wakes the listener; what it accepts at that moment it had asked for before.
        let mut waiting = Vec::new();
        for _ in 0..3 {
            let mut client = Client::connect(proxy.http).await;
            client.send(REQUEST).await;
            waiting.push(client);
        }
        let errors = || net.0.accept_errors.load(Ordering::SeqCst);
        until(|| errors() >= 3).await;
        let seen = proxy.sample(&pauses("process_descriptors"));
        assert!(seen >= 2.0, "each is counted: {seen}");
        let before = errors();
        for _ in 0..200 {
            connected.send(REQUEST).await;
            assert_eq!(connected.response().await.status, 200);
        }
        let (during, limit) = (errors() - before, 200);
        assert!(during < limit, "{during} tries: it spins");
        net.accept_fails(0);
        for mut client in waiting {
            assert_eq!(client.response().await.status, 200);
        }
    });
}

#[test]
fn clients_leave_descriptors_for_endpoints() {
    run(async {
        let endpoint = echo().await;
        // Of 76 files 64 are for other things, and half of the rest is kept: 6 connections.
        let net = Scarce::with_descriptors(76);
        let proxy = proxy_over(net, config(), table_of(&[endpoint.address])).await;
        let mut clients = Vec::new();
        for _ in 0..5 {
            let mut client = Client::connect(proxy.http).await;
            client.send(REQUEST).await;
            assert_eq!(client.response().await.status, 200);
            clients.push(client);
        }
        // These five and the one to the endpoint are six.
        let taken = "tiergate_client_connections_total{result=\"accepted\"}";
        let mut late = Client::connect(proxy.http).await;
        late.send(REQUEST).await;
        proxy.until(&pauses("reserve"), 1.0).await;
        for client in &mut clients {
            client.send(REQUEST).await;
            assert_eq!(client.response().await.status, 200);
        }
        assert!(
            (proxy.sample(taken) - 5.0).abs() < 0.1,
            "{}",
            proxy.metrics()
        );
        let refused = "tiergate_client_connections_total{result=\"refused\"}";
        assert!(proxy.sample(refused) < 0.1, "nobody is turned away");
        clients.truncate(3);
        assert_eq!(late.response().await.status, 200);
    });
}

#[test]
fn connections_that_wait_for_a_request_keep_no_client_out() {
    run(async {
        let mut endpoints = Vec::new();
        for _ in 0..6 {
            endpoints.push(echo().await);
        }
        let addresses: Vec<_> = endpoints.iter().map(|endpoint| endpoint.address).collect();
        // Room for six connections, as above.
        let net = Scarce::with_descriptors(76);
        let proxy = proxy_over(net, config(), table_of(&addresses)).await;
        let mut busy = Client::connect(proxy.http).await;
        for _ in 0..6 {
            busy.send(REQUEST).await;
            assert_eq!(busy.response().await.status, 200);
        }
        proxy.until("tiergate_upstream_connections", 6.0).await;
        let mut late = Vec::new();
        for _ in 0..3 {
            let mut client = Client::connect(proxy.http).await;
            client.send(REQUEST).await;
            assert_eq!(client.response().await.status, 200);
            late.push(client);
        }
        assert!(proxy.sample(&pauses("reserve")) >= 1.0);
    });
}

#[test]
fn an_endpoint_is_not_blamed_when_there_is_no_descriptor_for_it() {
    run(async {
        let (one, other) = (echo().await, echo().await);
        let net = Scarce::default();
        let table = table_of(&[one.address, other.address]);
        let proxy = proxy_over(net.clone(), config(), table).await;
        net.0.connects_to_fail.store(1, Ordering::SeqCst);
        let refused = get(proxy.http, REQUEST).await;
        assert_eq!(refused.status, 503);
        assert!(
            refused.text().contains("no descriptor"),
            "{}",
            refused.text()
        );
        assert!((proxy.errors("no_descriptors") - 1.0).abs() < 0.1);
        let failed = "tiergate_upstream_connects_total{result=\"no_descriptors\"}";
        assert!((proxy.sample(failed) - 1.0).abs() < 0.1, "one try, no more");
        for _ in 0..2 {
            assert_eq!(get(proxy.http, REQUEST).await.status, 200);
        }
        assert_eq!((one.received().len(), other.received().len()), (1, 1));
    });
}

#[test]
fn connections_that_wait_make_room_for_one_that_is_needed() {
    run(async {
        let (one, other) = (echo().await, echo().await);
        let net = Scarce::default();
        let table = table_of(&[one.address, other.address]);
        let proxy = proxy_over(net.clone(), config(), table).await;
        assert_eq!(get(proxy.http, REQUEST).await.status, 200);
        proxy.until("tiergate_upstream_connections", 1.0).await;
        // Only a connection that has waited for a while is given up.
        tokio::time::sleep(Duration::from_millis(200)).await;
        net.0.connects_to_fail.store(1, Ordering::SeqCst);
        assert_eq!(get(proxy.http, REQUEST).await.status, 200);
        proxy.until("tiergate_upstream_connections", 1.0).await;
        assert_eq!((one.received().len(), other.received().len()), (1, 1));
        assert!(proxy.errors("no_descriptors") < 0.1);
    });
}
