//! Listeners that share their port with nobody.
//!
//! The tiers' listeners let successors of the same program bind the same port. The proxy must not: it would silently take half of the
//! connections of a program that happens to have the address of a Service.

use std::io;
use std::net::{IpAddr, SocketAddr};

use tiergate_data_plane::net::{Net, TokioNet};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

/// Connections that wait to be accepted, per listener.
const ACCEPT_QUEUE_MAX: u32 = 1024;

/// The kernel's TCP, with listeners of one's own.
#[derive(Clone, Copy, Debug, Default)]
pub struct ExclusiveNet;

// === impl ExclusiveNet ===

impl Net for ExclusiveNet {
    type Stream = TcpStream;
    type Listener = TcpListener;

    async fn bind(&self, address: SocketAddr) -> io::Result<TcpListener> {
        let socket = match address.ip() {
            IpAddr::V4(_) => TcpSocket::new_v4()?,
            IpAddr::V6(_) => TcpSocket::new_v6()?,
        };
        // Only past old connections that the kernel still remembers; two listeners stay impossible.
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        socket.listen(ACCEPT_QUEUE_MAX)
    }

    async fn connect(&self, to: SocketAddr, from: Option<IpAddr>) -> io::Result<TcpStream> {
        TokioNet.connect(to, from).await
    }

    async fn resolve(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        TokioNet.resolve(host, port).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_port_that_somebody_shares_is_taken_all_the_same() {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let shared = TokioNet.bind(any).await.unwrap();
        let address = shared.local_addr().unwrap();
        assert!(TokioNet.bind(address).await.is_ok());
        let error = ExclusiveNet.bind(address).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
    }
}
