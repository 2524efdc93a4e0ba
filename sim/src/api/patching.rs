//! PATCH: JSON patch, merge patch, strategic merge patch and server-side apply, on objects and their parts.
//!
//! In: a [`Call`] with a patch. Out: the object that came of it. The object is read, changed and stored under one lock,
//! so a patch never meets a conflict unless it carries a version.

use std::sync::Arc;

use serde_json::Value;

use super::call::{Answer, Call};
use super::resources::{Resource, Subresource};
use super::state::{Shared, State, text};
use super::status::Failure;
use super::store::{self, Stored};
use super::validate::Cause;
use super::write::{self, Operation};
use super::{apply, body, custom, events, metadata, patch, present, scale};

const APPLY: &str = "application/apply-patch+yaml";
const JSON_PATCH: &str = "application/json-patch+json";
const MERGE_PATCH: &str = "application/merge-patch+json";
const STRATEGIC_PATCH: &str = "application/strategic-merge-patch+json";

/// PATCH.
pub(crate) fn patch(shared: &Shared, call: &Call) -> Result<Answer, Failure> {
    let resource = call.resource();
    let is_known = match call.content_type.as_str() {
        APPLY | JSON_PATCH | MERGE_PATCH => true,
        STRATEGIC_PATCH => !resource.is_custom(),
        _ => false,
    };
    if !is_known {
        let list = "application/json-patch+json, application/merge-patch+json, application/apply-patch+yaml";
        return Err(Failure::unsupported_media_type(if resource.is_custom() {
            format!(
                "the body of the request was in an unknown format - accepted media types include: {list}"
            )
        } else {
            "415: Unsupported Media Type".to_owned()
        }));
    }
    if call.content_type != APPLY && call.query.has("force") {
        let cause = Cause {
            reason: "FieldValueForbidden",
            message: "Forbidden: may not be specified for non-apply patch".to_owned(),
            field: "force".to_owned(),
        };
        return Err(Failure::invalid_kind(
            "meta.k8s.io",
            "PatchOptions",
            "",
            &[cause],
        ));
    }
    let sent = read_patch(call)?;
    if call.content_type == APPLY {
        return server_side_apply(shared, call, &sent);
    }
    let mut state = shared.state();
    let current = state.find(call)?;
    if call.target.subresource == Some(Subresource::Scale) {
        return scale::patch(shared, &mut state, call, &current, |scale| {
            change(call, "Scale", scale, &sent)
        });
    }
    let mut warnings = Vec::new();
    let old = present::view(resource, &current.value);
    let mut changed = change(call, &resource.kind, &old, &sent)?;
    check_identity(call, &current, &changed, &sent)?;
    check_fields(resource, call, &mut changed, &sent, &mut warnings)?;
    let object = if resource.group == "events.k8s.io" {
        events::to_core(&changed)
    } else {
        changed
    };
    let operation = Operation::update(call);
    let stored = write::replace(
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

fn read_patch(call: &Call) -> Result<Value, Failure> {
    if call.content_type == APPLY {
        return serde_norway::from_slice(&call.body)
            .map_err(|error| Failure::bad_request(format!("error decoding YAML: {error}")));
    }
    serde_json::from_slice(&call.body).map_err(|error| {
        if error.is_eof() {
            return Failure::bad_request("error decoding patch: unexpected end of JSON input");
        }
        Failure::bad_request(format!("error decoding patch: json parse error: {error}"))
    })
}

/// The object that a patch makes of another.
fn change(call: &Call, kind: &str, current: &Value, sent: &Value) -> Result<Value, Failure> {
    let changed = match call.content_type.as_str() {
        JSON_PATCH => patch::json(kind, current, sent),
        MERGE_PATCH => patch::merge(kind, current, sent),
        _ => patch::strategic(kind, current, sent),
    };
    changed.map_err(|error| {
        let message = error.to_string();
        match error.status() {
            400 => Failure::bad_request(message),
            413 => Failure::too_large(message),
            422 => Failure::unprocessable(message),
            _ => Failure::plain_internal(message),
        }
    })
}

fn check_identity(
    call: &Call,
    current: &Stored,
    changed: &Value,
    sent: &Value,
) -> Result<(), Failure> {
    let resource = call.resource();
    let old = &current.value;
    if text(changed, "/kind") != resource.kind
        || text(changed, "/apiVersion") != resource.group_version()
    {
        return Err(refused_patch(
            call,
            changed,
            sent,
            &format!(
                "no kind {:?} is registered for version {:?} in scheme \"pkg/api/legacyscheme/scheme.go:30\"",
                text(changed, "/kind"),
                text(changed, "/apiVersion")
            ),
        ));
    }
    let name = metadata::name_of(changed);
    if name != metadata::name_of(old) {
        return Err(Failure::bad_request(format!(
            "the name of the object ({name}) does not match the name on the URL ({})",
            call.name()
        )));
    }
    if text(changed, "/metadata/namespace") != text(old, "/metadata/namespace") {
        return Err(Failure::bad_request(
            "the namespace of the provided object does not match the namespace sent on the request",
        ));
    }
    Ok(())
}

/// Unknown fields and wrong types of what a patch has made: 422 here, unlike in a body that is sent whole.
fn check_fields(
    resource: &Resource,
    call: &Call,
    changed: &mut Value,
    sent: &Value,
    warnings: &mut Vec<String>,
) -> Result<(), Failure> {
    let shown = changed.clone();
    let faults = match body::faults(resource, changed, b"") {
        Ok(faults) => faults,
        Err(failure) => {
            let at = failure.message.find("cannot be handled as a");
            let reason = at
                .and_then(|at| failure.message[at..].split_once(": "))
                .map(|(_, reason)| reason);
            return Err(refused_patch(
                call,
                changed,
                sent,
                reason.unwrap_or(&failure.message),
            ));
        }
    };
    match body::strictness(call) {
        body::Strictness::Strict if !faults.is_empty() => {
            let why = format!("strict decoding error: {}", faults.join(", "));
            Err(refused_patch(call, &shown, sent, &why))
        }
        body::Strictness::Warn => {
            warnings.extend(faults);
            Ok(())
        }
        body::Strictness::Strict | body::Strictness::Ignore => Ok(()),
    }
}

/// A patch whose result is no object of the kind. The real server shows the result, or a strategic patch in the way in
/// which Go prints maps.
fn refused_patch(call: &Call, changed: &Value, sent: &Value, why: &str) -> Failure {
    let shown = if call.content_type == STRATEGIC_PATCH {
        patch::go_text(sent)
    } else {
        changed.to_string()
    };
    let cause = Cause {
        reason: "FieldValueInvalid",
        // A JSON text stands between quotation marks without escapes: it is for people.
        message: format!("Invalid value: \"{shown}\": {why}"),
        field: "patch".to_owned(),
    };
    Failure::invalid_kind("", "", "", &[cause])
}

fn server_side_apply(shared: &Shared, call: &Call, sent: &Value) -> Result<Answer, Failure> {
    let resource = call.resource();
    check_applied(call, sent)?;
    let mut applied = sent.clone();
    let faults = body::faults(resource, &mut applied, b"").map_err(|failure| {
        Failure::plain_internal(format!(
            "failed to create typed patch object: {}",
            failure.message
        ))
    })?;
    if let Some(first) = faults.first() {
        let field = first.trim_start_matches("unknown field ").trim_matches('"');
        let (namespace, group) = (text(sent, "/metadata/namespace"), &resource.group);
        return Err(Failure::plain_internal(format!(
            "failed to create typed patch object ({namespace}/{}; {group}/{}, Kind={}): .{field}: field not declared in schema",
            metadata::name_of(sent),
            resource.version,
            resource.kind
        )));
    }
    let mut state = shared.state();
    let key = store::key(call.namespace(), call.name());
    let current = state.store.get(&resource.storage, &key);
    if current.is_none() && call.target.subresource.is_some() {
        return Err(Failure::not_found(resource, call.name()));
    }
    let merged = apply::apply(
        resource.kind_to_apply(),
        current.as_ref().map(|current| &current.value),
        &applied,
        call.query.text("fieldManager"),
        call.query.flag("force"),
        call.subresource_name(),
        shared.clock.now(),
    )
    .map_err(|error| apply_failure(&error))?;
    let mut warnings = Vec::new();
    let operation = Operation {
        manager: call.query.text("fieldManager"),
        is_apply: true,
    };
    let written = match &current {
        Some(current) => replace_applied(
            shared,
            &mut state,
            call,
            current,
            merged,
            &mut warnings,
            &operation,
        )
        .map(|stored| (200, stored)),
        None => write::create_object(shared, &mut state, call, merged, &mut warnings, &operation)
            .map(|made| (201, made)),
    };
    Answer::written(written, warnings)
}

fn replace_applied(
    shared: &Shared,
    state: &mut State,
    call: &Call,
    current: &Arc<Stored>,
    mut merged: Value,
    warnings: &mut Vec<String>,
    operation: &Operation<'_>,
) -> Result<Arc<Stored>, Failure> {
    if let Some(custom) = &call.resource().custom {
        custom::prune(custom, &mut merged);
    }
    write::replace(shared, state, call, current, merged, warnings, operation)
}

fn check_applied(call: &Call, sent: &Value) -> Result<(), Failure> {
    let resource = call.resource();
    if call.query.text("fieldManager").is_empty() {
        let cause = Cause {
            reason: "FieldValueRequired",
            message: "Required value: is required for apply patch".to_owned(),
            field: "fieldManager".to_owned(),
        };
        return Err(Failure::invalid_kind(
            "meta.k8s.io",
            "PatchOptions",
            "",
            &[cause],
        ));
    }
    if !sent.is_object() {
        return Err(Failure::bad_request(
            "error decoding YAML: the body of an apply must be an object",
        ));
    }
    let (kind, version) = (text(sent, "/kind"), text(sent, "/apiVersion"));
    if kind != resource.kind || version != resource.group_version() {
        let (group, version) = version.split_once('/').unwrap_or(("", version));
        return Err(Failure::bad_request(format!(
            "invalid object type: {group}/{version}, Kind={kind}"
        )));
    }
    if sent["metadata"]
        .get("managedFields")
        .is_some_and(|fields| !fields.is_null())
    {
        return Err(Failure::bad_request("metadata.managedFields must be nil"));
    }
    let name = metadata::name_of(sent);
    if !name.is_empty() && name != call.name() {
        return Err(Failure::bad_request(format!(
            "the name of the object ({name}) does not match the name on the URL ({})",
            call.name()
        )));
    }
    Ok(())
}

fn apply_failure(error: &apply::Error) -> Failure {
    match error.status() {
        409 => Failure::apply_conflict(error.to_string(), error.causes()),
        _ => Failure::plain_internal(error.to_string()),
    }
}
