//! An address in the status of an Ingress means that every replica serves it: routes are made one after another, and the moment the
//! status of one appears, each ready replica is asked for it directly.
//!
//! While this goes on endpoints of their Service come and go without a pause, a replica is added, and all replicas are
//! replaced. `TIERGATE_NEW_ROUTES` says how many routes; without it there are a few hundred.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};
use tiergate_tests::api_server::{PlainApiServer, Watch};
use tiergate_tests::cluster::Cluster;
use tiergate_tests::objects::{application, endpoints, namespace_tier, service_by_hand};
use tiergate_tests::replicas::{Connections, Ready};
use tiergate_tests::{numbers, wait};

/// Where everything is.
const NAMESPACE: &str = "routes";

/// What the tier publishes.
const ADDRESS: &str = "192.0.2.7";

/// Routes that are made at the same time.
const THREADS: usize = 6;

/// Routes when nobody says how many.
const ROUTES: usize = 240;

/// What came of the routes of a phase.
#[derive(Debug, Default)]
struct Outcome {
    /// Answers by what they were.
    answers: BTreeMap<String, usize>,
    /// From the creation of each to its status.
    times: Vec<Duration>,
}

/// What the threads share.
struct World<'w> {
    api: &'w PlainApiServer,
    ready: &'w Ready,
    /// Routes made so far, for their names.
    made: AtomicUsize,
}

// === impl Outcome ===

impl Outcome {
    fn add(&mut self, other: Self) {
        for (answer, count) in other.answers {
            *self.answers.entry(answer).or_default() += count;
        }
        self.times.extend(other.times);
    }

    /// Shows how long it took, and holds that every answer was good.
    fn judge(mut self, phase: &str) {
        self.times.sort();
        let at = |part: usize| self.times[(self.times.len() - 1) * part / 100].as_millis();
        let asked: usize = self.answers.values().sum();
        numbers::show(&format!(
            "new routes {phase}: {} routes, {asked} requests when the status appeared, from creation to status median {} ms, p99 {} ms, \
             longest {} ms",
            self.times.len(),
            at(50),
            at(99),
            at(100),
        ));
        let good = self.answers.remove("200").unwrap_or_default();
        assert!(self.answers.is_empty(), "{phase}: {:?}", self.answers);
        assert!(good >= self.times.len(), "{phase}: some replica is asked");
    }
}

// === impl World ===

impl World<'_> {
    /// Makes routes, with all threads, until there are `count` and `during` is over.
    fn routes(&self, count: usize, during: impl FnOnce()) -> Outcome {
        let is_over = AtomicBool::new(false);
        let end = self.made.load(Ordering::Relaxed) + count;
        thread::scope(|scope| {
            let threads: Vec<_> = (0..THREADS)
                .map(|thread| {
                    let is_over = &is_over;
                    scope.spawn(move || {
                        self.routes_of(thread, || {
                            self.made.load(Ordering::Relaxed) >= end
                                && is_over.load(Ordering::Relaxed)
                        })
                    })
                })
                .collect();
            during();
            is_over.store(true, Ordering::Relaxed);
            let mut all = Outcome::default();
            for thread in threads {
                all.add(thread.join().expect("a thread of routes ends well"));
            }
            all
        })
    }

    fn routes_of(&self, thread: usize, is_enough: impl Fn() -> bool) -> Outcome {
        let ingresses = format!("/apis/networking.k8s.io/v1/namespaces/{NAMESPACE}/ingresses");
        let watched = format!("{ingresses}?labelSelector=thread%3D{thread}");
        let mut api = self.api.client();
        let mut replicas = Connections::default();
        let mut watch = self.api.watch(&watched);
        let mut outcome = Outcome::default();
        while !is_enough() {
            let number = self.made.fetch_add(1, Ordering::Relaxed);
            let name = format!("route-{number}");
            let host = format!("{name}.example.test");
            let stopwatch = wait::Stopwatch::start();
            let made = api.send("POST", &ingresses, &ingress(&name, thread, &host));
            assert_eq!(made.status, 201, "{}", made.text());
            loop {
                let Some(event) = watch.next() else {
                    let waited = stopwatch.elapsed().as_secs();
                    assert!(
                        waited < wait::CHANGE_SECONDS,
                        "{name}: no status in {waited} s"
                    );
                    // The API server ends a watch when it likes.
                    watch = self.api.watch(&watched);
                    continue;
                };
                let object = &event["object"];
                let status = &object["status"]["loadBalancer"]["ingress"];
                if object["metadata"]["name"] == name.as_str() && !status.is_null() {
                    assert_eq!(*status, json!([{"ip": ADDRESS}]), "{name}");
                    break;
                }
            }
            outcome.times.push(stopwatch.elapsed());
            for (pod, ip) in self.ready.now() {
                let answer = match replicas.get(&pod, ip, &host) {
                    Ok(status) => status.to_string(),
                    // One that leaves may close its port between the look and the request.
                    Err(_) if !self.ready.now().contains_key(&pod) => continue,
                    Err(error) => format!("{pod}: {error}"),
                };
                *outcome.answers.entry(answer).or_default() += 1;
            }
        }
        outcome
    }

    /// Changes the endpoints of the Service without a pause, always to some that answer.
    fn churn(&self, ips: &[Ipv4Addr], is_over: &AtomicBool) -> usize {
        let slice =
            format!("/apis/discovery.k8s.io/v1/namespaces/{NAMESPACE}/endpointslices/web-by-hand");
        let mut api = self.api.client();
        let mut changes = 0;
        while !is_over.load(Ordering::Relaxed) {
            let count = changes % ips.len() + 1;
            let body = json!({"endpoints": endpoints(&ips[..count])});
            let changed = api.send("PATCH", &slice, &body);
            assert_eq!(changed.status, 200, "{}", changed.text());
            changes += 1;
            wait::breathe();
        }
        changes
    }
}

fn ingress(name: &str, thread: usize, host: &str) -> Value {
    let backend = json!({"service": {"name": "web", "port": {"number": 80}}});
    json!({
        "apiVersion": "networking.k8s.io/v1",
        "kind": "Ingress",
        "metadata": {"name": name, "labels": {"thread": thread.to_string()}},
        "spec": {"ingressClassName": "tiergate", "rules": [
            {"host": host, "http": {"paths": [{"path": "/", "pathType": "Prefix", "backend": backend}]}},
        ]},
    })
}

fn count() -> usize {
    let given = std::env::var("TIERGATE_NEW_ROUTES").ok();
    given.map_or(ROUTES, |count| count.parse().expect("a number of routes"))
}

/// In a thread that ends with the API server.
#[expect(
    clippy::disallowed_methods,
    reason = "a test on real sockets has threads"
)]
fn follow_from_now_on(ready: Arc<Ready>, watch: Watch) {
    thread::spawn(move || ready.follow(watch));
}

#[test]
fn every_replica_serves_a_new_route_the_moment_its_status_appears() {
    let started = Cluster::start("new-routes", &["--bare"]);
    let cluster = started.in_test();
    let kubectl = cluster.kubectl();
    kubectl.create_namespace(NAMESPACE);
    kubectl.apply(NAMESPACE, &application("app", 3));
    let flags = [
        "--ingress-class=tiergate",
        &format!("--publish-address={ADDRESS}"),
    ];
    kubectl.apply(NAMESPACE, &namespace_tier("ingress", NAMESPACE, 2, &flags));
    kubectl.rolled_out(NAMESPACE, "app");
    kubectl.rolled_out(NAMESPACE, "ingress");
    let apps = cluster.ready_pods(NAMESPACE, "app=app");
    let apps: Vec<Ipv4Addr> = apps
        .iter()
        .map(|(_, ip)| ip.parse().expect("a ready pod has an address"))
        .collect();
    kubectl.apply(NAMESPACE, &service_by_hand("web", &apps));

    let api = cluster.plain_api_server(&cluster.kubeconfig());
    let ready = Arc::new(Ready::default());
    let world = World {
        api: &api,
        ready: &ready,
        made: AtomicUsize::new(0),
    };
    let pods = format!("/api/v1/namespaces/{NAMESPACE}/pods?labelSelector=app%3Dingress");
    let watch = api.watch(&format!("{pods}&timeoutSeconds=3600")).patient();
    follow_from_now_on(Arc::clone(&ready), watch);
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        let _end = AtEnd(&is_over);
        wait::until("both replicas", wait::CHANGE_SECONDS, || {
            let now = ready.now();
            wait::seen(now.len() == 2, format!("{now:?}"))
        });
        let count = count();
        world.routes(count / 2, || ()).judge("at rest");
        let churning = scope.spawn(|| world.churn(&apps, &is_over));
        world
            .routes(count / 2, || ())
            .judge("while endpoints change");
        let added = world.routes(0, || {
            kubectl.ok(&format!(
                "--namespace {NAMESPACE} scale deployment ingress --replicas 3"
            ));
            wait::until("the third replica", wait::CHANGE_SECONDS, || {
                let now = ready.now();
                wait::seen(now.len() == 3, format!("{now:?}"))
            });
        });
        added.judge("while a replica is added");
        let before = ready.now();
        let replaced = world.routes(0, || {
            kubectl.ok(&format!(
                "--namespace {NAMESPACE} rollout restart deployment ingress"
            ));
            wait::until("only new replicas", wait::CHANGE_SECONDS, || {
                let now = ready.now();
                let are_new = now.len() == 3 && now.keys().all(|pod| !before.contains_key(pod));
                wait::seen(are_new, format!("{now:?}"))
            });
        });
        replaced.judge("while all replicas are replaced");
        is_over.store(true, Ordering::Relaxed);
        let changes = churning.join().expect("it changes endpoints to the end");
        numbers::show(&format!(
            "new routes: {changes} changes of their endpoints meanwhile"
        ));
    });
}

/// Lets the threads end, also when the test panics: the scope waits for them.
struct AtEnd<'a>(&'a AtomicBool);

impl Drop for AtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
