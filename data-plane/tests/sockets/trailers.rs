//! Trailers that must not be there are removed, whoever sends them, and what they stand behind arrives whole.

use std::net::SocketAddr;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Request};
use tiergate_data_plane::table::Protocol;
use tokio::net::TcpStream;

use crate::harness::client::get;
use crate::harness::endpoint::{Peer, answering, scripted};
use crate::harness::frames::{self, DATA, fields_of, frame};
use crate::harness::{config, proxy, run, table, table_of};
use crate::link_pair::{lower, upper};

/// Of the connection, which HTTP/2 cannot send; of framing; and others that decide about a message.
const REFUSED: [&str; 12] = [
    "Keep-Alive",
    "TE",
    "Upgrade",
    "Transfer-Encoding",
    "Proxy-Connection",
    "Connection",
    "Content-Length",
    "Host",
    "Via",
    "Set-Cookie",
    "Location",
    "Expires",
];

/// The body and the trailers of an answer, as a client of HTTP/2 gets them.
async fn get_by_http2(to: SocketAddr) -> Result<(Bytes, Option<HeaderMap>), h2::Error> {
    let stream = TcpStream::connect(to).await.expect("connected");
    let (mut sender, connection) = h2::client::handshake(stream).await?;
    let connection = tokio::task::spawn_local(connection);
    let asked = Request::get("http://a.example/").header("te", "trailers");
    let (response, _) = sender.send_request(asked.body(()).expect("a request"), true)?;
    let mut incoming = response.await?.into_body();
    let mut body = BytesMut::new();
    while let Some(data) = incoming.data().await {
        body.extend(data?);
    }
    let trailers = incoming.trailers().await?;
    connection.abort();
    Ok((body.freeze(), trailers))
}

#[test]
fn an_upload_ends_whatever_its_trailers_say() {
    run(async {
        let endpoint = scripted(|mut peer: Peer| async move {
            while peer.receive().await.is_some() {
                peer.answer("ok").await;
            }
        })
        .await;
        let one = lower(&[endpoint.address]).await;
        let two = upper(&[&one]).await;
        for name in REFUSED.iter().chain(&["X-Forwarded-For", "X_Real_IP"]) {
            for (further, left) in [("", ""), ("X-Sum: 9\r\n", "x-sum: 9\r\n")] {
                for tier in [&one, &two] {
                    let request = format!(
                        "POST / HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\nTrailer: {name}, X-Sum\r\n\
                         Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n{name}: 1\r\n{further}\r\n"
                    );
                    let response = get(tier.http, &request).await;
                    assert_eq!(response.status, 200, "{request}");
                    let received = endpoint.received().pop().expect("a request");
                    let expected = format!("abc{left}");
                    assert_eq!(received.body, expected.as_bytes(), "{request}");
                }
            }
        }
    });
}

#[test]
fn an_answer_ends_whatever_its_trailers_say() {
    run(async {
        for name in REFUSED {
            for (further, left) in [("", ""), ("X-Sum: 9\r\n", "x-sum: 9\r\n")] {
                let answer = format!(
                    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: {name}, X-Sum\r\n\r\n\
                     2\r\nok\r\n0\r\n{name}: x\r\n{further}\r\n"
                );
                let endpoint = answering(answer.clone().leak()).await;
                let one = lower(&[endpoint.address]).await;
                let two = upper(&[&one]).await;
                for tier in [&one, &two] {
                    let request = "GET / HTTP/1.1\r\nHost: a.example\r\nTE: trailers\r\nConnection: TE, close\r\n\r\n";
                    let response = get(tier.http, request).await;
                    assert_eq!(response.status, 200, "{answer}");
                    assert!(!response.is_broken, "{answer}");
                    assert_eq!(response.text(), "ok", "{answer}");
                    assert_eq!(response.trailers, left, "{answer}");
                    let (body, trailers) = get_by_http2(tier.http).await.expect("whole");
                    assert_eq!(body, "ok", "{answer}");
                    assert_eq!(trailers.is_some(), !left.is_empty(), "{answer}");
                    assert!(trailers.is_none_or(|trailers| trailers.len() == 1));
                    assert!(tier.errors("response_broken") < 0.5);
                    assert!(tier.errors("client_aborted") < 0.5);
                }
            }
        }
    });
}

#[test]
fn trailers_of_an_http2_endpoint_are_held_to_the_same() {
    run(async {
        let endpoint = frames::answering(|stream| {
            let trailers = [
                ("set-cookie", "a=1"),
                ("grpc-status", "0"),
                ("content-length", "5"),
                ("x-request-id", "mine"),
                ("location", "/"),
            ];
            [
                fields_of(stream, false, &[(":status", "200")]),
                frame(DATA, false, stream, b"ok"),
                fields_of(stream, true, &trailers),
            ]
            .concat()
        })
        .await;
        let proxy = proxy(config(), table(Protocol::H2c, &[endpoint.address])).await;
        let (body, trailers) = get_by_http2(proxy.http).await.expect("whole");
        assert_eq!(body, "ok");
        let trailers = trailers.expect("trailers");
        let mut names: Vec<_> = trailers.keys().map(http::HeaderName::as_str).collect();
        names.sort_unstable();
        assert_eq!(names, ["grpc-status", "x-request-id"]);
    });
}

#[test]
fn a_connection_is_used_again_behind_trailers_that_are_refused() {
    run(async {
        let answer = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nKeep-Alive: x\r\n\r\n";
        let endpoint = answering(answer).await;
        let proxy = proxy(config(), table_of(&[endpoint.address])).await;
        let mut client = crate::harness::client::Client::connect(proxy.http).await;
        for _ in 0..3 {
            let request = "POST / HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nKeep-Alive: 1\r\n\r\n";
            client.send(request).await;
            assert_eq!(client.response().await.text(), "ok");
        }
        assert_eq!(endpoint.connections(), 1);
    });
}
