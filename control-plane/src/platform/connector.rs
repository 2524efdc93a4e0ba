//! Opens the connections of the kube client through [`Net`].
//!
//! In: a URI. Out: a stream to the first of its addresses that answers. It does not speak TLS.

use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::TokioIo;
use tiergate_data_plane::net::Net;
use tower::Service;

/// One address of several: when it does not answer, the next is tried.
const ADDRESS_TIMEOUT: Duration = Duration::from_secs(3);

/// Connects to where a URI points.
#[derive(Clone, Debug)]
pub(super) struct Connector<N> {
    net: N,
}

/// A connection in the form that hyper wants.
#[derive(Debug)]
pub(super) struct Link<S>(TokioIo<S>);

// === impl Connector ===

impl<N: Net> Connector<N> {
    pub(super) fn new(net: N) -> Self {
        Self { net }
    }
}

impl<N: Net> Service<http::Uri> for Connector<N> {
    type Response = Link<N::Stream>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: http::Uri) -> Self::Future {
        let net = self.net.clone();
        Box::pin(async move {
            let addresses = addresses(&net, &uri).await?;
            let stream = first_that_answers(&net, &addresses).await?;
            Ok(Link(TokioIo::new(stream)))
        })
    }
}

async fn addresses<N: Net>(net: &N, uri: &http::Uri) -> io::Result<Vec<SocketAddr>> {
    let host = uri.host().ok_or_else(|| {
        io::Error::new(
            io::ErrorKind::InvalidInput,
            "the API server's URL has no host",
        )
    })?;
    let default_port = if uri.scheme_str() == Some("http") {
        80
    } else {
        443
    };
    let port = uri.port_u16().unwrap_or(default_port);
    let literal = host.trim_start_matches('[').trim_end_matches(']');
    match literal.parse::<IpAddr>() {
        Ok(address) => Ok(vec![SocketAddr::new(address, port)]),
        Err(_) => net.resolve(host, port).await,
    }
}

async fn first_that_answers<N: Net>(net: &N, addresses: &[SocketAddr]) -> io::Result<N::Stream> {
    let mut last = io::Error::new(
        io::ErrorKind::NotFound,
        "the API server's name has no address",
    );
    for &address in addresses {
        match tokio::time::timeout(ADDRESS_TIMEOUT, net.connect(address, None)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => {
                last = io::Error::new(error.kind(), format!("connecting to {address}: {error}"));
            }
            Err(_) => {
                last = io::Error::new(
                    io::ErrorKind::TimedOut,
                    format!("connecting to {address} took longer than {ADDRESS_TIMEOUT:?}"),
                );
            }
        }
    }
    Err(last)
}

// === impl Link ===

impl<S: Unpin> Link<S> {
    fn inner(self: Pin<&mut Self>) -> Pin<&mut TokioIo<S>> {
        Pin::new(&mut self.get_mut().0)
    }
}

impl<S> Connection for Link<S> {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl<S: tokio::io::AsyncRead + Unpin> Read for Link<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        self.inner().poll_read(cx, buffer)
    }
}

impl<S: tokio::io::AsyncWrite + Unpin> Write for Link<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.inner().poll_write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.inner().poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.inner().poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.0.is_write_vectored()
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.inner().poll_write_vectored(cx, slices)
    }
}
