//! The admin port: health, metrics, what is served and why, and the switches that may be turned while running.
//!
//! In: HTTP/1.1 requests on an address of its own, and on a Unix socket when there is one. Out: answers made from shared
//! state; nothing here waits for the API server or for a worker. It has limits of its own, so that whoever reaches it
//! cannot slow the request path; the socket's are its own again, so that whoever reaches the port cannot fail a probe.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::registry::Registry;
use tiergate_data_plane::access_log;
use tiergate_data_plane::net::{Listener as _, Net};
use tokio::task::JoinSet;

use crate::config::Tier;
use crate::publish;
use crate::telemetry;

mod answer;
mod readiness;
mod socket;

use socket::Socket;

pub use readiness::Readiness;

/// What the answers are made from.
pub struct Sources {
    /// Whose port it is.
    pub tier: Tier,
    /// What its program calls itself.
    pub version: &'static str,
    /// Every metric of the process.
    pub registry: Registry,
    /// What is served and why.
    pub control_plane: publish::Handle,
    /// Whether requests may be sent here.
    pub readiness: Readiness,
    /// The switch of the request log.
    pub access_log: access_log::Switch,
    /// The log filter. None: the process that holds the tier decides.
    pub telemetry: Option<telemetry::Handle>,
}

/// A bound admin port.
pub struct Admin<N: Net> {
    listener: N::Listener,
    address: SocketAddr,
    socket: Option<Socket>,
    refused: Counter,
}

/// The admin port could not be bound.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}")]
pub struct BindError {
    /// The address.
    pub address: SocketAddr,
    /// What the kernel said.
    #[source]
    pub source: io::Error,
}

/// Open connections, of the port and of the socket each. Further ones are closed at once and counted.
const CONNECTIONS_MAX: usize = 64;
/// Bytes of a request head.
const HEAD_BYTES_MAX: usize = 16 * 1024;
/// Bytes of a request body.
const BODY_BYTES_MAX: usize = 1024;
/// From the accepted connection to the end of its only answer.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(30);

// === impl Admin ===

impl<N: Net> Admin<N> {
    /// Binds the port and registers its metrics.
    ///
    /// # Errors
    /// When the address cannot be bound.
    pub async fn bind(
        net: &N,
        address: SocketAddr,
        registry: &mut Registry,
    ) -> Result<Self, BindError> {
        let failed = |source| BindError { address, source };
        let listener = net.bind(address).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let refused = Counter::default();
        registry.register(
            "admin_connections_refused",
            "Connections to the admin port that were closed because too many are open",
            refused.clone(),
        );
        Ok(Self {
            listener,
            address,
            socket: None,
            refused,
        })
    }

    /// Answers on a Unix socket as well.
    ///
    /// # Errors
    /// When the path cannot be had: a process that lives has it, or it is a file of another kind.
    pub async fn bind_socket(&mut self, path: &Path) -> io::Result<()> {
        self.socket = Some(Socket::bind(path).await?);
        Ok(())
    }

    /// The address as bound.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers until `shutdown` resolves; open connections are cut then.
    pub async fn run(mut self, sources: Sources, shutdown: impl Future<Output = ()>) {
        let sources = Arc::new(sources);
        let (mut remote, mut local) = (JoinSet::new(), JoinSet::new());
        tokio::pin!(shutdown);
        loop {
            tokio::select! {
                biased;
                () = &mut shutdown => return,
                Some(_) = remote.join_next() => {}
                Some(_) = local.join_next() => {}
                stream = socket::next(self.socket.as_ref()) => {
                    if self.is_room(&local) {
                        local.spawn(serve(stream, sources.clone()));
                    }
                }
                (stream, _) = self.listener.accept() => {
                    if self.is_room(&remote) {
                        remote.spawn(serve(stream, sources.clone()));
                    }
                }
            }
        }
    }

    /// Whether one more connection may be served; counted when not.
    fn is_room(&self, connections: &JoinSet<()>) -> bool {
        let is_room = connections.len() < CONNECTIONS_MAX;
        if !is_room {
            self.refused.inc();
            tracing::debug!(reason = "connections_max", "admin connection refused");
        }
        is_room
    }
}

/// Serves one request and closes: probes and scrapes come seconds apart, and so nobody can sit on a place.
async fn serve<S>(stream: S, sources: Arc<Sources>)
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(move |request| {
        let sources = sources.clone();
        async move { Ok::<_, Infallible>(answer(&sources, request).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .keep_alive(false)
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), service);
    match tokio::time::timeout(CONNECTION_TIMEOUT, connection).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "admin connection failed"),
        Err(_) => tracing::debug!(reason = "timeout", "admin connection closed"),
    }
}

async fn answer(sources: &Sources, request: Request<Incoming>) -> Response<Full<Bytes>> {
    let (head, body) = request.into_parts();
    match Limited::new(body, BODY_BYTES_MAX).collect().await {
        Ok(body) => answer::answer(sources, &head.method, head.uri.path(), &body.to_bytes()),
        Err(error) if error.is::<http_body_util::LengthLimitError>() => answer::text(
            StatusCode::PAYLOAD_TOO_LARGE,
            format!("the body is larger than {BODY_BYTES_MAX} bytes\n"),
        ),
        Err(_) => answer::text(StatusCode::BAD_REQUEST, "the body is broken\n".to_owned()),
    }
}

#[cfg(test)]
mod tests;
