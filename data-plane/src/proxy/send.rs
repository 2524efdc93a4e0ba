//! Sends a request to an endpoint of its backend, and again to another where that is safe.
//!
//! A request is repeated only when that cannot do its work twice (RFC 9110 §9.2.2):
//! 1. no connection could be opened: any request, as nothing was sent;
//! 2. the connection closed before anything of the request was written: any request;
//! 3. the endpoint said that it has not processed the request (GOAWAY and REFUSED_STREAM of HTTP/2), and nothing of its
//!    body was taken: any request;
//! 4. the connection closed without an answer: idempotent requests without a body, once, and within the budget of the backend
//!    (`balance/budget.rs`, ADR 0033): those may have been processed, and a failing backend is not to get more of them.
//!    The tier that such a request goes to is told, and a tier that was told sends it no further time.
//!
//! A kept connection that turns out to be closed is no fault of the endpoint: the request goes to the same endpoint
//! by a fresh connection, and that does not count as a try. Nor does an endpoint that refuses the connection, up to
//! [`REFUSALS_MAX`]: that costs a round trip, and a rollout may leave several such endpoints behind for a moment.

use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Poll, ready};
use std::time::Duration;

use http::Response;
use http::request::Parts;
use tokio::time::Instant;

use super::kept::Kept;
use super::prepare::{self, Prepared};
use super::retry::{is_idempotent, is_refusal};
use crate::account::Account;
use crate::balance::{Choice, InFlight};
use crate::body::{RequestBody, Upload};
use crate::error::ProxyError;
use crate::metrics::Retry;
use crate::net::{Net, Scarce};
use crate::table::{Endpoint, Policy, Protocol, UpstreamTls};
use crate::upstream::{
    ConnectError, Lease, Left, Received, SendError, Slotted, Transport, Upstream, UpstreamError,
    Wanted,
};
use crate::worker::Context;

/// Endpoints that may refuse the connection of one request before each further refusal counts as a try.
const REFUSALS_MAX: u32 = 16;

/// Sends one request.
pub(super) struct Sender<'r, N: Net> {
    pub(super) context: &'r Context<N>,
    pub(super) policy: &'r Policy,
    pub(super) choice: Choice<'r>,
    protocol: Protocol,
    upload: Option<Rc<Upload>>,
    /// Whether it has been sent again, here or by the tier in front, although an endpoint may have had it.
    pub(super) is_retried: bool,
}

/// A try that brought no response.
struct Failed {
    error: ProxyError,
    /// The request may be sent again, and is where it was.
    may_repeat: bool,
    /// The endpoint may have processed it.
    may_be_processed: bool,
    /// It closed before it answered, and did not say that it would.
    is_to_blame: bool,
    /// It failed only because a kept connection had been closed.
    was_stale: bool,
}

type Taken<N> = (
    Upstream<Transport<<N as Net>::Stream>>,
    Slotted<<N as Net>::Stream>,
);

type Answered<N> = (Response<Received>, Lease<<N as Net>::Stream>);

// === impl Sender ===

impl<'r, N: Net> Sender<'r, N> {
    pub(super) fn new(
        context: &'r Context<N>,
        policy: &'r Policy,
        choice: Choice<'r>,
        prepared: &Prepared,
        upload: Option<Rc<Upload>>,
    ) -> Self {
        Self {
            context,
            policy,
            choice,
            protocol: prepared.protocol,
            upload,
            is_retried: prepared.is_retried,
        }
    }

    /// The choice that led to the response.
    pub(super) fn choice(&self) -> &Choice<'r> {
        &self.choice
    }

    /// The response with the connection it comes by, or the error of the last try. The request is taken from where it is:
    /// handed down by value, each level would have room for it and move it.
    pub(super) async fn send(
        &mut self,
        head: &mut Parts,
        body: &mut RequestBody,
        account: &mut Account,
    ) -> Result<Answered<N>, ProxyError> {
        let tries_max = self.context.shared.config.limits.tries_max.max(1);
        let (mut tries, mut refusals) = (0, 0);
        let mut last = ProxyError::NoEndpoints;
        // After a stale connection: this endpoint, by a fresh one.
        let mut again: Option<&Endpoint> = None;
        let mut kind = Retry::Unprocessed;
        self.tell(head);
        while tries < tries_max {
            let is_fresh = again.is_some();
            let next = again.take().or_else(|| self.next(account));
            let Some(endpoint) = next else { break };
            if tries > 0 || refusals > 0 || is_fresh {
                account.retried(std::mem::replace(&mut kind, Retry::Unprocessed));
            }
            tries += 1;
            note_try(account, endpoint);
            let in_flight = self.choice.begin();
            let (upstream, slot) = match self.connection(endpoint, is_fresh).await {
                Ok(connection) => connection,
                // The endpoint is not to blame, and the next one would not be reached either.
                Err(error @ ProxyError::NoDescriptors { .. }) => return Err(error),
                Err(error) => {
                    self.blame(endpoint, &error, account);
                    if is_refusal(&error) && refusals < REFUSALS_MAX {
                        refusals += 1;
                        tries -= 1;
                    }
                    last = error;
                    continue;
                }
            };
            let may_repeat = tries < tries_max;
            self.fit(head, upstream.is_shared())?;
            match self
                .exchange(
                    ((upstream, slot), in_flight),
                    endpoint,
                    (&mut *head, &mut *body),
                    account,
                    may_repeat,
                )
                .await
            {
                Ok(answered) => {
                    let settings = &self.context.shared.config.ejection;
                    self.choice.succeeded(account.busy().now(), settings);
                    return Ok(answered);
                }
                Err(failed) => {
                    let is_stale = failed.was_stale && !is_fresh;
                    if failed.is_to_blame && !is_stale {
                        self.blame(endpoint, &failed.error, account);
                    }
                    let goes_on = failed.may_repeat && (is_stale || may_repeat);
                    if !goes_on || (failed.may_be_processed && !self.retry(head, account)) {
                        return Err(failed.error);
                    }
                    if failed.may_be_processed {
                        kind = Retry::Repeat;
                    }
                    last = failed.error;
                    if is_stale {
                        again = Some(endpoint);
                        tries -= 1;
                    }
                }
            }
        }
        Err(last)
    }

    fn next(&mut self, account: &Account) -> Option<&'r Endpoint> {
        let rng = &mut *self.context.rng.borrow_mut();
        self.choice.next(account.busy().now(), rng)
    }

    async fn connection(
        &self,
        endpoint: &Endpoint,
        is_fresh: bool,
    ) -> Result<Taken<N>, ProxyError> {
        let context = self.context;
        let wanted = Wanted {
            endpoint,
            token: self.choice.token(),
            is_http2: self.protocol.is_http2(),
            tls: self.protocol.is_tls().then(|| self.tls()),
            is_fresh,
            connect_max: self.policy.connect,
        };
        let connecting = context.pool.connection(&context.net, wanted);
        let endpoint = endpoint.address;
        connecting.await.map_err(|error| match error {
            ConnectError::Failed(source) if Scarce::of(&source).is_some() => {
                ProxyError::NoDescriptors { endpoint, source }
            }
            ConnectError::Failed(source) => ProxyError::ConnectFailed { endpoint, source },
            ConnectError::Tls(source) => ProxyError::TlsFailed { endpoint, source },
            ConnectError::TimedOut => ProxyError::ConnectTimeout { endpoint },
        })
    }

    fn fit(&self, head: &mut Parts, is_shared: bool) -> Result<(), ProxyError> {
        prepare::fit(head, self.upload.is_some(), self.protocol, is_shared)
    }

    fn tls(&self) -> &'r UpstreamTls {
        self.policy.tls.as_deref().unwrap_or(UpstreamTls::NONE)
    }

    async fn exchange(
        &self,
        ((mut upstream, slot), in_flight): (Taken<N>, Option<InFlight>),
        endpoint: &Endpoint,
        (head, body): (&mut Parts, &mut RequestBody),
        account: &mut Account,
        may_repeat: bool,
    ) -> Result<Answered<N>, Failed> {
        let is_reused = upstream.is_reused();
        let is_repeatable = self.upload.is_none() && is_idempotent(&head.method);
        let is_kept = upstream.is_shared() || (is_repeatable && (may_repeat || is_reused));
        let kept = is_kept.then(|| Kept::of(head, upstream.is_shared()));
        let started = account.busy().now();
        match self
            .in_time(&mut upstream, (&mut *head, &mut *body), started)
            .await
        {
            Ok(Ok(response)) => {
                let now = account.busy().now();
                account.answered(response.status().as_u16(), now - started);
                if let Some(in_flight) = &in_flight {
                    in_flight.answered(now - started, now);
                }
                let lease = Lease::new(upstream, (slot, in_flight), self.upload.as_deref());
                Ok((response, lease))
            }
            Ok(Err(SendError { error, left })) => {
                let is_parse = error.is_parse();
                let error = self.error_of(endpoint, error);
                let is_safe_again = is_repeatable && !is_parse;
                let may_be_processed = matches!(left, Left::Fields(_) | Left::Nothing);
                let is_to_blame = !matches!(left, Left::Body(_))
                    && matches!(error, ProxyError::UpstreamReset { .. });
                let request = match left {
                    Left::Request(unsent) => Some(unsent.into_parts()),
                    Left::Body(body) => kept.and_then(|kept| kept.request(None, body)),
                    _ if !is_safe_again => None,
                    Left::Fields(fields) => {
                        kept.and_then(|kept| kept.request(Some(*fields), RequestBody::empty()))
                    }
                    Left::Nothing => kept.and_then(|kept| kept.request(None, RequestBody::empty())),
                };
                let request = request.filter(|_| error.may_retry());
                let may_repeat = request.is_some();
                if let Some(request) = request {
                    (*head, *body) = request;
                }
                Err(Failed {
                    may_repeat,
                    may_be_processed,
                    is_to_blame,
                    error,
                    was_stale: is_reused,
                })
            }
            Err(TooLate) => Err(Failed {
                error: ProxyError::ResponseTimeout {
                    endpoint: endpoint.address,
                },
                may_repeat: false,
                may_be_processed: true,
                is_to_blame: false,
                was_stale: false,
            }),
        }
    }

    /// The response, unless the endpoint takes too long for it once it has the request.
    async fn in_time(
        &self,
        upstream: &mut Upstream<Transport<N::Stream>>,
        (head, body): (&mut Parts, &mut RequestBody),
        now: Instant,
    ) -> Result<Result<Response<Received>, SendError>, TooLate> {
        let mut until = now + self.waits().shortest();
        let mut alarm = upstream.take_alarm();
        let sent = {
            let mut sending = std::pin::pin!(upstream.send(head, body));
            poll_fn(|cx| {
                loop {
                    if let Poll::Ready(sent) = sending.as_mut().poll(cx) {
                        return Poll::Ready(Ok(sent));
                    }
                    ready!(alarm.poll(until, cx));
                    match self.later(now) {
                        Some(later) => until = later,
                        None => return Poll::Ready(Err(TooLate)),
                    }
                }
            })
            .await
        };
        upstream.keep_alarm(alarm);
        sent
    }

    /// Until when the endpoint may take, if that is not over: its time begins when it has the whole request, or a further
    /// part of it.
    fn later(&self, started: Instant) -> Option<Instant> {
        let (now, waits) = (Instant::now(), self.waits());
        let (since, limit) = match &self.upload {
            Some(upload) if upload.is_complete() => (upload.moved_at(), waits.read),
            Some(upload) => (upload.moved_at(), waits.send),
            None => (started, waits.read),
        };
        // A body may have moved before, for another try or while this one connected.
        let until = since.max(started) + limit;
        // The body itself fails when the client pauses too long.
        let until = if until <= now && self.is_client_late() {
            now + limit
        } else {
            until
        };
        // Not later than the shorter of both: which one holds may be another when it is over.
        (until > now).then(|| until.min(now + waits.shortest()))
    }

    fn waits(&self) -> Waits {
        let head = self.context.shared.config.timeouts.response_head;
        Waits {
            send: self.policy.send.unwrap_or(head),
            read: self.policy.read.unwrap_or(head),
        }
    }

    fn is_client_late(&self) -> bool {
        self.upload
            .as_ref()
            .is_some_and(|upload| upload.waits_for_client())
    }

    /// Why the request failed: its own body, or the endpoint.
    fn error_of(&self, endpoint: &Endpoint, source: UpstreamError) -> ProxyError {
        let endpoint = endpoint.address;
        if let Some(failure) = self.upload.as_ref().and_then(|upload| upload.failure()) {
            failure.into()
        } else if matches!(source, UpstreamError::RequestHeadTooLarge) {
            ProxyError::HeadTooLarge
        } else if source.is_parse() {
            let source = Some(source);
            ProxyError::UpstreamProtocol { endpoint, source }
        } else {
            ProxyError::UpstreamReset { endpoint, source }
        }
    }
}

/// The endpoint did not answer in time.
struct TooLate;

/// How long an endpoint may take.
struct Waits {
    /// For a further part of the request.
    send: Duration,
    /// For the head of its response, once it has the request.
    read: Duration,
}

impl Waits {
    fn shortest(&self) -> Duration {
        self.send.min(self.read)
    }
}

fn note_try(account: &mut Account, endpoint: &Endpoint) {
    if let Some(entry) = account.entry() {
        entry.tries += 1;
        entry.endpoint = Some(endpoint.address);
    }
}
