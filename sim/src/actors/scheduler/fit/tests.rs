use expect_test::{Expect, expect};
use serde_json::{Value, json};

use super::*;

fn node(name: &str, change: &Value) -> Arc<Node> {
    let mut node = json!({
        "metadata": { "name": name, "labels": { "kubernetes.io/hostname": name, "disk": "ssd", "cores": "8" } },
        "spec": {},
        "status": { "conditions": [{ "type": "Ready", "status": "True" }], "allocatable": { "pods": "3" } },
    });
    json_patch::merge(&mut node, change);
    Arc::new(serde_json::from_value(node).unwrap())
}

fn pod(spec: &Value) -> Pod {
    let mut pod = json!({
        "metadata": { "name": "web", "ownerReferences": [{ "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web", "uid": "set", "controller": true }] },
        "spec": { "containers": [] },
    });
    json_patch::merge(&mut pod["spec"], spec);
    serde_json::from_value(pod).unwrap()
}

fn placed(node: &str, owner: &str) -> Placed {
    let pod = json!({
        "metadata": { "ownerReferences": [{ "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web", "uid": owner, "controller": true }] },
        "spec": { "containers": [{ "name": "app", "ports": [{ "containerPort": 80, "hostPort": 80 }] }] },
    });
    Placed {
        pod: Arc::new(serde_json::from_value(pod).unwrap()),
        node: node.into(),
    }
}

fn around<'a>(nodes: &'a [Arc<Node>], placed: &'a [Placed]) -> Surroundings<'a> {
    Surroundings {
        nodes,
        placed,
        namespaces: &[],
    }
}

#[track_caller]
fn check(spec: &Value, nodes: &[Arc<Node>], placed: &[Placed], expected: Expect) {
    let (Ok(answer) | Err(answer)) = choose(&pod(spec), &around(nodes, placed));
    expected.assert_eq(&answer);
}

fn three() -> [Arc<Node>; 3] {
    ["n1", "n2", "n3"].map(|name| node(name, &json!({})))
}

#[test]
fn pods_of_one_owner_are_spread_before_all_pods_are() {
    let other = [
        placed("n1", "set"),
        placed("n2", "other"),
        placed("n2", "other"),
    ];
    check(&json!({}), &three(), &other, expect!["n3"]);
    check(&json!({}), &three()[..2], &other, expect!["n2"]);
    check(&json!({}), &three(), &[], expect!["n1"]);
}

#[test]
fn a_pod_that_names_its_node_gets_it_or_waits() {
    let by_name = |name: &str| {
        json!({ "affinity": { "nodeAffinity": { "requiredDuringSchedulingIgnoredDuringExecution": { "nodeSelectorTerms": [
            { "matchFields": [{ "key": "metadata.name", "operator": "In", "values": [name] }] }
        ] } } } })
    };
    check(&by_name("n2"), &three(), &[], expect!["n2"]);
    check(
        &by_name("n9"),
        &three(),
        &[],
        expect![
            "0/3 nodes are available: 3 node(s) didn't satisfy plugin(s) [NodeAffinity]. no new claims to deallocate, preemption: 0/3 nodes are available: 3 Preemption is not helpful for scheduling."
        ],
    );
    // The pod of a DaemonSet whose port is taken.
    let mut spec = by_name("n1");
    spec["containers"] =
        json!([{ "name": "app", "ports": [{ "containerPort": 80, "hostPort": 80 }] }]);
    check(
        &spec,
        &three(),
        &[placed("n1", "other")],
        expect![
            "0/3 nodes are available: 1 node(s) didn't have free ports for the requested pod ports, 2 node(s) didn't satisfy plugin(s) [NodeAffinity]. no new claims to deallocate, preemption: 0/3 nodes are available: 1 No preemption victims found for incoming pod, 2 Preemption is not helpful for scheduling."
        ],
    );
}

#[test]
fn labels_are_matched_by_every_operator() {
    let by = |key: &str, operator: &str, values: &[&str]| {
        json!({ "affinity": { "nodeAffinity": { "requiredDuringSchedulingIgnoredDuringExecution": { "nodeSelectorTerms": [
            { "matchExpressions": [{ "key": key, "operator": operator, "values": values }] }
        ] } } } })
    };
    let cases = [
        (by("disk", "In", &["ssd", "nvme"]), true),
        (by("disk", "NotIn", &["ssd"]), false),
        (by("gone", "NotIn", &["ssd"]), true),
        (by("disk", "Exists", &[]), true),
        (by("disk", "DoesNotExist", &[]), false),
        (by("cores", "Gt", &["4"]), true),
        (by("cores", "Lt", &["4"]), false),
        (json!({ "nodeSelector": { "disk": "ssd" } }), true),
        (json!({ "nodeSelector": { "disk": "hdd" } }), false),
    ];
    for (spec, fits) in cases {
        let chosen = choose(&pod(&spec), &around(&three(), &[]));
        assert_eq!(chosen.is_ok(), fits, "{spec} {chosen:?}");
    }
}

#[test]
fn taints_keep_pods_away_that_do_not_tolerate_them() {
    let nodes = [
        node("cordoned", &json!({ "spec": { "unschedulable": true } })),
        node(
            "dead",
            &json!({ "status": { "conditions": [{ "type": "Ready", "status": "Unknown" }] } }),
        ),
        node(
            "kept",
            &json!({ "spec": { "taints": [{ "key": "for", "value": "db", "effect": "NoSchedule" }] } }),
        ),
        node(
            "soft",
            &json!({ "spec": { "taints": [{ "key": "for", "value": "db", "effect": "PreferNoSchedule" }] }, "status": { "allocatable": { "pods": "0" } } }),
        ),
    ];
    check(
        &json!({}),
        &nodes,
        &[],
        expect![
            "0/4 nodes are available: 1 Too many pods, 1 node(s) were unschedulable, 2 node(s) had untolerated taint(s). no new claims to deallocate, preemption: 0/4 nodes are available: 1 No preemption victims found for incoming pod, 3 Preemption is not helpful for scheduling."
        ],
    );
    for (toleration, expected) in [
        (json!({ "key": "for", "value": "db" }), "kept"),
        (
            json!({ "key": "for", "operator": "Exists", "effect": "NoSchedule" }),
            "kept",
        ),
        (
            json!({ "key": "node.kubernetes.io/unschedulable", "operator": "Exists" }),
            "cordoned",
        ),
        (json!({ "operator": "Exists" }), "cordoned"),
    ] {
        let spec = json!({ "tolerations": [toleration] });
        assert_eq!(
            choose(&pod(&spec), &around(&nodes, &[])).as_deref(),
            Ok(expected),
            "{spec}"
        );
    }
}

#[test]
fn a_host_port_is_given_once_per_node() {
    let spec = json!({ "containers": [{ "name": "app", "ports": [{ "containerPort": 80, "hostPort": 80 }] }] });
    check(
        &spec,
        &three()[..2],
        &[placed("n1", "other")],
        expect!["n2"],
    );
    check(
        &spec,
        &three()[..1],
        &[placed("n1", "other")],
        expect![
            "0/1 nodes are available: 1 node(s) didn't have free ports for the requested pod ports. no new claims to deallocate, preemption: 0/1 nodes are available: 1 No preemption victims found for incoming pod."
        ],
    );
    let mut other = spec.clone();
    other["containers"][0]["ports"][0]["protocol"] = json!("UDP");
    check(
        &other,
        &three()[..1],
        &[placed("n1", "other")],
        expect!["n1"],
    );
}

#[test]
fn what_is_requested_must_be_left() {
    let nodes = [
        node(
            "small",
            &json!({ "status": { "allocatable": { "cpu": "500m" } } }),
        ),
        node(
            "large",
            &json!({ "status": { "allocatable": { "cpu": "2" } } }),
        ),
    ];
    let asks = |cpu: &str| json!({ "containers": [{ "name": "app", "resources": { "requests": { "cpu": cpu } } }] });
    check(&asks("1"), &nodes, &[], expect!["large"]);
    check(
        &asks("3"),
        &nodes,
        &[],
        expect![
            "0/2 nodes are available: 2 Insufficient cpu. no new claims to deallocate, preemption: 0/2 nodes are available: 2 Preemption is not helpful for scheduling."
        ],
    );
    let taken = Placed {
        pod: Arc::new(pod(&asks("1500m"))),
        node: "large".into(),
    };
    check(
        &asks("1"),
        &nodes,
        &[taken],
        expect![
            "0/2 nodes are available: 2 Insufficient cpu. no new claims to deallocate, preemption: 0/2 nodes are available: 1 No preemption victims found for incoming pod, 1 Preemption is not helpful for scheduling."
        ],
    );
}

#[test]
fn a_pod_that_preempts_nobody_is_told_so() {
    check(
        &json!({ "nodeSelector": { "disk": "hdd" }, "preemptionPolicy": "Never" }),
        &three(),
        &[],
        expect![
            "0/3 nodes are available: 3 node(s) didn't match Pod's node affinity/selector. no new claims to deallocate, preemption: not eligible due to preemptionPolicy=Never."
        ],
    );
}

#[test]
fn without_nodes_the_message_says_so() {
    check(
        &json!({}),
        &[],
        &[],
        expect!["no nodes available to schedule pods"],
    );
}

#[test]
fn a_pod_goes_where_it_prefers_to_be_before_pods_are_spread() {
    let on_n1 = json!({ "affinity": { "nodeAffinity": { "preferredDuringSchedulingIgnoredDuringExecution": [
        { "weight": 10, "preference": { "matchExpressions": [{ "key": "kubernetes.io/hostname", "operator": "In", "values": ["n1"] }] } },
    ] } } });
    let siblings = [placed("n1", "set"), placed("n1", "set")];
    check(&on_n1, &three(), &siblings, expect!["n1"]);
}

#[test]
fn a_preference_that_no_node_meets_keeps_no_pod_away() {
    let on_n9 = json!({ "affinity": { "nodeAffinity": { "preferredDuringSchedulingIgnoredDuringExecution": [
        { "weight": 10, "preference": { "matchExpressions": [{ "key": "kubernetes.io/hostname", "operator": "In", "values": ["n9"] }] } },
    ] } } });
    check(&on_n9, &three(), &[placed("n1", "set")], expect!["n2"]);
}

#[test]
fn a_pod_prefers_company_and_avoids_what_it_would_rather_not_meet() {
    let friend = Placed {
        pod: Arc::new(
            serde_json::from_value(
                json!({ "metadata": { "namespace": "shop", "labels": { "app": "friend" } } }),
            )
            .unwrap(),
        ),
        node: "n2".into(),
    };
    let term = json!([{ "weight": 5, "podAffinityTerm": {
        "topologyKey": "kubernetes.io/hostname", "namespaces": ["shop"], "labelSelector": { "matchLabels": { "app": "friend" } } } }]);
    let key = "preferredDuringSchedulingIgnoredDuringExecution";
    let placed = [friend];
    let near = json!({ "affinity": { "podAffinity": { key: &term } } });
    check(&near, &three(), &placed, expect!["n2"]);
    let far = json!({ "affinity": { "podAntiAffinity": { key: &term } } });
    check(&far, &three()[1..], &placed, expect!["n3"]);
}

#[test]
fn a_taint_that_prefers_no_pods_is_the_last_choice() {
    let mut nodes = three();
    nodes[0] = node(
        "n1",
        &json!({ "spec": { "taints": [{ "key": "old", "effect": "PreferNoSchedule" }] } }),
    );
    let others = [
        placed("n2", "other"),
        placed("n3", "other"),
        placed("n3", "other"),
    ];
    check(&json!({}), &nodes, &others, expect!["n2"]);
    check(&json!({}), &nodes[..1], &others, expect!["n1"]);
}
