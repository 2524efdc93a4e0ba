//! Endpoints that are ready and fail, or go, behind both tiers: what clients see, and how often a request is sent.
//!
//! The endpoints are played by the tests and count what comes to them, however a tier came to send it. Each test has a namespace of its own
//! with a namespace tier of its own, and clients ask at the VIP.

use std::collections::BTreeMap;
use std::sync::OnceLock;
use std::thread;

use serde_json::{Value, json};
use tiergate_tests::client::{Connection, Request, fetch};
use tiergate_tests::cluster::{Cluster, InTest};
use tiergate_tests::endpoints::{Attempt, Endpoint, Manner};
use tiergate_tests::objects::{annotated, delegation, endpoints, ingress, service_by_hand};
use tiergate_tests::stage::Stage;
use tiergate_tests::{load, numbers, wait};

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
    let stage = Stage::set(cluster(), namespace, REPLICAS, &LONG_REST, &manners);
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
fn an_endpoint_that_is_late_costs_its_own_requests_and_no_rest() {
    let manners = [Manner::IsSilent, Manner::Answers, Manner::Answers];
    let stage = Stage::set(cluster(), "silent", 1, &LONG_REST, &manners);
    let rule = ingress("web", Some("tiergate"), &stage.host, "web");
    let limit = ("nginx.ingress.kubernetes.io/proxy-read-timeout", "1");
    stage
        .cluster
        .kubectl()
        .apply("silent", &annotated(&rule, &[limit]));
    stage.until_in_table("\"readSeconds\": 1");
    // It may be at work on each of them: none is sent again, and that it is slow is no reason to slow down the others.
    let requests = 3 * (FAILURES + 1);
    let statuses = stage.statuses("GET", requests);
    let late = requests / 3;
    assert_eq!(statuses, [(200, requests - late), (504, late)].into());
    assert_eq!(stage.counts(), [late; 3]);
    assert_eq!(stage.ejections(), [0.0]);
}

#[test]
fn with_more_than_half_of_the_endpoints_failing_all_get_requests() {
    let manners = [Manner::Closes, Manner::Closes, Manner::Answers];
    let stage = Stage::set(cluster(), "mostly-failing", 1, &LONG_REST, &manners);
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
    let stage = Stage::set(cluster(), "no-ejection", 1, &settings, &manners);
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
    let stage = Stage::set(cluster(), "repeats", 2, &settings, &[Manner::Closes; 3]);
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
                by_path(stage.endpoints.iter().flat_map(Endpoint::attempts)).get(&path),
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
    let stage = Stage::set(cluster(), "across", 1, &settings, &[Manner::Closes; 3]);
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
    let at_pods = by_path(stage.endpoints.iter().flat_map(Endpoint::attempts));
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
    let stage = Stage::set(cluster(), "budget", 1, &settings, &manners);
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
    let stage = Stage::set(cluster(), "removed", 2, &[], &manners);
    let [leaving, staying] = &stage.endpoints[..] else {
        panic!("two endpoints");
    };
    leaving.set(Manner::Holds);
    let mut held = begin_at(&stage, leaving);
    leaving.set(Manner::Answers);
    let target = stage.cluster.target(&stage.host);
    let api = stage.cluster.plain_api_server(&stage.cluster.kubeconfig());
    let slices = "/apis/discovery.k8s.io/v1/namespaces/removed/endpointslices";
    let mut watch = api.watch(slices);
    let is_removal = |event: &Value| {
        event["type"] == "MODIFIED" && event["object"]["metadata"]["name"] == "web-by-hand"
    };
    let (report, (at_removal, told)) = load::during(&target, || {
        thread::scope(|scope| {
            let told = scope.spawn(|| watch.find(is_removal).map(|_| leaving.age()));
            let change = json!({"endpoints": endpoints(&[staying.ip])});
            stage.cluster.kubectl().ok(&format!(
                "--namespace removed patch endpointslice web-by-hand --type=merge --patch={change}"
            ));
            let service = "removed/web";
            stage
                .cluster
                .until_endpoints("removed", &stage.host, service, &[staying.ip]);
            let count = leaving.count();
            (count, told.join().expect("it watches").expect("the event"))
        })
    });
    report.assert_nothing_failed();
    assert_eq!(stage.statuses("GET", 40), [(200, 40)].into());
    assert!(at_removal > 1, "it had requests before");
    assert_eq!(leaving.count(), at_removal);
    let last = leaving.attempts().last().expect("it had requests").after;
    numbers::show(&format!(
        "removed endpoint: the last request came {} ms after a watch had the event ({})",
        last.saturating_sub(told).as_millis(),
        report.sent()
    ));
    leaving.release();
    let response = held.read_response(false).expect("the answer is whole");
    assert_eq!(response.status, 200);
    assert_eq!(response.echo("pod"), leaving.ip.to_string());
}

/// A connection whose request has come to this endpoint.
fn begin_at(stage: &Stage<'_>, endpoint: &Endpoint) -> Connection {
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
