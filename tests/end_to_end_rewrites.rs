//! Paths that are regular expressions and paths that are rewritten, behind both tiers: a namespace tier follows the annotations, and the cluster
//! tier in front hands on what it got, or rewrites for its own part.

use std::sync::OnceLock;

use tiergate_tests::client::{Request, Response, fetch};
use tiergate_tests::cluster::{Cluster, InTest};
use tiergate_tests::objects::{annotated, application, delegation, ingress, namespace_tier};
use tiergate_tests::wait;

const TARGET: &str = "nginx.ingress.kubernetes.io/rewrite-target";
const REGEX: &str = "nginx.ingress.kubernetes.io/use-regex";
const PREFIX: &str = "nginx.ingress.kubernetes.io/x-forwarded-prefix";

/// What a client asks for, and what a pod is asked for then: Deployment, path, query.
type Case<'c> = (&'c str, (&'c str, &'c str, &'c str));

fn cluster() -> InTest<'static> {
    static CLUSTER: OnceLock<Cluster> = OnceLock::new();
    CLUSTER
        .get_or_init(|| Cluster::start("rewrites", &[]))
        .in_test()
}

/// An Ingress whose path is an expression.
fn expression(name: &str, host: &str, path: &str, service: &str) -> String {
    let rule = ingress(name, Some("tiergate"), host, service);
    let path = format!("path: '{path}'\n        pathType: ImplementationSpecific");
    rule.replace("path: /\n        pathType: Prefix", &path)
}

/// Waits until all cases hold, one after another. The requests went through both tiers, and the replicas of the inner one take turns.
fn check(cluster: &Cluster, host: &str, cases: &[Case<'_>]) {
    let holds = |(asked, (deployment, path, query)): &Case<'_>| {
        let response = cluster.get(host, asked);
        let seen = format!("{host}{asked}: {} {}", response.status, response.text());
        let is_right = response.status == 200
            && response.echo("pod").starts_with(&format!("{deployment}-"))
            && (
                response.echo("path").as_str(),
                response.echo("query").as_str(),
            ) == (*path, *query)
            && went_through_both(&response);
        wait::seen(is_right, seen)
    };
    wait::until("all cases hold", wait::CHANGE_SECONDS, || {
        cases.iter().try_for_each(holds)
    });
}

fn went_through_both(response: &Response) -> bool {
    let via = response.seen_by_app("via").join(", ");
    via.starts_with("1.1 tiergate-cluster, ") && via.ends_with(" tiergate-namespace")
}

/// A namespace with a seed's class and pods, and a tier of that class, which gets these hosts from the cluster tier: none is every host that
/// nobody else has.
fn seeded(
    namespace: &str,
    seed: &str,
    host: Option<&str>,
    deployments: &[&str],
) -> InTest<'static> {
    let cluster = cluster();
    let kubectl = cluster.kubectl();
    kubectl.create_namespace(namespace);
    kubectl.apply_seed(namespace, &format!("{seed}/class.yaml"));
    kubectl.apply_seed(namespace, &format!("{seed}/upstream.yaml"));
    let trusted = format!("--trusted-proxies={}", cluster.pod_network());
    let flags = ["--ingress-class=nginx", &trusted];
    kubectl.apply(namespace, &namespace_tier("ingress", namespace, 1, &flags));
    let rule = delegation(namespace, "ingress");
    let named = format!("host: '*.{namespace}.svc.cluster.local'\n    ");
    let wanted = host.map_or_else(String::new, |host| format!("host: {host}\n    "));
    kubectl.apply(namespace, &rule.replace(&named, &wanted));
    for deployment in deployments {
        kubectl.rolled_out(namespace, deployment);
    }
    kubectl.rolled_out(namespace, "ingress");
    cluster
}

#[test]
fn seed_001_is_rewritten_behind_the_cluster_tier() {
    const HOST: &str = "hello-world.example";
    let cluster = seeded("seed-001", "001", Some(HOST), &["web"]);
    let kubectl = cluster.kubectl();
    kubectl.apply_seed("seed-001", "001/example-ingress.yaml");
    kubectl.apply_seed("seed-001", "001/rewrite-ingress.yaml");
    check(
        &cluster,
        HOST,
        &[
            ("/sub-path/x/y?a=b", ("web", "/app-path/x/y", "a=b")),
            ("/sub-path", ("web", "/app-path/", "")),
            ("/sub-path/", ("web", "/app-path/", "")),
            ("/Sub-Path?a=b", ("web", "/app-path/", "a=b")),
            ("/sub-pathology", ("web", "/sub-pathology", "")),
            ("/", ("web", "/", "")),
        ],
    );
}

#[test]
fn seed_003_is_rewritten_behind_the_cluster_tier() {
    let deployments = ["in-hname-pod", "in-ip-pod"];
    let cluster = seeded("seed-003", "003", None, &deployments);
    let kubectl = cluster.kubectl();
    kubectl.apply_seed("seed-003", "003/ingress-rewrite.yaml");
    // Its address as the host, as the document asks, and any name.
    for host in ["192.168.1.101", "any.example"] {
        check(
            &cluster,
            host,
            &[
                ("/ip/a?b=c", ("in-ip-pod", "/", "b=c")),
                ("/ip", ("in-ip-pod", "/", "")),
                ("/other?b=c", ("in-hname-pod", "/other", "b=c")),
                ("/", ("in-hname-pod", "/", "")),
            ],
        );
    }
}

#[test]
fn groups_of_an_expression_stand_in_the_path_that_pods_get() {
    const HOST: &str = "groups.openstack.svc.cluster.local";
    let cluster = cluster();
    let kubectl = cluster.kubectl();
    for name in ["groups", "pictures"] {
        kubectl.apply("openstack", &application(name, 1));
    }
    let path = "/api/v([0-9]+)/people/([^/]+)(/.*)?$";
    let rule = expression("groups-api", HOST, path, "groups");
    let annotations = [(TARGET, "/people/$2/v$1$3"), (PREFIX, "/api")];
    kubectl.apply("openstack", &annotated(&rule, &annotations));
    let path = "/files/.+[.](png|svg)$";
    let rule = expression("groups-pictures", HOST, path, "pictures");
    kubectl.apply("openstack", &annotated(&rule, &[(REGEX, "true")]));
    let rule = ingress("groups", Some("tiergate"), HOST, "groups");
    kubectl.apply("openstack", &rule);
    kubectl.rolled_out("openstack", "groups");
    kubectl.rolled_out("openstack", "pictures");
    check(
        &cluster,
        HOST,
        &[
            (
                "/files/a/b.png?size=1",
                ("pictures", "/files/a/b.png", "size=1"),
            ),
            ("/FILES/A.PNG", ("pictures", "/FILES/A.PNG", "")),
            ("/files/a.txt", ("groups", "/files/a.txt", "")),
            ("/api/v2/people/kim", ("groups", "/people/kim/v2", "")),
            (
                "/api/v2/people/kim/posts/?x=%2F&y",
                ("groups", "/people/kim/v2/posts/", "x=%2F&y"),
            ),
            (
                "/api/v2/people/a%20b%3F/c",
                ("groups", "/people/a%20b%3F/v2/c", ""),
            ),
            ("/API/V10/People/Kim", ("groups", "/people/Kim/v10", "")),
            ("/api/vX/people/kim", ("groups", "/api/vX/people/kim", "")),
            ("/", ("groups", "/", "")),
            ("/api/v2/people/", ("groups", "/api/v2/people/", "")),
        ],
    );
    let request = Request::new("POST", HOST, "/api/v1/people/kim").body(b"a whole body");
    let response = fetch(cluster.http(), &request).expect("the VIP answers");
    assert_eq!(response.echo("path"), "/people/kim/v1");
    assert_eq!(response.json()["body_bytes"], 12);
    assert_eq!(response.seen_by_app("x-forwarded-prefix"), ["/api"]);
    let plain = cluster.get(HOST, "/api/vX/people/kim");
    assert!(plain.seen_by_app("x-forwarded-prefix").is_empty());
}

#[test]
fn both_tiers_rewrite_each_for_its_own_part() {
    const HOST: &str = "both.example.test";
    let cluster = cluster();
    let kubectl = cluster.kubectl();
    kubectl.apply("openstack", &application("both", 1));
    let inner = expression("both", HOST, "/app(/|$)(.*)", "both");
    kubectl.apply("openstack", &annotated(&inner, &[(TARGET, "/inner/$2")]));
    let outer = expression("both-front", HOST, "/front(/|$)(.*)", "ingress");
    let outer = outer.replace(
        "ingressClassName: tiergate",
        "ingressClassName: tiergate-cluster",
    );
    let annotations = [(TARGET, "/app/$2"), ("tiergate.dev/delegates", "true")];
    kubectl.apply("openstack", &annotated(&outer, &annotations));
    kubectl.rolled_out("openstack", "both");
    check(
        &cluster,
        HOST,
        &[
            ("/front/x?a=b", ("both", "/inner/x", "a=b")),
            ("/front", ("both", "/inner/", "")),
            ("/front/front/app", ("both", "/inner/front/app", "")),
        ],
    );
    // Nobody has it at the cluster tier, whatever the namespace tier would do.
    assert_eq!(cluster.get(HOST, "/app/x").status, 404);
}
