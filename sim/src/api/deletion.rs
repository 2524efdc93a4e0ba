//! DELETE: of one object, of a collection; graceful, held back by finalizers, or at once.
//!
//! In: a [`Call`] with delete options in the body or the query. Out: the object, a Status, or the list as it was.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::call::{Answer, Call, Content};
use super::resources::{Generation, Resource};
use super::state::{Shared, State, text};
use super::status::Failure;
use super::store::{self, Stored};
use super::{body, custom, metadata, read};

/// Delete options, wherever they came from.
#[derive(Clone, Debug, Default)]
pub(crate) struct Options {
    /// How long the object may take to end.
    pub grace_seconds: Option<i64>,
    /// What becomes of dependents.
    pub propagation: String,
    /// The uid that the object must have.
    pub uid: Option<String>,
    /// The version that the object must have.
    pub version: Option<String>,
    /// Whether nothing shall be stored.
    pub is_dry_run: bool,
}

/// What a deletion did.
pub(crate) enum Outcome {
    /// The object is gone; this was its last form.
    Gone(Arc<Stored>),
    /// The object stays for a while.
    Waiting(Arc<Stored>),
}

/// Namespaces that cannot be deleted.
const PROTECTED_NAMESPACES: &[&str] = &["default", "kube-system", "kube-public"];

/// DELETE of one object.
pub(crate) fn delete(shared: &Shared, call: &Call) -> Result<Answer, Failure> {
    let options = Options::of(call)?;
    let mut state = shared.state();
    let resource = call.resource();
    if resource.is("", "Namespace") && PROTECTED_NAMESPACES.contains(&call.name()) {
        return Err(Failure::forbidden(
            resource,
            call.name(),
            "this namespace may not be deleted",
        ));
    }
    let current = state.find(call)?;
    let outcome = delete_object(
        shared,
        &mut state,
        resource,
        call.namespace(),
        &current,
        &options,
    )?;
    Ok(match outcome {
        Outcome::Waiting(object) => Answer::object(200, object),
        Outcome::Gone(object) if resource.is_returned_when_deleted() => Answer::object(200, object),
        Outcome::Gone(object) => Answer::value(200, success(resource, &object.value)),
    })
}

/// DELETE of a collection: each object for itself; the answer is the list as it was.
pub(crate) fn delete_collection(shared: &Shared, call: &Call) -> Result<Answer, Failure> {
    let options = Options::of(call)?;
    let selector = read::selector(call)?;
    let mut state = shared.state();
    let resource = call.resource();
    let list = read::selected(&state, call, &selector);
    for object in &list.objects {
        let namespace = object.value["metadata"]["namespace"].as_str();
        delete_object(shared, &mut state, resource, namespace, object, &options)?;
    }
    Ok(Answer {
        code: 200,
        content: Content::List(list),
        warnings: Vec::new(),
    })
}

/// Deletes one object, or begins to.
pub(crate) fn delete_object(
    shared: &Shared,
    state: &mut State,
    resource: &Resource,
    namespace: Option<&str>,
    current: &Arc<Stored>,
    options: &Options,
) -> Result<Outcome, Failure> {
    let name = metadata::name_of(&current.value);
    check_preconditions(resource, name, current, options)?;
    let mut object = current.value.clone();
    let grace = grace_seconds(resource, &object, options);
    set_finalizers(&mut object, options);
    let has_finalizers = object["metadata"]["finalizers"]
        .as_array()
        .is_some_and(|list| !list.is_empty());
    let is_held =
        grace > 0 || has_finalizers || resource.is("", "Namespace") && has_spec_finalizers(&object);
    let key = store::key(namespace, name);
    if metadata::is_being_deleted(&object) {
        let granted = object["metadata"]["deletionGracePeriodSeconds"]
            .as_i64()
            .unwrap_or(0);
        if is_held && (grace >= granted || resource.is("", "Namespace")) {
            return Ok(Outcome::Waiting(current.clone()));
        }
        mark(shared, resource, &mut object, grace.min(granted), granted);
    } else if is_held || resource.is("", "Pod") {
        mark(shared, resource, &mut object, grace, 0);
    }
    if options.is_dry_run {
        let shown = Arc::new(Stored::new(object, current.version));
        return Ok(if is_held {
            Outcome::Waiting(shown)
        } else {
            Outcome::Gone(shown)
        });
    }
    if is_held {
        return Ok(Outcome::Waiting(state.store.put(
            &resource.storage,
            &key,
            object,
        )));
    }
    // A pod that goes at once is first seen with its timestamp, as on the real server.
    if resource.is("", "Pod") && object != current.value {
        state.store.put(&resource.storage, &key, object);
        return gone(state, resource, current, &key);
    }
    // So is a definition, with what holds it until its objects are gone; that is its answer, too.
    if resource.is("apiextensions.k8s.io", "CustomResourceDefinition") {
        custom::mark_leaving(&mut object, &shared.clock.seconds());
        let leaving = state.store.put(&resource.storage, &key, object);
        state.store.remove(&resource.storage, &key);
        custom::removed(shared, state, resource, &current.value);
        return Ok(Outcome::Waiting(leaving));
    }
    gone(state, resource, current, &key)
}

fn gone(
    state: &mut State,
    resource: &Resource,
    current: &Stored,
    key: &str,
) -> Result<Outcome, Failure> {
    let gone = state.store.remove(&resource.storage, key);
    gone.map(Outcome::Gone)
        .ok_or_else(|| Failure::not_found(resource, metadata::name_of(&current.value)))
}

fn check_preconditions(
    resource: &Resource,
    name: &str,
    current: &Stored,
    options: &Options,
) -> Result<(), Failure> {
    let known = text(&current.value, "/metadata/uid");
    if let Some(uid) = options.uid.as_deref().filter(|&uid| uid != known) {
        let why = format!(
            "the UID in the precondition ({uid}) does not match the UID in record ({known}). \
             The object might have been deleted and then recreated"
        );
        return Err(Failure::precondition(resource, name, &why));
    }
    let known = current.version.to_string();
    if let Some(version) = options
        .version
        .as_deref()
        .filter(|&version| version != known)
    {
        let why = format!(
            "the ResourceVersion in the precondition ({version}) does not match the ResourceVersion in record ({known}). \
             The object might have been modified"
        );
        return Err(Failure::precondition(resource, name, &why));
    }
    Ok(())
}

/// Only pods end gracefully, and only those that a kubelet may be running.
fn grace_seconds(resource: &Resource, object: &Value, options: &Options) -> i64 {
    if !resource.is("", "Pod") {
        return 0;
    }
    let is_bound = !text(object, "/spec/nodeName").is_empty();
    let is_finished = matches!(text(object, "/status/phase"), "Succeeded" | "Failed");
    let is_forced = options.grace_seconds == Some(0);
    if !is_bound || is_forced || is_finished && !metadata::is_being_deleted(object) {
        return 0;
    }
    let own = object["spec"]["terminationGracePeriodSeconds"]
        .as_i64()
        .unwrap_or(30);
    options
        .grace_seconds
        .filter(|&seconds| seconds > 0)
        .unwrap_or(own)
}

fn set_finalizers(object: &mut Value, options: &Options) {
    let finalizer = match options.propagation.as_str() {
        "Foreground" => "foregroundDeletion",
        "Orphan" => "orphan",
        _ => return,
    };
    let mut list = object["metadata"]["finalizers"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    list.retain(|one| one != "foregroundDeletion" && one != "orphan");
    list.push(json!(finalizer));
    object["metadata"]["finalizers"] = json!(list);
}

fn has_spec_finalizers(object: &Value) -> bool {
    object["spec"]["finalizers"]
        .as_array()
        .is_some_and(|list| !list.is_empty())
}

fn mark(shared: &Shared, resource: &Resource, object: &mut Value, grace: i64, granted: i64) {
    let is_first = !metadata::is_being_deleted(object);
    if resource.is("", "Namespace") {
        object["status"]["phase"] = json!("Terminating");
    }
    let metadata = &mut object["metadata"];
    if is_first || grace < granted {
        let seconds = u64::try_from(grace).unwrap_or(0);
        metadata["deletionTimestamp"] =
            json!(shared.clock.seconds_in(Duration::from_secs(seconds)));
    }
    if !resource.is("", "Namespace") {
        metadata["deletionGracePeriodSeconds"] = json!(grace);
    }
    if is_first && resource.generation() != Generation::Never {
        metadata["generation"] = json!(metadata["generation"].as_i64().unwrap_or(0) + 1);
    }
}

fn success(resource: &Resource, object: &Value) -> Value {
    let mut details = json!({
        "name": metadata::name_of(object), "kind": resource.plural, "uid": object["metadata"]["uid"],
    });
    if !resource.group.is_empty() {
        details["group"] = json!(resource.group);
    }
    json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details})
}

// === impl Options ===

impl Options {
    /// The options of a call: those of the body, then those of the query.
    pub(crate) fn of(call: &Call) -> Result<Self, Failure> {
        let sent = if call.body.is_empty() {
            json!({})
        } else {
            body::value(call)?
        };
        let mut options = Self::read(&sent);
        if let Some(seconds) = call.query.number("gracePeriodSeconds")? {
            options.grace_seconds = Some(seconds);
        }
        if call.query.has("propagationPolicy") {
            call.query
                .text("propagationPolicy")
                .clone_into(&mut options.propagation);
        }
        if call.query.flag("orphanDependents") {
            "Orphan".clone_into(&mut options.propagation);
        }
        options.is_dry_run |= call.query.is_dry_run();
        Ok(options)
    }

    /// Options from a `DeleteOptions` object.
    pub(crate) fn read(sent: &Value) -> Self {
        let own = |pointer: &str| {
            sent.pointer(pointer)
                .and_then(Value::as_str)
                .map(str::to_owned)
        };
        let mut propagation = own("/propagationPolicy").unwrap_or_default();
        if sent["orphanDependents"] == true {
            "Orphan".clone_into(&mut propagation);
        }
        Self {
            grace_seconds: sent["gracePeriodSeconds"].as_i64(),
            propagation,
            uid: own("/preconditions/uid"),
            version: own("/preconditions/resourceVersion"),
            is_dry_run: sent["dryRun"]
                .as_array()
                .is_some_and(|list| list.contains(&json!("All"))),
        }
    }
}
