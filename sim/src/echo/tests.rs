//! The echo server over loopback.

use std::net::{Ipv4Addr, SocketAddr};

use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use serde_json::{Value, json};
use tiergate_data_plane::net::{Net, TokioNet};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::*;

type TestClient = Client<HttpConnector, Full<Bytes>>;

struct Running {
    address: SocketAddr,
    stop: stop::Handle,
    served: tokio::task::JoinHandle<()>,
}

async fn start() -> Running {
    let listener = TokioNet
        .bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))
        .await
        .unwrap();
    let address = listener.local_addr().unwrap();
    let identity = Identity {
        pod: "web-1".to_owned(),
        namespace: "shop".to_owned(),
        node: "node-2".to_owned(),
    };
    let (stop, stopping) = stop::channel();
    let served = tokio::spawn(serve(listener, Arc::new(identity), stopping));
    Running {
        address,
        stop,
        served,
    }
}

fn client(http2: bool) -> TestClient {
    Client::builder(TokioExecutor::new())
        .http2_only(http2)
        .build_http()
}

async fn send(client: &TestClient, request: http::request::Builder, body: &str) -> Response<Bytes> {
    let request = request
        .body(Full::new(Bytes::copy_from_slice(body.as_bytes())))
        .unwrap();
    let (head, body) = client.request(request).await.unwrap().into_parts();
    Response::from_parts(head, body.collect().await.unwrap().to_bytes())
}

#[tokio::test]
async fn the_answer_describes_the_request() {
    let echo = start().await;
    for (http2, protocol) in [(false, "HTTP/1.1"), (true, "HTTP/2")] {
        let request = Request::post(format!("http://{}/a/%20b?x=1&y", echo.address))
            .header("x-twice", "one")
            .header("x-twice", "two");
        let response = send(&client(http2), request, "hello").await;
        assert_eq!(response.status(), 200);
        let mut answer: Value = serde_json::from_slice(response.body()).unwrap();
        let mut headers = answer["headers"].take();
        assert_eq!(
            headers["x-twice"].take(),
            json!(["one", "two"]),
            "{protocol}"
        );
        let expected = json!({
            "pod": "web-1", "namespace": "shop", "node": "node-2", "client": "127.0.0.1", "port": echo.address.port(),
            "method": "POST", "path": "/a/%20b", "query": "x=1&y", "host": echo.address.to_string(),
            "protocol": protocol, "headers": null, "body_bytes": 5,
        });
        assert_eq!(answer, expected);
    }
}

#[tokio::test(start_paused = true)]
async fn status_delay_and_size_are_as_asked_for() {
    let echo = start().await;
    let client = client(false);
    let begin = tokio::time::Instant::now();
    let uri = format!(
        "http://{}/?status=418&delay_ms=5000&bytes=100000",
        echo.address
    );
    let response = send(&client, Request::get(&uri), "").await;
    assert_eq!(response.status(), 418);
    assert_eq!(response.body().len(), 100_000);
    assert!(begin.elapsed() >= Duration::from_secs(5));

    let head = send(&client, Request::head(&uri), "").await;
    assert_eq!(head.headers()["content-length"], "100000");
    let wrong = send(
        &client,
        Request::get(format!("http://{}/?status=x", echo.address)),
        "",
    )
    .await;
    assert_eq!(wrong.status(), 400);
}

#[tokio::test]
async fn an_upgraded_connection_returns_every_byte() {
    let echo = start().await;
    let mut stream = raw(echo.address).await;
    let head =
        "GET / HTTP/1.1\r\nhost: a\r\nconnection: keep-alive, Upgrade\r\nupgrade: chat\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        answer.push(stream.read_u8().await.unwrap());
    }
    let answer = String::from_utf8(answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
    assert!(answer.contains("upgrade: chat\r\n"), "{answer}");
    stream.write_all(b"ping").await.unwrap();
    let mut back = [0; 4];
    stream.read_exact(&mut back).await.unwrap();
    assert_eq!(&back, b"ping");
}

#[tokio::test]
async fn a_stop_finishes_requests_and_closes_idle_connections() {
    let echo = start().await;
    let mut idle = raw(echo.address).await;
    idle.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
        .await
        .unwrap();
    idle.readable().await.unwrap();

    let uri = format!("http://{}/?delay_ms=1500", echo.address);
    let slow = tokio::spawn(async move { send(&client(false), Request::get(uri), "").await });
    let mut busy = raw(echo.address).await;
    busy.write_all(b"GET /?delay_ms=1 HTTP/1.1\r\nhost: a\r\n\r\n")
        .await
        .unwrap();
    busy.readable().await.unwrap();
    echo.stop.stop();

    let late = send(
        &client(false),
        Request::get(format!("http://{}/", echo.address)),
        "",
    )
    .await;
    assert_eq!(late.headers()["connection"], "close");
    let mut rest = Vec::new();
    idle.read_to_end(&mut rest).await.unwrap();
    assert_eq!(slow.await.unwrap().status(), 200);
    echo.served.await.unwrap();
    assert!(TokioNet.connect(echo.address, None).await.is_err());
}

async fn raw(address: SocketAddr) -> TcpStream {
    TokioNet.connect(address, None).await.unwrap()
}
