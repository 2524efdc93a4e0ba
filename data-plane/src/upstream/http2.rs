//! One HTTP/2 connection to an endpoint, shared by many requests and driven by a task of its own.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use http::{Request, Response};
use hyper::client::conn::http2::{Builder, SendRequest};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;

use super::SendError;
use crate::body::RequestBody;
use crate::codec::Incoming;
use crate::metrics::OpenUpstream;

/// Requests at a time; the least that RFC 9113 §6.5.2 recommends servers to allow.
const STREAMS_MAX: usize = 100;
const STREAM_WINDOW_BYTES: u32 = 1024 * 1024;
const CONNECTION_WINDOW_BYTES: u32 = 4 * 1024 * 1024;
const RESPONSE_HEAD_BYTES_MAX: u32 = 64 * 1024;
/// How often a connection that carries requests is asked whether it lives, and how long the answer may take.
const PING_INTERVAL: Duration = Duration::from_secs(20);
const PING_TIMEOUT: Duration = Duration::from_secs(10);

/// Runs tasks on the thread of the worker.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LocalExecutor;

/// A connection, as the pool keeps it.
pub(super) struct Shared {
    sender: SendRequest<RequestBody>,
    load: Rc<Load>,
}

/// One request's share of a connection.
pub(crate) struct Http2 {
    sender: SendRequest<RequestBody>,
    load: Rc<Load>,
    pub(crate) is_reused: bool,
}

struct Load {
    streams: Cell<usize>,
    used_at: Cell<Instant>,
}

// === impl LocalExecutor ===

impl<F: Future + 'static> hyper::rt::Executor<F> for LocalExecutor {
    fn execute(&self, task: F) {
        tokio::task::spawn_local(async move {
            task.await;
        });
    }
}

// === impl Shared ===

impl Shared {
    /// Speaks HTTP/2 on a fresh stream.
    pub(super) async fn new<S: AsyncRead + AsyncWrite + Unpin + 'static>(
        stream: S,
        open: OpenUpstream,
    ) -> Result<Self, hyper::Error> {
        let (sender, connection) = Builder::new(LocalExecutor)
            .timer(TokioTimer::new())
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .max_header_list_size(RESPONSE_HEAD_BYTES_MAX)
            .keep_alive_interval(PING_INTERVAL)
            .keep_alive_timeout(PING_TIMEOUT)
            .handshake(TokioIo::new(stream))
            .await?;
        tokio::task::spawn_local(async move {
            let _open = open;
            if let Err(error) = connection.await {
                tracing::debug!(%error, "an upstream connection ended");
            }
        });
        let load = Load {
            streams: Cell::new(0),
            used_at: Cell::new(Instant::now()),
        };
        Ok(Self {
            sender,
            load: Rc::new(load),
        })
    }

    /// A share for one request; none when it is full or at its end.
    pub(super) fn share(&self, is_reused: bool) -> Option<Http2> {
        let streams = self.load.streams.get();
        if self.sender.is_closed() || streams >= STREAMS_MAX {
            return None;
        }
        self.load.streams.set(streams + 1);
        Some(Http2 {
            sender: self.sender.clone(),
            load: self.load.clone(),
            is_reused,
        })
    }

    /// Whether it is worth keeping: open, and in use or used lately.
    pub(super) fn is_kept(&self, now: Instant, idle_max: Duration) -> bool {
        let is_in_use = self.load.streams.get() > 0;
        !self.sender.is_closed() && (is_in_use || now < self.load.used_at.get() + idle_max)
    }
}

// === impl Http2 ===

impl Http2 {
    pub(super) async fn send(
        &mut self,
        request: Request<RequestBody>,
    ) -> Result<Response<Incoming>, SendError> {
        match self.sender.try_send_request(request).await {
            Ok(response) => Ok(response.map(Incoming::Http2)),
            Err(mut failed) => Err(SendError {
                unsent: failed.take_message().map(Box::new),
                error: failed.into_error().into(),
            }),
        }
    }
}

impl Drop for Http2 {
    fn drop(&mut self) {
        self.load.streams.set(self.load.streams.get() - 1);
        self.load.used_at.set(Instant::now());
    }
}
