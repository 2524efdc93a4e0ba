//! Accepts connections at one address of one worker: the limit on connections, and a task for each.
//!
//! In: a bound listener. Out: a connection, to `http`. When the process drains, the listener hands its address off: clients
//! begin no connection here any more, those who have begun one are still served; then the address is free, and the task ends
//! with its last connection.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use tokio::task::JoinSet;

use crate::client::Client;
use crate::drain;
use crate::http;
use crate::net::{Listener, Net};
use crate::worker::Context;

/// Connections taken from the kernel's queue after the drain has begun. More come than we serve: somebody still sends
/// clients here, and they must try elsewhere.
const QUEUE_TAKEN_MAX: usize = 4096;
/// How long a client may take to end a handshake that it has begun when the drain begins: the round trip of nearly everybody.
/// Clients who come meanwhile wait until they try again, a second after their first try; the listener must be gone by then.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_millis(300);
/// How long connections may take to notice the deadline of the drain before their tasks are ended.
const DEADLINE_GRACE: Duration = Duration::from_millis(500);

/// What is spoken at an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scheme {
    Http,
    Https,
}

/// Accepts until the process drains, then waits for the connections.
pub(crate) async fn run<N: Net>(
    mut listener: N::Listener,
    address: SocketAddr,
    scheme: Scheme,
    context: Rc<Context<N>>,
    mut drain: drain::Signal,
) {
    let mut port = Port {
        address,
        scheme,
        context,
        drain: drain.clone(),
        connections: JoinSet::new(),
    };
    loop {
        tokio::select! {
            biased;
            () = drain.started() => break,
            Some(_) = port.connections.join_next() => {}
            (stream, peer) = listener.accept() => port.serve(stream, peer),
        }
    }
    port.context.shared.metrics.families().draining.set(1);
    port.hand_off(listener).await;
    port.finish().await;
}

/// A connection that is there already.
async fn waiting<L: Listener>(listener: &mut L) -> Option<(L::Stream, SocketAddr)> {
    // Lets the runtime look at the socket first.
    tokio::task::yield_now().await;
    let mut accepting = pin!(listener.accept());
    poll_fn(|cx| match accepting.as_mut().poll(cx) {
        Poll::Ready(accepted) => Poll::Ready(Some(accepted)),
        Poll::Pending => Poll::Ready(None),
    })
    .await
}

struct Port<N: Net> {
    address: SocketAddr,
    scheme: Scheme,
    context: Rc<Context<N>>,
    drain: drain::Signal,
    connections: JoinSet<()>,
}

// === impl Port ===

impl<N: Net> Port<N> {
    fn serve(&mut self, stream: N::Stream, peer: SocketAddr) {
        let context = self.context.clone();
        let config = &context.shared.config;
        let open = context
            .shared
            .metrics
            .open_connection(config.limits.connections_max);
        // Dropping the stream closes it: there is no place to say why.
        let Some(open) = open else { return };
        let is_tls = self.scheme == Scheme::Https;
        let client = Client::new(peer, self.address, is_tls, config);
        let drain = self.drain.clone();
        self.connections.spawn_local(async move {
            let _open = open;
            if is_tls {
                http::serve_tls(context, stream, client, drain).await;
            } else {
                http::serve_plain(context, stream, client, drain).await;
            }
        });
    }

    /// Serves whoever has begun a connection, and lets go of the address.
    async fn hand_off(&mut self, mut listener: N::Listener) {
        if listener.quiet() {
            let mut drain = self.drain.clone();
            let ended = async {
                tokio::select! {
                    () = tokio::time::sleep(HANDSHAKE_TIMEOUT) => {}
                    () = drain.deadline() => {}
                }
            };
            tokio::pin!(ended);
            loop {
                tokio::select! {
                    biased;
                    () = &mut ended => break,
                    Some(_) = self.connections.join_next() => {}
                    (stream, peer) = listener.accept() => self.serve(stream, peer),
                }
            }
        }
        for _ in 0..QUEUE_TAKEN_MAX {
            match waiting(&mut listener).await {
                Some((stream, peer)) => self.serve(stream, peer),
                None => break,
            }
        }
    }

    async fn finish(mut self) {
        let mut drain = self.drain.clone();
        let deadline = async {
            drain.deadline().await;
            tokio::time::sleep(DEADLINE_GRACE).await;
        };
        let ended = async { while self.connections.join_next().await.is_some() {} };
        tokio::select! {
            () = ended => {}
            () = deadline => {}
        }
    }
}
