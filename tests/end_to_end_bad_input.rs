//! Objects and flags that are wrong: each gets its complaint, and nothing else changes.

use std::net::TcpListener;
use std::process::Command;
use std::sync::OnceLock;

use tiergate_tests::bad_objects::{bad_annotations, bad_backends, bad_secrets};
use tiergate_tests::cluster::{Cluster, InTest, binary};
use tiergate_tests::objects::{application, ingress, tls_secret};
use tiergate_tests::{client, tls, wait};

fn cluster() -> InTest<'static> {
    static CLUSTER: OnceLock<Cluster> = OnceLock::new();
    CLUSTER
        .get_or_init(|| Cluster::start("bad-input", &["--empty"]))
        .in_test()
}

const CLASS: Option<&str> = Some("tiergate-cluster");

/// A namespace with a good application and a good Ingress: what must not be harmed.
fn good_neighbour(cluster: &Cluster, namespace: &str) -> String {
    let kubectl = cluster.kubectl();
    let host = format!("good.{namespace}.example.test");
    kubectl.create_namespace(namespace);
    kubectl.apply(namespace, &application("web", 1));
    kubectl.apply(namespace, &ingress("good", CLASS, &host, "web"));
    kubectl.rolled_out(namespace, "web");
    cluster.until_status(&host, "/", 200);
    host
}

#[test]
fn a_secret_of_a_namespace_that_is_not_named_is_not_read() {
    let cluster = cluster();
    let kubectl = cluster.kubectl();
    let good = good_neighbour(&cluster, "not-allowed");
    let pair = tls::self_signed(&["tls.not-allowed.example.test"]);
    kubectl.apply(
        "not-allowed",
        &tls_secret("own", &pair.certificate, &pair.key),
    );
    let host = "tls.not-allowed.example.test";
    let tls = format!("  tls:\n  - {{hosts: [{host}], secretName: own}}\n");
    kubectl.apply("not-allowed", &(ingress("tls", CLASS, host, "web") + &tls));
    cluster.until_condition("not-allowed", "tls", "SecretNotAllowed");
    wait::until("the log names the setting", wait::CHANGE_SECONDS, || {
        let log = cluster.container_logs("tiergate-cluster");
        let is_told = log.lines().any(|line| {
            ["secret_not_allowed", "not-allowed", "--secret-namespaces"]
                .iter()
                .all(|word| line.contains(word))
        });
        wait::seen(is_told, "not there")
    });
    // Its routes are served, over TLS with the default certificate.
    let (mut connection, shown) = tls::open(cluster.https(), host).unwrap();
    assert_eq!(shown, tls::der(&cluster.default_certificate().1));
    let response = connection.send(&client::Request::get(host, "/")).unwrap();
    assert_eq!(response.status, 200);
    assert_eq!(cluster.get(&good, "/").status, 200);
    let asked = cluster.requests().into_iter().filter(|request| {
        request.resource == "secrets" && request.user.ends_with(":tiergate-cluster")
    });
    for request in asked {
        assert_eq!(request.verb, "get", "{request:?}");
        assert_ne!(request.namespace, "not-allowed", "{request:?}");
    }
    kubectl.ok("delete namespace not-allowed --wait=false");
}

#[test]
fn the_api_server_refuses_what_cannot_be_meant() {
    let cluster = cluster();
    let kubectl = cluster.kubectl();
    let good = ingress("bad", CLASS, "bad.example.test", "web");
    let change = |from: &str, to: &str| {
        assert!(good.contains(from), "{from}");
        good.replace(from, to)
    };
    let cases = [
        (change("        pathType: Prefix\n", ""), "pathType"),
        (change("pathType: Prefix", "pathType: Regex"), "pathType"),
        (
            change("path: /\n", "path: relative\n"),
            "must be an absolute path",
        ),
        (
            change("host: bad.example.test", "host: '*.*.example.test'"),
            "spec.rules[0].host",
        ),
        (
            change("host: bad.example.test", "host: 10.0.0.1"),
            "must be a DNS name",
        ),
        (
            change("host: bad.example.test", "host: Bad_Name"),
            "spec.rules[0].host",
        ),
        (change("name: bad\n", "name: Not_A_Name\n"), "metadata.name"),
        (
            change("number: 80", "number: 99999"),
            "must be between 1 and 65535",
        ),
        (
            change("port: {number: 80}", "port: {}"),
            "port name or number is required",
        ),
        (change("service: {", "servce: {"), "unknown field"),
        (change("number: 80", "number: eighty"), "number"),
        (
            change(
                "apiVersion: networking.k8s.io/v1",
                "apiVersion: networking.k8s.io/v9",
            ),
            "networking.k8s.io/v9",
        ),
        ("kind: Ingress\n".to_owned(), "apiVersion"),
        ("not: [yaml\n".to_owned(), "yaml"),
        (
            change(
                "  name: bad\n",
                &format!(
                    "  name: bad\n  annotations: {{note: {}}}\n",
                    "x".repeat(1 << 20)
                ),
            ),
            "metadata.annotations",
        ),
    ];
    for (yaml, named) in cases {
        let said = kubectl.run_with("apply -f -", &yaml);
        assert!(!said.is_good, "was accepted:\n{yaml}");
        assert!(
            said.err.contains(named),
            "says nothing of {named}: {}\n{yaml}",
            said.err
        );
    }
    assert!(!kubectl.run("get ingress bad").is_good, "one was stored");
}

#[test]
fn a_bad_object_costs_only_its_own_rule_and_its_owner_is_told() {
    let cluster = cluster();
    let kubectl = cluster.kubectl();
    let good = good_neighbour(&cluster, "bad-objects");
    cluster.allow_secrets("bad-objects");
    let bad = bad_backends().into_iter().chain(bad_secrets());
    for (name, yaml, status, reason) in bad.chain(bad_annotations()) {
        kubectl.apply("bad-objects", &yaml);
        cluster.until_condition("bad-objects", name, reason);
        cluster.until_status(&format!("{name}.example.test"), "/", status);
        wait::until("the log names the reason", wait::CHANGE_SECONDS, || {
            let log = cluster.container_logs("tiergate-cluster");
            let is_told = log
                .lines()
                .any(|line| line.contains(reason) && line.contains(name));
            wait::seen(is_told, "not there")
        });
        assert_eq!(
            cluster.get(&good, "/").status,
            200,
            "{name} harmed its neighbour"
        );
    }
    kubectl.ok("delete namespace bad-objects --wait=false");
}

#[test]
fn an_ingress_of_ten_thousand_rules_costs_no_other_its_own() {
    const RULES: usize = 10_000;
    let cluster = cluster();
    let kubectl = cluster.kubectl();
    let good = good_neighbour(&cluster, "many-rules");
    let rules: String = (0..RULES)
        .map(|number| {
            // One of them names nobody.
            let service = if number == 5000 { "nobody" } else { "web" };
            format!(
                "  - host: n{number}.x.test\n    http: {{paths: [{{path: /, pathType: Prefix, backend: {{service: {{name: {service}, port: {{number: 80}}}}}}}}]}}\n"
            )
        })
        .collect();
    let large = format!(
        "apiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata: {{name: large, namespace: many-rules}}\nspec:\n  ingressClassName: tiergate-cluster\n  rules:\n{rules}"
    );
    // `apply` would keep a second copy of it in an annotation, which may not be as long.
    let said = kubectl.run_with("create -f -", &large);
    assert!(said.is_good, "{}", said.err);
    cluster.until_status(&format!("n{}.x.test", RULES - 1), "/", 200);
    cluster.until_status("n0.x.test", "/", 200);
    cluster.until_status("n5000.x.test", "/", 503);
    cluster.until_condition("many-rules", "large", "ServiceNotFound");
    assert_eq!(cluster.get(&good, "/").status, 200);
    kubectl.ok("--namespace many-rules delete ingress large");
    cluster.until_status("n0.x.test", "/", 404);
    assert_eq!(cluster.get(&good, "/").status, 200);
    kubectl.ok("delete namespace many-rules --wait=false");
}

#[test]
fn the_older_claim_of_a_host_wins_and_the_younger_is_told() {
    let cluster = cluster();
    let kubectl = cluster.kubectl();
    let host = good_neighbour(&cluster, "first-come");
    kubectl.create_namespace("second-come");
    kubectl.apply("second-come", &application("web", 1));
    kubectl.apply("second-come", &ingress("late", CLASS, &host, "web"));
    kubectl.rolled_out("second-come", "web");
    cluster.until_condition("second-come", "late", "PathConflict");
    assert_eq!(cluster.get(&host, "/").echo("namespace"), "first-come");
    // With the older claim gone, the younger has the host.
    kubectl.ok("--namespace first-come delete ingress good");
    wait::until("the younger has it", wait::CHANGE_SECONDS, || {
        let response = cluster.get(&host, "/");
        let is_there = response.status == 200 && response.echo("namespace") == "second-come";
        wait::seen(is_there, response.text())
    });
    kubectl.ok("delete namespace first-come second-come --wait=false");
}

#[test]
fn wrong_flags_of_up_are_refused_with_their_name() {
    let cases = [
        ("--vip nonsense", "--vip"),
        ("--vip 192.0.2.1", "127.0.0.0/8"),
        ("--pod-cidr nonsense", "--pod-cidr"),
        ("--pod-cidr 10.0.0.0/8", "127.0.0.0/8"),
        ("--nodes 0", "--nodes"),
        ("--nodes many", "--nodes"),
        ("--http-port 99999", "--http-port"),
        ("--https-port -1", "--https-port"),
        ("--image nonsense", "--image"),
        ("--image a:1=/nowhere/at/all", "/nowhere/at/all"),
        ("--api-address nonsense", "--api-address"),
        ("--log-level loud", "--log-level"),
        ("--empty --api-only", "--api-only"),
        ("--api-only --request-log /nowhere/at/all", "--request-log"),
        (
            "--api-only --kubeconfig /proc/nowhere/kubeconfig",
            "--kubeconfig",
        ),
        ("--no-such-flag", "--no-such-flag"),
        ("--htp-port 1", "--http-port"),
    ];
    for (arguments, named) in cases {
        let output = Command::new("timeout")
            .arg("60")
            .arg(binary("tiergate-sim"))
            .arg("up")
            .args(arguments.split(' '))
            .env_remove("CARGO")
            .output()
            .expect("it can be started");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let code = output.status.code();
        assert!(
            matches!(code, Some(2 | 3)),
            "up {arguments} ended with {code:?}: {said}"
        );
        assert!(
            said.contains(named),
            "up {arguments} says nothing of {named}: {said}"
        );
        assert!(output.stdout.is_empty(), "up {arguments} started something");
    }
}

#[test]
fn an_address_that_is_taken_is_named() {
    let cluster = cluster();
    // Somebody else listens there, be it another cluster or not.
    let listener = TcpListener::bind("127.98.255.254:0").expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    let (vip, port) = (address.ip().to_string(), address.port().to_string());
    let folder = tempfile::tempdir().unwrap();
    let output = Command::new("timeout")
        .arg("120")
        .arg(binary("tiergate-sim"))
        .args([
            "up",
            "--empty",
            "--pod-cidr",
            "127.99.0.0/17",
            "--vip",
            &vip,
            "--http-port",
            &port,
            "--kubeconfig",
        ])
        .arg(folder.path().join("kubeconfig"))
        .env_remove("CARGO")
        .output()
        .expect("it can be started");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(4), "{said}");
    assert!(said.contains(&vip), "{said}");
    // The cluster that was there first goes on.
    assert_eq!(cluster.get("nobody.example.test", "/").status, 404);
}
