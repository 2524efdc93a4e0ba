//! One connection to the target: opened, asked, read.
//!
//! Every way in which that can fail has a name of its own, by which it is counted.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use nix::errno::Errno;
use rustls::HandshakeKind;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::framing::{HEAD_BYTES_MAX, Head, Malformed};
use crate::target::Target;

/// Bytes that are read at once: a large answer should not cost many calls.
const READ_BYTES: usize = 64 * 1024;

/// An open connection.
pub(crate) struct Connection {
    wire: Wire,
    read: Vec<u8>,
    filled: usize,
}

enum Wire {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// An answer, whole.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Answered {
    pub(crate) status: u16,
    /// The connection is not to be used again.
    pub(crate) is_last: bool,
}

/// Why there is no answer. [`Failure::kind`] is what it is counted as.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error("no connection: {0}")]
    Connect(io::Error),
    #[error("no TLS: {0}")]
    Tls(io::Error),
    #[error("the server resumed a session that was never offered")]
    Resumed,
    #[error("the connection failed: {0}")]
    Broken(io::Error),
    #[error("the server closed the connection before the end of its answer")]
    Closed,
    #[error("the answer is no HTTP/1.1")]
    Malformed,
    #[error("no answer in time")]
    TimedOut,
}

// === impl Failure ===

impl Failure {
    /// A word for the report.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Connect(error) => match error.raw_os_error().map(Errno::from_raw) {
                Some(Errno::ECONNREFUSED) => "connect_refused",
                Some(Errno::ECONNRESET) => "connect_reset",
                Some(Errno::EADDRNOTAVAIL | Errno::EADDRINUSE) => "no_local_port",
                Some(Errno::EMFILE | Errno::ENFILE) => "no_descriptor",
                Some(_) | None => "connect_failed",
            },
            Self::Tls(error) if is_reset(error) => "tls_reset",
            Self::Tls(_) => "tls_failed",
            Self::Resumed => "tls_resumed",
            Self::Broken(error) if is_reset(error) => "reset",
            Self::Broken(_) => "broken",
            Self::Closed => "closed",
            Self::Malformed => "malformed",
            Self::TimedOut => "timeout",
        }
    }
}

fn is_reset(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe
    )
}

impl From<Malformed> for Failure {
    fn from(Malformed: Malformed) -> Self {
        Self::Malformed
    }
}

// === impl Connection ===

impl Connection {
    /// Opens the connection with this number.
    pub(crate) async fn open(target: &Target, number: usize) -> Result<Self, Failure> {
        let stream = connect(target, number).await.map_err(Failure::Connect)?;
        let wire = match &target.tls {
            None => Wire::Plain(stream),
            Some((config, name)) => {
                let connector = TlsConnector::from(config.clone());
                let stream = connector.connect(name.clone(), stream).await;
                let stream = stream.map_err(Failure::Tls)?;
                if stream.get_ref().1.handshake_kind() == Some(HandshakeKind::Resumed) {
                    return Err(Failure::Resumed);
                }
                Wire::Tls(Box::new(stream))
            }
        };
        Ok(Self {
            wire,
            read: Vec::new(),
            filled: 0,
        })
    }

    /// Sends the bytes of a request and reads the answer, within a limit of time.
    pub(crate) async fn ask_within(
        &mut self,
        request: &[u8],
        limit: Duration,
    ) -> Result<Answered, Failure> {
        timeout_at(Instant::now() + limit, self.ask(request))
            .await
            .map_err(|_| Failure::TimedOut)?
    }

    /// Sends the bytes of a request and reads the answer.
    pub(crate) async fn ask(&mut self, request: &[u8]) -> Result<Answered, Failure> {
        self.send(request).await.map_err(Failure::Broken)?;
        loop {
            let answered = self.answer().await?;
            if !(100..200).contains(&answered.status) {
                return Ok(answered);
            }
        }
    }

    async fn answer(&mut self) -> Result<Answered, Failure> {
        let head = loop {
            if let Some(head) = Head::parse(&self.read[..self.filled])? {
                break head;
            }
            if self.more(HEAD_BYTES_MAX).await? == 0 {
                return Err(Failure::Closed);
            }
        };
        self.pass(head.bytes);
        let Head {
            status, mut body, ..
        } = head;
        loop {
            let taken = body.take(&self.read[..self.filled])?;
            self.pass(taken);
            if body.is_complete() {
                break;
            }
            if self.more(READ_BYTES).await? == 0 {
                if body == crate::framing::Body::UntilClose {
                    break;
                }
                return Err(Failure::Closed);
            }
        }
        let is_last = head.is_last;
        Ok(Answered { status, is_last })
    }

    /// Forgets so many bytes. Nearly always all that are there.
    fn pass(&mut self, count: usize) {
        self.read.copy_within(count..self.filled, 0);
        self.filled -= count;
    }

    /// Reads into a buffer of this size; how much.
    async fn more(&mut self, size: usize) -> Result<usize, Failure> {
        if self.read.len() < size {
            self.read.resize(size, 0);
        }
        let room = &mut self.read[self.filled..];
        let count = match &mut self.wire {
            Wire::Plain(stream) => stream.read(room).await,
            Wire::Tls(stream) => stream.read(room).await,
        };
        let count = count.map_err(Failure::Broken)?;
        self.filled += count;
        Ok(count)
    }

    /// Gives the buffer back: for connections that wait.
    pub(crate) fn shrink(&mut self) {
        self.read.truncate(self.filled);
        self.read.shrink_to_fit();
    }

    /// Writes bytes as they are.
    pub(crate) async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        match &mut self.wire {
            Wire::Plain(stream) => stream.write_all(bytes).await,
            Wire::Tls(stream) => {
                stream.write_all(bytes).await?;
                stream.flush().await
            }
        }
    }

    /// Reads what comes into this buffer; 0 at the end.
    pub(crate) async fn receive(&mut self, room: &mut [u8]) -> io::Result<usize> {
        match &mut self.wire {
            Wire::Plain(stream) => stream.read(room).await,
            Wire::Tls(stream) => stream.read(room).await,
        }
    }

    /// Ends the connection as a client does that has what it wants.
    pub(crate) async fn close(mut self) {
        // The server may have closed before: that is no failure of the answer.
        let _ = match &mut self.wire {
            Wire::Plain(stream) => stream.shutdown().await,
            Wire::Tls(stream) => stream.shutdown().await,
        };
    }
}

/// Connects from the source address that this number has.
pub(crate) async fn connect(target: &Target, number: usize) -> io::Result<TcpStream> {
    let socket = if target.address.is_ipv4() {
        TcpSocket::new_v4()?
    } else {
        TcpSocket::new_v6()?
    };
    if let Some(source) = target.source(number) {
        // Without this the kernel would give each connection a port of its own, whoever it goes to.
        nix::sys::socket::setsockopt(
            &socket,
            nix::sys::socket::sockopt::IpBindAddressNoPort,
            &true,
        )?;
        socket.bind(SocketAddr::new(source, 0))?;
    }
    let stream = socket.connect(target.address).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}
