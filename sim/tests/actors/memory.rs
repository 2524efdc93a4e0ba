//! A network in memory, so that tests can run in simulated time: nothing in it waits for the kernel.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};

use tiergate_data_plane::net;
use tokio::io::DuplexStream;
use tokio::sync::mpsc;

const BUFFER_BYTES: usize = 256 * 1024;
const ACCEPT_QUEUE_MAX: usize = 1024;

type Accepted = (DuplexStream, SocketAddr);

/// The network; all clones are one.
#[derive(Clone, Default)]
pub(crate) struct Net(Arc<Mutex<BTreeMap<SocketAddr, mpsc::Sender<Accepted>>>>);

/// A bound address.
pub(crate) struct Listener {
    address: SocketAddr,
    accepted: mpsc::Receiver<Accepted>,
}

impl net::Net for Net {
    type Stream = DuplexStream;
    type Listener = Listener;

    async fn bind(&self, address: SocketAddr) -> io::Result<Listener> {
        let (sender, accepted) = mpsc::channel(ACCEPT_QUEUE_MAX);
        self.0.lock().unwrap().insert(address, sender);
        Ok(Listener { address, accepted })
    }

    async fn connect(&self, to: SocketAddr, _: Option<IpAddr>) -> io::Result<DuplexStream> {
        let refused = || io::Error::from(io::ErrorKind::ConnectionRefused);
        let listener = self
            .0
            .lock()
            .unwrap()
            .get(&to)
            .cloned()
            .ok_or_else(refused)?;
        let (ours, theirs) = tokio::io::duplex(BUFFER_BYTES);
        listener.send((theirs, to)).await.map_err(|_| refused())?;
        Ok(ours)
    }

    async fn resolve(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        let address: IpAddr = host.parse().map_err(io::Error::other)?;
        Ok(vec![SocketAddr::new(address, port)])
    }
}

impl net::Listener for Listener {
    type Stream = DuplexStream;

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.address)
    }

    async fn accept(&mut self) -> Accepted {
        match self.accepted.recv().await {
            Some(accepted) => accepted,
            None => std::future::pending().await,
        }
    }
}
