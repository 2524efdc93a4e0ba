//! Server-side apply against recorded sequences.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::api::schema::tests::any_json;
use crate::api::{defaults, patch};

/// One recorded write a line, in order: who sent what, and parts of the answer; each probe begins on an empty server.
const APPLIED: &str = include_str!("../../../testdata/api/applied.jsonl");

fn now() -> Timestamp {
    "2026-01-01T00:00:00Z".parse().unwrap()
}

/// A small server: only what writing through this module needs.
#[derive(Default)]
struct Server {
    objects: BTreeMap<String, Value>,
}

impl Server {
    fn write(&mut self, step: &Value) -> Result<Value, Error> {
        let text = |field: &str| step[field].as_str().unwrap();
        let (kind, manager, subresource) = (text("kind"), text("manager"), text("subresource"));
        let mut sent = step["sent"].clone();
        let current = self.objects.get(kind).cloned();
        let old = current.clone().unwrap_or(json!({}));
        let mut object = match text("op") {
            "apply" => apply(
                kind,
                current.as_ref(),
                &sent,
                manager,
                step["force"] == true,
                subresource,
                now(),
            )?,
            "merge" => patch::merge(kind, &old, &sent).unwrap(),
            _ => sent.take(),
        };
        if subresource.is_empty() && current.is_some() {
            object["status"] = old["status"].clone();
        }
        defaults::apply(kind, &mut object);
        if current.is_none() {
            defaults::create(kind, &mut object);
        }
        if text("op") != "apply" {
            record_update(
                kind,
                &old,
                &mut object,
                manager,
                "Update",
                subresource,
                now(),
            );
        }
        object["metadata"]["uid"] = json!("u");
        self.objects.insert(kind.to_owned(), object.clone());
        Ok(object)
    }
}

/// The part of an object that an answer shows; of times only that they are there.
fn shown(object: &Value, pointer: &str) -> Value {
    let mut value = object.pointer(pointer).cloned().unwrap_or_default();
    if pointer.ends_with("managedFields") {
        for entry in value.as_array_mut().into_iter().flatten() {
            if entry["time"].is_string() {
                entry["time"] = json!(true);
            }
        }
        for entry in value.as_array_mut().into_iter().flatten() {
            entry
                .as_object_mut()
                .unwrap()
                .retain(|_, value| !value.is_null());
        }
    }
    value
}

#[test]
fn sequences_of_writes_end_as_recorded() {
    let mut server = Server::default();
    let mut probe = Value::Null;
    for line in APPLIED.lines() {
        let step: Value = serde_json::from_str(line).unwrap();
        if step["probe"] != probe {
            server = Server::default();
            probe = step["probe"].clone();
        }
        let what = format!("{probe} {} by {}", step["note"], step["manager"]);
        match (server.write(&step), step["status"].as_u64()) {
            (Ok(object), None | Some(200 | 201)) => {
                for (pointer, wanted) in step["answer"].as_object().into_iter().flatten() {
                    assert_eq!(shown(&object, pointer), *wanted, "{what} {pointer}");
                }
            }
            (Err(error), Some(status)) => {
                assert_eq!(u64::from(error.status()), status, "{what}");
                assert_eq!(
                    error.to_string(),
                    step["answer"]["message"].as_str().unwrap(),
                    "{what}"
                );
                let causes: Value = error
                    .causes()
                    .iter()
                    .map(|cause| json!([cause.reason, cause.field, cause.message]))
                    .collect();
                assert_eq!(causes, step["answer"]["causes"], "{what}");
            }
            (result, status) => panic!("{what}: {result:?} instead of {status:?}"),
        }
    }
}

#[test]
fn bodies_that_do_not_fit_are_refused_in_recorded_words() {
    for (data, wanted) in [
        (
            json!({"data": {"a": 1}}),
            ".data.a: expected string, got &value.valueUnstructured{Value:1}",
        ),
        (json!({"nope": 1}), ".nope: field not declared in schema"),
    ] {
        let mut body =
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "one"}});
        body.as_object_mut()
            .unwrap()
            .extend(data.as_object().unwrap().clone());
        let error = apply("ConfigMap", None, &body, "one", false, "", now()).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("failed to create typed patch object (/one; /v1, Kind=ConfigMap): {wanted}")
        );
    }
}

#[test]
fn custom_objects_merge_maps_and_take_lists_whole() {
    let thing = |spec: Value| json!({"apiVersion": "a.b/v1", "kind": "Thing", "metadata": {"name": "one"}, "spec": spec});
    let first = apply(
        "Thing",
        None,
        &thing(json!({"size": 2, "list": [1, 2]})),
        "one",
        false,
        "",
        now(),
    )
    .unwrap();
    assert_eq!(
        first["metadata"]["managedFields"][0]["fieldsV1"],
        json!({"f:spec": {"f:size": {}, "f:list": {}}})
    );
    let error = apply(
        "Thing",
        Some(&first),
        &thing(json!({"list": [3]})),
        "two",
        false,
        "",
        now(),
    )
    .unwrap_err();
    assert_eq!(
        error.to_string(),
        "Apply failed with 1 conflict: conflict with \"one\": .spec.list"
    );
    let given_up = apply(
        "Thing",
        Some(&first),
        &thing(Value::Null),
        "one",
        false,
        "",
        now(),
    )
    .unwrap();
    assert!(given_up["spec"].is_null());
}

#[test]
fn many_writers_are_put_together_as_ancient() {
    let mut object = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "one", "uid": "u"}, "data": {}});
    record_update(
        "ConfigMap",
        &json!({}),
        &mut object,
        "first",
        "Update",
        "",
        now(),
    );
    for writer in 0..20 {
        let old = object.clone();
        object["data"][format!("k{writer}")] = json!("v");
        let at = Timestamp::from_second(now().as_second() + writer).unwrap();
        record_update(
            "ConfigMap",
            &old,
            &mut object,
            &format!("w{writer}"),
            "Update",
            "",
            at,
        );
    }
    let managers = object["metadata"]["managedFields"].as_array().unwrap();
    assert_eq!(managers.len(), 11);
    assert!(
        managers
            .iter()
            .any(|entry| entry["manager"] == "ancient-changes")
    );
}

proptest! {
    #[test]
    fn applying_the_same_again_changes_nothing_and_nothing_panics(live in any_json(), applied in any_json(), other in any_json()) {
        for kind in ["Deployment", "ConfigMap", "Thing"] {
            let _ = apply(kind, Some(&live), &applied, "one", true, "status", now());
            let mut new = other.clone();
            record_update(kind, &live, &mut new, "one", "Update", "", now());
        }
        let object = |spec: Value| json!({"apiVersion": "a.b/v1", "kind": "Thing", "metadata": {"name": "one"}, "spec": spec});
        let Ok(once) = apply("Thing", None, &object(applied.clone()), "one", false, "", now()) else { return Ok(()) };
        let twice = apply("Thing", Some(&once), &object(applied), "one", false, "", now());
        prop_assert_eq!(twice, Ok(once));
    }
}
