use expect_test::{Expect, expect};
use serde_json::{Value, json};

use super::*;

const NOW: &str = "2026-01-01T01:00:00Z";

fn web(spec: &Value) -> ReplicaSet {
    serde_json::from_value(json!({
        "metadata": { "name": "web", "namespace": "a", "uid": "set", "generation": 2 },
        "spec": {
            "replicas": spec["replicas"],
            "minReadySeconds": spec["minReadySeconds"],
            "selector": { "matchLabels": { "app": "web" } },
            "template": {
                "metadata": { "labels": { "app": "web", "tier": "front" }, "annotations": { "note": "kept" } },
                "spec": { "containers": [{ "name": "app", "image": "app:1" }] },
            },
        },
    }))
    .unwrap()
}

/// A pod from words: `name [bound] [ready|fresh] [done] [dying] [free] [foreign] [other]`.
fn pod(words: &str) -> Arc<Pod> {
    let has = |word: &str| words.split(' ').any(|known| known == word);
    let name = words.split(' ').next().unwrap();
    let owner = if has("foreign") { "another" } else { "set" };
    let owners = json!([{ "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web", "uid": owner, "controller": true }]);
    let since = if has("fresh") {
        NOW
    } else {
        "2026-01-01T00:00:00Z"
    };
    Arc::new(
        serde_json::from_value(json!({
            "metadata": {
                "name": name, "uid": name, "namespace": "a",
                "labels": if has("other") { json!({ "app": "db" }) } else { json!({ "app": "web", "tier": "front" }) },
                "ownerReferences": if has("free") { json!(null) } else { owners },
                "deletionTimestamp": has("dying").then_some(NOW),
                "creationTimestamp": "2026-01-01T00:00:00Z",
            },
            "spec": { "nodeName": has("bound").then_some("n1"), "containers": [] },
            "status": {
                "phase": if has("done") { "Failed" } else if has("bound") { "Running" } else { "Pending" },
                "conditions": [{
                    "type": "Ready", "lastTransitionTime": since,
                    "status": if has("ready") || has("fresh") { "True" } else { "False" },
                }],
            },
        }))
        .unwrap(),
    )
}

fn show(action: &Action) -> String {
    match action {
        Action::Adopt(pod) => format!("adopt {}", pod::uid(pod)),
        Action::Release(pod) => format!("release {}", pod::uid(pod)),
        Action::Create(count) => format!("create {count}"),
        Action::Delete(pods) => {
            let names: Vec<&str> = pods.iter().map(|pod| pod::uid(pod)).collect();
            format!("delete {}", names.join(" "))
        }
        Action::LookAgain(delay) => format!("look again in {delay:?}"),
    }
}

#[track_caller]
fn check(spec: Value, is_current: bool, pods: &[&str], expected: Expect) {
    let replica_set = web(&spec);
    let pods: Vec<Arc<Pod>> = pods.iter().map(|words| pod(words)).collect();
    let observed = Observed {
        replica_set: &replica_set,
        pods: &pods,
        replica_sets: &[],
        is_current,
        now: NOW.parse().unwrap(),
    };
    let actions: Vec<String> = reconcile(&observed).iter().map(show).collect();
    let status = status(&observed, None);
    let number = |count: Option<i32>| count.unwrap_or(0);
    let counts = format!(
        "{} pods, {} labelled, {} ready, {} available, {} terminating",
        status.replicas,
        number(status.fully_labeled_replicas),
        number(status.ready_replicas),
        number(status.available_replicas),
        number(status.terminating_replicas)
    );
    expected.assert_eq(&format!("{} | {counts}", actions.join(", ")));
}

#[test]
fn pods_that_are_missing_are_created() {
    check(
        json!({ "replicas": 3 }),
        true,
        &["a bound ready"],
        expect!["create 2 | 1 pods, 1 labelled, 1 ready, 1 available, 0 terminating"],
    );
}

#[test]
fn a_pod_that_is_going_or_has_failed_is_replaced_at_once() {
    check(
        json!({ "replicas": 2 }),
        true,
        &["a bound ready dying", "b bound done"],
        expect!["create 2 | 0 pods, 0 labelled, 0 ready, 0 available, 1 terminating"],
    );
}

#[test]
fn surplus_pods_go_the_least_useful_first() {
    check(
        json!({ "replicas": 1 }),
        true,
        &["a bound ready", "b bound", "c"],
        expect!["delete c b | 3 pods, 3 labelled, 1 ready, 1 available, 0 terminating"],
    );
}

#[test]
fn nothing_is_created_or_deleted_while_own_writes_are_not_seen() {
    check(
        json!({ "replicas": 3 }),
        false,
        &[],
        expect![" | 0 pods, 0 labelled, 0 ready, 0 available, 0 terminating"],
    );
}

#[test]
fn free_pods_that_match_are_adopted_and_count() {
    check(
        json!({ "replicas": 2 }),
        true,
        &[
            "a bound ready free",
            "b bound ready foreign",
            "c bound ready other",
        ],
        expect![
            "adopt a, release c, create 1 | 1 pods, 1 labelled, 1 ready, 1 available, 0 terminating"
        ],
    );
}

#[test]
fn a_pod_is_available_after_it_was_ready_for_long_enough() {
    check(
        json!({ "replicas": 2, "minReadySeconds": 30 }),
        true,
        &["a bound ready", "b bound fresh"],
        expect!["look again in 30s | 2 pods, 2 labelled, 2 ready, 1 available, 0 terminating"],
    );
}

#[test]
fn one_step_creates_a_burst_at_most() {
    check(
        json!({ "replicas": 9000 }),
        true,
        &[],
        expect!["create 500 | 0 pods, 0 labelled, 0 ready, 0 available, 0 terminating"],
    );
}

#[test]
fn a_pod_is_made_of_the_template_and_owned() {
    let pod = new_pod(&web(&json!({ "replicas": 1 })));
    expect![[r#"{"annotations":{"note":"kept"},"generateName":"web-","labels":{"app":"web","tier":"front"},"namespace":"a","ownerReferences":[{"apiVersion":"apps/v1","blockOwnerDeletion":true,"controller":true,"kind":"ReplicaSet","name":"web","uid":"set"}]}"#]]
        .assert_eq(&serde_json::to_string(&serde_json::to_value(&pod.metadata).unwrap()).unwrap());
}

#[test]
fn a_failure_is_a_condition_until_it_is_over() {
    let replica_set = web(&json!({ "replicas": 1 }));
    let observed = |replica_set| Observed {
        replica_set,
        pods: &[],
        replica_sets: &[],
        is_current: true,
        now: NOW.parse().unwrap(),
    };
    let failure = Failure {
        reason: "FailedCreate",
        message: "quota".into(),
    };
    let failed = ReplicaSet {
        status: Some(status(&observed(&replica_set), Some(&failure))),
        ..replica_set.clone()
    };
    let conditions = failed.status.as_ref().unwrap().conditions.as_ref().unwrap();
    assert_eq!(conditions[0].reason.as_deref(), Some("FailedCreate"));
    assert_eq!(status(&observed(&failed), None).conditions, None);
}
