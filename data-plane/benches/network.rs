//! A network in memory, for one thread: what the proxy does for a request, without the kernel.
//!
//! In: listeners and connections as [`Net`] has them. Out: two ends of a pipe. The peers of the proxy run as [`Peer`]s, so
//! that callgrind does not count them.

use std::collections::BTreeMap;
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll};

use tiergate_data_plane::net::{Listener, Net};
use tokio::io::{DuplexStream, duplex};
use tokio::sync::mpsc;

use crate::case::uncounted;

/// Bytes on their way in one direction, as a socket would buffer them.
const PIPE_BYTES_MAX: usize = 256 * 1024;
/// Connections that wait to be accepted.
const ACCEPT_QUEUE_MAX: usize = 16;

type Connection = (DuplexStream, SocketAddr);

/// The network.
#[derive(Clone, Default)]
pub(crate) struct Memory {
    listeners: Arc<Mutex<BTreeMap<SocketAddr, mpsc::Sender<Connection>>>>,
}

/// A listener in it.
pub(crate) struct MemoryListener {
    address: SocketAddr,
    waiting: mpsc::Receiver<Connection>,
}

/// A client or an endpoint.
pub(crate) struct Peer<F>(Pin<Box<F>>);

/// Runs the tasks of peers that speak HTTP/2.
#[derive(Clone)]
pub(crate) struct PeerExecutor;

// === impl Memory ===

impl Memory {
    fn listeners(&self) -> MutexGuard<'_, BTreeMap<SocketAddr, mpsc::Sender<Connection>>> {
        self.listeners.lock().expect("nobody panics who has it")
    }
}

impl Net for Memory {
    type Stream = DuplexStream;
    type Listener = MemoryListener;

    async fn bind(&self, address: SocketAddr) -> io::Result<MemoryListener> {
        let (sender, waiting) = mpsc::channel(ACCEPT_QUEUE_MAX);
        self.listeners().insert(address, sender);
        Ok(MemoryListener { address, waiting })
    }

    async fn connect(&self, to: SocketAddr, _: Option<IpAddr>) -> io::Result<DuplexStream> {
        let (ours, theirs) = duplex(PIPE_BYTES_MAX);
        let listener = self.listeners().get(&to).cloned();
        let listener = listener.ok_or(io::ErrorKind::ConnectionRefused)?;
        let from = SocketAddr::from(([192, 0, 2, 9], 40_000));
        let sent = listener.send((theirs, from)).await;
        sent.map_err(|_| io::ErrorKind::ConnectionRefused)?;
        Ok(ours)
    }

    async fn resolve(&self, _: &str, _: u16) -> io::Result<Vec<SocketAddr>> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

impl Listener for MemoryListener {
    type Stream = DuplexStream;

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.address)
    }

    async fn accept(&mut self) -> Connection {
        match self.waiting.recv().await {
            Some(connection) => connection,
            None => std::future::pending().await,
        }
    }
}

// === impl Peer ===

impl<F: Future> Peer<F> {
    pub(crate) fn new(future: F) -> Self {
        Self(Box::pin(future))
    }
}

impl<F: Future> Future for Peer<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        uncounted(|| self.0.as_mut().poll(cx))
    }
}

// === impl PeerExecutor ===

impl<F: Future + 'static> hyper::rt::Executor<F> for PeerExecutor {
    fn execute(&self, future: F) {
        let task = async move { drop(Peer::new(future).await) };
        drop(tokio::task::spawn_local(task));
    }
}
