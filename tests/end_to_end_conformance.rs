//! The 30 executions of the Kubernetes ingress conformance suite, as facts: through a namespace tier alone, and through both tiers in a
//! row, where TLS ends at the cluster tier. docs/conformance.md shows them.
//!
//! Rows in a feature share their objects, and each feature has a namespace of its own. As in the suite a namespace is deleted
//! and not waited for before the next feature claims the same hosts.

use std::collections::BTreeSet;
use std::sync::OnceLock;

use tiergate_tests::client::{Request, Response, fetch};
use tiergate_tests::cluster::{Cluster, InTest};
use tiergate_tests::conformance::{
    DEFAULT_BACKEND, Feature, HOST_RULES, PATH_RULES, RULES, Way, ingress, is_served_by, rule,
};
use tiergate_tests::{tls, wait};

fn cluster() -> InTest<'static> {
    static CLUSTER: OnceLock<Cluster> = OnceLock::new();
    CLUSTER
        .get_or_init(|| Cluster::start("conformance", &[]))
        .in_test()
}

#[test]
fn a_namespace_tier_alone_passes_every_row() {
    let cluster = cluster();
    every_feature(&cluster, Way::One);
}

#[test]
fn both_tiers_in_a_row_pass_every_row() {
    let cluster = cluster();
    every_feature(&cluster, Way::Two);
}

fn every_feature(cluster: &Cluster, way: Way) {
    default_backend(cluster, way);
    host_rules(cluster, way);
    ingress_class(cluster, way);
    load_balancing(cluster, way);
    // In the suite each of these rows has a namespace of its own, and all have the same hosts.
    for round in ["path-rules", "path-rules-again", "path-rules-at-last"] {
        path_rules(cluster, way, round);
    }
}

fn default_backend(cluster: &Cluster, way: Way) {
    let spec = "  defaultBackend:\n    service: {name: echo-service, port: {number: 8080}}\n";
    let feature = Feature::start(
        cluster,
        way,
        "default-backend",
        &["echo-service"],
        spec,
        None,
    );
    for (method, host, path) in DEFAULT_BACKEND {
        let row = format!("{way:?} {method} {host:?} /{path}");
        // The suite sends the address as the host of a request that names none.
        let host = host.map_or_else(|| feature.http.to_string(), str::to_owned);
        let request = Request::new(method, &host, &format!("/{path}"))
            .header("user-agent", "Go-http-client/1.1");
        let response = fetch(feature.http, &request).expect("an answer");
        assert_eq!(response.status, 200, "{row}: {}", response.text());
        assert_served_by(&row, &response, "echo-service");
        for name in ["content-length", "content-type", "date", "server"] {
            assert!(
                response.header(name).is_some(),
                "{row}: {name} of {:?}",
                response.headers
            );
        }
        assert_eq!(response.echo("method"), method, "{row}");
        assert_eq!(response.echo("path"), format!("/{path}"), "{row}");
        assert_eq!(response.echo("protocol"), "HTTP/1.1", "{row}");
        assert_eq!(response.echo("host"), host, "{row}");
        assert_eq!(
            response.seen_by_app("user-agent"),
            ["Go-http-client/1.1"],
            "{row}"
        );
    }
    feature.end();
}

fn host_rules(cluster: &Cluster, way: Way) {
    let pair = tls::self_signed(&["foo.bar.com"]);
    let spec = "  tls:\n  - hosts: [foo.bar.com]\n    secretName: conformance-tls\n  rules:\n"
        .to_owned()
        + &rule(
            "*.foo.com",
            &[("Prefix", "/", "wildcard-foo-com", "number: 8080")],
        )
        + &rule(
            "foo.bar.com",
            &[("Prefix", "/", "foo-bar-com", "name: http")],
        );
    let services = ["wildcard-foo-com", "foo-bar-com"];
    let feature = Feature::start(cluster, way, "host-rules", &services, &spec, Some(&pair));
    let (_, shown) = tls::open(feature.https, "foo.bar.com").expect("a handshake");
    assert!(
        shown == tls::der(&pair.certificate),
        "{way:?}: another certificate"
    );
    for (scheme, host, path, service) in HOST_RULES {
        let row = format!("{way:?} {scheme}://{host}{path}");
        let response = if scheme == "https" {
            feature.get_by_https(host, path)
        } else {
            feature.get(host, path)
        };
        assert_answer(&row, &response, (host, path), service);
    }
    is_sent_to_https_once(&feature, "foo.bar.com");
    if way == Way::Two {
        // The cluster tier knows nothing of this one's certificate: the inner tier is the one that sends to https.
        let host = "inner.bar.com";
        let tls =
            format!("  tls:\n  - hosts: [{host}]\n    secretName: conformance-tls\n  rules:\n");
        let rules = rule(host, &[("Prefix", "/", "foo-bar-com", "name: http")]);
        let inner = ingress("inner", "tiergate", &(tls + &rules));
        cluster.kubectl().apply(&feature.namespace, &inner);
        feature.until_published("inner");
        feature.delegate(host);
        is_sent_to_https_once(&feature, host);
    }
    feature.end();
}

/// By http there is one redirect, whichever tier makes it, and by https none.
fn is_sent_to_https_once(feature: &Feature<'_>, host: &str) {
    let asked = Request::get(&format!("{host}:8080"), "/a/?b=c");
    let sent = fetch(feature.http, &asked).expect("an answer");
    assert_eq!(sent.status, 308, "{host}: {}", sent.text());
    let location = format!("https://{host}/a/?b=c");
    assert_eq!(sent.header("location"), Some(&*location));
    let served = feature.get_by_https(host, "/a/?b=c");
    assert_eq!(served.status, 200, "{host}: {}", served.text());
    assert_eq!(served.seen_by_app("x-forwarded-proto"), ["https"], "{host}");
}

fn ingress_class(cluster: &Cluster, way: Way) {
    let spec = "  rules:\n".to_owned()
        + &rule(
            "no-class",
            &[("Prefix", "/", "echo-service", "number: 8080")],
        );
    let feature = Feature::start(
        cluster,
        way,
        "ingress-class",
        &["echo-service"],
        &spec,
        None,
    );
    feature.delegate("other-class");
    let kubectl = cluster.kubectl();
    let invalid = ingress(
        "invalid",
        "some-invalid-class-name",
        &spec.replace("no-class", "other-class"),
    );
    kubectl.apply(&feature.namespace, &invalid);
    // One that has a status, applied after it: whoever wrote that has looked at the other.
    feature.publish("after", &spec.replace("no-class", "after-class"));
    assert_eq!(feature.get("other-class", "/").status, 404);
    let object = cluster.ingress(&feature.namespace, "invalid");
    let status = &object["status"]["loadBalancer"]["ingress"];
    assert!(status.is_null(), "{way:?}: {status}");
    feature.end();
}

fn load_balancing(cluster: &Cluster, way: Way) {
    let spec = "  rules:\n".to_owned()
        + &rule(
            "load-balancing",
            &[("Prefix", "/", "echo-service", "number: 8080")],
        );
    let feature = Feature::start(
        cluster,
        way,
        "load-balancing",
        &["echo-service"],
        &spec,
        None,
    );
    let (namespace, kubectl) = (&feature.namespace, cluster.kubectl());
    kubectl.ok(&format!(
        "--namespace {namespace} scale deployment echo-service --replicas=10"
    ));
    kubectl.rolled_out(namespace, "echo-service");
    let pods = || -> BTreeSet<String> {
        let answers = (0..100).map(|_| feature.get("load-balancing", "/"));
        answers
            .map(|response| {
                assert_eq!(response.status, 200, "{}", response.text());
                response.echo("pod")
            })
            .collect()
    };
    // The last slice may still be on its way to the tier.
    wait::until("ten pods that answer", wait::CHANGE_SECONDS, || {
        let pods = pods();
        wait::seen(pods.len() == 10, format!("{pods:?}"))
    });
    assert_eq!(pods().len(), 10, "{way:?}");
    feature.end();
}

fn path_rules(cluster: &Cluster, way: Way, name: &str) {
    let services: BTreeSet<&str> = RULES.iter().map(|(_, _, _, service)| *service).collect();
    let services: Vec<&str> = services.into_iter().collect();
    let hosts: BTreeSet<&str> = RULES.iter().map(|(host, ..)| *host).collect();
    let rules = hosts.into_iter().map(|host| {
        let paths: Vec<_> = RULES
            .iter()
            .filter(|rule| rule.0 == host)
            .map(|(_, kind, path, service)| (*kind, *path, *service, "number: 8080"))
            .collect();
        rule(host, &paths)
    });
    let spec = "  rules:\n".to_owned() + &rules.collect::<String>();
    let feature = Feature::start(cluster, way, name, &services, &spec, None);
    for (host, path, service) in PATH_RULES {
        assert_answer(
            &format!("{way:?} {host}{path}"),
            &feature.get(host, path),
            (host, path),
            service,
        );
    }
    feature.end();
}

fn assert_answer(row: &str, response: &Response, asked: (&str, &str), service: Option<&str>) {
    let Some(service) = service else {
        assert_eq!(response.status, 404, "{row}: {}", response.text());
        return;
    };
    assert_eq!(response.status, 200, "{row}: {}", response.text());
    assert_served_by(row, response, service);
    let (host, path) = (response.echo("host"), response.echo("path"));
    assert_eq!((host.as_str(), path.as_str()), asked, "{row}");
}

fn assert_served_by(row: &str, response: &Response, service: &str) {
    assert!(
        is_served_by(response, service),
        "{row}: {service}, not {}",
        response.echo("pod")
    );
}
