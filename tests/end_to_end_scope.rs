//! What a tier looks at, and what it leaves alone: namespaces, classes, and the requests that it makes.
//!
//! All tests share one cluster with the story; each works in objects of its own.

use std::sync::OnceLock;

use tiergate_tests::client::{self, fetch};
use tiergate_tests::cluster::{Cluster, InTest};
use tiergate_tests::objects::{application, ingress, namespace_tier};
use tiergate_tests::wait;
use tiergate_tests::world::Request;

fn cluster() -> InTest<'static> {
    static CLUSTER: OnceLock<Cluster> = OnceLock::new();
    CLUSTER
        .get_or_init(|| Cluster::start("scope", &[]))
        .in_test()
}

/// A namespace with an application `web` that is up.
fn namespace_with_web(cluster: &Cluster, name: &str) {
    let kubectl = cluster.kubectl();
    kubectl.create_namespace(name);
    kubectl.apply(name, &application("web", 1));
    kubectl.rolled_out(name, "web");
}

/// A served Ingress of the same tier, applied after another: when it answers, the tier has seen the other too.
fn is_caught_up(cluster: &Cluster, namespace: &str, name: &str) {
    let kubectl = cluster.kubectl();
    let host = format!("{name}.{namespace}.example.test");
    kubectl.apply(
        namespace,
        &ingress(name, Some("tiergate-cluster"), &host, "web"),
    );
    cluster.until_status(&host, "/", 200);
}

#[test]
fn an_ingress_of_another_controllers_class_is_left_alone() {
    let cluster = cluster();
    let kubectl = cluster.kubectl();
    namespace_with_web(&cluster, "foreign");
    let class = |controller: &str| {
        format!(
            "apiVersion: networking.k8s.io/v1\nkind: IngressClass\nmetadata: {{name: foreign}}\nspec: {{controller: {controller}}}\n"
        )
    };
    kubectl.apply("foreign", &class("example.test/other"));
    for (name, class) in [
        ("of-class", Some("foreign")),
        ("of-nobody", Some("unknown")),
    ] {
        let host = format!("{name}.foreign.example.test");
        kubectl.apply("foreign", &ingress(name, class, &host, "web"));
        is_caught_up(&cluster, "foreign", &format!("after-{name}"));
        assert_eq!(cluster.get(&host, "/").status, 404, "{name}");
    }
    kubectl.ok("delete namespace foreign --wait=false");
    kubectl.ok("delete ingressclass foreign");
}

#[test]
fn an_ingress_that_changes_its_class_changes_its_tier() {
    let cluster = cluster();
    let kubectl = cluster.kubectl();
    namespace_with_web(&cluster, "reclass");
    let host = "web.reclass.example.test";
    kubectl.apply(
        "reclass",
        &ingress("web", Some("tiergate-cluster"), host, "web"),
    );
    cluster.until_status(host, "/", 200);
    kubectl.apply("reclass", &ingress("web", Some("tiergate"), host, "web"));
    cluster.until_status(host, "/", 404);
    kubectl.ok("delete namespace reclass --wait=false");
}

#[test]
fn an_ingress_without_a_class_is_served_only_with_the_flag() {
    let cluster = cluster();
    let kubectl = cluster.kubectl();
    namespace_with_web(&cluster, "classless");
    let host = "web.classless.example.test";
    let without = ["--ingress-class=tiergate"];
    let with = ["--ingress-class=tiergate", "--watch-ingress-without-class"];
    kubectl.apply(
        "classless",
        &namespace_tier("strict", "classless", 1, &without),
    );
    kubectl.apply("classless", &namespace_tier("open", "classless", 1, &with));
    kubectl.apply("classless", &ingress("none", None, host, "web"));
    let other = "other.classless.example.test";
    kubectl.apply(
        "classless",
        &ingress("other", Some("tiergate"), other, "web"),
    );
    kubectl.rolled_out("classless", "strict");
    kubectl.rolled_out("classless", "open");
    let ask = |tier: &str, host: &str| {
        let (_, ip) = cluster
            .ready_pods("classless", &format!("app={tier}"))
            .remove(0);
        let address = format!("{ip}:8080").parse().unwrap();
        fetch(address, &client::Request::get(host, "/")).map(|response| response.status)
    };
    for (tier, host, status) in [
        ("open", host, 200),
        ("open", other, 200),
        ("strict", other, 200),
    ] {
        wait::until(
            &format!("{tier} answers {host}"),
            wait::CHANGE_SECONDS,
            || {
                let seen = ask(tier, host).map_err(|problem| problem.to_string())?;
                wait::seen(seen == status, seen.to_string())
            },
        );
    }
    assert_eq!(ask("strict", host).unwrap(), 404);
    kubectl.ok("delete namespace classless --wait=false");
}

#[test]
fn a_namespace_tier_serves_no_ingress_of_another_namespace() {
    let cluster = cluster();
    let kubectl = cluster.kubectl();
    namespace_with_web(&cluster, "neighbour");
    // It claims a host of openstack, with the class of the namespace tiers.
    let host = "keystone.openstack.svc.cluster.local";
    kubectl.apply(
        "neighbour",
        &ingress("thief", Some("tiergate"), host, "web"),
    );
    is_caught_up(&cluster, "neighbour", "seen");
    for _ in 0..20 {
        let response = cluster.get(host, "/");
        assert_eq!(
            (response.status, response.echo("namespace").as_str()),
            (200, "openstack")
        );
    }
    kubectl.ok("delete namespace neighbour --wait=false");
}

/// Requests of a ServiceAccount in the API server's request log: verb, resource and namespace of each.
fn requests_of(cluster: &Cluster, account: &str) -> Vec<[String; 3]> {
    let user = format!("system:serviceaccount:{account}");
    let mut requests = cluster.requests();
    // The version of the API server is told to everybody.
    requests.retain(|request| request.user == user && !request.is_discovery());
    let of = |request: Request| [request.verb, request.resource, request.namespace];
    requests.into_iter().map(of).collect()
}

#[test]
fn a_namespace_tier_makes_namespaced_requests_of_its_own_namespace_only() {
    let cluster = cluster();
    for namespace in ["openstack", "ceph"] {
        let requests = requests_of(&cluster, &format!("{namespace}:ingress"));
        assert!(requests.len() >= 4, "it watches four kinds: {requests:?}");
        for [verb, resource, of] in &requests {
            assert_eq!(of, namespace, "{verb} {resource}");
            // Its Role allows no more.
            let verbs: &[&str] = match resource.as_str() {
                "ingresses" | "endpointslices" | "secrets" => &["list", "watch"],
                "services" => &["get", "list", "watch"],
                "ingresses/status" => &["patch"],
                "events" => &["create"],
                "leases" => &["get", "list", "create", "update", "delete"],
                _ => &[],
            };
            assert!(verbs.contains(&verb.as_str()), "{verb} {resource}");
        }
    }
    // The cluster tier looks at all namespaces: the log tells the two apart.
    let requests = requests_of(&cluster, "kube-system:tiergate-cluster");
    let everywhere = |[verb, _, of]: &&[String; 3]| verb == "watch" && of.is_empty();
    assert!(
        requests.iter().any(|request| everywhere(&request)),
        "{requests:?}"
    );
}
