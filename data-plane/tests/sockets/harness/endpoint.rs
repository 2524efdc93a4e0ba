//! An endpoint that follows a script: a closure that gets each connection, and a record of what it received.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;

use tokio::net::{TcpListener, TcpStream};

use super::client::{Client, values};

/// A request as it arrived.
#[derive(Clone, Debug)]
pub(crate) struct Received {
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

/// A connection as the script sees it.
pub(crate) struct Peer {
    pub(crate) wire: Client,
    /// How many connections were before it.
    pub(crate) number: usize,
    log: Rc<RefCell<Vec<Received>>>,
}

/// A listening endpoint.
#[derive(Clone)]
pub(crate) struct Endpoint {
    pub(crate) address: SocketAddr,
    log: Rc<RefCell<Vec<Received>>>,
    connections: Rc<Cell<usize>>,
}

/// Starts an endpoint that runs `script` for each connection.
pub(crate) async fn scripted<F, D>(script: F) -> Endpoint
where
    F: Fn(Peer) -> D + 'static,
    D: Future<Output = ()> + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let endpoint = Endpoint {
        address: listener.local_addr().expect("an address"),
        log: Rc::default(),
        connections: Rc::default(),
    };
    let shared = endpoint.clone();
    tokio::task::spawn_local(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let number = shared.connections.get();
            shared.connections.set(number + 1);
            let peer = Peer {
                wire: Client::of(stream),
                number,
                log: shared.log.clone(),
            };
            tokio::task::spawn_local(script(peer));
        }
    });
    endpoint
}

/// An endpoint that answers every request with the head it received.
pub(crate) async fn echo() -> Endpoint {
    scripted(|mut peer: Peer| async move {
        while let Some(received) = peer.receive().await {
            let body = if received.head.starts_with("HEAD ") {
                ""
            } else {
                &received.head
            };
            peer.answer(body).await;
        }
    })
    .await
}

/// An endpoint that answers every request with these bytes.
pub(crate) async fn answering(bytes: &'static str) -> Endpoint {
    scripted(move |mut peer: Peer| async move {
        while peer.receive().await.is_some() {
            peer.wire.send(bytes).await;
        }
    })
    .await
}

/// An endpoint that accepts nothing: its queue of one is full, and the kernel drops further SYNs.
pub(crate) struct Full {
    pub(crate) address: SocketAddr,
    _listener: TcpListener,
    _waiting: Vec<std::io::Result<tokio::net::TcpStream>>,
}

impl Full {
    pub(crate) async fn listen() -> Self {
        const SOON: std::time::Duration = std::time::Duration::from_millis(300);
        let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
        socket
            .bind("127.0.0.1:0".parse().expect("an address"))
            .expect("bound");
        let listener = socket.listen(0).expect("listening");
        let address = listener.local_addr().expect("an address");
        let mut waiting = Vec::new();
        while let Ok(connected) =
            tokio::time::timeout(SOON, tokio::net::TcpStream::connect(address)).await
        {
            waiting.push(connected);
        }
        Self {
            address,
            _listener: listener,
            _waiting: waiting,
        }
    }
}

/// An address at which nobody listens.
pub(crate) async fn nobody() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    listener.local_addr().expect("an address")
}

// === impl Endpoint ===

impl Endpoint {
    /// Every request that arrived, in order.
    pub(crate) fn received(&self) -> Vec<Received> {
        self.log.borrow().clone()
    }

    /// The first lines of the requests that arrived.
    pub(crate) fn lines(&self) -> Vec<String> {
        let log = self.log.borrow();
        let first = |received: &Received| received.head.lines().next().map(str::to_owned);
        log.iter().filter_map(first).collect()
    }

    pub(crate) fn connections(&self) -> usize {
        self.connections.get()
    }
}

// === impl Peer ===

impl Peer {
    /// The next request, whole; nothing when the connection ends.
    pub(crate) async fn receive(&mut self) -> Option<Received> {
        let head = self.head().await?;
        let mut body = Vec::new();
        if let Some(length) = values(&head, "content-length").first() {
            let length = length.parse().expect("a length");
            body = self.wire.take(length).await;
            if body.len() < length {
                return None;
            }
        } else if !values(&head, "transfer-encoding").is_empty() {
            let mut whole = super::client::Response {
                status: 0,
                head: String::new(),
                body: Vec::new(),
                trailers: String::new(),
                is_broken: false,
            };
            while self.wire.chunk(&mut whole).await {}
            if whole.is_broken {
                return None;
            }
            body = whole.body;
            body.extend_from_slice(whole.trailers.as_bytes());
        }
        let received = Received { head, body };
        self.log.borrow_mut().push(received.clone());
        Some(received)
    }

    /// The head of the next request; it is not recorded.
    pub(crate) async fn head(&mut self) -> Option<String> {
        self.wire.request_head().await
    }

    /// Answers 200 with a text.
    pub(crate) async fn answer(&mut self, text: &str) {
        let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", text.len());
        self.wire.send(head + text).await;
    }
}

// === impl Client ===

impl Client<TcpStream> {
    async fn request_head(&mut self) -> Option<String> {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            let byte = self.take(1).await;
            head.push(char::from(*byte.first()?));
        }
        Some(head)
    }
}
