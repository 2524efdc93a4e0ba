use std::fmt::Write;

use expect_test::{Expect, expect};
use jiff::SignedDuration;
use serde_json::{Value, json};

use super::*;

const NOW: &str = "2026-01-01T01:00:00Z";

fn daemon_set(strategy: &Value) -> DaemonSet {
    serde_json::from_value(json!({
        "metadata": { "name": "agent", "namespace": "a", "uid": "set", "generation": 3 },
        "spec": {
            "selector": { "matchLabels": { "app": "agent" } },
            "updateStrategy": strategy,
            "template": {
                "metadata": { "labels": { "app": "agent" } },
                "spec": { "containers": [{ "name": "app", "image": "agent:2" }], "nodeSelector": { "os": "linux" } },
            },
        },
    }))
    .unwrap()
}

/// A node from words: `name [windows] [cordoned] [dead]`.
fn node(words: &str) -> Arc<Node> {
    let has = |word: &str| words.split(' ').any(|known| known == word);
    let name = words.split(' ').next().unwrap();
    let mut taints = Vec::new();
    if has("cordoned") {
        taints.push(json!({ "key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule" }));
    }
    if has("reserved") {
        taints.push(json!({ "key": "example.com/reserved", "effect": "NoSchedule" }));
    }
    if has("drained") {
        taints.push(json!({ "key": "example.com/drained", "effect": "NoExecute" }));
    }
    if has("dead") {
        taints.push(json!({ "key": "node.kubernetes.io/unreachable", "effect": "NoExecute" }));
    }
    let os = if has("windows") { "windows" } else { "linux" };
    let node = json!({ "metadata": { "name": name, "labels": { "os": os } }, "spec": { "taints": taints } });
    Arc::new(serde_json::from_value(node).unwrap())
}

/// A pod from words: `name@node [new] [ready] [failed] [done] [dying] [unbound]`.
fn pod(words: &str, hash: &str) -> Arc<Pod> {
    let has = |word: &str| words.split(' ').any(|known| known == word);
    let (name, node) = words.split(' ').next().unwrap().split_once('@').unwrap();
    let hash = if has("new") { hash } else { "old" };
    let phase = match () {
        () if has("failed") => "Failed",
        () if has("done") => "Succeeded",
        () => "Running",
    };
    let by_name = json!({ "nodeAffinity": { "requiredDuringSchedulingIgnoredDuringExecution": { "nodeSelectorTerms": [
        { "matchFields": [{ "key": "metadata.name", "operator": "In", "values": [node] }] }
    ] } } });
    Arc::new(
        serde_json::from_value(json!({
            "metadata": {
                "name": name, "uid": name, "namespace": "a",
                "labels": { "app": "agent", HASH_LABEL: hash },
                "creationTimestamp": "2026-01-01T00:00:00Z",
                "deletionTimestamp": has("dying").then_some(NOW),
                "ownerReferences": [{ "apiVersion": "apps/v1", "kind": "DaemonSet", "name": "agent", "uid": "set", "controller": true }],
            },
            "spec": { "nodeName": (!has("unbound")).then_some(node), "affinity": by_name, "containers": [] },
            "status": { "phase": phase, "conditions": [
                { "type": "Ready", "status": if has("ready") { "True" } else { "False" }, "lastTransitionTime": "2026-01-01T00:00:00Z" }
            ] },
        }))
        .unwrap(),
    )
}

fn show(actions: &[Action]) -> String {
    let mut text = String::new();
    for action in actions {
        let line = match action {
            Action::Create(pods) => {
                let nodes = pods.iter().map(|pod| template::target_node(pod).unwrap());
                format!("create on {}", nodes.collect::<Vec<_>>().join(" "))
            }
            Action::Delete(pods) => {
                let names = pods.iter().map(|pod| pod::uid(pod));
                format!("delete {}", names.collect::<Vec<_>>().join(" "))
            }
            Action::Report(draft) => format!("{}: {}", draft.reason, draft.message),
            Action::LookAgain(delay) => format!("look again in {delay:?}"),
            Action::AdoptPod(pod) => format!("adopt {}", pod::uid(pod)),
            Action::ReleasePod(pod) => format!("release {}", pod::uid(pod)),
            Action::CreateRevision(revision) => {
                format!("revision {}", revision.revision.unwrap())
            }
            Action::Relabel(..)
            | Action::AdoptRevision(_)
            | Action::ReleaseRevision(_)
            | Action::ReplaceRevision(_)
            | Action::DeleteRevision(_) => format!("{action:?}"),
        };
        writeln!(text, "{line}").unwrap();
    }
    text
}

struct World {
    daemon_set: DaemonSet,
    revision: Arc<ControllerRevision>,
    hash: String,
}

fn world(strategy: &Value) -> World {
    let daemon_set = daemon_set(strategy);
    let selector = owner::parse_selector(&daemon_set.spec.selector).unwrap();
    let history = revision::history(&daemon_set, &selector, &[], &[]);
    let [Action::CreateRevision(revision)] = history.actions.as_slice() else {
        panic!("{:?}", history.actions);
    };
    World {
        revision: Arc::new(ControllerRevision::clone(revision)),
        hash: history.hash,
        daemon_set,
    }
}

#[track_caller]
fn check(strategy: &Value, nodes: &[&str], pods: &[&str], expected: Expect) {
    let world = world(strategy);
    let nodes: Vec<_> = nodes.iter().map(|words| node(words)).collect();
    let pods: Vec<_> = pods.iter().map(|words| pod(words, &world.hash)).collect();
    let observed = Observed {
        daemon_set: &world.daemon_set,
        nodes: &nodes,
        pods: &pods,
        revisions: &[Arc::clone(&world.revision)],
        is_current: true,
        now: NOW.parse().unwrap(),
    };
    let (actions, status) = reconcile(&observed, &mut Backoff::default()).unwrap();
    let number = |count: Option<i32>| count.unwrap_or(0);
    let counts = format!(
        "{} desired, {} scheduled, {} misscheduled, {} ready, {} updated, {} available, {} unavailable\n",
        status.desired_number_scheduled,
        status.current_number_scheduled,
        status.number_misscheduled,
        status.number_ready,
        number(status.updated_number_scheduled),
        number(status.number_available),
        number(status.number_unavailable),
    );
    expected.assert_eq(&(show(&actions) + &counts));
}

fn unavailable(count: &Value) -> Value {
    json!({ "type": "RollingUpdate", "rollingUpdate": { "maxUnavailable": count, "maxSurge": 0 } })
}

fn surge(count: &Value) -> Value {
    json!({ "type": "RollingUpdate", "rollingUpdate": { "maxUnavailable": 0, "maxSurge": count } })
}

#[test]
fn every_node_that_fits_gets_one_pod() {
    check(
        &unavailable(&json!(1)),
        &[
            "n1",
            "n2 windows",
            "n3 cordoned",
            "n4 dead",
            "n5 reserved",
            "n6",
        ],
        &["p6@n6 new ready"],
        expect![[r#"
            create on n1 n3 n4
            4 desired, 1 scheduled, 0 misscheduled, 1 ready, 1 updated, 1 available, 3 unavailable
        "#]],
    );
}

#[test]
fn a_pod_stays_where_it_may_and_goes_where_it_may_not() {
    check(
        &unavailable(&json!(1)),
        &["n1 reserved", "n2 windows", "n3 drained"],
        &["p1@n1 new ready", "p2@n2 new ready", "p3@n3 new ready"],
        expect![[r#"
            delete p2 p3
            0 desired, 0 scheduled, 3 misscheduled, 0 ready, 0 updated, 0 available, 0 unavailable
        "#]],
    );
}

#[test]
fn of_several_pods_on_a_node_the_bound_and_oldest_stays() {
    check(
        &unavailable(&json!(1)),
        &["n1"],
        &["a@n1 new unbound", "b@n1 new", "c@n1 new"],
        expect![[r#"
            delete c a
            1 desired, 1 scheduled, 0 misscheduled, 0 ready, 1 updated, 0 available, 1 unavailable
        "#]],
    );
}

#[test]
fn a_pod_that_was_never_bound_to_a_node_that_is_gone_is_deleted() {
    check(
        &unavailable(&json!(1)),
        &["n1"],
        &["p1@n1 new ready", "lost@n9 new unbound", "bound@n8 new"],
        expect![[r#"
            delete lost
            1 desired, 1 scheduled, 0 misscheduled, 1 ready, 1 updated, 1 available, 0 unavailable
        "#]],
    );
}

#[test]
fn what_ended_is_deleted_and_what_is_going_is_waited_for() {
    check(
        &unavailable(&json!(1)),
        &["n1", "n2", "n3"],
        &["p1@n1 new failed", "p2@n2 new done", "p3@n3 new dying"],
        expect![[r#"
            FailedDaemonPod: Found failed daemon pod a/p1 on node n1, will try to kill it
            SucceededDaemonPod: Found succeeded daemon pod a/p2 on node n2, will try to delete it
            delete p1 p2
            3 desired, 3 scheduled, 0 misscheduled, 0 ready, 3 updated, 0 available, 3 unavailable
        "#]],
    );
}

#[test]
fn a_pod_that_failed_again_is_left_alone_for_a_while() {
    let world = world(&unavailable(&json!(1)));
    let now: Timestamp = NOW.parse().unwrap();
    let mut backoff = Backoff::default();
    let mut step = |seconds| {
        let observed = Observed {
            daemon_set: &world.daemon_set,
            nodes: &[node("n1")],
            pods: &[pod("p1@n1 new failed", &world.hash)],
            revisions: &[Arc::clone(&world.revision)],
            is_current: true,
            now: now + SignedDuration::from_secs(seconds),
        };
        let (actions, _) = reconcile(&observed, &mut backoff).unwrap();
        actions
            .iter()
            .any(|action| matches!(action, Action::Delete(_)))
    };
    let deleted: Vec<bool> = [0, 0, 1, 2, 3].map(&mut step).into();
    assert_eq!(deleted, [true, false, true, false, true]);
}

#[test]
fn without_surge_only_so_many_available_pods_are_replaced() {
    let nodes = ["n1", "n2", "n3", "n4"];
    let all_old = ["p1@n1 ready", "p2@n2 ready", "p3@n3 ready", "p4@n4 ready"];
    let cases = [
        (
            json!(1),
            expect![[r#"
            delete p1
            4 desired, 4 scheduled, 0 misscheduled, 4 ready, 0 updated, 4 available, 0 unavailable
        "#]],
        ),
        (
            json!("50%"),
            expect![[r#"
            delete p1 p2
            4 desired, 4 scheduled, 0 misscheduled, 4 ready, 0 updated, 4 available, 0 unavailable
        "#]],
        ),
        // Up: a share of a node is a node.
        (
            json!("26%"),
            expect![[r#"
            delete p1 p2
            4 desired, 4 scheduled, 0 misscheduled, 4 ready, 0 updated, 4 available, 0 unavailable
        "#]],
        ),
    ];
    for (count, expected) in cases {
        check(&unavailable(&count), &nodes, &all_old, expected);
    }
}

#[test]
fn without_surge_pods_that_serve_nobody_go_at_once_and_count() {
    check(
        &unavailable(&json!(1)),
        &["n1", "n2", "n3"],
        &["p1@n1 ready", "p2@n2", "p3@n3 ready"],
        expect![[r#"
            delete p2
            3 desired, 3 scheduled, 0 misscheduled, 2 ready, 0 updated, 2 available, 1 unavailable
        "#]],
    );
    check(
        &unavailable(&json!(1)),
        &["n1", "n2", "n3"],
        &["p1@n1 ready", "p2@n2 new", "p3@n3 ready"],
        expect![[r#"
            3 desired, 3 scheduled, 0 misscheduled, 2 ready, 1 updated, 2 available, 1 unavailable
        "#]],
    );
    // The old pod is still going: its node waits for it to be gone.
    check(
        &unavailable(&json!(1)),
        &["n1", "n2", "n3"],
        &["p1@n1 ready dying", "p2@n2 ready", "p3@n3 ready"],
        expect![[r#"
            3 desired, 3 scheduled, 0 misscheduled, 3 ready, 0 updated, 3 available, 0 unavailable
        "#]],
    );
}

#[test]
fn with_surge_the_new_pod_stands_beside_the_old_one_until_it_is_available() {
    let nodes = ["n1", "n2", "n3"];
    let old = ["p1@n1 ready", "p2@n2 ready", "p3@n3 ready"];
    check(
        &surge(&json!(1)),
        &nodes,
        &old,
        expect![[r#"
            create on n1
            3 desired, 3 scheduled, 0 misscheduled, 3 ready, 0 updated, 3 available, 0 unavailable
        "#]],
    );
    check(
        &surge(&json!(1)),
        &nodes,
        &[&old[..], &["q1@n1 new"]].concat(),
        expect![[r#"
            3 desired, 3 scheduled, 0 misscheduled, 3 ready, 0 updated, 3 available, 0 unavailable
        "#]],
    );
    check(
        &surge(&json!(1)),
        &nodes,
        &[&old[..], &["q1@n1 new ready"]].concat(),
        expect![[r#"
            delete p1
            3 desired, 3 scheduled, 0 misscheduled, 3 ready, 0 updated, 3 available, 0 unavailable
        "#]],
    );
    // An old pod that serves nobody needs no leave to be replaced.
    check(
        &surge(&json!(1)),
        &nodes,
        &["p1@n1", "p2@n2 ready", "p3@n3 ready"],
        expect![[r#"
            create on n1 n2
            3 desired, 3 scheduled, 0 misscheduled, 2 ready, 0 updated, 2 available, 1 unavailable
        "#]],
    );
}

#[test]
fn on_delete_nothing_is_replaced() {
    check(
        &json!({ "type": "OnDelete" }),
        &["n1"],
        &["p1@n1 ready"],
        expect![[r#"
            1 desired, 1 scheduled, 0 misscheduled, 1 ready, 0 updated, 1 available, 0 unavailable
        "#]],
    );
}

#[test]
fn a_store_that_is_behind_only_updates_the_counts() {
    let world = world(&unavailable(&json!(1)));
    let observed = Observed {
        daemon_set: &world.daemon_set,
        nodes: &[node("n1")],
        pods: &[],
        revisions: &[Arc::clone(&world.revision)],
        is_current: false,
        now: NOW.parse().unwrap(),
    };
    let (actions, status) = reconcile(&observed, &mut Backoff::default()).unwrap();
    assert_eq!(actions, []);
    assert_eq!(
        (status.desired_number_scheduled, status.observed_generation),
        (1, None)
    );
}

#[test]
fn a_pod_names_its_node_and_tolerates_what_goes_wrong_there() {
    let mut set = daemon_set(&unavailable(&json!(1)));
    let spec = set.spec.template.spec.as_mut().unwrap();
    spec.host_network = Some(true);
    set.metadata.annotations = Some(
        [(
            "deprecated.daemonset.template.generation".to_owned(),
            "7".to_owned(),
        )]
        .into(),
    );
    let pod = template::new_pod(&set, "abc", "n1");
    let spec = pod.spec.unwrap();
    expect![[r#"{"app":"agent","controller-revision-hash":"abc","pod-template-generation":"7"}"#]]
        .assert_eq(&serde_json::to_string(&pod.metadata.labels).unwrap());
    expect![[r#"{"nodeAffinity":{"requiredDuringSchedulingIgnoredDuringExecution":{"nodeSelectorTerms":[{"matchFields":[{"key":"metadata.name","operator":"In","values":["n1"]}]}]}}}"#]]
        .assert_eq(&serde_json::to_string(&spec.affinity).unwrap());
    let tolerated: Vec<String> = spec
        .tolerations
        .unwrap()
        .into_iter()
        .map(|toleration| {
            let key = toleration.key.unwrap().replace("node.kubernetes.io/", "");
            format!("{key}:{}", toleration.effect.unwrap())
        })
        .collect();
    expect!["not-ready:NoExecute unreachable:NoExecute disk-pressure:NoSchedule memory-pressure:NoSchedule pid-pressure:NoSchedule unschedulable:NoSchedule network-unavailable:NoSchedule"]
        .assert_eq(&tolerated.join(" "));
}
