//! Least privilege: what each tier of the story asked the API server for, against the rules that its ServiceAccount has.
//!
//! The tiers go through changes first: routes come and go, applications are scaled, both tiers are rolled out again. Then
//! the log of the API server tells what they asked for: in the real world its audit log, with the decision of RBAC.

use std::collections::BTreeSet;
use std::sync::OnceLock;

use tiergate_tests::cluster::{Cluster, InTest};
use tiergate_tests::objects::{application, ingress};
use tiergate_tests::rights::Right;
use tiergate_tests::world::{self, Request};
use tiergate_tests::{kubectl, wait};

/// The tiers of the story: namespace and name of their ServiceAccounts, and whether they may look beyond the namespace.
const TIERS: [(&str, &str, bool); 3] = [
    ("kube-system", "tiergate-cluster", true),
    ("openstack", "ingress", false),
    ("ceph", "ingress", false),
];

/// The story, after the changes.
fn cluster() -> InTest<'static> {
    static CLUSTER: OnceLock<Cluster> = OnceLock::new();
    let start = || {
        let cluster = Cluster::start("least-privilege", &[]);
        go_through_changes(&cluster);
        cluster
    };
    CLUSTER.get_or_init(start).in_test()
}

fn go_through_changes(cluster: &Cluster) {
    let kubectl = cluster.kubectl();
    for namespace in ["openstack", "ceph"] {
        let host = format!("further.{namespace}.svc.cluster.local");
        kubectl.apply(namespace, &application("further", 1));
        kubectl.apply(
            namespace,
            &ingress("further", Some("tiergate"), &host, "further"),
        );
        cluster.until_status(&host, "/", 200);
        kubectl.ok(&format!(
            "--namespace {namespace} scale deployment further --replicas 3"
        ));
        kubectl.rolled_out(namespace, "further");
        kubectl.ok(&format!("--namespace {namespace} delete ingress further"));
        cluster.until_status(&host, "/", 404);
    }
    // What is wrong is told by Events, and that needs a right as well.
    for (namespace, class) in [
        ("openstack", "tiergate"),
        ("ceph", "tiergate"),
        ("ceph", "tiergate-cluster"),
    ] {
        let name = format!("broken-{class}");
        let host = format!("{name}.{namespace}.svc.cluster.local");
        kubectl.apply(namespace, &ingress(&name, Some(class), &host, "missing"));
        let what = format!("an Event of {namespace}/{name}");
        wait::until(&what, wait::CHANGE_SECONDS, || {
            let described = kubectl.ok(&format!("--namespace {namespace} describe ingress {name}"));
            wait::seen(described.contains("ServiceNotFound"), described)
        });
        kubectl.ok(&format!("--namespace {namespace} delete ingress {name}"));
    }
    for (namespace, _, _) in TIERS {
        let tier = cluster.tier_deployment(namespace);
        kubectl.ok(&format!(
            "--namespace {namespace} rollout restart deployment {tier}"
        ));
        kubectl.rolled_out(namespace, &tier);
        // The last that one asks for is that its Lease goes.
        cluster.until_no_tier_leaves(namespace);
    }
    cluster.until_status("keystone.openstack.svc.cluster.local", "/v3", 200);
}

/// Everything that a ServiceAccount asked for. Waits for the first watch: a tier that asked for nothing proves nothing.
fn requests_of(cluster: &Cluster, namespace: &str, account: &str) -> Vec<Request> {
    let what = format!("a watch by {namespace}/{account}");
    wait::until(&what, wait::CHANGE_SECONDS, || {
        let requests = all_requests_of(cluster, namespace, account);
        let has_watched = requests.iter().any(|request| request.verb == "watch");
        wait::seen(has_watched, format!("{} requests", requests.len())).map(|()| requests)
    })
}

fn all_requests_of(cluster: &Cluster, namespace: &str, account: &str) -> Vec<Request> {
    let user = format!("system:serviceaccount:{namespace}:{account}");
    let mut requests = cluster.requests();
    // What everybody may ask, such as the version of the API server, is no right of one.
    requests.retain(|request| request.user == user && !request.is_discovery());
    requests
}

/// What the roles that are bound to a ServiceAccount give it.
fn rights_of(cluster: &Cluster, namespace: &str, account: &str) -> BTreeSet<Right> {
    cluster.rights_of(&format!("system:serviceaccount:{namespace}:{account}"))
}

/// The right that a request used, given in its namespace or for all of them.
fn right_used<'a>(request: &Request, rights: &'a BTreeSet<Right>) -> Option<&'a Right> {
    rights.iter().find(|right| right.gives(request))
}

#[test]
fn a_tier_asks_for_nothing_that_its_rules_do_not_give() {
    let cluster = cluster();
    for (namespace, account, _) in TIERS {
        let rights = rights_of(&cluster, namespace, account);
        for request in requests_of(&cluster, namespace, account) {
            let used = right_used(&request, &rights);
            assert!(used.is_some(), "{namespace}/{account}: {request:?}");
        }
    }
}

#[test]
fn a_namespace_tier_makes_no_cluster_scoped_request_and_has_no_right_to() {
    let cluster = cluster();
    for (namespace, account, is_of_cluster) in TIERS {
        let requests = requests_of(&cluster, namespace, account);
        let outside = |request: &&Request| request.namespace != namespace;
        let outside: Vec<&Request> = requests.iter().filter(outside).collect();
        let rights = rights_of(&cluster, namespace, account);
        let given_outside = rights.iter().any(|right| right.namespace != namespace);
        eprintln!(
            "{namespace}/{account}: {} requests, {} outside its namespace",
            requests.len(),
            outside.len()
        );
        // The cluster tier looks at all namespaces: the log tells the two apart.
        assert_eq!(
            (!outside.is_empty(), given_outside),
            (is_of_cluster, is_of_cluster),
            "{namespace}/{account}: {outside:?}"
        );
    }
}

#[test]
fn a_tier_has_no_right_that_it_does_not_use() {
    let cluster = cluster();
    for (namespace, account, _) in TIERS {
        let rights = rights_of(&cluster, namespace, account);
        assert!(!rights.is_empty(), "{namespace}/{account} is bound");
        let requests = requests_of(&cluster, namespace, account);
        let used: BTreeSet<&Right> = requests
            .iter()
            .filter_map(|request| right_used(request, &rights))
            .collect();
        let unused: Vec<&Right> = rights.iter().filter(|one| !used.contains(one)).collect();
        assert!(unused.is_empty(), "{namespace}/{account}: {unused:#?}");
    }
}

#[test]
fn rbac_denied_no_request_of_a_tier_and_denies_what_the_rules_leave_out() {
    const TEST: &str = "rbac_denied_no_request_of_a_tier_and_denies_what_the_rules_leave_out";
    if !world::is_real() {
        return kubectl::skip(TEST, "the local cluster does not enforce RBAC");
    }
    let cluster = cluster();
    for (namespace, account, _) in TIERS {
        for request in requests_of(&cluster, namespace, account) {
            assert!(!request.is_denied, "{request:?}");
        }
    }
    // The same rights in other hands: what they give works, all else is denied, and the log says so.
    let kubectl = cluster.kubectl();
    kubectl.ok("--namespace openstack create serviceaccount curious");
    kubectl.ok("--namespace openstack create rolebinding curious --role=ingress --serviceaccount=openstack:curious");
    let token = kubectl.ok("--namespace openstack create token curious");
    let as_curious =
        |arguments: &str| kubectl.run(&format!("--token {} {arguments}", token.trim()));
    wait::until("the binding is seen", wait::CHANGE_SECONDS, || {
        let said = as_curious("--namespace openstack get ingresses");
        wait::seen(said.is_good, said.err)
    });
    let left_out = [
        (
            "--namespace ceph get ingresses",
            ["list", "ingresses", "ceph"],
        ),
        (
            "--namespace openstack get configmaps",
            ["list", "configmaps", "openstack"],
        ),
        (
            "--namespace openstack delete ingress keystone",
            ["delete", "ingresses", "openstack"],
        ),
        ("get secrets --all-namespaces", ["list", "secrets", ""]),
    ];
    for (arguments, request) in left_out {
        let said = as_curious(arguments);
        assert!(said.err.contains("Forbidden"), "{arguments}: {}", said.err);
        let logged = all_requests_of(&cluster, "openstack", "curious");
        let is_logged = logged.iter().any(|one| {
            let fields = [&one.verb, &one.resource, &one.namespace];
            one.is_denied && fields == request
        });
        assert!(is_logged, "{arguments}: {logged:?}");
    }
}
