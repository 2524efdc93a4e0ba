//! The connections of one worker, by endpoint.
//!
//! In: requests that want a connection. Out: a waiting HTTP/1.1 connection, a share of an HTTP/2 one, or a new one.
//! HTTP/1.1 connections wait in their slot; one is given back only after the response ended and the request was sent whole.
//!
//! A request finds its endpoint once; what it does with the connection later goes by the [`Slot`] that it found.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;

use super::http2::{HandshakeError, Link};
use super::lease::Slotted;
use super::links::Handed;
use super::slot::Slot;
use super::tls;
use super::transport::Transport;
use super::waiting::Kept;
use super::{ConnectError, Http1, Http2, Upstream};
use crate::config::Config;
use crate::metrics::Metrics;
use crate::net::{Net, Scarce};
use crate::snapshot::Snapshot;
use crate::table::{Endpoint, UpstreamTls};

/// The part of the time for connecting that an endpoint may be silent for when it is asked for HTTP/2, and has never spoken
/// it. The other half is for TCP, so that those who wait learn it before their own time is over. Not less: one that is
/// only slow gets HTTP/1.1 for a minute, and may know none.
const SILENCE_PART: u32 = 2;

/// The pool of one worker.
pub(crate) struct Pool<S: AsyncRead + AsyncWrite + Unpin + 'static> {
    /// By the number of their endpoint ([`Wanted::token`]), as many Services may share an address, and each name that is compared is a wait
    /// for memory. More than one of a number where not all ask for the same of TLS. Sorted.
    slots: RefCell<BTreeMap<u64, Vec<Rc<Slot<S>>>>>,
    /// What decides which endpoints exist.
    snapshot: RefCell<Option<Arc<Snapshot>>>,
    idle_max: usize,
    idle_timeout: Duration,
    connect_timeout: Duration,
    source: Option<IpAddr>,
    metrics: Metrics,
}

/// What a request wants of the pool.
#[derive(Clone, Copy)]
pub(crate) struct Wanted<'r> {
    pub(crate) endpoint: &'r Endpoint,
    /// Who that is, as a number that hardly any other has.
    pub(crate) token: u64,
    /// It may share its connection with others, when the endpoint speaks HTTP/2.
    pub(crate) is_http2: bool,
    /// What is asked of TLS. None: it is not spoken.
    pub(crate) tls: Option<&'r UpstreamTls>,
    /// A kept connection has failed: not another one of those.
    pub(crate) is_fresh: bool,
    /// In place of the tier's limit for a connection of its own.
    pub(crate) connect_max: Option<Duration>,
}

// === impl Pool ===

impl<S: AsyncRead + AsyncWrite + Unpin + 'static> Pool<S> {
    pub(crate) fn new(config: &Config, metrics: Metrics) -> Self {
        Self {
            slots: RefCell::default(),
            snapshot: RefCell::default(),
            idle_max: config.limits.upstream_idle_max,
            idle_timeout: config.timeouts.upstream_idle,
            connect_timeout: config.timeouts.connect,
            source: config.upstream_source_address,
            metrics,
        }
    }

    /// Takes note of the table; connections of endpoints that left it are dropped.
    pub(crate) fn follow(&self, snapshot: &Arc<Snapshot>) {
        let known = |known: &Arc<Snapshot>| known.generation >= snapshot.generation;
        // A request that began before a publication may come here after one that began later.
        if self.snapshot.borrow().as_ref().is_some_and(known) {
            return;
        }
        self.retain(|slot| {
            let is_there = snapshot.has_endpoint(&slot.endpoint);
            if !is_there {
                slot.leave();
            }
            is_there
        });
        *self.snapshot.borrow_mut() = Some(snapshot.clone());
    }

    /// A connection that takes a request now: one that is there, or a new one.
    pub(crate) async fn connection<N: Net<Stream = S>>(
        self: &Rc<Self>,
        net: &N,
        wanted: Wanted<'_>,
    ) -> Result<(Upstream<Transport<S>>, Slotted<S>), ConnectError> {
        let slot = self.slot(wanted);
        if wanted.is_http2
            && !slot.links.has_fallen_back()
            && let Some(share) = self.share(net, &slot).await?
        {
            return Ok((Upstream::Http2(share), Slotted(slot)));
        }
        let upstream = self.http1(net, &slot, wanted).await?;
        Ok((upstream, Slotted(slot)))
    }

    async fn http1<N: Net<Stream = S>>(
        &self,
        net: &N,
        slot: &Slot<S>,
        wanted: Wanted<'_>,
    ) -> Result<Upstream<Transport<S>>, ConnectError> {
        if !wanted.is_fresh
            && let Some(kept) = slot.waiting.take()
        {
            match kept {
                Kept::Ready(connection) => return Ok(Upstream::Http1(connection)),
                Kept::Resting(stream) => {
                    if let Ok(connection) = Box::pin(stream.wake()).await {
                        return Ok(Upstream::Http1(Box::new(connection)));
                    }
                }
            }
        }
        let shaking = Cell::new(false);
        let opening = async {
            let stream = self.connect(net, slot, false, &shaking).await?;
            let connection = Http1::new(stream, self.metrics.open_upstream()).await;
            connection.map_err(|error| ConnectError::Failed(std::io::Error::other(error)))
        };
        // Boxed: a request has room for all that it may wait for, is moved with it, and most open no connection.
        let connect_max = wanted.connect_max.unwrap_or(self.connect_timeout);
        let opened = Box::pin(tokio::time::timeout(connect_max, opening)).await;
        let opened = match opened {
            Ok(Ok(connection)) => Ok(Upstream::Http1(Box::new(connection))),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(self.timed_out(&shaking)),
        };
        self.count_connect(opened.as_ref().err());
        opened
    }

    /// A share of an HTTP/2 connection; nothing when the endpoint does not speak HTTP/2.
    async fn share<N: Net<Stream = S>>(
        self: &Rc<Self>,
        net: &N,
        slot: &Rc<Slot<S>>,
    ) -> Result<Option<Http2>, ConnectError> {
        if let Some(share) = slot.links.share() {
            self.open_wanted(net, slot);
            return Ok(Some(share));
        }
        let handed = slot.links.wait();
        self.open_wanted(net, slot);
        if slot.links.is_full() {
            self.metrics.families().upstream_connections_limited.inc();
        }
        match Box::pin(tokio::time::timeout(self.connect_timeout, handed)).await {
            Ok(Ok(Handed::Share(share))) => Ok(Some(share)),
            Ok(Ok(Handed::Http1)) => Ok(None),
            Ok(Ok(Handed::Failed(error))) => Err(error),
            Ok(Err(_)) | Err(_) => Err(ConnectError::TimedOut),
        }
    }

    /// Opens the HTTP/2 connections that the requests of this moment want, each by a task: no request waits for one that
    /// only makes room for others, and one that goes away takes none with it.
    fn open_wanted<N: Net<Stream = S>>(self: &Rc<Self>, net: &N, slot: &Rc<Slot<S>>) {
        for _ in 0..slot.links.wanted() {
            slot.links.opens();
            let (pool, net, slot) = (self.clone(), net.clone(), slot.clone());
            tokio::task::spawn_local(async move {
                pool.open_link(&net, &slot).await;
                slot.links.pause().await;
                pool.open_wanted(&net, &slot);
            });
        }
    }

    async fn open_link<N: Net<Stream = S>>(&self, net: &N, slot: &Slot<S>) {
        let address = slot.endpoint.address;
        let silence_max = self.connect_timeout / SILENCE_PART;
        let silence_max = (!slot.links.has_spoken()).then_some(silence_max);
        let shaking = Cell::new(false);
        let opening = async {
            let stream = self.connect(net, slot, true, &shaking).await;
            let stream = stream.map_err(HandshakeError::NotConnected)?;
            if let Transport::Tls(stream) = &stream
                && !tls::speaks_http2(stream)
            {
                let answer = "it does not choose h2 (ALPN)".to_owned();
                return Err(HandshakeError::NotHttp2(answer));
            }
            Link::new(stream, address, self.metrics.open_upstream(), silence_max).await
        };
        let opened = tokio::time::timeout(self.connect_timeout, opening).await;
        let error = match opened {
            Ok(Ok(link)) => {
                self.count_connect(None);
                slot.links.opened(link, !slot.is_gone.get());
                return;
            }
            Ok(Err(error)) => match error.judge(slot.links.has_spoken()) {
                Ok(answer) => {
                    self.count_connect(None);
                    self.metrics.families().upstream_fallbacks.inc();
                    if slot.links.fell_back(Instant::now()) {
                        tracing::warn!(endpoint = %address, answer, reason = "h2c_fallback", "an endpoint whose Service says HTTP/2 does not answer it; it gets HTTP/1.1");
                    }
                    return;
                }
                Err(error) => error,
            },
            Err(_) => self.timed_out(&shaking),
        };
        self.count_connect(Some(&error));
        slot.links.failed(&error, Instant::now());
    }

    /// A new stream, within TLS where that is asked for. `is_shaking` is set while only the handshake is waited for.
    async fn connect<N: Net<Stream = S>>(
        &self,
        net: &N,
        slot: &Slot<S>,
        is_http2: bool,
        is_shaking: &Cell<bool>,
    ) -> Result<Transport<S>, ConnectError> {
        let stream = self.connect_plain(net, slot).await;
        let stream = stream.map_err(ConnectError::Failed)?;
        let Some(tls) = &slot.tls else {
            return Ok(Transport::Plain(stream));
        };
        is_shaking.set(true);
        let shaken = tls.handshake(stream, is_http2).await;
        is_shaking.set(false);
        let result = match &shaken {
            Ok(stream) if tls::is_resumed(stream) => "resumed",
            Ok(_) => "ok",
            Err(error) => {
                let endpoint = slot.endpoint.address;
                tracing::debug!(%endpoint, %error, "a TLS handshake with an endpoint failed");
                "failed"
            }
        };
        self.count_handshake(result);
        shaken.map(Transport::Tls).map_err(ConnectError::Tls)
    }

    /// The time for connecting is over, perhaps in the handshake.
    fn timed_out(&self, was_shaking: &Cell<bool>) -> ConnectError {
        if was_shaking.get() {
            self.count_handshake("timeout");
        }
        ConnectError::TimedOut
    }

    fn count_handshake(&self, result: &'static str) {
        let handshakes = &self.metrics.families().upstream_handshakes;
        self.metrics.count(handshakes, result);
    }

    /// A new connection. When there is no descriptor for it, connections that wait for a request make room.
    async fn connect_plain<N: Net<Stream = S>>(
        &self,
        net: &N,
        slot: &Slot<S>,
    ) -> std::io::Result<S> {
        let address = slot.endpoint.address;
        match net.connect(address, self.source).await {
            Err(error) if Scarce::of(&error).is_some() && self.shed() => {
                net.connect(address, self.source).await
            }
            connected => connected,
        }
    }

    /// Closes the HTTP/1.1 connections that have waited for a while; whether there were any. Those of a busy client wait only for a
    /// moment: who asks for more does not get its.
    pub(crate) fn shed(&self) -> bool {
        let slots = self.slots.borrow();
        let now = Instant::now();
        let shed = slots.values().flatten().map(|slot| slot.waiting.shed(now));
        shed.sum::<usize>() > 0
    }

    fn count_connect(&self, error: Option<&ConnectError>) {
        let result = match error {
            None => "ok",
            Some(ConnectError::Failed(error)) if Scarce::of(error).is_some() => "no_descriptors",
            Some(ConnectError::Failed(_) | ConnectError::Tls(_)) => "failed",
            Some(ConnectError::TimedOut) => "timeout",
        };
        self.metrics
            .count(&self.metrics.families().upstream_connects, result);
    }

    fn slot(&self, wanted: Wanted<'_>) -> Rc<Slot<S>> {
        let (endpoint, tls) = (wanted.endpoint, wanted.tls);
        let mut slots = self.slots.borrow_mut();
        let known = slots.get(&wanted.token).map_or(&[][..], |slots| slots);
        if let Some(slot) = Slot::find(known, endpoint, tls) {
            return slot.clone();
        }
        let slot = Rc::new(Slot::new(endpoint, tls, self.idle_max));
        let snapshot = self.snapshot.borrow();
        let is_there = |known: &Arc<Snapshot>| known.has_endpoint(endpoint);
        if snapshot.as_ref().is_some_and(is_there) {
            let slots = slots.entry(wanted.token).or_default();
            let place = slots.partition_point(|known| known.key() < slot.key());
            slots.insert(place, slot.clone());
        } else {
            slot.is_gone.set(true);
        }
        slot
    }

    /// Drops what has been idle too long or was closed by its endpoint.
    pub(crate) fn expire(&self, now: Instant) {
        self.retain(|slot| slot.expire(now, self.idle_timeout));
    }

    fn retain(&self, is_kept: impl Fn(&Rc<Slot<S>>) -> bool) {
        self.slots.borrow_mut().retain(|_, slots| {
            slots.retain(&is_kept);
            !slots.is_empty()
        });
    }
}
