//! `metadata`: what the server sets, what a client may change, when an object is gone.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::call::Call;
use super::resources::Resource;
use super::state::{Shared, State, text};
use super::status::Failure;
use super::store::Stored;
use super::validate::Cause;

/// Fields of `metadata` that only the server writes.
const SYSTEM_FIELDS: &[&str] = &[
    "uid",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
];

/// The name of an object; empty when it has none.
pub(crate) fn name_of(object: &Value) -> &str {
    text(object, "/metadata/name")
}

/// Whether somebody has asked for the object's deletion.
pub(crate) fn is_being_deleted(object: &Value) -> bool {
    object["metadata"]
        .get("deletionTimestamp")
        .is_some_and(|time| !time.is_null())
}

/// Gives a new object its name, namespace, uid and birth; the name comes back.
pub(crate) fn prepare_new(
    shared: &Shared,
    state: &mut State,
    call: &Call,
    object: &mut Value,
) -> Result<String, Failure> {
    let namespace = call.namespace().unwrap_or_default();
    if !object["metadata"].is_object() {
        object["metadata"] = json!({});
    }
    check_namespace(call, object)?;
    if !matches!(text(object, "/metadata/resourceVersion"), "") {
        return Err(Failure::plain_internal(
            "resourceVersion should not be set on objects to be created",
        ));
    }
    let mut name = name_of(object).to_owned();
    let prefix = text(object, "/metadata/generateName").to_owned();
    if name.is_empty() && !prefix.is_empty() {
        name = state.generated_name(&prefix);
    }
    if !call.name().is_empty() {
        if !name.is_empty() && name != call.name() {
            return Err(name_differs(&name, call.name()));
        }
        call.name().clone_into(&mut name);
    }
    let uid = state.uid();
    let metadata = object["metadata"]
        .as_object_mut()
        .expect("it was made an object above");
    for field in
        SYSTEM_FIELDS
            .iter()
            .chain(&["resourceVersion", "generation", "selfLink", "managedFields"])
    {
        metadata.remove(*field);
    }
    metadata.retain(|_, value| !value.is_null());
    if !name.is_empty() {
        metadata.insert("name".to_owned(), json!(name));
    }
    if !namespace.is_empty() {
        metadata.insert("namespace".to_owned(), json!(namespace));
    }
    metadata.insert("uid".to_owned(), json!(uid));
    metadata.insert(
        "creationTimestamp".to_owned(),
        json!(shared.clock.seconds()),
    );
    Ok(name)
}

fn name_differs(sent: &str, in_url: &str) -> Failure {
    Failure::bad_request(format!(
        "the name of the object ({sent}) does not match the name on the URL ({in_url})"
    ))
}

fn check_namespace(call: &Call, object: &Value) -> Result<(), Failure> {
    let namespace = call.namespace().unwrap_or_default();
    let sent = text(object, "/metadata/namespace");
    if sent.is_empty() || sent == namespace {
        return Ok(());
    }
    Err(Failure::bad_request(
        "the namespace of the provided object does not match the namespace sent on the request",
    ))
}

/// Checks what PUT asks of names and identity.
pub(crate) fn check_put(call: &Call, current: &Stored, object: &Value) -> Result<(), Failure> {
    check_namespace(call, object)?;
    let resource = call.resource();
    match name_of(object) {
        "" => {
            return Err(Failure::bad_request(format!(
                "the name of the object ({} based on URL) was undeterminable: name must be provided",
                call.name()
            )));
        }
        name if name != call.name() => return Err(name_differs(name, call.name())),
        _ => {}
    }
    let sent = text(object, "/metadata/uid");
    let known = text(&current.value, "/metadata/uid");
    if !sent.is_empty() && sent != known {
        return Err(other_uid(
            resource,
            call.namespace(),
            call.name(),
            sent,
            known,
        ));
    }
    if resource.is_custom() && matches!(text(object, "/metadata/resourceVersion"), "" | "0") {
        let cause = Cause {
            reason: "FieldValueInvalid",
            message: "Invalid value: 0: must be specified for an update".to_owned(),
            field: "metadata.resourceVersion".to_owned(),
        };
        return Err(Failure::invalid_kind(
            &resource.group,
            &resource.plural,
            call.name(),
            &[cause],
        ));
    }
    Ok(())
}

/// The request means an object of the same name that is no longer, or not yet, there.
pub(crate) fn other_uid(
    resource: &Resource,
    namespace: Option<&str>,
    name: &str,
    sent: &str,
    known: &str,
) -> Failure {
    let place = namespace.map_or_else(String::new, |namespace| format!("/{namespace}"));
    let why = format!(
        "StorageError: invalid object, Code: 4, Key: /registry/{}{place}/{name}, ResourceVersion: 0, \
         AdditionalErrorMsg: Precondition failed: UID in precondition: {sent}, UID in object meta: {known}",
        resource.plural
    );
    Failure::conflict(resource, name, &why)
}

/// Refuses a write that was made from an older version.
pub(crate) fn check_version(
    resource: &Resource,
    name: &str,
    current: &Stored,
    object: &Value,
) -> Result<(), Failure> {
    match text(object, "/metadata/resourceVersion") {
        "" | "0" => Ok(()),
        sent => match sent.parse::<u64>() {
            Ok(version) if version == current.version => Ok(()),
            Ok(_) => Err(Failure::modified(resource, name)),
            Err(_) => Err(Failure::plain_internal(format!(
                "strconv.ParseUint: parsing {sent:?}: invalid syntax"
            ))),
        },
    }
}

/// Puts back what only the server writes, where a client left it out or may not change it.
pub(crate) fn keep_system_fields(old: &Value, object: &mut Value) {
    if !object["metadata"].is_object() {
        object["metadata"] = json!({});
    }
    let old = &old["metadata"];
    let metadata = object["metadata"]
        .as_object_mut()
        .expect("it was made an object above");
    metadata.retain(|_, value| !value.is_null());
    for field in [
        "creationTimestamp",
        "generation",
        "deletionGracePeriodSeconds",
        "name",
        "namespace",
        "generateName",
    ] {
        match old.get(field) {
            Some(value) => metadata.insert(field.to_owned(), value.clone()),
            None => metadata.remove(field),
        };
    }
    for field in ["uid", "deletionTimestamp", "managedFields"] {
        if let (None, Some(value)) = (metadata.get(field), old.get(field)) {
            metadata.insert(field.to_owned(), value.clone());
        }
    }
    metadata.remove("selfLink");
}

/// Whether two objects differ outside `ignored` fields; with `labels_count` also in labels and annotations.
pub(crate) fn differs(old: &Value, new: &Value, ignored: &[&str], labels_count: bool) -> bool {
    if rest(old, ignored) != rest(new, ignored) {
        return true;
    }
    labels_count
        && ["labels", "annotations", "ownerReferences", "finalizers"]
            .iter()
            .any(|field| old["metadata"].get(field) != new["metadata"].get(field))
}

/// The fields of a value without `ignored` ones and null ones; the value itself when it has no fields.
fn rest<'a>(
    value: &'a Value,
    ignored: &[&str],
) -> Result<BTreeMap<&'a String, &'a Value>, &'a Value> {
    let fields = value.as_object().ok_or(value)?;
    let rest = fields
        .iter()
        .filter(|(name, value)| !ignored.contains(&name.as_str()) && !value.is_null());
    Ok(rest.collect())
}

/// Whether a write changes nothing, whatever it did to the times in the managed fields.
pub(crate) fn same_but_for_times(old: &Value, new: &Value) -> bool {
    if differs(old, new, &["metadata"], false) {
        return false;
    }
    let rest = |object: &Value| {
        let mut metadata = object["metadata"].clone();
        if let Some(entries) = metadata
            .get_mut("managedFields")
            .and_then(Value::as_array_mut)
        {
            for entry in entries.iter_mut().filter_map(Value::as_object_mut) {
                entry.remove("time");
            }
        }
        metadata
    };
    rest(old) == rest(new)
}

/// Whether nothing holds back an object that is being deleted.
pub(crate) fn is_deletion_complete(resource: &Resource, object: &Value) -> bool {
    let is_empty = |pointer: &str| {
        object
            .pointer(pointer)
            .and_then(Value::as_array)
            .is_none_or(Vec::is_empty)
    };
    let grace = object["metadata"]["deletionGracePeriodSeconds"]
        .as_i64()
        .unwrap_or(0);
    let has_finalizers_in_spec = resource.is("", "Namespace") && !is_empty("/spec/finalizers");
    is_being_deleted(object)
        && is_empty("/metadata/finalizers")
        && grace == 0
        && !has_finalizers_in_spec
}
