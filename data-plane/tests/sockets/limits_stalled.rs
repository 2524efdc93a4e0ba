//! A client that asks for a large answer and takes nothing: how much of it leaves the endpoint, which writes until it is cut off,
//! and counts. The kernel keeps little, for all sockets of this test are small.

use std::cell::Cell;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use nix::sys::socket::{setsockopt, sockopt};
use tiergate_data_plane::net::{Net, TokioNet};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

use crate::harness::client::Client;
use crate::harness::frames::{WINDOW_UPDATE, frame, greet, request};
use crate::harness::{config, proxy_over, run, table_of, until};

/// The kernel doubles it.
const SOCKET_BYTES: u32 = 16 * 1024;
/// Loopback's own segments are larger than these sockets, which then wait for room by a timer.
const SEGMENT_BYTES: u32 = 1400;
/// What the kernel may keep on the way of one answer, with its own books: four small buffers, and what it rounds up.
const KERNEL_BYTES: usize = 128 * 1024;
const PIECE_BYTES: usize = 16 * 1024;
const LARGE_BYTES: usize = 100 * 1024 * 1024;
/// docs/request.md says how much is kept.
const KEPT_BYTES: usize = 128 * 1024;

/// The kernel's TCP with small buffers.
#[derive(Clone)]
struct Small;

// === impl Small ===

impl Net for Small {
    type Stream = TcpStream;
    type Listener = TcpListener;

    async fn bind(&self, address: SocketAddr) -> io::Result<TcpListener> {
        // Connections that come to it have its sizes.
        let socket = small()?;
        socket.bind(address)?;
        socket.listen(1024)
    }

    async fn connect(&self, to: SocketAddr, _: Option<IpAddr>) -> io::Result<TcpStream> {
        small()?.connect(to).await
    }

    async fn resolve(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        TokioNet.resolve(host, port).await
    }
}

fn small() -> io::Result<TcpSocket> {
    let socket = TcpSocket::new_v4()?;
    setsockopt(&socket, sockopt::TcpMaxSeg, &SEGMENT_BYTES)?;
    socket.set_nodelay(true)?;
    socket.set_send_buffer_size(SOCKET_BYTES)?;
    socket.set_recv_buffer_size(SOCKET_BYTES)?;
    Ok(socket)
}

/// What endpoints wrote.
#[derive(Clone, Default)]
struct Written {
    bytes: Rc<Cell<usize>>,
    answers_cut: Rc<Cell<usize>>,
}

/// An endpoint that has a large answer for every request.
async fn large(written: Written) -> SocketAddr {
    let any = "127.0.0.1:0".parse().expect("an address");
    let listener = Small.bind(any).await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::task::spawn_local(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::task::spawn_local(write(stream, written.clone()));
        }
    });
    address
}

async fn write(mut stream: TcpStream, written: Written) {
    let mut head = vec![0; 4096];
    if !matches!(stream.read(&mut head).await, Ok(1..)) {
        return;
    }
    let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {LARGE_BYTES}\r\n\r\n");
    let piece = vec![b'x'; PIECE_BYTES];
    let mut next = head.as_bytes();
    while let Ok(count) = stream.write(next).await {
        written.bytes.set(written.bytes.get() + count);
        next = &piece;
    }
    written.answers_cut.set(written.answers_cut.get() + 1);
}

#[test]
fn little_of_an_answer_that_its_client_does_not_take_leaves_its_endpoint() {
    run(async {
        let written = Written::default();
        let endpoint = large(written.clone()).await;
        let mut config = config();
        config.timeouts.response_body = Duration::from_millis(500);
        let proxy = proxy_over(Small, config, table_of(&[endpoint])).await;
        let stream = small().expect("a socket").connect(proxy.http).await;
        let mut client = Client::of(stream.expect("connected"));
        client
            .send("GET / HTTP/1.1\r\nHost: a.example\r\n\r\n")
            .await;
        until(|| written.answers_cut.get() == 1).await;
        let stalled = proxy.errors("client_stalled");
        assert!((stalled - 1.0).abs() < 0.1, "{stalled}");
        let (bytes, bound) = (written.bytes.get(), KEPT_BYTES + KERNEL_BYTES);
        assert!(bytes <= bound, "{bytes} of at most {bound}");
    });
}

#[test]
fn a_client_that_opens_all_windows_and_reads_nothing_lets_go_of_its_endpoints() {
    run(async {
        let written = Written::default();
        let endpoint = large(written.clone()).await;
        let mut config = config();
        config.timeouts.response_body = Duration::from_millis(500);
        let proxy = proxy_over(Small, config, table_of(&[endpoint])).await;
        let stream = small().expect("a socket").connect(proxy.http).await;
        let mut client = Client::of(stream.expect("connected"));
        greet(&mut client, i32::MAX as u32).await;
        let room = (i32::MAX as u32 - 65_535).to_be_bytes();
        client.send(frame(WINDOW_UPDATE, false, 0, &room)).await;
        let streams: usize = 20;
        for number in (1..).step_by(2).take(streams) {
            client.send(request(number, true, "GET", "/", &[])).await;
        }
        until(|| written.answers_cut.get() == streams).await;
        let stalled = proxy.errors("client_stalled");
        let streams_counted = streams as f64;
        assert!((stalled - streams_counted).abs() < 0.1, "{stalled}");
        let bound = streams * (KEPT_BYTES + KERNEL_BYTES);
        let bytes = written.bytes.get();
        assert!(bytes <= bound, "{bytes} of at most {bound}");
    });
}
