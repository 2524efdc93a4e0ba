//! Which pod gets a request: sessions by cookies, hashes, load, and pods that come and go, with real pods behind both tiers.
//!
//! All tests share one cluster, and each has an application of its own in the tenant `openstack`, whose tier has two replicas.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::OnceLock;

use tiergate_tests::client::{Connection, Request, Response, connect, fetch};
use tiergate_tests::cluster::{Cluster, InTest};
use tiergate_tests::endpoints::{Endpoint, Manner};
use tiergate_tests::objects::{annotated, application, ingress, service_by_hand};
use tiergate_tests::wait;

const TENANT: &str = "openstack";

/// Sessions of a test: so many that none of three pods is without one by chance.
const SESSIONS: usize = 40;

/// Keys of a test, for the same reason.
const KEYS: usize = 200;

const AFFINITY: (&str, &str) = ("nginx.ingress.kubernetes.io/affinity", "cookie");
const MODE: &str = "nginx.ingress.kubernetes.io/affinity-mode";
const COOKIE: &str = "INGRESSCOOKIE=";

fn cluster() -> InTest<'static> {
    static CLUSTER: OnceLock<Cluster> = OnceLock::new();
    CLUSTER
        .get_or_init(|| Cluster::start("balancing", &[]))
        .in_test()
}

/// An application of the tenant.
struct Application {
    cluster: InTest<'static>,
    name: &'static str,
    host: String,
}

/// A client that keeps its cookie.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Session {
    cookie: String,
    pod: String,
}

// === impl Application ===

impl Application {
    /// Starts it with these annotations of its Ingress, and waits until every replica of the tier serves it.
    fn start(name: &'static str, replicas: u32, annotations: &[(&str, &str)]) -> Self {
        let cluster = cluster();
        let host = format!("{name}.{TENANT}.svc.cluster.local");
        let rule = ingress(name, Some("tiergate"), &host, name);
        let kubectl = cluster.kubectl();
        kubectl.apply(TENANT, &application(name, replicas));
        kubectl.apply(TENANT, &annotated(&rule, annotations));
        let application = Self {
            cluster,
            name,
            host,
        };
        application.until_served(usize::try_from(replicas).expect("a few"));
        application
    }

    fn scale(&self, replicas: usize) {
        let Self { cluster, name, .. } = self;
        let scale = format!("scale deployment/{name} --replicas {replicas}");
        cluster
            .kubectl()
            .ok(&format!("--namespace {TENANT} {scale}"));
        self.until_served(replicas);
    }

    /// Waits until it has so many pods, and every replica of the tier sends to these and no others.
    fn until_served(&self, replicas: usize) {
        wait::until("the pods", wait::CHANGE_SECONDS, || {
            let pods = self.pods();
            wait::seen(pods.len() == replicas, format!("{pods:?}"))
        });
        let ips: Vec<Ipv4Addr> = self.pods().into_values().collect();
        let service = format!("{TENANT}/{}", self.name);
        self.cluster
            .until_endpoints(TENANT, &self.host, &service, &ips);
    }

    /// Its ready pods.
    fn pods(&self) -> BTreeMap<String, Ipv4Addr> {
        let pods = self
            .cluster
            .ready_pods(TENANT, &format!("app={}", self.name));
        let address = |ip: String| ip.parse().expect("a ready pod has an address");
        pods.into_iter()
            .map(|(name, ip)| (name, address(ip)))
            .collect()
    }

    /// A request at the VIP that must be answered with 200.
    fn send(&self, request: &Request) -> Response {
        let response = fetch(self.cluster.http(), request).expect("the VIP answers");
        assert_eq!(response.status, 200, "{}", response.text());
        response
    }

    /// A client that comes for the first time.
    fn session(&self) -> Session {
        let response = self.send(&Request::get(&self.host, "/"));
        let cookie = response.header("set-cookie").expect("a cookie at first");
        assert!(cookie.starts_with(COOKIE), "{cookie}");
        let attributes: Vec<&str> = cookie.split("; ").skip(1).collect();
        assert_eq!(attributes, ["Path=/", "HttpOnly"]);
        Session {
            cookie: cookie.split(';').next().unwrap_or_default().to_owned(),
            pod: response.echo("pod"),
        }
    }

    /// The client comes again, and takes the cookie that it is given.
    fn again(&self, session: &Session) -> Session {
        let request = Request::get(&self.host, "/").header("cookie", &session.cookie);
        let response = self.send(&request);
        let set = response.header("set-cookie").unwrap_or(&session.cookie);
        Session {
            cookie: set.split(';').next().unwrap_or_default().to_owned(),
            pod: response.echo("pod"),
        }
    }

    /// Holds that these clients stay where they are, whichever replicas of the tiers they meet.
    fn stay(&self, sessions: &[Session]) {
        for session in sessions {
            for _ in 0..6 {
                assert_eq!(self.again(session), *session);
            }
        }
    }

    /// The pod of each key, as one replica of the tier has it.
    fn holders(&self, replica: IpAddr) -> Vec<String> {
        let mut connection = Connection::open(SocketAddr::new(replica, 8080)).expect("a replica");
        let mut pod = |key: usize| {
            let request = Request::get(&self.host, &format!("/any?user={key}&at={replica}"));
            let response = connection.send(&request).expect("it answers");
            assert_eq!(response.status, 200, "{}", response.text());
            response.echo("pod")
        };
        (0..KEYS).map(&mut pod).collect()
    }

    /// The pod of each key, of which all replicas of the tier say the same.
    fn agreed_holders(&self) -> Vec<String> {
        let replicas = self.cluster.tier_pods(TENANT);
        assert_eq!(replicas.len(), 2);
        let [one, other] = [replicas[0], replicas[1]].map(|replica| self.holders(replica));
        assert_eq!(one, other, "the replicas agree");
        one
    }
}

fn pods_of(sessions: &[Session]) -> BTreeSet<String> {
    sessions.iter().map(|session| session.pod.clone()).collect()
}

#[test]
fn a_balanced_session_stays_with_its_pod_unless_a_new_pod_takes_it() {
    let application = Application::start("balanced", 3, &[AFFINITY]);
    let sessions: Vec<Session> = (0..SESSIONS).map(|_| application.session()).collect();
    assert_eq!(pods_of(&sessions), application.pods().into_keys().collect());
    application.stay(&sessions);

    let old = application.pods();
    application.scale(5);
    let grown: Vec<Session> = sessions.iter().map(|one| application.again(one)).collect();
    let mut moved = 0;
    for (before, after) in sessions.iter().zip(&grown) {
        assert_eq!(before.cookie, after.cookie, "it is set once");
        if after.pod != before.pod {
            assert!(!old.contains_key(&after.pod), "{before:?} to {after:?}");
            moved += 1;
        }
    }
    assert!(
        (1..SESSIONS).contains(&moved),
        "{moved} of {SESSIONS} moved"
    );
    application.stay(&grown);

    application.scale(3);
    let left = application.pods();
    let shrunk: Vec<Session> = grown.iter().map(|one| application.again(one)).collect();
    for (before, after) in grown.iter().zip(&shrunk) {
        assert_eq!(before.cookie, after.cookie, "it is set once");
        assert!(left.contains_key(&after.pod), "{after:?} of {left:?}");
        assert!(
            after.pod == before.pod || !left.contains_key(&before.pod),
            "{before:?} to {after:?}"
        );
    }
    assert_ne!(grown, shrunk, "some had pods that went");
    application.stay(&shrunk);
}

#[test]
fn a_persistent_session_moves_only_when_its_pod_has_gone() {
    let persistent = [AFFINITY, (MODE, "persistent")];
    let application = Application::start("persistent", 3, &persistent);
    let sessions: Vec<Session> = (0..SESSIONS).map(|_| application.session()).collect();
    assert_eq!(pods_of(&sessions), application.pods().into_keys().collect());
    application.stay(&sessions);
    application.scale(5);
    application.stay(&sessions);

    let gone = sessions[0].pod.clone();
    let kubectl = application.cluster.kubectl();
    kubectl.ok(&format!("--namespace {TENANT} delete pod {gone}"));
    application.until_served(5);
    let moved: Vec<Session> = sessions.iter().map(|one| application.again(one)).collect();
    for (before, after) in sessions.iter().zip(&moved) {
        if before.pod == gone {
            assert_ne!(after.pod, gone);
            assert_ne!(after.cookie, before.cookie, "it stands for the pod");
        } else {
            assert_eq!(after, before);
        }
    }
    application.stay(&moved);
}

#[test]
fn replicas_agree_on_the_pod_of_a_key_and_only_the_keys_of_a_pod_that_goes_move() {
    let by_user = [("nginx.ingress.kubernetes.io/upstream-hash-by", "$arg_user")];
    let application = Application::start("hashed", 4, &by_user);
    let all = application.agreed_holders();
    let pods = application.pods();
    let holders: BTreeSet<String> = all.iter().cloned().collect();
    assert_eq!(
        holders,
        pods.keys().cloned().collect(),
        "each has its share"
    );
    // Through both tiers it is the same pod.
    for (key, pod) in all.iter().enumerate().step_by(20) {
        let request = Request::get(&application.host, &format!("/?user={key}"));
        assert_eq!(application.send(&request).echo("pod"), *pod);
    }

    application.scale(3);
    let left = application.pods();
    for (key, (before, after)) in all.iter().zip(application.agreed_holders()).enumerate() {
        assert!(left.contains_key(&after), "{key}: {after}");
        if left.contains_key(before) {
            assert_eq!(*before, after, "{key} stays");
        }
    }
}

#[test]
fn requests_are_spread_over_all_ready_pods_by_every_algorithm() {
    const PODS: u32 = 4;
    const REQUESTS: usize = 120;
    let name = "tiergate.dev/load-balance";
    for (algorithm, application) in [
        ("round_robin", "spread-round-robin"),
        ("least_request", "spread-least-request"),
        ("ewma", "spread-ewma"),
    ] {
        let application = Application::start(application, PODS, &[(name, algorithm)]);
        let mut counts: BTreeMap<String, usize> = BTreeMap::new();
        for _ in 0..REQUESTS {
            let response = application.send(&Request::get(&application.host, "/"));
            *counts.entry(response.echo("pod")).or_default() += 1;
        }
        let pods: BTreeSet<String> = application.pods().into_keys().collect();
        assert_eq!(
            counts.keys().cloned().collect::<BTreeSet<_>>(),
            pods,
            "{algorithm}"
        );
        if algorithm == "round_robin" {
            // Each replica of the tier has its own turn, and they get as many.
            let is_even = |count: &usize| (28..=32).contains(count);
            assert!(counts.values().all(is_even), "{counts:?}");
        }
    }
}

/// One endpoint never ends its answers, so each request to it stays there.
fn held_of(name: &'static str, algorithm: &str, requests: usize) -> usize {
    let cluster = cluster();
    let host = format!("{name}.{TENANT}.svc.cluster.local");
    let endpoints = [Manner::Holds, Manner::Answers, Manner::Answers];
    let endpoints = endpoints.map(|manner| Endpoint::start(&cluster, manner));
    let ips = endpoints.each_ref().map(|endpoint| endpoint.ip);
    let kubectl = cluster.kubectl();
    kubectl.apply(TENANT, &service_by_hand(name, &ips));
    let rule = ingress(name, Some("tiergate"), &host, name);
    let annotation = ("tiergate.dev/load-balance", algorithm);
    kubectl.apply(TENANT, &annotated(&rule, &[annotation]));
    cluster.until_endpoints(TENANT, &host, &format!("{TENANT}/{name}"), &ips);

    let [holding, ..] = &endpoints;
    let request = format!("GET / HTTP/1.1\r\nhost: {host}\r\n\r\n");
    let mut held = Vec::new();
    for _ in 0..requests {
        let came = || -> usize { endpoints.iter().map(Endpoint::count).sum() };
        let before = came();
        let mut connection = Connection::open(cluster.http()).expect("the VIP answers");
        connection.send_bytes(request.as_bytes()).expect("it reads");
        wait::until("the request has come", wait::CHANGE_SECONDS, || {
            wait::seen(came() == before + 1, "not yet")
        });
        if holding.count() > held.len() {
            held.push(connection);
        } else {
            let response = connection.read_response(false).expect("an answer");
            assert_eq!(response.status, 200);
        }
    }
    holding.release();
    for connection in &mut held {
        let response = connection.read_response(false).expect("it is whole");
        assert_eq!(response.echo("pod"), holding.ip.to_string());
    }
    held.len()
}

#[test]
fn least_request_does_not_pile_up_requests_at_a_pod_that_is_slow() {
    // One for each replica of the tier, which does not know yet: then the others have fewer.
    let held = held_of("piled-least-request", "least_request", 60);
    assert!(held <= 2, "{held} of 60");
    // Who does not count goes on.
    let held = held_of("piled-round-robin", "round_robin", 60);
    assert!((18..=22).contains(&held), "{held} of 60");
}

#[test]
fn a_long_answer_of_a_pod_that_is_deleted_comes_whole() {
    /// More than the sockets on the way can hold.
    const BYTES: u64 = 192 * 1024 * 1024;
    let application = Application::start("long", 2, &[]);
    let mut stream = connect(application.cluster.http()).expect("the VIP answers");
    let host = &application.host;
    let request =
        format!("GET /?bytes={BYTES} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).expect("the VIP reads");
    let mut begin = [0; 12];
    stream.read_exact(&mut begin).expect("the answer begins");
    assert_eq!(begin, *b"HTTP/1.1 200");

    // One of the two has the request: both go, one after the other.
    let kubectl = application.cluster.kubectl();
    for gone in application.pods().into_keys() {
        kubectl.ok(&format!(
            "--namespace {TENANT} delete pod {gone} --wait=false --grace-period=120"
        ));
        wait::until("another pod", wait::CHANGE_SECONDS, || {
            let pods = application.pods();
            let is_new = pods.len() == 2 && !pods.contains_key(&gone);
            wait::seen(is_new, format!("{pods:?}"))
        });
        application.until_served(2);
        for _ in 0..20 {
            let response = application.send(&Request::get(host, "/"));
            assert_ne!(response.echo("pod"), gone);
        }
    }
    let rest = io::copy(&mut stream, &mut io::sink()).expect("no error to its end");
    assert!((BYTES..BYTES + 4096).contains(&rest), "{rest} of {BYTES}");
}
