//! The network of a host, as the tiers and the actors see it: [`SimNet`] is to a world what `TokioNet` is to a kernel.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, BytesMut};
use tiergate_data_plane::net::{Families, Listener, Net};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use turmoil_net::shim::tokio::net as shim;

use super::HostId;
use super::kernels::Kernels;

/// Read at least so much from a kernel at once. It tells the sender of room only when one read has made half of its buffer free, so whoever reads less
/// would stop the sender for ever (docs/adr/0038-the-simulated-world.md).
const READ_MIN: usize = super::RECEIVE_BUFFER / 2;

/// What all hosts of the world on this thread share.
#[derive(Debug)]
pub(super) struct Switchboard {
    pub(super) kernels: Kernels,
    /// The host that runs at the moment.
    pub(super) running: Option<HostId>,
    /// Addresses by name.
    pub(super) names: BTreeMap<String, Vec<IpAddr>>,
}

thread_local! {
    static SWITCHBOARD: RefCell<Option<Rc<RefCell<Switchboard>>>> = const { RefCell::new(None) };
}

/// The sockets of whichever host runs at the moment.
#[derive(Clone, Copy, Debug, Default)]
pub struct SimNet;

/// A connection.
#[derive(Debug)]
pub struct SimStream {
    inner: shim::TcpStream,
    /// Read and not yet asked for.
    ahead: BytesMut,
}

/// A bound listener.
#[derive(Debug)]
pub struct SimListener {
    inner: shim::TcpListener,
    address: SocketAddr,
}

/// Installs what the hosts of this thread share, or takes it away.
pub(super) fn install(switchboard: Option<Rc<RefCell<Switchboard>>>) {
    SWITCHBOARD.with(|place| *place.borrow_mut() = switchboard);
}

/// Asks what all hosts share. An error outside of a host.
fn ask<T>(
    question: impl FnOnce(&Switchboard, HostId) -> Option<T>,
    otherwise: io::ErrorKind,
) -> io::Result<T> {
    SWITCHBOARD.with(|place| {
        let place = place.borrow();
        let switchboard = place.as_ref().ok_or(io::ErrorKind::NetworkDown)?.borrow();
        let running = switchboard.running.ok_or(io::ErrorKind::NetworkDown)?;
        question(&switchboard, running).ok_or_else(|| otherwise.into())
    })
}

// === impl SimNet ===

impl Net for SimNet {
    type Stream = SimStream;
    type Listener = SimListener;

    async fn bind(&self, address: SocketAddr) -> io::Result<SimListener> {
        let inner = ask(
            |board, host| board.kernels.inner_of(host, address.ip()),
            io::ErrorKind::AddrNotAvailable,
        )?;
        let inner = shim::TcpListener::bind(SocketAddr::new(inner, address.port())).await?;
        let port = inner.local_addr()?.port();
        Ok(SimListener {
            inner,
            address: SocketAddr::new(address.ip(), port),
        })
    }

    async fn connect(&self, to: SocketAddr, _from: Option<IpAddr>) -> io::Result<SimStream> {
        let inner = shim::TcpStream::connect(to).await?;
        Ok(SimStream::new(inner))
    }

    fn families(&self) -> Families {
        Families::Ipv4
    }

    async fn resolve(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        let addresses = match host.parse::<IpAddr>() {
            Ok(address) => vec![address],
            Err(_) => ask(
                |board, _| board.names.get(host).cloned(),
                io::ErrorKind::NotFound,
            )?,
        };
        Ok(addresses
            .into_iter()
            .map(|address| SocketAddr::new(address, port))
            .collect())
    }
}

// === impl SimListener ===

impl Listener for SimListener {
    type Stream = SimStream;

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.address)
    }

    async fn accept(&mut self) -> (SimStream, SocketAddr) {
        loop {
            // It fails only when the socket is gone, and it is here.
            if let Ok((stream, peer)) = self.inner.accept().await {
                return (SimStream::new(stream), peer);
            }
            tokio::task::yield_now().await;
        }
    }
}

// === impl SimStream ===

impl SimStream {
    fn new(inner: shim::TcpStream) -> Self {
        Self {
            inner,
            ahead: BytesMut::new(),
        }
    }
}

impl Drop for SimStream {
    /// turmoil-net goes on to take what comes for a closed socket, as if somebody would read it; Linux refuses it.
    fn drop(&mut self) {
        if let (Ok(local), Ok(peer)) = (self.inner.local_addr(), self.inner.peer_addr()) {
            SWITCHBOARD.with(|place| {
                if let Some(board) = place.borrow().as_ref() {
                    board.borrow_mut().kernels.drop_connection(local, peer);
                }
            });
        }
    }
}

impl AsyncRead for SimStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.ahead.is_empty() {
            if buffer.remaining() >= READ_MIN {
                return Pin::new(&mut self.inner).poll_read(context, buffer);
            }
            let mut bytes = [0; super::RECEIVE_BUFFER];
            let mut ahead = ReadBuf::new(&mut bytes);
            ready!(Pin::new(&mut self.inner).poll_read(context, &mut ahead))?;
            self.ahead.extend_from_slice(ahead.filled());
        }
        let count = self.ahead.len().min(buffer.remaining());
        buffer.put_slice(&self.ahead[..count]);
        self.ahead.advance(count);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for SimStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(context)
    }
}
