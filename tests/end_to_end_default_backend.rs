//! The default backend of a tier, in both tiers: error pages that were made for ingress-nginx get what they read.

use std::net::SocketAddr;
use std::sync::OnceLock;

use tiergate_tests::client::{Request, Response, fetch};
use tiergate_tests::cluster::{Cluster, InTest};
use tiergate_tests::objects::{application, cluster_tier, ingress, namespace_tier};
use tiergate_tests::wait;

fn cluster() -> InTest<'static> {
    static CLUSTER: OnceLock<Cluster> = OnceLock::new();
    CLUSTER
        .get_or_init(|| Cluster::start("default-backend", &["--empty"]))
        .in_test()
}

/// The plain HTTP of the only pod of a tier.
fn front(cluster: &Cluster, tier: &str) -> SocketAddr {
    let (_, ip) = cluster
        .ready_pods("pages", &format!("app={tier}"))
        .remove(0);
    format!("{ip}:8080").parse().expect("an address")
}

fn until_status(front: SocketAddr, host: &str, path: &str, status: u16) -> Response {
    let what = format!("{status} of {front} for {host}{path}");
    wait::until(&what, wait::CHANGE_SECONDS, || {
        let response =
            fetch(front, &Request::get(host, path)).map_err(|error| error.to_string())?;
        if response.status == status {
            Ok(response)
        } else {
            Err(format!("{}: {}", response.status, response.text()))
        }
    })
}

#[test]
fn what_no_rule_matches_gets_to_the_error_pages_of_either_tier() {
    const FLAG: &str = "--default-backend-service=pages/error-pages";
    let cluster = cluster();
    let kubectl = cluster.kubectl();
    kubectl.create_namespace("pages");
    kubectl.apply("pages", &application("web", 1));
    kubectl.apply("pages", &application("error-pages", 1));
    let class = "--ingress-class=pages";
    kubectl.apply(
        "pages",
        &namespace_tier("inner", "pages", 1, &[FLAG, class]),
    );
    kubectl.apply("pages", &cluster_tier("outer", "pages", &[FLAG, class]));
    let host = "web.pages.example.test";
    kubectl.apply("pages", &ingress("web", Some("pages"), host, "web"));
    for name in ["web", "error-pages", "inner", "outer"] {
        kubectl.rolled_out("pages", name);
    }
    for tier in ["inner", "outer"] {
        let front = front(&cluster, tier);
        let routed = until_status(front, host, "/", 200);
        assert!(routed.echo("pod").starts_with("web-"), "{tier}");
        assert!(routed.seen_by_app("x-code").is_empty(), "{tier}");

        let request = Request::get("nobody.example.test", "/no/such?page=1")
            .header("accept", "application/json")
            .header("x-code", "200")
            .header("x-namespace", "kube-system");
        let response = fetch(front, &request).expect("an answer");
        assert_eq!(response.status, 200, "{tier}: {}", response.text());
        let pod = response.echo("pod");
        assert!(pod.starts_with("error-pages-"), "{tier}: {pod}");
        assert_eq!(response.echo("path"), "/no/such", "{tier}");
        assert_eq!(response.echo("host"), "nobody.example.test", "{tier}");
        for (name, value) in [
            ("x-code", "404"),
            ("x-format", "application/json"),
            ("x-original-uri", "/no/such?page=1"),
        ] {
            assert_eq!(response.seen_by_app(name), [value], "{tier}: {name}");
        }
        assert!(response.seen_by_app("x-namespace").is_empty(), "{tier}");
        assert_eq!(response.seen_by_app("x-request-id").len(), 1, "{tier}");
    }
    // Without a pod that could show a page, the tier says itself that there is no route; and when it is back, it is asked again.
    kubectl.ok("--namespace pages scale deployment error-pages --replicas=0");
    for tier in ["inner", "outer"] {
        let front = front(&cluster, tier);
        let own = until_status(front, "nobody.example.test", "/", 404);
        assert!(own.text().contains("no_route"), "{tier}: {}", own.text());
        until_status(front, host, "/", 200);
    }
    kubectl.ok("--namespace pages scale deployment error-pages --replicas=1");
    for tier in ["inner", "outer"] {
        until_status(front(&cluster, tier), "nobody.example.test", "/", 200);
    }
    kubectl.ok("delete namespace pages --wait=false");
}
