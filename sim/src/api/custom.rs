//! Custom resources: definitions come and go while the server runs.
//!
//! In: CustomResourceDefinitions as they are stored, and custom objects. Out: entries of the registry, pruned and
//! defaulted objects, complaints by the schema, tables by the printer columns.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::resources::{Offer, Registry, Resource, Subresource, qualify};
use super::state::{Shared, State, text};
use super::store::Stored;

mod schema;

pub(crate) use schema::{default, prune, validate};

/// What a definition says about one version.
#[derive(Clone, Debug)]
pub(crate) struct Custom {
    /// `openAPIV3Schema`; null when there is none.
    pub schema: Value,
    /// `additionalPrinterColumns`; null when there are none.
    pub columns: Value,
    /// Path of the replicas in the object, for the subresource scale: `.spec.size`.
    pub replicas_path: String,
    /// Path of the observed replicas: `.status.ready`.
    pub observed_path: String,
    /// Path of the selector as text, when there is one.
    pub selector_path: String,
}

/// The storage of definitions.
const DEFINITIONS: &str = "customresourcedefinitions.apiextensions.k8s.io";

// === impl Custom ===

impl Custom {
    fn of(version: &Value) -> Self {
        let scale = &version["subresources"]["scale"];
        let path = |field: &str| scale[field].as_str().unwrap_or_default().to_owned();
        Self {
            schema: version["schema"]["openAPIV3Schema"].clone(),
            columns: version["additionalPrinterColumns"].clone(),
            replicas_path: path("specReplicasPath"),
            observed_path: path("statusReplicasPath"),
            selector_path: path("labelSelectorPath"),
        }
    }
}

/// Starts to serve what a new or changed definition defines, and says so in its status.
pub(crate) fn changed(
    shared: &Shared,
    state: &mut State,
    resource: &Resource,
    definition: &Arc<Stored>,
) {
    if resource.storage != DEFINITIONS || super::metadata::is_being_deleted(&definition.value) {
        return;
    }
    let (group, plural) = names(&definition.value);
    state.registry.remove(&group, &plural);
    state.store.open(&qualify(&plural, &group));
    serve(&mut state.registry, &definition.value);
    let mut accepted = definition.value.clone();
    let now = shared.clock.seconds();
    let names = with_default_names(&definition.value["spec"]["names"]);
    let stored: Vec<Value> = versions(&definition.value)
        .filter(|version| version["storage"] == true)
        .map(|version| version["name"].clone())
        .collect();
    let condition = |kind: &str, reason: &str, message: &str| json!({"type": kind, "status": "True", "reason": reason, "message": message, "lastTransitionTime": now});
    let is_established = accepted["status"]["conditions"]
        .as_array()
        .is_some_and(|list| !list.is_empty());
    if is_established && accepted["status"]["acceptedNames"] == names {
        return;
    }
    accepted["status"] = json!({
        "acceptedNames": names, "storedVersions": stored,
        "conditions": [
            condition("NamesAccepted", "NoConflicts", "no conflicts found"),
            condition("Established", "InitialNamesAccepted", "the initial names have been accepted"),
        ],
    });
    state.store.put(
        DEFINITIONS,
        super::metadata::name_of(&definition.value),
        accepted,
    );
}

/// Stops serving what a deleted definition defined; its objects go with it.
pub(crate) fn removed(state: &mut State, resource: &Resource, definition: &Value) {
    if resource.storage != DEFINITIONS {
        return;
    }
    let (group, plural) = names(definition);
    state.registry.remove(&group, &plural);
    state.store.close(&qualify(&plural, &group));
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

fn with_default_names(names: &Value) -> Value {
    let mut names = names.clone();
    let kind = names["kind"].as_str().unwrap_or_default().to_owned();
    for (field, value) in [
        ("singular", kind.to_lowercase()),
        ("listKind", format!("{kind}List")),
    ] {
        if names.get(field).is_none() {
            names[field] = json!(value);
        }
    }
    names
}

fn serve(registry: &mut Registry, definition: &Value) {
    let spec = &definition["spec"];
    let (group, plural) = names(definition);
    let names = with_default_names(&spec["names"]);
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
            custom: Some(Custom::of(version)),
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
