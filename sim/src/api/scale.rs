//! The subresource scale: the number of replicas of a workload, in a form that is the same for all.
//!
//! In: an object that has replicas. Out: an `autoscaling/v1` Scale, or the object with another number.

use std::sync::Arc;

use serde_json::{Value, json};

use super::call::{Answer, Call};
use super::custom;
use super::resources::Resource;
use super::state::{Shared, State, text};
use super::status::Failure;
use super::store::Stored;
use super::validate::Cause;
use super::write::{self, Operation};
use super::{body, metadata};

/// GET of a scale.
pub(crate) fn get(state: &State, call: &Call) -> Result<Answer, Failure> {
    let object = state.find(call)?;
    Ok(Answer::value(200, scale_of(call.resource(), &object.value)))
}

/// PUT of a scale.
pub(crate) fn update(shared: &Shared, call: &Call) -> Result<Answer, Failure> {
    let sent = body::value(call)?;
    let mut state = shared.state();
    let current = state.find(call)?;
    let (uid, known) = (
        text(&sent, "/metadata/uid"),
        text(&current.value, "/metadata/uid"),
    );
    if !uid.is_empty() && uid != known {
        return Err(metadata::other_uid(
            call.resource(),
            call.namespace(),
            call.name(),
            uid,
            known,
        ));
    }
    store(shared, &mut state, call, &current, &sent)
}

/// PATCH of a scale.
pub(crate) fn patch(
    shared: &Shared,
    state: &mut State,
    call: &Call,
    current: &Arc<Stored>,
    change: impl FnOnce(&Value) -> Result<Value, Failure>,
) -> Result<Answer, Failure> {
    let changed = change(&scale_of(call.resource(), &current.value))?;
    store(shared, state, call, current, &changed)
}

fn store(
    shared: &Shared,
    state: &mut State,
    call: &Call,
    current: &Arc<Stored>,
    scale: &Value,
) -> Result<Answer, Failure> {
    let replicas = scale["spec"]["replicas"].as_i64().unwrap_or(0);
    if replicas < 0 {
        let cause = Cause {
            reason: "FieldValueInvalid",
            message: format!("Invalid value: {replicas}: must be greater than or equal to 0"),
            field: "spec.replicas".to_owned(),
        };
        return Err(Failure::invalid_kind(
            "autoscaling",
            "Scale",
            call.name(),
            &[cause],
        ));
    }
    let mut object = super::present::view(call.resource(), &current.value).into_owned();
    custom::set_at_path(&mut object, paths(call.resource()).0, json!(replicas));
    let sent_version = text(scale, "/metadata/resourceVersion");
    object["metadata"]["resourceVersion"] = json!(sent_version);
    let mut warnings = Vec::new();
    let operation = Operation::update(call);
    let stored = write::replace(
        shared,
        state,
        call,
        current,
        object,
        &mut warnings,
        &operation,
    )?;
    let answer = Answer::value(200, scale_of(call.resource(), &stored.value));
    Ok(Answer { warnings, ..answer })
}

/// Where an object keeps its replicas, wanted and observed.
fn paths(resource: &Resource) -> (&str, &str) {
    match &resource.custom {
        Some(custom) => (&custom.replicas_path, &custom.observed_path),
        None => (".spec.replicas", ".status.replicas"),
    }
}

fn scale_of(resource: &Resource, object: &Value) -> Value {
    let (wanted, observed) = paths(resource);
    let number = |path: &str| {
        custom::at_path(object, path)
            .and_then(Value::as_i64)
            .unwrap_or(0)
    };
    let metadata = &object["metadata"];
    let mut scale = json!({
        "kind": "Scale", "apiVersion": "autoscaling/v1",
        "metadata": {
            "name": metadata["name"], "uid": metadata["uid"], "resourceVersion": metadata["resourceVersion"],
            "creationTimestamp": metadata["creationTimestamp"],
        },
        "spec": {}, "status": {"replicas": number(observed)},
    });
    if let Some(namespace) = metadata.get("namespace") {
        scale["metadata"]["namespace"] = namespace.clone();
    }
    if number(wanted) != 0 {
        scale["spec"]["replicas"] = json!(number(wanted));
    }
    let selector = match &resource.custom {
        Some(custom) => custom::at_path(object, &custom.selector_path)
            .filter(|_| !custom.selector_path.is_empty())
            .and_then(Value::as_str)
            .map(str::to_owned),
        None => Some(selector_text(&object["spec"]["selector"])),
    };
    if let Some(selector) = selector.filter(|selector| !selector.is_empty()) {
        scale["status"]["selector"] = json!(selector);
    }
    scale
}

/// A label selector in the language of query parameters.
pub(crate) fn selector_text(selector: &Value) -> String {
    let is_plain =
        selector.get("matchLabels").is_none() && selector.get("matchExpressions").is_none();
    let labels = if is_plain {
        selector
    } else {
        &selector["matchLabels"]
    };
    let mut terms: Vec<String> = labels
        .as_object()
        .into_iter()
        .flatten()
        .filter_map(|(key, value)| Some(format!("{key}={}", value.as_str()?)))
        .collect();
    for expression in selector["matchExpressions"]
        .as_array()
        .into_iter()
        .flatten()
    {
        let key = text(expression, "/key");
        let values: Vec<&str> = expression["values"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect();
        let set = values.join(",");
        match text(expression, "/operator") {
            "In" => terms.push(format!("{key} in ({set})")),
            "NotIn" => terms.push(format!("{key} notin ({set})")),
            "Exists" => terms.push(key.to_owned()),
            "DoesNotExist" => terms.push(format!("!{key}")),
            _ => {}
        }
    }
    terms.join(",")
}
