//! HTTP/2 from clients and to endpoints, gRPC's shape of it included.

use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, Version};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Empty, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::client::conn::http2::SendRequest;
use hyper_util::rt::TokioIo;
use tiergate_data_plane::table::Protocol;
use tokio::net::{TcpListener, TcpStream};

use crate::harness::client::{Client, get, values};
use crate::harness::endpoint::echo;
use crate::harness::{config, proxy, run, table, table_of};

type Body = BoxBody<Bytes, Infallible>;

#[derive(Clone)]
struct Local;

impl<F: Future + 'static> hyper::rt::Executor<F> for Local {
    fn execute(&self, task: F) {
        tokio::task::spawn_local(async move {
            task.await;
        });
    }
}

async fn connect(to: SocketAddr) -> SendRequest<Body> {
    let stream = TcpStream::connect(to).await.expect("connected");
    let io = TokioIo::new(stream);
    let (sender, connection) = hyper::client::conn::http2::handshake(Local, io)
        .await
        .expect("a handshake");
    tokio::task::spawn_local(connection);
    sender
}

fn empty() -> Body {
    Empty::new().boxed()
}

fn request(path: &str) -> http::request::Builder {
    Request::builder()
        .version(Version::HTTP_2)
        .uri(format!("http://a.example{path}"))
}

/// An h2c endpoint that answers like a gRPC server, and a record of the heads that it received.
async fn grpc() -> (SocketAddr, Rc<RefCell<Vec<http::request::Parts>>>) {
    grpc_for(usize::MAX).await
}

/// The same, but each connection ends (GOAWAY) after so many requests.
async fn grpc_for(requests_max: usize) -> (SocketAddr, Rc<RefCell<Vec<http::request::Parts>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let heads = Rc::new(RefCell::new(Vec::new()));
    let log = heads.clone();
    tokio::task::spawn_local(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let log = log.clone();
            let served = Rc::new(Cell::new(0));
            let counted = served.clone();
            let service = hyper::service::service_fn(move |request: Request<Incoming>| {
                let log = log.clone();
                counted.set(counted.get() + 1);
                async move { Ok::<_, Infallible>(answer(request, &log).await) }
            });
            let serving = hyper::server::conn::http2::Builder::new(Local)
                .serve_connection(TokioIo::new(stream), service);
            tokio::task::spawn_local(async move {
                let mut serving = std::pin::pin!(serving);
                std::future::poll_fn(|cx| {
                    let ended = serving.as_mut().poll(cx);
                    if served.get() >= requests_max {
                        serving.as_mut().graceful_shutdown();
                    }
                    ended
                })
                .await
            });
        }
    });
    (address, heads)
}

async fn answer(
    request: Request<Incoming>,
    log: &RefCell<Vec<http::request::Parts>>,
) -> Response<Body> {
    let (parts, body) = request.into_parts();
    log.borrow_mut().push(parts);
    let collected = body.collect().await.expect("a whole body");
    let sum = collected
        .trailers()
        .and_then(|trailers| trailers.get("x-sum").cloned());
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    if let Some(sum) = sum {
        trailers.insert("x-sum", sum);
    }
    let frames = [Frame::data(collected.to_bytes()), Frame::trailers(trailers)];
    let frames = futures::stream::iter(frames.map(Ok::<_, Infallible>));
    let body = BodyExt::boxed(StreamBody::new(frames));
    let mut response = Response::new(body);
    let grpc = HeaderValue::from_static("application/grpc");
    response.headers_mut().insert("content-type", grpc);
    response
}

#[test]
fn grpc_passes_with_its_trailers_both_ways() {
    run(async {
        let (address, heads) = grpc().await;
        let proxy = proxy(config(), table(Protocol::H2c, &[address])).await;
        let mut sender = connect(proxy.http).await;
        for n in 0..3 {
            let mut trailers = HeaderMap::new();
            trailers.insert("x-sum", HeaderValue::from(n));
            let frames = [
                Frame::data(Bytes::from_static(b"ping")),
                Frame::trailers(trailers),
            ];
            let frames = futures::stream::iter(frames.map(Ok::<_, Infallible>));
            let request = request("/svc/Method")
                .method("POST")
                .header("te", "trailers")
                .header("content-type", "application/grpc")
                .body(BodyExt::boxed(StreamBody::new(frames)))
                .expect("a request");
            let response = sender.send_request(request).await.expect("a response");
            assert_eq!(response.status(), 200);
            let collected = response.into_body().collect().await.expect("a body");
            let trailers = collected.trailers().expect("trailers");
            assert_eq!(trailers["grpc-status"], "0");
            assert_eq!(trailers["x-sum"], n.to_string());
            assert_eq!(collected.to_bytes(), "ping");
        }
        let heads = heads.borrow();
        assert_eq!(heads[0].uri.to_string(), "http://a.example/svc/Method");
        assert_eq!(heads[0].headers["te"], "trailers");
        assert_eq!(heads[0].headers["via"], "2.0 tiergate-test");
        assert_eq!(heads[0].headers["x-forwarded-for"], "127.0.0.1");
        let connects = "tiergate_upstream_connects_total{result=\"ok\"}";
        assert!(
            (proxy.sample(connects) - 1.0).abs() < 0.1,
            "one connection is shared"
        );
    });
}

#[test]
fn http1_clients_reach_http2_endpoints() {
    run(async {
        let (address, heads) = grpc().await;
        let proxy = proxy(config(), table(Protocol::H2c, &[address])).await;
        let request = "POST /x?y HTTP/1.1\r\nHost: A.example:8\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nhi";
        let response = get(proxy.http, request).await;
        assert_eq!((response.status, response.text()), (200, "hi"));
        let uri = heads.borrow()[0].uri.to_string();
        assert_eq!(uri, "http://A.example:8/x?y");
        assert!(!heads.borrow()[0].headers.contains_key("host"));
    });
}

#[test]
fn http2_clients_reach_http1_endpoints() {
    run(async {
        let endpoint = echo().await;
        let proxy = proxy(config(), table_of(&[endpoint.address])).await;
        let mut sender = connect(proxy.http).await;
        let body = Full::new(Bytes::from_static(b"body")).boxed();
        let asked = request("/p?q")
            .method("POST")
            .header("cookie", "a=1")
            .header("cookie", "b=2")
            .body(body)
            .expect("a request");
        let response = sender.send_request(asked).await.expect("a response");
        let text = response
            .into_body()
            .collect()
            .await
            .expect("a body")
            .to_bytes();
        let head = std::str::from_utf8(&text).expect("text");
        assert!(head.starts_with("POST /p?q HTTP/1.1\r\n"), "{head}");
        assert_eq!(values(head, "host"), ["a.example"]);
        assert_eq!(values(head, "cookie"), ["a=1; b=2"]);
        assert_eq!(values(head, "via"), ["2.0 tiergate-test"]);
        assert_eq!(endpoint.received()[0].body, b"body");
        // Many at a time over one client connection.
        let mut running = Vec::new();
        for n in 0..100 {
            let asked = request(&format!("/{n}")).body(empty()).expect("a request");
            running.push(sender.send_request(asked));
        }
        for response in futures::future::join_all(running).await {
            assert_eq!(response.expect("a response").status(), 200);
        }
    });
}

#[test]
fn authority_and_host_must_agree_and_paths_be_clear() {
    run(async {
        let endpoint = echo().await;
        let proxy = proxy(config(), table_of(&[endpoint.address])).await;
        let mut sender = connect(proxy.http).await;
        for (path, host, status) in [
            ("/", "a.example", 200),
            ("/", "A.EXAMPLE", 200),
            ("/", "b.example", 400),
            ("/a/../b", "a.example", 400),
            ("/a/%2e%2e/b", "a.example", 400),
        ] {
            let asked = request(path).header("host", host).body(empty());
            let response = sender.send_request(asked.expect("a request")).await;
            assert_eq!(
                response.expect("a response").status(),
                status,
                "{path} {host}"
            );
        }
        let mut many = request("/");
        for n in 0..101 {
            many = many.header(format!("x-{n}"), "y");
        }
        let response = sender
            .send_request(many.body(empty()).expect("a request"))
            .await;
        assert_eq!(response.expect("a response").status(), 431);
    });
}

#[test]
fn an_answer_that_can_have_no_content_names_no_length() {
    run(async {
        let answer = "HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n";
        let endpoint = crate::harness::endpoint::answering(answer).await;
        let proxy = proxy(config(), table_of(&[endpoint.address])).await;
        let mut sender = connect(proxy.http).await;
        let asked = request("/").body(empty()).expect("a request");
        let response = sender.send_request(asked).await.expect("a response");
        assert_eq!(response.status(), 204);
        assert_eq!(response.headers().get("content-length"), None);
    });
}

#[test]
fn a_body_over_the_limit_is_refused_on_http2() {
    run(async {
        let endpoint = echo().await;
        let mut config = config();
        config.limits.body_bytes_max = 10;
        let proxy = proxy(config, table_of(&[endpoint.address])).await;
        let mut sender = connect(proxy.http).await;
        for declared in [true, false] {
            let data = Bytes::from_static(b"hello world");
            let body = if declared {
                Full::new(data).boxed()
            } else {
                let frames = futures::stream::iter([Ok::<_, Infallible>(Frame::data(data))]);
                BodyExt::boxed(StreamBody::new(frames))
            };
            let asked = request("/").method("POST").body(body).expect("a request");
            let response = sender.send_request(asked).await.expect("a response");
            assert_eq!(response.status(), 413, "declared: {declared}");
        }
        assert_eq!(endpoint.received().len(), 0);
    });
}

#[test]
fn rapid_resets_end_the_connection() {
    run(async {
        let endpoint = echo().await;
        let proxy = proxy(config(), table_of(&[endpoint.address])).await;
        let mut client = Client::connect(proxy.http).await;
        client.send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
        client.send([0, 0, 0, 4, 0, 0, 0, 0, 0]).await;
        let mut frames = Vec::new();
        for stream in (1..4001_u32).step_by(2) {
            // GET / of http://a by the static table and a literal authority, and its reset.
            frames.extend([0, 0, 6, 1, 5]);
            frames.extend(stream.to_be_bytes());
            frames.extend([0x82, 0x84, 0x86, 0x41, 1, b'a']);
            frames.extend([0, 0, 4, 3, 0]);
            frames.extend(stream.to_be_bytes());
            frames.extend([0, 0, 0, 8]);
        }
        client.send(frames).await;
        let rest = client.rest().await;
        assert!(
            rest.windows(5).any(|frame| frame[3] == 7),
            "the connection ends with GOAWAY"
        );
        assert!(
            endpoint.received().len() < 200,
            "{}",
            endpoint.received().len()
        );
        proxy.until("tiergate_client_connections_open", 0.0).await;
        proxy
            .until("tiergate_requests_in_flight{tenant=\"team\"}", 0.0)
            .await;
    });
}

#[test]
fn a_head_without_end_is_not_collected() {
    run(async {
        let endpoint = echo().await;
        let proxy = proxy(config(), table_of(&[endpoint.address])).await;
        let mut client = Client::connect(proxy.http).await;
        client.send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
        client.send([0, 0, 0, 4, 0, 0, 0, 0, 0]).await;
        // HEADERS without END_HEADERS, and CONTINUATION frames for ever (CVE-2024-27316).
        client
            .send([0, 0, 3, 1, 1, 0, 0, 0, 1, 0x82, 0x84, 0x86])
            .await;
        let field = [&[0x40, 1, b'x', 100][..], &[b'y'; 100]].concat();
        let length = u8::try_from(field.len()).expect("a short frame");
        let frame = [&[0, 0, length, 9, 0, 0, 0, 0, 1][..], &field].concat();
        for _ in 0..20 {
            client.send(frame.repeat(100)).await;
        }
        let rest = client.rest().await;
        assert!(rest.len() < 10_000, "{}", rest.len());
        assert_eq!(endpoint.received().len(), 0);
        proxy.until("tiergate_client_connections_open", 0.0).await;
    });
}

#[test]
fn a_shared_connection_that_ended_is_replaced() {
    run(async {
        let (address, heads) = grpc_for(1).await;
        let proxy = proxy(config(), table(Protocol::H2c, &[address])).await;
        for n in 1..=10 {
            let response = get(proxy.http, "GET / HTTP/1.1\r\nHost: a.example\r\n\r\n").await;
            assert_eq!(response.status, 200, "request {n}");
            assert_eq!(heads.borrow().len(), n);
        }
    });
}

#[test]
fn a_draining_worker_says_goaway_and_finishes_its_streams() {
    run(async {
        let endpoint = crate::harness::endpoint::scripted(
            |mut peer: crate::harness::endpoint::Peer| async move {
                while peer.receive().await.is_some() {
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    peer.answer("done").await;
                }
            },
        )
        .await;
        let proxy = proxy(config(), table_of(&[endpoint.address])).await;
        let mut sender = connect(proxy.http).await;
        let asked = request("/").body(empty()).expect("a request");
        let running = sender.send_request(asked);
        let running = tokio::task::spawn_local(running);
        crate::harness::until(|| endpoint.received().len() == 1).await;
        proxy.drain.start(Duration::from_secs(60));
        let response = running.await.expect("no panic").expect("a response");
        let body = response.into_body().collect().await.expect("a whole body");
        assert_eq!(body.to_bytes(), "done");
        proxy.ended.await.expect("the worker has ended");
        crate::harness::until(|| sender.is_closed()).await;
    });
}
