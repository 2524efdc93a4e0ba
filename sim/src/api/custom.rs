//! Custom resources: definitions come and go while the server runs.
//!
//! In: CustomResourceDefinitions as they are stored, and custom objects. Out: entries of the registry, pruned and
//! defaulted objects, complaints by the schema, tables by the printer columns.

use std::borrow::Cow;
use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::resources::{Offer, Registry, Resource, Subresource, qualify};
use super::state::{Shared, State, text};
use super::store::Stored;

mod schema;
mod status;

pub(crate) use schema::{default, default_faults, prune, validate};

/// What a definition says about one version.
#[derive(Clone, Debug)]
pub(crate) struct Custom {
    /// `openAPIV3Schema`; null when there is none.
    pub schema: Value,
    /// The same without what every object has: kind, apiVersion, metadata.
    body: Value,
    /// `additionalPrinterColumns`; null when there are none.
    pub columns: Value,
    /// Path of the replicas in the object, for the subresource scale: `.spec.size`.
    pub replicas_path: String,
    /// Path of the observed replicas: `.status.ready`.
    pub observed_path: String,
    /// Path of the selector as text, when there is one.
    pub selector_path: String,
    /// Paths that a field selector may name, such as `.spec.colour`.
    pub selectable_paths: Vec<String>,
    /// `apiVersion` of the stored objects.
    pub stored_as: String,
    /// What is said to everybody who uses a version that is deprecated.
    pub deprecation: Option<String>,
}

/// The storage of definitions.
const DEFINITIONS: &str = "customresourcedefinitions.apiextensions.k8s.io";

// === impl Custom ===

impl Custom {
    fn of(definition: &Value, version: &Value) -> Self {
        let scale = &version["subresources"]["scale"];
        let path = |field: &str| scale[field].as_str().unwrap_or_default().to_owned();
        let selectable = version["selectableFields"].as_array().into_iter().flatten();
        let group = text(definition, "/spec/group");
        let stored = versions(definition)
            .find(|version| version["storage"] == true)
            .map_or("", |version| text(version, "/name"));
        let kind = text(definition, "/spec/names/kind");
        let deprecation = (version["deprecated"] == true).then(|| {
            version["deprecationWarning"].as_str().map_or_else(
                || format!("{group}/{} {kind} is deprecated", text(version, "/name")),
                str::to_owned,
            )
        });
        let schema = version["schema"]["openAPIV3Schema"].clone();
        Self {
            body: schema::of_body(&schema),
            schema,
            columns: version["additionalPrinterColumns"].clone(),
            replicas_path: path("specReplicasPath"),
            observed_path: path("statusReplicasPath"),
            selector_path: path("labelSelectorPath"),
            selectable_paths: selectable
                .map(|field| text(field, "/jsonPath").to_owned())
                .collect(),
            stored_as: format!("{group}/{stored}"),
            deprecation,
        }
    }
}

/// A stored object in the version of a resource: only `apiVersion` differs, since no conversion is modelled.
pub(crate) fn in_version<'a>(resource: &Resource, object: &'a Value) -> Cow<'a, Value> {
    let version = resource.group_version();
    if !resource.is_custom() || object["apiVersion"] == version.as_str() {
        return Cow::Borrowed(object);
    }
    let mut object = object.clone();
    object["apiVersion"] = json!(version);
    Cow::Owned(object)
}

/// Puts an object into the version in which it is stored.
pub(crate) fn to_stored(resource: &Resource, object: &mut Value) {
    if let Some(custom) = &resource.custom {
        object["apiVersion"] = json!(custom.stored_as);
    }
}

/// Accepts the names of a new or changed definition, starts to serve what it defines, and says so in its status.
pub(crate) fn changed(
    shared: &Shared,
    state: &mut State,
    resource: &Resource,
    definition: &Arc<Stored>,
) {
    if resource.storage == DEFINITIONS {
        accept(shared, state, definition);
    }
}

fn accept(shared: &Shared, state: &mut State, definition: &Arc<Stored>) {
    if super::metadata::is_being_deleted(&definition.value) {
        return;
    }
    let mut accepted = definition.value.clone();
    accepted["status"] = status::of(state, &definition.value, &shared.clock.seconds());
    let (group, plural) = names(&definition.value);
    state.registry.remove(&group, &plural);
    if status::is_established(&accepted) {
        state.store.open(&qualify(&plural, &group));
        serve(&mut state.registry, &accepted);
    }
    if accepted["status"] != definition.value["status"] {
        let name = super::metadata::name_of(&definition.value);
        state.store.put(DEFINITIONS, name, accepted);
    }
}

/// Other definitions may want the names that a deleted one has left.
fn accept_others(shared: &Shared, state: &mut State, group: &str) {
    let Some(collection) = state.store.collection(DEFINITIONS) else {
        return;
    };
    let waiting: Vec<Arc<Stored>> = collection
        .range("")
        .map(|(_, definition)| definition.clone())
        .filter(|definition| text(&definition.value, "/spec/group") == group)
        .filter(|definition| !status::is_established(&definition.value))
        .collect();
    for definition in waiting {
        accept(shared, state, &definition);
    }
}

/// Says in a definition that it goes.
pub(crate) fn mark_leaving(definition: &mut Value, now: &str) {
    definition["metadata"]["finalizers"] = json!(["customresourcecleanup.apiextensions.k8s.io"]);
    definition["metadata"]["deletionTimestamp"] = json!(now);
    if let Some(conditions) = definition["status"]["conditions"].as_array_mut() {
        conditions.push(json!({
            "type": "Terminating", "status": "True", "reason": "InstanceDeletionPending", "lastTransitionTime": now,
            "message": "CustomResourceDefinition marked for deletion; CustomResource deletion will begin soon",
        }));
    }
}

/// Stops serving what a deleted definition defined; its objects go with it.
pub(crate) fn removed(shared: &Shared, state: &mut State, resource: &Resource, definition: &Value) {
    if resource.storage != DEFINITIONS {
        return;
    }
    let (group, plural) = names(definition);
    if status::is_established(definition) {
        state.registry.remove(&group, &plural);
        state.store.close(&qualify(&plural, &group));
    }
    accept_others(shared, state, &group);
}

fn names(definition: &Value) -> (String, String) {
    (
        text(definition, "/spec/group").to_owned(),
        text(definition, "/spec/names/plural").to_owned(),
    )
}

fn versions(definition: &Value) -> impl Iterator<Item = &Value> {
    definition["spec"]["versions"]
        .as_array()
        .into_iter()
        .flatten()
}

fn serve(registry: &mut Registry, definition: &Value) {
    let spec = &definition["spec"];
    let (group, plural) = names(definition);
    let names = definition["status"]["acceptedNames"].clone();
    let texts = |field: &str| -> Vec<String> {
        names[field]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .map(str::to_owned)
            .collect()
    };
    for version in versions(definition).filter(|version| version["served"] == true) {
        let has = |name: &str| {
            version["subresources"]
                .get(name)
                .is_some_and(|value| !value.is_null())
        };
        let mut subresources = Vec::new();
        if has("status") {
            subresources.push(Subresource::Status);
        }
        if has("scale") {
            subresources.push(Subresource::Scale);
        }
        registry.insert(Arc::new(Resource {
            group: group.clone(),
            version: text(version, "/name").to_owned(),
            plural: plural.clone(),
            singular: text(&names, "/singular").to_owned(),
            kind: text(&names, "/kind").to_owned(),
            namespaced: spec["scope"] == "Namespaced",
            short_names: texts("shortNames"),
            categories: texts("categories"),
            subresources,
            offer: Offer::All,
            storage: qualify(&plural, &group),
            custom: Some(Custom::of(definition, version)),
        }));
    }
}

/// The value at a simple path such as `.spec.size`, `.status.conditions[0].type` or `.metadata.labels['a']`.
pub(crate) fn at_path<'a>(object: &'a Value, path: &str) -> Option<&'a Value> {
    steps(path)
        .iter()
        .try_fold(object, |at, step| match step.parse::<usize>() {
            Ok(index) if at.is_array() => at.get(index),
            _ => at.get(step),
        })
}

/// Writes a value at a simple path, making the parents that are missing.
pub(crate) fn set_at_path(object: &mut Value, path: &str, value: Value) {
    let mut at = object;
    for step in steps(path) {
        if !at.is_object() {
            *at = Value::Object(Map::new());
        }
        at = &mut at[step];
    }
    *at = value;
}

fn steps(path: &str) -> Vec<String> {
    path.replace(['[', ']'], ".")
        .split('.')
        .map(|step| step.trim_matches(['\'', '"']).to_owned())
        .filter(|step| !step.is_empty())
        .collect()
}
