//! Whole requests: through a worker, from the client's bytes to the client's bytes, over a network in memory.
//!
//! What is counted is all that the proxy does for a request except the system calls: reading the head, routing, rewriting,
//! balancing, the pool, both bodies, metrics, timers, and the runtime's tasks.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http2::SendRequest;
use ipnet::IpNet;
use prometheus_client::registry::Registry;
use rand::SeedableRng;
use rand::rngs::SmallRng;
use tiergate_data_plane::access_log::{Level, Switch};
use tiergate_data_plane::config::Config;
use tiergate_data_plane::drain;
use tiergate_data_plane::metrics::Metrics;
use tiergate_data_plane::net::Net;
use tiergate_data_plane::snapshot::SnapshotCell;
use tiergate_data_plane::table::Table;
use tiergate_data_plane::worker::Worker;
use tokio::runtime::{Builder, Runtime};
use tokio::task::LocalSet;

use super::table;
use crate::case::{Case, Operation};
use crate::network::{Memory, Peer};
use crate::peers::{self, Http1};

pub(super) const GET: &str = "GET /a HTTP/1.1\r\nHost: h0.example.test\r\n\r\n";
pub(super) const GET_OF_BROWSER: &str = "GET /a?b=c HTTP/1.1\r\nHost: h0.example.test\r\nConnection: keep-alive\r\n\
    Upgrade-Insecure-Requests: 1\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36\r\n\
    Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\nSec-Fetch-Site: none\r\n\
    Sec-Fetch-Mode: navigate\r\nSec-Fetch-User: ?1\r\nSec-Fetch-Dest: document\r\n\
    Accept-Encoding: gzip, deflate, br\r\nAccept-Language: en-GB,en;q=0.9\r\nCookie: session=0123456789abcdef\r\n\r\n";
const POST: &str = "POST /a HTTP/1.1\r\nHost: h0.example.test\r\nContent-Type: application/json\r\n\
    Content-Length: 16\r\n\r\n{\"key\": \"value\"}";
const GET_OF_NOBODY: &str = "GET /a HTTP/1.1\r\nHost: nobody.example.test\r\n\r\n";

pub(super) const CASES: &[Case] = &[
    Case::new("h1/get-64-bytes", 400, || {
        keep_alive(GET, StatusCode::OK, 64)
    }),
    Case::new("h1/get-64-bytes-of-10000-hosts", 400, || {
        let get = GET.replace("h0", "h7777");
        World::new(table::hosts(10_000), Backend::Http1(64)).keep_alive(
            get,
            StatusCode::OK,
            Some(64),
        )
    }),
    Case::new("h1/get-64-bytes-of-browser", 400, || {
        keep_alive(GET_OF_BROWSER, StatusCode::OK, 64)
    }),
    Case::new("h1/get-16-kib", 400, || {
        keep_alive(GET, StatusCode::OK, 16 * 1024)
    }),
    Case::new("h1/get-1-mib", 16, || {
        keep_alive(GET, StatusCode::OK, 1024 * 1024)
    }),
    Case::new("h1/post-16-bytes", 400, || {
        keep_alive(POST, StatusCode::OK, 64)
    }),
    Case::new("h1/404", 400, || {
        let world = World::new(table::hosts(1), Backend::Http1(64));
        world.keep_alive(GET_OF_NOBODY.to_owned(), StatusCode::NOT_FOUND, None)
    }),
    Case::new("h1/connection-with-one-get", 200, connection_each),
    Case::new("h2/get-64-bytes", 400, || http2(Backend::Http1(64))),
    Case::new("h1-to-h2c/get-64-bytes", 400, || {
        let world = World::new(table::h2c(), Backend::H2c(64));
        world.keep_alive(GET.to_owned(), StatusCode::OK, Some(64))
    }),
    Case::new("h2-to-h2c/get-64-bytes", 400, || http2(Backend::H2c(64))),
    // As between two busy tiers: what is done once for each read of the link is shared by those that it brings.
    Case::new("h1-to-h2c/get-64-bytes-of-32", 1024, || {
        many_http1(table::h2c(), Backend::H2c(64))
    }),
    Case::new("h2-of-tier/get-64-bytes-of-32", 1024, || {
        many_http2(Backend::Http1(64))
    }),
];

/// Clients that ask at the same time.
const MANY: u32 = 32;

/// What the endpoint speaks, and how long its answers are.
#[derive(Clone, Copy)]
enum Backend {
    Http1(usize),
    H2c(usize),
}

/// A worker between a client and an endpoint, all on this thread.
struct World {
    runtime: Runtime,
    tasks: LocalSet,
    net: Memory,
    _drain: drain::Handle,
}

fn keep_alive(request: &str, status: StatusCode, body_bytes: usize) -> Operation {
    let world = World::new(table::hosts(1), Backend::Http1(body_bytes));
    world.keep_alive(request.to_owned(), status, Some(body_bytes))
}

fn connection_each() -> Operation {
    let world = World::new(table::hosts(1), Backend::Http1(64));
    Box::new(move |operations| {
        for _ in 0..operations {
            world.run(async {
                let mut client = Http1::connect(&world.net, World::ADDRESS).await;
                let answer = client.exchange(GET.as_bytes()).await;
                assert_eq!(answer, (StatusCode::OK, 64));
            });
        }
    })
}

fn http2(backend: Backend) -> Operation {
    let table = match backend {
        Backend::Http1(_) => table::hosts(1),
        Backend::H2c(_) => table::h2c(),
    };
    let world = World::new(table, backend);
    let client = world.run(peers::http2_client(&world.net, World::ADDRESS));
    Box::new(move |operations| {
        world.run(async {
            for _ in 0..operations {
                get(client.clone()).await;
            }
        });
    })
}

/// Clients with a connection each, which ask at the same time.
fn many_http1(table: Table, backend: Backend) -> Operation {
    let world = World::new(table, backend);
    let mut clients: Vec<_> = (0..MANY)
        .map(|_| world.run(Http1::connect(&world.net, World::ADDRESS)))
        .collect();
    Box::new(move |operations| {
        world.run(async {
            for _ in 0..operations / MANY {
                let asking = clients
                    .iter_mut()
                    .map(|client| client.exchange(GET.as_bytes()));
                let answers = futures::future::join_all(asking).await;
                assert!(answers.iter().all(|answer| *answer == (StatusCode::OK, 64)));
            }
        });
    })
}

/// The requests of many clients on the connection of a tier in front.
fn many_http2(backend: Backend) -> Operation {
    let trusted_proxies = vec![IpNet::from(std::net::IpAddr::from([192, 0, 2, 9]))];
    let world = World::trusting(table::hosts(1), backend, trusted_proxies);
    let client = world.run(peers::http2_client(&world.net, World::ADDRESS));
    Box::new(move |operations| {
        world.run(async {
            for _ in 0..operations / MANY {
                let asking = (0..MANY).map(|_| ask(client.clone(), request_of_tier()));
                futures::future::join_all(asking).await;
            }
        });
    })
}

async fn get(client: SendRequest<Full<Bytes>>) {
    let request = Request::builder()
        .method(Method::GET)
        .uri("http://h0.example.test/a")
        .body(Full::new(Bytes::new()))
        .expect("this is a request");
    ask(client, request).await;
}

/// With what a cluster tier says about its client.
fn request_of_tier() -> Request<Full<Bytes>> {
    Request::builder()
        .method(Method::GET)
        .uri("http://h0.example.test/a")
        .header("x-forwarded-for", "198.51.100.7")
        .header("x-forwarded-proto", "http")
        .header("x-forwarded-host", "h0.example.test")
        .header("x-forwarded-port", "80")
        .header("x-real-ip", "198.51.100.7")
        .header("x-request-id", "0123456789abcdef0123456789abcdef")
        .header("via", "1.1 tiergate-cluster")
        .body(Full::new(Bytes::new()))
        .expect("this is a request")
}

async fn ask(mut client: SendRequest<Full<Bytes>>, request: Request<Full<Bytes>>) {
    let answer = client.send_request(request).await.expect("an answer");
    assert_eq!(answer.status(), StatusCode::OK);
    let body = answer.into_body().collect().await.expect("a whole body");
    assert_eq!(body.to_bytes().len(), 64);
}

// === impl World ===

impl World {
    const ADDRESS: SocketAddr = SocketAddr::new(
        std::net::IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1)),
        80,
    );

    fn new(table: Table, backend: Backend) -> Self {
        Self::trusting(table, backend, Vec::new())
    }

    fn trusting(table: Table, backend: Backend, trusted_proxies: Vec<IpNet>) -> Self {
        let runtime = Builder::new_current_thread().enable_all().build();
        let runtime = runtime.expect("a runtime");
        let tasks = LocalSet::new();
        let net = Memory::default();
        let (handle, signal) = drain::channel();
        let endpoint = net.clone();
        let config = Config {
            http_addresses: vec![Self::ADDRESS],
            trusted_proxies,
            ..Config::new("tiergate-namespace")
        };
        let metrics = Metrics::register(&mut Registry::default());
        let cell = Arc::new(SnapshotCell::new(metrics.clone()));
        cell.publish(table);
        tasks.block_on(&runtime, async {
            let listener = endpoint
                .bind(table::endpoint())
                .await
                .expect("a free address");
            match backend {
                Backend::Http1(body_bytes) => {
                    let answer = peers::answer(body_bytes);
                    drop(tokio::task::spawn_local(Peer::new(peers::serve_http1(
                        listener, answer,
                    ))));
                }
                Backend::H2c(body_bytes) => {
                    drop(tokio::task::spawn_local(Peer::new(peers::serve_http2(
                        listener, body_bytes,
                    ))));
                }
            }
            let rng = SmallRng::seed_from_u64(1);
            let log = Switch::new(Level::Off);
            let worker = Worker::bind(net.clone(), Arc::new(config), cell, metrics, log, rng).await;
            let worker = worker.expect("a free address");
            drop(tokio::task::spawn_local(worker.run(signal)));
        });
        Self {
            runtime,
            tasks,
            net,
            _drain: handle,
        }
    }

    /// Runs a client, and meanwhile everything else.
    fn run<T>(&self, client: impl Future<Output = T>) -> T {
        self.tasks.block_on(&self.runtime, Peer::new(client))
    }

    /// Sends the request again and again on one connection.
    fn keep_alive(
        self,
        request: String,
        status: StatusCode,
        body_bytes: Option<usize>,
    ) -> Operation {
        let mut client = self.run(Http1::connect(&self.net, Self::ADDRESS));
        Box::new(move |operations| {
            self.run(async {
                for _ in 0..operations {
                    let (answered, bytes) = client.exchange(request.as_bytes()).await;
                    assert_eq!(answered, status);
                    assert!(body_bytes.is_none_or(|wanted| wanted == bytes));
                }
            });
        })
    }
}
