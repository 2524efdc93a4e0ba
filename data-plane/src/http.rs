//! Serves one downstream connection: which HTTP it speaks, its limits and waits, and how it ends.
//!
//! In: an accepted stream. Out: each of its requests goes to [`crate::proxy::serve`], and its answer back. The protocol is
//! chosen once: by ALPN under TLS, by the HTTP/2 preface otherwise; after that nothing else is spoken.
//!
//! `pulse` knows what the connection waits for, `watch` ends it when that takes too long, `io` is its stream, `sniff`
//! finds the preface, `http2` serves what begins with it, `rest` waits for the next request without buffers, `tunnel` goes
//! on after an upgrade.
//!
//! A client that closes its side while it waits for an answer is taken to be gone (`half_close(false)`), so that work for
//! nobody ends.

mod http2;
mod io;
pub(crate) mod pulse;
mod rest;
mod sniff;
pub(crate) mod tunnel;
mod watch;

use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsAcceptor;

use crate::body::ResponseBody;
use crate::client::Client;
use crate::codec::{self, Codec as _, CodecError, HeadLimits, Incoming, Server as _};
use crate::connections::Connections;
use crate::error::ProxyError;
use crate::head::size::HeadMax;
use crate::net::Net;
use crate::proxy;
use crate::worker::Context;
use io::{ClientIo, Shutdown};
use pulse::{Busy, Expired, Pulse};
use tunnel::Tunnel;
use watch::{Seen, Watch};

/// What the requests of one connection share.
pub(crate) struct Session<N: Net> {
    pub(crate) context: Rc<Context<N>>,
    pub(crate) client: Client,
    pulse: Rc<Pulse>,
    tunnel: RefCell<Option<Tunnel<N::Stream>>>,
    /// The client has said that it sends nothing after its request.
    is_last: Cell<bool>,
    /// The last answer says that the connection ends.
    is_closing: Cell<bool>,
    connections: Rc<Connections>,
}

/// Serves a connection that was accepted where TLS is spoken.
pub(crate) async fn serve_tls<N: Net>(
    context: Rc<Context<N>>,
    stream: N::Stream,
    client: Client,
    connections: Rc<Connections>,
) {
    let (shared, timeouts) = (&context.shared, &context.shared.config.timeouts);
    let handshakes = &shared.metrics.families().handshakes;
    let accepting = Box::pin(TlsAcceptor::from(shared.tls.clone()).accept(stream));
    let (result, stream) = match tokio::time::timeout(timeouts.tls_handshake, accepting).await {
        Ok(Ok(stream)) => ("ok", Some(stream)),
        Ok(Err(error)) if crate::tls::is_no_certificate(&error) => ("no_certificate", None),
        Ok(Err(error)) => {
            tracing::debug!(client = %client.ip, %error, "a TLS handshake failed");
            ("failed", None)
        }
        Err(_) => ("timeout", None),
    };
    shared.metrics.count(handshakes, result);
    let Some(stream) = stream else { return };
    let is_http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
    Session::new(context.clone(), client, !is_http2, connections)
        .serve(stream, Bytes::new(), is_http2)
        .await;
}

/// Serves a connection that was accepted where plain HTTP is spoken.
pub(crate) async fn serve_plain<N: Net>(
    context: Rc<Context<N>>,
    mut stream: N::Stream,
    client: Client,
    connections: Rc<Connections>,
) {
    let idle = context.shared.config.timeouts.downstream_idle;
    let Some((is_http2, ahead)) = first_bytes(&mut stream, idle, &connections).await else {
        return;
    };
    Session::new(context, client, !is_http2, connections)
        .serve(stream, ahead, is_http2)
        .await;
}

/// Whether the client speaks HTTP/2, and what was read to know it. None: nothing came, or the client went away before it said
/// anything.
async fn first_bytes(
    stream: &mut (impl AsyncRead + Unpin),
    idle: Duration,
    connections: &Connections,
) -> Option<(bool, Bytes)> {
    let mut sniffing = pin!(sniff::is_http2(stream));
    // Most clients have sent their request by now: they need no timer.
    let sniffed = match futures::poll!(sniffing.as_mut()) {
        Poll::Ready(sniffed) => sniffed,
        Poll::Pending => {
            // Boxed: the connection has no room for it once it is over.
            let waiting = Box::pin(async {
                tokio::select! {
                    biased;
                    sniffed = sniffing => Some(sniffed),
                    () = tokio::time::sleep(idle) => None,
                    () = pulse::silence(connections) => None,
                }
            });
            waiting.await?
        }
    };
    sniffed.ok().filter(|(_, ahead)| !ahead.is_empty())
}

// === impl Session ===

impl<N: Net> Session<N> {
    fn new(
        context: Rc<Context<N>>,
        client: Client,
        reads_heads: bool,
        connections: Rc<Connections>,
    ) -> Rc<Self> {
        let pulse = Pulse::new(&context.shared.config.timeouts, reads_heads);
        Rc::new(Self {
            context,
            client,
            pulse,
            tunnel: RefCell::new(None),
            is_last: Cell::new(false),
            is_closing: Cell::new(false),
            connections,
        })
    }

    /// A request of this connection begins.
    pub(crate) fn begin(&self) -> Busy {
        self.pulse.begin()
    }

    /// After the answer with 101 the connection goes on as this.
    pub(crate) fn goes_on_as(&self, tunnel: Tunnel<N::Stream>) {
        *self.tunnel.borrow_mut() = Some(tunnel);
    }

    /// The client has said that this request is its last.
    pub(crate) fn expects_no_more(&self) {
        self.is_last.set(true);
    }

    /// We have said that this answer is the last.
    pub(crate) fn closes(&self) {
        self.is_closing.set(true);
    }

    async fn serve<S>(self: Rc<Self>, stream: S, ahead: Bytes, is_http2: bool)
    where
        S: AsyncRead + AsyncWrite + Unpin + 'static,
    {
        let pulse = self.pulse.clone();
        if is_http2 {
            let io = ClientIo::new(stream, ahead, pulse, Shutdown::Codec);
            // Boxed, as are the rare ends below: the task of a connection has room for the largest of its states as long as
            // it lives, and most wait for a request most of the time.
            Box::pin(http2::serve(self, io)).await;
        } else {
            let io = ClientIo::new(stream, ahead, pulse, Shutdown::Session);
            self.serve_http1(io).await;
        }
    }

    async fn serve_http1<S>(self: Rc<Self>, mut io: ClientIo<S>)
    where
        S: AsyncRead + AsyncWrite + Unpin + 'static,
    {
        let limits = &self.context.shared.config.limits;
        let limits = HeadLimits {
            bytes_max: HeadMax::of(limits, self.client.is_trusted).bytes,
            fields_max: limits.headers_max,
        };
        let mut watch = Watch::new(self.pulse.clone(), &self.connections);
        loop {
            let session = self.clone();
            let handler =
                move |request: Request<_>| answer(session.clone(), request.map(Incoming::Http1));
            // Boxed: while the connection rests it has none.
            let mut connection = Box::new(codec::Http1::serve(io, limits, handler));
            let ended = poll_fn(|cx| {
                let _turn = self.pulse.turn();
                loop {
                    if let Poll::Ready(ended) = connection.poll(cx) {
                        return Poll::Ready(Ok(ended));
                    }
                    match watch.poll(cx) {
                        // The next answer says `Connection: close`; until then nothing is different.
                        Poll::Ready(Seen::Drain) => {}
                        Poll::Ready(Seen::Expired(Expired::Quiet)) if !self.may_rest() => {
                            self.pulse.quieten();
                        }
                        Poll::Ready(seen) => return Poll::Ready(Err(seen)),
                        Poll::Pending => return Poll::Pending,
                    }
                }
            })
            .await;
            let read;
            (io, read) = (*connection).into_parts();
            if matches!(ended, Ok(Ok(()))) && self.ends_at_once(&read) {
                return;
            }
            if ended.as_ref().err() != Some(&Seen::Expired(Expired::Quiet)) {
                return Box::pin(self.finish_http1(io, read, ended)).await;
            }
            let resting = &self
                .context
                .shared
                .metrics
                .families()
                .client_connections_resting;
            resting.inc();
            let rested = rest::rest(&mut io, read, &self.pulse, &mut watch).await;
            resting.dec();
            match rested {
                Ok(true) => {}
                Ok(false) => return io.end(self.client.is_tls).await,
                Err(seen) => return self.note_end(seen),
            }
        }
    }

    /// Whether there is nothing left to do but to drop the stream, as [`ClientIo::end`] would.
    fn ends_at_once(&self, read: &Bytes) -> bool {
        self.is_last.get()
            && read.is_empty()
            && !self.client.is_tls
            && self.tunnel.borrow().is_none()
    }

    /// Whether nothing of this connection would be lost with its codec.
    fn may_rest(&self) -> bool {
        let is_ending = self.is_last.get() || self.is_closing.get();
        self.pulse.is_idle() && !is_ending && self.tunnel.borrow().is_none()
    }

    async fn finish_http1<S>(
        &self,
        io: ClientIo<S>,
        read: Bytes,
        ended: Result<Result<(), CodecError>, Seen>,
    ) where
        S: AsyncRead + AsyncWrite + Unpin + 'static,
    {
        match ended {
            Ok(Ok(())) => match self.tunnel.take() {
                Some(tunnel) => {
                    let pulse = self.pulse.clone();
                    tunnel.run(io, read, pulse, &self.connections).await;
                }
                None if self.is_last.get() && read.is_empty() => {
                    io.end(self.client.is_tls).await;
                }
                None => io.close().await,
            },
            Ok(Err(error)) => {
                self.note_failure(error);
                io.close().await;
            }
            Err(seen) => self.note_end(seen),
        }
    }

    /// The codec has answered what it could not parse; it is counted here.
    fn note_failure(&self, error: CodecError) {
        tracing::debug!(client = %self.client.ip, %error, "an HTTP/1 connection failed");
        if error.is_too_large() {
            self.count(&ProxyError::HeadTooLarge);
        } else if error.is_parse() {
            self.count(&ProxyError::BadRequest(error));
        }
    }

    fn note_end(&self, seen: Seen) {
        tracing::debug!(client = %self.client.ip, ?seen, "a connection was closed");
        if seen == Seen::Expired(Expired::Head) {
            self.count(&ProxyError::HeadTimeout);
        }
    }

    fn count(&self, error: &ProxyError) {
        self.context.unrouted.0.failed(error);
    }
}

/// No future of its own: it would move the request once more, and its answer.
fn answer<N: Net>(
    session: Rc<Session<N>>,
    request: Request<Incoming>,
) -> impl Future<Output = Result<Response<ResponseBody<N::Stream>>, Infallible>> {
    proxy::serve(session, request)
}
