//! The connections of one worker that wait for a request, by endpoint.
//!
//! The last one given back is the first one taken, so that the rest can grow old and be closed. A connection is dropped
//! when its endpoint left the table, when it has been idle too long, when there are too many, and when it was not left
//! clean: it is given back only after the response ended and the request was sent whole.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Context;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;

use super::http2::Shared;
use super::{ConnectError, Http1, Http2, Raw, Upstream};
use crate::body::Upload;
use crate::config::Config;
use crate::metrics::Metrics;
use crate::net::Net;
use crate::snapshot::Snapshot;
use crate::table::{Endpoint, Protocol};

/// The pool of one worker.
pub(crate) struct Pool<S: AsyncRead + AsyncWrite + Unpin + 'static> {
    idle: RefCell<BTreeMap<Endpoint, Vec<Idle<S>>>>,
    shared: RefCell<BTreeMap<Endpoint, Vec<Shared>>>,
    /// What decides which endpoints exist.
    snapshot: RefCell<Option<Arc<Snapshot>>>,
    idle_max: usize,
    idle_timeout: Duration,
    metrics: Metrics,
}

struct Idle<S: AsyncRead + AsyncWrite + Unpin + 'static> {
    connection: Http1<S>,
    since: Instant,
}

/// A connection while a request has it.
pub(crate) struct Lease<S: AsyncRead + AsyncWrite + Unpin + 'static> {
    upstream: Upstream<S>,
    endpoint: Endpoint,
    pool: Rc<Pool<S>>,
}

// === impl Pool ===

impl<S: AsyncRead + AsyncWrite + Unpin + 'static> Pool<S> {
    pub(crate) fn new(config: &Config, metrics: Metrics) -> Self {
        Self {
            idle: RefCell::default(),
            shared: RefCell::default(),
            snapshot: RefCell::default(),
            idle_max: config.limits.upstream_idle_max,
            idle_timeout: config.timeouts.upstream_idle,
            metrics,
        }
    }

    /// Takes note of the table; connections of endpoints that left it are dropped.
    pub(crate) fn follow(&self, snapshot: &Arc<Snapshot>) {
        let known = self
            .snapshot
            .borrow()
            .as_ref()
            .map(|known| known.generation);
        // A request that began before a publication may come here after one that began later.
        if known.is_some_and(|known| known >= snapshot.generation) {
            return;
        }
        let is_there = |endpoint: &Endpoint| snapshot.has_endpoint(endpoint);
        self.idle
            .borrow_mut()
            .retain(|endpoint, _| is_there(endpoint));
        self.shared
            .borrow_mut()
            .retain(|endpoint, _| is_there(endpoint));
        *self.snapshot.borrow_mut() = Some(snapshot.clone());
    }

    /// A waiting connection that can take a request.
    pub(crate) fn take(&self, endpoint: &Endpoint, protocol: Protocol) -> Option<Upstream<S>> {
        match protocol {
            Protocol::Http1 => self.take_http1(endpoint).map(Upstream::Http1),
            Protocol::H2c => self.take_http2(endpoint).map(Upstream::Http2),
        }
    }

    fn take_http1(&self, endpoint: &Endpoint) -> Option<Http1<S>> {
        let mut idle = self.idle.borrow_mut();
        let waiting = idle.get_mut(endpoint)?;
        while let Some(Idle { mut connection, .. }) = waiting.pop() {
            if connection.is_usable() {
                connection.is_reused = true;
                return Some(connection);
            }
        }
        None
    }

    fn take_http2(&self, endpoint: &Endpoint) -> Option<Http2> {
        let shared = self.shared.borrow();
        let mut open = shared.get(endpoint)?.iter();
        open.find_map(|connection| connection.share(true))
    }

    /// Opens a connection.
    pub(crate) async fn connect<N: Net<Stream = S>>(
        &self,
        net: &N,
        endpoint: &Endpoint,
        protocol: Protocol,
        config: &Config,
    ) -> Result<Upstream<S>, ConnectError> {
        let connects = &self.metrics.families().upstream_connects;
        let opening = self.open(net, endpoint, protocol, config);
        let opened = tokio::time::timeout(config.timeouts.connect, opening).await;
        let (result, opened) = match opened {
            Ok(Ok(upstream)) => ("ok", Ok(upstream)),
            Ok(Err(error)) => ("failed", Err(ConnectError::Failed(error))),
            Err(_) => ("timeout", Err(ConnectError::TimedOut)),
        };
        self.metrics.count(connects, result);
        opened
    }

    async fn open<N: Net<Stream = S>>(
        &self,
        net: &N,
        endpoint: &Endpoint,
        protocol: Protocol,
        config: &Config,
    ) -> std::io::Result<Upstream<S>> {
        let source = config.upstream_source_address;
        let stream = net.connect(endpoint.address, source).await?;
        let open = self.metrics.open_upstream();
        match protocol {
            Protocol::Http1 => {
                let connection = Http1::new(stream, open).await;
                connection
                    .map(Upstream::Http1)
                    .map_err(std::io::Error::other)
            }
            Protocol::H2c => {
                let connection = Shared::new(stream, open)
                    .await
                    .map_err(std::io::Error::other)?;
                let share = connection.share(false);
                let share = share.ok_or(std::io::ErrorKind::ConnectionReset)?;
                let mut shared = self.shared.borrow_mut();
                shared.entry(endpoint.clone()).or_default().push(connection);
                Ok(Upstream::Http2(share))
            }
        }
    }

    fn put(&self, endpoint: Endpoint, connection: Http1<S>) {
        let snapshot = self.snapshot.borrow();
        if !snapshot
            .as_ref()
            .is_some_and(|known| known.has_endpoint(&endpoint))
        {
            return;
        }
        let mut idle = self.idle.borrow_mut();
        let waiting = idle.entry(endpoint).or_default();
        if waiting.len() < self.idle_max {
            let since = Instant::now();
            waiting.push(Idle { connection, since });
        }
    }

    /// Drops what has been idle too long or was closed by its endpoint.
    pub(crate) fn expire(&self, now: Instant) {
        let is_kept = |waiting: &mut Idle<S>| {
            now < waiting.since + self.idle_timeout && waiting.connection.is_usable()
        };
        self.idle.borrow_mut().retain(|_, waiting| {
            waiting.retain_mut(is_kept);
            !waiting.is_empty()
        });
        self.shared.borrow_mut().retain(|_, open| {
            open.retain(|connection| connection.is_kept(now, self.idle_timeout));
            !open.is_empty()
        });
    }
}

// === impl Lease ===

impl<S: AsyncRead + AsyncWrite + Unpin + 'static> Lease<S> {
    pub(crate) fn new(
        upstream: Upstream<S>,
        endpoint: Endpoint,
        pool: Rc<Pool<S>>,
        upload: Option<&Upload>,
    ) -> Self {
        let mut upstream = upstream;
        if let Upstream::Http1(connection) = &mut upstream
            && upload.is_some_and(|upload| !upload.is_complete())
        {
            connection.detach();
        }
        Self {
            upstream,
            endpoint,
            pool,
        }
    }

    /// Whose connection it is.
    pub(crate) fn address(&self) -> SocketAddr {
        self.endpoint.address
    }

    /// Drives the connection on; true when that may have moved something.
    pub(crate) fn drive(&mut self, cx: &mut Context<'_>) -> bool {
        self.upstream.drive(cx)
    }

    /// The response has ended. The connection waits for the next request, if this one was sent whole before the response
    /// began: otherwise it has a task of its own, and is not usable any more.
    pub(crate) fn give_back(self) {
        if let Upstream::Http1(mut connection) = self.upstream
            && connection.is_usable()
        {
            self.pool.put(self.endpoint, connection);
        }
    }

    /// The bare stream, after a response with 101.
    pub(crate) async fn into_raw(self) -> Option<Raw<S>> {
        match self.upstream {
            Upstream::Http1(connection) => connection.into_raw().await,
            Upstream::Http2(_) => None,
        }
    }
}
