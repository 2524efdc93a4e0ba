//! The built-in server that stands for every image we do not have: it answers with what it was asked.
//!
//! In: a bound listener and who the pod is. Out: JSON with the keys of [`Answer`], or what the query asks for:
//! `status=CODE`, `delay_ms=N` and `bytes=N` (a body of N bytes in place of the JSON). A request to upgrade is granted,
//! and every byte comes back. A gRPC health check is answered with SERVING. It speaks HTTP/1.1 and HTTP/2 with prior
//! knowledge, no TLS.
//!
//! A stop is graceful: for [`LAME_DUCK`] the server still accepts, as a well-behaved application does while the news
//! of its end travels; then it closes the listener and idle connections and finishes the requests it has.

use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Version, header};
use http_body_util::{BodyExt, Either, Full};
use hyper::body::{Body, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tiergate_data_plane::net::Listener;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::stop;

mod answer;
mod demand;
mod health;

pub use answer::{Answer, Identity};
use demand::Demand;

/// How long a stopping server still accepts connections.
pub const LAME_DUCK: Duration = Duration::from_secs(1);

/// Open connections of one listener; further ones wait in the kernel's queue.
const CONNECTIONS_MAX: usize = 4096;

/// From the first byte of a request to the end of its head.
const HEAD_READ_TIMEOUT: Duration = Duration::from_secs(30);

type EchoBody = Either<Either<Full<Bytes>, health::Health>, demand::Filler>;

/// Serves `listener` until `stop` is set and the last request is done.
pub async fn serve<L>(mut listener: L, identity: Arc<Identity>, stop: stop::Signal)
where
    L: Listener,
    L::Stream: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let Ok(address) = listener.local_addr() else {
        tracing::error!(
            pod = identity.pod,
            reason = "listener_gone",
            "the echo server has no address"
        );
        return;
    };
    let free_places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let (close, closing) = stop::channel();
    let mut connections = JoinSet::new();
    let mut end = std::pin::pin!(after_lame_duck(stop.clone()));
    loop {
        let accepted = async {
            let place = Arc::clone(&free_places).acquire_owned().await;
            (place, listener.accept().await)
        };
        let (place, (stream, peer)) = tokio::select! {
            accepted = accepted => accepted,
            () = &mut end => break,
        };
        while connections.try_join_next().is_some() {}
        let connection = Connection {
            identity: Arc::clone(&identity),
            address,
            client: peer.ip(),
            stopping: stop.clone(),
        };
        let closing = closing.clone();
        connections.spawn(async move {
            connection.run(stream, closing).await;
            drop(place);
        });
    }
    drop(listener);
    close.stop();
    while connections.join_next().await.is_some() {}
}

async fn after_lame_duck(mut stop: stop::Signal) {
    stop.wait().await;
    tokio::time::sleep(LAME_DUCK).await;
}

/// One accepted connection.
#[derive(Clone)]
struct Connection {
    identity: Arc<Identity>,
    address: SocketAddr,
    client: IpAddr,
    stopping: stop::Signal,
}

// === impl Connection ===

impl Connection {
    async fn run<S>(self, stream: S, mut closing: stop::Signal)
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let mut builder = auto::Builder::new(TokioExecutor::new());
        builder
            .http1()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_READ_TIMEOUT);
        builder.http2().timer(TokioTimer::new());
        let service = service_fn(|request| {
            let connection = self.clone();
            async move { Ok::<_, Infallible>(connection.answer(request).await) }
        });
        let served = builder.serve_connection_with_upgrades(TokioIo::new(stream), service);
        let mut served = std::pin::pin!(served);
        let result = tokio::select! {
            result = &mut served => result,
            () = closing.wait() => {
                served.as_mut().graceful_shutdown();
                served.await
            }
        };
        if let Err(error) = result {
            tracing::debug!(%error, pod = self.identity.pod, "a connection to the echo server ended early");
        }
    }

    async fn answer(self, request: Request<Incoming>) -> Response<EchoBody> {
        let version = request.version();
        let mut response = self.answer_open(request).await;
        if version < Version::HTTP_2
            && self.stopping.is_set()
            && response.status() != StatusCode::SWITCHING_PROTOCOLS
        {
            response
                .headers_mut()
                .insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }

    async fn answer_open(&self, mut request: Request<Incoming>) -> Response<EchoBody> {
        let demand = match Demand::parse(request.uri().query().unwrap_or_default()) {
            Ok(demand) => demand,
            Err(message) => return text(StatusCode::BAD_REQUEST, format!("{message}\n")),
        };
        if let Some(protocol) = upgrade_protocol(request.headers()) {
            return accept_upgrade(&mut request, protocol);
        }
        let (head, body) = request.into_parts();
        let body_bytes = match count(body).await {
            Ok(bytes) => bytes,
            Err(error) => {
                return text(
                    StatusCode::BAD_REQUEST,
                    format!("the request body broke off: {error}\n"),
                );
            }
        };
        if health::is_asked(&head) {
            return health::answer().map(|body| EchoBody::Left(Either::Right(body)));
        }
        tokio::time::sleep(demand.delay).await;
        let answer = Answer::new(
            &self.identity,
            self.client,
            self.address.port(),
            &head,
            body_bytes,
        );
        let (content_type, body) = match demand.body_bytes {
            Some(bytes) => (
                "application/octet-stream",
                EchoBody::Right(demand::Filler::new(bytes)),
            ),
            None => (
                "application/json",
                EchoBody::Left(Either::Left(Full::new(answer.to_json()))),
            ),
        };
        // A HEAD answer has the head of the GET answer; hyper leaves the body out and keeps its length.
        let length = body.size_hint().exact();
        let mut response = Response::new(body);
        *response.status_mut() = demand.status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
        if let Some(length) = length.filter(|_| head.method == Method::HEAD) {
            headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
        }
        response
    }
}

async fn count(mut body: Incoming) -> Result<u64, hyper::Error> {
    let mut bytes = 0;
    while let Some(frame) = body.frame().await {
        if let Some(data) = frame?.data_ref() {
            bytes += data.len() as u64;
        }
    }
    Ok(bytes)
}

fn upgrade_protocol(headers: &HeaderMap) -> Option<HeaderValue> {
    let asks = headers.get_all(header::CONNECTION).iter().any(|value| {
        value.to_str().is_ok_and(|value| {
            value
                .split(',')
                .any(|token| token.trim().eq_ignore_ascii_case("upgrade"))
        })
    });
    headers.get(header::UPGRADE).filter(|_| asks).cloned()
}

/// Grants the upgrade and sends back every byte, whatever the protocol is called.
fn accept_upgrade(request: &mut Request<Incoming>, protocol: HeaderValue) -> Response<EchoBody> {
    let upgraded = hyper::upgrade::on(request);
    tokio::spawn(async move {
        let Ok(upgraded) = upgraded.await else { return };
        let (mut read, mut write) = tokio::io::split(TokioIo::new(upgraded));
        if let Err(error) = tokio::io::copy(&mut read, &mut write).await {
            tracing::debug!(%error, "an upgraded connection to the echo server ended early");
        }
        let _ = tokio::io::AsyncWriteExt::shutdown(&mut write).await;
    });
    let mut response = text(StatusCode::SWITCHING_PROTOCOLS, String::new());
    let headers = response.headers_mut();
    headers.clear();
    headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(header::UPGRADE, protocol);
    response
}

fn text(status: StatusCode, message: String) -> Response<EchoBody> {
    let mut response = Response::new(EchoBody::Left(Either::Left(Full::new(Bytes::from(
        message,
    )))));
    *response.status_mut() = status;
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("text/plain; charset=utf-8"),
    );
    response
}

#[cfg(test)]
mod tests;
