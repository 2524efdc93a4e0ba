//! Requests whose bytes could be read in two ways: refused, and never a second request made out of them.

use crate::harness::client::{Client, get};
use crate::harness::endpoint::{answering, echo};
use crate::harness::{config, proxy, run, table_of};

/// Appended to every case: what a smuggler wants to get through.
const SMUGGLED: &str = "GET /smuggled HTTP/1.1\r\nHost: a.example\r\n\r\n";

/// Name, bytes with `{host}` for a good Host field, status.
const UNCLEAR: [(&str, &str, u16); 27] = [
    ("no host", "GET / HTTP/1.1\r\n\r\n", 400),
    ("two hosts", "GET / HTTP/1.1\r\n{host}{host}\r\n", 400),
    ("empty host", "GET / HTTP/1.1\r\nHost:\r\n\r\n", 400),
    ("bad host", "GET / HTTP/1.1\r\nHost: a b\r\n\r\n", 400),
    ("bad port", "GET / HTTP/1.1\r\nHost: a:99999\r\n\r\n", 400),
    (
        "user in host",
        "GET / HTTP/1.1\r\nHost: x@a.example\r\n\r\n",
        400,
    ),
    (
        "absolute target, no host",
        "GET http://a.example/ HTTP/1.1\r\n\r\n",
        400,
    ),
    (
        "user in target",
        "GET http://x@a.example/ HTTP/1.1\r\n{host}\r\n",
        400,
    ),
    (
        "other scheme",
        "GET ftp://a.example/ HTTP/1.1\r\n{host}\r\n",
        400,
    ),
    ("all of a server", "GET * HTTP/1.1\r\n{host}\r\n", 400),
    (
        "CONNECT",
        "CONNECT a.example:443 HTTP/1.1\r\n{host}\r\n",
        405,
    ),
    ("dot segments", "GET /a/../b HTTP/1.1\r\n{host}\r\n", 400),
    (
        "encoded dots",
        "GET /a/%2e%2e/b HTTP/1.1\r\n{host}\r\n",
        400,
    ),
    (
        "lengths differ",
        "POST / HTTP/1.1\r\n{host}Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
        400,
    ),
    (
        "list of lengths",
        "POST / HTTP/1.1\r\n{host}Content-Length: 5, 5\r\n\r\nhello",
        400,
    ),
    (
        "signed length",
        "POST / HTTP/1.1\r\n{host}Content-Length: +5\r\n\r\nhello",
        400,
    ),
    (
        "no length",
        "POST / HTTP/1.1\r\n{host}Content-Length: x\r\n\r\n",
        400,
    ),
    (
        "chunked not last",
        "POST / HTTP/1.1\r\n{host}Transfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n",
        400,
    ),
    (
        "chunked not alone",
        "POST / HTTP/1.1\r\n{host}Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        501,
    ),
    (
        "unknown coding",
        "POST / HTTP/1.1\r\n{host}Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        400,
    ),
    (
        "coding in HTTP/1.0",
        "POST / HTTP/1.0\r\n{host}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        400,
    ),
    (
        "bad chunk size",
        "POST / HTTP/1.1\r\n{host}Transfer-Encoding: chunked\r\n\r\nx\r\n\r\n",
        400,
    ),
    (
        "huge chunk size",
        "POST / HTTP/1.1\r\n{host}Transfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n",
        400,
    ),
    (
        "folded field",
        "GET / HTTP/1.1\r\n{host}X: a\r\n b\r\n\r\n",
        400,
    ),
    (
        "space before colon",
        "GET / HTTP/1.1\r\n{host}X : a\r\n\r\n",
        400,
    ),
    ("no version", "GET /\r\n{host}\r\n", 400),
    ("TLS", "\x16\x03\x01\x02\x00\x01\x00\x01\u{fc}", 400),
];

#[test]
fn what_is_no_clear_request_is_refused_and_nothing_behind_it_is_read() {
    run(async {
        let endpoint = echo().await;
        let proxy = proxy(config(), table_of(&[endpoint.address])).await;
        for (name, bytes, status) in UNCLEAR {
            let mut client = Client::connect(proxy.http).await;
            let bytes = bytes.replace("{host}", "Host: a.example\r\n");
            client.send(bytes + SMUGGLED).await;
            assert_eq!(client.response().await.status, status, "{name}");
            let rest = client.rest().await;
            assert_eq!(String::from_utf8_lossy(&rest), "", "{name}");
        }
        assert_eq!(endpoint.lines(), [""; 0]);
    });
}

#[test]
fn a_length_beside_chunks_is_removed_and_the_connection_ends_after_the_answer() {
    run(async {
        let endpoint = echo().await;
        let proxy = proxy(config(), table_of(&[endpoint.address])).await;
        let length = "Content-Length: 4\r\n";
        let coding = "Transfer-Encoding: chunked\r\n";
        for fields in [[length, coding], [coding, length]] {
            let mut client = Client::connect(proxy.http).await;
            let fields = fields.concat();
            client
                .send(format!(
                    "POST /first HTTP/1.1\r\nHost: a.example\r\nConnection: keep-alive\r\n{fields}\r\n0\r\n\r\n{SMUGGLED}"
                ))
                .await;
            let response = client.response().await;
            assert_eq!(response.status, 200, "{fields}");
            assert!(!response.text().contains("content-length"), "{response:?}");
            assert_eq!(client.rest().await, b"", "{fields}");
        }
        assert_eq!(endpoint.lines(), ["POST /first HTTP/1.1"; 2]);
    });
}

#[test]
fn a_chunked_response_with_a_length_reaches_the_client_with_one_framing() {
    run(async {
        let endpoint = answering(
            "HTTP/1.1 200 OK\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        )
        .await;
        let proxy = proxy(config(), table_of(&[endpoint.address])).await;
        let mut client = Client::connect(proxy.http).await;
        for _ in 0..2 {
            client
                .send("GET / HTTP/1.1\r\nHost: a.example\r\n\r\n")
                .await;
            let response = client.response().await;
            assert_eq!(response.values("content-length"), [""; 0]);
            assert_eq!(response.text(), "hello");
        }
    });
}

#[test]
fn a_repeated_length_of_a_response_reaches_the_client_once() {
    run(async {
        for lengths in [
            "content-length: 5, 5\r\n",
            "content-length: 5\r\ncontent-length: 5\r\n",
        ] {
            let head = format!("HTTP/1.1 200 OK\r\n{lengths}\r\nhello");
            let endpoint = answering(head.leak()).await;
            let proxy = proxy(config(), table_of(&[endpoint.address])).await;
            let mut client = Client::connect(proxy.http).await;
            for _ in 0..2 {
                client
                    .send("GET / HTTP/1.1\r\nHost: a.example\r\n\r\n")
                    .await;
                let response = client.response().await;
                assert_eq!(response.values("content-length"), ["5"], "{lengths}");
                assert_eq!(response.text(), "hello");
            }
        }
    });
}

#[test]
fn a_chunked_body_passes_whatever_the_method() {
    run(async {
        let endpoint = echo().await;
        let proxy = proxy(config(), table_of(&[endpoint.address])).await;
        let mut client = Client::connect(proxy.http).await;
        for method in ["GET", "DELETE", "OPTIONS", "POST", "SEARCH"] {
            client
                .send(format!(
                    "{method} / HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
                ))
                .await;
            assert_eq!(client.response().await.status, 200, "{method}");
            let received = endpoint.received();
            assert_eq!(
                received.last().expect("a request").body,
                b"hello",
                "{method}"
            );
        }
        assert_eq!(endpoint.connections(), 1);
    });
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    run(async {
        let endpoint = echo().await;
        let proxy = proxy(config(), table_of(&[endpoint.address])).await;
        let mut client = Client::connect(proxy.http).await;
        let requests: String = (0..5)
            .map(|n| {
                format!("POST /{n} HTTP/1.1\r\nHost: a.example\r\nContent-Length: 2\r\n\r\nxy")
            })
            .collect();
        client.send(requests).await;
        for n in 0..5 {
            let response = client.response().await;
            assert!(
                response.text().starts_with(&format!("POST /{n} ")),
                "{response:?}"
            );
        }
        assert_eq!(endpoint.connections(), 1);
    });
}

#[test]
fn options_may_ask_for_all_of_a_server() {
    run(async {
        let endpoint = echo().await;
        let proxy = proxy(config(), table_of(&[endpoint.address])).await;
        let request = "OPTIONS * HTTP/1.1\r\nHost: a.example\r\n\r\n";
        assert_eq!(get(proxy.http, request).await.status, 200);
        assert_eq!(endpoint.lines(), ["OPTIONS * HTTP/1.1"]);
    });
}

#[test]
fn every_line_of_an_expectation_counts() {
    run(async {
        let endpoint = echo().await;
        let proxy = proxy(config(), table_of(&[endpoint.address])).await;
        for (lines, status) in [
            ("Expect: 100-continue\r\nExpect: foo\r\n", 417),
            ("Expect: foo\r\nExpect: 100-continue\r\n", 417),
            ("Expect: 100-continue, foo\r\n", 417),
        ] {
            let request = format!(
                "POST /s HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n{lines}Content-Length: 3\r\n\r\nabc"
            );
            assert_eq!(get(proxy.http, &request).await.status, status, "{lines}");
        }
        assert_eq!(endpoint.lines(), [""; 0]);
    });
}

#[test]
fn chunks_that_stay_in_a_response_never_reach_the_client() {
    run(async {
        for (lines, status, text) in [
            ("Transfer-Encoding: chunked\r\n", 200, "hello"),
            ("Transfer-Encoding: identity, chunked\r\n", 200, "hello"),
            ("Transfer-Encoding: chunked, identity\r\n", 502, ""),
            ("Transfer-Encoding: chunked, chunked\r\n", 502, ""),
            ("Transfer-Encoding: chunked,\r\n", 502, ""),
            (
                "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
                502,
                "",
            ),
            ("Transfer-Encoding: gzip, chunked\r\n", 502, ""),
            ("Transfer-Encoding: chunked\u{e9}\r\n", 502, ""),
        ] {
            let answer = format!("HTTP/1.1 200 OK\r\n{lines}\r\n5\r\nhello\r\n0\r\n\r\n");
            let endpoint = answering(answer.leak()).await;
            let proxy = proxy(config(), table_of(&[endpoint.address])).await;
            let response = get(proxy.http, "GET / HTTP/1.1\r\nHost: a.example\r\n\r\n").await;
            assert_eq!(response.status, status, "{lines}");
            assert!(status != 200 || response.text() == text, "{response:?}");
            let refused = proxy.errors("upstream_protocol") > 0.5;
            assert_eq!(refused, status == 502, "{lines}");
        }
    });
}
