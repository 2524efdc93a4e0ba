//! The types of kinds as OpenAPI schemas.
//!
//! In: resources, the table of built-in types, the schemas of custom kinds. Out: `components.schemas`: every kind, its
//! list, and all that they refer to. Pure. Built-in kinds have no descriptions; custom ones have those of their schema.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use crate::api::resources::Resource;
use crate::api::schema::types::{Field, ListKind, Scalar, Shape, Struct, types};

const META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1";

/// What the documents call the packages of the table.
const PACKAGES: &[(&str, &str)] = &[
    ("apps", "io.k8s.api.apps.v1"),
    ("authentication", "io.k8s.api.authentication.v1"),
    ("authorization", "io.k8s.api.authorization.v1"),
    ("autoscaling1", "io.k8s.api.autoscaling.v1"),
    ("autoscaling2", "io.k8s.api.autoscaling.v2"),
    ("batch", "io.k8s.api.batch.v1"),
    ("coordination", "io.k8s.api.coordination.v1"),
    ("core", "io.k8s.api.core.v1"),
    (
        "crd",
        "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1",
    ),
    ("discovery", "io.k8s.api.discovery.v1"),
    ("events", "io.k8s.api.events.v1"),
    ("meta", META),
    ("networking", "io.k8s.api.networking.v1"),
    ("policy", "io.k8s.api.policy.v1"),
    ("rbac", "io.k8s.api.rbac.v1"),
    ("scheduling", "io.k8s.api.scheduling.v1"),
    ("storage", "io.k8s.api.storage.v1"),
];

/// Types that are no structs: what the documents call them, and what they look like.
const SCALARS: &[(Scalar, &str, &str)] = &[
    (
        Scalar::Time,
        "io.k8s.apimachinery.pkg.apis.meta.v1.Time",
        r#"{"type":"string","format":"date-time"}"#,
    ),
    (
        Scalar::MicroTime,
        "io.k8s.apimachinery.pkg.apis.meta.v1.MicroTime",
        r#"{"type":"string","format":"date-time"}"#,
    ),
    (
        Scalar::Duration,
        "io.k8s.apimachinery.pkg.apis.meta.v1.Duration",
        r#"{"type":"string"}"#,
    ),
    (
        Scalar::Quantity,
        "io.k8s.apimachinery.pkg.api.resource.Quantity",
        r#"{"oneOf":[{"type":"string"},{"type":"number"}]}"#,
    ),
    (
        Scalar::IntOrString,
        "io.k8s.apimachinery.pkg.util.intstr.IntOrString",
        r#"{"format":"int-or-string","oneOf":[{"type":"integer"},{"type":"string"}]}"#,
    ),
    (
        Scalar::Raw,
        "io.k8s.apimachinery.pkg.runtime.RawExtension",
        r#"{"type":"object"}"#,
    ),
    (
        Scalar::Fields,
        "io.k8s.apimachinery.pkg.apis.meta.v1.FieldsV1",
        r#"{"type":"object"}"#,
    ),
    (
        Scalar::Json,
        "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSON",
        "{}",
    ),
    (
        Scalar::SchemaOrBool,
        "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaPropsOrBool",
        "{}",
    ),
    (
        Scalar::SchemaOrArray,
        "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaPropsOrArray",
        "{}",
    ),
    (
        Scalar::SchemaOrStrings,
        "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaPropsOrStringArray",
        "{}",
    ),
];

/// Types that have no name; all others are text.
const PLAIN: &[(Scalar, &str, &str)] = &[
    (Scalar::Bool, "boolean", ""),
    (Scalar::Int32, "integer", "int32"),
    (Scalar::Int64, "integer", "int64"),
    (Scalar::Double, "number", "double"),
    (Scalar::Bytes, "string", "byte"),
];

/// Schemas that are collected for one document.
#[derive(Default)]
pub(super) struct Schemas {
    schemas: Map<String, Value>,
    /// Structs that are referred to and not described yet.
    due: BTreeSet<&'static str>,
}

// === impl Schemas ===

impl Schemas {
    /// Adds a kind and its list.
    pub(super) fn add(&mut self, resource: &Resource) {
        let (name, mut schema) = match &resource.custom {
            Some(custom) => (custom_name(resource), self.custom(&custom.schema)),
            None => {
                let Some(of) = types().kind(&resource.group_version(), &resource.kind) else {
                    return;
                };
                (name_of(of.name), self.structure(of))
            }
        };
        let marked = |kind: &str| json!([{"group": resource.group, "version": resource.version, "kind": kind}]);
        schema["x-kubernetes-group-version-kind"] = marked(&resource.kind);
        self.schemas.insert(name.clone(), schema);
        if resource.verbs().contains(&"list") {
            let kind = format!("{}List", resource.kind);
            let mut list = self.list(&name, &resource.kind);
            list["x-kubernetes-group-version-kind"] = marked(&kind);
            self.schemas.insert(format!("{name}List"), list);
        }
    }

    /// Everything, with all that is referred to.
    pub(super) fn done(mut self) -> Map<String, Value> {
        while let Some(name) = self.due.pop_first() {
            let full = name_of(name);
            if self.schemas.contains_key(&full) {
                continue;
            }
            if let Some(of) = types().get(name) {
                let schema = self.structure(of);
                self.schemas.insert(full, schema);
            }
        }
        self.schemas
    }

    fn structure(&mut self, of: &'static Struct) -> Value {
        let mut properties = Map::new();
        let mut required: Vec<&str> = Vec::new();
        for (name, field) in &of.fields {
            properties.insert((*name).to_owned(), self.field(field));
            if field.required {
                required.push(name);
            }
        }
        let mut schema = json!({"type": "object", "properties": properties});
        if !required.is_empty() {
            schema["required"] = json!(required);
        }
        if of.atomic {
            schema["x-kubernetes-map-type"] = json!("atomic");
        }
        schema
    }

    fn field(&mut self, field: &'static Field) -> Value {
        let mut schema = self.shape(&field.shape);
        if !field.allowed.is_empty() {
            let values: Vec<&str> = field.allowed.split(',').collect();
            match &field.shape {
                Shape::List(_) | Shape::WrappedList(_) => schema["items"]["enum"] = json!(values),
                Shape::Map(_) => schema["additionalProperties"]["enum"] = json!(values),
                Shape::Scalar(_) | Shape::Struct(_) => schema["enum"] = json!(values),
            }
        }
        match (&field.shape, field.list) {
            (Shape::Struct(_) | Shape::Map(_), ListKind::Atomic) => {
                schema["x-kubernetes-map-type"] = json!("atomic");
            }
            (_, ListKind::Atomic) => schema["x-kubernetes-list-type"] = json!("atomic"),
            (_, ListKind::Set) => schema["x-kubernetes-list-type"] = json!("set"),
            (_, ListKind::Keys(keys)) => {
                schema["x-kubernetes-list-type"] = json!("map");
                schema["x-kubernetes-list-map-keys"] = json!(keys);
            }
            (_, ListKind::Unmarked) => {}
        }
        let strategy = match (field.merge_key.is_some(), field.retain_keys) {
            (true, true) => "merge,retainKeys",
            (true, false) => "merge",
            (false, true) => "retainKeys",
            (false, false) => "",
        };
        if !strategy.is_empty() {
            schema["x-kubernetes-patch-strategy"] = json!(strategy);
        }
        if let Some(key) = field.merge_key.filter(|key| !key.is_empty()) {
            schema["x-kubernetes-patch-merge-key"] = json!(key);
        }
        schema
    }

    fn shape(&mut self, shape: &'static Shape) -> Value {
        match shape {
            Shape::Struct(name) => {
                self.due.insert(name);
                reference(&name_of(name))
            }
            Shape::List(item) | Shape::WrappedList(item) => {
                json!({"type": "array", "items": self.shape(item)})
            }
            Shape::Map(item) => {
                json!({"type": "object", "additionalProperties": self.shape(item)})
            }
            Shape::Scalar(scalar) => self.scalar(*scalar),
        }
    }

    fn scalar(&mut self, scalar: Scalar) -> Value {
        let named = SCALARS.iter().find(|(known, _, _)| *known == scalar);
        if let Some((_, name, text)) = named {
            let schema: Value = serde_json::from_str(text).expect("the table holds JSON");
            self.schemas.insert((*name).to_owned(), schema);
            return reference(name);
        }
        let plain = PLAIN.iter().find(|(known, _, _)| *known == scalar);
        let (_, kind, format) = plain.unwrap_or(&(Scalar::String, "string", ""));
        if format.is_empty() {
            json!({ "type": kind })
        } else {
            json!({"type": kind, "format": format})
        }
    }

    /// A custom kind: its schema, and what every object has.
    fn custom(&mut self, schema: &Value) -> Value {
        let mut schema = if schema.is_object() {
            schema.clone()
        } else {
            json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true})
        };
        if !schema["properties"].is_object() {
            schema["properties"] = json!({});
        }
        self.add_own_fields(&mut schema, "meta.ObjectMeta");
        schema
    }

    fn list(&mut self, item: &str, kind: &str) -> Value {
        let mut schema = json!({
            "type": "object", "required": ["items"], "description": format!("{kind}List is a list of {kind}"),
            "properties": {"items": {"type": "array", "items": reference(item)}},
        });
        self.add_own_fields(&mut schema, "meta.ListMeta");
        schema
    }

    /// `apiVersion`, `kind` and `metadata`.
    fn add_own_fields(&mut self, schema: &mut Value, metadata: &'static str) {
        self.due.insert(metadata);
        for name in ["apiVersion", "kind", "metadata"] {
            let field = if name == "metadata" {
                reference(&name_of(metadata))
            } else {
                json!({"type": "string"})
            };
            schema["properties"][name] = field;
        }
    }
}

/// A reference in the form that leaves room for a description.
fn reference(name: &str) -> Value {
    json!({"allOf": [{"$ref": format!("#/components/schemas/{name}")}]})
}

fn name_of(short: &str) -> String {
    let (package, name) = short.split_once('.').unwrap_or(("", short));
    let package = PACKAGES.iter().find(|(known, _)| *known == package);
    package.map_or_else(|| short.to_owned(), |(_, full)| format!("{full}.{name}"))
}

fn custom_name(resource: &Resource) -> String {
    let group: Vec<&str> = resource.group.rsplit('.').collect();
    format!("{}.{}.{}", group.join("."), resource.version, resource.kind)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::resources::Registry;

    fn of(group: &str, version: &str) -> Map<String, Value> {
        let mut schemas = Schemas::default();
        for resource in Registry::built_in().resources(group, version) {
            schemas.add(&resource);
        }
        schemas.done()
    }

    fn references(value: &Value, found: &mut BTreeSet<String>) {
        match value {
            Value::Object(fields) => {
                for (name, value) in fields {
                    match value.as_str().filter(|_| name == "$ref") {
                        Some(text) => {
                            found.insert(
                                text.trim_start_matches("#/components/schemas/").to_owned(),
                            );
                        }
                        None => references(value, found),
                    }
                }
            }
            Value::Array(list) => list.iter().for_each(|value| references(value, found)),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }

    #[test]
    fn every_kind_is_described_and_every_reference_is_met() {
        let registry = Registry::built_in();
        for resource in registry.iter() {
            let schemas = of(&resource.group, &resource.version);
            let mark = json!([{"group": resource.group, "version": resource.version, "kind": resource.kind}]);
            let found = schemas
                .values()
                .any(|schema| schema["x-kubernetes-group-version-kind"] == mark);
            assert!(found, "{} is described", resource.qualified_kind());
            let mut named = BTreeSet::new();
            references(&Value::Object(schemas.clone()), &mut named);
            let unmet: Vec<_> = named
                .iter()
                .filter(|name| !schemas.contains_key(*name))
                .collect();
            assert!(unmet.is_empty(), "{unmet:?}");
        }
    }

    #[test]
    fn fields_say_what_strategic_patches_and_apply_need() {
        let schemas = of("", "v1");
        let ports = &schemas["io.k8s.api.core.v1.ServiceSpec"]["properties"]["ports"];
        assert_eq!(ports["x-kubernetes-patch-merge-key"], "port");
        assert_eq!(
            ports["x-kubernetes-list-map-keys"],
            json!(["port", "protocol"])
        );
        let port = &schemas["io.k8s.api.core.v1.ServicePort"];
        assert_eq!(port["required"], json!(["port"]));
        assert_eq!(
            port["properties"]["protocol"]["enum"],
            json!(["SCTP", "TCP", "UDP"])
        );
    }
}
