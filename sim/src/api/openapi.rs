//! OpenAPI v3, as much as kubectl needs: which kinds can be patched with which parameters, and their types.
//!
//! In: the registry. Out: the index and one document per group version. Pure. kubectl sees by the parameter
//! `fieldValidation` that the server validates; `explain` and strategic patches read the types. For a kind that is in
//! no document kubectl turns to OpenAPI v2: that document is empty, and the kind is then refused by its name.

use bytes::Bytes;
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha512};

mod schemas;

use super::call::Answer;
use super::resources::{Offer, Registry, Resource, group_version};
use super::status::Failure;
use super::store::to_json;

/// GET on `/openapi/v3` and below.
pub(crate) fn answer(registry: &Registry, path: &str) -> Result<Answer, Failure> {
    let path = path.trim_start_matches("/openapi/v3").trim_matches('/');
    if path.is_empty() {
        return Ok(Answer::text(200, to_json(&index(registry))));
    }
    let (group, version) = match path.split('/').collect::<Vec<_>>().as_slice() {
        ["api", version] => (String::new(), (*version).to_owned()),
        ["apis", group, version] => ((*group).to_owned(), (*version).to_owned()),
        _ => return Err(Failure::no_page()),
    };
    if registry.resources(&group, &version).is_empty() {
        return Err(Failure::no_page());
    }
    let document = registry.document(&group, &version);
    Ok(Answer::ready("application/json", document.bytes.clone()))
}

/// The media type of OpenAPI v2 as kubectl asks for it.
const VERSION_2_TYPE: &str = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf";

/// A `Document` of OpenAPI v2 in protobuf: `swagger: "2.0"`, `info: {title: "Kubernetes", version: "v1"}`, no paths.
const VERSION_2: &[u8] = b"\x0a\x032.0\x12\x10\x0a\x0aKubernetes\x12\x02v1\x42\x00";

/// GET on `/openapi/v2`.
pub(crate) fn version_2() -> Answer {
    Answer::bytes(VERSION_2_TYPE, VERSION_2)
}

fn place(group: &str, version: &str) -> String {
    if group.is_empty() {
        format!("api/{version}")
    } else {
        format!("apis/{group}/{version}")
    }
}

/// The document of one group version, as it is sent.
#[derive(Clone, Debug)]
pub(crate) struct Document {
    /// JSON.
    pub bytes: Bytes,
    /// Changes with the text.
    pub hash: String,
}

// === impl Document ===

impl Document {
    /// Describes the resources of a group version.
    pub(crate) fn of(registry: &Registry, group: &str, version: &str) -> Self {
        let bytes = to_json(&document(registry, group, version));
        let digest = Sha512::digest(&bytes);
        let hash = digest.iter().map(|byte| format!("{byte:02X}")).collect();
        Self { bytes, hash }
    }
}

fn index(registry: &Registry) -> Value {
    let mut paths = Map::new();
    for group in registry.groups() {
        for version in registry.versions(group) {
            let hash = registry.document(group, &version).hash.clone();
            let place = place(group, &version);
            let url = format!("/openapi/v3/{place}?hash={hash}");
            paths.insert(place, json!({ "serverRelativeURL": url }));
        }
    }
    json!({ "paths": paths })
}

fn document(registry: &Registry, group: &str, version: &str) -> Value {
    let mut paths = Map::new();
    let mut schemas = schemas::Schemas::default();
    for resource in registry.resources(group, version) {
        let scope = if resource.namespaced {
            "namespaces/{namespace}/"
        } else {
            ""
        };
        let path = format!(
            "/{}/{scope}{}/{{name}}",
            place(group, version),
            resource.plural
        );
        if resource.offer != Offer::Create {
            paths.insert(path, json!({ "patch": patch(&resource) }));
        }
        schemas.add(&resource);
    }
    json!({
        "openapi": "3.0.0",
        "info": {"title": format!("Kubernetes {}", group_version(group, version)), "version": "v1.36.3"},
        "paths": paths,
        "components": {"schemas": schemas.done()},
    })
}

fn patch(resource: &Resource) -> Value {
    let parameters: Vec<Value> = ["dryRun", "fieldManager", "fieldValidation", "force"]
        .iter()
        .map(|name| {
            let kind = if *name == "force" {
                "boolean"
            } else {
                "string"
            };
            json!({"name": name, "in": "query", "schema": {"type": kind, "uniqueItems": true}})
        })
        .collect();
    let body = json!({"schema": {"type": "object"}});
    let mut content = Map::new();
    for kind in ["apply-patch+yaml", "json-patch+json", "merge-patch+json"] {
        content.insert(format!("application/{kind}"), body.clone());
    }
    if !resource.is_custom() {
        content.insert("application/strategic-merge-patch+json".to_owned(), body);
    }
    json!({
        "parameters": parameters, "requestBody": {"content": content, "required": true},
        "x-kubernetes-action": "patch", "x-kubernetes-group-version-kind": kind_of(resource),
        "responses": {"200": {"description": "OK"}},
    })
}

fn kind_of(resource: &Resource) -> Value {
    json!({"group": resource.group, "version": resource.version, "kind": resource.kind})
}
