//! Watchers over real sockets see every change once: their histories are compared with the store's.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use http_body_util::{BodyExt as _, Empty, Full};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use serde_json::json;
use tiergate_data_plane::net::{Net as _, TokioNet};
use tokio::sync::oneshot;
use tokio::task::JoinSet;

use super::*;

const LIMIT: Duration = Duration::from_secs(120);
const OBJECTS: usize = 200;
const WRITERS: usize = 4;
const CHANGES_PER_WRITER: usize = 500;
const WATCHERS: usize = 20;
/// The name of the object that ends the test.
const LAST: &str = "the-last";
const LIST: &str = "/api/v1/namespaces/default/configmaps";

/// Type, name and version of an event.
type Event = (String, String, u64);

/// What a watcher wants, and where it begins.
struct Watcher {
    address: SocketAddr,
    /// Only objects with the label `colour=red`.
    is_selective: bool,
    /// Events after which it breaks the connection and goes on from its last version; 0 for never.
    reconnects_after: usize,
    /// Where to begin; 0 means with what exists.
    from: u64,
}

/// What a watcher has seen.
#[derive(Debug, Default)]
struct Seen {
    /// Where its history begins.
    start: u64,
    /// What existed then, with versions.
    existing: BTreeMap<String, u64>,
    events: Vec<Event>,
    connections: usize,
    is_over: bool,
}

fn version_of(object: &Value) -> u64 {
    let text = object["metadata"]["resourceVersion"].as_str();
    text.and_then(|text| text.parse().ok()).unwrap_or(0)
}

fn request(method: &str, path: &str) -> http::request::Builder {
    Request::builder()
        .method(method)
        .uri(path)
        .header("host", "localhost")
        .header(AUTHORIZATION, format!("Bearer {TOKEN}"))
}

async fn connection<B>(address: SocketAddr) -> SendRequest<B>
where
    B: hyper::body::Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let stream = TokioNet.connect(address, None).await.unwrap();
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    sender
}

// === impl Watcher ===

impl Watcher {
    /// Reads until it has seen the last object, whatever that takes.
    async fn run(self) -> (bool, Seen) {
        let mut seen = Seen {
            start: self.from,
            ..Seen::default()
        };
        let mut version = self.from;
        while !seen.is_over {
            version = self.read(version, &mut seen).await;
        }
        (self.is_selective, seen)
    }

    /// One connection; gives the version to go on from.
    async fn read(&self, from: u64, seen: &mut Seen) -> u64 {
        seen.connections += 1;
        let labels = if self.is_selective {
            "&labelSelector=colour%3Dred"
        } else {
            ""
        };
        let path =
            format!("{LIST}?watch=1&allowWatchBookmarks=true&resourceVersion={from}{labels}");
        let mut sender = connection::<Empty<Bytes>>(self.address).await;
        let request = request("GET", &path).body(Empty::new()).unwrap();
        let mut body = sender.send_request(request).await.unwrap().into_body();
        let (mut version, mut here, mut rest) = (from, 0, Vec::new());
        while let Some(frame) = body.frame().await {
            let Ok(data) = frame.unwrap().into_data() else {
                continue;
            };
            rest.extend_from_slice(&data);
            while let Some(end) = rest.iter().position(|&byte| byte == b'\n') {
                let line: Vec<u8> = rest.drain(..=end).collect();
                let event: Value = serde_json::from_slice(&line).unwrap();
                let kind = event["type"].as_str().unwrap().to_owned();
                let object = &event["object"];
                assert_ne!(kind, "ERROR", "{event}");
                if kind == "BOOKMARK" {
                    let annotation =
                        &object["metadata"]["annotations"]["k8s.io/initial-events-end"];
                    assert_eq!(annotation, "true");
                    version = version_of(object);
                    seen.start = version;
                    continue;
                }
                let name = object["metadata"]["name"].as_str().unwrap().to_owned();
                if version == 0 {
                    // What exists comes by name, so none of its versions can be gone on from.
                    assert_eq!(kind, "ADDED");
                    seen.existing.insert(name, version_of(object));
                    continue;
                }
                version = version_of(object);
                seen.is_over = name == LAST;
                seen.events.push((kind, name, version));
                here += 1;
                if seen.is_over || here == self.reconnects_after {
                    return version;
                }
            }
        }
        version
    }
}

/// Creates, changes, repaints and deletes objects of its own.
async fn write(address: SocketAddr, writer: usize) {
    let mut sender = connection::<Full<Bytes>>(address).await;
    let mut exists: BTreeMap<usize, bool> = BTreeMap::new();
    for step in 0..CHANGES_PER_WRITER {
        let object = (step * 7 + writer) % 20;
        let name = format!("w{writer}-{object}");
        let colour = if step % 3 == 0 { "red" } else { "blue" };
        let body = json!({
            "metadata": {"name": name, "labels": {"colour": colour}}, "data": {"step": step.to_string()},
        });
        let is_there = exists.entry(object).or_default();
        let (method, path, body) = match (*is_there, step % 5) {
            (false, _) => ("POST", LIST.to_owned(), body.to_string()),
            (true, 0) => ("DELETE", format!("{LIST}/{name}"), String::new()),
            (true, _) => ("PUT", format!("{LIST}/{name}"), body.to_string()),
        };
        *is_there = method != "DELETE";
        let request = request(method, &path)
            .header(CONTENT_TYPE, "application/json")
            .body(Full::new(Bytes::from(body)))
            .unwrap();
        sender.ready().await.unwrap();
        let answer = sender.send_request(request).await.unwrap();
        assert!(
            answer.status().is_success(),
            "{method} {path}: {}",
            answer.status()
        );
        answer.into_body().collect().await.unwrap();
    }
}

/// What the store's own history means for a watcher that began at a version.
fn expected(server: &Server, from: u64, is_selective: bool) -> (BTreeMap<String, u64>, Vec<Event>) {
    let state = server.shared.state();
    let collection = state.store.collection("configmaps").unwrap();
    let is_meant =
        |object: &Value| !is_selective || object["metadata"]["labels"]["colour"] == "red";
    let name_of = |key: &str| key.split('/').next_back().unwrap().to_owned();
    let existing = collection.at(from, "").unwrap();
    let existing = existing.iter().filter(|(_, one)| is_meant(&one.value));
    let existing = existing
        .map(|(key, one)| (name_of(key), one.version))
        .collect();
    let mut events = Vec::new();
    for change in collection.since(from).unwrap() {
        let before = change
            .previous
            .as_ref()
            .is_some_and(|one| is_meant(&one.value));
        let after = !change.is_deletion && is_meant(&change.object.value);
        let kind = match (before, after) {
            (false, false) => continue,
            (false, true) => "ADDED",
            (true, true) => "MODIFIED",
            (true, false) => "DELETED",
        };
        events.push((kind.to_owned(), name_of(&change.key), change.version));
    }
    (existing, events)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_watcher_loses_or_doubles_a_change() {
    let server = Server::new(Options::new(TOKEN, 3));
    for number in 0..OBJECTS {
        let object =
            json!({"metadata": {"name": format!("old-{number}"), "labels": {"colour": "red"}}});
        post(&server, LIST, object).await.ok();
    }
    let start = version_of(&get(&server, LIST).await.ok());
    let any_port = "127.0.0.1:0".parse().unwrap();
    let bound = server.bind(&TokioNet, any_port, None).await.unwrap();
    let address = bound.address().unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    let serving = tokio::spawn(bound.run(async { _ = stopped.await }));

    let mut watchers = JoinSet::new();
    for number in 0..WATCHERS {
        let watcher = Watcher {
            address,
            is_selective: number % 4 == 3,
            reconnects_after: [0, 37, 101][number % 3],
            from: [start, 0][number % 2],
        };
        watchers.spawn(watcher.run());
    }
    let mut writers = JoinSet::new();
    for writer in 0..WRITERS {
        writers.spawn(write(address, writer));
    }
    let all = async {
        while let Some(done) = writers.join_next().await {
            done.unwrap();
        }
        let last = json!({"metadata": {"name": LAST, "labels": {"colour": "red"}}});
        post(&server, LIST, last).await.ok();
        let mut connections = 0;
        while let Some(done) = watchers.join_next().await {
            let (is_selective, seen) = done.unwrap();
            let (existing, events) = expected(&server, seen.start, is_selective);
            assert_eq!(seen.events, events);
            assert!(seen.existing.is_empty() || seen.existing == existing);
            connections += seen.connections;
        }
        connections
    };
    let connections = tokio::time::timeout(LIMIT, all)
        .await
        .expect("everybody ends");
    assert!(
        connections > 5 * WATCHERS,
        "{connections} connections: some were to be broken"
    );
    drop(stop);
    serving.await.unwrap();
}
