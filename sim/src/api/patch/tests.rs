//! Patches against what a real server made of them.

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::api::schema::tests::any_json;

/// A Deployment with a pod template.
fn deployment(template_spec: &Value) -> Value {
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "one"},
        "spec": {"strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}}, "template": {"spec": template_spec}}})
}

#[test]
#[expect(clippy::too_many_lines, reason = "one table of cases")]
fn strategic_patches_merge_the_lists_of_a_pod_as_recorded() {
    let mut current = deployment(&json!({
        "containers": [
            {"name": "a", "image": "a:1", "env": [{"name": "X", "value": "1"}, {"name": "Y", "value": "2"}],
             "ports": [{"containerPort": 80, "name": "http"}, {"containerPort": 443}]},
            {"name": "b", "image": "b:1"}],
        "tolerations": [{"key": "t1", "operator": "Exists"}],
        "volumes": [{"name": "v1", "emptyDir": {}}]}));
    let a =
        |env: Value, ports: Value| json!({"name": "a", "image": "a:1", "env": env, "ports": ports});
    let ports =
        json!([{"containerPort": 80, "name": "http"}, {"containerPort": 443, "name": "https"}]);
    let old_ports = json!([{"containerPort": 80, "name": "http"}, {"containerPort": 443}]);
    let old_env = json!([{"name": "X", "value": "1"}, {"name": "Y", "value": "2"}]);
    let env = json!([{"name": "X", "value": "9"}, {"name": "Z", "value": "3"}, {"name": "Y", "value": "2"}]);
    let short_env = json!([{"name": "X", "value": "9"}, {"name": "Z", "value": "3"}]);
    let (b, c) = (
        json!({"name": "b", "image": "b:2"}),
        json!({"name": "c", "image": "c:1"}),
    );
    for (what, patch, field, wanted) in [
        (
            "image of one",
            json!({"containers": [{"name": "b", "image": "b:2"}]}),
            "containers",
            json!([a(old_env.clone(), old_ports.clone()), b]),
        ),
        (
            "a new one comes first",
            json!({"containers": [{"name": "c", "image": "c:1"}]}),
            "containers",
            json!([c, a(old_env, old_ports.clone()), b]),
        ),
        (
            "env by name",
            json!({"containers": [{"name": "a", "env": [{"name": "X", "value": "9"}, {"name": "Z", "value": "3"}]}]}),
            "containers",
            json!([c, a(env.clone(), old_ports), b]),
        ),
        (
            "ports by number",
            json!({"containers": [{"name": "a", "ports": [{"containerPort": 443, "name": "https"}]}]}),
            "containers",
            json!([c, a(env.clone(), ports.clone()), b]),
        ),
        (
            "delete an item",
            json!({"containers": [{"name": "c", "$patch": "delete"}]}),
            "containers",
            json!([a(env, ports.clone()), b]),
        ),
        (
            "delete an inner item",
            json!({"containers": [{"name": "a", "env": [{"name": "Y", "$patch": "delete"}]}]}),
            "containers",
            json!([a(short_env.clone(), ports.clone()), b]),
        ),
        (
            "order",
            json!({"$setElementOrder/containers": [{"name": "b"}, {"name": "a"}], "containers": [{"name": "b"}, {"name": "a"}]}),
            "containers",
            json!([b, a(short_env, ports)]),
        ),
        (
            "replace the list",
            json!({"containers": [{"$patch": "replace"}, {"name": "a", "image": "a:3"}]}),
            "containers",
            json!([{"name": "a", "image": "a:3"}]),
        ),
        (
            "tolerations",
            json!({"tolerations": [{"key": "t2", "operator": "Exists"}]}),
            "tolerations",
            json!([{"key": "t2", "operator": "Exists"}]),
        ),
        (
            "retain keys",
            json!({"volumes": [{"name": "v1", "$retainKeys": ["name", "configMap"], "configMap": {"name": "c"}}]}),
            "volumes",
            json!([{"name": "v1", "configMap": {"name": "c"}}]),
        ),
        (
            "null removes",
            json!({"tolerations": null}),
            "tolerations",
            Value::Null,
        ),
    ] {
        current = strategic(
            "Deployment",
            &current,
            &json!({"spec": {"template": {"spec": patch}}}),
        )
        .unwrap();
        assert_eq!(current["spec"]["template"]["spec"][field], wanted, "{what}");
    }
}

#[test]
fn strategic_patches_replace_and_retain_maps() {
    let current = deployment(&json!({}));
    let replaced = strategic(
        "Deployment",
        &current,
        &json!({"spec": {"strategy": {"$patch": "replace", "type": "Recreate"}}}),
    )
    .unwrap();
    assert_eq!(replaced["spec"]["strategy"], json!({"type": "Recreate"}));
    let retained = strategic(
        "Deployment",
        &current,
        &json!({"spec": {"strategy": {"$retainKeys": ["type"], "type": "Recreate"}}}),
    )
    .unwrap();
    assert_eq!(retained["spec"]["strategy"], json!({"type": "Recreate"}));
}

#[test]
fn strategic_patches_that_contradict_the_kind_are_refused_in_recorded_words() {
    let current = deployment(&json!({"containers": [{"name": "a"}]}));
    for (item, wanted) in [
        (
            json!({"image": "x"}),
            "map: map[image:x] does not contain declared merge key: name",
        ),
        (
            json!({"name": "a", "$patch": "nope"}),
            "unknown patch type: nope in map: map[$patch:nope name:a]",
        ),
    ] {
        let patch = json!({"spec": {"template": {"spec": {"containers": [item]}}}});
        let error = strategic("Deployment", &current, &patch).unwrap_err();
        assert_eq!((error.status(), error.to_string().as_str()), (500, wanted));
    }
}

#[test]
fn finalizers_are_a_set() {
    let current = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"finalizers": ["a.b/c", "d.e/f"]}});
    let removed = strategic("ConfigMap", &current, &json!({"metadata": {"$deleteFromPrimitiveList/finalizers": ["a.b/c"], "finalizers": ["d.e/f"]}})).unwrap();
    assert_eq!(removed["metadata"]["finalizers"], json!(["d.e/f"]));
    let added = strategic(
        "ConfigMap",
        &removed,
        &json!({"metadata": {"finalizers": ["g.h/i"]}}),
    )
    .unwrap();
    assert_eq!(added["metadata"]["finalizers"], json!(["g.h/i", "d.e/f"]));
}

#[test]
fn service_ports_merge_by_port_and_conditions_by_type() {
    let service = json!({"apiVersion": "v1", "kind": "Service", "spec": {"ports": [{"name": "a", "port": 80}, {"name": "b", "port": 81}]}});
    let changed = strategic(
        "Service",
        &service,
        &json!({"spec": {"ports": [{"port": 80, "targetPort": 8080}]}}),
    )
    .unwrap();
    assert_eq!(
        changed["spec"]["ports"],
        json!([{"name": "a", "port": 80, "targetPort": 8080}, {"name": "b", "port": 81}])
    );
    let node = json!({"apiVersion": "v1", "kind": "Node", "status": {"conditions": [{"type": "Ready", "status": "True"}]}});
    let changed = strategic(
        "Node",
        &node,
        &json!({"status": {"conditions": [{"type": "MemoryPressure", "status": "False"}]}}),
    )
    .unwrap();
    assert_eq!(
        changed["status"]["conditions"],
        json!([{"type": "MemoryPressure", "status": "False"}, {"type": "Ready", "status": "True"}])
    );
}

#[test]
fn json_patches_do_what_rfc_6902_says_and_fail_with_the_recorded_status() {
    let current = json!({"metadata": {"annotations": {"a/b": "1"}}, "list": [1]});
    let changed = json(
        "ConfigMap",
        &current,
        &json!([{"op": "test", "path": "/metadata/annotations/a~1b", "value": "1"}, {"op": "remove", "path": "/metadata/annotations/a~1b"},
            {"op": "add", "path": "/list/-", "value": 2}, {"op": "add", "path": "/list/0", "value": 0}]),
    );
    assert_eq!(
        changed.unwrap(),
        json!({"metadata": {"annotations": {}}, "list": [0, 1, 2]})
    );
    for (patch, status) in [
        (json!([{"op": "test", "path": "/list", "value": "no"}]), 422),
        (json!([{"op": "remove", "path": "/none"}]), 422),
        (json!([{"op": "nope", "path": "/none"}]), 422),
        (json!([{"op": "add", "path": "spec"}]), 422),
        (json!({"op": "add"}), 400),
        (
            Value::from(vec![
                json!({"op": "add", "path": "/a", "value": true});
                10_001
            ]),
            413,
        ),
    ] {
        assert_eq!(
            json("ConfigMap", &current, &patch).unwrap_err().status(),
            status
        );
    }
}

#[test]
fn merge_patches_remove_by_null_and_replace_lists() {
    let current = json!({"a": {"b": 1, "c": [1, 2]}});
    let changed = merge(
        "ConfigMap",
        &current,
        &json!({"a": {"b": null, "c": [3], "d": {"e": null, "f": 1}}}),
    )
    .unwrap();
    assert_eq!(changed, json!({"a": {"c": [3], "d": {"f": 1}}}));
    assert_eq!(
        merge("ConfigMap", &current, &json!([]))
            .unwrap_err()
            .status(),
        400
    );
}

proptest! {
    #[test]
    fn no_patch_panics(current in any_json(), patch in any_json()) {
        for kind in ["Deployment", "Pod", "Service", "Nope"] {
            let _ = strategic(kind, &current, &patch);
            let _ = json(kind, &current, &patch);
            let _ = merge(kind, &current, &patch);
        }
    }
}
