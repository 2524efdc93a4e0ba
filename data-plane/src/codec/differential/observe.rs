//! Drives a codec over a script, without a runtime, and writes down what the proxy would see of it.

use std::cell::RefCell;
use std::convert::Infallible;
use std::fmt::Write as _;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use bytes::Bytes;
use futures::stream;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use http_body::{Body, Frame};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};

use super::corpus::Asked;
use super::script::Script;
use crate::codec::{Client, Codec, CodecError, HeadLimits, Left, Server};

const LIMITS: HeadLimits = HeadLimits {
    bytes_max: 8192,
    fields_max: 20,
};
/// Polls of one thing. More: it wakes itself without end.
const POLLS_MAX: usize = 10_000;
/// Of a request that has one.
const BODY: &[u8] = b"hello";

type Sent = UnsyncBoxBody<Bytes, Infallible>;

/// Lines, one for each thing that was seen.
#[derive(Clone, Default)]
struct Events(Rc<RefCell<String>>);

struct Woken(AtomicBool);

/// What a client's bytes are to the proxy, and what the codec writes back.
pub(super) fn server<C: Codec>(script: Script) -> String {
    let events = Events::default();
    let written = script.written();
    let handler = {
        let events = events.clone();
        move |request: Request<C::Incoming>| answer(events.clone(), request)
    };
    let mut server = C::serve(script, LIMITS, handler);
    match settle(|cx| server.poll(cx)) {
        None => events.note("waits for the client"),
        Some(Ok(())) => {
            let (script, read) = server.into_parts();
            let rest = [&read[..], &script.unread()].concat();
            events.note(&format!("ended, left {}", shown(&rest)));
        }
        Some(Err(error)) => events.note(&format!("failed: {}", kind(&error))),
    }
    events.wrote(&written.borrow());
    events.take()
}

/// What an endpoint's bytes are to the proxy, and what the codec wrote to it.
pub(super) fn client<C: Codec>(asked: Asked, script: Script) -> String {
    let events = Events::default();
    let written = script.written();
    let heard: &[u8] = match asked {
        Asked::Get | Asked::Head | Asked::Upgrade => b"\r\n\r\n",
        Asked::Post => BODY,
        Asked::Unheard => b"",
    };
    let mut opening = pin!(C::connect::<Script, Sent>(script.after(heard), LIMITS));
    match settle(|cx| opening.as_mut().poll(cx)) {
        Some(Ok(client)) => exchange::<C>(client, asked, &events),
        Some(Err(error)) => events.note(&format!("not connected: {}", kind(&error))),
        None => events.note("does not connect"),
    }
    events.wrote(&written.borrow());
    events.take()
}

fn exchange<C: Codec>(mut client: C::Client<Script, Sent>, asked: Asked, events: &Events) {
    let sent = {
        let mut sending = pin!(client.send(request(asked)));
        settle(|cx| sending.as_mut().poll(cx))
    };
    let response = match sent {
        None => return events.note("waits for the endpoint"),
        Some(Err(failed)) => {
            let is_unsent = matches!(failed.left, Left::Request(_));
            let kind = kind(&failed.error);
            return events.note(&format!("no answer: {kind}, unsent: {is_unsent}"));
        }
        Some(Ok(response)) => response,
    };
    let (parts, mut incoming) = response.into_parts();
    events.note(&format!("answer {:?} {}", parts.version, parts.status));
    events.fields(&parts.headers);
    if parts.status == StatusCode::SWITCHING_PROTOCOLS {
        let mut switching = pin!(client.into_raw());
        match settle(|cx| switching.as_mut().poll(cx)).flatten() {
            Some((script, read)) => {
                let rest = [&read[..], &script.unread()].concat();
                events.note(&format!("switched, left {}", shown(&rest)));
            }
            None => events.note("not switched"),
        }
        return;
    }
    let mut data = Vec::new();
    let ended = settle(|cx| {
        loop {
            let mut polled = Pin::new(&mut incoming).poll_frame(cx);
            if polled.is_pending() && client.drive(cx) {
                polled = Pin::new(&mut incoming).poll_frame(cx);
            }
            match polled {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Some(Ok(frame))) => events.frame(&mut data, frame),
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Err(error)),
                Poll::Ready(None) => return Poll::Ready(Ok(())),
            }
        }
    });
    events.body(&data, ended);
    // Whatever else arrives must have arrived before it is asked.
    settle(|cx| {
        client.drive(cx);
        Poll::<()>::Pending
    });
    let is_undisturbed = client.is_undisturbed();
    let is_usable = client.is_usable();
    assert!(is_usable || !is_undisturbed, "a close was not seen");
    events.note(&format!("usable: {is_usable}"));
}

fn request(asked: Asked) -> Request<Sent> {
    let (method, upgrade, body) = match asked {
        Asked::Get | Asked::Unheard => ("GET", false, Full::default().boxed_unsync()),
        Asked::Head => ("HEAD", false, Full::default().boxed_unsync()),
        Asked::Post => ("POST", false, Full::from(BODY).boxed_unsync()),
        Asked::Upgrade => ("GET", true, Full::default().boxed_unsync()),
    };
    let mut request = Request::builder()
        .method(method)
        .uri("/a?b")
        .header("host", "a.example")
        .body(body)
        .expect("a request of ours is one");
    if upgrade {
        let headers = request.headers_mut();
        headers.insert("connection", HeaderValue::from_static("upgrade"));
        headers.insert("upgrade", HeaderValue::from_static("x"));
    }
    request
}

/// Reads a request to its end, then answers as its path says.
async fn answer<I>(events: Events, request: Request<I>) -> Result<Response<Sent>, Infallible>
where
    I: Body<Data = Bytes, Error = CodecError> + Unpin,
{
    let (parts, mut incoming) = request.into_parts();
    let (method, uri, version) = (&parts.method, &parts.uri, parts.version);
    events.note(&format!("request {method} {uri} {version:?}"));
    events.fields(&parts.headers);
    let mut data = Vec::new();
    let mut ended = Ok(());
    while let Some(frame) = incoming.frame().await {
        match frame {
            Ok(frame) => events.frame(&mut data, frame),
            Err(error) => {
                ended = Err(error);
                break;
            }
        }
    }
    events.body(&data, Some(ended));
    let mut response = Response::new(match uri.path() {
        "/stream" => StreamBody::new(stream::iter([
            Ok(Frame::data(Bytes::from_static(b"one"))),
            Ok(Frame::data(Bytes::from_static(b"two"))),
        ]))
        .boxed_unsync(),
        "/switch" => Full::default().boxed_unsync(),
        _ => Full::from("ok").boxed_unsync(),
    });
    if uri.path() == "/switch" {
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        let headers = response.headers_mut();
        headers.insert("connection", HeaderValue::from_static("upgrade"));
        headers.insert("upgrade", HeaderValue::from_static("x"));
    }
    Ok(response)
}

/// Polls until it is ready, or until nothing would wake it any more.
fn settle<T>(mut poll: impl FnMut(&mut Context<'_>) -> Poll<T>) -> Option<T> {
    let woken = Arc::new(Woken(AtomicBool::new(true)));
    let waker = Waker::from(woken.clone());
    for _ in 0..POLLS_MAX {
        if !woken.0.swap(false, Ordering::Relaxed) {
            return None;
        }
        if let Poll::Ready(ready) = poll(&mut Context::from_waker(&waker)) {
            return Some(ready);
        }
    }
    panic!("it wakes itself without end");
}

fn kind(error: &CodecError) -> String {
    format!("{:?}", error.kind)
}

fn shown(bytes: &[u8]) -> String {
    format!("\"{}\"", bytes.escape_ascii())
}

// === impl Woken ===

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

// === impl Events ===

impl Events {
    fn note(&self, line: &str) {
        writeln!(self.0.borrow_mut(), "{line}").expect("a String takes everything");
    }

    fn fields(&self, headers: &HeaderMap) {
        for (name, value) in headers {
            self.note(&format!("  {name}: {}", value.as_bytes().escape_ascii()));
        }
    }

    /// Data is put together: where it is cut is the network's matter.
    fn frame(&self, data: &mut Vec<u8>, frame: Frame<Bytes>) {
        match frame.into_data() {
            Ok(bytes) => data.extend_from_slice(&bytes),
            Err(frame) => {
                self.note("  trailers");
                self.fields(&frame.into_trailers().unwrap_or_default());
            }
        }
    }

    fn body(&self, data: &[u8], ended: Option<Result<(), CodecError>>) {
        let how = match ended {
            Some(Ok(())) => "whole".to_owned(),
            Some(Err(_)) => "broken".to_owned(),
            None => "unfinished".to_owned(),
        };
        self.note(&format!("  body {how} {}", shown(data)));
    }

    fn wrote(&self, bytes: &[u8]) {
        for line in bytes.split_inclusive(|&byte| byte == b'\n') {
            self.note(&format!("> {}", line.escape_ascii()));
        }
    }

    fn take(&self) -> String {
        self.0.take()
    }
}
