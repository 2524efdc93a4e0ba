//! Creating and replacing objects: everything between a checked body and the store.
//!
//! In: a [`Call`] and an object. Out: the stored object. The order of steps is the real server's: namespace, metadata,
//! defaults, admission, validation, name taken, store.

use std::sync::Arc;

use serde_json::{Value, json};

use super::call::{Answer, Call};
use super::resources::{Generation, Resource, Subresource};
use super::state::{Shared, State, text};
use super::status::Failure;
use super::store::{self, Stored};
use super::validate::Cause;
use super::{addresses, admission, apply, body, custom, defaults, events, metadata, validate};

/// POST on a collection.
pub(crate) fn create(shared: &Shared, call: &Call) -> Result<Answer, Failure> {
    let mut warnings = Vec::new();
    let object = body::object(call, &mut warnings)?;
    let mut state = shared.state();
    let operation = Operation::update(call);
    let made = create_object(shared, &mut state, call, object, &mut warnings, &operation);
    Answer::written(made.map(|made| (201, made)), warnings)
}

/// How a change is written into the managed fields.
pub(crate) struct Operation<'a> {
    /// Who.
    pub manager: &'a str,
    /// Whether the managed fields are already as they shall be, because apply made them.
    pub is_apply: bool,
}

// === impl Operation ===

impl<'a> Operation<'a> {
    /// An ordinary write.
    pub(crate) fn update(call: &'a Call) -> Self {
        Self {
            manager: call.manager(),
            is_apply: false,
        }
    }
}

/// Creates an object; also for PUT and apply on a name that is free.
pub(crate) fn create_object(
    shared: &Shared,
    state: &mut State,
    call: &Call,
    mut object: Value,
    warnings: &mut Vec<String>,
    operation: &Operation<'_>,
) -> Result<Arc<Stored>, Failure> {
    let resource = call.resource();
    let managed = object["metadata"]
        .get("managedFields")
        .filter(|_| operation.is_apply)
        .cloned();
    let name = metadata::prepare_new(shared, state, call, &mut object)?;
    if let Some(managed) = managed {
        object["metadata"]["managedFields"] = managed;
    }
    check_namespace(state, call, &name)?;
    if resource.group == "events.k8s.io" {
        object = events::to_core(&object);
    }
    prepare_kind(resource, &mut object);
    set_defaults(resource, &mut object);
    admission::create(state, call, &mut object)?;
    set_defaults(resource, &mut object);
    if !resource.is_custom() {
        defaults::create(&resource.kind, &mut object);
    }
    warnings.extend(admission::warnings(resource, None, &object));
    let name = metadata::name_of(&object).to_owned();
    check_new(state, resource, &name, &object)?;
    let key = store::key(call.namespace(), &name);
    if let Some(taken) = state.store.get(&resource.storage, &key) {
        let is_being_deleted = metadata::is_being_deleted(&taken.value);
        return Err(Failure::already_exists(resource, &name, is_being_deleted));
    }
    if !operation.is_apply {
        let nothing = json!({});
        record(shared, call, &nothing, &mut object, operation.manager);
    }
    custom::to_stored(resource, &mut object);
    if call.query.is_dry_run() {
        let mut made = Stored::new(object, 0);
        if let Some(fields) = made.value["metadata"].as_object_mut() {
            fields.remove("resourceVersion");
        }
        return Ok(Arc::new(made));
    }
    let made = state.store.put(&resource.storage, &key, object);
    custom::changed(shared, state, resource, &made);
    Ok(made)
}

/// PUT on an object or its status.
pub(crate) fn update(shared: &Shared, call: &Call) -> Result<Answer, Failure> {
    let mut warnings = Vec::new();
    let object = body::object(call, &mut warnings)?;
    let mut state = shared.state();
    let resource = call.resource();
    let operation = Operation::update(call);
    let key = store::key(call.namespace(), call.name());
    let Some(current) = state.store.get(&resource.storage, &key) else {
        if !resource.is_created_by_put() || call.target.subresource.is_some() {
            return Err(Failure::not_found(resource, call.name()));
        }
        let made = create_object(shared, &mut state, call, object, &mut warnings, &operation);
        return Answer::written(made.map(|made| (201, made)), warnings);
    };
    metadata::check_put(call, &current, &object)?;
    let object = if resource.group == "events.k8s.io" {
        events::to_core(&object)
    } else {
        object
    };
    let stored = replace(
        shared,
        &mut state,
        call,
        &current,
        object,
        &mut warnings,
        &operation,
    );
    Answer::written(stored.map(|stored| (200, stored)), warnings)
}

/// Replaces an object by a new form of it, which came by PUT, patch or apply and is in storage form.
pub(crate) fn replace(
    shared: &Shared,
    state: &mut State,
    call: &Call,
    current: &Arc<Stored>,
    mut object: Value,
    warnings: &mut Vec<String>,
    operation: &Operation<'_>,
) -> Result<Arc<Stored>, Failure> {
    let resource = call.resource();
    let old = &*custom::in_version(resource, &current.value);
    metadata::check_version(resource, call.name(), current, &object)?;
    metadata::keep_system_fields(old, &mut object);
    keep_other_part(resource, call.target.subresource, old, &mut object);
    set_defaults(resource, &mut object);
    if call.target.subresource.is_none() {
        admission::update(state, call, old, &mut object)?;
        set_defaults(resource, &mut object);
        if !resource.is_custom() {
            defaults::update(&resource.kind, old, &mut object);
        }
    }
    addresses::set_ip_modes(resource, &mut object);
    raise_generation(resource, old, &mut object);
    warnings.extend(admission::warnings(resource, Some(old), &object));
    check_changed(state, resource, call, old, &object)?;
    if !operation.is_apply {
        record(shared, call, old, &mut object, operation.manager);
    }
    object["metadata"]["resourceVersion"] = old["metadata"]["resourceVersion"].clone();
    custom::to_stored(resource, &mut object);
    if metadata::same_but_for_times(&current.value, &object) {
        return Ok(current.clone());
    }
    if call.query.is_dry_run() {
        return Ok(Arc::new(Stored::new(object, current.version)));
    }
    let key = store::key(call.namespace(), call.name());
    if metadata::is_deletion_complete(resource, &object) {
        state.store.remove(&resource.storage, &key);
        custom::removed(shared, state, resource, old);
        return Ok(Arc::new(Stored::new(object, current.version)));
    }
    let stored = state.store.put(&resource.storage, &key, object);
    custom::changed(shared, state, resource, &stored);
    Ok(stored)
}

/// Refuses to create in a namespace that does not exist or goes away.
pub(crate) fn check_namespace(state: &State, call: &Call, name: &str) -> Result<(), Failure> {
    let Some(namespace) = call.namespace() else {
        return Ok(());
    };
    let Some(found) = state.object("namespaces", None, namespace) else {
        return Err(Failure::no_namespace(namespace));
    };
    if text(&found.value, "/status/phase") == "Terminating" {
        return Err(Failure::terminating(call.resource(), name, namespace));
    }
    Ok(())
}

/// Drops what a client cannot set when it creates.
fn prepare_kind(resource: &Resource, object: &mut Value) {
    let Some(fields) = object.as_object_mut() else {
        return;
    };
    if resource.has(Subresource::Status) && !resource.is("", "Node") {
        fields.remove("status");
    }
    if resource.generation() != Generation::Never {
        object["metadata"]["generation"] = json!(1);
    }
}

fn set_defaults(resource: &Resource, object: &mut Value) {
    match &resource.custom {
        Some(custom) => custom::default(custom, object),
        None => defaults::apply(&resource.kind, object),
    }
}

fn check_new(
    state: &State,
    resource: &Resource,
    name: &str,
    object: &Value,
) -> Result<(), Failure> {
    let mut causes = match &resource.custom {
        Some(custom) => custom::validate(custom, None, object),
        None => validate::create(&resource.kind, &super::present::view(resource, object)),
    };
    causes.retain(|cause| !(state.allows_loopback && cause.is_loopback()));
    if causes.is_empty() {
        return admission::validate_new(state, resource, name, object);
    }
    Err(invalid(resource, name, &causes))
}

fn check_changed(
    state: &State,
    resource: &Resource,
    call: &Call,
    old: &Value,
    object: &Value,
) -> Result<(), Failure> {
    let view = |value| super::present::view(resource, value);
    let mut causes = match (&resource.custom, call.target.subresource) {
        (Some(custom), _) => custom::validate(custom, Some(old), object),
        (None, Some(Subresource::Status)) => validate::status(&resource.kind, old, object),
        (None, _) => validate::update(&resource.kind, &view(old), &view(object)),
    };
    causes.retain(|cause| !(state.allows_loopback && cause.is_loopback()));
    if causes.is_empty() {
        return admission::validate_changed(state, resource, call.name(), old, object);
    }
    Err(invalid(resource, call.name(), &causes))
}

/// Both groups of events are checked as the core kind, and named so.
fn invalid(resource: &Resource, name: &str, causes: &[Cause]) -> Failure {
    let group = if resource.group == "events.k8s.io" {
        ""
    } else {
        &resource.group
    };
    Failure::invalid_kind(group, &resource.kind, name, causes)
}

/// Writes of the main resource leave the status alone; writes of the status leave everything else alone.
fn keep_other_part(
    resource: &Resource,
    subresource: Option<Subresource>,
    old: &Value,
    object: &mut Value,
) {
    let restore = |object: &mut Value, field: &str| match old.get(field) {
        Some(value) => object[field] = value.clone(),
        None => {
            if let Some(fields) = object.as_object_mut() {
                fields.remove(field);
            }
        }
    };
    match subresource {
        Some(Subresource::Status) => {
            let status = object.get("status").cloned();
            let mut metadata = old["metadata"].clone();
            let sent = &object["metadata"];
            let mut taken = vec![
                "annotations",
                "managedFields",
                "finalizers",
                "ownerReferences",
            ];
            if resource.is_custom() {
                taken = vec!["managedFields"];
            } else if resource.group != "apps" {
                taken.push("labels");
            }
            for field in taken {
                match sent.get(field) {
                    Some(value) => metadata[field] = value.clone(),
                    None => {
                        if let Some(fields) = metadata.as_object_mut() {
                            fields.remove(field);
                        }
                    }
                }
            }
            *object = old.clone();
            object["metadata"] = metadata;
            match (status, object.as_object_mut()) {
                (Some(mut status), _) => {
                    if resource.is("", "Pod") && status.get("qosClass").is_none() {
                        status["qosClass"] = old["status"]["qosClass"].clone();
                    }
                    object["status"] = status;
                }
                (None, Some(fields)) => {
                    fields.remove("status");
                }
                (None, None) => {}
            }
        }
        Some(Subresource::Finalize) => {
            let finalizers = object["spec"]["finalizers"].clone();
            let metadata = object["metadata"]["finalizers"].clone();
            *object = old.clone();
            object["metadata"]["finalizers"] = metadata;
            object["spec"]["finalizers"] = finalizers;
            drop_empty_list(&mut object["metadata"], "finalizers");
            drop_empty_list(&mut object["spec"], "finalizers");
        }
        Some(_) | None => {
            if resource.has(Subresource::Status) {
                restore(object, "status");
            }
            if resource.is("", "Namespace") {
                restore(object, "spec");
            }
        }
    }
}

fn drop_empty_list(parent: &mut Value, field: &str) {
    let is_empty = parent
        .get(field)
        .is_none_or(|value| value.as_array().is_none_or(Vec::is_empty));
    if let (true, Some(fields)) = (is_empty, parent.as_object_mut()) {
        fields.remove(field);
    }
}

fn raise_generation(resource: &Resource, old: &Value, object: &mut Value) {
    let before = old["metadata"]["generation"].as_i64().unwrap_or(0);
    let is_changed = match resource.generation() {
        Generation::Never => return,
        Generation::Spec => metadata::differs(old, object, &["metadata", "status"], false),
        Generation::AllButMetadata => metadata::differs(old, object, &["metadata"], false),
        Generation::Everything => metadata::differs(old, object, &["metadata"], true),
    };
    object["metadata"]["generation"] = json!(before + i64::from(is_changed));
}

fn record(shared: &Shared, call: &Call, old: &Value, object: &mut Value, manager: &str) {
    let resource = call.resource();
    apply::record_update(
        resource.kind_to_apply(),
        old,
        object,
        manager,
        "Update",
        call.subresource_name(),
        shared.clock.now(),
    );
}
