//! What a user types every day, with kubectl 1.37 and 1.29.

use std::sync::OnceLock;

use tiergate_tests::cluster::{Cluster, InTest};
use tiergate_tests::kubectl::{Kubectl, is_installed, skip};
use tiergate_tests::objects::{application, ingress};
use tiergate_tests::wait;

fn cluster() -> InTest<'static> {
    static CLUSTER: OnceLock<Cluster> = OnceLock::new();
    CLUSTER
        .get_or_init(|| Cluster::start("kubectl", &[]))
        .in_test()
}

#[test]
fn a_day_with_kubectl_1_37() {
    a_day("1.37");
}

#[test]
fn a_day_with_kubectl_1_29() {
    a_day("1.29");
}

fn a_day(version: &str) {
    if !is_installed(version) {
        skip("a_day_with_kubectl", &format!("no kubectl {version}"));
        return;
    }
    let cluster = cluster();
    let kubectl = cluster.kubectl_of(version);
    let namespace = format!("day-{}", version.replace('.', "-"));
    look_around(&kubectl);
    create_and_serve(&cluster, &kubectl, &namespace);
    change_and_roll(&kubectl, &namespace);
    delete_a_pod(&cluster, &kubectl, &namespace);
    take_away(&cluster, &kubectl, &namespace);
}

/// Runs each command and expects each of the texts in its output.
fn say(kubectl: &Kubectl, commands: &[(&str, &[&str])]) {
    for (command, texts) in commands {
        let out = kubectl.ok(command);
        for text in *texts {
            assert!(
                out.contains(text),
                "kubectl {command} says no {text:?}:\n{out}"
            );
        }
    }
}

fn look_around(kubectl: &Kubectl) {
    say(
        kubectl,
        &[
            ("version", &["Client Version", "Server Version"]),
            (
                "get namespaces",
                &["kube-system", "openstack", "ceph", "Active"],
            ),
            ("get nodes", &["Ready"]),
            ("get nodes -o wide", &["INTERNAL-IP"]),
            (
                "get ingress -A",
                &[
                    "NAMESPACE",
                    "keystone.openstack.svc.cluster.local",
                    "*.ceph.svc.cluster.local",
                ],
            ),
            (
                "get ingressclass",
                &["tiergate-cluster", "tiergate.dev/ingress"],
            ),
            (
                "get pods -A -o wide",
                &["NODE", "IP", "keystone", "Running"],
            ),
            (
                "get all -n openstack",
                &["deployment.apps/", "replicaset.apps/", "service/", "pod/"],
            ),
            ("get svc,endpointslices -n ceph", &["rgw", "IPv4"]),
            ("describe node", &["Conditions:", "Ready"]),
            (
                "describe ingress -n openstack",
                &["Rules:", "keystone.openstack.svc.cluster.local"],
            ),
            ("describe pods -n ceph", &["Containers:", "Ready"]),
            (
                "api-resources",
                &["ingresses", "deployments", "endpointslices"],
            ),
            ("get deployments -A -o name", &["deployment.apps/"]),
            (
                "get pods -n openstack --sort-by .metadata.name",
                &["keystone"],
            ),
            (
                "get pods -A --field-selector status.phase=Running",
                &["keystone"],
            ),
            ("auth can-i create deployments", &["yes"]),
        ],
    );
}

fn create_and_serve(cluster: &Cluster, kubectl: &Kubectl, namespace: &str) {
    let n = format!("-n {namespace}");
    let host = format!("shop.{namespace}.example.test");
    say(
        kubectl,
        &[
            (&format!("create namespace {namespace}"), &["created"]),
            (
                &format!(
                    "create deployment shop --image example.test/shop:1 --replicas 2 --port 8080 {n}"
                ),
                &["created"],
            ),
            (
                &format!("expose deployment shop --port 80 --target-port 8080 {n}"),
                &["exposed"],
            ),
            (
                &format!(
                    "create ingress shop --class tiergate-cluster --rule {host}/*=shop:80 {n}"
                ),
                &["created"],
            ),
            (
                &format!("create configmap settings --from-literal a=b {n}"),
                &["created"],
            ),
            (
                &format!("create secret generic word --from-literal a=b {n}"),
                &["created"],
            ),
            (
                &format!("rollout status deployment/shop --timeout 120s {n}"),
                &["successfully rolled out"],
            ),
            (
                &format!("wait --for condition=Available deployment/shop --timeout 60s {n}"),
                &["condition met"],
            ),
            (
                &format!("wait --for condition=Ready pod -l app=shop --timeout 60s {n}"),
                &["condition met"],
            ),
            (&format!("get pods -o wide {n}"), &["1/1", "Running"]),
            (&format!("get ingress {n}"), &["shop", &host, "80"]),
            (&format!("describe ingress shop {n}"), &["shop:80"]),
            (
                &format!("describe deployment shop {n}"),
                &["2 desired", "ScalingReplicaSet"],
            ),
            (&format!("get events {n}"), &["shop"]),
        ],
    );
    assert_eq!(
        cluster.until_status(&host, "/", 200).echo("namespace"),
        namespace
    );

    let applied = kubectl.apply(namespace, &application("cart", 1));
    assert!(
        applied.contains("deployment.apps/cart created"),
        "{applied}"
    );
    let again = kubectl.apply(namespace, &application("cart", 1));
    assert!(again.contains("deployment.apps/cart unchanged"), "{again}");
    assert!(again.contains("service/cart unchanged"), "{again}");
    let cart = ingress(
        "cart",
        Some("tiergate-cluster"),
        &format!("cart.{host}"),
        "cart",
    );
    kubectl.apply(namespace, &cart);
    kubectl.rolled_out(namespace, "cart");
    cluster.until_status(&format!("cart.{host}"), "/", 200);
    let change = cart.replace("path: /\n", "path: /only\n");
    let said = kubectl.run_with(&format!("diff -f - {n}"), &change);
    assert!(said.out.contains("/only") && !said.is_good, "{said:?}");
    kubectl.apply(namespace, &change);
    cluster.until_status(&format!("cart.{host}"), "/", 404);
    cluster.until_status(&format!("cart.{host}"), "/only", 200);
    let said = kubectl.run_with(
        &format!("apply --server-side --force-conflicts -f - {n}"),
        &cart,
    );
    assert!(said.out.contains("serverside-applied"), "{said:?}");
    cluster.until_status(&format!("cart.{host}"), "/", 200);
}

fn change_and_roll(kubectl: &Kubectl, namespace: &str) {
    let n = format!("-n {namespace}");
    say(
        kubectl,
        &[
            (
                &format!("scale deployment shop --replicas 3 {n}"),
                &["scaled"],
            ),
            (
                &format!("rollout status deployment/shop --timeout 120s {n}"),
                &["successfully rolled out"],
            ),
            (&format!("get deployment shop {n}"), &["3/3"]),
            (
                &format!("set image deployment/shop shop=example.test/shop:2 {n}"),
                &["image updated"],
            ),
            (
                &format!("rollout status deployment/shop --timeout 120s {n}"),
                &["successfully rolled out"],
            ),
            (
                &format!("rollout history deployment/shop {n}"),
                &["REVISION"],
            ),
            (
                &format!("rollout restart deployment/shop {n}"),
                &["restarted"],
            ),
            (
                &format!("rollout status deployment/shop --timeout 120s {n}"),
                &["successfully rolled out"],
            ),
            (
                &format!("rollout undo deployment/shop {n}"),
                &["rolled back"],
            ),
            (
                &format!("rollout status deployment/shop --timeout 120s {n}"),
                &["successfully rolled out"],
            ),
            (
                &format!("label deployment shop tier=front {n}"),
                &["labeled"],
            ),
            (&format!("get deployments -l tier=front {n}"), &["shop"]),
            (
                &format!("annotate ingress shop note=one {n}"),
                &["annotated"],
            ),
            (
                &format!(
                    "patch deployment shop --type merge -p {{\"spec\":{{\"replicas\":2}}}} {n}"
                ),
                &["patched"],
            ),
            (
                &format!("get deployment shop -o jsonpath={{.spec.replicas}} {n}"),
                &["2"],
            ),
        ],
    );
    kubectl.rolled_out(namespace, "shop");
}

fn delete_a_pod(cluster: &Cluster, kubectl: &Kubectl, namespace: &str) {
    let n = format!("-n {namespace}");
    let (name, _) = cluster.ready_pods(namespace, "app=shop").remove(0);
    kubectl.ok(&format!("delete pod {name} {n}"));
    kubectl.rolled_out(namespace, "shop");
    wait::until("two pods again", wait::CHANGE_SECONDS, || {
        let pods = cluster.ready_pods(namespace, "app=shop");
        let is_new = pods.len() == 2 && pods.iter().all(|(pod, _)| *pod != name);
        wait::seen(is_new, format!("{pods:?}"))
    });
}

fn take_away(cluster: &Cluster, kubectl: &Kubectl, namespace: &str) {
    let host = format!("shop.{namespace}.example.test");
    cluster.until_status(&host, "/", 200);
    let out = kubectl.ok(&format!("delete ingress shop -n {namespace}"));
    assert!(out.contains("deleted"), "{out}");
    cluster.until_status(&host, "/", 404);
    // With everything in it, and it waits until all is gone.
    kubectl.ok(&format!("delete namespace {namespace} --timeout 120s"));
    let complaint = kubectl.refused(&format!("get namespace {namespace}"));
    assert!(complaint.contains("NotFound"), "{complaint}");
    cluster.until_status(&format!("cart.{host}"), "/only", 404);
}

#[test]
fn what_is_not_there_and_what_is_not_allowed_is_said_in_kubernetes_own_words() {
    let cluster = cluster();
    let kubectl = cluster.kubectl();
    for (command, complaint) in [
        (
            "get pod nobody",
            "Error from server (NotFound): pods \"nobody\" not found",
        ),
        (
            "get ingresses nobody",
            "ingresses.networking.k8s.io \"nobody\" not found",
        ),
        ("create namespace openstack", "AlreadyExists"),
        ("create namespace Not_A_Name", "Invalid value"),
        (
            "get nonsense",
            "the server doesn't have a resource type \"nonsense\"",
        ),
        ("delete namespace kube-system", "Forbidden"),
        ("--token wrong get pods", "Unauthorized"),
        (
            "create deployment x --image y --namespace nowhere",
            "namespaces \"nowhere\" not found",
        ),
    ] {
        let said = kubectl.refused(command);
        assert!(said.contains(complaint), "kubectl {command}: {said}");
    }
}
