//! What an API server refuses in an object, in its words and in its order.
//!
//! In: an object with its defaults filled in; for a change also the object as it was. Out: the causes of a 422, none
//! when the object is good. Pure. What depends on other objects is admission's.

mod cluster;
mod definition;
mod ingress;
mod lists;
mod metadata;
mod names;
mod pod;
mod service;
mod structural;
mod workload;

use serde_json::Value;

pub(crate) use definition::{Approval, approval};
pub use names::name_faults;
pub(crate) use names::{is_label, is_subdomain};
pub(crate) use structural::has_rules;

/// Causes beyond this many are not listed.
const CAUSES_MAX: usize = 1000;

/// What is wrong with 127.0.0.1 anywhere but in a local cluster, whose pods and Services have such addresses.
const LOOPBACK: &str = "may not be in the loopback range (127.0.0.0/8, ::1/128)";

/// One fault of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cause {
    /// `FieldValueRequired`, `FieldValueInvalid`, …
    pub reason: &'static str,
    /// What is wrong: `Invalid value: "a": must be an absolute path`.
    pub message: String,
    /// Where: `spec.rules[0].http.paths[0].path`.
    pub field: String,
}

// === impl Cause ===

impl Cause {
    /// Whether nothing is wrong but that an address is one of this machine's own.
    pub(crate) fn is_loopback(&self) -> bool {
        self.message.ends_with(LOOPBACK)
    }
}

/// The faults of an object that is to be created.
pub fn create(kind: &str, object: &Value) -> Vec<Cause> {
    let mut causes = Causes::default();
    metadata::create(kind, object, &mut causes);
    body(kind, None, object, &mut causes);
    causes.list
}

/// The faults of an object that is to replace another, written through the main resource.
pub fn update(kind: &str, old: &Value, new: &Value) -> Vec<Cause> {
    let mut causes = Causes::default();
    // The generic layer and the kind's own both check metadata, and both are heard.
    metadata::update(old, new, &mut causes);
    metadata::update(old, new, &mut causes);
    body(kind, Some(old), new, &mut causes);
    causes.list
}

/// The faults of the metadata of a new custom object.
pub(crate) fn new_metadata(object: &Value) -> Vec<Cause> {
    let mut causes = Causes::default();
    metadata::create("", object, &mut causes);
    causes.list
}

/// The faults of the metadata of a changed custom object.
pub(crate) fn changed_metadata(old: &Value, new: &Value) -> Vec<Cause> {
    let mut causes = Causes::default();
    metadata::update(old, new, &mut causes);
    metadata::update(old, new, &mut causes);
    causes.list
}

/// The faults of a change that is written through the status of an object.
pub fn status(kind: &str, old: &Value, new: &Value) -> Vec<Cause> {
    let mut causes = Causes::default();
    metadata::update(old, new, &mut causes);
    metadata::update(old, new, &mut causes);
    let status = &new["status"];
    match kind {
        "Deployment" => workload::deployment_status(status, &mut causes),
        "Namespace" => cluster::namespace_status(new, &mut causes),
        "Ingress" | "Service" => service::load_balancer_status(status, &mut causes),
        _ => {}
    }
    causes.list
}

fn body(kind: &str, old: Option<&Value>, new: &Value, causes: &mut Causes) {
    match kind {
        "Ingress" => ingress::ingress(new, causes),
        "IngressClass" => ingress::ingress_class(old, new, causes),
        "Service" => service::service(old, new, causes),
        "EndpointSlice" => service::endpoint_slice(old, new, causes),
        "Endpoints" => service::endpoints(new, causes),
        "Pod" => pod::pod(old, new, causes),
        "Deployment"
        | "ReplicaSet"
        | "DaemonSet"
        | "StatefulSet"
        | "ReplicationController"
        | "Job" => {
            workload::workload(kind, old, new, causes);
        }
        "PodDisruptionBudget" => workload::budget(new, causes),
        "Scale" => causes.not_negative(&new["spec"]["replicas"], "spec.replicas"),
        _ => cluster::body(kind, old, new, causes),
    }
}

/// Faults in the order in which they were found.
#[derive(Default)]
struct Causes {
    list: Vec<Cause>,
}

// === impl Causes ===

impl Causes {
    fn add(&mut self, reason: &'static str, field: impl Into<String>, message: String) {
        if self.list.len() < CAUSES_MAX {
            self.list.push(Cause {
                reason,
                message,
                field: field.into(),
            });
        }
    }

    fn required(&mut self, field: impl Into<String>, why: &str) {
        let message = if why.is_empty() {
            "Required value".to_owned()
        } else {
            format!("Required value: {why}")
        };
        self.add("FieldValueRequired", field, message);
    }

    /// `value` is shown: text in quotes, everything else as JSON.
    fn invalid(&mut self, field: impl Into<String>, value: &Value, why: &str) {
        self.invalid_text(field, &value.to_string(), why);
    }

    /// A value that is already written as it shall be shown.
    fn invalid_text(&mut self, field: impl Into<String>, value: &str, why: &str) {
        self.add(
            "FieldValueInvalid",
            field,
            format!("Invalid value: {value}: {why}"),
        );
    }

    /// One fault per message, none when there are no messages.
    fn each_invalid(&mut self, field: &str, value: &str, messages: Vec<String>) {
        for why in messages {
            self.invalid(field, &Value::from(value), &why);
        }
    }

    fn duplicate(&mut self, field: impl Into<String>, value: &str) {
        self.add(
            "FieldValueDuplicate",
            field,
            format!("Duplicate value: {value}"),
        );
    }

    fn not_supported(&mut self, field: impl Into<String>, value: &Value, supported: &[&str]) {
        let supported: Vec<String> = supported.iter().map(|text| format!("{text:?}")).collect();
        let message = format!(
            "Unsupported value: {value}: supported values: {}",
            supported.join(", ")
        );
        self.add("FieldValueNotSupported", field, message);
    }

    fn forbidden(&mut self, field: impl Into<String>, why: &str) {
        self.add("FieldValueForbidden", field, format!("Forbidden: {why}"));
    }

    fn not_found(&mut self, field: impl Into<String>, value: &str) {
        self.add("FieldValueNotFound", field, format!("Not found: {value:?}"));
    }

    fn too_long(&mut self, field: impl Into<String>, bytes_max: usize) {
        self.add(
            "FieldValueTooLong",
            field,
            format!("Too long: may not be more than {bytes_max} bytes"),
        );
    }

    fn too_many(&mut self, field: impl Into<String>, count: usize, max: usize) {
        self.add(
            "FieldValueTooMany",
            field,
            format!("Too many: {count}: must have at most {max} items"),
        );
    }

    /// A number, if it is there, must be 0 or more.
    fn not_negative(&mut self, value: &Value, field: &str) {
        if value.as_i64().is_some_and(|number| number < 0) {
            self.invalid(field, value, "must be greater than or equal to 0");
        }
    }

    /// One of a few words must stand here.
    fn one_of(&mut self, value: &Value, field: &str, words: &[&str]) {
        if is_empty(value) {
            self.required(field, "");
        } else if !value.as_str().is_some_and(|text| words.contains(&text)) {
            self.not_supported(field, value, words);
        }
    }

    fn immutable(&mut self, old: &Value, new: &Value, field: &str) {
        if old != new {
            self.invalid(field, new, "field is immutable");
        }
    }

    fn port_number(&mut self, value: &Value, field: &str) {
        if !value
            .as_i64()
            .is_some_and(|number| (1..=65_535).contains(&number))
        {
            self.invalid(field, value, "must be between 1 and 65535, inclusive");
        }
    }
}

/// Absent, null or an empty text.
fn is_empty(value: &Value) -> bool {
    value.is_null() || value == ""
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn items(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

#[cfg(test)]
mod tests;
