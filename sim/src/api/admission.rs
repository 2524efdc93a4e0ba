//! What the real server's default admission plugins add and refuse.
//!
//! In: an object that is about to be stored, and the objects around it. Out: the object with what they add, or a
//! refusal. Service accounts of pods, default ingress classes, taints of new nodes, priorities, addresses of services.

use serde_json::{Value, json};

use super::addresses;
use super::call::Call;
use super::metadata;
use super::resources::Resource;
use super::state::{State, text};
use super::status::Failure;
use super::validate;

const DEFAULT_CLASS: &str = "ingressclass.kubernetes.io/is-default-class";
const CLASS_ANNOTATION: &str = "kubernetes.io/ingress.class";
const TOKEN_FOLDER: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
const NOT_READY: &str = "node.kubernetes.io/not-ready";
const UNREACHABLE: &str = "node.kubernetes.io/unreachable";

/// Seconds that a pod stays on a node that is not ready, unless it says otherwise.
const TOLERATION_SECONDS: u32 = 300;

/// Adds to a new object, or refuses it.
pub(crate) fn create(state: &mut State, call: &Call, object: &mut Value) -> Result<(), Failure> {
    let resource = call.resource();
    match (resource.group.as_str(), resource.kind.as_str()) {
        ("", "Pod") => admit_pod(state, call, object),
        ("", "Namespace") => {
            let name = metadata::name_of(object).to_owned();
            object["metadata"]["labels"]["kubernetes.io/metadata.name"] = json!(name);
            Ok(())
        }
        ("", "Node") => {
            let taint = json!({"key": NOT_READY, "effect": "NoSchedule"});
            let mut taints = list(&object["spec"]["taints"]);
            if !taints
                .iter()
                .any(|one| one["key"] == NOT_READY && one["effect"] == "NoSchedule")
            {
                taints.push(taint);
            }
            object["spec"]["taints"] = json!(taints);
            Ok(())
        }
        ("", "Service") => addresses::allocate(state, object),
        ("networking.k8s.io", "Ingress") => {
            set_default_class(state, object);
            Ok(())
        }
        _ => Ok(()),
    }
}

/// Adds to a changed object, or refuses it.
pub(crate) fn update(
    state: &mut State,
    call: &Call,
    old: &Value,
    object: &mut Value,
) -> Result<(), Failure> {
    let resource = call.resource();
    match (resource.group.as_str(), resource.kind.as_str()) {
        ("", "Service") => addresses::reallocate(state, old, object),
        ("", "Pod") => {
            add_tolerations(object);
            Ok(())
        }
        ("", "Namespace") => {
            let name = metadata::name_of(object).to_owned();
            object["metadata"]["labels"]["kubernetes.io/metadata.name"] = json!(name);
            Ok(())
        }
        _ => Ok(()),
    }
}

/// Rules that need other objects, for a new object that is otherwise fine.
pub(crate) fn validate_new(
    state: &State,
    resource: &Resource,
    name: &str,
    object: &Value,
) -> Result<(), Failure> {
    addresses::check(state, resource, name, None, object)
}

/// Rules that need other objects, for a changed object that is otherwise fine.
pub(crate) fn validate_changed(
    state: &State,
    resource: &Resource,
    name: &str,
    old: &Value,
    object: &Value,
) -> Result<(), Failure> {
    addresses::check(state, resource, name, Some(old), object)
}

/// What the real server warns of.
pub(crate) fn warnings(resource: &Resource, old: Option<&Value>, object: &Value) -> Vec<String> {
    let mut warnings = Vec::new();
    if resource.is("networking.k8s.io", "Ingress")
        && old.is_none()
        && has_class_annotation(object)
        && object["spec"].get("ingressClassName").is_none()
    {
        warnings.push(format!(
            "annotation {CLASS_ANNOTATION:?} is deprecated, please use 'spec.ingressClassName' instead"
        ));
    }
    let has_rules = |object: &Value| {
        let versions = object["spec"]["versions"].as_array();
        versions.is_some_and(|versions| versions.iter().any(validate::has_rules))
    };
    if resource.is("apiextensions.k8s.io", "CustomResourceDefinition") && has_rules(object) {
        warnings.push(
            "x-kubernetes-validations are kept but not evaluated by this local cluster".to_owned(),
        );
    }
    warnings
}

/// The warning that every answer about a kind carries.
pub(crate) fn deprecation(resource: &Resource) -> Option<&str> {
    if let Some(custom) = &resource.custom {
        return custom.deprecation.as_deref();
    }
    resource
        .is("", "Endpoints")
        .then_some("v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice")
}

fn list(value: &Value) -> Vec<Value> {
    value.as_array().cloned().unwrap_or_default()
}

fn has_class_annotation(object: &Value) -> bool {
    object["metadata"]["annotations"]
        .get(CLASS_ANNOTATION)
        .is_some()
}

/// The newest default class is taken when there are several.
fn set_default_class(state: &State, object: &mut Value) {
    if object["spec"].get("ingressClassName").is_some() || has_class_annotation(object) {
        return;
    }
    let Some(classes) = state.store.collection("ingressclasses.networking.k8s.io") else {
        return;
    };
    let newest = classes
        .range("")
        .map(|(_, class)| &class.value)
        .filter(|class| class["metadata"]["annotations"][DEFAULT_CLASS] == "true")
        .max_by(|a, b| {
            let born = |class: &Value| text(class, "/metadata/creationTimestamp").to_owned();
            born(a)
                .cmp(&born(b))
                .then_with(|| metadata::name_of(b).cmp(metadata::name_of(a)))
        });
    if let Some(class) = newest {
        object["spec"]["ingressClassName"] = class["metadata"]["name"].clone();
    }
}

// --- pods ---

fn admit_pod(state: &mut State, call: &Call, pod: &mut Value) -> Result<(), Failure> {
    if !pod["spec"].is_object() {
        pod["spec"] = json!({});
    }
    set_priority(state, call, pod)?;
    add_tolerations(pod);
    add_service_account(state, call, pod)
}

fn set_priority(state: &State, call: &Call, pod: &mut Value) -> Result<(), Failure> {
    let class = text(pod, "/spec/priorityClassName").to_owned();
    let (priority, preemption) = match class.as_str() {
        "" => (0, "PreemptLowerPriority".to_owned()),
        "system-node-critical" => (2_000_001_000, "PreemptLowerPriority".to_owned()),
        "system-cluster-critical" => (2_000_000_000, "PreemptLowerPriority".to_owned()),
        _ => {
            let found = state
                .object("priorityclasses.scheduling.k8s.io", None, &class)
                .ok_or_else(|| {
                    let why = format!("no PriorityClass with name {class} was found");
                    Failure::forbidden(call.resource(), metadata::name_of(pod), &why)
                })?;
            let preemption = match text(&found.value, "/preemptionPolicy") {
                "" => "PreemptLowerPriority",
                policy => policy,
            };
            (
                found.value["value"].as_i64().unwrap_or(0),
                preemption.to_owned(),
            )
        }
    };
    pod["spec"]["priority"] = json!(priority);
    if pod["spec"].get("preemptionPolicy").is_none() {
        pod["spec"]["preemptionPolicy"] = json!(preemption);
    }
    Ok(())
}

fn add_tolerations(pod: &mut Value) {
    let mut tolerations = list(&pod["spec"]["tolerations"]);
    for key in [NOT_READY, UNREACHABLE] {
        let is_there = tolerations.iter().any(|one| {
            let effect = one["effect"].as_str().unwrap_or_default();
            let own_key = one["key"].as_str().unwrap_or_default();
            matches!(effect, "" | "NoExecute") && (own_key == key || own_key.is_empty())
        });
        if !is_there {
            tolerations.push(json!({
                "key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": TOLERATION_SECONDS,
            }));
        }
    }
    pod["spec"]["tolerations"] = json!(tolerations);
}

fn add_service_account(state: &mut State, call: &Call, pod: &mut Value) -> Result<(), Failure> {
    let namespace = call.namespace().unwrap_or_default();
    let name = match (
        text(pod, "/spec/serviceAccountName"),
        text(pod, "/spec/serviceAccount"),
    ) {
        ("", "") => "default".to_owned(),
        ("", old) => old.to_owned(),
        (name, _) => name.to_owned(),
    };
    let Some(account) = state.object("serviceaccounts", Some(namespace), &name) else {
        let why = format!(
            "error looking up service account {namespace}/{name}: serviceaccount {name:?} not found"
        );
        return Err(Failure::forbidden(
            call.resource(),
            metadata::name_of(pod),
            &why,
        ));
    };
    pod["spec"]["serviceAccountName"] = json!(name);
    pod["spec"]["serviceAccount"] = json!(name);
    let of_pod = pod["spec"]["automountServiceAccountToken"].as_bool();
    let of_account = account.value["automountServiceAccountToken"].as_bool();
    if of_pod.or(of_account).unwrap_or(true) {
        mount_token(state, pod);
    }
    Ok(())
}

/// Gives every container that has nothing there the token of the service account.
fn mount_token(state: &mut State, pod: &mut Value) {
    let volume = state.generated_name("kube-api-access-");
    let mount = json!({"name": volume, "readOnly": true, "mountPath": TOKEN_FOLDER});
    let mut is_mounted = false;
    for group in ["initContainers", "containers"] {
        let Some(containers) = pod["spec"].get_mut(group).and_then(Value::as_array_mut) else {
            continue;
        };
        for container in containers.iter_mut().filter(|one| one.is_object()) {
            let mut mounts = list(&container["volumeMounts"]);
            if mounts.iter().any(|one| one["mountPath"] == TOKEN_FOLDER) {
                continue;
            }
            mounts.push(mount.clone());
            container["volumeMounts"] = json!(mounts);
            is_mounted = true;
        }
    }
    if !is_mounted {
        return;
    }
    let mut volumes = list(&pod["spec"]["volumes"]);
    let namespace = json!({"fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}, "path": "namespace"});
    volumes.push(json!({"name": volume, "projected": {"defaultMode": 420, "sources": [
        {"serviceAccountToken": {"expirationSeconds": 3607, "path": "token"}},
        {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
        {"downwardAPI": {"items": [namespace]}},
    ]}}));
    pod["spec"]["volumes"] = json!(volumes);
}
