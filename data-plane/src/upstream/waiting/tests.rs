use http::Request;
use prometheus_client::registry::Registry;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};

use super::*;
use crate::body::RequestBody;
use crate::metrics::Metrics;

const IDLE_MAX: Duration = Duration::from_secs(60);

/// A connection whose endpoint has answered a request.
async fn used(metrics: &Metrics) -> (Box<Http1<DuplexStream>>, DuplexStream) {
    let (ours, mut theirs) = tokio::io::duplex(100_000);
    let mut connection = Http1::new(ours, metrics.open_upstream())
        .await
        .expect("spoken to");
    answered(&mut connection, &mut theirs).await;
    (Box::new(connection), theirs)
}

/// One request and its answer.
async fn answered(connection: &mut Http1<DuplexStream>, endpoint: &mut DuplexStream) {
    let (mut head, ()) = Request::new(()).into_parts();
    let mut body = RequestBody::default();
    let answer = async {
        let mut read = Vec::new();
        while !read.ends_with(b"\r\n\r\n") {
            read.push(endpoint.read_u8().await.expect("a request"));
        }
        let written = endpoint.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await;
        written.expect("written");
    };
    let (response, ()) = tokio::join!(connection.send(&mut head, &mut body), answer);
    let Ok(response) = response else {
        panic!("no answer")
    };
    assert_eq!(response.status(), 204);
}

fn metrics() -> Metrics {
    Metrics::register(&mut Registry::default())
}

fn is_resting(kept: &Kept<DuplexStream>) -> bool {
    matches!(kept, Kept::Resting(_))
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_has_waited_for_a_while_gives_its_buffers_back_and_takes_the_next_request()
 {
    let metrics = metrics();
    let waiting = Waiting::new(8);
    let (connection, mut endpoint) = used(&metrics).await;
    waiting.put(connection);
    waiting.expire(Instant::now(), IDLE_MAX);
    let kept = waiting.take().expect("it is new");
    assert!(!is_resting(&kept));
    let Kept::Ready(connection) = kept else {
        unreachable!()
    };
    waiting.put(connection);
    for seconds in [1, 20] {
        tokio::time::advance(Duration::from_secs(seconds)).await;
        waiting.expire(Instant::now(), IDLE_MAX);
    }
    let Some(Kept::Resting(resting)) = waiting.take() else {
        panic!("it rests")
    };
    let mut connection = resting.wake().await.expect("woken");
    assert!(connection.is_reused);
    answered(&mut connection, &mut endpoint).await;
    waiting.put(Box::new(connection));
    assert!(waiting.take().is_some_and(|kept| !is_resting(&kept)));
}

#[tokio::test(start_paused = true)]
async fn one_that_its_endpoint_closed_or_spoke_on_is_let_go_resting_or_not() {
    let metrics = metrics();
    for (rests_before, rests_after, is_closed) in [
        (false, false, true),
        (false, false, false),
        (true, false, true),
        (true, false, false),
        (false, true, true),
        (false, true, false),
        (true, true, true),
        (true, true, false),
    ] {
        let waiting = Waiting::new(8);
        let (connection, mut endpoint) = used(&metrics).await;
        waiting.put(connection);
        let rest = async |rests: bool| {
            if rests {
                tokio::time::advance(REST_IDLE).await;
                waiting.expire(Instant::now(), IDLE_MAX);
            }
        };
        rest(rests_before).await;
        if is_closed {
            drop(endpoint);
        } else {
            let unasked = endpoint
                .write_all(b"HTTP/1.1 408 Request Timeout\r\n\r\n")
                .await;
            unasked.expect("written");
        }
        rest(rests_after).await;
        let case = (rests_before, rests_after, is_closed);
        assert_eq!(waiting.is_empty(), rests_after, "{case:?}");
        assert!(waiting.take().is_none(), "{case:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_last_one_given_back_is_taken_first_and_old_ones_are_closed() {
    let metrics = metrics();
    let waiting = Waiting::new(2);
    let mut endpoints = Vec::new();
    for _ in 0..3 {
        let (connection, endpoint) = used(&metrics).await;
        waiting.put(connection);
        endpoints.push(endpoint);
        tokio::time::advance(Duration::from_secs(1)).await;
    }
    // The third had no place.
    assert!(endpoints[2].read_u8().await.is_err());
    waiting.expire(Instant::now(), Duration::from_millis(2_500));
    assert!(endpoints[0].read_u8().await.is_err(), "it was too old");
    let Some(Kept::Resting(second)) = waiting.take() else {
        panic!("one is left")
    };
    let mut second = second.wake().await.expect("woken");
    answered(&mut second, &mut endpoints[1]).await;
    assert!(waiting.is_empty());
}
