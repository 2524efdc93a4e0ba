//! Names, labels, annotations, owners and finalizers.
//!
//! In: an object, for a change also the old one. Out: causes below `metadata`. Pure.

use serde_json::Value;

use super::{Causes, is_empty, items, names, text};
use crate::api::schema::types::{Struct, types};

/// Bytes of all annotations of an object together.
const ANNOTATIONS_BYTES_MAX: usize = 256 * 1024;
/// Finalizers that need no domain.
const FINALIZERS: [&str; 3] = ["kubernetes", "orphan", "foregroundDeletion"];

/// Of an object that is to be created.
pub(super) fn create(kind: &str, object: &Value, causes: &mut Causes) {
    let metadata = &object["metadata"];
    let prefix = text(&metadata["generateName"]);
    if !prefix.is_empty() {
        // What follows the prefix makes a hyphen at its end good.
        let whole = prefix
            .strip_suffix('-')
            .map_or_else(|| prefix.to_owned(), |start| format!("{start}a"));
        causes.each_invalid(
            "metadata.generateName",
            prefix,
            names::name_faults(kind, &whole),
        );
    }
    let name = text(&metadata["name"]);
    if name.is_empty() {
        causes.required("metadata.name", "name or generateName is required");
    } else {
        causes.each_invalid("metadata.name", name, names::name_faults(kind, name));
    }
    common(metadata, causes);
    let finalizers: Vec<&str> = items(&metadata["finalizers"]).iter().map(text).collect();
    for finalizer in &finalizers {
        causes.each_invalid(
            "metadata.finalizers",
            finalizer,
            names::qualified(finalizer),
        );
    }
    for (index, finalizer) in finalizers.iter().enumerate() {
        if !finalizer.contains('/') && !FINALIZERS.contains(finalizer) {
            let why = "name is neither a standard finalizer name nor is it fully qualified";
            causes.invalid(
                format!("metadata.finalizers[{index}]"),
                &Value::from(*finalizer),
                why,
            );
        }
    }
}

/// Of an object that is to replace another.
pub(super) fn update(old: &Value, new: &Value, causes: &mut Causes) {
    let (old, new) = (&old["metadata"], &new["metadata"]);
    if !old["deletionTimestamp"].is_null() {
        let known = items(&old["finalizers"]);
        let added = items(&new["finalizers"])
            .iter()
            .filter(|finalizer| !known.contains(finalizer));
        let added: Vec<String> = added.map(ToString::to_string).collect();
        if !added.is_empty() {
            let list = added.join(", ");
            let why = "no new finalizers can be added if the object is being deleted, found new finalizers";
            causes.forbidden("metadata.finalizers", &format!("{why} []string{{{list}}}"));
        }
    }
    for field in [
        "name",
        "namespace",
        "uid",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
    ] {
        if old[field] != new[field] {
            causes.invalid(
                format!("metadata.{field}"),
                &new[field],
                "field is immutable",
            );
        }
    }
    common(new, causes);
}

fn common(metadata: &Value, causes: &mut Causes) {
    labels(&metadata["labels"], "metadata.labels", causes);
    annotations(&metadata["annotations"], causes);
    owners(metadata, causes);
}

/// Keys and values of labels, or of a selector that is written as labels.
pub(super) fn labels(labels: &Value, field: &str, causes: &mut Causes) {
    for (key, value) in labels.as_object().into_iter().flatten() {
        causes.each_invalid(field, key, names::qualified(key));
        causes.each_invalid(field, text(value), names::label_value(text(value)));
    }
}

fn annotations(annotations: &Value, causes: &mut Causes) {
    let mut bytes = 0;
    for (key, value) in annotations.as_object().into_iter().flatten() {
        causes.each_invalid(
            "metadata.annotations",
            key,
            names::qualified(&key.to_lowercase()),
        );
        bytes += key.len() + text(value).len();
    }
    if bytes > ANNOTATIONS_BYTES_MAX {
        causes.too_long("metadata.annotations", ANNOTATIONS_BYTES_MAX);
    }
}

fn owners(metadata: &Value, causes: &mut Causes) {
    let field = "metadata.ownerReferences";
    let references = items(&metadata["ownerReferences"]);
    let of = types().get("meta.OwnerReference");
    let mut controller: Option<String> = None;
    for reference in references {
        let (version, kind) = (text(&reference["apiVersion"]), text(&reference["kind"]));
        if version.is_empty() {
            causes.invalid(
                format!("{field}.apiVersion"),
                &Value::from(""),
                "version must not be empty",
            );
        }
        for member in ["kind", "name", "uid"] {
            if is_empty(&reference[member]) {
                causes.invalid(
                    format!("{field}.{member}"),
                    &Value::from(""),
                    "must not be empty",
                );
            }
        }
        if (version, kind) == ("v1", "Event") {
            let why = "/v1, Kind=Event is disallowed from being an owner";
            causes.invalid_text(field, &go_json(of, reference), why);
        }
        if reference["controller"] != true {
            continue;
        }
        let this = format!("{kind}/{}", text(&reference["name"]));
        if let Some(first) = &controller {
            let all: Vec<String> = references
                .iter()
                .map(|reference| go_json(of, reference))
                .collect();
            let why = format!(
                "Only one reference can have Controller set to true. Found \"true\" in references for {first} and {this}"
            );
            causes.invalid_text(field, &format!("[{}]", all.join(",")), &why);
        } else {
            controller = Some(this);
        }
    }
}

/// A value as Go's encoder writes a struct: fields in the order of their declaration.
fn go_json(of: Option<&Struct>, value: &Value) -> String {
    let (Some(of), Value::Object(entries)) = (of, value) else {
        return value.to_string();
    };
    let given = of
        .declared
        .iter()
        .filter_map(|field| entries.get(field.name).map(|value| (field.name, value)));
    let parts = given.map(|(name, value)| format!("{}:{value}", Value::from(name)));
    format!("{{{}}}", parts.collect::<Vec<_>>().join(","))
}
