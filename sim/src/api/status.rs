//! What goes wrong, in the words and codes of the real server.
//!
//! In: the facts of a refusal. Out: a [`Failure`] that knows its HTTP status and its `Status` object. Pure.

use serde_json::{Map, Value, json};

use super::resources::Resource;
use super::validate::Cause;

/// A refused request.
#[derive(Clone, Debug)]
pub(crate) struct Failure {
    /// HTTP status.
    pub code: u16,
    /// Machine-readable reason.
    pub reason: &'static str,
    /// The sentence for people.
    pub message: String,
    /// `details` of the Status object; empty as `{}`, absent when `None`.
    pub details: Option<Map<String, Value>>,
    /// The answer is this text instead of a Status object.
    pub is_text: bool,
    /// Sentences for `Warning` headers.
    pub warnings: Vec<String>,
}

// === impl Failure ===

impl Failure {
    fn new(code: u16, reason: &'static str, message: impl Into<String>) -> Self {
        Self {
            code,
            reason,
            message: message.into(),
            details: None,
            is_text: false,
            warnings: Vec::new(),
        }
    }

    fn about(mut self, group: &str, kind: &str, name: &str) -> Self {
        let details = self.details.get_or_insert_default();
        if !name.is_empty() {
            details.insert("name".to_owned(), json!(name));
        }
        if !group.is_empty() {
            details.insert("group".to_owned(), json!(group));
        }
        if !kind.is_empty() {
            details.insert("kind".to_owned(), json!(kind));
        }
        self
    }

    fn causes(mut self, causes: Value) -> Self {
        self.details
            .get_or_insert_default()
            .insert("causes".to_owned(), causes);
        self
    }

    /// Adds what was found wrong besides.
    pub(crate) fn warn(self, warnings: Vec<String>) -> Self {
        Self { warnings, ..self }
    }

    /// Adds `retryAfterSeconds`, which also becomes a header.
    pub(crate) fn retry_after(mut self, seconds: u32) -> Self {
        self.details
            .get_or_insert_default()
            .insert("retryAfterSeconds".to_owned(), json!(seconds));
        self
    }

    /// Seconds for the header `Retry-After`.
    pub(crate) fn retry_after_seconds(&self) -> Option<u64> {
        self.details.as_ref()?.get("retryAfterSeconds")?.as_u64()
    }

    /// An unknown path: plain text.
    pub(crate) fn no_page() -> Self {
        Self {
            is_text: true,
            ..Self::new(404, "NotFound", "404 page not found\n")
        }
    }

    /// An unknown resource of a known group.
    pub(crate) fn no_resource() -> Self {
        Self::new(
            404,
            "NotFound",
            "the server could not find the requested resource",
        )
        .about("", "", "")
    }

    /// A subresource of pods that needs a kubelet which can be asked.
    pub(crate) fn not_modelled(subresource: &str) -> Self {
        let message = format!(
            "pods/{subresource} is not modelled in this local cluster; `tiergate-sim up` has printed the folder of the pods' logs, and a pod's address answers from this machine"
        );
        Self::new(501, "", message)
    }

    /// The object does not exist.
    pub(crate) fn not_found(resource: &Resource, name: &str) -> Self {
        Self::new(
            404,
            "NotFound",
            format!("{} {name:?} not found", resource.qualified()),
        )
        .about(&resource.group, &resource.plural, name)
    }

    /// The namespace does not exist.
    pub(crate) fn no_namespace(name: &str) -> Self {
        Self::new(404, "NotFound", format!("namespaces {name:?} not found")).about(
            "",
            "namespaces",
            name,
        )
    }

    /// The name is taken.
    pub(crate) fn already_exists(resource: &Resource, name: &str, is_being_deleted: bool) -> Self {
        let prefix = if is_being_deleted {
            "object is being deleted: "
        } else {
            ""
        };
        let message = format!("{prefix}{} {name:?} already exists", resource.qualified());
        Self::new(409, "AlreadyExists", message).about(&resource.group, &resource.plural, name)
    }

    /// Somebody else wrote first.
    pub(crate) fn modified(resource: &Resource, name: &str) -> Self {
        Self::conflict(
            resource,
            name,
            "the object has been modified; please apply your changes to the latest version and try again",
        )
    }

    /// The object is not as the request presupposes.
    pub(crate) fn conflict(resource: &Resource, name: &str, why: &str) -> Self {
        let message = format!(
            "Operation cannot be fulfilled on {} {name:?}: {why}",
            resource.qualified()
        );
        Self::new(409, "Conflict", message).about(&resource.group, &resource.plural, name)
    }

    /// The same about something that is no resource of its own, such as `pods/binding`.
    pub(crate) fn conflict_on(what: &str, name: &str, why: &str) -> Self {
        let message = format!("Operation cannot be fulfilled on {what} {name:?}: {why}");
        Self::new(409, "Conflict", message).about("", what, name)
    }

    /// A precondition of a deletion does not hold; named by kind, unlike other conflicts.
    pub(crate) fn precondition(resource: &Resource, name: &str, why: &str) -> Self {
        let message = format!(
            "Operation cannot be fulfilled on {} {name:?}: {why}",
            resource.qualified_kind()
        );
        Self::new(409, "Conflict", message).about(&resource.group, &resource.kind, name)
    }

    /// Another manager owns a field of an apply.
    pub(crate) fn apply_conflict(message: String, causes: &[Cause]) -> Self {
        Self::new(409, "Conflict", message).causes(written(causes))
    }

    /// The object breaks rules.
    pub(crate) fn invalid(resource: &Resource, name: &str, causes: &[Cause]) -> Self {
        Self::invalid_kind(&resource.group, &resource.kind, name, causes)
    }

    /// The same for a kind that is not the resource's own, such as `Scale`.
    pub(crate) fn invalid_kind(group: &str, kind: &str, name: &str, causes: &[Cause]) -> Self {
        let qualified = super::resources::qualify(kind, group);
        let mut lines: Vec<String> = Vec::new();
        for cause in causes {
            let line = format!("{}: {}", cause.field, cause.message);
            if !lines.contains(&line) {
                lines.push(line);
            }
        }
        let list = if lines.len() == 1 {
            lines.remove(0)
        } else {
            format!("[{}]", lines.join(", "))
        };
        Self::new(
            422,
            "Invalid",
            format!("{qualified} {name:?} is invalid: {list}"),
        )
        .about(group, kind, name)
        .causes(written(causes))
    }

    /// The patch cannot be carried out.
    pub(crate) fn unprocessable(message: impl Into<String>) -> Self {
        Self::new(422, "Invalid", message).about("", "", "")
    }

    /// The request makes no sense.
    pub(crate) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(400, "BadRequest", message)
    }

    /// An admission rule says no.
    pub(crate) fn forbidden(resource: &Resource, name: &str, why: &str) -> Self {
        let message = format!("{} {name:?} is forbidden: {why}", resource.qualified());
        Self::new(403, "Forbidden", message).about(&resource.group, &resource.plural, name)
    }

    /// The namespace takes nothing new because it is going away.
    pub(crate) fn terminating(resource: &Resource, name: &str, namespace: &str) -> Self {
        let why = format!(
            "unable to create new content in namespace {namespace} because it is being terminated"
        );
        Self::forbidden(resource, name, &why).causes(json!([{
            "reason": "NamespaceTerminating",
            "message": format!("namespace {namespace} is being terminated"),
            "field": "metadata.namespace",
        }]))
    }

    /// No token, or one that we did not issue.
    pub(crate) fn unauthorized() -> Self {
        Self::new(401, "Unauthorized", "Unauthorized")
    }

    /// Requests without a token see only a few open paths.
    pub(crate) fn anonymous(message: String) -> Self {
        Self::new(403, "Forbidden", message).about("", "", "")
    }

    /// A request for a resource without a token.
    pub(crate) fn not_allowed(
        resource: &Resource,
        name: &str,
        verb: &str,
        namespace: Option<&str>,
    ) -> Self {
        let what = if name.is_empty() {
            resource.qualified()
        } else {
            format!("{} {name:?}", resource.qualified())
        };
        let place = namespace.map_or_else(
            || "at the cluster scope".to_owned(),
            |namespace| format!("in the namespace {namespace:?}"),
        );
        let message = format!(
            "{what} is forbidden: User \"system:anonymous\" cannot {verb} resource {:?} in API group {:?} {place}",
            resource.plural, resource.group
        );
        Self::new(403, "Forbidden", message).about(&resource.group, &resource.plural, name)
    }

    /// The path exists, the method does not.
    pub(crate) fn method_not_allowed() -> Self {
        Self::new(
            405,
            "MethodNotAllowed",
            "the server does not allow this method on the requested resource",
        )
        .about("", "", "")
    }

    /// No representation that the client takes.
    pub(crate) fn not_acceptable(message: impl Into<String>) -> Self {
        Self::new(406, "NotAcceptable", message)
    }

    /// No media type that the client takes.
    pub(crate) fn not_acceptable_form(message: impl Into<String>) -> Self {
        Self::not_acceptable(message).about("", "", "")
    }

    /// The body is in no language that we read.
    pub(crate) fn unsupported_media_type(message: impl Into<String>) -> Self {
        Self::new(415, "UnsupportedMediaType", message)
    }

    /// The body is too long.
    pub(crate) fn too_large(message: impl Into<String>) -> Self {
        Self::new(413, "RequestEntityTooLarge", message)
    }

    /// The version is older than the history.
    pub(crate) fn expired(message: impl Into<String>) -> Self {
        Self::new(410, "Expired", message)
    }

    /// The version is newer than the store.
    pub(crate) fn too_large_version(wanted: u64, current: u64) -> Self {
        let message = format!("Timeout: Too large resource version: {wanted}, current: {current}");
        Self::new(504, "Timeout", message)
            .causes(json!([{"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}]))
            .retry_after(1)
    }

    /// A budget forbids the eviction.
    pub(crate) fn disruption(message: &str, cause: &str) -> Self {
        Self::new(429, "TooManyRequests", message)
            .causes(json!([{"reason": "DisruptionBudget", "message": cause}]))
    }

    /// What the real server answers with 500, although the client is to blame.
    pub(crate) fn internal(message: impl Into<String>) -> Self {
        let message = message.into();
        let causes = json!([{ "message": message }]);
        Self::new(
            500,
            "InternalError",
            format!("Internal error occurred: {message}"),
        )
        .causes(causes)
    }

    /// A 500 without the usual introduction.
    pub(crate) fn plain_internal(message: impl Into<String>) -> Self {
        Self::new(500, "", message)
    }

    /// The `Status` object.
    pub(crate) fn to_value(&self) -> Value {
        let mut status = json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": self.message, "code": self.code,
        });
        if !self.reason.is_empty() {
            status["reason"] = json!(self.reason);
        }
        if let Some(details) = &self.details {
            status["details"] = Value::Object(details.clone());
        }
        status
    }
}

fn written(causes: &[Cause]) -> Value {
    let causes = causes.iter();
    causes
        .map(|one| json!({"reason": one.reason, "message": one.message, "field": one.field}))
        .collect()
}
