//! Defaults of the remaining kinds: namespaces, secrets, roles, volumes, definitions of custom kinds.
//!
//! In: an object in canonical form. Out: its defaults filled in. Pure.

use base64::Engine as _;
use serde_json::{Map, Value, json};

use super::{each, fill, object, text, within};

const RBAC: &str = "rbac.authorization.k8s.io";

/// Fills in the defaults of one object.
pub(super) fn apply(kind: &str, entries: &mut Map<String, Value>) {
    match kind {
        "Namespace" => namespace(entries),
        "Secret" => secret(entries),
        "Node" => within(entries, &["status"], |status| {
            if let Some(capacity) = status.get("capacity").cloned() {
                fill(status, "allocatable", capacity);
            }
        }),
        "RoleBinding" | "ClusterRoleBinding" => binding(entries),
        "PersistentVolume" => {
            within(entries, &["spec"], |spec| {
                fill(spec, "persistentVolumeReclaimPolicy", "Retain");
                fill(spec, "volumeMode", "Filesystem");
            });
            within(entries, &["status"], |status| {
                fill(status, "phase", "Pending")
            });
        }
        "PersistentVolumeClaim" => {
            within(entries, &["spec"], |spec| {
                fill(spec, "volumeMode", "Filesystem")
            });
            within(entries, &["status"], |status| {
                fill(status, "phase", "Pending")
            });
        }
        "PriorityClass" => fill(entries, "preemptionPolicy", "PreemptLowerPriority"),
        "StorageClass" => {
            fill(entries, "reclaimPolicy", "Delete");
            fill(entries, "volumeBindingMode", "Immediate");
        }
        "TokenRequest" => within(entries, &["spec"], |spec| {
            fill(spec, "expirationSeconds", 3600)
        }),
        "CustomResourceDefinition" => within(entries, &["spec"], definition),
        _ => {}
    }
}

/// What creating an object sets beyond its defaults.
pub(super) fn create(kind: &str, entries: &mut Map<String, Value>) {
    match kind {
        "Namespace" => {
            entries.insert("status".to_owned(), json!({"phase": "Active"}));
            let finalizers = object(entries, "spec")
                .map(|spec| spec.entry("finalizers").or_insert_with(|| json!([])));
            if let Some(Value::Array(finalizers)) = finalizers
                && !finalizers.iter().any(|finalizer| finalizer == "kubernetes")
            {
                finalizers.push(json!("kubernetes"));
            }
        }
        "CustomResourceDefinition" => {
            let versions = entries
                .get("spec")
                .and_then(|spec| spec["versions"].as_array());
            let stored = versions
                .into_iter()
                .flatten()
                .filter(|version| version["storage"] == true);
            let stored: Vec<Value> = stored.map(|version| version["name"].clone()).collect();
            entries.insert("status".to_owned(), json!({"storedVersions": stored}));
        }
        _ => {}
    }
}

fn namespace(entries: &mut Map<String, Value>) {
    let Some(metadata) = object(entries, "metadata") else {
        return;
    };
    let name = text(metadata, "name").to_owned();
    if name.is_empty() {
        return;
    }
    if let Some(labels) = object(metadata, "labels") {
        labels.insert("kubernetes.io/metadata.name".to_owned(), name.into());
    }
}

/// `stringData` is written over `data` and never read back.
fn secret(entries: &mut Map<String, Value>) {
    fill(entries, "type", "Opaque");
    let Some(Value::Object(plain)) = entries.remove("stringData") else {
        return;
    };
    let Some(data) = object(entries, "data") else {
        return;
    };
    for (name, value) in plain {
        let bytes = value.as_str().unwrap_or_default().as_bytes();
        data.insert(
            name,
            base64::engine::general_purpose::STANDARD
                .encode(bytes)
                .into(),
        );
    }
}

fn binding(entries: &mut Map<String, Value>) {
    within(entries, &["roleRef"], |role| fill(role, "apiGroup", RBAC));
    each(entries, "subjects", |subject| {
        if matches!(text(subject, "kind"), "User" | "Group") {
            fill(subject, "apiGroup", RBAC);
        }
    });
}

fn definition(spec: &mut Map<String, Value>) {
    if let Some(conversion) = object(spec, "conversion") {
        fill(conversion, "strategy", "None");
    }
    within(spec, &["names"], |names| {
        let kind = text(names, "kind").to_owned();
        fill(names, "singular", kind.to_lowercase());
        fill(names, "listKind", format!("{kind}List"));
    });
}
