use std::fmt::Write as _;

use expect_test::expect;
use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use tiergate_data_plane::net::{Listener, TokioNet};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::config::{Invocation, Stop, Tier, invocation};

/// Reads one request and answers with the status that its path names and its own head as the body.
async fn answer<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S) -> io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await?);
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let path = head.split([' ', '?']).nth(1).unwrap_or_default();
    match path.trim_start_matches('/') {
        "silence" => std::future::pending().await,
        "nothing" => Ok(()),
        status => {
            let length = head.len();
            let text = format!("HTTP/1.1 {status} x\r\nContent-Length: {length}\r\n\r\n{head}");
            stream.write_all(text.as_bytes()).await?;
            stream.shutdown().await
        }
    }
}

/// Answers over plain HTTP, or over TLS with a certificate for `a.example`.
async fn server(tls: Option<TlsAcceptor>) -> SocketAddr {
    let mut listener = TokioNet.bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (stream, _) = Listener::accept(&mut listener).await;
            let tls = tls.clone();
            tokio::spawn(async move {
                match tls {
                    Some(tls) => answer(tls.accept(stream).await?).await,
                    None => answer(stream).await,
                }
            });
        }
    });
    address
}

/// A server's side of TLS, and the PEM text of its certificate.
fn certificate() -> (TlsAcceptor, String) {
    let made = generate_simple_self_signed(vec!["a.example".to_owned()]).unwrap();
    let CertifiedKey { cert, signing_key } = made;
    let key = PrivateKeyDer::try_from(signing_key.serialize_der()).unwrap();
    let config = ServerConfig::builder_with_provider(std::sync::Arc::new(
        rustls::crypto::ring::default_provider(),
    ))
    .with_safe_default_protocol_versions()
    .unwrap()
    .with_no_client_auth()
    .with_single_cert(vec![cert.der().clone()], key)
    .unwrap();
    (TlsAcceptor::from(std::sync::Arc::new(config)), cert.pem())
}

fn parse(arguments: &[&str]) -> Result<Probe, Stop> {
    let all = ["tiergate-namespace", "probe"].iter().chain(arguments);
    match invocation(Tier::Namespace, "1.2.3", all.map(Into::into), [])? {
        Invocation::Probe(probe) => Ok(probe),
        Invocation::Serve(_) | Invocation::Explain { .. } | Invocation::ClearStatus(_) => {
            panic!("not a probe")
        }
    }
}

/// What a probe with these arguments says.
async fn said(arguments: &[&str]) -> String {
    match parse(arguments).unwrap().ask(&TokioNet).await {
        Ok(status) => format!("{status}"),
        Err(failure) => failure.to_string(),
    }
}

const CASES: &[&[&str]] = &[
    &["http://SERVER/200"],
    &["http://SERVER/204"],
    &["http://SERVER/404?a=b#c"],
    &["http://SERVER/404", "--status", "404"],
    &["http://SERVER/404", "--status", "200-499"],
    &["http://SERVER/200", "--status", "404"],
    &["http://SERVER/503", "--host", "keystone.example"],
    &["/200", "--socket", "FOLDER/socket"],
    &["/503", "--socket", "FOLDER/socket"],
    &["http://admin/503", "--socket", "FOLDER/socket"],
    &["/200", "--socket", "FOLDER/nobody"],
    &["http://SERVER/nothing"],
    &["http://SERVER/silence", "--timeout", "20ms"],
    &["http://127.0.0.1:1/", "--timeout", "1m"],
    &["https://SERVER/200", "--insecure", "--timeout", "20ms"],
];

fn path(folder: &tempfile::TempDir) -> String {
    folder.path().to_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_wrong_status_is_told_though_the_body_does_not_come() {
    let mut listener = TokioNet.bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = async {
        let (mut stream, _) = Listener::accept(&mut listener).await;
        stream
            .write_all(b"HTTP/1.1 503 Wait\r\nContent-Length: 9\r\n\r\n")
            .await?;
        std::future::pending::<io::Result<()>>().await
    };
    let url = format!("http://{address}/");
    let arguments = [&*url, "--timeout", "4s"];
    let said = tokio::select! {
        said = said(&arguments) => said,
        ended = server => panic!("{ended:?}"),
    };
    assert_eq!(
        said,
        format!("{url}: answers 503 Service Unavailable, not 200 to 299")
    );
}

#[tokio::test]
async fn the_answer_is_judged_by_its_status() {
    let address = server(None).await;
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("socket");
    let listener = tokio::net::UnixListener::bind(&socket).unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(answer(stream));
        }
    });
    let mut text = String::new();
    let paths = [("SERVER", address.to_string()), ("FOLDER", path(&folder))];
    for case in CASES {
        let with = |text: &str| {
            paths.iter().fold(text.to_owned(), |text, (word, path)| {
                text.replace(word, path)
            })
        };
        let arguments: Vec<_> = case.iter().map(|argument| with(argument)).collect();
        let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
        let said = said(&arguments).await;
        let said = paths
            .iter()
            .fold(said, |text, (word, path)| text.replace(path, word));
        writeln!(text, "{}\n  {said}", case.join(" ")).unwrap();
    }
    expect![[r#"
        http://SERVER/200
          200 OK
        http://SERVER/204
          204 No Content
        http://SERVER/404?a=b#c
          http://SERVER/404?a=b: answers 404 Not Found, not 200 to 299: "GET /404?a=b HTTP/1.1 host: SERVER user-agent: tiergate-probe connection: close"
        http://SERVER/404 --status 404
          404 Not Found
        http://SERVER/404 --status 200-499
          404 Not Found
        http://SERVER/200 --status 404
          http://SERVER/200: answers 200 OK, not 404: "GET /200 HTTP/1.1 host: SERVER user-agent: tiergate-probe connection: close"
        http://SERVER/503 --host keystone.example
          http://SERVER/503: answers 503 Service Unavailable, not 200 to 299: "GET /503 HTTP/1.1 host: keystone.example user-agent: tiergate-probe connection: close"
        /200 --socket FOLDER/socket
          200 OK
        /503 --socket FOLDER/socket
          /503 at FOLDER/socket: answers 503 Service Unavailable, not 200 to 299: "GET /503 HTTP/1.1 host: localhost user-agent: tiergate-probe connection: close"
        http://admin/503 --socket FOLDER/socket
          http://admin/503 at FOLDER/socket: answers 503 Service Unavailable, not 200 to 299: "GET /503 HTTP/1.1 host: admin user-agent: tiergate-probe connection: close"
        /200 --socket FOLDER/nobody
          /200 at FOLDER/nobody: cannot connect to the socket: No such file or directory (os error 2)
        http://SERVER/nothing
          http://SERVER/nothing: no answer: connection closed before message completed
        http://SERVER/silence --timeout 20ms
          http://SERVER/silence: no answer within 20ms
        http://127.0.0.1:1/ --timeout 1m
          http://127.0.0.1:1/: cannot connect to 127.0.0.1:1: Connection refused (os error 111)
        https://SERVER/200 --insecure --timeout 20ms
          https://SERVER/200: no answer within 20ms
    "#]].assert_eq(&text);
}

#[tokio::test]
async fn tls_is_checked_against_the_file_unless_told_otherwise() {
    let (acceptor, pem) = certificate();
    let server = server(Some(acceptor)).await.to_string();
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in [("ours.pem", &pem), ("other.pem", &certificate().1)] {
        std::fs::write(folder.path().join(name), text).unwrap();
    }
    std::fs::write(folder.path().join("empty.pem"), "").unwrap();
    let mut text = String::new();
    for (case, arguments) in [
        ("insecure", "--insecure"),
        ("the name of the URL", "--ca FOLDER/ours.pem"),
        ("its name", "--ca FOLDER/ours.pem --host a.example"),
        ("another's", "--ca FOLDER/other.pem --host a.example"),
        ("an empty file", "--ca FOLDER/empty.pem"),
        ("no file", "--ca FOLDER/none.pem"),
        ("no name", "--ca FOLDER/ours.pem --host a..example"),
    ] {
        let folder = folder.path().to_str().unwrap();
        let arguments = arguments.replace("FOLDER", folder);
        let url = format!("https://{server}/200");
        let arguments: Vec<_> = [url.as_str()]
            .into_iter()
            .chain(arguments.split(' '))
            .collect();
        let said = said(&arguments).await.replace(folder, "FOLDER");
        writeln!(text, "{case}: {}", said.replace(&server, "SERVER")).unwrap();
    }
    expect![[r#"
        insecure: 200 OK
        the name of the URL: https://SERVER/200: the TLS handshake failed: invalid peer certificate: certificate not valid for name "127.0.0.1"; certificate is only valid for DnsName("a.example")
        its name: 200 OK
        another's: https://SERVER/200: the TLS handshake failed: invalid peer certificate: BadSignature
        an empty file: https://SERVER/200: FOLDER/empty.pem holds no certificate; name a PEM file with one
        no file: https://SERVER/200: cannot read FOLDER/none.pem: No such file or directory (os error 2); name a readable PEM file
        no name: https://SERVER/200: "a..example" is no name for TLS; give one by --host
    "#]].assert_eq(&text);
}

#[test]
fn what_makes_no_sense_is_a_usage_error() {
    let cases: &[&[&str]] = &[
        &[],
        &["/readyz"],
        &["readyz"],
        &["10.0.0.7:10254/readyz"],
        &["ftp://a/"],
        &["http:///readyz"],
        &["http://a:99999/"],
        &["http://user@a/"],
        &["https://a/"],
        &["https://a/", "--insecure", "--ca", "a.pem"],
        &["http://a/", "--status", "99"],
        &["http://a/", "--status", "300-200"],
        &["http://a/", "--status", "ok"],
        &["http://a/", "--timeout", "5"],
        &["http://a/", "--timeout", "2h"],
        &["http://a/", "--host", "a b"],
        &["http://a/", "--host", ""],
        &["http://a/", "--watch-namespace", "a"],
    ];
    let mut text = String::new();
    for case in cases {
        let stop = parse(case).expect_err("it makes no sense");
        let said = stop.to_string();
        writeln!(
            text,
            "{}\n  {}",
            case.join(" "),
            said.lines().next().unwrap()
        )
        .unwrap();
    }
    expect![[r#"

          error: the following required arguments were not provided:
        /readyz
          error: a path is asked of a socket: add --socket PATH, or give the whole URL
        readyz
          error: invalid value 'readyz' for '<URL>': write a URL such as http://10.0.0.7:10254/readyz
        10.0.0.7:10254/readyz
          error: invalid value '10.0.0.7:10254/readyz' for '<URL>': write a URL such as http://10.0.0.7:10254/readyz
        ftp://a/
          error: invalid value 'ftp://a/' for '<URL>': write a URL such as http://10.0.0.7:10254/readyz
        http:///readyz
          error: invalid value 'http:///readyz' for '<URL>': write a URL such as http://10.0.0.7:10254/readyz
        http://a:99999/
          error: invalid value 'http://a:99999/' for '<URL>': write a URL such as http://10.0.0.7:10254/readyz
        http://user@a/
          error: invalid value 'http://user@a/' for '<URL>': write a URL such as http://10.0.0.7:10254/readyz
        https://a/
          error: https needs to know whose certificates are good: add --ca FILE, or --insecure for everybody's
        https://a/ --insecure --ca a.pem
          error: the argument '--insecure' cannot be used with '--ca <FILE>'
        http://a/ --status 99
          error: invalid value '99' for '--status <STATUS>': write a status such as 200, or a range such as 200-399
        http://a/ --status 300-200
          error: invalid value '300-200' for '--status <STATUS>': write a status such as 200, or a range such as 200-399
        http://a/ --status ok
          error: invalid value 'ok' for '--status <STATUS>': write a status such as 200, or a range such as 200-399
        http://a/ --timeout 5
          error: invalid value '5' for '--timeout <TIME>': write a time such as 5s or 500ms, from 1ms to 1h
        http://a/ --timeout 2h
          error: invalid value '2h' for '--timeout <TIME>': write a time such as 5s or 500ms, from 1ms to 1h
        http://a/ --host a b
          error: invalid value 'a b' for '--host <NAME>': write a host such as keystone.example
        http://a/ --host 
          error: invalid value '' for '--host <NAME>': write a host such as keystone.example
        http://a/ --watch-namespace a
          error: unexpected argument '--watch-namespace' found
    "#]].assert_eq(&text);
}
