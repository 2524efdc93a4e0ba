//! Releases of our chart from their installation to their removal, as an operator and two tenants make them, with both majors of helm.
//!
//! All in one cluster, one after the other: helm 4 goes the whole way, then helm 3 goes it again on what helm 4 has left, which is
//! nothing. The cluster release is the administrator's; each namespace release is made by somebody who is bound to the ClusterRole
//! `admin` in that namespace and to nothing else. The applications are those of the story.

use std::sync::OnceLock;
use std::time::Duration;

use tiergate_tests::client::{Request, fetch};
use tiergate_tests::cluster::InTest;
use tiergate_tests::helm::MAJORS;
use tiergate_tests::releases::{Releases, Site, TENANTS, host};
use tiergate_tests::wait::{self, Stopwatch};
use tiergate_tests::{load, numbers};

/// The limit of the time from the first `helm install` to the first request that is routed to both tenants.
const FIRST_REQUEST_LIMIT: Duration = Duration::from_secs(60);

/// What a release of ours carries, and what helm keeps of it.
const LABELS: [&str; 2] = ["app.kubernetes.io/part-of=tiergate", "owner=helm"];

fn site() -> (&'static Site, InTest<'static>) {
    static SITE: OnceLock<Site> = OnceLock::new();
    let site = SITE.get_or_init(|| Site::start("helm-install", &[]));
    (site, site.cluster.in_test())
}

fn installs(releases: &Releases<'_>) {
    let begin = Stopwatch::start();
    for release in releases.all() {
        let said = release.install("");
        assert!(said.contains("STATUS: deployed"), "{said}");
    }
    for (tenant, applications) in TENANTS {
        releases.until_answered(tenant, applications[0]);
    }
    let took = begin.elapsed();
    let major = releases.administrator.major();
    numbers::show(&format!(
        "helm {major}: install of the cluster release and 2 namespace releases to the first routed request of both: {:.1} s",
        took.as_secs_f64()
    ));
    assert!(took < FIRST_REQUEST_LIMIT, "{took:?}");
}

fn serves_the_story(releases: &Releases<'_>) {
    for (tenant, applications) in TENANTS {
        for application in applications {
            releases.until_answered(tenant, application);
        }
    }
    // What nobody has is found nowhere, and a bare name leads to no tenant.
    for name in [
        host("ceph", "keystone"),
        host("openstack", "rgw"),
        "keystone".to_owned(),
    ] {
        let response =
            fetch(releases.front(), &Request::get(&name, "/")).expect("the front door answers");
        assert_eq!(response.status, 404, "{name}: {}", response.text());
    }
    // Both tiers were passed, and the client's address arrives.
    let request = Request::get(&host("openstack", "keystone"), "/");
    let response = fetch(releases.front(), &request).expect("it answers");
    assert_eq!(
        response.seen_by_app("via").join(", "),
        "1.1 tiergate-cluster, 2.0 tiergate-namespace"
    );
}

fn passes_its_tests_and_says_what_to_do_next(releases: &Releases<'_>) {
    for release in releases.all() {
        let said = release.ok("test", "--timeout 120s");
        assert!(said.contains("Phase:          Succeeded"), "{said}");
        let status = release.ok("get notes", "");
        let next = format!(
            "helm test {} --namespace {}",
            release.name, release.namespace
        );
        assert!(status.contains(&next), "{status}");
    }
}

/// Our nodes have no zones, as many have none.
fn the_replicas_of_a_tier_are_on_different_nodes(releases: &Releases<'_>) {
    for release in releases.all() {
        let pods = format!(
            "--namespace {} get pods --selector app.kubernetes.io/instance={}",
            release.namespace, release.name
        );
        let pods = releases.cluster.kubectl().json(&pods);
        let pods = pods["items"].as_array().expect("a list").iter();
        let nodes: Vec<String> = pods
            .map(|pod| pod["spec"]["nodeName"].to_string())
            .collect();
        assert_eq!(nodes.len(), 2, "{nodes:?}");
        assert_ne!(nodes[0], nodes[1], "{}", release.namespace);
    }
}

fn an_upgrade_without_a_change_rolls_nothing(releases: &Releases<'_>) {
    let before = releases.pods();
    assert_eq!(before.len(), 6, "two pods of each tier: {before:?}");
    for release in releases.all() {
        release.upgrade("");
    }
    assert_eq!(releases.pods(), before);
}

fn a_changed_value_rolls_the_pods_and_fails_no_request(releases: &Releases<'_>) {
    let before = releases.pods();
    let (report, ()) = load::during(&releases.target(), || {
        for release in releases.all() {
            release.upgrade("config: {log_level: debug}");
        }
    });
    report.assert_nothing_failed();
    let after = releases.pods();
    let kept: Vec<&String> = after.iter().filter(|pod| before.contains(pod)).collect();
    assert!(kept.is_empty(), "not rolled: {kept:?}");
    for release in releases.all() {
        for admin in releases.cluster.admin_addresses(release.namespace) {
            let level = fetch(admin, &Request::get("admin", "/log-level")).expect("it answers");
            assert!(level.text().contains("debug"), "{}", level.text());
        }
    }
}

fn leaves_nothing_behind(releases: &Releases<'_>) {
    let mut all = releases.all();
    all.reverse();
    for release in all {
        let said = release.helm.uninstall(release.name, release.namespace);
        assert!(said.contains("uninstalled"), "{said}");
    }
    let kubectl = releases.cluster.kubectl();
    let kinds = kubectl.ok("api-resources --verbs=list --output name");
    let kinds: Vec<&str> = kinds
        .lines()
        .filter(|kind| !kind.starts_with("events"))
        .collect();
    wait::until("nothing of ours is left", wait::CHANGE_SECONDS, || {
        let mut left = String::new();
        for label in LABELS {
            left += &kubectl.ok(&format!(
                "get {} --all-namespaces --selector {label} --output name",
                kinds.join(",")
            ));
        }
        wait::seen(left.is_empty(), left)
    });
    // Documented: the classes go with the cluster release, unless ingressClass.keep is set.
    assert_eq!(kubectl.ok("get ingressclasses --output name"), "");
}

fn goes_the_whole_way(major: &str) {
    let (site, _in_test) = site();
    let releases = site.releases(major);
    installs(&releases);
    serves_the_story(&releases);
    passes_its_tests_and_says_what_to_do_next(&releases);
    the_replicas_of_a_tier_are_on_different_nodes(&releases);
    an_upgrade_without_a_change_rolls_nothing(&releases);
    a_changed_value_rolls_the_pods_and_fails_no_request(&releases);
    serves_the_story(&releases);
    leaves_nothing_behind(&releases);
}

#[test]
fn an_operator_and_two_tenants_install_use_change_and_remove_it_with_both_majors() {
    for major in MAJORS {
        goes_the_whole_way(major);
    }
}
