//! One request and its response on a shared connection.
//!
//! The request's body is sent by the task of the request itself. When the response begins before the body has ended,
//! neither waits for the other: the rest of the body gets a task of its own.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};

use bytes::Bytes;
use h2::client::ResponseFuture;
use h2::{Reason, SendStream};
use http::{Request, Response};
use http_body::Body;
use tokio::task::AbortHandle;

use super::super::{Left, SendError, UpstreamError};
use super::interim::INTERIM_MAX;
use super::{Http2, REQUEST_HEAD_BYTES_MAX, RESPONSE_HEAD_BYTES_MAX};
use crate::body::{Received, RequestBody};
use crate::head::size;

/// The body of a request on its way.
struct Upload {
    body: RequestBody,
    stream: SendStream<Bytes>,
    /// Trailers that the endpoint takes, which are bounded like heads.
    trailers_bytes_max: usize,
    is_touched: bool,
}

/// A body that is sent by a task of its own, which ends with its owner.
pub(super) struct Uploading(AbortHandle);

/// A response on its way.
struct Awaited {
    response: ResponseFuture,
    polls: u32,
    interim: u32,
}

/// Why a body is not sent any further.
enum Ended {
    /// Its end was sent, or the endpoint wants no more: the response tells.
    Sent,
    /// It failed.
    Failed,
}

// === impl Http2 ===

impl Http2 {
    /// Sends a request and waits for the head of its response.
    pub(in super::super) async fn send(
        &mut self,
        request: Request<RequestBody>,
    ) -> Result<Response<Received>, SendError> {
        let (head, body) = request.into_parts();
        let has_body = !body.is_end_stream();
        let heads_bytes_max = self.link.load.heads_bytes_max.get();
        if heads_bytes_max < REQUEST_HEAD_BYTES_MAX
            && size::listed_request(&head.method, &head.uri, &head.headers) > heads_bytes_max
        {
            let error = UpstreamError::RequestHeadTooLarge;
            let left = Left::Body(body);
            return Err(SendError { error, left });
        }
        let sender = self.sender.as_mut();
        let sender = sender.expect("only the end of a share takes it");
        let sent = sender.send_request(Request::from_parts(head, ()), !has_body);
        let (response, stream) = match sent {
            Ok(sent) => sent,
            // It was not even begun: something in the head, or a GOAWAY.
            Err(error) => {
                let (error, left) = (error.into(), Left::Body(body));
                return Err(SendError { error, left });
            }
        };
        let mut upload = Some(Upload {
            body,
            stream,
            trailers_bytes_max: heads_bytes_max,
            is_touched: false,
        });
        let mut is_sending = has_body;
        let mut awaited = Awaited::new(response);
        let answered = poll_fn(|cx| {
            if is_sending && let Some(upload) = &mut upload {
                match upload.poll(cx) {
                    Poll::Ready(Ended::Sent) => is_sending = false,
                    Poll::Ready(Ended::Failed) => {
                        upload.stream.send_reset(Reason::CANCEL);
                        return Poll::Ready(Err(h2::Error::from(Reason::CANCEL).into()));
                    }
                    Poll::Pending => {}
                }
            }
            awaited.poll(cx)
        })
        .await;
        match answered {
            Ok(response) => {
                if is_sending && let Some(upload) = upload {
                    self.uploading = Some(upload.goes_on());
                }
                response_of(response)
            }
            Err(error) => {
                if let (UpstreamError::Interim, Some(upload)) = (&error, &mut upload) {
                    upload.stream.send_reset(Reason::ENHANCE_YOUR_CALM);
                }
                let body = upload
                    .filter(|upload| !upload.is_touched && is_unprocessed(&error))
                    .map(|upload| upload.body);
                let left = body.map_or(Left::Nothing, Left::Body);
                Err(SendError { error, left })
            }
        }
    }
}

fn response_of(response: Response<h2::RecvStream>) -> Result<Response<Received>, SendError> {
    let (head, stream) = response.into_parts();
    if size::of_fields(&head.headers) > RESPONSE_HEAD_BYTES_MAX {
        let error = UpstreamError::ResponseHeadTooLarge;
        let left = Left::Nothing;
        return Err(SendError { error, left });
    }
    let body = Received::of_response(stream, &head.headers);
    Ok(Response::from_parts(head, body))
}

/// Whether the endpoint said so (RFC 9113 §8.7). The error of a GOAWAY comes only to the requests that it does not cover,
/// and those that it covers get another one when the connection ends.
fn is_unprocessed(error: &UpstreamError) -> bool {
    let UpstreamError::Http2(error) = error else {
        return false;
    };
    let is_refused = error.is_reset() && error.reason() == Some(Reason::REFUSED_STREAM);
    error.is_remote() && (is_refused || error.is_go_away())
}

// === impl Awaited ===

impl Awaited {
    fn new(response: ResponseFuture) -> Self {
        let (polls, interim) = (0, 0);
        Self {
            response,
            polls,
            interim,
        }
    }

    /// The response, unless too many interim heads come before it. Those are looked for only when a wake-up has brought no
    /// response: what that one brought goes uncounted, and an ordinary request has no such wake-up.
    fn poll(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Response<h2::RecvStream>, UpstreamError>> {
        self.polls = self.polls.saturating_add(1);
        while self.polls > 2
            && let Poll::Ready(Some(Ok(_))) = self.response.poll_informational(cx)
        {
            self.interim += 1;
            if self.interim > INTERIM_MAX {
                return Poll::Ready(Err(UpstreamError::Interim));
            }
        }
        let polled = Pin::new(&mut self.response).poll(cx);
        polled.map_err(UpstreamError::Http2)
    }
}

// === impl Upload ===

impl Upload {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Ended> {
        loop {
            // Nothing is taken from the client before the endpoint has room for it.
            self.stream.reserve_capacity(1);
            while self.stream.capacity() == 0 {
                match ready!(self.stream.poll_capacity(cx)) {
                    Some(Ok(_)) => {}
                    Some(Err(_)) | None => return Poll::Ready(Ended::Sent),
                }
            }
            let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
            self.is_touched = true;
            let sent = match frame {
                None => {
                    let sent = self.stream.send_data(Bytes::new(), true);
                    return Poll::Ready(self.ended(sent));
                }
                Some(Err(_)) => return Poll::Ready(Ended::Failed),
                Some(Ok(frame)) => self.pass(frame),
            };
            if sent.is_ready() {
                return sent;
            }
        }
    }

    /// Ready when that was the last one.
    fn pass(&mut self, frame: http_body::Frame<Bytes>) -> Poll<Ended> {
        let frame = match frame.into_data() {
            Ok(data) => {
                let is_last = self.body.is_end_stream();
                let sent = self.stream.send_data(data, is_last);
                if sent.is_err() || is_last {
                    return Poll::Ready(self.ended(sent));
                }
                return Poll::Pending;
            }
            Err(frame) => frame,
        };
        let Ok(trailers) = frame.into_trailers() else {
            return Poll::Ready(Ended::Sent);
        };
        // Capacity that is kept would be missing to others.
        self.stream.reserve_capacity(0);
        let sent = if size::listed_fields(&trailers) > self.trailers_bytes_max {
            Err(Reason::ENHANCE_YOUR_CALM.into())
        } else {
            self.stream.send_trailers(trailers)
        };
        Poll::Ready(self.ended(sent))
    }

    /// What became of the last frame. On a stream that is still open it was refused, and would stay open without an end.
    fn ended(&mut self, sent: Result<(), h2::Error>) -> Ended {
        let Err(error) = sent else { return Ended::Sent };
        let mut cx = Context::from_waker(Waker::noop());
        if self.stream.poll_reset(&mut cx).is_ready() {
            return Ended::Sent;
        }
        tracing::debug!(%error, "the end of a request cannot be sent");
        self.body.failed_to_send();
        Ended::Failed
    }

    fn goes_on(mut self) -> Uploading {
        let task = tokio::task::spawn_local(async move {
            if let Ended::Failed = poll_fn(|cx| self.poll(cx)).await {
                self.stream.send_reset(Reason::CANCEL);
            }
        });
        Uploading(task.abort_handle())
    }
}

impl Drop for Uploading {
    fn drop(&mut self) {
        self.0.abort();
    }
}
