//! An API server whose every answer the test gives.

use std::convert::Infallible;
use std::io;

use bytes::Bytes;
use futures::StreamExt as _;
use http::{Request, Response};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::Frame;
use kube::client::Body;
use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot};

type AnswerBody = UnsyncBoxBody<Bytes, io::Error>;

/// A request that waits for its answer.
pub(crate) struct Call {
    pub(crate) path: String,
    query: String,
    answer: oneshot::Sender<Response<AnswerBody>>,
}

/// The sending end of a watch. The watch ends when it is dropped.
pub(crate) struct WatchStream {
    kind: &'static str,
    events: mpsc::Sender<Bytes>,
}

/// A client, and its requests in the order in which they are made.
pub(crate) fn client() -> (kube::Client, mpsc::Receiver<Call>) {
    let (sender, calls) = mpsc::channel(64);
    let service = tower::service_fn(move |request: Request<Body>| {
        let sender = sender.clone();
        async move {
            let (answer, answered) = oneshot::channel();
            let call = Call {
                path: request.uri().path().to_owned(),
                query: request.uri().query().unwrap_or_default().to_owned(),
                answer,
            };
            sender.send(call).await.map_err(io::Error::other)?;
            answered.await.map_err(io::Error::other)
        }
    });
    (kube::Client::new(service, "default"), calls)
}

/// A Service with one port.
pub(crate) fn service(name: &str, version: &str, port: i32) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {"name": name, "namespace": "shop", "resourceVersion": version},
        "spec": {"ports": [{"port": port}]},
    })
}

// === impl Call ===

impl Call {
    pub(crate) fn is_watch(&self) -> bool {
        self.parameter("watch") == Some("true")
    }

    pub(crate) fn parameter(&self, name: &str) -> Option<&str> {
        self.query
            .split('&')
            .find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))
    }

    pub(crate) fn list(self, items: &[Value], version: &str, token: &str) {
        assert!(!self.is_watch(), "{} {}", self.path, self.query);
        let kind = if self.path.ends_with("/services") {
            ("v1", "ServiceList")
        } else if self.path.ends_with("/endpointslices") {
            ("discovery.k8s.io/v1", "EndpointSliceList")
        } else if self.path.ends_with("/secrets") {
            ("v1", "SecretList")
        } else if self.path.ends_with("/ingressclasses") {
            ("networking.k8s.io/v1", "IngressClassList")
        } else {
            ("networking.k8s.io/v1", "IngressList")
        };
        let list = json!({
            "apiVersion": kind.0, "kind": kind.1,
            "metadata": {"resourceVersion": version, "continue": token},
            "items": items,
        });
        self.send(
            200,
            Full::from(list.to_string()).map_err(never).boxed_unsync(),
        );
    }

    /// Answers a request for one object.
    pub(crate) fn object(self, object: &Value) {
        let body = Full::from(object.to_string()).map_err(never);
        self.send(200, body.boxed_unsync());
    }

    pub(crate) fn refuse(self, code: u16) {
        self.refuse_with(code, "as the test wants");
    }

    pub(crate) fn refuse_with(self, code: u16, message: &str) {
        let status = status(code, message).to_string();
        self.send(code, Full::from(status).map_err(never).boxed_unsync());
    }

    pub(crate) fn watch(self) -> WatchStream {
        assert!(self.is_watch(), "{} {}", self.path, self.query);
        let kind = if self.path.ends_with("/services") {
            "Service"
        } else {
            "Other"
        };
        let (events, receiver) = mpsc::channel(64);
        let frames = futures::stream::unfold(receiver, |mut receiver| async move {
            Some((receiver.recv().await?, receiver))
        });
        let body = StreamBody::new(frames.map(|bytes| Ok::<_, io::Error>(Frame::data(bytes))));
        self.send(200, body.boxed_unsync());
        WatchStream { kind, events }
    }

    fn send(self, code: u16, body: AnswerBody) {
        let mut response = Response::new(body);
        *response.status_mut() = code.try_into().unwrap();
        // The client may have given up.
        let _ = self.answer.send(response);
    }
}

fn never(error: Infallible) -> io::Error {
    match error {}
}

fn status(code: u16, message: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Status", "status": "Failure", "code": code, "reason": "Test", "message": message})
}

// === impl WatchStream ===

impl WatchStream {
    pub(crate) async fn event(&self, event_type: &str, object: Value) {
        let line = json!({"type": event_type, "object": object}).to_string() + "\n";
        self.events.send(line.into()).await.unwrap();
    }

    pub(crate) async fn bookmark(&self, version: &str) {
        let metadata = json!({"resourceVersion": version});
        let object = json!({"apiVersion": "v1", "kind": self.kind, "metadata": metadata});
        self.event("BOOKMARK", object).await;
    }

    pub(crate) async fn error(&self, code: u16) {
        self.event("ERROR", status(code, "as the test wants")).await;
    }
}
