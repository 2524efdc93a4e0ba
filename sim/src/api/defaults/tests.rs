//! Defaults against recorded answers to creation.

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::api::schema::tests::any_json;

/// One recorded creation a line: what was sent, and the answer without what admission and the store add.
const CREATED: &str = include_str!("../../../testdata/api/created.jsonl");

#[test]
fn created_objects_come_back_as_a_real_server_answered() {
    for line in CREATED.lines() {
        let case: Value = serde_json::from_str(line).unwrap();
        let (kind, mut object) = (case["kind"].as_str().unwrap(), case["sent"].clone());
        apply(kind, &mut object);
        create(kind, &mut object);
        assert_eq!(object, case["answer"], "{}", case["case"]);
    }
}

#[test]
fn part_of_a_strategy_is_completed() {
    for (given, wanted) in [
        (json!({"type": "Recreate"}), json!({"type": "Recreate"})),
        (
            json!({"rollingUpdate": {"maxSurge": 2}}),
            json!({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 2, "maxUnavailable": "25%"}}),
        ),
    ] {
        let mut deployment = json!({"apiVersion": "apps/v1", "kind": "Deployment", "spec": {"strategy": given, "replicas": 0}});
        apply("Deployment", &mut deployment);
        assert_eq!(deployment["spec"]["strategy"], wanted);
        assert_eq!(deployment["spec"]["replicas"], 0);
    }
}

#[test]
fn session_affinity_brings_its_timeout() {
    let mut service = json!({"apiVersion": "v1", "kind": "Service", "spec": {"sessionAffinity": "ClientIP", "ports": [{"port": 80, "targetPort": "http"}]}});
    apply("Service", &mut service);
    assert_eq!(
        service["spec"]["sessionAffinityConfig"],
        json!({"clientIP": {"timeoutSeconds": 10800}})
    );
    assert_eq!(service["spec"]["ports"][0]["targetPort"], "http");
}

#[test]
fn a_changed_template_counts_up_the_generation_of_a_daemon_set() {
    let mut old = json!({"apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": {"name": "d"}, "spec": {"template": {"spec": {}}}});
    create("DaemonSet", &mut old);
    for (spec, wanted) in [(json!({}), "1"), (json!({"nodeName": "n"}), "2")] {
        let mut new = json!({"apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": {"name": "d"}, "spec": {"template": {"spec": spec}}});
        canonicalise("DaemonSet", &mut new);
        update("DaemonSet", &old, &mut new);
        assert_eq!(
            new["metadata"]["annotations"]["deprecated.daemonset.template.generation"],
            wanted
        );
    }
}

proptest! {
    #[test]
    fn defaults_are_settled_after_one_pass_and_never_panic(value in any_json()) {
        for kind in ["Pod", "Deployment", "DaemonSet", "StatefulSet", "Service", "EndpointSlice", "Secret", "Namespace", "Job", "CustomResourceDefinition"] {
            let mut once = value.clone();
            apply(kind, &mut once);
            let mut twice = once.clone();
            apply(kind, &mut twice);
            prop_assert_eq!(&once, &twice);
            create(kind, &mut twice);
            update(kind, &once, &mut twice);
        }
    }
}
