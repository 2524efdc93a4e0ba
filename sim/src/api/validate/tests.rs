//! Refusals against recorded ones.

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::api::defaults;
use crate::api::schema::tests::any_json;

/// One recorded creation a line: the body, and the causes with which it was refused (none: it was accepted).
const REFUSED: &str = include_str!("../../../testdata/api/refused.jsonl");

/// Causes as the recordings have them.
fn shown(causes: &[Cause]) -> Value {
    causes
        .iter()
        .map(|cause| json!([cause.reason, cause.field, cause.message]))
        .collect()
}

#[test]
fn bodies_are_refused_with_the_causes_of_a_real_server() {
    let mut different = Vec::new();
    for line in REFUSED.lines() {
        let case: Value = serde_json::from_str(line).unwrap();
        let (kind, mut object) = (case["kind"].as_str().unwrap(), case["sent"].clone());
        defaults::apply(kind, &mut object);
        defaults::create(kind, &mut object);
        let causes = shown(&create(kind, &object));
        if causes != case["causes"] {
            different.push(format!(
                "{}\n  wanted {}\n  got    {causes}",
                case["case"], case["causes"]
            ));
        }
    }
    assert!(different.is_empty(), "{}", different.join("\n"));
}

#[test]
fn loopback_addresses_are_told_from_other_faults() {
    let slice = |address: &str| {
        json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "metadata": {"name": "a"},
        "addressType": "IPv4", "endpoints": [{"addresses": [address]}], "ports": null})
    };
    for (address, is_loopback) in [("127.1.2.3", true), ("0.0.0.0", false)] {
        let causes = create("EndpointSlice", &slice(address));
        let found: Vec<bool> = causes.iter().map(Cause::is_loopback).collect();
        assert_eq!(found, [is_loopback], "{address}");
    }
}

#[test]
fn changes_of_what_cannot_change_are_refused() {
    for (kind, old, new, wanted) in [
        (
            "Deployment",
            json!({"spec": {"selector": {"matchLabels": {"app": "web"}}}}),
            json!({"spec": {"selector": {"matchLabels": {"app": "web", "b": "c"}}}}),
            json!([
                "FieldValueInvalid",
                "spec.selector",
                "Invalid value: {\"matchLabels\":{\"app\":\"web\",\"b\":\"c\"}}: field is immutable"
            ]),
        ),
        (
            "IngressClass",
            json!({"spec": {"controller": "a.b/c"}}),
            json!({"spec": {"controller": "other.io/x"}}),
            json!([
                "FieldValueInvalid",
                "spec.controller",
                "Invalid value: \"other.io/x\": field is immutable"
            ]),
        ),
        (
            "EndpointSlice",
            json!({"addressType": "IPv4"}),
            json!({"addressType": "IPv6"}),
            json!([
                "FieldValueInvalid",
                "addressType",
                "Invalid value: \"IPv6\": field is immutable"
            ]),
        ),
        (
            "ConfigMap",
            json!({"immutable": true, "data": {"key": "a"}}),
            json!({"immutable": true, "data": {"key": "b"}}),
            json!([
                "FieldValueForbidden",
                "data",
                "Forbidden: field is immutable when `immutable` is set"
            ]),
        ),
        (
            "Event",
            json!({"apiVersion": "events.k8s.io/v1", "note": "a"}),
            json!({"apiVersion": "events.k8s.io/v1", "note": "changed", "regarding": null}),
            json!([
                "FieldValueInvalid",
                "message",
                "Invalid value: \"changed\": field is immutable"
            ]),
        ),
    ] {
        let causes = shown(&update(kind, &old, &new));
        assert!(
            causes.as_array().unwrap().contains(&wanted),
            "{kind}: {causes}"
        );
        let same = shown(&update(kind, &old, &old));
        assert!(
            !same.as_array().unwrap().contains(&wanted),
            "{kind}: {same}"
        );
    }
}

#[test]
fn metadata_that_the_server_owns_is_refused_twice_as_recorded() {
    let old = json!({"metadata": {"name": "one", "uid": "u1"}});
    let new = json!({"metadata": {"name": "one", "uid": "u2"}});
    let cause = json!([
        "FieldValueInvalid",
        "metadata.uid",
        "Invalid value: \"u2\": field is immutable"
    ]);
    assert_eq!(
        shown(&update("ConfigMap", &old, &new)),
        json!([cause, cause])
    );
}

#[test]
fn a_pod_keeps_its_spec_but_may_change_its_image() {
    let pod = |image: &str, node: Value| {
        json!({"metadata": {"name": "p"}, "spec": {"nodeName": node, "restartPolicy": "Always", "dnsPolicy": "Default",
        "containers": [{"name": "a", "image": image, "imagePullPolicy": "Always"}]}})
    };
    assert_eq!(
        update("Pod", &pod("a:1", Value::Null), &pod("a:2", Value::Null)),
        []
    );
    let causes = update("Pod", &pod("a:1", Value::Null), &pod("a:1", json!("n")));
    assert_eq!((causes.len(), causes[0].field.as_str()), (1, "spec"));
    assert!(causes[0].message.starts_with(
        "Forbidden: pod updates may not change fields other than `spec.containers[*].image`"
    ));
}

#[test]
fn status_is_checked_where_a_real_server_checks_it() {
    let deployment = json!({"metadata": {"name": "one"}, "status": {"replicas": -1}});
    let wanted = json!([
        [
            "FieldValueInvalid",
            "status.replicas",
            "Invalid value: -1: must be greater than or equal to 0"
        ],
        [
            "FieldValueInvalid",
            "status.updatedReplicas",
            "Invalid value: 0: cannot be greater than status.replicas"
        ],
        [
            "FieldValueInvalid",
            "status.readyReplicas",
            "Invalid value: 0: cannot be greater than status.replicas"
        ],
        [
            "FieldValueInvalid",
            "status.availableReplicas",
            "Invalid value: 0: cannot be greater than status.replicas"
        ]
    ]);
    assert_eq!(
        shown(&status("Deployment", &deployment, &deployment)),
        wanted
    );
    let ingress = json!({"metadata": {"name": "one"}, "status": {"loadBalancer": {"ingress": [{"ip": "nope"}]}}});
    let wanted = json!([[
        "FieldValueInvalid",
        "status.loadBalancer.ingress[0].ip",
        "Invalid value: \"nope\": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"
    ]]);
    assert_eq!(shown(&status("Ingress", &ingress, &ingress)), wanted);
    let namespace = json!({"metadata": {"name": "one"}, "status": {"phase": "Terminating"}});
    assert_eq!(
        status("Namespace", &namespace, &namespace)[0].field,
        "status.Phase"
    );
}

#[test]
fn finalizers_may_not_be_added_during_deletion() {
    let old = json!({"metadata": {"name": "one", "deletionTimestamp": "2001-01-01T00:00:00Z", "finalizers": ["a.b/c"]}});
    let mut new = old.clone();
    new["metadata"]["finalizers"] = json!(["a.b/c", "example.com/c"]);
    let message = "Forbidden: no new finalizers can be added if the object is being deleted, found new finalizers []string{\"example.com/c\"}";
    let cause = json!(["FieldValueForbidden", "metadata.finalizers", message]);
    assert_eq!(
        shown(&update("ConfigMap", &old, &new)),
        json!([cause, cause])
    );
}

proptest! {
    #[test]
    fn no_object_makes_validation_panic(old in any_json(), new in any_json()) {
        for kind in ["Ingress", "IngressClass", "Service", "EndpointSlice", "Endpoints", "Pod", "Deployment", "DaemonSet", "Job", "PodDisruptionBudget",
            "Namespace", "ConfigMap", "Secret", "Node", "Lease", "Event", "CustomResourceDefinition", "RoleBinding", "Scale", "Nope"] {
            let _ = create(kind, &new);
            let _ = update(kind, &old, &new);
            let _ = status(kind, &old, &new);
            let mut settled = new.clone();
            defaults::apply(kind, &mut settled);
            let _ = create(kind, &settled);
        }
    }

    #[test]
    fn no_name_panics(text in "\\PC{0,70}") {
        let _ = name_faults("Service", &text);
        let _ = names::qualified(&text);
        let _ = names::port_name(&text);
        let _ = names::key(&text);
        let _ = names::wildcard(&text);
        let _ = names::address(&text);
        let _ = names::domain_prefixed_path(&text);
    }
}
