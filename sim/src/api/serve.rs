//! HTTP: accepts connections, speaks TLS, HTTP/1.1 and HTTP/2, reads bodies up to a limit, writes answers.
//!
//! In: a listener. Out: every request through [`super::dispatch`], until shutdown.

use std::convert::Infallible;
use std::io::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use futures::StreamExt as _;
use http::header::{
    ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, HeaderName, HeaderValue,
    RETRY_AFTER, USER_AGENT, VARY, WARNING,
};
use http::{Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use rand::RngCore as _;
use tiergate_data_plane::net::Listener;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use super::body::BODY_BYTES_MAX;
use super::call::{Answer, Call, Content};
use super::state::Shared;
use super::status::Failure;
use super::store::to_json;
use super::{admission, dispatch, present};

/// Connections at once; further ones wait to be accepted.
const CONNECTIONS_MAX: usize = 4096;

/// Time for a TLS handshake and for the head of a request.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);

/// Time for the body of a request.
const BODY_TIMEOUT: Duration = Duration::from_secs(60);

/// Answers longer than this are packed when the client takes gzip.
const GZIP_BYTES_MIN: usize = 128 * 1024;

type Body = UnsyncBoxBody<Bytes, Infallible>;

/// Serves a listener until `shutdown` ends; then open connections, watches included, are dropped.
pub(crate) async fn serve<L>(
    shared: Arc<Shared>,
    mut listener: L,
    tls: Option<TlsAcceptor>,
    shutdown: impl Future<Output = ()> + Send,
) where
    L: Listener,
    L::Stream: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let slots = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut connections = JoinSet::new();
    let mut shutdown = std::pin::pin!(shutdown);
    loop {
        let slot = tokio::select! {
            biased;
            () = &mut shutdown => break,
            Some(_) = connections.join_next(), if !connections.is_empty() => continue,
            slot = slots.clone().acquire_owned() => slot.expect("the semaphore is never closed"),
        };
        // Ended connections are collected before the next one is taken, so that the set stays as small as the limit.
        while connections.try_join_next().is_some() {}
        let (stream, peer) = tokio::select! {
            biased;
            () = &mut shutdown => break,
            accepted = listener.accept() => accepted,
        };
        let (shared, tls) = (shared.clone(), tls.clone());
        connections.spawn(async move {
            let _slot = slot;
            connection(shared, stream, tls, peer).await;
        });
    }
    connections.shutdown().await;
}

async fn connection<S>(shared: Arc<Shared>, stream: S, tls: Option<TlsAcceptor>, peer: SocketAddr)
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let Some(tls) = tls else {
        return speak(shared, stream, peer).await;
    };
    match tokio::time::timeout(HEAD_TIMEOUT, tls.accept(stream)).await {
        Ok(Ok(stream)) => speak(shared, stream, peer).await,
        Ok(Err(error)) => {
            tracing::debug!(%peer, %error, reason = "tls_failed", "connection refused")
        }
        Err(_) => tracing::debug!(%peer, reason = "tls_timeout", "connection refused"),
    }
}

async fn speak<S>(shared: Arc<Shared>, stream: S, peer: SocketAddr)
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let service = service_fn(move |request| {
        let shared = shared.clone();
        async move { Ok::<_, Infallible>(answer(&shared, request).await) }
    });
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .pipeline_flush(true);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(1000);
    if let Err(error) = builder
        .serve_connection(TokioIo::new(stream), service)
        .await
    {
        tracing::debug!(%peer, %error, reason = "connection_failed", "connection ended");
    }
}

async fn answer(shared: &Arc<Shared>, request: Request<Incoming>) -> Response<Body> {
    let (parts, body) = request.into_parts();
    let received = shared.clock.now();
    let body = match tokio::time::timeout(
        BODY_TIMEOUT,
        Limited::new(body, BODY_BYTES_MAX).collect(),
    )
    .await
    {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(Failure::too_large(format!(
            "Request entity too large: limit is {BODY_BYTES_MAX}"
        ))),
        Ok(Err(error)) => Err(Failure::bad_request(error.to_string())),
        Err(_) => Err(Failure::bad_request("the body did not come in time")),
    };
    let outcome = match body {
        Ok(body) => dispatch::dispatch(shared, &parts, body).await,
        Err(failure) => dispatch::Outcome {
            user: String::new(),
            call: None,
            answer: Err(failure),
        },
    };
    let code = present::code(&outcome.answer);
    let times = dispatch::Times {
        received,
        answered: shared.clock.now(),
    };
    shared
        .log
        .add(dispatch::entry(&parts, times, &outcome, code));
    let takes_gzip = takes_gzip(parts.headers.get(ACCEPT_ENCODING));
    let is_pretty = is_pretty(&parts);
    let deprecation = outcome
        .call
        .as_ref()
        .and_then(|call| admission::deprecation(call.resource()));
    let mut response = match outcome.answer {
        Ok(answer) => success(shared, outcome.call.as_ref(), answer, takes_gzip, is_pretty),
        Err(failure) => refusal(&failure, is_pretty),
    };
    add_usual_headers(shared, &mut response);
    add_warnings(&mut response, deprecation);
    response
}

fn success(
    shared: &Shared,
    call: Option<&Call>,
    answer: Answer,
    takes_gzip: bool,
    is_pretty: bool,
) -> Response<Body> {
    let Answer {
        code,
        content,
        warnings,
    } = answer;
    let mut response = match content {
        Content::Watch(events) => {
            let frames = events.map(|line| Ok(Frame::data(line)));
            response(
                code,
                "application/json",
                StreamBody::new(frames).boxed_unsync(),
            )
        }
        content @ (Content::Object(_)
        | Content::Value(_)
        | Content::List(_)
        | Content::Bytes(..)) => {
            let rendered = match (call, &content) {
                (Some(call), content) => present::answer(call, content, shared.clock.now()),
                (None, Content::Bytes(content_type, bytes)) => Ok((*content_type, bytes.clone())),
                (None, Content::Value(value)) => Ok(("application/json", to_json(value))),
                (None, _) => Err(Failure::internal("an answer without a request")),
            };
            match rendered {
                Ok((content_type, bytes)) => {
                    let bytes = if is_pretty && content_type == "application/json" {
                        pretty(&bytes)
                    } else {
                        bytes
                    };
                    packed(code, content_type, bytes, takes_gzip)
                }
                Err(failure) => refusal(&failure, is_pretty),
            }
        }
    };
    add_warnings(&mut response, warnings.iter().map(String::as_str));
    response
}

fn add_warnings<'a>(response: &mut Response<Body>, warnings: impl IntoIterator<Item = &'a str>) {
    for warning in warnings {
        let text = format!(
            "299 - \"{}\"",
            warning.replace('\\', "\\\\").replace('"', "\\\"")
        );
        if let Ok(value) = HeaderValue::from_str(&text) {
            response.headers_mut().append(WARNING, value);
        }
    }
}

fn refusal(failure: &Failure, is_pretty: bool) -> Response<Body> {
    if failure.is_text {
        let text = Bytes::from(failure.message.clone());
        return response(
            failure.code,
            "text/plain; charset=utf-8",
            Full::new(text).boxed_unsync(),
        );
    }
    let bytes = to_json(&failure.to_value());
    let bytes = if is_pretty { pretty(&bytes) } else { bytes };
    let mut response = response(
        failure.code,
        "application/json",
        Full::new(bytes).boxed_unsync(),
    );
    if let Some(seconds) = failure.retry_after_seconds() {
        response
            .headers_mut()
            .insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    add_warnings(&mut response, failure.warnings.iter().map(String::as_str));
    response
}

fn response(code: u16, content_type: &'static str, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() =
        StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

fn packed(code: u16, content_type: &'static str, bytes: Bytes, takes_gzip: bool) -> Response<Body> {
    if !takes_gzip || bytes.len() < GZIP_BYTES_MIN {
        return response(code, content_type, Full::new(bytes).boxed_unsync());
    }
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    let packed = encoder.write_all(&bytes).and_then(|()| encoder.finish());
    let Ok(packed) = packed else {
        return response(code, content_type, Full::new(bytes).boxed_unsync());
    };
    let mut response = response(
        code,
        content_type,
        Full::new(Bytes::from(packed)).boxed_unsync(),
    );
    response
        .headers_mut()
        .insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    response
        .headers_mut()
        .insert(VARY, HeaderValue::from_static("Accept-Encoding"));
    response
}

fn takes_gzip(header: Option<&HeaderValue>) -> bool {
    let text = header
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    text.split(',')
        .any(|part| part.trim().split(';').next() == Some("gzip"))
}

/// Whether a person reads the answer: asked for, or a tool that people use.
fn is_pretty(parts: &http::request::Parts) -> bool {
    let query = super::request::Query::parse(parts.uri.query().unwrap_or_default());
    if query.has("pretty") {
        return query.flag("pretty");
    }
    let agent = parts
        .headers
        .get(USER_AGENT)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    ["curl", "Wget", "Mozilla/5.0"]
        .iter()
        .any(|tool| agent.starts_with(tool))
}

fn pretty(bytes: &Bytes) -> Bytes {
    serde_json::from_slice::<serde_json::Value>(bytes)
        .and_then(|value| serde_json::to_vec_pretty(&value))
        .map_or_else(|_| bytes.clone(), Bytes::from)
}

fn add_usual_headers(shared: &Shared, response: &mut Response<Body>) {
    let id = shared.state().random.next_u64();
    let headers = response.headers_mut();
    let id = HeaderValue::from_str(&format!("{id:016x}"))
        .expect("hexadecimal digits are legal in a header");
    headers.insert(HeaderName::from_static("audit-id"), id);
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache, private"));
    // Clients of the real server may look for these; the model has one level for everybody.
    for name in [
        "x-kubernetes-pf-flowschema-uid",
        "x-kubernetes-pf-prioritylevel-uid",
    ] {
        headers.insert(
            HeaderName::from_static(name),
            HeaderValue::from_static("00000000-0000-0000-0000-000000000001"),
        );
    }
}
