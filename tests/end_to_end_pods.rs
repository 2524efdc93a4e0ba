//! How pods behave on the cluster's nodes, as a user sees it with kubectl.

use std::sync::OnceLock;

use tiergate_tests::cluster::{Cluster, InTest};
use tiergate_tests::objects::application;
use tiergate_tests::wait;

/// Pods that have to be ready, and how long that may take in release mode on a machine that does nothing else.
const PODS: u32 = 100;
const AIM_SECONDS: f64 = 10.0;

fn cluster() -> InTest<'static> {
    static CLUSTER: OnceLock<Cluster> = OnceLock::new();
    CLUSTER
        .get_or_init(|| Cluster::start("pods", &["--empty"]))
        .in_test()
}

/// The lines below `Events:` of a description: type, reason, source and message.
fn told(description: &str) -> Vec<String> {
    let events = description.split("\nEvents:\n").nth(1).unwrap_or_default();
    let mut lines: Vec<String> = events
        .lines()
        .skip(2)
        .map(|line| {
            let words: Vec<&str> = line.split_whitespace().collect();
            // The third column is the age, with the count behind it when there is one.
            let message = words.iter().position(|word| word.contains("kubelet"));
            let message = message.unwrap_or(3).min(words.len());
            let said = words[message..].join(" ");
            // kubectl names the part of the pod since 1.30.
            let said = said.replace("spec.containers{app}: ", "");
            format!("{} {}: {said}", words[0], words[1])
        })
        .collect();
    lines.sort();
    lines
}

#[test]
#[expect(
    clippy::disallowed_types,
    clippy::print_stdout,
    reason = "the time that a user of kubectl waits is measured and shown, and decides nothing"
)]
fn many_pods_become_ready_at_once() {
    let cluster = cluster();
    let kubectl = cluster.kubectl();
    kubectl.create_namespace("many");
    let begin = std::time::Instant::now();
    kubectl.apply("many", &application("web", PODS));
    wait::until("all pods are ready", 300, || {
        let query = "get deployment web -n many -o jsonpath={.status.readyReplicas}";
        let ready = kubectl.ok(query).trim().to_owned();
        wait::seen(ready == PODS.to_string(), format!("{ready} are ready"))
    });
    let seconds = begin.elapsed().as_secs_f64();
    let said = if seconds <= AIM_SECONDS {
        "met"
    } else {
        "missed"
    };
    println!("{PODS} pods ready after {seconds:.1} s (aim: {AIM_SECONDS} s, {said})");
    kubectl.ok("delete namespace many --wait=false");
}

#[test]
fn a_description_tells_the_life_of_a_pod() {
    let cluster = cluster();
    let kubectl = cluster.kubectl();
    kubectl.create_namespace("life");
    let pod = r#"
apiVersion: v1
kind: Pod
metadata: {name: sick}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - name: app
    image: example.test/echo:1
    ports: [{containerPort: 8080}]
    livenessProbe:
      httpGet: {path: "/?status=500", port: 8080}
      periodSeconds: 1
      failureThreshold: 2
"#;
    kubectl.apply("life", pod);
    let expected = [
        "Normal Created: kubelet Container created",
        "Normal Killing: kubelet Container app failed liveness probe, will be restarted",
        "Normal Pulled: kubelet Container image \"example.test/echo:1\" already present on machine and can be accessed by the pod",
        "Normal Started: kubelet Container started",
        "Warning BackOff: kubelet Back-off restarting failed container app in pod sick_life(",
        "Warning Unhealthy: kubelet Liveness probe failed: HTTP probe failed with statuscode: 500",
    ];
    wait::until("the pod is told of", wait::CHANGE_SECONDS, || {
        let told = told(&kubectl.ok("describe pod sick -n life"));
        let missing: Vec<_> = expected
            .iter()
            .filter(|wanted| !told.iter().any(|told| told.starts_with(**wanted)))
            .collect();
        let complaint = format!("{missing:?} are not in {told:#?}");
        wait::seen(missing.is_empty(), complaint)
    });
    let restarts = "get pod sick -n life -o jsonpath={.status.containerStatuses[0].restartCount}";
    assert_ne!(kubectl.ok(restarts).trim(), "0");
    kubectl.ok("delete namespace life --wait=false");
}
