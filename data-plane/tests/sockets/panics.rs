//! A fault of ours in one connection: what it costs, and what not.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use prometheus_client::registry::Registry;
use rand::SeedableRng;
use rand::rngs::SmallRng;
use tiergate_data_plane::access_log::{Level, Switch};
use tiergate_data_plane::drain;
use tiergate_data_plane::metrics::Metrics;
use tiergate_data_plane::net::{Listener, Net, TokioNet};
use tiergate_data_plane::snapshot::SnapshotCell;
use tiergate_data_plane::worker::Worker;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};

use crate::harness::client::Client;
use crate::harness::endpoint::{Peer, scripted};
use crate::harness::{config, frames, run, table_of, until};

/// Whoever reads these bytes panics.
const TRAP: &[u8] = b"trap!";

/// The kernel's TCP with a trap in it.
#[derive(Clone, Copy)]
struct Trapped;

struct TrappedListener(TcpListener);

struct TrappedStream(TcpStream);

impl Net for Trapped {
    type Stream = TrappedStream;
    type Listener = TrappedListener;

    async fn bind(&self, address: SocketAddr) -> io::Result<TrappedListener> {
        TokioNet.bind(address).await.map(TrappedListener)
    }

    async fn connect(&self, to: SocketAddr, from: Option<IpAddr>) -> io::Result<TrappedStream> {
        TokioNet.connect(to, from).await.map(TrappedStream)
    }

    async fn resolve(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        TokioNet.resolve(host, port).await
    }
}

impl Listener for TrappedListener {
    type Stream = TrappedStream;

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }

    async fn accept(&mut self) -> (TrappedStream, SocketAddr) {
        let (stream, peer) = Listener::accept(&mut self.0).await;
        (TrappedStream(stream), peer)
    }
}

impl AsyncRead for TrappedStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.0).poll_read(cx, buffer))?;
        let read = &buffer.filled()[before..];
        assert!(
            !read.windows(TRAP.len()).any(|bytes| bytes == TRAP),
            "a fault of ours"
        );
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for TrappedStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

#[test]
fn a_panic_costs_the_connection_or_the_stream_that_it_happens_in() {
    run(async {
        let endpoint = scripted(|mut peer: Peer| async move {
            while let Some(request) = peer.receive().await {
                let is_trap = request.head.contains("/endpoint");
                peer.answer(if is_trap { "trap!" } else { "well" }).await;
            }
        })
        .await;
        let mut registry = Registry::with_prefix("tiergate");
        let metrics = Metrics::register(&mut registry);
        let cell = Arc::new(SnapshotCell::new(metrics.clone()));
        cell.publish(table_of(&[endpoint.address]));
        let (rng, log) = (SmallRng::seed_from_u64(1), Switch::new(Level::Off));
        let bound = Worker::bind(Trapped, Arc::new(config()), cell, metrics, log, rng);
        let worker = bound.await.expect("the addresses are free");
        let address = worker.http_addresses()[0];
        let (_handle, signal) = drain::channel();
        let running = tokio::task::spawn_local(worker.run(signal));

        let request = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: a.example\r\n\r\n");
        let mut bystander = Client::connect(address).await;
        for path in ["/trap!", "/endpoint"] {
            bystander.send(request("/")).await;
            assert_eq!(bystander.response().await.text(), "well");
            let mut victim = Client::connect(address).await;
            victim.send(request(path)).await;
            assert!(victim.try_response().await.is_none(), "{path}");
            bystander.send(request("/")).await;
            assert_eq!(bystander.response().await.text(), "well", "{path}");
            let open = || {
                let mut text = String::new();
                prometheus_client::encoding::text::encode(&mut text, &registry).expect("text");
                let is_open = text.contains("\ntiergate_client_connections_open 1\n");
                is_open && text.contains("tiergate_requests_in_flight{tenant=\"team\"} 0\n")
            };
            until(open).await;
        }
        // On HTTP/2 a fault in one stream leaves the others of its connection alone.
        let mut client = frames::connect(address, 65_535).await;
        let mut ends = Vec::new();
        for (number, path) in [(1, "/endpoint"), (3, "/")] {
            let asked = frames::request(number, true, "GET", path, &[]);
            client.send(asked).await;
            ends.push(loop {
                let frame = frames::read(&mut client).await.expect("it goes on");
                if frame.stream == number && (frame.is_last() || frame.kind == frames::RST_STREAM) {
                    break frame.kind;
                }
            });
        }
        assert_eq!(ends, [frames::RST_STREAM, frames::DATA]);
        assert!(!running.is_finished(), "the worker goes on");
    });
}
