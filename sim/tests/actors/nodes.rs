//! Nodes that die, come back and are removed: the histories of a real control plane, replayed in simulated time.

use std::time::Duration;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Event, Node, Pod, Service};
use kube::api::{DeleteParams, Patch, PatchParams};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::fleet::{Fleet, condition, listed};
use super::histories::{Tolerance, compare, steps};

const SECOND: Duration = Duration::from_secs(1);

/// How long a pod tolerates a node that is lost: seconds, or for ever; `t300` says nothing and has what admission gives.
const CLASSES: [(&str, Option<Option<u64>>); 5] = [
    ("t300", None),
    ("t0", Some(Some(0))),
    ("t10", Some(Some(10))),
    ("t30", Some(Some(30))),
    ("tinf", Some(None)),
];

fn tolerations(seconds: Option<u64>) -> Value {
    let toleration = |key: &str| json!({ "key": format!("node.kubernetes.io/{key}"), "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": seconds });
    json!([toleration("not-ready"), toleration("unreachable")])
}

fn pod_spec(zone: &str, tolerations: &Value) -> Value {
    json!({
        "nodeSelector": { "topology.kubernetes.io/zone": zone },
        "tolerations": tolerations,
        "containers": [{ "name": "c", "image": "pause", "ports": [{ "name": "http", "containerPort": 8080 }] }],
    })
}

/// In each zone a node `ZONE-v` with one pod of each class and one as of a DaemonSet, and a spare one.
async fn furnish(fleet: &Fleet, namespace: &str, zones: &[String], classes: &[&str]) {
    fleet.namespace(namespace).await;
    for app in classes.iter().chain(&["ds"]) {
        let service = json!({ "metadata": { "name": format!("svc-{app}") },
            "spec": { "selector": { "app": app }, "ports": [{ "port": 80, "targetPort": 8080 }] } });
        fleet.create(&fleet.of::<Service>(namespace), service).await;
    }
    for zone in zones {
        fleet.node(&format!("{zone}-v"), zone).await;
        for (app, seconds) in CLASSES.iter().filter(|(app, _)| classes.contains(app)) {
            let labels = json!({ "app": app, "zone": zone });
            let tolerations = seconds.map_or(json!([]), tolerations);
            let deployment = json!({ "metadata": { "name": format!("{zone}-{app}") }, "spec": {
                "replicas": 1, "selector": { "matchLabels": labels },
                "template": { "metadata": { "labels": labels }, "spec": pod_spec(zone, &tolerations) },
            } });
            fleet
                .create(&fleet.of::<Deployment>(namespace), deployment)
                .await;
        }
        let labels = json!({ "app": "ds", "zone": zone });
        let pod = json!({ "metadata": { "name": format!("ds-{zone}"), "labels": labels }, "spec": pod_spec(zone, &tolerations(None)) });
        fleet.create(&fleet.of::<Pod>(namespace), pod).await;
    }
    let count = zones.len() * (classes.len() + 1);
    fleet
        .until("all pods are ready", |fleet| {
            let pods = fleet.objects("Pod").into_iter();
            let ready = pods.filter(|pod| {
                pod["metadata"]["namespace"] == namespace && condition(pod, "Ready") == Some("True")
            });
            ready.count() == count
        })
        .await;
    for zone in zones {
        fleet.node(&format!("{zone}-s"), zone).await;
    }
    sleep(SECOND * 12).await;
}

fn zones(letter: &str, count: usize) -> Vec<String> {
    (1..=count)
        .map(|number| format!("{letter}{number:02}"))
        .collect()
}

/// Cuts the nodes off, one after the other; returns when that was.
async fn cut_all(fleet: &Fleet, zones: &[String]) -> Vec<(String, Instant)> {
    let mut cut = Vec::new();
    for zone in zones {
        let node = format!("{zone}-v");
        fleet.cut(&node);
        cut.push((node, Instant::now()));
        sleep(SECOND * 5 / 2).await;
    }
    cut
}

#[tokio::test(start_paused = true)]
async fn a_node_that_dies_and_returns_has_the_recorded_history() {
    let fleet = Fleet::start(1).await;
    let zones = zones("z", 6);
    furnish(&fleet, "z", &zones, &CLASSES.map(|(app, _)| app)).await;
    let dead = cut_all(&fleet, &zones).await;
    sleep(SECOND * 390).await;
    let mut back = Vec::new();
    for (node, _) in &dead {
        fleet.mend(node);
        back.push((node.clone(), Instant::now()));
        sleep(SECOND * 2).await;
    }
    sleep(SECOND * 40).await;
    let steps = steps(&fleet.history());
    compare(
        &fleet,
        &steps,
        "dies",
        &dead,
        Tolerance {
            seconds: 8.0,
            gap: 0.05,
        },
    );
    compare(
        &fleet,
        &steps,
        "returns",
        &back,
        Tolerance {
            seconds: 5.0,
            gap: 0.5,
        },
    );
    let names = |reason: &str, events: &[Value]| {
        let about =
            |event: &Value| event["reason"] == reason && event["involvedObject"]["name"] == "z01-v";
        events
            .iter()
            .filter(|event| about(event))
            .map(|event| event["message"].clone())
            .collect::<Vec<_>>()
    };
    let events = listed(&fleet.all::<Event>()).await;
    assert_eq!(
        names("RegisteredNode", &events),
        ["Node z01-v event: Registered Node z01-v in Controller"]
    );
    assert_eq!(
        names("NodeNotReady", &events),
        ["Node z01-v status is now: NodeNotReady"]
    );
    let of_pods = |reason: &str| {
        events
            .iter()
            .filter(|event| event["reason"] == reason && event["involvedObject"]["kind"] == "Pod")
            .count()
    };
    assert_eq!(
        of_pods("TaintManagerEviction"),
        6 * 4,
        "t0, t10, t30 and t300 of each node"
    );
    assert!(of_pods("NodeNotReady") >= 6 * 6, "each pod of each node");
}

#[tokio::test(start_paused = true)]
async fn a_node_that_is_away_for_a_minute_has_the_recorded_history() {
    let fleet = Fleet::start(2).await;
    let zones = zones("r", 4);
    furnish(&fleet, "r", &zones, &["t300", "t0", "tinf"]).await;
    let cut = cut_all(&fleet, &zones).await;
    for (node, at) in &cut {
        tokio::time::sleep_until(*at + SECOND * 60).await;
        fleet.mend(node);
    }
    sleep(SECOND * 60).await;
    compare(
        &fleet,
        &steps(&fleet.history()),
        "blinks",
        &cut,
        Tolerance {
            seconds: 8.0,
            gap: 0.05,
        },
    );
}

#[tokio::test(start_paused = true)]
async fn pods_of_a_node_that_is_out_of_service_or_deleted_go_as_recorded() {
    let fleet = Fleet::start(3).await;
    let (lost, deleted) = (zones("o", 2), zones("d", 2));
    furnish(&fleet, "o", &lost, &["t300", "tinf"]).await;
    furnish(&fleet, "d", &deleted, &["t300", "tinf"]).await;
    let nodes = fleet.all::<Node>();
    let (lost, deleted) = (
        cut_all(&fleet, &lost).await,
        cut_all(&fleet, &deleted).await,
    );
    let mut zero = Vec::new();
    for (node, at) in lost {
        tokio::time::sleep_until(at + SECOND * 80).await;
        zero.push((node.clone(), Instant::now()));
        let mut taints = nodes
            .get(&node)
            .await
            .unwrap()
            .spec
            .unwrap()
            .taints
            .unwrap_or_default();
        taints.push(serde_json::from_value(json!({ "key": "node.kubernetes.io/out-of-service", "value": "nodeshutdown", "effect": "NoExecute" })).unwrap());
        let patch = Patch::Merge(json!({ "spec": { "taints": taints } }));
        nodes
            .patch(&node, &PatchParams::default(), &patch)
            .await
            .unwrap();
    }
    let mut gone = Vec::new();
    for (node, at) in deleted {
        tokio::time::sleep_until(at + SECOND * 80).await;
        gone.push((node.clone(), Instant::now()));
        nodes.delete(&node, &DeleteParams::default()).await.unwrap();
    }
    sleep(SECOND * 100).await;
    let steps = steps(&fleet.history());
    compare(
        &fleet,
        &steps,
        "out-of-service",
        &zero,
        Tolerance {
            seconds: 8.0,
            gap: 1.0,
        },
    );
    compare(
        &fleet,
        &steps,
        "deleted",
        &gone,
        Tolerance {
            seconds: 18.0,
            gap: 1.0,
        },
    );
    let leases = listed(&fleet.of::<Lease>("kube-node-lease")).await;
    let has_lease = |node: &str| leases.iter().any(|lease| lease["metadata"]["name"] == node);
    assert!(
        has_lease("o01-v") && !has_lease("d01-v"),
        "a lease goes with its node"
    );
}

/// The pods that stay and are ready.
fn ready(fleet: &Fleet) -> usize {
    let mut pods = fleet.objects("Pod");
    pods.retain(|pod| pod["metadata"]["deletionTimestamp"].is_null());
    pods.retain(|pod| condition(pod, "Ready") == Some("True"));
    pods.len()
}

/// The nodes with a taint of this effect.
fn taints(fleet: &Fleet, effect: &str) -> usize {
    let mut nodes = fleet.objects("Node");
    nodes.retain(|node| {
        let mut taints = node["spec"]["taints"].as_array().into_iter().flatten();
        taints.any(|taint| taint["effect"] == effect)
    });
    nodes.len()
}

#[tokio::test(start_paused = true)]
async fn when_all_nodes_are_away_readiness_goes_and_evictions_stop() {
    let fleet = Fleet::start(4).await;
    let names: Vec<String> = (1..=12).map(|number| format!("n{number:02}-v")).collect();
    for name in &names {
        fleet.node(name, "one").await;
    }
    fleet.namespace("a").await;
    let labels = json!({ "app": "t0", "zone": "n" });
    let deployment = json!({ "metadata": { "name": "t0" }, "spec": { "replicas": 24, "selector": { "matchLabels": labels },
        "template": { "metadata": { "labels": labels }, "spec": pod_spec("one", &tolerations(Some(0))) } } });
    fleet.create(&fleet.of::<Deployment>("a"), deployment).await;
    fleet
        .until("all pods are ready", |fleet| ready(fleet) == 24)
        .await;
    sleep(SECOND * 20).await;
    let cut_at = Instant::now();
    names.iter().for_each(|name| fleet.cut(name));
    sleep(SECOND * 150).await;
    assert_eq!(ready(&fleet), 0, "readiness is never held back");
    assert_eq!(
        (taints(&fleet, "NoSchedule"), taints(&fleet, "NoExecute")),
        (12, 0)
    );
    let steps = steps(&fleet.history());
    let times = |what: &str| {
        let found = steps
            .iter()
            .filter(|step| step.what == what && step.at > cut_at);
        found
            .map(|step| (step.at - cut_at).as_secs_f64())
            .collect::<Vec<_>>()
    };
    let unknown = times("node Ready True>Unknown");
    let tainted = times("node taints +unreachable:NoExecute");
    let spared = times("node taints -unreachable:NoExecute");
    assert_eq!(unknown.len(), 12);
    assert!(
        unknown.iter().all(|at| (39.6..=62.0).contains(at)),
        "F1: {unknown:?}"
    );
    // One node each 10 s gets the taint until the last one is away; then all lose it.
    assert!((1..=3).contains(&tainted.len()), "F2: {tainted:?}");
    assert!(
        tainted.windows(2).all(|pair| pair[1] - pair[0] >= 9.9),
        "F2: {tainted:?}"
    );
    assert_eq!(spared.len(), tainted.len());
    assert!(
        spared
            .iter()
            .all(|at| *at >= unknown[11] && *at < unknown[11] + 5.0),
        "{spared:?}"
    );

    names.iter().for_each(|name| fleet.mend(name));
    fleet
        .until("all pods are ready again", |fleet| ready(fleet) == 24)
        .await;
    sleep(SECOND * 120).await;
    assert_eq!(
        (taints(&fleet, "NoSchedule"), taints(&fleet, "NoExecute")),
        (0, 0),
        "nothing comes late"
    );
}
