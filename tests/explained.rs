//! `explain` and the request path choose the same: random objects and requests, asked of both.
//!
//! The table of each set of objects is published to a worker on loopback, whose endpoints answer with their own address. What a
//! request gets there is what `explain` says of it (that a tier's own table, made step by step, is the same one is held by
//! `control-plane/src/translate/increment/tests.rs`): the endpoint that answers, or the status and the reason of the tier's own answer.

#![expect(
    clippy::disallowed_methods,
    reason = "clients and endpoints open sockets themselves"
)]

use std::net::SocketAddr;
use std::sync::Arc;

use prometheus_client::registry::Registry;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};
use tiergate_control_plane::explain::{Documents, explain, table};
use tiergate_control_plane::scope::{ObjectName, Scope};
use tiergate_data_plane::access_log::{Level, Switch};
use tiergate_data_plane::config::Config;
use tiergate_data_plane::drain;
use tiergate_data_plane::metrics::Metrics;
use tiergate_data_plane::net::TokioNet;
use tiergate_data_plane::snapshot::SnapshotCell;
use tiergate_data_plane::worker::Worker;
use tiergate_tests::tls;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{LocalSet, spawn_local};

const SETS: u64 = 200;
const REQUESTS: usize = 50;

const TENANTS: [&str; 2] = ["alpha", "beta"];
const SERVICES: [&str; 3] = ["one", "two", "three"];
/// Of rules.
const HOSTS: [&str; 7] = [
    "",
    "a.example",
    "b.a.example",
    "*.a.example",
    "*.example",
    "example",
    "Bad Host",
];
const PATHS: [&str; 15] = [
    "/",
    "/a",
    "/a/",
    "/a/b",
    "/A",
    "/a%20b",
    "/a.b",
    "",
    "relative",
    "/a(/|$)(.*)",
    "/a/(.)(.*)",
    "/(a|b)/?(.*)",
    "/A(.+)|/b",
    "/(.*)",
    "/(a",
];
const PATH_TYPES: [&str; 3] = ["Exact", "Prefix", "ImplementationSpecific"];
const ANNOTATIONS: [(&str, &str); 9] = [
    ("proxy-body-size", "1m"),
    ("proxy-read-timeout", "soon"),
    ("auth-url", "http://login.example/"),
    ("rewrite-target", "/"),
    ("rewrite-target", "/x/$2?y=$1"),
    ("rewrite-target", "/.$1$2./"),
    ("use-regex", "true"),
    ("ssl-redirect", "false"),
    ("force-ssl-redirect", "true"),
];
/// Of requests.
const ASKED_HOSTS: [&str; 11] = [
    "a.example",
    "A.Example",
    "a.example.",
    "a.example:8080",
    "b.a.example",
    "c.a.example",
    "d.c.a.example",
    "b.example",
    "example",
    "nobody.test",
    "192.0.2.7",
];
const ASKED_PATHS: [&str; 16] = [
    "/", "/a", "/a/", "/a/b", "/a/b/", "/a/b/c", "/ab", "/A", "/%61", "/a%2Fb", "/a%20b", "/a.b",
    "//a", "/a//b", "/a/../b", "/a?b=/c",
];

/// What became of a request.
#[derive(Debug, PartialEq, Eq)]
enum Fate {
    /// The endpoint at this address answered, and was asked for this.
    Served(String),
    /// The tier answered: status and reason.
    Answered(String),
    /// The tier sent it to another URL.
    Sent(String),
}

fn one_of<T: Copy>(rng: &mut SmallRng, all: &[T]) -> T {
    all[rng.random_range(0..all.len())]
}

/// Ingresses of both tenants, and Services of which some have no endpoint, or are not there.
fn objects(rng: &mut SmallRng, endpoints: &[SocketAddr]) -> Vec<Value> {
    let mut objects = Vec::new();
    for number in 0..rng.random_range(1..8) {
        objects.push(ingress(rng, number));
    }
    let mut endpoints = endpoints.iter();
    for tenant in TENANTS {
        for service in SERVICES {
            let endpoint = endpoints.next().expect("one for each Service");
            if rng.random_bool(0.15) {
                continue;
            }
            let metadata = json!({"namespace": tenant, "name": service});
            objects.push(
                json!({"apiVersion": "v1", "kind": "Service", "metadata": metadata,
                "spec": {"ports": [{"name": "web", "port": 80, "targetPort": 8080}]}}),
            );
            objects.push(json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
                "metadata": {"namespace": tenant, "name": service, "labels": {"kubernetes.io/service-name": service}},
                "addressType": "IPv4", "ports": [{"name": "web", "port": endpoint.port()}],
                "endpoints": [{"addresses": [endpoint.ip().to_string()], "conditions": {"ready": rng.random_bool(0.85)}}]}));
        }
    }
    objects
}

fn ingress(rng: &mut SmallRng, number: u32) -> Value {
    let backend = |rng: &mut SmallRng| json!({"service": {"name": one_of(rng, &SERVICES), "port": {"number": 80}}});
    let rules: Vec<Value> = (0..rng.random_range(0..4))
        .map(|_| {
            let paths: Vec<Value> = (0..rng.random_range(1..4))
                .map(|_| json!({"path": one_of(rng, &PATHS), "pathType": one_of(rng, &PATH_TYPES), "backend": backend(rng)}))
                .collect();
            json!({"host": one_of(rng, &HOSTS), "http": {"paths": paths}})
        })
        .collect();
    let mut spec = json!({"ingressClassName": "ours", "rules": rules});
    if rng.random_bool(0.15) {
        spec["defaultBackend"] = backend(rng);
    }
    if rng.random_bool(0.3) {
        // Only one tenant has this Secret: the hosts of the other have the default certificate, in the sets that have one.
        let mut tls = json!({"secretName": "pair"});
        if rng.random_bool(0.8) {
            tls["hosts"] = json!([one_of(rng, &HOSTS), one_of(rng, &HOSTS)]);
        }
        spec["tls"] = json!([tls]);
    }
    let mut annotations = json!({});
    if rng.random_bool(0.5) {
        let (name, value) = one_of(rng, &ANNOTATIONS);
        annotations[format!("nginx.ingress.kubernetes.io/{name}")] = json!(value);
    }
    json!({"apiVersion": "networking.k8s.io/v1", "kind": "Ingress",
        "metadata": {"namespace": one_of(rng, &TENANTS), "name": format!("i{number}"), "annotations": annotations,
            "creationTimestamp": format!("2026-01-01T00:00:{:02}Z", rng.random_range(0..3))},
        "spec": spec})
}

/// An endpoint that answers every request with its own address and what it was asked for.
async fn endpoint() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    spawn_local(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            spawn_local(async move {
                while let Some(head) = head(&mut stream).await {
                    let target = head.split(' ').nth(1).expect("a target");
                    let text = format!("{address} {target}");
                    let answer = format!(
                        "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{text}",
                        text.len()
                    );
                    if stream.write_all(answer.as_bytes()).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    address
}

/// Reads up to the empty line. None: the other side has ended.
async fn head(stream: &mut TcpStream) -> Option<String> {
    let mut read = Vec::new();
    while !read.ends_with(b"\r\n\r\n") {
        read.push(stream.read_u8().await.ok()?);
    }
    Some(String::from_utf8_lossy(&read).into_owned())
}

/// What the worker does with a request.
async fn served(worker: SocketAddr, host: &str, path: &str) -> Fate {
    let mut stream = TcpStream::connect(worker)
        .await
        .expect("the worker listens");
    let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    stream
        .write_all(request.as_bytes())
        .await
        .expect("it reads");
    let mut answer = String::new();
    stream
        .read_to_string(&mut answer)
        .await
        .expect("it answers");
    let (head, body) = answer.split_once("\r\n\r\n").expect("an answer has a head");
    let location = head.lines().find_map(|line| {
        let (name, value) = line.split_once(": ")?;
        name.eq_ignore_ascii_case("location").then_some(value)
    });
    if let Some(location) = location {
        return Fate::Sent(location.to_owned());
    }
    let status = head.split(' ').nth(1).expect("an answer has a status");
    match body.lines().find_map(|line| line.strip_prefix("reason: ")) {
        Some(reason) => Fate::Answered(format!("{status} {reason}")),
        None => Fate::Served(body.to_owned()),
    }
}

/// What `explain` says of a request for a path.
fn explained(answer: &Value, path: &str) -> Fate {
    match answer["answer"].as_str() {
        Some(own) if own.starts_with("308 https_redirect: ") => {
            Fate::Sent(own["308 https_redirect: ".len()..].to_owned())
        }
        // Status and reason, and then in words.
        Some(own) => Fate::Answered(own.split(':').next().unwrap_or_default().to_owned()),
        None => {
            let endpoint = answer["endpoints"][0].as_str().unwrap_or_default();
            let target = answer["rewritten"].as_str().unwrap_or(path);
            Fate::Served(format!("{endpoint} {target}"))
        }
    }
}

/// Whether the rule that is named is one of the Ingress whose route the data plane has chosen.
fn names_its_rule(model: &Value, answer: &Value) -> bool {
    let Some(name) = answer["ingress"].as_str() else {
        return answer["rule"].is_null();
    };
    let (tenant, ingress) = name.split_once('/').unwrap_or_default();
    let mut routes = model["tenants"][tenant]["routes"]
        .as_array()
        .into_iter()
        .flatten();
    routes.any(|route| {
        let [path, host] = ["path", "host"].map(|field| route[field].as_str().unwrap_or_default());
        let rule = match path {
            "default" => format!("default backend of {host}"),
            path => format!("{path} of {host}"),
        };
        route["ingress"] == ingress && answer["rule"] == *rule
    })
}

/// The certificate of one tenant, which may be the tier's default as well.
fn secret(pair: &tls::Pair) -> Value {
    json!({"apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls",
        "metadata": {"namespace": TENANTS[0], "name": "pair"},
        "stringData": {"tls.crt": pair.certificate, "tls.key": pair.key}})
}

/// A worker: where it serves plain HTTP, what it serves, and what keeps it.
async fn worker() -> (SocketAddr, Arc<SnapshotCell>, drain::Handle) {
    let config = Config {
        http_addresses: vec!["127.0.0.1:0".parse().expect("an address")],
        https_addresses: vec!["127.0.0.1:0".parse().expect("an address")],
        ..Config::new("tiergate-namespace")
    };
    let metrics = Metrics::register(&mut Registry::default());
    let cell = Arc::new(SnapshotCell::new(metrics.clone()));
    let (drain, signal) = drain::channel();
    let (log, rng) = (Switch::new(Level::Off), SmallRng::seed_from_u64(1));
    let bound = Worker::bind(TokioNet, Arc::new(config), cell.clone(), metrics, log, rng).await;
    let worker = bound.expect("a free address");
    let address = worker.http_addresses()[0];
    spawn_local(worker.run(signal));
    (address, cell, drain)
}

async fn compare() {
    let mut endpoints = Vec::new();
    for _ in 0..TENANTS.len() * SERVICES.len() {
        endpoints.push(endpoint().await);
    }
    let (address, cell, _drain) = worker().await;
    let pair = tls::self_signed(&["a.example"]);
    let mut scope = Scope {
        classes: vec!["ours".to_owned()],
        ssl_redirect: true,
        ..Scope::default()
    };
    let (mut fates, mut closed, mut sent, mut matched, mut rewritten) = ([0; 2], 0, 0, 0, 0);
    for seed in 0..SETS {
        let mut rng = SmallRng::seed_from_u64(seed);
        let mut objects = objects(&mut rng, &endpoints);
        objects.push(secret(&pair));
        let default = ObjectName::new(TENANTS[0], "pair");
        scope.default_certificate = Some(default).filter(|_| rng.random_bool(0.5));
        let text: Vec<String> = objects.iter().map(Value::to_string).collect();
        let documents = Documents::parse(&text.join("\n---\n"), "default").expect("objects");
        cell.publish(table(&documents, &scope));
        let asked: Vec<(&str, &str)> = (0..REQUESTS)
            .map(|_| {
                (
                    one_of(&mut rng, &ASKED_HOSTS),
                    one_of(&mut rng, &ASKED_PATHS),
                )
            })
            .collect();
        let urls: Vec<String> = asked
            .iter()
            .map(|(host, path)| format!("http://{host}{path}"))
            .collect();
        let urls: Vec<&str> = urls.iter().map(String::as_str).collect();
        let shown = explain(&documents, &scope, &urls);
        let shown: Value = serde_norway::from_str(&shown).expect("explain writes YAML");
        for (position, (host, path)) in asked.into_iter().enumerate() {
            let (served, said) = (
                served(address, host, path).await,
                explained(&shown["requests"][position], path),
            );
            assert_eq!(
                served,
                said,
                "http://{host}{path} with the objects of seed {seed}:\n{}",
                text.join("\n")
            );
            fates[usize::from(matches!(served, Fate::Served(_)))] += 1;
            sent += usize::from(matches!(served, Fate::Sent(_)));
            let answer = &shown["requests"][position];
            assert!(names_its_rule(&shown["model"], answer), "{seed}: {answer}");
            matched += usize::from(answer["expression"].is_string());
            rewritten += usize::from(answer["rewritten"].is_string());
            closed += usize::from(served == Fate::Answered("503 route_closed".to_owned()));
        }
    }
    let [answered, served] = fates;
    assert!(
        matched > 300 && rewritten > 150,
        "expressions: {matched}, {rewritten}"
    );
    assert!(sent > 300, "some are sent to https: {sent}");
    assert!(closed > 100, "some Ingresses are closed: {closed}");
    assert!(
        served > 1_000 && answered > 1_000,
        "both happen: {served}, {answered}"
    );
}

#[test]
fn explain_says_what_becomes_of_ten_thousand_requests() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    LocalSet::new().block_on(&runtime.expect("a runtime"), compare());
}
