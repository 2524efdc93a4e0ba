//! Endpoints that send interim heads (1xx): a few, and without end.
//!
//! The endless ones run in threads of their own, as they are other machines: only so they are never behind.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tiergate_data_plane::table::Protocol;

use crate::harness::client::get;
use crate::harness::endpoint::{Peer, scripted};
use crate::harness::{Proxy, config, proxy, run, table};

const HINTS: &str = "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n";
const GET: &str = "GET / HTTP/1.1\r\nHost: a.example\r\n\r\n";
const POST: &str = "POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 2\r\n\r\nhi";
/// The tier answers it itself.
const REFUSED: &str = "GET /../ HTTP/1.1\r\nHost: a.example\r\n\r\n";

/// An endpoint in threads.
struct Flooding {
    address: SocketAddr,
    connections: Arc<AtomicUsize>,
    ended: Arc<AtomicUsize>,
}

/// Runs `flood` for each connection; it ends when the connection does.
fn flooding(flood: fn(&mut TcpStream) -> std::io::Result<()>) -> Flooding {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let endpoint = Flooding {
        address: listener.local_addr().expect("an address"),
        connections: Arc::default(),
        ended: Arc::default(),
    };
    let (connections, ended) = (endpoint.connections.clone(), endpoint.ended.clone());
    std::thread::spawn(move || {
        while let Ok((mut stream, _)) = listener.accept() {
            connections.fetch_add(1, Ordering::Relaxed);
            let ended = ended.clone();
            std::thread::spawn(move || {
                let failed = flood(&mut stream);
                drop(stream);
                ended.fetch_add(1, Ordering::Relaxed);
                failed
            });
        }
    });
    endpoint
}

/// Takes a request, and answers with hints for ever.
fn hint_for_ever(stream: &mut TcpStream) -> std::io::Result<()> {
    let mut piece = [0; 1024];
    let _ = stream.read(&mut piece)?;
    let hints = HINTS.repeat(200);
    loop {
        stream.write_all(hints.as_bytes())?;
    }
}

/// What the flood gets, and that others are served until then.
async fn is_given_up(proxy: &Proxy, request: &'static str) {
    let flood = tokio::task::spawn_local(get(proxy.http, request));
    let mut others = 0;
    while !flood.is_finished() || others < 20 {
        assert_eq!(get(proxy.http, REFUSED).await.status, 400);
        others += 1;
    }
    let response = flood.await.expect("no panic");
    assert_eq!(response.status, 502, "{}", response.text());
    let text = response.text();
    assert!(text.ends_with("reason: upstream_protocol\n"), "{text}");
}

#[test]
fn a_few_interim_heads_are_passed_over() {
    let answer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    let several = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n";
    for interim in [several.to_owned(), HINTS.repeat(1000)] {
        run(async move {
            let bytes = interim + answer;
            let endpoint = scripted(move |mut peer: Peer| {
                let bytes = bytes.clone();
                async move {
                    while peer.receive().await.is_some() {
                        peer.wire.send(&bytes).await;
                    }
                }
            })
            .await;
            let proxy = proxy(config(), table(Protocol::Http1, &[endpoint.address])).await;
            for request in [GET, POST, GET] {
                let response = get(proxy.http, request).await;
                assert_eq!((response.status, response.text()), (200, "ok"));
            }
            assert_eq!(endpoint.connections(), 1, "it is kept");
        });
    }
}

#[test]
fn an_endpoint_that_sends_only_interim_heads_is_given_up_and_holds_nobody_up() {
    for request in [GET, POST] {
        run(async move {
            let endpoint = flooding(hint_for_ever);
            let proxy = proxy(config(), table(Protocol::Http1, &[endpoint.address])).await;
            is_given_up(&proxy, request).await;
            let tries = endpoint.connections.load(Ordering::Relaxed);
            assert_eq!(tries, 1, "it is not asked again");
            // The connection goes, too: nobody reads the rest of the flood.
            while endpoint.ended.load(Ordering::Relaxed) < 1 {
                assert_eq!(get(proxy.http, REFUSED).await.status, 400);
            }
            proxy.until("tiergate_upstream_connections", 0.0).await;
        });
    }
}
