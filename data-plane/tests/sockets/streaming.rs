//! Bodies pass through piece by piece, with their trailers.

use std::cell::RefCell;
use std::rc::Rc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::oneshot;

use crate::harness::client::{Client, Response};
use crate::harness::endpoint::{Peer, scripted};
use crate::harness::{config, proxy, run, table_of};

#[test]
fn the_first_piece_of_a_response_arrives_before_the_last_is_sent() {
    run(async {
        let (go, gone) = oneshot::channel::<()>();
        let gone = Rc::new(RefCell::new(Some(gone)));
        let endpoint = scripted(move |mut peer: Peer| {
            let gone = gone.borrow_mut().take().expect("one connection");
            async move {
                peer.receive().await;
                let head =
                    "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: x-sum\r\n\r\n";
                peer.wire.send(format!("{head}5\r\nfirst\r\n")).await;
                gone.await.expect("the client has the first piece");
                peer.wire.send("4\r\nlast\r\n0\r\nx-sum: 9\r\n\r\n").await;
            }
        })
        .await;
        let proxy = proxy(config(), table_of(&[endpoint.address])).await;
        let mut client = Client::connect(proxy.http).await;
        client
            .send("GET / HTTP/1.1\r\nHost: a.example\r\nTE: trailers\r\nConnection: TE\r\n\r\n")
            .await;
        let mut response = client.head().await.expect("a head");
        assert!(client.chunk(&mut response).await);
        assert_eq!(response.text(), "first");
        go.send(()).expect("the endpoint waits");
        while client.chunk(&mut response).await {}
        assert_eq!(response.text(), "firstlast");
        assert_eq!(response.trailers, "x-sum: 9\r\n");
    });
}

#[test]
fn the_first_piece_of_a_request_arrives_before_the_last_is_sent() {
    run(async {
        let (go, gone) = oneshot::channel::<()>();
        let go = Rc::new(RefCell::new(Some(go)));
        let endpoint = scripted(move |mut peer: Peer| {
            let go = go.borrow_mut().take().expect("one connection");
            async move {
                let head = peer.head().await.expect("a head");
                assert!(head.contains("transfer-encoding: chunked"), "{head}");
                let mut request = empty();
                assert!(peer.wire.chunk(&mut request).await);
                go.send(()).expect("the client waits");
                while peer.wire.chunk(&mut request).await {}
                let text = format!("{} {}", request.text(), request.trailers.trim());
                peer.answer(&text).await;
            }
        })
        .await;
        let proxy = proxy(config(), table_of(&[endpoint.address])).await;
        let mut client = Client::connect(proxy.http).await;
        client
            .send("PUT / HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\nTrailer: x-sum, x-forwarded-for\r\n\r\n5\r\nfirst\r\n")
            .await;
        gone.await.expect("the endpoint has the first piece");
        client
            .send("4\r\nlast\r\n0\r\nX-Sum: 9\r\nX-Forwarded-For: 9.9.9.9\r\n\r\n")
            .await;
        assert_eq!(client.response().await.text(), "firstlast x-sum: 9");
    });
}

#[test]
fn a_body_that_ends_with_trailers_is_complete_and_leaves_the_connection_clean() {
    run(async {
        let endpoint = scripted(|mut peer: Peer| async move {
            while peer.receive().await.is_some() {
                let head =
                    "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: x-sum\r\n\r\n";
                let body = "2\r\nhi\r\n0\r\nx-sum: 9\r\n\r\n";
                peer.wire.send(format!("{head}{body}")).await;
            }
        })
        .await;
        let proxy = proxy(config(), table_of(&[endpoint.address])).await;
        let mut client = Client::connect(proxy.http).await;
        let chunks = "Transfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nx-sum: 9\r\n\r\n";
        for fields in [
            "\r\n",
            "TE: trailers\r\nConnection: TE\r\n\r\n",
            chunks,
            &format!("Trailer: x-sum\r\n{chunks}"),
        ] {
            let head = format!("POST / HTTP/1.1\r\nHost: a.example\r\n{fields}");
            client.send(head).await;
            assert_eq!(client.response().await.text(), "hi", "{fields}");
        }
        let trailers: Vec<_> = endpoint
            .received()
            .into_iter()
            .map(|received| received.body)
            .collect();
        let expected: [&[u8]; 4] = [b"", b"", b"hi", b"hix-sum: 9\r\n"];
        assert_eq!(trailers, expected);
        assert_eq!(endpoint.connections(), 1);
        proxy
            .until("tiergate_requests_in_flight{tenant=\"team\"}", 0.0)
            .await;
        assert!(proxy.errors("client_aborted") < 0.5);
    });
}

#[test]
fn an_answer_may_begin_before_the_request_has_ended() {
    run(async {
        let endpoint = scripted(|mut peer: Peer| async move {
            peer.head().await.expect("a head");
            peer.wire
                .send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
                .await;
            let mut request = empty();
            while peer.wire.chunk(&mut request).await {
                let piece = std::mem::take(&mut request.body);
                let piece = String::from_utf8(piece).expect("text");
                peer.wire
                    .send(format!("{:x}\r\n{piece}\r\n", piece.len()))
                    .await;
            }
            peer.wire.send("0\r\n\r\n").await;
        })
        .await;
        let proxy = proxy(config(), table_of(&[endpoint.address])).await;
        let mut client = Client::connect(proxy.http).await;
        client
            .send("POST / HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\n\r\n")
            .await;
        client.send("3\r\none\r\n").await;
        let mut response = client.head().await.expect("a head");
        for (next, sofar) in [("two", "one"), ("six", "onetwo"), ("ten", "onetwosix")] {
            assert!(client.chunk(&mut response).await);
            assert_eq!(response.text(), sofar);
            client.send(format!("3\r\n{next}\r\n")).await;
        }
        client.send("0\r\n\r\n").await;
        while client.chunk(&mut response).await {}
        assert_eq!(response.text(), "onetwosixten");
    });
}

#[test]
fn a_client_that_sends_all_before_it_reads_does_not_hang() {
    const BYTES: usize = 40_000_000;
    run(async {
        let (go, gone) = oneshot::channel::<()>();
        let go = Rc::new(RefCell::new(Some(go)));
        // Sends its answer and reads the request at the same time.
        let endpoint = scripted(move |mut peer: Peer| {
            let go = go.borrow_mut().take().expect("one connection");
            async move {
                peer.head().await.expect("a head");
                let ahead = peer.wire.buffered().len();
                let (mut read, mut write) = peer.wire.stream.into_split();
                let answering = async {
                    let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {BYTES}\r\n\r\n");
                    write.write_all(head.as_bytes()).await.expect("sent");
                    write.write_all(&vec![b'x'; BYTES]).await.expect("sent");
                };
                let reading = async {
                    let mut request = vec![0; BYTES - ahead];
                    read.read_exact(&mut request)
                        .await
                        .expect("the whole request");
                    go.send(()).expect("the client waits");
                };
                tokio::join!(answering, reading);
            }
        })
        .await;
        let proxy = proxy(config(), table_of(&[endpoint.address])).await;
        let mut client = Client::connect(proxy.http).await;
        let head = format!("POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: {BYTES}\r\n\r\n");
        client.send(head).await;
        client.send(vec![b'y'; BYTES]).await;
        gone.await.expect("the endpoint has the request");
        assert_eq!(client.response().await.body.len(), BYTES);
    });
}

#[test]
fn large_bodies_pass_whole_both_ways() {
    run(async {
        let endpoint = scripted(|mut peer: Peer| async move {
            while let Some(received) = peer.receive().await {
                let length = received.body.len();
                let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n");
                peer.wire.send(head).await;
                peer.wire.send(&received.body).await;
            }
        })
        .await;
        let proxy = proxy(config(), table_of(&[endpoint.address])).await;
        let body: Vec<u8> = (0..3_000_000_u32)
            .map(|n| n.to_le_bytes()[n as usize % 3])
            .collect();
        let mut client = Client::connect(proxy.http).await;
        for _ in 0..2 {
            let length = body.len();
            let head =
                format!("POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: {length}\r\n\r\n");
            client.send(head).await;
            client.send(&body).await;
            assert!(
                client.response().await.body == body,
                "the same bytes come back"
            );
        }
        assert_eq!(endpoint.connections(), 1);
        for name in ["request", "response"] {
            let sample = format!("tiergate_{name}_body_bytes_total{{tenant=\"team\"}}");
            proxy.until(&sample, 6_000_000.0).await;
        }
    });
}

fn empty() -> Response {
    Response {
        status: 0,
        head: String::new(),
        body: Vec::new(),
        trailers: String::new(),
        is_broken: false,
    }
}
