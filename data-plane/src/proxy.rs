//! One request, from its head to its answer: the only place that loads the cell for it.
//!
//! In: the request and the session of its connection. Out: a response whose body is still on its way. The steps, each a
//! function of a module of its own: admit, find the host and the route, refuse loops, rewrite the head, limit the body,
//! pick an endpoint, send, try again where that is safe, rewrite the answer. `docs/request.md` tells the same with what
//! can fail.
//!
//! `send` holds the tries, `retry` says when there is another, and `kept` has what it needs; `prepare` makes the request for the endpoint.
//!
//! Every byte that is moved here is moved for every request: what is large stays where it is, and goes down by reference.

mod ejection;
mod kept;
mod prepare;
mod retry;
mod send;

use std::borrow::Cow;
use std::convert::Infallible;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http::header::SET_COOKIE;
use http::request::Parts;
use http::{HeaderValue, Method, Request, Response, StatusCode, Version};
use tokio::time::Instant;

use crate::access_log::Entry;
use crate::account::Account;
use crate::balance::{By, Choice};
use crate::body::{Forwarded, RequestBody, ResponseBody};
use crate::clock::wall_now;
use crate::codec::Incoming;
use crate::error::ProxyError;
use crate::head::present::Present;
use crate::head::response::{self, Finish};
use crate::head::secure::{self, Scheme};
use crate::head::{admit, forwarded, hop, host, path, rewrite, unrouted, via};
use crate::http::Session;
use crate::http::tunnel::Tunnel;
use crate::net::Net;
use crate::route::{route, rule_bytes};
use crate::snapshot::Snapshot;
use crate::table::{Redirect, RouteId};
use crate::tls;
use crate::upstream::{Lease, Received};
use crate::worker::Context;
pub(crate) use ejection::Resting;

/// How often the pool is looked through when no request does it.
const POOL_INTERVAL: Duration = Duration::from_secs(1);

/// What an endpoint answered, before it is made ready for the client.
struct Answer<N: Net> {
    response: Response<Received>,
    lease: Lease<N::Stream>,
    /// The protocol that the client asked to change to.
    upgrade: Option<HeaderValue>,
    /// How long its body may pause.
    pause_max: Duration,
    /// What keeps the client's session with the endpoint.
    cookie: Option<Box<HeaderValue>>,
}

/// Why a request does not go to an endpoint.
enum Own {
    /// It cannot.
    Error(ProxyError),
    /// The client is sent to this URL. Boxed: nearly every request has none, and each moves the room for it.
    Redirect(Box<HeaderValue>),
}

/// Answers one request.
pub(crate) async fn serve<N: Net>(
    session: Rc<Session<N>>,
    request: Request<Incoming>,
) -> Result<Response<ResponseBody<N::Stream>>, Infallible> {
    let (mut head, incoming) = request.into_parts();
    let snapshot = session.context.snapshots.load_full(); // the only load for this request
    session.context.pool.follow(&snapshot);
    let version = head.version;
    let is_head = head.method == Method::HEAD;
    let has_body = !http_body::Body::is_end_stream(&incoming);
    let entry = entry(&session, &head);
    let hsts = hsts(&session, &head);
    let mut account = Account::open(&session.context.unrouted, entry, session.begin());
    let answer = forward(&session, &snapshot, &mut account, &mut head, incoming).await;
    let finish = Finish {
        server: &session.context.server,
        version,
        // Of a body that has not been read, hyper does not wait for the rest: the client must know.
        closes: account.busy().is_draining() || (has_body && !account.has_whole_body()),
        is_head,
        hsts,
    };
    if finish.closes {
        session.closes();
    }
    Ok(match answer {
        Ok(answer) => deliver(&session, account, answer, &finish),
        Err(Own::Error(error)) => refuse(&session, account, &error, &finish),
        Err(Own::Redirect(location)) => redirect(&session, account, *location, &finish),
    })
}

async fn forward<N: Net>(
    session: &Rc<Session<N>>,
    snapshot: &Arc<Snapshot>,
    account: &mut Account,
    parts: &mut Parts,
    incoming: Incoming,
) -> Result<Answer<N>, Own> {
    let config = &session.context.shared.config;
    let present = if parts.version == Version::HTTP_2 {
        Present::of_http2(&parts.headers)
    } else {
        Present::of(&parts.headers)
    };
    admit::admit(parts, present, &config.limits, session.client.is_trusted)?;
    let host = host::effective(parts)?;
    let found = find(snapshot, host.as_ref(), parts)?;
    let (owner, backend_id, policy, of_path) = snapshot.route(found);
    let rule_path = policy.affinity.as_ref();
    let rule_path = rule_path.map(|_| rule_path_of(snapshot, host.as_ref(), parts));
    account.routed(owner.on(session.context.lane));
    let backend = snapshot.table.backend(backend_id);
    note_route(account, snapshot, found);
    if policy.refuses(backend.protocol) {
        return Err(ProxyError::RouteClosed.into());
    }
    if of_path.redirect != Redirect::Never
        && let Some(location) = location(session, snapshot, of_path.redirect, host.as_ref(), parts)
    {
        return Err(Own::Redirect(Box::new(location)));
    }
    let bytes_max = policy.body_bytes_max;
    let bytes_max = bytes_max.unwrap_or(config.limits.body_bytes_max);
    admit::admit_body(parts, present, bytes_max)?;
    via::check(&parts.headers, present, config.tier)?;
    let has_body = !http_body::Body::is_end_stream(&incoming);
    let protocol = policy.protocol_of(backend.protocol);
    let prepared = prepare::prepare(session, parts, present, host, protocol, has_body)?;
    if let Some(entry) = account.entry() {
        entry.request_id = parts.headers.get(&forwarded::REQUEST_ID).cloned();
    }
    let (mut body, upload) = if has_body {
        let (body, upload) = RequestBody::new(incoming, bytes_max, config.timeouts.body_read);
        account.uploads(upload.clone());
        (body, Some(upload))
    } else {
        (RequestBody::empty(), None)
    };
    let algorithm = policy.algorithm.unwrap_or(config.load_balance);
    let by = By::of(policy, parts, rule_path.as_deref().unwrap_or_default());
    let is_https = rule_path.is_some() && forwarded::is_https(&parts.headers);
    let choice = Choice::new(
        (backend, snapshot.backend(backend_id)),
        algorithm,
        by,
        account.busy().now(),
    );
    let mut sender = send::Sender::new(&session.context, policy, choice, &prepared, upload);
    if let Some(to) = &of_path.rewrite {
        rewrite::apply(parts, to)?;
    }
    let (response, lease) = sender.send(parts, &mut body, account).await?;
    Ok(Answer {
        response,
        lease,
        upgrade: prepared.upgrade,
        pause_max: policy.read.unwrap_or(config.timeouts.response_body),
        cookie: sender.choice().set_cookie(is_https, wall_now),
    })
}

fn find(
    snapshot: &Snapshot,
    host: Option<&HeaderValue>,
    parts: &mut Parts,
) -> Result<RouteId, ProxyError> {
    let name = host.map(host::comparable).transpose()?;
    let path = path::of_request(&parts.method, parts.uri.path())?;
    if snapshot.generation == 0 {
        return Err(ProxyError::NotReady);
    }
    let table = &snapshot.table;
    let found = route(table, name.as_deref(), &path).ok_or(ProxyError::NoRoute)?;
    if table.default_backend() == Some(found) {
        // A default backend that is down changes nothing about the request: it has no route.
        if table
            .backend(table.route(found).backend)
            .endpoints
            .is_empty()
        {
            return Err(ProxyError::NoRoute);
        }
        unrouted::tell(parts);
    }
    Ok(found)
}

/// The part of the path that the rule has, as the client wrote it; nothing when that is not plain.
fn rule_path_of(snapshot: &Snapshot, host: Option<&HeaderValue>, parts: &Parts) -> Box<str> {
    let name = host.and_then(|host| host::comparable(host).ok());
    let comparable = path::of_request(&parts.method, parts.uri.path());
    let (Ok(Cow::Borrowed(path)), Some(name)) = (comparable, name) else {
        return Box::default();
    };
    let bytes = rule_bytes(&snapshot.table, Some(&name), path);
    path[..bytes].into()
}

/// Where a request is sent that should have come by https.
#[cold]
fn location<N: Net>(
    session: &Session<N>,
    snapshot: &Snapshot,
    redirect: Redirect,
    host: Option<&HeaderValue>,
    parts: &Parts,
) -> Option<HeaderValue> {
    let config = &session.context.shared.config;
    let present = Present::of(&parts.headers);
    let scheme = secure::scheme(&parts.headers, present, &session.client);
    let is_served = || {
        let name = host.and_then(|host| host::comparable(host).ok());
        !config.https_addresses.is_empty() && tls::serves(&snapshot.table, name.as_deref())
    };
    secure::redirect(redirect, scheme, host, &parts.uri, is_served)
}

/// What an answer says about https, when the request came by it.
fn hsts<'s, N: Net>(session: &'s Session<N>, head: &Parts) -> Option<&'s HeaderValue> {
    let hsts = session.context.hsts.as_ref()?;
    let present = Present::of(&head.headers);
    let scheme = secure::scheme(&head.headers, present, &session.client);
    (scheme == Scheme::Https).then_some(hsts)
}

/// Makes an endpoint's answer the client's.
fn deliver<N: Net>(
    session: &Rc<Session<N>>,
    mut account: Box<Account>,
    answer: Answer<N>,
    finish: &Finish<'_>,
) -> Response<ResponseBody<N::Stream>> {
    let Answer {
        response,
        lease,
        upgrade,
        pause_max,
        cookie,
    } = answer;
    let (mut parts, incoming) = response.into_parts();
    if let Some(cookie) = cookie {
        parts.headers.append(SET_COOKIE, *cookie);
    }
    let is_switch = parts.status == StatusCode::SWITCHING_PROTOCOLS;
    let present = Present::of(&parts.headers);
    let date = || session.context.date.value(account.busy().now());
    if (is_switch && upgrade.is_none()) || hop::has_foreign_coding(&parts.headers, present) {
        return refuse_protocol(session, account, &lease, finish);
    }
    if is_switch {
        let protocol = parts
            .headers
            .get(http::header::UPGRADE)
            .cloned()
            .or(upgrade);
        response::rewrite(&mut parts, present, protocol, finish, date);
        let owner = account.owner().clone();
        session.goes_on_as(Tunnel {
            lease,
            owner,
            pause_max,
        });
        account.complete();
        return Response::from_parts(parts, ResponseBody::own("", account));
    }
    if !response::rewrite(&mut parts, present, None, finish, date) {
        return refuse_protocol(session, account, &lease, finish);
    }
    let body = Forwarded::new(incoming, lease, account, pause_max);
    Response::from_parts(parts, ResponseBody::Forwarded(body))
}

/// Answers in place of an endpoint whose answer cannot be passed on.
fn refuse_protocol<N: Net>(
    session: &Session<N>,
    account: Box<Account>,
    lease: &Lease<N::Stream>,
    finish: &Finish<'_>,
) -> Response<ResponseBody<N::Stream>> {
    let endpoint = lease.address();
    let source = None;
    let error = ProxyError::UpstreamProtocol { endpoint, source };
    refuse(session, account, &error, finish)
}

/// Answers in place of an endpoint.
fn refuse<N: Net>(
    session: &Session<N>,
    mut account: Box<Account>,
    error: &ProxyError,
    finish: &Finish<'_>,
) -> Response<ResponseBody<N::Stream>> {
    let source = std::error::Error::source(error).map(tracing::field::display);
    tracing::debug!(reason = error.reason(), %error, source, "a request was not forwarded");
    account.refused(error);
    let date = session.context.date.value(account.busy().now());
    response::of_error(error, finish, date).map(|text| ResponseBody::own(text, account))
}

/// Sends the client to another URL.
fn redirect<N: Net>(
    session: &Session<N>,
    mut account: Box<Account>,
    location: HeaderValue,
    finish: &Finish<'_>,
) -> Response<ResponseBody<N::Stream>> {
    account.redirected();
    let date = session.context.date.value(account.busy().now());
    response::of_redirect(location, finish, date).map(|text| ResponseBody::own(text, account))
}

/// What the access log is to tell, if this request is one to log.
fn entry<N: Net>(session: &Session<N>, head: &Parts) -> Option<Box<Entry>> {
    let context = &session.context;
    if !context.sampler.takes(&context.shared.access_log) {
        return None;
    }
    let authority = head.uri.authority();
    let host = authority.and_then(|authority| HeaderValue::from_str(authority.as_str()).ok());
    Some(Box::new(Entry {
        client: session.client.ip,
        method: head.method.clone(),
        host: host.or_else(|| head.headers.get(http::header::HOST).cloned()),
        uri: head.uri.clone(),
        version: head.version,
        request_id: None,
        owner: None,
        backend: None,
        endpoint: None,
        tries: 0,
        upstream: None,
    }))
}

fn note_route(account: &mut Account, snapshot: &Snapshot, found: RouteId) {
    if let Some(entry) = account.entry() {
        let route = snapshot.table.route(found);
        entry.owner = Some(route.owner.clone());
        entry.backend = Some(snapshot.table.backend(route.backend).name.clone());
    }
}

/// Keeps the pool fresh while no request does it: endpoints that left, connections that are old or were closed.
pub(crate) async fn tend_pool<N: Net>(context: &Context<N>) {
    loop {
        tokio::time::sleep(POOL_INTERVAL).await;
        context.pool.follow(&context.snapshots.load_full());
        let now = Instant::now();
        context.pool.expire(now);
        context.resting.tend(now, &context.shared.metrics);
    }
}

// === impl Own ===

impl From<ProxyError> for Own {
    fn from(error: ProxyError) -> Self {
        Self::Error(error)
    }
}
