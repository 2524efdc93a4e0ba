//! What there is: groups, versions, resources, in the aggregated form and the older one; version; OpenAPI.
//!
//! In: the registry. Out: documents. Pure.

use serde_json::{Value, json};

use super::call::{Answer, Content};
use super::request::Route;
use super::resources::{Registry, Resource, Subresource, group_version};
use super::status::Failure;
use super::store::to_json;

const AGGREGATED: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";

/// GET on `/api`, `/apis` and below, down to the lists of resources.
pub(crate) fn answer(registry: &Registry, route: &Route, accept: &str) -> Result<Answer, Failure> {
    match route {
        Route::Root { is_core } => root(registry, *is_core, accept),
        Route::Discovery(group, version) => {
            let group = group.as_deref().unwrap_or_default();
            if !registry.has_group(group) {
                return Err(Failure::no_page());
            }
            match version {
                None => Ok(Answer::value(200, group_document(registry, group, true))),
                Some(version) => resource_list(registry, group, version),
            }
        }
        Route::Resource(_) => Err(Failure::no_resource()),
    }
}

fn root(registry: &Registry, is_core: bool, accept: &str) -> Result<Answer, Failure> {
    let wants = |range: &str| {
        let has = |parameter: &str| range.split(';').any(|piece| piece.trim() == parameter);
        has("g=apidiscovery.k8s.io") && has("v=v2") && has("as=APIGroupDiscoveryList")
    };
    if accept.split(',').any(wants) {
        let groups: Vec<&String> = registry
            .groups()
            .iter()
            .filter(|group| group.is_empty() == is_core)
            .collect();
        let items: Vec<Value> = groups
            .iter()
            .map(|group| aggregated_group(registry, group))
            .collect();
        let document = json!({
            "kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2", "metadata": {}, "items": items,
        });
        let content = Content::Bytes(AGGREGATED, to_json(&document));
        return Ok(Answer {
            code: 200,
            content,
            warnings: Vec::new(),
        });
    }
    let is_plain = |range: &str| {
        let mut pieces = range.split(';').map(str::trim);
        matches!(pieces.next(), Some("application/json" | "*/*" | "")) && !range.contains("as=")
    };
    if !accept.split(',').any(is_plain) {
        return Err(Failure::not_acceptable(
            "only the following media types are accepted: application/json, application/yaml, \
             application/vnd.kubernetes.protobuf",
        ));
    }
    if is_core {
        return Ok(Answer::value(
            200,
            json!({
                "kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": [],
            }),
        ));
    }
    let groups: Vec<Value> = registry
        .groups()
        .iter()
        .filter(|group| !group.is_empty())
        .map(|group| group_document(registry, group, false))
        .collect();
    Ok(Answer::value(
        200,
        json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}),
    ))
}

fn group_document(registry: &Registry, group: &str, is_alone: bool) -> Value {
    let versions: Vec<Value> = registry
        .versions(group)
        .iter()
        .map(|version| json!({"groupVersion": group_version(group, version), "version": version}))
        .collect();
    let mut document =
        json!({"name": group, "preferredVersion": versions.first(), "versions": versions});
    if is_alone {
        document["kind"] = json!("APIGroup");
        document["apiVersion"] = json!("v1");
    }
    document
}

fn resource_list(registry: &Registry, group: &str, version: &str) -> Result<Answer, Failure> {
    let known = registry.resources(group, version);
    if known.is_empty() {
        return Err(Failure::no_resource());
    }
    let resources: Vec<Value> = known.iter().flat_map(|resource| rows(resource)).collect();
    let mut document = json!({
        "kind": "APIResourceList", "groupVersion": group_version(group, version), "resources": resources,
    });
    if !group.is_empty() {
        document["apiVersion"] = json!("v1");
    }
    Ok(Answer::value(200, document))
}

fn rows(resource: &Resource) -> Vec<Value> {
    let mut row = json!({
        "name": resource.plural, "singularName": resource.singular, "namespaced": resource.namespaced,
        "kind": resource.kind, "verbs": resource.verbs(),
    });
    if !resource.short_names.is_empty() {
        row["shortNames"] = json!(resource.short_names);
    }
    if !resource.categories.is_empty() {
        row["categories"] = json!(resource.categories);
    }
    let mut rows = vec![row];
    rows.extend(resource.subresources.iter().map(|&subresource| {
        let (group, version, kind) = kind_of(resource, subresource);
        let mut row = json!({
            "name": format!("{}/{}", resource.plural, subresource.name()), "singularName": "",
            "namespaced": resource.namespaced, "kind": kind, "verbs": subresource.verbs(),
        });
        if group != resource.group {
            row["group"] = json!(group);
            row["version"] = json!(version);
        }
        row
    }));
    rows
}

/// Group, version and kind that a subresource takes and gives.
fn kind_of(resource: &Resource, subresource: Subresource) -> (&str, &str, &str) {
    match subresource {
        Subresource::Status | Subresource::Finalize => {
            (&resource.group, &resource.version, &resource.kind)
        }
        Subresource::Scale => ("autoscaling", "v1", "Scale"),
        Subresource::Binding => ("", "v1", "Binding"),
        Subresource::Eviction => ("policy", "v1", "Eviction"),
        Subresource::Token => ("authentication.k8s.io", "v1", "TokenRequest"),
    }
}

fn aggregated_group(registry: &Registry, group: &str) -> Value {
    let versions: Vec<Value> = registry
        .versions(group)
        .iter()
        .map(|version| {
            let resources: Vec<Value> = registry
                .resources(group, version)
                .iter()
                .map(|resource| aggregated(resource))
                .collect();
            json!({"version": version, "freshness": "Current", "resources": resources})
        })
        .collect();
    let metadata = if group.is_empty() {
        json!({})
    } else {
        json!({ "name": group })
    };
    json!({"metadata": metadata, "versions": versions})
}

/// The kind of an answer; the real server leaves the group version out where it is the resource's own.
fn response_kind(resource: &Resource, group: &str, version: &str, kind: &str) -> Value {
    let is_own = !resource.is_custom() && group == resource.group && version == resource.version;
    let (group, version) = if is_own { ("", "") } else { (group, version) };
    json!({"group": group, "version": version, "kind": kind})
}

fn aggregated(resource: &Resource) -> Value {
    let subresources: Vec<Value> = resource
        .subresources
        .iter()
        .map(|&subresource| {
            let (group, version, kind) = kind_of(resource, subresource);
            json!({
                "subresource": subresource.name(), "verbs": subresource.verbs(),
                "responseKind": response_kind(resource, group, version, kind),
            })
        })
        .collect();
    let mut row = json!({
        "resource": resource.plural,
        "responseKind": response_kind(resource, &resource.group, &resource.version, &resource.kind),
        "scope": if resource.namespaced { "Namespaced" } else { "Cluster" },
        "singularResource": resource.singular, "verbs": resource.verbs(),
    });
    for (field, list) in [
        ("shortNames", &resource.short_names),
        ("categories", &resource.categories),
    ] {
        if !list.is_empty() {
            row[field] = json!(list);
        }
    }
    if !subresources.is_empty() {
        row["subresources"] = json!(subresources);
    }
    row
}

/// GET on `/version`.
pub(crate) fn version() -> Value {
    json!({
        "major": "1", "minor": "36", "emulationMajor": "1", "emulationMinor": "36",
        "minCompatibilityMajor": "1", "minCompatibilityMinor": "35",
        "gitVersion": "v1.36.3+tiergate-sim", "gitCommit": "", "gitTreeState": "clean",
        "buildDate": "2026-01-01T00:00:00Z", "goVersion": "", "compiler": "rustc", "platform": "linux/amd64",
    })
}

/// GET on `/healthz`, `/livez`, `/readyz` and below.
pub(crate) fn health(path: &str, is_verbose: bool) -> Result<Answer, Failure> {
    let (endpoint, check) = path
        .trim_start_matches('/')
        .split_once('/')
        .unwrap_or((path.trim_start_matches('/'), ""));
    if !matches!(check, "" | "ping" | "etcd" | "log") {
        return Err(Failure::no_page());
    }
    if !is_verbose || !check.is_empty() {
        return Ok(Answer::text(200, "ok"));
    }
    let shutdown = if endpoint == "readyz" {
        "[+]shutdown ok\n"
    } else {
        ""
    };
    Ok(Answer::text(
        200,
        format!("[+]ping ok\n[+]log ok\n[+]etcd ok\n{shutdown}{endpoint} check passed\n"),
    ))
}
