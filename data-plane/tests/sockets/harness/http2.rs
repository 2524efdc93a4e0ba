//! An endpoint that speaks HTTP/2 by the h2 crate, so that a test sees streams, limits and resets.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;

use bytes::Bytes;
use h2::RecvStream;
use h2::server::{Builder, Connection, SendResponse};
use http::{Request, Response};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// A connection as a test sees it.
pub(crate) type Http2 = Connection<TcpStream, Bytes>;
/// A request with what answers it.
pub(crate) type Asked = (Request<RecvStream>, SendResponse<Bytes>);

/// How an endpoint meets further connections.
#[derive(Clone, Copy)]
pub(crate) enum Meets {
    Http2,
    /// At once, as a tier without room does.
    Close,
    Silence,
    /// With these bytes, whatever is asked.
    Bytes(&'static [u8]),
}

/// A listening endpoint.
#[derive(Clone)]
pub(crate) struct Http2Endpoint {
    pub(crate) address: SocketAddr,
    pub(crate) meets: Rc<Cell<Meets>>,
    connections: Rc<Cell<usize>>,
    most: Rc<RefCell<Streams>>,
}

#[derive(Default)]
struct Streams {
    now: usize,
    most: usize,
}

/// Starts an endpoint that runs `script` for each connection, with its number, once the preface has come.
pub(crate) async fn scripted<F, D>(settings: Builder, script: F) -> Http2Endpoint
where
    F: Fn(Http2, usize) -> D + 'static,
    D: Future<Output = ()> + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let endpoint = Http2Endpoint {
        address: listener.local_addr().expect("an address"),
        meets: Rc::new(Cell::new(Meets::Http2)),
        connections: Rc::default(),
        most: Rc::default(),
    };
    let (connections, meets) = (endpoint.connections.clone(), endpoint.meets.clone());
    let script = Rc::new(script);
    tokio::task::spawn_local(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let number = connections.get();
            connections.set(number + 1);
            let (settings, script) = (settings.clone(), script.clone());
            let bytes = match meets.get() {
                Meets::Http2 => None,
                Meets::Close => continue,
                Meets::Silence => Some(&b""[..]),
                Meets::Bytes(bytes) => Some(bytes),
            };
            tokio::task::spawn_local(async move {
                if let Some(bytes) = bytes {
                    repeat(stream, bytes).await;
                    return;
                }
                if let Ok(connection) = settings.handshake(stream).await {
                    script(connection, number).await;
                }
            });
        }
    });
    endpoint
}

/// Answers whatever comes with these bytes, until the peer closes.
async fn repeat(mut stream: TcpStream, bytes: &[u8]) {
    let mut asked = [0; 4096];
    while stream.read(&mut asked).await.is_ok_and(|read| read > 0) {
        if stream.write_all(bytes).await.is_err() {
            return;
        }
    }
}

/// Starts an endpoint that answers 200 to each request once `is_free`, a request at a time or many.
pub(crate) async fn holding(
    settings: Builder,
    is_free: impl Fn(usize) -> bool + Clone + 'static,
) -> Http2Endpoint {
    let running: Rc<RefCell<Streams>> = Rc::default();
    let most = running.clone();
    let endpoint = scripted(settings, move |mut connection, _| {
        let (running, is_free) = (running.clone(), is_free.clone());
        async move {
            while let Some(Ok(asked)) = connection.accept().await {
                let (running, is_free) = (running.clone(), is_free.clone());
                tokio::task::spawn_local(async move {
                    {
                        let mut running = running.borrow_mut();
                        running.now += 1;
                        running.most = running.most.max(running.now);
                    }
                    super::until(|| is_free(running.borrow().most)).await;
                    answer(asked, "done");
                    running.borrow_mut().now -= 1;
                });
            }
        }
    })
    .await;
    Http2Endpoint { most, ..endpoint }
}

/// Answers 200 with a text.
pub(crate) fn answer((_, mut respond): Asked, text: &'static str) {
    let response = Response::new(());
    if let Ok(mut body) = respond.send_response(response, false) {
        let _ = body.send_data(Bytes::from_static(text.as_bytes()), true);
    }
}

// === impl Http2Endpoint ===

impl Http2Endpoint {
    pub(crate) fn connections(&self) -> usize {
        self.connections.get()
    }

    /// The most requests that ran at a time.
    pub(crate) fn most(&self) -> usize {
        self.most.borrow().most
    }
}
