//! The network as the tiers see it: the one seam between our code and sockets.
//!
//! The product uses [`TokioNet`]; the simulator brings its own. Nothing else may open a socket.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

#[cfg(target_os = "linux")]
use nix::sys::socket::{setsockopt, sockopt};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

mod descriptors;
mod families;
#[cfg(target_os = "linux")]
mod quiet;

pub use descriptors::raise_descriptors;
pub(crate) use descriptors::{Scarce, connections_before_pause};
pub use families::Families;

/// Opens listeners and connections.
pub trait Net: Clone + Send + Sync + 'static {
    /// A connection.
    type Stream: AsyncRead + AsyncWrite + Send + Unpin + 'static;
    /// A bound listener.
    type Listener: Listener<Stream = Self::Stream>;

    /// Binds `address`. Several workers of one process may bind the same one; the kernel spreads connections over them.
    fn bind(&self, address: SocketAddr) -> impl Future<Output = io::Result<Self::Listener>> + Send;

    /// Binds `address` as [`Self::bind`] does, also when no interface has it yet: connections come once one does. A network that
    /// knows no such thing binds it as any other.
    fn bind_free(
        &self,
        address: SocketAddr,
    ) -> impl Future<Output = io::Result<Self::Listener>> + Send {
        self.bind(address)
    }

    /// Whether `address` can be bound. It takes no connection meanwhile: another process of ours may be serving there, and a
    /// connection that came to us would be reset.
    fn try_bind(
        &self,
        address: SocketAddr,
        is_free: bool,
    ) -> impl Future<Output = io::Result<()>> + Send {
        async move {
            if is_free {
                self.bind_free(address).await.map(drop)
            } else {
                self.bind(address).await.map(drop)
            }
        }
    }

    /// Connects to `to`, from `from` when one is given. Waits without limit: the caller sets one.
    fn connect(
        &self,
        to: SocketAddr,
        from: Option<IpAddr>,
    ) -> impl Future<Output = io::Result<Self::Stream>> + Send;

    /// How many connections and other files this process may have open; nothing: nobody counts.
    fn descriptors_max(&self) -> Option<usize> {
        None
    }

    /// The families of addresses that connections can be opened to from here.
    fn families(&self) -> Families {
        Families::Both
    }

    /// The addresses of a name. Only for the API server's name in a kubeconfig and for `probe`: the request path never resolves.
    fn resolve(
        &self,
        host: &str,
        port: u16,
    ) -> impl Future<Output = io::Result<Vec<SocketAddr>>> + Send;
}

/// Accepts connections.
pub trait Listener: Send + 'static {
    /// A connection.
    type Stream;

    /// The bound address, with the port that the kernel chose when 0 was asked for.
    ///
    /// # Errors
    /// When the socket is gone.
    fn local_addr(&self) -> io::Result<SocketAddr>;

    /// The next connection and the address of its peer. Errors of single connections are logged and passed over; when
    /// the process is out of file descriptors it waits and tries again.
    fn accept(&mut self) -> impl Future<Output = (Self::Stream, SocketAddr)> + Send;

    /// As [`Self::accept`], but what keeps the process from accepting at all is left to the caller, who must wait before it
    /// tries again: the kernel would say the same at once.
    fn try_accept(&mut self) -> impl Future<Output = io::Result<(Self::Stream, SocketAddr)>> + Send
    where
        Self: Sized,
    {
        async { Ok(self.accept().await) }
    }

    /// Lets no client begin a connection here any more, without refusing one: it tries again, and comes to another listener of
    /// the same address if there is one. What has begun still comes out of [`Self::accept`]. False: this listener cannot do
    /// that, and closing it may cut what has begun.
    fn quiet(&mut self) -> bool {
        false
    }
}

/// The kernel's TCP.
#[derive(Clone, Copy, Debug, Default)]
pub struct TokioNet;

/// Connections that wait to be accepted, per listener; the kernel drops further SYNs and counts them (`ListenOverflows`).
const ACCEPT_QUEUE_MAX: u32 = 4096;

/// How long to wait when `accept` fails for want of file descriptors or memory.
const ACCEPT_RETRY_DELAY: Duration = Duration::from_millis(50);

// === impl TokioNet ===

impl Net for TokioNet {
    type Stream = TcpStream;
    type Listener = TcpListener;

    async fn bind(&self, address: SocketAddr) -> io::Result<TcpListener> {
        bound(address, false)?.listen(ACCEPT_QUEUE_MAX)
    }

    async fn bind_free(&self, address: SocketAddr) -> io::Result<TcpListener> {
        bound(address, true)?.listen(ACCEPT_QUEUE_MAX)
    }

    async fn try_bind(&self, address: SocketAddr, is_free: bool) -> io::Result<()> {
        // Connections come to a socket that listens, and this one never does.
        bound(address, is_free).map(drop)
    }

    async fn connect(&self, to: SocketAddr, from: Option<IpAddr>) -> io::Result<TcpStream> {
        let socket = socket_for(to.ip())?;
        if let Some(from) = from.filter(|from| from.is_ipv4() == to.is_ipv4()) {
            // Without this every connection would need a port of its own, whoever it goes to (IP_BIND_ADDRESS_NO_PORT).
            #[cfg(target_os = "linux")]
            setsockopt(&socket, sockopt::IpBindAddressNoPort, &true)?;
            socket.bind(SocketAddr::new(from, 0))?;
        }
        let stream = socket.connect(to).await?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }

    fn descriptors_max(&self) -> Option<usize> {
        descriptors::descriptors_max()
    }

    fn families(&self) -> Families {
        families::families()
    }

    async fn resolve(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        Ok(tokio::net::lookup_host((host, port)).await?.collect())
    }
}

/// A socket with this address, which several processes of one user may have.
fn bound(address: SocketAddr, is_free: bool) -> io::Result<TcpSocket> {
    let socket = socket_for(address.ip())?;
    socket.set_reuseaddr(true)?;
    socket.set_reuseport(true)?;
    // Connections that come to it have this from it, which saves a call for each.
    #[cfg(target_os = "linux")]
    socket.set_nodelay(true)?;
    if is_free {
        allow_absent(&socket, address.ip())?;
    }
    socket.bind(address)?;
    Ok(socket)
}

/// Lets the socket have an address that no interface has (IP_FREEBIND).
#[cfg(target_os = "linux")]
fn allow_absent(socket: &TcpSocket, address: IpAddr) -> io::Result<()> {
    let socket = socket2::SockRef::from(socket);
    match address {
        IpAddr::V4(_) => socket.set_freebind_v4(true),
        IpAddr::V6(_) => socket.set_freebind_v6(true),
    }
}

#[cfg(not(target_os = "linux"))]
fn allow_absent(_: &TcpSocket, _: IpAddr) -> io::Result<()> {
    let message = "only Linux lets a socket have an address that no interface has";
    Err(io::Error::new(io::ErrorKind::Unsupported, message))
}

fn socket_for(address: IpAddr) -> io::Result<TcpSocket> {
    if address.is_ipv4() {
        TcpSocket::new_v4()
    } else {
        TcpSocket::new_v6()
    }
}

impl Listener for TcpListener {
    type Stream = TcpStream;

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Self::local_addr(self)
    }

    async fn accept(&mut self) -> (TcpStream, SocketAddr) {
        loop {
            match Listener::try_accept(self).await {
                Ok(accepted) => return accepted,
                Err(error) => {
                    tracing::error!(%error, reason = "accept_failed", "cannot accept connections; trying again");
                    tokio::time::sleep(ACCEPT_RETRY_DELAY).await;
                }
            }
        }
    }

    async fn try_accept(&mut self) -> io::Result<(TcpStream, SocketAddr)> {
        loop {
            match Self::accept(self).await {
                #[cfg(target_os = "linux")]
                Ok(accepted) => return Ok(accepted),
                #[cfg(not(target_os = "linux"))]
                Ok((stream, peer)) => {
                    if stream.set_nodelay(true).is_ok() {
                        return Ok((stream, peer));
                    }
                }
                Err(error) if is_of_one_connection(&error) => {}
                Err(error) => return Err(error),
            }
        }
    }

    #[cfg(target_os = "linux")]
    fn quiet(&mut self) -> bool {
        let quieted = quiet::quiet(self);
        if let Err(error) = &quieted {
            tracing::warn!(%error, reason = "hand_off", "connections that begin at this moment may be reset");
        }
        quieted.is_ok()
    }
}

/// The peer went away before we took the connection: no trouble of ours.
fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
    )
}
