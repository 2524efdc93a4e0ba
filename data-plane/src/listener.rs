//! Accepts connections at one address of one worker: the limit on connections, and a task for each.
//!
//! In: a bound listener. Out: a connection, to `http`. When the process drains, the listener hands its address off: clients
//! begin no connection here any more, those who have begun one are still served; then the address is free, and the task ends
//! with its last connection.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use tokio::time::Instant;

use crate::client::Client;
use crate::connections::{Connections, Stage};
use crate::drain;
use crate::http;
use crate::metrics::PauseLabels;
use crate::net::{Listener, Net, Scarce};
use crate::worker::Context;

/// Connections taken from the kernel's queue after the drain has begun. More come than we serve: somebody still sends
/// clients here, and they must try elsewhere.
const QUEUE_TAKEN_MAX: usize = 4096;
/// How long a client may take to end a handshake that it has begun when the drain begins: the round trip of nearly everybody.
/// Clients who come meanwhile wait until they try again, a second after their first try; the listener must be gone by then.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_millis(300);
/// How long connections may take to notice the deadline of the drain before their tasks are ended.
const DEADLINE_GRACE: Duration = Duration::from_millis(500);

/// How long no client is taken when there is no descriptor, or no memory, for one more. Connections end at any moment; asking more
/// often would cost what is scarce.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// Pauses are told of in the log at most once in so long, with how many there were.
const TOLD_INTERVAL: Duration = Duration::from_secs(10);

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
        connections: Rc::default(),
        paused_until: None,
        told: None,
        untold: 0,
    };
    let mut draining = pin!(drain.started());
    loop {
        let paused_until = port.paused_until;
        tokio::select! {
            biased;
            () = &mut draining => break,
            () = until(paused_until), if paused_until.is_some() => port.resume(),
            accepted = listener.try_accept(), if paused_until.is_none() => port.accepted(accepted),
        }
    }
    port.context.shared.metrics.families().draining.set(1);
    port.connections.advance(Stage::Draining);
    port.hand_off(listener).await;
    port.finish().await;
}

/// Resolves at a moment, if there is one.
async fn until(moment: Option<Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment).await,
        None => std::future::pending().await,
    }
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
    connections: Rc<Connections>,
    /// No client is taken before; they wait in the kernel's queue.
    paused_until: Option<Instant>,
    /// When a pause was last told of, and how many there were since.
    told: Option<Instant>,
    untold: u32,
}

// === impl Port ===

impl<N: Net> Port<N> {
    fn accepted(&mut self, accepted: io::Result<(N::Stream, SocketAddr)>) {
        match accepted {
            Ok((stream, peer)) => {
                self.serve(stream, peer);
                if self.is_crowded() {
                    self.pause("reserve", None);
                }
            }
            Err(error) => {
                let scarce = Scarce::of(&error);
                self.pause(scarce.map_or("other", Scarce::reason), Some(&error));
            }
        }
    }

    /// Whether further clients would take the descriptors that connections to endpoints need.
    fn is_crowded(&self) -> bool {
        let shared = &self.context.shared;
        shared.metrics.connections() >= shared.connections_pause
    }

    /// Takes no client for a moment, counts it, and tells of it now and then.
    fn pause(&mut self, reason: &'static str, error: Option<&io::Error>) {
        let now = Instant::now();
        self.paused_until = Some(now + ACCEPT_PAUSE);
        let pauses = &self.context.shared.metrics.families().accept_pauses;
        pauses.get_or_create(&PauseLabels { reason }).inc();
        self.untold += 1;
        if self.told.is_none_or(|told| told + TOLD_INTERVAL <= now) {
            let error = error.map(tracing::field::display);
            let address = self.address;
            tracing::warn!(%address, reason, error, pauses = self.untold, "accepting pauses: clients wait until there are descriptors and memory again");
            self.told = Some(now);
            self.untold = 0;
        }
    }

    /// The pause is over, unless there is still no room.
    fn resume(&mut self) {
        if self.is_crowded() {
            // Connections that wait for a request would keep clients out for as long as they are kept.
            self.context.pool.shed();
        }
        self.paused_until = self.is_crowded().then(|| Instant::now() + ACCEPT_PAUSE);
    }

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
        let mut recent = context.recent.borrow_mut();
        let client = Client::new(peer, self.address, is_tls, config, &mut recent);
        drop(recent);
        let connections = self.connections.clone();
        // Apart: a connection without TLS has no room for it.
        if is_tls {
            self.connections.spawn(async move {
                let _open = open;
                http::serve_tls(context, stream, client, connections).await;
            });
        } else {
            self.connections.spawn(async move {
                let _open = open;
                http::serve_plain(context, stream, client, connections).await;
            });
        }
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

    async fn finish(self) {
        let mut drain = self.drain.clone();
        let deadline = async {
            drain.deadline().await;
            self.connections.advance(Stage::Deadline);
            tokio::time::sleep(DEADLINE_GRACE).await;
        };
        tokio::select! {
            () = self.connections.ended() => {}
            () = deadline => {}
        }
    }
}

/// What is left ends with the listener.
impl<N: Net> Drop for Port<N> {
    fn drop(&mut self) {
        self.connections.advance(Stage::Over);
    }
}
