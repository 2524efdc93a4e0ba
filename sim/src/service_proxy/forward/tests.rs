use std::net::SocketAddr;

use tiergate_data_plane::net::{Listener, TokioNet};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use super::*;

const TIMES: Times = Times {
    connect_timeout: Duration::from_secs(10),
    idle_timeout: Duration::from_secs(3600),
    half_closed_timeout: Duration::from_secs(60),
};

async fn listener() -> (TcpListener, SocketAddr) {
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let listener = TokioNet.bind(any).await.unwrap();
    let address = Listener::local_addr(&listener).unwrap();
    (listener, address)
}

/// A client's stream, and its forwarding to `to`.
async fn begin(to: SocketAddr, from: &[&str], times: Times) -> (TcpStream, JoinHandle<Report>) {
    let (mut front, at) = listener().await;
    let client = TokioNet.connect(at, None).await.unwrap();
    let (accepted, _) = Listener::accept(&mut front).await;
    let route = Route {
        to,
        from: from.iter().map(|ip| ip.parse().unwrap()).collect(),
        keeps_client: !from.is_empty(),
    };
    let forwarding = tokio::spawn(forward(TokioNet, accepted, route, times));
    (client, forwarding)
}

async fn read_all(stream: &mut TcpStream) -> String {
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    text
}

#[tokio::test]
async fn a_client_that_said_all_still_gets_its_answer() {
    let (mut endpoint, to) = listener().await;
    let (mut client, forwarding) = begin(to, &["127.0.0.9"], TIMES).await;
    client.write_all(b"question").await.unwrap();
    client.shutdown().await.unwrap();
    let (mut served, peer) = Listener::accept(&mut endpoint).await;
    assert_eq!(peer.ip().to_string(), "127.0.0.9");
    assert_eq!(read_all(&mut served).await, "question");
    served.write_all(b"answer").await.unwrap();
    drop(served);
    assert_eq!(read_all(&mut client).await, "answer");
    let expected = Report {
        ending: Ending::Closed,
        lost_client: false,
        bytes: 14,
    };
    assert_eq!(forwarding.await.unwrap(), expected);
}

#[tokio::test]
async fn an_address_that_this_machine_has_not_is_passed_over() {
    let (mut endpoint, to) = listener().await;
    let (client, forwarding) = begin(to, &["192.0.2.1", "127.0.0.9"], TIMES).await;
    let (served, peer) = Listener::accept(&mut endpoint).await;
    assert_eq!(peer.ip().to_string(), "127.0.0.9");
    drop((client, served));
    assert!(forwarding.await.unwrap().lost_client);
}

#[tokio::test]
async fn an_endpoint_that_refuses_ends_the_connection() {
    let (endpoint, to) = listener().await;
    drop(endpoint);
    let (mut client, forwarding) = begin(to, &[], TIMES).await;
    assert_eq!(read_all(&mut client).await, "");
    assert_eq!(forwarding.await.unwrap().ending, Ending::ConnectFailed);
}

#[tokio::test]
async fn more_than_the_buffers_hold_arrives_whole() {
    let (mut endpoint, to) = listener().await;
    let (mut client, forwarding) = begin(to, &[], TIMES).await;
    let (mut served, _) = Listener::accept(&mut endpoint).await;
    let sent: Vec<u8> = (0..3_000_000_u32).map(|n| n.to_le_bytes()[1]).collect();
    let expected = sent.clone();
    let sending = tokio::spawn(async move {
        client.write_all(&sent).await.unwrap();
        client.shutdown().await.unwrap();
        client
    });
    let mut received = Vec::new();
    served.read_to_end(&mut received).await.unwrap();
    assert!(received == expected);
    drop((served, sending.await.unwrap()));
    assert_eq!(forwarding.await.unwrap().bytes, 3_000_000);
}

#[tokio::test(start_paused = true)]
async fn silence_ends_a_connection_and_sooner_when_one_side_has_said_all() {
    for (is_half_closed, seconds) in [(false, 3600), (true, 60)] {
        let (mut endpoint, to) = listener().await;
        let (mut client, forwarding) = begin(to, &[], TIMES).await;
        let (mut served, _) = Listener::accept(&mut endpoint).await;
        let begun = Instant::now();
        if is_half_closed {
            client.shutdown().await.unwrap();
            assert_eq!(read_all(&mut served).await, "");
        }
        assert_eq!(forwarding.await.unwrap().ending, Ending::Idle);
        let took = begun.elapsed().as_secs();
        assert!((seconds..=seconds + 60).contains(&took), "{took}");
        drop((client, served));
    }
}
