//! The codec alone: the head of a request is read, and an answer without a body is written, as the proxy has it done.

use std::net::SocketAddr;

use http::StatusCode;
use tiergate_data_plane::config::Config;
use tiergate_data_plane::net::{Listener, Net};
use tiergate_data_plane::steps;
use tokio::runtime::Builder;
use tokio::task::{LocalSet, spawn_local};

use super::request::{GET, GET_OF_BROWSER};
use crate::case::{Case, Operation};
use crate::network::{Memory, Peer};
use crate::peers::Http1;

pub(super) const CASES: &[Case] = &[
    Case::new("codec/get", 2000, || read(GET)),
    Case::new("codec/get-of-browser", 2000, || read(GET_OF_BROWSER)),
];

/// Sends the request again and again on one connection.
fn read(request: &'static str) -> Operation {
    let runtime = Builder::new_current_thread().build().expect("a runtime");
    let tasks = LocalSet::new();
    let address = SocketAddr::from(([192, 0, 2, 1], 80));
    let mut client = tasks.block_on(&runtime, async {
        let net = Memory::default();
        let mut listener = net.bind(address).await.expect("a free address");
        let client = Http1::connect(&net, address).await;
        let (stream, _) = listener.accept().await;
        let limits = Config::new("tiergate-namespace").limits;
        drop(spawn_local(steps::read(stream, limits)));
        client
    });
    Box::new(move |operations| {
        let client = &mut client;
        let asking = Peer::new(async move {
            for _ in 0..operations {
                let answer = client.exchange(request.as_bytes()).await;
                assert_eq!(answer, (StatusCode::NO_CONTENT, 0));
            }
        });
        tasks.block_on(&runtime, asking);
    })
}
