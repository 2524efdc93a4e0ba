//! Upgrades of both tiers to a build of another version and back, and a killed replica, under a load that counts every failure.
//!
//! helm 3 makes the releases; helm 4 takes them over, upgrades them and rolls them back. Which version answers is read from the
//! metrics of every ready pod. Clients keep connections, or make a new one for each request; none repairs anything.

use std::collections::BTreeSet;

use tiergate_tests::cluster::next_version;
use tiergate_tests::helm::CLUSTER_NAMESPACE;
use tiergate_tests::load::{self, Report};
use tiergate_tests::numbers;
use tiergate_tests::releases::{Releases, Site, kill_tier_at};

/// The tag of the other version.
const NEXT: &str = "next";

fn versions(releases: &Releases<'_>) -> BTreeSet<String> {
    let all = releases.all().into_iter();
    all.flat_map(|release| releases.cluster.tier_versions(release.namespace))
        .collect()
}

/// The version of all tiers, when it is one.
fn version(releases: &Releases<'_>) -> String {
    let versions: Vec<String> = versions(releases).into_iter().collect();
    let [version] = &versions[..] else {
        panic!("not one version: {versions:?}");
    };
    version.clone()
}

fn show(what: &str, report: &Report) {
    numbers::show(&format!(
        "helm: {what}: {} failed of {}",
        report.failed,
        report.sent()
    ));
}

fn upgrades_and_back(site: &Site) {
    let with_3 = site.releases("3");
    for release in with_3.all() {
        release.install("");
    }
    with_3.until_answered("openstack", "keystone");
    let first = version(&with_3);

    let with_4 = site.releases("4");
    let (report, ()) = load::during(&with_4.target(), || {
        for release in with_4.all() {
            release.upgrade(&format!("image: {{tag: {NEXT}}}"));
        }
    });
    show("upgrade of both tiers to another version", &report);
    report.assert_nothing_failed();
    let next = version(&with_4);
    assert_ne!(first, next, "the other build answers");

    let (report, ()) = load::during(&with_4.target(), || {
        for release in with_4.all() {
            release.helm.rollback(release.name, release.namespace, 1);
        }
    });
    show("rollback of both tiers", &report);
    report.assert_nothing_failed();
    assert_eq!(version(&with_4), first);
}

fn kill_a_replica(site: &Site, namespace: &str, component: &str) -> Report {
    let releases = site.releases("4");
    let selector = format!("app.kubernetes.io/component={component}");
    let pods = site.cluster.ready_pods(namespace, &selector);
    assert_eq!(pods.len(), 2, "{pods:?}");
    let (name, address) = &pods[0];
    let (report, ()) = load::during_with_one_retry(&releases.target(), || {
        kill_tier_at(address);
        let restarts = format!(
            "--namespace {namespace} wait pod/{name} --timeout 60s --for jsonpath={{.status.containerStatuses[0].restartCount}}=1"
        );
        site.cluster.kubectl().ok(&restarts);
        let ready =
            format!("--namespace {namespace} wait pod/{name} --timeout 60s --for condition=Ready");
        site.cluster.kubectl().ok(&ready);
    });
    numbers::show(&format!(
        "helm: one of two replicas of a {component} killed: {} failed after one retry a second later, {} retried, of {}",
        report.failed,
        report.retried,
        report.sent()
    ));
    report
}

#[test]
fn an_upgrade_a_rollback_and_a_killed_replica_fail_no_request() {
    let next = format!("tiergate:{NEXT}={}", next_version().display());
    let site = Site::start("helm-upgrade", &[next]);
    let _in_test = site.cluster.in_test();
    upgrades_and_back(&site);
    // The cluster tier asks the other replica: nobody notices.
    kill_a_replica(&site, "openstack", "namespace-tier").assert_nothing_failed();
    // In front of the cluster tier is the Service, which sends connections to a dead pod until it is known to be not ready: clients
    // notice, and get through when they ask once more.
    kill_a_replica(&site, CLUSTER_NAMESPACE, "cluster-tier").assert_nothing_failed();
}
