//! A connection to an endpoint, by hyper: its sender and its state machine, which hyper keeps apart, held together.
//! `wakeup` is what wakes its holder.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http::{Request, Response};
use hyper::client::conn::http1::{Builder, Connection, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::task::AbortHandle;
use tokio::task::coop::{has_budget_remaining, unconstrained};

use super::endpoint_io::{EndpointIo, Exchange};
use super::wakeup::Wakeup;
use super::{FIELDS_MAX, HyperIncoming};
use crate::codec::{Client, CodecError, HeadLimits, Kind, Left, Outgoing, SendError, Stream};

/// A connection with its state machine.
pub(crate) struct HyperClient<S: Stream, B: Outgoing> {
    sender: SendRequest<B>,
    driver: Driver<S, B>,
    wakeup: Wakeup,
    exchange: Rc<Exchange>,
}

enum Driver<S: Stream, B: Outgoing> {
    /// Driven by its holder. Boxed: it moves in and out of the pool.
    Held(Box<Connection<TokioIo<EndpointIo<S>>, B>>),
    /// Closed, or changed to another protocol; not to be driven any more.
    Done(Box<Connection<TokioIo<EndpointIo<S>>, B>>),
    /// A task of its own: the request's body is still on its way while the response is.
    Task { _owned: Task },
    /// At its end.
    Ended,
}

/// Ends with its owner.
struct Task(AbortHandle);

// === impl HyperClient ===

impl<S: Stream, B: Outgoing> HyperClient<S, B> {
    pub(super) async fn new(stream: S, limits: HeadLimits) -> Result<Self, hyper::Error> {
        let mut builder = Builder::new();
        builder.max_header_size(limits.bytes_max);
        if limits.fields_max != FIELDS_MAX {
            builder.max_headers(limits.fields_max);
        }
        let exchange = Rc::new(Exchange::new(limits.bytes_max));
        let io = EndpointIo::new(stream, exchange.clone());
        let (sender, connection) = builder.handshake(TokioIo::new(io)).await?;
        Ok(Self {
            sender,
            driver: Driver::Held(Box::new(connection)),
            wakeup: Wakeup::default(),
            exchange,
        })
    }
}

impl<S: Stream, B: Outgoing> Client<S, B> for HyperClient<S, B> {
    type Incoming = HyperIncoming;

    fn send(
        &mut self,
        request: Request<B>,
    ) -> impl Future<Output = Result<Response<HyperIncoming>, SendError<B>>> {
        let Self {
            sender,
            driver,
            wakeup,
            exchange,
        } = self;
        exchange.begin(!request.body().is_end_stream());
        // Now, and not in the future below, which would have room for the request and move it.
        let response = sender.try_send_request(request);
        async move {
            let mut response = pin!(response);
            let answered = poll_fn(|cx| {
                driver.poll(&mut Context::from_waker(wakeup.of(cx)));
                let polled = poll_quietly(response.as_mut());
                if polled.is_pending() && matches!(driver, Driver::Done(_)) {
                    // It closed before it took the request; dropping it hands the request back.
                    *driver = Driver::Ended;
                    return poll_quietly(response.as_mut());
                }
                polled
            });
            let answered = answered.await;
            exchange.answered();
            match answered {
                Ok(response) => Ok(response.map(HyperIncoming)),
                Err(mut failed) => {
                    let written = || exchange.fields().map(Box::new).map(Left::Fields);
                    let unsent = failed.take_message().map(Box::new).map(Left::Request);
                    Err(SendError {
                        left: unsent.or_else(written).unwrap_or(Left::Nothing),
                        error: exchange.error(failed.into_error()),
                    })
                }
            }
        }
    }

    fn drive(&mut self, cx: &mut Context<'_>) -> bool {
        let is_driven = self.is_driven();
        if is_driven {
            self.driver
                .poll(&mut Context::from_waker(self.wakeup.of(cx)));
        }
        is_driven
    }

    fn quietly<T>(&self, work: impl FnOnce() -> T) -> T {
        self.wakeup.quietly(work)
    }

    fn is_driven(&self) -> bool {
        matches!(self.driver, Driver::Held(_))
    }

    fn is_usable(&mut self) -> bool {
        self.driver
            .poll(&mut Context::from_waker(self.wakeup.of_nobody()));
        self.is_driven() && self.sender.is_ready()
    }

    fn is_undisturbed(&self) -> bool {
        !self.wakeup.was_woken() && self.is_driven() && self.sender.is_ready()
    }

    fn detach(&mut self) {
        if let Driver::Held(connection) = std::mem::replace(&mut self.driver, Driver::Ended) {
            let task = tokio::task::spawn_local(async move {
                if let Err(error) = connection.await {
                    tracing::debug!(%error, "an upstream connection ended");
                }
            });
            self.driver = Driver::Task {
                _owned: Task(task.abort_handle()),
            };
        }
    }

    fn into_waiting(mut self) -> Option<S> {
        if !self.is_usable() {
            return None;
        }
        let Driver::Held(connection) = self.driver else {
            return None;
        };
        let parts = connection.into_parts();
        let is_clean = parts.read_buf.is_empty();
        is_clean.then(|| parts.io.into_inner().into_inner())
    }

    async fn into_raw(self) -> Option<(S, Bytes)> {
        let mut driver = self.driver;
        poll_fn(|cx| {
            driver.poll(cx);
            match driver {
                Driver::Held(_) => Poll::Pending,
                Driver::Done(_) | Driver::Task { .. } | Driver::Ended => Poll::Ready(()),
            }
        })
        .await;
        let Driver::Done(connection) = std::mem::replace(&mut driver, Driver::Ended) else {
            return None;
        };
        let parts = connection.into_parts();
        Some((parts.io.into_inner().into_inner(), parts.read_buf))
    }
}

/// Polls what only a driver brings on that is driven by the same task: a wake-up of its own would be one for nothing. It
/// must not wait for tokio's budget then, which would wake it.
fn poll_quietly<F: Future>(mut future: Pin<&mut F>) -> Poll<F::Output> {
    let cx = &mut Context::from_waker(Waker::noop());
    if has_budget_remaining() {
        return future.as_mut().poll(cx);
    }
    pin!(unconstrained(future)).poll(cx)
}

// === impl Exchange ===

impl Exchange {
    /// Why it failed.
    fn error(&self, error: hyper::Error) -> CodecError {
        if self.is_too_much() {
            return CodecError {
                kind: Kind::TooLarge,
                source: "interim heads (1xx) without end, and no answer".into(),
            };
        }
        error.into()
    }
}

// === impl Driver ===

impl<S: Stream, B: Outgoing> Driver<S, B> {
    fn poll(&mut self, cx: &mut Context<'_>) {
        if let Self::Held(connection) = self
            && let Poll::Ready(ended) = connection.poll_without_shutdown(cx)
            && let Self::Held(connection) = std::mem::replace(self, Self::Ended)
            && ended.is_ok()
        {
            *self = Self::Done(connection);
        }
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}
