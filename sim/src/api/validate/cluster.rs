//! Data, nodes, leases, events and definitions of custom kinds.
//!
//! In: an object with its defaults, for a change also the old one. Out: causes. Pure.

use std::collections::BTreeSet;

use base64::Engine as _;
use serde_json::{Value, json};

use super::{Causes, is_empty, items, names, text};

/// All values of a ConfigMap or Secret together.
const DATA_BYTES_MAX: usize = 1024 * 1024;

/// Of one of the kinds of this file; others have no faults.
pub(super) fn body(kind: &str, old: Option<&Value>, new: &Value, causes: &mut Causes) {
    match kind {
        "ConfigMap" => config_map(old, new, causes),
        "Secret" => secret(old, new, causes),
        "Node" => node(old, new, causes),
        "Lease" => lease(new, causes),
        "Event" => event(old, new, causes),
        "CustomResourceDefinition" => super::definition::definition(old, new, causes),
        "RoleBinding" | "ClusterRoleBinding" => {
            if let Some(old) = old
                && old["roleRef"] != new["roleRef"]
            {
                causes.invalid("roleRef", &new["roleRef"], "cannot change roleRef");
            }
        }
        _ => {}
    }
}

fn config_map(old: Option<&Value>, object: &Value, causes: &mut Causes) {
    let mut bytes = 0;
    for (key, value) in object["data"].as_object().into_iter().flatten() {
        causes.each_invalid(&format!("data[{key}]"), key, names::key(key));
        if !object["binaryData"][key].is_null() {
            causes.invalid(
                format!("data[{key}]"),
                &Value::from(key.as_str()),
                "duplicate of key present in binaryData",
            );
        }
        bytes += text(value).len();
    }
    for (key, value) in object["binaryData"].as_object().into_iter().flatten() {
        causes.each_invalid(&format!("binaryData[{key}]"), key, names::key(key));
        bytes += decoded_bytes(value);
    }
    if bytes > DATA_BYTES_MAX {
        causes.too_long("[]", DATA_BYTES_MAX);
    }
    frozen_data(old, object, &["data", "binaryData"], causes);
}

fn decoded_bytes(value: &Value) -> usize {
    base64::engine::general_purpose::STANDARD
        .decode(text(value))
        .map_or(0, |bytes| bytes.len())
}

/// Once `immutable` is set, neither it nor the data may change.
fn frozen_data(old: Option<&Value>, new: &Value, fields: &[&str], causes: &mut Causes) {
    let Some(old) = old.filter(|old| old["immutable"] == true) else {
        return;
    };
    let why = "field is immutable when `immutable` is set";
    if new["immutable"] != true {
        causes.forbidden("immutable", why);
    }
    for field in fields {
        if old[*field] != new[*field] {
            causes.forbidden(*field, why);
        }
    }
}

fn secret(old: Option<&Value>, object: &Value, causes: &mut Causes) {
    if let Some(old) = old {
        causes.immutable(&old["type"], &object["type"], "type");
        if old["type"] != object["type"] {
            return;
        }
        frozen_data(Some(old), object, &["data"], causes);
    }
    let data = &object["data"];
    let mut bytes = 0;
    for (key, value) in data.as_object().into_iter().flatten() {
        causes.each_invalid(&format!("data[{key}]"), key, names::key(key));
        bytes += decoded_bytes(value);
    }
    if bytes > DATA_BYTES_MAX {
        causes.too_long("data", DATA_BYTES_MAX);
    }
    let mut need = |keys: &[&str]| {
        for key in keys.iter().filter(|key| data[**key].is_null()) {
            causes.required(format!("data[{key}]"), "");
        }
    };
    match text(&object["type"]) {
        "kubernetes.io/tls" => need(&["tls.crt", "tls.key"]),
        "kubernetes.io/dockercfg" => need(&[".dockercfg"]),
        "kubernetes.io/dockerconfigjson" => need(&[".dockerconfigjson"]),
        "kubernetes.io/ssh-auth" => need(&["ssh-privatekey"]),
        "kubernetes.io/basic-auth" if data["username"].is_null() && data["password"].is_null() => {
            need(&["username", "password"]);
        }
        "kubernetes.io/service-account-token" => {
            let annotation = "kubernetes.io/service-account.name";
            if is_empty(&object["metadata"]["annotations"][annotation]) {
                causes.required(format!("metadata.annotations[{annotation}]"), "");
            }
        }
        _ => {}
    }
}

fn node(old: Option<&Value>, object: &Value, causes: &mut Causes) {
    let spec = &object["spec"];
    let mut known = BTreeSet::new();
    for (index, taint) in items(&spec["taints"]).iter().enumerate() {
        let field = format!("metadata.taints[{index}]");
        let (key, value) = (text(&taint["key"]), text(&taint["value"]));
        causes.each_invalid(&format!("{field}.key"), key, names::qualified(key));
        causes.each_invalid(&format!("{field}.value"), value, names::label_value(value));
        causes.one_of(
            &taint["effect"],
            &format!("{field}.effect"),
            &["NoSchedule", "PreferNoSchedule", "NoExecute"],
        );
        if !known.insert((key, text(&taint["effect"]))) {
            let shown = format!(
                "{{\"Key\":{key:?},\"Value\":{value:?},\"Effect\":{},\"TimeAdded\":{}}}: taints must be unique by key and effect pair",
                taint["effect"], taint["timeAdded"]
            );
            causes.duplicate(field, &shown);
        }
    }
    if let Some(old) = old {
        let before = &old["spec"]["podCIDRs"];
        if !before.is_null() && *before != spec["podCIDRs"] {
            causes.forbidden(
                "spec.podCIDRs",
                "node updates may not change podCIDR except from \"\" to valid",
            );
        }
    }
}

fn lease(object: &Value, causes: &mut Causes) {
    let spec = &object["spec"];
    if spec["leaseDurationSeconds"]
        .as_i64()
        .is_some_and(|seconds| seconds <= 0)
    {
        causes.invalid(
            "spec.leaseDurationSeconds",
            &spec["leaseDurationSeconds"],
            "must be greater than 0",
        );
    }
    causes.not_negative(&spec["leaseTransitions"], "spec.leaseTransitions");
}

fn event(old: Option<&Value>, object: &Value, causes: &mut Causes) {
    let is_new = object["apiVersion"] == "events.k8s.io/v1";
    let about = if is_new {
        &object["regarding"]
    } else {
        &object["involvedObject"]
    };
    let namespace = text(&object["metadata"]["namespace"]);
    let about_namespace = text(&about["namespace"]);
    let agrees =
        about_namespace == namespace || (about_namespace.is_empty() && namespace == "default");
    if !agrees {
        causes.invalid(
            "involvedObject.namespace",
            &Value::from(about_namespace),
            "does not match event.namespace",
        );
    }
    if !is_new {
        return;
    }
    match old {
        None => new_event(object, causes),
        Some(old) => {
            let renamed = [("note", "message"), ("regarding", "involvedObject")];
            let same = [
                "reason",
                "type",
                "action",
                "eventTime",
                "reportingController",
                "reportingInstance",
                "related",
            ];
            for (name, shown) in renamed.into_iter().chain(same.map(|name| (name, name))) {
                causes.immutable(&old[name], &object[name], shown);
            }
        }
    }
    if !object["series"].is_null() && object["series"]["count"].as_i64().unwrap_or_default() < 2 {
        causes.invalid("series.count", &json!(""), "should be at least 2");
    }
}

/// What events.k8s.io demands of an event.
fn new_event(event: &Value, causes: &mut Causes) {
    let nothing = json!("");
    if event["eventTime"].is_null() {
        causes.required("eventTime", "");
    }
    let controller = text(&event["reportingController"]);
    if controller.is_empty() {
        causes.required("reportingController", "");
    }
    causes.each_invalid(
        "reportingController",
        controller,
        names::qualified(controller),
    );
    for field in ["reportingInstance", "action", "reason"] {
        if is_empty(&event[field]) {
            causes.required(field, "");
        }
    }
    for (field, shown, max) in [
        ("reportingInstance", "reportingInstance", 128),
        ("action", "action", 128),
        ("reason", "reason", 128),
        ("note", "message", 1024),
    ] {
        if text(&event[field]).len() > max {
            causes.invalid(
                shown,
                &nothing,
                &format!("can have at most {max} characters"),
            );
        }
    }
    if !matches!(text(&event["type"]), "Normal" | "Warning") {
        causes.invalid(
            "type",
            &nothing,
            &format!("has invalid value: {}", text(&event["type"])),
        );
    }
}

/// Of the status of a Namespace.
pub(super) fn namespace_status(object: &Value, causes: &mut Causes) {
    let phase = &object["status"]["phase"];
    let is_leaving = !object["metadata"]["deletionTimestamp"].is_null();
    if !is_leaving && phase != "Active" && !is_empty(phase) {
        causes.invalid(
            "status.Phase",
            phase,
            "may only be 'Active' if `deletionTimestamp` is empty",
        );
    }
}
