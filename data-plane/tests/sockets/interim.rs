//! Endpoints that send interim heads (1xx): a few, and without end.
//!
//! The endless ones run in threads of their own, as they are other machines: only so they are never behind.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tiergate_data_plane::table::Protocol;

use crate::harness::client::{Client, get};
use crate::harness::endpoint::{Peer, scripted};
use crate::harness::frames::{self, HEADERS, PING, RST_STREAM, SETTINGS};
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

/// A head with nothing but a status of 103.
fn early_hints(stream: u32) -> Vec<u8> {
    frames::frame(HEADERS, false, stream, b"\x08\x03103")
}

/// The same by HTTP/2, for the first stream.
fn hint_for_ever_by_http2(stream: &mut TcpStream) -> std::io::Result<()> {
    stream.write_all(&frames::frame(SETTINGS, false, 0, b""))?;
    until_request(stream)?;
    let hints = early_hints(1).repeat(1000);
    loop {
        stream.write_all(&hints)?;
    }
}

/// Reads up to the head of the first request.
fn until_request(stream: &mut TcpStream) -> std::io::Result<()> {
    stream.read_exact(&mut [0; 24])?;
    loop {
        let mut head = [0; 9];
        stream.read_exact(&mut head)?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        stream.read_exact(&mut vec![0; length as usize])?;
        if head[3] == HEADERS {
            return Ok(());
        }
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
    for (protocol, flood) in [
        (Protocol::Http1, hint_for_ever as fn(&mut _) -> _),
        (Protocol::H2c, hint_for_ever_by_http2),
    ] {
        for request in [GET, POST] {
            run(async move {
                let endpoint = flooding(flood);
                let proxy = proxy(config(), table(protocol, &[endpoint.address])).await;
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
}

/// Sends hints to the first stream, each in a turn of its own, until that is reset: how many it took.
async fn hint_until_reset(wire: &mut Client) -> u32 {
    for hints in 1..1000 {
        let ping = frames::frame(PING, false, 0, &[0; 8]);
        wire.send([early_hints(1), ping].concat()).await;
        loop {
            let frame = frames::read(wire).await.expect("the connection lives");
            match (frame.kind, frame.stream) {
                (RST_STREAM, 1) => return hints,
                (PING, _) => break,
                _ => {}
            }
        }
    }
    panic!("the stream lives");
}

#[test]
fn too_many_interim_heads_on_one_stream_end_that_request_alone() {
    run(async {
        let endpoint = scripted(|mut peer: Peer| async move {
            peer.wire.take(24).await;
            let settings = frames::frame(SETTINGS, false, 0, b"");
            peer.wire.send(settings).await;
            while let Some(frame) = frames::read(&mut peer.wire).await {
                if frame.kind != HEADERS || frame.stream == 1 {
                    continue;
                }
                if frame.stream == 3 {
                    let hints = hint_until_reset(&mut peer.wire).await;
                    assert!((64..80).contains(&hints), "{hints}");
                }
                let ok = frames::frame(HEADERS, true, frame.stream, b"\x88");
                peer.wire.send(ok).await;
            }
        })
        .await;
        let proxy = proxy(config(), table(Protocol::H2c, &[endpoint.address])).await;
        let (one, other) = futures::future::join(get(proxy.http, GET), get(proxy.http, GET)).await;
        let mut statuses = [one.status, other.status];
        statuses.sort_unstable();
        assert_eq!(statuses, [200, 502]);
        assert_eq!(get(proxy.http, GET).await.status, 200);
        assert_eq!(endpoint.connections(), 1, "it is kept");
        assert!((proxy.errors("upstream_protocol") - 1.0).abs() < 0.1);
    });
}
