use std::convert::Infallible;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};

use http::{Request, Response};
use kube::client::Body;
use serde_json::{Value, json};
use tiergate_data_plane::net::TokioNet;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::task::LocalSet;

use super::*;
use crate::config::{Layers, Tier, keys};

mod dead_worker;
mod metrics_page;

const PATIENCE: Duration = Duration::from_secs(30);

/// An API server with these objects, by resource, that answers lists only once the gate is open, the first of all with an
/// error. Watches stay silent.
fn kubernetes(gate: watch::Receiver<bool>, objects: Value) -> kube::Client {
    let objects = Arc::new(objects);
    let has_failed = Arc::new(AtomicBool::new(false));
    let service = tower::service_fn(move |request: Request<Body>| {
        let (mut gate, objects, has_failed) = (gate.clone(), objects.clone(), has_failed.clone());
        async move {
            if request
                .uri()
                .query()
                .is_some_and(|query| query.contains("watch=true"))
            {
                std::future::pending::<()>().await;
            }
            gate.wait_for(|is_open| *is_open)
                .await
                .expect("the test holds the gate");
            if !has_failed.swap(true, Ordering::Relaxed) {
                let mut response = Response::new(Body::empty());
                *response.status_mut() = http::StatusCode::INTERNAL_SERVER_ERROR;
                return Ok::<_, Infallible>(response);
            }
            let resource = request.uri().path().rsplit('/').next().unwrap_or_default();
            let items = objects.get(resource).cloned().unwrap_or(json!([]));
            let list = json!({"kind": "List", "apiVersion": "v1", "metadata": {"resourceVersion": "1"}, "items": items});
            Ok(Response::new(Body::from(list.to_string().into_bytes())))
        }
    });
    kube::Client::new(service, "default")
}

/// A free address that no other test of this machine takes meanwhile: each has a loopback address of its own.
async fn free_address() -> SocketAddr {
    static COUNT: AtomicU8 = AtomicU8::new(1);
    let [.., high, low] = std::process::id().to_be_bytes();
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let any_port = SocketAddr::from(([127, 96 + high % 64, low, count], 0));
    let listener = TokioNet.bind(any_port).await.unwrap();
    listener.local_addr().unwrap()
}

struct Started {
    admin: SocketAddr,
    http: SocketAddr,
    https: SocketAddr,
    gate: watch::Sender<bool>,
    shutdown: Option<tokio::sync::oneshot::Sender<()>>,
    ended: tokio::task::JoinHandle<Result<(), Failure>>,
}

async fn start(threads: usize, drain_delay: &str, objects: Value) -> Started {
    start_on(TokioNet, threads, drain_delay, objects).await
}

async fn start_on<N: Net>(net: N, threads: usize, drain_delay: &str, objects: Value) -> Started {
    let (admin, http, https) = (
        free_address().await,
        free_address().await,
        free_address().await,
    );
    let layers = Layers::new(Tier::Namespace).flags([
        (&keys::HTTP_ADDRESS.about, vec![http.to_string()]),
        (&keys::HTTPS_ADDRESS.about, vec![https.to_string()]),
        (&keys::ADMIN_ADDRESS.about, vec![admin.to_string()]),
        (&keys::DRAIN_DELAY.about, vec![drain_delay.to_owned()]),
    ]);
    let mut common = Common::from_layers(&layers).unwrap();
    common.worker_threads = threads;
    let (gate, opened) = watch::channel(false);
    let platform = Platform {
        net,
        client: kubernetes(opened, objects),
        seed: 1,
        identity: crate::platform::Identity::new([], "here".to_owned()),
    };
    let scope = Scope {
        namespace: Some("a".to_owned()),
        classes: vec!["tiergate".to_owned()],
        ..Scope::default()
    };
    let (shutdown, told) = tokio::sync::oneshot::channel();
    let told = async { drop(told.await) };
    let ended = tokio::task::spawn_local(run(common, scope, platform, None, told));
    Started {
        admin,
        http,
        https,
        gate,
        shutdown: Some(shutdown),
        ended,
    }
}

/// The whole answer to a GET, or none when nobody listens.
async fn get(address: SocketAddr, path: &str) -> Option<String> {
    get_of("nobody.example", address, path).await
}

async fn get_of(host: &str, address: SocketAddr, path: &str) -> Option<String> {
    let mut stream = TokioNet.connect(address, None).await.ok()?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.ok()?;
    Some(answer)
}

/// Asks until the answer contains the text.
async fn until(address: SocketAddr, path: &str, text: &str) -> String {
    let asking = async {
        loop {
            if let Some(answer) = get(address, path)
                .await
                .filter(|answer| answer.contains(text))
            {
                return answer;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, asking)
        .await
        .unwrap_or_else(|_| panic!("{path} never said {text:?}"))
}

/// From the start to the drain: what `/readyz` says, and whether requests are served.
async fn a_life(threads: usize) {
    let mut tier = start(threads, "1h", json!({})).await;
    let early = until(tier.admin, "/readyz", "not ready").await;
    assert!(
        early.starts_with("HTTP/1.1 503") && early.contains("[-] kubernetes"),
        "{early}"
    );
    assert!(
        get(tier.admin, "/livez")
            .await
            .unwrap()
            .starts_with("HTTP/1.1 200")
    );
    assert_eq!(
        get(tier.http, "/").await,
        None,
        "requests are taken before the objects are known"
    );

    tier.gate.send_replace(true);
    let ready = until(tier.admin, "/readyz", "\nready").await;
    assert!(
        ready.starts_with("HTTP/1.1 200") && !ready.contains("[-]"),
        "{ready}"
    );
    until(tier.http, "/", "HTTP/1.1 404").await;

    tier.shutdown.take().unwrap().send(()).unwrap();
    let draining = until(tier.admin, "/readyz", "draining").await;
    assert!(draining.starts_with("HTTP/1.1 503"), "{draining}");
    until(tier.http, "/", "HTTP/1.1 404").await;
    assert!(!tier.ended.is_finished());
    tier.ended.abort();
}

#[tokio::test]
async fn a_tier_on_the_callers_thread_is_ready_between_its_first_sync_and_its_drain() {
    LocalSet::new().run_until(a_life(0)).await;
}

#[tokio::test]
async fn a_tier_with_threads_is_ready_between_its_first_sync_and_its_drain() {
    LocalSet::new().run_until(a_life(2)).await;
}

#[tokio::test]
async fn a_tier_ends_when_it_is_told_to() {
    let told = async {
        for is_synced in [true, false] {
            let mut tier = start(0, "0s", json!({})).await;
            tier.gate.send_replace(is_synced);
            let state = if is_synced { "\nready" } else { "not ready" };
            until(tier.admin, "/readyz", state).await;
            tier.shutdown.take().unwrap().send(()).unwrap();
            let ended = tokio::time::timeout(PATIENCE, tier.ended)
                .await
                .expect("it ends");
            assert!(matches!(ended, Ok(Ok(()))), "{ended:?}");
            assert_eq!(get(tier.admin, "/livez").await, None);
            assert_eq!(get(tier.http, "/").await, None);
        }
    };
    LocalSet::new().run_until(told).await;
}

#[tokio::test]
async fn an_address_that_cannot_be_bound_ends_the_start_with_a_sentence() {
    const IN_USE: &str = "end the process that has it, or name another address";
    let holder = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = holder.local_addr().unwrap();
    let foreign: SocketAddr = "192.0.2.1:80".parse().unwrap();
    let tries = async {
        for (key, address, cure) in [
            (&keys::ADMIN_ADDRESS, taken, IN_USE),
            (&keys::HTTP_ADDRESS, taken, IN_USE),
            (&keys::HTTPS_ADDRESS, taken, IN_USE),
            (
                &keys::HTTP_ADDRESS,
                foreign,
                "name an address that this machine has, or set free_bind for one that comes later",
            ),
            (
                &keys::ADMIN_ADDRESS,
                foreign,
                "name an address that this machine has",
            ),
        ] {
            let mut flags = vec![(&key.about, vec![address.to_string()])];
            for other in [
                &keys::ADMIN_ADDRESS,
                &keys::HTTP_ADDRESS,
                &keys::HTTPS_ADDRESS,
            ] {
                if other.about.name != key.about.name {
                    flags.push((&other.about, vec!["127.0.0.1:0".to_owned()]));
                }
            }
            let common = Common::from_layers(&Layers::new(Tier::Cluster).flags(flags)).unwrap();
            let (_gate, opened) = watch::channel(false);
            let platform = Platform {
                net: TokioNet,
                client: kubernetes(opened, json!({})),
                seed: 1,
                identity: crate::platform::Identity::new([], "here".to_owned()),
            };
            let running = run(
                common,
                Scope::default(),
                platform,
                None,
                std::future::pending(),
            );
            let failure = tokio::time::timeout(PATIENCE, running)
                .await
                .unwrap()
                .unwrap_err();
            let sentence = failure.to_string();
            let begin = format!("`{}`: cannot listen on {address}: ", key.about.name);
            assert!(
                sentence.starts_with(&begin) && sentence.ends_with(cure),
                "{sentence}"
            );
            assert_eq!(
                format!("{:?}", failure.exit_code()),
                format!("{:?}", std::process::ExitCode::from(4))
            );
        }
    };
    LocalSet::new().run_until(tries).await;
}
