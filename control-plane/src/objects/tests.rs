use k8s_openapi::api::{core, discovery, networking};
use serde_json::{Value, json};

use super::*;

fn ingress(extra: Value) -> Object {
    let mut object = json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "Ingress",
        "metadata": {"name": "web", "namespace": "shop", "annotations": null},
        "spec": {"rules": [{"host": "a.example"}]},
    });
    merge(&mut object, extra);
    let ingress: networking::v1::Ingress = serde_json::from_value(object).unwrap();
    Object::from(ingress)
}

fn slice(extra: Value) -> Object {
    let mut object = json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": {"name": "web-1", "namespace": "shop", "labels": {"kubernetes.io/service-name": "web"}},
        "addressType": "IPv4", "ports": [{"port": 8080}],
        "endpoints": [{"addresses": ["10.0.0.1"], "conditions": {"ready": true}}],
    });
    merge(&mut object, extra);
    let slice: discovery::v1::EndpointSlice = serde_json::from_value(object).unwrap();
    Object::from(slice)
}

fn service(extra: Value) -> Object {
    let mut object = json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "web", "namespace": "shop"},
        "spec": {"ports": [{"port": 80}], "clusterIP": "10.96.0.1"},
    });
    merge(&mut object, extra);
    let service: core::v1::Service = serde_json::from_value(object).unwrap();
    Object::from(service)
}

fn merge(into: &mut Value, from: Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (key, value) in from {
                merge(into.entry(key).or_insert(Value::Null), value);
            }
        }
        (into, from) => *into = from,
    }
}

#[test]
fn only_what_we_read_counts_as_a_change() {
    let mut objects = Objects::default();
    for first in [ingress(json!({})), slice(json!({})), service(json!({}))] {
        assert!(objects.apply(Change::Apply(first)).changed);
    }
    let status = json!({"loadBalancer": {"ingress": [{"ip": "10.0.0.1"}]}});
    for churn in [
        ingress(json!({"metadata": {"resourceVersion": "2", "labels": {"a": "b"}}})),
        ingress(
            json!({"metadata": {"annotations": {"example.com/touched": "yes"}, "managedFields": [{"manager": "me"}]}}),
        ),
        ingress(json!({"status": status})),
        slice(
            json!({"metadata": {"generation": 7, "annotations": {"endpoints.kubernetes.io/last-change-trigger-time": "x"}}}),
        ),
        slice(
            json!({"endpoints": [{"addresses": ["10.0.0.1"], "nodeName": "node-2", "zone": "b"}]}),
        ),
        service(
            json!({"spec": {"clusterIP": "10.96.0.2", "sessionAffinity": "ClientIP"}, "status": status}),
        ),
    ] {
        assert_eq!(
            objects.apply(Change::Apply(churn.clone())),
            Effect::default(),
            "{churn:?}"
        );
    }
    for change in [
        ingress(json!({"metadata": {"annotations": {"kubernetes.io/ingress.class": "nginx"}}})),
        ingress(json!({"spec": {"rules": [{"host": "b.example"}]}})),
        slice(json!({"endpoints": [{"addresses": ["10.0.0.1"], "conditions": {"ready": false}}]})),
        slice(
            json!({"endpoints": [{"addresses": ["10.0.0.1"], "targetRef": {"uid": "another-pod"}}]}),
        ),
        service(json!({"spec": {"ports": [{"port": 80, "targetPort": "http"}]}})),
    ] {
        assert!(
            objects.apply(Change::Apply(change.clone())).changed,
            "{change:?}"
        );
    }
}

#[test]
fn a_list_removes_what_is_not_in_it_and_nothing_of_other_kinds() {
    let mut objects = Objects::default();
    objects.apply(Change::Apply(ingress(json!({}))));
    objects.apply(Change::Apply(service(json!({}))));
    let other = ingress(json!({"metadata": {"name": "other"}}));
    let listed = Change::Replace(Kind::Ingress, vec![other.clone()]);
    assert!(objects.apply(listed.clone()).changed);
    assert_eq!(
        objects.ingresses().keys().collect::<Vec<_>>(),
        [&Arc::new(other.name)]
    );
    assert_eq!(objects.services().len(), 1);
    assert_eq!(
        objects.apply(listed),
        Effect::default(),
        "the same list again"
    );
}

#[test]
fn what_is_gone_is_gone_once() {
    let mut objects = Objects::default();
    let object = ingress(json!({}));
    objects.apply(Change::Apply(object.clone()));
    let delete = Change::Delete(Kind::Ingress, object.name);
    assert!(objects.apply(delete.clone()).changed);
    assert!(!objects.apply(delete).changed);
}

#[test]
fn a_full_kind_refuses_what_is_new_and_takes_what_it_knows() {
    let named =
        |number: usize| service(json!({"metadata": {"name": format!("service-{number:06}")}}));
    let mut objects = Objects::default();
    let all = (0..=OBJECTS_MAX).map(named).collect();
    let effect = objects.apply(Change::Replace(Kind::Service, all));
    assert_eq!(
        effect,
        Effect {
            changed: true,
            refused: 1
        }
    );
    assert_eq!(objects.services().len(), OBJECTS_MAX);
    let mut known = named(0);
    known.content = service(json!({"spec": {"ports": [{"port": 81}]}})).content;
    assert!(objects.apply(Change::Apply(known)).changed);
}

/// Otherwise each write of ours would be a change, and a further condition.
#[test]
fn what_we_tell_of_an_ingress_is_no_change_of_what_it_asks_for() {
    let apply = |objects: &mut Objects, extra: Value| {
        let mut changes = Changes::default();
        let effect = objects.take_in(Change::Apply(ingress(extra)), &mut changes);
        (effect.changed, changes)
    };
    let told = json!({
        "metadata": {"annotations": {"tiergate.dev/conditions": "[]"}},
        "status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}]}},
    });
    let mut objects = Objects::default();
    assert!(apply(&mut objects, json!({})).0);
    let (changed, changes) = apply(&mut objects, told.clone());
    let name = ObjectName::new("shop", "web");
    assert_eq!((changed, changes.told), (false, [name.clone()].into()));
    assert!(changes.objects.is_empty());
    let held = &objects.ingresses()[&name];
    assert_eq!(held.told.addresses, ingress::hash_of(["192.0.2.1"]));
    assert_ne!(held.told.conditions, 0);
    assert!(held.annotations.is_empty());
    let (changed, changes) = apply(&mut objects, told);
    assert_eq!(
        (changed, changes),
        (false, Changes::default()),
        "nothing differs"
    );
    let other = json!({"metadata": {"annotations": {"nginx.ingress.kubernetes.io/canary": ""}}});
    assert!(apply(&mut objects, other).0);
}
