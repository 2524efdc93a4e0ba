//! HTTP/2 stream by stream: what ends one of them and leaves the others alone.

use std::time::Duration;

use crate::harness::client::Client;
use crate::harness::endpoint::{Peer, echo, scripted};
use crate::harness::frames::{
    DATA, Frame, GOAWAY, HEADERS, PING, RST_STREAM, connect, frame, read, request,
};
use crate::harness::{Proxy, config, proxy, run, table_of, until};

const OPEN: &str = "tiergate_client_connections_open";
const IN_FLIGHT: &str = "tiergate_requests_in_flight{tenant=\"team\"}";
const NO_ERROR: [u8; 4] = [0, 0, 0, 0];
const PROTOCOL_ERROR: [u8; 4] = [0, 0, 0, 1];
const INTERNAL_ERROR: [u8; 4] = [0, 0, 0, 2];
const CANCEL: [u8; 4] = [0, 0, 0, 8];
const ACK: u8 = 1;

/// The frames of one stream, up to its end or its reset.
async fn stream(client: &mut Client, number: u32) -> Vec<Frame> {
    let mut frames: Vec<Frame> = Vec::new();
    while !frames
        .last()
        .is_some_and(|frame| frame.kind == RST_STREAM || frame.is_last())
    {
        let next = read(client).await.expect("the connection goes on");
        if next.stream == number {
            frames.push(next);
        }
    }
    frames
}

/// That the connection still serves.
async fn assert_served(client: &mut Client, number: u32) {
    client.send(request(number, true, "GET", "/", &[])).await;
    let frames = stream(client, number).await;
    assert!(frames.last().expect("an answer").is_last(), "{frames:?}");
}

/// An endpoint that answers `/`, keeps `/wait` waiting, and sends a large body for `/large` and a part of one for `/part`.
async fn endpoint() -> crate::harness::endpoint::Endpoint {
    scripted(|mut peer: Peer| async move {
        while let Some(head) = peer.head().await {
            let large = "HTTP/1.1 200 OK\r\ncontent-length: 10000000\r\n\r\n";
            if head.contains("/wait") {
                std::future::pending::<()>().await;
            } else if head.contains("/large") {
                peer.wire.send(large).await;
                peer.wire.send(vec![b'x'; 10_000_000]).await;
            } else if head.contains("/part") {
                peer.wire.send(large).await;
                peer.wire.send("part").await;
                return;
            } else {
                peer.answer("well").await;
            }
        }
    })
    .await
}

async fn impatient() -> (crate::harness::endpoint::Endpoint, Proxy) {
    let endpoint = endpoint().await;
    let mut config = config();
    config.timeouts.response_body = Duration::from_millis(150);
    let proxy = proxy(config, table_of(&[endpoint.address])).await;
    (endpoint, proxy)
}

#[test]
fn a_stream_whose_client_takes_nothing_is_cut_and_the_others_go_on() {
    run(async {
        let (_endpoint, proxy) = impatient().await;
        let mut client = connect(proxy.http, 1000).await;
        client.send(request(1, true, "GET", "/wait", &[])).await;
        client.send(request(3, true, "GET", "/large", &[])).await;
        let frames = stream(&mut client, 3).await;
        let kinds: Vec<u8> = frames.iter().map(|frame| frame.kind).collect();
        assert_eq!(kinds, [HEADERS, DATA, RST_STREAM]);
        assert_eq!(frames[1].payload.len(), 1000);
        assert_eq!(frames[2].payload, CANCEL);
        assert_served(&mut client, 5).await;
        let stalled = proxy.errors("client_stalled");
        assert!((stalled - 1.0).abs() < 0.1, "{stalled}");
        proxy.until(IN_FLIGHT, 1.0).await;
        proxy.until(OPEN, 1.0).await;
    });
}

#[test]
fn an_answer_that_its_endpoint_cuts_short_is_reset_and_does_not_end() {
    run(async {
        let endpoint = endpoint().await;
        let proxy = proxy(config(), table_of(&[endpoint.address])).await;
        let mut client = connect(proxy.http, 65_535).await;
        client.send(request(1, true, "GET", "/part", &[])).await;
        let frames = stream(&mut client, 1).await;
        let kinds: Vec<u8> = frames.iter().map(|frame| frame.kind).collect();
        assert_eq!(kinds, [HEADERS, DATA, RST_STREAM]);
        assert_eq!(frames[1].payload, b"part");
        assert_eq!(frames[2].payload, INTERNAL_ERROR);
        assert_served(&mut client, 3).await;
    });
}

#[test]
fn a_body_that_is_not_what_its_head_says_is_no_request() {
    run(async {
        let endpoint = echo().await;
        let proxy = proxy(config(), table_of(&[endpoint.address])).await;
        let mut client = connect(proxy.http, 65_535).await;
        let length = [("content-length", "5")];
        for (number, body, is_last) in [(1, "few", true), (3, "too many", false)] {
            client
                .send(request(number, false, "POST", "/", &length))
                .await;
            let body = frame(DATA, is_last, number, body.as_bytes());
            client.send(body).await;
            let frames = stream(&mut client, number).await;
            let last = frames.last().expect("a frame");
            assert_eq!(last.kind, RST_STREAM, "{frames:?}");
            assert_eq!(last.payload, PROTOCOL_ERROR, "{frames:?}");
        }
        proxy.until(IN_FLIGHT, 0.0).await;
        assert_eq!(endpoint.received().len(), 0);
        assert_served(&mut client, 5).await;
    });
}

#[test]
fn an_upload_that_is_reset_is_not_whole_whatever_the_reason() {
    run(async {
        let endpoint = echo().await;
        let proxy = proxy(config(), table_of(&[endpoint.address])).await;
        let mut client = connect(proxy.http, 65_535).await;
        for (number, reason) in [(1, NO_ERROR), (3, CANCEL)] {
            client.send(request(number, false, "POST", "/", &[])).await;
            client.send(frame(DATA, false, number, b"hello")).await;
            until(|| endpoint.connections() == usize::from(number > 1) + 1).await;
            client.send(frame(RST_STREAM, false, number, &reason)).await;
            proxy.until(IN_FLIGHT, 0.0).await;
            proxy.until("tiergate_upstream_connections", 0.0).await;
        }
        assert_eq!(endpoint.received().len(), 0);
        assert_served(&mut client, 5).await;
    });
}

/// What a client with no request gets in simulated time until the connection ends, and after how many seconds that is.
fn silence(answers: bool) -> (Vec<Frame>, u64) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .expect("a runtime");
    tokio::task::LocalSet::new().block_on(&runtime, async {
        let endpoint = echo().await;
        let proxy = proxy(config(), table_of(&[endpoint.address])).await;
        let mut client = connect(proxy.http, 65_535).await;
        let start = tokio::time::Instant::now();
        let mut frames = Vec::new();
        while let Some(next) = read(&mut client).await {
            if answers && next.kind == PING {
                let mut answer = frame(PING, false, 0, &next.payload);
                answer[4] = ACK;
                client.send(answer).await;
            }
            frames.push(next);
        }
        (frames, start.elapsed().as_secs())
    })
}

#[test]
fn a_client_that_does_not_answer_a_ping_is_gone() {
    let (frames, seconds) = silence(false);
    assert_eq!(frames.last().expect("a frame").kind, PING);
    assert_eq!(seconds, 40);
}

#[test]
fn a_client_that_answers_pings_is_sent_away_when_it_has_been_idle() {
    let (frames, seconds) = silence(true);
    let pings = frames.iter().filter(|frame| frame.kind == PING).count();
    assert!(pings >= 3, "{frames:?}");
    assert!(
        frames.iter().any(|frame| frame.kind == GOAWAY),
        "{frames:?}"
    );
    assert_eq!(seconds, 75);
}
