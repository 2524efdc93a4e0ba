//! Shows what a tier makes of a set of manifests, without a cluster. Pure.
//!
//! In: YAML documents and a [`Scope`], and the URL of a request. Out: model, table and conditions as YAML text, and where the request
//! goes, by the code that serves. Documents are taken as the API server stores them, except that a missing namespace and
//! `stringData` are filled in; kinds that a tier does not read are named and passed over.

mod others;
mod request;

use std::sync::Arc;

use k8s_openapi::api::{core, discovery, networking};
use serde::Deserialize as _;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use tiergate_data_plane::table::Table;

use crate::compile::compile;
use crate::model::external::ExternalName;
use crate::objects::certificate::SECRET_TYPE;
use crate::objects::resolution::Resolution;
use crate::objects::{Change, Object, Objects};
use crate::scope::Scope;
use crate::translate::translate;
use crate::twin;

/// What a set of documents holds.
#[derive(Clone, Debug, Default)]
pub struct Documents {
    objects: Vec<Object>,
    passed_over: Vec<String>,
    /// What DNS says: nothing, as no document holds it. Only the golden cases fill it in.
    resolutions: Vec<(ExternalName, Resolution)>,
}

/// Why a text is no set of documents.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Broken YAML.
    #[error("document {number} is not valid YAML: {source}")]
    Yaml {
        /// Its position, from 1.
        number: usize,
        /// What the parser says.
        source: serde_norway::Error,
    },
    /// No object of Kubernetes.
    #[error("document {number} is no Kubernetes object: it has no {field}")]
    NoObject {
        /// Its position, from 1.
        number: usize,
        /// What is not there.
        field: &'static str,
    },
    /// A version that API servers do not know any more, or never did.
    #[error("{kind} {name}: apiVersion {found:?} is not supported, only {supported:?}")]
    Version {
        /// Its kind.
        kind: String,
        /// Its name.
        name: String,
        /// What it says.
        found: String,
        /// What it should say.
        supported: &'static str,
    },
    /// A field of another type.
    #[error("{kind} {name}: {source}")]
    Field {
        /// Its kind.
        kind: String,
        /// Its name.
        name: String,
        /// What the decoder says.
        source: serde_json::Error,
    },
}

/// Everything that is shown.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Explanation {
    model: twin::ModelTwin,
    table: twin::TableTwin,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    requests: Vec<request::Answer>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    passed_over: Vec<String>,
}

/// Shows what a tier with this scope makes of the documents, and where requests to these URLs go.
#[must_use]
pub fn explain(documents: &Documents, scope: &Scope, requests: &[&str]) -> String {
    let objects = documents.seen();
    let translation = translate(&objects, scope);
    let table = compile(&translation.model);
    let others = others::Others {
        objects: &objects,
        translation: &translation,
    };
    let explanation = Explanation {
        model: twin::model(&translation),
        table: twin::table(&table, 0),
        requests: requests
            .iter()
            .map(|url| request::answer(&table, &others, url))
            .collect(),
        passed_over: documents.passed_over.clone(),
    };
    serde_norway::to_string(&explanation).expect("twins have text keys and no maps of other kinds")
}

/// The table that a tier with this scope makes of the documents.
#[must_use]
pub fn table(documents: &Documents, scope: &Scope) -> Table {
    compile(&translate(&documents.seen(), scope).model)
}

/// Whether the documents get a condition: whoever owns them should look.
#[must_use]
pub fn has_conditions(documents: &Documents, scope: &Scope) -> bool {
    !translate(&documents.seen(), scope).conditions.is_empty()
}

// === impl Documents ===

impl Documents {
    /// Reads documents separated by `---`; a `List` counts as its items. `namespace` is for those that name none.
    ///
    /// # Errors
    /// When a document is broken. What is wrong inside of an object is shown by [`explain`] instead.
    pub fn parse(text: &str, namespace: &str) -> Result<Self, Error> {
        let mut documents = Self::default();
        for (position, document) in serde_norway::Deserializer::from_str(text).enumerate() {
            let number = position + 1;
            let value =
                Value::deserialize(document).map_err(|source| Error::Yaml { number, source })?;
            match value {
                Value::Null => {}
                Value::Object(map) => documents.add(map, number, namespace)?,
                Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
                    return Err(Error::NoObject {
                        number,
                        field: "kind",
                    });
                }
            }
        }
        Ok(documents)
    }

    fn seen(&self) -> Objects {
        let mut objects = Objects::default();
        for object in &self.objects {
            objects.apply(Change::Apply(object.clone()));
        }
        for (name, resolution) in &self.resolutions {
            let resolution = Some(Arc::new(resolution.clone()));
            objects.apply(Change::Resolve(name.clone(), resolution));
        }
        objects
    }

    fn add(
        &mut self,
        mut map: Map<String, Value>,
        number: usize,
        namespace: &str,
    ) -> Result<(), Error> {
        let text = |map: &Map<String, Value>, field| {
            map.get(field).and_then(Value::as_str).map(str::to_owned)
        };
        let missing = |field| Error::NoObject { number, field };
        let kind = text(&map, "kind").ok_or_else(|| missing("kind"))?;
        let version = text(&map, "apiVersion").ok_or_else(|| missing("apiVersion"))?;
        if kind.ends_with("List")
            && let Some(Value::Array(items)) = map.remove("items")
        {
            for item in items {
                if let Value::Object(item) = item {
                    self.add(item, number, namespace)?;
                }
            }
            return Ok(());
        }
        let metadata = map
            .get_mut("metadata")
            .and_then(Value::as_object_mut)
            .ok_or_else(|| missing("metadata"))?;
        let name = text(metadata, "name").ok_or_else(|| missing("metadata.name"))?;
        if kind == "IngressClass" || kind == "Namespace" {
            metadata.remove("namespace");
        } else if !metadata.get("namespace").is_some_and(Value::is_string) {
            metadata.insert("namespace".to_owned(), namespace.into());
        }
        let Some(supported) = supported_version(&kind) else {
            self.passed_over.push(format!("{kind} {name}"));
            return Ok(());
        };
        if version != supported {
            return Err(Error::Version {
                kind,
                name,
                found: version,
                supported,
            });
        }
        match object(&kind, map) {
            Ok(Some(object)) => self.objects.push(object),
            Ok(None) => self.passed_over.push(format!("{kind} {name}")),
            Err(source) => return Err(Error::Field { kind, name, source }),
        }
        Ok(())
    }
}

fn supported_version(kind: &str) -> Option<&'static str> {
    match kind {
        "Ingress" | "IngressClass" => Some("networking.k8s.io/v1"),
        "EndpointSlice" => Some("discovery.k8s.io/v1"),
        "Service" | "Secret" | "Namespace" => Some("v1"),
        _ => None,
    }
}

fn object(kind: &str, map: Map<String, Value>) -> Result<Option<Object>, serde_json::Error> {
    fn read<K: DeserializeOwned>(
        map: Map<String, Value>,
    ) -> Result<Option<Object>, serde_json::Error>
    where
        Object: From<K>,
    {
        let object: K = serde_json::from_value(Value::Object(map))?;
        Ok(Some(Object::from(object)))
    }
    match kind {
        "Ingress" => read::<networking::v1::Ingress>(map),
        "IngressClass" => read::<networking::v1::IngressClass>(map),
        "Service" => read::<core::v1::Service>(map),
        "Namespace" => read::<core::v1::Namespace>(map),
        "EndpointSlice" => read::<discovery::v1::EndpointSlice>(map),
        _ => {
            let mut secret: core::v1::Secret = serde_json::from_value(Value::Object(map))?;
            if secret.type_.as_deref() != Some(SECRET_TYPE) {
                return Ok(None);
            }
            let plain = secret.string_data.take().unwrap_or_default();
            let data = secret.data.get_or_insert_default();
            data.extend(
                plain
                    .into_iter()
                    .map(|(key, text)| (key, k8s_openapi::ByteString(text.into_bytes()))),
            );
            Ok(Some(Object::from(secret)))
        }
    }
}

#[cfg(test)]
mod golden;
