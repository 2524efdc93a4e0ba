//! Changes by kubectl, and the traffic that follows them. Those that must not fail a request are made under load, with
//! clients that keep their connection and clients that open a new one each time, and every failed request is counted.
//!
//! All tests share one cluster with the story; each works in objects of its own.

use std::sync::{Mutex, OnceLock, PoisonError};

use tiergate_tests::client::Request;
use tiergate_tests::cluster::{Cluster, InTest};
use tiergate_tests::load::{self, Target};
use tiergate_tests::objects::{application, ingress, tls_secret};
use tiergate_tests::{tls, wait};

fn cluster() -> InTest<'static> {
    static CLUSTER: OnceLock<Cluster> = OnceLock::new();
    let start = || {
        let cluster = Cluster::start("changes", &[]);
        cluster.kubectl().create_namespace("rotation");
        // Before the tests: the cluster tier is rolled out again for it.
        cluster.allow_secrets("rotation");
        cluster
    };
    CLUSTER.get_or_init(start).in_test()
}

/// An application of the tenant `openstack`, reached through both tiers.
fn two_tier_application(cluster: &Cluster, name: &str, replicas: u32) -> Target {
    let kubectl = cluster.kubectl();
    let host = format!("{name}.openstack.svc.cluster.local");
    kubectl.apply("openstack", &application(name, replicas));
    kubectl.apply("openstack", &ingress(name, Some("tiergate"), &host, name));
    kubectl.rolled_out("openstack", name);
    cluster.until_status(&host, "/", 200);
    cluster.target(&host)
}

/// Waits until exactly these pods answer.
fn until_pods_answer(cluster: &Cluster, host: &str, count: usize) {
    wait::until("the pods answer", wait::CHANGE_SECONDS, || {
        let mut pods: Vec<String> = (0..count * 4)
            .map(|_| cluster.get(host, "/").echo("pod"))
            .collect();
        pods.sort();
        pods.dedup();
        wait::seen(pods.len() == count, format!("{pods:?} instead of {count}"))
    });
}

#[test]
fn traffic_follows_an_ingress_that_is_applied_changed_and_deleted() {
    let cluster = cluster();
    let kubectl = cluster.kubectl();
    kubectl.create_namespace("follow");
    kubectl.apply("follow", &application("one", 1));
    kubectl.apply("follow", &application("two", 1));
    kubectl.rolled_out("follow", "one");
    kubectl.rolled_out("follow", "two");
    assert_eq!(cluster.get("follow.example.test", "/").status, 404);

    let class = Some("tiergate-cluster");
    kubectl.apply(
        "follow",
        &ingress("web", class, "follow.example.test", "one"),
    );
    let first = cluster.until_status("follow.example.test", "/", 200);
    assert!(first.echo("pod").starts_with("one-"), "{}", first.text());

    kubectl.apply(
        "follow",
        &ingress("web", class, "follow.example.test", "two"),
    );
    wait::until("the other Service answers", wait::CHANGE_SECONDS, || {
        let response = cluster.get("follow.example.test", "/");
        assert_eq!(
            response.status,
            200,
            "no request fails: {}",
            response.text()
        );
        wait::seen(response.echo("pod").starts_with("two-"), response.text())
    });

    kubectl.apply(
        "follow",
        &ingress("web", class, "moved.example.test", "two"),
    );
    cluster.until_status("moved.example.test", "/", 200);
    cluster.until_status("follow.example.test", "/", 404);

    kubectl.ok("--namespace follow delete ingress web");
    cluster.until_status("moved.example.test", "/", 404);
    kubectl.ok("delete namespace follow --wait=false");
}

#[test]
fn scaling_up_and_down_fails_no_request() {
    let cluster = cluster();
    let target = two_tier_application(&cluster, "scaled", 2);
    let kubectl = cluster.kubectl();
    let (report, ()) = load::during(&target, || {
        kubectl.ok("--namespace openstack scale deployment/scaled --replicas 5");
        kubectl.rolled_out("openstack", "scaled");
        until_pods_answer(&cluster, &target.host, 5);
        kubectl.ok("--namespace openstack scale deployment/scaled --replicas 1");
        kubectl.rolled_out("openstack", "scaled");
        until_pods_answer(&cluster, &target.host, 1);
    });
    report.assert_nothing_failed();
    assert!(report.pods.len() >= 5, "{:?}", report.pods);
}

#[test]
fn a_rollout_restart_fails_no_request() {
    let cluster = cluster();
    let target = two_tier_application(&cluster, "restarted", 3);
    let kubectl = cluster.kubectl();
    let before = cluster.ready_pods("openstack", "app=restarted");
    let (report, ()) = load::during(&target, || {
        kubectl.ok("--namespace openstack rollout restart deployment/restarted");
        kubectl.rolled_out("openstack", "restarted");
        wait::until("only new pods answer", wait::CHANGE_SECONDS, || {
            let answered = cluster.get(&target.host, "/").echo("pod");
            let is_old = before.iter().any(|(name, _)| *name == answered);
            wait::seen(!is_old, answered)
        });
    });
    report.assert_nothing_failed();
    assert!(report.pods.len() >= 6, "{:?}", report.pods);
}

#[test]
fn deleting_a_pod_fails_no_request() {
    let cluster = cluster();
    let target = two_tier_application(&cluster, "deleted", 2);
    let kubectl = cluster.kubectl();
    let (report, gone) = load::during(&target, || {
        let (name, _) = cluster.ready_pods("openstack", "app=deleted").remove(0);
        kubectl.ok(&format!("--namespace openstack delete pod {name}"));
        kubectl.rolled_out("openstack", "deleted");
        until_pods_answer(&cluster, &target.host, 2);
        name
    });
    report.assert_nothing_failed();
    let now = cluster.ready_pods("openstack", "app=deleted");
    assert!(
        now.iter().all(|(name, _)| *name != gone),
        "{gone} of {now:?}"
    );
}

/// kubectl refuses to restart a Deployment twice in a second, and two tests restart the same tier.
static RESTART: Mutex<()> = Mutex::new(());

/// Replaces all pods of the tier of a namespace, and waits until only new ones are there.
fn restart_tier(cluster: &Cluster, namespace: &str) {
    let _one_at_a_time = RESTART.lock().unwrap_or_else(PoisonError::into_inner);
    let kubectl = cluster.kubectl();
    let deployment = cluster.tier_deployment(namespace);
    let before = cluster.tier_pods(namespace);
    kubectl.ok(&format!(
        "--namespace {namespace} rollout restart deployment/{deployment}"
    ));
    kubectl.rolled_out(namespace, &deployment);
    wait::until("the old tier is gone", wait::CHANGE_SECONDS, || {
        let now = cluster.tier_pods(namespace);
        let is_new = !now.is_empty() && now.iter().all(|pod| !before.contains(pod));
        wait::seen(is_new, format!("{now:?}"))
    });
}

#[test]
fn restarting_the_namespace_tier_fails_no_request() {
    let cluster = cluster();
    let target = cluster.target("rgw.ceph.svc.cluster.local");
    let (report, ()) = load::during(&target, || restart_tier(&cluster, "ceph"));
    report.assert_nothing_failed();
    assert_eq!(report.namespaces.into_iter().collect::<Vec<_>>(), ["ceph"]);
}

/// The pods of this tier share one address: the next one begins to listen there before the last one stops.
#[test]
fn restarting_both_tiers_fails_no_request_over_http_and_tls() {
    let cluster = cluster();
    let plain = cluster.target("dashboard.ceph.svc.cluster.local");
    let mut secure = plain.clone();
    secure.address = cluster.https();
    secure.is_tls = true;
    let (outer, inner) = load::during(&plain, || {
        let (inner, ()) = load::during(&secure, || {
            restart_tier(&cluster, "kube-system");
            restart_tier(&cluster, "ceph");
            restart_tier(&cluster, "kube-system");
        });
        inner
    });
    outer.assert_nothing_failed();
    inner.assert_nothing_failed();
}

#[test]
fn a_rollout_fails_no_request_over_tls() {
    let cluster = cluster();
    let mut target = two_tier_application(&cluster, "secure", 2);
    target.address = cluster.https();
    target.is_tls = true;
    let kubectl = cluster.kubectl();
    let (report, ()) = load::during(&target, || {
        kubectl.ok("--namespace openstack rollout restart deployment/secure");
        kubectl.rolled_out("openstack", "secure");
    });
    report.assert_nothing_failed();
}

#[test]
fn a_backend_without_ready_pods_answers_503_and_comes_back() {
    let cluster = cluster();
    let target = two_tier_application(&cluster, "absent", 1);
    let kubectl = cluster.kubectl();
    kubectl.ok("--namespace openstack scale deployment/absent --replicas 0");
    cluster.until_status(&target.host, "/", 503);
    kubectl.ok("--namespace openstack scale deployment/absent --replicas 1");
    cluster.until_status(&target.host, "/", 200);
}

#[test]
fn a_new_certificate_is_shown_at_the_next_handshake() {
    let cluster = cluster();
    let kubectl = cluster.kubectl();
    const HOST: &str = "rotated.example.test";
    kubectl.apply("rotation", &application("web", 1));
    let first = tls::self_signed(&[HOST]);
    kubectl.apply(
        "rotation",
        &tls_secret("web", &first.certificate, &first.key),
    );
    let rules = ingress("web", Some("tiergate-cluster"), HOST, "web");
    let with_tls = format!("{rules}  tls:\n  - {{hosts: [{HOST}], secretName: web}}\n");
    kubectl.apply("rotation", &with_tls);
    kubectl.rolled_out("rotation", "web");

    let shows = |pair: &tls::Pair| {
        wait::until("the certificate is shown", wait::CHANGE_SECONDS, || {
            let opened = tls::open(cluster.https(), HOST).map_err(|problem| problem.to_string());
            let (connection, shown) = opened?;
            wait::seen(shown == tls::der(&pair.certificate), "another one").map(|()| connection)
        })
    };
    let mut kept = shows(&first);
    assert_eq!(kept.send(&Request::get(HOST, "/")).unwrap().status, 200);

    let second = tls::self_signed(&[HOST]);
    kubectl.apply(
        "rotation",
        &tls_secret("web", &second.certificate, &second.key),
    );
    let mut fresh = shows(&second);
    assert_eq!(fresh.send(&Request::get(HOST, "/")).unwrap().status, 200);
    // The connection with the old certificate goes on.
    assert_eq!(kept.send(&Request::get(HOST, "/")).unwrap().status, 200);
    // Nobody else's certificate moved.
    let (_, certificate) = cluster.default_certificate();
    let (_, shown) = tls::open(cluster.https(), "keystone.openstack.svc.cluster.local").unwrap();
    assert_eq!(shown, tls::der(&certificate));
    kubectl.ok("delete namespace rotation --wait=false");
}
