//! Endpoints that are ready and fail, or go, behind both tiers: what clients see, and how often a request is sent.
//!
//! The endpoints are played by the tests and count what comes to them, however a tier came to send it. Each test has a namespace of its own
//! with a namespace tier of its own, and clients ask at the VIP.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::OnceLock;

use serde_json::json;
use tiergate_tests::client::{Connection, Request, Response, fetch};
use tiergate_tests::cluster::{Cluster, InTest};
use tiergate_tests::endpoints::{Attempt, Endpoint, Manner};
use tiergate_tests::objects::{delegation, endpoints, ingress, namespace_tier, service_by_hand};
use tiergate_tests::{load, wait};

/// No endpoint that is to rest comes back within a test.
const LONG_REST: [(&str, &str); 2] = [
    ("TIERGATE_EJECTION__TIME", "1h"),
    ("TIERGATE_EJECTION__TIME_MAX", "1h"),
];

/// Failures in a row that bring an endpoint rest, when nothing else is said.
const FAILURES: usize = 5;

/// The field by which a tier tells the next one that a request was sent again.
const RETRIED: &str = "tiergate-retried:";

fn cluster() -> InTest<'static> {
    static CLUSTER: OnceLock<Cluster> = OnceLock::new();
    CLUSTER
        .get_or_init(|| Cluster::start("failing-endpoints", &["--empty"]))
        .in_test()
}

/// A namespace with its tier, and a Service whose endpoints the test plays.
struct Stage {
    cluster: InTest<'static>,
    namespace: &'static str,
    host: String,
    endpoints: Vec<Endpoint>,
}

// === impl Stage ===

impl Stage {
    /// Sets it, and waits until both tiers serve it. No request has been sent to an endpoint then.
    fn set(
        namespace: &'static str,
        replicas: u32,
        settings: &[(&str, &str)],
        manners: &[Manner],
    ) -> Self {
        let cluster = cluster();
        let kubectl = cluster.kubectl();
        kubectl.create_namespace(namespace);
        let played = manners
            .iter()
            .map(|manner| Endpoint::start(&cluster, *manner));
        let stage = Self {
            host: format!("web.{namespace}.svc.cluster.local"),
            endpoints: played.collect(),
            namespace,
            cluster,
        };
        let trusted = format!("--trusted-proxies={}", stage.cluster.pod_network());
        let flags = ["--ingress-class=tiergate", &trusted];
        let variables = settings
            .iter()
            .map(|(name, value)| format!("        - {{name: {name}, value: '{value}'}}\n"));
        let variables = format!("        env:\n{}", variables.collect::<String>());
        let tier = namespace_tier("ingress", namespace, replicas, &flags);
        kubectl.apply(namespace, &tier.replace("        env:\n", &variables));
        kubectl.apply(namespace, &service_by_hand("web", &stage.ips()));
        let rule = ingress("web", Some("tiergate"), &stage.host, "web");
        kubectl.apply(namespace, &rule);
        kubectl.apply(namespace, &delegation(namespace, "ingress"));
        kubectl.rolled_out(namespace, "ingress");
        let service = format!("{namespace}/web");
        let cluster = &stage.cluster;
        cluster.until_endpoints(namespace, &stage.host, &service, &stage.ips());
        stage.until_delegated("ingress", &stage.tiers());
        stage
    }

    fn until_delegated(&self, service: &str, ips: &[Ipv4Addr]) {
        let hosts = format!("*.{}.svc.cluster.local", self.namespace);
        let service = format!("{}/{service}", self.namespace);
        self.cluster
            .until_endpoints("kube-system", &hosts, &service, ips);
    }

    fn ips(&self) -> Vec<Ipv4Addr> {
        self.endpoints.iter().map(|endpoint| endpoint.ip).collect()
    }

    /// Where the replicas of the namespace tier are.
    fn tiers(&self) -> Vec<Ipv4Addr> {
        let pods = self.cluster.ready_pods(self.namespace, "app=ingress");
        pods.iter()
            .map(|(_, ip)| ip.parse().expect("a ready pod has an address"))
            .collect()
    }

    fn send(&self, method: &str, path: &str) -> Response {
        let request = Request::new(method, &self.host, path);
        fetch(self.cluster.http(), &request).expect("the VIP answers")
    }

    /// Sends so many requests, one after another, and returns how many got which status.
    fn statuses(&self, method: &str, count: usize) -> BTreeMap<u16, usize> {
        let mut statuses = BTreeMap::new();
        for number in 0..count {
            let status = self.send(method, &format!("/{number}")).status;
            *statuses.entry(status).or_default() += 1;
        }
        statuses
    }

    /// Requests that came to each endpoint.
    fn counts(&self) -> Vec<usize> {
        self.endpoints.iter().map(Endpoint::count).collect()
    }

    /// The rests that each replica of the namespace tier has given.
    fn ejections(&self) -> Vec<f64> {
        let of = |ip: &Ipv4Addr| {
            let name = "tiergate_endpoint_ejections_total";
            let tenant = format!("tenant=\"{}\"", self.namespace);
            self.cluster
                .metric(IpAddr::V4(*ip), name, &tenant)
                .unwrap_or_default()
        };
        self.tiers().iter().map(of).collect()
    }

    /// How often each path came to an endpoint.
    fn attempts_by_path(&self) -> BTreeMap<String, usize> {
        by_path(self.endpoints.iter().flat_map(Endpoint::attempts))
    }
}

fn by_path(attempts: impl Iterator<Item = Attempt>) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for attempt in attempts {
        *counts.entry(attempt.path).or_default() += 1;
    }
    counts
}

/// Both ways of a pod that lives and answers nothing.
fn check_rest(namespace: &'static str, manner: Manner) {
    const REPLICAS: u32 = 2;
    let manners = [manner, Manner::Answers, Manner::Answers];
    let stage = Stage::set(namespace, REPLICAS, &LONG_REST, &manners);
    // Each is sent again, which the budget allows: no client sees that an endpoint fails.
    assert_eq!(stage.statuses("GET", 120), [(200, 120)].into());
    let failed = stage.counts()[0];
    assert_eq!(
        failed,
        FAILURES * usize::try_from(REPLICAS).expect("2"),
        "{:?}",
        stage.counts()
    );
    assert_eq!(stage.ejections(), [1.0, 1.0]);
    // Nor do requests that are never sent again, because none comes there. The others share them evenly.
    let before = stage.counts();
    assert_eq!(stage.statuses("POST", 60), [(200, 60)].into());
    let after = stage.counts();
    assert_eq!(after[0], failed);
    let shares = [1, 2].map(|position| after[position] - before[position]);
    assert!(
        shares.iter().all(|share| (28..=32).contains(share)),
        "{shares:?}"
    );
}

#[test]
fn a_ready_endpoint_that_closes_gets_no_requests_and_no_client_sees_it() {
    check_rest("closing", Manner::Closes);
}

#[test]
fn a_ready_endpoint_that_resets_gets_no_requests_and_no_client_sees_it() {
    check_rest("resetting", Manner::Resets);
}

#[test]
fn with_more_than_half_of_the_endpoints_failing_all_get_requests() {
    let manners = [Manner::Closes, Manner::Closes, Manner::Answers];
    let stage = Stage::set("mostly-failing", 1, &LONG_REST, &manners);
    let is_known =
        |statuses: &BTreeMap<u16, usize>| statuses.keys().all(|status| matches!(status, 200 | 502));
    let first = stage.statuses("GET", 60);
    assert!(is_known(&first), "{first:?}");
    assert_eq!(stage.ejections(), [2.0]);
    let before = stage.counts();
    let then = stage.statuses("GET", 60);
    assert!(is_known(&then), "{then:?}");
    let after = stage.counts();
    let each_got_some = before
        .iter()
        .zip(&after)
        .all(|(before, after)| after - before >= 10);
    assert!(each_got_some, "{before:?}, then {after:?}");
    // Those that are well again are taken at once.
    stage
        .endpoints
        .iter()
        .for_each(|endpoint| endpoint.set(Manner::Answers));
    assert_eq!(stage.statuses("POST", 30), [(200, 30)].into());
}

#[test]
fn with_ejection_switched_off_a_failing_endpoint_keeps_getting_requests() {
    let settings = [("TIERGATE_EJECTION__ENABLED", "false")];
    let manners = [Manner::Closes, Manner::Answers, Manner::Answers];
    let stage = Stage::set("no-ejection", 1, &settings, &manners);
    let statuses = stage.statuses("POST", 90);
    // Round robin: every third one.
    assert_eq!(statuses, [(200, 60), (502, 30)].into());
    assert_eq!(stage.counts(), [30, 30, 30]);
    assert_eq!(stage.ejections(), [0.0]);
}

#[test]
fn a_request_is_sent_again_once_if_it_is_idempotent_and_otherwise_never() {
    let settings = [
        ("TIERGATE_EJECTION__ENABLED", "false"),
        ("TIERGATE_RETRIES__FLOOR", "1000"),
    ];
    let stage = Stage::set("repeats", 2, &settings, &[Manner::Closes; 3]);
    for (method, body, attempts) in [
        ("GET", "", 2),
        ("PUT", "", 2),
        ("DELETE", "", 2),
        ("PUT", "a body", 1),
        ("POST", "", 1),
        ("POST", "a body", 1),
        ("PATCH", "", 1),
    ] {
        for number in 0..8 {
            let path = format!("/{method}/{}/{number}", body.len());
            let request = Request::new(method, &stage.host, &path).body(body.as_bytes());
            let response = fetch(stage.cluster.http(), &request).expect("the VIP answers");
            assert_eq!(response.status, 502, "{path}: {}", response.text());
            assert_eq!(
                stage.attempts_by_path().get(&path),
                Some(&attempts),
                "{path}"
            );
        }
    }
}

#[test]
fn a_request_that_the_cluster_tier_sent_again_is_not_sent_again_behind_it() {
    let settings = [
        ("TIERGATE_EJECTION__ENABLED", "false"),
        ("TIERGATE_RETRIES__FLOOR", "1000"),
    ];
    let stage = Stage::set("across", 1, &settings, &[Manner::Closes; 3]);
    // A replica of the namespace tier that dies with every request it gets, beside the one that lives.
    let dying = Endpoint::start(&stage.cluster, Manner::Closes);
    let mut tiers = stage.tiers();
    tiers.push(dying.ip);
    let kubectl = stage.cluster.kubectl();
    kubectl.apply("across", &service_by_hand("tiers", &tiers));
    kubectl.apply("across", &delegation("across", "tiers"));
    stage.until_delegated("tiers", &tiers);

    // An odd rhythm: both kinds come to both, which take turns.
    let requests = || (0..30).map(|number| (["GET", "GET", "POST"][number % 3], number));
    for (method, number) in requests() {
        let response = stage.send(method, &format!("/{method}/{number}"));
        assert_eq!(response.status, 502, "{}", response.text());
    }
    let at_tier = by_path(dying.attempts().into_iter());
    let at_pods = stage.attempts_by_path();
    for (method, number) in requests() {
        let path = format!("/{method}/{number}");
        let attempts = |counts: &BTreeMap<String, usize>| counts.get(&path).copied();
        let attempts = [&at_tier, &at_pods].map(|counts| attempts(counts).unwrap_or_default());
        match method {
            "GET" => assert!(matches!(attempts, [1, 1] | [0, 2]), "{path}: {attempts:?}"),
            _ => assert!(matches!(attempts, [1, 0] | [0, 1]), "{path}: {attempts:?}"),
        }
    }
    // It rests after a while, so not every request came there: but some of each kind.
    for method in ["/GET/", "/POST/"] {
        assert!(
            at_tier.keys().any(|path| path.starts_with(method)),
            "{at_tier:?}"
        );
    }
    // What the tiers tell each other is not for applications.
    let mut at_pods = stage.endpoints.iter().flat_map(Endpoint::attempts);
    assert!(at_pods.all(|attempt| !attempt.fields.contains(RETRIED)));
}

#[test]
fn no_more_is_sent_again_than_the_budget_allows() {
    const BUDGET: usize = 3;
    let settings = [
        ("TIERGATE_EJECTION__ENABLED", "false"),
        ("TIERGATE_RETRIES__PERCENT_MAX", "0"),
        ("TIERGATE_RETRIES__FLOOR", "3"),
        ("TIERGATE_RETRIES__WINDOW", "1h"),
    ];
    let manners = [Manner::Closes, Manner::Answers];
    let stage = Stage::set("budget", 1, &settings, &manners);
    let statuses = stage.statuses("GET", 40);
    let failed = stage.counts()[0] - BUDGET;
    assert!(failed > BUDGET, "{statuses:?}");
    assert_eq!(statuses, [(200, 40 - failed), (502, failed)].into());
    let attempts: usize = stage.counts().iter().sum();
    assert_eq!(attempts, 40 + BUDGET);
}

#[test]
fn an_endpoint_that_is_removed_ends_what_it_has_and_gets_nothing_new() {
    let manners = [Manner::Answers, Manner::Answers];
    let stage = Stage::set("removed", 2, &[], &manners);
    let [leaving, staying] = &stage.endpoints[..] else {
        panic!("two endpoints");
    };
    leaving.set(Manner::Holds);
    let mut held = begin_at(&stage, leaving);
    leaving.set(Manner::Answers);
    let target = stage.cluster.target(&stage.host);
    let (report, at_removal) = load::during(&target, || {
        let change = json!({"endpoints": endpoints(&[staying.ip])});
        stage.cluster.kubectl().ok(&format!(
            "--namespace removed patch endpointslice web-by-hand --type=merge --patch={change}"
        ));
        let service = "removed/web";
        stage
            .cluster
            .until_endpoints("removed", &stage.host, service, &[staying.ip]);
        leaving.count()
    });
    report.assert_nothing_failed();
    assert_eq!(stage.statuses("GET", 40), [(200, 40)].into());
    assert!(at_removal > 1, "it had requests before");
    assert_eq!(leaving.count(), at_removal);
    leaving.release();
    let response = held.read_response(false).expect("the answer is whole");
    assert_eq!(response.status, 200);
    assert_eq!(response.echo("pod"), leaving.ip.to_string());
}

/// A connection whose request has come to this endpoint.
fn begin_at(stage: &Stage, endpoint: &Endpoint) -> Connection {
    wait::until("a request comes there", wait::CHANGE_SECONDS, || {
        let (here, everywhere) = (endpoint.count(), stage.counts());
        let mut connection = Connection::open(stage.cluster.http()).expect("the VIP answers");
        let request = format!("GET /held HTTP/1.1\r\nhost: {}\r\n\r\n", stage.host);
        let sent = connection.send_bytes(request.as_bytes());
        sent.expect("the VIP reads");
        wait::until("the request has come", wait::CHANGE_SECONDS, || {
            let counts = stage.counts();
            wait::seen(counts != everywhere, format!("{counts:?}"))
        });
        wait::seen(endpoint.count() > here, "it went to another").map(|()| connection)
    })
}
