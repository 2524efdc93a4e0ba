//! One stream of a client: its request is served, and the answer sent as the client makes room for it.
//!
//! No more is given to the connection than there is room for in the stream's window and in its share of memory, so that all
//! of it leaves as soon as the network takes it. A client that makes no room for [`stall_max`] loses the stream.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, RecvStream, SendStream};
use http::header::DATE;
use http::{Request, Response};
use http_body::{Body, Frame};
use tokio::time::Instant;

use super::super::Session;
use crate::alarm::Alarm;
use crate::body::{Received, ResponseBody};
use crate::codec::Incoming;
use crate::net::Net;
use crate::proxy;

/// A request of a client, and where its answer goes.
pub(super) struct Stream {
    pub(super) request: Request<RecvStream>,
    pub(super) respond: SendResponse<Bytes>,
}

/// The body of an answer on its way.
struct Sending<N: Net> {
    stream: SendStream<Bytes>,
    body: ResponseBody<N::Stream>,
    /// What the body has given and the client has made no room for yet.
    data: Bytes,
    /// `data` is the end of it.
    is_last: bool,
    stall_max: Duration,
    /// Since when there is no room.
    stalled_at: Option<Instant>,
    alarm: Alarm,
}

/// How long one stream may stall. A little more than its connection, so that a client that takes nothing at all is found to be that
/// first, and loses the connection.
fn stall_max(pause_max: Duration) -> Duration {
    pause_max + pause_max / 4
}

// === impl Stream ===

impl Stream {
    /// Serves it to its end. The client may reset it at any time: what is done for it then ends. After `dates_until` the
    /// connection's table gets no further `Date`.
    pub(super) async fn serve<N: Net>(
        self: Box<Self>,
        session: &Rc<Session<N>>,
        dates_until: Instant,
    ) {
        let Self {
            request,
            mut respond,
        } = *self;
        let (head, stream) = request.into_parts();
        let body = Received::of_request(stream, &head.headers);
        let request = Request::from_parts(head, Incoming::Http2(body));
        let mut response = None;
        {
            let mut answering = pin!(proxy::serve(session.clone(), request));
            poll_fn(|cx| match answering.as_mut().poll(cx) {
                Poll::Ready(Ok(answer)) => {
                    response = Some(answer);
                    Poll::Ready(())
                }
                Poll::Pending => respond.poll_reset(cx).map(|_| ()),
            })
            .await;
        }
        let Some(response) = response else { return };
        let (mut head, body) = response.into_parts();
        if session.pulse.now() > dates_until
            && let Some(date) = head.headers.get_mut(DATE)
        {
            date.set_sensitive(true);
        }
        let is_last = body.is_end_stream();
        match respond.send_response(Response::from_parts(head, ()), is_last) {
            Ok(_) if is_last => {}
            Ok(stream) => {
                let mut sending = Sending::<N> {
                    stream,
                    body,
                    data: Bytes::new(),
                    is_last: false,
                    stall_max: stall_max(session.context.shared.config.timeouts.response_body),
                    stalled_at: None,
                    alarm: Alarm::default(),
                };
                poll_fn(|cx| sending.poll(cx)).await;
            }
            Err(error) => {
                tracing::debug!(client = %session.client.ip, %error, "an answer was not sent");
                respond.send_reset(Reason::INTERNAL_ERROR);
            }
        }
    }
}

// === impl Sending ===

impl<N: Net> Sending<N> {
    /// Ready when nothing more is to be sent.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            if !self.data.is_empty() {
                let Some(room) = ready!(self.poll_room(cx)) else {
                    return Poll::Ready(());
                };
                let data = self.data.split_to(room.min(self.data.len()));
                let is_end = self.is_last && self.data.is_empty();
                let sent = self.stream.send_data(data, is_end);
                if is_end || sent.is_err() {
                    self.ended(sent);
                    return Poll::Ready(());
                }
                continue;
            }
            match Pin::new(&mut self.body).poll_frame(cx) {
                Poll::Ready(Some(Ok(frame))) => {
                    if !self.takes(frame) {
                        return Poll::Ready(());
                    }
                }
                Poll::Ready(Some(Err(_))) => {
                    self.stream.send_reset(Reason::INTERNAL_ERROR);
                    return Poll::Ready(());
                }
                Poll::Ready(None) => {
                    let sent = self.stream.send_data(Bytes::new(), true);
                    self.ended(sent);
                    return Poll::Ready(());
                }
                Poll::Pending => return self.stream.poll_reset(cx).map(|_| ()),
            }
        }
    }

    /// Whether there may be more after this frame, or data that is to be sent.
    fn takes(&mut self, frame: Frame<Bytes>) -> bool {
        match frame.into_data() {
            Ok(data) => {
                self.is_last = self.body.is_end_stream();
                self.data = data;
                let is_end = self.is_last && self.data.is_empty();
                if is_end {
                    let sent = self.stream.send_data(Bytes::new(), true);
                    self.ended(sent);
                }
                !is_end
            }
            Err(frame) => {
                if let Ok(trailers) = frame.into_trailers() {
                    let sent = self.stream.send_trailers(trailers);
                    self.ended(sent);
                }
                false
            }
        }
    }

    /// What became of the last frame. On a stream that is still open it was refused: then the client must not wait for an end.
    fn ended(&mut self, sent: Result<(), h2::Error>) {
        let Err(error) = sent else { return };
        let mut cx = Context::from_waker(Waker::noop());
        if self.stream.poll_reset(&mut cx).is_ready() {
            self.body.not_delivered();
            return;
        }
        tracing::debug!(%error, "the end of an answer cannot be sent");
        self.body.failed_to_send();
        self.stream.send_reset(Reason::INTERNAL_ERROR);
    }

    /// How much may be sent now; nothing when the stream has ended.
    fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<Option<usize>> {
        self.stream.reserve_capacity(self.data.len());
        loop {
            let room = self.stream.capacity();
            if room > 0 {
                self.stalled_at = None;
                return Poll::Ready(Some(room));
            }
            match self.stream.poll_capacity(cx) {
                Poll::Ready(Some(Ok(_))) => {}
                Poll::Ready(Some(Err(_)) | None) => return Poll::Ready(None),
                Poll::Pending => break,
            }
        }
        let stalled_at = *self.stalled_at.get_or_insert_with(Instant::now);
        ready!(self.alarm.poll(stalled_at + self.stall_max, cx));
        self.body.stalled();
        self.stream.send_reset(Reason::CANCEL);
        Poll::Ready(None)
    }
}
