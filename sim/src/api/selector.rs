//! Label and field selectors. Pure.
//!
//! In: the text of a query parameter. Out: a [`Selector`] that says whether an object is meant, or the real server's
//! complaint about the text.

use serde_json::Value;

use super::resources::Resource;

mod labels;

use labels::{Requirement, parse_labels};

/// Which objects a request is about.
#[derive(Clone, Debug, Default)]
pub(crate) struct Selector {
    labels: Vec<Requirement>,
    fields: Vec<(String, bool, String)>,
    is_of_new_events: bool,
}

// === impl Selector ===

impl Selector {
    /// Reads both selectors of a request.
    pub(crate) fn parse(resource: &Resource, labels: &str, fields: &str) -> Result<Self, String> {
        let labels = parse_labels(labels)?;
        let mut parsed = Vec::new();
        for term in split_fields(fields) {
            let (field, is_equal, value) = split_term(&term).ok_or_else(|| {
                format!("invalid selector: '{fields}'; can't understand '{term}'")
            })?;
            check_field(resource, &field)?;
            parsed.push((field, is_equal, value));
        }
        let is_of_new_events = resource.group == "events.k8s.io";
        Ok(Self {
            labels,
            fields: parsed,
            is_of_new_events,
        })
    }

    /// Whether everything is meant.
    pub(crate) fn is_empty(&self) -> bool {
        self.labels.is_empty() && self.fields.is_empty()
    }

    /// Narrows the selector to one name.
    pub(crate) fn require_name(&mut self, name: &str) {
        self.fields
            .push(("metadata.name".to_owned(), true, name.to_owned()));
    }

    /// Whether the object is meant.
    pub(crate) fn matches(&self, object: &Value) -> bool {
        self.labels
            .iter()
            .all(|requirement| requirement.matches(&object["metadata"]["labels"]))
            && self.fields.iter().all(|(field, is_equal, wanted)| {
                (self.field_of(object, field) == *wanted) == *is_equal
            })
    }

    fn field_of(&self, object: &Value, field: &str) -> String {
        let path = if self.is_of_new_events {
            old_event_field(field)
        } else {
            field
        };
        let path = match path {
            "source" => "source.component",
            other => other,
        };
        let found = path.split('.').fold(object, |at, step| &at[step]);
        match found {
            Value::String(text) => text.clone(),
            Value::Null => default_of(field),
            other @ (Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_)) => {
                other.to_string()
            }
        }
    }
}

/// What a field that is left out counts as.
fn default_of(field: &str) -> String {
    match field {
        "spec.hostNetwork" | "spec.unschedulable" => "false".to_owned(),
        _ => String::new(),
    }
}

/// Events are stored in the core form.
fn old_event_field(field: &str) -> &str {
    match field {
        "reportingController" => "reportingComponent",
        "regarding.kind" => "involvedObject.kind",
        "regarding.namespace" => "involvedObject.namespace",
        "regarding.name" => "involvedObject.name",
        "regarding.uid" => "involvedObject.uid",
        "regarding.apiVersion" => "involvedObject.apiVersion",
        "regarding.resourceVersion" => "involvedObject.resourceVersion",
        "regarding.fieldPath" => "involvedObject.fieldPath",
        other => other,
    }
}

/// Splits at commas that are not escaped.
fn split_fields(text: &str) -> Vec<String> {
    let mut terms = vec![String::new()];
    let mut is_escaped = false;
    for c in text.chars() {
        if c == ',' && !is_escaped {
            terms.push(String::new());
        } else if let Some(last) = terms.last_mut() {
            last.push(c);
        }
        is_escaped = c == '\\' && !is_escaped;
    }
    terms.retain(|term| !term.is_empty());
    terms
}

fn split_term(term: &str) -> Option<(String, bool, String)> {
    let unescape = |text: &str| {
        text.replace("\\,", ",")
            .replace("\\=", "=")
            .replace("\\\\", "\\")
    };
    let at = term.find(['=', '!'])?;
    let (field, rest) = term.split_at(at);
    let (is_equal, value) = if let Some(value) = rest.strip_prefix("!=") {
        (false, value)
    } else if let Some(value) = rest.strip_prefix("==") {
        (true, value)
    } else {
        (true, rest.strip_prefix('=')?)
    };
    Some((field.to_owned(), is_equal, unescape(value)))
}

fn check_field(resource: &Resource, field: &str) -> Result<(), String> {
    let extra: &[&str] = match (resource.group.as_str(), resource.kind.as_str()) {
        ("", "Pod") => &[
            "spec.nodeName",
            "spec.restartPolicy",
            "spec.schedulerName",
            "spec.serviceAccountName",
            "spec.hostNetwork",
            "status.phase",
            "status.podIP",
            "status.podIPs",
            "status.nominatedNodeName",
        ],
        ("", "Node") => &["spec.unschedulable"],
        ("", "Namespace") => &["status.phase"],
        ("", "Secret") => &["type"],
        ("", "Service") => &["spec.type", "spec.clusterIP"],
        ("", "ReplicationController") => &["status.replicas"],
        ("batch", "Job") => &["status.successful"],
        ("", "Event") => &[
            "involvedObject.kind",
            "involvedObject.namespace",
            "involvedObject.name",
            "involvedObject.uid",
            "involvedObject.apiVersion",
            "involvedObject.resourceVersion",
            "involvedObject.fieldPath",
            "reason",
            "reportingComponent",
            "source",
            "type",
        ],
        ("events.k8s.io", _) => &[
            "regarding.kind",
            "regarding.namespace",
            "regarding.name",
            "regarding.uid",
            "regarding.apiVersion",
            "regarding.resourceVersion",
            "regarding.fieldPath",
            "reason",
            "reportingController",
            "type",
        ],
        _ => &[],
    };
    let is_selectable = resource.custom.as_ref().is_some_and(|custom| {
        let mut paths = custom.selectable_paths.iter();
        paths.any(|path| path.trim_start_matches('.') == field)
    });
    if matches!(field, "metadata.name" | "metadata.namespace")
        || extra.contains(&field)
        || is_selectable
    {
        return Ok(());
    }
    if extra.is_empty() && !resource.is_custom() {
        return Err(format!(
            "{field:?} is not a known field selector: only \"metadata.name\", \"metadata.namespace\""
        ));
    }
    Err(format!("field label not supported: {field}"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::api::resources::Registry;

    fn selected(
        resource: &str,
        labels: &str,
        fields: &str,
        object: &Value,
    ) -> Result<bool, String> {
        let resource = Registry::built_in()
            .get("", "v1", resource)
            .expect("built in");
        Selector::parse(&resource, labels, fields).map(|selector| selector.matches(object))
    }

    #[test]
    fn label_selectors_choose_as_the_real_server_does() {
        let object = json!({"metadata": {"labels": {"app": "web", "num": "5", "empty": ""}}});
        for (text, wanted) in [
            ("app=web", true),
            ("app==web", true),
            ("app!=web", false),
            ("app", true),
            ("!app", false),
            ("other!=x", true),
            ("other notin (x)", true),
            ("app in (web,db)", true),
            ("app notin (web)", false),
            ("empty in (a,)", true),
            ("app=web,app=db", false),
            ("num>4", true),
            ("num<5", false),
            ("", true),
            ("app in (web), num", true),
            ("empty=", true),
        ] {
            assert_eq!(selected("pods", text, "", &object), Ok(wanted), "{text}");
        }
    }

    #[test]
    fn bad_selectors_are_refused() {
        for text in ["a b", "a=b=c", "app in web", "-a=b", "num>x", "%"] {
            assert!(selected("pods", text, "", &json!({})).is_err(), "{text}");
        }
        for text in ["spec.nope=x", "metadata.name", "metadata.name in (a)"] {
            assert!(selected("pods", "", text, &json!({})).is_err(), "{text}");
        }
    }

    #[test]
    fn field_selectors_read_the_fields_of_a_kind() {
        let pod = json!({"metadata": {"name": "a"}, "spec": {"nodeName": "n1"}, "status": {"phase": "Running"}});
        for (text, wanted) in [
            ("spec.nodeName=n1,status.phase!=Failed", true),
            ("metadata.name!=a", false),
            ("spec.hostNetwork=false", true),
            ("status.podIP=", true),
        ] {
            assert_eq!(selected("pods", "", text, &pod), Ok(wanted), "{text}");
        }
    }
}
