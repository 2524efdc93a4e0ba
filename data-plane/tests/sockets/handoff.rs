//! A process hands its addresses off to its successor: no connection is reset.
//!
//! Predecessor and successor are two groups of workers at one address, as two processes of one user are. Each worker is a
//! thread with listeners of its own. The clients open a connection for each request and repair nothing.

use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use prometheus_client::registry::Registry;
use rand::SeedableRng;
use rand::rngs::SmallRng;
use socket2::{SockFilter, SockRef};
use tiergate_data_plane::access_log::{Level, Switch};
use tiergate_data_plane::metrics::Metrics;
use tiergate_data_plane::net::{Listener, Net, TokioNet};
use tiergate_data_plane::snapshot::SnapshotCell;
use tiergate_data_plane::workers::Workers;
use tiergate_data_plane::{drain, workers};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

use crate::harness::{config, run, table_of, until};

/// How often a successor takes over.
const TAKEOVERS: usize = 4;
const WORKERS: usize = 2;
const CLIENTS: usize = 32;
/// Requests of all clients before a predecessor begins to drain.
const REQUESTS_BEFORE: usize = 1000;

/// A group of workers.
struct Group {
    workers: Workers,
    drain: drain::Handle,
}

/// Clients, each on a thread.
struct Load {
    is_done: Arc<AtomicBool>,
    asked: Arc<AtomicUsize>,
    clients: Vec<JoinHandle<Vec<String>>>,
}

async fn group(address: SocketAddr) -> Group {
    let metrics = Metrics::register(&mut Registry::default());
    let cell = Arc::new(SnapshotCell::new(metrics.clone()));
    cell.publish(table_of(&[]));
    let (drain, signal) = drain::channel();
    let mut config = config();
    config.http_addresses = vec![address];
    config.https_addresses = Vec::new();
    let (config, log) = (Arc::new(config), Switch::new(Level::Off));
    let rng = SmallRng::seed_from_u64(1);
    let started = workers::start(WORKERS, TokioNet, config, cell, metrics, log, rng, signal);
    Group {
        workers: started.await.expect("processes of one user may share it"),
        drain,
    }
}

// === impl Load ===

impl Load {
    fn start(to: SocketAddr) -> Self {
        let is_done = Arc::new(AtomicBool::new(false));
        let asked = Arc::new(AtomicUsize::new(0));
        let clients = (0..CLIENTS).map(|_| {
            let (is_done, asked) = (is_done.clone(), asked.clone());
            std::thread::spawn(move || {
                let mut failures = Vec::new();
                while !is_done.load(Ordering::Relaxed) {
                    if let Err(error) = ask(to) {
                        failures.push(error.to_string());
                    }
                    asked.fetch_add(1, Ordering::Relaxed);
                }
                failures
            })
        });
        Self {
            clients: clients.collect(),
            is_done,
            asked,
        }
    }

    async fn more(&self) {
        let wanted = self.asked.load(Ordering::Relaxed) + REQUESTS_BEFORE;
        until(|| self.asked.load(Ordering::Relaxed) >= wanted).await;
    }

    /// How many asked, and what went wrong.
    async fn end(self) -> (usize, Vec<String>) {
        self.is_done.store(true, Ordering::Relaxed);
        until(|| self.clients.iter().all(JoinHandle::is_finished)).await;
        let ended = self.clients.into_iter().map(|client| client.join());
        let failures = ended.flat_map(|failures| failures.expect("no client panics"));
        let failures = failures.collect();
        (self.asked.load(Ordering::Relaxed), failures)
    }
}

fn ask(to: SocketAddr) -> io::Result<()> {
    use std::io::{Read as _, Write as _};
    let mut stream = std::net::TcpStream::connect(to)?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    stream.write_all(b"GET / HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    if answer.starts_with("HTTP/1.1 503 ") {
        Ok(())
    } else {
        Err(io::Error::other(format!("answered {answer:?}")))
    }
}

#[test]
fn no_request_fails_when_successors_take_over_under_load() {
    run(async {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut serving = group(any).await;
        let address = serving.workers.http_addresses()[0];
        let load = Load::start(address);
        for _ in 0..TAKEOVERS {
            load.more().await;
            let successor = group(address).await;
            load.more().await;
            serving.drain.start(Duration::from_secs(60));
            serving.workers.stopped().await.expect("no worker dies");
            serving = successor;
        }
        load.more().await;
        let (asked, failures) = load.end().await;
        assert_eq!(failures, [""; 0], "of {asked}");
    });
}

/// Two listeners at one address of this version of IP.
async fn listeners(address: &str) -> Option<(TcpListener, TcpListener)> {
    // A machine may have no IPv6.
    let first = TokioNet
        .bind(address.parse().expect("an address"))
        .await
        .ok()?;
    let address = first.local_addr().expect("it is bound");
    let second = TokioNet.bind(address).await.expect("they share it");
    Some((first, second))
}

/// Serves whoever is there, and tells how many were.
async fn serve_waiting(listener: &mut TcpListener) -> usize {
    let mut count = 0;
    loop {
        let accepting = Listener::accept(listener);
        let accepted = tokio::time::timeout(Duration::from_millis(20), accepting).await;
        let Ok((mut stream, _)) = accepted else {
            return count;
        };
        stream.write_all(b"served").await.expect("the client waits");
        count += 1;
    }
}

/// A client that connects and waits to be served.
fn client(to: SocketAddr) -> tokio::task::JoinHandle<String> {
    tokio::task::spawn_local(async move {
        let mut text = String::new();
        let mut stream = TcpStream::connect(to).await.expect("connected");
        let read = stream.read_to_string(&mut text).await;
        read.map_or_else(|error| error.to_string(), |_| text)
    })
}

#[test]
fn a_quiet_listener_gives_what_it_has_and_leaves_whoever_comes_to_the_other() {
    run(async {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let Some((mut leaving, mut staying)) = listeners(address).await else {
                continue;
            };
            let to = leaving.local_addr().expect("it is bound");
            let early: Vec<_> = (0..64).map(|_| client(to)).collect();
            tokio::task::yield_now().await;
            assert!(leaving.quiet());
            let left = serve_waiting(&mut leaving).await;
            let late: Vec<_> = (0..64).map(|_| client(to)).collect();
            let stayed = serve_waiting(&mut staying).await;
            // By the hash of their ports; nobody but chance decides.
            assert!(left > 0 && stayed > 0, "{left} and {stayed}");
            drop(leaving);
            let mut served = left + stayed;
            while served < 128 {
                served += serve_waiting(&mut staying).await;
            }
            for client in early.into_iter().chain(late) {
                assert_eq!(client.await.expect("no panic"), "served");
            }
        }
    });
}

#[test]
fn a_quiet_listener_completes_a_handshake_that_has_begun() {
    run(async {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut leaving = TokioNet.bind(any).await.expect("a port");
        let to = leaving.local_addr().expect("it is bound");
        // A client that hears nothing: its handshake stays half open.
        let deaf = [SockFilter::new(0x06, 0, 0, 0)];
        let socket = TcpSocket::new_v4().expect("a socket");
        SockRef::from(&socket)
            .attach_filter(&deaf)
            .expect("allowed");
        let hearing = socket2::Socket::from(socket.as_fd().try_clone_to_owned().expect("a copy"));
        let mut connecting = Box::pin(socket.connect(to));
        let soon = tokio::time::timeout(Duration::from_millis(20), &mut connecting).await;
        assert!(soon.is_err(), "it hears nothing");
        assert!(leaving.quiet());
        hearing.detach_filter().expect("it has one");
        // The listener repeats its part.
        let (connected, _) = tokio::join!(connecting, Listener::accept(&mut leaving));
        connected.expect("the handshake ends well");
    });
}
